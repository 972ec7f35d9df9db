"""The paper cells of the chapters: each trains at the paper's sizes and uses what it has trained.

Data are made, of the columns that the real sets have; see ``papercells``.
"""

from __future__ import annotations

import pytest
import torch
from papercells import Paper, calls, chapters, paper_branch, run_paper, tagged
from test_hub import fake_hub, folder, repositories  # noqa: F401 (fixtures)

#: A chapter without a model: its paper branch measures a curve.
NO_MODEL = "03_sound"


@pytest.mark.parametrize("chapter", chapters())
def test_every_chapter_has_one_cell_that_trains_at_the_papers_sizes(chapter: str) -> None:
    (parameters,) = tagged(chapter, "parameters")
    names: dict = {}
    exec(parameters, names)
    assert names["scale"] == "world"
    if chapter == NO_MODEL:
        return
    (cell,) = tagged(chapter, "paper-scale")
    called = calls(paper_branch(cell))
    assert "fit" in called or "fit_teacher" in called or "train" in called


def test_the_chapters_are_all_there() -> None:
    assert [int(name[:2]) for name in chapters()] == list(range(1, 17))


def test_what_does_not_train_is_seen() -> None:
    source = 'if scale == "world":\n    training.fit(model)\nif scale == "paper":\n    print(1)'
    assert calls(paper_branch(source)) == {"print"}
    assert "fit" in calls(paper_branch('if scale == "paper":\n    training.fit(model)'))


@pytest.mark.usefixtures("fake_hub")
def test_show_and_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_paper("08_show_and_tell", monkeypatch, steps=24, batch_size=16)
    left.check()
    (run,) = left.runs
    assert (run.model.config.image, run.model.config.hidden) == (1024, 512)
    assert {"image.weight", "recurrent.weight_hh_l0", "output.weight"} <= run.moved
    assert run.settings["epochs"] == 20
    scores, caption = left.printed.splitlines()[-2:]
    assert "BLEU-4" in scores
    assert caption.endswith("people: picture 200 said 0")
    assert set(caption.split(" | ")[0].split()) <= set(left["words"].words)
