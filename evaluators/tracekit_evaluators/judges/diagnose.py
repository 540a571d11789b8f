"""What went wrong in a trace, where, and what came of what: by detectors alone, or by a model too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tracekit.errors import UsageError
from tracekit_evaluators.diagnosis._asking import Interview
from tracekit_evaluators.diagnosis.detect import detected
from tracekit_evaluators.diagnosis.locate import (
    Diagnosis,
    Limits,
    by_code,
    by_model,
    chosen,
    prompts,
    step_request,
    whole_request,
)
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.taxonomy import GROUPS, code_of
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.models import ChatModel, Request, resolve
from tracekit_evaluators.score import Evidence, Score
from tracekit_evaluators.subject import Subject


@judge(direction="minimize", values="number ≥ 0")
def diagnose(*, min_confidence: float = 0.5) -> Call:
    """How many things went wrong in the trace, as code sees it, and which, where and from what cause.

    `diagnose` is the number of findings; its evidence are their quotes, and its metadata hold each with code, span,
    place of the quote, severity, confidence and what came of it. `diagnose.root_cause` is the code of the root
    cause, or `none`. `diagnose.reasoning`, `.planning`, `.execution` and `.safety` say whether anything of that
    group was found.

    Args:
        min_confidence: How sure a detector must be for its finding to count, in [0,1].

    Raises:
        UsageError: The confidence lies outside of [0,1].

    Example:
        >>> diagnose().name
        'diagnose'
    """
    least = _confidence("diagnose", min_confidence)

    def call(subject: Subject) -> dict[str, Score]:
        return _scores("diagnose", by_code(subject.trace), least)

    return call


@judge(source="llm", direction="minimize", values="number ≥ 0")
def diagnose_with_model(
    *,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_spans: int = 40,
    max_chars: int = 16_000,
    max_tokens: int = 1_500,
    min_confidence: float = 0.5,
) -> Call:
    """How many things went wrong in the trace, as detectors and a model see it step by step and from the top.

    The scores are those of `diagnose`, under this judge's name. A finding of the model counts only where its quote
    stands in the span word for word; how many did not is in the metadata, and so is how many steps were left out.

    Args:
        model: A model's name on an OpenAI-compatible server, a spec of a model plugin, or a `ChatModel`; the setting
            `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_spans: The most steps that are judged one by one; each costs one question.
        max_chars: How much the model is shown at once, in characters.
        max_tokens: The longest answer, in tokens.
        min_confidence: How sure a finding must be to count, in [0,1].

    Raises:
        UsageError: A limit is not a positive number, or the confidence lies outside of [0,1].
        SettingError: No model or no server is named.

    Example:
        >>> diagnose_with_model(model="m", base_url="http://127.0.0.1:8000/v1").name
        'diagnose_with_model'
    """
    name = "diagnose_with_model"
    limits = Limits(
        max_spans=count_of(name, "max_spans", max_spans, at_least=1),
        max_chars=count_of(name, "max_chars", max_chars, at_least=1_000),
        max_tokens=count_of(name, "max_tokens", max_tokens, at_least=1),
    )
    least = _confidence(name, min_confidence)
    return _WithModel(resolve(model, base_url=base_url, timeout=timeout), limits, least)


@dataclass(frozen=True)
class _WithModel:
    model: ChatModel
    limits: Limits
    least: float

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides the findings besides the parameters: the prompts and the model."""
        digest = hashlib.sha256(prompts().encode()).hexdigest()
        return {"prompt_digest": digest, "model": dict(self.model.fingerprint)}

    async def __call__(self, subject: Subject) -> dict[str, Score]:
        """The diagnosis of a subject."""
        interview = Interview(self.model)
        diagnosis = await by_model(subject.trace, interview, limits=self.limits, sample=subject.sample)
        scores = _scores("diagnose_with_model", diagnosis, self.least)
        first = interview.onto(scores["diagnose_with_model"])
        told = {
            "spans_judged": diagnosis.spans_judged,
            "spans_left_out": diagnosis.spans_left_out,
            "quotes_left_out": diagnosis.quotes_left_out,
            "answers_unread": diagnosis.unread,
            "cached": interview.cached,
        }
        return {**scores, "diagnose_with_model": replace(first, metadata={**first.metadata, **told})}

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked about a subject."""
        material = Material(subject.trace)
        findings = detected(material)
        spans, _ = chosen(material, findings, self.limits)
        steps = [step_request(span, material, findings, "mark", self.limits, subject.sample) for span in spans]
        return [*steps, whole_request(material, findings, "mark", self.limits, subject.sample)]

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.model.aclose()


def _scores(name: str, diagnosis: Diagnosis, least: float) -> dict[str, Score]:
    findings = [each for each in diagnosis.findings if each.confidence >= least]
    root = diagnosis.root if diagnosis.root in findings else None
    words = [f"{each.code} ({each.severity}) in {each.span_id}: {each.explanation}" for each in findings[:10]]
    if root is not None:
        words.insert(0, f"root cause: {root.code} in {root.span_id}")
    scores = {
        name: Score(
            float(len(findings)),
            passed=not findings,
            explanation="; ".join(words) or "nothing was found",
            evidence=[Evidence(each.span_id, each.quote) for each in findings if each.quote],
            metadata={"findings": [each.to_dict() for each in findings], "root": None if root is None else root.key},
        ),
        f"{name}.root_cause": Score("none" if root is None else root.code, direction="neutral"),
    }
    for group in GROUPS:
        mine = [each for each in findings if code_of(each.code).group == group]
        scores[f"{name}.{group}"] = Score(
            bool(mine),
            explanation=", ".join(each.code for each in mine) or None,
            evidence=[Evidence(each.span_id, each.quote) for each in mine if each.quote],
        )
    return scores


def _confidence(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name}: min_confidence lies between 0 and 1, and is not {value!r}")
    return float(value)
