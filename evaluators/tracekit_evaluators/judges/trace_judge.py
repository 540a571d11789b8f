"""A model's verdict on a trace that it reads by itself, page by page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.asking import current
from tracekit_evaluators.diagnosis._asking import Interview
from tracekit_evaluators.diagnosis.pages import Pages
from tracekit_evaluators.diagnosis.reader import Caps, CostCapped, Reader, Reading, prompt
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.models import ChatModel, resolve
from tracekit_evaluators.score import ParseFailed, Score, Status
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

_REACHED = (
    "The agent did what the user asked for, completely, and its last answer is true to what its "
    "steps show. Errors that "
    "it made good on the way do not count against it."
)
_BINARY = {"fail": "The criteria are not met.", "pass": "The criteria are met."}
_ALWAYS = {
    "not_applicable": "The criteria make no sense for this trace.",
    "cannot_tell": "The trace does not hold what is needed to decide.",
}


@judge(source="llm", values="{0,1} or [0,1]")
def trace_judge(
    *,
    criteria: str = _REACHED,
    levels: list[str] | None = None,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_steps: int = 20,
    max_cost_usd: float | None = None,
    max_chars: int = 4_000,
    max_tokens: int = 1_500,
) -> Call:
    """Whether a trace of any length meets criteria in plain words, as a model sees it that looks where it wants.

    The model pages through outline, steps, tool calls, errors, times and the session's other traces, and searches
    them; it ends in evidence and a verdict. Each look is a span under the judge's own trace.

    Args:
        criteria: What to judge, in a few sentences; whether the user's goal was reached when not given.
        levels: 2 to 5 texts, from worst to best; the value is then the level's place in [0,1]. Without them the verdict
            is pass or fail.
        model: A model's name on an OpenAI-compatible server, a spec of a model plugin, or a `ChatModel`; the setting
            `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_steps: The most answers of the model, the verdict among them; without a verdict by then the status is
            `parse_error`.
        max_cost_usd: The most that one verdict may cost, in US dollars, exceeded by one answer at most; the status
            is then
            `budget_exceeded`.
        max_chars: How long one page is, in characters.
        max_tokens: The longest answer, in tokens.

    Raises:
        UsageError: The criteria are empty, a cap is not positive, or there are fewer than 2 or more than 5 levels.
        SettingError: No model or no server is named.

    Example:
        >>> trace_judge(model="m", base_url="http://127.0.0.1:8000/v1").name
        'trace_judge'
    """
    name = "trace_judge"
    if not str(criteria).strip():
        raise UsageError("trace_judge needs criteria: a few sentences that say what to judge")
    if max_cost_usd is not None and (isinstance(max_cost_usd, bool) or not max_cost_usd > 0):
        raise UsageError(f"trace_judge: max_cost_usd is more than 0, and is not {max_cost_usd!r}")
    scale = _BINARY if levels is None else _scale(levels)
    caps = Caps(
        max_steps=count_of(name, "max_steps", max_steps, at_least=1),
        max_cost_usd=None if max_cost_usd is None else float(max_cost_usd),
        max_tokens=count_of(name, "max_tokens", max_tokens, at_least=1),
    )
    page = count_of(name, "max_chars", max_chars, at_least=500)
    client = resolve(model, base_url=base_url, timeout=timeout)
    return _TraceJudge(str(criteria).strip(), scale, levels is None, client, caps, page)


def _scale(levels: object) -> dict[str, str]:
    if not isinstance(levels, list) or not 2 <= len(levels) <= 5:
        raise UsageError(f"trace_judge needs a list of 2 to 5 levels, from worst to best, not {levels!r}")
    return {str(place): str(text) for place, text in enumerate(levels, start=1)}


@dataclass(frozen=True)
class _TraceJudge:
    criteria: str
    scale: Mapping[str, str]
    binary: bool
    model: ChatModel
    caps: Caps
    max_chars: int

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides the verdicts besides the parameters: the prompt and the model."""
        text = prompt(self.criteria, {**self.scale, **_ALWAYS})
        return {"prompt_digest": hashlib.sha256(text.encode()).hexdigest(), "model": dict(self.model.fingerprint)}

    async def __call__(self, subject: Subject) -> Score:
        """The model's verdict on a subject."""
        interview = Interview(self.model)
        pages = Pages(subject.trace, max_chars=self.max_chars, session=lambda: _session(subject))
        reader = Reader(pages, interview, self.criteria, {**self.scale, **_ALWAYS}, self.caps, subject.sample)
        try:
            score = self._score(await reader.read(), interview)
        except ParseFailed as error:
            score = self._without("parse_error", error, reader)
        except CostCapped as error:
            score = self._without("budget_exceeded", error, reader)
        return interview.onto(score)

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.model.aclose()

    def _score(self, reading: Reading, interview: Interview) -> Score:
        status: Status = "scored"
        if reading.verdict in _ALWAYS:
            status = "not_applicable" if reading.verdict == "not_applicable" else "missing_input"
        lost = reading.quotes_left_out
        words = reading.reasoning
        if lost:
            words += f" ({lost} {'quotes' if lost > 1 else 'quote'} not found in the trace, left out)"
        return Score(
            self._value(reading.verdict) if status == "scored" else None,
            status=status,
            explanation=words.strip() or None,
            evidence=reading.evidence,
            metadata={
                "verdict": reading.verdict,
                "looks": list(reading.looks),
                "quotes_left_out": lost,
                "cached": interview.cached,
            },
        )

    def _without(self, status: Status, error: Exception, reader: Reader) -> Score:
        return Score(status=status, explanation=str(error), metadata={"looks": list(reader.looks)})

    def _value(self, verdict: str) -> bool | float:
        if self.binary:
            return verdict == "pass"
        return list(self.scale).index(verdict) / (len(self.scale) - 1)


def _session(subject: Subject) -> Sequence[Trace]:
    """The traces of the subject's session, where they are given or can be looked up."""
    found = current().session
    if subject.session or found is None or subject.trace.session_id is None:
        return subject.session
    return found(subject.trace.session_id)
