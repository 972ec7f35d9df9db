"""The paper cells of the chapters: each trains at the paper's sizes and uses what it has trained.

Data are made, of the columns that the real sets have; see ``papercells``.
"""

from __future__ import annotations

import ast
import math
import random
import re
from pathlib import Path

import pytest
from papercells import calls, chapters, paper_branch, run_paper, tagged
from test_hub import fake_hub, folder, packed, photograph, recording, write_parquet
from test_hub import repositories  # noqa: F401 (a fixture, as fake_hub and folder)

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


def pictures(root: Path, splits: dict[str, int], names: tuple[str, ...]) -> Path:
    """A folder of pictures, so many of each name in each split; a name has its own grey."""
    for split, count in splits.items():
        for label, name in enumerate(names):
            place = root / split / name
            place.mkdir(parents=True)
            for k in range(count):
                (place / f"{k}.png").write_bytes(photograph(90 * label + k))
    return root


def longer_sounds(repositories: Path) -> None:
    """ESC-50 with sounds of a second: 30 of three names, a pitch for each."""
    import datasets as d

    text, whole, names = d.Value("string"), d.Value("int64"), ("dog", "sea_waves", "rain")
    kinds = [k // 5 % 3 for k in range(30)]
    waves = [recording(300 + 400 * kind, seconds=1.0) for kind in kinds]
    write_parquet(
        repositories / "esc50" / "data" / "train-00000-of-00002.parquet",
        {
            "fold": [1 + k % 5 for k in range(30)],
            "target": kinds,
            "category": [names[kind] for kind in kinds],
            "audio": [packed(wave, None) for wave in waves],
        },
        {
            "fold": whole,
            "target": whole,
            "category": text,
            "audio": d.Audio(sampling_rate=44100),
        },
    )


@pytest.mark.usefixtures("fake_hub")
def test_fusion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repositories: Path) -> None:
    longer_sounds(repositories)
    own = pictures(tmp_path / "things", {"train": 10, "test": 2}, ("dog", "rain", "sea waves"))
    where = {'"my/things"': repr(str(own))}
    left = run_paper("01_fusion", monkeypatch, steps=2, replace=where)
    left.check(4)
    for run in left.runs:
        assert (run.model.config.mlp, run.model.config.inputs) == (
            (2048, 2048),
            (("picture", 2048), ("sound", 2048)),
        )
    assert [run.model.config.fusion for run in left.runs] == ["picture", "sound", "late", "late"]
    assert sum(left.runs[3].model.config.blend) == pytest.approx(1)
    assert left["test"]["label"].unique().tolist() == [0, 1, 2]
    assert left["names"] == ["dog", "rain", "sea waves"]
    said = left.printed.splitlines()[-3:]
    assert [line.split(":")[0] for line in said] == [
        "without ()",
        "without ('sound',)",
        "without ('picture',)",
    ]
    assert {line.split(": ")[1] for line in said} <= set(left["names"])


@pytest.mark.usefixtures("fake_hub")
def test_word2vec(monkeypatch: pytest.MonkeyPatch, repositories: Path) -> None:
    """The real settings on 20,000 words; more frequent ones are thinned, as the paper has it."""
    import datasets as d

    asked = "man woman king queen paris france rome italy music song car cars".split()
    draw = random.Random(0)
    written = " ".join(draw.choice(asked + [f"w{k}" for k in range(400)]) for _ in range(20_000))
    written = re.sub(r"\d", lambda digit: "abcdefghij"[int(digit[0])], written)
    write_parquet(
        repositories / "text8" / "data" / "train-00000-of-00001.parquet",
        {"text": [written]},
        {"text": d.Value("string")},
    )
    left = run_paper("02_word2vec", monkeypatch)
    left.check(0)  # it has a trainer of its own
    model, vectors = left["big"].model, left["big"].vectors
    assert model.config == left["word2vec"].Config.paper()
    assert all(map(math.isfinite, left["big"].losses))
    assert float(model.context.detach().abs().min(1).values.max()) > 0  # it begins at 0
    printed = left.printed.splitlines()
    assert printed[0].startswith("42,600,000 ")
    assert [line.split()[0] for line in printed[1:4]] == ["capital", "family", "king"]
    near = ast.literal_eval(printed[-1].removeprefix("near music: "))
    assert len(near) == 5
    assert set(near) <= set(vectors.vocabulary.words) - {"music"}


@pytest.mark.usefixtures("fake_hub")
def test_joint_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_paper("04_joint_embedding", monkeypatch, batch_size=16)
    left.check()
    (run,) = left.runs
    config = run.model.config
    assert (config.joint, config.words, config.image, config.loss) == (1024, 300, 512, "ranking")
    assert {"image.weight", "words.weight", "sentence.weight_hh_l0"} <= run.moved
    assert run.settings["lr"] == 2e-4
    printed = left.printed.splitlines()
    measured = {line[:24].strip(): float(line[24:]) for line in printed[3:-3]}
    assert len(measured) == 8
    assert 1 <= measured["to picture, median rank"] <= 5
    assert 0 <= measured["to text, R@1"] <= measured["to text, R@10"] <= 1
    assert set(printed[-3:]) <= set(left["texts"]["test"])


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


@pytest.mark.usefixtures("fake_hub")
def test_show_attend_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real sizes; the captions that it reads in a step are few."""
    left = run_paper("09_show_attend_tell", monkeypatch, steps=3)
    left.check()
    (run,) = left.runs
    config = run.model.config
    assert (config.hidden, config.attention, config.grid) == (1800, 512, (14, 14))
    assert {"words.weight"} <= run.moved
    printed = left.printed.splitlines()
    assert "BLEU-4" in printed[1]
    looked = [re.fullmatch(r"(\S+) +row (\d+), column (\d+)", line) for line in printed[2:]]
    assert looked
    for found in looked:
        assert found[1] in left["words"]
        assert 1 <= int(found[2]) <= 14
        assert 1 <= int(found[3]) <= 14
