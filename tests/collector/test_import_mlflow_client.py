"""Asking a tracking server: who asks is told to that server alone, and an answer that breaks off is one clear line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tracekit.errors import UsageError
from tracekit_collector.imports.mlflow_client import Client

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A server that answers as it is told, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        self.answer: Answer = whole
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.shown.append(self.headers["Authorization"])
                owner.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def whole(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"runs": 1}')


def to(url: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{url}{handler.path}".replace("/old/", "/new/"))
        handler.end_headers()

    return answer


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    made = Server(), Server()
    yield made
    for each in made:
        each.close()


def test_a_token_goes_to_no_other_server(servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    mine, other = servers
    mine.answer = to(other.url)
    assert Client(mine.url).get("2.0/mlflow/x") == {"runs": 1}
    assert (mine.shown, other.shown) == (["Bearer secret"], [None])


def test_a_redirect_on_the_same_server_keeps_it(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    mine, _ = servers
    mine.answer = lambda handler: (to(mine.url) if "/old/" in handler.path else whole)(handler)
    assert Client(mine.url).get("old/x") == {"runs": 1}
    assert mine.shown == ["Bearer secret", "Bearer secret"]


def test_an_answer_that_breaks_off_is_told(servers: tuple[Server, Server]) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"runs"')

    servers[0].answer = half
    with pytest.raises(UsageError, match="broke off its answer to /api/x"):
        Client(servers[0].url).get("x")
