"""The same scores of other versions of an agent: what each finished run of a version said, the newest of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.text import line
from tracekit_evaluators.verdict import amount, interval

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord

_MOST_VERSIONS = 8
_MOST_SCORES = 30


@dataclass(frozen=True)
class VersionCell:
    """What a version scored: the value, its interval, the cases, and how long a bar of the share is (per cent)."""

    value: str
    interval: str
    cases: str
    share: float | None


@dataclass(frozen=True)
class VersionColumn:
    """A version: its name, the run that is shown of it, and whether that is the report's own."""

    version: str
    run: str
    own: bool


@dataclass(frozen=True)
class VersionTable:
    """Scores by version.

    Args:
        columns: The versions, the oldest first.
        rows: For each score its name and one cell a version; `None` where that run has no such score.
    """

    columns: tuple[VersionColumn, ...]
    rows: tuple[tuple[str, tuple[VersionCell | None, ...]], ...]


def version_runs(runs: Sequence[RunRecord], run: RunRecord) -> list[RunRecord]:
    """A run among those of other versions of its agent, one a version, the oldest first; none where it is alone.

    Args:
        runs: All runs, in any order. One counts if it is finished, names a version of the same agent, and has one of
            the scores; of several runs of a version the newest counts.
        run: The run of the report.
    """
    mine = run.agent_version
    if mine is None:
        return []
    chosen: dict[int, RunRecord] = {}
    for each in sorted(runs, key=lambda other: (other.created_at, other.id)):
        version = each.agent_version
        alike = version is not None and version.agent == mine.agent and set(each.metrics) & set(run.metrics)
        if version is not None and alike and each.status == "finished":
            chosen[version.number] = each
    chosen[mine.number] = run
    if len(chosen) < 2:
        return []
    others = [chosen[number] for number in sorted(chosen)][-_MOST_VERSIONS:]
    return others if run in others else [run, *others[1:]]


def version_table(shown: Sequence[RunRecord], run: RunRecord) -> VersionTable | None:
    """The scores of a run beside those of other versions of its agent; `None` where there is nothing beside it.

    Args:
        shown: The run that is shown of each version, as `version_runs` gives them.
        run: The run of the report.
    """
    if len(shown) < 2:
        return None
    names = [name for name in sorted(run.metrics) if any(name in each.metrics for each in shown if each is not run)]
    columns = tuple(VersionColumn(_ref(each), line(each.name, longest=40), each.id == run.id) for each in shown)
    return VersionTable(
        columns,
        tuple(
            (line(name, longest=80), tuple(_cell(each.metrics.get(name)) for each in shown))
            for name in names[:_MOST_SCORES]
        ),
    )


def _ref(run: RunRecord) -> str:
    version = run.agent_version
    return "" if version is None else line(f"{version.ref}{f' {version.label}' if version.label else ''}", longest=40)


def _cell(metric: Mapping[str, object] | None) -> VersionCell | None:
    if metric is None:
        return None
    kind = str(metric.get("kind") or "number")
    value, low, high = (_real(metric.get(name)) for name in ("value", "low", "high"))
    share = value is not None and kind in {"bool", "reliability"} and 0 <= value <= 1
    return VersionCell(
        amount(value, kind=kind),
        interval(low, high, kind=kind),
        f"{metric.get('n') or 0} cases",
        round(100 * value, 2) if share and value is not None else None,
    )


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
