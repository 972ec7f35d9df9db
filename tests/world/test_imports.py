"""Who imports whom in ``mmtutor.world``: no circles, and who makes rows stands above who draws.

The graph is read from the source, so that an import within a function counts like one at the top.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mmtutor.world

HOME = Path(mmtutor.world.__file__).parent
PACKAGE = "mmtutor.world"


def imports(source: str, module: str, is_package: bool, modules: set[str]) -> set[str]:
    """Which of ``modules`` a source imports, wherever it does so; what only type checkers import does not count."""

    class Visitor(ast.NodeVisitor):
        found: set[str]

        def visit_If(self, node: ast.If) -> None:
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            self.found |= {alias.name for alias in node.names}

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                base = ".".join(
                    [*parts[: len(parts) - node.level + is_package], *([base] if base else [])]
                )
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                self.found.add(whole if whole in modules else base)

    visitor = Visitor()
    visitor.found = set()
    visitor.visit(ast.parse(source))
    return visitor.found & modules


def graph() -> dict[str, set[str]]:
    paths = {}
    for path in HOME.rglob("*.py"):
        parts = path.relative_to(HOME).with_suffix("").parts
        paths[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = path
    return {
        name: imports(
            path.read_text(encoding="utf-8"), name, path.name == "__init__.py", set(paths)
        )
        for name, path in paths.items()
    }


def test_there_is_no_circle() -> None:
    TopologicalSorter(graph()).prepare()  # CycleError names the circle


def test_nothing_outside_rows_imports_rows() -> None:
    rows = f"{PACKAGE}.rows"
    for module, imported in graph().items():
        if not module.startswith(rows):
            assert not {name for name in imported if name.startswith(rows)}, module


def test_no_sample_depends_on_what_the_key_leaves_out() -> None:
    """The store keeps samples and corpora are read elsewhere, so an edit of either may leave the stored samples valid."""
    for module, imported in graph().items():
        if not module.startswith(f"{PACKAGE}.rows."):
            assert f"{PACKAGE}._store" not in imported, module
        assert f"{PACKAGE}.corpora" not in imported or module == f"{PACKAGE}._store", module


def test_the_graph_sees_what_there_is() -> None:
    found = graph()
    assert {f"{PACKAGE}.scenes", f"{PACKAGE}.captions", f"{PACKAGE}._store"} <= found[
        f"{PACKAGE}.rows.scenes"
    ]
    assert found[f"{PACKAGE}.cast"] == set()
    assert len(found) >= 20


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b", {"a.b"}),
        ("from a.b import something", {"a.b"}),
        ("from . import b", {"a.b"}),
        ("from .b import something", {"a.b"}),
        ("def f():\n    from a import b", {"a.b"}),
        ("if TYPE_CHECKING:\n    from a import b", set()),
        ("if typing.TYPE_CHECKING:\n    import a.b", set()),
        ("import json, numpy.linalg", set()),
    ],
)
def test_imports_are_read_right(line: str, expected: set[str]) -> None:
    assert imports(line, "a.c", False, {"a", "a.b", "a.c"}) == expected


def test_a_circle_is_noticed() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
