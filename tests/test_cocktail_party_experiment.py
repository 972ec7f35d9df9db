"""What C46 and C47 are measured with: known answers, films that lie as they should, rules that ask for what is measured."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor

from mmtutor import cocktail_party as party
from mmtutor.cocktail_party import CocktailParty, Config, improvement, mix, oracle, si_sdr
from mmtutor.experiments import cocktail_party as experiment
from mmtutor.world import voices

MANY = 2 * voices.TEST_SPEAKERS


@functools.cache
def clips(split: str) -> experiment.Clips:
    """Noise that everybody of the split says twice, with lips of noise."""
    g = torch.Generator().manual_seed(0)
    people = voices.speakers(split)
    count = 2 * len(people) if split == "test" else 24
    wave = (3000 * torch.randn(count, 16_000, generator=g)).short()
    face = 0.1 * torch.randn(count, 50, 16, 24, generator=g)
    who = torch.arange(count) % len(people)
    if split == "test":  # each half has everybody once, in an order of its own, as in the world
        who[len(people) :] = torch.randperm(len(people), generator=g)
    names = tuple(people[int(k)].name for k in who)
    film = {"opening": torch.rand(count, 50, generator=g).numpy()}
    film["roundness"] = film["opening"] - 0.5
    return experiment.Clips(film, wave, face, face.mean(1), names, who)  # type: ignore[arg-type]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of noise, two steps, small tests, nothing remembered."""
    monkeypatch.setattr(experiment, "load", clips)
    monkeypatch.setattr(experiment, "column", lambda rows, name: rows[name])
    monkeypatch.setattr(experiment, "PAIRS", 6)
    monkeypatch.setattr(experiment, "EACH", 2)
    monkeypatch.setattr(experiment, "TEST", MANY)
    monkeypatch.setattr(experiment.fit, "__defaults__", (2,))
    for name in ("pairs", "others", "unison", "ceiling"):
        monkeypatch.setattr(
            experiment, name, functools.cache(getattr(experiment, name).__wrapped__)
        )
    own = functools.cache(experiment.train.__wrapped__)
    monkeypatch.setattr(experiment, "train", own)


class Knows:
    """A network that knows the answer, and gives it in the wrong order in every other mixture."""

    watch = None

    def __init__(self, sources: Tensor) -> None:
        self.sources = sources

    def __call__(self, mixture: Tensor) -> Tensor:
        turned = torch.arange(len(mixture))[:, None, None] % 2 == 1
        return torch.where(turned, self.sources.flip(1), self.sources)


def test_pairs_are_what_their_names_say(few: None) -> None:
    own, names = experiment.pairs(), clips("test").names
    assert own["all"].shape == own["near"].shape == (6, 2)

    def apart(rows: Tensor) -> list[float]:
        return [abs(voices.semitones(names[a], names[b])) for a, b in rows.tolist()]

    assert max(apart(own["near"])) < experiment.NEAR
    assert len(own["same"]) == voices.TEST_SPEAKERS
    assert all(names[a] == names[b] and a != b for a, b in own["same"].tolist())
    for low, high in zip(experiment.BANDS, experiment.BANDS[1:]):
        far = apart(own[experiment.band(low, high)])
        assert low <= min(far)
        assert max(far) < high
    assert experiment.band(0.0, 1.0) == "0 to 1"
    assert experiment.band(12.0, 60.0) == "above 12"


def test_the_order_is_found_and_its_share_counted() -> None:
    mixture, sources = mix(clips("test").wave[torch.tensor([[0, 1], [2, 3], [4, 5]])], 0.0)
    guess, right = experiment.ordered(Knows(sources), mixture, sources)  # type: ignore[arg-type]
    torch.testing.assert_close(guess, sources)
    assert right.tolist() == [True, False, True]


def test_a_score_is_the_mean_gain_by_hand(few: None) -> None:
    rows = torch.tensor([[0, 1], [2, 5]])
    mixture, sources = mix(clips("test").wave[rows], 0.0)
    model = CocktailParty(experiment.config("audio-visual")).eval()
    faces = clips("test").face[rows]
    with torch.no_grad():
        guess = model(mixture, faces)
    by_hand = si_sdr(guess, sources) - si_sdr(mixture[:, None], sources)
    assert experiment.score(model, rows) == pytest.approx(float(by_hand.mean()), abs=1e-4)
    one, other = (experiment.score(model, rows, 50 * shown) for shown in (faces, faces.flip(1)))
    assert abs(one - other) > 1e-4  # what is shown counts, even before training


def test_a_late_film_is_the_film_later() -> None:
    faces = torch.randn(2, 3, 10, 4, 5)
    moved = experiment.late(faces, 3)
    assert torch.equal(moved[..., 3:, :, :], faces[..., :7, :, :])
    assert not moved[..., :3, :, :].any()
    assert torch.equal(experiment.late(faces, 0), faces)


def test_a_portrait_does_not_move_and_shows_who_it_is() -> None:
    film = torch.full((2, 5, 48, 48, 3), 100, dtype=torch.uint8)
    film[1, :, :24] = 200
    one = experiment.still(film)
    assert one.shape == (2, 16, 24)
    torch.testing.assert_close(
        one[0], torch.full((16, 24), 100 * 0.999 / 255 - 0.5), atol=2e-3, rtol=0
    )
    assert (one[1, :8] > one[0, :8] + 0.3).all()
    flicker = film.clone()
    flicker[0, ::2], flicker[0, 1::2] = 50, 175  # the same mean over five pictures
    torch.testing.assert_close(experiment.still(flicker), one)


