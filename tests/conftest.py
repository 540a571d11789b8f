"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import Context

import tracekit
from tracekit import _guard, _prompt_lookup
from tracekit._configuration import _ours, _relays
from tracekit._runtime import Runtime, runtime
from tracekit.testing import _swapped

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded payloads and reference data; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("TRACEKIT_SHARED", ROOT.parent / "shared"))
    if not (folder / "captures" / "manifest.json").is_file():
        pytest.skip(f"needs the reference data, which is not at {folder} (set TRACEKIT_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, free of the machine's settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("TRACEKIT_", "OTEL_", "OPENAI_", "ANTHROPIC_")) and name != "TRACEKIT_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRACEKIT_SPOOL", str(tmp_path / "spool"))  # not the machine's cache folder
    monkeypatch.setenv("TRACEKIT_ENVIRONMENTS", str(tmp_path / "environments"))


@pytest.fixture(autouse=True)
def _own_state() -> Iterator[None]:
    """Begin without faults, kept prompts and a current span; fail a test that leaves the process configured.

    What is left behind would be what the next test in this process begins with, whichever that is.
    """
    _guard.faults.clear()
    _prompt_lookup.forget()
    before = _in_force()
    token = otel_context.attach(Context())
    try:
        yield
    finally:
        otel_context.detach(token)
        _guard.faults.clear()
        _prompt_lookup.forget()
    if _in_force() != before:
        tracekit.shutdown(5.0)
        _swapped(Runtime())
        pytest.fail("the test configured tracekit and leaves it so; let it use the fixture `fresh`")


def _in_force() -> tuple[object, ...]:
    return runtime.started, runtime.provider, runtime.destination, dict(runtime.identity)


@pytest.fixture
def fresh() -> Iterator[Runtime]:
    """The state of a process that has not been configured; what the test configures ends with it."""
    before = _swapped(Runtime())
    relays = [(relay, dict(vars(relay))) for relay in _relays.values()]
    samplings = [(provider.sampler, provider.sampler.sampling) for provider in _ours]
    try:
        yield runtime
    finally:
        tracekit.shutdown(5.0)
        _swapped(before)
        for relay, state in relays:  # a provider's relay stays with it, whoever configures it
            vars(relay).update(state)
        for sampler, sampling in samplings:
            sampler.sampling = sampling
