"""Files of a run, kept in the store under the digest of their content."""

from __future__ import annotations

from tracekit_collector.artifacts import keep, kept

__all__ = ["keep", "kept"]
