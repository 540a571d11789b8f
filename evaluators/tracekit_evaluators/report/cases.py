"""The report's cases: what each scored, what changed since the baseline, worst first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracekit_evaluators.comparison import Comparison
from tracekit_evaluators.pairing import Pairing, RunRows, natural
from tracekit_evaluators.report.text import Text, line, shown, text, unwrapped
from tracekit_evaluators.report.waterfall import duration
from tracekit_evaluators.summary import Row, ScoreGroup, number, status, trial
from tracekit_evaluators.verdict import amount, figure

MOST_COLUMNS = 6
_MOST_ATTEMPTS = 8
LONGEST = 20_000
BRIEF = 1_500
_LONGEST_EXPLANATION = 3_000
_MOST_EVIDENCE = 10


@dataclass(frozen=True)
class Cell:
    """One score of one case in the table.

    Args:
        text: What stands there.
        tone: `good`, `bad`, `mixed`, `none` (not scored) or empty.
        hint: The same in words, for a pointer and a screen reader.
        change: ▲ where it became better since the baseline, ▼ where worse; the hint says by how much.
        change_tone: `good` or `bad` where it became better or worse.
        value: What the column is sorted by; `None` where nothing was scored.
        before: The baseline's; `None` where it has none.
    """

    text: str
    tone: str
    hint: str
    change: str = ""
    change_tone: str = ""
    value: float | None = None
    before: float | None = None


@dataclass(frozen=True)
class VerdictRow:
    """What one judge said of one trace."""

    score: str
    value: str
    tone: str
    judge: str
    explanation: Text | None
    evidence: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Attempt:
    """One try at a case: a trace's id, what came out, what the judges said.

    Args:
        label: `repeat 2` where there are several, else empty.
        trace_id: The trace's id; empty where the score names none.
        output: What the agent answered.
        verdicts: What the judges said.
        stored: Whether the store holds the trace.
    """

    label: str
    trace_id: str
    output: Text | None
    verdicts: tuple[VerdictRow, ...]
    stored: bool = False


@dataclass(frozen=True)
class CaseBody:
    """What opens under a case.

    Args:
        input: What was asked, in full.
        attempts: Its tries, the worst first.
        attempts_left_out: How many tries are not shown.
        baseline: The baseline's tries.
    """

    input: Text | None
    attempts: tuple[Attempt, ...]
    attempts_left_out: int
    baseline: tuple[Attempt, ...]


@dataclass(frozen=True)
class CaseView:
    """A case in the list.

    Args:
        key: What it is paired by.
        name: Its name.
        link: What `#case=` is followed by in a link to it.
        summary: What was asked, in one line.
        cells: One for each column.
        change: `regressed`, `improved`, `mixed` or empty.
        failed: Whether any score says that it failed.
        error: Whether one of its traces ended in an error.
        milliseconds: Its mean duration; `None` where unknown.
        dollars: Its mean cost.
    """

    key: str
    name: str
    link: str
    summary: str
    cells: tuple[Cell, ...]
    change: str
    failed: bool
    error: bool
    milliseconds: float | None
    dollars: float | None

    @property
    def duration(self) -> str:
        """Its mean duration as people read it."""
        return duration(None if self.milliseconds is None else self.milliseconds * 1e6)

    @property
    def cost(self) -> str:
        """Its mean cost as people read it."""
        return "–" if self.dollars is None else f"${figure(self.dollars)}"


class Cases:
    """The cases of a run, worst first: with a baseline the worst regression, without one the lowest scores.

    Args:
        candidate: The run's rows.
        keys: For each of its traces the key of its case.
        baseline: The baseline's rows and keys, where there is one that can be paired.
        comparison: The comparison with it.
    """

    def __init__(
        self,
        candidate: RunRows,
        *,
        keys: Mapping[str, str],
        baseline: tuple[RunRows, Mapping[str, str]] | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        self._run = candidate
        self._groups = candidate.groups
        self._rows = _by_case(candidate, keys)
        self._baseline = baseline
        self._baseline_rows = _by_case(*baseline) if baseline is not None else {}
        self._changes: dict[tuple[str, str], float] = {}
        self._marking: set[str] = set()
        self._ranges = {name: _spread(group) for name, group in self._groups.items()}
        self._least = {name: _least(group) for name, group in self._groups.items()}
        for each in comparison.scores if comparison is not None else ():
            sign = -1.0 if each.direction == "minimize" else 1.0
            self._marking |= {each.name} if each.marks_cases else set()
            for change in (*each.regressed, *each.improved):
                self._changes[change.key, each.name] = sign * (change.difference or 0.0)
        self.columns = self._column_names(comparison)
        self.ordered = sorted(natural(self._rows), key=self._badness)

    def view(self, key: str, *, longest: int = 300) -> CaseView:
        """A case's row in the list, with this many characters of what was asked."""
        rows = self._rows[key]
        traces = [self._run.traces[trace] for trace in _trace_ids(rows) if trace in self._run.traces]
        changes = [self._changes.get((key, name), 0.0) for name in sorted(self._marking)]
        milliseconds, dollars = (_mean(trace.get(name) for trace in traces) for name in ("duration_ms", "cost_usd"))
        named = next((str(row["case_id"]) for row in rows if row.get("case_id") is not None), None)
        asked = next((trace["input"] for trace in traces if trace.get("input") is not None), None)
        return CaseView(
            key=key,
            name=line(named or (_trace_ids(rows) or [key])[0][:8], longest=60),
            link="",
            summary=line(unwrapped(asked), longest=longest),
            cells=tuple(self._cell(name, key, rows) for name in self.columns),
            change=_change_word(changes),
            failed=any(_passed(row, self._groups[_name(row)]) == 0.0 for row in rows),
            error=any(trace.get("status") == "error" for trace in traces),
            milliseconds=milliseconds,
            dollars=dollars,
        )

    def rows(self, key: str, name: str) -> list[Row]:
        """A case's rows of one score."""
        return [row for row in self._rows[key] if row.get("name") == name]

    def trace_ids(self, key: str) -> list[str]:
        """The traces of a case that are shown in full, the worst first."""
        return self._attempts(key)[:_MOST_ATTEMPTS]

    def baseline_trace_ids(self, key: str) -> list[str]:
        """The baseline's trace of a case that is shown beside it, where there is one."""
        mine = set(_trace_ids(self._rows[key]))
        return [trace for trace in _trace_ids(self._baseline_rows.get(key, ()))[:1] if trace not in mine]

    def body(self, key: str, *, longest: int = LONGEST) -> CaseBody:
        """What opens under a case, each text cut at this many characters."""
        rows, before = self._rows[key], self._baseline_rows.get(key, [])
        ids, theirs = self._attempts(key), _trace_ids(before)
        told = (self._run.traces.get(trace, {}).get("input") for trace in ids)
        asked = next((said for said in told if said is not None), None)
        untraced = [] if ids else [self._attempt("", rows, self._run, many=False, longest=longest)]
        return CaseBody(
            input=text(unwrapped(asked), longest=longest),
            attempts=(
                *untraced,
                *(
                    self._attempt(trace, rows, self._run, many=len(ids) > 1, longest=longest)
                    for trace in ids[:_MOST_ATTEMPTS]
                ),
            ),
            attempts_left_out=max(0, len(ids) - _MOST_ATTEMPTS),
            baseline=tuple(
                self._attempt(trace, before, self._baseline[0], many=len(theirs) > 1, longest=longest)
                for trace in theirs[:_MOST_ATTEMPTS]
                if self._baseline is not None
            ),
        )

    def _column_names(self, comparison: Comparison | None) -> list[str]:
        scores = comparison.scores if comparison is not None else ()
        changed = {each.name: len(each.regressed) for each in scores if each.marks_cases}
        wanted = sorted(
            self._groups, key=lambda name: (-changed.get(name, 0), self._groups[name].direction == "neutral")
        )
        chosen = set(wanted[:MOST_COLUMNS])
        return [name for name in self._groups if name in chosen]

    def _badness(self, key: str) -> tuple[float, float]:
        """What sorts cases; ties stay in natural order, since sorting is stable."""
        changes = [
            self._changes.get((key, name), 0.0) / self._ranges[name] for name in self._marking if self._ranges[name] > 0
        ]
        return min(changes, default=0.0), self._goodness(key)

    def _goodness(self, key: str) -> float:
        """How well a case does, from 0 to 1, averaged over what can be called good or bad."""
        found = []
        for row in self._rows[key]:
            group, value = self._groups[_name(row)], number(row)
            passed = _passed(row, group)
            if passed is not None:
                found.append(passed)
            elif value is not None and group.direction != "neutral" and self._ranges[group.name] > 0:
                share = (value - self._least[group.name]) / self._ranges[group.name]
                found.append(share if group.direction == "maximize" else 1 - share)
        return sum(found) / len(found) if found else 1.0

    def _attempts(self, key: str) -> list[str]:
        rows = self._rows[key]

        def passes(trace: str) -> float:
            tried = (_passed(row, self._groups[_name(row)]) for row in rows if row.get("trace_id") == trace)
            mean = _mean(tried)
            return 1.0 if mean is None else mean

        return sorted(_trace_ids(rows), key=passes)

    def _cell(self, name: str, key: str, rows: Sequence[Row]) -> Cell:
        group = self._groups[name]
        mine = [row for row in rows if row.get("name") == name]
        change = self._changes.get((key, name), 0.0)
        theirs = (number(row) for row in self._baseline_rows.get(key, ()) if row.get("name") == name)
        cell = replace(_cell(group, mine), before=_mean(theirs))
        if not change:
            return cell
        sign = -1.0 if group.direction == "minimize" else 1.0
        words = amount(sign * change, kind=group.kind, signed=True)
        glyph, tone = ("▲", "good") if change > 0 else ("▼", "bad")
        if group.direction == "neutral":
            tone = ""
        return replace(cell, change=glyph, change_tone=tone, hint=f"{cell.hint}, {words} since the baseline")

    def _attempt(self, trace_id: str, rows: Sequence[Row], side: RunRows, *, many: bool, longest: int) -> Attempt:
        mine = [row for row in rows if str(row.get("trace_id") or "") == trace_id]
        repeat = next((row["repeat"] for row in mine if row.get("repeat") is not None), None)
        label = f"repeat {repeat}" if repeat is not None else f"trace {trace_id[:8]}"
        return Attempt(
            label=label if many else "",
            trace_id=trace_id,
            output=text(unwrapped(side.traces.get(trace_id, {}).get("output")), longest=longest),
            verdicts=tuple(
                verdict_row(row, side.groups[_name(row)], longest=min(longest, _LONGEST_EXPLANATION)) for row in mine
            ),
            stored=trace_id in side.traces,
        )


