"""What a condition over the view `traces` says of the spans of every trace that it picks.

So traces can be left out before they are put together. A condition that is not understood says nothing.

Understood are, joined by AND and OR: comparisons, `IN`, `LIKE` and a few functions of one text column of `traces` with
constants, which some span must meet too; `status = 'error'`; and, above a number, sums, counts and the duration.
Nothing is said by `NOT` of such, `IS NULL`, `coalesce` and all else that may be true of a null, `BETWEEN`, `CASE`,
comparisons of two columns, sub-queries, and comments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tracekit_collector.views import _FAILED as FAILED

# A trace has these from one of its spans; so a span that says the same must be there.
SPANS_TELL = frozenset(
    (
        "trace_id",
        "name",
        "agent_name",
        "agent_version",
        "project",
        "environment",
        "service_name",
        "session_id",
        "user_id",
        "case_id",
        "run_id",
    )
)
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[A-Za-z_]\w*|[0-9]+(?:\.[0-9]+)?|<>|<=|>=|!=|::|[=<>(),+*/%.-])")
_COMPARED = ("=", "<", "<=", ">", ">=")
_ROOT = "parent_span_id IS NULL"

# Columns of `traces` that are never more than this of their spans.
_AT_MOST = {
    "spans": "count(*)",
    "errors": f"count(*) FILTER ({FAILED})",
    "model_calls": "count(*) FILTER (step = 'llm')",
    "tool_calls": "count(*) FILTER (step = 'tool')",
}
for _name in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "cost_usd"):
    # A little more than the sum, whose last digits depend on the order in which it is made.
    _AT_MOST[_name] = f"coalesce(sum(greatest({_name}, 0)), 0) * 1.000001"

# Texts of a trace are those of a span; what is true of the one, and cannot be of a null, is true of the other.
_TEXTS = {name: name for name in SPANS_TELL - {"trace_id"}}
_TEXTS |= {"input": "input", "output": "output", "error_type": "error_type", "error_message": "status_message"}
_STRICT = frozenset({"lower", "upper", "trim", "contains", "starts_with", "ends_with", "prefix", "suffix", "length"})
_STRICT |= {"regexp_matches", "like", "ilike", "not", "in", "=", "<>", "!=", "<", "<=", ">", ">=", "(", ")", ","}


@dataclass(frozen=True)
class Needed:
    """What there must be of every trace that a condition picks, as far as the condition is understood.

    Args:
        spans: Conditions in SQL, each of which some span of the trace meets.
        traces: Conditions in SQL over all spans of the trace, as after HAVING.
    """

    spans: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.spans or self.traces)


def needed_of(where: str) -> Needed:
    """What a condition over `traces` needs, read as far as it is understood.

    Example:
        >>> needed_of("name LIKE 'a%' AND (input = 'x' OR lower(output) = 'y') AND repeat = 1").spans
        ("name LIKE 'a%'", "(input = 'x' OR lower ( output ) = 'y')")
        >>> needed_of("spans > 2 OR name = 'a'").traces
        ("(count(*) > 2 OR bool_or(name = 'a'))",)
        >>> bool(needed_of("name IS NULL"))
        False
    """
    return _needed(_tokens(where))


def _needed(words: Sequence[str]) -> Needed:
    if not words or any(word.upper() in ("BETWEEN", "CASE", "ESCAPE") for word in words):
        return Needed()
    ways = _split(words, "OR")
    if len(ways) > 1:
        found = [_needed(way) for way in ways]
        if not all(found):
            return Needed()
        if all(len(each.spans) == 1 and not each.traces for each in found):
            return Needed(spans=(f"({' OR '.join(each.spans[0] for each in found)})",))
        return Needed(traces=(f"({' OR '.join(_of_trace(each) for each in found)})",))
    parts = _split(words, "AND")
    if len(parts) > 1:
        each_ = [_needed(part) for part in parts]
        spans = tuple(sign for each in each_ for sign in each.spans)
        return Needed(spans, tuple(sign for each in each_ for sign in each.traces))
    if words[0] == "(" and _closing(words) == len(words) - 1:
        return _needed(words[1:-1])
    if [word.lower() for word in words] == ["status", "=", "'error'"]:
        return Needed(spans=(FAILED,))
    text = _of_text(words)
    return Needed(spans=(text,)) if text is not None else Needed(traces=tuple(_of_number(words)))


def _of_trace(found: Needed) -> str:
    return " AND ".join((*(f"bool_or({sign})" for sign in found.spans), *found.traces))


def _of_text(words: Sequence[str]) -> str | None:
    """A condition of one text column as one of spans, if it cannot be true of a null."""
    names = {word.lower() for word in words if word[0].isalpha() or word[0] == "_"} - _STRICT
    if len(names) != 1 or not names <= set(_TEXTS) or words[0].lower() == "not":
        return None
    (name,) = names
    after = [word.lower() for word in words]
    last = len(after) - after[::-1].index(name) - 1
    among = after.index("in") if "in" in after else len(after)
    plain = all(word in _STRICT or word == name or word[0] in "'0123456789" for word in after)
    if not plain or last > among or len(words) < 3:  # a list that names a column may hold more than a null
        return None
    return " ".join(_TEXTS[name] if word.lower() == name else word for word in words)


def _split(words: Sequence[str], joint: str) -> list[list[str]]:
    """The words between those that are `joint`, outside of parentheses."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == "(") - (word == ")")
        if depth == 0 and word.upper() == joint:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _closing(words: Sequence[str]) -> int:
    """Where the parenthesis ends that the words begin with."""
    depth = 0
    for place, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if depth == 0:
            return place
    return -1


