"""Versions that move under a server, workers that die, limits that are reached, and doors that stay closed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tracekit_collector.catalog.agents import AgentVersion
from tracekit_collector.store import Store

Serving = Callable[..., contextlib.AbstractContextManager[Any]]

# The program `tracekit` with an environment for each version that is only a folder, `v1`, `v2`, and this interpreter.
STAND_IN = """
import sys, types
from pathlib import Path

class Package:
    def __init__(self, version):
        self.version, self.digest = version, version.digest

    @classmethod
    def load(cls, store, version):
        return cls(version)

def environment(package, **_):
    folder = Path.cwd() / f"v{package.version.number}"
    manifest = {"entry_point": "agent:answer"}
    return types.SimpleNamespace(python=Path(sys.executable), source=folder, manifest=manifest)

for name, member in (("package", Package), ("environment", environment)):
    module = types.ModuleType(f"tracekit_collector.packaging.{name}")
    setattr(module, member.__name__, member)
    sys.modules[module.__name__] = module
sys.modules["tracekit_collector.packaging"] = types.ModuleType("tracekit_collector.packaging")

from tracekit.cli import main
sys.exit(main(sys.argv[1:]))
"""


def register(store: Store, folder: Path, number: int, code: str | None = None) -> AgentVersion:
    """A version whose agent says its number."""
    source = folder / f"v{number}"
    source.mkdir()
    text = code or f"async def answer(question: str) -> dict:\n    return {{'version': {number}}}\n"
    (source / "agent.py").write_text(text, encoding="utf-8")
    empty: dict[str, object] = {}
    return store.catalog.agents.register(
        "bot",
        label=f"1.{number}",
        digest=f"{number}" * 64,
        code=empty,
        parameters=empty,
        prompts=empty,
        dependencies=empty,
    )


@pytest.mark.slow
def test_an_alias_that_moves_under_load_drops_no_request_and_mixes_none(serving: Serving, tmp_path: Path) -> None:
    """50 requests a second for six seconds or until the second of two moves is seen, however slowly workers start."""
    with Store.open(tmp_path / "store") as store:
        first, second = register(store, tmp_path, 1), register(store, tmp_path, 2)
        store.catalog.agents.set_alias("bot", "production", first)
        words = ("bot@production", "--workers", "1", "--reload-every", "0.2")
        with serving(tmp_path, *words, program=("-c", STAND_IN)) as served:
            answers: list[httpx.Response] = []

            def seen() -> Counter[str]:
                return Counter(answer.headers["x-agent-version"] for answer in answers[75:])

            def moves(number: int, moved: int) -> bool:
                return number == 75 if not moved else moved == 1 and seen()["1.2"] > 50

            def ended(number: int, moved: int) -> bool:
                return number >= 300 and moved == 2 and answers[-1].headers["x-agent-version"] == "1.1"

            async def load() -> None:
                limits = httpx.Limits(max_connections=100)
                async with httpx.AsyncClient(base_url=served.url, limits=limits, timeout=20) as client:
                    loop = asyncio.get_running_loop()
                    begun, asked, number, moved = loop.time(), [], 0, 0

                    async def ask(number: int) -> None:
                        answers.append(await client.post("/invocations", json=f"q{number}"))

                    while not ended(number, moved):
                        assert number < 2_500, f"the moves are not seen: {seen()}"
                        await asyncio.sleep(max(0.0, begun + number / 50 - loop.time()))
                        if moves(number, moved):
                            version = (second, first)[moved]
                            await asyncio.to_thread(store.catalog.agents.set_alias, "bot", "production", version)
                            moved += 1
                        asked.append(asyncio.create_task(ask(number)))
                        number += 1
                    await asyncio.gather(*asked)

            asyncio.run(load())
            assert {answer.status_code for answer in answers} == {200}
            assert len(answers) >= 300
            served.stop()
            logged = {row["trace_id"]: row for row in served.rows("SELECT * FROM inferences")}
    assert len(logged) == len(answers)
    said = [(each.headers["x-agent-version"], f"1.{each.json()['version']}") for each in answers]
    assert [pair for pair in said if pair[0] != pair[1]] == []
    assert [
        each
        for each in answers
        if logged[each.headers["x-trace-id"]]["agent_version"] != each.headers["x-agent-version"]
    ] == []
    assert said[0][0] == "1.1"


@pytest.mark.slow
def test_a_package_is_served_in_its_own_environment(serving: Serving, tmp_path: Path) -> None:
    from tracekit_collector.packaging.build import Wanted, build
    from tracekit_collector.packaging.build import register as kept
    from tracekit_collector.packaging.source import from_paths

    path, cache = tmp_path / "agent.py", tmp_path / "cache"
    path.write_text("import sys\n\ndef answer(question: str) -> str:\n    return sys.prefix\n", encoding="utf-8")
    with Store.open(tmp_path / "store") as store:
        wanted = Wanted("bot", "agent:answer", from_paths([path], folder=tmp_path), label="1.0")
        version = kept(store, build(wanted, cache=cache))
        store.catalog.agents.set_alias("bot", "production", version)
    path.unlink()
    with serving(tmp_path, "bot@production", "--workers", "1", TRACEKIT_ENVIRONMENTS=str(cache)) as served:
        answer = httpx.post(f"{served.url}/invocations", json="where?", timeout=20)
    assert answer.headers["x-agent-version"] == "1.0"
    assert Path(answer.json()).is_relative_to(cache)


def test_a_version_that_does_not_start_leaves_the_old_one_serving(serving: Serving, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.catalog.agents.set_alias("bot", "production", register(store, tmp_path, 1))
        words = ("bot@production", "--workers", "1", "--reload-every", "0.1")
        with serving(tmp_path, *words, program=("-c", STAND_IN)) as served:
            broken = register(store, tmp_path, 2, "raise RuntimeError('no weights')\n")
            store.catalog.agents.set_alias("bot", "production", broken)
            failures = _until(lambda: httpx.get(f"{served.url}/version").json().get("reload_failures"))
            assert "no weights" in failures["main"]
            health = httpx.get(f"{served.url}/health")  # which needs no token
            assert (health.status_code, health.json()["reload_failing"]) == (200, ["main"])
            assert "weights" not in health.text
            assert httpx.post(f"{served.url}/invocations", json="x").headers["x-agent-version"] == "1.1"


def test_a_canary_gets_its_share_and_a_session_stays_with_one_version(serving: Serving, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.catalog.agents.set_alias("bot", "production", register(store, tmp_path, 1))
        register(store, tmp_path, 2)
        words = ("bot@production", "--canary", "bot@2=50%", "--workers", "1")
        with serving(tmp_path, *words, program=("-c", STAND_IN)) as served, httpx.Client(base_url=served.url) as client:
            split = Counter(client.post("/invocations", json="x").headers["x-agent-version"] for _ in range(60))
            assert set(split) == {"1.1", "1.2"}
            for chat in ("a", "b", "c", "d"):
                headers = {"X-Session-Id": chat}
                found = {client.post("/invocations", json="x", headers=headers).json()["version"] for _ in range(5)}
                assert len(found) == 1
            chosen = {"model": "bot@2", "messages": [{"role": "user", "content": "x"}]}
            answered = {client.post("/v1/chat/completions", json=chosen).headers["x-agent-version"] for _ in range(5)}
            assert answered == {"1.2"}


def test_a_killed_worker_costs_the_requests_in_it_alone(serving: Serving, tmp_path: Path) -> None:
    words = ("bot:slowly", "--agent", "bot", "--agent-version", "3", "--workers", "2", "--concurrency", "1")
    with serving(tmp_path, *words) as served, httpx.Client(base_url=served.url, timeout=20) as client:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            pending = [pool.submit(client.post, "/invocations", json="sleep 1") for _ in range(2)]
            _until(lambda: 'running{version="3"} 2' in client.get("/metrics").text)
            killed = client.get("/version").json()["versions"][0]["workers"][0]
            os.kill(killed, signal.SIGKILL)
            answers = [each.result() for each in pending]
        assert sorted(answer.status_code for answer in answers) == [200, 502]
        lost = next(answer for answer in answers if answer.status_code == 502)
        assert lost.json()["error"]["code"] == "worker_died"
        _until(lambda: client.get("/health").json()["workers"] == {"bot@3": 2})
        assert client.post("/invocations", json="x").status_code == 200
        served.stop()
        rows = served.rows("SELECT status_code, count(*) AS n FROM inferences GROUP BY 1 ORDER BY 1")
        assert rows == [{"status_code": 200, "n": 2}, {"status_code": 502, "n": 1}]


def test_a_full_queue_is_a_503_and_a_slow_agent_a_504(serving: Serving, tmp_path: Path) -> None:
    words = ("bot:answer", "--agent", "bot", "--workers", "1", "--concurrency", "1", "--queue", "1", "--timeout", "1")
    with serving(tmp_path, *words) as served, httpx.Client(base_url=served.url, timeout=20) as client:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            first = pool.submit(client.post, "/invocations", json="sleep 9")
            _until(lambda: "running{" in (text := client.get("/metrics").text) and _gauge(text, "running") == 1)
            second = pool.submit(client.post, "/invocations", json="sleep 0")
            _until(lambda: _gauge(client.get("/metrics").text, "waiting") == 1)
            full = client.post("/invocations", json="x")
            assert (full.status_code, full.headers["retry-after"]) == (503, "1")
            assert full.json()["error"]["code"] == "queue_full"
            assert first.result().status_code == 504
            assert first.result().json()["error"]["message"] == "the agent did not answer within 1 s"
            assert second.result().status_code in {200, 504}  # it came a moment later, and its time ran while it waited
        assert client.post("/invocations", json="x").json() == "X"  # the place is free again


def test_a_token_is_needed_once_one_was_made_and_its_scope_counts(serving: Serving, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        writer, _ = store.catalog.tokens.create("app", scopes=["write"])
        reader, _ = store.catalog.tokens.create("prometheus", scopes=["read"])
        other, _ = store.catalog.tokens.create("other", scopes=["write"], project="elsewhere")
    words = ("bot:answer", "--agent", "bot", "--workers", "1")
    with serving(tmp_path, *words) as served, httpx.Client(base_url=served.url) as client:

        def status(method: str, path: str, token: str | None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return client.request(method, path, json="x" if method == "POST" else None, headers=headers).status_code

        assert [status("POST", "/invocations", each) for each in (None, "tk_no", reader, other, writer)] == [
            401,
            401,
            403,
            403,
            200,
        ]
        assert [status("GET", "/metrics", each) for each in (None, writer, reader)] == [401, 403, 200]
        assert [status("GET", "/v1/models", each) for each in (None, writer, reader)] == [401, 200, 200]
        assert status("GET", "/health", None) == 200


def test_sigterm_answers_what_is_there_and_takes_no_more(serving: Serving, tmp_path: Path) -> None:
    with serving(tmp_path, "bot:answer", "--agent", "bot", "--workers", "1") as served:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pending = pool.submit(httpx.post, f"{served.url}/invocations", json="sleep 0.6", timeout=20)
            _until(lambda: _gauge(httpx.get(f"{served.url}/metrics").text, "running") == 1)
            served.stop()
            assert pending.result().status_code == 200
        assert served.process.returncode == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/health")
        assert served.rows("SELECT status_code FROM inferences") == [{"status_code": 200}]


def test_a_client_that_goes_away_frees_the_agent(serving: Serving, tmp_path: Path) -> None:
    words = ("bot:answer", "--agent", "bot", "--workers", "1", "--concurrency", "1")
    with serving(tmp_path, *words) as served, httpx.Client(base_url=served.url, timeout=10) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{served.url}/invocations", json="sleep 30", timeout=0.5)
        assert client.post("/invocations", json="x").json() == "X"
        served.stop()
        rows = served.rows("SELECT status_code FROM inferences ORDER BY time")
        assert sorted(str(row["status_code"]) for row in rows) == ["200", "499"]


def test_a_client_that_does_not_read_its_stream_frees_the_agent_when_its_time_is_over(
    serving: Serving, tmp_path: Path
) -> None:
    words = ("bot:flood", "--agent", "bot", "--workers", "1", "--concurrency", "1", "--timeout", "1")
    with serving(tmp_path, *words) as served, unread(served, b'{"input": "flood", "stream": true}') as stalled:
        assert stalled.recv(15) == b"HTTP/1.1 200 OK"
        answer = _until(lambda: _answered(served, "hello"))
        assert answer.json() == "hello"
        ended = (
            "SELECT i.status_code, s.error_type FROM inferences i JOIN spans s USING (span_id)"
            " WHERE i.request LIKE '%flood%'"
        )
        assert _until(lambda: served.rows(ended)) == [{"status_code": 200, "error_type": "timeout"}]


def test_a_body_that_does_not_come_is_given_up(serving: Serving, tmp_path: Path) -> None:
    with (
        serving(tmp_path, "bot:answer", "--agent", "bot", "--workers", "1", "--timeout", "0.5") as served,
        unread(served, b'"half', missing=5) as stalled,
    ):
        assert stalled.recv(28) == b"HTTP/1.1 408 Request Timeout"


@contextlib.contextmanager
def unread(served: Any, body: bytes, missing: int = 0) -> Iterator[socket.socket]:
    """A connection with a small buffer that has asked, but for `missing` bytes."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        made.settimeout(20)
        made.connect((host, int(port)))
        head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body) + missing}\r\n\r\n"
        made.sendall(head.encode() + body)
        yield made


