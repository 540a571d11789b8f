"""The model client against a real socket: what servers do wrong, and what each fault becomes."""

from __future__ import annotations

import asyncio
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import PluginError, SettingError
from tracekit_evaluators.models import Completion, ModelUnavailable, Request, resolve
from tracekit_evaluators.models._retry import Fault, retry_after, wait_of
from tracekit_evaluators.models.openai import OpenAIModel, openai
from tracekit_evaluators.models.price import price
from tracekit_evaluators.score import Refused, TimedOut

SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string"}}}
ASK = Request([{"role": "system", "content": "judge"}, {"role": "user", "content": "this"}])


def ask(model: OpenAIModel, request: Request = ASK) -> Completion:
    async def go() -> Completion:
        try:
            return await model.complete(request)
        finally:
            await model.aclose()

    return asyncio.run(go())


def fails(status: int, message: str = "no", code: str | None = None, **headers: str):
    def step(handler, payload):
        handler.answer(status, {"error": {"message": message, "code": code}}, **headers)

    return step


@pytest.fixture
def model(model_server, monkeypatch) -> OpenAIModel:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("tracekit_evaluators.models._retry.asyncio.sleep", noted)
    made = openai(model="judge-1", base_url=model_server.url)
    made.waits = waits
    return made


def test_an_answer_comes_with_what_it_took(model, model_server) -> None:
    model_server.script = ["fine"]
    answer = ask(model)
    assert (answer.text, answer.model, answer.finish_reason, answer.attempts) == ("fine", "judge-1-0101", "stop", 1)
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (100, 10, 40)
    assert answer.latency_ms > 0
    assert answer.detail == {"system_fingerprint": "fp_1"}
    assert model_server.asked == [
        {"model": "judge-1", "messages": list(ASK.messages), "max_tokens": 2000, "temperature": 0.0, "seed": 0}
    ]


def test_the_price_of_an_unknown_model_is_unknown(model, model_server) -> None:
    model_server.script = ["fine"]
    assert ask(model).cost_usd is None
    assert price("gpt-4o-mini", 1000, None, base_url="https://api.openai.com/v1") is None
    assert price("gpt-4o-mini", 1_000_000, 0, base_url="https://api.openai.com/v1") == pytest.approx(0.15)
    assert price("gpt-4o-mini", 1_000_000, 0, provider="openai") == pytest.approx(0.15)


def test_the_key_goes_into_the_header_and_nowhere_else(model, model_server, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    model_server.script = ["fine"]
    ask(model)
    assert model_server.headers[0]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(model) + repr(model.fingerprint)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_a_busy_or_failing_server_is_asked_again(status: int, model, model_server) -> None:
    model_server.script = [fails(status), fails(status), "fine"]
    assert ask(model).attempts == 3
    assert 0.25 <= model.waits[0] <= 0.5
    assert 0.5 <= model.waits[1] <= 1.0


def test_the_server_says_how_long_to_wait(model, model_server) -> None:
    soon = email.utils.formatdate(time.time() + 50, usegmt=True)
    model_server.script = [fails(429, retry_after="7"), fails(503, retry_after=soon), "fine"]
    assert ask(model).attempts == 3
    assert 7 <= model.waits[0] <= 7.1
    assert 40 <= model.waits[1] <= 50.1


def test_too_long_a_wait_is_not_waited(model, model_server) -> None:
    model_server.script = [fails(429, "quota", retry_after="86400")]
    with pytest.raises(ModelUnavailable, match="HTTP 429: quota"):
        ask(model)
    assert len(model_server.asked) == 1


def test_attempts_end(model, model_server) -> None:
    model_server.script = [fails(500, "on fire")]
    with pytest.raises(ModelUnavailable, match=r"HTTP 500: on fire \(after 5 attempts\)"):
        ask(model)
    assert len(model_server.asked) == 5


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_not_asked_again(status: int, model, model_server) -> None:
    model_server.script = [fails(status, "who are you")]
    with pytest.raises(ModelUnavailable, match="who are you"):
        ask(model)
    assert len(model_server.asked) == 1


def test_nobody_listening_is_a_fault_that_is_tried_again(model) -> None:
    model.base_url = "http://127.0.0.1:9/v1"
    with pytest.raises(ModelUnavailable, match=r"ConnectError.*after 5 attempts"):
        ask(model)


@pytest.mark.parametrize("body", [b'{"choices": [{"mess', b"<html>", b"[]", b'{"choices": []}', b"null"])
def test_a_body_that_is_no_completion_is_asked_for_again(body: bytes, model, model_server) -> None:
    model_server.script = [lambda handler, _: handler.answer(200, body), "fine"]
    assert ask(model).attempts == 2


def test_a_connection_that_breaks_off_is_asked_again(model, model_server) -> None:
    def cut(handler, payload) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices"')
        handler.close_connection = True

    model_server.script = [cut, "fine"]
    assert ask(model).attempts == 2


def test_a_server_that_drips_runs_into_the_time_limit(model, model_server) -> None:
    def drip(handler, payload) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        while not model_server.released.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    model_server.script = [drip]
    model.timeout = 0.3
    with pytest.raises(TimedOut, match=r"did not answer within 0.3 s"):
        ask(model)
    assert len(model_server.asked) == 1


@pytest.mark.parametrize(
    "step",
    [
        {"choices": [{"message": {"content": None, "refusal": "I cannot judge that"}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "I"}, "finish_reason": "content_filter"}]},
        fails(400, "filtered", "content_filter"),
        fails(400, "The response was filtered: ResponsibleAIPolicyViolation"),
    ],
)
def test_refusals_and_content_filters_are_refusals(step: object, model, model_server) -> None:
    model_server.script = [step]
    with pytest.raises(Refused):
        ask(model)
    assert len(model_server.asked) == 1


