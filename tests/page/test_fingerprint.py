"""The fingerprint of a measurement: what it covers, and what leaves it alone."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mmtutor.page import fingerprint as fp

BASE = {
    "model": """
        import math

        SIZE = 3

        def unused():
            return 1

        class Net:
            def run(self):
                return helper(SIZE)

        def helper(n):
            return math.sqrt(n)
    """,
    "trial": """
        from {package} import model

        RATE = 0.1

        def measure(seed):
            return {{"x": build(seed) * RATE}}

        def build(seed):
            return model.Net().run()

        def other(seed):
            return 5
    """,
}

CACHED = (fp._module, fp._is_module, fp._versions, fp.entries, fp.holds)


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``digest(model=[(old, new)], trial=…)``: the fingerprint of ``trial.measure`` in a small package with these edits."""
    made = 0

    def of(settings: dict | None = None, **edits: list[tuple[str, str]]) -> str:
        nonlocal made
        made += 1
        package = f"toyhouse{made}"
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for name, text in BASE.items():
            text = textwrap.dedent(text)
            for old, new in edits.get(name, []):
                assert old in text
                text = text.replace(old, new)
            (folder / f"{name}.py").write_text(
                text.format(package=package) if name == "trial" else text
            )
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(fp, "ROOT", package)
        for cached in CACHED:
            cached.cache_clear()
        function = importlib.import_module(f"{package}.trial").measure
        answer = {
            name.replace(package, "p"): text.replace(package, "p")
            for name, text in fp.reached(function).items()
        }
        monkeypatch.setattr(fp, "reached", lambda _: answer)
        found = fp.fingerprint(function, settings)
        monkeypatch.undo()
        return found

    yield of
    for cached in CACHED:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith("toyhouse")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "edits",
    [
        {"trial": [("RATE = 0.1", "RATE = 0.2")]},  # a constant
        {"trial": [("model.Net().run()", "model.Net().run() + 1")]},  # a helper of the file
        {"model": [("return helper(SIZE)", "return helper(SIZE + 1)")]},  # a method of the system
        {"model": [("math.sqrt(n)", "math.exp(n)")]},  # what the system calls
        {"model": [("SIZE = 3", "SIZE = 4")]},
        {"trial": [("def measure(seed):", "def measure(seed, more=1):")]},
    ],
)
def test_code_that_runs_counts(digest, edits: dict) -> None:
    assert digest(**edits) != digest()


@pytest.mark.parametrize(
    "edits",
    [
        {"trial": [("RATE = 0.1", "RATE = 0.1  # slow")]},
        {"trial": [("def build(seed):", 'def build(seed):\n    """Build it."""')]},
        {
            "trial": [
                (
                    'return {{"x": build(seed) * RATE}}',
                    'return {{\n        "x": (build(seed) * RATE),\n    }}',
                )
            ]
        },
        {"trial": [("return 5", "return 6")]},  # another experiment of the file
        {"model": [("return 1", "return 2")]},  # a function of the system that nobody calls here
    ],
)
def test_comments_docstrings_layout_and_what_does_not_run_do_not(digest, edits: dict) -> None:
    assert digest(**edits) == digest()


def test_a_decorator_that_is_passed_over_does_not_count(digest, monkeypatch) -> None:
    """What says where a function runs moves no number; any other decorator may."""
    decorated = {
        "model": [
            (
                "import math",
                "import functools\nimport math\nfrom mmtutor.kit.runtime import comes_home",
            ),
            ("def helper(", "@comes_home\ndef helper("),
        ]
    }
    assert digest(**decorated) == digest()
    decorated["model"][1] = ("def helper(", "@functools.cache\ndef helper(")
    assert digest(**decorated) != digest()


def test_settings_count(digest) -> None:
    assert digest({"scale": 2}) != digest({"scale": 1}) != digest()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_the_books_own_experiments_reach_their_system_its_kit_and_their_data() -> None:
    from mmtutor.experiments import show_attend_tell, sound, word2vec

    reached = fp.reached(show_attend_tell.c19)
    for place in (
        "mmtutor.experiments.show_attend_tell:train",
        "mmtutor.experiments._captioning:fit",
        "mmtutor.show_attend_tell:ShowAttendTell",
        "mmtutor.show_and_tell:ShowAndTell",  # the rival
        "mmtutor.kit.training:fit",
        "mmtutor.kit.decoding:beam_search",
        "mmtutor.kit.text:tokenize",
        "mmtutor.kit.vision:ImageEncoder",
        "mmtutor.world.captions:is_true",
        "data scenes",
    ):
        assert place in reached, place
    assert not [
        place
        for place in reached
        if place.startswith(("mmtutor.page", "mmtutor.world._backgrounds", "mmtutor.hub"))
    ]
    assert "data spoken_words" in fp.reached(sound.measure_representations)
    assert "mmtutor.word2vec:nce_loss" in fp.reached(word2vec.c11)
    assert "data kjv" in fp.reached(word2vec.c11)


