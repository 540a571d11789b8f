"""Metrics of deepeval as judges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.adapters.foreign import Foreign, Package, described, given, label, need, number, text
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Direction, Score

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

PACKAGE = Package("deepeval", "deepeval", ("deepeval.metrics",))


@judge(needs=("input, and what the metric takes",), values="[0,1]")
def deepeval(
    *,
    scorer: object,
    parameters: Mapping[str, object] | None = None,
    direction: Direction = "maximize",
    timeout: float = 300.0,
) -> Call:
    """What a metric of the package deepeval says.

    Args:
        scorer: Its name (`AnswerRelevancyMetric`, `GEval`), or a function that makes one.
        parameters: What it is made with: `threshold`, `model`, `criteria`.
        direction: Which way is better.
        timeout: Seconds that a metric that asks a model may take.

    Raises:
        UsageError: The package is not installed, has no such metric, or that does not take these parameters.
    """
    os.environ.setdefault("DEEPEVAL_TELEMETRY_OPT_OUT", "YES")  # what is judged here is nobody else's business
    found = PACKAGE.find(scorer)
    name = label(PACKAGE, scorer)

    def made() -> Any:
        # A metric keeps its verdict in itself, so each subject gets its own.
        return PACKAGE.made(found, parameters) if callable(found) else _copied(found)

    async def asked(subject: Subject) -> Score:
        metric = made()
        case = _case(subject, name)
        await metric.a_measure(case, _show_indicator=False)
        return _score(metric, name)

    first = made()
    llm = getattr(first, "model", None) is not None or getattr(first, "evaluation_model", None) is not None
    return Foreign(PACKAGE, name, asked, described(scorer), "llm" if llm else "code", direction, timeout)


def _copied(metric: object) -> object:
    return PACKAGE.load("deepeval.metrics.utils").copy_metrics([metric])[0]


def _case(subject: Subject, name: str) -> object:
    """A subject as deepeval's test case."""
    known = given(subject)
    need(known, ["input"], name)
    cases = PACKAGE.load("deepeval.test_case")
    expected = subject.expected or {}
    calls = [
        cases.ToolCall(
            name=call.name or "",
            input_parameters=call.arguments if isinstance(call.arguments, dict) else None,
            output=call.result,
        )
        for call in subject.tool_calls
    ]
    names = expected.get("tool_names")
    wanted = expected.get("tool_calls")
    tools = [cases.ToolCall(name=str(each)) for each in names] if isinstance(names, (list, tuple)) else None
    if isinstance(wanted, (list, tuple)):
        tools = [cases.ToolCall(name=str(one["name"]), input_parameters=one.get("arguments")) for one in wanted]
    return cases.LLMTestCase(
        input=known["input"],
        actual_output=known.get("output"),
        expected_output=known.get("expected"),
        context=known.get("context"),
        retrieval_context=known.get("context"),
        tools_called=calls,
        expected_tools=tools,
    )


def _score(metric: Any, name: str) -> Score:
    if getattr(metric, "error", None):
        raise ValueError(metric.error)
    cost = getattr(metric, "evaluation_cost", None)
    passed = metric.is_successful()
    return Score(
        number(metric.score, name),
        passed=passed if isinstance(passed, bool) else None,
        explanation=text(metric.reason),
        cost_usd=cost,
        input_tokens=getattr(metric, "input_tokens", None),
        output_tokens=getattr(metric, "output_tokens", None),
        metadata={key: each for key, each in (("breakdown", metric.score_breakdown),) if each},
    )