def test_portraits_and_films_are_trained_on_in_turn(
    few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}

    def fit(model: CocktailParty, data: object, seed: int) -> None:
        shown[model.config, seed] = data.faces  # type: ignore[attr-defined]

    monkeypatch.setattr(experiment, "fit", fit)
    experiment.train("audio-visual", 1), experiment.train("still", 2), experiment.train("twin", 3)
    films, portraits, none = shown.values()
    assert torch.equal(films, clips("train").face)
    assert none is None
    assert (portraits == portraits[:, :1]).all()
    assert portraits.shape == films.shape


def test_three_at_a_party_are_three_people(few: None) -> None:
    rows, who = experiment.people("three voices", 3), clips("test").speaker
    assert rows.shape == (6, 3)
    assert all(len(set(one)) == 3 for one in who[rows].tolist())
    assert torch.equal(rows[:, :2], experiment.pairs()["all"])
    assert experiment.people("one voice and a sound", 1).shape == (6, 1)


def test_the_share_of_right_orders_by_ear(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose voices by ear are the clean ones, given right to every second pair of faces."""
    test, rows = clips("test"), torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])
    model = CocktailParty(experiment.config("audio-visual")).eval()
    _, sources = mix(test.wave[rows], 0.0)
    S = party.transform(model.config, sources)

    def stages(Y: Tensor, faces: Tensor) -> party.Stages:
        masks = oracle("ratio", S, Y)
        masks[1::2] = masks[1::2].flip(1)
        return party.Stages(masks, masks, masks)

    monkeypatch.setattr(model, "stages", stages)
    assert experiment.by_ear(model, rows) == 0.5
    monkeypatch.setattr(
        model, "stages", lambda Y, faces: party.Stages(*[oracle("ratio", S, Y)] * 3)
    )
    assert experiment.by_ear(model, rows) == 1.0


def test_everybody_says_the_same_in_unison(few: None) -> None:
    wave, shown = experiment.unison(2)
    assert wave.shape == (2, 2, 16_000)
    assert wave.dtype == torch.int16
    assert shown.shape == (2, 2, 50, 16, 24)
    assert (wave.abs().amax(-1) > 1000).all()


def test_the_same_lips_on_another_face(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(who: voices.Speaker, track: np.ndarray, pixels: int) -> np.ndarray:
        drawn.append((who.name, track))
        return np.zeros((50, pixels, pixels, 3), np.uint8)

    monkeypatch.setattr(experiment.drawn, "draw_talking", draw)
    assert experiment.others().shape == (MANY, 50, 16, 24)
    test, people = clips("test"), voices.speakers("test")
    assert [name for name, _ in drawn[:3]] == [people[k].name for k in (1, 2, 3)]
    assert drawn[voices.TEST_SPEAKERS - 1][0] == people[0].name
    np.testing.assert_array_equal(drawn[7][1][:, 0], test.rows["opening"][7])


def test_the_rules_ask_for_what_is_measured(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "others", lambda: clips("test").face)
    few_unison = experiment.unison(2)
    monkeypatch.setattr(experiment, "unison", lambda: few_unison)
    for one in experiment.EXPERIMENTS:
        values = one.measure(10)
        for part in one.parts:
            assert part.name in values
            assert part.minus is None or part.minus in values
        flat = [x for v in values.values() for x in (v if isinstance(v, list) else [v])]
        assert all(np.isfinite(flat))


def test_learnt_masks_differ_in_one_thing() -> None:
    ours = experiment.config("audio-visual")
    assert experiment.config("still") == ours
    assert experiment.config("complex") == Config.world(mask="complex")
    assert experiment.config("compressed") == Config.world(objective="compressed")
    at_once = experiment.config("at once")
    assert at_once == Config.world(by_ear=(), dilations=at_once.dilations)
    assert sum(at_once.dilations) > sum(
        (*ours.by_ear, *ours.dilations)
    )  # its convolutions reach farther; what ours adds is the match, over 40 frames
    twin = experiment.config("twin")
    sizes = [sum(p.numel() for p in CocktailParty(c).parameters()) for c in (ours, twin)]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]
    assert not twin.visual


@pytest.mark.parametrize("name", ["ours", "three voices, hears only", "one voice and a sound"])
def test_single_runs(few: None, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    g = torch.Generator().manual_seed(1)
    noise = (1000 * torch.randn(4, 16_000, generator=g)).short()
    monkeypatch.setattr(experiment, "sounds", lambda split: noise)
    monkeypatch.setattr(experiment, "PART_STEPS", 2)
    found = experiment.without(name, 10)
    assert set(found) == {"gain", "mixture", "right order", "weights"}
    assert all(np.isfinite(list(found.values())))
    level = {"ours": 0.0, "three voices, hears only": -3.0, "one voice and a sound": 0.0}[name]
    assert found["mixture"] == pytest.approx(level, abs=0.3)


def test_the_mixture_itself_gains_nothing() -> None:
    mixture, sources = mix(clips("test").wave[:4].view(2, 2, -1), 0.0)
    same = mixture[:, None].expand(-1, 2, -1)
    torch.testing.assert_close(improvement(same, sources, mixture), torch.zeros(2, 2).double())
