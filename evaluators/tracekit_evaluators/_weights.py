"""Means of cases that do not all count the same."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from tracekit_evaluators.clustering import Facts
from tracekit_evaluators.statistics import (
    Estimate,
    clopper_pearson_interval,
    ratio_of_means,
    wilson_interval,
)
from tracekit_evaluators.statistics.intervals import FLAT

Row = Mapping[str, object]


def weights_of(cases: Mapping[str, Sequence[Row]], facts: Facts) -> list[float] | None:
    """How much each case counts, as its dataset says; `None` where all count the same.

    Args:
        cases: For each case its rows of the table `scores`.
        facts: Holds the dataset's cases.
    """
    found: list[float] = []
    for rows in cases.values():
        told = facts.cases.get(str(rows[0].get("case_id")), {}).get("weight")
        usable = isinstance(told, (int, float)) and not isinstance(told, bool) and math.isfinite(told) and told > 0
        found.append(float(told) if usable and isinstance(told, (int, float)) else 1.0)
    return found if len(set(found)) > 1 else None


def weighted_mean(
    cases: Sequence[Sequence[float]],
    *,
    weights: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    share: bool = False,
    level: float = 0.95,
) -> Estimate:
    """Σ w·(mean of a case's repeats) / Σ w, with an interval that holds for cases drawn with their weights.

    A number's interval is the delta method's for a ratio of two means, whose spread is that of w·(x - mean). A share's
    is Wilson's on the number of cases that would say as much without weights: min((Σw)²/Σw², p(1-p)/v), v being that
    method's variance (L. Kish, Survey Sampling, 1965; E. L. Korn and B. I. Graubard, Survey Methodology 24, 1998);
    Clopper-Pearson's on (Σw)²/Σw² where all or none pass.

    Args:
        cases: For each case the values of its repeats; a case without any is left out.
        weights: For each case how much it counts, above 0.
        clusters: For each case what it shares with others.
        share: Whether the values are 0 and 1.
        level: Confidence level in (0, 1).

    Example:
        >>> weighted_mean([[1.0], [0.0]], weights=[3.0, 1.0]).value
        0.75
    """
    kept = [place for place, case in enumerate(cases) if len(case)]
    counted = [weights[place] for place in kept]
    means = [math.fsum(cases[place]) / len(cases[place]) for place in kept]
    if not share and len(means) > 1 and min(means) == max(means):
        return Estimate(means[0], None, None, len(means), FLAT, 0.0)
    sums = [weight * mean for weight, mean in zip(counted, means, strict=True)]
    of = None if clusters is None else [clusters[place] for place in kept]
    found = ratio_of_means(sums, denominators=counted, clusters=of, method="delta", level=level)
    if found.value is None:
        return found
    if not share or found.standard_error is None:
        return replace(found, method=f"weighted mean, {found.method}" if found.low is not None else found.method)
    value = min(1.0, max(0.0, found.value))
    most = math.fsum(counted) ** 2 / math.fsum(weight * weight for weight in counted)
    if of is not None:
        most = min(most, float(len(set(of))))
    if value in (0.0, 1.0):
        inside = clopper_pearson_interval(value * most, n=most, level=level)
        return replace(found, value=value, low=inside.low, high=inside.high, method="weighted Clopper-Pearson")
    variance = found.standard_error**2
    effective = most if variance <= 0 else min(most, value * (1 - value) / variance)
    inside = wilson_interval(value * effective, n=effective, level=level)
    words = f"Wilson on {effective:.1f} effective cases (weighted)"
    return replace(found, value=value, low=inside.low, high=inside.high, method=words)
