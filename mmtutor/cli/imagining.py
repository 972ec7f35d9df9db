"""Speech2Face on the command line: learn on drawn faces and made voices, and draw what the network
imagines at a voice. It is nobody's portrait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmtutor import speech2face
from mmtutor.cli import files, runs
from mmtutor.cli.task import Recipe, Task, batches, threads_of
from mmtutor.kit import saving, training
from mmtutor.kit.retrieval import ranks, same
from mmtutor.kit.runtime import cpu_threads, device

# Steps of the face networks, for each step of the voice encoder.
FACES = {"world": 975 / 960, "small": 975 / 360}
FACE_RATE, FACE_BATCH = 3e-3, 32
DIRECTIONS = 5  # of a face vector, in which a voice is listened to
DECAY = 0.3  # of the voice encoder's weights
PICTURES = 3  # in any pose, for each recording
SECONDS = (2, 4, 5, 6)  # of speech, that the world's faces come with
RATES = (8000, 16000)
#: What is said beside every drawing.
NOBODY = (
    "it has learned from drawn faces and made voices. The drawing is the mean of drawn faces that "
    "go with such voices; it shows nobody, and says nothing of who speaks here"
)


class Imagining(Task):
    """It learns from the world only: recordings and faces of people need their consent, and a
    network that recognises faces, as the paper has it, does not come with the book."""

    system = "speech2face"
    says = "the drawn face that a network imagines at a voice (Oh et al. 2019)"
    then = "imagine"
    config = speech2face.Config
    model = speech2face.Speech2Face
    fixed = ("pixels", "people", "points", "feature")
    takes = ("steps", "batch", "lr")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(960, 16, 8e-3),
        "small": Recipe(1500, 16, 3e-3),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(rate=16000, window=800, hop=200, n_fft=1024),
        stack=(
            speech2face.Layer(24, (4, 4), (2, 2)),
            speech2face.Layer(48, (4, 4), (1, 2), 2),
            speech2face.Layer(64, (4, 4), (1, 2)),
            speech2face.Layer(128, (4, 4), (1, 3)),
        ),
    )
    lacks: ClassVar[dict[str, str]] = {
        "paper": "the paper's frozen face networks do not come with the book; its chapter has a "
        "cell that takes vectors of your own"
    }

    def settings(self, run: dict[str, Any]) -> Any:
        sizes = self.small if run["scale"] == "small" else {}
        made = self.config.world(**{**sizes, **run["set"]})
        if made.rate not in RATES:
            raise ValueError(f"rate must be 8000 or 16000 here, got {made.rate}")
        if made.seconds not in SECONDS:
            raise ValueError(f"seconds must be 2, 4, 5 or 6 here, got {made.seconds:g}")
        if run["batch"] < 2:
            raise ValueError(f"--batch of {self.system} must be at least 2, got {run['batch']}")
        return made

    def clips(self, config: Any, split: str, count: int, spoken: bool) -> dict[str, Tensor]:
        """So many drawn faces of a split: ``image`` and ``front``, uint8 (N, 3, S, S), ``who`` (N,),
        and with ``spoken`` the ``wave``, int16 (N, L)."""
        from mmtutor import world
        from mmtutor.kit.arrays import column
        from mmtutor.world import voices

        options = dict(seconds=int(config.seconds), sample_rate=config.rate) if spoken else {}
        rows = world.load("faces", split, count, pixels=config.pixels, **options)
        number = {one.name: i for i, one in enumerate(voices.speakers(split))}
        shown = {
            ours: torch.from_numpy(column(rows, theirs)).permute(0, 3, 1, 2).contiguous()
            for ours, theirs in (("image", "image"), ("front", "canonical"))
        }
        out = {**shown, "who": torch.tensor([number[name] for name in rows["speaker"]])}
        return out | ({"wave": torch.from_numpy(column(rows, "wave").copy())} if spoken else {})

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        from mmtutor.world import voices

        config, size = self.settings(run), run["size"] or 4 * voices.TRAIN_SPEAKERS
        if size < 2:
            raise ValueError("two recordings are the least")
        with threads_of(run):
            faces = self.faces(config, size, folder, run)
            torch.manual_seed(run["seed"])
            model = speech2face.Speech2Face(config).freeze(faces)
            data = self.clips(config, "train", size, spoken=True)
            vectors = self.see(model, data["front"])
            model.gauge(vectors)
            history = self.fit(
                model,
                {"wave": data["wave"], "vector": vectors},
                folder,
                run,
                batch_size=min(run["batch"], size),
                drop_last=True,
                weight_decay=DECAY,
                warmup=0,
            )
            model.settle(self.listen(model, data["wave"]), vectors, DIRECTIONS)
            match = speech2face.fit_match(self.listen(model, data["wave"]), vectors)
        saving.save(model.cpu(), folder, **match._asdict())
        return history

    def faces(self, config: Any, size: int, folder: Path, run: dict[str, Any]) -> speech2face.Faces:
        """The face networks, which hear nothing."""
        from mmtutor.experiments import speech2face as experiment

        data = self.clips(config, "train", PICTURES * size, spoken=False)
        _, first = torch.unique(data["who"], return_inverse=True)
        one = torch.full((int(first.max()) + 1,), len(first)).scatter_reduce(
            0, first, torch.arange(len(first)), "amin"
        )  # the first picture of each
        front = one.repeat(experiment.FRONTS)
        person = torch.cat([data["who"], data["who"][front]])
        where = experiment.points("train")
        torch.manual_seed(run["seed"])
        model = speech2face.Faces(config)
        lessons = {
            "image": torch.cat([data["image"], data["front"][front]]),
            "front": torch.cat([data["front"], data["front"][front]]),
            "person": person,
            "shape": ((where - where.mean(0)) / where.std(0))[person],
        }
        self.fit(
            model,
            lessons,
            folder,
            run,
            batch_size=min(FACE_BATCH, len(person)),
            lr=FACE_RATE,
            weight_decay=0.01,
            warmup=0,
            max_steps=max(1, round(FACES[run["scale"]] * run["steps"])),
            checkpoint=folder / runs.part("faces"),
            accumulate=1,  # its batches are its own
        )
        return model

    @torch.no_grad()
    def see(self, model: speech2face.Speech2Face, pictures: Tensor) -> Tensor:
        """Face vectors (N, D) of pictures, where the model is."""
        where = model.decoder.start.weight.device
        parts = [model.see(pictures[p].to(where)).cpu() for p in batches(len(pictures), 200)]
        return torch.cat(parts)

    @torch.no_grad()
    def listen(self, model: speech2face.Speech2Face, waves: Tensor) -> Tensor:
        """Face vectors (N, D) of recordings of equal length."""
        where = model.decoder.start.weight.device
        return torch.cat([model.voice(waves[p].to(where)).cpu() for p in batches(len(waves), 40)])

    def load(self, folder: Path) -> tuple[speech2face.Speech2Face, speech2face.Match]:
        """The networks, and how a voice is compared with faces."""
        model, more = saving.load(speech2face.Speech2Face, folder)
        match = speech2face.Match(more["mean"], more["error"], more["face"])
        return model.freeze().to(device()).eval(), match

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """Voices of unseen speakers look for their faces among those of all of them."""
        from mmtutor.world import voices

        model, match = self.load(folder)
        count = min(size or voices.TEST_SPEAKERS, voices.TEST_SPEAKERS)
        if count < 2:
            raise ValueError("--size must be at least 2: a face is sought among others")
        data = self.clips(model.config, "test", count, spoken=True)
        with cpu_threads(1):
            heard, seen = self.listen(model, data["wave"]), self.see(model, data["front"])
        found = ranks(match(heard, seen), same(data["who"], data["who"]))
        return {
            "own face, R@10": float(found.recall(10)),
            "R@10 by chance": min(1.0, 10 / count),
            "own face, median rank": float(found.median),
            "faces": float(count),
        }

    @torch.no_grad()
    def imagine(self, folder: Path, sounds: list[str]) -> Iterator[tuple[str, Tensor | None, str]]:
        """For each sound: its name, a drawing uint8 (S, S, 3) or None, what is wrong or an empty
        string."""
        model, _ = self.load(folder)
        for file in sounds:
            try:
                wave = files.sound(file, model.config.rate)
                vector = model.hear(wave.to(device()), model.config.rate)
            except (OSError, ValueError) as error:
                yield file, None, str(error)
                continue
            drawn = (255 * model.draw(vector[None])[0]).round().to(torch.uint8)
            yield file, drawn.permute(1, 2, 0).cpu(), ""
