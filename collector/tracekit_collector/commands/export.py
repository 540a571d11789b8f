"""`tracekit export`: what a store holds, as files, or sent to another OTLP backend or to MLflow."""

from __future__ import annotations

import argparse
import datetime

from tracekit.command import Command, add_store_option
from tracekit.errors import UsageError

_FORMATS = ("parquet", "jsonl", "otlp", "duckdb")


def command() -> Command:
    """The command `export`."""
    return Command(
        help="write what a store holds to files, or send it to an OTLP endpoint or to MLflow",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit export traces/ --format otlp",
            "tracekit export errors.duckdb --format duckdb --where \"status = 'error'\" --since 2026-11-01",
            "tracekit export --endpoint http://127.0.0.1:4318 --project shop",
            "tracekit export --to mlflow http://127.0.0.1:5000",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="the folder, or with duckdb the file, that is made; or --to's server",
    )
    parser.add_argument("--format", choices=_FORMATS, default="parquet", help="default: parquet")
    parser.add_argument(
        "--to", choices=("mlflow",), help="send runs, traces and scores to a tracking server, whose URL is TARGET"
    )
    parser.add_argument("--endpoint", metavar="URL", help="send OTLP over HTTP to this base URL instead")
    parser.add_argument(
        "--header", action="append", default=[], metavar="NAME=VALUE", help="a header for the endpoint; may be repeated"
    )
    parser.add_argument("--where", metavar="SQL", help="only traces for which this holds, over the view `traces`")
    parser.add_argument("--since", metavar="TIME", help="only traces that began at or after this, UTC, ISO 8601")
    parser.add_argument("--project", metavar="NAME", help="only traces of this project")
    add_store_option(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from tracekit_collector.export import export, send
    from tracekit_collector.schema import TABLES
    from tracekit_collector.sending import Sender
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import progress

    if (arguments.target is None) == (arguments.endpoint is None):
        raise UsageError("give either a TARGET to write or an --endpoint to send to")
    since = moment(arguments.since)
    if arguments.to is not None:
        return _to_mlflow(arguments, since)
    headers = dict(_header(each) for each in arguments.header)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        total = sum(file.rows or 0 for table in TABLES for file in store.lake.entries(table))
        with progress("exporting", total) as advance:
            if arguments.endpoint is not None:
                counts = send(
                    store,
                    Sender(arguments.endpoint, headers=headers),
                    where=arguments.where,
                    since=since,
                    project=arguments.project,
                    done=advance,
                )
            else:
                counts = export(
                    store,
                    Path(arguments.target),
                    format=arguments.format,
                    where=arguments.where,
                    since=since,
                    project=arguments.project,
                    done=advance,
                )
    for table, rows in counts.items():
        print(f"{table}: {rows} rows")
    return 0


def _to_mlflow(arguments: argparse.Namespace, since: datetime.datetime | None) -> int:
    import sys

    from tracekit_collector.imports.tally import Tally
    from tracekit_collector.mlflow_export import export_to_mlflow
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows, progress, visible

    if arguments.target is None:
        raise UsageError("--to mlflow needs the tracking server's URL as TARGET")
    with Store.open(arguments.store, create=False) as store, progress("exporting", None) as advance:
        tally = export_to_mlflow(
            store, arguments.target, where=arguments.where, since=since, project=arguments.project, done=advance
        )
    print_rows(tally.rows(), Tally.COLUMNS, format="table", title=f"Sent to {visible(arguments.target)}")
    for note, count in tally.notes.most_common(20):
        print(visible(f"{count} × {note}"), file=sys.stderr)
    return 0


def moment(text: str | None) -> datetime.datetime | None:
    """The time that `--since` names, in UTC without a zone."""
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"--since {text!r} is no time; write 2026-11-01 or 2026-11-01T12:00:00") from None
    return found if found.tzinfo is None else found.astimezone(datetime.timezone.utc).replace(tzinfo=None)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--header {text!r} is not NAME=VALUE")
    return name.strip(), value.strip()
