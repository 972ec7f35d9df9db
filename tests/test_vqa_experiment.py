"""What C29 to C31 are measured with: the cells, the words that name them, the two questions, the mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmtutor.experiments import vqa as experiment
from mmtutor.world import cast, questions
from mmtutor.world.scenes import Scene


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> experiment.Data:
    """Some questions, whose pictures are seen by nobody: their maps are noise."""

    def noise(pictures: np.ndarray, encoder: object) -> torch.Tensor:
        draw = torch.Generator().manual_seed(len(pictures))
        return torch.randn(len(pictures), 112, 6, 6, generator=draw)

    monkeypatch.setattr(experiment, "TRAIN", 1200)
    monkeypatch.setattr(experiment, "TEST", 240)
    monkeypatch.setattr(experiment.vision, "features", noise)
    data = experiment.load.__wrapped__()
    monkeypatch.setattr(experiment, "load", lambda: data)
    monkeypatch.setattr(experiment, "two_questions", experiment.two_questions.__wrapped__)
    for name in ("train", "copying", "which_is"):
        monkeypatch.setattr(experiment, name, getattr(experiment, name).__wrapped__)
    monkeypatch.setattr(experiment, "EPOCHS", 1)
    monkeypatch.setattr(experiment, "NAMING", 2)
    return data


def test_maps_are_standardized_by_those_to_learn_from(few: experiment.Data) -> None:
    seen = few.train.maps.float()
    assert seen.mean((0, 2, 3)).abs().max() < 1e-3
    assert (seen.std((0, 2, 3)) - 1).abs().max() < 1e-3
    assert len(few.train) == 1200
    assert len(few.test) == 240


def test_a_cell_holds_what_lies_in_its_middle_and_the_smaller_where_two_do() -> None:
    rows = {
        "things": [["house", "dog"], ["cat"]],
        "boxes": [[[0, 0, 96, 96], [16, 0, 48, 32]], [[41, 41, 43, 43]]],
    }

    class Rows(dict):
        def __len__(self) -> int:
            return 2

    cells = experiment.cells_of(Rows(rows), ("cat", "dog", "house")).unflatten(1, (6, 6))
    assert cells[0, :2, 1:3].eq(1).all()
    assert cells[0].eq(1).sum() == 4
    assert cells[0].eq(2).sum() == 32
    # no middle lies in so small a box: the cell of its own middle
    assert cells[1].ne(-1).sum() == 1
    assert cells[1, 2, 2] == 0


def test_the_words_of_a_thing(few: experiment.Data) -> None:
    for name, ids in zip(few.things, experiment.lexicon(few), strict=True):
        words = few.vocabulary.decode(list(ids))
        one = cast.thing(name)
        assert words[0] == name
        assert set(words) <= {
            name,
            one.plural,
            cast.kind_noun(one.kind),
            cast.kind_noun(one.kind, True),
        }
        assert len(words) == len(set(words))


def test_a_blind_guess_is_right_in_half_of_each_pair_at_best(few: experiment.Data) -> None:
    guess = experiment.blind(few.test, few.train)
    assert 0 < guess["all"] <= 0.5
    assert guess["yes/no"] == 0.5
    always = np.zeros(len(few.test), bool)
    always[::2] = True
    assert experiment.pairs_right(always) == 0
    assert experiment.pairs_right(~always | always) == 1


def test_by_type_counts_each_question_once(few: experiment.Data) -> None:
    correct = np.arange(len(few.test)) % 3 == 0
    shares = experiment.by_type(correct, few.test)
    types = np.array(few.test.rows["type"])
    for kind in questions.TYPES:
        if (types == kind).any():
            assert shares[kind] == correct[types == kind].mean()
    assert shares["all"] == correct.mean()


def test_two_questions_of_a_picture_have_two_true_answers(few: experiment.Data) -> None:
    rows, asked, told = experiment.two_questions()
    assert len(rows) == len(asked) == len(told) > 20
    for row, two, answers in zip(rows.tolist(), asked, told):
        scene, texts = Scene.from_json(few.test.rows["scene"][row]), []
        for ids, answer in zip(two.tolist(), answers.tolist()):
            text = " ".join(few.vocabulary.words[i] for i in ids if i)
            assert questions.answer(text, scene) == few.answers.words[answer]
            texts.append(text)
        assert len(set(answers.tolist())) == len(set(texts)) == 2
        assert texts[0].split()[0] == texts[1].split()[0]


def test_mistakes_by_hand(few: experiment.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    own = few.test
    twin = own.answers.view(-1, 2).flip(1).flatten()
    said = {"model": twin.clone(), "likely": own.answers}
    said["model"][:6] = own.answers[:6]  # six right ones
    monkeypatch.setattr(experiment, "answers", lambda model, *_: said[model])
    found = experiment.mistakes("model", "likely")  # type: ignore[arg-type]
    assert found["wrong"] == pytest.approx(234 / 240)
    assert found["of the twin"] == 1
    assert found["likely"] == 0
    assert found["of right ones likely"] == 1


@pytest.mark.parametrize("name", experiment.MODELS)
def test_every_model_trains_and_answers(few: experiment.Data, name: str) -> None:
    model = experiment.train(name, 3)
    found = experiment.answers(model, few.test.maps, few.test.questions)
    assert found.shape == (240,)
    again, other = experiment.train(name, 3), experiment.train(name, 4)
    pairs = [zip(model.parameters(), m.parameters(), strict=True) for m in (again, other)]
    assert all(torch.equal(a, b) for a, b in pairs[0])
    assert not all(torch.equal(a, b) for a, b in pairs[1])


@pytest.mark.parametrize("part", experiment.PARTS)
def test_each_part_can_be_taken_away(few: experiment.Data, part: str) -> None:
    shares = experiment.without(part, 3)
    assert set(questions.TYPES) < set(shares)
    if not part.startswith("the product"):
        config = experiment.settings("grounded", **experiment.PARTS[part])
        same = part in ("all", "words are copied")  # which is another class
        assert (config == experiment.settings("grounded")) == same


def test_the_copying_model_is_the_grounded_one_that_copies(few: experiment.Data) -> None:
    model, again, other = (experiment.copying(seed) for seed in (3, 3, 4))
    own, plain = vars(model.config).copy(), vars(experiment.settings("grounded"))
    copies = own.pop("copies")
    assert own == plain
    told = {few.vocabulary.words[k]: few.answers.words[a] for k, a in enumerate(copies) if a >= 0}
    assert all(word == answer for word, answer in told.items())
    assert set(few.things) & set(few.answers.words) <= set(told)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert not all(map(torch.equal, model.parameters(), other.parameters()))


def test_which_is_bigger_is_asked_of_all_pairs_and_its_answer_is_true(
    few: experiment.Data,
) -> None:
    rows, asked, told, others = experiment.which_is()
    met = set()
    for row, ids, own, other in zip(rows.tolist(), asked, told, others, strict=True):
        words = [few.vocabulary.words[k] for k in ids.tolist() if k]
        answer, rest = few.answers.words[own], few.answers.words[other]
        assert {words[4], words[7]} == {answer, rest}
        size = {one.name: one.size for one in Scene.from_json(few.test.rows["scene"][row]).things}
        assert {size[answer], size[rest]} == {"small", "large"}
        assert size[answer] == ("large" if words[2] == "bigger" else "small")
        met.add((row, words[2], words[4], words[7]))
    assert len(met) == len(rows) > 100
    # each pair of things is asked four times: bigger and smaller, either name first
    counted = {(row, frozenset((a, b))) for row, _, a, b in met}
    assert len(met) == 4 * len(counted)


def test_end_to_end_reaches_every_weight_and_moves_the_encoder(
    few: experiment.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "MORE", 2)
    monkeypatch.setattr(experiment, "FINE", 8)
    values = experiment.c30(3)
    assert values["weights without gradient"] == 0
    assert values["weights"] > 60
    assert {"frozen: all", "end to end: all", "before: all"} <= set(values)
    whole = experiment.EndToEnd(experiment.train("product", 3), few.mean, few.std)
    whole.zero_grad()
    assert experiment.without_gradient(whole) == len(list(whole.parameters()))
    # the map is that of the frozen encoder, and a gradient passes
    pictures = torch.from_numpy(np.stack([few.test.rows[k]["image"] for k in range(2)]))
    maps = whole.maps(pictures)
    frozen = whole.encoder(pictures.permute(0, 3, 1, 2))
    torch.testing.assert_close(maps, (frozen - few.mean) / few.std)
    assert maps.requires_grad
    assert not frozen.requires_grad


def test_the_encoder_learns_more_slowly() -> None:
    model = torch.nn.Linear(2, 2)
    encoder = torch.nn.Linear(2, 2)
    weights = [*model.parameters(), *encoder.parameters()]
    optimizer = experiment.slower(encoder)(weights, lr=experiment.RATE_MORE, weight_decay=0.0)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in model.parameters()} == {experiment.RATE_MORE}
    assert {rates[id(p)] for p in encoder.parameters()} == {experiment.RATE_ENCODER}
    alone = experiment.slower(encoder)(list(model.parameters()), lr=0.1, weight_decay=0.0)
    assert len(alone.param_groups) == 1
