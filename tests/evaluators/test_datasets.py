"""Datasets: files in and out, revisions, splits, cases from traces, and runs that name what they read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit_collector.check import check
from tracekit_evaluators import evaluate
from tracekit_evaluators._case_files import write_rows
from tracekit_evaluators._cases import read_dataset
from tracekit_evaluators.datasets import add, cases_of, create, difference, rows_of, save, without
from tracekit_evaluators.trace_cases import cases_from_traces

CASES = [
    {"case_id": "b", "input": {"x": 1}, "expected": {"contains": "42"}, "splits": ["dev"], "weight": 2.5},
    {"case_id": "a", "input": "two", "expected": {"output": "yes"}, "splits": ["test"], "golden": True, "tags": ["t"]},
]


def test_a_version_is_its_content_whatever_the_order_of_cases_and_keys(store) -> None:
    first = create(store, "one", CASES)
    second = create(store, "two", [dict(reversed(list(case.items()))) for case in reversed(CASES)])
    assert first.digest == second.digest
    assert (first.cases, first.splits) == (2, {"dev": 1, "test": 1})
    assert [row["case_id"] for row in rows_of(store, first)] == ["a", "b"]


def test_a_revision_adds_replaces_and_leaves_out_and_the_old_version_stays(store) -> None:
    create(store, "d", CASES)
    add(store, "d", [{"case_id": "a", "input": "three"}, {"case_id": "c", "input": "new"}], note="more")
    third = without(store, "d", ["b"])
    assert (third.ref, third.cases) == ("d@3", 2)
    found = difference(cases_of(store, "d@1").rows, cases_of(store, "d@2").rows)
    assert (found.added, found.removed) == (["c"], [])
    assert found.changed == {"a": ["expected", "golden", "input", "splits", "tags"]}
    assert cases_of(store, "d@1").rows[1]["input"] == {"x": 1}
    with pytest.raises(UsageError, match="no case zzz"):
        without(store, "d", ["zzz"])
    with pytest.raises(UsageError, match="there is a dataset d@3 already"):
        create(store, "d", CASES)


def test_a_case_without_an_id_gets_the_same_one_each_time(store) -> None:
    first = create(store, "one", [{"input": {"b": 1, "a": 2}}])
    assert create(store, "two", [{"input": {"a": 2, "b": 1}}]).cases == 1
    assert [row["case_id"] for row in rows_of(store, first)] == [
        rows_of(store, store.catalog.datasets.resolve("two"))[0]["case_id"]
    ]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ({"case_id": "a", "expcted": 1}, "unknown: expcted"),
        ({"tags": ["a"]}, "needs case_id or input"),
        ({"case_id": "a", "weight": 0}, "weight must be a number above 0"),
        ({"case_id": "a", "weight": True}, "weight must be"),
        ({"case_id": "a", "golden": "yes"}, "golden must be true or false"),
        ({"case_id": "a", "tags": [1]}, None),
        ({"case_id": "a", "metadata": 3}, "metadata must be an object"),
    ],
)
def test_what_is_no_case_is_said(store, case, told) -> None:
    if told is None:
        assert rows_of(store, create(store, "d", [case]))[0]["tags"] == ["1"]
        return
    with pytest.raises(UsageError, match=told):
        create(store, "d", [case])


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_form_of_file_holds_the_same_cases(store, kind) -> None:
    version = create(store, "d", CASES)
    write_rows(rows_of(store, version), f"out.{kind}", kind=kind)
    assert create(store, "again", read_dataset(f"out.{kind}")).digest == version.digest


_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), max_size=12)
_JSON = st.recursive(
    st.booleans() | st.integers(-99, 99) | _TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=4
)
_CASE = st.fixed_dictionaries(
    {
        "case_id": _TEXT.filter(str.strip),
        "input": _TEXT.filter(str.strip) | st.dictionaries(st.sampled_from("ab"), _JSON),
    },
    optional={
        "expected": st.dictionaries(st.sampled_from(["output", "n"]), _JSON, min_size=1),
        "golden": st.booleans(),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(_CASE, min_size=1, max_size=4, unique_by=lambda row: row["case_id"]),
    kind=st.sampled_from(["csv", "parquet"]),
)
def test_whatever_a_case_says_comes_back_from_a_file(tmp_path: Path, rows, kind) -> None:
    path = tmp_path / f"cases.{kind}"
    write_rows(rows, path, kind=kind)
    assert read_dataset(path) == rows


def test_csv_is_read_as_people_write_it() -> None:
    Path("c.csv").write_text(
        'case_id,input,expected.contains,expected.n,tags,split\n007,what?,42,3,a; b,dev\nx,"line\none",,,,\n', "utf-8"
    )
    first, second = read_dataset("c.csv")
    assert first == {
        "case_id": "007",
        "input": "what?",
        "expected": {"contains": 42, "n": 3},
        "tags": ["a", "b"],
        "split": "dev",
    }
    assert second == {"case_id": "x", "input": "line\none"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.csv", "case_id,input\na,b,c\n", "line 2: 3 cells, and the first line names 2"),
        ("c.csv", "case_id,case_id\na,b\n", "case_id is there twice"),
        ("c.parquet", "no parquet", "cannot read the dataset"),
        ("c.jsonl", '{"case_id": "a"}\n{"case_id": "a"}\n', "line 2: the same case as line 1"),
        ("c.jsonl", "{\n", "line 1"),
        ("c.jsonl", "", "holds no cases"),
    ],
)
def test_a_faulty_file_names_its_line(name, content, told) -> None:
    Path(name).write_text(content)
    with pytest.raises(UsageError, match=told):
        read_dataset(name)


class TestInRuns:
    def test_a_run_names_the_version_and_split_that_it_read(self, store, record) -> None:
        record("one", case="a", output="yes")
        record("two", case="b", output="42")
        version = create(store, "d", CASES)
        run = evaluate(store, judges=["contains"], dataset="d@1:dev")
        told = {key: run.record.selection[f"dataset_{key}"] for key in ("name", "version", "digest", "split")}
        assert told == {"name": "d", "version": 1, "digest": version.digest, "split": "dev"}
        assert [row["case_id"] for row in run.scores()] == ["b"]
        again = evaluate(store, judges=["exact_match"], dataset="d", split="test")
        assert (again.metrics["exact_match"]["value"], again.record.selection["cases"]) == (1.0, 1)

    def test_a_run_is_resumed_with_its_cases_after_the_dataset_is_gone(self, store, record) -> None:
        record("two", case="b", output="42")
        create(store, "d", CASES)
        run = evaluate(store, judges=["contains"], dataset="d")
        store.catalog.datasets.remove("d")
        assert evaluate(store, resume=run.id).metrics["contains"]["value"] == 1.0

    @pytest.mark.parametrize(
        ("ref", "told"), [("nope", "no dataset 'nope'"), ("d@7", "no version '7'"), ("d:x", "split 'x'")]
    )
    def test_what_is_not_there_is_said(self, store, record, ref, told) -> None:
        record("one")
        create(store, "d", CASES)
        with pytest.raises((NotFoundError, UsageError), match=told):
            evaluate(store, judges=["error"], dataset=ref)

    def test_a_file_without_an_ending_is_still_a_file(self, store) -> None:
        Path("cases").write_text('{"case_id": "q"}\n')
        assert cases_of(store, "cases").rows == [{"case_id": "q"}]


class TestFromTraces:
    def test_input_and_expectations_come_from_the_trace(self, store, record) -> None:
        trace_id = record("one", input='{"a": 6}', output="42", tools=["add"], case="c1")
        record("none", input=None)
        taken = cases_from_traces(store, expect=["output", "tools=tool_names"], tags=["real"], split="dev")
        assert taken.rows == [
            {
                "case_id": "c1",
                "input": {"a": 6},
                "expected": {"output": "42", "tools": ["add"]},
                "tags": ["real"],
                "splits": ["dev"],
                "metadata": {"trace_id": trace_id},
            }
        ]
        assert save(store, "d", taken.rows).cases == 1

    def test_the_newest_trace_of_a_case_counts(self, store, record) -> None:
        for key in ("one", "two", "three"):
            record(key, input="same", output=key)
        taken = cases_from_traces(store, expect=["output"])
        assert (len(taken.rows), taken.same) == (1, 2)
        assert taken.rows[0]["expected"] == {"output": store.traces(store.trace_ids(limit=1)).__next__().output}

    def test_what_a_person_said_is_expected(self, store, record) -> None:
        trace_id, other = record("one", input="q1"), record("two", input="q2")
        lines = [
            {"trace_id": trace_id, "name": "final", "value": "the right answer"},
            {"trace_id": trace_id, "name": "ok", "value": False},
            {"trace_id": other, "name": "final", "value": "by a judge", "source": "code"},
        ]
        Path("s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert main(["scores", "import", "s.jsonl", "--run", "r", "--store", str(store.location)]) == 0
        taken = cases_from_traces(store, expect=["output=score:final", "score:ok"])
        by_input = {row["input"]: row.get("expected") for row in taken.rows}
        assert by_input == {"q1": {"output": "the right answer", "ok": False}, "q2": None}
        assert taken.unexpected == 1

    @pytest.mark.parametrize("said", ["outptu", "=output", "x=", "x=score:"])
    def test_a_source_that_is_none_is_said(self, store, record, said) -> None:
        record("one")
        with pytest.raises(UsageError, match="names nothing to expect"):
            cases_from_traces(store, expect=[said])


def test_a_damaged_version_is_found_by_check_and_never_read_as_something_else(store) -> None:
    version = create(store, "d", CASES)
    (store.artifacts / version.digest).write_text("{}\n")
    with pytest.raises(StoreError, match="damaged"):
        cases_of(store, "d")
    (store.artifacts / version.digest).unlink()
    assert any("d@1" in finding.what for finding in check(store) if finding.level == "fault")


def test_the_commands_do_it_all(store, record, capsys) -> None:
    where = ["--store", str(store.location)]
    Path("cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    record("one", case="new", input="n")
    assert main(["datasets", "create", "d", "cases.jsonl", "--note", "first", *where]) == 0
    assert main(["datasets", "from-traces", "d", "--where", "status = 'ok'", *where]) == 0
    assert main(["datasets", "remove", "d", "--case", "a", *where]) == 0
    capsys.readouterr()
    assert main(["datasets", "list", "d", "--format", "json", *where]) == 0
    told = [(row["version"], row["cases"], row["note"]) for row in json.loads(capsys.readouterr().out)]
    assert told == [(1, 2, "first"), (2, 3, "from traces where status = 'ok'"), (3, 2, "")]
    assert main(["datasets", "diff", "d@1", "d", "--format", "csv", *where]) == 0
    assert capsys.readouterr().out == "case_id,change,fields\nnew,added,\na,removed,\n"
    assert main(["datasets", "export", "d@1:dev", *where]) == 0
    assert json.loads(capsys.readouterr().out)["case_id"] == "b"
    assert main(["datasets", "remove", "d", *where]) == 2
    assert main(["datasets", "remove", "d", "--all", *where]) == 0
    assert main(["datasets", "show", "d", *where]) == 2
    assert main(["datasets", "list", "--store", "nowhere"]) == 2
