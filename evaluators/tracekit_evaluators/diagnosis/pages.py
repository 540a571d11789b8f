"""A trace to be read page by page: what a model may look at, each look no longer than a page, what is cut told.

The text of a page holds what others wrote; whoever shows it to a model fences it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.outline import brief, line

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, Trace

Arguments = Mapping[str, object]
_SEARCHED = 500  # characters of a line that are searched at once: what bounds a hostile pattern
_SECONDS = 2.0
_WIDE = re.compile(r"[*+]|\{\d*,\d*\}")

ACTIONS: dict[str, str] = {
    "outline": '{"from": 0} – the steps, one a line; "from" is the number of the first one to show',
    "span": '{"span_id": "…", "field": null, "offset": 0} – the texts of a step; field and offset to read on in one',
    "children": '{"span_id": "…"} – the steps right below a step',
    "search": '{"pattern": "…", "from": 0} – places whose text fits a regular expression, in any step',
    "tools": '{"from": 0} – every tool call: name, status, arguments, result',
    "errors": '{"from": 0} – every step that failed',
    "timing": "{} – where the time went: the longest steps",
    "session": '{"turn": null} – the other traces of the session; with a number, the outline of one of them',
}


class Pages:
    """A trace and its session, for a model to look at.

    Args:
        trace: The trace.
        max_chars: The longest page, in characters.
        session: Gives the traces of its session, in order; asked for at the first look at the session.
    """

    def __init__(self, trace: Trace, *, max_chars: int = 4_000, session: Callable[[], Sequence[Trace]] = tuple) -> None:
        self.material = Material(trace)
        self.max_chars = max_chars
        self._session = session
        self._pages: dict[str, Callable[[Arguments], str]] = {
            "outline": self._outline,
            "span": self._span,
            "children": self._children,
            "search": self._search,
            "tools": self._tools,
            "errors": self._errors,
            "timing": self._timing,
            "session": self._turns,
        }

    def look(self, action: str, arguments: Arguments) -> str:
        """What an action shows; for one that cannot be done, why.

        Args:
            action: One of `ACTIONS`.
            arguments: What it takes; anything else is left out of account.
        """
        if action not in ACTIONS:
            return f"There is no action {action!r:.60}. There are: {', '.join(ACTIONS)}, verdict."
        page = self._pages[action]
        return self._cut(page(arguments))

    @cached_property
    def _shown(self) -> list[Span]:
        return [span for span in self.material.trace.spans if span.same_as is None]

    def _outline(self, arguments: Arguments) -> str:
        trace = self.material.trace
        head = f"trace {trace.trace_id}: {trace.name}, {trace.status}, {len(self._shown)} steps"
        return self._paged([line(span, self.material) for span in self._shown], arguments, head)

    def _span(self, arguments: Arguments) -> str:
        span = self.material.spans.get(str(arguments.get("span_id")))
        if span is None:
            return self._no_span(arguments)
        texts = self.material.texts(span.span_id)
        field = arguments.get("field")
        if isinstance(field, str) and field:
            if field not in texts:
                return f"The step has no text {field!r:.60}. It has: {', '.join(texts) or 'none'}."
            return self._read_on(texts[field], field, _whole(arguments.get("offset")))
        each = max((self.max_chars - 300) // max(len(texts), 1) - 80, 100)
        parts = [line(span, self.material, width=0)]
        for name, text in texts.items():
            more = f" (first {each} of {len(text)} characters)" if len(text) > each else ""
            parts.append(f"[{name}]{more}\n{text[:each]}")
        return "\n".join(parts)

    def _read_on(self, text: str, field: str, offset: int) -> str:
        size = self.max_chars - 120
        piece = text[offset : offset + size]
        end = offset + len(piece)
        more = f"\n[more from offset {end}]" if end < len(text) else "\n[the end]"
        return f"[{field}, characters {offset} to {end} of {len(text)}]\n{piece}{more}"

    def _children(self, arguments: Arguments) -> str:
        span_id = str(arguments.get("span_id"))
        if span_id not in self.material.spans:
            return self._no_span(arguments)
        below = self.material.children.get(span_id, [])
        return self._paged([line(span, self.material) for span in below], arguments, f"{len(below)} steps below")

    def _search(self, arguments: Arguments) -> str:
        text = str(arguments.get("pattern") or "")
        fault = _fault(text)
        if fault is not None:
            return f"That cannot be searched for: {fault}."
        pattern = re.compile(text, re.IGNORECASE)
        until = time.monotonic() + _SECONDS
        hits: list[str] = []
        for span in self._shown:
            for name, told in self.material.texts(span.span_id).items():
                for offset in range(0, len(told), _SEARCHED - 100):
                    if time.monotonic() > until:
                        return self._paged(hits, arguments, f"{len(hits)} places so far; the search took too long")
                    match = pattern.search(told[offset : offset + _SEARCHED])
                    if match is not None:
                        begin = max(offset + match.start() - 60, 0)
                        around = brief(told[begin : offset + match.end() + 60], 200)
                        hits.append(
                            f"[{span.span_id}] {span.step} {span.name}, {name} at {offset + match.start()}: {around}"
                        )
                        break
        return self._paged(hits, arguments, f"{len(hits)} texts hold it")

    def _tools(self, arguments: Arguments) -> str:
        calls = self.material.trace.tool_calls
        lines = [
            f"{place}. {call.name} [{call.span_id or 'in messages'}] {call.status or 'not seen to be made'} "
            f"arguments: {brief(str(call.arguments), 120)} "
            + (f"error: {brief(str((call.error or {}).get('message')), 120)}" if call.status == "error" else "")
            + (f"result: {brief(str(call.result), 120)}" if call.result is not None else "")
            for place, call in enumerate(calls)
        ]
        return self._paged(lines, arguments, f"{len(calls)} tool calls")

    def _errors(self, arguments: Arguments) -> str:
        failed = [span for span in self._shown if span.failed]
        return self._paged([line(span, self.material) for span in failed], arguments, f"{len(failed)} steps failed")

    def _timing(self, _: Arguments) -> str:
        spans = sorted(self._shown, key=lambda span: -(span.duration_ns or 0))[:20]
        start = self.material.trace.start_ns
        lines = [
            f"{'unknown' if span.duration_ns is None else f'{span.duration_ns / 1e6:.0f} ms'} {span.step} {span.name} "
            f"[{span.span_id}], began after {(span.start_ns - start) / 1e6:.0f} ms"
            for span in spans
        ]
        return "\n".join(["the longest steps", *lines])

    def _others(self) -> list[Trace]:
        own = self.material.trace.trace_id
        return [trace for trace in self._session() if trace.trace_id != own]

    def _turns(self, arguments: Arguments) -> str:
        traces = self._others()
        turn = arguments.get("turn")
        if isinstance(turn, int) and not isinstance(turn, bool):
            if not 0 <= turn < len(traces):
                return f"There is no turn {turn}; the session has {len(traces)} other traces, from 0."
            other = Material(traces[turn])
            return "\n".join(line(span, other) for span in traces[turn].spans if span.same_as is None)
        lines = [
            f"{place}. {trace.trace_id} {trace.status} in: {brief(trace.input or '', 120)} "
            f"out: {brief(trace.output or '', 120)}"
            for place, trace in enumerate(traces)
        ]
        return self._paged(lines, arguments, f"{len(traces)} other traces of the session")

    def _no_span(self, arguments: Arguments) -> str:
        return f"There is no step {arguments.get('span_id')!r:.60}; ids stand in brackets in the outline."

    def _paged(self, lines: Sequence[str], arguments: Arguments, head: str) -> str:
        first = _whole(arguments.get("from"))
        left, kept = self.max_chars - len(head) - 60, 0
        for each in lines[first:]:
            left -= len(each) + 1
            if left < 0 and kept:
                break
            kept += 1
        rest = len(lines) - first - kept
        more = [f"[{rest} more: from {first + kept}]"] if rest > 0 else []
        return "\n".join([head, *lines[first : first + kept], *more])

    def _cut(self, text: str) -> str:
        if len(text) <= self.max_chars:
            return text
        return f"{text[: self.max_chars - 60]}\n[… {len(text) - self.max_chars + 60} characters left out]"


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _fault(pattern: str) -> str | None:
    """Why a pattern is not searched for: one that can take exponential time is refused before it is tried."""
    if not pattern:
        return "the pattern is empty"
    if len(pattern) > 200:
        return "the pattern is longer than 200 characters"
    if re.search(r"\)\s*(?:[*+]|\{\d*,?\d*\})", pattern) or re.search(r"\\[1-9]|\(\?P=|\(\?[<!=]", pattern):
        return "repeated groups, references and lookarounds are not allowed"
    if len(_WIDE.findall(pattern)) > 2:
        return "there are more than two repetitions in it"
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None
