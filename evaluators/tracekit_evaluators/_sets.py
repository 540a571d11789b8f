"""Judges that take a whole selection at once: their verdicts go to the lake by columns, not one by one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

from tracekit.errors import UsageError
from tracekit_evaluators.score import Score, clean, unscored
from tracekit_evaluators.subject import Case, Subject

if TYPE_CHECKING:
    import pyarrow as pa

    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace
    from tracekit_evaluators._judging import Done
    from tracekit_evaluators._plan import Plan
    from tracekit_evaluators._writer import Key, ScoreWriter
    from tracekit_evaluators.judge import Judge

_AT_ONCE = 50_000
_SILENT = "the judge says nothing of this trace"


class OfASet(Protocol):
    """A judge's function that takes a selection at once."""

    def over(self, store: Store, trace_ids: Sequence[str]) -> Mapping[str, object]:
        """The verdicts by trace id; a trace that is left out, or `None`, is a missing input."""


def judge_sets(
    store: Store,
    plan: Plan,
    done: Container[Done],
    earlier: Mapping[Key, str],
    writer: ScoreWriter,
    step: Callable[[int], None],
) -> None:
    """Let the judges of a plan that take a whole selection say their verdicts.

    Args:
        store: Where the traces are, and where the scores go.
        plan: Which judges, traces and cases.
        done: What is scored already.
        earlier: Ids of scores that are to be replaced.
        writer: Takes the verdicts that are more than a plain value.
        step: Moves the progress bar on, once for each judge.

    Raises:
        UsageError: A judge cannot be asked at all, as where its SQL is wrong.
    """
    judges = [judge for judge in plan.judges if judge.of_a_set]
    if not judges:
        return
    found = {judge.name: cast("OfASet", judge.call).over(store, plan.ids) for judge in judges}
    for judge in judges:
        if not isinstance(found[judge.name], Mapping):
            raise UsageError(f"the judge {judge.name} returned no mapping of trace ids to verdicts")
    for place in _places(store, plan):
        for judge in judges:
            kept = [
                index
                for index, trace_id in enumerate(place["trace_id"])
                if (judge.digest, "trace", trace_id, 0) not in done
            ]
            _write(
                store,
                plan,
                judge,
                {name: [column[index] for index in kept] for name, column in place.items()},
                found[judge.name],
                earlier,
                writer,
            )
    step(len(judges))


Place = dict[str, list[object]]


def _places(store: Store, plan: Plan) -> list[Place]:
    """Trace id, session, case and repeat of the selected traces, some thousands at a time."""
    told = plan.cases.dataset is not None or bool(plan.cases.by_trace or plan.cases.by_case)
    query = (
        f'SELECT trace_id, session_id, case_id, "repeat"{", input" if told else ""} FROM traces '  # noqa: S608 - our own names
        "WHERE trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY trace_id"
    )
    table = store.sql(query, [list(plan.ids)], settle=False).to_arrow()
    places: list[Place] = []
    for start in range(0, table.num_rows, _AT_ONCE):
        place: Place = table.slice(start, _AT_ONCE).to_pydict()
        places.append(_with_cases(plan, place) if told else place)
    return places


def _with_cases(plan: Plan, place: Place) -> Place:
    """The same, by the cases of a dataset or another run; traces that tried none are left out."""
    kept: Place = {"trace_id": [], "session_id": [], "case_id": [], "repeat": []}
    for trace_id, session, case_id, repeat, given in zip(*place.values(), strict=True):
        shown = SimpleNamespace(trace_id=trace_id, case_id=case_id, repeat=repeat, input=given)
        case = plan.cases.of(cast("Trace", shown))  # which looks at no more of a trace than these
        if case is not None:
            for name, value in zip(kept, (trace_id, session, case.id, case.repeat), strict=True):
                kept[name].append(value)
    return kept


