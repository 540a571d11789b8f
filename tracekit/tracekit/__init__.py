"""Tracing for agents on OpenTelemetry."""

__version__ = "0.1.0"
