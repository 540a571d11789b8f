"""Faults, and how each is planted in a clean trace; every function changes the trace and says what it planted where.

A function that cannot plant its fault in a shape returns `None` and leaves the trace alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from tracekit_evaluators.diagnosis._shapes import MS, TOOLS, Clean, user
from tracekit_evaluators.diagnosis.wordings import Wording

Faults = Sequence[tuple[str, str]] | None
WORDED = frozenset({"authentication", "permission_denied", "rate_limit", "timeout", "not_found", "connection"})
WORDED |= {"service_error", "resource_exhaustion", "environment_setup", "tool_definition", "tool_arguments"}
WORDED |= {"content_filter", "context_overflow", "formatting_error", "unknown_tool", "step_limit"}
_OF_MODELS = frozenset({"openai", "anthropic", "google-genai", "azure", "deepseek", "botocore"})
_ONLY_MODELS = frozenset({"tool_definition", "content_filter", "context_overflow"})
_WAYS = ("event", "message", "text", "json", "passed_on", "type")
_ADMITS = "I could not finish this: a step of it failed, and I did not get what I needed."


def error(made: Clean, wording: Wording, turn: int) -> Faults:
    """An error with this wording, in one of the ways that errors surface."""
    code, dice = wording.code, made.draft.dice
    way = _WAYS[(turn + dice.randrange(len(_WAYS))) % len(_WAYS)]
    if code == "step_limit":
        _failed(made.root, wording, "event")
        return [(code, _id(made.root))]
    if code in _ONLY_MODELS or (wording.source in _OF_MODELS and dice.random() < 0.7):
        return _model_error(made, wording, way)
    spans = [*made.tools, *made.retrievers]
    if not spans:
        return None
    span = dice.choice(spans)
    if way in ("text", "json") and span in made.tools and wording.message:
        _replace_result(made, span, _as_result(wording, way, dice.randrange(4)))
        span["status"] = dice.choice(("ok", "unset"))
    else:
        _failed(span, wording, "event" if way in ("text", "json") else way)
        if span in made.tools:
            _replace_result(made, span, f"Error: {wording.message or wording.type}")
        if way == "passed_on":
            _pass_on(made, span, wording)
    _answer(made, _ADMITS)
    return [(code, _id(span))]


def _model_error(made: Clean, wording: Wording, way: str) -> Faults:
    place = made.draft.dice.randrange(len(made.models))
    span = made.models[place]
    way = "event" if way in ("text", "json") else way
    if made.draft.dice.random() < 0.5:  # asked again, and answered
        twin = {**span, "span_id": _id(span)[:-2] + "ee", "start_ns": _int(span["start_ns"]) - MS // 2}
        twin["duration_ns"] = MS // 4
        made.draft.rows.insert(made.draft.rows.index(span), twin)
        _silence(twin)
        _failed(twin, wording, way)
        return [(wording.code, _id(twin))]
    _cut_after(made, span)
    _silence(span)
    _failed(span, wording, way)
    if way == "passed_on":
        _pass_on(made, span, wording)
    made.root["output"] = None
    return [(wording.code, _id(span))]


def _failed(span: dict[str, object], wording: Wording, way: str) -> None:
    message, kind = wording.message, wording.type
    span.update(status="error", tool_result=None, output=None, documents=None)
    if way == "message" or kind is None:
        span["status_message"] = message if kind is None else f"{kind}: {message}" if message else kind
        return
    span["error_type"] = kind
    if way == "type" and message:
        span["status_message"] = message
        return
    told = {"exception.type": kind, "exception.message": message}
    told["exception.stacktrace"] = (
        f'Traceback (most recent call last):\n  File "a.py", line 3, in do\n{kind}: {message}'
    )
    span["events"] = json.dumps([{"name": "exception", "time_ns": span["start_ns"], "attributes": told}])


def _as_result(wording: Wording, way: str, form: int) -> str:
    message, kind = wording.message, (wording.type or "Error").rpartition(".")[2]
    if way == "json":
        forms: list[object] = [
            {"error": message},
            {"isError": True, "content": [{"type": "text", "text": message}]},
            {"error": {"type": kind, "message": message}},
            {"status": "error", "message": message},
        ]
        return json.dumps(forms[form], ensure_ascii=False)
    named = f"{kind}: {message}"
    return (f"Error: {message}", named, f"Tool execution failed: {named}", f"Error executing tool: {message}")[form]


def _pass_on(made: Clean, span: dict[str, object], wording: Wording) -> None:
    """The same error in every span above."""
    by_id = {row["span_id"]: row for row in made.draft.rows}
    above = by_id.get(span.get("parent_span_id"))
    while above is not None:
        above.update(status="error", error_type=wording.type, status_message=wording.message or None)
        above = by_id.get(above.get("parent_span_id"))


def _replace_result(made: Clean, span: dict[str, object], result: str) -> None:
    """A tool's result, in its span and wherever it was handed on."""
    if span.get("status") != "error":
        span.update(tool_result=result, output=result)
    for model in made.models:
        listed = json.loads(str(model["input_messages"]))
        for message in listed:
            for part in message["parts"]:
                if part["type"] == "tool_call_response" and part["id"] == span.get("tool_call_id"):
                    part["response"] = result
        model["input_messages"] = json.dumps(listed)


