"""Reading a model's answer: the JSON object in it, and for a judge of one verdict, that verdict with its evidence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """A verdict that could be read.

    Args:
        verdict: One of the verdicts that were offered.
        reasoning: Why.
        evidence: Pairs of a quote and the span id that it is said to stand in.
    """

    verdict: str
    reasoning: str
    evidence: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Unreadable:
    """An answer that is no verdict.

    Args:
        fault: What is wrong with it.
    """

    fault: str


def read_answer(text: str, verdicts: Sequence[str]) -> Answer | Unreadable:
    """The verdict in a model's answer: JSON, JSON between code fences, or JSON among words, the last one counting.

    Args:
        text: What the model said.
        verdicts: The verdicts that it may give.

    Example:
        >>> read_answer('{"evidence": [], "reasoning": "ok", "verdict": "pass"}', ["pass", "fail"])
        Answer(verdict='pass', reasoning='ok', evidence=())
    """
    fault = "it holds no JSON object"
    for value in objects(text):
        answer = read_verdict(value, verdicts)
        if isinstance(answer, Answer):
            return answer
        fault = answer.fault
    return Unreadable(fault)


def read_verdict(value: Mapping[str, object], verdicts: Sequence[str]) -> Answer | Unreadable:
    """The verdict that one decoded object holds."""
    given = value.get("verdict")
    verdict = word(given)
    if verdict not in verdicts:
        return Unreadable(f"its verdict is {given!r:.100}" if "verdict" in value else "it has no verdict")
    reasoning = value.get("reasoning")
    evidence = value.get("evidence")
    items = evidence if isinstance(evidence, list) else []
    pairs = [quoted(item) for item in items]
    return Answer(
        verdict,
        reasoning if isinstance(reasoning, str) else "",
        tuple(pair for pair in pairs if pair[0]),
    )


def word(given: object) -> str:
    """A verdict as it was offered: case and space around it do not matter, and a level may be a number."""
    return "" if isinstance(given, bool) or not isinstance(given, (str, int)) else str(given).strip().lower()


def quoted(item: object) -> tuple[str, str | None]:
    """A quote and the span that it is said to stand in."""
    if isinstance(item, str):
        return item.strip(), None
    quote, span = (item.get("quote"), item.get("span_id")) if isinstance(item, dict) else (None, None)
    return quote.strip() if isinstance(quote, str) else "", span if isinstance(span, str) else None


def objects(text: str) -> Iterator[dict[str, object]]:
    """The JSON objects in a model's answer, the likeliest one to be meant first."""
    for candidate in (text, *reversed(_FENCED.findall(text))):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
    yield from reversed(_scattered(text))


def _scattered(text: str) -> list[dict[str, object]]:
    decoder, found, place = json.JSONDecoder(), [], text.find("{")
    # A long run of braces would be tried from each of them; an answer has few objects.
    for _ in range(200):
        if place < 0:
            break
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            found.append(value)
        place = text.find("{", end)
    return found
