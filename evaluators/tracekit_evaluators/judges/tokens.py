"""How many tokens the agent's model calls used."""

from __future__ import annotations

from typing import Literal, get_args

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject

Kind = Literal["total", "input", "output", "cached", "reasoning"]


@judge(direction="minimize", needs=("usage",), values="count ≥ 0")
def tokens(*, kind: Kind = "total", max: int | None = None) -> Call:  # noqa: A002 - the word that one writes
    """Tokens that the trace's model calls used.

    Args:
        kind: Which ones: `total` is input plus output; input holds cached ones, output holds reasoning.
        max: The most that passes; without it nothing passes or fails.

    Raises:
        UsageError: There is no such kind, or max is no number.

    Example:
        >>> tokens(kind="output", max=2000).parameters
        {'kind': 'output', 'max': 2000}
    """
    if kind not in get_args(Kind):
        raise UsageError(f"tokens has no kind {kind!r}; one of {', '.join(get_args(Kind))}")
    parts = ("input", "output") if kind == "total" else (kind,)

    limit = limit_of("tokens", max)

    def call(subject: Subject) -> Score:
        usage = subject.trace.usage
        known = {"input": usage.input_tokens, "output": usage.output_tokens}
        known |= {"cached": usage.cached_tokens, "reasoning": usage.reasoning_tokens}
        count = 0
        for part in parts:
            used = known[part]
            if used is None:
                raise MissingInput(f"the trace does not say how many {part} tokens it used")
            count += used
        return limited(count, limit, "tokens")

    return call
