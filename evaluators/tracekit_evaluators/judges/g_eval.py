"""G-Eval: criteria on a scale of 1 to 5, weighted by how likely the model held each level to be.

Where the server names likely tokens, the value is the mean of the levels, weighted by the probability of each at the
place of the verdict: Σ s·p(s) / Σ p(s) over the levels among the named tokens (Liu et al. 2023). The probability that
these levels have together is kept as the captured mass. Where it names none, the value is the mean of several samples.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Outcome, Prompt, Spent
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges.rubric import scale_of
from tracekit_evaluators.models import Completion, Request, resolve
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject

_LEVELS = [
    "The criteria are not met at all.",
    "The criteria are met in small part.",
    "The criteria are met in part.",
    "The criteria are met, with a small flaw.",
    "The criteria are met fully.",
]
_VERDICT = re.compile(r'"verdict"\s*:\s*"?\s*(\d)')


@judge(source="llm", needs=("output",), values="[0,1]")
def g_eval(
    *,
    criteria: str,
    model: object = None,
    steps: list[str] | None = None,
    levels: list[str] | None = None,
    samples: int = 5,
    top_logprobs: int = 20,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """How well criteria in plain words are met, weighted by the model's own probabilities of each level.

    Args:
        criteria: What to judge, in a few sentences.
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        steps: How to come to a verdict, step by step; written once and then part of the judge's digest.
        levels: 2 to 5 texts, from worst to best; five common ones when not given.
        samples: How many answers are averaged where the server names no probabilities.
        top_logprobs: How many likely tokens to ask for; 0 averages samples at once.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The criteria are empty, the levels are too few or too many, or there is no sample to take.

    Example:
        >>> g_eval(criteria="It is brief.", model="m", base_url="http://127.0.0.1:8000/v1").name
        'g_eval'
    """
    if not str(criteria).strip():
        raise UsageError("g_eval needs criteria: a few sentences that say what to judge")
    if samples < 1 or top_logprobs < 0:
        raise UsageError(f"g_eval takes samples ≥ 1 and top_logprobs ≥ 0, not {samples} and {top_logprobs}")
    text = str(criteria).strip()
    if steps:
        text += "\n\nGo about it in these steps:\n" + "\n".join(f"{n}. {step}" for n, step in enumerate(steps, start=1))
    client = resolve(model, base_url=base_url, timeout=timeout)
    prompt = Prompt(text, scale_of("g_eval", _LEVELS if levels is None else levels))
    asked = Asked("g_eval", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample * samples)
    return _GEval(asked, samples, top_logprobs)


@dataclass(frozen=True)
class _GEval:
    asked: Asked
    samples: int
    top_logprobs: int

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompt and the model."""
        return self.asked.fingerprint

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked; more where it names no probabilities."""
        return self.asked.requests(subject)

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.asked.aclose()

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """The weighted level, or the mean of several samples."""
        own = replace(subject, sample=subject.sample * self.samples)
        first = await self.asked.outcome(own, logprobs=self.top_logprobs)
        failed = first.failed()
        if failed is not None:
            return failed
        levels = list(self.asked.prompt.form.verdicts)[:-2]
        weighed = weighted(first.last, levels)
        if weighed is not None:
            value, mass = weighed
            told: dict[str, object] = {"method": "logprobs", "captured_mass": round(mass, 6)}
            return first.dressed(Score(value, metadata=told))
        return await self._sampled(first, own)

    async def _sampled(self, first: Outcome, subject: Subject) -> Score:
        rest = [
            self.asked.outcome(replace(subject, sample=subject.sample + place), logprobs=self.top_logprobs)
            for place in range(1, self.samples)
        ]
        outcomes = [first, *await asyncio.gather(*rest)]
        scores = [self.asked.scored(outcome, subject) for outcome in outcomes]
        values = [float(each.value) for each in scores if isinstance(each, Score) and isinstance(each.value, float)]
        told = {"method": f"mean of {len(values)} samples", "values": values, "no_verdict": len(outcomes) - len(values)}
        whole = first.dressed(Score(sum(values) / len(values), metadata=told))
        return Spent.on([outcome.spent for outcome in outcomes]).onto(whole)


def weighted(completion: Completion, levels: Sequence[str]) -> tuple[float, float] | None:
    """The levels' mean in [0,1], weighted by their probabilities at the place of the verdict, and the captured mass.

    Args:
        completion: A model's answer.
        levels: The levels from worst to best, as the model writes them.

    Returns:
        `None` where the answer names no tokens, or none of those at the verdict's place is a level.

    Example:
        >>> top = [["1", -0.6931471805599453], ["3", -0.6931471805599453]]
        >>> weighted(Completion('{"verdict": "3"}', logprobs=[
        ...     {"token": '{"verdict": "', "top": []}, {"token": "3", "top": top}, {"token": '"}', "top": []}]),
        ...     ["1", "2", "3"])
        (0.5, 1.0)
    """
    place = _place(completion)
    if place is None:
        return None
    mass: dict[str, float] = {}
    top = completion.logprobs[place].get("top")
    for pair in top if isinstance(top, list) else []:
        token = str(pair[0]).strip().strip("\"' ")
        if token in levels:
            mass[token] = mass.get(token, 0.0) + math.exp(float(pair[1]))
    total = sum(mass.values())
    if total <= 0:
        return None
    last = len(levels) - 1
    return sum(levels.index(level) / last * share for level, share in mass.items()) / total, min(1.0, total)


def _place(completion: Completion) -> int | None:
    """The token in which the last verdict's digit stands."""
    text = "".join(str(each.get("token")) for each in completion.logprobs)
    found = list(_VERDICT.finditer(text))
    if not found:
        return None
    wanted, end = found[-1].start(1), 0
    for place, each in enumerate(completion.logprobs):
        end += len(str(each.get("token")))
        if wanted < end:
            return place
    return None
