"""Detectors of tools that are defined badly, called wrongly, or called with what nobody said."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from tracekit_evaluators.diagnosis.finding import Finding, found
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_collector.trace import ToolCall

# An identifier: letters and at least three digits, perhaps joined; an e-mail address; a long number.
_ID = re.compile(r"[A-Za-z]{1,12}[-_#:]?\d{3,}[A-Za-z0-9_-]*|#\d{3,}|\d{5,}|[\w.+-]+@[\w-]+\.[\w.]+")
_DATED = re.compile(r"\d{4}-\d\d|\d\d[:/]\d\d|^(?:19|20)\d\d(?:\d{4})?$|T\d\d:\d\d|^utf-?\d+|^sha-?\d+|^gpt|^claude")
_FREE_TEXT = frozenset({"code", "script", "command", "cmd", "query", "sql", "prompt", "content", "body", "text"})
_FREE_TEXT |= {"message", "source", "expression", "python", "program", "patch", "diff", "task", "thought", "url"}


def tool_definitions(material: Material) -> Iterator[Finding]:
    """Offered tools whose schema is none, or two of which have one name."""
    seen: set[str] = set()
    for span in material.trace.spans:
        offered = span.offered if span.same_as is None else []
        if not offered:
            continue
        key = json.dumps(offered, sort_keys=True, default=str)
        if key in seen:
            continue
        seen.add(key)
        fault = _fault_of(offered)
        texts = material.texts(span.span_id)
        if fault is None:
            continue
        name, why = fault
        for field in ("input_messages", "input", "output_messages", "output"):
            text = texts.get(field, "")
            if text:
                begin = max(text.find(name), 0)
                end = begin + len(name) if text.startswith(name, begin) else len(text)
                yield found("tool_definition", material, span.span_id, (field, begin, end), explanation=why)
                break


def _fault_of(offered: list[dict[str, Any]]) -> tuple[str, str] | None:
    names = Counter(str(each.get("name")) for each in offered)
    name, most = names.most_common(1)[0]
    if most > 1:
        return name, f"{most} of the offered tools are called {name}"
    for each in offered:
        schema = each.get("parameters")
        if schema is not None and schema != {}:
            fault, _ = _checked(json.dumps(schema, sort_keys=True, default=str))
            if fault is not None:
                return str(each.get("name")), f"the parameters of {each.get('name')} are no JSON Schema{fault}"
    return None


@lru_cache(maxsize=1024)
def _checked(text: str) -> tuple[str | None, Validator | None]:
    """What is wrong with a schema, else what validates by it: traces of one agent show the same few again and again."""
    schema = json.loads(text)
    if not isinstance(schema, dict):
        return "", None
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return f": {error.message[:200]}", None
    except RecursionError:
        return None, None
    return None, kind(schema, registry=Registry())  # the default registry would fetch what a schema refers to


def unknown_tools(material: Material) -> Iterator[Finding]:
    """Calls of tools that no model call offered, where offers were recorded."""
    offered = material.offered
    if not offered:
        return
    for call in material.trace.tool_calls:
        if not call.name or call.name in offered or _is_own(call.name, offered):
            continue
        place = _asked_place(call, material)
        if place is not None:
            span_id, words = place
            listed = ", ".join(sorted(offered)[:20])
            yield found("unknown_tool", material, span_id, words, explanation=f"{call.name} is none of: {listed}")


def _is_own(name: str, offered: Mapping[str, object]) -> bool:
    """Whether an offered tool has this name with a prefix, as MCP servers and frameworks put before it, or less one."""
    return any(other.endswith(name) or name.endswith(other) for other in offered) or "handoff" in name.lower()


def _asked_place(call: ToolCall, material: Material) -> tuple[str, tuple[str, int, int]] | None:
    """Where a call shows: its own span, else the answer of the model that asked for it."""
    if call.span_id is not None:
        for field in ("error", "tool_arguments", "tool_result", "input", "output"):
            text = material.texts(call.span_id).get(field, "")
            if text.strip():
                return call.span_id, (field, 0, len(text))
    for each in material.trace.model_calls:
        text = material.texts(each.span_id).get("output_messages", "")
        place = text.find(f"{call.name}(")
        if place >= 0:
            end = text.find("\n", place)
            return each.span_id, ("output_messages", place, len(text) if end < 0 else end)
    return None


def tool_arguments(material: Material) -> Iterator[Finding]:
    """Calls whose arguments the recorded definition of their tool does not allow, or that are no JSON object."""
    offered = material.offered
    for call in material.trace.tool_calls:
        place = _asked_place(call, material)
        if place is None or not call.name:
            continue
        span_id, words = _arguments_place(call, material) or place
        schema = offered.get(call.name, {}).get("parameters")
        if isinstance(call.arguments, str) and call.arguments.strip()[:1] in "{[":
            why = f"the arguments of {call.name} are not JSON"
            yield found("formatting_error", material, span_id, words, explanation=why, confidence=0.9)
        elif isinstance(schema, Mapping) and isinstance(call.arguments, Mapping):
            why_not = _against(schema, call.arguments)
            if why_not is not None:
                why = f"the arguments of {call.name} break its schema: {why_not}"
                yield found("tool_arguments", material, span_id, words, explanation=why)


def _arguments_place(call: ToolCall, material: Material) -> tuple[str, tuple[str, int, int]] | None:
    if call.span_id is None:
        return None
    for field in ("tool_arguments", "input"):
        text = material.texts(call.span_id).get(field, "")
        if text.strip():
            return call.span_id, (field, 0, len(text))
    return None


def _against(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    _, validator = _checked(json.dumps(schema, sort_keys=True, default=str))
    if validator is None:
        return None
    try:
        fault = next(iter(validator.iter_errors(dict(arguments))), None)
    except (Unresolvable, RecursionError):
        return None
    return None if fault is None else f"{fault.json_path}: {fault.message[:200]}"


def ungrounded_arguments(material: Material) -> Iterator[Finding]:
    """Calls with an id, a number or an address that stands nowhere in what came before."""
    trace = material.trace
    if trace.input is None:
        return
    known = _Known(material)
    for call in trace.tool_calls:
        known.until(call.start_ns)
        place = _arguments_place(call, material)
        for literal in _literals(call.arguments) if place is not None else ():
            if known.has(literal):
                continue
            span_id, (field, _, _) = place or ("", ("", 0, 0))
            begin = material.texts(span_id)[field].find(literal)
            if begin >= 0:
                why = f"{literal} stands nowhere before the call of {call.name}"
                words = (field, begin, begin + len(literal))
                yield found("ungrounded_argument", material, span_id, words, explanation=why, confidence=0.75)
                break


class _Known:
    """What was said before a time, without spaces, case and punctuation."""

    def __init__(self, material: Material) -> None:
        trace = material.trace
        first = [trace.input, trace.system_instructions, *(trace.session_id, trace.user_id, trace.case_id)]
        first += [json.dumps(each, default=str) for each in material.offered.values()]
        self._text = "\n".join(_flat(text) for text in first if text)
        self._events: list[tuple[int, str]] = []
        before = ""
        for span in trace.spans:
            texts = material.texts(span.span_id)
            end = span.start_ns + (span.duration_ns or 0)
            asked = "" if span.step == "tool" else texts.get("input_messages", "") or texts.get("input", "")
            answered = [] if span.step in ("llm", "agent", "chain") else [texts.get(name, "") for name in _SAID]
            if before and asked.startswith(before):  # a conversation comes with all of it again at each call
                asked, before = asked[len(before) :], asked
            else:
                before = asked or before
            self._events += [(span.start_ns, asked)] if span.step != "agent" or span.depth == 0 else []
            self._events += [(end, text) for text in answered]
        self._events += [(document_end, text) for document_end, text in _documents(material)]
        self._events.sort(key=lambda event: event[0])
        self._next = 0

    def until(self, time_ns: int) -> None:
        """Take in what was said up to a time."""
        added = []
        while self._next < len(self._events) and self._events[self._next][0] <= time_ns:
            added.append(_flat(self._events[self._next][1]))
            self._next += 1
        if added:
            self._text = "\n".join([self._text, *added])

    def has(self, literal: str) -> bool:
        return _flat(literal) in self._text or (
            (digits := re.sub(r"\D", "", literal)) != "" and len(digits) >= 5 and (digits in self._text)
        )


_SAID = ("tool_result", "output", "documents", "error")


def _documents(material: Material) -> Iterator[tuple[int, str]]:
    for each in material.trace.documents:
        span = material.spans.get(each.span_id)
        if span is not None:
            yield span.start_ns + (span.duration_ns or 0), f"{each.id} {as_text(each.content)}"


def _flat(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _literals(arguments: object, key: str = "") -> Iterator[str]:
    if isinstance(arguments, Mapping):
        for name, value in arguments.items():
            yield from _literals(value, str(name).lower())
    elif isinstance(arguments, list):
        for value in arguments:
            yield from _literals(value, key)
    elif key not in _FREE_TEXT and isinstance(arguments, (str, int)) and not isinstance(arguments, bool):
        text = str(arguments)
        if len(text) <= 80 and not _DATED.search(text) and "://" not in text:
            yield from (each for each in _ID.findall(text) if not _DATED.search(each))