def verdict_row(row: Row, group: ScoreGroup, *, longest: int) -> VerdictRow:
    """A row of the table `scores` as the report shows it."""
    cell = _cell(group, [row])
    judge = str(row.get("judge") or row.get("source") or "")
    version = row.get("judge_version")
    return VerdictRow(
        score=line(group.name, longest=80),
        value=cell.text if status(row) == "scored" else status(row).replace("_", " "),
        tone=cell.tone,
        judge=line(f"{judge} {version}" if version else judge, longest=80),
        explanation=text(row.get("explanation"), longest=longest),
        evidence=tuple(_evidence(row.get("evidence"))),
    )


def linked(views: Iterable[CaseView]) -> list[CaseView]:
    """The same cases, each with a link that no other has."""
    taken: set[str] = set()
    places: dict[str, int] = {}
    found = []
    for view in views:
        slug = link = re.sub(r"[^A-Za-z0-9_.-]+", "-", view.name).strip("-") or "x"
        while link in taken:
            places[slug] = places.get(slug, 1) + 1
            link = f"{slug}-{places[slug]}"
        taken.add(link)
        found.append(replace(view, link=link))
    return found


def paired_keys(pairing: Pairing | None, run: RunRows) -> Mapping[str, str]:
    """For each trace of a run the key of its case, as a pairing has it, or by itself."""
    own = run.own_keys
    return own if pairing is None or pairing.by == "none" else {**own, **pairing.candidate}


