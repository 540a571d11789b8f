"""Diagnosis with a model: each step by itself with a dossier, then the whole from the top, then what stands the test.

The same model finds several times as much when it judges one step at a time, and then the whole, as when it is given
the whole at once (arXiv 2605.14865). A finding counts only where its quote stands in the step word for word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tracekit_evaluators.diagnosis._asking import FENCE, Interview, Unfit, fenced, listed, share
from tracekit_evaluators.diagnosis.causes import linked, root_cause
from tracekit_evaluators.diagnosis.detect import detected
from tracekit_evaluators.diagnosis.dossier import dossier
from tracekit_evaluators.diagnosis.finding import Finding, merged, verified
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.outline import cut, outline
from tracekit_evaluators.diagnosis.taxonomy import CODES, SEVERITIES, Severity, code_of, known
from tracekit_evaluators.models.chat import Request
from tracekit_evaluators.score import ParseFailed

if TYPE_CHECKING:
    from tracekit_collector.trace import Span, Trace

_CODES = "\n".join(f"- {code.id}: {code.about}" for code in CODES)
_STEP = f"""You look for faults in one step of the work of an AI agent.

# Faults
{_CODES}

# Rules
- {FENCE}
- Judge this step alone. Errors of other steps belong to them; a step that was given a wrong input did not make it
  wrong.
- Name a fault only where words of this step show it: copy these words, letter for letter, as the quote.
- Most steps have no fault; then give an empty list.
- For each fault give the quote, then the reasoning in a sentence, then the code, severity and your confidence."""
_WHOLE = f"""You look for faults in the work of an AI agent, as a whole. Its steps have been looked at one by one.

# Faults
{_CODES}

# Rules
- {FENCE}
- Add what only shows when the whole is seen: a goal that was lost, a step that is missing, an answer that what was
  found does not bear out. Leave out what is known already.
- Name the span that each fault happened in, and copy words of that span, letter for letter, as the quote.
- Last name the root cause: the one fault, known or new, without which the others would not have come; an empty code and
  span where there is none."""
_TEXT: Mapping[str, object] = {"type": "string"}


@dataclass(frozen=True)
class Limits:
    """How much a model is asked and shown.

    Args:
        max_spans: The most steps that are judged one by one.
        max_chars: The most that it is shown at once, in characters.
        max_tokens: The longest answer.
        at_once: How many steps wait for an answer at once.
    """

    max_spans: int = 40
    max_chars: int = 16_000
    max_tokens: int = 1_500
    at_once: int = 4


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong in a trace.

    Args:
        findings: In the order of the spans, linked.
        root: The finding that the others come from; `None` where nothing was found.
        spans_judged: How many steps a model judged.
        spans_left_out: How many it did not, because there were more than the limit.
        quotes_left_out: How many findings were dropped because their quote does not stand in the span.
        unread: How many answers could not be read.
    """

    findings: tuple[Finding, ...]
    root: Finding | None
    spans_judged: int = 0
    spans_left_out: int = 0
    quotes_left_out: int = 0
    unread: int = 0


def by_code(trace: Trace) -> Diagnosis:
    """A diagnosis by detectors alone."""
    findings = detected(Material(trace))
    return Diagnosis(tuple(findings), root_cause(findings))


async def by_model(trace: Trace, interview: Interview, *, limits: Limits, sample: int = 0) -> Diagnosis:
    """A diagnosis by detectors, and by a model step by step and from the top.

    Args:
        trace: What happened.
        interview: The model, and what asking it took.
        limits: How much it is asked and shown.
        sample: Which of several independent diagnoses this is.

    Raises:
        ParseFailed: No answer could be read.
    """
    material = Material(trace)
    before = detected(material)
    spans, left_out = chosen(material, before, limits)
    asked = await _steps(spans, material, before, interview, limits, sample)
    said = [each for found in asked if found is not None for each in found]
    unread = sum(found is None for found in asked)
    stood = verified(said, material)
    findings = merged([*before, *stood], material.order)
    try:
        more, root_key = await interview.about(
            lambda mark: whole_request(material, findings, mark, limits, sample),
            lambda value: _read_whole(value, material),
        )
    except ParseFailed:
        if unread == len(spans):
            raise
        more, root_key, unread = [], "", unread + 1
    added = verified(more, material)
    every = linked(merged([*findings, *added], material.order), material)
    root = next((each for each in every if each.key == root_key), None) or root_cause(every)
    lost = len(said) - len(stood) + len(more) - len(added)
    return Diagnosis(tuple(every), root, len(spans), left_out, lost, unread)


