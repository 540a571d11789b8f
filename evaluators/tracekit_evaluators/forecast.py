"""What an evaluation is going to ask of models, and about what that costs, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tracekit.errors import TracekitError
from tracekit_evaluators._cases import Cases
from tracekit_evaluators.models._retry import tokens_of
from tracekit_evaluators.models.price import price

if TYPE_CHECKING:
    from tracekit_evaluators._targets import Targets
    from tracekit_evaluators.judge import Judge
    from tracekit_evaluators.models.chat import Request
    from tracekit_evaluators.subject import Subject

ANSWER_TOKENS = 300
"""How long a verdict with its evidence usually is; the most that a judge allows is several times that."""
_LOOKED_AT = 50
_USUAL_ANSWER = "word " * (ANSWER_TOKENS * 4 // 5)


@runtime_checkable
class Foretelling(Protocol):
    """A judge's function that can say what it would ask."""

    def requests(self, subject: Subject) -> Sequence[Request]:
        """What it would ask of its model about a subject."""


@dataclass(frozen=True)
class Forecast:
    """What one judge is going to do.

    Args:
        judge: Its name.
        subjects: How many traces, spans, sessions or pairs it will be called with.
        requests: How many questions to a model; `None` where the judge cannot say.
        input_tokens: About how many tokens it will send; `None` where the judge cannot say.
        output_tokens: About how many it will get back.
        cost_usd: About what that costs; `None` where the price is unknown, 0 where no model is asked.
    """

    judge: str
    subjects: int
    requests: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


@dataclass
class _Seen:
    subjects: int = 0
    looked: int = 0
    requests: int = 0
    tokens: int = 0
    dumb: bool = False


def forecast(targets: Targets, ids: Sequence[str], samples: int) -> list[Forecast]:
    """One forecast for each judge, extrapolated from the first subjects of each.

    Args:
        targets: What the judges will be called with.
        ids: The traces.
        samples: Verdicts on each subject.
    """
    seen = {judge.name: _Seen() for judge in targets.judges}
    for subject, judges in targets.of(ids):
        for judge in judges:
            _look(seen[judge.name], judge, subject)
    return [_told(judge, seen[judge.name], samples) for judge in targets.judges]


def forecast_of_cases(
    judges: Sequence[Judge], rows: Sequence[dict[str, object]], *, repeats: int, samples: int
) -> list[Forecast]:
    """One forecast for each judge of what a task is going to be tried with, before there is a trace.

    A case's try is taken to answer with what the case expects, or as long as a usual answer, in one step without calls
    of tools. How many spans or pairs there will be nobody knows yet, so a judge of those cannot be foretold; nor what
    the task itself is going to cost.

    Args:
        judges: Who judges.
        rows: The dataset's cases.
        repeats: How often each is tried.
        samples: Verdicts on each subject.
    """
    seen = {judge.name: _Seen(dumb=judge.declared.subject != "trace") for judge in judges}
    cases = Cases(list(rows))
    for row in rows:
        subject = _tried(cases, row)
        for judge in judges:
            _look(seen[judge.name], judge, subject)
    for each in seen.values():
        each.requests, each.tokens = each.requests * repeats, each.tokens * repeats
        each.subjects, each.looked = each.subjects * repeats, each.looked * repeats
    return [_told(judge, seen[judge.name], samples) for judge in judges]


def _tried(cases: Cases, row: Mapping[str, object]) -> Subject:
    from tracekit_collector.trace import assemble  # noqa: PLC0415 - the façade stays light
    from tracekit_evaluators.subject import Case, Subject, as_text  # noqa: PLC0415

    case_id = row.get("case_id")
    span: dict[str, object] = {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "1", "name": "task", "step": "agent"}
    span |= {"start_ns": 0, "duration_ns": 1, "status": "ok", "input": as_text(row.get("input"))}
    case = cases.of(assemble([{**span, "output": "", "case_id": None if case_id is None else str(case_id)}])) or Case()
    expected = case.expected or {}
    answer = next((expected[name] for name in ("output", "answer") if expected.get(name) is not None), None)
    span["output"] = _USUAL_ANSWER if answer is None else as_text(answer)
    return Subject(assemble([span]), case)


def _look(seen: _Seen, judge: Judge, subject: Subject) -> None:
    seen.subjects += 1
    if judge.declared.source != "llm" or seen.looked >= _LOOKED_AT or seen.dumb:
        return
    if not isinstance(judge.call, Foretelling):
        seen.dumb = True
        return
    seen.looked += 1
    try:
        requests = judge.call.requests(subject)
    except TracekitError:  # it lacks something, and no model will be asked
        return
    seen.requests += len(requests)
    seen.tokens += sum(tokens_of(request) - request.max_tokens for request in requests)


def _told(judge: Judge, seen: _Seen, samples: int) -> Forecast:
    if judge.declared.source != "llm":
        return Forecast(judge.name, seen.subjects, 0, 0, 0, 0.0)
    if seen.dumb:
        return Forecast(judge.name, seen.subjects, None, None, None, None)
    share = seen.subjects * samples / seen.looked if seen.looked else 0.0
    requests, sent = round(seen.requests * share), round(seen.tokens * share)
    got = requests * ANSWER_TOKENS
    model = judge.fingerprint.get("model")
    cost = None
    if isinstance(model, Mapping):
        server = model.get("base_url")
        cost = price(str(model.get("model")), sent, got, base_url=None if server is None else str(server))
    return Forecast(judge.name, seen.subjects, requests, sent, got, cost if requests else 0.0)
