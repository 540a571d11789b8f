"""A trace goes on in threads, executors, processes and other services."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context

import tracekit
from tracekit import propagation
from tracekit.inbox import segments

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@tracekit.tool
def look(query: str) -> str:
    return query


@tracekit.tool
async def look_later(query: str) -> str:
    await asyncio.sleep(0)
    return query


@pytest.fixture
def carrying() -> Iterator[None]:
    propagation.carry_into_threads()
    yield
    propagation.leave_threads_alone()


def test_headers_hold_the_trace_the_session_and_the_user(recorder) -> None:
    with tracekit.session("chat 1", user="ada"), tracekit.span("ask"):
        headers = tracekit.inject({"accept": "text/plain"})
    span = recorder.find(name="ask")
    assert headers == {
        "accept": "text/plain",
        "traceparent": f"00-{span.trace_id}-{span.span_id}-01",
        "baggage": "session.id=chat+1,user.id=ada",
    }


def test_a_service_goes_on_with_the_trace_the_session_and_the_user(recorder) -> None:
    with tracekit.session("chat 1", user="ada"), tracekit.span("ask"):
        headers = tracekit.inject()
    with tracekit.extract(headers) as trace_id, tracekit.span("answer"):
        look("x")
    ask, answer, tool = recorder.spans
    assert trace_id == ask.trace_id == answer.trace_id == tool.trace_id
    assert (answer.parent_id, tool.parent_id) == (ask.span_id, answer.span_id)
    for span in (answer, tool):
        said = span.attributes
        assert (said["session.id"], said["gen_ai.conversation.id"], said["user.id"]) == ("chat 1", "chat 1", "ada")


@pytest.mark.parametrize(
    "headers",
    [
        {"Traceparent": TRACEPARENT, "Baggage": "session.id=s"},
        [("traceparent", TRACEPARENT), ("baggage", "session.id=s")],
        [(b"traceparent", TRACEPARENT.encode()), (b"baggage", b"a=b"), (b"baggage", b"session.id=s")],
    ],
)
def test_headers_are_read_in_every_shape_that_servers_have_them(recorder, headers) -> None:
    with tracekit.extract(headers), tracekit.span("answer"):
        pass
    span = recorder.find(name="answer")
    assert (span.trace_id, span.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert span.attributes["session.id"] == "s"


@pytest.mark.parametrize(
    "headers",
    [{}, {"traceparent": "x"}, {"traceparent": TRACEPARENT.replace("0af7", "zzzz")}, {"baggage": "=;,%"}, None, [1], 3],
)
def test_headers_that_cannot_be_read_cost_the_link_and_not_the_request(recorder, headers) -> None:
    with tracekit.extract(headers) as trace_id, tracekit.span("answer"):
        pass
    assert trace_id is None
    assert recorder.find(name="answer").parent_id is None


def test_what_another_service_says_is_bounded_in_size(recorder) -> None:
    with tracekit.extract({"baggage": f"session.id={'x' * 3_000}"}), tracekit.span("answer"):
        pass
    assert len(recorder.find(name="answer").attributes["session.id"]) <= 1_024


def test_a_servers_own_span_stays_the_parent(recorder) -> None:
    tracer = recorder.tracer_provider.get_tracer("server")
    headers = {"traceparent": TRACEPARENT}
    with tracekit.extract(headers), tracer.start_as_current_span("GET /"), tracekit.extract(headers):
        look("x")
    assert recorder.find(name="look").parent == "GET /"


def test_a_session_of_ones_own_wins_over_the_callers(recorder) -> None:
    with tracekit.extract({"baggage": "session.id=theirs,user.id=ada"}), tracekit.session("mine"):
        look("x")
        headers = tracekit.inject()
    said = recorder.find(name="look").attributes
    assert (said["session.id"], said["user.id"]) == ("mine", "ada")
    assert headers["baggage"] == "session.id=mine,user.id=ada"


def test_baggage_that_somebody_else_sets_reaches_our_spans_and_theirs(recorder) -> None:
    token = otel_context.attach(baggage.set_baggage("user.id", "grace"))
    try:
        look("x")
        recorder.tracer_provider.get_tracer("theirs").start_span("theirs").end()
    finally:
        otel_context.detach(token)
    assert [span.attributes["user.id"] for span in recorder.spans] == ["grace", "grace"]


def test_the_setting_keeps_session_and_user_here(recorder, monkeypatch) -> None:
    monkeypatch.setenv("TRACEKIT_BAGGAGE", "0")
    with tracekit.session("chat-1", user="ada"), tracekit.span("ask"):
        headers = tracekit.inject()
    assert sorted(headers) == ["traceparent"]
    assert recorder.find(name="ask").attributes["user.id"] == "ada"


def test_carried_functions_run_in_the_trace_that_they_come_from(recorder) -> None:
    with ThreadPoolExecutor(1) as pool:
        with tracekit.session("s"), tracekit.span("outer"):
            carried = tracekit.carry(look)
            assert pool.submit(carried, "x").result() == "x"
        pool.submit(look, "y").result()
    first, second = (span for span in recorder.spans if span.name == "execute_tool look")
    assert (first.parent, first.attributes["session.id"], second.parent) == ("outer", "s", None)
    assert (carried.__name__, carried.__wrapped__) == ("look", look)


def test_carried_coroutine_functions_run_in_the_trace_that_they_come_from(recorder) -> None:
    with tracekit.span("outer"):
        carried = tracekit.carry(look_later)
    assert asyncio.run(carried("x")) == "x"
    assert recorder.find(name="look_later").parent == "outer"


def test_what_a_carried_function_raises_is_its_own_error(recorder) -> None:
    error = KeyError("x")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        tracekit.carry(fail)()
    assert caught.value is error
    assert not otel_context.get_current()


def test_a_carried_function_can_be_pickled_with_its_trace_session_and_case(recorder) -> None:
    with tracekit.session("s", user="ada"), tracekit.case("q-1"), tracekit.span("outer"):
        packed = pickle.dumps(tracekit.carry(look))
    assert pickle.loads(packed)("x") == "x"
    span = recorder.find(name="look")
    assert (span.trace_id, span.parent) == (recorder.find(name="outer").trace_id, "outer")
    assert [span.attributes[key] for key in ("session.id", "user.id", "tracekit.case.id")] == ["s", "ada", "q-1"]


def test_new_threads_carry_the_trace_on(recorder, carrying) -> None:
    class Mine(threading.Thread):
        def run(self) -> None:
            look("mine")

    with tracekit.span("outer"):
        threads = [threading.Thread(target=look, args=("plain",)), Mine(), threading.Timer(0, look, ("timer",))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {span.parent for span in recorder.spans if span.name == "execute_tool look"} == {"outer"}
    assert not any("run" in vars(thread) for thread in threads)


def test_a_thread_that_is_begun_twice_fails_as_it_does(carrying, recorder) -> None:
    with tracekit.span("outer"):
        thread = threading.Thread(target=look, args=("x",))
        thread.start()
        thread.join()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()


def test_a_pools_worker_is_in_the_trace_of_each_task_and_not_of_its_first(recorder, carrying) -> None:
    with ThreadPoolExecutor(1) as pool:
        for name in ("first", "second"):
            with tracekit.span(name):
                pool.submit(look, name).result()
        pool.submit(look, query="outside").result()
    parents = {span.input: span.parent for span in recorder.spans if span.name == "execute_tool look"}
    assert parents == {'{"query": "first"}': "first", '{"query": "second"}': "second", '{"query": "outside"}': None}


def test_threads_are_left_alone_unless_asked(recorder) -> None:
    with tracekit.span("outer"):
        thread = threading.Thread(target=look, args=("x",))
        thread.start()
        thread.join()
    assert recorder.find(name="look").parent is None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_go_on_with_the_trace(script, stored, tmp_path: Path, method: str) -> None:
    script(
        f"""
        import multiprocessing, tracekit
        from concurrent.futures import ProcessPoolExecutor

        @tracekit.tool
        def work(number):
            return number * 2

        if __name__ == "__main__":
            with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("{method}")) as pool:
                with tracekit.session("chat-1", user="ada"), tracekit.span("outer"):
                    assert list(pool.map(tracekit.carry(work), [1, 2, 3])) == [2, 4, 6]
        """
    )
    spans = stored.spans(tmp_path / ".tracekit")
    outer = next(span for span in spans if span.name == "outer")
    works = [span for span in spans if span.name != "outer"]
    assert {(span.trace_id, span.parent_span_id) for span in works} == {(outer.trace_id, outer.span_id)}
    assert [stored.attributes(span)["user.id"] for span in works] == ["ada"] * 3


def test_a_server_that_forks_its_workers_beside_running_threads_keeps_their_spans(script, stored, tmp_path) -> None:
    """As gunicorn does it: load, fork, serve; each request is in the trace of its caller."""
    done = script(
        """
        import json, os, socket, threading, urllib.request
        from http.server import BaseHTTPRequestHandler, HTTPServer
        import tracekit
        tracekit.init(propagate_threads=True)

        @tracekit.tool
        def work(text):
            return text

        class Serve(BaseHTTPRequestHandler):
            def do_GET(self):
                with tracekit.extract(self.headers.items()):
                    found = work(self.path)
                self.send_response(200); self.end_headers(); self.wfile.write(found.encode())
            def log_message(self, *_): pass

        work("before the fork")
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                work("busy")
                stop.wait(0.002)
        threading.Thread(target=busy).start()
        server = HTTPServer(("127.0.0.1", 0), Serve)
        workers = []
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                for _ in range(3):
                    server.handle_request()
                tracekit.flush()
                os._exit(0)
            workers.append(pid)
        stop.set()
        with tracekit.session("chat-1"), tracekit.span("client"):
            for number in range(6):
                url = f"http://127.0.0.1:{server.server_address[1]}/{number}"
                request = urllib.request.Request(url, headers=tracekit.inject())
                assert urllib.request.urlopen(request, timeout=10).read() == f"/{number}".encode()
            print(json.dumps(tracekit.trace_id()))
        assert [os.waitpid(pid, 0)[1] for pid in workers] == [0, 0]
        """
    )
    client = bytes.fromhex(json.loads(done.stdout))
    served = [span for span in stored.spans(tmp_path / ".tracekit") if span.trace_id == client and span.parent_span_id]
    assert sorted(stored.attributes(span)["output.value"] for span in served) == [f"/{number}" for number in range(6)]
    assert {stored.attributes(span)["session.id"] for span in served} == {"chat-1"}
    assert len(segments(tmp_path / ".tracekit" / "inbox")) == 3
