"""Every command line that README and the pages show is one that the command takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from mmtutor.cli import main, systems

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]


def examples() -> list[tuple[str, str]]:
    """Where, and the line: of code blocks, with what a backslash goes on with, without remarks."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                if line.startswith("mmtutor "):
                    found.append((page.name, line))
    return found


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize(("page", "line"), examples())
def test_a_shown_line_is_taken(page: str, line: str) -> None:
    verb, *rest = words_of(line)
    assert verb in main.commands, f"{page}: there is no `mmtutor {verb}`"
    main.commands[verb].make_context(verb, rest)  # raises what the command would say


def test_every_command_is_shown_somewhere() -> None:
    shown = {words_of(line)[0] for _, line in examples()}
    assert shown == set(main.commands)


def test_the_systems_that_the_pages_train_are_those_that_there_are() -> None:
    trained = {words_of(line)[1] for _, line in examples() if words_of(line)[0] == "train"}
    assert trained <= set(systems())


@pytest.mark.parametrize("wrong", ["draw my/painter", "caption my/captioner", "list --cost"])
def test_a_line_that_is_not_taken_would_be_found(wrong: str) -> None:
    verb, *rest = wrong.split()
    with pytest.raises(click.UsageError):
        main.commands[verb].make_context(verb, rest)
