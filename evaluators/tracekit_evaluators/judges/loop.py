"""Whether the agent goes round in circles."""

from __future__ import annotations

from collections import Counter

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.score import Evidence, NotApplicable, Score
from tracekit_evaluators.subject import Subject, canonical


@judge(direction="minimize", needs=("tool calls",), values="{0,1}")
def loop(*, times: int = 3) -> Call:
    """Whether some tool was called again and again with the same arguments.

    Besides `loop` it says `loop.repeated`: the share of the tool calls that repeat an earlier one, in [0,1]. Not
    applicable where no tool was called.

    Args:
        times: How many equal calls make a loop, at least 2.

    Raises:
        UsageError: Fewer than 2.

    Example:
        >>> loop(times=2).parameters
        {'times': 2}
    """
    enough = count_of("loop", "times", times, at_least=2)

    def call(subject: Subject) -> dict[str, Score]:
        calls = subject.tool_calls
        if not calls:
            raise NotApplicable("no tool was called")
        keys = [(each.name or "", canonical(each.arguments)) for each in calls]
        counts = Counter(keys)
        (name, arguments), most = counts.most_common(1)[0]
        repeated = len(calls) - len(counts)
        spans = [each.span_id for each, key in zip(calls, keys, strict=True) if counts[key] >= enough]
        return {
            "loop": Score(
                most >= enough,
                explanation=f"{name} was called {most} times with the same arguments" if most > 1 else None,
                evidence=[Evidence(span, name) for span in spans[:10]],
                metadata={"tool": name, "arguments": arguments[:1000], "times": most} if most > 1 else {},
            ),
            "loop.repeated": Score(repeated / len(calls)),
        }

    return call
