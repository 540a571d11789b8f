"""`tracekit datasets`: named cases in versions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.catalog import DatasetVersion
    from tracekit_collector.store import Store

LISTED = ("name", "version", "cases", "splits", "created", "note", "digest")
SHOWN = ("case_id", "input", "expected", "tags", "splits", "weight", "golden")


def command() -> Command:
    """The command `datasets`."""
    return Command(
        help="keep cases under a name, in versions that never change",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit datasets create sums cases.jsonl",
            "tracekit datasets add sums more.csv --note 'negative numbers'",
            "tracekit datasets from-traces refunds --where \"status = 'error'\" --expect output=score:final",
            "tracekit datasets diff sums@1 sums",
            "tracekit datasets lineage sums@2",
            "tracekit datasets export sums@2:test -o test.jsonl",
            "tracekit datasets remove sums --case zero",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    making = actions.add_parser("create", help="make a dataset of a file's cases")
    adding = actions.add_parser("add", help="a new version with a file's cases; one of the same id takes its place")
    for each in (making, adding):
        each.add_argument("name", metavar="NAME")
        each.add_argument(
            "file", metavar="FILE", help="JSONL, CSV or Parquet: case_id, input, expected, tags, splits …"
        )
    taking = actions.add_parser("from-traces", help="a new version with the cases that stored traces tried")
    taking.add_argument("name", metavar="NAME", help="the dataset; made where there is none of that name")
    taking.add_argument("--where", metavar="SQL", help="a condition over the view traces: status = 'error'")
    taking.add_argument("--agent", metavar="REF", help="only traces of an agent (NAME) or a version of it (NAME@4)")
    taking.add_argument("--limit", type=int, metavar="N", help="read at most so many traces, the newest ones")
    taking.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="NAME=SOURCE",
        help="expect what the trace did (output, tool_names, tool_calls, documents), or what a person's score says "
        "(output=score:final); may be repeated",
    )
    taking.add_argument("--tag", action="append", default=[], metavar="WORD", help="a word for each case; repeatable")
    taking.add_argument("--split", metavar="NAME", help="the split of each case")
    listing = actions.add_parser("list", help="list the datasets, or the versions of one")
    listing.add_argument("name", metavar="NAME", nargs="?")
    showing = actions.add_parser("show", help="show the cases of a version")
    showing.add_argument("dataset", metavar="DATASET", help="NAME, NAME@VERSION or NAME@VERSION:SPLIT")
    showing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many cases (default: 50)")
    giving = actions.add_parser("export", help="write the cases of a version to a file")
    giving.add_argument("dataset", metavar="DATASET", help="NAME, NAME@VERSION or NAME@VERSION:SPLIT")
    giving.add_argument("-o", "--output", metavar="FILE", help=".jsonl, .csv or .parquet (default: JSONL to stdout)")
    differing = actions.add_parser("diff", help="what one version has that another has not")
    differing.add_argument("first", metavar="FIRST")
    differing.add_argument("second", metavar="SECOND")
    tracing = actions.add_parser("lineage", help="show which runs, agents and judges a version was read with")
    tracing.add_argument("dataset", metavar="DATASET", help="NAME or NAME@VERSION")
    removing = actions.add_parser("remove", help="a new version without some cases, or the whole dataset")
    removing.add_argument("name", metavar="NAME")
    removing.add_argument("--case", action="append", default=[], metavar="ID", help="a case; may be repeated")
    removing.add_argument("--all", action="store_true", help="forget the dataset with all of its versions")
    for each in (making, adding, taking, removing):
        each.add_argument("--note", default="", metavar="TEXT", help="what was done, for the list of versions")
    for each in (making, adding, taking, listing, showing, giving, differing, tracing, removing):
        add_store_option(each)
    for each in (making, adding, taking, listing, showing, differing):
        add_format_option(each)
    add_format_option(tracing, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    making = arguments.action in ("create", "add")
    with Store.open(arguments.store, create=making) as store:
        action = {
            "create": _create,
            "add": _add,
            "from-traces": _from_traces,
            "list": _list,
            "show": _show,
            "export": _export,
            "diff": _diff,
            "lineage": _lineage,
            "remove": _remove,
        }[arguments.action]
        action(store, arguments)
    return 0


def _lineage(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.lineage import dataset_lineage
    from tracekit_collector.lineage_tree import print_lineage

    store.settle()
    print_lineage(dataset_lineage(store, store.catalog.datasets.resolve(arguments.dataset)), arguments.format)


def _create(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_evaluators._cases import read_dataset
    from tracekit_evaluators.datasets import create

    rows = read_dataset(arguments.file)
    _print([create(store, arguments.name, rows, note=arguments.note)], arguments.format)


def _add(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_evaluators._cases import read_dataset
    from tracekit_evaluators.datasets import add

    rows = read_dataset(arguments.file)
    _print([add(store, arguments.name, rows, note=arguments.note)], arguments.format)


def _from_traces(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit.errors import NotFoundError
    from tracekit_evaluators.datasets import add, create
    from tracekit_evaluators.trace_cases import cases_from_traces

    taken = cases_from_traces(
        store,
        where=arguments.where,
        agent=arguments.agent,
        limit=arguments.limit,
        expect=arguments.expect,
        tags=arguments.tag,
        split=arguments.split,
    )
    note = arguments.note or f"from traces{f' where {arguments.where}' if arguments.where else ''}"
    try:
        store.catalog.datasets.resolve(arguments.name)
    except NotFoundError:
        made = create(store, arguments.name, taken.rows, note=note)
    else:
        made = add(store, arguments.name, taken.rows, note=note)
    _print([made], arguments.format)
    for count, words in (
        (taken.same, "tried a case that a newer one tried too"),
        (taken.without, "have no input"),
        (taken.unexpected, "do not tell all that is to be expected"),
    ):
        if count:
            print(f"tracekit: {count} traces {words}", file=sys.stderr)


def _list(store: Store, arguments: argparse.Namespace) -> None:
    datasets = store.catalog.datasets
    _print(datasets.list() if arguments.name is None else datasets.versions(arguments.name), arguments.format)


def _show(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.datasets import cases_of

    chosen = cases_of(store, arguments.dataset)
    shown = chosen.rows[: max(0, arguments.limit)]
    title = f"{arguments.dataset}: {len(chosen.rows)} cases" + (
        f", the first {len(shown)}" if len(shown) < len(chosen.rows) else ""
    )
    columns = SHOWN if arguments.format != "json" else (*SHOWN, "metadata")
    print_rows(shown, columns, format=arguments.format, title=title)


def _export(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_evaluators._case_files import FORMATS, write_rows
    from tracekit_evaluators.datasets import cases_of

    suffix = str(arguments.output or "").rpartition(".")[2]
    rows = cases_of(store, arguments.dataset).rows
    text = write_rows(rows, arguments.output, kind=suffix if suffix in FORMATS else "jsonl")
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        print(f"tracekit: {len(rows)} cases in {arguments.output}", file=sys.stderr)


def _diff(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.datasets import cases_of, difference

    found = difference(cases_of(store, arguments.first).rows, cases_of(store, arguments.second).rows)
    changes = [
        *((case, "added", "") for case in found.added),
        *((case, "removed", "") for case in found.removed),
        *((case, "changed", ", ".join(names)) for case, names in found.changed.items()),
    ]
    rows = [dict(zip(("case_id", "change", "fields"), each, strict=True)) for each in changes]
    print_rows(rows, ("case_id", "change", "fields"), format=arguments.format)


def _remove(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit.errors import UsageError
    from tracekit_evaluators.datasets import without

    if bool(arguments.case) is arguments.all:
        raise UsageError("name the cases to leave out (--case ID), or --all for the whole dataset")
    if arguments.all:
        count = store.catalog.datasets.remove(arguments.name)
        print(f"{arguments.name}: removed, with {count} versions; runs keep the cases that they read")
        return
    made = without(store, arguments.name, arguments.case, note=arguments.note)
    print(f"{made.ref}: {made.cases} cases")


def _print(versions: Sequence[DatasetVersion], format: str) -> None:  # noqa: A002 - the word of the command line
    from tracekit_collector.terminal import print_rows

    rows = [
        {
            "name": each.dataset,
            "version": each.number,
            "cases": each.cases,
            "splits": each.splits if format == "json" else ", ".join(f"{key} {n}" for key, n in each.splits.items()),
            "created": f"{each.created_at:%Y-%m-%d %H:%M:%S}",
            "note": each.note,
            "digest": each.digest if format == "json" else each.digest[:12],
        }
        for each in versions
    ]
    print_rows(rows, LISTED, format=format)
