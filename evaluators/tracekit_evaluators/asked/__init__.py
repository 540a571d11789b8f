"""What all model judges share: the question, the fence around what is judged, the forms of an answer, its scores.

A judge that asks a model is a prompt (criteria, what to show, the form of the answer) and nothing else; `Asked` does
the rest. Prompts that ship with tracekit are data files in `tracekit_evaluators.packs`.
"""

from __future__ import annotations

from tracekit_evaluators.asked.forms import Form, Lists, Scale
from tracekit_evaluators.asked.judging import Asked, Outcome, Spent
from tracekit_evaluators.asked.prompt import Prompt

__all__ = ["Asked", "Form", "Lists", "Outcome", "Prompt", "Scale", "Spent"]
