"""Which prompt a model call used: the one that was rendered last in the step that the call begins in.

What was rendered stands on the step's span, and travels in the OpenTelemetry context, which ends with the step, to the
steps inside. The span comes first: a generator's context does not outlive its `yield`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import attributes as names

_KEY = otel_context.create_key("tracekit-prompt")
_CALLS = frozenset({"chat", "text_completion", "generate_content"})  # operations of OpenTelemetry's GenAI conventions
_NOTHING: Mapping[str, AttributeValue] = {}

Link = dict[str, AttributeValue]


def link(name: str, version: str | None) -> None:
    """Link a prompt that is rendered at this place.

    Args:
        name: The prompt.
        version: Its number; `None` where it has none.
    """
    found: Link = {names.PROMPT_NAME: name}
    if version is not None:
        found[names.PROMPT_VERSION] = version
    span = trace.get_current_span()
    inside = span.is_recording()
    if inside:
        span.set_attributes(found)
        if version is None and names.PROMPT_VERSION in (getattr(span, "attributes", None) or ()):
            span.set_attribute(names.PROMPT_VERSION, "")  # the number of the prompt before is not this one's
    once = [found]  # outside of a step, the first call takes it out
    otel_context.attach(otel_context.set_value(_KEY, found if inside else once))


def links(context: Context) -> Mapping[str, AttributeValue]:
    """The attributes of the prompt that a model call uses which begins in this context."""
    around: Any = getattr(trace.get_current_span(context), "attributes", None)
    if around and (name := around.get(names.PROMPT_NAME)) is not None:
        version = around.get(names.PROMPT_VERSION)
        return {names.PROMPT_NAME: name, **({names.PROMPT_VERSION: version} if version else {})}
    said: Any = context.get(_KEY)
    if isinstance(said, dict):
        return said
    if isinstance(said, list):
        try:
            return said.pop()  # type: ignore[no-any-return]  # put there by `link`
        except IndexError:
            return _NOTHING
    return _NOTHING


def is_call(attributes: Mapping[str, Any]) -> bool:
    """Whether another instrumentation's span, by what it carries from the start, is a model call."""
    return attributes.get(names.OPERATION) in _CALLS or attributes.get("openinference.span.kind") == "LLM"
