"""Entry points: anything that can be an agent is called with a JSON value, whole or in chunks."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import functools
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from tracekit.entry_point import Entry, entry, load
from tracekit.errors import UsageError


def called(target: object, given: object) -> object:
    return asyncio.run(entry(target, ref="it").call(given))


def streamed(target: object, given: object) -> list[object]:
    async def chunks() -> list[object]:
        return [chunk async for chunk in entry(target, ref="it").stream(given)]

    return asyncio.run(chunks())


def plain(text: str) -> str:
    return text.upper()


async def coroutine(text: str) -> str:
    return text.upper()


def generator(text: str) -> Iterator[str]:
    yield from text.upper()


async def async_generator(text: str) -> AsyncIterator[str]:
    for letter in text.upper():
        yield letter


class WithCall:
    def __call__(self, text: str) -> str:
        return text.upper()


class AsyncCall:
    async def __call__(self, text: str) -> str:
        return text.upper()


KINDS = [plain, coroutine, generator, async_generator, WithCall, WithCall(), AsyncCall(), functools.partial(coroutine)]


@pytest.mark.parametrize("target", KINDS, ids=lambda target: getattr(target, "__name__", type(target).__name__))
def test_every_kind_of_callable_gives_its_whole_output(target: object) -> None:
    assert called(target, "abc") == "ABC"


@pytest.mark.parametrize("target", KINDS, ids=lambda target: getattr(target, "__name__", type(target).__name__))
def test_every_kind_of_callable_streams(target: object) -> None:
    chunks = streamed(target, "abc")
    assert chunks == (["A", "B", "C"] if target in (generator, async_generator) else ["ABC"])


def test_what_is_yielded_and_no_text_becomes_a_list() -> None:
    assert called(lambda n: iter(range(n)), 3) == [0, 1, 2]


def test_a_function_with_one_parameter_gets_the_whole_input() -> None:
    assert called(lambda given: given, {"a": [1]}) == {"a": [1]}


def test_a_function_with_several_gets_the_inputs_keys() -> None:
    def add(first: int, second: int) -> int:
        return first + second

    assert called(add, {"first": 1, "second": 2}) == 3
    with pytest.raises(UsageError, match="must be an object with first, second, not a list"):
        called(add, [1, 2])


def test_the_one_argument_that_is_needed_may_come_alone_or_with_others() -> None:
    def answer(question: str, *, limit: int = 3) -> str:
        return question[:limit]

    assert called(answer, "Why not?") == "Why"
    assert called(answer, {"question": "Why not?", "limit": 1}) == "W"


def test_an_input_becomes_what_the_parameter_is_annotated_as() -> None:
    class Mood(enum.Enum):
        CALM = "calm"

    @dataclasses.dataclass
    class Inner:
        mood: Mood

    @dataclasses.dataclass
    class Asked:
        inner: list[Inner]

    def answer(asked: Asked) -> Asked:
        assert asked.inner[0].mood is Mood.CALM
        return asked

    answer.__annotations__ = {"asked": Asked, "return": Asked}
    Asked.__annotations__ = {"inner": list[Inner]}
    Inner.__annotations__ = {"mood": Mood}
    assert called(answer, {"inner": [{"mood": "calm"}]}) == {"inner": [{"mood": "calm"}]}
    with pytest.raises(ValueError, match=r"the input is no Asked: .*unexpected keyword argument 'outer'"):
        called(answer, {"outer": 1})


class State(TypedDict):
    question: str


def test_signatures_come_from_annotations() -> None:
    def several(question: str, limit: int = 3) -> list[int]: ...  # type: ignore[empty-body]  # only its types count
    def typed(state: State) -> State: ...  # type: ignore[empty-body]  # as above
    def noted(question: Annotated[str, "What to ask"]): ...

    by_name = {
        "type": "object",
        "properties": {"question": {"type": "string"}, "limit": {"type": "integer", "default": 3}},
        "required": ["question"],
        "additionalProperties": False,
    }
    state = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
    assert entry(plain).signature() == {"input": {"type": "string"}, "output": {"type": "string"}}
    assert entry(async_generator).signature()["output"] == {"type": "string"}
    assert entry(several).signature() == {
        "input": {"anyOf": [{"type": "string"}, by_name]},
        "output": {"type": "array", "items": {"type": "integer"}},
    }
    assert entry(typed).signature() == {"input": state, "output": state}
    assert entry(noted).signature() == {"input": {"type": "string", "description": "What to ask"}, "output": {}}
    assert entry(lambda given: given).signature() == {"input": {}, "output": {}}


def test_plain_functions_run_on_a_thread_in_the_callers_context() -> None:
    said: contextvars.ContextVar[str] = contextvars.ContextVar("said")

    async def main() -> object:
        said.set("hello")
        return await entry(lambda _given: [said.get(), threading.current_thread() is threading.main_thread()]).call("")

    assert asyncio.run(main()) == ["hello", False]


def test_a_plain_generator_keeps_its_context_between_chunks_and_is_closed() -> None:
    said: contextvars.ContextVar[int] = contextvars.ContextVar("said", default=0)
    closed: list[bool] = []

    def count(_given: str) -> Iterator[int]:
        try:
            while True:
                said.set(said.get() + 1)
                yield said.get()
        finally:
            closed.append(True)

    async def main() -> list[object]:
        found: list[object] = []
        stream = entry(count).stream("")
        async for chunk in stream:
            found.append(chunk)
            if chunk == 3:
                break
        await stream.aclose()
        return found

    assert asyncio.run(main()) == [1, 2, 3]
    assert closed == [True]


def test_outputs_that_json_lacks_become_text_and_large_ones_stay_whole() -> None:
    picture = "data:image/png;base64," + "A" * 100_000
    given = {"share": float("nan"), "bytes": b"\0", "picture": picture, 1: {2, 1}}
    assert called(lambda _: given, "") == {"share": "NaN", "bytes": "AA==", "picture": picture, "1": [1, 2]}


def test_an_output_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(RecursionError, match="nested too deep"):
        called(lambda _: loop, "")


@pytest.mark.parametrize("ref", ["bot", "bot:", ":answer", "bot:a b", "bot.:answer", "../bot:answer", "bot:answer(1)"])
def test_what_is_no_entry_point_is_refused(ref: str) -> None:
    with pytest.raises(UsageError, match="is not module:callable"):
        load(ref)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_a_module_is_loaded_from_its_folder(folder: Path) -> None:
    (folder / "loaded_bot.py").write_text(
        "class Bot:\n    def __init__(self, end='!'): self.end = end\n"
        "    def ask(self, q: str) -> str: return q + self.end\n"
        "bot = Bot()\ndef make(): return Bot('?').ask\n"
    )
    assert asyncio.run(load("loaded_bot:bot.ask", folder=folder).call("Hi")) == "Hi!"
    assert asyncio.run(load("loaded_bot:make()", folder=folder).call("Hi")) == "Hi?"
    with pytest.raises(UsageError, match="names 'nope', which the module loaded_bot does not have"):
        load("loaded_bot:nope", folder=folder)
    with pytest.raises(UsageError, match="is a Bot, which cannot be called"):
        load("loaded_bot:bot", folder=folder)
    with pytest.raises(UsageError, match="is the class Bot, whose objects cannot be called"):
        load("loaded_bot:Bot", folder=folder)


def test_a_module_that_fails_is_told_by_its_own_last_lines(folder: Path) -> None:
    (folder / "broken_bot.py").write_text("import json\n\nsettings = json.loads('{')\n")
    with pytest.raises(UsageError) as caught:
        load("broken_bot:answer", folder=folder)
    message = str(caught.value)
    assert "the entry point broken_bot:answer cannot be imported: json.decoder.JSONDecodeError" in message
    assert "broken_bot.py" in message
    assert "entry_point.py" not in message
    assert "importlib" not in message
    (folder / "leaving_bot.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(UsageError, match="cannot be imported: SystemExit: 3"):
        load("leaving_bot:answer", folder=folder)


class FakeMessage:
    def __init__(self, kind: str, content: Any) -> None:
        self.type, self.content, self.id = kind, content, "differs each time"


class FakeGraph:
    """The shape of a compiled LangGraph graph with messages."""

    channels = ("messages",)

    def invoke(self, given: Any) -> Any:
        return given

    async def ainvoke(self, given: Any) -> Any:
        asked = given["messages"][-1]["content"]
        return {"messages": [FakeMessage("human", asked), FakeMessage("ai", [{"type": "text", "text": asked.upper()}])]}

    async def astream(self, given: Any, stream_mode: list[str]) -> AsyncIterator[Any]:
        assert stream_mode == ["messages", "values"]
        for letter in given["messages"][-1]["content"].upper():
            yield "messages", (FakeMessage("AIMessageChunk", letter), {})
        yield "messages", (FakeMessage("tool", "42"), {})
        yield "values", {"messages": []}


def test_a_graph_with_messages_answers_text_with_text_and_messages_with_its_state() -> None:
    assert called(FakeGraph(), "abc") == "ABC"
    assert called(FakeGraph(), {"messages": [{"role": "user", "content": "abc"}]}) == {
        "messages": [
            {"role": "user", "content": "abc"},
            {"role": "assistant", "content": [{"type": "text", "text": "ABC"}]},
        ]
    }
    assert streamed(FakeGraph(), "abc") == ["A", "B", "C"]
    assert entry(FakeGraph()).kind == "runnable"


class FakeDesk:
    """The shape of a pydantic-ai agent."""

    output_type = str

    async def run(self, prompt: str, **more: Any) -> Any:
        return types.SimpleNamespace(output=f"{prompt} {len(more.get('message_history', []))}")

    def run_stream(self, prompt: str) -> Any:
        class Result:
            async def __aenter__(self) -> Any:
                return self

            async def __aexit__(self, *_: object) -> None: ...

            async def stream_text(self, *, delta: bool) -> AsyncIterator[str]:
                for word in prompt.split():
                    yield word

        return Result()


def test_a_pydantic_ai_agent_answers() -> None:
    assert called(FakeDesk(), "abc") == "abc 0"
    assert called(FakeDesk(), {"messages": [{"role": "user", "content": "abc"}]}) == "abc 0"
    assert streamed(FakeDesk(), "a b") == ["a", "b"]
    assert entry(FakeDesk()).signature()["output"] == {"type": "string"}
    with pytest.raises(UsageError, match="takes a text, or an object with messages, not int"):
        called(FakeDesk(), 3)


class FakeRunner:
    @staticmethod
    async def run(agent: Any, given: Any) -> Any:
        return types.SimpleNamespace(final_output=[agent.name, given])

    @staticmethod
    def run_streamed(agent: Any, given: Any) -> Any:
        async def stream_events() -> AsyncIterator[Any]:
            for letter in given:
                data = types.SimpleNamespace(type="response.output_text.delta", delta=letter)
                yield types.SimpleNamespace(type="raw_response_event", data=data)

        return types.SimpleNamespace(stream_events=stream_events, final_output="never")


class FakeAgent:
    name, instructions, handoffs, tools, model, output_type = "triage", "", (), (), None, None

    def as_tool(self) -> None: ...


def test_an_openai_agent_is_run_by_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("fake_agents")
    module.Runner = FakeRunner  # type: ignore[attr-defined]  # that is the fake
    monkeypatch.setitem(sys.modules, "fake_agents", module)
    monkeypatch.setattr(FakeAgent, "__module__", "fake_agents.agent")
    assert called(FakeAgent(), "abc") == ["triage", "abc"]
    messages = [{"role": "user", "content": "abc", "name": "ada"}]
    assert called(FakeAgent(), {"messages": messages}) == ["triage", [{"role": "user", "content": "abc"}]]
    assert streamed(FakeAgent(), "abc") == ["a", "b", "c"]


def test_an_entry_has_what_the_protocol_says() -> None:
    told: Entry = entry(plain, ref="m:plain")
    assert (told.ref, told.kind) == ("m:plain", "function")
