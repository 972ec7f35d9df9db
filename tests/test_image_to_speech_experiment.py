"""What C43 is measured with: judges of known answers, and trainings that see no text."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from mmtutor.experiments import image_to_speech as experiment
from mmtutor.image_to_speech import Config, Heard
from mmtutor.world import scenes, speech

TEXTS = ["a dog is on the left of a cat", "there is a cat in the forest", "a dog and a cat"]


class Unread:
    """A list that nobody may look into."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError("a training looked at the text")

    def __getitem__(self, key: object) -> object:
        raise AssertionError("a training looked at the text")

    def __iter__(self) -> object:
        raise AssertionError("a training looked at the text")


@cache
def few() -> experiment.Spokens:
    """Nine recordings with noise for maps."""
    settings = speech.Settings(speech.LANGUAGES["en"])
    made = [speech.utter(TEXTS[k % 3], settings, 16000) for k in range(9)]
    waves = [torch.from_numpy(wave) for wave, _ in made]
    ears = experiment.UnitDiscovery(experiment.CONFIG)
    timed = [
        (
            [p.symbol for p in own],
            np.array([(p.start + p.end) / 2 for p in own]),
            np.array([p.end for p in own]),
        )
        for _, own in made
    ]
    maps = torch.randn(9, 112, 6, 6, generator=torch.Generator().manual_seed(0)).half()
    told = [scenes.sample("train", k, 0, 12).to_json() for k in range(9)]
    frames = [ears.frames(w[None])[0] for w in waves]
    return experiment.Spokens(waves, frames, maps, TEXTS * 3, told, timed)


@pytest.fixture
def small(monkeypatch):
    """Few recordings, three steps, nothing remembered."""
    monkeypatch.setattr(experiment, "load", lambda: (few(), few()))
    monkeypatch.setattr(experiment, "VOICED", 6)
    for name in ("UNITS", "PICTURES", "VOICE", "WORDS", "JUDGE"):
        monkeypatch.setitem(getattr(experiment, name), "steps", 3)
        monkeypatch.setitem(getattr(experiment, name), "batch", 4)
    for name in ("discover", "transcripts", "captioner", "sung", "voice", "snippets"):
        own = getattr(experiment, name).__wrapped__
        monkeypatch.setattr(experiment, name, cache(own))
    return few()


def test_no_training_looks_at_text(small, monkeypatch):
    blind = dataclasses.replace(small, texts=Unread(), scenes=Unread(), phonemes=Unread())
    monkeypatch.setattr(experiment, "load", lambda: (blind, None))
    model, mouth = experiment.captioner(10), experiment.voice(10)
    said = experiment.tell(model, small.maps[:2])
    waves = experiment.speak(mouth, said)
    assert all(u.min() >= 0 and u.max() < 64 for u in said if len(u))
    assert all(w.isfinite().all() for w in waves)


def test_same_seed_same_weights(small, monkeypatch):
    first = experiment.captioner(3).state_dict()
    for name in ("discover", "transcripts", "captioner"):
        getattr(experiment, name).cache_clear()
    again, other = experiment.captioner(3).state_dict(), experiment.captioner(4).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])


def test_strings_come_back_in_order(small):
    ears = experiment.discover(10)
    together = experiment.strings(ears, small.frames)
    for own, frames in zip(together, small.frames):
        alone = ears.strings(frames[None], [frames.shape[1]])[0]
        assert int(own.frames.sum()) == frames.shape[1]
        # what follows the end, silence or nothing, may be felt in the last frames
        assert torch.equal(own.units[:-2], alone.units[:-2])


def test_batches_of_similar_length_hold_everything_once():
    ids = torch.zeros(23, 12, dtype=torch.long)
    for k in range(23):
        ids[k, : 3 + k % 9] = k + 4
    seen = [
        b["captions"] for b in experiment.by_length(torch.arange(23.0)[:, None, None, None], ids, 4)
    ]
    rows = sorted(int(r[0]) for b in seen for r in b)
    assert rows == list(range(4, 27))
    assert all((b != 0).any(0).all() for b in seen)  # no column is padding alone


