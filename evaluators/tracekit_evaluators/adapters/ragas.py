"""Metrics of ragas as judges: those of `ragas.metrics.collections`, and older ones that score a sample."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.adapters.foreign import Foreign, Package, described, given, label, need, number, text
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Direction, Score

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

PACKAGE = Package("ragas", "ragas", ("ragas.metrics.collections", "ragas.metrics"))
_NAMES = {
    "user_input": "input",
    "response": "output",
    "reference": "expected",
    "retrieved_contexts": "context",
}


@judge(needs=("what the metric takes",), values="number or label")
def ragas(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    arguments: Mapping[str, object] | None = None,
    direction: Direction = "maximize",
    timeout: float = 300.0,
) -> Call:
    """What a metric of the package ragas says.

    Args:
        scorer: Its name (`Faithfulness`, `ExactMatch`), or the metric.
        parameters: What it is made with: `llm: {use: ragas.llms:llm_factory, model: NAME, client: {use: …}}`.
        arguments: What it is called with besides the subject: `llm` of a metric that takes it with every call.
        direction: Which way is better.
        timeout: Seconds that a metric that asks a model may take.

    Raises:
        UsageError: The package is not installed, has no such metric, or that does not take these parameters.
    """
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")  # what is judged here is nobody else's business
    built = PACKAGE.build(scorer, parameters)
    name = label(PACKAGE, scorer)
    more = dict(arguments or {})
    llm = any(getattr(built, each, None) is not None for each in ("llm", "embeddings")) or "llm" in more

    async def asked(subject: Subject) -> Score:
        known = {**{theirs: given(subject).get(ours) for theirs, ours in _NAMES.items()}, **more}
        if not hasattr(built, "ascore") or hasattr(built, "single_turn_ascore"):
            return await _of_sample(built, known, name)
        takes = inspect.signature(built.ascore).parameters.values()
        if any("Message" in str(each.annotation) for each in takes):
            known |= _conversation(subject)
        named = [each for each in takes if each.kind is not each.VAR_KEYWORD]
        need(known, [each.name for each in named if each.default is each.empty], name)
        wanted = known if len(named) < len(takes) else {each.name: known.get(each.name) for each in named}
        result = await built.ascore(**{key: value for key, value in wanted.items() if value is not None})
        return Score(number(result.value, name), explanation=text(result.reason))

    return Foreign(PACKAGE, name, asked, described(scorer), "llm" if llm else "code", direction, timeout)


async def _of_sample(metric: Any, known: Mapping[str, Any], name: str) -> Score:
    wanted = {column for columns in metric.required_columns.values() for column in columns}
    need(known, sorted(column.partition(":")[0] for column in wanted if ":optional" not in column), name)
    sample = PACKAGE.load("ragas.dataset_schema").SingleTurnSample(**{key: known.get(key) for key in _NAMES})
    return Score(number(await metric.single_turn_ascore(sample), name))


def _conversation(subject: Subject) -> dict[str, Any]:
    """What was said and called, and the calls that are expected, as ragas's messages."""
    kinds = PACKAGE.load("ragas.messages")
    turns: list[Any] = [kinds.HumanMessage(content=subject.input or "")]
    for call in subject.tool_calls:
        made = kinds.ToolCall(name=call.name or "", args=call.arguments if isinstance(call.arguments, dict) else {})
        turns += [kinds.AIMessage(content="", tool_calls=[made]), kinds.ToolMessage(content=str(call.result))]
    turns.append(kinds.AIMessage(content=subject.output or ""))
    wanted = (subject.expected or {}).get("tool_calls")
    if not isinstance(wanted, (list, tuple)):
        return {"user_input": turns}
    calls = [kinds.ToolCall(name=str(one["name"]), args=one.get("arguments") or {}) for one in wanted]
    return {"user_input": turns, "reference_tool_calls": calls}
