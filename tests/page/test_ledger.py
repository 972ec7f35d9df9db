"""The claims ledger: numbers, files that survive a kill, and what a chapter prints."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmtutor.page import ledger
from mmtutor.page.ledger import Experiment, Summary


def noisy(seed: int, scale: float = 1.0) -> dict:
    return {"value": scale * (10 + [0.0, 0.3, -0.2, 0.1, -0.4][seed % 5]), "curve": [seed, 2 * seed + 1]}


def experiment(**changes) -> Experiment:
    base = dict(
        id="C05",
        rule="value above 5",
        measure=noisy,
        holds=lambda s: s["value"].low > 5,
        headline="value",
        unit="units",
    )
    return Experiment(**(base | changes))


def silent(_: str) -> None: ...


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_interval_equals_scipys():
    from scipy import stats

    samples = [3.1, 2.9, 3.6, 3.3, 2.7]
    low, high = stats.t.interval(0.95, 4, loc=sum(samples) / 5, scale=stats.sem(samples))
    s = ledger.summarize(samples)
    assert (s.low, s.high, s.n) == (pytest.approx(low), pytest.approx(high), 5)


def test_interval_of_one_sample_or_of_equal_ones_is_a_point():
    assert ledger.summarize([2.0]) == Summary(2, 2, 2, 1)
    assert ledger.summarize([2.0, 2.0]) == Summary(2, 2, 2, 2)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_no_or_infinite_samples_are_an_error(bad):
    with pytest.raises(ValueError, match="finite"):
        ledger.summarize(bad)


def test_prediction_interval_covers_the_next_sample_99_times_in_100():
    import numpy as np

    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 6))
    inside = [low <= row[5] <= high for row in draws for low, high in [ledger.prediction_interval(row[:5], slack=0)]]
    assert 0.984 < np.mean(inside) < 0.996


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.12345, "0.123"), (12345.6, "12,346"), (4e-6, "4.0e-06"), (0, "0"), (-2.5, "-2.5"), (97.12, "97.1")],
)
def test_numbers_read_well(x, text):
    assert ledger.number(x) == text


# --- claims -------------------------------------------------------------------------------------------------------------


def test_all_47_claims_are_there_and_whole():
    claims = ledger.all_claims()
    assert list(claims) == [f"C{i:02d}" for i in range(1, 48)]
    assert all(c.text and c.chapter and c.part and c.measure and c.expected for c in claims.values())


def test_unknown_claim_is_an_error_everywhere(tmp_path):
    for call in (
        lambda: ledger.claim("C99", "rule", 1.0, True),
        lambda: ledger.claim_text("C99"),
        lambda: ledger.run("word2vec", [experiment(id="C99")], folder=tmp_path),
        lambda: ledger.run("word2vec", [experiment()], only=["C99"], folder=tmp_path),
    ):
        with pytest.raises(KeyError, match="C01 to C47"):
            call()


def test_claim_prints_text_rule_number_and_verdict(capsys):
    ledger.claim("C05", "at least 3", Summary(6.42, 6.1, 6.7, 5), True)
    ledger.claim("C06", "at least 3", 1.5, False)
    out = capsys.readouterr().out
    assert "C05 ✓ holds" in out
    assert ledger.claim_text("C05").text in out
    assert "6.42 [6.1, 6.7]" in out
    assert "over 5 seeds" in out
    assert "C06 ✗ does not hold" in out


# --- files --------------------------------------------------------------------------------------------------------------


def test_run_writes_everything_and_reads_it_back(tmp_path):
    stored = ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)["C05"]
    assert stored.holds
    assert stored["value"].n == 5
    assert [s.mean for s in stored["curve"]] == [2, 5]
    run = stored.runs[3]
    assert run["seed"] == 3
    assert {"values", "seconds", "settings", "fingerprint", "versions", "machine", "commit"} <= set(run)
    assert run["versions"]["torch"].startswith("2.")
    assert ledger.result("C05", tmp_path).runs == stored.runs
    with pytest.raises(KeyError, match="curve"):
        stored["nothing"]


def test_stored_runs_are_not_measured_again_unless_settings_change(tmp_path):
    said: list[str] = []
    ledger.run("word2vec", [experiment(seeds=2)], folder=tmp_path, report=silent)
    ledger.run("word2vec", [experiment(seeds=3)], folder=tmp_path, report=said.append)
    assert [s.endswith("stored") for s in said] == [True, True, False]
    said.clear()
    ledger.run("word2vec", [experiment(seeds=3, settings={"scale": 2.0})], folder=tmp_path, report=said.append)
    assert not any(s.endswith("stored") for s in said)
    assert ledger.result("C05", tmp_path)["value"].mean == pytest.approx(20, abs=0.5)


def test_code_edited_during_a_sweep_does_not_pass_for_the_code_that_ran(tmp_path):
    script = tmp_path / "sweep.py"
    text = (
        "import linecache, sys\n"
        "from mmtutor.page import ledger\n"
        "def measure(seed):\n"
        "    return {'value': 1.0}\n"
        "e = ledger.Experiment('C05', 'rule', measure, lambda s: True, 'value', seeds=1)\n"
        "if '--edit' in sys.argv:\n"
        "    text = open(__file__).read()\n"
        "    open(__file__, 'w').write(text.replace('1.0', '2.0', 1))\n"
        "    linecache.checkcache()\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    script.write_text(text)
    subprocess.run([sys.executable, script, "--edit"], check=True, capture_output=True)
    assert ledger.result("C05", tmp_path)["value"].mean == 1
    out = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
    assert "stored" not in out
    assert ledger.result("C05", tmp_path)["value"].mean == 2


def test_a_changed_rule_is_judged_anew_without_measuring(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    ledger.run("word2vec", [experiment(holds=lambda s: s["value"].low > 50)], folder=tmp_path, report=silent)
    assert ledger.result("C05", tmp_path).holds is False


def test_other_claims_of_the_file_stay(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    ledger.run("word2vec", [experiment(id="C06")], folder=tmp_path, report=silent)
    assert set(ledger.results("word2vec", tmp_path)) == {"C05", "C06"}


def test_a_sweep_killed_at_any_point_goes_on(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(
        "import sys, time\n"
        "from mmtutor.page import ledger\n"
        "def slow(seed):\n"
        "    time.sleep(0.2)\n"
        "    return {'value': float(seed)}\n"
        "e = ledger.Experiment('C05', 'rule', slow, lambda s: True, 'value', seeds=6)\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment)
    for line in process.stdout:
        if "seed 2" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = json.loads((tmp_path / "word2vec.json").read_text())["claims"]["C05"]["runs"]
    assert [r["seed"] for r in before] == list(range(len(before)))
    assert 3 <= len(before) < 6
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True).stdout
    assert out.count("stored") == len(before)
    assert [r["seed"] for r in ledger.result("C05", tmp_path).runs] == list(range(6))


def test_two_processes_that_measure_other_claims_lose_nothing(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(
        "import sys\n"
        "from mmtutor.page import ledger\n"
        "def quick(seed):\n"
        "    return {'value': float(seed)}\n"
        "e = ledger.Experiment(sys.argv[1], 'rule', quick, lambda s: True, 'value', seeds=8)\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    processes = [subprocess.Popen([sys.executable, script, id], stdout=subprocess.DEVNULL) for id in ("C05", "C06")]
    assert [p.wait() for p in processes] == [0, 0]
    assert {id: len(r.runs) for id, r in ledger.results("word2vec", tmp_path).items()} == {"C05": 8, "C06": 8}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "word2vec.json").write_text('{"claims": {')
    with pytest.raises(ValueError, match=r"word2vec\.json is damaged"):
        ledger.results("word2vec", tmp_path)


def test_what_is_not_measured_says_how(tmp_path):
    with pytest.raises(KeyError, match=r"ledger run vqa"):
        ledger.result("C29", tmp_path)


def test_a_measurement_that_is_not_finite_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        ledger.run("word2vec", [experiment(measure=lambda seed: {"value": math.nan})], folder=tmp_path, report=silent)
    assert not list(tmp_path.glob("*.tmp"))


# --- live ---------------------------------------------------------------------------------------------------------------


def test_live_number_inside_passes_and_outside_fails(tmp_path, monkeypatch, capsys):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    monkeypatch.setattr(ledger, "results_dir", lambda: tmp_path)
    ledger.live("C05", {"value": 10.2, "curve": [3, 7]})
    assert "10.2" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="value is 14 now"):
        ledger.live("C05", {"value": 14.0, "curve": [3, 7]})
    with pytest.raises(AssertionError, match="curve"):
        ledger.live("C05", {"value": 10.2, "curve": [3, 70]})
    ledger.show("C05")
    assert "(mean and 95 % interval over 5 seeds)" in " ".join(capsys.readouterr().out.split())


# --- the book's own results ----------------------------------------------------------------------------------------------

STORED = sorted(ledger.results_dir().glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda p: p.stem)
def test_stored_results_are_those_of_the_experiments_in_the_tree(path: Path):
    """No result outlives its experiment: same rule, same measuring code and settings, all seeds, and the same verdict."""
    import importlib

    module = importlib.import_module(f"mmtutor.experiments.{path.stem}")
    experiments = {e.id: e for e in module.EXPERIMENTS}
    stored = ledger.results(path.stem)
    assert set(stored) == set(experiments)
    for id, result in stored.items():
        e = experiments[id]
        assert result.rule == e.rule, id
        assert len(result.runs) >= e.seeds, id
        assert {r["fingerprint"] for r in result.runs} == {e.fingerprint}, (
            f"{id} was measured with other code; make ledger"
        )
        assert result.holds == bool(e.holds(result.summary)), id
        assert ledger.claim_text(id).chapter == path.stem


def test_side_car_files_of_a_mac_are_no_results(tmp_path):
    """A Mac leaves ``._name`` beside a file on a disk that is not its own: binary, with the same suffix."""
    for path in ledger.result_files(ledger.results_dir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    assert ledger.results(folder=tmp_path).keys() == ledger.results().keys()
