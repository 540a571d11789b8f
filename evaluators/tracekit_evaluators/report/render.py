"""A report as one HTML file: templates, style and script inlined, their digests in the content security policy."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tracekit_evaluators.report import library
from tracekit_evaluators.report.packing import Shelf, packed
from tracekit_evaluators.report.payload import Report
from tracekit_evaluators.report.text import shown

_SCRIPTS = ("parts.js", "trace.js", "case.js", "drawing.js", "list.js")
_FOLDER = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The HTML of a report; the same report gives the same text, byte for byte.

    Everything that came from traces goes through autoescape. No request can leave the page: the policy allows nothing
    but this one style and this one script, and the library of charts, by digest.
    """
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
        policy=policy,
        drawing=drawing,
        shelves=packed({"texts": _places(report.texts), "traces": _places(report.traces)}),
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )


def _places(shelf: Shelf) -> dict[str, object]:
    return {"names": [chunk.name for chunk in shelf.chunks], "starts": list(shelf.starts), "end": shelf.end}


@lru_cache(maxsize=1)
def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tracekit_evaluators.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )


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