def _by_case(run: RunRows, keys: Mapping[str, str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for group in run.groups.values():
        for row in group.rows:
            trace = str(row.get("trace_id"))
            fallback = f"case:{row['case_id']}" if row.get("case_id") is not None else f"row:{row.get('score_id')}"
            found.setdefault(keys.get(trace, fallback), []).append(row)
    return found


def _cell(group: ScoreGroup, rows: Sequence[Row]) -> Cell:
    name = line(group.name, longest=80)
    scored = [row for row in rows if status(row) == "scored"]
    if not scored:
        why = ", ".join(sorted({status(row).replace("_", " ") for row in rows})) or "no score"
        return Cell("–", "none", f"{name}: {why}")
    value = _mean(number(row) for row in scored)
    tried = [_passed(row, group) for row in scored]
    tone = _tone([value for value in tried if value is not None])
    if group.kind in {"label", "text"}:
        words = sorted({line(row.get("label"), longest=24) for row in scored})
        said = " / ".join(words)
    elif group.kind == "bool":
        passed = sum(1 for value in tried if value)
        said = f"{passed}/{len(scored)}" if len(scored) > 1 else "✓" if passed else "✗"
    else:
        said = figure(value)
    hint = {"good": "passed", "bad": "failed", "mixed": "passed sometimes"}.get(tone, "")
    return Cell(said, tone, f"{name}: {said}{f', {hint}' if hint else ''}", value=value)


def _passed(row: Row, group: ScoreGroup) -> float | None:
    """1 or 0 where somebody drew a line between good and bad, else `None`."""
    judged = group.kind == "bool" or row.get("passed") is not None
    return trial(row, direction=group.direction) if judged else None


def _tone(tried: Sequence[float]) -> str:
    if not tried:
        return ""
    return "good" if min(tried) >= 1 else "bad" if max(tried) <= 0 else "mixed"


def _evidence(column: object) -> Iterator[tuple[str, Text]]:
    try:
        found = json.loads(column) if isinstance(column, str) else None
    except (ValueError, RecursionError):
        found = None
    for item in found[:_MOST_EVIDENCE] if isinstance(found, list) else ():
        quote = text(item.get("quote"), longest=600) if isinstance(item, Mapping) else None
        if quote is not None:
            yield shown(str(item.get("span_id") or ""))[:32], quote


def _change_word(changes: Sequence[float]) -> str:
    worse, better = any(change < 0 for change in changes), any(change > 0 for change in changes)
    return "mixed" if worse and better else "regressed" if worse else "improved" if better else ""


def _spread(group: ScoreGroup) -> float:
    values = [value for row in group.rows if (value := number(row)) is not None]
    return 1.0 if group.kind in {"bool", "label", "text"} else max(values, default=0.0) - min(values, default=0.0)


def _least(group: ScoreGroup) -> float:
    return min((value for row in group.rows if (value := number(row)) is not None), default=0.0)


def _trace_ids(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["trace_id"]) for row in rows if row.get("trace_id") is not None))


def _name(row: Row) -> str:
    return str(row.get("name"))


def _mean(values: Iterable[object]) -> float | None:
    known = [float(value) for value in values if isinstance(value, (int, float))]
    return sum(known) / len(known) if known else None
