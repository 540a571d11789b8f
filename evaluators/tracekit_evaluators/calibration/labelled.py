"""Verdicts of a judge and labels of people on the same targets: where they are found, and how they meet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators.calibration.agreement import Label
from tracekit_evaluators.calibration.sources import Sources, case_name
from tracekit_evaluators.imports import read_scores
from tracekit_evaluators.runner import scores_of
from tracekit_evaluators.subject import canonical

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.clustering import Facts

Row = Mapping[str, object]
Key = tuple[object, ...]
ValueOf = Callable[[Row], "Label | None"]
_PEOPLE = ("human", "user", "environment")


@dataclass(frozen=True)
class Verdicts:
    """What one judge said, under one score name.

    Args:
        judge: The judge's name.
        digest: Its digest; for verdicts that were imported, one of where they came from.
        score: The score's name.
        rows: Its standing rows of the table `scores`, one for each target.
        runs: Ids of the runs that they are of.
        record: What a run keeps of the judge: spec, direction, model; empty where no run knows.
    """

    judge: str
    digest: str
    score: str
    rows: tuple[Row, ...]
    runs: tuple[str, ...]
    record: Mapping[str, object] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """Which way is better."""
        told = next((row["direction"] for row in self.rows if row.get("direction")), None)
        return str(told or self.record.get("direction") or "maximize")


@dataclass(frozen=True)
class Labelled:
    """One target that a judge judged and people labelled.

    Args:
        key: What it is: its trace and span.
        judged: The judge's value.
        human: People's: that of the most, or their mean; `None` where they are divided.
        annotators: What each of them said.
        probability: With what probability it was chosen for labelling; `None` where nobody said.
        case: What it is a repeat of.
        source: What it shares with other items: its case, or the session, user, document or annotator.
    """

    key: Key
    judged: Label
    human: Label | None
    annotators: Mapping[str, Label]
    probability: float | None
    case: str
    source: str


@dataclass(frozen=True)
class Meeting:
    """Verdicts and labels brought together.

    Args:
        kind: `bool`, `label` or `number`.
        items: The targets that have both.
        rest: The judge's values on targets without a label.
        rest_sources: What these share, as the items' sources.
        shared: What items share beyond their case: `session`, `user`, `annotator` …; `None` where nothing is known.
        divided: How many targets people are divided on.
        unjudged: How many labelled targets the judge gave no value for.
        unmatched: How many labelled targets the judge was never asked about.
        labels_digest: SHA-256 of the labels, in hex.
    """

    kind: str
    items: tuple[Labelled, ...]
    rest: tuple[Label, ...]
    rest_sources: tuple[str, ...]
    shared: str | None
    divided: int
    unjudged: int
    unmatched: int
    labels_digest: str


def verdicts_of(store: Store, ref: str, *, score: str | None = None, annotator: str | None = None) -> Verdicts:
    """The verdicts that a run's name or id, a judge's name or spec, or the beginning of its digest stands for.

    Args:
        store: An open store.
        ref: A run first, else a judge: then its newest digest, with what it said in all runs.
        score: The score's name, where there are several.
        annotator: Where imported verdicts are told apart by `annotator`: which.

    Raises:
        NotFoundError: There is no such run or judge.
        UsageError: Several scores fit.
    """
    store.settle()
    record = _run(store, ref)
    if record is None:
        return _of_judge(store, ref, score)
    rows = [row for row in scores_of(store, record.id) if row.get("source") not in _PEOPLE]
    rows = rows or scores_of(store, record.id)
    if annotator is not None:
        rows = [row for row in rows if row.get("annotator") == annotator]
    chosen = _one_score(rows, score, f"the run {record.name}")
    who = next((str(row["judge"]) for row in chosen if row.get("judge")), annotator or str(chosen[0]["name"]))
    digest = next((str(row["judge_digest"]) for row in chosen if row.get("judge_digest")), None)
    if digest is None:
        digest = hashlib.sha256(
            canonical(["imported", record.name, chosen[0]["name"], annotator]).encode("utf-8", "replace")
        ).hexdigest()
    return Verdicts(who, digest, str(chosen[0]["name"]), _newest(chosen), (record.id,), _record_of([record], digest))


def labels_of(store: Store, source: str, *, score: str, name: str | None = None) -> list[Row]:
    """People's labels, of a file of scores or a run.

    Args:
        store: An open store.
        source: A file as `tracekit scores import` reads it, or a run.
        score: What the judge calls its score: labels of that name are meant where there are several names.
        name: Which labels are meant, by name.

    Raises:
        NotFoundError: There is neither such a file nor such a run.
        UsageError: The file is faulty, or labels of several names are there.
    """
    if Path(source).is_file():
        rows: list[Row] = [_as_row(line) for line in read_scores(source)]
    else:
        record = _run(store, source)
        if record is None:
            raise NotFoundError(f"there is no file and no run {source!r} to take labels from")
        rows = list(scores_of(store, record.id))
    rows = [row for row in rows if row.get("source") in _PEOPLE] or rows
    names = sorted({str(row["name"]) for row in rows if row.get("status") == "scored"})
    wanted = name or (score if score in names else names[0] if len(names) == 1 else None)
    if wanted is None or wanted not in names:
        raise UsageError(f"{source} holds labels called {', '.join(names) or 'nothing'}; say which with --label")
    return [row for row in rows if row["name"] == wanted and row.get("status") == "scored"]


def meet(verdicts: Iterable[Row], labels: Iterable[Row], *, facts: Facts | None = None) -> Meeting:
    """Bring verdicts and labels of the same targets together, by trace and span, else by case and repeat.

    Args:
        verdicts: A judge's rows.
        labels: People's.
        facts: What is known of the traces and cases, which says what they share.

    Raises:
        UsageError: No label is of a target that was judged, or numbers meet words.
    """
    judged, said = list(verdicts), list(labels)
    key_of = next((each for each in (_target, _case) if _shared(judged, said, each)), None)
    if key_of is None:
        raise UsageError(
            f"none of the {len(said)} labels is of a trace or case among the judge's {len(judged)} verdicts"
        )
    scored = [row for row in judged if row.get("status") == "scored"]
    kind, value_of = _kind(scored, said)
    by_key: dict[Key, list[Row]] = {}
    for row in said:
        by_key.setdefault(key_of(row), []).append(row)
    sources = Sources(scored, facts, labels={case_name(row): by_key.get(key_of(row), []) for row in scored})
    items, rest, rest_sources, divided, matched = [], [], [], 0, set()
    for row in scored:
        key, value = key_of(row), value_of(row)
        if value is None:
            continue
        if key not in by_key:
            rest.append(value)
            rest_sources.append(sources.of(row))
            continue
        item = _labelled(key, row, value, by_key[key], value_of, kind, sources)
        matched.add(key)
        divided += item.human is None
        items.append(item)
    asked = {key_of(row) for row in judged}
    return Meeting(
        kind,
        tuple(items),
        tuple(rest),
        tuple(rest_sources),
        sources.by,
        divided,
        sum(key in asked and key not in matched for key in by_key),
        sum(key not in asked for key in by_key),
        _labels_digest(said),
    )


def _labelled(
    key: Key, row: Row, value: Label, labels: Sequence[Row], value_of: ValueOf, kind: str, sources: Sources
) -> Labelled:
    annotators: dict[str, Label] = {}
    for place, label in enumerate(labels):
        said = value_of(label)
        if said is not None:
            annotators[str(label.get("annotator") or f"annotator {place + 1}")] = said
    probability = next((found for label in labels if (found := _probability(label)) is not None), None)
    human = consensus(list(annotators.values()), kind)
    return Labelled(key, value, human, annotators, probability, case_name(row), sources.of(row))


def consensus(said: Sequence[Label], kind: str) -> Label | None:
    """What several people say together: the mean of numbers, the most frequent word; `None` where words tie.

    Example:
        >>> consensus([True, True, False], "bool"), consensus(["a", "b"], "label"), consensus([1.0, 2.0], "number")
        (True, None, 1.5)
    """
    if not said:
        return None
    if kind == "number":
        return sum(float(value) for value in said) / len(said)
    counts = sorted(((list(said).count(value), str(value), value) for value in set(said)), reverse=True)
    return None if len(counts) > 1 and counts[0][0] == counts[1][0] else counts[0][2]


def _run(store: Store, ref: str) -> RunRecord | None:
    try:
        return store.catalog.runs.find(ref)
    except NotFoundError:
        return None


def _of_judge(store: Store, ref: str, score: str | None) -> Verdicts:
    query = (
        "SELECT judge, judge_digest, max(time) FROM scores WHERE judge_digest IS NOT NULL "
        "AND (judge = ? OR (length(?) >= 8 AND starts_with(judge_digest, ?))) GROUP BY 1, 2 ORDER BY 3 DESC"
    )
    found = store.sql(query, [ref, ref, ref]).fetchall()
    records = [record for record in store.catalog.runs.list() if record.judges]
    if not found:
        of_spec = next((each for run in records for each in run.judges if each.get("spec") == ref), None)
        if of_spec is None:
            raise NotFoundError(f"there is no run, and no judge that has judged, called {ref!r}")
        name, digest = str(of_spec["name"]), str(of_spec["digest"])
    else:
        name, digest = str(found[0][0]), str(found[0][1])
    query = "SELECT * FROM scores WHERE judge_digest = ? ORDER BY time, score_id"
    rows = _standing(store.sql(query, [digest]).dicts())
    chosen = _one_score(rows, score or (name if any(row["name"] == name for row in rows) else None), f"the judge {ref}")
    runs = tuple(sorted({str(row["run_id"]) for row in chosen}))
    return Verdicts(name, digest, str(chosen[0]["name"]), _newest(chosen), runs, _record_of(records, digest))


def _standing(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    gone = {row["supersedes"] for row in rows if row.get("supersedes")}
    return [row for row in rows if row["score_id"] not in gone]


def _record_of(records: Iterable[RunRecord], digest: str) -> Mapping[str, object]:
    return next((each for run in records for each in run.judges if each.get("digest") == digest), {})


def _one_score(rows: Sequence[dict[str, object]], score: str | None, where: str) -> list[dict[str, object]]:
    names = sorted({str(row["name"]) for row in rows})
    own = sorted({str(row["judge"]) for row in rows if row.get("judge") == row["name"]})
    wanted = score or (names[0] if len(names) == 1 else own[0] if len(own) == 1 else None)
    if wanted is None or wanted not in names:
        raise UsageError(f"{where} has the scores {', '.join(names) or 'none'}; say which with --score")
    chosen = [row for row in rows if row["name"] == wanted]
    who = {(row.get("judge_digest"), row.get("annotator")) for row in chosen}
    if len(who) > 1:
        named = ", ".join(sorted(str(annotator or digest)[:20] for digest, annotator in who))
        raise UsageError(
            f"{where} has verdicts called {wanted} of several judges ({named}); say which with --annotator"
        )
    return chosen


def _newest(rows: Sequence[dict[str, object]]) -> tuple[Row, ...]:
    """One verdict for each target: the newest run's first sample."""
    found: dict[Key, Row] = {}
    for row in sorted(rows, key=lambda each: (str(each.get("time")), str(each.get("score_id")))):
        if not row.get("sample"):
            found[_target(row)] = row
    return tuple(found.values())


