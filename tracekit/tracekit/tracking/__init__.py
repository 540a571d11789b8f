"""Tracking: runs with parameters, series of numbers, artifacts, code and environment, sent as log records."""

from __future__ import annotations

from tracekit.tracking.runs import Run, current_run, run

__all__ = ["Run", "current_run", "run"]
