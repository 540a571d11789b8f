"""Labels of people: what is drawn and how probably, the queue in a terminal, several annotators, CSV in and out."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_evaluators import evaluate, judge
from tracekit_evaluators.label_sampling import draw, hajek, inclusion, weights_of
from tracekit_evaluators.label_screen import Screen
from tracekit_evaluators.labels import close_queue, open_queue
from tracekit_evaluators.rubric_form import Rubric, parse_rubric, read_rubric, rubric_of, rubric_record


class TestDraws:
    @given(st.lists(st.floats(0.1, 10), min_size=2, max_size=30), st.data())
    def test_probabilities_add_up_to_the_sample_and_none_is_above_one(self, weights, data) -> None:
        sample = data.draw(st.integers(1, len(weights) - 1))
        found = inclusion(weights, sample)
        assert sum(found) == pytest.approx(sample)
        assert all(0 < each <= 1 for each in found)
        drawn = draw([str(n) for n in range(len(weights))], weights, sample=sample, seed=7)
        assert len({each.trace_id for each in drawn}) == len(drawn) == sample

    def test_each_is_drawn_as_often_as_its_probability_says(self) -> None:
        weights = [8.0, 1.0, 1.0, 2.0, 4.0]
        count: Counter[str] = Counter()
        for seed in range(4000):
            count.update(each.trace_id for each in draw(list("abcde"), weights, sample=2, seed=seed))
        for name, probability in zip("abcde", inclusion(weights, 2), strict=True):
            assert count[name] / 4000 == pytest.approx(probability, abs=0.04)

    def test_a_sample_that_prefers_failures_still_gives_the_honest_rate(self) -> None:
        """Of 300 traces 60 fail; these are drawn four times as often, and Hájek's estimate is right on average."""
        values = {str(n): float(n < 60) for n in range(300)}
        weights = [4.0 if n < 60 else 1.0 for n in range(300)]
        estimates, plain = [], []
        for seed in range(300):
            drawn = draw(list(values), weights, sample=60, seed=seed)
            said = {each.trace_id: values[each.trace_id] for each in drawn}
            estimates.append(hajek(said, {each.trace_id: each.probability for each in drawn}))
            plain.append(sum(said.values()) / len(said))
        assert sum(estimates) / 300 == pytest.approx(0.2, abs=0.01)
        assert sum(plain) / 300 > 0.4

    def test_the_same_seed_draws_the_same(self) -> None:
        ids = [str(n) for n in range(50)]
        assert draw(ids, [1.0] * 50, sample=5, seed=3) == draw(ids, [1.0] * 50, sample=5, seed=3)
        assert draw(ids, [1.0] * 50, sample=5, seed=3) != draw(ids, [1.0] * 50, sample=5, seed=4)
        assert {each.probability for each in draw(ids, [1.0] * 50, sample=None, seed=0)} == {1.0}

    def test_uncertainty_and_disagreement_come_from_scores(self, store, record) -> None:
        sure, split, unscored = (record(name) for name in ("sure", "split", "unscored"))

        def says(name: str, yes: Sequence[str]):
            return judge(name=name)(lambda subject: subject.trace.trace_id in yes)

        where = f"trace_id <> '{unscored}'"
        evaluate(store, judges=[says("one", [sure, split]), says("two", [sure])], where=where)
        ids = [sure, split, unscored]
        assert weights_of(store, ids, by="random") == [1.0, 1.0, 1.0]
        assert weights_of(store, ids, by="disagreement") == [0.1, 1.0, 0.1]
        assert weights_of(store, ids, by="uncertainty") == [0.1, 0.1, 1.0]
        with pytest.raises(UsageError, match="there are none called nope"):
            weights_of(store, ids, by="uncertainty", name="nope")


