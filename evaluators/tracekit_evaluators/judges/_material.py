"""The parts of a trace that a model is shown, and where a quote from them stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tracekit_evaluators.score import Evidence, clean
from tracekit_evaluators.subject import Subject, as_text


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


def material(subject: Subject, *, max_chars: int) -> list[Piece]:
    """What a model is shown of a subject: input, conversation, tools, documents, output, expectations.

    Args:
        subject: What is judged; it must have an output.
        max_chars: The most to show, in characters. The longest parts are cut, in the middle.

    Raises:
        MissingInput: The trace has no output.
    """
    pieces = [piece for piece in _pieces(subject) if piece.text.strip()]
    longest = _limit([len(piece.text) for piece in pieces], max_chars)
    return [
        Piece(piece.label, piece.span_id, piece.text, f"[{piece.label}]\n{_cut(piece.text, longest)}", piece.own)
        for piece in pieces
    ]


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


def _pieces(subject: Subject) -> Iterator[Piece]:
    trace = subject.trace
    root = next((span.span_id for span in trace.spans if span.parent_span_id is None), None)
    output = subject.output_text
    if trace.system_instructions:
        yield _piece("the agent's instructions", None, trace.system_instructions)
    turns = list(_turns(subject))
    if len(turns) > 2:
        yield from turns
    elif subject.input is not None:
        yield _piece("input", root, subject.input)
    for place, call in enumerate(subject.tool_calls, start=1):
        heading = f"tool call {place}: {call.name}"
        yield _piece(f"{heading}, arguments", call.span_id, call.arguments)
        word = "error" if call.status == "error" else "result"
        told = (call.error or {}).get("message") if call.result is None else call.result
        yield _piece(f"{heading}, {word}", call.span_id, told)
    for place, document in enumerate(subject.documents, start=1):
        yield _piece(f"document {place}: {document.id}", document.span_id, document.content)
    yield _piece("output", root, output)
    if subject.expected:
        yield Piece(
            "expected (for comparison, not part of the trace)", None, clean(as_text(dict(subject.expected))), own=False
        )


def _piece(label: str, span_id: str | None, value: object) -> Piece:
    where = f", span {span_id}" if span_id else ""
    return Piece(clean(label + where), span_id, "" if value is None else clean(as_text(value)))


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
            yield _piece(f"turn of the {message['role']}", None, "\n".join(texts))


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
