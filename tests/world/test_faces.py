"""Faces: tied to the voice as stated and not otherwise; each visible trait is visible; mouths follow phonemes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mmtutor import world
from mmtutor.world import faces, voices
from mmtutor.world.faces import Look, draw_face, draw_talking, face, mouth_track
from mmtutor.world.speech import PAUSE, Phoneme

PEOPLE = voices.speakers()
FACES = [face(person) for person in PEOPLE]


def voice(trait: str) -> np.ndarray:
    return np.array([person.standard(trait) for person in PEOPLE])


def looks(trait: str) -> np.ndarray:
    return np.array([getattr(one, trait) for one in FACES])


# --- what is tied and what is not -----------------------------------------------------------------


def test_tied_traits_correlate_as_stated():
    for trait, (of_voice, r) in faces.TIED.items():
        assert np.corrcoef(looks(trait), voice(of_voice))[0, 1] == pytest.approx(r, abs=0.06), trait


def test_independent_traits_tell_nothing_of_the_voice():
    # With 600 speakers the standard error of a correlation of 0 is 0.041; 4 of them is one false alarm in 16,000.
    voice_traits = ("pitch", "formants", "rate", "liveliness")
    for trait in ("nose", "eye_spacing", "mouth_width", "spots"):
        for of_voice in voice_traits:
            assert abs(np.corrcoef(looks(trait).astype(float), voice(of_voice))[0, 1]) < 0.165, (
                trait,
                of_voice,
            )
    for trait in ("skin", "hat", "hat_colour", "eye_colour", "glasses"):
        values = looks(trait)
        kinds = sorted(set(values))
        for of_voice in voice_traits:
            z = voice(of_voice)
            between = sum((values == kind).sum() * z[values == kind].mean() ** 2 for kind in kinds)
            # under independence this is chi-squared with len(kinds) degrees of freedom, about
            assert between < len(kinds) + 5 * np.sqrt(2 * len(kinds)), (trait, of_voice)


def retrieval(of_face: tuple[str, ...], trials: int = 40) -> dict[int, float]:
    """Recall at 1, 5 and 10 among 100 unseen speakers: from the true traits of the voice to those of the face.

    A linear map learnt from the speakers of training; faces are ranked by their likelihood under its errors.
    """
    heard = np.array(
        [
            [person.standard(trait) for trait in ("pitch", "formants", "rate", "liveliness")]
            for person in PEOPLE
        ]
    )
    heard, seen = (
        np.c_[heard, np.ones(len(PEOPLE))],
        np.array([looks(trait) for trait in of_face]).T,
    )
    known = np.array([person.split == "train" for person in PEOPLE])
    weights = np.linalg.lstsq(heard[known], seen[known], rcond=None)[0]
    spread = np.square(seen - heard @ weights)[known].mean(0)
    random, ranks = np.random.default_rng(0), []
    for _ in range(trials):
        some = random.permutation(np.flatnonzero(~known))[:100]
        away = (np.square((heard[some] @ weights)[:, None] - seen[some]) / spread).sum(
            -1
        )  # (voices, faces)
        ranks.append((away < np.diag(away)[:, None]).sum(1))
    return {k: float((np.array(ranks) < k).mean()) for k in (1, 5, 10)}


def test_the_voice_finds_the_face_but_never_surely():
    """The ceiling of what a voice can tell, and the chance level that the independent traits must stay at."""
    tied = retrieval(tuple(faces.TIED))
    assert 0.85 <= tied[10] <= 0.99
    assert 0.2 <= tied[1] <= 0.6
    assert tied[1] < tied[5] < tied[10]
    chance = retrieval(faces.INDEPENDENT[:3])
    assert 0.05 < chance[10] < 0.16  # 0.10; 120 speakers: a standard error of about 0.03
    assert chance[1] < 0.04


def test_nothing_is_tied_to_the_accent():
    # Where somebody comes from must not be seen.
    accents = np.array([person.accent for person in PEOPLE])
    for trait in (
        "head_size",
        "head_width",
        "eye_size",
        "ear_size",
        "nose",
        "eye_spacing",
        "mouth_width",
    ):
        z = looks(trait)
        between = sum(
            (accents == a).sum() * (z[accents == a].mean() - z.mean()) ** 2 for a in voices.ACCENTS
        )
        assert between < 4 + 5 * np.sqrt(8), trait
    for trait in ("skin", "hat", "glasses"):
        table = Counter(zip(accents, looks(trait), strict=True))
        kinds = sorted(set(looks(trait)))
        chi = 0.0
        for a in voices.ACCENTS:
            for kind in kinds:
                expected = (accents == a).sum() * (looks(trait) == kind).sum() / len(PEOPLE)
                chi += (table[a, kind] - expected) ** 2 / expected
        freedom = (len(voices.ACCENTS) - 1) * (len(kinds) - 1)
        assert chi < freedom + 5 * np.sqrt(2 * freedom), trait


def test_no_two_faces_are_alike():
    kinds = {
        (f.skin, f.hat, f.hat_colour, f.eye_colour, f.glasses, f.spots, f.head_size) for f in FACES
    }
    assert len(kinds) == len(FACES) == 600
    pictures = {draw_face(one, pixels=32).tobytes() for one in FACES[:100]}
    assert len(pictures) == 100


# --- drawing --------------------------------------------------------------------------------------


def skin_area(picture: np.ndarray, traits: faces.Face) -> np.ndarray:
    return (np.abs(picture.astype(int) - faces.SKINS[traits.skin]).max(axis=2) < 12).sum()


def test_canonical_faces_are_frontal():
    for one in FACES[:20]:
        plain = replace(one, hat="beanie")  # a cap's peak points to the side
        picture = draw_face(plain, pixels=64).astype(int)
        assert np.abs(picture - picture[:, ::-1]).mean() < 3  # mirror symmetry
        assert (picture[0, 0] == 236).all()
        assert (picture[-1, -1] == 236).all()


def test_every_trait_can_be_seen():
    base = replace(FACES[0], hat="cap", glasses="none", spots=False)
    numbers = (
        "head_size",
        "head_width",
        "eye_size",
        "ear_size",
        "nose",
        "eye_spacing",
        "mouth_width",
    )
    for trait in numbers:
        low, high = (
            draw_face(replace(base, **{trait: value})).astype(int) for value in (-1.5, 1.5)
        )
        assert (np.abs(low - high).max(axis=2) > 40).sum() >= 8, trait
    for trait, kinds in (
        ("skin", faces.SKINS),
        ("hat", faces.HATS),
        ("hat_colour", faces.HAT_COLOURS),
        ("eye_colour", faces.EYE_COLOURS),
        ("glasses", faces.GLASSES),
        ("spots", (False, True)),
    ):
        pictures = [
            draw_face(replace(base, eye_size=1.0, **{trait: kind})).astype(int) for kind in kinds
        ]
        for i, a in enumerate(pictures):
            for b in pictures[i + 1 :]:
                assert (np.abs(a - b).max(axis=2) > 20).sum() >= 8, trait


NUMBERS = (*faces.TIED, *faces.INDEPENDENT[:3])


def read_off(
    train: np.ndarray, traits: np.ndarray, test: np.ndarray, strength: float
) -> np.ndarray:
    """A linear probe: ridge regression from pixels (N, P) to numbers (N, T), applied to (M, P)."""
    centre, mean = train.mean(0), traits.mean(0)
    train, test = train - centre, test - centre
    gram = train @ train.T
    gram += strength * np.trace(gram) / len(gram) * np.eye(len(gram), dtype=gram.dtype)
    return test @ (train.T @ np.linalg.solve(gram, traits - mean)) + mean


def correlations(guessed: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        name: float(np.corrcoef(guessed[:, k], truth[:, k])[0, 1]) for k, name in enumerate(NUMBERS)
    }


def test_a_linear_probe_reads_every_number_off_canonical_faces():
    pictures = (
        np.stack([draw_face(one) for one in FACES]).reshape(len(FACES), -1).astype(np.float32) / 255
    )
    truth = np.array([looks(name) for name in NUMBERS]).T.astype(np.float32)
    known = np.array([person.split == "train" for person in PEOPLE])
    r = correlations(read_off(pictures[known], truth[known], pictures[~known], 0.1), truth[~known])
    assert min(r.values()) > 0.85, r
    # blind: where the pictures are another speaker's, nothing is read
    other = np.roll(pictures, 7, axis=0)
    r = correlations(read_off(other[known], truth[known], other[~known], 0.1), truth[~known])
    assert max(map(abs, r.values())) < 0.4, r  # 120 speakers: a standard error of 0.09


def test_varied_faces_show_the_numbers_too():
    """In pose, light and expression a linear probe of pixels reads little; a small convolutional net reads them all."""
    torch = pytest.importorskip("torch")
    pictures, truth = {}, {}
    for split, count in (("train", 1440), ("test", 240)):
        people = voices.speakers(split)
        chosen = [people[i % len(people)] for i in range(count)]
        random = np.random.default_rng(len(people))
        drawn = [draw_face(person, faces.random_look(random)) for person in chosen]
        pictures[split] = np.stack(drawn).astype(np.float32) / 255 - 0.5
        truth[split] = np.array(
            [[getattr(face(p), name) for name in NUMBERS] for p in chosen], np.float32
        )
    flat = {split: value.reshape(len(value), -1) for split, value in pictures.items()}
    r = correlations(read_off(flat["train"], truth["train"], flat["test"], 0.2), truth["test"])
    assert (
        min(
            r[name]
            for name in (
                "nose",
                "eye_spacing",
                "mouth_width",
                "head_size",
                "head_width",
                "ear_size",
            )
        )
        > 0.15
    ), r

    torch.manual_seed(0)
    nn = torch.nn

    def block(inputs: int, outputs: int, stride: int = 2) -> list:
        return [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    stages = (*block(3, 16), *block(16, 32), *block(32, 48, 1), *block(48, 64), *block(64, 96))
    net = nn.Sequential(*stages, nn.Flatten(), nn.Dropout(0.2), nn.Linear(96 * 16, len(NUMBERS)))
    net = net.to(memory_format=torch.channels_last)
    x, y = torch.from_numpy(pictures["train"]).permute(0, 3, 1, 2), torch.from_numpy(truth["train"])
    steps, batch = 260, 48
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(x) // batch) == 0:
            order = torch.randperm(len(x))
        part = order[batch * (step % (len(x) // batch)) :][:batch]
        loss = (net(x[part]) - y[part]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    with torch.no_grad():
        guessed = net.eval()(torch.from_numpy(pictures["test"]).permute(0, 3, 1, 2)).numpy()
    r = correlations(guessed, truth["test"])
    assert min(r[name] for name in ("nose", "eye_spacing", "mouth_width")) > 0.5, r
    assert min(r.values()) > 0.4, r


def test_head_size_is_area():
    one = replace(FACES[0], hat="cap", glasses="none", spots=False)
    areas = [skin_area(draw_face(replace(one, head_size=z)), one) for z in (-2, -1, 0, 1, 2)]
    assert areas == sorted(areas)
    assert areas[-1] > 1.5 * areas[0]


def test_colours_are_the_named_ones():
    for name, colour in faces.HAT_COLOURS.items():
        picture = draw_face(replace(FACES[0], hat="top hat", hat_colour=name)).astype(int)
        assert (np.abs(picture - colour).max(axis=2) < 8).sum() > 60, name


def test_looks_do_what_they_say():
    one = replace(FACES[0], hat="beanie", glasses="none", spots=False)
    columns = np.arange(64) - 31.5

    def dark_centre(picture):  # the pupils
        dark = picture.astype(int).max(axis=2) < 60
        dark[:16] = False
        return float((dark.sum(axis=0) * columns).sum() / dark.sum())

    one = replace(one, eye_colour="black", hat_colour="red")
    assert (
        dark_centre(draw_face(one, Look(yaw=25)))
        > 2
        > -2
        > dark_centre(draw_face(one, Look(yaw=-25)))
    )
    assert draw_face(one, Look(brightness=0.6)).mean() < 0.7 * draw_face(one).mean()
    right = draw_face(one, Look(light=0, contrast=1)).astype(float)
    assert right[:, 48:].mean() > right[:, :16].mean() + 20
    above = draw_face(one, Look(light=90, contrast=1)).astype(float)
    assert above[:8].mean() > above[-8:].mean() + 20
    mouths = [
        (draw_face(one, Look(mouth=m)).astype(int) - draw_face(one)).any(axis=2).sum()
        for m in (0.3, 0.6, 1)
    ]
    assert mouths == sorted(mouths)
    assert mouths[0] > 5


def test_bad_looks_and_arguments():
    for wrong in (
        {"yaw": 90},
        {"mouth": -0.1},
        {"eyes": 2},
        {"smile": "glad"},
        {"scale": float("nan")},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a number from"):
            Look(**wrong)
    with pytest.raises(ValueError, match="three numbers"):
        Look(backdrop=(0, 0))
    with pytest.raises(ValueError, match="no speaker is called"):
        draw_face("Nobody")
    with pytest.raises(TypeError, match="a Speaker or a name"):
        face(3)
    for wrong in (0, 15, 513):
        with pytest.raises(ValueError, match="between 16 and 512"):
            draw_face(FACES[0], pixels=wrong)
    with pytest.raises(TypeError, match="whole number"):
        draw_face(FACES[0], pixels=64.0)
    for wrong in (np.zeros((0, 2)), np.zeros((3, 3)), np.zeros(4), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"shape \(N, 2\)"):
            draw_talking(FACES[0], wrong)


# --- talking --------------------------------------------------------------------------------------


def test_mouth_follows_made_up_phonemes():
    sounds = [
        Phoneme(PAUSE, 0.0, 0.4),
        Phoneme("ɑː", 0.4, 0.8),
        Phoneme("b", 0.8, 0.9),
        Phoneme("uː", 0.9, 1.3),
        Phoneme("iː", 1.3, 1.7),
        Phoneme(PAUSE, 1.7, 2.0),
    ]
    track = mouth_track(sounds, 50)
    assert track.shape == (50, 2)
    assert track.dtype == np.float32

    def at(second):
        return track[int(second * 25)]

    assert at(0.2)[0] == 0
    assert at(1.9)[0] == 0
    assert at(0.6)[0] > 0.9  # wide open
    assert at(0.85)[0] == 0  # closed lips
    assert at(1.1)[1] > 0.8  # rounded
    assert at(1.5)[1] < -0.7  # spread
    assert track.min() >= -1
    assert track.max() <= 1
    assert mouth_track([], 3).tolist() == [[0, 0]] * 3
    for frames, rate in ((0, 25), (5, 0), (5, -1)):
        with pytest.raises(ValueError, match="at least one frame"):
            mouth_track(sounds, frames, rate)


@pytest.mark.parametrize("speaker", [None, PEOPLE[3].name, PEOPLE[77].name])
def test_mouth_follows_real_speech(speaker):
    said = voices.speak(
        "Papa bought a map. My mama has a big bag, a car and a lamp.", speaker=speaker
    )
    track = mouth_track(
        said.phonemes, round(said.seconds * 100), 100
    )  # fine enough to see every phoneme

    def inside(phoneme):
        a, b = int(np.ceil(phoneme.start * 100)), int(np.floor(phoneme.end * 100))
        return track[a:b, 0]

    closed = [p for p in said.phonemes if p.symbol in ("p", "b", "m")]
    opened = [p for p in said.phonemes if p.symbol[0] in "aɑæ" and p.end - p.start > 0.07]
    assert len(closed) >= 6
    assert len(opened) >= 3
    for phoneme in closed:
        assert len(inside(phoneme)) == 0 or inside(phoneme).max() < 0.05, phoneme
    for phoneme in opened:
        assert inside(phoneme).max() > 0.6, phoneme


def test_opening_goes_with_loudness():
    # The reason why a face helps to hear: over frames, the open mouth is the loud one.
    r = []
    for person in PEOPLE[5:500:100]:
        said = voices.speak(
            "The small dog is behind a red car. Two cats are on the meadow.", speaker=person
        )
        frames = int(said.seconds * 25)
        track = mouth_track(said.phonemes, frames)
        level = np.sqrt(np.square(said.wave[: frames * 640]).reshape(frames, 640).mean(axis=1))
        r.append(np.corrcoef(track[:, 0], level)[0, 1])
    assert np.mean(r) > 0.4


def test_visemes():
    shape = faces.visemes
    assert all(shape(symbol)[0].opening == 0 for symbol in ("p", "b", "m", "ph", "p-", PAUSE))
    assert (
        shape("ɑː")[0].opening
        > shape("ɛ")[0].opening
        > shape("ɪ")[0].opening
        > shape("v")[0].opening
    )
    assert shape("uː")[0].roundness > 0.5 > -0.5 > shape("iː")[0].roundness
    assert len(shape("aɪ")) == 2
    assert shape("aɪ")[0].opening > shape("aɪ")[1].opening
    assert shape("tʃ") == shape("ʃ") == shape("dʒ") != shape("t")


def test_every_phoneme_of_the_world_has_a_shape():
    known = set(faces._VOWELS) | set(faces._CONSONANTS) | {PAUSE}
    unknown = Counter()
    for language in ("en", "ko"):
        for i in range(25):
            random = np.random.default_rng(i)
            said = voices.speak(voices.sentence(random, language), language, speaker=PEOPLE[i * 7])
            unknown.update(p.symbol for p in said.phonemes if p.symbol[0] not in known)
    assert not unknown


def test_talking_frames_are_faces():
    # Only the mouth is drawn anew for every frame; the whole must be what draw_face draws.
    random = np.random.default_rng(1)
    for person in PEOPLE[:200:25]:
        look = replace(faces.random_look(random), eyes=1.0)
        track = np.stack([random.random(4), random.uniform(-1, 1, 4)], axis=1).astype(np.float32)
        frames = draw_talking(person, track, look, 48)
        for frame, (opening, roundness) in zip(frames, track.tolist(), strict=True):
            assert np.array_equal(
                frame, draw_face(person, replace(look, mouth=opening, roundness=roundness), 48)
            )


def test_blinking_goes_on_through_the_parts_of_a_clip():
    track = np.tile(np.float32([0.3, 0.0]), (150, 1))
    whole = draw_talking(PEOPLE[4], track, pixels=48)
    parts = [
        draw_talking(PEOPLE[4], track[first : first + 50], pixels=48, first=first)
        for first in (0, 50, 100)
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert len({frame.tobytes() for frame in whole}) == 2  # eyes open and shut


def test_world_exports_it():
    assert world.draw_face is draw_face
