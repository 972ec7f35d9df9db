"""The cocktail party on the command line: learn from voices and faces, and take a mixture apart."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmtutor import cocktail_party
from mmtutor.cli import clips, files
from mmtutor.cli.task import Recipe, Task, source, threads_of
from mmtutor.kit import saving, training
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import device
from mmtutor.world import voices

SECONDS = {"world": 2, "small": 2, "paper": 3}  # of a clip
HEARD = {"world": 1.6, "small": 1.6, "paper": 3}  # of it, that a training batch has
DILATIONS = (1, 2, 4, 8, 16)  # as the chapter's model
TEST = 200  # mixtures


class Separating(Task):
    system = "cocktail_party"
    says = "voices that speak at once, taken apart by watching the lips (Ephrat et al. 2018)"
    then = "separate"
    folders = True
    holds = clips.HOLDS
    config = cocktail_party.Config
    model = cocktail_party.CocktailParty
    fixed = ("fps", "face")
    takes = ("steps", "batch", "lr")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(1000, 8, 5e-3),
        "small": Recipe(8000, 8, 1e-3),
        "paper": Recipe(20_000, 6, 3e-5),
    }
    small: ClassVar[dict[str, Any]] = dict(
        **dict(rate=16000, window=1280, hop=640, n_fft=1280, pad=320),
        **dict(audio=(cocktail_party.Layer(256, 3, 1), cocktail_party.Layer(256, 3, 1)), width=256),
    )

    def settings(self, run: dict[str, Any]) -> Any:
        own = {**({"dilations": DILATIONS} if run["scale"] != "paper" else {}), **run["set"]}
        if own.get("visual") == ():  # it only hears
            own["face"] = ()
        made = self.maker(run["scale"])(**own)
        if made.rate not in (8000, 16000):
            raise ValueError(f"rate must be 8000 or 16000 here, got {made.rate}")
        if not made.visual and made.voices == 1:
            raise ValueError("what only hears (visual = ()) needs voices of at least 2 here")
        if run["batch"] < 2:
            raise ValueError(f"--batch of {self.system} must be at least 2, got {run['batch']}")
        if source(run).kind == "world" and len(made.face) == 1:
            raise ValueError(
                f"--scale paper of {self.system} takes a vector of {made.face[0]:,} numbers of each "
                "picture of a face, from a frozen network that recognises faces; none comes with "
                "the book. Give a folder in which each film is such vectors, (T, "
                f"{made.face[0]}) in a file .npy; or take --scale world"
            )
        return made

    def mixtures(
        self, run: dict[str, Any], config: Any, split: str, size: int | None, heard: float
    ) -> cocktail_party.Mixtures:
        """Clips of a split, to be mixed; so many seconds of a mixture are heard."""
        seconds, own = SECONDS[run["scale"]], source(run)
        if own.kind == "folder":
            waves, faces, who = clips.clips_of(own.name, split, size, config, seconds)
        else:
            waves, faces, who = self.drawn(run, config, split, size, seconds)
        party, known = max(2, config.voices), len(who.unique())
        if known < party:
            raise ValueError(
                f"{party} voices need as many speakers, got {known}"
                + ("" if size is None else f": --size must be {party} or more")
            )
        return cocktail_party.Mixtures(config, waves, faces, who, voices=party, seconds=heard)

    def drawn(
        self, run: dict[str, Any], config: Any, split: str, size: int | None, seconds: float
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """The world's clips: waves (N, L), faces (N, T, *face) or None, and the speakers (N,)."""
        usual = 2 * (voices.TRAIN_SPEAKERS if split == "train" else voices.TEST_SPEAKERS)
        sizes = dict(sample_rate=config.rate, start="anywhere", seconds=seconds)
        rows = source(run).rows("talking_faces", split, size, clips.PIXELS, usual, **sizes)
        shown = []
        for start in range(0, len(rows), 120):  # the films are large
            part = rows.select(range(start, min(start + 120, len(rows))))
            if config.visual:
                film = torch.from_numpy(np.stack(column(part, "frames")))
                shown.append(clips.looked(film, config))
        waves = torch.from_numpy(np.stack(column(rows, "wave")))
        names = {one: k for k, one in enumerate(dict.fromkeys(rows["speaker"]))}
        who = torch.tensor([names[one] for one in rows["speaker"]])
        return waves, torch.cat(shown) if shown else None, who

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        config = self.settings(run)
        data = self.mixtures(run, config, "train", run["size"], HEARD[run["scale"]])
        torch.manual_seed(run["seed"])
        model = cocktail_party.CocktailParty(config)
        adam = functools.partial(torch.optim.AdamW, betas=(0.9, 0.98), fused=True)
        more = dict(batch_size=min(run["batch"], len(data)), drop_last=True, optimizer=adam)
        with threads_of(run):
            history = self.fit(
                model,
                data,
                folder,
                run,
                **more,
                weight_decay=0.01,
                warmup=min(40, run["steps"] // 10),
                clip=20.0,
            )
        saving.save(model, folder)
        return history

    def load(self, folder: Path) -> cocktail_party.CocktailParty:
        """A trained network."""
        model, _ = saving.load(cocktail_party.CocktailParty, folder)
        return model.to(device()).eval()

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """Mixtures of what was kept back (in the world, unseen speakers), equally loud: what is gained
        over the mixture, in decibels."""
        model = self.load(folder)
        config = model.config
        some = None if size is None or source(run).kind == "folder" else max(size, 6)
        data = self.mixtures(run, config, "test", some, SECONDS[run["scale"]])
        torch.manual_seed(0)
        count = TEST if size is None else size
        own = [k % len(data) for k in range(count)]
        gains: dict[str, list[Tensor]] = {"gain in SI-SDR, dB": []}
        alone = []
        for start in range(0, count, 50):
            batch = data.__getitems__(own[start : start + 50])
            whole = {name: torch.stack([one[name] for one in batch]) for name in batch[0]}
            mixture, sources = whole["mixture"].to(device()), whole["sources"].to(device())
            faces = whole["faces"].to(device()) if model.watch else None
            shown = {"gain in SI-SDR, dB": faces}
            if faces is not None:
                shown["the same with the faces exchanged, dB"] = faces.roll(1, 1)
            for name, film in shown.items():
                guess = model(mixture, film)
                if model.watch is None and config.voices > 1:  # it cannot know the order
                    costs = -cocktail_party.si_sdr(guess[:, :, None], sources[:, None])
                    order = cocktail_party.best_order(costs)[1]
                    guess = guess.take_along_dim(order[..., None], 1)
                gain = cocktail_party.improvement(guess, sources[:, : guess.shape[1]], mixture)
                gains.setdefault(name, []).append(gain.cpu())
            alone.append(cocktail_party.si_sdr(mixture[:, None], sources).cpu())
        out = {name: float(torch.cat(own).mean()) for name, own in gains.items()}
        return {"SI-SDR of the mixtures, dB": float(torch.cat(alone).mean()), **out}

    @torch.no_grad()
    def separate(
        self, folder: Path, mixture: str, films: list[str], fps: float | None
    ) -> tuple[Tensor, int]:
        """The voices (K, L) of a mixture, in the order of the films, and samples a second.

        Raises:
            ValueError: files that cannot be read (all of them are named, a line each), more or fewer
                films than voices, or films that last longer or shorter than the sound.
        """
        model = self.load(folder)
        config = model.config
        if model.watch is None and films:
            raise ValueError(f"{str(folder)!r} only hears: leave the films out")
        fixed = config.voices > 1 and len(films) != config.voices
        if model.watch is not None and (fixed or not films):
            gives, needs = "a voice for each film", "one or more"
            if config.voices > 1:
                gives, needs = f"{config.voices} voices", f"{config.voices} films"
            raise ValueError(
                f"{str(folder)!r} gives {gives} and needs {needs}, one of each face, got "
                f"{len(films)}; --set voices=1 trains one that takes any number"
            )
        wrong, shown, heard = [], [], None
        try:
            heard = files.sound(mixture, config.rate)
            cocktail_party.frames(config, len(heard))
        except (OSError, ValueError) as error:
            wrong.append(f"{mixture}: {error}")
        for one in films:
            try:
                seconds = None if heard is None else len(heard) / config.rate
                shown.append(clips.faces(one, config, fps, seconds))
            except (OSError, ValueError) as error:
                wrong.append(f"{one}: {error}")
        if wrong:
            raise files.Unread(wrong, 1 + len(films))
        faces = None
        if films:
            faces = torch.stack([clips.looked(one, config) for one in shown])[None]
            moves = (faces[0] - faces[0].mean(1, keepdim=True)).abs().flatten(1).amax(1)
            still = [name for name, own in zip(films, moves.tolist()) if own < 1e-3]
            for name in dict.fromkeys(one for one in films if films.count(one) > 1):
                files.say(f"{name} is given more than once; each voice needs a face of its own")
            for name in still:
                files.say(f"{name} does not move, so it says nothing about whose voice is whose")
            faces = faces.to(device())
        found = model.separate(heard[None].to(device()), faces)
        return found[0].cpu(), config.rate
