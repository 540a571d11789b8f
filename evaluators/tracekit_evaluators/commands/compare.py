"""`tracekit compare`: is one run better than another, on what, and in which cases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit_evaluators.comparison import CaseChange, Comparison, ScoreDifference
    from tracekit_evaluators.leaderboard import Leaderboard, Standing

_COLUMNS = ("score", "baseline", "candidate", "difference", "95 % interval", "p", "p (Holm)", "verdict", "▼", "▲", "n")
_CHANGE_COLUMNS = ("case", "score", "change", "input", "why")
_LONGEST = 80


def command() -> Command:
    """The command `compare`."""
    return Command(
        help="compare runs: differences with intervals, regressed and improved cases, slices, a leaderboard of many",
        run=run,
        configure=configure,
        examples=(
            "tracekit compare keyword bm25",
            "tracekit compare main branch --format markdown",
            "tracekit compare v1 v2 v3 --score correct",
            "tracekit compare keyword bm25 --html report.html",
        ),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("baseline", metavar="A", help="the baseline: a run's name or id")
    parser.add_argument("candidate", metavar="B", help="the run that is compared with it")
    parser.add_argument("others", metavar="C", nargs="*", help="more runs: all are ranked, and compared with A")
    parser.add_argument("--score", metavar="NAME", help="the score that ranks three runs or more (default: the first)")
    parser.add_argument("--show", metavar="N", type=int, default=10, help="list at most N changed cases (default: 10)")
    parser.add_argument("--html", metavar="FILE", help="write the report of B against A here, and print nothing else")
    add_store_option(parser)
    add_format_option(parser, formats=("table", "json", "markdown"))


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print the sentence, the table and the cases that changed most."""
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.compare import compare

    if arguments.html is not None:
        return _report(arguments)
    if arguments.others:
        return _rank(arguments)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        runs = store.catalog.runs
        found = compare(store, runs.find(arguments.baseline), runs.find(arguments.candidate))
    if arguments.format == "json":
        print_json(found.to_dict())
        return 0
    print(visible(found.sentence))
    for note in _notes(found):
        print(visible(f"Note: {note}."))
    print()
    rows = [_row(each) for each in (*found.scores, *found.measures)]
    print_rows(rows, _COLUMNS, format=arguments.format)
    _print_corrected(found, format=arguments.format)
    for title, changes in (
        ("Worst regressions", _most(found.scores, "regressed")),
        ("Best improvements", _most(found.scores, "improved")),
    ):
        if changes and arguments.show > 0:
            print(f"\n{'### ' if arguments.format == 'markdown' else ''}{title}\n")
            shown = [_change_row(change) for change in changes[: arguments.show]]
            print_rows(shown, _CHANGE_COLUMNS, format=arguments.format)
            if len(changes) > len(shown):
                print(f"… and {len(changes) - len(shown)} more; --show N lists them, --format json has them all")
    _print_slices(found, format=arguments.format, most=arguments.show)
    return 0


def _print_corrected(found: Comparison, *, format: str) -> None:  # noqa: A002 - the word of the command line
    """What people would say, where the judge was calibrated."""
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators._records import corrected_cell

    rows = []
    for each in found.scores:
        if each.corrected is not None:
            cells = {
                side: corrected_cell(each.corrected.get(side), kind=each.kind, signed=side == "difference")
                for side in ("baseline", "candidate", "difference")
            }
            method = next(iter(reversed(list(each.corrected.values()))))["method"]
            rows.append({"score": each.name, **cells, "method": method})
    if rows:
        print(f"\n{'### ' if format == 'markdown' else ''}As people would say, by the judges' calibrations\n")
        print_rows(rows, list(rows[0]), format=format)


def _report(arguments: argparse.Namespace) -> int:
    from tracekit_evaluators.commands import report

    if arguments.others:
        raise UsageError("--html writes the report of two runs; give A and B alone")
    told = {
        "run": arguments.candidate,
        "baseline": arguments.baseline,
        "output": arguments.html,
        "svg": None,
        "png": None,
    }
    return report.run(argparse.Namespace(**told, max_cases=200, max_mb=5.0, store=arguments.store))


