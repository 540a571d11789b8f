"""What a run may spend on models, in money and in tokens, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracekit.errors import UsageError
from tracekit_evaluators.models.chat import Completion
from tracekit_evaluators.score import BudgetExceeded


@dataclass
class Budget:
    """A hard cap: once it is reached, no further request is begun; those that are out are waited for and counted.

    Args:
        usd: The most money, in US dollars; `None` for no cap.
        tokens: The most tokens, read and written together; `None` for no cap.

    Raises:
        UsageError: A cap is negative.

    Example:
        >>> budget = Budget(tokens=100)
        >>> budget.spend(Completion("yes", input_tokens=90, output_tokens=20))
        >>> budget.left()
        'no tokens are left of 100'
    """

    usd: float | None = None
    tokens: int | None = None
    spent_usd: float = field(default=0.0, init=False)
    spent_tokens: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)
    unpriced: int = field(default=0, init=False)
    uncounted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, cap in (("money", self.usd), ("tokens", self.tokens)):
            if cap is not None and cap < 0:
                raise UsageError(f"a budget of {cap} in {name} is none; give 0 or more")

    def admit(self) -> None:
        """Begin one more request.

        Raises:
            BudgetExceeded: Nothing is left, or nobody can say what is left.
        """
        said = self.left()
        if said is not None:
            raise BudgetExceeded(said)

    def spend(self, completion: Completion) -> None:
        """Count what an answer took."""
        self.requests += 1
        if completion.cost_usd is None:
            self.unpriced += 1
        else:
            self.spent_usd += completion.cost_usd
        if completion.input_tokens is None or completion.output_tokens is None:
            self.uncounted += 1
        self.spent_tokens += (completion.input_tokens or 0) + (completion.output_tokens or 0)

    def left(self) -> str | None:
        """Why no further request may begin; `None` where one may."""
        if self.usd is not None:
            if self.unpriced:
                return f"nobody knows the price of {self.unpriced} answers, so a budget in money cannot be kept"
            if self.spent_usd >= self.usd:
                return f"no money is left of ${self.usd:g}"
        if self.tokens is not None:
            if self.uncounted:
                return f"the server does not count the tokens of {self.uncounted} answers, so no budget can be kept"
            if self.spent_tokens >= self.tokens:
                return f"no tokens are left of {self.tokens}"
        return None

    def summary(self) -> dict[str, object]:
        """What was spent, as a run's summary says it; money is unknown where one price is."""
        return {
            "requests": self.requests,
            "tokens": None if self.uncounted else self.spent_tokens,
            "usd": None if self.unpriced else round(self.spent_usd, 6),
            "budget_usd": self.usd,
            "budget_tokens": self.tokens,
        }
