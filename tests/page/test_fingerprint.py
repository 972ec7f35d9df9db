"""The fingerprint of a measurement: what it covers, and what leaves it alone."""

from __future__ import annotations

import importlib
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
        for cached in (fp._module, fp._is_module, fp._versions):
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
    for cached in (fp._module, fp._is_module, fp._versions):
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
