"""Judges, scores, runs: what turns recorded traces into numbers that can be trusted."""

from __future__ import annotations

from tracekit_evaluators.budget import Budget
from tracekit_evaluators.imports import import_scores
from tracekit_evaluators.judge import Judge, JudgeFactory, judge
from tracekit_evaluators.judge import load as load_judge
from tracekit_evaluators.runner import Run, estimate, evaluate
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score, Verdict
from tracekit_evaluators.subject import Case, Subject

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
