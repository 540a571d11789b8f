"""Subjects: what a judge is given: a trace with the case that it tried, a span of it, a session, or two tries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tracekit_evaluators.score import MissingInput

if TYPE_CHECKING:
    from tracekit_collector.trace import Document, ModelCall, Span, ToolCall, Trace


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


@dataclass(frozen=True)
class Case:
    """The case that a trace tried.

    Args:
        id: What pairs it with other runs; `None` where the trace names none.
        repeat: Which try it is, from 0; `None` where the trace does not say.
        expected: Expectations by name (`output`, `tool_names`, `documents`, …); `None` where nobody stated any.
        tags: Words to slice by.
        weight: How much it counts beside the others, above 0.
        golden: Whether it must always pass.
    """

    id: str | None = None
    repeat: int | None = None
    expected: Mapping[str, object] | None = None
    tags: tuple[str, ...] = ()
    weight: float = 1.0
    golden: bool = False


@dataclass(frozen=True)
class Subject:
    """What is judged: a trace, assembled, with its case; or a span of it, the session that it ends, two tries.

    Args:
        trace: What happened; the last trace of the session where a session is judged.
        case: What was tried and what was expected of it.
        span: The span that is judged; `None` where it is the trace or more.
        session: The traces of the session, in order, where a session is judged.
        other: The other try at the same case, where two are compared.
        earlier: What stands already for this target, by score name: the newest value (number or label) of each. Read
            for judges that declare `earlier…` among their needs.
        sample: Which of several independent verdicts is asked for, from 0.

    Example:
        A judge takes a subject and returns a verdict::

            @judge
            def short(subject: Subject) -> bool:
                return len(subject.output_text) < 500
    """

    trace: Trace
    case: Case = Case()
    span: Span | None = None
    session: tuple[Trace, ...] = ()
    other: Subject | None = None
    earlier: Mapping[str, float | str] = field(default_factory=dict)
    sample: int = 0

    @property
    def target(self) -> Literal["trace", "span", "session"]:
        """What the scores are of. Those of a pair are of the trace, as it does beside the other one."""
        if self.span is not None:
            return "span"
        return "session" if self.session else "trace"

    @property
    def target_id(self) -> str:
        """The id of what the scores are of, among all of its kind."""
        if self.span is not None:
            return f"{self.trace.trace_id}/{self.span.span_id}"
        return str(self.trace.session_id) if self.session else self.trace.trace_id

    @property
    def turns(self) -> Sequence[Trace]:
        """The traces of the session, in order; the one trace where no session is judged."""
        return self.session or (self.trace,)

    @property
    def input(self) -> str | None:
        """What the agent (or the span's step) was given, as text; `None` where that is unknown."""
        if self.span is not None:
            return self.span.input
        return self.turns[0].input

    @property
    def output(self) -> str | None:
        """What the agent (or the span's step) answered, as text; `None` where that is unknown."""
        return self.trace.output if self.span is None else self.span.output

    @property
    def output_text(self) -> str:
        """The output, for a judge that cannot do without one.

        Raises:
            MissingInput: There is none.
        """
        if self.output is None:
            raise MissingInput("the trace has no output" if self.span is None else "the span has no output")
        return self.output

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """Each real tool call once, in order; the span's own where a span is judged."""
        if self.span is not None:
            return [call for call in self.trace.tool_calls if call.span_id == self.span.span_id]
        if self.session:
            return [call for trace in self.session for call in trace.tool_calls]
        return self.trace.tool_calls

    @property
    def model_calls(self) -> Sequence[ModelCall]:
        """Each real model call once, in order; the span's own where a span is judged."""
        if self.span is not None:
            return [call for call in self.trace.model_calls if call.span_id == self.span.span_id]
        if self.session:
            return [call for trace in self.session for call in trace.model_calls]
        return self.trace.model_calls

    @property
    def documents(self) -> Sequence[Document]:
        """The documents that were retrieved, in order."""
        if self.session:
            return [document for trace in self.session for document in trace.documents]
        return self.trace.documents

    @property
    def messages(self) -> Sequence[Mapping[str, object]]:
        """The conversation, as OpenTelemetry's GenAI messages; a session's is that of its last trace."""
        return self.trace.messages

    @property
    def expected(self) -> Mapping[str, object] | None:
        """The case's expectations; `None` where nobody stated any."""
        return self.case.expected

    def expect(self, *names: str) -> object:
        """The first of these expectations that the case has.

        Args:
            names: Names to look for, the best first.

        Raises:
            MissingInput: The case has none of them.
        """
        expected = self.case.expected
        for name in names:
            if expected is not None and expected.get(name) is not None:
                return expected[name]
        wanted = " or ".join(repr(name) for name in names)
        if expected is None:
            raise MissingInput(f"the case has no expectations, and {wanted} is needed; give a dataset or expected_from")
        raise MissingInput(f"the case expects {', '.join(sorted(expected)) or 'nothing'}, but {wanted} is needed")


def as_text(value: object) -> str:
    """A decoded value as text: itself where it is text, else JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def canonical(value: object) -> str:
    """One text for all equal JSON values: keys sorted, no spaces; text that is JSON counts as what it says.

    Example:
        >>> canonical({"b": 1, "a": [2.0]}) == canonical('{"a":[2.0],"b":1}')
        True
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return json.dumps(value)
    return _canonical(value)


def input_digest(value: object) -> str:
    """What pairs two traces whose case nobody named: SHA-256 of the input's canonical form, in hex."""
    return hashlib.sha256(canonical(value).encode("utf-8", "replace")).hexdigest()
