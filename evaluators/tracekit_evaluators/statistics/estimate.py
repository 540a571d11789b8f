"""What a statistic answers: a value with its interval and its method's name, or `None` and the reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tracekit.errors import UsageError

_TOO_LARGE = "the numbers are too large to calculate with"
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, how sure it is, and how it was made.

    Args:
        value: The estimate; `None` when there is nothing to estimate from.
        low: Lower end of the interval; `None` when no interval can be made, which `method` then explains.
        high: Upper end of the interval.
        n: How many independent values it rests on.
        method: The method's name, or the reason why there is no interval.
        standard_error: The standard error, where the method has one.
        clusters: How many groups of values that share something it rests on, where they were told apart.
        design_effect: By how much these groups widen the variance, (SE with / SE without)².
        warning: What a reader should know before trusting the interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    standard_error: float | None = None
    clusters: int | None = None
    design_effect: float | None = None
    warning: str | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "standard_error", "design_effect"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)
                object.__setattr__(self, "method", _TOO_LARGE)
        if self.low is None or self.high is None:
            object.__setattr__(self, "low", None)
            object.__setattr__(self, "high", None)

    def clipped(self, low: float, high: float) -> Estimate:
        """The same estimate with its interval kept inside what the quantity can be."""
        if self.low is None or self.high is None or (self.low >= low and self.high <= high):
            return self
        method = f"{self.method}, kept inside [{low:g}, {high:g}]"
        return replace(self, low=max(low, self.low), high=min(high, self.high), method=method)

    @property
    def effective_n(self) -> float | None:
        """How many independent values would say as much; `None` where no groups were told apart."""
        return None if not self.design_effect else self.n / self.design_effect

    def to_dict(self) -> dict[str, object]:
        """The estimate as a metric: `value`, `low`, `high`, `n`, `method`."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "method": self.method}


@dataclass(frozen=True, slots=True)
class PValue:
    """A p-value with the name of its test; `None` when the test has nothing to work on.

    Args:
        value: Two-sided p-value in (0, 1], or `None`.
        test: The test's name, or the reason why there is none.
    """

    value: float | None
    test: str

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "test", _TOO_LARGE)


def reals(values: Iterable[float]) -> Reals:
    """Values as an array of finite numbers.

    Raises:
        UsageError: One of them is NaN or infinite: an unscored case is left out, it is never a number.
    """
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    if array.ndim != 1:
        raise UsageError(f"expected a flat list of numbers, got {array.ndim} dimensions")
    if not np.isfinite(array).all():
        raise UsageError("the values hold NaN or infinity; leave out what was not scored")
    return array
