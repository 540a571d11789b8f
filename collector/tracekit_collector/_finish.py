"""What follows from a span's fields together: the step by evidence, texts to show, canonical counts, names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracekit.attributes import STEP_KINDS
from tracekit_collector import fields, messages
from tracekit_collector.anyvalue import plain_text
from tracekit_collector.dialects import RawSpan

_STEPS = frozenset(STEP_KINDS)
_SHOWS_MESSAGES = frozenset({"agent", "llm", "chain", "task", "span"})
_FINDS = frozenset({"retriever", "reranker"})
_PAID = frozenset({"llm", "embedding", "reranker"})
_ERROR_KEYS = ("exception.type", "error.type")
_PROVIDER_KEYS = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_AGENT_STARTS = ("invoke_agent ", "create_agent ")
_AGENT_ENDS = (".agent", ".run", ".invoke")
_NO_AGENT = frozenset({"", "invoke_agent", "create_agent", "agent run", "claude_code.interaction", "agent"})
_TOOL_STARTS = ("execute_tool ", "running tool: ", "running tool ", "tools/call ")


def finish(span: RawSpan, step: str | None, columns: dict[str, object], attributes: Mapping[str, object]) -> str:
    """Settle what no single key tells.

    Args:
        span: The span as it came.
        step: Its step kind, where a key says it.
        columns: Its columns so far; they are changed in place.
        attributes: Its attributes.

    Returns:
        The step kind.
    """
    if step is None:
        step = _by_evidence(span, columns, attributes)
    elif step not in _STEPS:
        step = "span"
    if step == "llm":
        _take_texts(columns)
    _show(step, columns)
    if step == "tool":
        _show_tool(span, columns)
    elif step in _FINDS and "documents" not in columns:
        _add(columns, "documents", fields.found_documents(columns.get("output")))
    _count_tokens(columns)
    if "cost_usd" in columns:
        columns["cost_source"] = "reported"
    if span.status == "error" and "error_type" not in columns:
        _add(columns, "error_type", _exception_type(span))
    if step == "agent" and "agent_name" not in columns:
        _add(columns, "agent_name", _agent_name(span.name))
    elif step in _PAID and "provider" not in columns:
        _add(columns, "provider", _provider_by_model(columns, attributes))
    return step


def _add(columns: dict[str, object], name: str, value: object) -> None:
    if value is not None:
        columns[name] = value


def _by_evidence(span: RawSpan, columns: Mapping[str, object], attributes: Mapping[str, object]) -> str:
    """What a step is when no key says so: by what it carries; a lone model key is no evidence of a model call."""
    if ("tool_name" in columns or "tool_call_id" in columns) and "model_requested" not in columns:
        return "tool"
    if span.name.startswith("running tool"):
        return "tool"
    if "documents" in columns:
        return "retriever"
    for key in attributes:
        if key.startswith(("gen_ai.retrieval.", "retrieval.documents")):
            return "retriever"
        if key.startswith(("gen_ai.embeddings.", "embedding.")):
            return "embedding"
        if key.startswith("reranker."):
            return "reranker"
    says_model = "model_requested" in columns or "model" in columns
    says_more = "input_tokens" in columns or "output_tokens" in columns or "output_messages" in columns
    return "llm" if says_model and says_more else "span"


def _show(step: str, columns: dict[str, object]) -> None:
    given, answered = columns.get("input_messages"), columns.get("output_messages")
    for name in ("input", "output"):
        shown = columns.get(name)
        if type(shown) is fields.Wrapped:
            columns[name] = shown.arguments if step == "tool" else shown.shown
    if given is not None:
        columns["input_messages"] = given.text  # type: ignore[attr-defined]  # the field's reader makes a Column
        if step in _SHOWS_MESSAGES:
            question = messages.question_of(given.messages)  # type: ignore[attr-defined]  # as above
            if question is not None:
                columns["input"] = question
    if answered is not None:
        columns["output_messages"] = answered.text  # type: ignore[attr-defined]  # as above
        if step in _SHOWS_MESSAGES:
            answer = messages.answer_of(answered.messages)  # type: ignore[attr-defined]  # as above
            if answer is not None:
                columns["output"] = answer


def _show_tool(span: RawSpan, columns: dict[str, object]) -> None:
    if "tool_arguments" in columns:
        columns["tool_arguments"] = columns["input"] = _arguments(columns["tool_arguments"])
    elif "input" in columns:
        columns["tool_arguments"] = columns["input"] = _arguments(columns["input"])
    result = columns.get("tool_result")
    if "tool_result" not in columns and "output" in columns:
        columns["tool_result"] = _result(columns)
    elif isinstance(result, str) and result.startswith('{"output"') and '"kwargs"' in result:
        columns["tool_result"] = _result({**columns, "output": result})
    if "tool_result" in columns:
        columns["output"] = columns["tool_result"]
    if "tool_name" not in columns:
        name = span.name
        for start in _TOOL_STARTS:
            name = name.removeprefix(start)
        columns["tool_name"] = name.removesuffix(".tool") or None


def _arguments(given: object) -> object:
    """LangChain's tools take `{"input": "{...}"}`, the arguments in a text; OpenLLMetry tells its callback's own."""
    if isinstance(given, str) and given.startswith('{"input_str"'):
        wrapped = fields.told(given)
        return wrapped.arguments if isinstance(wrapped, fields.Wrapped) else given
    if isinstance(given, str) and given.startswith('{"input"'):
        read = messages.decoded(given)
        if isinstance(read, dict) and len(read) == 1:
            inner = messages.decoded(read["input"])
            if isinstance(inner, dict):
                return plain_text(inner)
    return given


def _result(columns: dict[str, object]) -> object:
    """What a tool returned, out of a framework's message about it."""
    shown = columns["output"]
    if not isinstance(shown, str) or shown[:1] != "{":
        return shown
    read = messages.decoded(shown)
    inner = read
    for _ in range(3):
        if not isinstance(inner, dict):
            break
        if "output" in inner and inner.keys() <= {"output", "kwargs"}:
            inner = messages.decoded(inner["output"])
        elif isinstance(inner.get("kwargs"), dict) and "lc" in inner:
            inner = inner["kwargs"]
        elif isinstance(inner.get("data"), dict) and inner.get("type") == "tool":
            inner = inner["data"]
    if isinstance(inner, dict) and "content" in inner and "tool_call_id" in inner:
        if isinstance(inner["tool_call_id"], str):
            columns.setdefault("tool_call_id", inner["tool_call_id"])
        inner = inner["content"]
    return shown if inner is read else inner if isinstance(inner, str) else plain_text(inner)


