"""A trace in few words: one line a step, cut to fit, with what was left out told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.material import Material

if TYPE_CHECKING:
    from tracekit_collector.trace import Span

_SPACES = re.compile(r"\s+")


def line(span: Span, material: Material, *, width: int = 160) -> str:
    """One step in one line: depth, kind, name, id, time, error, and the beginnings of what it was given and gave.

    Args:
        span: The step.
        material: Its trace.
        width: How much of input and output together is shown, in characters.
    """
    texts = material.texts(span.span_id)
    took = "" if span.duration_ns is None else f" {span.duration_ns / 1e6:.0f} ms"
    words = f"{'  ' * min(span.depth, 20)}{span.step} {span.name} [{span.span_id}]{took}"
    if span.failed:
        words += f" FAILED {brief(texts.get('error') or span.error_type or '', width // 2)!r}"
    given = texts.get("tool_arguments") or texts.get("input") or ""
    gave = texts.get("tool_result") or texts.get("output") or texts.get("output_messages") or ""
    if given.strip() and span.step != "llm":
        words += f" in: {brief(given, width // 2)}"
    return words + (f" out: {brief(gave, width // 2)}" if gave.strip() else "")


def outline(material: Material, *, spans: Sequence[Span] | None = None, max_chars: int = 6_000) -> str:
    """The steps of a trace, one a line; where they do not fit, those in the middle are left out, and that is said.

    Args:
        material: The trace.
        spans: Which steps; all that are not told twice when not given.
        max_chars: The most to show.
    """
    shown = [span for span in material.trace.spans if span.same_as is None] if spans is None else list(spans)
    for width in (160, 80, 0):
        lines = [line(span, material, width=width) for span in shown]
        if sum(len(each) + 1 for each in lines) <= max_chars:
            return "\n".join(lines)
    head: list[str] = []
    tail: list[str] = []
    left = max_chars - 60
    while lines:
        side, each = (head, lines.pop(0)) if len(head) <= len(tail) else (tail, lines.pop())
        left -= len(each) + 1
        if left < 0:
            lines.append(each)
            break
        side.append(each)
    return "\n".join([*head, f"[… {len(lines)} steps left out …]", *reversed(tail)])


def brief(text: str, longest: int) -> str:
    """A text in one line, cut at its end."""
    flat = _SPACES.sub(" ", text[: 4 * longest + 100]).strip()
    return flat if len(flat) <= longest else flat[: max(longest - 1, 0)] + "…"


def cut(text: str, longest: int) -> str:
    """A text cut in its middle, with how much was left out."""
    if len(text) <= longest:
        return text
    half = max(longest // 2, 1)
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