def _answer(made: Clean, text: str, reasons: Sequence[str] = ("stop",)) -> dict[str, object]:
    """Another answer at the end."""
    last = made.models[-1]
    parts = [{"type": "text", "content": text}] if text else []
    answer = [{"role": "assistant", "parts": parts, "finish_reason": reasons[0]}]
    last.update(output_messages=json.dumps(answer), finish_reasons=list(reasons))
    made.root["output"] = text
    return last


def _silence(span: dict[str, object]) -> None:
    span.update(output_messages=None, output=None, finish_reasons=None, input_tokens=None, output_tokens=None)


def _cut_after(made: Clean, span: dict[str, object]) -> None:
    end = _int(span["start_ns"])
    kept = [row for row in made.draft.rows if _int(row["start_ns"]) <= end]
    made.draft.rows[:] = kept


def unknown_tool(made: Clean) -> Faults:
    """A tool is called that was not offered, and the call is refused."""
    if not made.tools or not made.draft.offered:
        return None
    span, name = made.draft.dice.choice(made.tools), made.draft.dice.choice(("web_browse", "send_fax", "final_output"))
    _rename(made, span, name)
    span.update(name=name, tool_name=name)
    _replace_result(made, span, "There is nothing by that name.")
    _answer(made, _ADMITS)
    return [("unknown_tool", _id(span))]


def _rename(made: Clean, span: Mapping[str, object], name: str) -> None:
    for model in made.models:
        listed = json.loads(str(model["output_messages"]))
        for message in listed:
            for part in message["parts"]:
                if part.get("id") == span["tool_call_id"]:
                    part["name"] = name
        model["output_messages"] = json.dumps(listed)


def bad_arguments(made: Clean) -> Faults:
    """Arguments that the tool's schema does not allow, which the tool swallowed."""
    if not made.tools or not made.draft.offered:
        return None
    span, dice = made.draft.dice.choice(made.tools), made.draft.dice
    arguments = json.loads(str(span["tool_arguments"]))
    key = dice.choice(sorted(arguments))
    way = dice.randrange(3)
    if way == 0:
        del arguments[key]
    elif way == 1:
        arguments[key] = [arguments[key]]
    else:
        arguments["verbose"] = True
    span["tool_arguments"] = json.dumps(arguments)
    return [("tool_arguments", _id(span))]


def bad_definition(made: Clean) -> Faults:
    """A tool is offered twice, or with a schema that is none."""
    if not made.draft.offered:
        return None
    dice = made.draft.dice
    listed = [TOOLS[name] for name in made.draft.offered]
    if dice.random() < 0.5:
        listed = [*listed, listed[0]]
    else:
        listed = [{**listed[0], "parameters": {"type": "objekt", "properties": []}}, *listed[1:]]
    first = made.models[0]
    for model in made.models:
        model["tool_definitions"] = json.dumps(listed)
    return [("tool_definition", _id(first))]


def ungrounded(made: Clean) -> Faults:
    """A call with an id that nobody said."""
    spans = [span for span in made.tools if span["tool_name"] in ("get_order", "read_page")]
    if not spans:
        return None
    span = spans[0]
    key = "order_id" if span["tool_name"] == "get_order" else "page"
    made_up = f"A-{made.draft.dice.randrange(100_000, 999_999)}"
    span["tool_arguments"] = json.dumps({key: made_up})
    _replace_result(made, span, json.dumps({"status": "shipped"}))
    return [("ungrounded_argument", _id(span))]


