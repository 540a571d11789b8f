"""Lineage: what a version, run, dataset or trace came from, and what came from it, out of the catalog and the lake.

Everything is counted in SQL over columns of the lake; no trace is put together. What was deleted is found all the same:
deleting marks a version or a run, and what names it goes on naming it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from tracekit.errors import NotFoundError, UsageError
from tracekit.prompts import digest_of_content
from tracekit_collector import _lineage_counts as counts
from tracekit_collector.catalog import AgentVersion, DatasetVersion, RunRecord
from tracekit_collector.catalog.tables import RUNS, VERSIONS
from tracekit_collector.catalog.versions import now, select_versions, version_of
from tracekit_collector.run_news import status_of
from tracekit_collector.store import Store

Lineage = dict[str, Any]

_MOST_RUNS = 1_000
_ASKED_AT_ONCE = 500
_RUN_COLUMNS: tuple[str, ...] = ("id", "name", "kind", "status", "created_at", "finished_at", "version_id", "parent_id")
_RUN_COLUMNS += ("judges", "selection", "deleted_at", "writers")


def version_lineage(store: Store, version: AgentVersion) -> Lineage:
    """What an agent version was made of, and what was done with it; the store is not settled for it.

    Args:
        store: The store.
        version: The version, which may have been deleted.

    Returns:
        `version`, and `from`: package, prompts, code, models, tools, how many dependencies; and `to`: traces, sessions,
        inferences, runs, datasets, judges, scores, prompts used, promotions, refusals, aliases over time,
        verifications.

    Example:
        >>> import tempfile
        >>> facts = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
        >>> with Store.open(tempfile.mkdtemp()) as store:
        ...     found = version_lineage(store, store.catalog.agents.register("bot", digest="aa", **facts))
        >>> found["version"]["ref"], found["to"]["traces"]["count"]
        ('bot@1', 0)
    """
    mine = counts.of_version(store, version)
    moves = store.catalog.agents.history(version.agent)
    judged = counts.scores(store, mine)
    in_spans = counts.by_run(store, mine)
    evidence = {key for move in moves if move.version.id == version.id for key in _evidence_runs(move.evidence)}
    keys = {*in_spans, *(str(each["run_id"]) for each in judged if each["run_id"]), *evidence}
    records = _runs(store, keys, version_id=version.id)
    return {
        "version": _version_facts(version),
        "from": _made_of(store, version),
        "to": {
            "traces": counts.traces(store, mine),
            "sessions": counts.sessions(store, mine),
            "inferences": counts.inferences(store, mine),
            "prompts_used": counts.prompts_used(store, mine),
            "runs": [_run_facts(each) | {"traces": in_spans.get(each["id"], 0)} for each in records],
            "datasets": _datasets(records),
            "judges": _judges(records),
            "scores": counts.summed(judged),
            "aliases": _standings(version, moves),
            "promotions": [_move(each) for each in moves if each.version.id == version.id],
            "refusals": _refusals(store, version),
            "verifications": _verifications(store, version),
        },
    }


def run_lineage(store: Store, run: RunRecord) -> Lineage:
    """What a run read and ran, and what came of it; the store is not settled for it.

    Returns:
        `run`, and `from`: versions with their traces, dataset, judges, code, parent; and `to`: traces, scores, metrics,
        artifacts, children, promotions that it was evidence for.
    """
    mine = counts.of_run(run.id)
    judged = counts.scores(store, mine)
    versions = {ref: {"ref": ref, "traces": count} for ref, count in _makers(store, mine).items()}
    if run.agent_version is not None:
        versions.setdefault(run.agent_version.ref, {"ref": run.agent_version.ref, "traces": 0})
    record = _runs(store, [run.id])[0]
    children = store.catalog.runs.list(_MOST_RUNS, parent_id=run.id)
    agents = {ref.partition("@")[0] for ref in versions}
    moves = [move for agent in sorted(agents) for move in store.catalog.agents.history(agent)]
    return {
        "run": _run_facts(record),
        "from": {
            "versions": list(versions.values()),
            "datasets": _datasets([record]),
            "judges": _judges([record]),
            "code": run.code,
            "parent": run.parent_id,
            "lake_versions": run.lake_versions,
        },
        "to": {
            "traces": counts.traces(store, mine),
            "scores": counts.summed(judged),
            "metrics": counts.metrics(store, run.id),
            "artifacts": {name: each.get("sha256", each) for name, each in run.artifacts.items()},
            "children": [{"id": each.id, "name": each.name, "status": each.status} for each in children],
            "promotions": [_move(each) for each in moves if run.id in _evidence_runs(each.evidence)],
        },
    }


def dataset_lineage(store: Store, dataset: DatasetVersion) -> Lineage:
    """What a version of a dataset is, and which runs, versions and judges it was read with; nothing is settled."""
    records = [
        each
        for each in _runs(store, None)
        if (each["selection"].get("dataset_name"), each["selection"].get("dataset_version"))
        == (dataset.dataset, dataset.number)
    ]
    versions: dict[str, dict[str, Any]] = {}
    for each in records:
        refs = {each["ref"]} if each["ref"] else set(_makers(store, counts.of_run(each["id"])))
        for ref in refs:
            versions.setdefault(ref, {"ref": ref, "runs": 0})["runs"] += 1
    facts = {name: getattr(dataset, name) for name in ("dataset", "number", "digest", "cases", "splits", "note")}
    made = {"created_by": dataset.created_by, "created_at": dataset.created_at}
    return {
        "dataset": {"ref": dataset.ref, **facts, **made},
        "to": {
            "runs": [_run_facts(each) for each in records],
            "versions": list(versions.values()),
            "judges": _judges(records),
        },
    }


def trace_lineage(store: Store, trace_id: str) -> Lineage:
    """Which version, prompts and runs a trace came from, and who judged it; nothing is settled.

    Args:
        store: The store.
        trace_id: 32 hex digits, or the beginning of an id that only one trace has.

    Raises:
        NotFoundError: No trace has that id, or several begin like it.
    """
    wanted = trace_id.strip().lower()
    if not wanted or any(digit not in "0123456789abcdef" for digit in wanted) or len(wanted) > 32:
        raise UsageError(f"{trace_id!r} is no trace id: it takes up to 32 hex digits")
    query = "SELECT DISTINCT trace_id FROM lake_spans WHERE starts_with(trace_id, ?) LIMIT 2"
    known = [str(each) for (each,) in store.sql(query, [wanted], settle=False).fetchall()]
    if len(known) != 1:
        told = "several traces begin with" if known else "there is no trace"
        raise NotFoundError(f"{told} {wanted!r}; `tracekit traces` lists the newest")
    mine = counts.of_trace(known[0])
    judged = counts.scores(store, mine)
    ran = counts.by_run(store, mine)
    records = _runs(store, {*ran, *(str(each["run_id"]) for each in judged if each["run_id"])})
    return {
        "trace": {"trace_id": known[0], **counts.traces(store, mine)},
        "from": {
            "versions": [{"ref": ref} for ref in _makers(store, mine)],
            "prompts_used": counts.prompts_used(store, mine),
            "sessions": counts.sessions(store, mine),
            "runs": [_run_facts(each) for each in records if each["id"] in ran],
            "datasets": _datasets([each for each in records if each["id"] in ran]),
        },
        "to": {
            "judged_by": [_run_facts(each) for each in records if each["id"] not in ran],
            "judges": _judges(records),
            "scores": counts.summed(judged),
            "inferences": counts.inferences(store, mine),
        },
    }


def _version_facts(version: AgentVersion) -> dict[str, Any]:
    names = ("agent", "number", "label", "digest", "source", "created_at", "deleted_at")
    return {"ref": version.ref, **{name: getattr(version, name) for name in names}}


def _made_of(store: Store, version: AgentVersion) -> dict[str, Any]:
    package = None
    if version.package is not None:
        path = store.artifacts / version.package
        package = {"digest": version.package, "bytes": path.stat().st_size if path.is_file() else None}
    return {
        "package": package,
        "prompts": _prompts(store, version),
        "code": version.code,
        "entry_point": version.entry_point,
        "python": version.python,
        "models": version.models,
        "tools": None if version.tools is None else len(version.tools),
        "parameters": version.parameters,
        "dependencies": version.dependencies,
    }


def _prompts(store: Store, version: AgentVersion) -> list[dict[str, Any]]:
    """A version's prompts with the registered ones that they are, by reference or by the same text."""
    digests = {}
    for name, value in version.prompts.items():
        content = value.get("content") if isinstance(value, dict) and "ref" in value else value
        if isinstance(content, (str, list)):
            digests[name] = digest_of_content(content)
    known = store.catalog.prompts.with_digests(digests.values())
    found = []
    for name, value in version.prompts.items():
        said = str(value["ref"]) if isinstance(value, dict) and "ref" in value else None
        same = known.get(digests.get(name, ""))
        ref = said if said is not None or same is None else same.ref
        found.append({"name": name, "ref": ref, "digest": digests.get(name)})
    return found


