"""What commands print: every format, hostile cells, and silence where nobody watches."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_collector.terminal import json_text, print_rows, progress, visible

HOSTILE = "\x1b[31mred\x1b[0m\x9b2J\u202egpj.exe [bold]x[/bold]\r\n<script>|*"


def printed(capsys, rows, columns, **options):
    print_rows(rows, columns, **options)
    return capsys.readouterr().out


def test_json_is_a_list_of_objects_with_iso_times_and_null_for_nan(capsys):
    zone = timezone(timedelta(hours=2))
    row = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 600),
        "zoned": datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone),
        "x": math.nan,
        "y": math.inf,
        "raw": b"\x00\xff",
        "deep": {"list": [1, 2.5, None, True]},
        "unasked": 1,
    }
    out = printed(capsys, [row], ["at", "zoned", "x", "y", "raw", "deep", "lacking"], format="json")
    assert json.loads(out) == [
        {
            "at": "2026-01-02T03:04:05.000600Z",
            "zoned": "2026-01-02T01:04:05Z",
            "x": None,
            "y": None,
            "raw": "AP8=",
            "deep": {"list": [1, 2.5, None, True]},
            "lacking": None,
        }
    ]


def test_no_rows_are_an_empty_list_in_json_and_a_word_in_a_table(capsys):
    assert json.loads(printed(capsys, [], ["a"], format="json")) == []
    assert "nothing to show" in printed(capsys, [], ["a"], format="table")


def test_csv_gives_every_value_back_whole(capsys):
    rows = [{"a": 'say "hi", you', "b": "two\nlines"}, {"a": None, "b": [1, {"k": "v"}]}]
    out = printed(capsys, rows, ["a", "b"], format="csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["a", "b"],
        ['say "hi", you', "two\nlines"],
        ["", '[1, {"k": "v"}]'],
    ]


def test_markdown_keeps_one_row_a_line_and_no_html(capsys):
    out = printed(capsys, [{"a": HOSTILE, "b": 1}], ["a", "b"], format="markdown")
    assert out.splitlines()[:2] == ["| a | b |", "| --- | --- |"]
    assert len(out.splitlines()) == 3
    assert "<script>" not in out
    assert "&lt;script&gt;\\|\\*" in out


def test_a_table_shows_hostile_text_as_text(capsys):
    out = printed(capsys, [{"a": HOSTILE}], ["a"], format="table", title="title \x1b[2J[red]")
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "\u202e" not in out
    assert r"\x1b[31mred\x1b[0m\x9b2J\u202egpj.exe [bold]x[/bold]\r\n<script>|*" in out
    assert r"title \x1b[2J[red]" in out


def test_a_table_in_a_pipe_is_as_wide_as_its_cells(capsys):
    row = {name: name * 150 for name in "abc"}
    out = printed(capsys, [row], list(row), format="table")
    assert all(value in out for value in row.values())


def test_a_table_shortens_long_cells_and_marks_the_unknown(capsys):
    out = printed(capsys, [{"a": "x" * 5000, "b": None}], ["a", "b"], format="table")
    assert "x" * 200 + "…" in out
    assert "x" * 201 not in out
    assert "–" in out


def test_a_terminal_gets_colours_of_ours_but_none_of_a_cell():
    """A real pseudo-terminal reads what the table prints."""
    program = (
        "from tracekit_collector.terminal import print_rows\n"
        f"row = {{'a': {HOSTILE!r}}}\n"
        "for format in ('table', 'json', 'csv', 'markdown'):\n"
        "    print_rows([row], ['a'], format=format)\n"
    )
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, env={**os.environ, "COLUMNS": "120"})
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert child.wait() == 0
    text = seen.decode()
    assert "\x1b[31m" not in text
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\u202e" not in text
    assert "red" in text


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown"])
def test_an_output_that_cannot_hold_a_character_gets_it_escaped(form):
    program = (
        "from tracekit_collector.terminal import print_rows\n"
        f"print_rows([{{'a': 'é中\\ud800'}}], ['a'], format={form!r})"
    )
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=ascii_only, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\u4e2d" in done.stdout
    if form == "json":
        assert json.loads(done.stdout) == [{"a": "é中\ud800"}]


def test_progress_is_silent_when_nobody_watches(capsys):
    with progress("reading", 3) as advance:
        advance()
        advance(2)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@given(st.text())
def test_visible_text_has_no_control_characters_left(text):
    shown = visible(text)
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_text_reads_back_as_it_was(value):
    assert json.loads(json_text(value)) == value
