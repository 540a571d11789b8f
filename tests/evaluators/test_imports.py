"""Verdicts from outside become runs: all lines or none, and never twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit.errors import TracekitError, UsageError
from tracekit_collector.store import Store
from tracekit_evaluators import evaluate, import_scores
from tracekit_evaluators.exports import export_scores
from tracekit_evaluators.imports import read_scores

T = "ab" * 16


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "scores.jsonl"


def test_lines_become_a_run_tied_to_the_agent_version(store, record, file) -> None:
    ids = [record(f"t{n}", case=f"c{n}", repeat=n) for n in range(4)]
    rows = [{"trace_id": each, "name": "reward", "value": n < 3, "annotator": "ann"} for n, each in enumerate(ids)]
    done = import_scores(store, lines(file, *rows), run="labels")
    assert (done.lines, done.new, done.replaced, done.unknown_traces) == (4, 4, 0, 0)
    assert (done.run.record.kind, done.run.status, done.run.record.agent_version.ref) == ("import", "finished", "bot@1")
    assert done.run.metrics["reward"]["value"] == 0.75
    found = {(row["case_id"], row["repeat"], row["value"], row["passed"], row["source"]) for row in done.run.scores()}
    assert found == {
        ("c0", 0, 1.0, True, "human"),
        ("c1", 1, 1.0, True, "human"),
        ("c2", 2, 1.0, True, "human"),
        ("c3", 3, 0.0, False, "human"),
    }
    assert {row["annotator"] for row in done.run.scores()} == {"ann"}


def test_every_field_of_a_line_is_kept(store, file) -> None:
    line = {"trace_id": T, "span_id": "cd" * 8, "name": "tone", "value": "rude", "passed": False, "source": "user"}
    line |= {"case_id": 7, "repeat": 2, "explanation": "it shouts", "direction": "neutral", "metadata": {"a": [1]}}
    done = import_scores(store, lines(file, line), run="r")
    [row] = done.run.scores()
    wanted = {**line, "value": None, "label": "rude", "value_type": "label", "target": "span", "case_id": "7"}
    wanted["metadata"] = '{"a": [1]}'
    assert {key: row[key] for key in wanted} == wanted
    assert done.unknown_traces == 1


def test_the_same_file_again_changes_nothing(store, file) -> None:
    path = lines(file, {"trace_id": T, "name": "a", "value": 1}, {"trace_id": T, "name": "b", "value": True})
    first = import_scores(store, path, run="r")
    again = import_scores(store, path, run="r")
    assert (again.new, again.replaced, again.run.id) == (0, 0, first.run.id)
    assert len(store.sql("SELECT * FROM scores")) == 2
    assert again.run.metrics == first.run.metrics


def test_a_changed_line_takes_the_place_of_the_earlier_one(store, file) -> None:
    import_scores(store, lines(file, {"trace_id": T, "name": "a", "value": 1}), run="r")
    done = import_scores(store, lines(file, {"trace_id": T, "name": "a", "value": 0.5}), run="r")
    assert (done.new, done.replaced) == (0, 1)
    assert [row["value"] for row in done.run.scores()] == [0.5]
    back = import_scores(store, lines(file, {"trace_id": T, "name": "a", "value": 1}), run="r")
    assert ([row["value"] for row in back.run.scores()], back.replaced) == ([1.0], 1)


def test_two_annotators_may_disagree(store, file) -> None:
    rows = [
        {"trace_id": T, "name": "ok", "value": value, "annotator": who} for who, value in (("a", True), ("b", False))
    ]
    done = import_scores(store, lines(file, *rows), run="r")
    assert [row["value"] for row in done.run.scores()] in ([1.0, 0.0], [0.0, 1.0])


def test_a_line_may_say_why_there_is_no_value(store, file) -> None:
    done = import_scores(store, lines(file, {"trace_id": T, "name": "ok", "status": "not_applicable"}), run="r")
    assert [(row["status"], row["value"]) for row in done.run.scores()] == [("not_applicable", None)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "Expecting property name"),
        ("[]", "a score is an object, not []"),
        ({"trace_id": T, "name": "a"}, "value is missing"),
        ({"name": "a", "value": 1}, "trace_id missing"),
        ({"value": 1}, "trace_id and name missing"),
        ({"trace_id": T, "name": "a", "value": 1, "lable": "x"}, "unknown: lable"),
        ({"trace_id": "AB" * 16, "name": "a", "value": 1}, "trace_id must be 32 lower-case hex digits"),
        ({"trace_id": T, "span_id": "x", "name": "a", "value": 1}, "span_id must be 16 lower-case hex digits"),
        ({"trace_id": T, "name": " ", "value": 1}, "name must be a text"),
        ({"trace_id": T, "name": "a", "value": [1]}, "value must be a finite number, true, false or a label"),
        (f'{{"trace_id": "{T}", "name": "a", "value": NaN}}', "NaN is no number"),
        (f'{{"trace_id": "{T}", "name": "a", "value": 1e400}}', "value must be a finite number"),
        ({"trace_id": T, "name": "a", "value": 1, "passed": "yes"}, "passed must be true or false"),
        ({"trace_id": T, "name": "a", "value": 1, "repeat": -1}, "repeat must be a whole number from 0"),
        ({"trace_id": T, "name": "a", "value": 1, "repeat": 2**40}, "repeat must be a whole number from 0"),
        ({"trace_id": T, "name": "a", "value": 1, "source": "god"}, "source must be one of code, llm, human"),
        ({"trace_id": T, "name": "a", "value": 1, "status": "ok"}, "status must be one of scored"),
        ({"trace_id": T, "name": "a", "value": 1, "status": "timeout"}, "a score that is timeout has no value"),
        ({"trace_id": T, "name": "a", "value": 1, "metadata": "x"}, "metadata must be an object"),
        ({"trace_id": T, "name": "fine", "value": 2}, "the same trace, name and annotator as line 1"),
    ],
)
def test_a_faulty_line_is_named_and_nothing_is_imported(line: object, words: str, store, file) -> None:
    lines(file, {"trace_id": T, "name": "fine", "value": 1}, line)
    with pytest.raises(UsageError) as caught:
        import_scores(store, file, run="r")
    assert f"line 2: {words}" in str(caught.value)
    assert "nothing was imported: 1 faulty lines" in str(caught.value)
    assert store.catalog.runs.list() == []
    assert len(store.sql("SELECT * FROM scores")) == 0


def test_of_many_faults_the_first_are_shown(store, file) -> None:
    lines(file, *["x"] * 30)
    with pytest.raises(UsageError, match=r"(?s)line 10: .*and 20 more"):
        import_scores(store, file, run="r")


def test_a_file_that_cannot_be_read_or_holds_nothing_is_refused(store, file) -> None:
    for content, words in (
        (None, "cannot read the scores"),
        (b"\xff\xfe\x00", "cannot read the scores"),
        (b"\n", "holds no scores"),
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            import_scores(store, file, run="r")


def test_an_evaluations_name_is_not_taken(store, record, file) -> None:
    record("a")
    evaluate(store, judges=["error"], name="mine")
    with pytest.raises(UsageError, match="it is no import"):
        import_scores(store, lines(file, {"trace_id": T, "name": "a", "value": 1}), run="mine")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_line_breaks_the_reader(tmp_path_factory, value: object) -> None:
    path = tmp_path_factory.mktemp("lines") / "f"
    for each in (value, {"trace_id": T, "name": "a", "value": value}):
        path.write_text(json.dumps(each) + "\n")
        try:
            read = read_scores(path)
        except TracekitError:
            continue
        assert read[0]["value"] == value


def test_what_is_exported_can_be_imported(store, record, file, tmp_path: Path) -> None:
    ids = [record(f"t{n}", case=f"c{n}", output=None if n == 3 else "x") for n in range(4)]
    run = evaluate(store, judges=["regex?pattern=x", "latency", "steps"], name="here")
    assert export_scores(store, run.id, file) == 12
    with Store.open(tmp_path / "other") as other:
        done = import_scores(other, file, run="there")
        same = ("trace_id", "name", "case_id", "value", "value_type", "status", "passed", "direction", "explanation")
        mine, theirs = ([{key: row[key] for key in same} for row in each.scores()] for each in (run, done.run))
        assert sorted(mine, key=str) == sorted(theirs, key=str)
        assert {row["trace_id"] for row in theirs} == set(ids)


def test_the_rewards_of_tau_bench_give_the_published_figures(shared: Path, tmp_path: Path, capsys) -> None:
    """pass^1 to pass^4 of GPT-4o with tool calling in the airline domain: 0.420, 0.273, 0.220, 0.200."""
    data = shared / "data" / "taubench_airline"
    words = ["--store", str(tmp_path / "S")]
    assert main(["ingest", *map(str, sorted(data.glob("*.gz"))), *words]) == 0
    assert main(["scores", "import", str(data / "scores.jsonl"), "--run", "tau", *words]) == 0
    capsys.readouterr()
    assert main(["runs", "show", "tau", *words, "--format", "json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["reward"]["mean"] == pytest.approx(0.42)
    assert metrics["reward"]["low"] < 0.42 < metrics["reward"]["high"]
    assert [round(metrics[f"pass^{k}"]["value"], 4) for k in (1, 2, 3, 4)] == [0.42, 0.2733, 0.22, 0.2]

    assert (
        main(["eval", "--judge", "tool_names", "--expected-from", "tau", "--name", "names", *words, "--format", "json"])
        == 0
    )
    run = json.loads(capsys.readouterr().out)
    assert run["summary"]["statuses"]["scored"] + run["summary"]["statuses"]["not_applicable"] == 800
    assert (run["metrics"]["tool_names"]["n"], run["metrics"]["tool_names"]["scores"]) == (50, 200)
    assert run["agent_version"]["label"] == "tool-calling/gpt-4o"
    with Store.open(tmp_path / "S") as store:
        case = store.sql("SELECT * FROM scores WHERE judge = 'tool_names' AND name = 'tool_names' AND case_id = '6'")
        assert {row["repeat"] for row in case} == {0, 1, 2, 3}
        assert json.loads(case.dicts()[0]["metadata"])["expected"] == ["update_reservation_flights"]


# Tables with a row for each case


def test_a_wide_table_of_people_and_a_judge_is_calibrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["id,question,ann,bob,gpt"]
    for case in range(60):
        good = case % 3 != 0
        said = good if case % 10 else not good
        ann, bob = "yes" if good else "no", "NA" if case % 5 == 0 else int(good)
        rows.append(f'{case},"what, {case}?",{ann},{bob},{int(said)}')
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    at = ("--store", str(tmp_path / "store"))
    words = ["scores", "import", str(tmp_path / "table.csv"), "--run", "labels", "--values", "ann,bob,gpt"]
    assert main([*words, "--judge", "gpt", "--name", "good", *at]) == 0
    told = capsys.readouterr()
    assert "60 + " not in told.out
    assert told.err == ""  # a case that was never traced is no trace that the store misses
    words = ["judges", "calibrate", "labels", "--labels", "labels", "--annotator", "gpt", "--format", "json"]
    assert main([*words, *at]) == 0
    card = json.loads(capsys.readouterr().out)["calibration"]
    assert card["confusion"] == {"tp": 36, "fp": 2, "fn": 4, "tn": 18}
    assert (card["n"], card["annotators"]) == (60, ["ann", "bob"])
    assert card["ceiling"]["kappa"]["value"] == 1.0


def test_two_columns_of_versions_compare_by_mcnemars_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """12 gained, 3 lost: p 0.0352, as `statsmodels.stats.contingency_tables.mcnemar(exact=True)` says."""
    sides = [("pass", True)] * 30 + [("fail", True)] * 12 + [("pass", False)] * 3 + [("fail", False)] * 15
    lines = [json.dumps({"question_id": f"q{place}", "v1": one, "v2": two}) for place, (one, two) in enumerate(sides)]
    (tmp_path / "results.jsonl").write_text("\n".join(lines))
    at = ("--store", str(tmp_path / "store"))
    for version in ("v1", "v2"):
        words = ["scores", "import", str(tmp_path / "results.jsonl"), "--run", version, "--values", version]
        assert main([*words, "--name", "passed", *at]) == 0
    capsys.readouterr()
    assert main(["compare", "v1", "v2", "--format", "json", *at]) == 0
    found = json.loads(capsys.readouterr().out)["scores"][0]
    assert (len(found["improved"]), len(found["regressed"]), found["pairs"]) == (12, 3, 60)
    assert (round(found["p"], 4), found["test"], found["kind"]) == (0.0352, "McNemar, exact", "bool")


@pytest.mark.parametrize(
    ("text", "more", "fault"),
    [
        ("case,a\n1,2\n1,3\n", [], "row 2: the case 1 of row 1 again"),
        ("case,a\n,2\n", [], "row 1: no case"),
        ("case,b\n1,2\n", [], "has no column a; it has case, b"),
        ("case,a\n1,2,3\n", [], "line 2 has another number of cells than the header"),
        ("case,a\n1,NA\n", [], "the columns a of .* are empty"),
        ("case,a\n1,2\n", ["--judge", "b"], "b: a judge's column must be one of the values, a"),
    ],
)
def test_a_faulty_table_says_what_is_wrong(
    tmp_path: Path, text: str, more: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text(text)
    words = ["scores", "import", str(tmp_path / "table.csv"), "--run", "x", "--values", "a", *more]
    assert main([*words, "--store", str(tmp_path / "store")]) == 2
    assert re.search(fault, capsys.readouterr().err)