def test_a_server_without_json_schema_is_asked_in_simpler_forms(model, model_server) -> None:
    def only_words(handler, payload):
        if "response_format" in payload:
            return fails(400, f"response_format {payload['response_format']['type']} is not supported")(
                handler, payload
            )
        return "fine"

    model_server.script = [only_words]
    request = Request(ASK.messages, schema=SCHEMA)

    async def twice() -> None:
        await model.complete(request)
        await model.complete(request)
        await model.aclose()

    asyncio.run(twice())
    forms = [payload.get("response_format", {}).get("type") for payload in model_server.asked]
    assert forms == ["json_schema", "json_object", "json_object", None, None]
    assert [payload.get("response_format", {}).get("schema") for payload in model_server.asked[1:3]] == [SCHEMA, None]
    schema = model_server.asked[0]["response_format"]["json_schema"]
    assert schema == {"name": "verdict", "strict": True, "schema": SCHEMA}
    assert '"verdict"' in model_server.asked[3]["messages"][0]["content"]
    assert ASK.messages[0]["content"] == "judge"


def test_another_bad_request_does_not_cost_the_schema(model, model_server) -> None:
    model_server.script = [fails(400, "too long", "context_length_exceeded"), "fine"]
    request = Request(ASK.messages, schema=SCHEMA)
    with pytest.raises(ModelUnavailable, match="too long"):
        ask(model, request)
    ask(model, request)
    assert [payload["response_format"]["type"] for payload in model_server.asked] == ["json_schema"] * 2


def test_parameters_that_a_model_does_not_know_are_left_out(model, model_server) -> None:
    def picky(handler, payload):
        for name in ("max_tokens", "temperature", "seed"):
            if name in payload:
                return fails(400, f"Unsupported parameter: '{name}'")(handler, payload)
        return "fine"

    model_server.script = [picky]
    assert ask(model).attempts == 1
    assert model_server.asked[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_samples_differ_by_their_seed(model, model_server) -> None:
    model_server.script = ["fine"]
    ask(model, Request(ASK.messages, sample=3))
    assert model_server.asked[0]["seed"] == 3


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


@given(st.text(), st.integers(1, 10_000))
def test_no_header_makes_the_wait_endless(text: str, tried: int) -> None:
    wait = wait_of(Fault("x", retryable=True, retry_after=retry_after({"retry-after": text})), tried)
    assert wait is None or 0 <= wait <= 120.1


def test_models_are_found_by_name_spec_or_as_they_are(model, monkeypatch) -> None:
    assert resolve(model) is model
    assert resolve("openai?model=a&base_url=http://x/v1").fingerprint["model"] == "a"
    assert resolve({"use": "openai", "model": "b", "base_url": "http://x/v1/"}).fingerprint["base_url"] == "http://x/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://y/v1")
    monkeypatch.setenv("TRACEKIT_JUDGE_MODEL", "qwen2.5:7b")
    assert dict(resolve(None).fingerprint) == {
        "model": "qwen2.5:7b",
        "base_url": "http://y/v1",
        "temperature": 0.0,
        "seed": 0,
    }


def test_without_a_model_or_server_the_message_says_what_to_set(monkeypatch) -> None:
    with pytest.raises(SettingError, match="TRACEKIT_JUDGE_MODEL"):
        resolve(None)
    with pytest.raises(SettingError, match="OPENAI_BASE_URL"):
        resolve("gpt-4o-mini")
    with pytest.raises(PluginError, match="no model client"):
        resolve({"use": "os.path:basename", "p": "x"})
