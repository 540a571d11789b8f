"""A real `tracekit serve` in a process of its own, for the tests of serving."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tracekit_collector.store import Store

BOT = '''
import asyncio, os, time
import tracekit

@tracekit.tool
def look_up(word: str) -> str:
    return word.upper()

@tracekit.agent
async def answer(question: str) -> str:
    word, _, rest = question.partition(" ")
    if word == "fail":
        raise ValueError("no such thing")
    if word == "sleep":
        await asyncio.sleep(float(rest))
    return look_up(question)

def slowly(question: str):
    """A plain function on a thread."""
    if question.startswith("sleep "):
        time.sleep(float(question[6:]))
    return {"answer": question, "pid": os.getpid()}

async def flood(question: str):
    while question == "flood":
        yield "x" * 100_000
        await asyncio.sleep(0)
    yield question

async def words(question: str):
    for word in question.split():
        if word == "fail":
            raise ValueError("no such word")
        yield word + " "

def chat(messages: list, temperature: float = 1.0) -> dict:
    return {"messages": [*messages, {"role": "assistant", "content": f"{len(messages)} at {temperature}"}]}
'''


@dataclass
class Served:
    """A server that is running."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    def rows(self, query: str) -> list[dict[str, object]]:
        """What the store answers; the server goes on meanwhile."""
        with Store.open(self.folder / "store") as store:
            return store.sql(query).dicts()

    def stop(self) -> str:
        """SIGTERM, and what was said on standard error after the start."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=20)[1]


@contextlib.contextmanager
def _serving(
    folder: Path, *words: str, program: tuple[str, ...] = ("-m", "tracekit"), **variables: str
) -> Iterator[Served]:
    """Serve until the block ends.

    Args:
        folder: Where the agent's module and the store are.
        words: The arguments of `tracekit serve`.
        program: What Python runs.
        variables: Environment variables.
    """
    path = folder / "bot.py"
    if not path.exists():
        path.write_text(BOT, encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("TRACEKIT_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, *program, "serve", *words, "--port", "0", "--store", str(folder / "store")],
        cwd=folder,
        env={**clean, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        while (line := process.stderr.readline()) and not said.startswith("serving "):
            said = line
            if found := re.match(r"serving .* on (https?://\S+)", line):
                yield Served(process, found[1], folder)
                return
        raise AssertionError(f"it did not start: {said}{process.stderr.read()}")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        else:
            process.stderr.close()


@pytest.fixture(scope="session")
def serving() -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Serves in a folder, with the arguments of `tracekit serve`, for the length of a block."""
    return _serving
