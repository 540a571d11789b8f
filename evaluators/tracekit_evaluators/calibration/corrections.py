"""What a judge's mean would be in people's words: PPI++ where a random part is labelled, Rogan-Gladen where another is.

A judge is wrong in its own way, and its mean over thousands of traces is then wrong with a narrow interval: one that
catches 92 % and passes 25 % of the bad, at a true rate of 70 %, has a 95 % interval that holds the truth in 55 % of
repetitions. With a hundred labels both methods here hold it in 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tracekit.errors import UsageError
from tracekit_evaluators.statistics import Estimate, clustered_mean, mean_interval, paired_difference, wilson_interval
from tracekit_evaluators.statistics.distributions import normal_quantile, t_quantile
from tracekit_evaluators.statistics.estimate import Reals, reals

FEWEST_LABELS = 15
FEW_LABELS = 30
_ENOUGH_FOR_NORMAL = 100
_SMALLEST_YOUDEN = 0.1
_FEW_ERRORS = 2
_METHODS = {
    "jeffreys": "Lang-Reiczigel interval, half a label added",
    "delta": "Lang-Reiczigel interval",
    "bootstrap": "bootstrap",
}
Counts = tuple[float, float]


@dataclass(frozen=True)
class Corrected:
    """A judge's mean, corrected with people's labels.

    Args:
        estimate: The corrected mean with its interval; without a value where it cannot be had, the reason in `method`.
        naive: The judge's own mean, as if it were never wrong.
        human: The mean of the labels alone; `None` where they say nothing of these items.
        weight: How far the judge is leaned on, λ in [0, 1]; `None` for Rogan-Gladen.
        effective_n: How many labels alone would say as much as judge and labels together.
        labels_saved: How many labels that spares.
        details: What else the method rests on.
    """

    estimate: Estimate
    naive: Estimate
    human: Estimate | None = None
    weight: float | None = None
    effective_n: float | None = None
    labels_saved: float | None = None
    details: dict[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON takes it."""
        return {
            **self.estimate.to_dict(),
            "warning": self.estimate.warning,
            "naive": self.naive.to_dict(),
            "human": None if self.human is None else self.human.to_dict(),
            "weight": self.weight,
            "effective_n": self.effective_n,
            "labels_saved": self.labels_saved,
            **self.details,
        }


