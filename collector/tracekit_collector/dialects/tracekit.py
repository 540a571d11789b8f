"""The spans that tracekit's own decorators write."""

from __future__ import annotations

from tracekit import attributes as names
from tracekit_collector.dialects import Dialect, marks, ranked


def dialect() -> Dialect:
    """The dialect of our own decorators; the GenAI keys that they share stand in `otel_genai`."""
    return Dialect(
        name="tracekit",
        rank=0,
        recognises=marks(names.STEP),
        keys={
            "case_id": ranked(0, names.CASE),
            "repeat": ranked(0, names.REPEAT),
            "run_id": ranked(0, names.RUN),
            "project": ranked(0, names.PROJECT),
        },
        steps={(names.STEP, 0): {kind: kind for kind in names.STEP_KINDS}},
        resource={
            "project": ranked(0, names.PROJECT),
            "run_id": ranked(0, names.RUN),
            "agent_name": ranked(90, names.AGENT_NAME),
            "agent_version": ranked(90, names.AGENT_VERSION),
        },
    )
