"""Subjects: what a judge is given, one trace with the case that it tried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.score import MissingInput

if TYPE_CHECKING:
    from tracekit_collector.trace import Document, ModelCall, ToolCall, Trace


@dataclass(frozen=True)
class Case:
    """The case that a trace tried.

    Args:
        id: What pairs it with other runs; `None` where the trace names none.
        repeat: Which try it is, from 0; `None` where the trace does not say.
        expected: Expectations by name (`output`, `tool_names`, `documents`, …); `None` where nobody stated any.
        tags: Words to slice by.
    """

    id: str | None = None
    repeat: int | None = None
    expected: Mapping[str, object] | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """One trace, assembled, with its case.

    Args:
        trace: What happened.
        case: What was tried and what was expected of it.

    Example:
        A judge takes a subject and returns a verdict::

            @judge
            def short(subject: Subject) -> bool:
                return len(subject.output_text) < 500
    """

    trace: Trace
    case: Case = Case()

    @property
    def input(self) -> str | None:
        """What the agent was asked, as text (JSON where it was not text); `None` where the trace does not say."""
        return self.trace.input

    @property
    def output(self) -> str | None:
        """What the agent answered, as text (JSON where it was not text); `None` where the trace does not say."""
        return self.trace.output

    @property
    def output_text(self) -> str:
        """The output, for a judge that cannot do without one.

        Raises:
            MissingInput: The trace has no output.
        """
        if self.trace.output is None:
            raise MissingInput("the trace has no output")
        return self.trace.output

    @property
    def tool_calls(self) -> Sequence[ToolCall]:
        """Each real tool call once, in order."""
        return self.trace.tool_calls

    @property
    def model_calls(self) -> Sequence[ModelCall]:
        """Each real model call once, in order."""
        return self.trace.model_calls

    @property
    def documents(self) -> Sequence[Document]:
        """The documents that were retrieved, in order."""
        return self.trace.documents

    @property
    def messages(self) -> Sequence[Mapping[str, object]]:
        """The conversation, as OpenTelemetry's GenAI messages."""
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
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def input_digest(value: object) -> str:
    """What pairs two traces whose case nobody named: SHA-256 of the input's canonical form, in hex."""
    return hashlib.sha256(canonical(value).encode("utf-8", "replace")).hexdigest()