def ppi_mean(
    human: Sequence[float],
    judged: Sequence[float],
    rest: Sequence[float],
    *,
    probabilities: Sequence[float] | None = None,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Corrected:
    """A judge's mean over many items, corrected by the labels of a random part of them: PPI++.

    λ·mean(rest) + mean(human - λ·judged), λ = Cov(human, judged) / ((1 + n/N)·Var(judged)) kept in [0, 1], with the
    variance λ²·Var(judged)/N + Var(human - λ·judged)/n; A. N. Angelopoulos, J. C. Duchi and T. Zrnic, arXiv 2311.01453.
    It is right however wrong the judge is; a good judge makes it narrow. It needs labels of a *random* part: of all
    items alike, or with `probabilities`, by which each label then counts 1/π (J. Hájek), the judge's mean being taken
    over all items (T. Zrnic and E. J. Candès, arXiv 2403.03208). Normal intervals from 100 labels on; below,
    Wilson's on the effective number of labels for shares, Student's t for other means.

    Args:
        human: People's values of the labelled items.
        judged: The judge's values of the same items.
        rest: The judge's values of the items without a label.
        probabilities: For each labelled item with what probability it was chosen for labelling, in (0, 1].
        clusters: For each labelled item, then for each of the rest, what it shares with others, such as its case.
        level: Confidence level in (0, 1).

    Returns:
        The correction; without a value where fewer than 15 items are labelled.

    Raises:
        UsageError: The lists do not fit each other, or a probability is no probability.

    Example:
        >>> found = ppi_mean([1, 0] * 50, [1, 0] * 50, [1] * 250 + [0] * 250)
        >>> round(found.estimate.value, 2), round(found.labels_saved)
        (0.5, 388)
    """
    y, f, others = reals(human), reals(judged), reals(rest)
    return _ppi(y, f, others, probabilities, clusters, level, yes_no=_binary(y))


def _ppi(
    y: Reals,
    f: Reals,
    others: Reals,
    probabilities: Sequence[float] | None,
    clusters: Sequence[Hashable] | None,
    level: float,
    *,
    yes_no: bool,
) -> Corrected:
    if len(y) != len(f):
        raise UsageError(f"{len(y)} labels need {len(y)} verdicts on the same items, got {len(f)}")
    if clusters is not None and len(clusters) != len(y) + len(others):
        raise UsageError(f"{len(y) + len(others)} items need as many clusters, got {len(clusters)}")
    naive = mean_interval(np.concatenate([f, others]), level=level)
    if len(y) < FEWEST_LABELS:
        why = f"{len(y)} labels are too few to correct with: at least {FEWEST_LABELS}, better {FEW_LABELS}, are needed"
        return Corrected(Estimate(None, None, None, len(y), why), naive)
    if probabilities is None and clusters is None:
        return _plain(y, f, others, naive, level, yes_no=yes_no)
    pi = np.full(len(y), len(y) / (len(y) + len(others))) if probabilities is None else reals(probabilities)
    if len(pi) != len(y) or ((pi <= 0) | (pi > 1)).any():
        raise UsageError("each labelled item needs the probability, above 0 and at most 1, with which it was chosen")
    return _weighted(y, f, others, 1 / pi, clusters, naive, level, yes_no=yes_no)


def ppi_difference(
    human: Sequence[tuple[float, float]],
    judged: Sequence[tuple[float, float]],
    rest: Sequence[tuple[float, float]],
    *,
    probabilities: Sequence[float] | None = None,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Corrected:
    """How much a candidate differs from a baseline, in people's words: PPI++ on paired differences.

    The number that a release decision needs: a judge's error that both versions share cancels out, one that favours a
    version is corrected. Both versions' outputs of the labelled items must be labelled.

    Args:
        human: For each labelled item people's values (baseline, candidate).
        judged: The judge's on the same.
        rest: The judge's on the items without labels.
        probabilities: As for `ppi_mean`.
        clusters: As for `ppi_mean`.
        level: Confidence level.

    Example:
        >>> found = ppi_difference([(0, 1), (1, 1)] * 10, [(0, 1), (1, 1)] * 10, [(0, 1), (1, 1)] * 40)
        >>> round(found.estimate.value, 2)
        0.5
    """
    y, f, others = (reals([after - before for before, after in each]) for each in (human, judged, rest))
    found = _ppi(y, f, others, probabilities, clusters, level, yes_no=False)
    if found.estimate.value is None:
        return found
    return replace(found, estimate=replace(found.estimate, method=f"{found.estimate.method} on paired differences"))


def rogan_gladen(
    passed: float,
    *,
    n: float,
    caught: Counts,
    cleared: Counts,
    method: str = "jeffreys",
    level: float = 0.95,
    seed: int = 0,
) -> Corrected:
    """A judge's rate corrected by its TPR and TNR from *other* items: (q + TNR - 1) / (TPR + TNR - 1).

    W. J. Rogan and B. Gladen, Am. J. Epidemiol. 107 (1978); the interval is that of Z. Lang and J. Reiczigel, Prev.
    Vet. Med. 113 (2014), the delta method on rates moved a little towards 1/2. They add one label of each outcome;
    added is half a label, as by H. Jeffreys' prior, which is narrower and with thirty labels holds the truth in 96 %
    instead of 97.5 %. It is right where the judge's TPR and TNR are the same on these items as on those it was
    calibrated on; where the labels are a random part of these items, `ppi_mean` needs no such faith.

    Args:
        passed: To how many items the judge said yes.
        n: How many it judged; fewer, and not whole, where items share something and say less than so many would.
        caught: Of the calibration's items, (judge's yes, all) among those to which people said yes.
        cleared: (judge's no, all) among those to which people said no.
        method: `jeffreys` (half a label), `delta` (Lang and Reiczigel's own) or `bootstrap`.
        level: Confidence level in (0, 1).
        seed: Seed of the bootstrap.

    Returns:
        The correction; without a value where a class has fewer than 5 labels, both fewer than 15, or the judge cannot
        be told from a coin (Youden's J is below 0.1, or its interval holds 0).

    Raises:
        UsageError: A count is above its total, or the method is unknown.

    Example:
        >>> found = rogan_gladen(1400, n=2000, caught=(64, 70), cleared=(24, 30))
        >>> round(found.estimate.value, 3)
        0.7
    """
    if method not in _METHODS:
        raise UsageError(f"{method!r} is no method; one of {', '.join(_METHODS)}")
    for part, whole in ((passed, n), caught, cleared):
        if not 0 <= part <= whole:
            raise UsageError(f"{part} of {whole} is no share")
    naive = wilson_interval(passed, n=n, level=level)
    why = _unusable(n, caught, cleared)
    if why is not None:
        return Corrected(Estimate(None, None, None, round(n), why), naive)
    tpr, tnr = caught[0] / caught[1], cleared[0] / cleared[1]
    youden = tpr + tnr - 1
    value = min(1.0, max(0.0, (passed / n + tnr - 1) / youden))
    if method == "bootstrap":
        low, high = _drawn_rates(passed, n, caught, cleared, level, seed)
    else:
        low, high = _lang_reiczigel(passed, n, caught, cleared, level, added=1.0 if method == "delta" else 0.5)
    low, high = min(value, max(0.0, low)), max(value, min(1.0, high))
    few = caught[1] + cleared[1] < FEW_LABELS
    warning = f"only {caught[1] + cleared[1]:.0f} labels: the interval may be too narrow" if few else None
    words = f"Rogan-Gladen, {_METHODS[method]}" + (f" (seed {seed})" if method == "bootstrap" else "")
    details: dict[str, object] = {"tpr": tpr, "tnr": tnr, "youden": youden}
    return Corrected(Estimate(value, low, high, round(n), words, warning=warning), naive, details=details)


def rogan_gladen_difference(
    judged: Sequence[tuple[float, float]],
    *,
    caught: Counts,
    cleared: Counts,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Corrected:
    """How much a candidate's rate differs from a baseline's, (q₂ - q₁) / (TPR + TNR - 1), with the delta method.

    A judge that errs pulls every difference towards 0 by the factor J; this takes that back. It is right where the
    judge errs alike on both versions; one that favours a version needs labels of both (`ppi_difference`).

    Args:
        judged: For each case the judge's yes or no as 1 and 0 (baseline, candidate).
        caught: As for `rogan_gladen`.
        cleared: As for `rogan_gladen`.
        clusters: For each case what it shares with others.
        level: Confidence level in (0, 1).

    Example:
        >>> pairs = [(0, 1)] * 20 + [(1, 1)] * 80
        >>> round(rogan_gladen_difference(pairs, caught=(90, 100), cleared=(90, 100)).estimate.value, 3)
        0.25
    """
    naive = paired_difference([after - before for before, after in judged], clusters=clusters, level=level)
    why = _unusable(len(judged), caught, cleared)
    if why is not None or naive.value is None or naive.low is None:
        return Corrected(Estimate(None, None, None, len(judged), why or naive.method), naive)
    tpr, tnr = caught[0] / caught[1], cleared[0] / cleared[1]
    smooth_tpr, smooth_tnr = (caught[0] + 1) / (caught[1] + 2), (cleared[0] + 1) / (cleared[1] + 2)
    youden = tpr + tnr - 1
    of_youden = smooth_tpr * (1 - smooth_tpr) / (caught[1] + 2) + smooth_tnr * (1 - smooth_tnr) / (cleared[1] + 2)
    value = naive.value / youden
    error = math.sqrt((naive.standard_error or 0.0) ** 2 + value**2 * of_youden) / youden
    half = normal_quantile(0.5 + level / 2) * error
    estimate = Estimate(value, value - half, value + half, naive.n, "Rogan-Gladen on paired differences", error)
    details: dict[str, object] = {"tpr": tpr, "tnr": tnr, "youden": youden}
    return Corrected(estimate.clipped(-1.0, 1.0), naive, details=details)


def _plain(y: Reals, f: Reals, others: Reals, naive: Estimate, level: float, *, yes_no: bool) -> Corrected:
    n, rest = len(y), len(others)
    human = mean_interval(y, level=level)
    if rest == 0:
        words = replace(human, method=f"{human.method}, all items are labelled")
        return Corrected(words, naive, human, 0.0, float(n), 0.0)
    everything = np.concatenate([f, others])
    spread = float(everything.var(ddof=1))
    # Labels and verdicts around the same n items: the covariance of n-1 degrees would be a little too large here.
    together = float(((y - y.mean()) * (f - f.mean())).mean())
    weight = 0.0 if spread == 0 else min(1.0, max(0.0, together / ((1 + n / rest) * spread)))
    value = weight * float(others.mean()) + float((y - weight * f).mean())
    of_rest = float(others.var(ddof=1)) / rest if rest > 1 else spread
    # λ is fitted to the labels, which costs a second degree of freedom.
    variance = weight**2 * of_rest + float((y - weight * f).var(ddof=2)) / n
    variance += _unseen(y, f, n, yes_no=yes_no)
    return _corrected(
        value,
        variance,
        float(y.var(ddof=1)) / n,
        n,
        weight,
        human,
        naive,
        level,
        # Wilson's interval asks what each share's own spread would be, and holds 95 % without Student's widening.
        degrees=math.inf if yes_no else n - 2,
        share=yes_no,
    )


def _weighted(
    y: Reals,
    f: Reals,
    others: Reals,
    weights: Reals,
    clusters: Sequence[Hashable] | None,
    naive: Estimate,
    level: float,
    *,
    yes_no: bool,
) -> Corrected:
    """AIPW in Hájek's form; the variance is that of the items' influences on it, summed within clusters."""
    n, total = len(y), len(y) + len(others)
    share = np.concatenate([weights / weights.sum() * total, np.zeros(len(others))])
    everything = np.concatenate([f, others])
    labels = np.concatenate([y, np.zeros(len(others))])
    y_mean, f_mean = float(share @ labels) / total, float(share @ everything) / total
    alone = share * (labels - y_mean)  # each item's influence on the labels' own weighted mean
    gain = share * (everything - f_mean) - (everything - everything.mean())
    below = float(gain @ gain)
    weight = 0.0 if below == 0 else min(1.0, max(0.0, float(alone @ gain) / below))
    value = weight * float(everything.mean()) + y_mean - weight * f_mean
    # Unequal weights make few labels of many (L. Kish): theirs are the degrees of freedom.
    kish = float(weights.sum() ** 2 / np.square(weights).sum())
    variance, of_labels = (_variance(each, clusters, kish) for each in (alone - weight * gain, alone))
    variance += _unseen(y, f, kish, yes_no=yes_no)
    human = _interval(y_mean, of_labels, n, level, "labels weighted by 1/π", degrees=kish - 1, share=yes_no)
    found = _corrected(value, variance, of_labels, n, weight, human, naive, level, degrees=kish - 1, share=yes_no)
    words = f"{found.estimate.method}, labels weighted by 1/π" + ("" if clusters is None else ", clustered")
    return replace(found, estimate=replace(found.estimate, method=words))


def _variance(influence: Reals, clusters: Sequence[Hashable] | None, kish: float) -> float:
    found = mean_interval(influence) if clusters is None else clustered_mean(influence, clusters=clusters)
    # A weighted mean follows its own heaviest labels, so that what is left of them is too small.
    return 0.0 if found.standard_error is None else found.standard_error**2 * kish / max(1.0, kish - 2)


def _corrected(
    value: float,
    variance: float,
    of_labels: float,
    n: int,
    weight: float,
    human: Estimate,
    naive: Estimate,
    level: float,
    *,
    degrees: float,
    share: bool,
) -> Corrected:
    estimate = _interval(value, variance, n, level, "PPI++", degrees=degrees, share=share)
    effective = None if variance <= 0 else n * of_labels / variance
    saved = None if effective is None else effective - n
    return Corrected(estimate, naive, human, weight, effective, saved)


def _interval(
    value: float, variance: float, n: int, level: float, method: str, *, degrees: float, share: bool
) -> Estimate:
    if variance <= 0 and share and value in (0.0, 1.0):
        found = wilson_interval(value * n, n=n, level=level)
        return Estimate(value, found.low, found.high, n, f"{found.method}, all labels are equal")
    if variance <= 0:
        return Estimate(value, None, None, n, "all labels are equal: no spread to make an interval from")
    probability, error = 0.5 + level / 2, math.sqrt(variance)
    warning = f"only {n} labels: the interval may be too narrow" if n < FEW_LABELS else None
    if n < _ENOUGH_FOR_NORMAL and share and 0 < value < 1:
        shrink = normal_quantile(probability) / t_quantile(probability, degrees=max(1.0, degrees))
        effective = value * (1 - value) / variance * shrink**2
        found = wilson_interval(value * effective, n=effective, level=level)
        words = f"{method} (Wilson on {effective:.0f} effective labels)"
        return Estimate(value, found.low, found.high, n, words, error, warning=warning)
    if n < _ENOUGH_FOR_NORMAL:
        half, method = t_quantile(probability, degrees=max(1.0, degrees)) * error, f"{method} (Student t)"
    else:
        half = normal_quantile(probability) * error
    return Estimate(value, value - half, value + half, n, method, error, warning=warning)


def _unseen(y: Reals, f: Reals, n: float, *, yes_no: bool) -> float:
    """Variance that few labels did not show.

    A yes-or-no judge that made no error or one gets one more: else one that is right on twenty labels would be taken
    for one that is never wrong. Differences of yes and no get one more gained and one more lost, as by D. G. Bonett and
    R. M. Price, J. Educ. Behav. Stat. 37 (2012).
    """
    if not yes_no:
        return 0.0
    if not _binary(f) or y.min() == y.max() or int((y != f).sum()) >= _FEW_ERRORS:
        return 0.0
    return 1 / (n * (n + 1))


def _binary(y: Reals) -> bool:
    return bool(((y == 0) | (y == 1)).all())


def _unusable(n: float, caught: Counts, cleared: Counts) -> str | None:
    if n == 0:
        return "no scores"
    if min(caught[1], cleared[1]) < 5 or caught[1] + cleared[1] < FEWEST_LABELS:
        return (
            f"{caught[1]:.0f} labels say yes and {cleared[1]:.0f} say no: at least 5 of each and {FEWEST_LABELS} "
            "together are needed to know the judge's TPR and TNR"
        )
    tpr, tnr = caught[0] / caught[1], cleared[0] / cleared[1]
    youden = tpr + tnr - 1
    error = math.sqrt(tpr * (1 - tpr) / caught[1] + tnr * (1 - tnr) / cleared[1])
    if youden < _SMALLEST_YOUDEN or youden - normal_quantile(0.975) * error <= 0:
        return (
            f"Youden's J is {youden:.2f} ± {1.96 * error:.2f}: the judge cannot be told from a coin, and nothing can "
            "be corrected with it"
        )
    return None


def _lang_reiczigel(
    passed: float, n: float, caught: Counts, cleared: Counts, level: float, *, added: float
) -> tuple[float, float]:
    z = normal_quantile(0.5 + level / 2)
    m1, m0, m = caught[1] + 2 * added, cleared[1] + 2 * added, n + z * z
    tpr, tnr, q = (caught[0] + added) / m1, (cleared[0] + added) / m0, (passed + z * z / 2) / m
    youden = tpr + tnr - 1
    rate = (q + tnr - 1) / youden
    of_tpr, of_tnr = tpr * (1 - tpr) / m1, tnr * (1 - tnr) / m0
    shift = 2 * z * z * (rate * of_tpr - (1 - rate) * of_tnr)
    error = math.sqrt(q * (1 - q) / m + rate**2 * of_tpr + (1 - rate) ** 2 * of_tnr) / youden
    return rate + shift - z * error, rate + shift + z * error


def _drawn_rates(
    passed: float, n: float, caught: Counts, cleared: Counts, level: float, seed: int
) -> tuple[float, float]:
    """Percentiles of the rate, with all three shares drawn from their Jeffreys posteriors."""
    generator = np.random.default_rng(seed)
    q, tpr, tnr = (
        generator.beta(part + 0.5, whole - part + 0.5, size=10_000) for part, whole in ((passed, n), caught, cleared)
    )
    youden = tpr + tnr - 1
    rates = np.clip((q + tnr - 1)[youden > 0] / youden[youden > 0], 0, 1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
