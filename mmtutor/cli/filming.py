"""Video captioning on the command line: learn from films with captions, and write captions of films."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmtutor import finder, hub, video_captioning
from mmtutor.cli.data import Eyes, encoder_of, seen_in, with_eyes
from mmtutor.cli.task import (
    Recipe,
    Task,
    batches,
    source,
    threads_of,
    told_texts,
    vocabulary_of,
    worded,
    words_of,
)
from mmtutor.hub.decoded import moments
from mmtutor.kit import decoding, metrics, saving, text, training, vision
from mmtutor.kit.arrays import column
from mmtutor.kit.runtime import device
from mmtutor.kit.text import Vocabulary, tokenize
from mmtutor.world import clips as world_clips
from mmtutor.world.captions import Verdict

CHUNK = 50  # films in memory at a time
PIXELS = (64, 96, 128)  # of the world's clips


class Filming(Task):
    """Of a film so many pictures are looked at, evenly spread over its time: ``frames``."""

    system = "video_captioning"
    says = "a caption for a film, by attention over time (Yao et al. 2015)"
    then = "caption"
    folders = True
    holds = (
        "films: folders of pictures, GIFs or .npy; metadata.jsonl: "
        '{"file_name": "rex", "captions": ["a dog runs"]}'
    )
    config = video_captioning.Config
    model = video_captioning.VideoCaptioner
    fixed = (
        *("vocabulary", "features", "grid", "content", "places", "beside", "point", "listing"),
        *("track", "naming", "names"),
    )
    recipes: ClassVar[dict[str, Recipe]] = {
        "world": Recipe(2000, 64, 6e-3),
        "small": Recipe(6000, 64, 1e-3),
        "paper": Recipe(20_000, 64, 1e-4),
    }
    sizes: ClassVar[dict[str, Any]] = dict(
        width=48, embedding=64, hidden=160, attention=96, frames=6, dropout=0.0
    )
    small: ClassVar[dict[str, Any]] = dict(
        width=256, embedding=256, hidden=512, attention=256, frames=12, dropout=0.3
    )

    def settings(self, run: dict[str, Any], words: int = 1000, features: int = 1120) -> Any:
        own = dict(run["set"])
        if run["scale"] == "paper":
            made = self.config.paper(vocabulary=words, features=features, **own)
        else:
            sizes = dict(self.small if run["scale"] == "small" else self.sizes)
            if own.get("pooling") == "mean":
                sizes.pop("attention")
            if own.get("time") == "none":
                sizes.pop("frames")
            made = self.config.world(words, features, **{**sizes, **own})
        if source(run).kind == "world":
            if run["pixels"] not in PIXELS:
                raise ValueError(
                    f"--pixels of {self.system} must be 64, 96 or 128, got {run['pixels']}"
                )
            frames = self.frames(run, made)
            if run["scale"] != "paper" and frames > world_clips.FRAMES:
                raise ValueError(
                    f"the world's clips have {world_clips.FRAMES} pictures, and {frames} are to be "
                    "looked at: lower --set frames, or give a folder"
                )
        return made

    @staticmethod
    def frames(run: dict[str, Any], config: Any) -> int:
        """Pictures of a film that are looked at: what the settings say, or where they do not, the
        paper's number and the world's."""
        if config.time != "none":
            return config.frames
        return 28 if run["scale"] == "paper" else 6

    def films(self, run: dict[str, Any], frames: int, split: str, size: int | None) -> Any:
        """Rows with ``frames`` and ``captions``."""
        more = {} if source(run).kind == "world" else {"frames": frames}
        return source(run).rows(
            "clips", split, size, run["pixels"], 1600 if split == "train" else 300, **more
        )

    def layer(self, run: dict[str, Any]) -> str:
        """What is seen of a picture: a map, of which a summary is made; but for the paper a
        vector."""
        return "vector" if run["scale"] == "paper" else "map"

    def look(self, rows: Any, frames: int, encoder: vision.ImageEncoder) -> Tensor:
        """What is seen in the pictures of films, (N, frames, D), float16."""
        parts = []
        for start in range(0, len(rows), CHUNK):
            part = rows.select(range(start, min(start + CHUNK, len(rows))))
            shown = np.stack(list(column(part, "frames")))  # (N, T, H, W, 3)
            at = moments(shown.shape[1], None, frames)
            parts.append(seen(shown[:, at], encoder))
        return torch.cat(parts)

    def train(self, folder: Path, run: dict[str, Any]) -> training.History:
        frames = self.frames(run, self.settings(run))
        rows = self.films(run, frames, "train", run["size"])
        if "captions" not in rows.column_names:
            raise ValueError(
                "the films have no captions: write them into metadata.jsonl beside the films, a line "
                '{"file_name": "rex", "captions": ["a dog runs"]} for each'
            )
        captions, owner = told_texts(rows)
        layer = self.layer(run)
        x = self.look(rows, frames, encoder_of(run["encoder"], layer))
        eyes = Eyes.fitted(run["encoder"], layer, run["pixels"], x.flatten(0, 1))
        least = 1 if len(rows) < 5000 or source(run).kind == "world" else 5
        vocabulary = Vocabulary(chain.from_iterable(map(tokenize, captions)), min_count=least)
        ids = text.encode_captions(captions, vocabulary)
        torch.manual_seed(run["seed"])
        model = self.model(self.settings(run, len(vocabulary), x.shape[2]))
        loader = text.caption_batches(standardized(eyes, x), ids, owner, run["batch"])
        decay = 0.3 if run["scale"] == "world" else 0.0
        with threads_of(run):
            history = self.fit(model, loader, folder, run, weight_decay=decay, clip=5.0)
        note = dict(vocabulary=words_of(vocabulary), eyes=eyes.note(), frames=frames)
        saving.save(model, folder, **note, mean=eyes.mean, scale=eyes.scale)
        return history

    def load(self, folder: Path) -> tuple[Any, Eyes, Vocabulary, int]:
        """A trained captioner with its eyes, its words, and the number of pictures it looks at."""
        model, eyes, more = with_eyes(self.model, folder)
        return model, eyes, vocabulary_of(more["vocabulary"]), more["frames"]

    def write(self, model: Any, vocabulary: Vocabulary, x: Tensor, beam: int) -> list[str]:
        """The best caption of each film, of what is seen in it (N, frames, D)."""
        out = []
        for part in batches(len(x)):
            found = decoding.beam_search(model, x[part].float().to(device()), width=beam, n_best=1)
            out += [" ".join(vocabulary.decode(best.ids)) for best, *_ in found]
        return out

    def evaluate(
        self, folder: Path, run: dict[str, Any], size: int | None = None
    ) -> dict[str, float]:
        model, eyes, vocabulary, frames = self.load(folder)
        rows = worded(self.films(run, frames, "test", size))
        x = standardized(eyes, self.look(rows, frames, encoder_of(eyes.name, eyes.layer)))
        said = self.write(model, vocabulary, x, beam=3)
        scores = dict(metrics.caption_scores(said, finder.captions_of(rows)))
        if "clip" in rows.column_names:
            truth = [world_clips.Clip.from_json(own) for own in rows["clip"]]
            true = [world_clips.is_true(s, t) is Verdict.TRUE for s, t in zip(said, truth)]
            scores["true of the clip"] = sum(true) / len(true)
        return scores

    def caption(
        self, folder: Path, films: list[str], beam: int
    ) -> Iterator[tuple[str, str | None, str]]:
        """For each film: its name, a caption or None, what is wrong or an empty string."""
        model, eyes, vocabulary, frames = self.load(folder)
        encoder = encoder_of(eyes.name, eyes.layer)
        for file in films:
            try:
                shown = hub.film(file, frames, eyes.pixels)
            except (OSError, ValueError) as error:
                yield file, None, str(error)
                continue
            x = standardized(eyes, seen(shown[None], encoder, cache=False))
            yield file, self.write(model, vocabulary, x, beam)[0], ""


def seen(shown: np.ndarray, encoder: vision.ImageEncoder, cache: bool = True) -> Tensor:
    """What the network sees in films (N, T, H, W, 3): its vectors, or of its maps what is anywhere
    and what is in each ninth, as the chapter has it; (N, T, D), float16."""
    x = seen_in(shown.reshape(-1, *shown.shape[2:]), encoder, cache)
    if x.ndim == 4:
        place = F.adaptive_avg_pool2d(x.float(), 3).flatten(1)
        x = torch.cat([x.float().amax((2, 3)), place], 1).half()
    return x.unflatten(0, shown.shape[:2])


def standardized(eyes: Eyes, x: Tensor) -> Tensor:
    """What is seen in films (N, T, D), each number with mean 0 and deviation 1 in training."""
    return eyes.standardized(x.flatten(0, 1)).unflatten(0, x.shape[:2])