def told_by(where: str) -> list[tuple[str, tuple[str, ...]]]:
    """What a condition over `traces` says that some span must say too: `column = 'text'`, `column IN ('a', 'b')`.

    Only conditions whose parts are joined by AND are read, and only of plain words, numbers and texts; of all others
    this tells nothing.

    Example:
        >>> told_by("agent_name = 'bot' AND duration_ms > 5 AND project IN ('a', 'b')")
        [('agent_name', ('bot',)), ('project', ('a', 'b'))]
        >>> told_by("agent_name = 'bot' OR project = 'a'")
        []
    """
    found = []
    for part in _conjuncts(where):
        name, values = part[0].lower(), tuple(_text(each) for each in part if each.startswith("'"))
        equal = len(part) == 3 and part[1] == "=" and bool(values) and not part[0].startswith("'")
        among = len(part) >= 5 and part[1].upper() == "IN" and part[2] == "(" and part[-1] == ")"
        listed = (
            among and part[3:-1:2] == [each for each in part if each.startswith("'")] and set(part[4:-1:2]) <= {","}
        )
        if name in SPANS_TELL and (equal or listed):
            found.append((name, values))
    return found


def asks_for_errors(where: str) -> bool:
    """Whether a condition asks for traces that failed, whatever else."""
    return any([each.lower() for each in part] == ["status", "=", "'error'"] for part in _conjuncts(where))


def needed(where: str) -> list[str]:
    """What the spans of every trace that a condition picks must come to, in SQL over the spans of one trace.

    Each is true of more traces than the condition is, and takes few columns to tell; conditions are read as by
    `told_by`.

    Example:
        >>> needed("spans > 100 AND model = 'x' AND start_time >= '2026-01-01'")
        ['count(*) > 100', "min(start_time) >= '2026-01-01'"]
    """
    return [sign for part in _conjuncts(where) for sign in _of_number(part)]


def _of_number(part: Sequence[str]) -> list[str]:
    name, compared = part[0].lower(), " ".join(part[1:])
    above = len(part) == 3 and part[1] in (">", ">=", "=") and part[2][0].isdigit()
    timed = len(part) in (3, 4) and part[1] in _COMPARED and part[2].upper() in ("TIMESTAMP", part[-1])
    if name in _AT_MOST and above:
        return [f"{_AT_MOST[name]} {'>=' if part[1] == '=' else part[1]} {part[2]}"]
    if name == "duration_ms" and above:
        least = f"duration_ns / 1e6 {'>=' if part[1] == '=' else part[1]} {part[2]}"
        return [f"(count(*) FILTER ({_ROOT}) = 0 OR bool_or({_ROOT} AND (duration_ns IS NULL OR {least})))"]
    if name in ("start_time", "start_ns") and timed and part[-1][0] in "'0123456789":
        return [f"min({name}) {compared}"]
    return []


def _conjuncts(where: str) -> list[list[str]]:
    """The tokens of each part of an AND; nothing for a condition of any other form."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in _tokens(where):
        depth += (word == "(") - (word == ")")
        if depth == 0 and word.upper() in ("OR", "BETWEEN", "CASE", "ESCAPE"):
            return []
        if depth == 0 and word.upper() == "AND":
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def _tokens(where: str) -> list[str]:
    found: list[str] = []
    place = 0
    text = where.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return []
        found.append(match.group(1))
        place = match.end()
    # A letter before a text changes what its backslashes mean; a comment may hide anything.
    prefixed = any(b.startswith("'") and a.lower() in ("e", "x", "b", "u", "n") for a, b in pairwise(found))
    return [] if prefixed or "--" in where or "/*" in where else found


def _text(token: str) -> str:
    return token[1:-1].replace("''", "'")
