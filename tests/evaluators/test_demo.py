"""`tracekit demo` from end to end, as a newcomer runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tracekit_collector.store import Store
from tracekit_evaluators.compare import compare
from tracekit_evaluators.report.packing import unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def demo(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TRACEKIT_", "OTEL_", "OPENAI_"))}
    return subprocess.run(
        [Path(sys.executable).with_name("tracekit"), "demo", *words],
        cwd=folder,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One run of the demo in a folder with a space in its name, on a machine that is set up for other agents."""
    folder = tmp_path_factory.mktemp("a folder")
    elsewhere = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_SDK_DISABLED": "true",
        "TRACEKIT_CAPTURE_CONTENT": "0",
    }
    finished = demo(folder, **elsewhere)
    assert (finished.returncode, finished.stderr) == (0, "")
    return folder, finished.stdout


def test_it_prints_the_comparison_and_where_the_report_is(done: tuple[Path, str]) -> None:
    folder, printed = done
    assert "stdlib-helper@keyword: traces sent straight to the store" in printed
    assert "stdlib-helper@bm25: traces sent by OTLP to http://127.0.0.1:" in printed
    assert "60 of 60 cases are in both, paired by case id." in printed
    assert "retrieved.reciprocal_rank" in printed
    assert f"Report: {folder / 'report-demo.html'}" in printed


def test_the_report_is_one_file_about_both_versions(done: tuple[Path, str]) -> None:
    folder, _ = done
    html = (folder / "report-demo.html").read_text(encoding="utf-8")
    assert html.lower().startswith("<!doctype html>")
    assert "demo-bm25" in html
    assert "demo-keyword" in html
    told = [unpacked(data) for data in re.findall(r'<script type="text/plain" id="[^"]+">([^<]+)</script>', html)]
    assert "How do I flatten a list of lists lazily?" in json.dumps(told)
    assert "itertools.chain.from_iterable" in json.dumps(told)


def test_every_question_is_a_trace_of_each_version(done: tuple[Path, str]) -> None:
    with Store.open(done[0] / ".tracekit") as store:
        counted = store.sql(
            "SELECT agent_version, count(*), count(DISTINCT case_id), count(*) FILTER (status = 'error') "
            "FROM traces GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        steps = store.sql(
            "SELECT step, name, count(*) FROM spans WHERE agent_version = 'bm25' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        found = store.sql(
            "SELECT trace_id FROM traces WHERE case_id = 'flatten' AND agent_version = 'bm25'", settle=False
        ).fetchall()
        trace = store.trace(str(found[0][0]))
    assert counted == [("bm25", 60, 60, 0), ("keyword", 60, 60, 0)]
    assert steps == [
        ("agent", "invoke_agent stdlib-helper", 60),
        ("retriever", "retrieval search_docstrings", 60),
        ("task", "answer", 60),
    ]
    assert trace.input == '{"question": "How do I flatten a list of lists lazily?"}'
    assert len(trace.documents) == 5
    assert trace.documents[0].id == "itertools.chain.from_iterable"


def test_both_versions_are_registered_with_what_sets_them_apart(done: tuple[Path, str]) -> None:
    with Store.open(done[0] / ".tracekit") as store:
        before, after = store.catalog.agents.versions("stdlib-helper")
    assert [(each.ref, each.label, each.source) for each in (before, after)] == [
        ("stdlib-helper@1", "keyword", "registered"),
        ("stdlib-helper@2", "bm25", "registered"),
    ]
    assert before.parameters == {"ranking": "overlap", "documents": 5, "model": None}
    assert after.parameters == {"ranking": "bm25", "k1": 1.5, "b": 0.75, "documents": 5, "model": None}


def test_bm25_ranks_the_symbol_higher_than_counted_words_do(done: tuple[Path, str]) -> None:
    with Store.open(done[0] / ".tracekit") as store:
        runs = [store.catalog.runs.find(f"demo-{version}") for version in ("keyword", "bm25")]
        found = compare(store, *runs)
    assert [run.agent_version.ref for run in runs] == ["stdlib-helper@1", "stdlib-helper@2"]
    assert [run.summary["statuses"] for run in runs] == [{"scored": 300}, {"scored": 300}]
    rank = next(each for each in found.scores if each.name == "retrieved.reciprocal_rank")
    assert rank.estimate.n == 60
    assert rank.candidate > rank.baseline


def test_a_second_demo_in_the_same_store_is_not_mixed_with_the_first(done: tuple[Path, str], tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(done[0], folder)
    again = demo(folder, "--output", "again.html")
    assert (again.returncode, again.stderr) == (0, "")
    assert "60 of 60 cases are in both" in again.stdout
    with Store.open(folder / ".tracekit") as store:
        assert [run.summary["traces"] for run in store.catalog.runs.list()] == [60, 60, 60, 60]
        assert len(store.catalog.agents.versions("stdlib-helper")) == 2


class _Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that recommends the first document, and judges that good."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "response_format" in request:
            text = json.dumps({"evidence": [], "reasoning": "It names one.", "verdict": "pass"})
        else:
            text = f"Use `{request['messages'][-1]['content'].removeprefix('# ').split(maxsplit=1)[0]}`."
        body = json.dumps(
            {
                "id": "reply-1",
                "model": "small-1-2026",
                "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 7},
            }
        ).encode()
        self.send_response(200 if self.headers["authorization"] == "Bearer secret-key" else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_answers_and_judges(tmp_path: Path, model_server: str) -> None:
    key = {"OPENAI_BASE_URL": model_server, "OPENAI_API_KEY": "secret-key"}
    finished = demo(tmp_path, "--model", "small-1", **key)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "rubric" in finished.stdout
    with Store.open(tmp_path / ".tracekit") as store:
        calls = store.sql(
            "SELECT model_requested, model, finish_reasons, input_tokens, output_tokens, count(*) "
            "FROM llm_calls GROUP BY ALL"
        ).fetchall()
        passed = store.catalog.runs.find("demo-bm25").metrics["rubric"]
        labels = [version.label for version in store.catalog.agents.versions("stdlib-helper")]
        output = store.sql("SELECT output FROM traces WHERE case_id = 'flatten' AND agent_version LIKE 'bm25%'")
    # Two versions, 60 answers and 60 verdicts each: what judges ask is recorded too.
    assert calls == [("small-1", "small-1-2026", ["stop"], 100, 7, 240)]
    assert (passed["value"], passed["n"]) == (1.0, 60)
    assert labels == ["keyword-small-1", "bm25-small-1"]
    assert output.fetchall() == [("Use `itertools.chain.from_iterable`.",)]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret-key" not in kept


def test_a_model_server_that_is_not_there_costs_one_line(tmp_path: Path) -> None:
    finished = demo(tmp_path, "--model", "small-1", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert finished.returncode == 4
    assert len(finished.stderr.splitlines()) == 1
    assert "small-1 at http://127.0.0.1:9/v1" in finished.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--model", "small-1"], "OPENAI_BASE_URL"), (["--output", "missing/report.html"], "there is no folder")],
    ids=["no server named", "no folder for the report"],
)
def test_what_cannot_end_well_is_not_begun(tmp_path: Path, words: list[str], said: str) -> None:
    finished = demo(tmp_path, *words)
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1
    assert said in finished.stderr
    assert finished.stdout == ""
