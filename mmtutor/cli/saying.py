"""Image to speech on the command line: learn from pictures and a voice that talks about them, with
no text in between, and say what is in a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmtutor import hub, image_to_speech
from mmtutor.cli import clips, runs
from mmtutor.cli.data import Eyes, encoder_of, seen_in, seen_of, with_eyes
from mmtutor.cli.task import Recipe, Task, batches, mel_in_memory, source, threads_of
from mmtutor.kit import decoding, metrics, saving, training
from mmtutor.kit.runtime import device
from mmtutor.sound import pcm_to_float
from mmtutor.world import speech

LIMIT = 80  # units that a picture is told with, at most
ASIDE = 220 / 700  # steps of the ears and of the voice, for each step of the captioner
VOICED = 800  # recordings that the voice learns from


class Speaker(nn.Module):
    """The three modules: what finds units, what says a picture in units, and the voice."""

    Config = image_to_speech.Config

    def __init__(self, config: image_to_speech.Config) -> None:
        super().__init__()
        self.config = config
        self.ears = image_to_speech.UnitDiscovery(config)
        self.captioner = image_to_speech.ImageToUnits(config)
        self.voice = image_to_speech.UnitsToSpeech(config)


class Saying(Task):
    system = "image_to_speech"
    says = "speech for a picture, with no text in between (Hsu et al. 2021)"
    then = "say"
    folders = True
    holds = clips.TOLD
    config = image_to_speech.Config
    model = Speaker
    fixed = ("annotation", "grid")
    takes = ("steps", "batch", "lr", "pixels", "encoder")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(700, 32, 5e-3),
        "small": Recipe(6000, 32, 2e-3),
        "paper": Recipe(20_000, 64, 4e-4),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(widths=(128, 128, 128, 128), teachers=128, units=128),
        **dict(prepare=192, embedding=192, hidden=384, attention=96, dropout=0.3),
        **dict(voice=128, voice_bands=80),
    )

    def settings(self, run: dict[str, Any], **sizes: Any) -> Any:
        made = self.maker(run["scale"])(**{**sizes, **run["set"]})
        drawn = source(run).kind == "world"
        if drawn and made.rate not in (8000, 16000, 22050):
            raise ValueError(f"the world's rate is 8000, 16000 or 22050, got {made.rate}")
        if not hub.SAMPLE_RATES[0] <= made.rate <= hub.SAMPLE_RATES[1]:
            raise ValueError(f"rate must be 4,000 to 48,000, got {made.rate}")
        if run["batch"] < 2:
            raise ValueError(f"--batch of {self.system} must be at least 2, got {run['batch']}")
        if drawn and run["pixels"] not in (64, 96, 128, 160, 224):
            raise ValueError(
                f"--pixels of {self.system} must be 64, 96, 128, 160 or 224, got {run['pixels']}"
            )
        return made

    def hollow(self, settings: Any) -> nn.Module:
        with mel_in_memory(image_to_speech):
            return super().hollow(settings)

    def told(
        self, run: dict[str, Any], config: Any, split: str, size: int | None
    ) -> tuple[Any, list[Tensor]]:
        """Pictures, or rows that have them, and what one voice says of each: waves (L,)."""
        own, usual = source(run), 4000 if split == "train" else 400
        if own.kind == "folder":
            rows, waves = clips.spoken(own.name, split, size, config.rate, run["pixels"])
        else:
            whole = dict(things=12, voice="one", sample_rate=config.rate)
            rows = own.rows("spoken_scenes", split, size, run["pixels"], usual, **whole)
            waves = rows["wave"]
        return rows, [pcm_to_float(torch.from_numpy(np.array(w, np.int16))) for w in waves]

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        rows, waves = self.told(run, self.settings(run), "train", run["size"])
        if len(rows) < 2:
            raise ValueError("two pictures are the least")
        seen = seen_in(rows, encoder_of(run["encoder"], "map"))
        eyes = Eyes.fitted(run["encoder"], "map", run["pixels"], seen)
        config = self.settings(run, annotation=seen.shape[1], grid=tuple(seen.shape[2:]))
        torch.manual_seed(run["seed"])
        model = Speaker(config)
        frames = [model.ears.frames(wave[None])[0] for wave in waves]
        enough(config, frames)
        with threads_of(run):
            self.discover(model, frames, folder, run)
            heard = transcribed(model.ears, frames)
            history = self.caption(model, eyes.standardized(seen), heard, folder, run)
            self.sing(model, waves[:VOICED], heard[:VOICED], folder, run)
        saving.save(model.cpu(), folder, eyes=eyes.note(), mean=eyes.mean, scale=eyes.scale)
        return history

    def discover(
        self, model: Speaker, frames: list[Tensor], folder: Path, run: dict[str, Any]
    ) -> None:
        """The units, from recordings alone."""
        ears, crop = model.ears, min(64, *(x.shape[1] for x in frames))
        ears.teach(torch.cat([x.T for x in frames[:150]]), run["seed"])
        pieces = torch.stack(
            [
                x[:, start : start + crop]
                for x in frames[:1500]
                for start in [*range(0, x.shape[1] - crop + 1, crop), x.shape[1] - crop]
            ]
        )
        self.fit(
            ears,
            {"frames": pieces},
            folder,
            run,
            batch_size=32,
            lr=4e-3,
            weight_decay=0.01,
            max_steps=max(1, round(ASIDE * run["steps"])),
            warmup=min(30, run["steps"] // 30),
            checkpoint=folder / runs.part("ears"),
            accumulate=1,  # its batches are its own
        )
        ears.cpu().eval().learn_codes(frames[:200], run["seed"])

    def caption(
        self,
        model: Speaker,
        maps: Tensor,
        heard: Sequence[image_to_speech.Heard],
        folder: Path,
        run: dict[str, Any],
    ) -> training.History:
        """Pictures in units."""
        ids = image_to_speech.as_captions([own.units for own in heard])
        lengths = (ids != 0).sum(1)
        # those of about one length together: little is spent on padding
        order = lengths.argsort(stable=True)

        def made(rows: Sequence[int]) -> dict[str, Tensor]:
            own = order[list(rows)]
            return {
                "features": maps[own].float(),
                "captions": ids[own, : int(lengths[own].max())],
            }

        near = Near(len(ids), min(run["batch"], len(ids)))
        loader = torch.utils.data.DataLoader(
            Rows(len(ids), made),
            batch_sampler=near,
            collate_fn=lambda batch: batch,
            generator=near.generator,  # the trainer seeds it for each epoch
        )
        return self.fit(
            model.captioner,
            loader,
            folder,
            run,
            weight_decay=0.1,
            warmup=min(30, run["steps"] // 10),
        )

    def sing(
        self,
        model: Speaker,
        waves: Sequence[Tensor],
        heard: Sequence[image_to_speech.Heard],
        folder: Path,
        run: dict[str, Any],
    ) -> None:
        """Units as speech."""
        voice, own = model.voice, []
        for wave in waves:
            mel, hertz = voice.measure(wave[None])
            own.append((mel[0].T, *image_to_speech.join_pitch(hertz[0])))
        voice.get_used_to(
            torch.cat([high.exp() * loud for _, high, loud in own]),
            torch.cat([one.frames for one in heard]),
        )

        def made(rows: Sequence[int]) -> dict[str, Tensor]:
            return {
                "units": padded([heard[i].units for i in rows], -1),
                "frames": padded([heard[i].frames for i in rows], 0),
                "mel": padded([own[i][0] for i in rows], -2.0).transpose(1, 2),
                "pitch": padded([own[i][1] for i in rows], 4.6),
                "voiced": padded([own[i][2] for i in rows], 0.0),
            }

        self.fit(
            voice,
            Rows(len(own), made),
            folder,
            run,
            batch_size=min(8, len(own)),
            collate=lambda batch: batch,
            lr=4e-3,
            weight_decay=0.01,
            max_steps=max(1, round(ASIDE * run["steps"])),
            warmup=min(30, run["steps"] // 30),
            checkpoint=folder / runs.part("voice"),
            accumulate=1,  # its batches are its own
        )

    def load(self, folder: Path) -> tuple[Speaker, Eyes]:
        """The three modules, and the eyes."""
        return with_eyes(Speaker, folder)[:2]

    def tell(self, model: Speaker, maps: Tensor) -> list[Tensor]:
        """What is said of maps (N, C, H, W), as units."""
        out = []
        for part in batches(len(maps)):
            found = decoding.beam_search(
                model.captioner, maps[part].float().to(device()), width=5, n_best=1, limit=LIMIT
            )
            out += [image_to_speech.as_units(best.ids) for best, *_ in found]
        return out

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """What is said of unseen pictures, unit by unit, against what was said of them, and against
        what was said of others."""
        model, eyes = self.load(folder)
        if size == 1:
            raise ValueError("--size must be at least 2: what is said is compared with another's")
        rows, waves = self.told(run, model.config, "test", size)
        if len(rows) < 2:
            raise ValueError("two pictures are the least: what is said is compared with another's")
        seen = eyes.standardized(seen_in(rows, encoder_of(eyes.name, "map")))
        ears = model.ears.cpu()
        heard = transcribed(ears, [ears.frames(wave[None])[0] for wave in waves])
        said = [in_words(units) for units in self.tell(model, seen)]
        real = [[in_words(own.units)] for own in heard]
        own = metrics.caption_scores(said, real)["BLEU-4"]
        other = metrics.caption_scores(said, real[1:] + real[:1])["BLEU-4"]
        return {
            "BLEU-4 of the units": float(own),
            "the same, of what was said of another picture": float(other),
        }

    @torch.no_grad()
    def say(
        self, folder: Path, pictures: list[str]
    ) -> Iterator[tuple[str, tuple[Tensor, int] | None, str]]:
        """For each picture: its name, a wave (L,) and samples a second or None, what is wrong or an
        empty string."""
        model, eyes = self.load(folder)
        for file, seen in seen_of(pictures, eyes, encoder_of(eyes.name, eyes.layer)):
            if isinstance(seen, str):
                yield file, None, seen
                continue
            units = self.tell(model, seen)[0]
            if not len(units):
                yield file, None, "the model has nothing to say of it; train it longer"
                continue
            (wave,) = model.voice.speak(units[None].to(device()))
            loud = torch.from_numpy(speech.level(wave.cpu().numpy()))
            yield file, (loud, model.config.rate), ""


def enough(config: image_to_speech.Config, frames: Sequence[Tensor]) -> None:
    """Raise a ValueError unless there is speech enough to find so many units in."""
    there = sum(x.shape[1] for x in frames[:150])
    coarse = sum(x.shape[1] // math.prod(config.strides) for x in frames[:200])
    if there < config.teachers or coarse < config.units:
        raise ValueError(
            f"{there * config.hop / config.rate:.0f} s of speech are too little for {config.units:,} "
            f"units and {config.teachers:,} teachers: record more, or lower --set units and --set "
            "teachers"
        )


class Rows(torch.utils.data.Dataset):
    """So many rows, of which a function makes batches."""

    def __init__(self, count: int, made: Any) -> None:
        self.count, self.made = count, made

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, rows: list[int]) -> dict[str, Tensor]:
        return self.made(rows)


class Near:
    """Batches of neighbours, in a random order: where one begins is drawn, too."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.generator = torch.Generator()

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        turn = int(torch.randint(self.count, (1,), generator=self.generator))
        order = torch.arange(self.count).roll(turn).split(self.size)
        for k in torch.randperm(len(order), generator=self.generator).tolist():
            yield order[k].tolist()


def padded(rows: Sequence[Tensor], value: float) -> Tensor:
    """Rows of their own lengths as one tensor; the first dimension is time."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def transcribed(
    ears: image_to_speech.UnitDiscovery, frames: Sequence[Tensor]
) -> list[image_to_speech.Heard]:
    """The units of recordings, log mel (bands, T) each; those of similar length at a time."""
    order = sorted(range(len(frames)), key=lambda i: frames[i].shape[1])
    found: dict[int, image_to_speech.Heard] = {}
    for part in batches(len(order), 50):
        own = order[part]
        x = padded([frames[i].T for i in own], -2.0).transpose(1, 2)
        found.update(zip(own, ears.strings(x, [frames[i].shape[1] for i in own])))
    return [found[i] for i in range(len(frames))]


def in_words(units: Tensor) -> str:
    """Units as a sentence of numbers, for what counts words."""
    return " ".join(map(str, units.tolist()))
