"""Evaluation end to end: stored traces, judges, scores in the lake, a run in the catalog."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tracekit.errors import NotFoundError, PluginError, StoreError, UsageError
from tracekit_collector.store import Store
from tracekit_evaluators import MissingInput, NotApplicable, Score, Subject, evaluate, judge
from tracekit_evaluators.provenance import code_version


@judge
def nice(subject: Subject) -> bool:
    """Whether the answer says please."""
    return "please" in subject.output_text


def test_traces_become_scores_and_a_run_with_all_that_it_rests_on(store, record) -> None:
    for place in range(10):
        record(f"t{place}", output="please" if place < 7 else "no", case=f"c{place}", seconds=place)
    run = evaluate(store, judges=[nice, "latency?max=5", "error"], name="first")
    assert (run.name, run.status, run.record.kind) == ("first", "finished", "eval")
    assert run.metrics["nice"]["value"] == pytest.approx(0.7)
    assert run.metrics["nice"]["low"] < 0.7 < run.metrics["nice"]["high"]
    assert run.metrics["latency"]["value"] == pytest.approx(4.5)
    assert run.metrics["error"]["value"] == 0.0
    assert run.record.agent_version.ref == "bot@1"
    assert run.summary["statuses"] == {"scored": 30}
    assert run.summary["agent_versions"] == {"bot@1": 10}
    assert run.record.lake_versions["spans"] >= 0
    assert run.record.selection["traces"] == 10
    assert [each["spec"] for each in run.record.judges][1:] == ["latency?max=5", "error"]
    assert set(run.record.code) == {"commit", "branch", "dirty", "diff_digest"}
    assert run.record.environment["python"] == sys.version.split()[0]
    assert store.catalog.runs.find("first") == run.record


def test_scores_stand_in_the_lake_with_judge_case_and_target(store, record) -> None:
    trace_id = record("a", case="c1", repeat=3, output="please")
    run = evaluate(store, judges=[nice])
    [row] = store.sql("SELECT * FROM scores").dicts()
    assert row["run_id"] == run.id
    wanted = {"target": "trace", "trace_id": trace_id, "case_id": "c1", "repeat": 3, "judge": "nice", "name": "nice"}
    wanted |= {"value": 1.0, "value_type": "bool", "passed": True, "status": "scored", "source": "code"}
    wanted |= {"direction": "maximize", "judge_digest": nice.digest, "judge_version": "1", "supersedes": None}
    assert {key: row[key] for key in wanted} == wanted
    assert row["latency_ms"] >= 0
    assert run.scores() == [row]


def test_a_judge_that_fails_costs_its_score_alone(store, record) -> None:
    for place in range(4):
        record(f"t{place}", output=None if place == 3 else str(place))

    @judge
    def moody(subject: Subject) -> object:
        if subject.output == "0":
            raise ZeroDivisionError("oh")
        if subject.output == "1":
            raise NotApplicable("not this one")
        return None if subject.output == "2" else subject.output_text

    run = evaluate(store, judges=[moody, "error"])
    told = {row["status"]: row["explanation"] for row in run.scores() if row["name"] == "moody"}
    assert told["not_applicable"] == "not this one"
    assert told["missing_input"] == "the trace has no output"
    assert {row["explanation"] for row in run.scores() if row["status"] == "judge_error"} == {
        "ZeroDivisionError: oh",
        "UsageError: moody returned None; a verdict is a bool, a number, a label, a Score or a mapping of these",
    }
    assert [row["value"] for row in run.scores() if row["name"] == "moody"] == [None] * 4
    assert run.status == "finished"
    assert run.metrics["error"]["coverage"] == 1.0
    assert run.metrics["moody"]["coverage"] == 0.0
    assert run.metrics["moody"]["value"] is None


def test_even_a_judge_that_wants_to_leave_costs_its_score_alone(store, record) -> None:
    record("a")
    run = evaluate(store, judges=[judge(name="leaver")(lambda subject: sys.exit("bye"))])
    assert [row["explanation"] for row in run.scores()] == ["SystemExit: bye"]


def test_async_judges_run_side_by_side_up_to_the_limit(store, record) -> None:
    for place in range(12):
        record(f"t{place}")
    at_once: list[int] = []
    running = 0

    @judge
    async def waits(subject: Subject) -> bool:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.01)
        running -= 1
        return True

    run = evaluate(store, judges=[waits], concurrency=4)
    assert run.metrics["waits"]["n"] == 12
    assert max(at_once) == 4


def test_an_async_judge_that_fails_is_a_status_too(store, record) -> None:
    record("a")

    @judge
    async def slow(subject: Subject) -> bool:
        return await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    @judge
    async def poor(subject: Subject) -> bool:
        raise MissingInput("no money")

    run = evaluate(store, judges=[slow, poor])
    assert run.summary["statuses"] == {"missing_input": 1, "timeout": 1}


def test_it_works_where_an_event_loop_is_running(store, record) -> None:
    record("a", output="please")

    async def notebook() -> float:
        return evaluate(store, judges=[nice]).metrics["nice"]["value"]

    assert asyncio.run(notebook()) == 1.0


def test_a_mapping_of_names_gives_a_score_each_and_a_name_belongs_to_one_judge(store, record) -> None:
    record("a")

    @judge
    def one(subject: Subject) -> dict[str, object]:
        return {"a": 1, "b": Score(0.5)}

    @judge
    def two(subject: Subject) -> dict[str, object]:
        return {"b": True}

    run = evaluate(store, judges=[one, two])
    rows = {(row["judge"], row["name"]): (row["value"], row["status"]) for row in run.scores()}
    assert rows == {("one", "a"): (1.0, "scored"), ("one", "b"): (0.5, "scored"), ("two", "b"): (None, "judge_error")}


def test_where_agent_and_limit_select(store, record) -> None:
    for place in range(6):
        record(f"t{place}", agent="bot" if place < 4 else "other", version="v1" if place % 2 else "v2")
    assert evaluate(store, judges=["error"]).record.selection["traces"] == 6
    assert evaluate(store, judges=["error"], agent="bot").record.selection["traces"] == 4
    run = evaluate(store, judges=["error"], agent="bot@v2")
    assert (run.record.selection["traces"], run.record.agent_version.label) == (2, "v2")
    assert (
        evaluate(store, judges=["error"], where="agent_name = 'other' -- all", agent="other").metrics["error"]["n"] == 2
    )
    assert evaluate(store, judges=["error"], limit=5).metrics["error"]["n"] == 5
    mixed = evaluate(store, judges=["error"], agent="bot")
    assert (mixed.record.agent_version, sum(mixed.summary["agent_versions"].values())) == (None, 4)


def test_a_dataset_says_which_traces_count_and_what_is_expected(store, record, tmp_path: Path) -> None:
    record("a", case="france", output="Paris")
    record("b", case="italy", output="Milan")
    record("c", input="capital of Spain?", output="Madrid")
    record("d", input="something else")
    dataset = [
        {"case_id": "france", "expected": {"output": "Paris"}, "tags": ["easy"]},
        {"case_id": "italy", "expected": "Rome"},
        {"case_id": "spain", "input": "capital of Spain?", "expected": "Madrid"},
        {"case_id": "peru", "expected": "Lima"},
    ]
    path = tmp_path / "cases.jsonl"
    path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in dataset))
    for source in (dataset, path, str(path)):
        run = evaluate(store, judges=["exact_match"], dataset=source)
        found = {row["case_id"]: row["value"] for row in run.scores()}
        assert found == {"france": 1.0, "italy": 0.0, "spain": 1.0}
        assert (run.record.selection["cases"], run.record.selection["cases_without_trace"]) == (4, 1)
    assert run.record.selection["dataset_file"] == str(path)
    assert evaluate(store, judges=["exact_match"], dataset=dataset, limit=2).metrics["exact_match"]["n"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"case_id": "a"}\n{"case_id": "a"}', "line 2: the same case as line 1"),
        ('{"expected": 1}', "line 1: a case needs case_id or input"),
        ('{"case_id": "a"}\nno json', "line 2: Expecting value"),
        ("[1]", "line 1: a case is an object"),
        ("", "holds no cases"),
        ("\n".join(['"x"'] * 30), "and 20 more"),
    ],
)
def test_a_faulty_dataset_names_its_lines(text: str, words: str, store, record, tmp_path: Path) -> None:
    record("a")
    path = tmp_path / "cases.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        evaluate(store, judges=["error"], dataset=path)
    assert words in str(caught.value)
    assert store.catalog.runs.list() == []


def test_what_cannot_be_evaluated_says_why_and_leaves_no_run(store, record) -> None:
    with pytest.raises(NotFoundError, match="holds no traces"):
        evaluate(store, judges=["error"])
    record("a")
    wrong = [
        ({"judges": []}, UsageError, "no judge is given"),
        ({"judges": ["error", "error"]}, UsageError, "two judges are called error"),
        ({"judges": ["nope"]}, PluginError, "no judge called 'nope'"),
        ({"judges": ["error"], "where": "agent_name = 'x'"}, NotFoundError, "no trace in .* matches"),
        ({"judges": ["error"], "where": "nonsense("}, UsageError, "the query is wrong"),
        ({"judges": ["error"], "agent": "nope"}, NotFoundError, "no agent 'nope'"),
        ({"judges": ["error"], "agent": "bot@9"}, NotFoundError, "bot"),
        ({"judges": ["error"], "limit": 0}, UsageError, "limit must be at least 1"),
        ({"judges": ["error"], "concurrency": 0}, UsageError, "concurrency must be at least 1"),
        ({"judges": ["error"], "dataset": "/nowhere.jsonl"}, UsageError, "cannot read the dataset"),
        ({"judges": ["error"], "dataset": [{"case_id": "z"}]}, NotFoundError, "none of 1 traces tried a case"),
        ({"judges": ["error"], "expected_from": "nope"}, NotFoundError, "no run 'nope'"),
        ({"resume": "nope"}, NotFoundError, "no run 'nope'"),
        ({"resume": "x", "limit": 3}, UsageError, "leave out limit"),
    ]
    for arguments, kind, words in wrong:
        with pytest.raises(kind, match=words):
            evaluate(store, **arguments)
    assert store.catalog.runs.list() == []


KILLER = """
import os, signal
from pathlib import Path
from tracekit_evaluators import judge