class TestRubrics:
    @pytest.mark.parametrize(
        ("values", "said", "value"),
        [
            (None, "y", True),
            ("yes,no", "No", False),
            ("1-5", "4", 4.0),
            ("good,bad,odd", "2", "bad"),
            ("good,bad", "good", "good"),
            ("number", "-2.5", -2.5),
            ("text", " q ", "q"),
        ],
    )
    def test_answers_are_read(self, values, said, value) -> None:
        assert parse_rubric("r", values).read(said) == value

    @pytest.mark.parametrize(
        ("values", "said"),
        [(None, "maybe"), ("1-5", "6"), ("1-5", "nan"), ("a,b", "3"), ("number", "inf"), ("text", " ")],
    )
    def test_what_is_no_answer_is_said(self, values, said) -> None:
        with pytest.raises(UsageError, match="is no answer"):
            parse_rubric("r", values).read(said)

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ({}, "name is missing"),
            ({"name": "r", "kind": "stars"}, "kind must be one of"),
            ({"name": "r", "kind": "choice", "choices": ["a"]}, "two labels"),
            ({"name": "r", "low": 5, "high": 1}, "low must be a number below high"),
            ({"name": "r", "colour": 1}, "unknown: colour"),
        ],
    )
    def test_what_is_no_rubric_is_said(self, value, told) -> None:
        with pytest.raises(UsageError, match=told):
            rubric_of(value)

    def test_a_rubric_comes_back_as_it_was_and_another_question_is_another_version(self) -> None:
        Path("r.yaml").write_text("name: r\nkind: choice\nchoices: {good: solves it, bad: does not}\nquestion: Well?\n")
        rubric = read_rubric("r.yaml")
        assert rubric_of(rubric_record(rubric)) == rubric
        assert rubric.words() == "1 good (solves it), 2 bad (does not)"
        assert Rubric("r", "Well?").digest != Rubric("r", "Good?").digest


def scripted(answers: list[str]):
    def ask(prompt: str, *, single: bool) -> str:
        del prompt, single
        return answers.pop(0) if answers else ""

    return ask


class TestQueue:
    def label(self, store, answers: list[str], **how: object) -> list[str]:
        told: list[str] = []
        how.setdefault("rubric", Rubric("ok", "Is it right?"))
        queue = open_queue(store, run="labels", **how)
        ticks = iter(range(1000))
        Screen(store, queue, scripted(answers), told.append, clock=lambda: float(next(ticks))).run()
        close_queue(store, queue)
        return told

    def rows(self, store) -> list[dict[str, object]]:
        from tracekit_evaluators.runner import scores_of

        return scores_of(store, store.catalog.runs.find("labels").id)

    def test_answers_are_scores_of_a_person(self, store, record) -> None:
        trace_id = record("one", case="c", repeat=2, output="42", input="6*7?", tools=["multiply"], error="late")
        told = "\n".join(self.label(store, ["c", "nearly", "n"], annotator="ada"))
        for shown in ("6*7?", "42", "tool multiply({}): ok", "error:  late", "[1 of 1]"):
            assert shown in told
        [row] = self.rows(store)
        wanted = {"trace_id": trace_id, "case_id": "c", "repeat": 2, "name": "ok", "value": 0.0, "value_type": "bool"}
        wanted |= {
            "passed": False,
            "source": "human",
            "annotator": "ada",
            "explanation": "nearly",
            "latency_ms": 1000.0,
        }
        wanted |= {"inclusion_probability": 1.0, "judge": "ok", "judge_version": "1", "status": "scored"}
        assert {key: row[key] for key in wanted} == wanted
        assert row["judge_digest"] == Rubric("ok", "Is it right?").digest
        run = store.catalog.runs.find("labels")
        assert (run.kind, run.status, run.metrics["ok"]["value"], run.summary["annotators"]) == (
            "import",
            "finished",
            0.0,
            1,
        )

    def test_it_goes_on_where_an_annotator_stopped_and_each_has_a_queue_of_their_own(self, store, record) -> None:
        for n in range(4):
            record(f"t{n}")
        self.label(store, ["y", "q"], annotator="ada")
        self.label(store, ["n", "n", "n", "n"], annotator="bob", rubric=None)
        self.label(store, ["y", "s", "y"], annotator="ada", rubric=None)
        count = Counter((row["annotator"], row["status"]) for row in self.rows(store))
        assert count == {("ada", "scored"): 3, ("ada", "not_applicable"): 1, ("bob", "scored"): 4}
        orders = {
            who: [row["trace_id"] for row in self.rows(store) if row["annotator"] == who] for who in ("ada", "bob")
        }
        assert set(orders["ada"]) == set(orders["bob"])

    def test_going_back_replaces_the_answer(self, store, record) -> None:
        record("one")
        record("two")
        self.label(store, ["y", "b", "n", "y"], annotator="ada")
        assert sorted(row["value"] for row in self.rows(store)) == [0.0, 1.0]
        assert store.sql("SELECT count(*) FROM scores").fetchone() == (3,)

    def test_what_is_no_answer_is_asked_again_and_the_end_of_input_ends_it(self, store, record) -> None:
        record("one")
        told = self.label(store, ["x", "m"], annotator="ada")
        assert "'x' is no answer; y for yes, n for no" in told
        assert self.rows(store) == []

    def test_text_answers_may_be_letters_that_are_commands_elsewhere(self, store, record) -> None:
        record("one")
        record("two")
        self.label(store, ["q", ":q"], annotator="ada", rubric=parse_rubric("final", "text"))
        assert [(row["label"], row["value_type"]) for row in self.rows(store)] == [("q", "text")]

    def test_a_sample_keeps_its_probabilities(self, store, record) -> None:
        for n in range(10):
            record(f"t{n}")
        self.label(store, ["y"] * 10, annotator="ada", sample=4, seed=1)
        assert [row["inclusion_probability"] for row in self.rows(store)] == [0.4] * 4
        assert store.catalog.runs.find("labels").selection["of_traces"] == 10

    def test_hostile_text_reaches_the_terminal_as_text(self, store, record) -> None:
        record("one", output="\x1b[2Jgone\x07")
        assert "\\x1b[2Jgone\\x07" in "\n".join(self.label(store, ["y"], annotator="ada"))

    def test_a_queue_keeps_its_question_and_its_traces(self, store, record) -> None:
        record("one")
        self.label(store, [], annotator="ada")
        with pytest.raises(UsageError, match="asks ok in version 1, not this"):
            open_queue(store, run="labels", rubric=Rubric("ok", "Another?"))
        with pytest.raises(UsageError, match="keeps its traces"):
            open_queue(store, run="labels", sample=3)
        with pytest.raises(UsageError, match="needs a question"):
            open_queue(store, run="new")
        evaluate(store, judges=["error"], name="nightly")
        with pytest.raises(UsageError, match="no queue of labels"):
            open_queue(store, run="nightly", rubric=Rubric("ok"))


