"""Whether a trace failed, and the error that mattered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tracekit_collector._calls import Call
from tracekit_collector._tree import Node, exceptions_of
from tracekit_collector.anyvalue import attributes_from_text
from tracekit_collector.folding import unfold

# Python's words between a cause and the exception that was raised from it.
_RAISED_FROM = "\n\nThe above exception was the direct cause of the following exception:\n\n"
_MESSAGES = ("error.message", "langfuse.observation.status_message", "haystack.tool.error", "status_message", "error")
_LAST_LINE = re.compile(r"^([A-Za-z_][\w.]*)(?::\s?(.*))?$")


class Fault(NamedTuple):
    """An error: its type and message, and the span that it came from."""

    type: str | None
    message: str | None
    span_id: str


def fault_of(
    root: Node, nodes: Sequence[Node], model_calls: Sequence[Call], tool_calls: Sequence[Call]
) -> Fault | None:
    """The error that mattered; None when the trace did not fail.

    A trace failed when its root did, or when a call of a tool (or of any model) failed and no later call of that tool
    (of any model) went well. A failure that was made good is no error of the trace.
    """
    if root.failed and not root.is_noise:
        return _described(_deepest(root, nodes))
    unmended = [call for call in (_last_failure(model_calls), *map(_last_failure, _by_tool(tool_calls))) if call]
    if not unmended:
        return None
    return _described(_deepest(max(unmended, key=lambda call: call.order).node, nodes))


def error_of(node: Node) -> Fault | None:
    """A span's own error; None when it did not fail."""
    return _described(node) if node.failed else None


def _by_tool(calls: Sequence[Call]) -> list[list[Call]]:
    found: dict[object, list[Call]] = {}
    for call in calls:
        found.setdefault(call.value("tool_name"), []).append(call)
    return list(found.values())


def _last_failure(calls: Sequence[Call]) -> Call | None:
    """The last call, if it failed: calls come in order, so an earlier failure was made good or comes again."""
    return calls[-1] if calls and calls[-1].failed else None


def _deepest(node: Node, nodes: Sequence[Node]) -> Node:
    """The span below `node` where its error began."""
    seen = {node.span_id}
    while True:
        own = _described(node)
        below = [child for child in node.children if child.failed and child.span_id not in seen]
        same = [child for child in below if _is_same(own, _described(child))]
        if same:
            node = same[-1]
        elif own.message is None and own.type is None:
            later = below or [other for other in nodes if other.failed and other.span_id not in seen]
            if not later:
                return node
            node = later[-1]
        elif (skipped := _below_a_gap(node, own)) is not None:
            return skipped
        else:
            return node
        seen.add(node.span_id)


def _below_a_gap(node: Node, own: Fault) -> Node | None:
    """A failed descendant with the same error under spans that did not take it down."""
    waiting = list(node.children)
    while waiting:
        child = waiting.pop()
        if child.failed:
            if _is_same(own, _described(child)):
                return child
        else:
            waiting.extend(child.children)
    return None


def _is_same(outer: Fault, inner: Fault) -> bool:
    if outer.message and inner.message:
        return outer.message in inner.message or inner.message in outer.message
    return outer.type == inner.type or (outer.message is None and outer.type is None)


def _described(node: Node) -> Fault:
    message, kind = None, None
    named = node.row.get("error_type")
    for entry in exceptions_of(node.row):
        if isinstance(entry.get("exception.message"), str) and entry["exception.message"]:
            message = str(entry["exception.message"])
        cause = _cause(entry.get("exception.stacktrace"))
        if cause is not None:
            kind, message = cause[0], cause[1] or message
    if message is None:
        message = node.row.get("status_message") or _in_attributes(node) or _own_words(node)
    return Fault(kind or named, message, node.span_id)


def _in_attributes(node: Node) -> str | None:
    text = node.row.get("attributes")
    if not isinstance(text, str) or not any(f'"{key}"' in text for key in _MESSAGES):
        return None
    attributes = attributes_from_text(unfold(text, node.row))
    for key in _MESSAGES:
        value = attributes.get(key)
        if isinstance(value, str) and value.strip() not in ("", "null", "None"):
            return value
    return None


def _own_words(node: Node) -> str | None:
    """A failed tool that returned a text says in it what went wrong."""
    words = node.row.get("tool_result")
    return words if node.step == "tool" and isinstance(words, str) else None


def _cause(stacktrace: object) -> tuple[str, str] | None:
    """The first exception of a chain of `raise ... from`, when there is one: its type and message."""
    if not isinstance(stacktrace, str) or _RAISED_FROM not in stacktrace:
        return None
    first = stacktrace.split(_RAISED_FROM, 1)[0].rstrip().splitlines()
    for line in reversed(first):
        if line.startswith((" ", "Traceback")):
            return None
        found = _LAST_LINE.match(line)
        if found:
            return found[1], found[2] or ""
    return None