def _write(
    store: Store,
    plan: Plan,
    judge: Judge,
    place: Place,
    verdicts: Mapping[str, object],
    earlier: Mapping[Key, str],
    writer: ScoreWriter,
) -> None:
    values = [verdicts.get(str(trace_id)) for trace_id in place["trace_id"]]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {float, int} or kinds <= {str}:
        if values:
            table = _table(plan.run.id, judge, place, values, earlier)
            store.lake.append("scores", table)
            store.lake.sync("scores")
        return
    for trace_id, session, case_id, repeat, value in zip(*(place[name] for name in _NAMES), values, strict=True):
        shown = cast("Trace", SimpleNamespace(trace_id=trace_id, session_id=session))  # all that a score's row says
        subject = Subject(shown, Case(cast("str | None", case_id), cast("int | None", repeat)))
        writer.add(judge, subject, _scores(judge, value), 0.0)


_NAMES = ("trace_id", "session_id", "case_id", "repeat")


def _scores(judge: Judge, value: object) -> dict[str, Score]:
    if value is None:
        return {judge.name: Score(status="missing_input", explanation=_SILENT)}
    try:
        return judge.scores(value)
    except Exception as error:  # noqa: BLE001 - a verdict that cannot be read costs its score alone
        return {judge.name: unscored(error)}


def _table(run_id: str, judge: Judge, place: Place, values: Sequence[object], earlier: Mapping[Key, str]) -> pa.Table:
    """Rows of the table `scores`, made by columns."""
    import pyarrow as pa  # noqa: PLC0415 - the façade stays light

    from tracekit_collector.schema import SCHEMA_VERSION, SCORES  # noqa: PLC0415

    count, now = len(values), datetime.now(timezone.utc).replace(tzinfo=None)
    direction = judge.declared.direction
    finite = [value if not isinstance(value, float) or math.isfinite(value) else None for value in values]
    broken = [value is not None and end is None for value, end in zip(values, finite, strict=True)]
    first = next((value for value in finite if value is not None), None)
    kind = "bool" if isinstance(first, bool) else "label" if isinstance(first, str) else "number"
    numbers = None if kind == "label" else [None if value is None else float(cast("float", value)) for value in finite]
    good = direction == "maximize"
    before = [earlier.get(("trace", str(each), 0, judge.name)) for each in place["trace_id"]] if earlier else None
    columns: dict[str, object] = {
        "date": now.date(),
        "time": now,
        "score_id": _ids(run_id, judge, place, before),
        "run_id": run_id,
        "target": "trace",
        **{name: place[name] for name in _NAMES},
        "judge": judge.name,
        "judge_version": judge.declared.version,
        "judge_digest": judge.digest,
        "source": judge.declared.source,
        "name": clean(judge.name),
        "value_type": [None if value is None else kind for value in finite],
        "value": numbers,
        "label": [None if value is None else clean(str(value)) for value in finite] if kind == "label" else None,
        "passed": [None if value is None else value is good for value in finite]
        if kind == "bool" and direction != "neutral"
        else None,
        "direction": direction,
        "status": [
            "judge_error" if wrong else "missing_input" if value is None else "scored"
            for value, wrong in zip(finite, broken, strict=True)
        ],
        "explanation": [
            "the value is not finite" if wrong else _SILENT if value is None else None
            for value, wrong in zip(finite, broken, strict=True)
        ],
        "supersedes": before,
        "schema_version": SCHEMA_VERSION,
    }
    arrays = []
    for field in SCORES:
        given = columns.get(field.name)
        if isinstance(given, list):
            arrays.append(pa.array(given, field.type))
        else:
            arrays.append(
                pa.nulls(count, field.type) if given is None else pa.repeat(pa.scalar(given, field.type), count)
            )
    return pa.table(arrays, schema=SCORES)


def _ids(run_id: str, judge: Judge, place: Place, before: Sequence[str | None] | None) -> list[str]:
    """Each score's id, from the same parts as the writer's."""
    head = f"{run_id}\0{judge.digest}\0{judge.name}\0"
    found: list[str] = []
    for index, trace_id in enumerate(place["trace_id"]):
        repeat = place["repeat"][index]
        replaced = "" if before is None else before[index] or ""
        key = f"{head}{trace_id}\0{'' if repeat is None else repeat}\0{replaced}"
        found.append(hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32])
    return found
