"""`tracekit runs`: what was evaluated and what programs tracked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

_RUN = "a name (its newest run) or the beginning of an id"


def command() -> Command:
    """The command `runs`."""
    return Command(
        help="list, show, compare, tag, delete or export runs",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit runs list",
            "tracekit runs list --where \"tags->>'team' = 'search' AND (metrics->>'accuracy')::DOUBLE > 0.8\"",
            "tracekit runs show nightly",
            "tracekit runs show nightly --format json",
            "tracekit runs compare tune-a tune-b --format markdown",
            "tracekit runs lineage nightly",
            "tracekit runs tag tune-a team=search --remove draft",
            "tracekit runs export tune-a -o tune-a.zip",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the runs, the newest first")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    listing.add_argument(
        "--kind", choices=("run", "eval", "import"), help="only those that are tracked, or evaluations"
    )
    listing.add_argument(
        "--where", metavar="SQL", help="a condition over the view `runs`, such as \"status = 'failed'\""
    )
    listing.add_argument("--deleted", action="store_true", help="those that were deleted, instead of the others")
    showing = actions.add_parser("show", help="show one run with its parameters, metrics, artifacts and children")
    comparing = actions.add_parser("compare", help="show which parameters, metrics and tags of runs differ")
    comparing.add_argument("runs", nargs="+", metavar="RUN", help=f"two or more runs, each {_RUN}")
    comparing.add_argument("--all", action="store_true", help="show what they have in common too")
    tracing = actions.add_parser("lineage", help="show what a run read and ran, and what came of it")
    tagging = actions.add_parser("tag", help="put tags on a run, or take some away")
    exporting = actions.add_parser("export", help="write a run's parameters, metrics and artifacts to files")
    deleting = actions.add_parser("delete", help="mark a run as deleted; what it was part of still names it")
    restoring = actions.add_parser("restore", help="take back that a run was deleted")
    for each in (showing, tracing, tagging, deleting, restoring, exporting):
        each.add_argument("run", metavar="RUN", help=_RUN)
    tagging.add_argument("tags", nargs="*", metavar="NAME=VALUE", help="a tag")
    tagging.add_argument("--remove", action="append", default=[], metavar="NAME", help="a tag to take away")
    exporting.add_argument("-o", "--output", required=True, metavar="PATH", help="a new folder, or a file like run.zip")
    exporting.add_argument(
        "--metrics", choices=("csv", "parquet"), default="csv", help="how series are written (default: csv)"
    )
    for each in (listing, showing, tracing, comparing, tagging, deleting, restoring, exporting):
        add_store_option(each)
    for each in (listing, showing, comparing):
        add_format_option(each)
    add_format_option(tracing, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    actions = {
        "list": _list,
        "show": _show,
        "lineage": _lineage,
        "compare": _compare,
        "tag": _tag,
        "delete": _delete,
        "restore": _restore,
        "export": _export,
    }
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        actions[arguments.action](store, arguments)
    return 0


def _lineage(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.lineage import run_lineage
    from tracekit_collector.lineage_tree import print_lineage

    print_lineage(run_lineage(store, store.catalog.runs.find(arguments.run)), arguments.format)


def _list(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators._records import RUN_COLUMNS, run_row
    from tracekit_evaluators.run_series import headlines

    limit = max(0, arguments.limit)
    records = _listed(store, arguments, limit)
    last = headlines(store, records)
    rows = []
    for record in records:
        told = ", ".join(f"{name} {_figure(value)}" for name, value in list(last.get(record.id, {}).items())[:4])
        row = run_row(record)
        rows.append({**row, "metrics": row["metrics"] or told, "status": _status(record)})
    print_rows(rows, RUN_COLUMNS, format=arguments.format)


def _listed(store: Store, arguments: argparse.Namespace, limit: int) -> Sequence[RunRecord]:
    if arguments.where is None:
        return store.catalog.runs.list(limit, kind=arguments.kind, deleted=arguments.deleted)
    query = (
        f"SELECT run_id FROM runs WHERE deleted_at IS {'NOT ' if arguments.deleted else ''}NULL "  # noqa: S608 - it can only read
        f"AND (? IS NULL OR kind = ?) AND (\n{arguments.where}\n) ORDER BY created_at DESC, run_id DESC LIMIT {limit}"
    )
    found = store.sql(query, [arguments.kind, arguments.kind], settle=False)
    return [store.catalog.runs.find(str(run_id)) for (run_id,) in found.fetchall()]


def _show(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.terminal import print_json, print_rows, visible
    from tracekit_evaluators._records import facts, plain, print_corrected, print_run, run_row
    from tracekit_evaluators.calibration.shown import corrections
    from tracekit_evaluators.run_series import SERIES_COLUMNS, series

    record = store.catalog.runs.find(arguments.run)
    lines = series(store, record.id)
    children = store.catalog.runs.list(parent_id=record.id)
    corrected = corrections(store, (record,))
    if arguments.format == "json":
        told = {score: each.to_dict() for (_, score), each in corrected.means.items()}
        more = {"corrected": told, "notes": list(corrected.notes)}
        print_json({**plain(record), **more, "series": lines, "children": [run_row(child) for child in children]})
        return
    if arguments.format == "table":
        words = facts(record) if record.kind != "run" else _facts(record)
        for label, text in [*words, *_more(record)]:
            print(f"{label:9} {visible(text)}")
    if record.metrics or record.kind != "run":
        print_run(record, format=arguments.format)
    if arguments.format == "table":
        print_corrected(corrected, record)
    if lines or record.kind == "run":
        shown = [{**line, **{key: _figure(line[key]) for key in ("last", "min", "max")}} for line in lines]
        rows = lines if arguments.format == "csv" else shown
        print_rows(rows, SERIES_COLUMNS, format=arguments.format)
    if arguments.format != "table":
        return
    if record.artifacts:
        files = [{"artifact": name, **told} for name, told in record.artifacts.items()]
        print_rows(files, ("artifact", "bytes", "mime_type", "sha256"), format="table")
    if children:
        rows = [{**run_row(child), "status": _status(child)} for child in children]
        print_rows(rows, ("name", "status", "created", "id"), format="table", title="children")


def _compare(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.terminal import print_rows
    from tracekit_evaluators.run_series import differences, headings

    if len(arguments.runs) < 2:
        raise UsageError("name two runs or more to compare; `tracekit runs list` shows them")
    records = [store.catalog.runs.find(ref) for ref in arguments.runs]
    rows = differences(store, records, everything=arguments.all)
    columns = headings(records)
    if arguments.format in ("table", "markdown"):
        rows = [{**row, **{column: _figure(row[column]) for column in columns}} for row in rows]
    print_rows(rows, ("what", "name", *columns), format=arguments.format)


def _tag(store: Store, arguments: argparse.Namespace) -> None:
    tags: dict[str, object] = dict.fromkeys(arguments.remove)
    for each in arguments.tags:
        name, equals, value = each.partition("=")
        if not equals:
            raise UsageError(f"{each!r} is no tag; write it as NAME=VALUE")
        tags[name] = value
    if not tags:
        raise UsageError("name a tag as NAME=VALUE, or one to take away with --remove NAME")
    record = store.catalog.runs.tag(arguments.run, tags)
    _say(record, ", ".join(f"{name}={value}" for name, value in record.tags.items()) or "no tags")


def _delete(store: Store, arguments: argparse.Namespace) -> None:
    record = store.catalog.runs.delete(arguments.run)
    _say(record, f"deleted; `tracekit runs restore {record.id}` takes it back")


def _restore(store: Store, arguments: argparse.Namespace) -> None:
    _say(store.catalog.runs.restore(arguments.run), "restored")


def _export(store: Store, arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from tracekit_evaluators.run_folder import export_run

    record = store.catalog.runs.find(arguments.run)
    names = export_run(store, record, Path(arguments.output), metrics=arguments.metrics)
    _say(record, f"{len(names)} files in {arguments.output}")


def _say(record: RunRecord, what: str) -> None:
    from tracekit_collector.terminal import visible

    print(visible(f"{record.name} ({record.id}): {what}"))


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    from tracekit_evaluators._records import agent_words, code_words

    found = [("run", f"{record.name} ({record.id}), {record.kind}, {_status(record)}")]
    if agent_words(record):
        found.append(("agent", str(agent_words(record))))
    return [*found, ("code", code_words(record.code))]


def _more(record: RunRecord) -> list[tuple[str, str]]:
    """What only some runs have to say."""
    found: list[tuple[str, str]] = []
    if record.error:
        found.append(("error", f"{record.error.get('type')}: {record.error.get('message')}"))
    said = (("parent", record.parent_id), ("project", record.project), ("command", record.command))
    found += [(label, text) for label, text in (*said, ("seed", record.seed)) if text]
    if record.deleted_at is not None:
        found.append(("deleted", f"{record.deleted_at:%Y-%m-%d %H:%M:%S}"))
    if record.kind == "run":
        found += [("param", f"{name} = {_figure(value)}") for name, value in record.parameters.items()]
    if record.tags:
        found.append(("tags", ", ".join(f"{name}={value}" for name, value in record.tags.items())))
    return found


def _status(record: RunRecord) -> str:
    return f"{record.status} (stale)" if record.stale else record.status


def _figure(value: object) -> str:
    import json

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
