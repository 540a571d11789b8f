"""Detectors over a whole trace: loops, work handed to and fro, errors passed over, answers without substance."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis._failures import went_well
from tracekit_evaluators.diagnosis.finding import Finding, found
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.subject import canonical

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, ToolCall

_TIMES = 3
_ADMITS = re.compile(
    r"\b(?:error|fail(?:ed|s|ure|ing)?|unable|unfortunately|sorry|apolog\w+|problem|trouble|issue"
    r"|unavailable|timed? ?out"
    r"|not (?:able|available|possible|found|working|accessible|exist)|could ?n[o']t|cannot|can[' ]?t"
    r"|did ?n[o']t|wasn't|was not"
    r"|without success|unsuccessful|denied|refused|rejected|try again|not yet|instead|however|missing"
    r"|no longer|no access"
    r"|does ?n[o']t|don't|down|outage|unknown|limit(?:ed)?|blocked|incomplete|partial(?:ly)?|not)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:agent )?stopped due to (?:max iterations|iteration limit|time limit|an? \w+ limit)[^\n]*|"
    r"(?:reached|hit|exceeded) (?:the |my |its )?(?:max(?:imum)?|limit)[\w ]{0,20} (?:iterations"
    r"|turns|steps|tool calls)[^\n]*"
    r"|sorry, need more steps to process this request[^\n]*",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"\b(?:sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|AKIA[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_-]{30,}|xox[abprs]-[A-Za-z0-9-]{20,}|glpat-[\w-]{20,})|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
)


def repetition(material: Material) -> Iterator[Finding]:
    """The third of equal calls with equal results, for each tool and arguments."""
    alike: dict[tuple[str, str], list[ToolCall]] = defaultdict(list)
    for call in material.trace.tool_calls:
        alike[call.name or "", canonical(call.arguments)].append(call)
    for (name, _), calls in alike.items():
        for place in range(_TIMES - 1, len(calls)):
            window = calls[place - _TIMES + 1 : place + 1]
            if len({_outcome(call) for call in window}) == 1:
                where = _shown(window[-1], material)
                if where is not None:
                    why = f"{name} was called {len(calls)} times with the same arguments and the same outcome"
                    yield found("repetition", material, *where, explanation=why, confidence=0.95)
                break


def _outcome(call: ToolCall) -> str:
    return f"error {(call.error or {}).get('message')}" if call.status == "error" else canonical(call.result)


def _shown(call: ToolCall, material: Material) -> tuple[str, tuple[str, int, int]] | None:
    if call.span_id is not None:
        for field in ("tool_arguments", "input", "tool_result", "output", "error"):
            text = material.texts(call.span_id).get(field, "")
            if text.strip():
                return call.span_id, (field, 0, len(text))
        return None
    asked = [each for each in material.trace.model_calls if each.start_ns <= call.start_ns]
    for each in reversed(asked):
        text = material.texts(each.span_id).get("output_messages", "")
        begin = text.find(f"{call.name}(")
        if begin >= 0:
            end = text.find("\n", begin)
            return each.span_id, ("output_messages", begin, len(text) if end < 0 else end)
    return None


def ping_pong(material: Material) -> Iterator[Finding]:
    """Two agents that take turns three times with no tool call between."""
    agents = [span for span in material.trace.spans if span.step == "agent" and span.agent_name and span.depth > 0]
    agents.sort(key=lambda span: (span.start_ns, span.depth))
    for place in range(len(agents) - 5):
        window = agents[place : place + 6]
        names = [span.agent_name for span in window]
        if names[0] == names[1] or names != [names[0], names[1]] * 3:
            continue
        if any(window[0].start_ns <= call.start_ns < window[-1].start_ns for call in material.trace.tool_calls):
            continue
        where = _text_of(window[2], material)
        if where is not None:
            why = f"{names[0]} and {names[1]} handed the work to each other, and no tool was called"
            yield found("ping_pong", material, window[2].span_id, where, explanation=why, confidence=0.9)
            return


def _text_of(span: Span, material: Material) -> tuple[str, int, int] | None:
    texts = material.texts(span.span_id)
    return next(((name, 0, len(texts[name])) for name in ("output", "input") if texts.get(name, "").strip()), None)


def ignored_tool_error(material: Material) -> Iterator[Finding]:
    """An answer that says nothing of the tool that failed right before it."""
    trace = material.trace
    calls = [call for call in trace.tool_calls if call.status is not None]
    if not calls or (trace.status == "error" and material.root.failed):
        return
    last = calls[-1]
    if went_well(last, material):
        return
    where = final_answer(material)
    if where is None:
        return
    span_id, field, text = where
    later = [each.span_id for each in trace.model_calls if each.start_ns >= last.start_ns]
    answers = [text, *(material.texts(each).get("output_messages", "") for each in later)]
    if not any(_ADMITS.search(each) for each in answers):
        why = f"the call of {last.name} failed, and the answer does not say so"
        yield found("ignored_tool_error", material, span_id, (field, 0, len(text)), explanation=why, confidence=0.8)


def final_answer(material: Material) -> tuple[str, str, str] | None:
    """Where the agent's answer stands: span, field, text. The last model call, else the root; `None` for nothing."""
    trace = material.trace
    if trace.model_calls:
        last = trace.model_calls[-1]
        texts = material.texts(last.span_id)
        asks = any(
            part.get("type") == "tool_call" for message in last.output_messages for part in message.get("parts", ())
        )
        for field in ("output_messages", "output"):
            if texts.get(field, "").strip() and not asks:
                return last.span_id, field, texts[field]
    text = material.texts(material.root.span_id).get("output", "")
    return (material.root.span_id, "output", text) if text.strip() else None


