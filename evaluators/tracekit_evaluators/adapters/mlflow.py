"""Scorers of MLflow as judges. Those that read a trace of MLflow's own have nothing to read here."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.adapters.foreign import (
    Foreign,
    Package,
    described,
    given,
    label,
    need,
    number,
    text,
    together,
)
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Direction, MissingInput, NotApplicable, Score, Unscored

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

PACKAGE = Package("mlflow", "mlflow", ("mlflow.genai.scorers",))
_WORDS = {"yes": True, "no": False}


@judge(needs=("what the scorer takes",), values="{0,1}, number or label")
def mlflow(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    direction: Direction = "maximize",
    timeout: float = 300.0,
) -> Call:
    """What a scorer of the package MLflow says.

    Args:
        scorer: Its name (`Correctness`, `Guidelines`), or the scorer, also one made by `@scorer`.
        parameters: What it is made with: `model: openai:/NAME`, `guidelines`.
        direction: Which way is better.
        timeout: Seconds that a scorer may take.

    Raises:
        UsageError: The package is not installed, has no such scorer, or that does not take these parameters.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is judged here is nobody else's business
    built = PACKAGE.build(scorer, parameters)
    name = label(PACKAGE, scorer)
    takes = inspect.signature(built.__call__ if not inspect.isfunction(built) else built).parameters
    llm = isinstance(built, PACKAGE.load("mlflow.genai.judges").Judge)
    empty = inspect.Parameter.empty

    def answered(subject: Subject) -> object:
        told = _told(subject)
        if ("session" in takes and "inputs" not in takes) or ("trace" in takes and takes["trace"].default is empty):
            raise MissingInput(f"{name} reads a trace of MLflow's own, which the subject does not have")
        need(
            told, [key for key in takes if key in ("inputs", "outputs") and (llm or takes[key].default is empty)], name
        )
        return _scores(built.run(**told), name)

    async def asked(subject: Subject) -> object:
        return await asyncio.to_thread(answered, subject)

    return Foreign(
        PACKAGE, name, asked if llm else answered, described(scorer), "llm" if llm else "code", direction, timeout
    )


def _told(subject: Subject) -> dict[str, Any]:
    found = given(subject)
    expectations = dict(subject.expected or {})
    for ours, theirs in (("output", "expected_response"), ("facts", "expected_facts")):
        if ours in expectations:
            expectations.setdefault(theirs, expectations[ours])
    told = {"outputs": found.get("output"), "expectations": expectations or None}
    return {**told, "inputs": None if "input" not in found else _asked(found["input"])}


def _asked(words: str) -> object:
    try:
        decoded = json.loads(words)
    except ValueError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"question": words}


def _scores(result: Any, name: str) -> object:
    if result is None or result == []:
        raise NotApplicable(f"{name} said nothing of the subject")
    if isinstance(result, list):
        return together(PACKAGE, [(str(each.name), _score(each, name)) for each in result])
    return _score(result, name) if hasattr(result, "rationale") else Score(_value(result, name))


def _score(feedback: Any, name: str) -> Score:
    error = getattr(feedback, "error", None)
    if error is not None:
        raise Unscored(f"{name}: {error.error_code}: {error.error_message}")
    told = {"source": feedback.source.source_id, **(feedback.metadata or {})} if feedback.source else {}
    return Score(_value(feedback.value, name), explanation=text(feedback.rationale), metadata=told)


def _value(value: object, name: str) -> float | bool | str:
    word = str(getattr(value, "value", value)).lower()
    return _WORDS[word] if word in _WORDS else number(getattr(value, "value", value), name)
