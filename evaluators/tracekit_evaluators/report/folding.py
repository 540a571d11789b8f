"""Parts of the page that are packed, and become elements when a reader opens them: so a page of any run stays small.

Format. An element is an array of its tag, its attributes as an object, and its children, each an array or a string;
what is folded is an array of these, packed as `packing` says. It is made from our own escaped markup, and the page
builds it element by element, so that nothing in it is ever parsed as markup.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from markupsafe import Markup

from tracekit_evaluators.report.packing import packed

_VOID = {"br", "hr", "img", "input", "meta", "link"}
_CASED = {"viewbox": "viewBox", "preserveaspectratio": "preserveAspectRatio"}  # which a parser of HTML makes small
_ELEMENT = re.compile("<[a-z]")


def elements(markup: str) -> int:
    """How many elements a browser makes of our own markup, in which no text has a `<`."""
    return len(_ELEMENT.findall(markup))


def folded(markup: str) -> Markup:
    """Markup as a page carries it folded.

    Example:
        >>> from tracekit_evaluators.report.packing import unpacked
        >>> unpacked(folded("<p class=x>a &amp; b</p>"))
        [['p', {'class': 'x'}, 'a & b']]
    """
    return Markup(packed(_Tree(markup).made))  # noqa: S704 - base64, which has no markup


class _Tree(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.made: list[Any] = []
        self._open: list[list[Any]] = [self.made]
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        made: list[Any] = [tag, {_CASED.get(name, name): value or "" for name, value in attributes}]
        self._open[-1].append(made)
        if tag not in _VOID:
            self._open.append(made)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip() or "\n" not in data:
            self._open[-1].append(data)
