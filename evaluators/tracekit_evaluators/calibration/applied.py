"""A run's mean, and the difference of two runs, in people's words: what calibrations are for.

Where the labels are a random part of what the runs judged, PPI++ corrects with them; else, for yes-or-no judges, the
calibration's TPR and TNR do (Rogan-Gladen). Without a calibration that counts for the judge's digest there is no
correction. Cases that share a session, a user or a document count together.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError
from tracekit_evaluators.calibration.corrections import (
    FEWEST_LABELS,
    Corrected,
    Counts,
    ppi_difference,
    ppi_mean,
    rogan_gladen,
    rogan_gladen_difference,
)
from tracekit_evaluators.calibration.labelled import Key, Row, Verdicts, verdicts_of
from tracekit_evaluators.calibration.record import Calibration, calibration_of
from tracekit_evaluators.calibration.sources import Sources, effective_count, facts_of_runs, several

if TYPE_CHECKING:
    from tracekit_collector.store import Store


def corrected_mean(
    store: Store, run: str, *, score: str | None = None, at: datetime.datetime | None = None
) -> Corrected | None:
    """A judge's mean over a run, corrected by its calibration; `None` where none counts, or it cannot correct.

    Args:
        store: An open store.
        run: A run, by name or id.
        score: Which score, where there are several.
        at: When the calibration has to count, UTC; now when not given.

    Raises:
        NotFoundError: There is no such run.
        UsageError: Several scores fit.
    """
    verdicts = verdicts_of(store, run, score=score)
    found = calibration_of(store, verdicts.digest, score=verdicts.score, at=at)
    if found is None or found.kind == "label":
        return None
    labelled = _labelled(found, store)
    values = {_key(row): value for row in verdicts.rows if (value := _value(row, found.kind)) is not None}
    sources = Sources(verdicts.rows, facts_of_runs(store, verdicts.runs))
    source = {_key(row): sources.of(row) for row in verdicts.rows}
    inside = [key for key in values if key in labelled]
    outside = [key for key in values if key not in labelled]
    if len(inside) >= FEWEST_LABELS and _is_random(found, labelled):
        return ppi_mean(
            [float(labelled[key]["human"]) for key in inside],
            [values[key] for key in inside],
            [values[key] for key in outside],
            probabilities=_probabilities([labelled[key] for key in inside]),
            clusters=several([source[key] for key in (*inside, *outside)]),
        )
    counts = _rates(found, labelled)
    if counts is None or not values:
        return None
    said = [value == 1.0 for value in values.values()]
    n = effective_count(said, several([source[key] for key in values]))
    return rogan_gladen(sum(said) / len(said) * n, n=n, caught=counts[0], cleared=counts[1])


def corrected_difference(
    store: Store,
    baseline: str,
    candidate: str,
    *,
    score: str | None = None,
    at: datetime.datetime | None = None,
) -> Corrected | None:
    """How much a candidate differs from a baseline, corrected by the judge's calibration.

    Cases are paired by case id and repeat. `None` where no calibration counts, or it cannot correct.

    Args:
        store: An open store.
        baseline: A run.
        candidate: A run.
        score: Which score, where there are several.
        at: When the calibration has to count, UTC; now when not given.

    Raises:
        NotFoundError: There is no such run.
        UsageError: The two runs were judged by different judges, or share no case.
    """
    before, after = verdicts_of(store, baseline, score=score), verdicts_of(store, candidate, score=score)
    if before.digest != after.digest:
        raise UsageError(f"{baseline} and {candidate} were judged by different versions of {after.judge}: bridge them")
    found = calibration_of(store, after.digest, score=after.score, at=at)
    if found is None or found.kind == "label":
        return None
    pairs = _paired(before, after)
    if not pairs:
        raise UsageError(f"{baseline} and {candidate} share no case that both judged")
    labelled = _labelled(found, store)
    both = [pair for pair in pairs if _key(pair[0]) in labelled and _key(pair[1]) in labelled]
    rest = [pair for pair in pairs if _key(pair[0]) not in labelled or _key(pair[1]) not in labelled]
    sources = Sources(after.rows, facts_of_runs(store, after.runs))
    if len(both) >= FEWEST_LABELS and _is_random(found, labelled):
        return ppi_difference(
            [(float(labelled[_key(one)]["human"]), float(labelled[_key(two)]["human"])) for one, two in both],
            [(_number(one, found.kind), _number(two, found.kind)) for one, two in both],
            [(_number(one, found.kind), _number(two, found.kind)) for one, two in rest],
            probabilities=_probabilities([labelled[_key(one)] for one, _ in both]),
            clusters=several([sources.of(two) for _, two in (*both, *rest)]),
        )
    counts = _rates(found, labelled)
    if counts is None:
        return None
    judged = [(_number(one, found.kind), _number(two, found.kind)) for one, two in pairs]
    clusters = several([sources.of(two) for _, two in pairs])
    return rogan_gladen_difference(judged, caught=counts[0], cleared=counts[1], clusters=clusters)


def _paired(before: Verdicts, after: Verdicts) -> list[tuple[Row, Row]]:
    def by_case(verdicts: Verdicts) -> dict[Key, Row]:
        return {
            (row["case_id"], row.get("repeat") or 0, row.get("span_id")): row
            for row in verdicts.rows
            if row.get("status") == "scored" and row.get("case_id") is not None and row.get("value") is not None
        }

    old, new = by_case(before), by_case(after)
    return [(old[key], new[key]) for key in old if key in new]


def _labelled(found: Calibration, store: Store) -> dict[Key, Mapping[str, Any]]:
    return {tuple(each["key"]): each for each in found.pairs(store) if each["human"] is not None}


def _is_random(found: Calibration, labelled: Mapping[Key, Mapping[str, Any]]) -> bool:
    return bool(found.run.parameters.get("random")) or all(each["probability"] for each in labelled.values())


def _probabilities(items: Sequence[Mapping[str, Any]]) -> list[float] | None:
    known = [float(each["probability"]) for each in items if each["probability"]]
    return known if len(known) == len(items) else None


def _rates(found: Calibration, labelled: Mapping[Key, Mapping[str, Any]]) -> tuple[Counts, Counts] | None:
    """The judge's TPR and TNR as counts of independent labels."""
    table: Any = found.run.summary.get("confusion")
    if table is None:
        return None
    sources = {
        yes: [str(each.get("source")) for each in labelled.values() if bool(each["human"]) is yes]
        for yes in (True, False)
    }
    right = {
        yes: [bool(each["judged"]) is yes for each in labelled.values() if bool(each["human"]) is yes]
        for yes in (True, False)
    }
    n = {yes: effective_count(right[yes], several(sources[yes])) for yes in (True, False)}
    shares = {yes: sum(right[yes]) / len(right[yes]) if right[yes] else 0.0 for yes in (True, False)}
    return (shares[True] * n[True], n[True]), (shares[False] * n[False], n[False])


def _key(row: Row) -> Key:
    return (row.get("trace_id"), row.get("span_id"))


def _number(row: Row, kind: str) -> float:
    return _value(row, kind) or 0.0


def _value(row: Row, kind: str) -> float | None:
    if row.get("status") != "scored":
        return None
    value = row.get("value")
    if kind == "bool" and value not in (0.0, 1.0):
        value = row.get("passed")
    return None if value is None else float(value)  # type: ignore[arg-type] # the columns value and passed
