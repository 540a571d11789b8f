"""Haystack: pipelines, components and agents, without any GenAI key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracekit_collector import fields, messages
from tracekit_collector.dialects import Dialect, Lift, Marks, RawSpan, named, ranked
from tracekit_collector.dialects._usage import tokens_of

TYPE = "haystack.component.type"
_HERE = Marks(prefixes=("haystack.",), scopes=("haystack",))
_ENDINGS = {
    "Generator": "llm",
    "Retriever": "retriever",
    "Embedder": "embedding",
    "Ranker": "reranker",
    "ToolInvoker": "tool",
    "Agent": "agent",
}
_INPUTS = (
    "haystack.agent.step.llm.input",
    "haystack.agent.step.tool.input",
    "haystack.agent.step.input",
    "haystack.tool.input",
    "haystack.agent.input",
    "haystack.component.input",
    "haystack.pipeline.input_data",
)
_OUTPUTS = (*(key.replace("input", "output") for key in _INPUTS),)


def dialect() -> Dialect:
    """Haystack; content stands on its spans only where its tracing of content is on."""
    return Dialect(
        name="haystack",
        rank=39,
        recognises=_HERE,
        keys={
            "input": ranked(27, *_INPUTS),
            "output": ranked(27, *_OUTPUTS),
            "tool_name": ranked(22, "haystack.tool.name"),
            "tool_call_id": ranked(24, "haystack.tool.call.id"),
            "tool_definitions": ranked(45, "haystack.agent.tools"),
        },
        lifts=(
            named(
                28,
                _HERE,
                {
                    "haystack.pipeline.run": "chain",
                    "haystack.async_pipeline.run": "chain",
                    "haystack.agent.run": "agent",
                    "haystack.agent.step": "chain",
                    "haystack.agent.step.llm": "llm",
                    "haystack.agent.step.tool": "tool",
                },
            ),
            Lift(29, Marks(keys=frozenset({TYPE})), _component),
            Lift(50, Marks(keys=frozenset({"haystack.tool.error"})), _fault),
            Lift(70, _HERE, _said),
        ),
    )


def _component(span: RawSpan) -> Mapping[str, object]:
    kind = str(span.attributes[TYPE])
    step = next((step for ending, step in _ENDINGS.items() if kind.endswith(ending)), "chain")
    name = span.attributes.get("haystack.component.name")
    return {"step": step, "agent_name": name if step == "agent" else None}


def _fault(span: RawSpan) -> Mapping[str, object]:
    error = span.attributes["haystack.tool.error"]
    return {"error_type": "tool_error"} if error and error not in ("False", "false", "None") else {}


def _first(span: RawSpan, names: tuple[str, ...]) -> Any:
    return next((messages.decoded(span.attributes[name]) for name in names if name in span.attributes), None)


def _said(span: RawSpan) -> Mapping[str, object]:
    """Messages of a generator or an agent; its answers' `meta` holds the model, the usage and why it stopped."""
    given, returned = _first(span, _INPUTS), _first(span, _OUTPUTS)
    found: dict[str, object] = {}
    if isinstance(given, dict):
        asked = messages.body(given, "user")
        found["input_messages"] = asked.messages if asked is not None else None
        found["tool_definitions"] = given.get("tools")
    if not isinstance(returned, dict):
        return found
    replies = returned.get("replies", returned.get("messages"))
    if not isinstance(replies, list) or not replies:
        return found
    if "replies" in returned:
        found.update(_answers(replies, returned.get("meta")))
    elif isinstance(replies[-1], dict):
        found["output_messages"] = replies[-1:]
    return found


def _answers(replies: list[Any], metas: object) -> dict[str, object]:
    listed = metas if isinstance(metas, list) else [reply.get("meta") for reply in replies if isinstance(reply, dict)]
    meta = next((read for read in map(messages.decoded, listed) if isinstance(read, dict)), {})
    return {
        "output_messages": [
            {"role": "assistant", "content": item} if isinstance(item, str) else item for item in replies
        ],
        "model": fields.text(meta.get("model")),
        "finish_reasons": meta.get("finish_reason"),
        "response_id": meta.get("id"),
        **tokens_of(meta.get("usage")),
    }
