"""A report as one HTML file: templates, style and script inlined, their digests in the content security policy."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tracekit_evaluators.report import library
from tracekit_evaluators.report.folding import elements, folded
from tracekit_evaluators.report.packing import Shelf, packed
from tracekit_evaluators.report.payload import EMPTY, Report
from tracekit_evaluators.report.text import shown

_SCRIPTS = ("parts.js", "trace.js", "case.js", "drawing.js", "bars.js", "list.js")
_MOST_ELEMENTS = 1_450  # of the page as it is written; a list and charts of what is filtered come in place of its cases
_MOST_STANDING = 820  # of these, all but the worst cases
_FEWEST_CASES = 3
_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Limits:
    """How many of each stand in the page as it is written; the others are folded, and made when they are opened."""

    scores: int
    curves: int
    distributions: int
    slices: int
    versions: int
    judges: int


_LIMITS = (
    Limits(scores=16, curves=4, distributions=12, slices=12, versions=16, judges=8),
    Limits(scores=16, curves=4, distributions=8, slices=8, versions=8, judges=4),
    Limits(scores=12, curves=3, distributions=6, slices=6, versions=6, judges=4),
    Limits(scores=12, curves=2, distributions=4, slices=6, versions=4, judges=2),
    Limits(scores=8, curves=2, distributions=3, slices=4, versions=2, judges=1),
    Limits(scores=4, curves=1, distributions=2, slices=2, versions=1, judges=1),
)


def render(report: Report) -> str:
    """The HTML of a report; the same report gives the same text, byte for byte.

    Everything that came from traces goes through autoescape. No request can leave the page: the policy allows nothing
    but this one style and this one script, and the library of charts, by digest.
    """
    report, limits = _fitting(report)
    return _rendered(report, limits)


def _rendered(report: Report, limits: Limits) -> str:
    style, script = _asset("report.css"), _script()
    drawing = library.scripts() if report.library else ()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_sources(style, *([library.STYLE] if report.library else []))}",
            f"script-src {_sources(script, *(each.text for each in drawing))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    template = _environment().get_template("report.html")
    # Our own files, not content: they hold no `</style>` and no `</script>`, which a test checks.
    return template.render(
        report=report,
        most=limits,
        policy=policy,
        drawing=drawing,
        shelves=packed({"texts": _places(report.texts), "traces": _places(report.traces)}),
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )


def _fitting(report: Report) -> tuple[Report, Limits]:
    """The report with as many of the worst cases as there is room for, and the widest limits that leave it."""
    bare = replace(report, library=False, listing="", texts=EMPTY, traces=EMPTY, cases=())
    chosen, standing = _LIMITS[-1], 0
    for chosen in _LIMITS:
        standing = elements(_rendered(bare, chosen))
        if standing <= _MOST_STANDING:
            break
    shown = 0
    for part in _elements_of_cases(_rendered(replace(bare, cases=report.cases), chosen)):
        standing += part
        if standing > _MOST_ELEMENTS and shown >= _FEWEST_CASES:
            break
        shown += 1
    return replace(report, cases=report.cases[:shown]), chosen


def _elements_of_cases(html: str) -> list[int]:
    """How many elements each of the worst cases is."""
    found = [1 + elements(part) for part in html.split('<details class="case"')[1:]]
    if found:  # after the last one the page goes on
        found[-1] = max(found[:-1], default=found[-1])
    return found


def _places(shelf: Shelf) -> dict[str, object]:
    return {"names": [chunk.name for chunk in shelf.chunks], "starts": list(shelf.starts), "end": shelf.end}


@lru_cache(maxsize=1)
def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tracekit_evaluators.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["folded"] = folded
    return made


def _seen(value: object) -> object:
    # The last door: whatever a template prints, markup of our own apart, has no character that cannot be seen.
    return shown(value) if type(value) is str else value


@lru_cache(maxsize=8)
def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _sources(*texts: str) -> str:
    return " ".join(f"'sha256-{_digest(text)}'" for text in texts)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
