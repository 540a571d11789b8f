"""The chart library that a report carries to draw its charts anew: Observable Plot and d3, packed, with their digests.

It is unpacked and run only when a reader filters the cases. The page's policy allows each file by the digest of its
text, and the one style element that Plot puts into every chart by the digest of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tracekit_evaluators.report.packing import packed

FILES = ("d3.min.js", "plot.umd.min.js")  # in the order in which they have to run
CLASS = "plotted"
# What Plot 0.6.17 writes into a chart whose class name is CLASS.
STYLE = f""":where(.{CLASS}) {{
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}}
:where(.{CLASS} text),
:where(.{CLASS} tspan) {{
  white-space: pre;
}}"""
FOLDER = Path(__file__).parent / "vendor"


@dataclass(frozen=True)
class Script:
    """A vendored script: the id of its element in the page, its text, and the text packed."""

    name: str
    text: str
    data: str


@lru_cache(maxsize=1)
def scripts() -> tuple[Script, ...]:
    """The library's scripts, in the order in which they have to run."""
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in FILES]
    return tuple(Script(f"library-{place}", text, packed(text)) for place, text in enumerate(texts))


@lru_cache(maxsize=1)
def size() -> int:
    """How many bytes of the page the packed scripts take."""
    return sum(len(script.data) for script in scripts())
