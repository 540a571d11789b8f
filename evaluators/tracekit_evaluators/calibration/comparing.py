"""A judge's verdicts beside people's labels as figures: agreement, baseline, ceiling, correction, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tracekit_evaluators.calibration.agreement import (
    Label,
    Ratings,
    accuracy,
    cohen_kappa,
    constant_baseline,
    gwet_ac1,
    pabak,
)
from tracekit_evaluators.calibration.alpha import Measurement, krippendorff_alpha
from tracekit_evaluators.calibration.confusion import combined_rates, confusion, rates
from tracekit_evaluators.calibration.corrections import Corrected, ppi_mean, rogan_gladen
from tracekit_evaluators.calibration.correlation import intraclass_correlation, kendall, spearman
from tracekit_evaluators.calibration.labelled import Labelled, Meeting, consensus
from tracekit_evaluators.calibration.sources import effective_count, several
from tracekit_evaluators.statistics import Estimate, paired_difference

FEWEST_TO_TRUST = 30
_MOST_RANKS = 12
Metric = dict[str, object]


@dataclass(frozen=True)
class Figures:
    """What a judge is worth beside people.

    Args:
        metrics: Agreement by name, as a run's metrics.
        confusion: The four counts of a yes-or-no judge.
        baseline: What a judge that always says the same would reach, and what it would say.
        ceiling: The same agreement among people, where several labelled the same.
        corrected: The judge's mean in people's words; `None` where that makes no sense.
        verdict: `good`, `weak` or `unusable`.
        reasons: Why.
    """

    metrics: dict[str, Metric]
    confusion: dict[str, int] | None = None
    baseline: dict[str, object] = field(default_factory=dict)
    ceiling: dict[str, Metric] = field(default_factory=dict)
    corrected: Corrected | None = None
    verdict: str = "weak"
    reasons: tuple[str, ...] = ()


def figures(meeting: Meeting, *, random: bool = False, floor: float = 0.4, seed: int = 0) -> Figures:
    """Measure a judge against people.

    Args:
        meeting: Verdicts and labels of the same targets.
        random: Whether the labelled targets were drawn at random from those that were judged.
        floor: The kappa (for numbers: the rank correlation) below which a judge is weak.
        seed: Seed of all bootstraps.
    """
    items = [item for item in meeting.items if item.human is not None]
    clusters = several([item.source for item in items])
    judged, human = [item.judged for item in items], [item.human for item in items if item.human is not None]
    if meeting.kind == "number":
        found = _of_numbers(judged, human, clusters, seed)
    else:
        found = _of_words(judged, human, clusters, seed, binary=meeting.kind == "bool")
    ceiling = _ceiling(meeting.items, meeting.kind, seed)
    corrected = _corrected(meeting, items, random=random)
    verdict, reasons = _verdict(found, ceiling, len(items), meeting.kind, floor)
    return Figures(found.metrics, found.confusion, found.baseline, ceiling, corrected, verdict, tuple(reasons))


def metric(estimate: Estimate, **more: object) -> Metric:
    """An estimate as a run's metric."""
    return {**estimate.to_dict(), **more}


def _of_words(
    judged: Sequence[Label], human: Sequence[Label], clusters: list[str] | None, seed: int, *, binary: bool
) -> Figures:
    ratings = Ratings(judged, human, labels=(False, True) if binary else None, clusters=clusters)
    metrics = {
        "agreement": metric(accuracy(ratings), kind="bool"),
        "kappa": metric(cohen_kappa(ratings, seed=seed)),
        "AC1": metric(gwet_ac1(ratings, seed=seed)),
        "PABAK": metric(pabak(ratings)),
        "alpha": metric(krippendorff_alpha(list(zip(judged, human, strict=True)), clusters=clusters, seed=seed)),
    }
    common, share = constant_baseline(ratings)
    baseline: dict[str, object] = {"label": common, "agreement": share}
    if not binary:
        return Figures(metrics, None, baseline)
    yes, no = [bool(value) for value in judged], [bool(value) for value in human]
    table = confusion(yes, no)
    metrics |= {name: _rate(each) for name, each in rates(yes, no, clusters=clusters).items()}
    metrics |= {name: metric(each) for name, each in combined_rates(yes, no, clusters=clusters, seed=seed).items()}
    return Figures(metrics, table.to_dict(), {**baseline, "prevalence": table.prevalence, "balanced_accuracy": 0.5})


def _rate(found: Estimate) -> Metric:
    if found.clusters is None:
        return metric(found, kind="bool")
    return metric(found, kind="bool", effective_n=found.effective_n, warning=found.warning)


def _of_numbers(judged: Sequence[Label], human: Sequence[Label], clusters: list[str] | None, seed: int) -> Figures:
    one, two = [float(value) for value in judged], [float(value) for value in human]
    pairs = list(zip(one, two, strict=True))
    metrics = {
        "spearman": metric(spearman(one, two)),
        "kendall": metric(kendall(one, two)),
        "ICC": metric(intraclass_correlation(pairs, clusters=clusters, seed=seed)),
        "alpha": metric(krippendorff_alpha(pairs, measurement="interval", clusters=clusters, seed=seed)),
        "offset": metric(paired_difference([a - b for a, b in pairs], clusters=clusters)),
    }
    if 0 < len({*one, *two}) <= _MOST_RANKS and all(value.is_integer() for value in (*one, *two)):
        ratings = Ratings(one, two, labels=[float(each) for each in _range(one, two)], clusters=clusters)
        metrics["agreement"] = metric(accuracy(ratings), kind="bool")
        metrics["kappa"] = metric(cohen_kappa(ratings, seed=seed))
        metrics["weighted_kappa"] = metric(cohen_kappa(ratings, weights="quadratic", seed=seed))
    mean = sum(two) / len(two) if two else None
    return Figures(metrics, None, {"mean": mean})


