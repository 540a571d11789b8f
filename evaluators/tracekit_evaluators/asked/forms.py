"""The forms that a model's answer may have: one verdict on a scale, or lists of items with a verdict each.

Every form puts evidence before the verdict, and lets the model say that the question makes no sense here
(`not_applicable`) or that what is needed to decide is not there (`cannot_tell`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tracekit_evaluators.asked.measures import MEASURES, Item, Value
from tracekit_evaluators.judges._answers import Unreadable, objects, quoted, read_verdict, word
from tracekit_evaluators.score import Score

ALWAYS = {
    "not_applicable": "The criteria make no sense for this material.",
    "cannot_tell": "The material does not hold what is needed to decide.",
}
LISTED = "listed"
_TEXT = {"type": "string"}
_PLACES = {"documents": "document", "tools": "tool call", "steps": "step", "session": "turn", "rules": "rule"}
_MOST_ITEMS = 200


@dataclass(frozen=True)
class Reading:
    """An answer that could be read.

    Args:
        verdict: The verdict; `listed` where lists are the answer.
        reasoning: Why, in the model's words.
        quotes: Pairs of a quote and the span id that it is said to stand in.
        lists: The items of each list.
    """

    verdict: str
    reasoning: str
    quotes: tuple[tuple[str, str | None], ...] = ()
    lists: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)


class Form(Protocol):
    """How a model answers, and what its answer is worth."""

    @property
    def verdicts(self) -> Sequence[str]:
        """What `verdict` may be."""

    @property
    def worth(self) -> Mapping[str, object]:
        """What decides the scores besides what the model is told, for the prompt's digest."""

    @property
    def about(self) -> str:
        """The part of the instructions that says what to answer."""

    @property
    def how(self) -> str:
        """The rules on how to come to the answer."""

    def schema(self) -> dict[str, object]:
        """The JSON Schema of an answer."""

    def read(self, text: str, sizes: Mapping[str, int]) -> Reading | Unreadable:
        """A model's answer; `sizes` says how many numbered elements there are of each kind."""

    def scores(self, reading: Reading, options: Mapping[str, object]) -> dict[str, Score]:
        """What a readable answer is worth; the judge's own score is under the empty name.

        Raises:
            NotApplicable: There is nothing to take a share of.
        """


@dataclass(frozen=True)
class Scale:
    """One verdict, of two to five levels or of any labels.

    Args:
        levels: What each verdict means, from worst to best where there is an order.
        values: What each is worth; the label itself where it is not named.
        good: The verdicts that pass; `None` draws no line.
        also: Further scores by name: what each verdict is worth there.
    """

    levels: Mapping[str, str]
    values: Mapping[str, Value]
    good: tuple[str, ...] | None = None
    also: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[str]:
        """The levels, and what may always be said."""
        return [*self.levels, *ALWAYS]

    @property
    def worth(self) -> Mapping[str, object]:
        """What each verdict is worth."""
        return {"values": self.values, "good": self.good, "also": self.also}

    @property
    def about(self) -> str:
        """The verdicts, explained."""
        return "# Verdicts\n" + _explained({**self.levels, **ALWAYS})

    @property
    def how(self) -> str:
        """Evidence, reasoning, verdict."""
        return (
            "- First list the evidence: for each item the id of the span that it stands in and a quote, copied letter "
            "for letter.\n- Then reason, briefly. Give the verdict last."
        )

    def schema(self) -> dict[str, object]:
        """Evidence first, the verdict last."""
        evidence = {"type": "array", "items": _closed({"span_id": _TEXT, "quote": _TEXT})}
        verdict = {"type": "string", "enum": self.verdicts}
        return _closed({"evidence": evidence, "reasoning": _TEXT, "verdict": verdict})

    def read(self, text: str, sizes: Mapping[str, int]) -> Reading | Unreadable:  # noqa: ARG002 - nothing is numbered
        """The last verdict in the answer."""
        fault = "it holds no JSON object"
        for value in objects(text):
            answer = read_verdict(value, self.verdicts)
            if not isinstance(answer, Unreadable):
                return Reading(answer.verdict, answer.reasoning, answer.evidence)
            fault = answer.fault
        return Unreadable(fault)

    def scores(self, reading: Reading, options: Mapping[str, object]) -> dict[str, Score]:  # noqa: ARG002 - has none
        """The level's value, and the further scores."""
        passed = None if self.good is None else reading.verdict in self.good
        found = {"": Score(self.values.get(reading.verdict, reading.verdict), passed=passed)}
        for name, values in self.also.items():
            found[name] = Score(values.get(reading.verdict, reading.verdict), direction="neutral")
        return found


