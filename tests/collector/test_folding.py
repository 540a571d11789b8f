"""What is shown stands in a file once, and comes back to the letter, in Python and in SQL."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit_collector import folding
from tracekit_collector.anyvalue import plain_text
from tracekit_collector.lake import Lake
from tracekit_collector.parquet import to_arrow
from tracekit_collector.query import Engine

LONG = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).map(lambda text: text * 60)
ANY = st.one_of(LONG, st.sampled_from(['{"$ref":"tool_result"}', '{"$text":"x"}', '{"$ref":', "", "short"]))


def message(text: str, *, ascii_only: bool = False) -> str:
    said = [{"role": "user", "parts": [{"type": "text", "content": "before"}, {"type": "text", "content": text}]}]
    return json.dumps(said) if ascii_only else plain_text(said)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, str]:
    shown, answered = draw(ANY), draw(ANY)
    row = {"input": shown, "output": answered}
    if draw(st.booleans()):
        row["input_messages"] = message(draw(st.sampled_from([shown, "other"])), ascii_only=draw(st.booleans()))
    if draw(st.booleans()):
        row["tool_result"] = draw(st.sampled_from([answered, "other"]))
    return row


@given(rows())
def test_a_folded_row_shows_what_it_showed(row: dict[str, str]) -> None:
    folded = dict(row)
    folding.fold(folded)
    assert {name: folding.shown(folded, name) for name in row} == row


def test_sql_reads_the_same(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.folder.mkdir()
    given_rows: list[dict[str, str]] = []

    @given(rows())
    @settings(max_examples=200, database=None)
    def collect(row: dict[str, str]) -> None:
        given_rows.append(row)

    collect()
    whole = [{**row, "span_id": f"{number:016x}"} for number, row in enumerate(given_rows)]
    folded = [dict(row) for row in whole]
    for row in folded:
        folding.fold(row)
    assert folded != whole
    lake.append("spans", to_arrow("spans", [{**row, "date": datetime.date(2026, 11, 23)} for row in folded]))
    engine = Engine(lake.folder)
    try:
        engine.show_files("spans", "spans", lake.files("spans"))
        found = engine.run("SELECT input, output FROM spans ORDER BY span_id").fetchall()
    finally:
        engine.close()
    assert found == [(row["input"], row["output"]) for row in whole]


def test_an_answer_of_a_model_is_a_piece_of_its_messages() -> None:
    text = 'He said "no".\n' * 20
    held = message(text)
    row = {"output": text, "output_messages": held}
    folding.fold(row)
    start = held.index("He said")
    assert row["output"] == f'{{"$ref":"output_messages","$from":{start},"$length":{len(json.dumps(text)) - 2}}}'


def test_a_result_of_a_tool_is_its_output_and_stands_once() -> None:
    row = {"output": "r" * 200, "tool_result": "r" * 200}
    folding.fold(row)
    assert row == {"output": '{"$ref":"tool_result"}', "tool_result": "r" * 200}


@pytest.mark.parametrize("text", ["short", "x" * 200])
def test_what_stands_nowhere_else_stays(text: str) -> None:
    row = {"input": text, "input_messages": "[]"}
    folding.fold(row)
    assert row["input"] == text


def test_attributes_that_refer_to_a_folded_column_come_back() -> None:
    text = "w" * 300
    row: dict[str, object] = {"output": text, "tool_result": text, "output_messages": "[]"}
    folding.fold(row)
    assert folding.unfold('{"a":{"$ref":"output"}}', row) == json.dumps({"a": text}, separators=(",", ":"))
