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

# What no span or record says as data: the name that was asked for, and arguments inside the text of a traceback.
NOT_TO_BE_HAD = {("openinference-openai-agents", "model"), ("fastmcp-toolerror", "tool.arguments")}
NAMES = (
    "claude-code",
    "claude-code-error",
    "fastmcp",
    "fastmcp-toolerror",
    "google-adk",
    "google-adk-content",
    "google-adk-error",
    "logfire-openai",
    "logfire-openai-stream",
    "openinference-anthropic-stream",
    "openinference-langgraph",
    "openinference-langgraph-error",
    "openinference-llama-index",
    "openinference-manual",
    "openinference-manual-toolfail",
    "openinference-openai",
    "openinference-openai-agents",
    "openinference-openai-error",
    "openinference-openai-stream",
    "openinference-smolagents",
    "otel-genai-anthropic",
    "otel-genai-langchain",
    "otel-genai-openai",
    "otel-genai-openai-agents",
    "otel-genai-openai-responses",
    "otel-genai-openai-stream",
    "otel-google-genai",
    "otel-openai-v2-latest",
    "otel-openai-v2-latest-error",
    "otel-openai-v2-legacy",
    "plain-grpc-genai",
    "plain-http-gzip-error",
    "plain-js-json",
    "pydantic-ai",
    "pydantic-ai-error",
    "pydantic-ai-stream",
    "pydantic-ai-v1",
    "pydantic-ai-v2",
    "traceloop-anthropic",
    "traceloop-openai",
    "traceloop-openai-0.47",
    "traceloop-openai-agents",
    "traceloop-sdk",
    "traceloop-sdk-error",
)


@pytest.mark.parametrize("name", NAMES)
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


def test_every_capture_is_tried(shared: Path) -> None:
    assert {capture["name"] for capture in _manifest(shared / "captures")} == set(NAMES)


def traces_of(capture: dict[str, Any], folder: Path) -> list[Trace]:
    spans, logs = rows_of(capture, folder), log_rows_of(capture, folder)
    by_trace: dict[object, list[dict[str, object]]] = {}
    for row in spans:
        by_trace.setdefault(row["trace_id"], []).append(row)
    return [assemble(rows, [log for log in logs if log["trace_id"] == each]) for each, rows in by_trace.items()]


def log_rows_of(capture: dict[str, Any], folder: Path) -> list[dict[str, object]]:
    if "logs" not in capture["files"]:
        return []
    request = decode_logs((folder / capture["files"]["logs"]).read_bytes()).request
    assert isinstance(request, ExportLogsServiceRequest)
    return log_rows(request, received_ns=1, digest="d")


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
