"""What C32 to C35 are measured with: regions, what is hidden and what must not leak, lessons, and who is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmtutor import world
from mmtutor.experiments import vilbert as two
from mmtutor.experiments import vlbert as experiment
from mmtutor.experiments._captioning import images
from mmtutor.kit import masking
from mmtutor.world import captions as grammar
from mmtutor.world.scenes import Scene


@pytest.fixture(scope="module", autouse=True)
def few() -> object:
    """A few questions and pictures, made once for this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "TRAIN", 2000)
        patch.setattr(experiment, "TEST", 400)
        patch.setattr(experiment, "SCENES", 200)
        patch.setattr(experiment, "UNSEEN", (20, 50))
        for function in (experiment.load, experiment.one_thing, two.told_apart):
            function.cache_clear()
        yield
        for function in (experiment.load, experiment.one_thing, two.told_apart):
            function.cache_clear()


def test_a_region_is_the_mean_of_the_cells_by_how_much_the_box_covers() -> None:
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    boxes = torch.tensor(
        [[[0, 0, 1, 1], [0, 0, 0.25, 0.25], [0.25, 0.5, 0.75, 0.625], [0, 0, 0, 0]]]
    )
    found = experiment.read_regions(maps, boxes)[0, :, 0]
    # everything; one cell; half of two cells of the third row, which count alike; nothing
    assert found.tolist() == pytest.approx([7.5, 0.0, (9 + 10) / 2, 0.0])
    third = torch.tensor([[[0, 0, 0.375, 0.25]]])  # a whole cell and half of its neighbour
    assert float(experiment.read_regions(maps, third)) == pytest.approx((0 * 1 + 1 * 0.5) / 1.5)


def test_a_region_reads_its_own_row_and_column() -> None:
    maps = torch.zeros(1, 1, 6, 6)
    maps[0, 0, 1, 4] = 1  # second row, fifth column: y in 1/6..2/6, x in 4/6..5/6
    here = torch.tensor([[[4 / 6, 1 / 6, 5 / 6, 2 / 6], [1 / 6, 4 / 6, 2 / 6, 5 / 6]]])
    assert experiment.read_regions(maps, here)[0, :, 0].tolist() == pytest.approx([1, 0], abs=1e-5)


def test_what_is_filled_is_the_box_and_nothing_else() -> None:
    pictures = np.zeros((2, 96, 96, 3), np.uint8)
    boxes = torch.tensor([[[0, 0, 1, 1.0], [0.25, 0.5, 0.5, 1.0]]]).repeat(2, 1, 1)
    filled = experiment.fill(pictures, boxes, torch.tensor([1, 0]))
    assert not pictures.any()
    assert (filled[0, 48:96, 24:48] == experiment.GREY).all()
    assert int(filled[0].any(-1).sum()) == 48 * 24
    assert (filled[1] == experiment.GREY).all()


def test_grey_is_close_to_what_the_frozen_network_takes_for_nothing() -> None:
    from mmtutor.kit.vision import ImageEncoder

    encoder = ImageEncoder(layer="map")
    grey = torch.tensor(experiment.GREY).view(1, 3, 1, 1) / 255
    assert float(((grey - encoder.mean) / encoder.std).abs().max()) < 0.2


def test_boxes_are_those_of_the_world() -> None:
    rows = world.load("scenes", "test", 10, pixels=96, things=24)
    things = tuple(sorted({name for own in rows["things"] for name in own}))
    boxes, there, names = experiment.boxes_of(rows, things)
    for i, row in enumerate(rows):
        count = len(row["things"])
        assert there[i].tolist() == [True] * (1 + count) + [False] * (4 - count)
        assert [things[k] for k in names[i, 1 : 1 + count]] == list(row["things"])
        assert (boxes[i, 1 : 1 + count] * 96).round().long().tolist() == [
            list(b) for b in row["boxes"]
        ]
    assert boxes[:, 0].tolist() == [[0, 0, 1, 1]] * 10
    assert (names[:, 0] == -1).all()


