"""What a run is and what it read, and the commands that show or make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.report.text import line

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_evaluators.pairing import RunRows


@dataclass(frozen=True)
class Fact:
    """A line of the run's facts, with the baseline's beside it where it differs in kind."""

    name: str
    value: str
    baseline: str = ""


def run_facts(run: RunRows, baseline: RunRows | None) -> Iterator[Fact]:
    """The facts of a run, and of its baseline beside them; what neither has is left out."""
    mine = _facts(run)
    theirs = _facts(baseline) if baseline is not None else {}
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        if mine.get(name) or theirs.get(name):
            yield Fact(name, mine.get(name) or "–", (theirs.get(name) or "–") if baseline is not None else "")


def commands(run: RunRecord, baseline: RunRecord | None) -> Iterator[str]:
    """Commands that show the same."""
    yield f"tracekit runs show {run.id}"
    against = "" if baseline is None else f" --baseline {baseline.id}"
    if baseline is not None:
        yield f"tracekit compare {baseline.id} {run.id}"
    yield f"tracekit report {run.id}{against} -o report.html"


def _facts(side: RunRows) -> dict[str, str]:
    run = side.run
    version = run.agent_version
    named = sorted({_ref(trace) for trace in side.traces.values()} - {""})
    return {
        "run": f"{line(run.name, longest=120)} ({run.id})",
        "kind": run.kind if run.status == "finished" else f"{run.kind}, {run.status}",
        "agent version": _version(run) if version is not None else line(", ".join(named), longest=300),
        "judges": ", ".join(_judge(judge) for judge in run.judges),
        "code": _code(run.code),
        "began": f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "ended": "" if run.finished_at is None else f"{run.finished_at:%Y-%m-%d %H:%M:%S} UTC",
        "read": _words(run.selection),
        "parameters": _words(run.parameters),
        "lake versions": ", ".join(f"{table} {number}" for table, number in sorted(run.lake_versions.items())),
        "environment": _words({key: value for key, value in run.environment.items() if not isinstance(value, dict)}),
    }


def _version(run: RunRecord) -> str:
    version = run.agent_version
    if version is None:
        return ""
    parts = [
        version.ref,
        version.label or "",
        f"digest {version.digest[:12]}" if version.digest else "seen, not registered",
    ]
    return line(" · ".join(part for part in parts if part), longest=300)


def _ref(trace: Mapping[str, object]) -> str:
    name, version = trace.get("agent_name"), trace.get("agent_version")
    return " ".join(str(each) for each in (name, version) if each is not None)


def _judge(judge: Mapping[str, object]) -> str:
    parts = [str(judge.get("name") or judge.get("spec") or "judge")]
    if judge.get("version"):
        parts.append(str(judge["version"]))
    if judge.get("digest"):
        parts.append(f"({str(judge['digest'])[:8]})")
    return line(" ".join(parts), longest=120)


def _code(code: Mapping[str, object]) -> str:
    commit = code.get("commit") or code.get("git_commit")
    if not commit:
        return ""
    branch = f" on {code['branch']}" if code.get("branch") else ""
    return line(f"{str(commit)[:12]}{branch}{', with uncommitted changes' if code.get('dirty') else ''}", longest=200)


def _words(facts: Mapping[str, object]) -> str:
    told = []
    for key, value in sorted(facts.items()):
        if value in (None, "", [], {}):
            continue
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
        told.append(f"{key.replace('_', ' ')}: {said if ' ' not in said else shlex.quote(said)}")
    return line("; ".join(told), longest=600)