def _rank(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.leaderboard import leaderboard

    with Store.open(arguments.store, create=False) as store:
        store.settle()
        refs = [arguments.baseline, arguments.candidate, *arguments.others]
        found = leaderboard(store, [store.catalog.runs.find(ref) for ref in refs], score=arguments.score)
    if arguments.format == "json":
        print_json(found.to_dict())
        return 0
    print(visible(f"Ranked by {found.score}; verdicts are against {arguments.baseline}, corrected by Holm over all."))
    for note in found.notes:
        print(visible(f"Note: {note}."))
    print()
    rows = [_standing(place, each, found) for place, each in enumerate(found.standings, start=1)]
    print_rows(rows, list(rows[0]), format=arguments.format)
    print("\n★ on the cost-quality frontier: no other run is as good and cheaper, or better and as cheap")
    return 0


def _standing(place: int, each: Standing, found: Leaderboard) -> dict[str, object]:
    from tracekit_evaluators.verdict import amount, figure, interval

    row: dict[str, object] = {"": place, "run": each.run.name + (" ★" if each.on_frontier else "")}
    for name in (found.score, *(name for name in found.scores if name != found.score)):
        metric, difference = each.metrics[name], each.difference(name)
        value, low, high = (metric.get(key) for key in ("value", "low", "high"))
        kind = str(metric.get("kind"))
        said = amount(value if isinstance(value, float) else None, kind=kind)
        if name == found.score and isinstance(low, float) and isinstance(high, float):
            said += f" ({interval(low, high, kind=kind)})"
        row[name] = said + ("" if difference is None else f", {difference.verdict}")
    return {**row, "USD a trace": figure(each.cost), "seconds": figure(each.latency)}


def _print_slices(found: Comparison, *, format: str, most: int) -> None:  # noqa: A002 - the word of the command line
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.verdict import amount, interval, p_figure

    shown = sorted(found.slices, key=lambda each: 1.0 if each.q is None else each.q)[:most]
    if not shown:
        return
    print(f"\n{'### ' if format == 'markdown' else ''}Slices (q: corrected for {len(found.slices)} slices)\n")
    rows = [
        {
            "slice": f"{each.by}: {each.value}",
            "score": each.score,
            "difference": amount(each.estimate.value, kind=each.kind, signed=True),
            "95 % interval": interval(each.estimate.low, each.estimate.high, kind=each.kind, signed=True),
            "q": p_figure(each.q),
            "verdict": each.verdict,
            "n": each.pairs or f"{each.cases[0]} + {each.cases[1]}",
        }
        for each in shown
    ]
    print_rows(rows, list(rows[0]), format=format)


def _unsettled(each: ScoreDifference) -> str | None:
    """What so many cases could have shown, and how many would settle it."""
    from tracekit_evaluators.verdict import amount

    if each.verdict != "no clear difference" or each.detectable is None:
        return None
    size = amount(each.detectable, kind=each.kind, signed=True).lstrip("+")
    said = f"{each.name}: {each.estimate.n} cases show differences from {size} on (80 % power)"
    more = each.more_cases
    return said + (f"; about {more:,} more would settle a difference as seen" if more else "")


def _notes(found: Comparison) -> list[str]:
    notes = list(found.notes)
    if found.missing_scores:
        notes.append(f"only one run has {', '.join(found.missing_scores)}")
    for side, cases in (("baseline", found.only_baseline), ("candidate", found.only_candidate)):
        if cases and found.paired_by != "none":
            more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
            notes.append(f"only in the {side}: {', '.join(cases[:5])}{more}")
    for each in found.scores:
        if each.clusters is not None:
            shared = each.clusters
            effect = shared["design_effect"]
            told = f"{each.name}: cases share {shared['count']} {shared['by']}s"
            notes.append(told + (f", design effect {effect:.2f}" if isinstance(effect, float) else ""))
            notes += [str(shared["warning"])] if shared["warning"] else []
        if each.flaky:
            some = ", ".join(each.flaky[:5]) + (f" and {len(each.flaky) - 5} more" if len(each.flaky) > 5 else "")
            notes.append(f"{each.name} is flaky in {some}")
        unsettled = _unsettled(each)
        notes += [unsettled] if unsettled else []
    return notes


def _row(each: ScoreDifference) -> dict[str, object]:
    from tracekit_evaluators.verdict import amount, interval, p_figure

    return dict(
        zip(
            _COLUMNS,
            (
                each.name,
                amount(each.baseline, kind=each.kind),
                amount(each.candidate, kind=each.kind),
                amount(each.estimate.value, kind=each.kind, signed=True),
                interval(each.estimate.low, each.estimate.high, kind=each.kind, signed=True),
                p_figure(each.p.value),
                p_figure(each.p_adjusted),
                each.verdict,
                len(each.regressed),
                len(each.improved),
                each.estimate.n,
            ),
            strict=True,
        )
    )


def _most(scores: Sequence[ScoreDifference], which: str) -> list[CaseChange]:
    """The changes of all scores that mark cases, one of each in turn, so that no score hides another."""
    lists: list[Sequence[CaseChange]] = [getattr(each, which) for each in scores if each.marks_cases]
    longest = max((len(each) for each in lists), default=0)
    return [each[place] for place in range(longest) for each in lists if place < len(each)]


def _change_row(change: CaseChange) -> dict[str, object]:
    from tracekit_evaluators.report.text import line, unwrapped

    shown = f"{_value(change.baseline)} → {_value(change.candidate)}"
    told = (change.case, change.score, shown, line(unwrapped(change.input), longest=_LONGEST))
    return dict(zip(_CHANGE_COLUMNS, (*told, line(change.candidate_explanation, longest=_LONGEST)), strict=True))


def _value(value: float | str) -> str:
    from tracekit_evaluators.verdict import figure

    return value if isinstance(value, str) else figure(value)
