"""Redaction of what leaves by other doors: attachments in the store, and spans that somebody else's exporter sends."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

import tracekit
from tracekit._runtime import runtime
from tracekit.redaction import RedactingExporter, redactor
from tracekit.testing import Recorder

SECRET = '{"city": "Rome", "api_key": "abc"}'
CLEAN = '{"city": "Rome", "api_key": "[redacted: key api key]"}'


@pytest.fixture
def artifacts(recorder: Recorder, tmp_path: Path) -> Path:
    runtime.artifacts = tmp_path / "artifacts"
    runtime.redactor = redactor()
    return tmp_path / "artifacts"


def test_a_text_is_redacted_before_it_is_kept_and_says_so(recorder: Recorder, artifacts: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(SECRET, encoding="utf-8")
    with tracekit.span("x") as span:
        span.set(file=tracekit.Attachment(tmp_path / "config.json"), data=tracekit.Attachment(SECRET.encode()))
    digest = hashlib.sha256(CLEAN.encode()).hexdigest()
    assert [path.name for path in artifacts.iterdir()] == [digest]
    assert (artifacts / digest).read_text(encoding="utf-8") == CLEAN
    assert json.loads(recorder.spans[0].attributes["tracekit.metadata.file"]) == {
        "type": "file",
        "mime_type": "application/json",
        "sha256": digest,
        "bytes": 54,
        "redacted": True,
        "name": "config.json",
    }
    assert "abc" not in recorder.spans[0].attributes["tracekit.metadata.data"]


def test_other_texts_and_binary_values_are_kept_as_they_are(recorder: Recorder, artifacts: Path) -> None:
    for content in (b"a letter to nobody", b"\x00" + SECRET.encode(), b"\xff" + SECRET.encode(), b""):
        told = tracekit.Attachment(content).describe()
        assert told["sha256"] == hashlib.sha256(content).hexdigest()
        assert "redacted" not in told
        assert (artifacts / str(told["sha256"])).read_bytes() == content


def test_a_text_that_is_too_large_to_redact_is_not_kept(recorder: Recorder, artifacts: Path) -> None:
    content = b"x" * ((1 << 22) + 1)
    assert tracekit.Attachment(content).describe()["sha256"] == hashlib.sha256(content).hexdigest()
    assert not artifacts.exists()


def test_attachments_can_be_switched_off(script: Any, tmp_path: Path) -> None:
    source = """
        import tracekit
        with tracekit.span("x") as span:
            span.set(file=tracekit.Attachment(b"password=hunter2"))
        """
    script(source, TRACEKIT_ATTACHMENTS="0")
    assert not (tmp_path / ".tracekit" / "artifacts").exists()
    script(source)
    (kept,) = (tmp_path / ".tracekit" / "artifacts").iterdir()
    assert "hunter2" not in kept.read_text(encoding="utf-8")
    script(source, TRACEKIT_REDACT="off")
    assert (tmp_path / ".tracekit" / "artifacts" / hashlib.sha256(b"password=hunter2").hexdigest()).exists()


def test_another_exporter_gets_redacted_spans_and_the_span_itself_stays() -> None:
    seen, plain = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.password": "a"}), shutdown_on_exit=False)
    exporter = RedactingExporter(seen, "keys,email")
    for each in (exporter, plain):
        provider.add_span_processor(SimpleSpanProcessor(each))
    link = Link(SpanContext(1, 2, is_remote=True), {"token": "b"})
    with provider.get_tracer("t").start_as_current_span("mail ada@example.org", links=[link]) as span:
        span.set_attributes({"input.value": SECRET, "n": 3})
        span.add_event("sent to ada@example.org", {"secret": "c"})
        span.set_status(Status(StatusCode.ERROR, "no ada@example.org"))
    (found,), (before,) = seen.get_finished_spans(), plain.get_finished_spans()
    assert found.name == "mail [redacted: email]"
    assert dict(found.attributes or {}) == {"input.value": CLEAN, "n": 3}
    assert found.resource.attributes["service.password"] == "[redacted: key password]"
    assert found.events[0].name == "sent to [redacted: email]"
    assert dict(found.events[0].attributes or {}) == {"secret": "[redacted: key secret]"}
    assert dict(found.links[0].attributes or {}) == {"token": "[redacted: key token]"}
    assert found.status.description == "no [redacted: email]"
    assert (found.context, found.parent, found.kind, found.start_time, found.end_time) == (
        before.context,
        before.parent,
        before.kind,
        before.start_time,
        before.end_time,
    )
    assert (found.instrumentation_scope, found.events[0].timestamp) == (
        before.instrumentation_scope,
        before.events[0].timestamp,
    )
    assert before.name == "mail ada@example.org"
    assert exporter.force_flush()
    exporter.shutdown()