def _take_texts(columns: dict[str, object]) -> None:
    """A model call whose question or answer came as text, or in a provider's request or response, has messages too."""
    for shown, kept, role in (("input", "input_messages", "user"), ("output", "output_messages", "assistant")):
        text = columns.get(shown)
        if kept not in columns and type(text) is str and text:
            said = messages.body(text, role) if text[0] in "{[" else messages.column(text, role)
            if said is not None:
                columns[kept] = said


def _count_tokens(columns: dict[str, Any]) -> None:
    """Input includes what was cached: a writer whose cached tokens exceed its input leaves them out."""
    cached = columns.get("cached_tokens")
    written = columns.get("cache_write_tokens")
    if cached or written:
        given = columns.get("input_tokens")
        beside = (cached or 0) + (written or 0)
        if given is not None and beside > given:
            columns["input_tokens"] = given + beside


def _provider_by_model(columns: Mapping[str, object], attributes: Mapping[str, object]) -> str | None:
    """Where a writer names its framework as the provider, the model's name may tell who it is."""
    for key in _PROVIDER_KEYS:
        said = attributes.get(key)
        if isinstance(said, str) and said.lower() in fields.FRAMEWORKS:
            return fields.provider_of_model(columns.get("model") or columns.get("model_requested"))
    return None


def _exception_type(span: RawSpan) -> str | None:
    for event in reversed(span.events):
        if event.name == "exception":
            for key in _ERROR_KEYS:
                found = fields.error_type(event.attributes.get(key))
                if found:
                    return found
    return None


def _agent_name(name: str) -> str | None:
    for start in _AGENT_STARTS:
        name = name.removeprefix(start)
    for end in _AGENT_ENDS:
        name = name.removesuffix(end)
    return None if name in _NO_AGENT else name
