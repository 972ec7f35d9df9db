"""Sound localisation on the command line: learn from pictures with their sounds where a sound comes
from, with nobody who says it; and look for the place in a picture of one's own."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmtutor import hub, sound_localization, soundnet
from mmtutor.cli import files, hearing, runs
from mmtutor.cli.data import Eyes, a_file, encoder_of, seen_in
from mmtutor.cli.task import Recipe, Task, mel_in_memory, source, threads_of
from mmtutor.hub.decoded import at_home
from mmtutor.kit import saving, training
from mmtutor.kit.imagenet import CLASSES
from mmtutor.kit.vision import DEFAULT

RATE = 8000  # samples a second
LAYER, GIVEN = "conv5", 256  # what hears: a layer of a SoundNet, and its channels
EARS = "ears"  # the folder in a run's folder that it lies in
ASIDE = 735 / 400  # steps of the ears, for each step of what points
OTHERS = 40  # sounds of others, to see whether it listens
SIDES = (384, 1024)  # least and most pixels of a side of a heat map's picture
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


@dataclass(frozen=True)
class Found:
    """Where in a picture a sound comes from.

    Attributes:
        heat: (S, S) in [0, 1], over the largest central square of the picture.
        square: uint8 (S, S, 3), that square.
        place: (x, y) of the hottest point, in pixels of the whole picture, from its top left.
        size: width and height of the whole picture.
        words: the place in words: *at the top left*.
        share: of the attention, that of the hottest cell.
        cells: so many there are.
        others: of so many other sounds, how many have the same hottest cell: (same, of all).
    """

    heat: np.ndarray
    square: np.ndarray
    place: tuple[int, int]
    size: tuple[int, int]
    words: str
    share: float
    cells: int
    others: tuple[int, int]


class Locating(Task):
    """What hears is a SoundNet, which learns first, from other videos; ``hears`` may be set to a
    small network that learns with the rest."""

    system = "sound_localization"
    says = "the place in a picture that a sound comes from (Senocak et al. 2018)"
    then = "locate"
    config = sound_localization.Config
    model = sound_localization.SoundLocalizer
    fixed = ("image", "given", "metric", "supervision")
    takes = ("steps", "batch", "lr")
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(400, 64, 2e-3),
        "small": Recipe(2000, 64, 1e-3),
    }
    small: ClassVar[dict[str, Any]] = dict(sound=256)
    lacks: ClassVar[dict[str, str]] = {
        "paper": "its ears are a SoundNet that has heard two million videos; none comes with the book"
    }

    def settings(self, run: dict[str, Any]) -> Any:
        sizes = {"sound": 64, "sharpness": 1.0}
        sizes |= {**(self.small if run["scale"] == "small" else {}), **run["set"]}
        if sizes.get("hears", "vector") == "vector":
            sizes["given"] = GIVEN
        made = self.config.world(**sizes)
        if made.rate not in (8000, 16000, 22050):
            raise ValueError(f"the world's rate is 8000, 16000 or 22050, got {made.rate}")
        if run["batch"] < 2:
            raise ValueError(
                f"--batch of {self.system} must be at least 2, got {run['batch']}: it learns to "
                "tell a sound from the others of its batch"
            )
        if run["size"] == 1:
            raise ValueError("--size must be at least 2")
        return made

    def hollow(self, settings: Any) -> torch.nn.Module:
        with mel_in_memory(sound_localization):
            return super().hollow(settings)

    def rows(self, run: dict[str, Any], rate: int, split: str, size: int) -> Any:
        """Scenes in which everything can sound, and one thing does; for the test each picture comes
        with two sounds."""
        from mmtutor.experiments.sound_localization import PIXELS

        pictures = "single" if split == "train" else "pairs"
        more = dict(sample_rate=rate, sounding="all", sources="one", pictures=pictures)
        return source(run).rows("sounding_scenes", split, size, PIXELS, size, **more)

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        from mmtutor.experiments import sound_localization as experiment

        config = self.settings(run)
        rows = self.rows(run, config.rate, "train", run["size"] or experiment.TRAIN)
        seen = seen_in(rows, encoder_of(DEFAULT, "map"))
        eyes = Eyes.fitted(DEFAULT, "map", experiment.PIXELS, seen)
        torch.manual_seed(run["seed"])
        model = sound_localization.SoundLocalizer(config)
        waves, more = waves_of(rows), {}
        with threads_of(run):
            if config.hears == "vector":
                ears = self.listen(folder, run)
                heard = vectors(ears, waves)
                usual = Eyes.fitted("soundnet", "vector", 1, heard)
                sound = usual.standardized(heard).float()
                more = dict(heard_mean=usual.mean, heard_scale=usual.scale)
            else:
                sound = waves
            data = {"features": eyes.standardized(seen).float(), "sound": sound}
            whole = dict(batch_size=min(run["batch"], len(rows)), drop_last=True)
            history = self.fit(
                model,
                data,
                folder,
                run,
                **whole,
                weight_decay=0.1,
                warmup=min(20, run["steps"] // 10),
            )
        if config.hears == "vector":
            saving.save(ears, folder / EARS)
        model = model.cpu().eval()
        with torch.no_grad():
            more["others"] = model.hear(sound[:: max(1, len(sound) // OTHERS)][:OTHERS])
        saving.save(model, folder, eyes=eyes.note(), mean=eyes.mean, scale=eyes.scale, **more)
        return history

    def listen(self, folder: Path, run: dict[str, Any]) -> soundnet.SoundNet:
        """The ears: a SoundNet that is told what a network sees, and never a name."""
        config = soundnet.Config.world(((hearing.HEAD, CLASSES),))
        waves, told = hearing.videos(run, config.rate)
        ears = soundnet.SoundNet(config)
        aside = {
            "max_steps": max(1, round(ASIDE * run["steps"])),
            "lr": 3e-3,
            "checkpoint": folder / runs.part(EARS),
        }
        hearing.taught(self, ears, waves, told, folder, {**run, "batch": 32}, **aside)
        return ears.cpu().eval()

    def load(
        self, folder: Path
    ) -> tuple[sound_localization.SoundLocalizer, soundnet.SoundNet | None, dict[str, Any]]:
        """What points, what hears (None: it hears itself), and what is saved with it."""
        model, more = saving.load(sound_localization.SoundLocalizer, folder)
        ears = None
        if model.config.hears == "vector":
            ears = saving.load(soundnet.SoundNet, folder / EARS)[0].eval()
        return model.eval(), ears, more

    @torch.no_grad()
    def sound(self, ears: soundnet.SoundNet | None, more: dict[str, Any], waves: Tensor) -> Tensor:
        """Waves (N, L) as what points hears them."""
        if ears is None:
            return waves
        usual = Eyes("soundnet", "vector", 1, more["heard_mean"], more["heard_scale"])
        return usual.standardized(vectors(ears, waves)).float()

    @torch.no_grad()
    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        """Unseen scenes, each with two sounds: how often the hottest place is on what sounds."""
        from mmtutor.experiments import sound_localization as experiment

        model, ears, more = self.load(folder)
        count = experiment.TEST if size is None else size + size % 2
        rows = self.rows(run, model.config.rate, "test", count)
        maps = eyes_of(more).standardized(seen_in(rows, encoder_of(DEFAULT, "map"))).float()
        waves = waves_of(rows)
        sound = self.sound(ears, more, waves)
        own = experiment.clips(rows, maps, waves, sound)

        def hot(heard: Tensor) -> Tensor:
            found = experiment.look(model, own, heard)
            return sound_localization.heat(found, (experiment.PIXELS, experiment.PIXELS))

        mine, theirs = hot(sound), hot(sound.roll(min(7, count - 1), 0))
        return {
            "the thing that sounds": experiment.scores(mine, own)["right"],
            "the same with another's sound": experiment.scores(theirs, own)["right"],
            "a guess among the things": experiment.blind(own),
            "both of two sounds in one picture": experiment.pairs_right(mine, own)["both right"],
            "cIoU@0.5": experiment.scores(mine, own)["ciou"],
        }

    @torch.no_grad()
    def locate(self, folder: Path, picture: str, sound: str) -> Found:
        """Where in a picture a sound comes from.

        Raises:
            Unread: a file that cannot be read; all of them are named.
        """
        model, ears, more = self.load(folder)
        wrong, eyes = [], eyes_of(more)
        try:
            size = size_of(picture)
            small = hub.picture(picture, eyes.pixels)
            side = max(SIDES[0], min(*size, SIDES[1]))
            square = hub.picture(picture, side)
        except (OSError, ValueError) as error:
            wrong.append(f"{picture}: {error}")
        try:
            rate = model.config.rate if ears is None else ears.config.rate
            wave = files.sound(sound, rate)
            if ears is not None:
                soundnet.check_length(ears.config, len(wave), LAYER)
            elif len(wave) < model.stream.least:
                raise ValueError(
                    f"{len(wave)} samples are too short: {model.stream.least} are the least"
                )
        except (OSError, ValueError) as error:
            wrong.append(f"{sound}: {error}")
        if wrong:
            raise files.Unread(wrong, 2)
        encoder = encoder_of(eyes.name, eyes.layer)
        maps = eyes.standardized(seen_in(small[None], encoder, cache=False)).float()
        heard = model.hear(self.sound(ears, more, wave[None]))
        cells = model.see(maps)
        scores = model.scores(cells, model.query(torch.cat([heard, more["others"]]))[None])[0]
        top = scores.argmax(-1)
        alpha = scores[0].softmax(-1)
        hot = sound_localization.heat(alpha.view(1, *model.config.image[1:]), (side, side))[0]
        x, y = middle_of_the_hottest(hot)
        edge = min(size)
        place = tuple(int((whole - edge) / 2 + at * edge) for whole, at in zip(size, (x, y)))
        return Found(
            hot.numpy().astype(np.float32),
            square,
            place,
            size,
            in_words(*(at / whole for at, whole in zip(place, size))),
            float(alpha.max()),
            len(alpha),
            (int((top[1:] == top[0]).sum()), len(top) - 1),
        )


def eyes_of(more: dict[str, Any]) -> Eyes:
    """The eyes that were saved beside a model."""
    return Eyes.of(more)


def waves_of(rows: Any) -> Tensor:
    """The world's waves, (N, L) in [−1, 1]."""
    from mmtutor.kit.arrays import column

    return torch.from_numpy(column(rows, "wave")).float() / 32768


