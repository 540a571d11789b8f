"""The demo: both versions of the agent answer all questions, traced and collected, and are judged."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping

from tracekit.errors import TracekitError
from tracekit.inbox import ulid
from tracekit.settings import setting
from tracekit_collector.catalog import RunRecord
from tracekit_collector.service import Collector
from tracekit_collector.store import Store
from tracekit_evaluators.demo.agent import NAME, VERSIONS
from tracekit_evaluators.demo.judging import dataset, judges
from tracekit_evaluators.demo.questions import QUESTIONS
from tracekit_evaluators.judge import load
from tracekit_evaluators.runner import evaluate

_PATIENCE = 1800  # seconds for one version's sixty answers, which a slow model may need
_FOREIGN = ("TRACEKIT_", "OTEL_")


def demo(store: Store, *, model: str | None = None, say: Callable[[str], None]) -> list[RunRecord]:
    """Let both versions of the agent answer all questions, and judge the answers.

    The first version writes straight to the store; the second sends its spans by OTLP to a collector.

    Args:
        store: Where traces, scores and runs are kept.
        model: A model that answers and judges, asked at OPENAI_BASE_URL.
        say: Told what is going on, a line at a time.

    Returns:
        The run of each version, in the order of `VERSIONS`.

    Raises:
        SettingError: A model is named, and no server.
        TracekitError: A version could not answer.
    """
    wanted = [load(spec) for spec in judges(model)]  # a model without a server shows here, before any work
    turn = ulid()
    say(f"{len(QUESTIONS)} questions about Python's standard library, asked of two versions of one agent:")
    runs: list[RunRecord] = []
    with Collector(store, port=0) as collector:
        ways = [
            ({"TRACEKIT_STORE": str(store.location.resolve())}, "straight to the store"),
            ({"TRACEKIT_ENDPOINT": collector.url}, f"by OTLP to {collector.url}"),
        ]
        for version, (way, words) in zip(VERSIONS, ways, strict=True):
            _answer(version, session=f"demo-{turn}-{version}", model=model, way=way)
            say(f"  {NAME}@{version}: traces sent {words}")
    store.settle()
    say("Judging the traces ...")
    for version in VERSIONS:
        session = f"demo-{turn}-{version}"
        run = evaluate(
            store,
            judges=wanted,
            where=f"session_id = '{session}'",
            dataset=dataset(),
            name=f"demo-{version}",
            progress=False,
        )
        runs.append(run.record)
    return runs


def _answer(version: str, *, session: str, model: str | None, way: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "tracekit_evaluators.demo.agent", version, "--session", session]
    command += [] if model is None else ["--model", model]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            cwd=elsewhere,
            env=_environment(way),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise TracekitError(f"the agent {NAME}@{version} stopped: {lines[-1]}")


def _environment(way: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment: what this machine sets for other agents must not lead the demo's traces away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    for name, variable in (("openai_base_url", "OPENAI_BASE_URL"), ("openai_api_key", "OPENAI_API_KEY")):
        value = setting(name)
        if value:
            kept[variable] = value
    return {**kept, **way}
