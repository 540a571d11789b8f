"""Other projects' decorators, where they are installed: each with spans that end in a processor that does nothing.

Their exporters are left out, as ours is: what is measured is the time that the decorated code waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

Decorate = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Nowhere(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - what an exporter is given
        return SpanExportResult.SUCCESS


def peers() -> dict[str, Decorate]:
    """The tool decorator of each project that is installed, by the project's name and version."""
    found: dict[str, Decorate] = {}
    with contextlib.suppress(ImportError):
        found[_called("Phoenix", "openinference-instrumentation")] = _phoenix()
    with contextlib.suppress(ImportError):
        found[_called("MLflow", "mlflow-tracing", "mlflow-skinny", "mlflow")] = _mlflow()
    return found


def _phoenix() -> Decorate:
    try:
        from phoenix.otel import TracerProvider

        provider = TracerProvider(verbose=False)
    except ImportError:
        from openinference.instrumentation import TracerProvider

        provider = TracerProvider()
    provider.add_span_processor(SpanProcessor())  # takes the place of the one that exports each span at once
    return provider.get_tracer("bench").tool


def _mlflow() -> Decorate:
    import mlflow
    from mlflow.entities.trace_location import MlflowExperimentLocation
    from mlflow.tracing import provider
    from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor

    mlflow.set_tracking_uri("http://127.0.0.1:9")  # never asked
    # Its exporter would ask a server at each trace.
    provider._get_span_processors = lambda *_, **__: [  # noqa: SLF001 - there is no public way
        MlflowV3SpanProcessor(span_exporter=_Nowhere(), export_metrics=False)
    ]
    mlflow.tracing.set_destination(MlflowExperimentLocation("1"))

    @mlflow.trace
    def records() -> bool:
        return mlflow.get_current_active_span() is not None

    if not records():
        raise ImportError("this MLflow records nothing with this OpenTelemetry")
    return mlflow.trace(span_type="TOOL")


def _called(project: str, *distributions: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in distributions:
        with contextlib.suppress(PackageNotFoundError):
            return f"{project} ({name} {version(name)})"
    raise ImportError(project)
