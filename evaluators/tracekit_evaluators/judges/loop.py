"""Whether the agent goes round in circles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.matching import plain
from tracekit_evaluators.score import Evidence, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text, canonical

_LONGEST = 50  # tools in one round trip


@judge(direction="minimize", needs=("tool calls",), values="{0,1}", version="2")
def loop(*, times: int = 3) -> Call:
    """Whether some tool was called again and again with the same arguments.

    Besides `loop` it says three shares, in [0,1]: `loop.repeated`, of the tool calls those that repeat an earlier one;
    `loop.cycle`, those within the longest stretch in which the same two or more tools follow one another round and
    round, whatever their arguments; `loop.stagnation`, of the results and answers those that say the same as the one
    before. Not applicable where no tool was called.

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
        begin, end = cycle([each.name or "" for each in calls])
        round_trip = [Evidence(each.span_id, each.name or "") for each in calls[begin:end]]
        return {
            "loop": Score(
                most >= enough,
                explanation=f"{name} was called {most} times with the same arguments" if most > 1 else None,
                evidence=[Evidence(span, name) for span in spans[:10]],
                metadata={"tool": name, "arguments": arguments[:1000], "times": most} if most > 1 else {},
            ),
            "loop.repeated": Score(repeated / len(calls)),
            "loop.cycle": Score((end - begin) / len(calls), evidence=round_trip[:10]),
            "loop.stagnation": _stagnation(subject),
        }

    return call


def cycle(names: Sequence[str]) -> tuple[int, int]:
    """The longest stretch that is one block of two or more different names, at least twice in a row.

    Returns:
        Its begin and end; the end is that of the last whole block.

    Example:
        >>> cycle(["find", "a", "b", "a", "b", "a", "pay"])
        (1, 5)
    """
    best = (0, 0)
    for period in range(2, min(len(names) // 2, _LONGEST) + 1):
        start = 0
        for place in range(period, len(names) + 1):
            if place < len(names) and names[place] == names[place - period]:
                continue
            # names[start:place] repeats with this period; a block of one name is no round trip.
            length = (place - start) // period * period
            block = names[start : start + period]
            if length >= 2 * period and length > best[1] - best[0] and len(set(block)) > 1:
                best = (start, start + length)
            start = place - period + 1
    return best


def _stagnation(subject: Subject) -> Score:
    results = [(each.span_id, plain(as_text(each.result))) for each in subject.tool_calls if each.result is not None]
    answers = [(each.span_id, _answer(each.output_messages)) for each in subject.model_calls]
    worst: list[Evidence] = []
    share = 0.0
    for told in (results, [each for each in answers if each[1]]):
        same = [span for (span, text), (_, before) in zip(told[1:], told, strict=False) if text == before]
        if len(told) > 1 and len(same) / (len(told) - 1) > share:
            share = len(same) / (len(told) - 1)
            texts = dict(told)
            worst = [Evidence(span, texts[span][:200]) for span in same[:10]]
    return Score(share, evidence=worst)


def _answer(messages: Sequence[object]) -> str:
    parts = [part for message in messages if isinstance(message, dict) for part in message.get("parts") or ()]
    texts = [part.get("content") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return plain(" ".join(text for text in texts if isinstance(text, str)))
