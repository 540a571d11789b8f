"""`tracekit import`: take in what MLflow, Langfuse or Phoenix have kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.command import Command, add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.imports.tally import Tally
    from tracekit_collector.store import Store


def command() -> Command:
    """The command `import`."""
    return Command(
        help="take runs, traces, scores and models from MLflow, Langfuse or Phoenix into a store; again adds nothing",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit import mlflow mlflow.db",
            "tracekit import mlflow http://127.0.0.1:5000 --experiment shop --dry-run",
            "tracekit import langfuse traces.jsonl observations.jsonl scores.jsonl --project shop",
            "tracekit import phoenix spans.parquet annotations.parquet --project shop",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    tools = parser.add_subparsers(dest="tool", metavar="TOOL", required=True)
    mlflow = tools.add_parser("mlflow", help="an mlflow.db, a folder mlruns, or a tracking server")
    mlflow.add_argument("place", metavar="PATH|URL", help="an mlflow.db, a folder mlruns, or a tracking server's URL")
    mlflow.add_argument(
        "--experiment", action="append", default=[], metavar="NAME", help="only this experiment; may be repeated"
    )
    mlflow.add_argument(
        "--artifacts",
        type=Path,
        metavar="FOLDER",
        help="where a tracking server keeps artifacts (default: mlartifacts beside the database)",
    )
    langfuse = tools.add_parser("langfuse", help="exports of traces, observations and scores: JSON, JSONL or CSV")
    phoenix = tools.add_parser("phoenix", help="spans and annotations: Parquet, CSV, JSON or JSONL")
    for each, files in (
        (langfuse, "a .json, .jsonl or .csv file, also .gz"),
        (phoenix, "a .parquet, .csv, .jsonl or .json file"),
    ):
        each.add_argument("files", nargs="+", type=Path, metavar="FILE", help=files)
        each.add_argument(
            "--project", metavar="NAME", help=f"the project they belong to (default: {each.prog.split()[-1]})"
        )
    for each in (mlflow, langfuse, phoenix):
        each.add_argument("--dry-run", action="store_true", help="count what would be taken; the store stays as it is")
        add_store_option(each)
        add_format_option(each, formats=("table", "json"))


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.imports.tally import Tally
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_json, print_rows, visible

    with Store.open(arguments.store) as store:
        tally = _taken(arguments, store)
    if arguments.format == "json":
        print_json({"dry_run": arguments.dry_run, **tally.to_dict()})
        return 0
    title = "What would be imported" if arguments.dry_run else "Imported"
    print_rows(tally.rows(), Tally.COLUMNS, format="table", title=title)
    for note, count in tally.notes.most_common(20):
        print(visible(f"{count} × {note}"), file=sys.stderr)
    return 0


def _taken(arguments: argparse.Namespace, store: Store) -> Tally:
    from tracekit_collector.terminal import progress

    if arguments.tool == "mlflow":
        from tracekit_collector.imports.mlflow import import_mlflow, source_of

        source = source_of(arguments.place, artifacts=arguments.artifacts)
        with progress("importing", None) as advance:
            return import_mlflow(
                store, source, experiments=arguments.experiment, dry_run=arguments.dry_run, advance=advance
            )
    if arguments.tool == "langfuse":
        from tracekit_collector.imports.langfuse import import_langfuse as take
    else:
        from tracekit_collector.imports.phoenix import import_phoenix as take
    with progress("importing", None) as advance:
        return take(
            store,
            arguments.files,
            project=arguments.project or arguments.tool,
            dry_run=arguments.dry_run,
            advance=advance,
        )
