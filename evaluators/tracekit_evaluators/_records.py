"""Runs as people and programs read them: a table of metrics, and the whole record as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from tracekit_collector.terminal import print_json, print_rows, visible
from tracekit_evaluators.verdict import amount, interval

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_evaluators.calibration.shown import Corrections

METRIC_FIGURES = ("metric", "value", "low", "high", "n", "coverage", "method")
METRIC_COLUMNS = ("metric", "value", "95 % interval", "n", "coverage", "missing", "method")
RUN_COLUMNS = ("name", "status", "kind", "agent", "traces", "scores", "metrics", "created", "id")


def print_run(
    record: RunRecord,
    *,
    format: str,  # noqa: A002 - the word of the command line
    title: str | None = None,
) -> None:
    """Print a run to stdout: its metrics in words, as CSV in figures, as JSON the whole record."""
    if format == "json":
        print_json(plain(record))
    elif format == "csv":
        print_rows(
            [{"metric": name, **metric} for name, metric in record.metrics.items()], METRIC_FIGURES, format="csv"
        )
    else:
        print_rows([_metric_row(*item) for item in record.metrics.items()], METRIC_COLUMNS, format=format, title=title)


def corrected_cell(told: Mapping[str, object] | None, *, kind: str, signed: bool = False) -> str:
    """A corrected figure with its interval; empty where there is none."""
    if told is None:
        return ""
    value, low, high = (_number(told.get(key)) for key in ("value", "low", "high"))
    ends = interval(low, high, kind=kind, signed=signed)
    return amount(value, kind=kind, signed=signed) + (f" ({ends})" if ends else "")


def print_corrected(corrected: Corrections, record: RunRecord) -> None:
    """Print what people would say of a run's scores, and why some of it is not known any more."""
    for (run_id, score), each in corrected.means.items():
        if run_id == record.id:
            kind = str(record.metrics.get(score, {}).get("kind"))
            told = each.to_dict()
            print(f"{score}, as people would say: {corrected_cell(told, kind=kind)}, by {told['method']}")  # noqa: T201 - what the command prints
    for note in corrected.notes:
        print(visible(f"Note: {note}."))  # noqa: T201 - the same


def plain(record: RunRecord) -> dict[str, object]:
    """The whole record, as JSON takes it."""
    found = asdict(record)
    if record.agent_version is not None:
        found["agent_version"] = {"ref": record.agent_version.ref, **asdict(record.agent_version)}
    return found


def run_row(record: RunRecord) -> dict[str, object]:
    """A run as one row."""
    headline = [
        f"{name} {amount(value, kind=str(metric.get('kind')))}"
        for name, metric in list(record.metrics.items())[:4]
        if (value := _number(metric.get("value"))) is not None
    ]
    return {
        "name": record.name,
        "status": record.status,
        "kind": record.kind,
        "agent": agent_words(record),
        "traces": record.summary.get("traces", record.selection.get("traces")),
        "scores": record.summary.get("scores"),
        "metrics": ", ".join(headline),
        "created": f"{record.created_at:%Y-%m-%d %H:%M:%S}",
        "id": record.id,
    }


def agent_words(record: RunRecord) -> str | None:
    """Whose traces a run judged; `None` where nobody knows."""
    if record.agent_version is not None:
        label = record.agent_version.label
        return record.agent_version.ref + (f" ({label})" if label else "")
    counts = record.summary.get("agent_versions")
    known = [ref for ref in counts if ref != "unknown"] if isinstance(counts, dict) else []
    return ", ".join(known) or None


def facts(record: RunRecord) -> list[tuple[str, str]]:
    """What else a person wants to know of a run, as label and text."""
    found = [
        ("run", f"{record.name} ({record.id}), {record.kind}, {record.status}"),
        ("agent", agent_words(record) or "unknown"),
        ("judges", ", ".join(str(judge.get("spec")) for judge in record.judges) or "none"),
        ("traces", str(record.summary.get("traces", record.selection.get("traces", "unknown")))),
        ("statuses", _counts(record.summary.get("statuses"))),
        ("code", code_words(record.code)),
        ("lake", _counts(record.lake_versions)),
    ]
    selected = [f"{key} {record.selection[key]}" for key in ("where", "agent", "limit") if record.selection.get(key)]
    if selected:
        found.insert(3, ("selected", ", ".join(selected)))
    return found


def _metric_row(name: str, metric: Mapping[str, object]) -> dict[str, object]:
    value, low, high = (_number(metric.get(key)) for key in ("value", "low", "high"))
    kind = str(metric.get("kind"))
    coverage = _number(metric.get("coverage"))
    missing = metric.get("missing")
    return {
        "metric": name,
        "value": amount(value, kind=kind),
        "95 % interval": interval(low, high, kind=kind),
        "n": metric.get("n"),
        "coverage": "" if coverage is None else f"{coverage:.1%}",
        "missing": _counts(missing) if missing else "",
        "method": metric.get("method"),
    }


def _counts(value: object) -> str:
    if not isinstance(value, Mapping) or not value:
        return "none"
    return ", ".join(f"{key} {count}" for key, count in value.items())


def code_words(code: Mapping[str, object]) -> str:
    """Where a run's code stood, in words."""
    commit = code.get("commit")
    if not commit:
        return "not in git"
    branch = f" on {code['branch']}" if code.get("branch") else ""
    return f"{str(commit)[:12]}{branch}" + (", with uncommitted changes" if code.get("dirty") else "")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
