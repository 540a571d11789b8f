"""`tracekit report`: one self-contained HTML file about a run, or its headline as Markdown and charts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tracekit.command import Command, add_store_option
from tracekit.errors import UsageError


def command() -> Command:
    """The command `report`."""
    return Command(
        help="write a run, or a run against a baseline, as one HTML file that needs no network; or Markdown and charts",
        run=run,
        configure=configure,
        examples=(
            "tracekit report bm25 -o report.html",
            "tracekit report bm25 --baseline keyword -o report.html",
            "tracekit report bm25 --baseline keyword -o report.md --svg charts --png charts",
        ),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", help="a run's name or id")
    parser.add_argument("--baseline", metavar="RUN", help="the run to compare it with")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write: HTML, or Markdown if it ends in .md")
    parser.add_argument("--svg", metavar="DIR", help="write the headline's charts here, each as one SVG file")
    parser.add_argument("--png", metavar="DIR", help="write them here as PNG pictures, which needs tracekit[png]")
    parser.add_argument(
        "--max-cases", metavar="N", type=int, default=200, help="how many cases bring their traces (default: 200)"
    )
    parser.add_argument(
        "--max-mb", metavar="MB", type=float, default=5.0, help="how large the HTML may be (default: 5 megabytes)"
    )
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Build the report, and put its files in place, each at once."""
    from tracekit_collector.store import Store
    from tracekit_evaluators.report import build_report, drawings, markdown, render
    from tracekit_evaluators.report.raster import png

    targets = _targets(arguments)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        runs = store.catalog.runs
        mine = runs.find(arguments.run)
        baseline = None if arguments.baseline is None else runs.find(arguments.baseline)
        limits = {"max_cases": arguments.max_cases, "max_bytes": int(arguments.max_mb * 1_000_000)}
        found = build_report(store, mine, baseline=baseline, **limits)
    if arguments.output is not None:
        _write(targets[0], markdown(found) if _is_markdown(targets[0]) else render(found))
        print(targets[0])
    drawn = drawings(found) if arguments.svg or arguments.png else {}
    for name, drawing in drawn.items():
        for folder, end, told in (
            (arguments.svg, ".svg", lambda drawing: drawing),
            (arguments.png, ".png", png),
        ):
            if folder is not None:
                target = (Path(folder) / name).with_suffix(end)
                _write(target, told(drawing))
                print(target)
    return 0


def _targets(arguments: argparse.Namespace) -> list[Path]:
    if arguments.max_cases < 0:
        raise UsageError(f"--max-cases counts cases and is at least 0, not {arguments.max_cases}")
    if not arguments.max_mb > 0:
        raise UsageError(f"--max-mb is a size in megabytes and more than 0, not {arguments.max_mb}")
    folders = [Path(given) for given in (arguments.svg, arguments.png) if given is not None]
    targets = [*([] if arguments.output is None else [Path(arguments.output)]), *folders]
    if not targets:
        raise UsageError("say where to: -o FILE for HTML or Markdown, --svg DIR or --png DIR for charts")
    for target in targets:
        if not target.parent.is_dir():
            raise UsageError(f"there is no folder {target.parent} to write {target.name} to; make it first")
    for folder in folders:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return targets


def _is_markdown(target: Path) -> bool:
    return target.suffix.lower() in {".md", ".markdown"}


def _write(target: Path, content: str | bytes) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