def test_the_hidden_thing_cannot_be_seen_in_any_region() -> None:
    """The same scene with another thing in the hidden box gives the same regions."""
    own = experiment.load().captions["test"]
    pictures = images(own.rows)
    noise = np.random.default_rng(0).integers(0, 255, pictures.shape, np.uint8)
    corners = (own.pictures.boxes[torch.arange(len(own.which)), own.which] * 96).round().long()
    changed = pictures.copy()
    for picture, other, (x0, y0, x1, y1) in zip(changed, noise, corners.tolist()):
        picture[y0:y1, x0:x1] = other[y0:y1, x0:x1]
    assert (changed != pictures).any()
    same = experiment.fill(changed, own.pictures.boxes, own.which)
    assert np.array_equal(same, experiment.fill(pictures, own.pictures.boxes, own.which))
    assert not torch.equal(own.pictures.regions, own.hidden.regions)


def test_one_word_or_one_region_is_hidden_and_never_both() -> None:
    data = experiment.load()
    own, rows = data.captions["train"], torch.arange(64)
    flip = torch.arange(64) % 2 == 0
    batch = experiment.hide(own, rows, flip, torch.Generator().manual_seed(0))
    hidden_words = batch["word_targets"] != masking.NOT_CHOSEN
    assert not hidden_words[flip].any()
    assert hidden_words[~flip].sum(1).tolist() == [
        int(data.content[own.words[row]].any()) for row in rows[~flip].tolist()
    ]
    assert (batch["words"][hidden_words] == masking.MASK).all()
    assert data.content[batch["word_targets"][hidden_words]].all()
    assert batch["masked"].sum(1).tolist() == flip.long().tolist()
    assert torch.equal(batch["regions"][flip], own.hidden.regions[own.owner[rows[flip]]])
    assert torch.equal(batch["regions"][~flip], own.pictures.regions[own.owner[rows[~flip]]])
    # what is hidden is a thing that is there, and what the detector says of it is what was there
    at = batch["masked"].nonzero()
    assert (own.pictures.names[own.owner[rows[at[:, 0]]], at[:, 1]] >= 0).all()
    whole = torch.where(hidden_words, batch["word_targets"], batch["words"])
    length = whole.shape[1]
    assert torch.equal(whole, own.words[rows][:, :length])
    assert not own.words[rows][:, length:].any()


def test_words_that_any_picture_could_have_are_never_hidden() -> None:
    data = experiment.load()
    worth = {word for word, yes in zip(data.vocabulary.words, data.content.tolist()) if yes}
    assert not worth & experiment.PLAIN
    assert not worth & set(masking.SPECIALS)
    assert {"small", "left", "two"} <= worth


def test_the_detector_knows_the_things() -> None:
    own = experiment.load().captions["test"]
    known = own.pictures.names >= 0
    assert float((own.classes.argmax(-1) == own.pictures.names)[known].float().mean()) > 0.7
    assert torch.allclose(own.classes.sum(-1), torch.ones(()))
    assert not own.classes.requires_grad


def test_captions_of_others_are_swapped_and_said_to_be() -> None:
    torch.manual_seed(0)
    batch = two.Swapped().__getitems__(range(64))
    own = experiment.load().captions["train"]
    words = torch.where(batch["word_targets"] >= 0, batch["word_targets"], batch["words"])
    mine = own.words[:64, : words.shape[1]]
    assert torch.equal(words[batch["aligned"]], mine[batch["aligned"]])
    assert 15 < int(batch["aligned"].sum()) < 49
    assert not torch.equal(words[~batch["aligned"]], mine[~batch["aligned"]])


def test_captions_tell_a_picture_from_its_twin() -> None:
    data = experiment.load()
    ids, rows = two.told_apart()
    assert len(rows) > 30
    texts = data.questions["test"].rows["scene"]
    for words, row in zip(ids[:20], rows[:20].tolist()):
        said = " ".join(data.vocabulary.words[k] for k in words.tolist() if k)
        if "<unk>" not in said:
            assert grammar.is_true(said, Scene.from_json(texts[row]))
            assert grammar.is_true(said, Scene.from_json(texts[row ^ 1])) == grammar.Verdict.FALSE


