"""Which case of one run is which case of another: by case id, else by equal input, else not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from tracekit_evaluators.clustering import Facts, case_rows
from tracekit_evaluators.subject import input_digest
from tracekit_evaluators.summary import Row, ScoreGroup, group_scores, summarise

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_READ_AT_ONCE = 5_000


@dataclass(frozen=True)
class RunRows:
    """What comparing and reporting read of a run.

    Args:
        run: The run.
        rows: Its rows of the table `scores`, in a fixed order, `case_id` filled in from the trace where it is missing.
        traces: The rows of the view `traces` that these name, by trace id.
        cases: The cases of the dataset that it tried, by case id, as far as they are known.
        models: For each trace id the models that it called.
        tools: For each trace id the tools that it called.
    """

    run: RunRecord
    rows: tuple[Row, ...]
    traces: Mapping[str, Row]
    cases: Mapping[str, Row] = field(default_factory=dict)
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, ScoreGroup]:
        """Its rows by score name."""
        return {group.name: group for group in group_scores(self.rows)}

    @cached_property
    def metrics(self) -> dict[str, dict[str, object]]:
        """Its metrics, as `summarise` gives them."""
        return summarise(self.rows, self.facts)

    @property
    def facts(self) -> Facts:
        """What is known of it beyond its scores."""
        return Facts(self.traces, self.cases)

    @cached_property
    def own_keys(self) -> dict[str, str]:
        """For each of its traces what is a repeat of the same: its case, else the trace itself."""
        return {trace_id: f"trace:{trace_id}" for trace_id in self.traces} | _case_keys(self)

    def measures(self) -> Iterator[tuple[str, float | None, Row]]:
        """What each trace took, as (measure, value, a row that names the case and the trace)."""
        named = {row["trace_id"]: row for row in reversed(self.rows) if row.get("trace_id") is not None}
        for trace_id, trace in self.traces.items():
            row = {"case_id": named[trace_id].get("case_id"), "trace_id": trace_id}
            for name, (column, scale) in MEASURES.items():
                value = trace.get(column)
                yield name, float(value) * scale if isinstance(value, (int, float)) else None, row


# Name of a measure: the column of the view `traces`, and what it is multiplied by.
MEASURES: dict[str, tuple[str, float]] = {
    "latency (s)": ("duration_ms", 1e-3),
    "cost (USD)": ("cost_usd", 1.0),
    "input tokens": ("input_tokens", 1.0),
    "output tokens": ("output_tokens", 1.0),
    "model calls": ("model_calls", 1.0),
    "tool calls": ("tool_calls", 1.0),
}


@dataclass(frozen=True)
class Pairing:
    """How the cases of two runs find each other.

    Args:
        by: `case`, `input` or `none`.
        baseline: For each trace id of the baseline the key of its case; a trace without one is left out, a case whose
            scores name no trace stands for itself.
        candidate: The same for the candidate.
    """

    by: str
    baseline: Mapping[str, str]
    candidate: Mapping[str, str]

    def keys(self) -> tuple[list[str], list[str], list[str]]:
        """Keys that both have, that only the baseline has, that only the candidate has; each in natural order."""
        before, after = set(self.baseline.values()), set(self.candidate.values())
        return natural(before & after), natural(before - after), natural(after - before)


def read_run(store: Store, run: RunRecord) -> RunRows:
    """Read a run's scores and what the view `traces` says of the traces that they name."""
    found = store.sql("SELECT * FROM scores WHERE run_id = ?", [run.id]).dicts()
    wanted = sorted({str(row["trace_id"]) for row in found if row.get("trace_id") is not None})
    traces: dict[str, Row] = {}
    for start in range(0, len(wanted), _READ_AT_ONCE):
        query = "SELECT * FROM traces WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY trace_id"
        for row in store.sql(query, [wanted[start : start + _READ_AT_ONCE]], settle=False):
            traces[str(row["trace_id"])] = row
    rows = tuple(sorted(_with_cases(found, traces), key=_place))
    used = [_called(store, run, view, column) for view, column in (("llm_calls", "model"), ("tool_calls", "tool_name"))]
    return RunRows(run, rows, traces, case_rows(store, run), used[0], used[1])


