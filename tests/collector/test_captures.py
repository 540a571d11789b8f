"""What real instrumentations send becomes the facts of what happened."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tracekit_collector.otlp import JSON, decode_logs, decode_traces
from tracekit_collector.rows import log_rows, span_rows
from tracekit_collector.trace import Trace, assemble

CAPTURES = (
    "otel-openai-v2-legacy",
    "otel-openai-v2-latest",
    "otel-openai-v2-latest-error",
    "otel-genai-openai",
    "otel-genai-openai-stream",
    "otel-genai-openai-responses",
    "otel-genai-anthropic",
    "otel-genai-langchain",
    "otel-genai-openai-agents",
    "otel-google-genai",
    "openinference-openai",
    "openinference-openai-stream",
    "openinference-openai-error",
    "openinference-anthropic-stream",
    "openinference-langgraph",
    "openinference-langgraph-error",
    "openinference-openai-agents",
    "openinference-smolagents",
    "openinference-llama-index",
    "openinference-manual",
    "openinference-manual-toolfail",
    "plain-grpc-genai",
    "plain-http-gzip-error",
    "plain-js-json",
)

# Facts that no span of a model call carries: the name that was asked for, and the one that answered.
NOT_TO_BE_HAD = {("openinference-openai-agents", "model"), ("openinference-llama-index", "response_model")}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_becomes_the_facts_that_it_records(name: str, shared: Path) -> None:
    folder = shared / "captures"
    capture = next(each for each in _manifest(folder) if each["name"] == name)
    traces = [json.loads(json.dumps(trace.to_dict())) for trace in traces_of(capture, folder)]
    missed = [
        (fact, got, wanted)
        for fact, holds, got, wanted in _checker(folder).facts(capture, traces)
        if not holds and (name, fact) not in NOT_TO_BE_HAD
    ]
    assert missed == []


def test_most_facts_of_the_other_dialects_hold_already(shared: Path) -> None:
    folder = shared / "captures"
    checker = _checker(folder)
    held = asked = 0
    for capture in _manifest(folder):
        traces = [json.loads(json.dumps(trace.to_dict())) for trace in traces_of(capture, folder)]
        facts = checker.facts(capture, traces)
        held, asked = held + sum(fact[1] for fact in facts), asked + len(facts)
    assert held / asked > 0.9


def traces_of(capture: dict[str, Any], folder: Path) -> list[Trace]:
    spans = rows_of(capture, folder)
    logs: list[dict[str, object]] = []
    if "logs" in capture["files"]:
        request = decode_logs((folder / capture["files"]["logs"]).read_bytes()).request
        assert isinstance(request, ExportLogsServiceRequest)
        logs = log_rows(request, received_ns=1, digest="d")
    by_trace: dict[object, list[dict[str, object]]] = {}
    for row in spans:
        by_trace.setdefault(row["trace_id"], []).append(row)
    return [assemble(rows, [log for log in logs if log["trace_id"] == each]) for each, rows in by_trace.items()]


def rows_of(capture: dict[str, Any], folder: Path) -> list[dict[str, object]]:
    path = folder / capture["files"]["traces"]
    decoded = decode_traces(path.read_bytes(), JSON) if path.suffix == ".json" else decode_traces(path.read_bytes())
    rows, refusals = span_rows(decoded.request, received_ns=1)
    assert refusals == []
    return rows


def _manifest(folder: Path) -> list[dict[str, Any]]:
    captures: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())["captures"]
    return captures


def _checker(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("captures_check", folder / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
