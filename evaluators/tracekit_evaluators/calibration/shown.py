"""What people would say of runs, beside what their judges say: corrected figures for comparisons and summaries.

They are made when they are shown, and so fall away, with a note, once a judge has changed or its calibration expired.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tracekit.errors import TracekitError
from tracekit_evaluators.calibration.applied import corrected_difference, corrected_mean
from tracekit_evaluators.calibration.record import Calibration, calibrations

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.calibration.corrections import Corrected


@dataclass(frozen=True)
class Corrections:
    """What is known of runs in people's words.

    Args:
        means: For each run's id and score the corrected mean.
        differences: For each score the corrected difference of two runs.
        notes: Where there was a correction once and is none now, or none can be made: why.
    """

    means: Mapping[tuple[str, str], Corrected]
    differences: Mapping[str, Corrected]
    notes: tuple[str, ...] = ()


def corrections(store: Store, runs: Sequence[RunRecord], *, at: datetime.datetime | None = None) -> Corrections:
    """Correct the means of runs, and where there are two the difference of their cases, second minus first.

    Args:
        store: An open store.
        runs: One run, or a baseline and a candidate.
        at: When calibrations have to count, UTC; now when not given.
    """
    every = calibrations(store)
    means: dict[tuple[str, str], Corrected] = {}
    differences: dict[str, Corrected] = {}
    notes: list[str] = []
    for score in sorted({each.score for each in every}):
        told = [_state(store, run, score, every, at) for run in runs]
        notes += dict.fromkeys(note for _, note in told if note)
        digests = [digest for digest, _ in told]
        for run, digest in zip(runs, digests, strict=True):
            found = (
                None if digest is None else _tried(partial(corrected_mean, store, run.id, score=score, at=at), notes)
            )
            if found is not None:
                means[run.id, score] = found
        if len(runs) == 2 and digests[0] is not None and digests[0] == digests[1]:
            both = partial(corrected_difference, store, runs[0].id, runs[1].id, score=score, at=at)
            found = _tried(both, notes)
            if found is not None:
                differences[score] = found
    reasons = [
        f"{score} cannot be corrected: {each.estimate.method}"
        for score, each in {**{score: each for (_, score), each in means.items()}, **differences}.items()
        if each.estimate.value is None
    ]
    return Corrections(
        {key: each for key, each in means.items() if each.estimate.value is not None},
        {key: each for key, each in differences.items() if each.estimate.value is not None},
        tuple(dict.fromkeys([*notes, *reasons])),
    )


def _state(
    store: Store, run: RunRecord, score: str, every: Sequence[Calibration], at: datetime.datetime | None
) -> tuple[str | None, str | None]:
    """The digest of the judge whose calibration counts for a run's score, or why none does any more."""
    judges = {
        (str(row["judge"]), str(row["judge_digest"]))
        for row in store.sql(
            "SELECT DISTINCT judge, judge_digest FROM scores WHERE run_id = ? AND name = ? "
            "AND judge_digest IS NOT NULL",
            [run.id, score],
        )
    }
    if len(judges) != 1:
        return None, None
    judge, digest = next(iter(judges))
    mine = [each for each in every if each.digest == digest and each.score == score]
    if any(each.valid(at) for each in mine):
        return digest, None
    again = f"`tracekit judges calibrate {run.name}` measures it again"
    if mine:
        ended = f"{mine[0].expires_at:%Y-%m-%d}"
        return None, f"{score} is not corrected: its judge's calibration expired on {ended}; {again}"
    if any(each.judge == judge and each.score == score for each in every):
        return None, f"{score} is not corrected: its judge has changed since it was calibrated; {again}"
    return None, None


def _tried(made: Callable[[], Corrected | None], notes: list[str]) -> Corrected | None:
    try:
        return made()
    except TracekitError as error:
        notes.append(f"there is no corrected figure: {error}")
        return None
