"""What the README and docs show is true: their commands run, their links lead somewhere, their lists are complete."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(sh|python) run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start()].count("\n") + 1) for found in _BLOCK.finditer(text)]


def run(block: Block, folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    words = [sys.executable, "-c"] if block.language == "python" else ["sh", "-eu", "-c"]
    text = block.text.replace("8000", str(port))  # which somebody else may have taken
    return subprocess.run(
        [*words, text], cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of one page that are marked `run` go one after the other, in one empty folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        for block in blocks(page):
            done = run(block, tmp_path, port)
            place = f"{page.relative_to(ROOT)}:{block.line}"
            assert done.returncode == 0, f"{place}\n{block.text}\n{done.stdout}{done.stderr}"
            assert "Traceback" not in done.stderr, f"{place}\n{done.stderr}"
    finally:
        for started in tmp_path.glob("*.pid"):  # where a block failed, nobody has stopped what runs beside the page
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(started.read_text()), signal.SIGTERM)


def test_pages_that_teach_have_blocks_that_run() -> None:
    taught = {"README.md", "start.md", "store.md", "evaluate.md", "ship.md"}
    assert taught <= {page.name for page in PAGES if blocks(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link.partition("#")[0] for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} - linked == set()


def test_the_command_page_has_a_section_for_each_command() -> None:
    helped = subprocess.run(
        [Path(sys.executable).with_name("tracekit"), "--help"], capture_output=True, text=True, check=True, env=_wide()
    ).stdout
    commands = re.findall(r"^ {2,4}([a-z]+) ", helped.partition("COMMAND")[2], re.MULTILINE)
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## `tracekit ([a-z]+)`$", page, re.MULTILINE)) == sorted(commands)


def test_every_example_of_the_command_page_is_taken_by_its_command() -> None:
    """Each line is parsed by the real parser, as far as its arguments go; nothing is run."""
    from tracekit import plugins

    parsers: dict[str, argparse.ArgumentParser] = {}
    for point in plugins.points("tracekit.commands"):
        parsers[point.name] = argparse.ArgumentParser(exit_on_error=False)
        point.load()().configure(parsers[point.name])
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    lines = [line.partition(" < ")[0] for line in page.splitlines() if re.match(r"(\w+=\S+ )*tracekit ", line)]
    assert len(lines) > 25
    for line in lines:
        words = shlex.split(line)
        command, *arguments = words[words.index("tracekit") + 1 :]
        parsers[command].parse_args(arguments)


def test_the_picture_is_well_formed_and_needs_nothing_from_elsewhere() -> None:
    text = (ROOT / "docs" / "flow.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", text) == []
    assert "prefers-color-scheme: dark" in text


def test_the_changelog_names_the_version_that_is_built() -> None:
    from tracekit import __version__

    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in headings or len(headings) == 1


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text


def _wide() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200"}
