"""What log records add to the rows of a trace's spans: content, usage, and steps that no span shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit_collector import content_events, log_steps, messages
from tracekit_collector.anyvalue import attributes_from_text, loaded, plain_text, python_of
from tracekit_collector.dialects import RawSpan
from tracekit_collector.normalise import normalise

Row = Mapping[str, object]

# What a record does not know better than the span that it stands on.
_NOT_CONTENT = frozenset({"step", "dialect", "normaliser_version", "error_type", "tool_name"})
_PLACES = ("CHAT_MESSAGE_INDEX", "gen_ai.event.index")


def add_log_content(rows: dict[str, dict[str, Any]], logs: Sequence[Row]) -> None:
    """Give each span the model content that came in log records and that it does not carry itself.

    Args:
        rows: The trace's rows by span id; filled in place, and rows added where only records tell of a step.
        logs: Rows of `logs` of that trace.
    """
    of_span: dict[str, list[Row]] = {}
    for row in logs:
        span_id = row.get("span_id")
        if isinstance(span_id, str) and span_id in rows and _has_content(row):
            of_span.setdefault(span_id, []).append(row)
    for span_id, records in of_span.items():
        _fill_span(rows[span_id], records)
    log_steps.add_to(rows, log_steps.told(logs))


def _has_content(row: Row) -> bool:
    return row.get("event_name") in content_events.NAMES or '"messages"' in str(row.get("body"))


def _fill_span(target: dict[str, Any], records: Sequence[Row]) -> None:
    said: list[tuple[str, object]] = []
    details: list[Mapping[str, object]] = []
    for name, attributes, body in _ordered(records):
        if name == content_events.DETAILS:
            details.append({**attributes, **(body if isinstance(body, dict) else {})})
        elif name in content_events.NAMES:
            said.append((name, body or attributes))
        else:
            _fill(target, _moved(body, str(target.get("step"))))
    if details:
        _fill(target, normalise(RawSpan(str(target.get("name")), attributes=content_events.merged(details))))
    given, answered = content_events.conversation(said)
    _fill(target, _columns(given, answered))


def _columns(given: list[messages.Message], answered: list[messages.Message]) -> dict[str, Any]:
    return {
        "input_messages": plain_text(given) if given else None,
        "output_messages": plain_text(answered) if answered else None,
        "input": messages.question_of(given),
        "output": messages.answer_of(answered),
    }


def _moved(body: object, step: str) -> dict[str, Any]:
    """Content that Amazon's distribution moved off a span: {input: {messages}, output: {messages}}."""
    if not isinstance(body, dict):
        return {}
    given, answered = (_said(body.get(side), role) for side, role in (("input", "user"), ("output", "assistant")))
    if step != "tool":
        found = _columns(given, answered)
        found["input"] = found["input"] or _text(given)
        return found
    return {
        "tool_arguments": _text(given),
        "tool_result": _text(answered),
        "input": _text(given),
        "output": _text(answered),
    }


def _said(side: object, role: str) -> list[messages.Message]:
    listed = side.get("messages") if isinstance(side, dict) else None
    found: list[messages.Message] = []
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict):
            continue
        content = messages.decoded(item.get("content"))
        if isinstance(content, dict):  # the attributes of a span event that was moved
            inner = content.get("content", content.get("message"))
            content = content if inner is None else messages.decoded(inner)
        if isinstance(content, dict) and isinstance(content.get("content"), (str, list)):
            content = content["content"]
        message = messages.canonical({**item, "content": content}, role)
        if message is not None:
            found.append(message)
    return found


def _text(found: Sequence[messages.Message]) -> str | None:
    texts = [text for message in found if (text := messages.text_of(message) or _response(message))]
    return "\n".join(texts) or None


def _response(message: messages.Message) -> str:
    for part in message.get("parts") or ():
        if isinstance(part, dict):
            value = part.get("response", part.get("content", part))
            return value if isinstance(value, str) else plain_text(value)
    return ""


def _ordered(records: Sequence[Row]) -> list[tuple[str, dict[str, object], object]]:
    """Name, attributes and body of each record, in the order in which they were written."""
    found = []
    for row in records:
        attributes = _attributes(row.get("attributes"))
        time, place = row.get("time_ns"), str(row.get("log_id") or "").rpartition("-")[2]
        index = next((value for key in _PLACES if isinstance(value := attributes.get(key), int)), 0)
        order = (time if isinstance(time, int) else 0, index, int(place) if place.isdecimal() else 0)
        found.append((order, (str(row.get("event_name")), attributes, _body(row.get("body")))))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _fill(target: dict[str, Any], found: Mapping[str, object]) -> None:
    log_steps.fill(target, {name: value for name, value in found.items() if name not in _NOT_CONTENT})


def _attributes(text: object) -> dict[str, object]:
    return attributes_from_text(text) if isinstance(text, str) else {}


def _body(text: object) -> object:
    return python_of(loaded(text)) if isinstance(text, str) else None
