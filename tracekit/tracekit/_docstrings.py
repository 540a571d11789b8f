"""What a docstring says of a function and of each of its parameters: Google, NumPy and Sphinx style."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADING = re.compile(r"^(args|arguments|parameters|params):?$", re.IGNORECASE)
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?()$")
_SPHINX = re.compile(r"^:param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")


def summary(docstring: str) -> str:
    r"""The first paragraph, in one line.

    Args:
        docstring: A docstring without the indentation that its lines share.

    Example:
        >>> summary("Look something\nup.\n\nMore.")
        'Look something up.'
    """
    return " ".join(docstring.strip().partition("\n\n")[0].split())


def described(docstring: str) -> dict[str, str]:
    r"""The description of each parameter that has one.

    Args:
        docstring: A docstring without the indentation that its lines share.

    Example:
        >>> described("Look.\n\nArgs:\n    query: What to\n        look for.")
        {'query': 'What to look for.'}
    """
    lines = docstring.splitlines()
    found = dict(_entries(lines, _SPHINX, 0))
    for at, line in enumerate(lines):
        if not _HEADING.match(line.strip()):
            continue
        underlined = at + 1 < len(lines) and set(lines[at + 1].strip()) == {"-"}
        block = list(_block(lines[at + 2 if underlined else at + 1 :], _indent(line), is_open=underlined))
        first = next((text for text in block if text.strip()), "")
        found.update(_entries(block, _NUMPY if underlined else _GOOGLE, _indent(first)))
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(lines: list[str], indent: int, *, is_open: bool) -> Iterator[str]:
    """The lines of a section: those that are indented more than its heading, or up to the next underlined heading."""
    for at, line in enumerate(lines):
        if is_open:
            if at + 1 < len(lines) and line.strip() and set(lines[at + 1].strip()) == {"-"}:
                return
        elif line.strip() and _indent(line) <= indent:
            return
        yield line


def _entries(lines: list[str], pattern: re.Pattern[str], indent: int) -> Iterator[tuple[str, str]]:
    """Names and their texts; a text goes on in lines that are indented more than where it began."""
    name, words = None, []
    for line in [*lines, ""]:
        begins = pattern.match(line.strip()) if _indent(line) == indent else None
        goes_on = bool(line.strip()) and _indent(line) > indent
        if name is not None and not goes_on:
            if any(words):
                yield name, " ".join(filter(None, words))
            name = None
        if begins is not None:
            name, words = begins[1], [begins[2].strip()]
        elif goes_on and name is not None:
            words.append(line.strip())
