"""Scores: what a judge says of one target, or why it says nothing.

A judge may answer with a bool, a number, a label, a `Score`, or a mapping of names to these; `named_scores` brings all
of them to one form. Only the status `scored` has a value: what went wrong is never a 0.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal, get_args

from tracekit.errors import TracekitError, UsageError

Status = Literal[
    "scored",
    "not_applicable",
    "missing_input",
    "judge_error",
    "parse_error",
    "refused",
    "timeout",
    "budget_exceeded",
]
Direction = Literal["maximize", "minimize", "neutral"]
Source = Literal["code", "llm", "human", "environment", "user"]
STATUSES: tuple[str, ...] = get_args(Status)
DIRECTIONS: tuple[str, ...] = get_args(Direction)
SOURCES: tuple[str, ...] = get_args(Source)
# Made once: `json.dumps` makes one each time.
_encoded = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False).encode


@dataclass(frozen=True)
class Evidence:
    """A place in the trace that a score rests on.

    Args:
        span_id: The span, in lower-case hex; `None` where the quote belongs to the trace as a whole.
        quote: What stands there, word for word.
    """

    span_id: str | None
    quote: str


_KINDS: dict[str, type | tuple[type, ...]] = {
    "value": (bool, int, float, str),
    "passed": bool,
    "explanation": str,
    "evidence": (list, tuple),
    "input_tokens": int,
    "output_tokens": int,
    "cost_usd": (int, float),
    "latency_ms": (int, float),
    "metadata": Mapping,
}


@dataclass(frozen=True)
class Score:
    """One judge's word on one target.

    Args:
        value: A number, a bool or a label; `None` exactly when the status is not `scored`.
        passed: Whether the target is good enough; `None` where nobody drew that line. A bool value says it by itself.
        explanation: Why, for a person.
        evidence: Where in the trace.
        direction: Which way is better; the judge's own direction when not given.
        status: `scored`, or why there is no value.
        input_tokens: Tokens that the judge itself read; `None` where unknown.
        output_tokens: Tokens that the judge itself wrote; `None` where unknown.
        cost_usd: What the verdict cost, in US dollars; `None` where unknown.
        latency_ms: How long the judge took; measured by the runner when not given.
        metadata: Anything else that is worth keeping, as JSON takes it.

    Raises:
        UsageError: A value without the status `scored`, or the other way round; a number that is not finite; a field
            that is of another type than it should be.

    Example:
        >>> Score(0.5, explanation="one of two facts").value
        0.5
    """

    value: float | bool | str | None = None
    _: KW_ONLY
    passed: bool | None = None
    explanation: str | None = None
    evidence: Sequence[Evidence] = ()
    direction: Direction | None = None
    status: Status = "scored"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("value", "passed", "cost_usd", "latency_ms"):
            object.__setattr__(self, name, _native(getattr(self, name)))
        for name, kinds in _KINDS.items():
            given = getattr(self, name)
            if given is not None and not isinstance(given, kinds):
                raise UsageError(f"a score's {name} cannot be a {type(given).__name__}: {given!r:.80}")
        if not all(isinstance(item, Evidence) for item in self.evidence):
            raise UsageError("a score's evidence is a list of Evidence(span_id, quote)")
        if self.status not in STATUSES:
            raise UsageError(f"{self.status!r} is no status of a score; one of {', '.join(STATUSES)}")
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise UsageError(f"{self.direction!r} is no direction; one of {', '.join(DIRECTIONS)}")
        if (self.value is None) is (self.status == "scored"):
            has = "no value" if self.value is None else f"the value {self.value!r}"
            raise UsageError(f"a score with status {self.status!r} cannot have {has}")
        if isinstance(self.value, (int, float)) and not math.isfinite(self.value):
            raise UsageError(f"the value {self.value!r} is not finite; raise NotApplicable or MissingInput instead")


Verdict = bool | int | float | str | Score | Mapping[str, bool | int | float | str | Score]
"""What a judge may return."""


class Unscored(TracekitError):  # noqa: N818 - an outcome that a judge announces, not a fault
    """A judge has no verdict; the status says why, the message says what exactly."""

    status: Status = "judge_error"


class MissingInput(Unscored):
    """The target lacks what the judge needs: an output, an expectation, a token count."""

    status: Status = "missing_input"


class NotApplicable(Unscored):
    """The judge's question makes no sense for this target, which then leaves the denominator."""

    status: Status = "not_applicable"


