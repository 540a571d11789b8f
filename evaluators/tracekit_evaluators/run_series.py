"""What a run logged, as people read it: its series in a line each, with a small picture of how they went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

SERIES_COLUMNS = ("metric", "last", "min", "max", "n", "step", "course")

_BARS = "▁▂▃▄▅▆▇█"
_WIDE = 24
# In order of steps; where there are none, of time.
_ORDER = "ORDER BY coalesce(step, -9223372036854775808), time_ns, place"


def series(store: Store, run_id: str) -> list[dict[str, object]]:
    """A run's series: the last value, the least, the greatest, how many points, and the course in a few characters.

    Args:
        store: The store, settled.
        run_id: The run.
    """
    found = store.sql(
        "SELECT name AS metric, value AS last, min, max, n, last_step AS step FROM run_metrics "
        "WHERE run_id = ? AND last_time IS NOT NULL ORDER BY name",
        [run_id],
        settle=False,
    ).dicts()
    # Each of a few stretches counts by its mean.
    courses: dict[str, list[float | None]] = {}
    parts = store.sql(
        f"SELECT name, part, avg(value) FILTER (isfinite(value)) FROM "  # noqa: S608 - our own names, and a number
        f"(SELECT name, value, ntile({_WIDE}) OVER (PARTITION BY name {_ORDER}) AS part FROM points WHERE run_id = ?) "
        "GROUP BY name, part ORDER BY name, part",
        [run_id],
        settle=False,
    )
    for name, _, mean in parts.fetchall():
        courses.setdefault(str(name), []).append(mean if isinstance(mean, float) else None)
    return [{**row, "course": sparkline(courses.get(str(row["metric"]), ()))} for row in found]


def sparkline(values: Iterable[float | None]) -> str:
    """Numbers as bars; a point where there is none.

    Example:
        >>> sparkline([0.0, 1.0, None, 7.0])
        '▁▂·█'
    """
    taken = list(values)
    finite = [value for value in taken if value is not None and math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    # Halves, because the whole may be more than a float can be.
    span = high / 2 - low / 2
    bars = []
    for value in taken:
        if value is None or not math.isfinite(value):
            bars.append("·")
        elif span == 0:
            bars.append(_BARS[0])
        else:
            bars.append(_BARS[min(len(_BARS) - 1, int((value / 2 - low / 2) / span * len(_BARS)))])
    return "".join(bars)


def headlines(store: Store, records: Sequence[RunRecord]) -> dict[str, dict[str, float | None]]:
    """The last value of each series, by run and name.

    Args:
        store: The store, settled.
        records: The runs.
    """
    tracked = [record.id for record in records if record.kind == "run"]
    found: dict[str, dict[str, float | None]] = {}
    if tracked:
        rows = store.sql(
            "SELECT run_id, name, value FROM run_metrics WHERE run_id IN (SELECT unnest(?::VARCHAR[])) "
            "AND last_time IS NOT NULL ORDER BY run_id, starts_with(name, 'system/'), name",
            [tracked],
            settle=False,
        )
        for run_id, name, value in rows.fetchall():
            found.setdefault(str(run_id), {})[str(name)] = value if isinstance(value, float) else None
    return found


def differences(store: Store, records: Sequence[RunRecord], *, everything: bool = False) -> list[dict[str, object]]:
    """What runs differ in: parameters, tags, code and metrics, a row for each, with a column for each run.

    Args:
        store: The store, settled.
        records: The runs, two or more.
        everything: Whether to give what they have in common too.

    Returns:
        Rows of `what`, `name`, and each run's value under its heading (see `headings`).
    """
    last = headlines(store, records)
    facts = [_facts(record, last.get(record.id, {})) for record in records]
    titles = headings(records)
    rows: list[dict[str, object]] = []
    for key in dict.fromkeys(key for each in facts for key in each):
        values = [each.get(key) for each in facts]
        if everything or any(not _same(value, values[0]) for value in values[1:]):
            rows.append({"what": key[0], "name": key[1], **dict(zip(titles, values, strict=True))})
    order = {what: place for place, what in enumerate(("parameter", "metric", "tag", "code"))}
    return sorted(rows, key=lambda row: (order[str(row["what"])], str(row["name"])))


def headings(records: Sequence[RunRecord]) -> list[str]:
    """What a column of each run is called: its name, with the end of its id where several have that name."""
    names = [record.name for record in records]
    taken = {"what", "name"}
    return [
        f"{record.name} {record.id[-6:]}" if names.count(record.name) > 1 or record.name in taken else record.name
        for record in records
    ]


def _facts(record: RunRecord, last: Mapping[str, float | None]) -> dict[tuple[str, str], object]:
    found: dict[tuple[str, str], object] = {
        **{("parameter", name): value for name, value in record.parameters.items()},
        **{("metric", name): metric.get("value") for name, metric in record.metrics.items()},
        **{("metric", name): value for name, value in last.items()},
        **{("tag", name): value for name, value in record.tags.items()},
    }
    for name in ("commit", "branch", "dirty", "diff_digest"):
        if record.code.get(name) is not None:
            found["code", name] = record.code[name]
    if record.seed is not None:
        found["parameter", "seed"] = found.get(("parameter", "seed"), record.seed)
    return found


def _same(one: object, other: object) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return both_nan or (one == other and isinstance(one, bool) == isinstance(other, bool))