def test_one_key_answers_in_a_real_terminal(store, record) -> None:
    for n in range(3):
        record(f"t{n}")
    words = ["scores", "label", "--run", "r", "--name", "ok", "--annotator", "ada", "--store", str(store.location)]
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tracekit", *words], stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, text=True
    )
    os.close(terminal)
    shown = b""
    for key in (b"y", b"n", b"q"):
        while not shown.endswith(b"quit): "):
            shown += os.read(controller, 4096)
        shown = b""
        os.write(controller, key)  # and no line end
    out, _ = process.communicate(timeout=30)
    os.close(controller)
    assert out == "r: 2 answers by ada, 1 of 3 traces left\n"


def test_csv_goes_out_and_comes_in_with_all_that_a_label_says(store, record, capsys, monkeypatch) -> None:
    where = ["--store", str(store.location)]
    for n in range(3):
        record(f"t{n}", case=f"c{n}")
    monkeypatch.setattr(sys, "stdin", io.StringIO('y\nc\na, "quoted"\nn\n'))
    assert main(["scores", "label", "--run", "r", "--name", "ok", "--sample", "2", "--annotator", "ada", *where]) == 0
    assert main(["scores", "export", "r", "-o", "r.csv", *where]) == 0
    rows = list(csv.DictReader(io.StringIO(Path("r.csv").read_text("utf-8"), newline="")))
    assert [row["value"] for row in rows] in (["true", "false"], ["false", "true"])
    assert {row["inclusion_probability"] for row in rows} == {str(2 / 3)}
    assert {row["rubric_version"] for row in rows} == {"1"}
    assert main(["scores", "import", "r.csv", "--run", "copy", *where]) == 0
    capsys.readouterr()
    assert main(["scores", "export", "copy", *where]) == 0
    copied = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["scores", "export", "r", *where]) == 0
    assert copied == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main(["scores", "import", "r.csv", "--run", "copy", *where]) == 0
    assert "copy: 2 lines, 0 new, 0 replaced" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trace_id,name,value\nabc,ok,1\n", "line 2: trace_id must be 32"),
        ("trace_id,name,value\n%s,ok\n", "another number of cells"),
        ("trace_id,name,value,inclusion_probability\n%s,ok,1,2\n", "inclusion_probability must be a number above 0"),
        ("trace_id,name,value,colour\n%s,ok,1,red\n", "unknown: colour"),
    ],
)
def test_a_faulty_csv_imports_nothing(store, capsys, text, told) -> None:
    Path("s.csv").write_text(text.replace("%s", "ab" * 16))
    assert main(["scores", "import", "s.csv", "--run", "r", "--store", str(store.location)]) == 2
    assert told in capsys.readouterr().err
    assert store.catalog.runs.list() == []