class ParseFailed(Unscored):
    """A model answered, but not in a form that can be read as a verdict."""

    status: Status = "parse_error"


class Refused(Unscored):
    """A model or its content filter refused to answer."""

    status: Status = "refused"


class TimedOut(Unscored):
    """No answer came in the time allowed."""

    status: Status = "timeout"


class BudgetExceeded(Unscored):
    """The run's budget in money or tokens is used up."""

    status: Status = "budget_exceeded"


def named_scores(verdict: object, *, name: str, direction: Direction) -> dict[str, Score]:
    """A verdict as scores by name.

    Args:
        verdict: What a judge returned.
        name: The judge's name, which a single verdict's score gets.
        direction: Which way is better, for bare values and for scores that do not say so.

    Returns:
        At least one score.

    Raises:
        UsageError: The verdict is none of the forms that a judge may return.

    Example:
        >>> named_scores(True, name="polite", direction="maximize")["polite"].passed
        True
    """
    if not isinstance(verdict, Mapping):
        return {name: _score(verdict, name, direction)}
    if not verdict:
        raise UsageError(f"{name} returned an empty mapping; return a verdict or raise NotApplicable")
    for key in verdict:
        if not isinstance(key, str) or not key.strip():
            raise UsageError(f"{name} returned a mapping with the name {key!r}; names are texts")
    return {str(key): _score(item, str(key), direction) for key, item in verdict.items()}


def unscored(error: BaseException) -> Score:
    """The score that stands for a judge that raised: its status, type and message, without a value."""
    if isinstance(error, Unscored):
        return Score(status=error.status, explanation=str(error))
    # Until Python 3.11 asyncio's TimeoutError is another one.
    late = isinstance(error, (TimeoutError, asyncio.TimeoutError))
    status: Status = "timeout" if late else "judge_error"
    return Score(status=status, explanation=f"{type(error).__name__}: {error}")


def value_columns(score: Score) -> dict[str, object]:
    """The columns `value_type`, `value` and `label` of a score's row in the lake."""
    value = score.value
    if isinstance(value, bool):
        return {"value_type": "bool", "value": float(value), "label": None}
    if isinstance(value, str):
        return {"value_type": "label", "value": None, "label": clean(value)}
    return {"value_type": None if value is None else "number", "value": value, "label": None}


def detail_columns(score: Score) -> dict[str, object]:
    """The columns of a score's row that say why: explanation, evidence, metadata."""
    evidence = [{"span_id": item.span_id, "quote": item.quote} for item in score.evidence]
    return {
        "explanation": None if score.explanation is None else clean(score.explanation),
        "evidence": json_column(evidence) if evidence else None,
        "metadata": json_column(score.metadata) if score.metadata else None,
    }


def json_column(value: object) -> str:
    """A value as JSON text that any reader takes; what JSON does not know is written as text."""
    try:
        text = _encoded(value)
    except (TypeError, ValueError, RecursionError):
        text = _forced(value)
    return clean(text)


def clean(text: str) -> str:
    """Text without lone surrogates, which no UTF-8 column can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _score(verdict: object, name: str, direction: Direction) -> Score:
    score = verdict if isinstance(verdict, Score) else Score(_plain(verdict, name))
    toward = score.direction or direction
    passed = score.passed
    if passed is None and isinstance(score.value, bool) and toward != "neutral":
        passed = score.value is (toward == "maximize")
    if toward == score.direction and passed is score.passed:
        return score
    return replace(score, direction=toward, passed=passed)


def _plain(verdict: object, name: str) -> bool | float | str:
    verdict = _native(verdict)
    if isinstance(verdict, (bool, str)):
        return verdict
    if isinstance(verdict, (int, float)):
        return float(verdict)
    kind = "None" if verdict is None else f"a {type(verdict).__name__}"
    raise UsageError(f"{name} returned {kind}; a verdict is a bool, a number, a label, a Score or a mapping of these")


def _native(value: object) -> object:
    """A numpy scalar, known by its shape, as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _forced(value: object) -> str:
    """JSON of a value that holds what JSON cannot: NaN becomes null, the rest text."""
    try:
        return json.dumps(json.loads(json.dumps(value, default=str), parse_constant=lambda _: None), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(value)[:10_000], ensure_ascii=False)
