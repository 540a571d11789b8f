"""Agents of LangGraph, pydantic-ai and the OpenAI Agents SDK, as they come from PyPI, are entry points."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first run on a machine installs packages

AGENT = Path(__file__).parent / "agents" / "entries.py"


def test_real_agents_answer_text_and_messages_whole_and_in_chunks(python: Path, ours: Path, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    variables = {**kept, "PYTHONPATH": str(ours), "OPENAI_AGENTS_DISABLE_TRACING": "1", "TRACEKIT_DISABLED": "1"}
    done = subprocess.run(
        [python, AGENT], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    state = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "When is it open?"},
        {"role": "assistant", "content": "ten to four"},
    ]
    said = {"call": "ten to four", "chat": "ten to four", "stream": "ten to four", "output": {"type": "string"}}
    assert told["desk"] == {"kind": "pydantic_ai", **said}
    assert told["triage"] == {"kind": "openai_agents", **said}
    assert told["chatting"] == {
        "kind": "runnable",
        **said,
        "chat": {"messages": state},
        "output": {"anyOf": [{"type": "string"}, {"type": "object"}]},
    }
    assert told["counting"]["call"] == {"number": 4}
    assert told["counting"]["stream"] == [{"number": 4}]
    assert told["counting"]["input"]["properties"]["number"]["type"] == "integer"
