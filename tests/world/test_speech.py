"""Speech: phoneme times, determinism whatever was said before, resampling against closed forms, bad input."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtutor import world
from mmtutor.world import speech, voices
from mmtutor.world.speech import PAUSE, Speech, resample
from mmtutor.world.voices import speak

TEXT = "The small dog is left of a red car."
KOREAN = "작은 개가 빨간 자동차 왼쪽에 있어요."


def fingerprint(said: Speech) -> str:
    return hashlib.sha256(said.wave.tobytes() + repr(said.phonemes).encode()).hexdigest()


def level(said: Speech, phoneme: speech.Phoneme) -> float:
    part = said.wave[int(phoneme.start * said.sample_rate) : int(phoneme.end * said.sample_rate)]
    return float(np.sqrt(np.mean(np.square(part)))) if len(part) else 0.0


@pytest.mark.parametrize(("text", "language"), [(TEXT, "en"), (KOREAN, "ko")])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050])
def test_phonemes_tile_the_wave(text, language, sample_rate):
    said = speak(text, language, sample_rate=sample_rate)
    assert said.wave.dtype == np.float32
    assert said.wave.ndim == 1
    assert np.abs(said.wave).max() <= 1.0
    assert said.phonemes[0].start == 0.0
    assert said.phonemes[-1].end == pytest.approx(said.seconds)
    for before, after in zip(said.phonemes, said.phonemes[1:], strict=False):
        assert before.start < before.end == after.start


def test_known_phonemes():
    # The dictionary pronunciations of General American, as any pronouncing dictionary has them.
    heard = [
        phoneme.symbol for phoneme in speak("Ship, meat, moon.").phonemes if phoneme.symbol != PAUSE
    ]
    assert heard == ["ʃ", "ɪ", "p", "m", "iː", "t", "m", "uː", "n"]
    stressed = [phoneme.stress for phoneme in speak("banana").phonemes if phoneme.symbol != PAUSE]
    assert stressed.count(2) == 1
    assert stressed[3] == 2


def test_vowels_are_louder_than_stops_and_pauses_are_silent():
    said = speak("A cat, a dog, a bird.")
    vowels = [level(said, p) for p in said.phonemes if p.symbol[0] in "aæɑɐɔɜəʌ"]
    stops = [level(said, p) for p in said.phonemes if p.symbol in ("k", "t")]
    pauses = [level(said, p) for p in said.phonemes if p.symbol == PAUSE]
    assert len(vowels) >= 6
    assert len(stops) >= 2
    assert len(pauses) >= 3
    assert np.median(vowels) > 2 * max(pauses)
    assert np.median(vowels) > 2 * np.median(stops)


def test_phoneme_times_point_at_their_sounds():
    # /s/ is noise above 4 kHz, /ɑː/ is not: the spectrum must change where the times say so.
    said = speak("sah, sah, sah", sample_rate=22050)

    def high_share(phoneme):
        part = said.wave[int(phoneme.start * 22050) : int(phoneme.end * 22050)]
        power = np.abs(np.fft.rfft(part)) ** 2
        return power[np.fft.rfftfreq(len(part), 1 / 22050) > 4000].sum() / power.sum()

    hisses = [high_share(p) for p in said.phonemes if p.symbol == "s"]
    vowels = [high_share(p) for p in said.phonemes if p.symbol.startswith("ɑ")]
    assert len(hisses) == len(vowels) == 3
    assert min(hisses) > 5 * max(vowels)


def test_same_bytes_whatever_was_said_before():
    people = [None, *voices.speakers()[:6]]
    first = [fingerprint(speak(TEXT, speaker=person)) for person in people]
    assert len(set(first)) == len(people)
    for order in (reversed(range(len(people))), [3, 3, 0, 5, 1]):
        for i in order:
            speak("Something else in between.", speaker=people[(i + 2) % len(people)])
            speak(KOREAN, "ko", speaker=people[i])
            assert fingerprint(speak(TEXT, speaker=people[i])) == first[i]


def test_same_bytes_in_another_process():
    code = (
        "import hashlib; from mmtutor.world.voices import speak; "
        f"speak('hello'); said = speak({TEXT!r}); "
        "print(hashlib.sha256(said.wave.tobytes() + repr(said.phonemes).encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(speak(TEXT))
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_same_bytes_in_a_fork():
    import multiprocessing

    expected = fingerprint(speak(TEXT))
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=lambda: send.send(fingerprint(speak(TEXT))))
    process.start()
    assert receive.poll(200)
    assert receive.recv() == expected
    process.join(200)
    assert process.exitcode == 0


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_same_bytes_in_a_fork_while_another_thread_speaks():
    import multiprocessing

    expected = fingerprint(speak(TEXT))
    context = multiprocessing.get_context("fork")
    stop = threading.Event()

    def chatter() -> None:
        while not stop.is_set():
            speak("Somebody talks without end about nothing in particular.")

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for _ in range(4):
            receive, send = context.Pipe(duplex=False)
            process = context.Process(target=lambda send=send: send.send(fingerprint(speak(TEXT))))
            process.start()
            assert receive.poll(200)
            assert receive.recv() == expected
            process.join(200)
    finally:
        stop.set()
        thread.join()
    assert fingerprint(speak(TEXT)) == expected


def test_threads_do_not_disturb_each_other():
    texts = ["One dog.", "Two cats.", "Three red cars."]
    expected = [fingerprint(speak(text)) for text in texts]
    found: dict[int, list[str]] = {}

    def work(i: int) -> None:
        found[i] = [fingerprint(speak(texts[i])) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [expected[i]] * 5 for i in range(3)}


def test_the_short_data_directory_changes_nothing(monkeypatch, tmp_path):
    people = voices.speakers()[:8]
    assert len({person.accent for person in people}) >= 3
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))
    if len(str(tmp_path)) < 90:
        assert speech._data()[0].startswith(str(tmp_path))
    short = [fingerprint(speak(TEXT, speaker=person)) for person in people]
    monkeypatch.setattr(speech, "_short_data", lambda *_: None)
    assert speech._data() == (speech._paths()[1], False)
    assert [fingerprint(speak(TEXT, speaker=person)) for person in people] == short


def test_a_damaged_or_lost_short_directory_is_not_used(monkeypatch, tmp_path):
    expected = fingerprint(speak(TEXT))
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))
    speech._short_data.cache_clear()
    folder, short = speech._data()
    if not short:
        pytest.skip("no short directory on this system")
    voice = speech.Path(folder) / "lang/gmw/en-us"
    voice.write_text("noise")
    speech._short_data.cache_clear()  # a new process would look afresh
    assert speech._data() == (speech._paths()[1], False)
    assert fingerprint(speak(TEXT)) == expected
    import shutil

    shutil.rmtree(tmp_path)
    assert fingerprint(speak(TEXT)) == expected


def short_folder(monkeypatch, tmp_path):
    """The data directory in an empty cache of its own."""
    monkeypatch.setenv("MMTUTOR_CACHE", str(tmp_path))
    speech._short_data.cache_clear()
    folder, short = speech._data()
    if not short:
        pytest.skip("no short directory on this system")
    return speech.Path(folder)


def test_the_short_directory_is_made_again_after_clearing(monkeypatch, tmp_path):
    expected = fingerprint(speak(TEXT))
    folder = short_folder(monkeypatch, tmp_path)
    assert fingerprint(speak(TEXT)) == expected
    assert world.clear_cache() > 0
    assert not folder.exists()
    assert fingerprint(speak(TEXT)) == expected
    assert speech._data() == (str(folder), True)


@pytest.mark.parametrize("lost", ["everything", "the dictionary", "the voices"])
def test_a_cache_that_is_cleared_in_the_middle_of_a_word(monkeypatch, tmp_path, lost):
    """Another process clears between the look for the directory and its use: the same sound, not one without rules."""
    expected = fingerprint(speak(TEXT))
    folder = short_folder(monkeypatch, tmp_path)
    real, used = speech._espeak, []

    def cleared(data_path):
        used.append(data_path)
        if data_path == str(folder):
            (folder / "complete").unlink()  # clearing begins with it
            names = {"everything": "**/*", "the dictionary": "*_dict", "the voices": "lang/**/*"}[
                lost
            ]
            for path in folder.glob(names):
                if not path.is_dir():
                    path.unlink()
        return real(data_path)

    monkeypatch.setattr(speech, "_espeak", cleared)
    assert fingerprint(speak(TEXT)) == expected
    assert used == [str(folder), speech._paths()[1]]


def test_the_large_files_are_the_installed_ones_themselves(monkeypatch, tmp_path):
    """They are links, so that a replaced file is never stale, whatever its size and time."""
    folder = short_folder(monkeypatch, tmp_path)
    installed = speech.Path(speech._paths()[1])
    for name in speech._LARGE:
        assert (folder / name).samefile(installed / name)


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    expected = fingerprint(speak(TEXT))
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("MMTUTOR_CACHE", str(blocked))
    assert speech._data()[1] is False
    assert fingerprint(speak(TEXT)) == expected


@pytest.mark.parametrize("target", [8000, 16000, 24000, 44100, 48000])
def test_resampling_keeps_a_sine_in_place(target):
    t = np.arange(11025) / 22050
    out = resample(np.sin(2 * np.pi * 440 * t), 22050, target)
    s = np.arange(len(out)) / target
    assert len(out) == -(-len(t) * target // 22050)
    inner = slice(len(out) // 10, -len(out) // 10)
    assert np.abs(out - np.sin(2 * np.pi * 440 * s))[inner].max() < 2e-3


def test_resampling_removes_what_would_fold():
    t = np.arange(22050) / 22050
    for hertz in (4200.0, 5000.0, 9000.0):
        out = resample(np.sin(2 * np.pi * hertz * t), 22050, 8000)[400:-400]
        assert np.abs(out).max() < 2e-3  # 54 dB down
    kept = resample(np.sin(2 * np.pi * 3000 * t), 22050, 8000)[400:-400]
    assert np.std(kept) == pytest.approx(np.sqrt(0.5), rel=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(4000, 48000), st.integers(0, 400))
def test_resampling_keeps_the_time_of_an_event(rate, shift):
    wave = np.zeros(4410)
    wave[2000 + shift] = 1.0
    out = resample(wave, 22050, rate)
    assert np.argmax(np.abs(out)) / rate == pytest.approx(
        (2000 + shift) / 22050, abs=0.6 / min(rate, 22050)
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [(11127, 16000), (16000, 44101), (999_983, 16000), (999_999, 1_000_000), (1000, 999_999)],
)
def test_rates_without_a_common_divisor_keep_a_sine_and_a_short_filter(source, target, monkeypatch):
    made = []
    lowpass = speech._lowpass.__wrapped__
    monkeypatch.setattr(
        speech, "_lowpass", lambda up, down: made.append(lowpass(up, down)) or made[-1]
    )
    hertz = 0.2 * min(source, target)
    count = 30_000 if source > 1000 else 100
    out = resample(np.sin(2 * np.pi * hertz * np.arange(count) / source), source, target)
    assert out.dtype == np.float32
    assert len(out) == -(-count * target // source)
    inner = slice(len(out) // 3, -len(out) // 3)
    assert (
        np.abs(out - np.sin(2 * np.pi * hertz * np.arange(len(out)) / target))[inner].max() < 1e-3
    )
    assert (
        sum(map(len, made)) < 5_000_000
    )  # one filter for 1,000,000 positions would have 44 million weights


@pytest.mark.parametrize("bad", [0, -1, 1_000_001, 16000.0, True, None, "16000"])
def test_resample_names_a_rate_that_cannot_be(bad):
    with pytest.raises(
        ValueError, match="source_rate must be a whole number from 1 to 1000000 hertz, got"
    ):
        resample(np.zeros(100), bad, 16000)
    with pytest.raises(
        ValueError, match="target_rate must be a whole number from 1 to 1000000 hertz, got"
    ):
        resample(np.zeros(100), 16000, bad)
    with pytest.raises(ValueError, match="source_rate=1 and target_rate=1000000 lie further apart"):
        resample(np.zeros(100), 1, 1_000_000)


def test_int16_round_trip():
    wave = np.linspace(-1, 1, 1001, dtype=np.float32)
    assert np.abs(speech.to_float(speech.to_int16(wave)) - wave).max() <= 0.5 / 32767 + 1e-7
    assert speech.to_float(np.array([-32768], dtype=np.int16)) == -1.0
    with pytest.raises(TypeError, match="int16"):
        speech.to_float(wave)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to say"),
        ("  \n ", "nothing to say"),
        ("?!", "nothing to say"),
        ("x" * 2001, "2001 characters"),
        ("a dog 🐕", "U\\+1F415"),
        ("[[h@l'oU]]", "cannot be spoken"),
        ("a\x00b", "U\\+0000"),
        ("개", 'language="ko"'),
        ("<speak>hi</speak>", "cannot be spoken"),
    ],
)
def test_texts_that_cannot_be_spoken(text, message):
    with pytest.raises(ValueError, match=message):
        speak(text)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="'en', 'ko'"):
        speak("hi", "fr")
    with pytest.raises(ValueError, match="no speaker is called 'Nobody'"):
        speak("hi", speaker="Nobody")
    for wrong in (0, -16000, 3999, 48001):
        with pytest.raises(ValueError, match="between 4000 and 48000"):
            speak("hi", sample_rate=wrong)
    for wrong in (16000.0, True, "16000", None):
        with pytest.raises(TypeError, match="whole number"):
            speak("hi", sample_rate=wrong)
    for wrong in (3, None, b"hi"):
        with pytest.raises(TypeError, match="must be a str"):
            speak(wrong)
    with pytest.raises(TypeError, match="a Speaker or a name"):
        speak("hi", speaker=7)


@settings(max_examples=25, deadline=None)
@given(
    st.text(alphabet="abcdefghij klmnopqrstuvwxyz.,!?'\"()0123456789éüß", min_size=1, max_size=60)
)
def test_any_speakable_text_gives_sound(text):
    if not any(character.isalnum() for character in text):
        with pytest.raises(ValueError, match="nothing to say"):
            speak(text)
        return
    said = speak(text)
    assert np.isfinite(said.wave).all()
    assert 0 < np.abs(said.wave).max() <= 1
    assert said.phonemes[-1].end == pytest.approx(said.seconds)


def test_world_exports_it():
    assert world.speak is speak
