"""Scorers of autoevals as judges."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from tracekit_evaluators.adapters.foreign import Foreign, Package, described, given, label, need, number, text
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Direction, NotApplicable, Score

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

PACKAGE = Package("autoevals", "autoevals", ("autoevals", "autoevals.ragas"))
_DECODED = ("JSONDiff", "ListContains", "NumericDiff")
_WITHOUT_EXPECTED = ("AnswerRelevancy", "ContextRelevancy", "Faithfulness", "Moderation", "ValidJSON")
_VARIABLE = re.compile(r"\{\{\{?\s*([A-Za-z]\w*)")


@judge(needs=("what the scorer takes",), values="[0,1]")
def autoevals(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    direction: Direction = "maximize",
    timeout: float = 120.0,
) -> Call:
    """What a scorer of the package autoevals says.

    Args:
        scorer: Its name (`Levenshtein`, `Factuality`), or the scorer.
        parameters: What it is made with: `model`, `base_url`, `api_key`.
        arguments: What it is called with besides the subject: `criteria`, `schema`.
        direction: Which way is better.
        timeout: Seconds that a scorer that asks a model may take.

    Raises:
        UsageError: The package is not installed, has no such scorer, or that does not take these parameters.
    """
    built = PACKAGE.build(scorer, parameters)
    name, more = label(PACKAGE, scorer), dict(arguments or {})
    wanted = _wanted(built, name) - set(more)
    llm = isinstance(built, cast("type", PACKAGE.load("autoevals.llm").OpenAIScorer))

    def given_to(subject: Subject) -> dict[str, Any]:
        found = given(subject)
        found |= {"instructions": found["input"]} if "instructions" in wanted and "input" in found else {}
        need(found, sorted(wanted), name)
        if name.endswith(_DECODED):
            found |= {key: _decoded(found[key]) for key in ("output", "expected") if key in found}
        return {**found, **more}

    async def asked(subject: Subject) -> Score:
        return _score(await built.eval_async(**given_to(subject)), name)

    def answered(subject: Subject) -> Score:
        return _score(built.eval(**given_to(subject)), name)

    return Foreign(
        PACKAGE, name, asked if llm else answered, described(scorer), "llm" if llm else "code", direction, timeout
    )


def _wanted(built: Any, name: str) -> set[str]:
    """What must be there: a prompt's variables; for others what they read, as they take nothing for a wrong answer."""
    messages = getattr(built, "messages", None)
    if messages:
        own = set(getattr(built, "render_args", None) or {})
        found = {each for message in messages for each in _VARIABLE.findall(str(message.get("content")))}
        return {"output", *found} - own
    return {"output"} if name.endswith(_WITHOUT_EXPECTED) else {"output", "expected"}


def _decoded(value: str) -> object:
    try:
        return cast("object", json.loads(value))
    except ValueError:
        return value


def _score(result: Any, name: str) -> Score:
    if getattr(result, "error", None) is not None:
        raise cast("Exception", result.error)
    if result.score is None:
        raise NotApplicable(f"{name} skipped the subject")
    told = dict(result.metadata or {})
    return Score(
        number(result.score, name), explanation=text(told.get("rationale") or told.get("reason")), metadata=told
    )
