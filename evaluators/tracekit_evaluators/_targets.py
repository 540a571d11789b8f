"""What the judges of a run are called with: each trace, its spans, pairs with another run's traces, then sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from tracekit_evaluators.subject import Subject, input_digest

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace
    from tracekit_evaluators._cases import Cases
    from tracekit_evaluators.judge import Judge

Work = tuple[Subject, list["Judge"]]
Earlier = Mapping[str, Mapping[str, float | str]]
_AT_ONCE = 1_000  # of which the store reads some hundreds at a time


@dataclass(frozen=True)
class Other:
    """The traces that pairs are made with, by the case that they tried.

    Args:
        by_case: Trace ids by case and repeat.
    """

    by_case: Mapping[tuple[str, int | None], str] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, ids: Sequence[str], cases: Cases) -> Other:
        """Those of these traces that name or show their case; the newest of several counts."""
        found: dict[tuple[str, int | None], str] = {}
        for trace in store.traces(reversed(ids)):
            case = cases.of(trace)
            if case is None:
                continue
            key = _case_key(Subject(trace, case))
            if key is not None:
                found[key, case.repeat] = trace.trace_id
        return cls(found)

    def beside(self, subject: Subject) -> str | None:
        """The id of the trace that tried the same case, in the same repeat where there is one."""
        key = _case_key(subject)
        if key is None:
            return None
        repeat = subject.case.repeat
        return self.by_case.get((key, repeat)) or self.by_case.get((key, None)) or self.by_case.get((key, 0))


@dataclass(frozen=True)
class Targets:
    """Turns the traces of a run into what its judges are called with.

    Args:
        store: Where the traces are.
        cases: Gives each its case.
        judges: Who judges.
        other: What pairs are made with; `None` where no judge compares.
    """

    store: Store
    cases: Cases
    judges: Sequence[Judge]
    other: Other | None = None

    def of(self, ids: Sequence[str]) -> Iterator[Work]:
        """Every subject with those who judge it: traces in the given order, and sessions by their first trace."""
        if any(judge.declared.subject != "session" for judge in self.judges):
            for batch in _batches(ids):
                earlier = self._earlier(batch)
                for trace in self.store.traces(batch):
                    yield from self._of_trace(trace, earlier)
        if any(judge.declared.subject == "session" for judge in self.judges):
            yield from self._sessions(ids)

    def count(self, ids: Sequence[str]) -> int:
        """How many traces and sessions `of` goes through."""
        levels = {judge.declared.subject for judge in self.judges}
        traces = len(ids) if levels - {"session"} else 0
        return traces + (len(self._ids_by_session(ids)) if "session" in levels else 0)

    def _of_trace(self, trace: Trace, earlier: Earlier) -> Iterator[Work]:
        case = self.cases.of(trace)
        if case is None:
            return
        whole = Subject(trace, case, earlier=earlier.get(trace.trace_id, {}))
        judges = self._for("trace")
        if judges:
            yield whole, judges
        for span in trace.spans:
            if span.same_as is not None:
                continue  # another span describes the same call better
            judges = [each for each in self._for("span") if not each.declared.steps or span.step in each.declared.steps]
            if judges:
                key = f"{trace.trace_id}/{span.span_id}"
                yield replace(whole, span=span, earlier=earlier.get(key, {})), judges
        judges = self._for("pair")
        if judges and self.other is not None:
            yield replace(whole, other=self._beside(whole)), judges

    def _beside(self, subject: Subject) -> Subject | None:
        found = None if self.other is None else self.other.beside(subject)
        if found is None:
            return None
        for trace in self.store.traces([found]):
            return Subject(trace, replace(subject.case, repeat=trace.repeat))
        return None

    def _sessions(self, ids: Sequence[str]) -> Iterator[Work]:
        judges = self._for("session")
        for listed in self._ids_by_session(ids).values():
            traces = sorted(self.store.traces(listed), key=lambda trace: (trace.start_ns, trace.trace_id))
            case = self.cases.of(traces[-1]) if traces else None
            if case is not None:
                yield Subject(traces[-1], case, session=tuple(traces)), judges

    def _ids_by_session(self, ids: Sequence[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        query = (
            "SELECT session_id, trace_id FROM traces WHERE session_id IS NOT NULL "
            "AND trace_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY start_ns, trace_id"
        )
        for batch in _batches(ids, 10_000):
            for session, trace_id in self.store.sql(query, [batch], settle=False).fetchall():
                found.setdefault(str(session), []).append(str(trace_id))
        return found

    def _earlier(self, ids: Sequence[str]) -> Earlier:
        """The newest value of each score of these traces and their spans, where a judge says that it needs them."""
        if not any(need.startswith("earlier") for judge in self.judges for need in judge.declared.needs):
            return {}
        query = (
            "SELECT trace_id, CASE WHEN target = 'span' THEN span_id END, name, "
            "arg_max(coalesce(CAST(value AS VARCHAR), label), time), arg_max(value, time) FROM scores "
            "WHERE status = 'scored' AND target <> 'session' AND trace_id IN (SELECT unnest(?::VARCHAR[])) "
            "GROUP BY 1, 2, 3"
        )
        found: dict[str, dict[str, float | str]] = {}
        for trace_id, span_id, name, text, number in self.store.sql(query, [list(ids)], settle=False).fetchall():
            key = str(trace_id) if span_id is None else f"{trace_id}/{span_id}"
            value = number if isinstance(number, float) else text
            if isinstance(value, (float, str)):
                found.setdefault(key, {})[str(name)] = value
        return found

    def _for(self, level: str) -> list[Judge]:
        return [judge for judge in self.judges if judge.declared.subject == level]


def _case_key(subject: Subject) -> str | None:
    if subject.case.id is not None:
        return f"case:{subject.case.id}"
    return None if subject.input is None else f"input:{input_digest(subject.input)}"


def _batches(ids: Iterable[str], size: int = _AT_ONCE) -> Iterator[list[str]]:
    listed = iter(ids)
    while batch := list(islice(listed, size)):
        yield batch
