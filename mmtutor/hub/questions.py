"""A reader's own pictures, with questions and answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmtutor.hub.found import (
    TABLES,
    is_unicode,
)
from mmtutor.hub.kept import Row
from mmtutor.hub.own import only_told, with_lines

if TYPE_CHECKING:
    import datasets


def asked(
    path: str | Path, split: str = "train", *, pixels: int = 64, damaged: str = "refuse"
) -> datasets.Dataset:
    """Return your own pictures with questions and answers, in the columns of ``load("vqa_v2")``.

    The folder is laid out as :func:`folder` reads it. The questions stand in ``metadata.jsonl`` (or
    ``metadata.csv``), a line for each, or all those of a picture as lists::

        {"file_name": "rex.png", "question": "is there a dog?", "answer": "yes"}
        {"file_name": "tom.png", "questions": ["what is it?", "how many?"], "answers": ["a cat", "1"]}

    An answer is kept as it is, but for spaces around it and capitals: *Yes* is *yes*.

    Args:
        path, split, pixels, damaged: as in :func:`folder`.

    Returns:
        A ``datasets.Dataset`` with ``file``, ``image``, ``questions`` and ``answers`` (lists of one
        length); pictures of which nothing is asked are left out.

    Raises:
        ValueError: besides what :func:`folder` raises: no question of any picture, a question
            without an answer, or one that is no text; the line is named. Sounds.

    Warns:
        FolderWarning: pictures were left out.
    """
    import datasets

    rows, lines = with_lines(path, split, pixels, damaged, "questions are asked about pictures")
    pairs: dict[str, list[tuple[str, str]]] = {}
    for name, where, row in lines:
        pairs.setdefault(name, []).extend(_asked_of(row, where))
    told = {
        name: {"questions": [q for q, _ in some], "answers": [a for _, a in some]}
        for name, some in pairs.items()
        if some
    }
    nothing = (
        f"nothing is asked of any picture of {str(path)!r}, split {split!r}: write "
        '{"file_name": "rex.png", "question": "is there a dog?", "answer": "yes"} into '
        f"{TABLES[0]}, a line for each question"
    )
    types = dict.fromkeys(("questions", "answers"), datasets.Sequence(datasets.Value("string")))
    return only_told(rows, told, types, nothing, "have no question")


def _asked_of(row: Row, where: str) -> list[tuple[str, str]]:
    """The questions of a row with their answers."""
    pairs = []
    for column, other in (("questions", "answers"), ("question", "answer")):
        both = [row.get(name) for name in (column, other)]
        if both == [None, None]:
            continue
        if None in both:
            there, missing = (column, other) if both[1] is None else (other, column)
            raise ValueError(f"{where}: there is {there}, but no {missing}; give both")
        asked, said = (own if isinstance(own, list) else [own] for own in both)
        if len(asked) != len(said):
            raise ValueError(f"{where}: {len(asked)} {column}, but {len(said)} {other}")
        for question, answer in zip(asked, said):
            if type(answer) is int:  # how many?
                answer = str(answer)
            for name, text in ((column, question), (other, answer)):
                if not isinstance(text, str) or not text.strip() or not is_unicode(text):
                    raise ValueError(
                        f"{where}: {name} must be text, or a list of texts, not {text!r:.80}"
                    )
            pairs.append((question.strip(), " ".join(answer.split()).lower()))
    return pairs
