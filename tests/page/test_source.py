"""What show_source shows is what the file holds."""

import ast
import functools
import inspect
from pathlib import Path

import numpy as np
import pytest

import mmtutor
from mmtutor.kit import text, training
from mmtutor.page import source
from mmtutor.page.source import show_source, source_of


def around(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def plain(x):
    """Double.

    With a second paragraph.
    """

    # why
    def inner(y):
        """Stays."""
        return y

    return inner(2 * x)


@around
@functools.lru_cache
def decorated(x):
    """Decorated."""
    return x


class Holder:
    """Holds."""

    kind = "holder"

    @property
    def size(self):
        """A property."""
        return 1

    @functools.cached_property
    def slow(self):
        """A cached property."""
        return 2

    @staticmethod
    def still():
        """A static method."""
        return 3

    @classmethod
    def made(cls):
        """A class method."""
        return cls()

    def method(self):
        """A method whose text reaches further left than itself."""
        return """
no indentation
    some
"""

    async def later(self):
        """Async."""
        return 4


class Documented(ValueError):
    """Nothing but a docstring."""


def only():
    """Nothing but a docstring."""


def inline(): "On the line of the head."; return 5  # noqa: E702  # fmt: skip


def shared():
    "Shares its last line."; return 6  # noqa: E702  # fmt: skip


def feed():
    """A line separator (U+2028) in a string is no line end for Python."""
    return "one two"


def fence():
    return "```python````"


def lines_of(name: str, inside: str | None = None) -> str:
    """The lines of a definition in this file, found through the syntax tree and not through inspect."""
    file = Path(__file__).read_text()
    body = ast.parse(file).body
    if inside:
        body = next(n for n in body if getattr(n, "name", None) == inside).body
    node = next(n for n in body if getattr(n, "name", None) == name)
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return "\n".join(
        line[node.col_offset :] for line in file.split("\n")[start - 1 : node.end_lineno]
    )


@pytest.mark.parametrize(
    ("obj", "name", "inside"),
    [
        (plain, "plain", None),
        (decorated, "decorated", None),
        (Holder, "Holder", None),
        (Documented, "Documented", None),
        (Holder.size, "size", "Holder"),
        (Holder.__dict__["slow"], "slow", "Holder"),
        (Holder.still, "still", "Holder"),
        (Holder.__dict__["still"], "still", "Holder"),
        (Holder.made, "made", "Holder"),
        (Holder().made, "made", "Holder"),
        (Holder.later, "later", "Holder"),
        (feed, "feed", None),
        (inline, "inline", None),
    ],
)
def test_the_text_is_that_of_the_file(obj, name, inside):
    if name == "inline":  # its comment stands after the node's end
        assert source_of(obj).startswith(lines_of(name, inside))
    else:
        assert source_of(obj) == lines_of(name, inside)


def test_a_method_with_a_string_that_reaches_further_left():
    shown = source_of(Holder.method)
    assert shown.startswith("def method(self):\n    ")
    assert "\nno indentation\n" in shown
    scope = {}
    exec(source_of(Holder.method, docstring=False), scope)
    assert (
        scope["method"](None) == "\nno indentation\nsome\n"
    )  # four spaces less, as textwrap.dedent would take them


@pytest.mark.parametrize("module", [mmtutor, text, training, source])
def test_a_module_is_its_file(module):
    file = Path(module.__file__).read_text()
    assert source_of(module) == file.rstrip()
    tree = ast.parse(source_of(module, docstring=False))
    assert ast.get_docstring(tree) is None
    assert ast.dump(tree) == ast.dump(ast.Module(ast.parse(file).body[1:], type_ignores=[]))


def every_public_object():
    for module in (source, text, training):
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) == module.__name__ and callable(value):
                yield pytest.param(value, id=f"{module.__name__}.{name}")
                if isinstance(value, type):
                    for key, method in vars(value).items():
                        code = getattr(
                            inspect.unwrap(method) if callable(method) else None, "__code__", None
                        )
                        if code is not None and code.co_filename == module.__file__:
                            yield pytest.param(method, id=f"{module.__name__}.{name}.{key}")


@pytest.mark.parametrize("obj", every_public_object())
def test_without_docstring_only_the_docstring_is_gone(obj):
    whole, bare = source_of(obj), source_of(obj, docstring=False)
    node, rest = ast.parse(whole).body[0], ast.parse(bare).body[0]
    if ast.get_docstring(node) is None:
        assert bare == whole
        return
    if len(node.body) > 1:
        assert ast.get_docstring(rest) is None
        node.body = node.body[1:]
    assert ast.dump(node) == ast.dump(rest)
    kept = iter(whole.split("\n"))
    assert all(line in kept for line in bare.split("\n"))  # whole lines, in order


def test_docstring_false_on_nested_functions_keeps_the_inner_one():
    bare = source_of(plain, docstring=False)
    assert bare.split("\n")[:3] == ["def plain(x):", "    # why", "    def inner(y):"]
    assert '"""Stays."""' in bare
    assert "Double" not in bare


