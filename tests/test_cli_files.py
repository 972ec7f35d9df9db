"""The commands that draw, separate, hear and speak, tried as a user would: with files of one's own,
good ones and bad ones."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import COLOURS, call, refused, weights
from click.testing import CliRunner, Result
from PIL import Image

from mmtutor.cli import costs, drawing, files, main, task
from mmtutor.cli.tasks import TASKS

RATE = 8000


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A note, float (L,)."""
    t = np.arange(round(seconds * rate)) / rate
    return 0.4 * np.sin(2 * np.pi * hertz * t)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Samples (L,) or (L, channels) in [−1, 1] as 16 bits."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        content = file.readframes(file.getnframes())
        return np.frombuffer(content, "<i2") / 32767, file.getframerate()


# --- Tiny models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def walls(room: Path) -> Path:
    """Thirty pictures of walls in three colours, with a caption each."""
    folder = room / "walls"
    folder.mkdir()
    dice, lines = np.random.default_rng(0), []
    for number in range(30):
        name, colour = list(COLOURS.items())[number % 3]
        noise = dice.integers(-20, 20, (16, 16, 3))
        picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:02d}.png")
        lines.append(json.dumps({"file_name": f"{number:02d}.png", "captions": [f"a {name} wall"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def drawer_of(walls: Path, out: Path, steps: int) -> Result:
    sizes = ["--set=size=16", "--set=generator=8", "--set=discriminator=8"]
    return call(
        *("train", "text_to_image", "--data", walls, "--out", out, "--steps", steps, *sizes),
        *("--batch", 8, "--set", "rates=0.004,0.004", "--set", "augment=false"),
    )


@pytest.fixture(scope="module")
def drawer(walls: Path, room: Path) -> Path:
    shown = drawer_of(walls, room / "drawer", 150).output
    assert "The loss of the discriminator went from" in shown
    assert "150 steps" in shown
    return room / "drawer"


TINY = ("--size", 8, "--batch", 4, "--set", "width=16", "--set", "audio=((16,3),)")


@pytest.fixture(scope="module")
def separator(room: Path) -> Path:
    call("train", "cocktail_party", "--out", room / "separator", "--steps", 6, *TINY)
    return room / "separator"


@pytest.fixture(scope="module")
def notes(room: Path) -> Path:
    """Low notes, high notes and noise, ten each, in folders."""
    dice = np.random.default_rng(0)
    for name in ("high", "low", "noise"):
        (room / "notes" / name).mkdir(parents=True)
        for number in range(10):
            hertz = {"high": 2000, "low": 200}.get(name, 0) * dice.uniform(0.9, 1.1)
            own = tone(hertz) if hertz else dice.uniform(-0.4, 0.4, 4000)
            write_wav(room / "notes" / name / f"{number}.wav", own)
    return room / "notes"


@pytest.fixture(scope="module")
def hearer(notes: Path, room: Path) -> Path:
    call(
        *("train", "soundnet", "--data", notes, "--out", room / "hearer", "--steps", 40),
        *("--batch", 8),
    )
    return room / "hearer"


TINY_VOICE = (
    *(f"--set={name}=16" for name in ("hidden", "embedding", "prepare", "voice")),
    *("--set=widths=16,16", "--set=strides=2", "--set=dilations=1", "--set=units=8"),
)


@pytest.fixture(scope="module")
def speaker(room: Path) -> Path:
    call(
        *("train", "image_to_speech", "--out", room / "speaker", "--size", 10, "--steps", 12),
        *("--batch", 4, "--pixels", 64, *TINY_VOICE),
    )
    return room / "speaker"


# --- Draw -----------------------------------------------------------------------------------------


def test_it_draws_what_is_said(drawer: Path, tmp_path: Path) -> None:
    for at, colour in enumerate(COLOURS):
        out = tmp_path / f"{colour}.png"
        shown = call("draw", drawer, f"a {colour} wall", "--out", out, "--zoom", 1).output
        assert f"{out}: 8 drawings of 16 × 16 pixels" in shown
        picture = np.asarray(Image.open(out)).astype(float)
        assert picture.shape == (16, 8 * 17 - 1, 3)
        assert picture[:, :16].mean((0, 1)).argmax() == at


def test_the_seed_repeats_a_drawing_and_another_changes_it(drawer: Path, tmp_path: Path) -> None:
    def drawn(name: str, *more: object) -> bytes:
        call("draw", drawer, "a red wall", "--out", tmp_path / name, *more)
        return (tmp_path / name).read_bytes()

    first = drawn("a.png", "--count", 11, "--seed", 3)
    assert first == drawn("b.png", "--count", 11, "--seed", 3)
    assert first != drawn("c.png", "--count", 11, "--seed", 4)
    assert Image.open(tmp_path / "a.png").size == (4 * (8 * 17 - 1), 4 * (2 * 17 - 1))


def test_drawings_are_measured_by_their_own_sentence(drawer: Path) -> None:
    shown = call("evaluate", drawer).output
    scores = json.loads((drawer / "scores.json").read_text())
    assert "drawings, own sentence of 3" in shown
    assert scores["real pictures"] == 1
    assert scores["by chance"] == pytest.approx(1 / 3)


def test_sentences_that_cannot_be_drawn(drawer: Path, separator: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x.png")
    assert "has no word; say something like 'a red wall'" in refused("draw", drawer, "  ", *out)
    assert "has no word" in refused("draw", drawer, "!?", *out)
    unknown = refused("draw", drawer, "zorblax quux", *out)
    assert "no word of 'zorblax quux' was in the texts" in unknown
    assert "something like 'a red wall'" in unknown
    assert "did you mean green?" in refused("draw", drawer, "gren", *out)
    assert not (tmp_path / "x.png").exists()
    said = call("draw", drawer, "a zorblax wall", *out).stderr
    assert "words that it never learned: zorblax" in said
    assert "must end in .png" in refused("draw", drawer, "a wall", "--out", tmp_path / "x.wav")
    nowhere = tmp_path / "nowhere" / "x.png"
    assert "there is no folder" in refused("draw", drawer, "a wall", "--out", nowhere)
    (tmp_path / "folder.png").mkdir()
    folder = ("--out", tmp_path / "folder.png")
    assert "is a folder; name a file" in refused("draw", drawer, "a wall", *folder)
    assert "use it with: mmtutor separate" in refused("draw", separator, "a wall", *out)
    assert "holds no run" in refused("draw", tmp_path, "a wall", *out)


def test_one_text_for_all_pictures_teaches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "same"
    folder.mkdir()
    lines = []
    for number in range(4):
        Image.new("RGB", (16, 16), (number, 9, 9)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "captions": ["a wall"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    line = refused("train", "text_to_image", "--data", folder, "--out", tmp_path / "x")
    assert "all pictures have the same text" in line


# --- Separate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def party(room: Path) -> Path:
    """A mixture of one second, and the film of a face in each of the ways that are read."""
    folder = room / "party"
    (folder / "frames").mkdir(parents=True)
    dice = np.random.default_rng(0)
    write_wav(folder / "mix.wav", 0.5 * (tone(150, 1.0) + tone(310, 1.0)))
    film = dice.integers(0, 255, (25, 48, 48, 3), dtype=np.uint8)
    np.save(folder / "anna.npy", film)
    Image.fromarray(np.concatenate(list(film), 1)).save(folder / "strip.png")
    pictures = [Image.fromarray(one) for one in film]
    for number, one in enumerate(pictures):
        one.save(folder / "frames" / f"{number}.png")  # 10.png comes after 9.png
    more = dict(save_all=True, append_images=pictures[1:])
    pictures[0].save(folder / "moving.webp", duration=40, lossless=True, **more)
    pictures[0].save(folder / "ben.gif", duration=40, **more)
    return folder


def test_all_kinds_of_film_are_the_same_film(party: Path) -> None:
    film = np.load(party / "anna.npy")
    for name in ("anna.npy", "strip.png", "frames", "moving.webp"):
        assert np.array_equal(files.film(str(party / name), 25, None, 48), film), name
    assert files.film(str(party / "ben.gif"), 25, None, 48).shape == film.shape  # of 256 colours
    half = files.film(str(party / "frames"), 25, 12.5, 48)  # each picture is shown twice
    assert np.array_equal(half, film.repeat(2, 0))
    twice = files.film(str(party / "moving.webp"), 25, 50, 48)
    assert np.array_equal(twice, film[1::2]) or np.array_equal(twice[:12], film[:24:2])


def test_a_large_face_becomes_small_by_its_means(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    large = dice.integers(0, 255, (2, 96, 144), dtype=np.uint8)  # grey, and not square
    np.save(tmp_path / "x.npy", large)
    small = files.film(str(tmp_path / "x.npy"), 25, None, 48)
    mean = large.reshape(2, 48, 2, 48, 3).mean((2, 4))
    assert np.abs(small[..., 0] - mean).max() <= 1


def test_the_voices_add_up_to_the_mixture(separator: Path, party: Path, tmp_path: Path) -> None:
    out = tmp_path / "voices"
    shown = call(
        "separate",
        separator,
        party / "mix.wav",
        party / "anna.npy",
        party / "ben.gif",
        "--out",
        out,
    )
    assert shown.stderr == ""
    assert sorted(path.name for path in out.iterdir()) == ["mix-anna.wav", "mix-ben.wav"]
    (one, rate), (two, _) = (read_wav(path) for path in sorted(out.iterdir()))
    mixture, _ = read_wav(party / "mix.wav")
    assert rate == RATE
    assert len(one) == len(mixture)
    assert np.abs(one + two - mixture).max() < 2e-3  # the last voice is what the first one leaves
    assert np.abs(one).max() > 0.01


def test_another_rate_is_brought_to_that_of_the_network_and_said(
    separator: Path, party: Path, tmp_path: Path
) -> None:
    both = np.stack([tone(200, 1.0, 44100), tone(300, 1.0, 44100)], 1)
    other = write_wav(tmp_path / "cd.wav", both, 44100)
    films = (party / "frames", party / "strip.png")
    shown = call("separate", separator, other, *films, "--out", tmp_path)
    assert "44,100 samples a second, brought to 8,000" in shown.stderr
    assert "2 channels, of which the mean is heard" in shown.stderr
    assert len(read_wav(tmp_path / "cd-frames.wav")[0]) == RATE


def test_what_cannot_be_separated(separator: Path, party: Path, tmp_path: Path) -> None:
    mix, anna, out = party / "mix.wav", party / "anna.npy", ("--out", tmp_path / "out")
    few = refused("separate", separator, mix, anna, *out)
    assert "gives 2 voices and needs 2 films, one of each face, got 1" in few
    assert "--set voices=1" in few
    (tmp_path / "bad.gif").write_bytes(b"no film")
    write_wav(tmp_path / "silent.wav", np.zeros(RATE))
    wrong = call("separate", separator, tmp_path / "silent.wav", tmp_path / "bad.gif", anna, code=1)
    lines = wrong.stderr.splitlines()
    assert "holds nothing but silence" in lines[0]
    assert "bad.gif' cannot be read as a film: give a folder of pictures" in lines[1]
    assert lines[2] == "2 of 3 files could not be read"
    np.save(tmp_path / "long.npy", np.load(anna).repeat(2, 0))
    np.save(tmp_path / "tiny.npy", np.load(anna)[:, :20, :20])
    np.save(tmp_path / "floats.npy", np.load(anna) / 255)
    np.save(tmp_path / "one.npy", np.load(anna)[:1])
    Image.new("RGB", (100, 48)).save(tmp_path / "odd.png")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "long.npy": "lasts 2.00 s, and the sound 1.00 s: cut the longer",
        "tiny.npy": "has 20 × 20 pixels; a face needs 48 × 48 or more",
        "floats.npy": "must hold uint8 (T, H, W, 3) or (T, H, W), got float64",
        "one.npy": "is one picture, and a film has two or more",
        "odd.png": "is no strip of square pictures",
        "empty": "holds no picture (.png",
        "none.gif": "there is no file or folder",
    }.items():
        result = call("separate", separator, mix, anna, tmp_path / name, *out, code=1)
        assert message in result.stderr, result.stderr
        assert name in result.stderr
    faster = call("separate", separator, mix, anna, anna, *out, "--fps", 50, code=1)
    assert "anna.npy' lasts 0.48 s, and the sound 1.00 s" in faster.stderr
    short = write_wav(tmp_path / "short.wav", tone(300, 0.01))
    assert "too short" in call("separate", separator, short, anna, anna, *out, code=1).stderr
    assert not (tmp_path / "out").exists()
    assert (
        "there is no file"
        in call("separate", separator, tmp_path / "x.wav", anna, anna, code=1).stderr
    )
    nameless = call("separate", separator, mix, anna, "", code=1).stderr
    assert "there is no file or folder ''" in nameless
    (tmp_path / "file").write_text("")
    line = refused("separate", separator, mix, anna, anna, "--out", tmp_path / "file")
    assert "must be a folder here" in line


def test_a_face_that_stands_still_is_told(separator: Path, party: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "still.npy", np.load(party / "anna.npy")[:1].repeat(25, 0))
    mix, anna = party / "mix.wav", party / "anna.npy"
    said = call("separate", separator, mix, anna, tmp_path / "still.npy", "--out", tmp_path).stderr
    assert "still.npy does not move" in said
    said = call("separate", separator, mix, anna, anna, "--out", tmp_path).stderr
    assert "anna.npy is given more than once" in said


def test_what_is_gained_is_measured_on_unseen_speakers(separator: Path) -> None:
    call("evaluate", separator, "--size", 6)
    scores = json.loads((separator / "scores.json").read_text())
    assert list(scores) == [
        "SI-SDR of the mixtures, dB",
        "gain in SI-SDR, dB",
        "the same with the faces exchanged, dB",
    ]
    assert abs(scores["SI-SDR of the mixtures, dB"]) < 1  # equally loud


def test_one_voice_for_any_number_of_faces_and_ears_without_eyes(
    party: Path, tmp_path: Path
) -> None:
    one, deaf = tmp_path / "one", tmp_path / "deaf"
    call("train", "cocktail_party", "--out", one, "--steps", 2, *TINY, "--set", "voices=1")
    mix, anna = party / "mix.wav", party / "anna.npy"
    shown = call("separate", one, mix, anna, anna, anna, "--out", tmp_path / "three").stdout
    assert len(shown.splitlines()) == 3  # of one name, and none is written over
    assert len(list((tmp_path / "three").iterdir())) == 3
    call("evaluate", one, "--size", 2)
    call("train", "cocktail_party", "--out", deaf, "--steps", 2, *TINY, "--set", "visual=()")
    call("separate", deaf, mix, "--out", tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
        "mix-voice1.wav",
        "mix-voice2.wav",
    ]
    assert "only hears: leave the films out" in refused("separate", deaf, mix, anna)
    call("evaluate", deaf, "--size", 2)


# --- Hear -----------------------------------------------------------------------------------------


def test_it_names_sounds_that_it_has_not_heard(hearer: Path, tmp_path: Path) -> None:
    own = [
        write_wav(tmp_path / "a.wav", tone(1950, 2.0)),  # longer than what it learned from
        write_wav(tmp_path / "b.wav", tone(210)),
        write_wav(tmp_path / "c.wav", np.random.default_rng(5).uniform(-0.3, 0.3, 4000)),
    ]
    lines = call("hear", hearer, *own, "--top", 2).stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["high", "low", "noise"]
    assert all(line.count(",") == 1 for line in lines)
    shown = call("evaluate", hearer).output
    assert "right, of 3 names" in shown
    assert json.loads((hearer / "scores.json").read_text())["right, of 3 names"] == 1


def test_ten_good_and_ten_bad_sounds(hearer: Path, notes: Path, tmp_path: Path) -> None:
    bad = [tmp_path / f"bad{n}.wav" for n in range(7)]
    for path in bad:
        path.write_bytes(b"RIFF no sound")
    bad += [write_wav(tmp_path / "bad7.wav", np.zeros(4000)), tmp_path / "none.wav", tmp_path]
    good = sorted((notes / "low").glob("*.wav"))
    mixed = [x for pair in zip(good, bad) for x in pair]
    result = call("hear", hearer, *mixed, code=1)
    assert len(result.stdout.splitlines()) == 10
    wrong = result.stderr.splitlines()
    assert wrong[-1] == "10 of 20 files could not be read"
    assert all(any(line.startswith(f"{path}: ") for line in wrong) for path in bad)
    assert any("holds nothing but silence" in line for line in wrong)
    assert any("is a folder; name a sound in it" in line for line in wrong)
    write_wav(tmp_path / "empty.wav", np.zeros(0))
    assert "has 0 samples" in call("hear", hearer, tmp_path / "empty.wav", code=1).stderr


def test_a_folder_of_sounds_that_teaches_nothing(notes: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x")
    line = refused("train", "soundnet", "--data", notes / "low", *out)
    assert "must hold two folders of sounds or more" in line
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        write_wav(tmp_path / "bad" / name / "1.wav", np.zeros(4000))
    result = call("train", "soundnet", "--data", tmp_path / "bad", *out, code=1)
    assert "left out: " in result.stderr
    assert "holds no sound to learn from" in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_network_that_sees_teaches_the_names_of_the_world(tmp_path: Path) -> None:
    out = tmp_path / "hearer"
    call("train", "soundnet", "--out", out, "--size", 12, "--steps", 2, "--batch", 4)
    bark = write_wav(tmp_path / "bark.wav", tone(500, 1.0, 16000), 16000)
    shown = call("hear", out, bark)
    assert "16,000 samples a second, brought to 8,000" in shown.stderr
    named = [one.rsplit(" ", 1) for one in shown.stdout.strip().split(": ")[1].split(", ")]
    assert len(named) == 3
    assert all(-1 <= float(sure) <= 1 for _, sure in named)
    assert "right, of 56 names" in call("evaluate", out, "--size", 8).output


# --- Say ------------------------------------------------------------------------------------------


def test_it_says_what_is_in_a_picture(speaker: Path, walls: Path, tmp_path: Path) -> None:
    out = tmp_path / "speech.wav"
    assert f"{out}: " in call("say", speaker, walls / "00.png", "--out", out).output
    samples, rate = read_wav(out)
    assert rate == 16000
    assert len(samples) > 100
    assert np.abs(samples).max() > 0.05
    assert "BLEU-4 of the units" in call("evaluate", speaker, "--size", 6).output
    assert "--size must be at least 2" in refused("evaluate", speaker, "--size", 1)


def test_good_and_bad_pictures_to_speak_of(speaker: Path, walls: Path, tmp_path: Path) -> None:
    bad = [tmp_path / f"bad{n}.png" for n in range(3)]
    for path in bad[1:]:
        path.write_bytes(b"no picture")
    good = sorted(walls.glob("*.png"))[:3]
    out = tmp_path / "said"
    result = call("say", speaker, *(x for p in zip(good, bad) for x in p), "--out", out, code=1)
    assert sorted(path.stem for path in out.iterdir()) == [path.stem for path in good]
    assert result.stderr.splitlines()[-1] == "3 of 6 files gave no speech"
    assert "must end in .wav" in refused("say", speaker, good[0], "--out", tmp_path / "x.mp3")


# --- Stopped and gone on with ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "parts"),
    [("text_to_image", 2), ("image_to_speech", 3), ("cocktail_party", 1), ("soundnet", 1)],
)
def test_stopped_at_each_second_checkpoint_it_ends_with_the_same_weights(
    system: str,
    parts: int,
    walls: Path,
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "EVERY", 3)
    monkeypatch.setattr(drawing, "EVERY", 3)

    def train(out: Path) -> int:
        more = {
            "text_to_image": ("--data", walls, "--set=size=16", "--set=generator=4"),
            "image_to_speech": ("--size", 6, "--pixels", 64, *TINY_VOICE),
            "cocktail_party": ("--size", 8, "--set=width=16", "--set=audio=((16,3),)"),
            "soundnet": ("--data", notes),
        }[system]
        words = ["train", system, "--out", out, "--steps", 12, "--batch", 4, *more]
        return CliRunner().invoke(main, [str(word) for word in words]).exit_code

    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert train(straight) == 0
    replace, written = os.replace, []

    def stop(source: object, target: object) -> None:
        replace(source, target)
        if Path(str(target)).name.startswith("checkpoint"):
            written.append(Path(str(target)).name)
            if len(written) % 2 == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    codes = [train(broken)]
    while codes[-1] == 130 and len(codes) < 20:
        assert any(broken.glob("checkpoint*.pt"))
        codes.append(train(broken))
    assert codes[-1] == 0
    assert len(codes) > 2
    assert len(set(written)) == parts
    a, b = weights(straight), weights(broken)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not list(broken.glob("checkpoint*"))


# --- Costs, and what is not taken -----------------------------------------------------------------


def test_multiply_adds_are_those_of_the_formulas() -> None:
    def lines(system: str) -> str:
        return costs.costs_of(system)["one pass"]

    # one layer of 4 gates: the picture, the beginning and 12 words; then 10,000 words at 13 places
    lstm = 4 * 512 * (512 + 512) * 14 + 1024 * 512 + 13 * 512 * 10_000
    assert lines("show_and_tell").startswith(costs.short(lstm))
    gru = 4096 * 1024 + 12 * 3 * 1024 * (300 + 1024)
    assert lines("joint_embedding").startswith(costs.short(gru))
    assert set(costs.PASSES) | {"word2vec"} == set(TASKS)
    # a transposed convolution: each pixel that goes in meets all weights
    first, more = 228 * 512 * 16, sum(s * s * a * a * 8 for s, a in ((4, 512), (8, 256), (16, 128)))
    generator = first + more + 32 * 32 * 64 * 3 * 16 + 1024 * 128
    reader = 198 * 70 * 384 * 4 + 63 * 384 * 512 * 4 + 18 * 512 * 512 * 4
    recurrence = 8 * 2 * 512 * 512 + 512 * 1024
    assert lines("text_to_image").startswith(costs.short(generator + reader + recurrence))


def test_what_is_hollow_has_the_weights_of_what_is_not() -> None:
    saying = TASKS["image_to_speech"]
    config = saying.config.world()
    whole = sum(p.numel() for p in saying.model(config).parameters())
    hollow = saying.hollow(config)
    assert sum(p.numel() for p in hollow.parameters()) == whole
    assert all(p.is_meta for p in hollow.parameters())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("text_to_image", "--lr", 0.1), "does not take --lr; use --set size"),
        (("text_to_image", "--pixels", 64), "does not take --pixels"),
        (("text_to_image", "--set", "size=33"), "power of two"),
        (("text_to_image", "--set", "size=16"), "size of 32 or 64 or 128"),
        (("text_to_image", "--batch", 1), "at least 2"),
        (("cocktail_party", "--data", "flickr8k"), "must be one of: world, a folder of your own"),
        (("cocktail_party", "--set", "rate=22050"), "rate must be 8000 or 16000"),
        (("cocktail_party", "--set", "face=(3,)"), "face follows from the data"),
        (("cocktail_party", "--set", "voices=9"), "voices must be 1 to 5"),
        (("cocktail_party", "--encoder", "vgg19"), "does not take --encoder"),
        (("soundnet", "--scale", "paper"), "give a folder of longer sounds"),
        (("soundnet", "--set", "rate=44100"), "the world's rate is 8000, 16000 or 22050"),
        (("image_to_speech", "--pixels", 100), "--pixels of image_to_speech must be 64, 96"),
        (("image_to_speech", "--set", "units=1"), "two units or more"),
        (("image_to_speech", "--set", "hidden=999999999"), "lower --set hidden"),
    ],
)
def test_settings_that_cannot_be(
    words: tuple[object, ...], message: str, tmp_path: Path, forbidden: Callable[[], None]
) -> None:
    forbidden()
    assert message in refused("train", *words, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_says_how_to_begin_anew(
    walls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmtutor import text_to_image

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(text_to_image, "settle", stop)
        words = ("train", "text_to_image", "--data", walls, "--out", tmp_path / "x", "--steps", 4)
        small = ("--set", "size=16", "--set", "generator=4", "--batch", 4)
        call(*words, *small, code=130)
    (tmp_path / "x" / "checkpoint.pt").write_bytes(b"no checkpoint")
    line = refused(*words, *small)
    assert "checkpoint.pt is not a readable checkpoint" in line
    assert "delete it to start anew" in line


def test_a_file_that_cannot_be_written_is_named_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=r"x\.wav' cannot be written \(Read-only file system\)"):
            files.write_sound(tmp_path / "x.wav", torch.zeros(9), RATE)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over() -> None:
    names: list[str] = []
    for place, name in enumerate(["voice", "voice-3", "voice", "voice", "voice-3"]):
        names.append(files.free(name, names, place + 1))
    assert names == ["voice", "voice-3", "voice-4", "voice-5", "voice-3-5"]
