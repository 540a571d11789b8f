"""What the SDK's tests share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit.inbox import Record, read_segment, segments
from tracekit.testing import Recorder, recorded

Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Spans in memory, with counting ids and a ticking clock."""
    with recorded() as found:
        yield found


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Run some Python in a process of its own, in the test's folder."""

    def run(source: str, *, timeout: float = 40, check: bool = True, **environment: str):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore", str(path)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return run


class Stored:
    """Reads what the SDK has put into a store's inbox."""

    def spans(self, store: Path) -> list[Any]:
        """The protobuf spans."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = self._requests(store, ".traces", ExportTraceServiceRequest)
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def records(self, store: Path) -> list[Any]:
        """The protobuf log records."""
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        requests = self._requests(store, ".logs", ExportLogsServiceRequest)
        return [
            record
            for request in requests
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def resources(self, store: Path) -> list[dict[str, object]]:
        """The attributes of the resources of spans."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = self._requests(store, ".traces", ExportTraceServiceRequest)
        return [self.attributes(part.resource) for request in requests for part in request.resource_spans]

    def attributes(self, item: Any) -> dict[str, object]:
        """The scalar attributes of a protobuf span, record or resource."""
        return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in item.attributes}

    def _requests(self, store: Path, suffix: str, kind: Any) -> list[Any]:
        found = []
        for path in segments(store / "inbox"):
            for record in read_segment(path) if path.suffix == suffix else ():
                assert isinstance(record, Record)
                found.append(kind.FromString(record.payload))
        return found


@pytest.fixture
def stored() -> Stored:
    """Reads a store's inbox."""
    return Stored()
