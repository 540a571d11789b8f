"""Labels of people: a queue of traces, drawn once, that each annotator goes through, and answers that are kept at once.

The queue stands in a run of kind `import`: which traces, in what order, how probable it was that each was drawn, and
the rubric. An answer is a score like a judge's, with the rubric as its judge, the annotator, the time it took and the
inclusion probability.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tracekit.errors import NotFoundError, UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators._selection import condition, makers, trace_ids
from tracekit_evaluators.label_sampling import Drawn, draw, weights_of
from tracekit_evaluators.rubric_form import Rubric, rubric_of, rubric_record
from tracekit_evaluators.score import Score, clean, json_column, value_columns

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

SKIPPED = "not_applicable"


@dataclass(frozen=True)
class Answer:
    """What an annotator said of one trace.

    Args:
        value: The answer; `None` where the trace was passed over.
        seconds: How long it took.
        comment: What the annotator had to say.
    """

    value: bool | float | str | None
    seconds: float
    comment: str | None = None


@dataclass(frozen=True)
class Queue:
    """What one annotator is to answer.

    Args:
        record: The run that the answers belong to.
        rubric: What is asked.
        drawn: All traces, in their order.
        answered: Scores of this annotator that stand already, by trace.
        annotator: Who answers.
    """

    record: RunRecord
    rubric: Rubric
    drawn: list[Drawn]
    answered: dict[str, str]
    annotator: str

    def left(self) -> list[Drawn]:
        """The traces that this annotator has not answered yet, in order."""
        return [each for each in self.drawn if each.trace_id not in self.answered]


def open_queue(
    store: Store,
    *,
    run: str,
    rubric: Rubric | None = None,
    annotator: str | None = None,
    where: str | None = None,
    of_run: str | None = None,
    sample: int | None = None,
    by: str = "random",
    of_score: str | None = None,
    seed: int = 0,
) -> Queue:
    """A queue that is there, or a new one.

    Args:
        store: Where traces and answers are.
        run: The run's name; an open queue of that name goes on with what it began with.
        rubric: What is asked; needed for a new queue.
        annotator: Who answers; the machine's user when not given.
        where: A condition in SQL over the view `traces`.
        of_run: Only the traces of this run.
        sample: How many traces; all when not given.
        by: How they are drawn: `random`, `uncertainty`, `disagreement`.
        of_score: Which score's uncertainty or disagreement counts; of any when not given.
        seed: What the draw follows from.

    Raises:
        UsageError: A queue of that name asks something else, or a new one has no rubric.
        NotFoundError: No trace matches.
    """
    who = clean((annotator or _user()).strip())
    if not who:
        raise UsageError("who answers? name an annotator")
    record = _there(store, run)
    if record is None:
        if rubric is None:
            raise UsageError("a new queue needs a question: a rubric, or a name for the score")
        chosen = _traces(store, where, of_run)
        weights = weights_of(store, chosen, by=by, name=of_score)
        drawn = draw(chosen, weights, sample=sample, seed=seed)
        lines = "".join(json.dumps([each.trace_id, each.probability]) + "\n" for each in drawn)
        selection = {
            "queue": keep(store.artifacts, lines.encode()),
            "rubric": rubric_record(rubric),
            "where": where,
            "of_run": of_run,
            "sample": sample,
            "by": by,
            "seed": seed,
            "traces": len(drawn),
            "of_traces": len(chosen),
        }
        record = store.catalog.runs.create(
            run,
            kind="import",
            selection=selection,
            code=provenance.code_version(),
            environment=provenance.environment(),
            lake_versions=store.versions(),
        )
    elif where is not None or of_run is not None or sample is not None:
        raise UsageError(f"the queue {run} is there already and keeps its traces; leave where, of_run and sample out")
    asked = rubric_of(_mapping(record.selection["rubric"]))
    if rubric is not None and rubric.digest != asked.digest:
        raise UsageError(f"the queue {run} asks {asked.name} in version {asked.version}, not this; take another name")
    lines = kept(store.artifacts, str(record.selection["queue"])).decode()
    drawn = [Drawn(*json.loads(line)) for line in lines.splitlines()]
    return Queue(record, asked, drawn, _answered(store, record.id, who), who)


def answer(store: Store, queue: Queue, drawn: Drawn, trace: Trace, said: Answer) -> None:
    """Keep an answer; it takes the place of an earlier one by the same annotator.

    Args:
        store: Where to.
        queue: The queue; it knows of the answer afterwards.
        drawn: The trace as it was drawn.
        trace: The trace itself.
        said: The answer.
    """
    rubric, before = queue.rubric, queue.answered.get(drawn.trace_id)
    score = Score(status="not_applicable") if said.value is None else Score(said.value)
    passed = None
    if isinstance(said.value, bool) and rubric.direction != "neutral":
        passed = said.value is (rubric.direction == "maximize")
    parts = [queue.record.id, drawn.trace_id, rubric.name, queue.annotator, before or ""]
    columns = value_columns(score)
    if rubric.kind == "text" and said.value is not None:
        columns["value_type"] = "text"
    row: dict[str, object] = {
        "score_id": hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32],
        "time": datetime.now(timezone.utc).replace(tzinfo=None),
        "run_id": queue.record.id,
        "target": "trace",
        "trace_id": drawn.trace_id,
        "session_id": trace.session_id,
        "case_id": trace.case_id,
        "repeat": trace.repeat,
        "judge": rubric.name,
        "judge_version": rubric.version,
        "judge_digest": rubric.digest,
        "source": "human",
        "annotator": queue.annotator,
        "name": clean(rubric.name),
        "passed": passed,
        "direction": rubric.direction,
        "status": score.status if said.value is not None else SKIPPED,
        "explanation": None if not said.comment else clean(said.comment),
        "latency_ms": said.seconds * 1000,
        "inclusion_probability": drawn.probability,
        "supersedes": before,
        "metadata": json_column({"rubric_question": rubric.question}) if rubric.question else None,
        **columns,
    }
    store.append("scores", [row])
    queue.answered[drawn.trace_id] = str(row["score_id"])


def close_queue(store: Store, queue: Queue) -> RunRecord:
    """Sum up what has been answered so far, by all annotators."""
    from tracekit_evaluators.runner import finish  # noqa: PLC0415 - the runner reads much more

    ids = [each.trace_id for each in queue.drawn]
    asked = "SELECT count(DISTINCT trace_id), count(DISTINCT annotator) FROM scores WHERE run_id = ?"
    answered, annotators = store.sql(asked, [queue.record.id]).fetchone() or (0, 0)
    more: dict[str, object] = {"traces": len(ids), "answered": answered, "annotators": annotators}
    return finish(store, queue.record.id, makers(store, ids), more)


def _traces(store: Store, where: str | None, of_run: str | None) -> list[str]:
    picked = condition(store, where=where, agent=None)
    if of_run is None:
        return sorted(trace_ids(store, picked, limit=None))
    listed = store.catalog.runs.find(of_run).selection.get("trace_ids")
    if listed is None:
        raise UsageError(f"the run {of_run} does not say which traces it read; name an evaluation")
    ours = set(kept(store.artifacts, str(listed)).decode().split("\n"))
    found = [each for each in trace_ids(store, picked, limit=None) if each in ours]
    if not found:
        raise NotFoundError(f"none of the {len(ours)} traces of {of_run} is there and matches")
    return sorted(found)


def _there(store: Store, name: str) -> RunRecord | None:
    try:
        found = store.catalog.runs.find(name)
    except NotFoundError:
        return None
    if name not in {found.name, found.id}:
        return None  # the beginning of another run's id
    if "queue" not in found.selection:
        raise UsageError(f"there is a run {name} already, and it is no queue of labels; give --run another name")
    return found


def _answered(store: Store, run_id: str, annotator: str) -> dict[str, str]:
    query = (
        "SELECT trace_id, score_id FROM scores WHERE run_id = ? AND annotator = ? AND score_id NOT IN "
        "(SELECT supersedes FROM scores WHERE run_id = ? AND supersedes IS NOT NULL)"
    )
    rows = store.sql(query, [run_id, annotator, run_id]).fetchall()
    return {str(trace_id): str(score_id) for trace_id, score_id in rows}


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