@pytest.mark.parametrize("obj", [Documented, only, inline, shared])
def test_a_docstring_that_cannot_go_stays(obj):
    assert source_of(obj, docstring=False) == source_of(obj)
    ast.parse(source_of(obj, docstring=False))


def test_decorators_and_head_stay_without_docstring():
    expected = "@around\n@functools.lru_cache\ndef decorated(x):\n    return x"
    assert source_of(decorated, docstring=False) == expected
    assert source_of(Holder, docstring=False).startswith('class Holder:\n    kind = "holder"')
    assert source_of(Holder.later, docstring=False) == "async def later(self):\n    return 4"


def test_only_python_line_ends_count():
    assert source_of(feed, docstring=False) == 'def feed():\n    return "one\u2028two"'


def test_a_lambda_shows_its_line():
    pair = [
        lambda x: x + 1,
        lambda x: x + 2,
    ]
    assert "x + 2" in source_of(pair[1], docstring=False)


@pytest.mark.parametrize(
    "obj", [len, print, int, 3, "text", None, np.add, Holder(), [], functools.partial(len)]
)
def test_what_has_no_source_is_named(obj):
    with pytest.raises(
        TypeError, match=f"needs a function, class, method or module.*got {type(obj).__name__}"
    ):
        show_source(obj)


def test_what_dataclass_wrote_has_no_source():
    with pytest.raises(TypeError, match="with Python source"):
        source_of(training.History.__init__)


def test_show_source_needs_something():
    with pytest.raises(TypeError, match="at least one"):
        show_source()


def test_several_objects_stand_below_each_other():
    shown = show_source(only, plain, docstring=True)
    assert shown.text == source_of(only) + "\n\n\n" + source_of(plain)
    assert shown.title == "only, plain"
    assert repr(shown) == shown.text


@pytest.mark.parametrize(("obj", "fence_length"), [(plain, 3), (fence, 5)])
def test_markdown_fences_the_text_whatever_is_in_it(obj, fence_length):
    shown = show_source(obj)._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/markdown"}
    assert shown["text/plain"] == source_of(obj)
    ticks = "`" * fence_length
    assert shown["text/markdown"] == f"{ticks}python\n{source_of(obj)}\n{ticks}"
    assert ticks not in source_of(obj)


def test_markdown_is_read_back_as_one_block_of_code():
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(show_source(fence, plain)._repr_mimebundle_()["text/markdown"])
    assert [(t.type, t.info) for t in tokens] == [("fence", "python")]
    assert tokens[0].content == source_of(fence) + "\n\n\n" + source_of(plain) + "\n"


def test_a_notebook_shows_it_as_markdown():
    from IPython.core.interactiveshell import InteractiveShell

    data, _ = InteractiveShell.instance().display_formatter.format(show_source(only))
    assert data["text/markdown"].startswith("```python\ndef only():")


# --- What may be left out -------------------------------------------------------------------------


def checked(x, names):
    """Do a thing.

    A second paragraph
    of two lines.

    Args:
        x: a number, which is
            explained at length.
        names: texts.

    Returns:
        the thing.

    Raises:
        ValueError: a bad one.
    """
    if x < 0:
        raise ValueError("x")
    for name in names:
        if not name:
            raise ValueError("name")
    total = 0
    for name in names:
        if name == "":
            raise ValueError("name")
        total += x
    if total > 10:
        total = 10
    elif total == 7:
        raise ValueError("seven")
    if x > 5:
        return total
    raise RuntimeError("never")


def test_what_only_refuses_can_be_left_out():
    assert (
        source_of(checked, docstring=False, checks=False)
        == """def checked(x, names):
    # …
    total = 0
    for name in names:
        # …
        total += x
    if total > 10:
        total = 10
    elif total == 7:
        raise ValueError("seven")
    if x > 5:
        return total
    raise RuntimeError("never")"""
    )


def test_a_docstring_can_keep_its_arguments_only():
    text = source_of(checked, docstring="arguments")
    assert (
        text.split("    if x < 0")[0]
        == '''def checked(x, names):
    """Do a thing.

    Args:
        x: a number, which is
            explained at length.
        names: texts.

    Returns:
        the thing.
    """
'''
    )
    assert "Raises" not in text
    with pytest.raises(ValueError, match="arguments"):
        source_of(checked, docstring="args")


def test_a_docstring_of_one_paragraph_of_several_lines_is_closed_again():
    def long():
        """One sentence that goes on
        over two lines.

        More.
        """
        return 1

    text = source_of(long, docstring="arguments")
    compile(text, "shown", "exec")
    assert "over two lines." in text
    assert "More" not in text


@pytest.mark.parametrize("docstring", [True, False, "arguments"])
def test_every_system_stays_readable_whatever_is_left_out(docstring):
    import ast

    from mmtutor import show_and_tell, show_attend_tell, video_captioning, word2vec

    for module in (show_and_tell, show_attend_tell, video_captioning, word2vec):
        text = source_of(module, docstring=docstring, checks=False)
        whole = "\n".join(
            line.replace("# …", "...") if line.strip() == "# …" else line
            for line in text.split("\n")
        )
        ast.parse(whole)
