"""`tracekit compare`: is one run better than another, on what, and in which cases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit_evaluators.comparison import CaseChange, Comparison, ScoreDifference

_COLUMNS = ("score", "baseline", "candidate", "difference", "95 % interval", "p", "p (Holm)", "verdict", "▼", "▲", "n")
_CHANGE_COLUMNS = ("case", "score", "change", "input", "why")
_LONGEST = 80


def command() -> Command:
    """The command `compare`."""
    return Command(
        help="compare two runs: differences with intervals, regressed and improved cases",
        run=run,
        configure=configure,
        examples=("tracekit compare keyword bm25", "tracekit compare main branch --format markdown"),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("baseline", metavar="A", help="the baseline: a run's name or id")
    parser.add_argument("candidate", metavar="B", help="the run that is compared with it")
    parser.add_argument("--show", metavar="N", type=int, default=10, help="list at most N changed cases (default: 10)")
    add_store_option(parser)
    add_format_option(parser, formats=("table", "json", "markdown"))


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print the sentence, the table and the cases that changed most."""
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators.compare import compare

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
    return 0


def _notes(found: Comparison) -> list[str]:
    notes = list(found.notes)
    if found.missing_scores:
        notes.append(f"only one run has {', '.join(found.missing_scores)}")
    for side, cases in (("baseline", found.only_baseline), ("candidate", found.only_candidate)):
        if cases and found.paired_by != "none":
            more = f" and {len(cases) - 5} more" if len(cases) > 5 else ""
            notes.append(f"only in the {side}: {', '.join(cases[:5])}{more}")
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
