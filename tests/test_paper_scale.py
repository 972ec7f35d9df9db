"""The paper cells of the chapters: each trains at the paper's sizes and uses what it has trained.

Data are made, of the columns that the real sets have; see ``papercells``.
"""

from __future__ import annotations

import ast
import functools
import math
import random
import re
from pathlib import Path

import pytest
from papercells import calls, chapters, left_at_home, paper_branch, run_paper, tagged
from test_hub import (
    fake_hub,
    folder,
    packed,
    photograph,
    recording,
    repositories,
    write_parquet,
)

__all__ = ["fake_hub", "folder", "repositories"]  # fixtures

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
    branch = paper_branch(cell)
    assert ("train" if chapter == "02_word2vec" else "fit") in calls(branch)
    assert left_at_home(branch) == 0


def test_the_chapters_are_all_there() -> None:
    assert [int(name[:2]) for name in chapters()] == list(range(1, 17))


def test_what_does_not_train_is_seen() -> None:
    source = 'if scale == "world":\n    training.fit(model)\nif scale == "paper":\n    print(1)'
    assert calls(paper_branch(source)) == {"print"}
    assert "fit" in calls(paper_branch('if scale == "paper":\n    training.fit(model)'))
    made = 'if scale == "paper":\n    encoder = vision.ImageEncoder("vgg16"){}'
    assert left_at_home(paper_branch(made.format(""))) == 1
    assert left_at_home(paper_branch(made.format(".to(device())"))) == 0


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
    where = {'"my/seen_things"': repr(str(own))}
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

    asked = [
        "man",
        "woman",
        "king",
        "queen",
        "paris",
        "france",
        "rome",
        "italy",
        "music",
        "song",
        "car",
        "cars",
    ]
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


def more_coco(repositories: Path) -> None:
    """The other parts of COCO: 8 photographs to learn from and 20 to test on, two captions each."""
    import datasets as d

    text, whole = d.Value("string"), d.Value("int64")
    for split, count in (("train", 8), ("test", 20)):
        rows = [k // 2 for k in range(2 * count)]
        write_parquet(
            repositories / "coco_captions" / "data" / f"{split}-00000-of-00001.parquet",
            {
                "image": [packed(photograph(20 * k), "x") for k in rows],
                "cocoid": rows,
                "caption": [f"a grey picture with number {k}" for k in range(2 * count)],
            },
            {"image": d.Image(), "cocoid": whole, "caption": text},
        )


@pytest.mark.usefixtures("fake_hub")
def test_text_to_image(monkeypatch: pytest.MonkeyPatch, repositories: Path) -> None:
    """The real sizes, in batches of 4, for two steps of each lesson."""
    more_coco(repositories)
    games = []

    def prepare(names: dict) -> None:
        real = names["fit"]

        def short(model, batches, steps):
            games.append(({n: p.clone() for n, p in model.named_parameters()}, steps))
            return real(model, batches, 2)

        names["fit"] = short

    small = {"size = 64  # samples": "size = 4  # samples"}
    left = run_paper("11_text_to_image", monkeypatch, prepare=prepare, replace=small)
    left.check()
    ((before, steps),) = games
    assert steps == 83_000
    model, game = left["model"], left["game"]
    assert model.config == left["Config"].paper()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if not p.equal(before[n])}
    assert moved == {"generator", "discriminator"}
    assert game.step == 2
    assert all(math.isfinite(one) for values in game.losses.values() for one in values)
    assert left["drawn"].shape == (8, 3, 64, 64)
    assert -1 <= float(left["drawn"].min()) <= float(left["drawn"].max()) <= 1
    assert [line.split(":")[0] for line in left.printed.splitlines()] == ["drawings", "photographs"]


@pytest.mark.usefixtures("fake_hub")
def test_vqa(monkeypatch: pytest.MonkeyPatch) -> None:
    left = run_paper("13_vqa", monkeypatch)
    left.check()
    (run,) = left.runs
    config = run.model.config
    assert (config.hidden, config.layers, config.joint, config.mlp) == (512, 2, 1024, (1000, 1000))
    assert (config.image, config.answers) == (512, 32)
    assert {name.split(".")[0] for name in run.moved} == {
        name.split(".")[0] for name, _ in run.model.named_parameters()
    }
    shares, asked = left.printed.splitlines()[-2:]
    assert re.fullmatch(r"right \d+\.\d%, always '\w+' \d+\.\d%", shares)
    told = re.fullmatch(r"question 0\? It says '(.+)'; true is '0'\.", asked)
    assert told[1] in left["answers"]


@pytest.mark.usefixtures("fake_hub")
def test_the_two_berts(monkeypatch: pytest.MonkeyPatch, repositories: Path) -> None:
    """Everything but the depth and the widths: a base model in 12 layers needs 2 GB and minutes."""
    more_coco(repositories)

    def prepare(names: dict) -> None:
        small = {
            "vlbert": dict(width=24, heads=2, layers=2, hidden=32),
            "vilbert": dict(
                **dict(connections=1, width=24, heads=2, layers=2, hidden=32, region_width=16),
                **dict(region_heads=2, region_hidden=16, shared=16, shared_heads=2, pooled=16),
                answer_hidden=32,
            ),
        }
        for system, sizes in small.items():
            real = names[system].Config.paper
            smaller = functools.partial(made, real, sizes)
            monkeypatch.setattr(names[system].Config, "paper", staticmethod(smaller))

    def made(real, sizes, *_, **more):
        return real(**{**sizes, **more})

    few = {'{"told": 20_000, "train": 20_000, "test": 500}': "dict(told=8, train=8, test=2)"}
    left = run_paper("14_vlbert", monkeypatch, prepare=prepare, replace=few)
    left.check(4)
    first, second, third, fourth = (run.model for run in left.runs)
    assert first.model is second
    assert third.model is fourth
    for model in (second, fourth):
        assert model.config.region == 2048
        assert model.config.answer_loss == "sigmoid"
        assert model.config.answers == 32
    assert left["boxes"].shape == (50, 4)
    assert left["boxes"][1].tolist() == pytest.approx([0, 0, 1 / 7, 1 / 7])
    assert left["boxes"][2].tolist() == pytest.approx([1 / 7, 0, 2 / 7, 1 / 7])  # to the right
    printed = left.printed.splitlines()
    assert [line.split(":")[0] for line in printed[3::2]] == ["VL-BERT", "ViLBERT"]
    for line in printed[4::2]:
        assert (
            re.fullmatch(r"question 0\? It says '(.+)'; true is '0'\.", line)[1] in left["answers"]
        )
