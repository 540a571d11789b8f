"""What serving costs: an agent behind `tracekit serve` against the same function behind uvicorn alone.

    python benchmarks/serve.py [--rounds N] [--requests N]

Both servers run at once; requests go to one and the other in turns over kept connections, one at a time, so that
whatever else the machine does falls on both. The bare one is what one writes by hand: an ASGI application that reads
the body, decodes it, calls the function and sends its output, without traces, logs, limits or processes of its own.
Three agents are served: one that answers at once, which shows the cost itself, and two that take 2 and 5 ms, as quick
real ones would. The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

MILLISECONDS = (0, 2, 5)
LIMIT = 1.3

_AGENT = """
import asyncio

async def answer_0(question: str) -> dict:
    return {"answer": question.upper(), "sources": [1, 2, 3]}

async def answer_2(question: str) -> dict:
    await asyncio.sleep(0.002)
    return {"answer": question.upper(), "sources": [1, 2, 3]}

async def answer_5(question: str) -> dict:
    await asyncio.sleep(0.005)
    return {"answer": question.upper(), "sources": [1, 2, 3]}
"""
_BARE = """
import json, socket, sys, uvicorn, agent

call = getattr(agent, sys.argv[1])

async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = json.dumps(await call(json.loads(body)["input"])).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})

config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False, date_header=False)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[2]))])
"""


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = json.dumps({"input": "which module reads comma-separated values?"}).encode()
        head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self._request = head.encode() + b"\r\n\r\n" + body

    def ask(self) -> float:
        """Seconds from a request to the whole answer."""
        begun = time.perf_counter()
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._socket.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # both servers say it
        while len(body) < size:
            body += self._socket.recv(65_536)
        taken = time.perf_counter() - begun
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {head!r}")
        return taken

    def close(self) -> None:
        """Let go of the connection."""
        self._socket.close()


@contextlib.contextmanager
def bare(folder: Path, name: str) -> Iterator[int]:
    """The function behind uvicorn alone; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    command = [sys.executable, "-c", _BARE, name, str(listener.fileno())]
    process = subprocess.Popen(command, cwd=folder, pass_fds=(listener.fileno(),))
    try:
        yield listener.getsockname()[1]
    finally:
        process.terminate()
        process.wait()
        listener.close()


@contextlib.contextmanager
def served(folder: Path, name: str) -> Iterator[int]:
    """The function behind `tracekit serve`; gives the port."""
    environment = {**os.environ, "TRACEKIT_STORE": str(folder / "store")}
    command = [sys.executable, "-m", "tracekit", "serve", f"agent:{name}", "--agent", "bot", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--reload-every", "0"],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"serving .* on http://127\.0\.0\.1:(\d+)", line)
            if found:
                yield int(found[1])
                return
        raise SystemExit("tracekit serve did not start")
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def compare(folder: Path, milliseconds: int, *, rounds: int, requests: int) -> dict[str, float]:
    """Latencies of both in milliseconds.

    Args:
        folder: Holds the agent's module.
        milliseconds: How long the agent takes.
        rounds: How often it is the turn of each.
        requests: In each turn.
    """
    name = f"answer_{milliseconds}"
    with bare(folder, name) as plain_port, served(folder, name) as our_port:
        clients = {"bare": Client(plain_port), "served": Client(our_port)}
        for client in clients.values():
            for _ in range(50):
                client.ask()
        times: dict[str, list[float]] = {"bare": [], "served": []}
        for _ in range(rounds):
            for each, client in clients.items():
                times[each] += [client.ask() for _ in range(requests)]
        for client in clients.values():
            client.close()
    found: dict[str, float] = {"agent_ms": milliseconds, "requests": rounds * requests}
    for each, seconds in times.items():
        cuts = statistics.quantiles(seconds, n=100)
        found[f"{each}_p50_ms"], found[f"{each}_p99_ms"] = round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3)
    found["ratio_p50"] = round(found["served_p50_ms"] / found["bare_p50_ms"], 3)
    return found


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--requests", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "agent.py").write_text(_AGENT, encoding="utf-8")
        for milliseconds in MILLISECONDS:
            row = compare(Path(folder), milliseconds, rounds=arguments.rounds, requests=arguments.requests)
            rows.append(row)
            verdict = "within" if row["ratio_p50"] <= LIMIT else "over"
            print(
                f"agent of {milliseconds} ms: bare p50 {row['bare_p50_ms']} ms, served p50 {row['served_p50_ms']} ms, "
                f"{row['ratio_p50']} × ({verdict} {LIMIT} ×); p99 {row['bare_p99_ms']} and {row['served_p99_ms']} ms"
            )
    print(json.dumps({"benchmark": "serve", "rows": rows}))


if __name__ == "__main__":
    main()
