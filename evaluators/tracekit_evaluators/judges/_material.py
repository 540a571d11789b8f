"""The parts of a subject that a model is shown, and where a quote from them stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracekit_evaluators.score import Evidence, clean
from tracekit_evaluators.subject import Subject, as_text

if TYPE_CHECKING:
    from tracekit_collector.trace import Span

_STEPS = ("llm", "tool", "retriever", "agent", "workflow", "task", "chain", "guardrail")
_STEP_TEXT = 1_500
EVERYTHING = ("instructions", "conversation", "tools", "documents", "output", "expected")
"""What is shown unless a judge asks for other parts."""


@dataclass(frozen=True)
class Piece:
    """One part of what is judged.

    Args:
        label: What it is.
        span_id: The span that it stands in; `None` where no single one holds it.
        text: Its content, whole.
        shown: Its content with its heading, as the model sees it.
        own: Whether it comes from the trace; what is expected does not.
    """

    label: str
    span_id: str | None
    text: str
    shown: str = ""
    own: bool = True


def material(subject: Subject, *, max_chars: int, show: Sequence[str] = EVERYTHING) -> list[Piece]:
    """What a model is shown of a subject: input, conversation, tools, documents, output, expectations.

    Args:
        subject: What is judged; it must have an output where that is shown.
        max_chars: The most to show, in characters. The longest parts are cut, in the middle.
        show: Which parts, in order: `instructions`, `conversation`, `offered` (tools), `tools` (called), `steps`,
            `documents`, `output`, `expected`, or `session`: all turns with their tools and documents.

    Raises:
        MissingInput: The trace has no output.
    """
    pieces = [piece for part in show for piece in _PARTS[part](subject) if piece.text.strip()]
    return fitted(pieces, max_chars)


def fitted(pieces: Sequence[Piece], max_chars: int) -> list[Piece]:
    """Pieces with what the model sees of each, all together no longer than a number of characters."""
    longest = _limit([len(piece.text) for piece in pieces], max_chars)
    return [replace(piece, shown=f"[{piece.label}]\n{_cut(piece.text, longest)}") for piece in pieces]


def evidence(quote: str, span_id: str | None, pieces: Sequence[Piece]) -> Evidence | None:
    """The evidence that a quote is, at the span that it was said to stand in or else where it does stand.

    Args:
        quote: What the model copied.
        span_id: Where it says that this stands.
        pieces: What it was shown.

    Returns:
        `None` where the quote stands nowhere in the trace, word for word.
    """
    holding = [piece for piece in pieces if piece.own and quote in piece.text]
    if not holding:
        return None
    named = [piece for piece in holding if piece.span_id == span_id]
    return Evidence((named or holding)[0].span_id, quote)


def count(subject: Subject, over: str) -> int:
    """How many of its numbered elements a subject shows: `documents`, `tools`, `steps` or `session` (turns).

    Those without content are shown too, so that each number is a place.
    """
    if over == "session":
        return len(subject.turns)
    return {"documents": len(subject.documents), "tools": len(subject.tool_calls), "steps": len(_acting(subject))}[over]


def piece(label: str, span_id: str | None, value: object, *, own: bool = True) -> Piece:
    """A part of a subject, with the span named in its heading."""
    where = f", span {span_id}" if span_id else ""
    return Piece(clean(label + where), span_id, "" if value is None else clean(as_text(value)), own=own)


def _root(subject: Subject) -> str | None:
    return next((span.span_id for span in subject.trace.spans if span.parent_span_id is None), None)


def _instructions(subject: Subject) -> Iterator[Piece]:
    yield piece("the agent's instructions", None, subject.trace.system_instructions)


def _conversation(subject: Subject) -> Iterator[Piece]:
    turns = list(_turns(subject))
    if len(turns) > 2 and subject.span is None:
        yield from turns
    else:
        yield piece("input", _root(subject) if subject.span is None else subject.span.span_id, subject.input)


def _tools(subject: Subject) -> Iterator[Piece]:
    for place, call in enumerate(subject.tool_calls, start=1):
        heading = f"tool call {place}: {call.name}"
        yield piece(f"{heading}, arguments", call.span_id, "(none)" if call.arguments is None else call.arguments)
        word = "error" if call.status == "error" else "result"
        told = (call.error or {}).get("message") if call.result is None else call.result
        yield piece(f"{heading}, {word}", call.span_id, told)


def _offered(subject: Subject) -> Iterator[Piece]:
    offered: dict[str, Mapping[str, object]] = {}
    for trace in subject.turns:
        for span in trace.spans:
            for each in span.offered:
                offered.setdefault(as_text(each.get("name") or each), each)
    for name, definition in offered.items():
        yield piece(f"tool offered: {name}", None, definition)


def _steps(subject: Subject) -> Iterator[Piece]:
    for place, span in enumerate(_acting(subject), start=1):
        name = f"step {place}: {span.step} {span.name}" + (f" of {span.model}" if span.model else "")
        failed = f"\nfailed: {span.error_message or span.error_type or 'error'}" if span.failed else ""
        given = _cut(span.input or "(unknown)", _STEP_TEXT)
        yield piece(name, span.span_id, f"in: {given}\nout: {_cut(span.output or '(nothing)', _STEP_TEXT)}{failed}")


def _acting(subject: Subject) -> list[Span]:
    return [
        span
        for trace in subject.turns
        for span in trace.spans
        if span.step in _STEPS and span.same_as is None and span.parent_span_id is not None
    ]


def _documents(subject: Subject) -> Iterator[Piece]:
    for place, document in enumerate(subject.documents, start=1):
        content = "(no content is recorded)" if document.content in (None, "") else document.content
        yield piece(f"document {place}: {document.id}", document.span_id, content)


def _output(subject: Subject) -> Iterator[Piece]:
    yield piece("output", _root(subject) if subject.span is None else subject.span.span_id, subject.output_text)


def _expected(subject: Subject) -> Iterator[Piece]:
    if subject.expected:
        yield piece("expected (for comparison, not part of the trace)", None, dict(subject.expected), own=False)


def _session(subject: Subject) -> Iterator[Piece]:
    for place, trace in enumerate(subject.turns, start=1):
        root = next((span.span_id for span in trace.spans if span.parent_span_id is None), None)
        yield piece(f"turn {place}, the user", root, trace.input)
        for call in trace.tool_calls:
            told = (call.error or {}).get("message") if call.result is None else call.result
            words = f"{as_text(call.arguments)} -> {call.status}: {as_text(told)}"
            yield piece(f"turn {place}, tool call {call.name}", call.span_id, words)
        for document in trace.documents:
            yield piece(f"turn {place}, document {document.id}", document.span_id, document.content)
        yield piece(f"turn {place}, the agent", root, trace.output or "(no answer)")


_PARTS: dict[str, Callable[[Subject], Iterator[Piece]]] = {
    "instructions": _instructions,
    "conversation": _conversation,
    "offered": _offered,
    "tools": _tools,
    "steps": _steps,
    "documents": _documents,
    "output": _output,
    "expected": _expected,
    "session": _session,
}


def _turns(subject: Subject) -> Iterator[Piece]:
    """The words of users and the agent; tool calls have pieces of their own."""
    for message in subject.messages:
        parts = message.get("parts")
        texts = [
            part["content"]
            for part in (parts if isinstance(parts, list) else [])
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("content"), str)
        ]
        if texts and message.get("role") in ("user", "assistant"):
            yield piece(f"turn of the {message['role']}", None, "\n".join(texts))


def _limit(sizes: Sequence[int], total: int) -> int:
    """The length to which parts are cut so that all fit: short ones whole, the rest sharing evenly."""
    left, rest = total, sorted(sizes)
    while rest and rest[0] * len(rest) <= left:
        left -= rest.pop(0)
    return max(200, left // len(rest)) if rest else total


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