def _runs(store: Store, keys: Iterable[str] | None, *, version_id: int | None = None) -> list[dict[str, Any]]:
    """Runs by id, and those of a version, deleted ones too; all of them for `None`. Oldest first."""
    columns = [RUNS.c[name] for name in _RUN_COLUMNS]
    rows: dict[str, dict[str, Any]] = {}
    wanted = None if keys is None else sorted(set(keys))
    with store.catalog.reading() as connection:
        queries = [] if wanted is not None else [select(*columns)]
        some = [(wanted or [])[at : at + _ASKED_AT_ONCE] for at in range(0, len(wanted or ()), _ASKED_AT_ONCE)]
        queries += [select(*columns).where(RUNS.c.id.in_(each)) for each in some]
        if version_id is not None:
            queries.append(select(*columns).where(RUNS.c.version_id == version_id))
        for query in queries:
            rows |= {row["id"]: dict(row) for row in connection.execute(query).mappings()}
        named = {row["version_id"] for row in rows.values() if row["version_id"] is not None}
        refs = {}
        for at in range(0, len(named), _ASKED_AT_ONCE):
            among = VERSIONS.c.id.in_(sorted(named)[at : at + _ASKED_AT_ONCE])
            for row in connection.execute(select_versions().where(among)):
                refs[row.id] = version_of(row).ref
    for each in rows.values():
        each["ref"] = refs.get(each["version_id"])
        if each["kind"] == "run" and each["status"] == "running" and each["writers"]:
            each["status"], each["finished_at"], _ = status_of(each["writers"], now=now())
    return sorted(rows.values(), key=lambda each: (each["created_at"], each["id"]))


