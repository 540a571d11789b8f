"""What an evaluation is going to ask of models, and about what that costs, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tracekit.errors import TracekitError
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