@torch.no_grad()
def vectors(ears: soundnet.SoundNet, waves: Tensor) -> Tensor:
    """What the ears make of waves, the mean over time: (N, 256). Long ones are read in windows."""
    parts = [ears.listen(some, (LAYER,))[LAYER].mean(-1) for some in waves.split(100)]
    return torch.cat(parts)


def size_of(picture: str) -> tuple[int, int]:
    """Width and height of a picture, upright.

    Raises:
        OSError, ValueError: no such file, or no picture; the message names it.
    """
    from PIL import Image, ImageOps

    hub.picture(a_file(picture), 16)  # whatever is wrong with it is said here
    with Image.open(at_home(picture)) as image:
        return ImageOps.exif_transpose(image).size


def middle_of_the_hottest(heat: Tensor) -> tuple[float, float]:
    """(x, y) of the hottest point of a map (S, S), as shares of its side; the middle, where it is
    even."""
    if not bool(heat.any()):
        return 0.5, 0.5
    y, x = (heat >= heat.max() - 1e-9).nonzero().double().mean(0).tolist()
    return (x + 0.5) / heat.shape[1], (y + 0.5) / heat.shape[0]


def in_words(x: float, y: float) -> str:
    """A place, shares of the sides from the top left, in words.

    >>> in_words(0.1, 0.1), in_words(0.5, 0.5), in_words(0.5, 0.9)
    ('at the top left', 'in the middle', 'at the bottom')
    """
    row, column = (names[min(2, int(3 * at))] for names, at in ((ROWS, y), (COLUMNS, x)))
    if row == column == "middle":
        return "in the middle"
    return f"at the {' '.join(one for one in (row, column) if one != 'middle')}"


def write_heat(path: Path, found: Found) -> None:
    """Write a picture whose cold places are grey and dark, and hot ones in colour, with a ring where
    it is hottest."""
    from PIL import Image, ImageDraw

    kind, side = files.ending(path), len(found.heat)
    warm = found.heat[..., None]
    grey = found.square.mean(-1, keepdims=True) * 0.5
    shown = warm * found.square + (1 - warm) * grey
    image = Image.fromarray(shown.round().astype(np.uint8))
    x, y = (round(side * at) for at in middle_of_the_hottest(torch.from_numpy(found.heat)))
    draw, reach = ImageDraw.Draw(image), max(4, side // 24)
    for colour, wide in (((0, 0, 0), max(3, side // 100)), ((255, 255, 255), max(1, side // 200))):
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=wide)
    held = io.BytesIO()
    image.save(held, kind)
    files.write(path, held.getvalue())
