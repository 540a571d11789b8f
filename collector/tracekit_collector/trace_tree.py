"""A trace for the terminal: its facts on top, then its spans as a tree.

What models and users wrote is shown as text alone: no control code reaches the terminal, no markup is read.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from tracekit_collector.terminal import visible
from tracekit_collector.trace import Span, Trace

_WIDTH_IN_A_PIPE = 200
_MARKS = {"ok": ("✓", "green"), "error": ("✗", "bold red"), "unset": ("·", "dim")}
_STEP_COLORS = {"agent": "magenta", "llm": "cyan", "tool": "yellow", "retriever": "blue"}


def print_trace(trace: Trace, *, width: int | None = None) -> None:
    """Print a trace to stdout: name, step, duration, tokens, status, error and previews of each span.

    Args:
        trace: The trace.
        width: Characters of a preview; what fits the terminal when not given.
    """
    terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        width=None if terminal else _WIDTH_IN_A_PIPE,
        force_terminal=terminal,
        highlight=False,
        emoji=False,
        soft_wrap=not terminal,
    )
    preview = width or max(40, console.width - 24)
    for line in _facts(trace, preview):
        console.print(line)
    forest = Tree("", hide_root=True, guide_style="dim")
    places: dict[int, Tree] = {-1: forest}
    for span in trace.spans:
        branch = places.get(span.depth - 1, forest).add(_branch(span, preview))
        places[span.depth] = branch
    console.print(forest)


def _facts(trace: Trace, preview: int) -> list[Text]:
    mark, style = _MARKS[trace.status]
    head = Text.assemble((f"{mark} ", style), (visible(trace.name), "bold"), f"  {_duration(trace.duration_ns)}")
    head.append(f"  {trace.trace_id}", "dim")
    lines = [head]
    version = f"@{trace.agent_version}" if trace.agent_version else ""
    facts = {
        "agent": trace.agent_name and trace.agent_name + version,
        "run": trace.run_id,
        "session": trace.session_id,
        "user": trace.user_id,
        "steps": ", ".join(f"{count} {step}" for step, count in trace.steps.items()),
        "tokens": _tokens(trace.usage.input_tokens, trace.usage.output_tokens),
        "cost": None if trace.cost_usd is None else f"${trace.cost_usd:.6g}",
        "input": trace.input,
        "output": trace.output,
    }
    lines += [_line(f"{name:<8}", value, preview) for name, value in facts.items() if value]
    if trace.error is not None:
        told = ": ".join(part for part in (trace.error["type"], trace.error["message"]) if part)
        lines.append(_line("error   ", told or "no message", preview, "red"))
    return lines


def _branch(span: Span, preview: int) -> Text:
    mark, style = _MARKS["error" if span.failed else span.status if span.status in _MARKS else "unset"]
    line = Text.assemble((f"{mark} ", style), visible(span.name), " ")
    line.append(span.step, _STEP_COLORS.get(span.step, "dim"))
    line.append(f"  {_duration(span.duration_ns)}", "dim")
    tokens = _tokens(span.input_tokens, span.output_tokens)
    if tokens:
        line.append(f"  {tokens}", "dim")
    if span.same_as:
        line.append(f"  the same call as {span.same_as}", "dim italic")
        return line
    if span.error_type or span.error_message:
        told = ": ".join(part for part in (span.error_type, span.error_message) if part)
        line.append("\n")
        line.append(_line("error ", told, preview, "red"))
    for name, value in (("in  ", span.input), ("out ", span.output)):
        if value:
            line.append("\n")
            line.append(_line(name, value, preview))
    return line


def _line(name: str, value: str, preview: int, style: str = "") -> Text:
    shown = visible(value[: preview + 1])
    return Text.assemble((name + " ", "dim"), (shown if len(shown) <= preview else shown[: preview - 1] + "…", style))


def _tokens(given: int | None, returned: int | None) -> str:
    parts = [f"{count:,} {way}" for count, way in ((given, "in"), (returned, "out")) if count is not None]
    return " / ".join(parts)


def _duration(duration_ns: int | None) -> str:
    if duration_ns is None:
        return "–"
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if duration_ns >= size:
            return f"{duration_ns / size:.3g} {unit}"
    return f"{duration_ns} ns"
