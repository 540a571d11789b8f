"""The fault server: what each fault of a model's server becomes, through the runner, for judges of every form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import pytest

from tracekit_evaluators import evaluate

CRITERIA = "rubric?criteria=It is good.&model=judge-1&max_tokens=100&base_url="


def verdict(said: str) -> str:
    return json.dumps({"evidence": [], "reasoning": "because", "verdict": said})


def claims(*verdicts: str) -> str:
    items = [{"text": "t", "span_id": "", "quote": "", "verdict": each} for each in verdicts]
    return json.dumps({"asks": items, "reasoning": "because", "verdict": "listed"})


def fails(status: int, message: str = "no", code: str | None = None, **headers: str) -> Callable[..., None]:
    return lambda handler, _: handler.answer(status, {"error": {"message": message, "code": code}}, **headers)


def drips(handler, _) -> None:
    """Sends its headers and a byte, and no more."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.hang()


def finished(text: str, reason: str) -> dict[str, object]:
    return {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": reason}], "usage": {}}


FAULTS = {
    "nobody asked too much for good": (fails(429, "quota", retry_after="999"), "judge_error"),
    "a broken server": (fails(400, "broken"), "judge_error"),
    "no right": (fails(401), "judge_error"),
    "a truncated answer": (finished(verdict("pass")[:-5], "length"), "parse_error"),
    "no JSON": ("I would say that it passes.", "parse_error"),
    "a list": ("[1, 2]", "parse_error"),
    "another schema": ('{"score": 5}', "parse_error"),
    "a level that is none": (verdict("excellent"), "parse_error"),
    "an empty answer": ("", "parse_error"),
    "a filter before": (fails(400, "no", "content_filter"), "refused"),
    "a filter after": (finished("{", "content_filter"), "refused"),
    "a refusal": ({"choices": [{"message": {"refusal": "I will not."}}]}, "refused"),
    "a server that hangs": (lambda handler, _: handler.hang(), "timeout"),
    "a server that drips": (drips, "timeout"),
}


@pytest.mark.parametrize("use", ["rubric?criteria=It is good.&", "completeness?", "g_eval?criteria=It is good.&"])
def test_every_fault_has_its_status_and_no_value(use: str, store, record, model_server) -> None:
    for fault in FAULTS:
        record(fault, output=f"the fault is {fault}.")

    def answer(handler, payload):
        text = payload["messages"][1]["content"]
        step = next(step for fault, (step, _) in FAULTS.items() if f"the fault is {fault}." in text)
        return step(handler, payload) if callable(step) else step

    model_server.script = [answer]
    # One after the other: the server that wants to be left alone would keep the others waiting.
    spec = f"{use}model=judge-1&timeout=1&base_url={model_server.url}"
    run = evaluate(store, judges=[spec], agent="bot", concurrency=1)
    rows = store.sql(
        "SELECT t.output, s.name, s.status, s.value, s.label FROM scores s JOIN traces t ON s.trace_id = t.trace_id "
        "WHERE s.run_id = ?",
        [run.id],
    ).fetchall()
    name = use.partition("?")[0]
    assert sorted(rows) == sorted((f"the fault is {key}.", name, said, None, None) for key, (_, said) in FAULTS.items())


@pytest.mark.parametrize("fault", ["429", "500", "503", "cut off", "no body"])
def test_what_passes_by_itself_costs_no_verdict(fault: str, store, record, model_server, monkeypatch) -> None:
    steps = {
        "429": fails(429, retry_after="0"),
        "500": fails(500, retry_after="0"),
        "503": fails(503, retry_after="0"),
        "cut off": lambda handler, _: handler.answer(200, b'{"choices": [{"mess', retry_after="0"),
        "no body": lambda handler, _: handler.answer(200, b""),
    }
    monkeypatch.setattr("tracekit_evaluators.models._retry.wait_of", lambda fault, tried: 0.001)
    record("one")
    model_server.script = [steps[fault], verdict("pass")]
    run = evaluate(store, judges=[CRITERIA + model_server.url], agent="bot")
    rows = store.sql("SELECT status, value FROM scores WHERE run_id = ?", [run.id]).fetchall()
    assert rows == [("scored", 1.0)]
    assert len(model_server.asked) == 2


def test_an_answer_that_is_wrong_once_is_repaired_and_paid_for_twice(store, record, model_server) -> None:
    record("one")
    model_server.script = [claims("answered", "perhaps"), f"```json\n{claims('answered', 'unanswered')}\n```"]
    judge = f"completeness?model=judge-1&base_url={model_server.url}"
    run = evaluate(store, judges=[judge], agent="bot")
    rows = store.sql(
        "SELECT name, value, input_tokens FROM scores WHERE run_id = ? AND name = ?", [run.id, "completeness"]
    )
    assert rows.fetchall() == [("completeness", 0.5, 200)]
    assert "item 2 of 'asks' has the verdict 'perhaps'" in model_server.asked[1]["messages"][-1]["content"]


def test_one_fault_among_many_costs_its_own_score_alone(store, record, model_server) -> None:
    for key in range(8):
        record(f"case {key}", output=f"answer {key}")

    def answer(handler, payload):
        text = payload["messages"][1]["content"]
        if "answer 3" in text:
            return "nothing of use"
        if "answer 5" in text:
            handler.answer(400, {"error": {"code": "content_filter", "message": "no"}})
            return None
        return verdict("pass")

    model_server.script = [answer]
    run = evaluate(store, judges=[CRITERIA + model_server.url], agent="bot")
    statuses = store.sql("SELECT status FROM scores WHERE run_id = ?", [run.id]).fetchall()
    assert Counter(status for (status,) in statuses) == {"scored": 6, "parse_error": 1, "refused": 1}


def test_judging_again_pays_only_for_what_gave_no_verdict(store, record, model_server) -> None:
    for key in range(4):
        record(f"case {key}", output=f"answer {key}")
    model_server.script = [
        lambda _, payload: "?" if "answer 2" in payload["messages"][1]["content"] else verdict("pass")
    ]
    evaluate(store, judges=[CRITERIA + model_server.url], agent="bot")
    assert len(model_server.asked) == 5
    model_server.script = [verdict("fail")]
    run = evaluate(store, judges=[CRITERIA + model_server.url], agent="bot")
    assert len(model_server.asked) == 6
    values = store.sql("SELECT value FROM scores WHERE run_id = ?", [run.id]).fetchall()
    assert sorted(values) == [(0.0,), (1.0,), (1.0,), (1.0,)]