def claimed(made: Clean) -> Faults:
    """An act that the answer claims and nobody did."""
    if not made.tools:
        return None
    acts: tuple[str, ...] = (
        "I've sent the confirmation to your e-mail address.",
        "I have booked the table for tonight.",
    )
    acts += ("Your refund has been issued. I have refunded the full amount.", "I've cancelled the order for you.")
    acts += ("The meeting was easy to place: I have scheduled it for noon.", "I've opened a ticket for the team.")
    last = _answer(made, made.draft.dice.choice(acts) + " Is there anything else?")
    return [("claimed_action", _id(last))]


def empty(made: Clean) -> Faults:
    """No answer."""
    return [("empty_answer", _id(_answer(made, "")))]


def truncated(made: Clean) -> Faults:
    """An answer that is cut off."""
    text = "The warranty covers the following parts: first, the frame, second, the motor, and third, the wi"
    return [("truncated_answer", _id(_answer(made, text, [made.draft.dice.choice(("length", "max_tokens"))])))]


def nothing_found(made: Clean) -> Faults:
    """A search without a document."""
    if not made.retrievers:
        return None
    made.retrievers[0]["documents"] = "[]"
    return [("poor_retrieval", _id(made.retrievers[0]))]


def repeated(made: Clean) -> Faults:
    """The same call again and again."""
    if not made.tools or made.root["name"] == "lead":
        return None
    span = made.draft.dice.choice(made.tools)
    again = []
    for turn in range(made.draft.dice.randrange(2, 5)):
        twin = {**span, "span_id": f"{0xA0 + turn:02x}" + _id(span)[2:], "tool_call_id": f"again_{turn}"}
        twin["start_ns"] = _int(span["start_ns"]) + (turn + 1) * MS // 8
        again.append(twin)
    made.draft.rows[made.draft.rows.index(span) + 1 : made.draft.rows.index(span) + 1] = again
    return [("repetition", _id(again[1]))]


def handed_around(made: Clean) -> Faults:
    """Two agents that pass the work to each other."""
    if made.root["name"] != "lead":
        return None
    draft = made.draft
    turns = [
        draft.span("agent", name, _id(made.root), agent_name=name, input="please take this", output="over to you")
        for name in ("planner", "critic") * 3
    ]
    made.models.append(draft.model(_id(made.root), [user("well?")], "We are done with both parts now."))
    draft.close(made.root, "We are done with both parts now.")
    return [("ping_pong", _id(turns[2]))]


def passed_over(made: Clean) -> Faults:
    """A tool fails last, and the answer pretends that all is well."""
    if not made.tools:
        return None
    span = made.tools[-1]
    _failed(span, Wording("service_error", "HTTP 500: internal error", "HTTPError"), "event")
    _replace_result(made, span, "HTTP 500: internal error")
    last = _answer(made, "Everything is in order: the parcel is on its way and arrives on Friday.")
    return [("service_error", _id(span)), ("ignored_tool_error", _id(last))]


def leaked(made: Clean) -> Faults:
    """A key in the answer."""
    key = "sk-" + made.draft.dice.randbytes(16).hex()
    return [("secret_exposed", _id(_answer(made, f"The service is set up. Its key is {key}, keep it safe.")))]


def filtered(made: Clean) -> Faults:
    """An answer that a filter ended."""
    return [("content_filter", _id(_answer(made, "The recipe begins with", ["content_filter"])))]


def out_of_steps(made: Clean) -> Faults:
    """An answer that says that the steps are used up."""
    return [("step_limit", _id(_answer(made, "Agent stopped due to iteration limit or time limit.")))]


def _id(row: Mapping[str, object]) -> str:
    return str(row["span_id"])


def _int(value: object) -> int:
    return int(str(value))


OTHERS: dict[str, Callable[[Clean], Faults]] = {
    "unknown_tool": unknown_tool,
    "tool_arguments": bad_arguments,
    "tool_definition": bad_definition,
    "ungrounded_argument": ungrounded,
    "claimed_action": claimed,
    "empty_answer": empty,
    "truncated_answer": truncated,
    "poor_retrieval": nothing_found,
    "repetition": repeated,
    "ping_pong": handed_around,
    "ignored_tool_error": passed_over,
    "secret_exposed": leaked,
    "content_filter": filtered,
    "step_limit": out_of_steps,
}
