"""Which traces people are asked about, and how probable it was that each was drawn.

A sample that prefers what is uncertain finds more that is wrong, and gives honest rates all the same where each label
keeps its inclusion probability: `sum(value / p) / sum(1 / p)` (Hájek's estimator) is then near the rate of all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.store import Store

By = Literal["random", "uncertainty", "disagreement"]
WAYS: tuple[str, ...] = get_args(By)
FLOOR = 0.1
"""The least weight of a trace, so that every one can be drawn."""


@dataclass(frozen=True)
class Drawn:
    """A trace that was drawn.

    Args:
        trace_id: Which.
        probability: How probable it was that it would be drawn, in (0,1].
    """

    trace_id: str
    probability: float


def draw(ids: Sequence[str], weights: Sequence[float], *, sample: int | None, seed: int) -> list[Drawn]:
    """Some of these traces, each drawn with a probability in proportion to its weight.

    Systematic sampling of a shuffled list (Madow 1949): as many as asked for, never one twice, and the probability of
    each is exactly `min(1, c·weight)` with c such that they add up to the number asked for.

    Args:
        ids: The traces.
        weights: How much each is preferred, above 0; all alike for a plain random sample.
        sample: How many; all of them, in random order, when `None`.
        seed: What the order and the draw follow from.

    Raises:
        UsageError: Fewer than one is asked for.

    Example:
        >>> [drawn.probability for drawn in draw(["a", "b", "c", "d"], [1, 1, 1, 1], sample=2, seed=1)]
        [0.5, 0.5]
    """
    if sample is not None and sample < 1:
        raise UsageError(f"sample must be at least 1, not {sample}")
    chance = random.Random(seed)  # noqa: S311 - a sample that can be drawn again, not a secret
    order = list(range(len(ids)))
    chance.shuffle(order)
    if sample is None or sample >= len(ids):
        return [Drawn(ids[index], 1.0) for index in order]
    probabilities = inclusion(weights, sample)
    drawn: list[Drawn] = []
    reached, next_point = 0.0, chance.random()
    for index in order:
        reached += probabilities[index]
        if reached > next_point + 1e-9 and len(drawn) < sample:
            drawn.append(Drawn(ids[index], probabilities[index]))
            next_point += 1.0
    chance.shuffle(drawn)  # the order of a systematic draw tells nothing of the weights
    return drawn


def inclusion(weights: Sequence[float], sample: int) -> list[float]:
    """Probabilities in proportion to weights, none above 1, that add up to the size of the sample.

    Example:
        >>> inclusion([8, 1, 1], 2)
        [1.0, 0.5, 0.5]
    """
    certain: set[int] = set()
    while True:
        rest = sum(weight for index, weight in enumerate(weights) if index not in certain)
        share = (sample - len(certain)) / rest if rest else 0.0
        more = {index for index, weight in enumerate(weights) if index not in certain and weight * share >= 1}
        if not more:
            return [1.0 if index in certain else weight * share for index, weight in enumerate(weights)]
        certain |= more


def weights_of(store: Store, ids: Sequence[str], *, by: str, name: str | None = None) -> list[float]:
    """How much each trace is preferred.

    `uncertainty` is 4·m·(1-m) of the mean verdict m of one judge over its samples, of the judge that is least sure;
    a trace that nobody scored is as uncertain as can be. `disagreement` is the same of the mean of all judges and
    annotators, and of labels the chance that two differ.

    Args:
        store: Where the scores are.
        ids: The traces.
        by: `random`, `uncertainty` or `disagreement`.
        name: Only scores of this name.

    Raises:
        UsageError: There is no such way, or it needs scores and there are none.
    """
    if by not in WAYS:
        raise UsageError(f"a sample is drawn by {', '.join(WAYS)}, not {by!r}")
    if by == "random":
        return [1.0] * len(ids)
    spread = _spread(store, ids, by=by, name=name)
    if not spread:
        raise UsageError(
            f"a sample by {by} needs scores of these traces, and there are none{f' called {name}' if name else ''}"
        )
    unknown = 1.0 if by == "uncertainty" else 0.0
    return [max(FLOOR, spread.get(trace_id, unknown)) for trace_id in ids]


def _spread(store: Store, ids: Sequence[str], *, by: str, name: str | None) -> dict[str, float]:
    # One judge over its samples, or all who said something: of one name where one is given, else of whatever name.
    of = "name || coalesce(judge_digest, '')" if by == "uncertainty" else "''"
    query = (
        f"WITH said AS (SELECT trace_id, {of} AS who, "  # noqa: S608 - our own words
        "coalesce(CAST(passed AS DOUBLE), CASE WHEN value BETWEEN 0 AND 1 THEN value END) AS share, label FROM scores "
        "WHERE status = 'scored' AND span_id IS NULL AND trace_id IN (SELECT unnest(?::VARCHAR[])) "
        "AND (?::VARCHAR IS NULL OR name = ?)), "
        "shares AS (SELECT trace_id, 4 * avg(share) * (1 - avg(share)) AS spread FROM said "
        "WHERE share IS NOT NULL GROUP BY trace_id, who), "
        "counted AS (SELECT trace_id, who, label, count(*) AS n FROM said "
        "WHERE share IS NULL AND label IS NOT NULL GROUP BY ALL), "
        "labels AS (SELECT trace_id, 1 - sum(n::DOUBLE * n) / (sum(n)::DOUBLE * sum(n)) AS spread FROM counted "
        "GROUP BY trace_id, who) "
        "SELECT trace_id, max(spread) FROM (SELECT * FROM shares UNION ALL SELECT * FROM labels) GROUP BY trace_id"
    )
    rows = store.sql(query, [list(ids), name, name]).fetchall()
    return {str(trace_id): spread for trace_id, spread in rows if isinstance(spread, float)}


def hajek(values: Mapping[str, float], probabilities: Mapping[str, float]) -> float | None:
    """The mean of all, estimated from a sample whose inclusion probabilities are known; `None` for an empty one."""
    total = sum(1 / probabilities[key] for key in values)
    return sum(value / probabilities[key] for key, value in values.items()) / total if total else None
