"""How a conversation went over its turns: when it was settled, whether it was given up, whether the user came back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators.grounding import texts_of
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import limit_of, limited
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

SETTLED = (
    r"(?i)\b(?:thank(?:s| you)|that (?:works|worked|helps|helped|solved|fixed|is all|'s all|does it)|it works|"
    r"works now|perfect|problem solved|resolved|that is what i needed|all set|never ?mind, (?:it|i) (?:works|solved))\b"
)
_STILL = re.compile(
    r"(?i)\b(?:but|still|not|n['’]t|however|again|instead|also|another|one more|can you|could you)\b|\?"
)
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be been but by can could do does for from had has have hello hi how i if in is it its just "
        "me my no not of on or please so that the their them then there they this to us was we what when where which "
        "who why will with would you your",
    )
)


@judge(subject="session", direction="minimize", needs=("session",), values="turns ≥ 1, {0,1}")
def turns_to_resolution(
    *,
    settled: str = SETTLED,
    events: str = "*resolved*",
    max: int | None = None,  # noqa: A002 - the word that one writes
) -> Call:
    """How many turns of the user it took until the matter was settled.

    Settled it is at an event with such a name, or before a turn in which the user says so and wants nothing else; what
    users say is known in English, and in other languages by `settled` alone.
    Besides it says `turns_to_resolution.resolved`: whether it was settled at all. A session that was not has no number
    of turns: read the two together.

    Args:
        settled: A regular expression that finds what a content user says.
        events: The name or pattern of a span's event that marks the session as settled.
        max: The most that passes; without it nothing passes or fails.

    Raises:
        UsageError: `settled` is no regular expression.
    """
    words = _regex("turns_to_resolution", settled)
    limit = limit_of("turns_to_resolution", max)

    def call(subject: Subject) -> dict[str, Score]:
        turns = user_turns(subject.turns)
        if not turns:
            raise MissingInput("the session shows no turn of a user")
        place = _resolved(subject.turns, turns, words, events)
        count = None if place is None else limited(place, limit, "turns")
        return {
            "turns_to_resolution": count or unscored(NotApplicable("nothing shows that the matter was settled")),
            "turns_to_resolution.resolved": Score(place is not None, direction="maximize"),
        }

    return call


@judge(subject="session", direction="minimize", needs=("session",), values="{0,1}")
def abandonment(*, settled: str = SETTLED, events: str = "*resolved*") -> Call:
    """Whether the user left before the matter was settled: the last turn failed, had no answer, or ended in a question.

    Args:
        settled: A regular expression that finds what a content user says.
        events: The name or pattern of a span's event that marks the session as settled.

    Raises:
        UsageError: `settled` is no regular expression.
    """
    words = _regex("abandonment", settled)

    def call(subject: Subject) -> Score:
        turns = user_turns(subject.turns)
        if not turns:
            raise MissingInput("the session shows no turn of a user")
        if _resolved(subject.turns, turns, words, events) is not None:
            return Score(value=False, explanation="the matter was settled")
        last = subject.turns[-1]
        if last.status == "error":
            told = "the last turn failed"
        elif last.output is None or not last.output.strip():
            told = "the last turn has no answer"
        elif last.output.rstrip(" \n*_\"'”)").endswith("?"):
            told = "the agent's last question was not answered"
        else:
            return Score(value=False, explanation="the last turn was answered")
        evidence = [Evidence(None, last.output[-200:])] if last.output else []
        return Score(value=True, explanation=told, evidence=evidence)

    return call


@judge(subject="session", direction="minimize", needs=("session",), values="[0,1]")
def repeat_contact(*, alike: float = 0.5, hours: float = 0) -> Call:
    """Share of the user's turns, after the first, that bring up again what an earlier one asked for.

    Two turns bring up the same where the words that carry meaning are alike (Jaccard). Turns in other sessions of the
    same user are not seen.

    Args:
        alike: How alike, from 0 (excluded) to 1.
        hours: The least time between the two turns: with 24, only coming back on another day counts.

    Raises:
        UsageError: `alike` is not in that range.
    """
    if not 0 < alike <= 1:
        raise UsageError(f"repeat_contact needs alike above 0 and up to 1, not {alike!r}")
    pause = hours * 3600e9

    def call(subject: Subject) -> Score:
        turns = [(when, text, _meaning(text)) for when, text in user_turns(subject.turns)]
        if len(turns) < 2:
            raise NotApplicable("the user took one turn only")
        found = [
            text
            for place, (when, text, words) in enumerate(turns)
            if any(when - before >= pause and _alike(words, earlier) >= alike for before, _, earlier in turns[:place])
        ]
        return Score(
            len(found) / (len(turns) - 1),
            explanation=f"{len(found)} of {len(turns) - 1} turns",
            evidence=[Evidence(None, text[:300]) for text in found[:10]],
        )

    return call


def user_turns(traces: Sequence[Trace]) -> list[tuple[int, str]]:
    """What the user said in each turn, with when.

    Args:
        traces: The traces of the session in order. Where one holds a conversation of several turns, those are given.
    """
    return [turn for trace in traces for turn in _turns_of(trace)] if len(traces) != 1 else list(_turns_of(traces[0]))


def _turns_of(trace: Trace) -> Iterator[tuple[int, str]]:
    began: dict[int, int] = {}
    texts: list[str] = []
    for call in trace.model_calls:
        said = [" ".join(texts_of(each)) for each in call.input_messages if each.get("role") == "user"]
        for place in range(len(began), len(said)):
            began[place] = call.start_ns
        texts = said if len(said) >= len(texts) else texts
    # What was said in earlier traces of the session comes with the first model call of this one.
    first = max((place for place, when in began.items() if when == min(began.values())), default=0)
    own = [(began.get(place, trace.start_ns), text) for place, text in enumerate(texts) if place >= first and text]
    if own:
        yield from own
    elif trace.input is not None:
        yield trace.start_ns, trace.input


def _resolved(
    traces: Sequence[Trace], turns: Sequence[tuple[int, str]], words: re.Pattern[str], name: str
) -> int | None:
    """The number of turns until the matter was settled."""
    marks: list[int] = []
    for trace in traces:
        for span in trace.spans:
            if span.row.get("events") is not None:
                found = [each for each in span.events if fnmatchcase(str(each.get("name")), name)]
                marks += [int(each.get("time_ns") or span.start_ns) for each in found]
    for place, (when, text) in enumerate(turns):
        if place and words.search(text) and not _STILL.search(text):
            marks.append(when)
            return sum(1 for began, _ in turns if began < min(marks)) or 1
    return (sum(1 for began, _ in turns if began <= min(marks)) or 1) if marks else None


def _regex(judge_name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{judge_name}: this is no regular expression: {error}") from None


def _meaning(text: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(text.casefold()) if word not in _COMMON)


def _alike(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a and b else 0.0