@dataclass(frozen=True)
class ItemList:
    """One list of items, each with a verdict.

    Args:
        name: What the list is called in the answer: `claims`.
        of: What its items are, in words that a model understands.
        verdicts: What each verdict on an item means.
        worth: What each verdict counts, from 0 to 1; a verdict that is not named leaves the item uncounted.
        over: Where the items are the numbered elements of the material: `documents`, `tools`, `steps`, `session`.
        kinds: Kinds of items that code can check by itself, with what they mean.
    """

    name: str
    of: str
    verdicts: Mapping[str, str]
    worth: Mapping[str, float]
    over: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)

    def schema(self) -> dict[str, object]:
        """An item: what it is, a quote, the verdict last."""
        parts: dict[str, object] = {"number": {"type": "integer"}} if self.over else {"text": _TEXT}
        if self.kinds:
            parts |= {"kind": {"type": "string", "enum": ["other", *self.kinds]}, "value": _TEXT}
        parts |= {"span_id": _TEXT, "quote": _TEXT, "verdict": {"type": "string", "enum": list(self.verdicts)}}
        return {"type": "array", "items": _closed(parts)}

    def about(self) -> str:
        """The list, explained."""
        each = f"exactly one item for each {_PLACES[self.over]}, by its number; {self.of}" if self.over else self.of
        said = f'## "{self.name}": {each}\n{_explained(self.verdicts)}'
        if self.kinds:
            said += '\nThe kind of an item is "other" unless it is exactly one of these, and its value is then given:\n'
            said += _explained(self.kinds)
        return said

    def read(self, value: object, size: int) -> tuple[Item, ...] | Unreadable:
        """The items, every one of them complete."""
        if not isinstance(value, list):
            return Unreadable(f"it has no list {self.name!r}")
        if len(value) > _MOST_ITEMS:
            return Unreadable(f"its list {self.name!r} has {len(value)} items; give the {_MOST_ITEMS} that matter most")
        items: list[Item] = []
        for place, each in enumerate(value, start=1):
            item = self._item(each, place)
            if isinstance(item, Unreadable):
                return item
            items.append(item)
        if self.over:
            numbers = sorted(item.number or 0 for item in items)
            if numbers != list(range(1, size + 1)):
                return Unreadable(f"its list {self.name!r} numbers {numbers}, but there are 1 to {size}, each once")
            items.sort(key=lambda item: item.number or 0)
        return tuple(items)

    def _item(self, each: object, place: int) -> Item | Unreadable:
        if not isinstance(each, dict):
            return Unreadable(f"item {place} of {self.name!r} is no object")
        verdict = word(each.get("verdict"))
        if verdict not in self.verdicts:
            return Unreadable(f"item {place} of {self.name!r} has the verdict {each.get('verdict')!r:.100}")
        quote, span = quoted(each)
        number = each.get("number")
        if self.over and (not isinstance(number, int) or isinstance(number, bool)):
            return Unreadable(f"item {place} of {self.name!r} has the number {number!r:.50}")
        kind, given = each.get("kind"), each.get("value")
        return Item(
            text=str(each.get("text") or ""),
            verdict=verdict,
            quote=quote,
            span_id=span,
            number=number if isinstance(number, int) else None,
            kind=kind if isinstance(kind, str) else "other",
            value=str(given) if isinstance(given, (str, int, float)) else "",
        )


@dataclass(frozen=True)
class Lists:
    """Lists of items with a verdict each, and how a number is made of them.

    Args:
        lists: The lists.
        measure: The name of how (`tracekit_evaluators.asked.measures`).
    """

    lists: tuple[ItemList, ...]
    measure: str = "share"

    @property
    def verdicts(self) -> list[str]:
        """That the lists are complete, or what may always be said."""
        return [LISTED, *ALWAYS]

    @property
    def worth(self) -> Mapping[str, object]:
        """What each item counts, and the measure."""
        return {"measure": self.measure, "lists": {each.name: each.worth for each in self.lists}}

    @property
    def about(self) -> str:
        """The lists and the verdicts, explained."""
        lists = "\n\n".join(each.about() for each in self.lists)
        closing = {LISTED: "The lists are complete (they may be empty).", **ALWAYS}
        return f"# Lists to give\n{lists}\n\n# Verdicts on the whole\n{_explained(closing)}"

    @property
    def how(self) -> str:
        """Items with their evidence, reasoning, verdict."""
        return (
            "- Give each item by itself, complete and once. Before its verdict give the evidence: the id of the span "
            "that it stands in and a quote, copied letter for letter; both empty where there is none.\n"
            "- Then reason about the whole, briefly. Give the verdict on the whole last."
        )

    def schema(self) -> dict[str, object]:
        """The lists first, the verdict last."""
        lists: dict[str, object] = {each.name: each.schema() for each in self.lists}
        verdict = {"type": "string", "enum": self.verdicts}
        return _closed({**lists, "reasoning": _TEXT, "verdict": verdict})

    def read(self, text: str, sizes: Mapping[str, int]) -> Reading | Unreadable:
        """The last complete answer."""
        fault = "it holds no JSON object"
        for value in objects(text):
            reading = self._reading(value, sizes)
            if isinstance(reading, Reading):
                return reading
            fault = reading.fault
        return Unreadable(fault)

    def _reading(self, value: Mapping[str, object], sizes: Mapping[str, int]) -> Reading | Unreadable:
        answer = read_verdict(value, self.verdicts)
        if isinstance(answer, Unreadable):
            return answer
        if answer.verdict != LISTED:
            return Reading(answer.verdict, answer.reasoning)
        lists: dict[str, tuple[Item, ...]] = {}
        for each in self.lists:
            items = each.read(value.get(each.name), sizes.get(each.over or "", 0))
            if isinstance(items, Unreadable):
                return items
            lists[each.name] = items
        quotes = tuple((item.quote, item.span_id) for items in lists.values() for item in items if item.quote)
        return Reading(LISTED, answer.reasoning, quotes, lists)

    def scores(self, reading: Reading, options: Mapping[str, object]) -> dict[str, Score]:
        """What the measure makes of the items."""
        worth = {each.name: each.worth for each in self.lists}
        found = MEASURES[self.measure](reading.lists, worth, options)
        kept = {name: [item.record() for item in items] for name, items in reading.lists.items()}
        scores = {name: Score(value, direction="neutral" if name else None) for name, value in found.items()}
        scores[""] = replace(scores[""], metadata=kept)
        return scores


def _closed(properties: Mapping[str, object]) -> dict[str, object]:
    shape = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return {**shape, "additionalProperties": False}


def _explained(words: Mapping[str, str]) -> str:
    return "\n".join(f'- "{name}": {text}' for name, text in words.items())
