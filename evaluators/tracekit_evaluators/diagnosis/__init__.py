"""Diagnosis: what went wrong in a trace, where, on what evidence, and what came of what."""

from tracekit_evaluators.diagnosis.detect import detect
from tracekit_evaluators.diagnosis.finding import Finding
from tracekit_evaluators.diagnosis.taxonomy import CODES, GROUPS, Code, code_of

__all__ = ["CODES", "GROUPS", "Code", "Finding", "code_of", "detect"]
