"""How many cases a question needs, and what a number of cases can tell.

Normal approximations, before the fact: n = ((z_α + z_β)·s/δ)², s being the standard deviation of a paired difference.
"""

from __future__ import annotations

import math

from tracekit.errors import UsageError
from tracekit_evaluators.statistics.distributions import normal_probability, normal_quantile

_MOST = 10_000_000


def reach(*, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> float:
    """z_α + z_β: how many standard errors a difference must be to be found; 2.80 at 5 % two-sided and 80 %.

    Example:
        >>> round(reach(), 3), round(reach(sides=1), 3)
        (2.802, 2.486)
    """
    if not (0 < alpha < 1 and 0 < power < 1):
        raise UsageError(f"alpha and power lie between 0 and 1, not {alpha:g} and {power:g}")
    if sides not in {1, 2}:
        raise UsageError(f"a test has 1 or 2 sides, not {sides}")
    return normal_quantile(1 - alpha / sides) + normal_quantile(power)


def detectable(standard_error: float, *, alpha: float = 0.05, power: float = 0.8, sides: int = 2) -> float:
    """The smallest true difference that is found with this power: (z_α + z_β)·SE.

    Example:
        >>> round(detectable(binary_spread(0.2) / 200**0.5), 3)  # 200 pairs of which a fifth differ
        0.089
    """
    return reach(alpha=alpha, power=power, sides=sides) * standard_error


def cases_needed(
    spread: float, *, difference: float, alpha: float = 0.05, power: float = 0.8, sides: int = 2
) -> int | None:
    """How many pairs find a true difference with this power; `None` where no sensible number does.

    Args:
        spread: The standard deviation of a pair's difference.
        difference: The true difference, or its distance from a margin.
        alpha: Significance level.
        power: The probability to find it.
        sides: 1 for non-inferiority and superiority, 2 for any difference.

    Example:
        >>> cases_needed(binary_spread(0.2), difference=0.05)
        628
    """
    if difference == 0 or not math.isfinite(difference) or not math.isfinite(spread):
        return None
    wanted = (reach(alpha=alpha, power=power, sides=sides) * spread / difference) ** 2
    return max(2, math.ceil(wanted - 1e-9)) if wanted <= _MOST else None


def power_of(n: float, *, spread: float, difference: float, alpha: float = 0.05, sides: int = 2) -> float:
    """The probability that n pairs find a true difference.

    Example:
        >>> round(power_of(628, spread=binary_spread(0.2), difference=0.05), 2)
        0.8
    """
    if spread <= 0:
        return 1.0 if difference else 0.0
    return normal_probability(abs(difference) * math.sqrt(n) / spread - normal_quantile(1 - alpha / sides))


def binary_spread(discordant: float, *, difference: float = 0.0) -> float:
    """The standard deviation of a paired difference of pass and fail: √(discordant - difference²).

    Args:
        discordant: Which share of pairs differs.
        difference: The true difference of the pass rates.

    Example:
        >>> round(binary_spread(0.2), 3)
        0.447
    """
    if not 0 <= discordant <= 1 or abs(difference) > discordant + 1e-12:
        raise UsageError(f"the share of pairs that differ is |{difference:g}| to 1, not {discordant:g}")
    return math.sqrt(max(0.0, discordant - difference * difference))


def repeated_spread(between: float, *, within: float, repeats: int) -> float:
    """The standard deviation of a pair's difference when each case is tried so often on both sides.

    √(ω² + 2·σ²/K), E. Miller, arXiv 2411.00640: repeats take away the noise of tries, never the difference of cases.

    Args:
        between: The variance of the true differences of cases, ω².
        within: The variance of one try within its case, σ².
        repeats: K.

    Example:
        >>> round(repeated_spread(0.05, within=0.1, repeats=4), 3)
        0.316
    """
    if repeats < 1 or between < 0 or within < 0:
        raise UsageError("variances are at least 0 and repeats at least 1")
    return math.sqrt(between + 2 * within / repeats)
