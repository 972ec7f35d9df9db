"""Bring your own pictures: what is left of a joint embedding once it has learned, to search with
and to keep.

A :class:`Finder` is a trained :class:`~mmtutor.joint_embedding.JointEmbedding` with all that a
search needs beside it: the vocabulary and the way in which texts are split, the network that looks
at pictures and how its features were standardized, and the collection itself, as vectors with file
names and captions. It finds pictures for words and words for a picture, and it is saved to a folder
and loaded from it.

Around it stand the two things that a folder of one's own needs before the training: :func:`look`
turns pictures into features a few hundred at a time, so that 30,000 of them need no more memory
than their features do; :func:`pairs` says which text belongs to which picture. In all::

    photos = hub.folder("my/pictures", pixels=224)
    encoder = ImageEncoder(layer="vector")
    seen = look(photos, encoder)
    captions, owner = pairs(photos)
    vocabulary = Vocabulary(chain.from_iterable(map(ngrams, captions)), min_count=2)
    texts = encode_texts(captions, vocabulary, ngrams)
    model = JointEmbedding(Config.small(len(vocabulary)))
    recipe = dict(batch_size=128, lr=2e-3, weight_decay=1.0, epochs=max(3, 10_000 // len(texts)))
    training.fit(model, Pairs(standardize(seen), texts, owner), collate=dict, **recipe)
    finder = Finder(model, vocabulary, encoder, photos, seen)
    finder.pictures("a dog on the beach"); finder.texts("new.jpg"); finder.save("my/finder")
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtutor import hub
from mmtutor.joint_embedding import JointEmbedding, encode_texts
from mmtutor.kit import arrays, pictures, retrieval, saving, training, vision
from mmtutor.kit.text import Vocabulary, ngrams, tokenize
from mmtutor.kit.vision import ImageEncoder

if TYPE_CHECKING:
    import datasets

CHUNK = 500  # pictures that are held at a time while they are looked at
LONG = 2000  # characters: a batch is as wide as its longest text, and takes memory for it
WORDLESS = ("refuse", "skip")
#: The ways to split a text that a saved finder can name.
SPLITS: dict[str, Callable[..., list[str]]] = {"words": tokenize, "ngrams": ngrams}
_PROBE = 64  # side of the picture by which an encoder is known again


class Hit(NamedTuple):
    """One thing that was found: how near it is (a cosine), its texts, and the files they are of."""

    score: float
    captions: list[str]
    files: list[str]


# --- Before the training --------------------------------------------------------------------------


def look(
    photos: datasets.Dataset | np.ndarray,
    encoder: ImageEncoder,
    *,
    mirrored: bool = True,
    chunk: int = CHUNK,
    cache: bool = True,
) -> Tensor:
    """The features of a collection, computed in pieces and kept in the cache: pictures are in
    memory ``chunk`` at a time, and a run that was broken off goes on where it was.

    Args:
        photos: with a column ``image``; or uint8 (N, H, W, 3).
        encoder: of ``layer="vector"``.
        mirrored: look at each picture and at its mirror image, and take the mean: what does not
            depend on left and right is told better. It takes twice the time. (Not where captions
            tell left from right.)
        chunk: pictures at a time.
        cache: keep the features; not those of a picture that only asks.

    Returns:
        (N, D), float16.

    Raises:
        ValueError: no pictures, an encoder that gives maps, or a chunk below 1.
    """
    if encoder.layer != "vector":
        raise ValueError(f"look needs an encoder of layer='vector', got {encoder.layer!r}")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"chunk must be a whole number of at least 1, got {chunk!r}")
    if len(photos) == 0:
        raise ValueError("there are no pictures to look at")
    parts = []
    for start in range(0, len(photos), chunk):
        some = images_of(photos, start, min(start + chunk, len(photos)))
        seen = vision.features(some, encoder, cache=cache)
        if mirrored:
            other = vision.features(np.ascontiguousarray(some[:, :, ::-1]), encoder, cache=cache)
            seen = ((seen.float() + other.float()) / 2).half()
        parts.append(seen)
    return torch.cat(parts)


def images_of(photos: Any, start: int, stop: int) -> np.ndarray:
    """Some of the pictures, uint8 (N, S, S, 3): of an array, or of a data set with ``image``."""
    if isinstance(photos, np.ndarray):
        return photos[start:stop]
    return arrays.column(photos.select(range(start, stop)), "image")


def pairs(
    photos: datasets.Dataset, *, tags: bool = False, wordless: str = "refuse"
) -> tuple[list[str], Tensor]:
    """Which texts there are, and the picture of each.

    A picture with five captions makes five pairs, one without any (``hub.folder(…,
    uncaptioned="keep")``) none. Without captions the class is the text: what lies in the folder
    ``dog`` is *dog*.

    Args:
        photos: what ``hub.folder`` gave.
        tags: the texts of a picture are tags: join them to one text.
        wordless: what becomes of a text without a letter or a digit (``"…"``, an emoji alone):
            ``"refuse"`` it, or ``"skip"`` it with a warning.

    Returns:
        M texts, and (M,) int64, the number of the picture of each.

    Raises:
        ValueError: neither captions nor classes, no text at all, or one without a word (its file
            is named).

    Warns:
        FolderWarning: texts were left out, as was asked; all texts say the same, so that nothing
            can be learned from them; or some are so long that a batch with one of them may not fit
            in memory (they are named).
    """
    if wordless not in WORDLESS:
        raise ValueError(f"wordless must be one of {WORDLESS}, got {wordless!r}")
    texts, owner, empty = [], [], []
    files, said = _files(photos), set()
    for number, own in enumerate(captions_of(photos)):
        for text in [", ".join(own)] if tags and own else own:
            if words := tokenize(text):
                texts.append(text)
                owner.append(number)
                if len(said) < 2:
                    said.add(tuple(words))
            else:
                empty.append(f"{files[number]}: {text!r}")
    if empty and wordless == "refuse":
        raise ValueError(
            f"{len(empty)} texts have no word, the first of {empty[0]}; mend them, or leave them "
            "out with wordless='skip'"
        )
    if empty:
        warnings.warn(
            f"{len(empty)} texts without a word are left out: {'; '.join(empty[:5])}",
            hub.FolderWarning,
            stacklevel=2,
        )
    if not texts:
        raise ValueError("no picture has a text to learn from")
    long = [row for row, text in enumerate(texts) if len(text) > LONG]
    if long:
        most = max(long, key=lambda row: len(texts[row]))
        warnings.warn(
            f"{len(long)} texts have more than {LONG:,} characters, the longest of "
            f"{files[owner[most]]} {len(texts[most]):,}: each makes its whole batch as wide, which "
            "may not fit in memory; shorten them, or train with a smaller batch_size",
            hub.FolderWarning,
            stacklevel=2,
        )
    if len(said) == 1:
        warnings.warn(
            f"all texts say the same ({texts[0]!r:.80}), so nothing tells the pictures apart and "
            "nothing will be learned",
            hub.FolderWarning,
            stacklevel=2,
        )
    return texts, torch.tensor(owner)


def captions_of(photos: datasets.Dataset) -> list[list[str]]:
    """What is said of each picture: its captions, or its class.

    Raises:
        ValueError: the pictures have neither.
    """
    names = photos.column_names
    if "captions" in names:
        return [list(own) for own in _texts_of(photos, "captions")]
    if "thing" in names:
        return [[thing] for thing in _texts_of(photos, "thing")]
    raise ValueError(
        "the pictures have no captions: write them into metadata.jsonl beside the files, a line "
        '{"file_name": "rex.png", "captions": ["a dog on the beach"]} for each, or sort the '
        "pictures into folders with the names of classes"
    )


def _texts_of(photos: datasets.Dataset, name: str) -> list[Any]:
    """A column of strings or of lists of them, without touching the pictures."""
    return photos.select_columns([name]).with_format(None)[:][name]


def _files(photos: datasets.Dataset) -> list[str]:
    if "file" in photos.column_names:
        return list(_texts_of(photos, "file"))
    return [f"picture {number}" for number in range(len(photos))]


# --- After it -------------------------------------------------------------------------------------


class Finder:
    """Finds pictures for words and words for a picture.

    Args:
        model: trained, with features standardized by :func:`mmtutor.kit.vision.standardize`.
        vocabulary: of the model.
        encoder: the network that made the features.
        photos: the collection: ``file``, ``captions`` or ``thing`` if there are any, and ``image``,
            which is only asked for its size.
        features: (N, D) of the collection, from :func:`look`.
        reference: the features that the model was trained with, if the collection is another one;
            they were standardized by their own mean and deviation.
        split: how texts become pieces: ``ngrams``, ``tokenize``, or a ``functools.partial`` of one
            of them with other settings.
        mirrored: as in :func:`look`.
        index: search by :class:`mmtutor.kit.retrieval.Index` instead of exactly; it is for hundreds
            of thousands of pictures, and needs faiss.

    Raises:
        TypeError, ValueError: no pictures, sizes that do not fit, NaN among the features (the file
            is named), an encoder that gives maps, a split that is unknown.
    """

    def __init__(
        self,
        model: JointEmbedding,
        vocabulary: Vocabulary,
        encoder: ImageEncoder,
        photos: datasets.Dataset,
        features: Tensor,
        *,
        reference: Tensor | None = None,
        split: Callable[[str], list[str]] = ngrams,
        mirrored: bool = True,
        index: bool = False,
    ) -> None:
        if len(photos) == 0:
            raise ValueError("there are no pictures to find")
        self.files = _files(photos)
        has_texts = {"captions", "thing"} & set(photos.column_names)
        self.captions = captions_of(photos) if has_texts else [[] for _ in self.files]
        self.pixels = len(images_of(photos, 0, 1)[0])
        if features.shape != (len(self.files), model.config.image):
            raise ValueError(
                f"{len(self.files)} pictures need features ({len(self.files)}, "
                f"{model.config.image}), got {tuple(features.shape)}"
            )
        self._check_finite(features)
        seen = features if reference is None else reference
        deviation, mean = torch.std_mean(seen.float(), dim=0, correction=0)
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp(min=1e-6), 0.0)
        self._set(model, vocabulary, encoder, mean, scale, split, mirrored, index)
        self.vectors = self._embedded(features)  # (N, E)
        self.text_vectors = self._read(self.texts_known)  # (T, E)

    def _check_finite(self, features: Tensor) -> None:
        try:
            retrieval.check_vectors(features, "features")
        except ValueError as error:
            bad = (~torch.isfinite(features).all(1)).nonzero()[:, 0].tolist()
            named = ", ".join(self.files[row] for row in bad[:5])
            raise ValueError(f"the features of {named} are not finite") from error

    def _set(
        self,
        model: JointEmbedding,
        vocabulary: Vocabulary,
        encoder: ImageEncoder,
        mean: Tensor,
        scale: Tensor,
        split: Callable[[str], list[str]],
        mirrored: bool,
        index: bool,
    ) -> None:
        if len(vocabulary) != model.config.vocabulary:
            raise ValueError(
                f"the model knows {model.config.vocabulary} pieces, the vocabulary has "
                f"{len(vocabulary)}: it is another one's"
            )
        if encoder.layer != "vector" or encoder.channels != model.config.image:
            raise ValueError(
                f"the model reads vectors of {model.config.image} numbers, the encoder "
                f"{encoder.key} gives {encoder.channels} as a {encoder.layer}"
            )
        _name_of(split)
        self.model, self.vocabulary, self.encoder = model.eval(), vocabulary, encoder
        self.mean, self.scale, self.split, self.mirrored = mean, scale, split, mirrored
        self.by_index, self._graphs = index, {}
        of: dict[str, list[str]] = {}
        for file, own in zip(self.files, self.captions):
            for text in dict.fromkeys(own):
                if split(text):
                    of.setdefault(text, []).append(file)
        self._files_of = of
        self.texts_known = list(of)

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return (
            f"Finder: {len(self)} pictures, {len(self.texts_known)} texts, "
            f"{len(self.vocabulary)} pieces, looked at by {self.encoder.key}"
        )

    # --- Both towers: the model runs where it is, its vectors lie on the CPU

    @torch.no_grad()
    def _embedded(self, features: Tensor) -> Tensor:
        parts, where = [], self.model.words.weight.device
        for rows in training.batches_of(len(features), 4096):
            x = ((features[rows].float() - self.mean) * self.scale).to(features.dtype)
            parts.append(self.model.embed_pictures(x.to(where)).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def _read(self, texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, self.model.config.joint)
        parts, where = [], self.model.words.weight.device
        for rows in training.batches_of(len(texts), 1024):
            ids = encode_texts(texts[rows], self.vocabulary, self._known)
            parts.append(self.model.embed_texts(ids.to(where)).cpu())
        return torch.cat(parts)

    def _known(self, text: str) -> list[str]:
        """The pieces of a text that the vocabulary has; all of them where it has none. Of a word in
        a new form most pieces may be unknown, and ``<unk>`` would drown the rest."""
        pieces = self.split(text)
        return [piece for piece in pieces if piece in self.vocabulary] or pieces

    # --- To search

    def pictures(self, text: str | Iterable[str], k: int = 5) -> list[Hit]:
        """The pictures that are nearest to a text, best first; exactly, if there is no index.

        Args:
            text: a few words, or a list of tags.
            k: how many; all of them, if the collection has no more.

        Raises:
            TypeError: no text.
            ValueError: a text without a word, or none of whose pieces was in the captions that it
                learned from; or k below 1.
        """
        if not isinstance(text, str):
            tags = list(text) if isinstance(text, Iterable) else [text]
            if not all(isinstance(tag, str) for tag in tags):
                raise TypeError(f"expected a text, or a list of tags, got {text!r:.80}")
            text = ", ".join(tags)
        pieces = self.split(text)
        if not pieces:
            raise ValueError(f"there is no word in {text!r}")
        if not any(piece in self.vocabulary for piece in pieces):
            raise ValueError(
                f"nothing of {text!r} was in the captions that were learned from; try other words"
            )
        found = self._nearest(self._read([text]), self.vectors, k)
        return [
            Hit(score, self.captions[number], [self.files[number]])
            for score, number in zip(found.scores[0].tolist(), found.items[0].tolist())
        ]

    def texts(self, picture: Any, k: int = 5) -> list[Hit]:
        """The texts of the collection that are nearest to a picture, best first.

        Args:
            picture: a file; or an array, a tensor or a Pillow image as
                :func:`mmtutor.kit.pictures.rgb` takes it. It is cut to its central square, as the
                collection was.
            k: how many; all of them, if the collection has no more.

        Raises:
            FileNotFoundError: there is no such file.
            TypeError, ValueError: no picture, or one that cannot be decoded (named); a collection
                without texts; k below 1.
        """
        if not self.texts_known:
            raise ValueError("the collection has no texts")
        square = self._square(picture)[None]
        seen = look(square, self.encoder, mirrored=self.mirrored, cache=False)
        found = self._nearest(self._embedded(seen), self.text_vectors, k)
        texts = [self.texts_known[number] for number in found.items[0].tolist()]
        return [
            Hit(score, [text], self._files_of[text])
            for score, text in zip(found.scores[0].tolist(), texts)
        ]

    def _square(self, picture: Any) -> np.ndarray:
        if isinstance(picture, (str, Path)):
            return hub.picture(picture, self.pixels)
        from PIL import Image, ImageOps

        size = (self.pixels, self.pixels)
        try:
            upright = pictures.rgb(picture)
        except OSError as error:  # Pillow decodes a file when it is first asked for its pixels
            name = getattr(picture, "filename", None) or "the picture"
            raise ValueError(f"{str(name)!r} cannot be read as a picture: {error}") from error
        image = ImageOps.fit(upright, size, method=Image.Resampling.BICUBIC)
        return np.asarray(image, dtype=np.uint8)

    def _nearest(self, query: Tensor, items: Tensor, k: int) -> retrieval.Found:
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
        k = min(int(k), len(items))
        if not self.by_index:
            return retrieval.nearest(query, items, k)
        if id(items) not in self._graphs:  # made when it is first asked
            self._graphs[id(items)] = retrieval.Index(items)
        return self._graphs[id(items)].nearest(query, k)

    # --- To keep

    def save(self, folder: str | Path) -> Path:
        """Write all of it to a folder; the pictures themselves stay where they are.

        The folder has some 4·E bytes for each picture and for each of its texts: 30,000 pictures
        with five captions each and E = 256 take 190 MB.

        Raises:
            TypeError, OSError: as :func:`mmtutor.kit.saving.save`.
        """
        encoder = self.encoder
        return saving.save(
            self.model,
            folder,
            finder={
                "words": self.vocabulary.words,
                "counts": self.vocabulary.counts,
                "specials": list(self.vocabulary.specials),
                "split": _name_of(self.split),
                "encoder": {
                    "name": encoder.name,
                    "layer": encoder.layer,
                    "pretrained": encoder.pretrained,
                    "seed": encoder.seed,
                },
                "pixels": self.pixels,
                "mirrored": self.mirrored,
                "index": self.by_index,
                "files": self.files,
                "captions": self.captions,
            },
            mean=self.mean,
            scale=self.scale,
            vectors=self.vectors,
            text_vectors=self.text_vectors,
            probe=_probe(encoder),
        )

    @classmethod
    def load(cls, folder: str | Path, encoder: ImageEncoder | None = None) -> Finder:
        """Read what :meth:`save` wrote.

        Args:
            folder: where it lies.
            encoder: the network that looks at new pictures, if it is at hand; it is made anew
                otherwise. Either way it must see what the saved one saw.

        Raises:
            FileNotFoundError: no such folder, or (for a network whose weights are downloaded) no
                weights.
            ValueError: no finder in it, one that this version cannot read, a damaged file, or an
                encoder that sees something else.
        """
        model, more = saving.load(JointEmbedding, folder)
        if not isinstance(more.get("finder"), dict):
            raise ValueError(
                f"{str(folder)!r} holds a model without a collection; load it with "
                "mmtutor.kit.saving.load"
            )
        note = more["finder"]
        _check_note(note, more, folder)
        encoder = ImageEncoder(**note["encoder"]) if encoder is None else encoder
        _check_encoder(encoder, note["encoder"], more["probe"])
        self = cls.__new__(cls)
        self.files, self.captions, self.pixels = note["files"], note["captions"], note["pixels"]
        vocabulary = Vocabulary(dict(zip(note["words"], note["counts"])), specials=note["specials"])
        split = _split_of(note["split"])
        statistics = more["mean"], more["scale"]
        self._set(model, vocabulary, encoder, *statistics, split, note["mirrored"], note["index"])
        self.vectors, self.text_vectors = more["vectors"], more["text_vectors"]
        c, features = model.config, tuple(self.mean.shape)
        sizes = {
            "captions": (len(self.captions), len(self.files)),
            "vectors": (tuple(self.vectors.shape), (len(self.files), c.joint)),
            "text_vectors": (tuple(self.text_vectors.shape), (len(self.texts_known), c.joint)),
            "mean": (features, (c.image,)),
            "scale": (tuple(self.scale.shape), features),
            "words": (vocabulary.words, note["words"]),
        }
        _refuse([name for name, (there, wanted) in sizes.items() if there != wanted], folder)
        return self


#: What a saved finder notes, and of which kind it is; and the tensors beside it.
_NOTE = {"words": list, "counts": list, "specials": list, "split": dict, "encoder": dict}
_NOTE |= {"pixels": int, "mirrored": bool, "index": bool, "files": list, "captions": list}
_BESIDE = ("mean", "scale", "vectors", "text_vectors", "probe")
_ENCODER = {"name", "layer", "pretrained", "seed"}


def _check_note(note: dict[str, Any], more: dict[str, Any], folder: str | Path) -> None:
    """Raise a ValueError unless a note is one that :meth:`Finder.save` writes."""
    wrong = [name for name, kind in _NOTE.items() if not isinstance(note.get(name), kind)]
    wrong += [name for name in _BESIDE if not isinstance(more.get(name), Tensor)]
    _refuse(wrong, folder)
    if set(note["encoder"]) != _ENCODER:
        wrong.append("encoder")
    for name in ("words", "specials", "files"):
        if not all(isinstance(text, str) for text in note[name]):
            wrong.append(name)
    if not all(isinstance(own, list) for own in note["captions"]) or not all(
        isinstance(text, str) for own in note["captions"] for text in own
    ):
        wrong.append("captions")
    try:
        _split_of(note["split"])("word")
    except (KeyError, TypeError, ValueError):
        wrong.append("split")
    _refuse(wrong, folder)


def _refuse(wrong: list[str], folder: str | Path) -> None:
    if wrong:
        raise ValueError(
            f"the finder in {str(folder)!r} cannot be read: {', '.join(wrong)} missing, or not as "
            "this version of mmtutor writes it; make and save the finder again"
        )


def _name_of(split: Callable[[str], list[str]]) -> dict[str, Any]:
    """A way to split as what JSON can say."""
    function, settings = split, {}
    if isinstance(split, functools.partial) and not split.args:
        function, settings = split.func, dict(split.keywords)
    for name, known in SPLITS.items():
        if function is known:
            return {"name": name, **settings}
    raise ValueError(
        f"split must be tokenize or ngrams, or a functools.partial of one of them with named "
        f"settings, so that it can be saved; got {split!r}"
    )


def _split_of(note: dict[str, Any]) -> Callable[[str], list[str]]:
    settings = {name: value for name, value in note.items() if name != "name"}
    function = SPLITS[note["name"]]
    return functools.partial(function, **settings) if settings else function


def _probe(encoder: ImageEncoder) -> Tensor:
    """What an encoder sees in a picture that is always the same, (D,)."""
    x = np.arange(_PROBE)
    picture = np.stack([x[:, None] * 3 + 0 * x, x * 4 + 0 * x[:, None], x[:, None] * x // 16], 2)
    where = encoder.mean.device
    image = torch.from_numpy(picture.astype(np.uint8)).permute(2, 0, 1)[None].to(where)
    return encoder(image)[0].float().cpu()


def _check_encoder(encoder: ImageEncoder, note: dict[str, Any], probe: Tensor) -> None:
    """Raise a ValueError unless an encoder sees what the saved one saw, up to rounding."""
    named = {name: getattr(encoder, name) for name in note}
    if named != note:
        raise ValueError(
            f"the collection was looked at by {note['name']} ({note}), this encoder is "
            f"{encoder.name} ({named})"
        )
    seen = _probe(encoder)
    if seen.shape != probe.shape or not torch.allclose(seen, probe, rtol=0.01, atol=0.01):
        raise ValueError(
            f"this {encoder.name} sees something else than the one that looked at the collection; "
            "its weights are others"
        )