def _called(store: Store, run: RunRecord, view: str, column: str) -> dict[str, tuple[str, ...]]:
    query = (
        f"SELECT trace_id, list_sort(list(DISTINCT {column})) AS names FROM {view} WHERE {column} IS NOT NULL "  # noqa: S608 - our own names
        "AND trace_id IN (SELECT trace_id FROM scores WHERE run_id = ?) GROUP BY trace_id"
    )
    found = store.sql(query, [run.id], settle=False)
    return {str(row["trace_id"]): tuple(str(name) for name in row["names"]) for row in found}  # type: ignore[attr-defined]  # a list column


def pair(baseline: RunRows, candidate: RunRows) -> Pairing:
    """Find how two runs can be paired: by case ids if they share any, else by equal inputs."""
    for by, keys_of in (("case", _case_keys), ("input", _input_keys)):
        before, after = keys_of(baseline), keys_of(candidate)
        if by == "case":
            before, after = before | _bare_cases(baseline), after | _bare_cases(candidate)
        if set(before.values()) & set(after.values()):
            return Pairing(by, before, after)
    return Pairing("none", baseline.own_keys, candidate.own_keys)


def natural(keys: Iterable[str]) -> list[str]:
    """Keys with their numbers in order of size: case-2 before case-10."""
    return sorted(keys, key=_natural_key)


def case_name(key: str) -> str:
    """What to call the case of a key."""
    kind, _, name = key.partition(":")
    return name if kind == "case" else name[:12]


@lru_cache(maxsize=100_000)
def _natural_key(key: str) -> tuple[list[tuple[int, int, str]], str]:
    parts: list[tuple[int, int, str]] = []
    word = ""
    for character in key:
        if character.isascii() and character.isdigit():
            if word.isdigit() and word:
                word += character
                continue
            parts += [_part(word)] if word else []
            word = character
        elif word.isdigit() and word.isascii() and word:
            parts.append(_part(word))
            word = character
        else:
            word += character
    return ([*parts, _part(word)] if word else parts), key


def _part(word: str) -> tuple[int, int, str]:
    # Beyond eighteen digits it is a hash, not a count, and int() would refuse at 4300.
    return (0, int(word), "") if word.isascii() and word.isdigit() and len(word) < 19 else (1, 0, word)


def _with_cases(rows: Sequence[Row], traces: Mapping[str, Row]) -> Iterator[Row]:
    for row in rows:
        trace = traces.get(str(row.get("trace_id")))
        if trace is None or row.get("case_id") is not None:
            yield row
        else:
            repeat = row.get("repeat") if row.get("repeat") is not None else trace.get("repeat")
            yield {**row, "case_id": trace.get("case_id"), "repeat": repeat}


def _place(row: Row) -> tuple[object, ...]:
    repeat = row.get("repeat")
    words = tuple(str(row.get(column) or "") for column in ("name", "trace_id", "span_id", "judge", "score_id"))
    case = _natural_key(str(row.get("case_id") or ""))
    return case, (-1 if repeat is None else repeat), words


def _case_keys(side: RunRows) -> dict[str, str]:
    return {
        str(row["trace_id"]): f"case:{row['case_id']}"
        for row in side.rows
        if row.get("trace_id") is not None and row.get("case_id") is not None
    }


def _bare_cases(side: RunRows) -> dict[str, str]:
    """Cases of scores that name no trace, which stand for themselves."""
    bare = (row["case_id"] for row in side.rows if row.get("trace_id") is None and row.get("case_id") is not None)
    return {f"case:{case}": f"case:{case}" for case in bare}


def _input_keys(side: RunRows) -> dict[str, str]:
    return {
        trace_id: f"input:{input_digest(trace['input'])}"
        for trace_id, trace in side.traces.items()
        if trace.get("input") is not None
    }
