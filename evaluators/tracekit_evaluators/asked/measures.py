"""What lists of judged items are worth: shares, precision and recall, ranked precision, the worst of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tracekit.errors import UsageError
from tracekit_evaluators.score import NotApplicable

Value = bool | float | str


@dataclass(frozen=True)
class Item:
    """One item of a list.

    Args:
        text: What it says: a claim, a constraint; empty where a number names it.
        verdict: The verdict on it.
        quote: The place that shows it, word for word; empty where there is none.
        span_id: Where the quote is said to stand.
        number: Which document, tool call, step or turn it is, from 1.
        kind: What kind of item, where code can check some kinds; `other` else.
        value: What belongs to the kind: a number of words, a name.
    """

    text: str
    verdict: str
    quote: str = ""
    span_id: str | None = None
    number: int | None = None
    kind: str = "other"
    value: str = ""

    def record(self) -> dict[str, object]:
        """What a score keeps of it."""
        kept = {"number": self.number, "text": self.text, "verdict": self.verdict, "quote": self.quote}
        return {key: value for key, value in {**kept, "span_id": self.span_id}.items() if value not in (None, "")}


Items = Mapping[str, Sequence[Item]]
Worth = Mapping[str, Mapping[str, float]]
Options = Mapping[str, object]


def share(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """What the items of the first list count, over how many count; with the share of each verdict beside it.

    Raises:
        NotApplicable: No item counts.
    """
    name = next(iter(lists))
    counted = [item for item in lists[name] if item.verdict in worth[name]]
    found: dict[str, Value] = {"": _mean(name, [worth[name][item.verdict] for item in counted])}
    if len(worth[name]) > 2:
        for verdict in worth[name]:
            found[verdict] = sum(item.verdict == verdict for item in counted) / len(counted)
    return found


def all_hold(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """Whether every item that counts counts fully.

    Raises:
        NotApplicable: No item counts.
    """
    return {"": min(_counts(lists, worth)) >= 1.0}


def worst(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """The mean over the items, with the worst of them and its number beside it.

    Raises:
        NotApplicable: No item counts.
    """
    name = next(iter(lists))
    counts = _counts(lists, worth)
    counted = [item for item in lists[name] if item.verdict in worth[name]]
    lowest = min(counts)
    return {
        "": sum(counts) / len(counts),
        "worst": lowest,
        "worst_place": float(counted[counts.index(lowest)].number or counts.index(lowest) + 1),
    }


def lowest(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """The lowest share among several lists, with each beside it.

    Raises:
        NotApplicable: One of the lists has nothing to count.
    """
    shares = {name: _mean(name, _counts({name: items}, worth)) for name, items in lists.items()}
    return {"": min(shares.values()), **shares}


def ranked(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """Average precision of the ranking: the mean of P@k over the ranks k that hold something relevant; 0 if none does.

    Raises:
        NotApplicable: The list is empty.
    """
    counts = _counts(lists, worth)
    hits, total = 0.0, 0.0
    for rank, relevance in enumerate(counts, start=1):
        if relevance > 0:
            hits += 1
            total += hits / rank
    return {"": total / hits if hits else 0.0}


def agreement(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:
    """Precision of the first list, recall of the second, and F-beta; the option `mode` says which is the value.

    Where neither list holds an item there is nothing to compare. An empty list beside a full one counts as 0.

    Raises:
        NotApplicable: Both lists are empty.
        UsageError: The mode is unknown, or beta is no positive number.
    """
    mode, beta = str(options.get("mode", "f1")), float(cast("float", options.get("beta", 1.0)))
    if beta <= 0:
        raise UsageError(f"beta={beta:g} weighs nothing; it is above 0")
    shares = []
    for name, items in lists.items():
        counts = [worth[name][item.verdict] for item in items if item.verdict in worth[name]]
        shares.append(sum(counts) / len(counts) if counts else None)
    if shares[0] is None and shares[1] is None:
        raise NotApplicable(f"neither {' nor '.join(lists)} hold anything to compare")
    precision, recall = shares[0] or 0.0, shares[1] or 0.0
    weight = beta * beta
    both = weight * precision + recall
    f = (1 + weight) * precision * recall / both if both else 0.0
    found = {"precision": precision, "recall": recall, "f1": f}
    if mode not in found:
        raise UsageError(f"{mode!r} is no mode; one of {', '.join(found)}")
    return {"": found[mode], **found}


def noise(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:
    """The share of all items whose verdict is the option `mode`: wrong claims that a kind of document supports."""
    name = next(iter(lists))
    mode = str(options.get("mode", "wrong_from_relevant"))
    if mode not in worth[name]:
        raise UsageError(f"{mode!r} is no mode; one of {', '.join(key for key in worth[name] if key != 'right')}")
    counted = [item for item in lists[name] if item.verdict in worth[name]]
    return {"": _mean(name, [float(item.verdict == mode) for item in counted])}


def topics(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:
    """Whether answers keep to what they should: precision over what was answered, recall over what should have been.

    The verdicts are `answered_on`, `refused_on`, `answered_off` and `refused_off`; the option `mode` says which of
    `precision`, `recall` and `f1` is the value.

    Raises:
        NotApplicable: Nothing was on the topics and nothing was answered.
        UsageError: The mode is unknown.
    """
    name = next(iter(lists))
    seen = [item.verdict for item in lists[name] if item.verdict in worth[name]]
    hits, answered = seen.count("answered_on"), seen.count("answered_on") + seen.count("answered_off")
    wanted = hits + seen.count("refused_on")
    if not answered and not wanted:
        raise NotApplicable(f"none of the {name} is on the topics, and none was answered")
    precision = hits / answered if answered else 0.0
    recall = hits / wanted if wanted else 0.0
    both = precision + recall
    found: dict[str, Value] = {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
    }
    mode = str(options.get("mode", "f1"))
    if mode not in found:
        raise UsageError(f"{mode!r} is no mode; one of {', '.join(found)}")
    return {"": found[mode], **found}


def peak(lists: Items, worth: Worth, options: Options) -> dict[str, Value]:  # noqa: ARG001 - all measures look alike
    """The verdict that counts most as a label, and the first place where any counts above 0.

    Raises:
        NotApplicable: No item counts.
    """
    name = next(iter(lists))
    _counts(lists, worth)
    counted = [item for item in lists[name] if item.verdict in worth[name]]
    most = max(counted, key=lambda item: worth[name][item.verdict])
    found: dict[str, Value] = {"": most.verdict}
    first = next((place for place, item in enumerate(counted, start=1) if worth[name][item.verdict] > 0), None)
    if first is not None:
        found["first_turn"] = float(counted[first - 1].number or first)
    return found


MEASURES: dict[str, Callable[[Items, Worth, Options], dict[str, Value]]] = {
    "agreement": agreement,
    "all_hold": all_hold,
    "lowest": lowest,
    "noise": noise,
    "peak": peak,
    "ranked": ranked,
    "share": share,
    "topics": topics,
    "worst": worst,
}


def _counts(lists: Items, worth: Worth) -> list[float]:
    name = next(iter(lists))
    counts = [worth[name][item.verdict] for item in lists[name] if item.verdict in worth[name]]
    if not counts:
        raise NotApplicable(f"there are no {name} that count")
    return counts


def _mean(name: str, counts: Sequence[float]) -> float:
    if not counts:
        raise NotApplicable(f"there are no {name} that count")
    return sum(counts) / len(counts)