def _target(row: Row) -> Key:
    return (row.get("trace_id"), row.get("span_id"))


def _case(row: Row) -> Key:
    return (row.get("case_id"), row.get("repeat") or 0)


def _shared(judged: Sequence[Row], said: Sequence[Row], key_of: Callable[[Row], Key]) -> bool:
    there = {key for row in judged if (key := key_of(row))[0] is not None}
    return any(key_of(row) in there for row in said)


def _kind(judged: Sequence[Row], said: Sequence[Row]) -> tuple[str, ValueOf]:
    rows = [*judged, *said]
    if all(row.get("value") in (0, 1, 0.0, 1.0) for row in rows):
        return "bool", _truth
    if all(row.get("value") is not None for row in rows) and not _mixed(judged, said):
        return "number", _value
    if all(row.get("label") is not None for row in rows):
        return "label", _label
    if all(row.get("passed") is not None for row in rows):
        return "bool", _passed
    raise UsageError(
        "verdicts and labels are not of one kind (true or false, numbers, words), nor do both say `passed`"
    )


def _value(row: Row) -> Label | None:
    value = row.get("value")
    return float(value) if isinstance(value, (int, float)) else None


def _truth(row: Row) -> Label | None:
    return None if row.get("value") is None else bool(row["value"])


def _label(row: Row) -> Label | None:
    return None if row.get("label") is None else str(row["label"])


