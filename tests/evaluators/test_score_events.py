"""Scores leave as OpenTelemetry's evaluation events."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tracekit.cli import main
from tracekit_evaluators import Score, Subject, evaluate, judge


class Taken:
    """A server that takes OTLP logs, after answering 503 as often as it is told to."""

    def __init__(self) -> None:
        self.requests: list[ExportLogsServiceRequest] = []
        self.busy = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = 503 if owner.busy > 0 else 200
                owner.busy -= 1
                if status == 200:
                    owner.requests.append(ExportLogsServiceRequest.FromString(gzip.decompress(body)))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.send_header("retry-after", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def taken() -> Iterator[Taken]:
    server = Taken()
    yield server
    server.close()


@judge
def kind(subject: Subject) -> Score:
    if "rude" in subject.output_text:
        return Score(status="refused", explanation="would not say")
    return Score(0.75, explanation="mostly")


def test_a_runs_scores_arrive_as_events_on_their_traces(store, record, taken, capsys) -> None:
    good, bad = record("a"), record("b", output="rude")
    run = evaluate(store, judges=[kind], name="nightly", progress=False)
    taken.busy = 2
    assert main(["scores", "export", "nightly", "--otlp", taken.url, "--store", str(store.location)]) == 0
    assert capsys.readouterr().err == f"tracekit: 2 scores sent to {taken.url}\n"
    (request,) = taken.requests
    records = {each.trace_id.hex(): each for each in request.resource_logs[0].scope_logs[0].log_records}
    assert set(records) == {good, bad}
    told = {pair.key: pair.value.string_value or pair.value.double_value for pair in records[good].attributes}
    assert records[good].event_name == "gen_ai.evaluation.result"
    assert told.pop("tracekit.judge.digest")
    assert told == {
        "gen_ai.evaluation.name": "kind",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.evaluation.explanation": "mostly",
        "tracekit.score.target": "trace",
        "tracekit.score.source": "code",
        "tracekit.score.type": "number",
        "tracekit.score.direction": "maximize",
        "tracekit.run.id": run.id,
        "tracekit.judge.name": "kind",
        "tracekit.judge.version": "1",
    }
    failed = {pair.key: pair.value.string_value for pair in records[bad].attributes}
    assert failed["error.type"] == "refused"
    assert "gen_ai.evaluation.score.value" not in failed


def test_an_endpoint_that_does_not_take_them_is_told(store, record, taken, capsys) -> None:
    record("a")
    evaluate(store, judges=[kind], name="nightly", progress=False)
    taken.busy = 100
    assert main(["scores", "export", "nightly", "--otlp", taken.url, "--store", str(store.location)]) != 0
    assert "did not take the scores" in capsys.readouterr().err