def _answered(served: Any, question: str) -> httpx.Response | None:
    answer = httpx.post(f"{served.url}/invocations", json=question, timeout=20)
    return answer if answer.status_code == 200 else None


def test_with_a_certificate_the_door_speaks_tls_alone(
    serving: Serving, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    chain, key = certificate
    words = ("bot:answer", "--agent", "bot", "--workers", "1", "--tls-cert", str(chain), "--tls-key", str(key))
    with serving(tmp_path, *words) as served:
        assert served.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(chain))
        assert httpx.post(f"{served.url}/invocations", json="hello", verify=trusting, timeout=20).json() == "HELLO"
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{served.url.replace('https', 'http')}/invocations", json="hello", timeout=20)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bot:answer"], "is code without a name: say --agent NAME"),
        (["bot:nothing", "--agent", "bot"], "nothing"),
        (["bot:answer", "--agent", "bot", "--canary", "bot=150%"], "more than 0 % and less than 100 %"),
        (["bot:answer", "--agent", "bot", "--workers", "0"], "--workers must be from 1"),
        (
            ["bot:answer", "--agent", "bot", "--tls-cert", "x.pem"],
            "TLS needs a certificate and its key; give --tls-key",
        ),
        (["bot:answer", "--agent", "bot", "--tls-cert", "x.pem", "--tls-key", "y.pem"], "cannot use x.pem with y.pem"),
        (["bot:answer", "--agent", "bot", "--port", "99999"], "there is no port 99999; give one from 0 to 65535"),
        (["bot:answer", "--agent", "bot", "--host", "0.0.0.0"], "make a token for them"),
        (["ghost@production"], "there is no agent 'ghost'"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tracekit.cli import main

    (tmp_path / "bot.py").write_text("def answer(question: str) -> str:\n    return question\n", encoding="utf-8")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main(["serve", "--port", "0", *words, "--store", str(tmp_path / "store")]) in {2, 4}
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert message in capsys.readouterr().err


def _until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """What a condition gives as soon as it gives anything."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        pause.wait(0.02)
    return found


def _gauge(text: str, name: str) -> float:
    line = next(line for line in text.splitlines() if line.startswith(f"tracekit_serve_{name}{{"))
    return float(line.rpartition(" ")[2])