def test_the_versions_read_from_the_source_are_those_that_the_world_has() -> None:
    from mmtutor import world
    from mmtutor.world import corpora

    fp._versions.cache_clear()
    expected = {name: str(world.info(name)["version"]) for name in world.names()}
    assert fp._versions() == expected | {
        name: str(corpus.version) for name, corpus in corpora.CORPORA.items()
    }


def test_a_data_set_of_another_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmtutor.experiments import sound

    words, order = (
        fp.fingerprint(sound.measure_representations),
        fp.fingerprint(sound.measure_order),
    )
    changed = fp._versions() | {"spoken_words": "99"}
    monkeypatch.setattr(fp, "_versions", lambda: changed)
    assert fp.fingerprint(sound.measure_representations) != words
    assert fp.fingerprint(sound.measure_order) == order


# --- equal code -----------------------------------------------------------------------------------


class House:
    """A small package that is edited, and its list of equal code."""

    def __init__(self, folder: Path) -> None:
        self.name = f"toyhouse_{folder.name}"
        self.folder = folder / self.name
        (self.folder / "page").mkdir(parents=True)
        self.list = self.folder / "page" / fp.EQUAL
        (self.folder / "__init__.py").write_text("")
        for name, text in BASE.items():
            text = textwrap.dedent(text)
            text = text.format(package=self.name) if name == "trial" else text
            (self.folder / f"{name}.py").write_text(text)

    @property
    def measure(self):
        for cached in CACHED:
            cached.cache_clear()
        return importlib.import_module(f"{self.name}.trial").measure

    @property
    def digest(self) -> str:
        return fp.fingerprint(self.measure)

    @property
    def unused(self) -> dict[str, str]:
        return {place.partition(":")[2]: why for place, why in fp.unused([self.measure]).items()}

    def edit(self, old: str, new: str, module: str = "model") -> None:
        path = self.folder / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def enter(self, name: str, earlier: str, reaches: list[str]) -> None:
        """Let the text that stands there now count as an earlier one, which reached these names."""
        place, now = f"{self.name}.model:{name}", {}
        if self.list.exists():
            now = json.loads(self.list.read_text())
        told = [f"{self.name}.model:{other}" for other in reaches]
        now[place] = {"earlier": earlier.splitlines(), "reaches": told, "present": ""}
        self.list.write_text(json.dumps(now))
        assert self.measure
        now[place]["present"] = fp.standing(place)
        self.list.write_text(json.dumps(now))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = House(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(fp, "ROOT", made.name)
    yield made
    for cached in CACHED:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.startswith(made.name)]:
        del sys.modules[name]


HELPER = "def helper(n):\n    return math.sqrt(n)"
ANEW = "def helper(n):\n    return root(n)\n\ndef root(n):\n    return n ** HALF\n\nHALF = 0.5"


def test_a_rewritten_definition_counts_as_the_earlier_one(house: House) -> None:
    before = house.digest
    house.edit(HELPER, ANEW)
    assert house.digest != before
    house.enter("helper", HELPER, [])
    assert house.digest == before  # and what only the new text reaches does not count
    assert not house.unused


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return root(n)", "return root(n) + 1"),
        ("return n ** HALF", "return n ** HALF + 1"),  # what only the new text reaches, …
        ("HALF = 0.5", "HALF = 0.6"),  # … at any distance
        ("return helper(SIZE)", "return helper(SIZE + 1)"),  # and what counts as ever
    ],
)
def test_any_further_edit_counts_again(house: House, old: str, new: str) -> None:
    before = house.digest
    house.edit(HELPER, ANEW)
    house.enter("helper", HELPER, [])
    house.edit(old, new)
    assert house.digest != before
    assert ("helper" in house.unused) == ("helper(SIZE" not in new)


