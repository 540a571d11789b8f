"""Models that are functions, and models through SDKs: the real ones where installed, else made-up modules."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Mapping

import pytest

from tracekit.errors import PluginError, UsageError
from tracekit_evaluators.models import ChatModel, Completion, ModelUnavailable, Request, resolve
from tracekit_evaluators.models._sdk import SdkModel, fault_of
from tracekit_evaluators.score import Refused, TimedOut

SCHEMA = {"type": "object", "properties": {"verdict": {"type": "string"}}}
ASK = Request([{"role": "system", "content": "judge"}, {"role": "user", "content": "this"}], schema=SCHEMA)
BODY = {
    "model": "served-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}


def ask(model: ChatModel, request: Request = ASK) -> Completion:
    async def go() -> Completion:
        try:
            return await model.complete(request)
        finally:
            await model.aclose()

    return asyncio.run(go())


def plain(request: Request) -> str:
    return f"{len(request.messages)} messages"


async def slow(request: Request) -> str:
    await asyncio.sleep(30)
    return "late"


def made(*, word: str = "made") -> ChatModel:
    return resolve(lambda request: word)


def test_a_function_is_a_model_async_or_not() -> None:
    async def later(request: Request) -> Completion:
        return Completion("later", model="m", input_tokens=3)

    assert ask(resolve(plain)).text == "2 messages"
    assert ask(resolve(later)).input_tokens == 3
    with pytest.raises(TimedOut):
        ask(resolve(slow, timeout=0.01))
    with pytest.raises(PluginError, match="returned a int"):
        ask(resolve(lambda request: 5))


def test_a_function_is_named_by_its_path_and_a_models_tag_is_no_path(monkeypatch) -> None:
    module = types.ModuleType("some_models")
    module.plain, module.made = plain, made
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "some_models", module)
    assert ask(resolve("some_models:plain")).text == "2 messages"
    assert ask(resolve("some_models:made")).text == "made"
    assert ask(resolve("some_models:made?word=other")).text == "other"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert resolve("llama3:latest").fingerprint["model"] == "llama3:latest"
    assert resolve("qwen3:8b").fingerprint["model"] == "qwen3:8b"


def test_another_function_is_another_model() -> None:
    assert resolve(plain).fingerprint != resolve(slow).fingerprint


def fake(monkeypatch, name: str, **members: object) -> None:
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize(
    ("package", "use", "model"), [("litellm", "litellm", "openai/m"), ("any_llm", "any_llm", "openai:m")]
)
def test_a_made_up_sdk_is_asked_as_the_real_one_is(package: str, use: str, model: str, monkeypatch) -> None:
    asked: list[Mapping[str, object]] = []

    async def acompletion(**given: object) -> Mapping[str, object]:
        asked.append(given)
        return BODY

    fake(monkeypatch, package, acompletion=acompletion)
    answer = ask(resolve({"use": use, "model": model, "options": {"api_base": "http://x"}}))
    assert (answer.text, answer.model, answer.input_tokens, answer.cached_tokens) == ("fine", "served-1", 9, 4)
    assert asked[0]["model"] == model
    assert asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert asked[0]["api_base"] == "http://x"


def test_an_sdk_that_is_not_installed_says_what_to_install(monkeypatch) -> None:
    for name, use in [
        ("litellm", "litellm"),
        ("any_llm", "any_llm"),
        ("openai", "openai_sdk"),
        ("pydantic_ai", "pydantic_ai"),
    ]:
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match="pip install 'tracekit"):
            resolve({"use": use, "model": "m"})


class RateLimitError(Exception):
    status_code = 429


class ContentPolicyViolationError(Exception):
    pass


class APITimeoutError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ContentPolicyViolationError(), Refused), (APITimeoutError(), TimedOut), (ValueError(), ModelUnavailable)],
)
def test_exceptions_of_sdks_are_told_apart(error: Exception, kind: type[Exception]) -> None:
    async def call(request: Request) -> Completion:
        raise error

    with pytest.raises(kind):
        ask(SdkModel("sdk", "m", call))
    assert getattr(fault_of(RateLimitError(), "m"), "too_much", False) is True


def test_the_real_openai_package_asks_a_real_socket(model_server) -> None:
    pytest.importorskip("openai", reason="needs the extra openai")
    from openai import AsyncOpenAI

    model_server.script = ["fine", lambda handler, _: handler.answer(401, {"error": {"message": "no key"}})]
    client = AsyncOpenAI(base_url=model_server.url, api_key="k", max_retries=0)
    answer = ask(resolve({"use": "openai_sdk", "model": "m", "client": client}))
    assert (answer.text, answer.input_tokens, answer.cached_tokens) == ("fine", 100, 40)
    client = AsyncOpenAI(base_url=model_server.url, api_key="k", max_retries=0)
    with pytest.raises(ModelUnavailable, match="401"):
        ask(resolve({"use": "openai_sdk", "model": "m", "client": client}))


def test_the_real_pydantic_ai_asks_a_model_of_its_own() -> None:
    pytest.importorskip("pydantic_ai", reason="needs the extra pydantic-ai")
    from pydantic_ai.models.test import TestModel

    answer = ask(resolve({"use": "pydantic_ai", "model": TestModel(custom_output_text="fine")}))
    assert (answer.text, answer.model) == ("fine", "test")
    assert answer.input_tokens is not None


@pytest.mark.filterwarnings("ignore")  # its own, as its parts age
def test_the_real_litellm_asks_a_real_socket(model_server, monkeypatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    pytest.importorskip("litellm", reason="needs the extra litellm")
    model_server.script = ["fine"]
    options = {"api_base": model_server.url, "api_key": "k"}
    assert ask(resolve({"use": "litellm", "model": "openai/m", "options": options})).text == "fine"


@pytest.mark.filterwarnings("ignore")  # its own, as its parts age
def test_the_real_any_llm_asks_a_real_socket(model_server) -> None:
    pytest.importorskip("any_llm", reason="needs the extra any-llm")
    pytest.importorskip("openai", reason="needs the package openai")
    model_server.script = [{**BODY, "id": "1", "created": 1, "object": "chat.completion"}]
    options = {"api_base": model_server.url, "api_key": "k"}
    assert ask(resolve({"use": "any_llm", "model": "openai:m", "options": options})).text == "fine"
