"""A fingerprint of the code that a measurement runs through.

A stored number belongs to the code that made it. So the fingerprint of an experiment covers its
measuring function and every function, class and constant of this package that can be reached from
it by name: helpers of the experiment's file, the system's file, what it uses of ``kit``, and the
grammar that checks a caption. Comments, docstrings and the layout of lines do not count, and
neither does the version of Python. The data sets of the world count by their versions, which are
raised whenever their samples change on purpose (a test holds the samples).

**Equal code, shown equal.** A definition may be rewritten so that no number moves: a clearer error,
another way to save. ``equal_code.json`` beside this file then says of it "its present text counts as
this earlier text". ``scripts/same_numbers.py`` writes such an entry, after it has trained systems
with the code before and after, to the last bit the same. An entry holds the digest of the present
text, together with all that only this text reaches. After any further edit the digest is another,
the entry is not used, and what was measured is stale.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

ROOT = "mmtutor"
RUNTIME = "mmtutor.kit.runtime"
EQUAL = "equal_code.json"  # in the package's folder ``page``
# What moves no number: pages, the cache, where the code runs. And what makes the data sets, which
# count by their versions.
PASSED_OVER = (
    "mmtutor.page",
    "mmtutor.hub",
    "mmtutor.kit.cache",
    "mmtutor.kit.runtime",
    "mmtutor.world._store",
    "mmtutor.world.rows",
    "mmtutor.world._backgrounds",
    "mmtutor.world._effects",
    "mmtutor.world._midi",
    "mmtutor.world._dice",
    "mmtutor.world.corpora",
)


class _Module(NamedTuple):
    definitions: dict[
        str, list[ast.stmt]
    ]  # of each top-level name, the statements that give it a value
    imports: dict[
        str, tuple[str, str | None]
    ]  # of each imported name, the module and the name in it (None: the module itself)


def fingerprint(function: Callable[..., Any], settings: Mapping[str, Any] | None = None) -> str:
    """Return 16 hexadecimal digits that change when the code behind ``function``, its data or its
    settings change."""
    parts = [
        json.dumps(dict(settings or {}), sort_keys=True),
        *(f"{name} {text}" for name, text in sorted(reached(function).items())),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def reached(function: Callable[..., Any]) -> dict[str, str]:
    """Everything that ``function`` can reach by name, as ``{"module:name": its code}`` and ``{"data
    NAME": its version}``."""
    function = inspect.unwrap(function)
    start = (
        getattr(function, "__module__", ""),
        getattr(function, "__qualname__", "").partition(".")[0],
    )
    if (
        start[1] not in _module(start[0]).definitions
    ):  # made while the program runs (a lambda, a function within a function)
        start = (start[0], None)
    if start[1] is not None:
        return _closure([start], _counted)
    node = ast.parse(
        inspect.cleandoc("\n" + inspect.getsource(function))
        if hasattr(function, "__code__")
        else "0"
    )
    own = {f"{start[0]}:{getattr(function, '__qualname__', '?')}": _text([node])}
    return own | _closure(_uses(start[0], [node]), _counted)


_Place = tuple[str, str]  # a module and a name in it, or "data" and the name of a data set


def _closure(
    places: Iterable[_Place], look: Callable[[str, str], tuple[str, list[_Place]]]
) -> dict[str, str]:
    """All that can be reached from some places; ``look`` gives the text of a definition and the
    places that it names."""
    found: dict[str, str] = {}
    waiting, seen = list(places), set()
    while waiting:
        module, name = place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if module == "data":
            found[f"data {name}"] = _versions()[name]
            continue
        table = _module(module)
        if name in table.definitions:
            found[f"{module}:{name}"], more = look(module, name)
            waiting += more
        elif name in table.imports:  # passed on from a module that imported it itself
            waiting += _named(*table.imports[name])
    return found


# --- Equal code -----------------------------------------------------------------------------------


def _present(module: str, name: str) -> tuple[str, list[_Place]]:
    """A definition as it stands in its file."""
    table = _module(module)
    nodes = table.definitions[name]
    return _text(nodes, table.imports), list(_uses(module, nodes))


def _earlier(module: str, name: str) -> tuple[str, list[_Place]]:
    """A definition as the entry of it says that it was, or as it stands where it has none."""
    entry = entries().get(f"{module}:{name}")
    if entry is None:
        return _present(module, name)
    nodes = ast.parse("\n".join(entry["earlier"])).body
    return _text(nodes, _module(module).imports), [
        tuple(place.rsplit(" " if place.startswith("data ") else ":", 1))
        for place in entry["reaches"]
    ]


def _counted(module: str, name: str) -> tuple[str, list[_Place]]:
    """A definition as it counts: as the earlier text, if its entry is of the present one."""
    return _earlier(module, name) if holds(f"{module}:{name}") else _present(module, name)


@functools.lru_cache(maxsize=1)
def entries() -> dict[str, dict[str, Any]]:
    """``equal_code.json``: for ``"module:name"`` the digest of its ``present`` text, the lines of the
    ``earlier`` source and what that ``reaches`` by name, the commit ``before``, ``because`` (why no
    number can move) and what was ``compared``."""
    spec = importlib.util.find_spec(ROOT)
    path = Path(spec.origin).parent / "page" / EQUAL if spec and spec.origin else None
    if path is None or not path.exists():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))


