"""What is told besides spans: scores and agent versions, as log records that travel as spans do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace
from opentelemetry.context import Context

from tracekit import _guard
from tracekit import attributes as names
from tracekit._capture import clean_text, to_json
from tracekit._runtime import runtime
from tracekit._spans import detached

if TYPE_CHECKING:
    from tracekit.agent_version import AgentVersionInfo, Code, Tool

Source = Literal["code", "llm", "human", "environment", "user"]
Direction = Literal["maximize", "minimize", "neutral"]
_GIVEN = {
    "entry_point": names.VERSION_ENTRY_POINT,
    "tools": names.VERSION_TOOLS,
    "models": names.VERSION_MODELS,
    "python": names.VERSION_PYTHON,
    "signature": names.VERSION_SIGNATURE,
}


def score(
    name: str,
    value: bool | float | str | None = None,  # noqa: FBT001 - a score's value may be a yes or no
    *,
    label: str | None = None,
    explanation: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    source: Source = "user",
    annotator: str | None = None,
    direction: Direction | None = None,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Score the trace that this code runs in, or another one; a score that cannot be kept is logged, never raised.

    Args:
        name: What is scored, such as `helpful`.
        value: A number, a yes or no, or a label as text.
        label: A word for the value, besides a number.
        explanation: Why.
        trace_id: The trace that is scored, 32 hex digits; the current one when not given.
        span_id: The span that is scored, 16 hex digits; the whole trace when not given.
        source: Whose word it is.
        annotator: Who it was, where a person scored.
        direction: Whether more is better.
        metadata: More facts.

    Example:
        >>> import tracekit
        >>> with tracekit.span("answer"):
        ...     tracekit.score("helpful", True, explanation="the user said thanks")
    """
    try:
        runtime.start()
        if runtime.tracer is None:
            return
        context = _scored(trace_id, span_id)
        if context is None:
            _guard.note("score", f"the score {name!r} has no trace: call it inside a span, or give trace_id")
            return
        attributes = _score_attributes(name, value, label)
        if attributes is None:
            _guard.note("score", f"the score {name!r} has the value {value!r}; give a finite number, a bool or a text")
            return
        more: dict[str, object] = {
            names.SCORE_TARGET: "trace" if span_id is None else "span",
            names.SCORE_SOURCE: source,
            names.SCORE_EXPLANATION: None if explanation is None else clean_text(str(explanation)),
            names.SCORE_ANNOTATOR: None if annotator is None else clean_text(str(annotator)),
            names.SCORE_DIRECTION: direction,
            names.SCORE_METADATA: None if metadata is None else to_json(metadata),
        }
        attributes.update({key: fact for key, fact in more.items() if fact is not None})
        runtime.emit(names.SCORE_EVENT, attributes, context)
    except Exception:  # noqa: BLE001 - never into the user's code
        _guard.fault("scoring")


def register_agent(
    name: str,
    *,
    version: str | None = None,
    parameters: Mapping[str, object] | None = None,
    prompts: Mapping[str, object] | None = None,
    code: Mapping[str, object] | Code | Iterable[Code] | None = None,
    dependencies: Mapping[str, str] | Iterable[str] | None = None,
    entry_point: str | Callable[..., Any] | None = None,
    tools: Iterable[Tool] | None = None,
    models: Iterable[str] | None = None,
    python: str | None = None,
    signature: Mapping[str, object] | None = None,
    alias: str | None = None,
) -> AgentVersionInfo:
    """Register the agent version that this process runs; the spans that follow carry its name and label.

    Args:
        name: The agent's name.
        version: What to call the version; the digest's first 12 digits when not given.
        parameters: Settings that change what it does, such as a model's name.
        prompts: Its prompts, by name.
        code: Functions, classes, modules, files or folders whose source counts; the git state when not given.
        dependencies: Versions of what it uses; every installed distribution when not given.
        entry_point: What is called to run it: `module:callable`, or the callable. This and what follows counts where it
            is given.
        tools: Its tools: functions, or definitions as models are given them.
        models: Names of its models.
        python: The Python that it runs on, such as `3.11`.
        signature: JSON schemas of `input` and `output`.
        alias: A movable name, such as `staging`, that is to point at this version; an alias with a policy stays.

    Returns:
        The version with its digest: the same inputs have the same digest.

    Raises:
        UsageError: The code has no source to be found, a dependency is not installed, the entry point is no
            `module:callable`, or two tools have one name.

    Example:
        >>> register_agent("bot", version="1.2", code={"commit": "4f2a"}, dependencies={}).label
        '1.2'
    """
    from tracekit.agent_version import describe  # noqa: PLC0415 - keeps `import tracekit` quick

    found = describe(
        name,
        version=version,
        parameters=parameters,
        prompts=prompts,
        code=code,
        dependencies=dependencies,
        entry_point=entry_point,
        tools=tools,
        models=models,
        python=python,
        signature=signature,
    )
    runtime.start()
    identity = {**runtime.identity, names.AGENT_NAME: clean_text(name), names.AGENT_VERSION: clean_text(found.label)}
    runtime.identity = identity
    if runtime.relay is not None:
        runtime.relay.extra = identity
    attributes: dict[str, object] = {
        names.AGENT_NAME: identity[names.AGENT_NAME],
        names.AGENT_VERSION: identity[names.AGENT_VERSION],
        names.VERSION_DIGEST: found.digest,
        names.VERSION_CODE: to_json(found.code),
        names.VERSION_PARAMETERS: to_json(found.parameters),
        names.VERSION_PROMPTS: to_json(found.prompts, limit=1 << 20),
        names.VERSION_DEPENDENCIES: to_json(found.dependencies, limit=1 << 20),
    }
    for key, value in found.given().items():
        attributes[_GIVEN[key]] = clean_text(value) if isinstance(value, str) else to_json(value, limit=1 << 20)
    if alias is not None:
        attributes[names.VERSION_ALIAS] = clean_text(alias)
    if runtime.tracer is not None:
        runtime.emit(names.VERSION_EVENT, attributes, trace.set_span_in_context(trace.INVALID_SPAN, Context()))
    return found


def _score_attributes(name: str, value: object, label: str | None) -> dict[str, object] | None:
    found: dict[str, object] = {names.SCORE_NAME: clean_text(str(name))}
    if isinstance(value, bool):
        found.update({names.SCORE_VALUE: float(value), names.SCORE_TYPE: "bool"})
    elif isinstance(value, str):
        found.update({names.SCORE_LABEL: clean_text(value), names.SCORE_TYPE: "label"})
    elif value is None and label is not None:
        found[names.SCORE_TYPE] = "label"
    else:
        number = float(value)  # type: ignore[arg-type]  # numpy's numbers are welcome; the rest raises and is logged
        if not math.isfinite(number):
            return None
        found.update({names.SCORE_VALUE: number, names.SCORE_TYPE: "number"})
    if label is not None:
        found[names.SCORE_LABEL] = clean_text(str(label))
    return found


def _scored(trace_id: str | None, span_id: str | None) -> Context | None:
    span = 0 if span_id is None else int(span_id, 16)
    if trace_id is not None:
        return detached(int(trace_id, 16), span)
    current = trace.get_current_span().get_span_context()
    return detached(current.trace_id, span) if current.is_valid else None
