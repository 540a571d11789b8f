"""Judges of a whole selection: `sql`, and any other that has `over`."""

from __future__ import annotations

import hashlib
import math

import pytest

from tracekit.errors import UsageError
from tracekit_evaluators import Score, evaluate, judge, load_judge


def values(run, name: str) -> dict[str, object]:
    return {
        row["case_id"]: row["label"] if row["value"] is None else row["value"]
        for row in run.scores()
        if row["name"] == name
    }


@pytest.fixture
def three(store, record):
    for n in range(3):
        record(f"t{n}", case=f"c{n}", repeat=n, output=None if n == 2 else "x" * n, seconds=n + 1)
    return store


def test_an_expression_gives_numbers_bools_and_labels(three) -> None:
    run = evaluate(
        three,
        judges=[
            "sql?expr=duration_ms&name=ms",
            "sql?expr=duration_ms > 1500&name=slow&direction=minimize",
            "sql?expr=upper(case_id)&name=word",
            "sql?expr=spans&name=spans",
        ],
    )
    assert values(run, "ms") == {"c0": 1000.0, "c1": 2000.0, "c2": 3000.0}
    assert values(run, "slow") == {"c0": 0.0, "c1": 1.0, "c2": 1.0}
    assert values(run, "word") == {"c0": "C0", "c1": "C1", "c2": "C2"}
    assert run.metrics["slow"]["direction"] == "minimize"
    passed = {row["case_id"]: row["passed"] for row in run.scores() if row["name"] == "slow"}
    assert passed == {"c0": True, "c1": False, "c2": False}
    types = {row["name"]: row["value_type"] for row in run.scores()}
    assert types == {"ms": "number", "slow": "bool", "word": "label", "spans": "number"}


def test_null_is_a_missing_input_and_never_a_value(three) -> None:
    run = evaluate(
        three,
        judges=[
            "sql?expr=length(output)&name=n",
            "sql?expr=CASE WHEN case_id = 'c0' THEN 1.0/0 ELSE 1 END&name=broken",
        ],
    )
    told = {row["case_id"]: (row["value"], row["status"]) for row in run.scores() if row["name"] == "n"}
    assert told["c2"] == (None, "missing_input")
    assert told["c1"] == (1.0, "scored")
    assert run.metrics["n"]["coverage"] == pytest.approx(2 / 3)
    assert all(row["value"] is None or math.isfinite(row["value"]) for row in run.scores())


def test_window_functions_see_the_selection_and_no_others(three) -> None:
    run = evaluate(
        three, judges=["sql?expr=duration_ms = max(duration_ms) OVER ()&name=longest"], where="case_id <> 'c2'"
    )
    assert values(run, "longest") == {"c0": 0.0, "c1": 1.0}


def test_a_query_over_any_view_gives_a_value_for_each_trace(three) -> None:
    spec = {"use": "sql", "name": "n", "query": "SELECT trace_id, count(*) AS value FROM spans GROUP BY 1 -- all;\n;"}
    assert values(evaluate(three, judges=[spec]), "n") == {"c0": 1.0, "c1": 1.0, "c2": 1.0}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("sql", "one of the two"),
        ("sql?expr=1&query=2", "one of the two"),
        ("sql?expr=1&direction=up", "no direction"),
        ("sql?expr=no_such_column", "no_such_column"),
        ("sql?query=SELECT 1 AS value", "trace_id"),
        ("sql?query=SELECT trace_id, 1 AS value FROM traces, range(2)", "several rows for one trace"),
    ],
)
def test_wrong_sql_is_said_and_no_score_made_of_it(three, spec, told) -> None:
    with pytest.raises(UsageError, match=told):
        evaluate(three, judges=[spec])
    assert three.sql("SELECT count(*) FROM scores").fetchone() == (0,)


def test_it_cannot_write(three) -> None:
    with pytest.raises(UsageError):
        evaluate(
            three, judges=[{"use": "sql", "query": "SELECT trace_id, 1 AS value FROM traces); DROP VIEW traces; --"}]
        )
    assert three.sql("SELECT count(*) FROM traces").fetchone() == (3,)


def test_it_stands_beside_other_judges_and_names_cases_of_a_dataset(three, record) -> None:
    record("other", case="elsewhere")
    run = evaluate(three, judges=["error", "sql?expr=1&name=one"], dataset=[{"case_id": "c1"}, {"case_id": "c2"}])
    assert values(run, "one") == {"c1": 1.0, "c2": 1.0}
    assert run.metrics["error"]["n"] == 2


def test_resuming_adds_nothing_and_another_expression_replaces(three) -> None:
    run = evaluate(three, judges=["sql?expr=1&name=one"], name="r")
    evaluate(three, resume="r")
    assert three.sql("SELECT count(*) FROM scores").fetchone() == (3,)
    run = evaluate(three, judges=["sql?expr=2&name=one"], into="r")
    assert values(run, "one") == {"c0": 2.0, "c1": 2.0, "c2": 2.0}
    assert len(run.scores()) == 3
    assert three.sql("SELECT count(supersedes) FROM scores").fetchone() == (3,)


def test_any_judge_with_over_is_asked_once_and_may_answer_with_scores(three) -> None:
    asked: list[int] = []

    class Rank:
        def __call__(self, subject: object) -> object:
            raise AssertionError("asked one by one")

        def over(self, store, trace_ids):
            asked.append(len(trace_ids))
            ids = sorted(trace_ids)
            return {ids[0]: Score(0.5, explanation="first"), ids[1]: {"rank": 1.0, "rank.more": True}}

    @judge(name="rank", direction="neutral")
    def rank():
        return Rank()

    run = evaluate(three, judges=[rank])
    assert asked == [3]
    statuses = sorted(row["status"] for row in run.scores() if row["name"] == "rank")
    assert statuses == ["missing_input", "scored", "scored"]
    assert "first" in {row["explanation"] for row in run.scores()}
    assert run.metrics["rank.more"]["n"] == 1


def test_rows_written_by_columns_have_the_ids_that_the_writer_gives(three) -> None:
    run = evaluate(three, judges=["sql?expr=1&name=one"])
    for row in run.scores():
        key = f"{run.id}\0{row['judge_digest']}\0one\0{row['trace_id']}\0{row['repeat']}\0"
        assert row["score_id"] == hashlib.sha256(key.encode()).hexdigest()[:32]
        assert (row["source"], row["target"], row["judge"], row["judge_version"]) == ("code", "trace", "one", "1")


def test_alone_it_says_how_it_is_used(three) -> None:
    with pytest.raises(UsageError, match="run it with `evaluate`"):
        load_judge("sql?expr=1")(None)
