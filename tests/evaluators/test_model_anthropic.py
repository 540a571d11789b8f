"""The client of Anthropic's messages against a real socket."""

from __future__ import annotations

import asyncio

import pytest

from tracekit.errors import SettingError
from tracekit_evaluators.models import Completion, ModelUnavailable, Request, resolve
from tracekit_evaluators.models.anthropic import AnthropicModel, anthropic
from tracekit_evaluators.score import Refused, TimedOut

SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string"}}}
ASK = Request([{"role": "system", "content": "judge"}, {"role": "user", "content": "this"}])


def message(*content: object, stop: str = "end_turn", **usage: int) -> dict[str, object]:
    return {"model": "claude-x-1", "content": list(content), "stop_reason": stop, "usage": usage}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def ask(model: AnthropicModel, request: Request = ASK) -> Completion:
    async def go() -> Completion:
        try:
            return await model.complete(request)
        finally:
            await model.aclose()

    return asyncio.run(go())


@pytest.fixture
def model(model_server, monkeypatch) -> AnthropicModel:
    monkeypatch.setattr("tracekit_evaluators.models._retry.wait_of", lambda fault, tried: 0.001)
    return anthropic(model="claude-x", base_url=model_server.url, timeout=30)


def test_an_answer_comes_with_what_it_took(model, model_server, monkeypatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    usage = {"input_tokens": 10, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 5, "output_tokens": 7}
    model_server.script = [message(text("fi"), text("ne"), **usage)]
    answer = ask(model)
    assert (answer.text, answer.model, answer.finish_reason) == ("fine", "claude-x-1", "stop")
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (95, 7, 80)
    assert model_server.headers[0]["x-api-key"] == "sk-secret"
    assert model_server.headers[0]["anthropic-version"] == "2023-06-01"
    assert "sk-secret" not in repr(model) + repr(model.fingerprint)
    system = [{"type": "text", "text": "judge", "cache_control": {"type": "ephemeral"}}]
    asked = {"model": "claude-x", "max_tokens": 2000, "temperature": 0.0, "system": system}
    assert model_server.asked == [{**asked, "messages": [{"role": "user", "content": "this"}]}]


def test_a_shape_is_asked_for_as_a_tools_input(model, model_server) -> None:
    block = {"type": "tool_use", "id": "1", "name": "give_verdict", "input": {"verdict": "pass"}}
    model_server.script = [message(text("Let me see."), block, stop="tool_use")]
    answer = ask(model, Request(ASK.messages, schema=SCHEMA))
    assert (answer.text, answer.finish_reason, answer.input_tokens) == ('{"verdict": "pass"}', "stop", None)
    assert model_server.asked[0]["tools"][0]["input_schema"] == SCHEMA
    assert model_server.asked[0]["tool_choice"] == {"type": "tool", "name": "give_verdict"}


def test_a_server_without_tools_is_asked_in_words(model, model_server) -> None:
    def no_tools(handler, payload):
        if "tools" in payload:
            handler.answer(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "tools: no"}})
            return None
        return message(text('{"verdict": "pass"}'))

    model_server.script = [no_tools]
    assert ask(model, Request(ASK.messages, schema=SCHEMA)).text == '{"verdict": "pass"}'
    assert '"verdict"' in model_server.asked[1]["system"][0]["text"]


def test_an_answer_that_was_cut_off_says_so(model, model_server) -> None:
    model_server.script = [message(text("{"), stop="max_tokens")]
    assert ask(model).finish_reason == "length"


@pytest.mark.parametrize("status", [429, 500, 529])
def test_an_overloaded_server_is_asked_again(status: int, model, model_server) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    model_server.script = [lambda handler, _: handler.answer(status, error), message(text("fine"))]
    assert ask(model).attempts == 2


def test_faults_are_told_apart(model, model_server) -> None:
    model_server.script = [message(stop="refusal")]
    with pytest.raises(Refused):
        ask(model)
    model_server.script = [lambda handler, _: handler.answer(401, {"error": {"message": "invalid x-api-key"}})]
    with pytest.raises(ModelUnavailable, match="invalid x-api-key"):
        ask(model)
    model_server.script = [lambda handler, _: handler.hang()]
    with pytest.raises(TimedOut):
        ask(anthropic(model="claude-x", base_url=model_server.url, timeout=0.5))
    model_server.script = [{"type": "message"}]
    with pytest.raises(ModelUnavailable, match="holds no content"):
        ask(model)


def test_it_is_named_by_a_spec_and_its_address_by_a_setting(monkeypatch) -> None:
    made = resolve("anthropic?model=claude-x")
    assert made.fingerprint["base_url"] == "https://api.anthropic.com"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1/v1/")
    assert resolve("anthropic?model=claude-x").fingerprint["base_url"] == "http://127.0.0.1:1"
    with pytest.raises(SettingError):
        anthropic(model="claude-x", base_url="somewhere")
