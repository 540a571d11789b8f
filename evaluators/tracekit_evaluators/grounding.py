"""What an agent was told before it called a tool, and whether a value stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.trajectory import Step, steps_of

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ZEROS = re.compile(r"\.0+$|(\.\d*?)0+$")
_TOLD = ("user", "system", "tool", "developer")


def words_of(text: str) -> str:
    """A text as words and numbers with a space around each: what two ways to write one value have in common.

    Example:
        >>> words_of("It's $1,250.50 for A-7")
        ' it s 1250.5 for a 7 '
    """
    found = []
    for token in _TOKEN.findall(text.casefold()):
        if token[0].isdigit():
            token = _GROUPED.sub("", token)  # noqa: PLW2901 - the same token
            if "." in token:
                token = _ZEROS.sub(r"\1", token)  # noqa: PLW2901
        found.append(token)
    return f" {' '.join(found)} "


def literals(arguments: object, *, max_words: int = 6, key: str = "") -> Iterator[tuple[str, str | int | float]]:
    """The texts and numbers in arguments, with the names that they stand under.

    Args:
        arguments: Decoded arguments.
        max_words: The longest texts to give, in words.
        key: The name that these stand under.

    Example:
        >>> list(literals({"user": "ann", "seats": ["1A", "2B"], "confirm": True}))
        [('user', 'ann'), ('seats', '1A'), ('seats', '2B')]
    """
    if isinstance(arguments, Mapping):
        for name, value in arguments.items():
            yield from literals(value, max_words=max_words, key=str(name))
    elif isinstance(arguments, (list, tuple)):
        for value in arguments:
            yield from literals(value, max_words=max_words, key=key)
    elif isinstance(arguments, str):
        count = len(arguments.split())
        if 1 <= count <= max_words and len(arguments.strip()) > 1:
            yield key, arguments
    elif isinstance(arguments, (int, float)) and not isinstance(arguments, bool) and abs(arguments) >= 10:
        yield key, arguments


class Known:
    """What the agent of a subject was told, by time.

    Args:
        subject: What is judged.
    """

    def __init__(self, subject: Subject) -> None:
        self._steps = steps_of(subject)
        self._told: dict[str, str] = {}
        self._pieces: list[tuple[int, str]] = []
        for trace in subject.turns:
            self._pieces += [(when, self._words(text)) for when, text in _told(trace)]
        for step in self._steps:
            end = step.start_ns + (step.duration_ns or 0)
            self._pieces += [(end, self._words(as_text(step.result)))] if step.result is not None else []
        self._at: tuple[int, str] = (-1, "")

    def before(self, step: Step, value: str | float) -> bool:
        """Whether a value stands in what was told before a step.

        Args:
            step: The step.
            value: A text or number.
        """
        wanted = words_of(str(value))
        return wanted == "  " or wanted in self._known(step)

    def _known(self, step: Step) -> str:
        if self._at[0] != step.start_ns:
            self._at = (step.start_ns, "|".join(text for when, text in self._pieces if when <= step.start_ns))
        return self._at[1]

    def _words(self, text: str) -> str:
        found = self._told.get(text)
        if found is None:
            found = self._told[text] = words_of(text)
        return found


def _told(trace: Trace) -> Iterator[tuple[int, str]]:
    """Each text that came from outside with when it was first there."""
    for text in (trace.input, trace.system_instructions):
        if text:
            yield trace.start_ns, text
    starts = {span.span_id: span.start_ns + (span.duration_ns or 0) for span in trace.spans}
    for document in trace.documents:
        yield starts.get(document.span_id, trace.start_ns), as_text(document.content)
    seen: set[str] = set()
    for call in trace.model_calls:
        for message in call.input_messages:
            if message.get("role") not in _TOLD:
                continue
            for text in texts_of(message):
                if text not in seen:
                    seen.add(text)
                    yield call.start_ns, text


def texts_of(message: Mapping[str, object]) -> Iterator[str]:
    """The texts of a message: what it says, and what tools gave back.

    Args:
        message: A message in OpenTelemetry's schema.
    """
    parts = message.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping):
            told = part.get("content") if part.get("type") == "text" else part.get("response")
            if told is not None:
                yield as_text(told)
