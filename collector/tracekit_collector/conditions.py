"""What a condition over the view `traces` says of the spans of every trace that it picks.

So traces can be left out before they are put together. A condition that is not understood says nothing.
"""

from __future__ import annotations

import re
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
    found = []
    for part in _conjuncts(where):
        name, compared = part[0].lower(), " ".join(part[1:])
        above = len(part) == 3 and part[1] in (">", ">=", "=") and part[2][0].isdigit()
        timed = len(part) in (3, 4) and part[1] in _COMPARED and part[2].upper() in ("TIMESTAMP", part[-1])
        if name in _AT_MOST and above:
            found.append(f"{_AT_MOST[name]} {'>=' if part[1] == '=' else part[1]} {part[2]}")
        elif name == "duration_ms" and above:
            least = f"duration_ns / 1e6 {'>=' if part[1] == '=' else part[1]} {part[2]}"
            found.append(f"(count(*) FILTER ({_ROOT}) = 0 OR bool_or({_ROOT} AND (duration_ns IS NULL OR {least})))")
        elif name in ("start_time", "start_ns") and timed and part[-1][0] in "'0123456789":
            found.append(f"min({name}) {compared}")
    return found


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
