"""What the real packages are asked, in an environment that has them (`test_adapters.py` runs this)."""

from __future__ import annotations

import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pydantic_evals import Case, Dataset
from test_adapters import scored

from tracekit_evaluators import NotApplicable, evaluate, load_judge
from tracekit_evaluators.adapters.pydantic_evals import TracekitJudge, evaluator


@pytest.fixture(autouse=True)
def _key(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")


def called(name: str, **arguments: object) -> dict[str, object]:
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def test_autoevals_by_code(subject) -> None:
    expected = {"output": "Paris is the capital!"}
    found = scored("autoevals/Levenshtein", subject("Paris is the capital.", expected=expected))
    assert found["autoevals.Levenshtein"].value == pytest.approx(20 / 21)
    listed = scored("autoevals/ListContains", subject('["a", "b"]', expected={"output": ["a"]}))
    assert listed["autoevals.ListContains"].value == 0.5
    assert scored("autoevals/ExactMatch", subject("None")).status == "missing_input"
    assert scored("autoevals/Faithfulness", subject()).status == "missing_input"
    assert load_judge("autoevals/Levenshtein").fingerprint["package_version"].startswith("0.")


def test_autoevals_by_a_model(subject, model_server) -> None:
    model_server.script = [called("select_choice", choice="C", reasons="the same facts"), "words"]
    spec = {"use": "autoevals/Factuality", "parameters": {"model": "m", "base_url": model_server.url}}
    asked = subject(expected={"output": "an answer"})
    score = scored(spec, asked)["autoevals.Factuality"]
    assert (score.value, score.explanation) == (1.0, "the same facts")
    lost = scored(spec, subject("another", expected={"output": "an answer"}))
    assert lost.status in ("parse_error", "judge_error")
    assert lost.value is None
    assert scored(spec, subject()).status == "missing_input"


def test_phoenix_by_code(subject) -> None:
    assert scored("phoenix/exact_match", subject("a", expected={"output": "a"}))["phoenix.exact_match"].value == 1.0
    assert scored("phoenix/exact_match", subject("a")).status == "missing_input"
    found = scored('phoenix/MatchesRegex?parameters={"pattern": "ans"}', subject())
    assert found["phoenix.MatchesRegex"].explanation == "There are 1 matches for the regex: ans"


def test_phoenix_by_a_model(subject, model_server) -> None:
    model_server.script = [
        lambda _, asked: (
            called(asked["tools"][0]["function"]["name"], label="faithful", explanation="it stands there")
            if asked.get("tools")
            else json.dumps({"label": "faithful", "explanation": "it stands there"})
        )
    ]
    llm = {"use": "phoenix.evals:LLM", "provider": "openai", "model": "m", "base_url": model_server.url}
    spec = {"use": "phoenix/FaithfulnessEvaluator", "parameters": {"llm": llm}}
    found = scored(spec, subject(documents=[{"id": "d", "content": "text"}]))
    assert found["phoenix.FaithfulnessEvaluator"].value == 1.0
    assert found["phoenix.FaithfulnessEvaluator"].metadata["label"] == "faithful"
    assert scored(spec, subject()).status == "missing_input"


def test_a_run_with_scorers_of_others(store, record, tmp_path) -> None:
    record("one", output="Paris.", case="a")
    record("two", output="Rome", case="b")
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"case_id": "a", "expected": {"output": "Paris!"}}\n{"case_id": "b", "input": "x"}\n')
    run = evaluate(store, judges=["autoevals/Levenshtein", "phoenix/exact_match"], dataset=str(cases), name="theirs")
    assert run.metrics["autoevals.Levenshtein"]["value"] == pytest.approx(5 / 6)
    rows = store.sql("select name, status, value from scores order by name, status").fetchall()
    assert rows == [
        ("autoevals.Levenshtein", "missing_input", None),
        ("autoevals.Levenshtein", "scored", pytest.approx(5 / 6)),
        ("phoenix.exact_match", "missing_input", None),
        ("phoenix.exact_match", "scored", 0.0),
    ]


def task(question: str) -> str:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find", "gen_ai.tool.call.arguments": "{}"}
    with trace.get_tracer("task").start_as_current_span("find", attributes=tool):
        return f"{question} 42"


def report(*judges: object):
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    more = {"expected": {"contains": "42", "tool_names": ["find"]}}
    case = Case(name="one", inputs="six?", expected_output="six? 42", metadata=more)
    data = Dataset(name="sums", cases=[case], evaluators=[evaluator(each) for each in judges])
    return data.evaluate_sync(task, progress=False).cases[0]


def test_judges_are_evaluators_of_pydantic_evals() -> None:
    found = report("contains", "exact_match", "tool_names", "latency")
    assert found.assertions["contains"].value is True
    assert found.assertions["contains"].reason == "the output holds '42'"
    assert found.assertions["contains"].evaluator_version == load_judge("contains").digest[:12]
    assert found.assertions["exact_match"].value is True
    assert found.assertions["tool_names"].value is True
    assert 0 < found.scores["latency"].value < 5


def test_what_has_no_verdict_is_a_failure_or_no_result() -> None:
    def odd(subject) -> bool:
        raise RuntimeError("broken")

    def beside(subject) -> bool:
        raise NotApplicable("another question")

    found = report(odd, beside, "json_schema")
    assert found.assertions == {}
    assert [(each.name, each.error_message.partition(":")[0]) for each in found.evaluator_failures] == [
        ("odd", "RuntimeError"),
        ("json_schema", "MissingInput"),
    ]


def test_an_evaluator_is_kept_in_a_file(tmp_path) -> None:
    data = Dataset(name="sums", cases=[Case(inputs="six?")], evaluators=[evaluator('contains?any=["42"]')])
    data.to_file(tmp_path / "sums.yaml", custom_evaluator_types=[TracekitJudge])
    again = Dataset.from_file(tmp_path / "sums.yaml", custom_evaluator_types=[TracekitJudge])
    assert again.evaluate_sync(task, progress=False).cases[0].assertions["contains"].value is True