def _range(one: Sequence[float], two: Sequence[float]) -> range:
    return range(int(min(*one, *two)), int(max(*one, *two)) + 1)


def _ceiling(items: Sequence[Labelled], kind: str, seed: int) -> dict[str, Metric]:
    """How people agree with each other: alpha, and each one with the rest, as the judge is held against all."""
    twice = [item for item in items if len(item.annotators) > 1]
    if not twice:
        return {}
    names = sorted({name for item in twice for name in item.annotators})
    units = [[item.annotators.get(name) for name in names] for item in twice]
    measurement: Measurement = "interval" if kind == "number" else "nominal"
    found = {"alpha": metric(krippendorff_alpha(units, measurement=measurement, seed=seed), annotators=len(names))}
    own, others, clusters = [], [], []
    for place, item in enumerate(twice):
        for name, said in item.annotators.items():
            rest = consensus([each for other, each in item.annotators.items() if other != name], kind)
            if rest is not None:
                own.append(said)
                others.append(rest)
                clusters.append(place)
    if not own:
        return found
    if kind == "number":
        numbers = [float(value) for value in own], [float(value) for value in others]
        return found | {"spearman": metric(spearman(*numbers))}
    ratings = Ratings(own, others, labels=(False, True) if kind == "bool" else None, clusters=clusters)
    return found | {
        "agreement": metric(accuracy(ratings), kind="bool"),
        "kappa": metric(cohen_kappa(ratings, seed=seed)),
    }


def _corrected(meeting: Meeting, items: Sequence[Labelled], *, random: bool) -> Corrected | None:
    if meeting.kind == "label" or not items:
        return None
    human, judged = [float(item.human or 0) for item in items], [float(item.judged) for item in items]
    # What people are divided on has no label, and so is one of the rest.
    unlabelled = [item for item in meeting.items if item.human is None]
    rest = [float(value) for value in (*meeting.rest, *(item.judged for item in unlabelled))]
    chances = [item.probability for item in items if item.probability is not None]
    known = len(chances) == len(items)
    if known or random or not rest:
        others = [*meeting.rest_sources, *(item.source for item in unlabelled)]
        clusters = several([*(item.source for item in items), *others])
        return ppi_mean(human, judged, rest, probabilities=chances if known else None, clusters=clusters)
    if meeting.kind == "number":
        return None
    sources = [*(item.source for item in items), *meeting.rest_sources, *(item.source for item in unlabelled)]
    everything = [bool(value) for value in (*judged, *rest)]
    share, n = sum(everything) / len(everything), effective_count(everything, several(sources))
    caught, cleared = effective_counts(items)
    return rogan_gladen(share * n, n=n, caught=caught, cleared=cleared)


def effective_counts(items: Sequence[Labelled]) -> tuple[tuple[float, float], tuple[float, float]]:
    """(judge's yes, all) where people said yes, (judge's no, all) where they said no; of independent items."""
    found = []
    for wanted in (True, False):
        mine = [item for item in items if bool(item.human) is wanted]
        right = [bool(item.judged) is wanted for item in mine]
        n = effective_count(right, several([item.source for item in mine]))
        found.append((sum(right) / len(right) * n if right else 0.0, n))
    return found[0], found[1]


def _verdict(found: Figures, ceiling: dict[str, Metric], n: int, kind: str, floor: float) -> tuple[str, list[str]]:
    name = "spearman" if kind == "number" else "kappa"
    value, low, high = (_number(found.metrics[name].get(key)) for key in ("value", "low", "high"))
    if low is None and value is not None and value >= 1 and n >= FEWEST_TO_TRUST:
        low = value  # no item is out of order: there is no spread to make an interval from
    reasons, verdict = [], "good"
    if n < FEWEST_TO_TRUST:
        verdict = "weak"
        reasons.append(f"{n} labelled items are few; {FEWEST_TO_TRUST} are the least to trust a judge by")
    if value is None:
        return "unusable", [*reasons, f"{name} cannot be had: {found.metrics[name]['method']}"]
    if low is None or low <= 0:
        verdict = "unusable"
        reasons.append(f"{name} is {value:.2f}, and chance alone cannot be ruled out")
    elif value < floor:
        verdict = "weak"
        reasons.append(f"{name} is {value:.2f}, below {floor:.2f}")
    elif low < floor:
        verdict = "weak"
        reasons.append(f"{name} is {value:.2f}, but may be as low as {low:.2f}; more labels would tell")
    share, agreed = _number(found.baseline.get("agreement")), _number(found.metrics.get("agreement", {}).get("value"))
    if kind != "number" and share is not None and agreed is not None and agreed <= share:
        verdict = "weak" if verdict == "good" else verdict
        words = f"always saying {found.baseline['label']!r} would agree in {share:.1%}, the judge does in {agreed:.1%}"
        reasons.append(words)
    among = _number(ceiling.get(name, {}).get("low"))
    if among is not None and high is not None and high < among:
        reasons.append(f"people agree with each other more: {name} at least {among:.2f}")
    return verdict, reasons


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
