"""The claims ledger: numbers, files that survive a kill, and what a chapter prints."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtutor.page import ledger
from mmtutor.page.ledger import Experiment, Part, Summary


def noisy(seed: int, scale: float = 1.0) -> dict:
    return {
        "value": scale * (10 + [0.0, 0.3, -0.2, 0.1, -0.4][seed % 5]),
        "curve": [seed, 2 * seed + 1],
    }


def experiment(**changes) -> Experiment:
    base = dict(
        id="C05",
        rule="value above 5",
        parts=[Part("value", "value", ">", 5)],
        measure=noisy,
        limits="a toy",
    )
    return Experiment(**(base | changes))


def silent(_: str) -> None: ...


# --- numbers --------------------------------------------------------------------------------------


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
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 6))
    inside = [
        low <= row[5] <= high
        for row in draws
        for low, high in [ledger.prediction_interval(row[:5], slack=0)]
    ]
    assert 0.984 < np.mean(inside) < 0.996


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.12345, "0.123"),
        (12345.6, "12,346"),
        (4e-6, "4.0e-06"),
        (0, "0"),
        (-2.5, "-2.5"),
        (97.12, "97.1"),
    ],
)
def test_numbers_read_well(x, text):
    assert ledger.number(x) == text


# --- claims ---------------------------------------------------------------------------------------


def test_all_47_claims_are_there_and_whole():
    claims = ledger.all_claims()
    assert list(claims) == [f"C{i:02d}" for i in range(1, 48)]
    assert all(
        c.text and c.chapter and c.part and c.measure and c.expected for c in claims.values()
    )


def test_unknown_claim_is_an_error_everywhere(tmp_path):
    for call in (
        lambda: ledger.show("C99"),
        lambda: ledger.claim_text("C99"),
        lambda: ledger.run("word2vec", [experiment(id="C99")], folder=tmp_path),
        lambda: ledger.run("word2vec", [experiment()], only=["C99"], folder=tmp_path),
    ):
        with pytest.raises(KeyError, match="C01 to C47"):
            call()


# --- rules in parts -------------------------------------------------------------------------------


def runs_of(*values, **lists):
    return [
        {"values": {"x": v, **{name: own[i] for name, own in lists.items()}}}
        for i, v in enumerate(values)
    ]


AROUND_TEN = (9.0, 9.5, 10.0, 10.5, 11.0)  # mean 10, half-width 2.776 × 0.791 / √5 = 0.98


@pytest.mark.parametrize(
    ("comparison", "threshold", "verdict"),
    [
        (">", 9, "holds"), (">", 9.5, "open"), (">", 10.5, "open"), (">", 11, "fails"),
        (">=", 9, "holds"), (">=", 10, "open"), (">=", 11, "fails"),
        ("<", 11, "holds"), ("<", 10, "open"), ("<", 9, "fails"),
        ("<=", 11, "holds"), ("<=", 10, "open"), ("<=", 9, "fails"),
        ("within", (9, 11), "holds"), ("within", (9.5, 11), "open"), ("within", (9, 10.5), "open"),
        ("within", (9.5, 10.5), "open"), ("within", (11, 12), "fails"), ("within", (1, 9), "fails"),
        ("==", 10, "fails"),
    ],
)  # fmt: skip
def test_a_part_is_decided_by_where_its_whole_interval_lies(comparison, threshold, verdict):
    judged = Part("x", "x", comparison, threshold).judge(runs_of(*AROUND_TEN))
    assert judged.verdict == verdict
    assert str(judged).startswith(ledger.MARKS[verdict])
    assert (
        (judged.needed is not None or "no number of seeds" in judged.hope)
        if verdict == "open"
        else judged.needed is None
    )


@pytest.mark.parametrize(
    ("comparison", "threshold", "verdict"),
    [
        (">", 3, "fails"),
        (">=", 3, "holds"),
        ("<", 3, "fails"),
        ("<=", 3, "holds"),
        ("==", 3, "holds"),
        ("within", (3, 4), "holds"),
    ],
)
def test_equal_runs_are_decided_at_the_threshold_itself(comparison, threshold, verdict):
    assert Part("x", "x", comparison, threshold).judge(runs_of(3.0, 3.0, 3.0)).verdict == verdict


def test_two_names_are_compared_on_the_same_seed():
    """Paired: the seeds differ far more than the two settings do on each of them."""
    runs = runs_of(1.0, 5.0, 9.0, 4.0, y=[0.9, 4.85, 8.88, 3.9])
    judged = Part("x − y", "x", ">", 0, minus="y").judge(runs)
    assert judged.verdict == "holds"
    assert judged.summary == ledger.summarize([1.0 - 0.9, 5.0 - 4.85, 9.0 - 8.88, 4.0 - 3.9])
    assert Part("second", "y", "==", 4.0, at=1).samples([{"values": {"y": [3.0, 4.0]}}]) == [4.0]


@pytest.mark.parametrize(
    ("comparison", "threshold", "told"),
    [("~", 1, "one of"), (">", (1, 2), "one number"), ("within", 1, r"a pair \(low, high\)")],
)
def test_a_part_that_cannot_decide_is_refused(comparison, threshold, told):
    with pytest.raises(ValueError, match=told):
        Part("x", "x", comparison, threshold)


def test_a_part_that_asks_for_what_was_not_measured_is_named():
    with pytest.raises(KeyError, match=r"asks for 'z', but measured were \['x'\]"):
        Part("z above 0", "z", ">", 0).judge(runs_of(1.0))


@pytest.mark.parametrize("threshold", [9.2, 9.8, 10.3, (9.5, 10.6)])
def test_the_number_of_seeds_needed_decides_and_one_less_does_not(threshold):
    from scipy import stats

    needed = ledger.seeds_needed(AROUND_TEN, threshold)
    distance = min(
        abs(10 - aim) for aim in (threshold if isinstance(threshold, tuple) else (threshold,))
    )

    def half(n):
        return stats.t.ppf(0.975, n - 1) * np.std(AROUND_TEN, ddof=1) / np.sqrt(n)

    assert half(needed) < distance <= half(needed - 1)
    assert ledger.seeds_needed(AROUND_TEN, 10.0) is None
    assert ledger.seeds_needed([3.0], 2.0) is None
    assert ledger.seeds_needed(AROUND_TEN, 10.0001) is None  # more than anyone would run


def test_a_rule_is_as_strong_as_its_weakest_part():
    assert ledger.weakest(["holds", "holds"]) == "holds"
    assert ledger.weakest(["holds", "open"]) == "open"
    assert ledger.weakest(["open", "fails", "holds"]) == "fails"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parts": []}, "one Part or more"),
        ({"limits": " "}, "does not cover"),
        ({"seeds": 4}, "five seeds"),
    ],
)
def test_an_experiment_that_says_too_little_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        experiment(**changes)


# --- files ----------------------------------------------------------------------------------------


def test_run_writes_everything_and_reads_it_back(tmp_path):
    stored = ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)["C05"]
    assert stored.verdict == "holds"
    assert stored.replicated is None
    assert stored["value"].n == 5
    assert [s.mean for s in stored["curve"]] == [2, 5]
    run = stored.runs[3]
    assert run["seed"] == 3
    assert {"values", "seconds", "settings", "fingerprint", "versions", "machine", "commit"} <= set(
        run
    )
    assert run["versions"]["torch"].startswith("2.")
    assert ledger.result("C05", tmp_path).runs == stored.runs
    with pytest.raises(KeyError, match="curve"):
        stored["nothing"]


def test_stored_runs_are_not_measured_again_unless_settings_change(tmp_path):
    said: list[str] = []
    ledger.run("word2vec", [experiment()], seeds=2, folder=tmp_path, report=silent)
    ledger.run("word2vec", [experiment()], seeds=3, folder=tmp_path, report=said.append)
    assert [s.endswith("stored") for s in said] == [True, True, False]
    said.clear()
    other = experiment(settings={"scale": 2.0})
    assert ledger.result("C05", tmp_path).stale(other)
    ledger.run("word2vec", [other], seeds=3, folder=tmp_path, report=said.append)
    assert "3 stale run(s)" in said[0]
    assert not any(s.endswith("stored") for s in said)
    assert not ledger.result("C05", tmp_path).stale(other)
    assert ledger.result("C05", tmp_path)["value"].mean == pytest.approx(20, abs=0.5)


def _confirmed(folder, measure, because="only the layout changed", **changes):
    """What confirm says of a stored result of other code; and the stored runs."""
    said: list[str] = []
    e = experiment(measure=measure, **changes)
    fresh = ledger.confirm("word2vec", [e], because, folder=folder, report=said.append)
    return fresh, said, ledger.result("C05", folder), e


def test_runs_are_kept_after_a_change_that_moves_no_number(tmp_path, monkeypatch):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    with monkeypatch.context() as m:
        m.setattr(ledger, "FRESH", 5)
        ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent, replicate=True)
    before = ledger.result("C05", tmp_path)
    asked = []

    def same(seed: int) -> dict:
        asked.append(seed)
        return noisy(seed)

    fresh, said, after, e = _confirmed(tmp_path, same)
    assert fresh
    assert len(asked) == 1
    assert "10 run(s) kept" in said[0]
    assert before.stale(e)
    assert not after.stale(e)
    assert [r["values"] for r in after.runs] == [r["values"] for r in before.runs]
    entry = json.loads((tmp_path / "word2vec.json").read_text())["claims"]["C05"]
    for run in entry["runs"] + entry["replication"]:
        (told,) = run["confirmed"]
        assert (told["because"], told["from"]) == (
            "only the layout changed",
            before.runs[0]["fingerprint"],
        )
        assert told["seed"] == asked[0]
    assert _confirmed(tmp_path, same)[1] == ["C05: not stale"]
    assert len(asked) == 1
    ledger.run("word2vec", [e], folder=tmp_path, report=said.append)  # nothing to measure
    assert len(asked) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda seed: {**noisy(seed), "value": noisy(seed)["value"] * (1 + 1e-15)},
        lambda seed: {**noisy(seed), "curve": [seed, 2 * seed + 1 + 1e-9]},
        lambda seed: {"value": noisy(seed)["value"]},
        lambda seed: {**noisy(seed), "more": 1.0},
    ],
    ids=["last digit", "in a list", "one less", "one more"],
)
def test_one_other_digit_and_the_runs_stay_stale(tmp_path, other):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    before = (tmp_path / "word2vec.json").read_text()
    fresh, said, after, e = _confirmed(tmp_path, other)
    assert not fresh
    assert "stays stale" in said[0]
    assert after.stale(e)
    assert (tmp_path / "word2vec.json").read_text() == before


def test_no_reason_or_other_settings_confirm_nothing(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    with pytest.raises(ValueError, match="why the change can move no number"):
        _confirmed(tmp_path, lambda seed: noisy(seed), because=" ")
    with pytest.raises(ValueError, match="settings changed"):
        _confirmed(tmp_path, lambda seed, scale: noisy(seed, scale), settings={"scale": 1.0})


def test_runs_of_several_codes_are_not_kept_for_one_of_them(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    path = tmp_path / "word2vec.json"
    data = json.loads(path.read_text())
    run = data["claims"]["C05"]["runs"][2]
    run["fingerprint"], run["values"]["value"] = "0" * 16, 999.0
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="several codes"):
        _confirmed(tmp_path, lambda seed: noisy(seed))
    assert json.loads(path.read_text()) == data


def test_confirm_knows_the_claims_that_it_is_asked_for(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    with pytest.raises(KeyError, match="C99"):
        ledger.confirm("word2vec", [experiment()], "nothing moved", only=["C99"], folder=tmp_path)


def test_code_edited_during_a_sweep_does_not_pass_for_the_code_that_ran(tmp_path):
    script = tmp_path / "sweep.py"
    text = (
        "import linecache, sys\n"
        "from mmtutor.page import ledger\n"
        "def measure(seed):\n"
        "    return {'value': 1.0}\n"
        "e = ledger.Experiment('C05', 'rule', [ledger.Part('value', 'value', '>', 0)], measure, 'a toy', seeds=1)\n"
        "if '--edit' in sys.argv:\n"
        "    text = open(__file__).read()\n"
        "    open(__file__, 'w').write(text.replace('1.0', '2.0', 1))\n"
        "    linecache.checkcache()\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    script.write_text(text)
    subprocess.run([sys.executable, script, "--edit"], check=True, capture_output=True)
    assert ledger.result("C05", tmp_path)["value"].mean == 1
    out = subprocess.run(
        [sys.executable, script], check=True, capture_output=True, text=True
    ).stdout
    assert "stored" not in out
    assert ledger.result("C05", tmp_path)["value"].mean == 2


def test_a_changed_rule_is_judged_anew_without_measuring(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    harder = experiment(parts=[Part("value", "value", ">", 50)], note="sharpened")
    ledger.run("word2vec", [harder], folder=tmp_path, report=silent)
    assert ledger.result("C05", tmp_path).verdict == "fails"
    assert ledger.result("C05", tmp_path).note == "sharpened"


def test_fresh_seeds_stand_beside_and_decide_nothing(tmp_path, monkeypatch, capsys):
    """The first set holds, the fresh one does not: the verdict is that of the first set, and the page says so."""

    def measure(seed):
        return {"value": (10.0 if seed < ledger.FRESH else 4.0) + seed % 3 / 10}

    one = experiment(measure=measure)
    ledger.run("word2vec", [one], folder=tmp_path, report=silent)
    ledger.run("word2vec", [one], replicate=True, folder=tmp_path, report=silent)
    stored = ledger.result("C05", tmp_path)
    assert [run["seed"] for run in stored.runs] == [0, 1, 2, 3, 4]
    assert stored.replicated_on == [100, 101, 102, 103, 104]
    assert (stored.verdict, stored.replicated) == ("holds", "fails")
    assert stored["value"].low > 9
    monkeypatch.setattr(ledger, "results_dir", lambda: tmp_path)
    ledger.show("C05")
    assert "C05 ✓ holds, again ✗ on 5 fresh seeds" in capsys.readouterr().out
    ledger.run(
        "word2vec", [one], folder=tmp_path, report=silent
    )  # the first set again loses nothing of the fresh one
    assert ledger.result("C05", tmp_path).replicated_on == stored.replicated_on


def test_other_claims_of_the_file_stay(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    ledger.run("word2vec", [experiment(id="C06")], folder=tmp_path, report=silent)
    assert set(ledger.results("word2vec", tmp_path)) == {"C05", "C06"}


def test_a_sweep_that_was_killed_goes_on(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(
        "import sys, time\n"
        "from mmtutor.page import ledger\n"
        "def slow(seed):\n"
        "    if seed == 3 and '--hang' in sys.argv:\n"
        "        print('in the middle')\n"
        "        time.sleep(500)\n"
        "    return {'value': float(seed)}\n"
        "e = ledger.Experiment('C05', 'rule', [ledger.Part('value', 'value', '>', 0)], slow, 'a toy', seeds=6)\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, script, "--hang"], stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if "in the middle" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = json.loads((tmp_path / "word2vec.json").read_text())["claims"]["C05"]["runs"]
    assert [r["seed"] for r in before] == [0, 1, 2]
    out = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, check=True
    ).stdout
    assert out.count("stored") == len(before)
    assert [r["seed"] for r in ledger.result("C05", tmp_path).runs] == list(range(6))


def test_two_processes_that_measure_other_claims_lose_nothing(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(
        "import sys\n"
        "from mmtutor.page import ledger\n"
        "def quick(seed):\n"
        "    return {'value': float(seed)}\n"
        "e = ledger.Experiment(sys.argv[1], 'rule', [ledger.Part('value', 'value', '>', 0)], quick, 'a toy', seeds=8)\n"
        f"ledger.run('word2vec', [e], folder={str(tmp_path)!r})\n"
    )
    processes = [
        subprocess.Popen([sys.executable, script, id], stdout=subprocess.DEVNULL)
        for id in ("C05", "C06")
    ]
    assert [p.wait() for p in processes] == [0, 0]
    assert {id: len(r.runs) for id, r in ledger.results("word2vec", tmp_path).items()} == {
        "C05": 8,
        "C06": 8,
    }


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "word2vec.json").write_text('{"claims": {')
    with pytest.raises(ValueError, match=r"word2vec\.json is damaged"):
        ledger.results("word2vec", tmp_path)


def test_what_is_not_measured_says_how(tmp_path):
    with pytest.raises(KeyError, match=r"ledger run vqa"):
        ledger.result("C29", tmp_path)


def test_a_measurement_that_is_not_finite_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        ledger.run(
            "word2vec",
            [experiment(measure=lambda seed: {"value": math.nan})],
            folder=tmp_path,
            report=silent,
        )
    assert not list(tmp_path.glob("*.tmp"))


# --- live -----------------------------------------------------------------------------------------


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
    shown = " ".join(capsys.readouterr().out.split())
    assert "C05 ✓ holds" in shown
    assert ledger.claim_text("C05").text in shown
    assert "measured ✓ value: 9.96 [9.62, 10.3], asked > 5" in shown
    assert "seeds 5; numbers are means with 95 % intervals" in shown
    assert "limits a toy" in shown


def test_equal_stored_runs_leave_the_room_that_the_measure_has(tmp_path, monkeypatch):
    """Five seeds with no error among 600 do not predict that there will never be one."""
    ledger.run(
        "word2vec",
        [experiment(measure=lambda seed: {"value": 0.0})],
        folder=tmp_path,
        report=silent,
    )
    monkeypatch.setattr(ledger, "results_dir", lambda: tmp_path)
    with pytest.raises(AssertionError, match="predict 0 to 0"):
        ledger.live("C05", {"value": 1 / 600})
    ledger.live("C05", {"value": 1 / 600}, grain=1 / 600)
    with pytest.raises(AssertionError):
        ledger.live("C05", {"value": 2 / 600}, grain=1 / 600)


def test_the_proof_is_a_proof_without_assertions_too(tmp_path):
    ledger.run("word2vec", [experiment()], folder=tmp_path, report=silent)
    code = (
        "from pathlib import Path\nfrom mmtutor.page import ledger\n"
        f"ledger.results_dir = lambda: Path({str(tmp_path)!r})\nledger.live('C05', {{'value': 99.0}})"
    )
    run = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "value is 99 now" in run.stderr


# --- the book's own results -----------------------------------------------------------------------

STORED = ledger.result_files(ledger.results_dir())
# Claims whose stored runs still come from earlier code and wait for `make ledger`. This list may only become shorter.
AWAITING: set[str] = set()


@pytest.mark.parametrize("path", STORED, ids=lambda p: p.stem)
def test_stored_results_are_those_of_the_experiments_in_the_tree(path: Path):
    """No result outlives its experiment: same rule part by part, the same code and settings behind it, all seeds."""
    import importlib

    module = importlib.import_module(f"mmtutor.experiments.{path.stem}")
    experiments = {e.id: e for e in module.EXPERIMENTS}
    stored = ledger.results(path.stem)
    assert set(stored) == set(experiments)
    for id, result in stored.items():
        e = experiments[id]
        assert (result.rule, result.limits, result.note) == (e.rule, e.limits, e.note), id
        assert tuple(judged.part for judged in result.parts) == e.parts, id
        if id in AWAITING:
            assert result.stale(e), f"{id} is fresh: take it off the list"
            continue
        assert [run["seed"] for run in result.runs] == list(range(e.seeds)), id
        assert not result.stale(e), (
            f"{id} was measured with other code: make ledger SYSTEM={path.stem}"
        )
        assert ledger.claim_text(id).chapter == path.stem


def test_side_car_files_of_a_mac_are_no_results(tmp_path):
    """A Mac leaves ``._name`` beside a file on a disk that is not its own: binary, with the same suffix."""
    for path in ledger.result_files(ledger.results_dir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    assert ledger.results(folder=tmp_path).keys() == ledger.results().keys()
