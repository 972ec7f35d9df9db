"""What the experiments on joint embedding measure with: the truth of many pairs, the exchanges, who is hit."""

import numpy as np
import pytest
import torch

from mmtutor.experiments import joint_embedding as experiment
from mmtutor.kit import vision
from mmtutor.world import captions as language
from mmtutor.world import scenes
from mmtutor.world.scenes import Placed, Scene


def placed(*names: str) -> tuple[Placed, ...]:
    return tuple(Placed(n, "small", 200 + 200 * k, 500, 300) for k, n in enumerate(names))


def test_the_fast_truth_is_the_worlds():
    found = [scenes.sample("train", k, 3, 24) for k in range(60)]
    texts = [caption for scene in found[:25] for caption in language.captions(scene, count=8)]
    texts += [
        "there is no dog in the picture",
        "no animal is in the sea",
        "a dog and no cat",
        "xyz",
    ]
    fast = experiment.truth(texts, found)
    slow = [[bool(language.is_true(text, scene)) for text in texts] for scene in found]
    assert fast.tolist() == slow
    assert fast[:, -4:-2].any()
    assert not fast[:, -1].any()


def test_tags_are_true_where_all_of_them_are():
    found = [
        Scene("sea", placed("dog", "cat")),
        Scene("sea", placed("dog")),
        Scene("snow", placed("cat")),
    ]
    texts = [experiment.tags_of(found[0]), ["dog"], ["cat", "snow"], ["animal"]]
    assert experiment.tags_of(found[0]) == ["cat", "dog", "sea"]
    assert experiment.truth(texts, found).tolist() == [
        [True, True, False, True],
        [False, True, False, True],
        [False, False, True, True],
    ]


def test_exchanges_are_those_whose_outcome_is_there():
    a, b, c = scenes.pool(24)[:3]
    found = [
        Scene("sea", placed(a)),
        Scene("sea", placed(b)),
        Scene("snow", placed(c)),  # another ground
        Scene("sea", placed(a, b)),
        Scene("sea", placed(a, c)),
        Scene("sea", placed(c, c)),  # one kind of thing, but two things
    ]
    assert set(experiment.exchanges(found, 1)) == {(0, a, b), (1, b, a)}
    assert set(experiment.exchanges(found, 2)) == {(3, b, c), (4, c, b)}


class Oracle(torch.nn.Module):
    """A picture is the sum of what is in it; the arithmetic is exact."""

    def __init__(self, data):
        super().__init__()
        self.data, self.image = data, torch.nn.Linear(1, 1)

        class Config:
            image = (112, 6, 6)

        self.config = Config()

    def embed_pictures(self, maps):
        names = [*scenes.pool(24), *scenes.BACKGROUNDS]
        rows = [[float(n in experiment.tags_of(s)) for n in names] for s in self.data.truth]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=1)

    def embed_texts(self, ids):
        names = [*scenes.pool(24), *scenes.BACKGROUNDS]
        words = experiment.load()[3].words
        return torch.stack(
            [
                torch.eye(len(names))[names.index(words[i])]
                if words[i] in names
                else torch.zeros(len(names))
                for i in ids[:, 0].tolist()
            ]
        )


@pytest.fixture
def world(monkeypatch):
    from mmtutor.kit.text import Vocabulary

    found = [scenes.sample("test", k, 5, 24) for k in range(400)]
    n = len(found)
    data = experiment.Scenes(
        np.zeros((n, 4, 4, 3), np.uint8), torch.zeros(n, 112, 6, 6), found, [[]] * n
    )
    vocabulary = Vocabulary(
        ["a", *scenes.pool(24), *scenes.BACKGROUNDS], specials=("<pad>", "<unk>")
    )
    monkeypatch.setattr(experiment, "load", lambda: (data, data, data, vocabulary))
    return data


def test_the_arithmetic_of_an_oracle_hits_and_the_controls_do_not(world):
    model = Oracle(world)
    asked = list(experiment.exchanges(world.truth, 1))
    assert len(asked) > 20
    weight = float(np.sqrt(0.5))  # a word's share in a picture of a thing and its ground
    hit, kept, items = experiment.outcome(model, world, asked, weight)
    assert hit.all()
    assert kept.all()
    assert items.shape == (len(asked), 5)
    assert all(one.picture not in row for one, row in zip(asked, items.tolist()))
    for control in (
        experiment.outcome(model, world, asked, 0.0)[0],
        experiment.outcome(model, world, asked, weight, random=1)[0],
    ):
        assert control.mean() < 0.3
    again = experiment.outcome(model, world, asked, weight, random=1)[0]
    assert np.array_equal(again, control)


def test_a_model_of_vectors_reads_the_scenes_that_it_is_shown(monkeypatch):
    """Training scenes, unseen ones, those of new combinations: each its own vectors."""
    draw = np.random.default_rng(0)
    parts = [
        experiment.Scenes(
            draw.integers(0, 256, (n, 32, 32, 3), np.uint8), torch.zeros(n, 1), [], []
        )
        for n in (4, 3, 2)
    ]
    vocabulary = experiment.Vocabulary(["dog"], specials=("<pad>", "<unk>"))
    monkeypatch.setattr(experiment, "load", lambda: (*parts, vocabulary))
    config = experiment.Config.world(3, image=1280, text="sum")
    model = experiment.JointEmbedding(config)
    encoder = vision.ImageEncoder(layer="vector").to(experiment.device())
    raw = vision.features(parts[0].images, encoder)
    for data in parts:
        expected = vision.standardize(vision.features(data.images, encoder), raw)
        assert torch.equal(experiment.seen(model, data), expected)
        assert len(experiment.embed(model, data, ["dog"])[0]) == len(data.images)


def test_words_that_two_captions_share():
    assert experiment.shared_words([["a dog", "a cat"]]) == pytest.approx(1 / 3)
    assert experiment.shared_words([["a dog", "a dog", "x y"]]) == pytest.approx(1 / 3)


def test_rules_and_parts_speak_of_what_is_measured():
    ids = [one.id for one in experiment.EXPERIMENTS]
    assert ids == ["C02", "C09", "C10"]
    from mmtutor.page import ledger

    for one in experiment.EXPERIMENTS:
        values = ledger.result(one.id).runs[0]["values"]
        assert all(part.name in values for part in one.parts)
