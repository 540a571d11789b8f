"""From one span as it came to the derived columns of `spans`: only what that span's own data can tell.

Field by field, the filled value of the lowest rank wins, whichever dialect's key holds it. What needs the whole trace
(calls counted once, content that came in log records) is `tracekit_collector.trace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tracekit.attributes import STEP_KINDS
from tracekit_collector import fields, messages
from tracekit_collector.dialects import NOTHING, Dialect, Event, RawSpan, installed

__all__ = ["NORMALISER_VERSION", "Event", "RawSpan", "normalise", "resource_columns"]

NORMALISER_VERSION = 1

_VAGUE = frozenset({"chain", "task", "span"})  # a more specific word of a lower rank beats these
_SHOWS_MESSAGES = frozenset({"agent", "llm", "chain", "task", "span"})
_NO_RANK = 1_000_000
_ERROR_KEYS = ("exception.type", "error.type")


def normalise(span: RawSpan, *, known: Mapping[str, object] | None = None) -> dict[str, object]:
    """The derived columns of a span.

    Args:
        span: The span as it came.
        known: `resource_columns(span.resource)`, where the caller has it already.

    Returns:
        Columns of `spans` that are known, `step`, `dialect` and `normaliser_version` among them; never a guess:
        a count or cost that nobody sent is absent.

    Example:
        >>> span = RawSpan("chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 57})
        >>> columns = normalise(span)
        >>> columns["step"], columns["input_tokens"], columns.get("output_tokens")
        ('llm', 57, None)
    """
    index = _index()
    best: fields.Best = {}
    steps = _Steps()
    places_of, steps_of = index.places.get, index.steps
    for key, value in span.attributes.items():
        for field, rank, read in places_of(key, ()):
            held = best.get(field)
            if held is None or rank < held[0]:
                fields.offer(best, field, rank, read(value))
        if key in steps_of and isinstance(value, str):
            for rank, meanings in steps_of[key]:
                steps.offer(meanings.get(value.lower()), rank)
    words = {key.partition(".")[0] for key in span.attributes}
    for lift in index.lifts:
        if not lift.words.isdisjoint(words):
            for field, value in lift.read(span).items():
                if field == "step":
                    steps.correct(value, lift.rank)
                else:
                    fields.offer(best, field, lift.rank, _read(field, value))
    columns: dict[str, object] = dict(resource_columns(span.resource) if known is None else known)
    columns.update({field: value for field, (_, value) in best.items() if value is not NOTHING})
    columns["step"] = steps.decided() or _step_by_evidence(span, columns)
    _finish(span, columns)
    columns["dialect"] = next((dialect.name for dialect in _dialects() if dialect.recognises(span)), None)
    columns["normaliser_version"] = NORMALISER_VERSION
    return columns


class _Steps:
    """What a span's keys say about its step: the lowest rank wins, but any specific word beats a vague one."""

    def __init__(self) -> None:
        self._specific: tuple[int, str] = (_NO_RANK, "")
        self._vague: tuple[int, str] = (_NO_RANK, "")

    def offer(self, step: str | None, rank: int) -> None:
        if step is None:
            return
        if step in _VAGUE:
            self._vague = min(self._vague, (rank, step))
        else:
            self._specific = min(self._specific, (rank, step))

    def correct(self, step: object, rank: int) -> None:
        """Take the word of a lift that knows better than the keys of higher ranks, be it vague or not."""
        if isinstance(step, str) and rank < min(self._specific[0], self._vague[0]):
            self._specific = (rank, step)

    def decided(self) -> str:
        return self._specific[1] or self._vague[1]


def resource_columns(resource: Mapping[str, object]) -> dict[str, object]:
    """The columns that a resource's attributes tell for all its spans and log records."""
    best: fields.Best = {}
    places = _index().resource
    for key, value in resource.items():
        for field, rank, read in places.get(key, ()):
            fields.offer(best, field, rank, read(value))
    return {field: value for field, (_, value) in best.items()}


@lru_cache
def _dialects() -> tuple[Dialect, ...]:
    return installed()


@lru_cache
def _index() -> fields.Index:
    return fields.index_of(_dialects())


def _read(field: str, value: object) -> object:
    return value if value is None or value is NOTHING else fields.READERS[field](value)


def _step_by_evidence(span: RawSpan, columns: Mapping[str, object]) -> str:
    """What a step is when no key says so: by what it carries; a lone model key is no evidence of a model call."""
    attributes = span.attributes
    if ("tool_name" in columns or "tool_call_id" in columns) and "model_requested" not in columns:
        return "tool"
    if "documents" in columns:
        return "retriever"
    if "gen_ai.embeddings.dimension.count" in attributes:
        return "embedding"
    says_model = "model_requested" in columns or "model" in columns
    says_more = "input_tokens" in columns or "output_tokens" in columns or "output_messages" in columns
    if says_model and says_more:
        return "llm"
    return "span"


def _finish(span: RawSpan, columns: dict[str, object]) -> None:
    """What follows from the fields together: texts to show, canonical counts, the error's type, the agent's name."""
    step = columns["step"]
    if step not in STEP_KINDS:
        columns["step"] = step = "span"
    _show_messages(step, columns)
    if step == "tool":
        _show_tool(span, columns)
    _count_tokens(columns)
    if "cost_usd" in columns:
        columns["cost_source"] = "reported"
    if "error_type" not in columns and span.status == "error":
        error_type = _exception_type(span)
        if error_type is not None:
            columns["error_type"] = error_type
    if step == "agent" and "agent_name" not in columns:
        name = _agent_name(span.name)
        if name:
            columns["agent_name"] = name


def _show_messages(step: str, columns: dict[str, object]) -> None:
    given, answered = columns.get("input_messages"), columns.get("output_messages")
    if isinstance(given, messages.Column):
        columns["input_messages"] = given.text
        question = messages.question_of(given.messages)
        if question is not None and step in _SHOWS_MESSAGES:
            columns["input"] = question
    if isinstance(answered, messages.Column):
        columns["output_messages"] = answered.text
        answer = messages.answer_of(answered.messages)
        if answer is not None and step in _SHOWS_MESSAGES:
            columns["output"] = answer


def _show_tool(span: RawSpan, columns: dict[str, object]) -> None:
    for shown, own in (("input", "tool_arguments"), ("output", "tool_result")):
        if own in columns:
            columns[shown] = columns[own]
        elif shown in columns:
            columns[own] = columns[shown]
    if "tool_name" not in columns:
        columns["tool_name"] = span.name.removeprefix("execute_tool ") or None


def _count_tokens(columns: dict[str, object]) -> None:
    """Input includes what was cached: a writer whose cached tokens exceed its input leaves them out."""
    given = columns.get("input_tokens")
    cached, written = columns.get("cached_tokens"), columns.get("cache_write_tokens")
    beside = sum(part for part in (cached, written) if isinstance(part, int))
    if isinstance(given, int) and beside > given:
        columns["input_tokens"] = given + beside


def _exception_type(span: RawSpan) -> str | None:
    for event in reversed(span.events):
        if event.name == "exception":
            for key in _ERROR_KEYS:
                found = fields.text(event.attributes.get(key))
                if found:
                    return found
    return None


def _agent_name(name: str) -> str:
    name = name.removeprefix("invoke_agent ").removeprefix("create_agent ")
    for ending in (".agent", ".run"):
        name = name.removesuffix(ending)
    return "" if name in ("invoke_agent", "create_agent", "agent run") else name