def test_an_entry_of_another_text_changes_nothing(house: House) -> None:
    house.edit(HELPER, ANEW)
    house.enter("helper", HELPER, [])
    house.edit(ANEW, HELPER.replace("sqrt", "exp"))
    house_with = house.digest
    assert "is of another text" in house.unused["helper"]
    house.list.unlink()
    assert house.digest == house_with


def test_an_entry_that_no_experiment_reaches_is_told(house: House) -> None:
    before = house.digest
    house.edit("def unused():\n    return 1", "def unused():\n    return 2")
    house.enter("unused", "def unused():\n    return 1", [])
    assert "is reached by no experiment" in house.unused["unused"]
    assert house.digest == before
    house.edit("def unused():", "def never_used():")
    assert "is of another text" in house.unused["unused"]


def test_what_the_earlier_text_reached_goes_on_to_count(house: House) -> None:
    """A new text that no longer names a constant; another value of it is another experiment."""
    run = "class Net:\n    def run(self):\n        return helper(SIZE)"
    before = house.digest
    house.edit(run, run.replace("helper(SIZE)", "helper(3)"))
    house.enter("Net", run, ["helper", "SIZE"])
    assert house.digest == before
    house.edit("SIZE = 3", "SIZE = 4")
    assert house.digest != before


def test_two_entries_of_which_one_reaches_the_other(house: House) -> None:
    before = house.digest
    run = "class Net:\n    def run(self):\n        return helper(SIZE)"
    house.edit(run, run.replace("return", "n = SIZE\n        return").replace("(SIZE)", "(n)"))
    house.edit(HELPER, ANEW)
    house.enter("helper", HELPER, [])
    assert house.digest != before
    house.enter("Net", run, ["helper", "SIZE"])
    assert house.digest == before
    house.edit("HALF = 0.5", "HALF = 0.6")
    assert house.digest != before


def test_every_entry_of_the_book_is_used_and_says_what_was_shown() -> None:
    from mmtutor.page import ledger

    fp.entries.cache_clear()
    fp.holds.cache_clear()
    assert fp.unused([e.measure for e in ledger.experiments_at_hand().values()]) == {}
    for place, entry in fp.entries().items():
        assert entry["because"].strip(), place
        assert re.search(r"same_numbers\.py \w{12}: \d+ files", entry["compared"]), place


def test_the_earlier_text_of_every_entry_is_that_of_the_commit_that_it_names(
    tmp_path: Path,
) -> None:
    root = Path(fp.__file__).resolve().parents[2]
    for place, entry in fp.entries().items():
        module, name = place.split(":")
        path = f"{module.replace('.', '/')}.py".replace("mmtutor/experiments", "experiments")
        told = subprocess.run(
            ["git", "show", f"{entry['before']}:{path}"], cwd=root, capture_output=True, text=True
        )
        if told.returncode:
            pytest.skip(f"the commit {entry['before']} is not at hand")
        nodes = [one for one in ast.parse(told.stdout).body if getattr(one, "name", None) == name]
        earlier = ast.parse("\n".join(entry["earlier"])).body
        assert fp._text(nodes) == fp._text(earlier), place


def test_only_what_a_compared_run_came_to_can_be_entered() -> None:
    script = Path(fp.__file__).resolve().parents[2] / "scripts" / "same_numbers.py"
    spec = importlib.util.spec_from_file_location("same_numbers", script)
    same_numbers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(same_numbers)
    from mmtutor import vlbert
    from mmtutor.kit import training

    with same_numbers.executed() as seen:
        training.batches_of(5, 2)
        training.History()  # of a dataclass only what it is given runs
    assert {"mmtutor.kit.training:batches_of", "mmtutor.kit.training:_check_counts"} <= seen
    assert not {"mmtutor.kit.training:History", "mmtutor.kit.training:fit"} & seen
    with same_numbers.executed() as seen:
        vlbert.Config.world(vocabulary=50, answers=3)
    assert "mmtutor.vlbert:Config" in seen
    with same_numbers.executed() as seen:
        importlib.reload(importlib.import_module("mmtutor.kit._identity"))
    assert not {place for place in seen if place.startswith("mmtutor.kit._identity:")}
    with pytest.raises(SystemExit, match=r"came to kit\.training:_shard, kit\.training:_whole"):
        same_numbers.refuse(["kit.training:_whole", "kit.training:_shard", "kit.x:y"], {"kit.x:y"})
    same_numbers.refuse(["kit.x:y"], {"kit.x:y"})
