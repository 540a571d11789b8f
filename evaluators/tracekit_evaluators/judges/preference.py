"""Which of two tries at one case is better, asked in both orders.

A model tends to prefer what it sees first (or last). So it is asked twice, with the two tries swapped, and only a
preference that stands both times counts; otherwise it is a tie, and the score says that the order decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Prompt, Scale, Spent
from tracekit_evaluators.asked.forms import Reading
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._answers import Unreadable
from tracekit_evaluators.judges._material import Piece, fitted, piece
from tracekit_evaluators.models import Request, resolve
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject

_CRITERIA = """Two answers to one request stand in the material: "answer one" and "answer two".
Decide which is better by this:
{criteria}
Their order says nothing. Where neither is clearly better, it is a tie."""
_LEVELS = {"one": "Answer one is better.", "two": "Answer two is better.", "tie": "Neither is clearly better."}
_DEFAULT = "The better answer does more of what the user wants, rightly and without harm. Length is no merit."
_VALUE = {"one": 1.0, "tie": 0.5, "two": 0.0}


@judge(source="llm", needs=("output", "other"), values="{0,0.5,1}", subject="pair")
def preference(
    *,
    criteria: str = _DEFAULT,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """Which of two tries is better, asked in both orders: 1 for this one, 0 for the other, 0.5 for a tie.

    The mean over cases is the win rate. `preference.label` says `A` (this one), `B` or `tie`, and
    `preference.consistent` whether both orders gave the same.

    Args:
        criteria: What makes an answer the better one.
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of both tries the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The criteria are empty.
    """
    if not str(criteria).strip():
        raise UsageError("preference needs criteria: what makes an answer the better one")
    client = resolve(model, base_url=base_url, timeout=timeout)
    prompt = Prompt(_CRITERIA.format(criteria=str(criteria).strip()), Scale(_LEVELS, {}))
    asked = Asked("preference", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample)
    swapped = replace(asked, prompt=replace(prompt, look=_second_first))
    return _Preference(replace(asked, prompt=replace(prompt, look=_first_first)), swapped)


@dataclass(frozen=True)
class _Preference:
    straight: Asked
    swapped: Asked

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompt and the model."""
        return self.straight.fingerprint

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked: twice."""
        return [*self.straight.requests(subject), *self.swapped.requests(subject)]

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.straight.aclose()

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """The preference that stands in both orders."""
        one, two = await asyncio.gather(self.straight.outcome(subject), self.swapped.outcome(subject))
        spent = Spent.on([one.spent, two.spent])
        for outcome in (one, two):
            failed = outcome.failed()
            if failed is not None:
                return spent.onto(failed)
        first, second = _said(one.reading), {"one": "two", "two": "one", "tie": "tie"}[_said(two.reading)]
        agreed = first == second
        verdict = first if agreed else "tie"
        words = None if agreed else "The preference changed with the order, which makes it a tie."
        told = {"orders": [first, second], "order_consistent": agreed}
        score = one.dressed(Score(_VALUE[verdict], explanation=words, metadata=told))
        label = {"one": "A", "two": "B", "tie": "tie"}[verdict]
        return {
            "preference": spent.onto(score),
            "preference.label": Score(label, direction="neutral"),
            "preference.consistent": Score(agreed, direction="maximize"),
        }


def _said(reading: Reading | Unreadable) -> str:
    return reading.verdict if isinstance(reading, Reading) else "tie"


def _first_first(subject: Subject, max_chars: int) -> list[Piece]:
    return _shown(subject, max_chars, swapped=False)


def _second_first(subject: Subject, max_chars: int) -> list[Piece]:
    return _shown(subject, max_chars, swapped=True)


def _shown(subject: Subject, max_chars: int, *, swapped: bool) -> list[Piece]:
    if subject.other is None:
        raise MissingInput("no other try at the same case is there to compare with")
    tries = [subject.other, subject] if swapped else [subject, subject.other]
    pieces = [piece("input", None, subject.input)]
    for name, each in zip(("one", "two"), tries, strict=True):
        pieces.append(replace(piece(f"answer {name}", None, each.output_text), span_id=_root(each)))
    if subject.expected:
        pieces.append(
            piece("expected (for comparison, not part of the trace)", None, dict(subject.expected), own=False)
        )
    return fitted([each for each in pieces if each.text.strip()], max_chars)


def _root(subject: Subject) -> str | None:
    return next((span.span_id for span in subject.trace.spans if span.parent_span_id is None), None)
