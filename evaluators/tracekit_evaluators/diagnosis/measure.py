"""How well the detectors do, measured on the planted corpus: what a report says beside a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tracekit_evaluators.diagnosis.corpus import Planted, corpus
from tracekit_evaluators.diagnosis.detect import detect
from tracekit_evaluators.diagnosis.scoring import Figures, pairs_of, score
from tracekit_evaluators.diagnosis.taxonomy import code_of

MEASURED = ("code", "group", "planted", "recall", "precision")


def figures(planted: Sequence[Planted]) -> Figures:
    """The detectors' figures on a corpus."""
    found = {each.trace_id: pairs_of(detect(each.trace())) for each in planted}
    return score({each.trace_id: each.faults for each in planted}, found)


def execution(planted: Sequence[Planted]) -> Figures:
    """The figures on the codes of system execution alone."""

    def only(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        return [pair for pair in pairs if code_of(pair[0]).group == "execution"]

    found = {each.trace_id: only(pairs_of(detect(each.trace()))) for each in planted}
    return score({each.trace_id: only(each.faults) for each in planted}, found)


def measured(*, seed: int = 1, traces: int = 320) -> list[dict[str, object]]:
    """Recall and precision of the detectors by code, on faults with the wordings of real libraries.

    Args:
        seed: The corpus's.
        traces: How many traces it has.

    Returns:
        A row for each code with the columns `MEASURED`, and one, `all`, over all of them. Precision is unknown where
        nothing was found, recall where nothing was planted.
    """
    return [dict(row) for row in _measured(seed, traces)]


@cache
def _measured(seed: int, traces: int) -> tuple[dict[str, object], ...]:
    whole = figures(corpus(seed=seed, traces=traces))
    rows: list[dict[str, object]] = [
        {
            "code": each.code,
            "group": code_of(each.code).group,
            "planted": each.planted,
            "recall": each.recall,
            "precision": each.precision,
        }
        for each in whole.codes
    ]
    total = sum(each.planted for each in whole.codes)
    last = {"code": "all", "group": None, "planted": total}
    rows.append({**last, "recall": whole.joint_recall, "precision": whole.joint_precision})
    return tuple(rows)