def _run_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "name", "kind", "status", "created_at", "finished_at", "parent_id", "deleted_at")
    return {**{name: row[name] for name in names}, "version": row["ref"]}


def _datasets(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for each in records:
        selection = each["selection"]
        name, number = selection.get("dataset_name"), selection.get("dataset_version")
        if name is None and selection.get("dataset_file") is None:
            continue
        facts = {"name": name or selection["dataset_file"], "version": number, "cases": selection.get("cases")}
        digest = selection.get("dataset_digest") or selection.get("dataset")
        entry = found.setdefault((facts["name"], number or digest), {**facts, "digest": digest, "runs": []})
        entry["runs"].append(each["id"])
    return list(found.values())


def _judges(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for each in records:
        for judge in each["judges"]:
            facts = {name: judge.get(name) for name in ("name", "version", "digest", "spec")}
            found.setdefault((facts["name"], facts["digest"]), {**facts, "runs": []})["runs"].append(each["id"])
    return list(found.values())


def _makers(store: Store, mine: counts.Mine) -> dict[str, int]:
    """Traces by the version that made them, as `name@number`; versions that the catalog has not are left out."""
    found: dict[str, int] = {}
    for name, label, traces in counts.makers(store, mine):
        version = store.catalog.agents.find(name, label)
        if version is not None:
            found[version.ref] = found.get(version.ref, 0) + traces
    return found


def _standings(version: AgentVersion, moves: Sequence[Any]) -> list[dict[str, Any]]:
    """When which alias stood for the version; `until` is null where it still does."""
    found: list[dict[str, Any]] = []
    open_: dict[str, dict[str, Any]] = {}
    for move in reversed(moves):
        stood = open_.get(move.alias)
        stays = move.version.id == version.id and not move.removed
        if stood is not None and not stays:
            stood["until"] = move.at
            del open_[move.alias]
        elif stays and stood is None:
            open_[move.alias] = {"alias": move.alias, "from": move.at, "until": None, "by": move.by, "why": move.why}
            found.append(open_[move.alias])
    return found


def _move(move: Any) -> dict[str, Any]:
    told = {"alias": move.alias, "version": move.version.ref, "at": move.at, "by": move.by, "why": move.why}
    evidence = move.evidence or {}
    kept = {name: evidence[name] for name in ("verdict", "sentence", "policy", "run", "baseline") if name in evidence}
    return {**told, "removed": move.removed, "evidence": kept or None}


def _evidence_runs(evidence: Mapping[str, Any] | None) -> set[str]:
    """The ids of the runs that spoke for a promotion: a gate names each with id and name."""
    said = [(evidence or {}).get(name) for name in ("run", "baseline")]
    return {str(each.get("id") if isinstance(each, Mapping) else each) for each in said if each}


def _refusals(store: Store, version: AgentVersion) -> list[dict[str, Any]]:
    names = ("verdict", "policy", "run", "baseline")
    return [
        {"alias": act.target.rpartition("@")[2], "at": act.at, "by": act.actor}
        | {name: act.details[name] for name in names if name in act.details}
        for act in store.catalog.audit.list(act="promotion.refuse")
        if act.target.rpartition("@")[0] == version.agent and act.details.get("version") == version.number
    ]


def _verifications(store: Store, version: AgentVersion) -> list[dict[str, Any]]:
    return [
        {"at": each.at, "by": each.actor, "passed": each.passed} for each in store.catalog.verifications.list(version)
    ]