def _passed(row: Row) -> Label | None:
    return None if row.get("passed") is None else bool(row["passed"])


def _mixed(judged: Sequence[Row], said: Sequence[Row]) -> bool:
    """Whether one side says yes or no and the other gives numbers, which `passed` may bring together."""
    sides = [all(row.get("value") in (0, 1) for row in side) for side in (judged, said)]
    return sides[0] is not sides[1] and all(row.get("passed") is not None for row in [*judged, *said])


def _probability(row: Row) -> float | None:
    told = row.get("inclusion_probability")
    if told is None and row.get("metadata"):
        metadata = row["metadata"]
        kept = json.loads(metadata) if isinstance(metadata, str) else metadata
        told = kept.get("inclusion_probability") if isinstance(kept, Mapping) else None
    if told is None:
        return None
    if not isinstance(told, (int, float)) or isinstance(told, bool) or not 0 < told <= 1:
        raise UsageError(f"inclusion_probability must be above 0 and at most 1, not {told!r:.40}")
    return float(told)


def _as_row(line: Row) -> Row:
    value = line.get("value")
    label = value if isinstance(value, str) else None
    passed = line.get("passed")
    if passed is None and isinstance(value, bool):
        passed = value is (line.get("direction") != "minimize")
    return {
        **line,
        "value": float(value) if isinstance(value, (bool, int, float)) else None,
        "label": label,
        "passed": passed,
        "status": line.get("status") or "scored",
        "source": line.get("source") or "human",
    }


def _labels_digest(rows: Sequence[Row]) -> str:
    told = sorted(
        canonical([row.get(key) for key in ("trace_id", "span_id", "case_id", "annotator", "name", "value", "label")])
        for row in rows
    )
    return hashlib.sha256("\n".join(told).encode("utf-8", "replace")).hexdigest()
