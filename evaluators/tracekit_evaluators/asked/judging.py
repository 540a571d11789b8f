"""Asking a prompt's question about a subject, reading the answer, and making scores of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tracekit_evaluators.asked.forms import Reading
from tracekit_evaluators.asked.prompt import AGAIN, Prompt
from tracekit_evaluators.asking import ask, keep, known
from tracekit_evaluators.cache import key_of
from tracekit_evaluators.judges._answers import Unreadable
from tracekit_evaluators.judges._material import Piece, count, evidence
from tracekit_evaluators.models import ChatModel, Completion, Request
from tracekit_evaluators.score import Score, Status
from tracekit_evaluators.subject import Subject

_UNSCORED: dict[str, Status] = {"not_applicable": "not_applicable", "cannot_tell": "missing_input"}
_NUMBERED = ("documents", "tools", "steps", "session")
_MARK = "mark"
"""What stands for the random mark where a question is only counted or looked up."""


@dataclass(frozen=True)
class Spent:
    """What answers took together; unknown where it is unknown of one.

    Args:
        input_tokens: Tokens that the model read.
        output_tokens: Tokens that it wrote.
        cost_usd: US dollars.
    """

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0

    @classmethod
    def on(cls, asked: Sequence[Completion | Score | Spent]) -> Spent:
        """What several answers, scores or sums took."""
        read, wrote = [each.input_tokens for each in asked], [each.output_tokens for each in asked]
        costs = [each.cost_usd for each in asked]
        return cls(
            None if None in read else sum(filter(None, read)),
            None if None in wrote else sum(filter(None, wrote)),
            None if None in costs else sum(filter(None, costs)),
        )

    def onto(self, score: Score) -> Score:
        """The score, with what it took."""
        return replace(score, input_tokens=self.input_tokens, output_tokens=self.output_tokens, cost_usd=self.cost_usd)


@dataclass(frozen=True)
class Outcome:
    """What came of a question.

    Args:
        reading: The answer, or what is wrong with it.
        pieces: What the model was shown.
        last: Its last answer.
        spent: What all answers took.
        cached: Whether the answer was known.
    """

    reading: Reading | Unreadable
    pieces: Sequence[Piece]
    last: Completion
    spent: Spent
    cached: bool

    def failed(self) -> Score | None:
        """The score without a value, where the answer is none or says that there can be none; else `None`."""
        if isinstance(self.reading, Unreadable):
            words = f"{self.reading.fault}; the model's last answer began: {self.last.text[:200]!r}"
            return self.spent.onto(Score(status="parse_error", explanation=words))
        status = _UNSCORED.get(self.reading.verdict)
        return None if status is None else self.dressed(Score(status=status))

    def dressed(self, score: Score) -> Score:
        """A score with the answer's words and evidence, and what it took."""
        assert isinstance(self.reading, Reading)  # noqa: S101 - failed() has sent the others away
        found = [evidence(quote, span_id, self.pieces) for quote, span_id in self.reading.quotes]
        lost = found.count(None)
        words = self.reading.reasoning
        if lost:
            words += f" ({lost} {'quotes' if lost > 1 else 'quote'} not found in the trace, left out)"
        told = {
            "verdict": self.reading.verdict,
            "model": self.last.model,
            "cached": self.cached,
            "quotes_left_out": lost,
            "attempts": self.last.attempts,
            **self.last.detail,
        }
        return replace(
            score,
            explanation=" ".join(filter(None, (score.explanation, words.strip()))) or None,
            evidence=[item for item in found if item is not None],
            metadata={**told, **score.metadata},
            **vars(self.spent),
        )


@dataclass(frozen=True)
class Asked:
    """The function of a judge that puts one question to one model.

    Args:
        name: The judge's name, which its scores carry.
        prompt: The question.
        model: Whom to ask.
        max_chars: How much of the subject the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.
        options: What the form's measure takes: `mode`, `beta`.
        mend: Changes what was read before it is scored: code that checks what code can check.
        passes: Whether a value is good enough; `None` where nobody drew that line.
        sizes: How many numbered elements there are that stand in the criteria: `rules`.
    """

    name: str
    prompt: Prompt
    model: ChatModel
    max_chars: int = 60_000
    max_tokens: int = 2000
    sample: int = 0
    options: Mapping[str, object] = field(default_factory=dict)
    mend: Callable[[Reading, Subject], Reading] | None = None
    passes: Callable[[object], bool] | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides the verdicts besides the parameters: the prompt and the model."""
        return {"prompt_digest": self.prompt.digest, "model": dict(self.model.fingerprint)}

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """The model's verdict on a subject."""
        return self.scored(await self.outcome(subject), subject)

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked about a subject."""
        pieces = self.prompt.material(subject, self.max_chars)
        return [self._request(pieces, sample=subject.sample, mark=_MARK)]

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.model.aclose()

    async def outcome(self, subject: Subject, *, logprobs: int = 0) -> Outcome:
        """Ask, or remember; a second time where the first answer cannot be read.

        Args:
            subject: What is judged.
            logprobs: How many likely tokens to ask for at each place of the answer.
        """
        pieces = self.prompt.material(subject, self.max_chars)
        sizes = {**{over: count(subject, over) for over in _NUMBERED}, **self.sizes}
        plain = self._request(pieces, sample=subject.sample, mark=_MARK, logprobs=logprobs)
        key = key_of(self.model.fingerprint, plain)
        before = known(key)
        if before is not None:
            reading = self.prompt.form.read(before.text, sizes)
            if isinstance(reading, Reading):
                return Outcome(reading, pieces, before, Spent(), cached=True)
        request = self._request(pieces, sample=subject.sample, mark=secrets.token_hex(8), logprobs=logprobs)
        asked, found = await self._ask(request, sizes)
        if isinstance(found, Reading):
            keep(key, asked[-1])
        return Outcome(found, pieces, asked[-1], Spent.on(asked), cached=False)

    def scored(self, outcome: Outcome, subject: Subject) -> Score | dict[str, Score]:
        """What an outcome is worth: one score, or several by name where the form gives several."""
        failed = outcome.failed()
        if failed is not None:
            return failed
        reading = outcome.reading
        assert isinstance(reading, Reading)  # noqa: S101 - failed() has sent the others away
        if self.mend is not None:
            reading = self.mend(reading, subject)
        scores = self.prompt.form.scores(reading, self.options)
        own = scores.pop("")
        if self.passes is not None:
            own = replace(own, passed=self.passes(own.value))
        whole = outcome.dressed(own)
        if not scores:
            return whole
        return {self.name: whole, **{f"{self.name}.{name}": each for name, each in scores.items()}}

    async def _ask(self, request: Request, sizes: Mapping[str, int]) -> tuple[list[Completion], Reading | Unreadable]:
        first = await ask(self.model, request)
        form = self.prompt.form
        found = form.read(first.text, sizes)
        if isinstance(found, Reading):
            return [first], found
        fault = f"{found.fault} (it was cut off)" if first.finish_reason == "length" else found.fault
        again = AGAIN.format(fault=fault, verdicts=", ".join(form.verdicts))
        repair = [{"role": "assistant", "content": first.text or "(nothing)"}, {"role": "user", "content": again}]
        second = await ask(self.model, replace(request, messages=[*request.messages, *repair]))
        return [first, second], form.read(second.text, sizes)

    def _request(self, pieces: Sequence[Piece], *, sample: int, mark: str, logprobs: int = 0) -> Request:
        number = self.sample + sample
        return self.prompt.request(pieces, mark=mark, max_tokens=self.max_tokens, sample=number, logprobs=logprobs)
