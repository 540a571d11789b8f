"""The page of judges holds what the code says, and every metric of the specification is on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit_evaluators.judge_page import BEGIN, END, renewed, stale, table
from tracekit_evaluators.listing import judge_rows

PAGE = Path(__file__).parents[2] / "docs" / "judges.md"
_ROWS = [
    {
        "name": "a",
        "subject": "trace",
        "needs": "",
        "values": "{0,1}",
        "direction": "maximize",
        "kind": "code",
        "says": "A|b.",
    },
    {
        "name": "b",
        "subject": "span",
        "needs": "x",
        "values": "[0,1]",
        "direction": "neutral",
        "kind": "llm",
        "says": "B.",
    },
]


def test_the_table_is_what_the_code_says() -> None:
    lines = stale(PAGE.read_text("utf-8"))
    assert lines == [], "python -m tracekit_evaluators.judge_page docs/judges.md mends it"


def test_every_judge_says_what_it_is() -> None:
    poor = [row["name"] for row in judge_rows() if not row["says"] or not row.get("values") or not row.get("subject")]
    assert poor == []


def test_stale_lines_are_told_and_mended() -> None:
    page = f"# Judges\n\n{BEGIN}\n{END}\n\nmore\n"
    fresh = renewed(page, _ROWS)
    assert stale(fresh, _ROWS) == []
    assert table(_ROWS)[2] == "| `a` | trace |   | {0,1} | maximize | code | A\\|b. |"
    assert stale(fresh, [_ROWS[0]]) == [f"- {table(_ROWS)[3]}"]
    assert stale(fresh.replace("B.", "C."), _ROWS)[1] == f"+ {table(_ROWS)[3]}"
    assert fresh.startswith("# Judges\n\n<!--")
    assert fresh.endswith("\n\nmore\n")


def test_other_names_lead_to_judges_that_are_there() -> None:
    text = PAGE.read_text("utf-8")
    there = {str(row["name"]) for row in judge_rows()}
    listed = text[text.index("## Under other names") : text.index("## Left out")]
    rows = [line.split("|") for line in listed.splitlines() if line.startswith("| ") and "---" not in line][1:]
    lost = [
        elsewhere.strip()
        for _, elsewhere, here, *_ in rows
        if "a metric of the run" not in here and not there & set(re.findall(r"`(\w+)", here))
    ]
    assert rows
    assert lost == []


def test_every_metric_of_the_specification_is_there_or_left_out_with_a_reason(shared: Path) -> None:
    specification = shared / "reference" / "evaluation.md"
    if not specification.is_file():
        pytest.skip("needs the specification of metrics, which is not there")
    text = specification.read_text("utf-8")
    rows = re.findall(r"^\| ([^|]+) \|", text[text.index("### 2.1 ") : text.index("### 2.6 ")], re.MULTILINE)
    page = re.sub(r"[^a-z0-9@]", "", PAGE.read_text("utf-8").lower())
    missing = [
        row
        for row in rows
        if row not in ("id", "---")
        and not any(
            part.strip() and re.sub(r"[^a-z0-9@]", "", part.lower()) in page
            for part in re.split(r"[,/:]", re.sub(r"\(.*?\)", "", row))
        )
    ]
    assert missing == []


def test_one_judge_is_shown_whole(capsys) -> None:
    assert main(["judges", "show", "loop"]) == 0
    shown = capsys.readouterr().out
    assert "parameters times=3" in shown
    assert "How many equal calls make a loop" in shown
    assert main(["judges", "show", "loop", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["direction"] == "minimize"
    assert main(["judges", "show", "lop"]) == 2
    assert "did you mean loop" in capsys.readouterr().err


def test_a_judge_of_ones_own_is_shown(capsys) -> None:
    Path("shown_here.py").write_text('def polite(subject):\n    """Whether it says please."""\n    return True\n')
    assert main(["judges", "show", "shown_here:polite", "--format", "markdown"]) == 0
    assert "Whether it says please." in capsys.readouterr().out