def test_another_picture_is_never_the_same() -> None:
    owner = torch.arange(7).repeat(50)
    found = experiment.other(owner, 7, torch.Generator().manual_seed(0))
    assert (found != owner).all()
    assert set(found.tolist()) == set(range(7))


def test_a_question_with_one_thing_knows_its_word_and_its_region() -> None:
    data = experiment.load()
    own = data.questions["test"]
    rows, words, regions = experiment.one_thing()
    assert len(rows) > 5
    for row, word, region in zip(rows.tolist(), words.tolist(), regions.tolist()):
        name = data.vocabulary.words[int(own.questions[row, word])]
        assert own.rows[row]["things"][region - 1] == name
        assert list(own.rows[row]["things"]).count(name) == 1


class Points(torch.nn.Module):
    """A ViLBERT whose words look at the region that is given."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.right = right

    def attention(self, words: torch.Tensor, **seen: torch.Tensor) -> object:
        from mmtutor.vilbert import Looks

        _, at, regions = experiment.one_thing()
        b, t = words.shape
        to_regions = torch.full((b, 1, 2, t + 2, 5), 0.1)
        to_words = torch.full((b, 1, 2, 5, t + 2), 0.1)
        for k, (word, region) in enumerate(zip(at.tolist(), regions.tolist())):
            if self.right:
                to_regions[k, :, :, word + 1, region] = 0.9
                to_words[k, :, :, region, word + 1] = 0.9
            else:
                to_regions[k, :, :, word + 1, region] = 0
                to_words[k, :, :, region, word + 1] = 0
        return Looks(to_regions, to_words, slice(1, 1 + t))


@pytest.mark.parametrize("right", [True, False])
def test_pointing_counts_who_looks_where_it_should(right: bool) -> None:
    found = experiment.pointing(Points(right))
    assert found["word to region"] == found["region to word"] == [float(right)]
    assert 0.2 < found["word to region, even"] <= 0.5
    assert 0 < found["region to word, even"] < 0.5


class Says(torch.nn.Module):
    """Answers with the number of regions that are there; a question of a twin has another."""

    def answer(self, questions: torch.Tensor, **seen: torch.Tensor) -> torch.Tensor:
        return seen["there"].sum(1)


def test_answers_are_asked_of_the_picture_of_its_twin_or_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = experiment.load().questions["test"]
    count = own.pictures.there.sum(1)
    for picture, wanted in (
        ("true", count),
        ("twin", count.view(-1, 2).flip(1).flatten()),
        ("none", torch.zeros_like(count)),
    ):
        right = experiment.answers(Says(), own, picture)
        assert np.array_equal(right, (wanted == own.answers).numpy())
    assert len(experiment.answers(Says(), own, most=10)) == 10


def test_a_caption_that_names_the_hidden_thing() -> None:
    data = experiment.load()
    own = data.captions["test"]
    said = experiment.told(own)
    assert 0.4 < said.mean() < 0.95
    for k in np.flatnonzero(~said)[:10]:
        name = data.things[int(own.pictures.names[own.owner[k], own.which[own.owner[k]]])]
        assert name not in [data.vocabulary.words[i] for i in own.words[k].tolist()]


@pytest.mark.parametrize("module", [experiment, two])
def test_same_seed_same_model(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRETRAIN", 2)
    fresh = module.pretrain.__wrapped__
    first, again, other = fresh(3), fresh(3), fresh(4)
    weights = [
        torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (first, again, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_all_claims_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps on a few data: every number that a rule asks for is there, and finite."""
    for name in ("PRETRAIN", "FINE", "NONE"):
        monkeypatch.setattr(experiment, name, 2)
    for name in ("PRETRAIN", "FINE"):
        monkeypatch.setattr(two, name, 2)
    for module in (experiment, two):
        for one in module.EXPERIMENTS:
            values = one.measure(5)
            assert all(np.isfinite(x).all() for x in values.values())
            one.judge([{"values": values}])
