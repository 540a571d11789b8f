"""Tasks: an agent over the cases of a dataset, traced, repeated, judged, and gone on with after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tracekit
from tracekit.cli import main
from tracekit.errors import PluginError, UsageError
from tracekit_collector.store import Store
from tracekit_evaluators import Subject, evaluate, judge
from tracekit_evaluators.datasets import create

pytestmark = pytest.mark.usefixtures("fresh")

CASES = [{"case_id": f"c{n}", "input": {"a": n, "b": 2}, "expected": {"output": str(n + 2)}} for n in range(3)]


def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


@judge
def right(subject: Subject) -> bool:
    """Whether the output is the sum."""
    return subject.output_text == subject.expect("output")


def tries(store: Store, run_id: str) -> list[tuple[object, ...]]:
    query = 'SELECT case_id, "repeat", status, output FROM traces WHERE run_id = ? ORDER BY ALL'
    return store.sql(query, [run_id]).fetchall()


def test_each_try_is_a_trace_with_case_repeat_and_run_and_all_are_judged(store) -> None:
    run = evaluate(store, task=add, dataset=CASES, repeats=2, judges=[right, "error"], name="sums", agent="bot@7")
    assert tries(store, run.id) == [(f"c{n}", k, "ok", str(n + 2)) for n in range(3) for k in range(2)]
    assert (run.metrics["right"]["value"], run.metrics["right"]["n"], run.metrics["right"]["repeats"]) == (
        1.0,
        3,
        [2, 2],
    )
    assert run.record.agent_version.ref == "bot@1"
    assert run.record.agent_version.label == "7"
    task = run.record.selection["task"]
    assert (task["spec"], task["repeats"], run.record.selection["traces"]) == (f"{__name__}:add", 2, 6)
    assert {(row["case_id"], row["repeat"]) for row in run.scores()} == {
        (f"c{n}", k) for n in range(3) for k in range(2)
    }


def test_a_try_that_raises_or_leaves_is_an_outcome(store) -> None:
    def poor(a: int, b: int) -> int:
        if a == 0:
            raise ValueError("no zero")
        if a == 1:
            sys.exit(3)
        return a + b

    run = evaluate(store, task=poor, dataset=CASES, judges=["error", right])
    query = "SELECT case_id, error_type, error_message FROM traces WHERE status = 'error' ORDER BY 1"
    assert store.sql(query).fetchall() == [("c0", "ValueError", "no zero"), ("c1", "SystemExit", "3")]
    assert run.metrics["error"]["value"] == pytest.approx(2 / 3)
    assert run.metrics["right"]["missing"] == {"missing_input": 2}
    assert run.status == "finished"


def test_async_tasks_run_side_by_side_up_to_the_limit(store) -> None:
    running: list[int] = [0]
    most: list[int] = []

    async def slow(a: int, b: int) -> int:
        running[0] += 1
        most.append(running[0])
        await asyncio.sleep(0.01)
        running[0] -= 1
        return a + b

    run = evaluate(store, task=slow, dataset=CASES, repeats=4, judges=[right], concurrency=3)
    assert (run.metrics["right"]["value"], max(most)) == (1.0, 3)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_try_that_takes_too_long_is_given_up(store, kind) -> None:
    released = threading.Event()

    def sync(a: int, b: int) -> int:
        if a == 1:
            released.wait(20)
        return a + b

    async def waits(a: int, b: int) -> int:
        if a == 1:
            await asyncio.Event().wait()
        return a + b

    try:
        run = evaluate(store, task=sync if kind == "sync" else waits, dataset=CASES, judges=["error"], timeout=1.0)
    finally:
        released.set()
    assert run.metrics["error"]["value"] == pytest.approx(1 / 3)
    found = store.sql("SELECT case_id, error_type FROM traces WHERE status = 'error'").fetchall()
    assert found == [("c1", "TimeoutError")]


def test_what_the_task_records_is_part_of_the_try(store) -> None:
    @tracekit.tool
    def look(word: str) -> str:
        return word.upper()

    def agent(question: str) -> str:
        return look(question)

    run = evaluate(store, task=agent, dataset=[{"input": {"question": "abc"}}], judges=["tool_calls"])
    [trace] = store.traces(store.trace_ids())
    assert [call.name for call in trace.tool_calls] == ["look"]
    assert {span.row["run_id"] for span in trace.spans} == {run.id}
    assert trace.output == "ABC"


@pytest.mark.parametrize(
    ("function", "given", "output"),
    [
        (lambda text: text[::-1], "abc", "cba"),
        (lambda **words: sorted(words), {"b": 1, "a": 2}, '["a","b"]'),
        (lambda case: case["x"], {"x": "whole", "y": 1}, "whole"),
        (len, [1, 2, 3], "3"),
    ],
)
def test_the_task_gets_the_input_whole_or_by_keywords(store, function, given, output) -> None:
    evaluate(store, task=function, dataset=[{"case_id": "c", "input": given}], judges=["error"])
    [(found,)] = store.sql("SELECT output FROM traces").fetchall()
    assert found.replace(" ", "") == output


def test_spans_go_where_they_went_before_when_the_tries_are_done(store, tmp_path) -> None:
    tracekit.init(store=tmp_path / "mine", agent="mine", agent_version="3")
    run = evaluate(store, task=add, dataset=CASES, judges=["error"])
    with tracekit.span("after"):
        pass
    tracekit.shutdown()
    assert run.record.agent_version.ref == "mine@1"
    with Store.open(tmp_path / "mine") as mine:
        assert mine.sql("SELECT name FROM traces").fetchall() == [("after",)]
    assert len(tries(store, run.id)) == 3


def test_tries_are_recorded_also_where_tracing_is_off_and_it_is_off_again(store, monkeypatch) -> None:
    monkeypatch.setenv("TRACEKIT_DISABLED", "1")
    run = evaluate(store, task=add, dataset=CASES, judges=[right])
    assert run.metrics["right"]["value"] == 1.0
    with tracekit.span("later") as span:
        assert span.span_id is None


def test_sampling_leaves_no_try_out(store) -> None:
    tracekit.init(store=store.location, sample=0.0)
    run = evaluate(store, task=add, dataset=CASES, judges=[right])
    assert run.metrics["right"]["n"] == 3


def test_a_task_and_a_run_of_traces_are_not_mixed(store) -> None:
    with pytest.raises(UsageError, match="name a dataset"):
        evaluate(store, task=add, judges=["error"])
    with pytest.raises(UsageError, match="2 have none: x, y"):
        evaluate(store, task=add, dataset=[{"case_id": "x"}, {"case_id": "y"}], judges=["error"])
    with pytest.raises(UsageError, match="a task makes its own"):
        evaluate(store, task=add, dataset=CASES, where="true", judges=["error"])
    with pytest.raises(UsageError, match="repeats and timeout are for a task"):
        evaluate(store, dataset=CASES, repeats=3, judges=["error"])
    with pytest.raises(UsageError, match="repeats must be at least 1"):
        evaluate(store, task=add, dataset=CASES, repeats=0, judges=["error"])
    with pytest.raises(PluginError, match="cannot load nowhere:there"):
        evaluate(store, task="nowhere:there", dataset=CASES, judges=["error"])
    assert store.catalog.runs.list() == []


def test_a_run_that_was_stopped_tries_only_what_is_missing(store) -> None:
    state = type("State", (), {"asked": []})()  # what a task closes over, as a list would be, is part of its code

    def stops(a: int, b: int) -> int:
        state.asked.append(a)
        if state.asked == [0, 1]:
            raise KeyboardInterrupt
        return a + b

    with pytest.raises(KeyboardInterrupt):
        evaluate(store, task=stops, dataset=CASES, judges=[right], concurrency=1, name="r")
    assert store.catalog.runs.find("r").status == "failed"
    state.asked = [9]
    run = evaluate(store, task=stops, resume="r", judges=[right], concurrency=1)
    assert state.asked == [9, 1, 2]
    assert (run.metrics["right"]["value"], run.metrics["right"]["n"]) == (1.0, 3)
    assert len(run.scores()) == 3


def test_a_task_that_changed_is_not_gone_on_with(store) -> None:
    evaluate(store, task=lambda a, b: a + b, dataset=CASES, judges=["error"], name="r")
    with pytest.raises(UsageError, match="its task changed since it began"):
        evaluate(store, task=lambda a, b: a * b, resume="r")


def test_a_killed_process_loses_no_try_that_had_ended(store) -> None:
    """The process is killed in the middle; what stood in the store is not tried again."""
    create(store, "d", [{"case_id": f"c{n}", "input": n} for n in range(6)])
    Path("slow_task.py").write_text(
        "import pathlib, time\n"
        "def task(n):\n"
        "    with open('asked.txt', 'a') as file:\n"
        "        file.write(f'{n}\\n')\n"
        "    if n == 4 and not pathlib.Path('again').exists():\n"
        "        pathlib.Path('stuck').touch()\n"
        "        time.sleep(60)\n"
        "    return n\n"
    )
    where = ["--store", str(store.location)]
    words = [
        "eval",
        "--task",
        "slow_task:task",
        "--dataset",
        "d",
        "--judge",
        "error",
        "--name",
        "r",
        "--concurrency",
        "1",
    ]
    process = subprocess.Popen([sys.executable, "-m", "tracekit", *words, *where], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 40
    ended = "SELECT count(*) FROM spans WHERE starts_with(name, 'try ')"
    while time.monotonic() < deadline:
        if Path("stuck").exists() and store.sql(ended).fetchone() == (4,):
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    Path("again").touch()
    assert main(["eval", "--resume", "r", *where]) == 0
    asked = Path("asked.txt").read_text().split()
    assert (asked[:5], sorted(asked[5:])) == (["0", "1", "2", "3", "4"], ["4", "5"])  # the last two at once
    assert store.catalog.runs.find("r").metrics["error"]["n"] == 6


def test_the_command_tries_a_task_in_the_present_folder(store, capsys) -> None:
    Path("mine_too.py").write_text("async def answer(a, b):\n    return a + b\n")
    Path("cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    words = [
        "eval",
        "--task",
        "mine_too:answer",
        "--dataset",
        "cases.jsonl",
        "--repeats",
        "2",
        "--judge",
        "exact_match",
    ]
    assert main([*words, "--store", "fresh", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["exact_match"]["value"] == 1.0
    asking = ["--judge", "rubric?criteria=Polite.&model=gpt-4o-mini&base_url=http://127.0.0.1:9/v1"]
    assert main([*words, *asking, "--store", "fresh", "--dry-run", "--format", "json"]) == 0
    told = capsys.readouterr()
    exact, polite = json.loads(told.out)
    assert (exact["requests"], exact["cost_usd"]) == (0, 0.0)
    assert (
        polite["subjects"]
        == exact["subjects"]
        == polite["requests"]
        == 2 * len(Path("cases.jsonl").read_text().splitlines())
    )
    assert polite["input_tokens"] > 300 * polite["requests"]
    assert "what the task itself asks of models comes on top" in told.err