@judge
def many(subject):
    Path("judged.txt").open("a").write(subject.trace.trace_id + "\\n")
    if Path("armed").exists() and len(Path("judged.txt").read_text().split()) > 27:
        os.kill(os.getpid(), signal.SIGKILL)
    return {f"score-{n}": True for n in range(200)}
"""


def test_after_a_kill_a_run_goes_on_and_judges_nothing_twice(store, record, tmp_path: Path) -> None:
    for place in range(30):
        record(f"t{place}")
    store.settle()
    Path("killer.py").write_text(KILLER)
    Path("armed").touch()
    words = [
        sys.executable,
        "-c",
        "import sys, tracekit.cli as c; sys.exit(c.main())",
        "eval",
        "--store",
        str(store.location),
    ]
    killed = subprocess.run(
        [*words, "--judge", "killer:many", "--name", "long"], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    assert store.catalog.runs.find("long").status == "running"
    kept = {row["trace_id"] for row in store.sql("SELECT trace_id FROM scores")}
    assert len(kept) == 25  # 5,000 rows were written, those of the last two traces were not

    Path("armed").unlink()
    resumed = subprocess.run([*words, "--resume", "long"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    judged = Path("judged.txt").read_text().split()
    assert len(judged) == 28 + 5
    assert not kept & set(judged[28:])
    run = store.catalog.runs.find("long")
    assert (run.status, run.summary["scores"], run.metrics["score-0"]["n"]) == ("finished", 6000, 30)
    doubled = store.sql("SELECT count(*) FROM scores GROUP BY trace_id, name HAVING count(*) > 1")
    assert len(doubled) == 0


def test_an_interrupted_run_keeps_what_it_has_and_is_marked_failed(store, record) -> None:
    for place in range(5):
        record(f"t{place}")
    seen: list[str] = []

    @judge
    def stops(subject: Subject) -> bool:
        seen.append(subject.trace.trace_id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        evaluate(store, judges=[stops], name="stopped")
    assert store.catalog.runs.find("stopped").status == "failed"
    assert len(store.sql("SELECT * FROM scores")) == 2
    run = evaluate(store, judges=[stops], resume="stopped")
    assert (run.status, run.metrics["stops"]["n"], len(seen)) == ("finished", 5, 6)


def test_resuming_tries_what_failed_again_and_its_score_takes_the_place(store, record) -> None:
    for place in range(3):
        record(f"t{place}")
    calls: list[str] = []

    @judge
    def recovers(subject: Subject) -> bool:
        calls.append(subject.trace.trace_id)
        if len(calls) == 2:
            raise ConnectionError("down")
        return True

    first = evaluate(store, judges=[recovers, "error"], name="flaky")
    assert first.metrics["recovers"]["coverage"] == pytest.approx(2 / 3)
    again = evaluate(store, judges=[recovers, "error"], resume=first.id)
    assert again.id == first.id
    assert again.metrics["recovers"]["coverage"] == 1.0
    assert (len(calls), again.summary["scores"]) == (4, 6)
    [new] = [row for row in again.scores() if row["supersedes"]]
    [old] = [row for row in first.scores() if row["status"] == "judge_error"] or [None]
    assert old is None  # a run's scores are those that hold now
    assert new["trace_id"] == calls[1]


def test_a_run_cannot_be_resumed_with_other_judges(store, record) -> None:
    record("a")
    evaluate(store, judges=["latency?max=1"], name="old")
    with pytest.raises(UsageError, match="latency changed since it began"):
        evaluate(store, judges=["latency?max=2"], resume="old")
    with pytest.raises(UsageError, match="it began with the judges latency;"):
        evaluate(store, judges=["latency?max=1", "error"], resume="old")


def test_a_resumed_run_judges_the_traces_and_cases_that_it_began_with(store, record) -> None:
    record("a", case="c", output="x")
    dataset = [{"case_id": "c", "expected": "x"}, {"case_id": "d", "expected": "x"}]
    evaluate(store, judges=["exact_match"], dataset=dataset, name="r")
    record("b", case="d", output="x")
    assert evaluate(store, resume="r").metrics["exact_match"]["n"] == 1
    artifact = store.artifacts / str(store.catalog.runs.find("r").selection["trace_ids"])
    artifact.write_text("0" * 32)
    with pytest.raises(StoreError, match="damaged"):
        evaluate(store, resume="r")


def test_repeats_of_a_case_give_reliability(store, record) -> None:
    for case in range(4):
        for repeat in range(2):
            record(f"{case}/{repeat}", case=f"c{case}", repeat=repeat, output="please" if case + repeat < 4 else "no")
    run = evaluate(store, judges=[nice])
    assert run.metrics["pass^1"]["value"] == pytest.approx(0.875)
    assert run.metrics["pass^2"]["value"] == pytest.approx(0.75)


def test_judging_itself_is_not_traced_into_the_store(store, record) -> None:
    record("a")
    evaluate(store, judges=["error"])
    assert store.sql("SELECT count(*) FROM spans").fetchone() == (1,)


def test_code_version_is_that_of_the_working_tree(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        quiet = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "init.defaultBranch=main",
        ]
        subprocess.run(["git", *quiet, *words], cwd=tmp_path, check=True, capture_output=True)

    assert code_version(tmp_path)["commit"] is None
    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "one")
    clean = code_version(tmp_path)
    assert (len(clean["commit"]), clean["branch"], clean["dirty"], clean["diff_digest"]) == (40, "main", False, None)
    (tmp_path / "a.py").write_text("2")
    changed = code_version(tmp_path)
    assert (changed["commit"], changed["dirty"]) == (clean["commit"], True)
    (tmp_path / "b.py").write_text("new")
    added = code_version(tmp_path)
    assert len({changed["diff_digest"], added["diff_digest"], None}) == 3
    assert code_version(tmp_path) == added


def test_ten_thousand_scores_of_trivial_judges_take_seconds(store: Store, record) -> None:
    for place in range(200):
        record(f"t{place}")
    many = [judge(name=f"j{n}")(lambda subject: True) for n in range(50)]
    run = evaluate(store, judges=many)
    assert run.summary["scores"] == 10_000
    assert run.summary["seconds"] < 20