def test_words_wrong_is_the_edit_distance():
    def slow(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    dice = np.random.default_rng(0)
    for _ in range(20):
        a, b = ([*dice.choice(list("xyz"), dice.integers(0, 6))] for _ in range(2))
        assert experiment.words_wrong(" ".join(a), " ".join(b)) == slow(a, b)
    assert experiment.words_right(["a dog", "a cat"], ["a dog", "the cat sat"]) == 1 - 2 / 4


def test_template_matching_finds_what_it_is_made_of(monkeypatch):
    dice = torch.Generator().manual_seed(0)
    parts = [3 * torch.randn(n, 13, generator=dice) for n in (5, 8, 6)]
    starts = torch.tensor([0, 5, 13, 19])
    monkeypatch.setattr(
        experiment, "templates", lambda: (["dog", "cat", "sun"], torch.cat(parts), starts)
    )

    def hears(frames: torch.Tensor, price: float = 1.0) -> str:
        monkeypatch.setattr(experiment, "cepstra", lambda wave: frames)
        return experiment.matched(torch.zeros(1), price)

    for order in ([0], [1, 2], [2, 0, 0, 1]):
        said = torch.cat([parts[k] for k in order])
        want = " ".join(["dog", "cat", "sun"][k] for k in order)
        assert hears(said) == want
        assert hears(said.repeat_interleave(2, 0)) == want  # twice as slow
        assert hears(said + 0.3 * torch.randn(said.shape, generator=dice)) == want
    assert hears(torch.cat([parts[0], parts[1]]), price=1e6).count(" ") == 0


def test_the_other_voices_are_others():
    own = experiment.others()
    assert len({person.name for person in own}) == experiment.TEMPLATES
    neutral = speech.Settings(speech.LANGUAGES["en"])
    assert all(person.accent == "American" and person.settings() != neutral for person in own)


def test_perfect_units_share_all_of_the_phonemes():
    data = few()
    names = sorted({n for symbols, *_ in data.phonemes for n in symbols})
    codes = []
    for (symbols, _, ends), x in zip(data.phonemes, data.frames):
        at = np.searchsorted(ends, np.arange(x.shape[1]) * 0.01, "right").clip(max=len(ends) - 1)
        codes.append(np.array([names.index(symbols[k]) for k in at]))
    found = experiment.against_phonemes(codes, data)
    assert found["NMI"] > 0.97
    assert found["purity"] > 0.97
    assert found["NMI, frames"] == pytest.approx(1)
    none = experiment.against_phonemes([np.zeros_like(c) for c in codes], data)
    assert none["NMI"] == pytest.approx(0)


def test_chance_is_of_other_scenes():
    own = [scenes.sample("train", k, 0, 12) for k in range(20)]
    told = [f"there is a {scene.things[0].name}" for scene in own]
    told = [t.replace("a apple", "an apple") for t in told]
    as_json = [scene.to_json() for scene in own]
    assert experiment.truth(told, as_json) > 0.9
    assert experiment.chance(told, as_json) < 0.5
    assert experiment.truth(["nonsense"] * 20, as_json) == 0


def test_jumps_of_a_glide_and_of_steps():
    t = torch.arange(16000) / 16000
    glide = 0.2 * torch.sin(2 * np.pi * (100 * t + 10 * t * t))
    tones = [0.2 * torch.sin(2 * np.pi * f * t[:1600]) for f in (90, 130) * 5]
    assert experiment.jumps([glide]) < 0.05 < 0.1 < experiment.jumps([torch.cat(tones)])


def test_letters_cut_out_are_pieces_of_the_recordings(small, monkeypatch):
    found = [
        Heard(torch.tensor([0, 1, 0]), torch.tensor([10, 20, len(x[0]) - 30])) for x in small.frames
    ]
    monkeypatch.setattr(experiment, "transcripts", lambda seed: found)
    waves, frames = experiment.ransom(0, [torch.tensor([1, 0]), torch.tensor([1])])
    for wave, own in zip(waves, frames):  # the last frame of a recording is not whole
        assert 0 <= 160 * int(own.sum()) - len(wave) < 160 * len(own)
    assert any(torch.equal(waves[1], w[1600:4800]) for w in small.waves)
    assert experiment.off([torch.tensor([2, 8])], [torch.tensor([4, 4])]) == pytest.approx(
        np.log(2)
    )


def test_the_rule():
    (own,) = experiment.EXPERIMENTS
    assert own.id == "C43"
    assert [part.name for part in own.parts[:2]] == ["truth ÷ chance", "NMI"]
    assert own.parts[0].threshold == 5
    assert own.parts[1].threshold == 0.75
    assert Config.world() == experiment.CONFIG


def test_the_recogniser_learns_a_few_sentences(small, monkeypatch):
    monkeypatch.setitem(experiment.JUDGE, "steps", 150)
    torch.manual_seed(0)
    judge = experiment.recogniser.__wrapped__()
    heard = [judge.hear(x) for x in small.frames[:3]]
    assert experiment.words_right(TEXTS, heard) > 0.7
