"""From a process's first span to its end: forks, workers, exits, and what is broken costs the trace alone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracekit.inbox import Damage, read_segment, segments

MANY = """
import tracekit

@tracekit.tool
def child(question):
    return question

@tracekit.agent
def root(question):
    for _ in range(9):
        child(question)
    return question

for number in range(2_000):
    root("what is up")
"""


def test_a_wrong_setting_without_init_costs_the_trace_and_not_the_program(script) -> None:
    done = script(
        """
        import logging, tracekit
        logging.basicConfig(format="%(message)s")

        @tracekit.tool
        def add(a, b):
            return a + b

        print(add(1, 2), add(3, 4))
        """,
        TRACEKIT_ENDPOINT="localhost:4318",
    )
    assert done.stdout == "3 7\n"
    assert done.stderr.count("starting from the settings failed") == 1


def test_a_collector_that_is_down_neither_spams_nor_blocks_the_end(script) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    begun = time.monotonic()
    done = script(
        """
        import time, tracekit

        @tracekit.tool
        def look(query):
            return query

        for number in range(2_000):
            look(str(number))
        tracekit.score("x", 1, trace_id="0af7651916cd43dd8448eb211c80319c")
        print("done")
        """,
        TRACEKIT_ENDPOINT=f"http://127.0.0.1:{port}",
    )
    assert done.stdout == "done\n"
    assert time.monotonic() - begun < 10
    assert len(done.stderr.splitlines()) <= 3, done.stderr


def test_a_store_that_cannot_be_written_costs_the_trace_and_one_line(script, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    done = script(
        """
        import tracekit
        tracekit.init(store="store")
        for _ in range(3):
            with tracekit.span("x"):
                pass
            tracekit.flush()
        print("done")
        """
    )
    assert done.stdout == "done\n"
    assert "cannot write to the inbox" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_twenty_thousand_spans_back_to_back_are_all_stored(script, stored, tmp_path: Path) -> None:
    script(MANY)
    spans = stored.spans(tmp_path / ".tracekit")
    assert len(spans) == 20_000
    assert len({span.span_id for span in spans}) == 20_000
    assert len({span.trace_id for span in spans}) == 2_000


@pytest.mark.slow
def test_twenty_thousand_spans_back_to_back_reach_a_collector(script, tmp_path: Path) -> None:
    store = pytest.importorskip("tracekit_collector.store", reason="needs the collector extra")
    command = [sys.executable, "-c", "from tracekit.cli import main; raise SystemExit(main())", "collect"]
    collecting = subprocess.Popen(
        [*command, "--port", "0", "--store", str(tmp_path / "kept")], stderr=subprocess.PIPE, text=True
    )
    assert collecting.stderr is not None
    try:
        said = next(line for line in collecting.stderr if "collecting on " in line)
        done = script(MANY, TRACEKIT_ENDPOINT=said.partition("collecting on ")[2].split()[0])
    finally:
        collecting.terminate()
        collecting.communicate(timeout=30)
    assert done.stderr == ""
    with store.Store.open(tmp_path / "kept") as opened:
        found = opened.sql("SELECT count(*), count(DISTINCT span_id), count(DISTINCT trace_id) FROM spans").fetchone()
    assert tuple(found) == (20_000, 20_000, 2_000)


def test_forked_children_record_what_is_theirs_once(script, stored, tmp_path: Path) -> None:
    script(
        """
        import os, tracekit

        @tracekit.tool
        def work(who):
            return who

        work("parent before")
        with tracekit.span("around the fork"):
            child = os.fork()
            if child == 0:
                work("child")
        if child == 0:
            tracekit.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        work("parent after")
        """
    )
    spans = stored.spans(tmp_path / ".tracekit")
    names = sorted(stored.attributes(span).get("output.value", span.name) for span in spans)
    assert names == ["around the fork", "child", "parent after", "parent before"]
    by_name = {stored.attributes(span).get("output.value", span.name): span for span in spans}
    assert by_name["child"].parent_span_id == by_name["around the fork"].span_id


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_deliver_before_they_end(script, stored, tmp_path: Path, method: str) -> None:
    script(
        f"""
        import multiprocessing
        import tracekit

        @tracekit.tool
        def work(number):
            return number * 2

        if __name__ == "__main__":
            work(0)
            with multiprocessing.get_context("{method}").Pool(2) as pool:
                assert pool.map(work, [1, 2, 3, 4]) == [2, 4, 6, 8]
                pool.close()
                pool.join()
        """
    )
    outputs = [stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")]
    assert sorted(outputs, key=int) == ["0", "2", "4", "6", "8"]


def test_two_processes_record_into_one_store_at_once(stored, tmp_path: Path) -> None:
    source = """
import sys, tracekit

@tracekit.tool
def work(who, number):
    return f"{who} {number}"

for number in range(500):
    work(sys.argv[1], number)
"""
    (tmp_path / "work.py").write_text(source)
    both = [subprocess.Popen([sys.executable, "work.py", who], cwd=tmp_path) for who in "ab"]
    assert [process.wait(40) for process in both] == [0, 0]
    outputs = {stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")}
    assert outputs == {f"{who} {number}" for who in "ab" for number in range(500)}
    assert not any(
        isinstance(item, Damage) for path in segments(tmp_path / ".tracekit" / "inbox") for item in read_segment(path)
    )


def test_spans_of_exiting_threads_and_atexit_handlers_are_kept(script, stored, tmp_path: Path) -> None:
    script(
        """
        import atexit, threading, tracekit

        @tracekit.tool
        def work(who):
            return who

        work("main")
        atexit.register(work, "at exit")  # runs before ours, which was registered earlier
        thread = threading.Thread(target=work, args=("thread",))
        thread.start()
        """
    )
    outputs = [stored.attributes(span)["output.value"] for span in stored.spans(tmp_path / ".tracekit")]
    assert sorted(outputs) == ["at exit", "main", "thread"]


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise RuntimeError('x')", "1/0"])
def test_the_exit_code_is_the_programs_own(script, stored, tmp_path: Path, end: str) -> None:
    done = script(
        f"""
        import sys, tracekit

        @tracekit.agent
        def main():
            {end}

        main()
        """,
        check=False,
    )
    assert done.returncode == (3 if "exit" in end else 1)
    span = stored.spans(tmp_path / ".tracekit")[0]
    assert (
        stored.attributes(span)["error.type"]
        == {"sys": "SystemExit", "rai": "RuntimeError", "1/0": "ZeroDivisionError"}[end[:3]]
    )


def test_importing_tracekit_leaves_the_sdk_and_the_exporters_alone() -> None:
    source = "import sys, json, tracekit; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(json.loads(done.stdout))
    heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google", "requests", "grpc")
    assert not [name for name in loaded if name.startswith(heavy)]
