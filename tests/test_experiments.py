"""What the captioning experiments share."""

import pytest
import torch

from mmtutor.experiments import _captioning as shared
from mmtutor.kit.decoding import Hypothesis
from mmtutor.kit.text import Vocabulary


def test_kept_takes_a_default_and_the_same_value_for_one_call():
    calls = []

    @shared.kept(8)
    def f(a, b=2, **more):
        calls.append((a, b, more))
        return object()

    assert f(1) is f(1, 2) is f(a=1, b=2)
    assert f(1, x=1, y=2) is f(1, y=2, x=1)  # the order of names does not matter
    assert len(calls) == 2
    assert f(1) is not f(2)
    with pytest.raises(TypeError):
        f()


def test_kept_forgets_the_oldest():
    f = shared.kept(1)(lambda a: object())
    first = f(1)
    f(2)
    assert f(1) is not first


def test_pairs_know_whose_caption_each_is():
    said = [
        ["a dog", "one dog"],
        [],
        ["two cats here"],
    ]  # a clip may have no caption of the wanted kind
    vocabulary = shared.vocabulary_of(said)
    ids, owner = shared.pairs(said, vocabulary)
    assert owner.tolist() == [0, 0, 2]
    assert [" ".join(vocabulary.decode(row)) for row in ids.tolist()] == [
        "a dog",
        "one dog",
        "two cats here",
    ]


def test_sentences_are_words_without_specials():
    vocabulary = Vocabulary(["a", "dog"])
    found = [
        Hypothesis(tuple(vocabulary.encode("a dog")), -1.0, -1.0, True),
        Hypothesis((), -1.0, -1.0, True),
    ]
    assert shared.sentences(found, vocabulary) == ["a dog", ""]


def test_fit_trains_on_one_thread_and_gives_the_threads_back():
    seen = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(3))

        def loss(self, batch):
            seen.append((torch.get_num_threads(), tuple(batch["captions"].shape)))
            return (batch["features"] - self.w).square().mean()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ids = torch.tensor([[1, 4, 2, 0], [1, 4, 5, 2], [1, 5, 2, 0]])
        model = Model()
        history = shared.fit(
            model, torch.ones(2, 3), ids, torch.tensor([0, 0, 1]), 2, epochs=1, lr=0.1, log_every=1
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert sorted(seen) == [(1, (1, 4)), (1, (2, 3))]  # captions of one length share a batch
    assert len(history.steps) == 2
    assert bool((model.w > 0).all())


def test_sides_are_right_for_who_sees_them_and_chance_for_who_does_not():
    from mmtutor.experiments import show_attend_tell as experiment

    captions = [
        ["a dog on the left", "a dog"],
        ["the dog is on the right of a cat"],
        ["a dog at the top left"],
    ]
    vocabulary = Vocabulary(
        [
            "a",
            "dog",
            "on",
            "the",
            "left",
            "right",
            "top",
            "bottom",
            "of",
            "cat",
            "is",
            "at",
            "above",
            "below",
        ]
    )

    class Sees(torch.nn.Module):
        def __init__(self, word):
            super().__init__()
            self.w, self.word = torch.nn.Parameter(torch.zeros(1)), word

        def forward(self, features, ids):
            scores = torch.zeros(*ids[:, 1:].shape, len(vocabulary))
            for n, (feature, row) in enumerate(zip(features, ids)):
                for t in range(len(row) - 1):
                    word = self.word or ("left", "right", "top")[int(feature)]
                    scores[n, t, vocabulary.ids[word]] = 1.0
            return scores

    things = [["dog"], ["dog", "cat"], ["dog"]]
    features, rows = torch.arange(3.0)[:, None], {"captions": captions, "things": things}
    found = experiment.sides(Sees(None), features, rows, vocabulary)
    assert found == {"sides": 1.0, "places": 1.0, "places_1": 1.0, "relations": 1.0}
    found = experiment.sides(Sees("left"), features, rows, vocabulary)
    assert found["sides"] == pytest.approx(1 / 3)  # "top" comes first in the third
    assert found["places"] == found["places_1"] == 0.5
    assert found["relations"] == 0


def test_a_thing_named_twice_counts_if_the_scene_has_one():
    from mmtutor.experiments import show_attend_tell as experiment

    written = ["a cat and a cat", "a cat and a cat", "a cat and a dog", "a sun and a sun"]
    things = [["cat", "dog"], ["cat", "cat"], ["cat", "dog"], ["cat"]]
    assert experiment.twice(written, {"things": things}) == 0.25


def test_what_is_in_the_cells_is_what_the_boxes_say(monkeypatch):
    from mmtutor.experiments import show_attend_tell as experiment

    rows = {
        "things": [["sun", "cat"], ["dog"]],
        # the cat covers a corner of the sun; the dog is so thin that it holds no cell's middle
        "boxes": [[[0, 0, 48, 48], [30, 30, 46, 46]], [[50, 81, 54, 87]]],
        "captions": [["a sun on the left", "a sun"], ["a dog"]],
    }
    data = experiment.Scenes(rows, torch.zeros(2, 112, 6, 6))
    vocabulary = shared.vocabulary_of([[*rows["captions"][0], " ".join(experiment.OPPOSITES)]])
    monkeypatch.setattr(experiment, "load", lambda: (data, data, vocabulary))
    monkeypatch.setattr(experiment, "told", lambda: shared.pairs(rows["captions"], vocabulary))
    monkeypatch.setattr(experiment, "names", experiment.names.__wrapped__)
    assert experiment.names() == ("cat", "dog", "sun")
    found = experiment.cells.__wrapped__().view(2, 6, 6)
    sun = torch.full((6, 6), -1)
    sun[:3, :3], sun[2, 2] = 2, 0
    assert torch.equal(found[0], sun)
    assert found[1].tolist()[5] == [-1, -1, -1, 1, -1, -1]
    assert int((found[1] >= 0).sum()) == 1
    assert experiment.tells_a_side().tolist() == [True, False, False]


def test_what_a_chapter_trained_is_not_trained_again(monkeypatch):
    import sys
    import types

    from mmtutor.page.fingerprint import fingerprint

    module = types.ModuleType("an_experiment")
    monkeypatch.setitem(sys.modules, "an_experiment", module)
    exec(
        "def train(seed, mode='soft', **more):\n    return (seed, mode, more)\n"
        "def claim(seed):\n    return train(seed), train(seed=seed, mode='hard')\n",
        module.__dict__,
    )
    shared.hand_over(module.train, "mine", 3)
    shared.hand_over(module.train, "hard", 3, mode="hard")
    assert module.claim(3) == ("mine", "hard")
    assert module.claim(4) == ((4, "soft", {}), (4, "hard", {}))
    assert module.train(3, "soft") == "mine"
    assert module.train(3, x=1) == (3, "soft", {"x": 1})

    from mmtutor.experiments import show_attend_tell

    before = fingerprint(show_attend_tell.c19)
    original = show_attend_tell.train
    try:
        shared.hand_over(show_attend_tell.train, None, 99)
        assert fingerprint(show_attend_tell.c19) == before  # the code that was measured is the same
        assert show_attend_tell.train(99) is None
    finally:
        show_attend_tell.train = original
