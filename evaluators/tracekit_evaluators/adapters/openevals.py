"""Evaluators of openevals as judges."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError
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
from tracekit_evaluators.score import Direction, ParseFailed, Score
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

_HOMES = ("openevals", "openevals.string.levenshtein", "openevals.string.embedding_similarity", "openevals.json")
PACKAGE = Package("openevals", "openevals", (*_HOMES, "openevals.json.match", "openevals.llm"))


@judge(needs=("what the scorer takes",), values="{0,1} or [0,1]")
def openevals(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    direction: Direction = "maximize",
    timeout: float = 120.0,
) -> Call:
    """What an evaluator of the package openevals says.

    Args:
        scorer: Its name (`exact_match`, `create_async_llm_as_judge`), or the evaluator.
        parameters: What it is made with: `prompt` (its text, or the name of one of the package's), `model`.
        direction: Which way is better.
        timeout: Seconds that an evaluator that asks a model may take.

    Raises:
        UsageError: The package is not installed, has no such evaluator, or that does not take these parameters.
    """
    found = PACKAGE.find(scorer)
    if not callable(found):
        raise UsageError(f"openevals: {scorer!r} is no evaluator")
    own = {**(parameters or {})}
    makes = str(getattr(found, "__name__", "")).startswith("create_")
    prompt = own.get("prompt")
    if isinstance(prompt, str) and prompt.endswith("_PROMPT"):
        own["prompt"] = getattr(PACKAGE.load("openevals.prompts"), prompt, prompt)
    built = PACKAGE.made(found, own) if makes else found
    name = _MADE.sub("", label(PACKAGE, scorer))
    llm = "judge" in name or "embedding" in name
    wanted = _wanted(own.get("prompt")) if "llm_as_judge" in name else ["output", *([] if llm else ["expected"])]

    def arguments(subject: Subject) -> dict[str, Any]:
        known = given(subject)
        need(known, ["output"] if "trajectory" in name else wanted, name)
        told = _turns(subject) if "trajectory" in name else _told(known, json_texts="json" in name)
        return {**told, **({} if makes else own)}

    async def answered(subject: Subject) -> object:
        result = built(**arguments(subject))
        return _scores(await result if inspect.isawaitable(result) else result, name)

    return Foreign(PACKAGE, name, answered, described(scorer), "llm" if llm else "code", direction, timeout)


_MADE = re.compile(r"(?<=\.)create_(async_)?|_evaluator$")
_NAMES = {"inputs": "input", "outputs": "output", "reference_outputs": "expected", "context": "context"}


def _wanted(prompt: object) -> list[str]:
    """What a prompt's template names."""
    words = prompt if isinstance(prompt, str) else ""
    return ["output", *(name for key, name in _NAMES.items() if f"{{{key}}}" in words and name != "output")]


def _told(known: Mapping[str, Any], *, json_texts: bool) -> dict[str, Any]:
    told = {key: known[name] for key, name in _NAMES.items() if name in known}
    if "context" in told:
        told["context"] = "\n\n".join(told["context"])
    if json_texts:
        return {key: json.loads(told[key]) for key in ("outputs", "reference_outputs") if key in told}
    return told


def _turns(subject: Subject) -> dict[str, Any]:
    """The trajectory as messages of OpenAI's kind: each tool call, and the answer."""
    expected = (subject.expected or {}).get("trajectory")
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": as_text(call.arguments or {})}}
        for call in subject.tool_calls
    ]
    turns: list[dict[str, Any]] = [{"role": "user", "content": subject.input or ""}]
    turns += [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls]
    turns.append({"role": "assistant", "content": subject.output or ""})
    return {"outputs": turns, **({} if expected is None else {"reference_outputs": expected})}


def _scores(result: Any, name: str) -> object:
    if isinstance(result, list):
        return together(PACKAGE, [(str(each.get("key")), _score(each, name)) for each in result])
    return _score(result, name)


def _score(result: Any, name: str) -> Score:
    if not isinstance(result, Mapping) or "score" not in result:
        raise ParseFailed(f"{name} gave no score")
    return Score(
        number(result["score"], name), explanation=text(result.get("comment")), metadata=result.get("metadata") or {}
    )