def chosen(material: Material, findings: Sequence[Finding], limits: Limits) -> tuple[list[Span], int]:
    """The steps that are judged one by one, and how many are left out: failed ones, tools and models come first."""
    marked = {each.span_id for each in findings}
    rank = {"tool": 1, "llm": 1, "retriever": 2, "agent": 3}
    spans = [span for span in material.trace.spans if span.same_as is None and _says_anything(span, material)]
    ranked = sorted(spans, key=lambda span: 0 if span.span_id in marked or span.failed else rank.get(span.step, 4))
    kept = {span.span_id for span in ranked[: limits.max_spans]}
    return [span for span in spans if span.span_id in kept], len(spans) - len(kept)


def step_request(
    span: Span, material: Material, findings: Sequence[Finding], mark: str, limits: Limits, sample: int
) -> Request:
    """What a model is asked about one step."""
    body = dossier(span, material, findings, max_chars=limits.max_chars)
    user = fenced(mark, body, "Give the faults of this step.")
    messages = [{"role": "system", "content": _STEP}, {"role": "user", "content": user}]
    return Request(messages, schema=_shape(whole=False), max_tokens=limits.max_tokens, sample=sample)


def whole_request(material: Material, findings: Sequence[Finding], mark: str, limits: Limits, sample: int) -> Request:
    """What a model is asked about the whole."""
    told = "\n".join(f"{each.code} in {each.span_id}: {each.quote[:200]}" for each in findings)
    parts = [
        ("the goal", cut(material.trace.input or "(not recorded)", limits.max_chars // 6)),
        ("the steps", outline(material, max_chars=limits.max_chars // 2)),
        ("the answer", cut(material.trace.output or "(none)", limits.max_chars // 6)),
        ("known faults", cut(told or "(none)", limits.max_chars // 6)),
    ]
    body = "\n\n".join(f"[{name}]\n{text}" for name, text in parts)
    user = fenced(mark, body, "Give what is missing among the known faults, and the root cause.")
    messages = [{"role": "system", "content": _WHOLE}, {"role": "user", "content": user}]
    return Request(messages, schema=_shape(whole=True), max_tokens=limits.max_tokens, sample=sample)


async def _steps(
    spans: Sequence[Span],
    material: Material,
    before: Sequence[Finding],
    interview: Interview,
    limits: Limits,
    sample: int,
) -> list[list[Finding] | None]:
    """What a model finds in each step, `None` where it cannot be read; where one question fails, all are given up."""
    gate = asyncio.Semaphore(limits.at_once)

    async def one(span: Span) -> list[Finding] | None:
        async with gate:
            try:
                return await interview.about(
                    lambda mark: step_request(span, material, before, mark, limits, sample),
                    lambda value: _read(value, span.span_id),
                )
            except ParseFailed:
                return None

    tasks = [asyncio.ensure_future(one(span)) for span in spans]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _read_whole(value: Mapping[str, object], material: Material) -> tuple[list[Finding], str]:
    found = []
    for each in listed(value.get("findings")):
        span_id = each.get("span_id")
        if isinstance(span_id, str) and span_id in material.spans:
            found += _read({"findings": [dict(each)]}, span_id)
    root = value.get("root_cause")
    key = f"{root.get('code')}@{root.get('span_id')}" if isinstance(root, Mapping) else ""
    if "findings" not in value:
        raise Unfit("it has no list of findings")
    return found, key


def _read(value: Mapping[str, object], span_id: str) -> list[Finding]:
    if not isinstance(value.get("findings"), list):
        raise Unfit("it has no list of findings")
    found = []
    for each in listed(value["findings"]):
        code, quote = each.get("code"), each.get("quote")
        if not known(code) or not isinstance(quote, str) or not quote.strip():
            continue
        severity = each.get("severity")
        grade = severity if severity in SEVERITIES else code_of(str(code)).severity
        reasoning = str(each.get("reasoning") or "")[:1000]
        sure = share(each.get("confidence"), 0.5)
        found.append(
            Finding(
                str(code), span_id, quote.strip(), "", 0, cast("Severity", grade), sure, reasoning, found_by="model"
            )
        )
    return found


def _shape(*, whole: bool) -> dict[str, object]:
    own: dict[str, object] = {"span_id": _TEXT} if whole else {}
    item = {
        **own,
        "quote": _TEXT,
        "reasoning": _TEXT,
        "code": {"type": "string", "enum": [code.id for code in CODES]},
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "confidence": {"type": "number"},
    }
    properties: dict[str, object] = {"findings": {"type": "array", "items": _object(item)}}
    if whole:
        properties["root_cause"] = _object({"code": _TEXT, "span_id": _TEXT})
    return _object(properties)


def _object(properties: Mapping[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _says_anything(span: Span, material: Material) -> bool:
    return any(text.strip() for text in material.texts(span.span_id).values())


def prompts() -> str:
    """All that is said to the model besides the material, for the digest of a judge."""
    return f"{_STEP}\x00{_WHOLE}"
