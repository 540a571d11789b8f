"""Judges, scores, runs: what turns recorded traces into numbers that can be trusted."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tracekit_evaluators.judge import Judge, JudgeFactory, judge
from tracekit_evaluators.judge import load as load_judge
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score, Verdict
from tracekit_evaluators.subject import Case, Subject

if TYPE_CHECKING:
    from tracekit_evaluators.budget import Budget
    from tracekit_evaluators.imports import import_scores
    from tracekit_evaluators.runner import Run, estimate, evaluate

__all__ = [
    "Budget",
    "Case",
    "Evidence",
    "Judge",
    "JudgeFactory",
    "MissingInput",
    "NotApplicable",
    "Run",
    "Score",
    "Subject",
    "Verdict",
    "estimate",
    "evaluate",
    "import_scores",
    "judge",
    "load_judge",
]

_HOMES = {"Budget": "budget", "Run": "runner", "estimate": "runner", "evaluate": "runner", "import_scores": "imports"}


def __getattr__(name: str) -> object:
    # Every command of this package imports it; what judges traces is loaded by those that do.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