def empty_answer(material: Material) -> Iterator[Finding]:
    """An answer of nothing, in a trace that did not fail."""
    trace = material.trace
    if trace.status == "error" or not trace.model_calls:
        return
    last = trace.model_calls[-1]
    texts = material.texts(last.span_id)
    parts = [part for message in last.output_messages for part in message.get("parts") or ()]
    said = texts.get("output_messages", texts.get("output"))
    if said is not None and not said.strip() and not any(part.get("type") == "tool_call" for part in parts):
        if (trace.output or "").strip():
            return
        field = "output_messages" if "output_messages" in texts else "output"
        yield Finding(
            "empty_answer", last.span_id, "", field, 0, "high", 0.95, "the last model call answered with nothing"
        )
    elif trace.output is not None and not trace.output.strip() and "output" in material.texts(material.root.span_id):
        why = "the agent's output is empty"
        yield Finding("empty_answer", material.root.span_id, "", "output", 0, "high", 0.9, why)


def truncated_answer(material: Material) -> Iterator[Finding]:
    """Model calls that ended for reasons of length."""
    for call in material.trace.model_calls:
        reasons = {reason.lower() for reason in call.finish_reasons}
        if reasons & {"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"}:
            texts = material.texts(call.span_id)
            field = next(
                (name for name in ("output_messages", "output") if texts.get(name, "").strip()), "finish_reasons"
            )
            size = len(texts[field])
            words = (field, max(0, size - 120), size)
            why = "the answer ends where its length limit was reached"
            yield found("truncated_answer", material, call.span_id, words, explanation=why, confidence=0.95)


def filtered_answer(material: Material) -> Iterator[Finding]:
    """Model calls that a content filter ended."""
    for call in material.trace.model_calls:
        reasons = {reason.lower() for reason in call.finish_reasons}
        if call.status != "error" and reasons & {"content_filter", "safety", "recitation", "guardrail_intervened"}:
            text = material.texts(call.span_id).get("finish_reasons", "")
            yield found("content_filter", material, call.span_id, ("finish_reasons", 0, len(text)))


def step_limit(material: Material) -> Iterator[Finding]:
    """An answer that says that a limit on steps ended the work."""
    where = final_answer(material)
    match = None if where is None else _LIMIT.search(where[2][:2000])
    if where is not None and match is not None and match.start() < 60:
        yield found("step_limit", material, where[0], (where[1], match.start(), match.end()), confidence=0.9)


def empty_retrieval(material: Material) -> Iterator[Finding]:
    """Searches of a retriever that found no document."""
    for span in material.trace.spans:
        text = material.texts(span.span_id).get("documents", "")
        if span.step == "retriever" and not span.failed and re.fullmatch(r"\s*\[\s*\]\s*", text):
            words = ("documents", 0, len(text))
            yield found("poor_retrieval", material, span.span_id, words, explanation=f"{span.name} found nothing")


def secret_exposed(material: Material) -> Iterator[Finding]:
    """Keys and tokens in the answer that the user did not give."""
    where = final_answer(material)
    for match in _SECRET.finditer(where[2]) if where is not None else ():
        if where is not None and match[0] not in (material.trace.input or ""):
            yield found("secret_exposed", material, where[0], (where[1], match.start(), match.end()), confidence=0.9)
            return