def standing(place: str) -> str:
    """The digest of a definition as it stands, and of all that it reaches and its earlier text does
    not: new helpers, which the fingerprint passes over, may not change unseen either."""
    module, name = place.split(":")
    before = _closure(_earlier(module, name)[1], _earlier)
    now = {
        other: text
        for other, text in _closure([(module, name)], _present).items()
        if other == place or other not in before
    }
    told = "\n".join(f"{other} {text}" for other, text in sorted(now.items()))
    return hashlib.sha256(told.encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def holds(place: str) -> bool:
    """Whether there is an entry of ``"module:name"`` and it is of the text that stands there now."""
    entry = entries().get(place)
    module, name = place.split(":")
    return (
        entry is not None
        and name in _module(module).definitions
        and entry["present"] == standing(place)
    )


def unused(functions: Iterable[Callable[..., Any]]) -> dict[str, str]:
    """The entries that do nothing for these measuring functions, and why: each is an error."""
    places = set().union(*(reached(function) for function in functions))
    return {
        place: "is of another text than the present one; write it anew or take it out"
        if not holds(place)
        else "is reached by no experiment; take it out"
        for place in entries()
        if not holds(place) or place not in places
    }


@functools.lru_cache(
    maxsize=256
)  # the code that runs is the code that was there first, even if its file is edited meanwhile
def _module(name: str) -> _Module:
    path = _file(name)
    if path is None:
        return _Module({}, {})
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, tuple[str, str | None]] = {}

    def gather(statements: list[ast.stmt]) -> None:
        for one in statements:
            if isinstance(one, (ast.Import, ast.ImportFrom)):
                imports.update(_imported(one, name))
            elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                definitions.setdefault(one.name, []).append(one)
            elif isinstance(one, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                for target in one.targets if isinstance(one, ast.Assign) else [one.target]:
                    for inner in ast.walk(target):
                        if isinstance(inner, ast.Name):
                            definitions.setdefault(inner.id, []).append(one)
            elif isinstance(one, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
                for block in ("body", "orelse", "finalbody"):
                    gather(getattr(one, block, []))
                for handler in getattr(one, "handlers", []):
                    gather(handler.body)

    gather(ast.parse(path.read_text(encoding="utf-8")).body)
    return _Module(definitions, imports)


def _file(module: str) -> Path | None:
    """Where a module's source is; only of this package, and of the file that holds the measuring
    function."""
    if module != ROOT and not module.startswith(ROOT + "."):
        loaded = sys.modules.get(module)
        origin = getattr(loaded, "__file__", None)
        return (
            Path(origin)
            if origin and Path(origin).suffix == ".py" and "site-packages" not in origin
            else None
        )
    if module.startswith(PASSED_OVER):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imported(node: ast.Import | ast.ImportFrom, module: str) -> dict[str, tuple[str, str | None]]:
    if isinstance(node, ast.Import):
        return {
            one.asname or one.name.partition(".")[0]: (
                one.name if one.asname else one.name.partition(".")[0],
                None,
            )
            for one in node.names
        }
    base = node.module or ""
    if node.level:
        package = module.split(".")[: -node.level]
        base = ".".join([*package, base] if base else package)
    return {one.asname or one.name: (base, one.name) for one in node.names}


def _uses(module: str, nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """The places (module, name) that some code names, and the data sets that it names in a
    string."""
    table = _module(module)
    imports = dict(table.imports)
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                imports.update(_imported(inner, module))
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                if inner.id in imports:
                    yield from _named(*imports[inner.id])
                elif inner.id in table.definitions:
                    yield module, inner.id
            elif isinstance(inner, ast.Attribute):
                chain = _chain(inner)
                if chain and chain[0] in imports:
                    yield from _followed(imports[chain[0]], chain[1:])
            elif (
                isinstance(inner, ast.Constant)
                and isinstance(inner.value, str)
                and inner.value in _versions()
            ):
                yield "data", inner.value


def _chain(node: ast.expr) -> list[str]:
    """``a.b.c`` as its names; nothing where it begins with something else than a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _followed(start: tuple[str, str | None], names: list[str]) -> Iterator[tuple[str, str]]:
    """Walk from an imported name along attributes, as far as they are modules; then name the
    place."""
    module, name = start
    path = ([name] if name else []) + names
    while path and _is_module(f"{module}.{path[0]}"):
        module = f"{module}.{path.pop(0)}"
    if path:
        yield from _named(module, path[0])


def _named(module: str, name: str | None) -> Iterator[tuple[str, str]]:
    """The place that a name of a module stands for; a package's own lazy names lead to where they
    are defined."""
    if name is None or (module != ROOT and not module.startswith(ROOT + ".")):
        return
    if _is_module(f"{module}.{name}"):
        return  # a module alone is no code that runs; what is used of it is found by its attributes
    lazy = _lazy(module).get(name)
    yield (lazy, name) if lazy else (module, name)


@functools.lru_cache(maxsize=64)
def _lazy(package: str) -> dict[str, str]:
    """The names that a package loads when they are first used (its ``_EXPORTS``), and the modules
    that define them."""
    for statement in _module(package).definitions.get("_EXPORTS", []):
        return {
            name: f"{package}.{module}"
            for name, module in ast.literal_eval(statement.value).items()
        }
    return {}


@functools.lru_cache(maxsize=1024)
def _is_module(name: str) -> bool:
    if not name.startswith(ROOT):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """The version of each data set and corpus of the world: ``Builder(name, version, …)`` and
    ``Corpus(version=…)`` in its source.

    Read, not imported: what pages use knows no data.
    """
    found: dict[str, str] = {}
    spec = importlib.util.find_spec(f"{ROOT}.world")
    if spec is None:  # another package is looked at
        return found
    world = Path(spec.origin).parent
    for path in [*sorted((world / "rows").glob("[!._]*.py")), world / "corpora.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Dict):
                continue
            for key, call in zip(node.keys, node.values):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id in ("Builder", "Corpus")
                ):
                    given = {one.arg: one.value for one in call.keywords} | dict(
                        zip(("name", "version"), call.args)
                    )
                    found[ast.literal_eval(key)] = str(ast.literal_eval(given["version"]))
    return found


def _text(nodes: list[ast.AST], imports: Mapping[str, tuple[str, str | None]] | None = None) -> str:
    """Code without its comments, docstrings and layout, the same from every version of Python; and
    without the decorators of :mod:`mmtutor.kit.runtime`, which say on which device a function runs: on a
    CPU they move no number, and a run tells on which machine it was made."""
    passed = {name for name, (module, _) in (imports or {}).items() if module == RUNTIME}
    return json.dumps([_plain(node, passed) for node in nodes], separators=(",", ":"))


def _plain(value: Any, passed: Set[str] = frozenset()) -> Any:
    if isinstance(value, ast.AST):
        fields = []
        for name, inner in ast.iter_fields(value):
            if name == "decorator_list":
                inner = [
                    one for one in inner if not isinstance(one, ast.Name) or one.id not in passed
                ]
            if name == "body" and isinstance(
                value, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
            ):
                inner = inner[1:] if ast.get_docstring(value, clean=False) is not None else inner
            if inner not in (None, []) and name not in (
                "ctx",
                "kind",
                "type_comment",
                "type_ignores",
            ):
                fields.append([name, _plain(inner, passed)])
        return [type(value).__name__, *fields]
    if isinstance(value, list):
        return [_plain(one, passed) for one in value]
    return value if isinstance(value, (str, bool, int)) else ascii(value)
