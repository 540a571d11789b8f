"""Evaluators of arize-phoenix-evals as judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tracekit_evaluators.score import DIRECTIONS, Direction, NotApplicable, Score
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

PACKAGE = Package("arize-phoenix-evals", "phoenix.evals", ("phoenix.evals.metrics", "phoenix.evals"))


@judge(name="phoenix", needs=("what the scorer takes",), values="number or label")
def phoenix(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    direction: Direction | None = None,
    timeout: float = 120.0,
) -> Call:
    """What an evaluator of the package arize-phoenix-evals says.

    Args:
        scorer: Its name (`exact_match`, `FaithfulnessEvaluator`), or the evaluator.
        parameters: What it is made with: `llm: {use: phoenix.evals:LLM, provider: openai, model: NAME}`.
        arguments: Fields that it takes besides those of the subject.
        direction: Which way is better; what the evaluator says when not given.
        timeout: Seconds that an evaluator that asks a model may take.

    Raises:
        UsageError: The package is not installed, has no such evaluator, or that does not take these parameters.
    """
    built = PACKAGE.build(scorer, parameters)
    name = label(PACKAGE, scorer)
    schema = built.input_schema
    required = [] if schema is None else [key for key, one in schema.model_fields.items() if one.is_required()]

    def fields(subject: Subject) -> dict[str, Any]:
        found = {**_fields(subject), **(arguments or {})}
        need(found, required, name)
        return found

    async def asked(subject: Subject) -> object:
        return _scores(await built.async_evaluate(fields(subject)), name)

    def answered(subject: Subject) -> object:
        return _scores(built.evaluate(fields(subject)), name)

    llm = built.kind == "llm"
    toward = direction or (built.direction if built.direction in DIRECTIONS else "neutral")
    return Foreign(
        PACKAGE, name, asked if llm else answered, described(scorer), "llm" if llm else "code", toward, timeout
    )


def _fields(subject: Subject) -> dict[str, Any]:
    """A subject under the names that the package's evaluators use."""
    found = given(subject)
    context = "\n\n".join(found.get("context", ())) or None
    calls = [{"name": call.name, "arguments": call.arguments} for call in subject.tool_calls]
    results = [as_text(call.result) for call in subject.tool_calls if call.result is not None]
    offered = {as_text(tool.get("name")): tool for span in subject.trace.spans for tool in span.offered}
    return {
        **found,
        "context": context,
        "reference": found.get("expected"),
        "document_text": context,
        "documents": found.get("context"),
        "text": found.get("output"),
        "available_tools": as_text(list(offered.values())) if offered else None,
        "tool_selection": as_text(calls) if calls else None,
        "tool_call": as_text(calls) if calls else None,
        "tool_result": "\n".join(results) or None,
    }


def _scores(results: Sequence[Any], name: str) -> object:
    if not results:
        raise NotApplicable(f"{name} said nothing of the subject")
    return together(PACKAGE, [(str(each.name), _score(each, name)) for each in results])


def _score(result: Any, name: str) -> Score:
    value = result.label if result.score is None else result.score
    told = {**(result.metadata or {}), **({"label": result.label} if result.label is not None else {})}
    return Score(number(value, name), explanation=text(result.explanation), metadata=told)
