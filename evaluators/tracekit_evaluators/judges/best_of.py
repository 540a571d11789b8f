"""Which of several tries at a case is the best one, by scores that stand already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_TRIES = (
    "SELECT t.trace_id, coalesce(t.case_id, t.input, t.trace_id), s.value FROM traces t LEFT JOIN ("
    "SELECT trace_id, arg_max(value, time) AS value FROM scores WHERE target = 'trace' AND name = ? "
    "AND status = 'scored' AND value IS NOT NULL GROUP BY trace_id) s USING (trace_id) "
    "WHERE t.trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY t.start_time, t.trace_id"
)


@judge(needs=("several tries at a case", "earlier score"), values="{0,1}")
def select_best(*, by: str, direction: str = "maximize") -> Call:
    """Whether this try is the best one at its case, by a score that stands already; the mean is 1 in n.

    Besides it says of the best try alone `select_best.value`: its score, whose mean is what the best of n tries
    reaches; and `select_best.gain`: by how much it is better than the mean try. Of equals the earliest is the best.
    Tries belong together by case, else by equal input. Not applicable where a case was tried once.

    Args:
        by: The name of the score that decides, from an earlier run; the newest of each trace counts.
        direction: Which way it is better: `maximize` or `minimize`.

    Raises:
        UsageError: The direction is neither.

    Example:
        >>> select_best(by="faithfulness").parameters["by"]
        'faithfulness'
    """
    if direction not in ("maximize", "minimize"):
        raise UsageError(f"select_best needs a direction, maximize or minimize, not {direction!r}")
    return _SelectBest(by, 1.0 if direction == "maximize" else -1.0)


class _SelectBest:
    def __init__(self, by: str, sign: float) -> None:
        self._by = by
        self._sign = sign

    def __call__(self, _subject: Subject) -> NoReturn:
        raise UsageError("select_best judges a selection of stored traces, not one subject; run it with `evaluate`")

    def over(self, store: Store, trace_ids: Sequence[str]) -> Mapping[str, object]:
        """The verdicts by trace id."""
        cases: dict[str, list[tuple[str, float | None]]] = {}
        for trace_id, case, value in store.sql(_TRIES, [self._by, list(trace_ids)], settle=False).fetchall():
            number = float(value) if isinstance(value, (int, float)) else None
            cases.setdefault(str(case), []).append((str(trace_id), number))
        found: dict[str, object] = {}
        for tries in cases.values():
            found.update(self._of_a_case(tries))
        return found

    def _of_a_case(self, tries: Sequence[tuple[str, float | None]]) -> Mapping[str, object]:
        scored = [(trace_id, value) for trace_id, value in tries if value is not None]
        verdicts: dict[str, object] = {}
        if len(tries) < 2:
            nothing: Score = unscored(NotApplicable("the case was tried once"))
            return {trace_id: nothing for trace_id, _ in tries}
        for trace_id, value in tries:
            if value is None:
                verdicts[trace_id] = unscored(MissingInput(f"the trace has no score {self._by!r}"))
        if not scored:
            return verdicts
        best, most = max(scored, key=lambda each: self._sign * each[1])
        mean = sum(value for _, value in scored) / len(scored)
        told = f"the best of {len(scored)} tries, by {self._by}"
        for trace_id, _ in scored:
            if trace_id == best:
                verdicts[trace_id] = {
                    "select_best": Score(value=True, explanation=told),
                    "select_best.value": Score(most, direction="maximize" if self._sign > 0 else "minimize"),
                    "select_best.gain": Score(self._sign * (most - mean), direction="maximize"),
                }
            else:
                verdicts[trace_id] = Score(value=False)
        return verdicts
