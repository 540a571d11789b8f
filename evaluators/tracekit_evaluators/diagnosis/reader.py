"""A model that reads a whole trace by itself: it looks where it wants, and ends in evidence and verdict.

Each of its answers is one JSON object, `{"action": …, "arguments": {…}}`, so that any model that can chat can do it.
What it looks at comes back between lines with a mark. It is told how many answers
are left; the last must be the verdict.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tracekit_evaluators.asking import current, keep, known
from tracekit_evaluators.cache import key_of
from tracekit_evaluators.diagnosis._asking import FENCE, Interview, Unfit, fenced, listed, understood
from tracekit_evaluators.diagnosis.pages import ACTIONS, Pages
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.score import Evidence, ParseFailed

_INSTRUCTIONS = """You are a careful, impartial judge of the work of an AI agent. Its trace is too long to be shown at
once: look at it step by step, then give a verdict.

# Criteria
{criteria}

# Verdicts
{verdicts}

# Actions
Answer each time with one JSON object and nothing else: {{"action": NAME, "arguments": {{…}}}}. The actions are:
{actions}
- verdict: {{"evidence": [{{"span_id": "…", "quote": "…"}}], "reasoning": "…", "verdict": "…"}} – the end; a quote is
  copied letter for letter from the texts of its span

# Rules
- {fence}
- You have {steps} answers in all, the verdict among them. Look only at what the criteria need."""


@dataclass(frozen=True)
class Caps:
    """What a reader may take.

    Args:
        max_steps: The most answers of the model, the verdict among them.
        max_cost_usd: The most that it may spend, in US dollars; `None` for no cap of its own. Costs that are unknown
            do not count.
        max_tokens: The longest answer, in tokens.
    """

    max_steps: int = 20
    max_cost_usd: float | None = None
    max_tokens: int = 1_500


@dataclass(frozen=True)
class Reading:
    """What a reader came to.

    Args:
        verdict: One of the verdicts that were offered.
        reasoning: Why.
        evidence: Quotes that stand in their spans.
        quotes_left_out: How many did not.
        looks: What was looked at, in order.
    """

    verdict: str
    reasoning: str
    evidence: tuple[Evidence, ...]
    quotes_left_out: int
    looks: tuple[str, ...]


class CostCapped(Exception):  # noqa: N818 - an outcome, turned into a score's status
    """The reader has spent what it may, and has no verdict yet."""


@dataclass
class Reader:
    """Reads one trace.

    Args:
        pages: The trace.
        interview: The model, and what asking it took.
        criteria: What to judge by.
        verdicts: The verdicts with what each means.
        caps: What it may take.
        sample: Which of several independent readings this is.
    """

    pages: Pages
    interview: Interview
    criteria: str
    verdicts: Mapping[str, str]
    caps: Caps
    sample: int = 0
    looks: list[str] = field(default_factory=list)
    _turns: list[tuple[str, str, str | None]] = field(default_factory=list)  # role, words, and a page between marks
    _kept: list[tuple[str, Completion]] = field(default_factory=list)

    async def read(self) -> Reading:
        """Look, and come to a verdict.

        Raises:
            CostCapped: The money is used up before the verdict.
            ParseFailed: The steps are used up before the verdict.
        """
        self._turns.append(("user", f"Begin. {self._left(self.caps.max_steps)}", self.pages.look("outline", {})))
        mark, fault = secrets.token_hex(8), ""
        for step in range(1, self.caps.max_steps + 1):
            answer = await self._answer(mark)
            left = self.caps.max_steps - step
            self._turns.append(("assistant", answer.text or "(nothing)", None))
            try:
                action, arguments = understood(answer.text, _action)
                if action == "verdict":
                    return self._end(arguments)
                with _traced(action, arguments) as told:
                    page = self.pages.look(action, arguments)
                    told(page)
            except Unfit as unfit:
                fault = str(unfit)
                self._turns.append(("user", f"That cannot be used: {fault}. {self._left(left)}", None))
                continue
            self.looks.append(f"{action} {json.dumps(dict(arguments), ensure_ascii=False, default=str)[:200]}")
            self._turns.append(("user", self._left(left), page))
        words = f"; its last answer could not be used: {fault}" if fault else ""
        raise ParseFailed(f"the model gave no verdict within {self.caps.max_steps} answers{words}")

    async def _answer(self, mark: str) -> Completion:
        spent = [each.cost_usd for each in self.interview.answers if each.cost_usd is not None]
        if self.caps.max_cost_usd is not None and sum(spent) >= self.caps.max_cost_usd:
            raise CostCapped(f"${sum(spent):.4f} is spent, and there is no verdict yet")
        key = key_of(self.interview.model.fingerprint, self._request("mark"))
        before = known(key)
        if before is not None:
            self.interview.cached += 1
            return before
        answer = await self.interview.ask(self._request(mark))
        self._kept.append((key, answer))
        return answer

    def _request(self, mark: str) -> Request:
        actions = "\n".join(f"- {name}: {about}" for name, about in ACTIONS.items())
        verdicts = "\n".join(f'- "{verdict}": {text}' for verdict, text in self.verdicts.items())
        system = _INSTRUCTIONS.format(
            criteria=self.criteria, verdicts=verdicts, actions=actions, fence=FENCE, steps=self.caps.max_steps
        )
        messages = [{"role": "system", "content": system}]
        for role, words, page in self._turns:
            content = words if page is None else fenced(mark, page, words)
            messages.append({"role": role, "content": content})
        return Request(messages, schema=None, max_tokens=self.caps.max_tokens, sample=self.sample)

    def _end(self, arguments: Mapping[str, object]) -> Reading:
        verdict = str(arguments.get("verdict")).strip().lower()
        if verdict not in self.verdicts:
            raise Unfit(f"its verdict is {arguments.get('verdict')!r:.60}, not one of {', '.join(self.verdicts)}")
        given = listed(arguments.get("evidence"))
        found = [self._stands(each) for each in given]
        for key, answer in self._kept:
            keep(key, answer)
        reasoning = str(arguments.get("reasoning") or "")
        stood = tuple(each for each in found if each is not None)
        return Reading(verdict, reasoning, stood, len(given) - len(stood), tuple(self.looks))

    def _stands(self, item: Mapping[str, object]) -> Evidence | None:
        """The evidence, in the span that it names or else where it stands; `None` where it stands nowhere."""
        quote = item.get("quote")
        if not isinstance(quote, str) or not quote.strip():
            return None
        quote, named = quote.strip(), str(item.get("span_id"))
        material = self.pages.material
        spans: Sequence[str] = [named, *(each for each in material.spans if each != named)]
        for span_id in spans:
            if any(quote in text for text in material.texts(span_id).values()):
                return Evidence(span_id, quote)
        return None

    @staticmethod
    def _left(left: int) -> str:
        return "This is your last answer: give the verdict." if left == 1 else f"You have {left} answers left."


def prompt(criteria: str, verdicts: Mapping[str, str]) -> str:
    """All that is said to the model besides pages, for the digest of a judge."""
    return "\x00".join([_INSTRUCTIONS, criteria, *verdicts, *verdicts.values(), *ACTIONS.values(), FENCE])


def _action(value: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    action, arguments = value.get("action"), value.get("arguments")
    if action is None and "verdict" in value:  # the verdict, without its wrapping
        return "verdict", value
    if not isinstance(action, str):
        raise Unfit("it names no action")
    return action.strip().lower(), arguments if isinstance(arguments, Mapping) else value


@contextlib.contextmanager
def _traced(action: str, arguments: Mapping[str, object]) -> Iterator[Callable[[str], None]]:
    """One look as a span under the judge's, where judging is traced."""
    traces = current().traces
    if traces is None:
        yield _nothing
        return
    with traces.look(action, arguments) as told:
        yield told


def _nothing(_: str) -> None:
    """Where nobody listens."""
