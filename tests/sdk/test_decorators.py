"""What a decorated call records."""

from __future__ import annotations

import asyncio
import json

import pytest

import tracekit
from tracekit.errors import UsageError
from tracekit.testing import Recorder, recorded


def test_a_tool_call_records_arguments_by_name_defaults_applied_and_the_result(recorder: Recorder) -> None:
    @tracekit.tool
    def add(a: int, b: int = 2, *rest: int, scale: float = 1.0, **options: object) -> int:
        """Add two numbers.

        Not part of the description.
        """
        return a + b

    assert add(1) == 3
    span = recorder.find(name="add")
    assert span.name == "execute_tool add"
    assert span.attributes == {
        "tracekit.step": "tool",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Add two numbers.",
        "gen_ai.tool.definitions": (
            '[{"type": "function", "name": "add", "description": "Add two numbers.", "parameters": {"type": "object", '
            '"properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}, '
            '"scale": {"type": "number", "default": 1.0}}, "required": ["a"]}}]'
        ),
        "input.value": '{"a": 1, "b": 2, "scale": 1.0}',
        "input.mime_type": "application/json",
        "gen_ai.tool.call.arguments": '{"a": 1, "b": 2, "scale": 1.0}',
        "output.value": "3",
        "output.mime_type": "application/json",
        "gen_ai.tool.call.result": "3",
    }
    add(1, 2, 3, 4, scale=2.0, deep=True)
    assert recorder.spans[1].input == '{"a": 1, "b": 2, "scale": 2.0, "rest": [3, 4], "options": {"deep": true}}'


def test_a_text_output_is_recorded_as_text(recorder: Recorder) -> None:
    @tracekit.step
    def greet() -> str:
        return '"hello"'

    greet()
    assert recorder.spans[0].output == '"hello"'
    assert recorder.spans[0].attributes["output.mime_type"] == "text/plain"
    assert recorder.spans[0].name == "greet"
    assert recorder.spans[0].step == "span"


def test_nested_calls_make_one_tree(recorder: Recorder) -> None:
    @tracekit.retriever
    def search(query: str) -> list[str]:
        return [query]

    @tracekit.llm(model="small-1", provider="example")
    async def ask(prompt: str) -> str:
        return prompt

    @tracekit.agent(name="bot")
    async def answer(question: str) -> str:
        search(question)
        with tracekit.span("weigh", step="chain"):
            return await ask(question)

    assert asyncio.run(answer("why")) == "why"
    assert recorder.tree() == ("invoke_agent bot\n  retrieval search\n  weigh\n    chat small-1")
    assert len({span.trace_id for span in recorder.spans}) == 1


def test_methods_drop_their_receiver(recorder: Recorder) -> None:
    class Shop:
        @tracekit.tool
        def price(self, item: str) -> int:
            return 3

        @classmethod
        @tracekit.tool
        def open(cls, day: str) -> bool:
            return True

        @tracekit.tool
        @staticmethod
        def tax(amount: int) -> int:
            return amount

    assert (Shop().price("pen"), Shop.open("monday"), Shop().tax(2), Shop.tax(amount=3)) == (3, True, 2, 3)
    assert [span.input for span in recorder.spans] == [
        '{"item": "pen"}',
        '{"day": "monday"}',
        '{"amount": 2}',
        '{"amount": 3}',
    ]


def test_inputs_are_what_they_were_before_the_call_changed_them(recorder: Recorder) -> None:
    @tracekit.step
    def drain(items: list[int]) -> int:
        items.clear()
        return 0

    drain([1, 2])
    assert recorder.spans[0].input == '{"items": [1, 2]}'


@pytest.mark.parametrize(
    ("capture", "input_value", "output_value"),
    [
        (True, '{"a": 1, "secret": 2}', "3"),
        (False, None, None),
        (["a"], '{"a": 1}', None),
        (["a", "return"], '{"a": 1}', "3"),
        (["return"], None, "3"),
        ("a", '{"a": 1}', None),
    ],
)
def test_capture_selects_what_is_recorded(recorder: Recorder, capture, input_value, output_value) -> None:
    @tracekit.tool(capture=capture)
    def add(a: int, secret: int) -> int:
        return a + secret

    add(1, 2)
    span = recorder.spans[0]
    assert (span.input, span.output) == (input_value, output_value)
    assert span.attributes.get("gen_ai.tool.call.arguments") == input_value
    assert span.attributes.get("gen_ai.tool.call.result") == output_value


def test_capture_of_an_unknown_parameter_is_told_when_the_function_is_decorated() -> None:
    with pytest.raises(UsageError, match="capture names passwort, which is no parameter; there are: password"):

        @tracekit.tool(capture=["passwort"])
        def login(password: str) -> None: ...


def test_content_can_be_kept_out_of_all_spans() -> None:
    @tracekit.llm
    def ask(messages: list[dict[str, str]], model: str = "m") -> str:
        span = tracekit.current_span()
        span.set(input_tokens=3, input_messages=messages, system_instructions="be brief", query="q")
        span.output = "secret"
        return "secret"

    with recorded(capture_content=False) as recorder:
        ask([{"role": "user", "content": "secret"}])
        with tracekit.span("look", step="retriever", input="secret") as span:
            span.output = ["secret"]
    assert "secret" not in json.dumps([span.attributes for span in recorder.spans])
    assert recorder.spans[0].attributes["gen_ai.usage.input_tokens"] == 3


def test_a_failure_is_recorded_once_with_its_class_and_message(recorder: Recorder) -> None:
    class TroubleError(Exception):
        pass

    @tracekit.tool
    def fail() -> None:
        raise TroubleError("no luck")

    with pytest.raises(TroubleError):
        fail()
    span = recorder.spans[0]
    assert span.status == "error"
    assert span.error == f"{__name__}.{TroubleError.__qualname__}"
    assert [name for name, _ in span.events] == ["exception"]
    assert span.events[0][1]["exception.message"] == "no luck"
    assert "in fail" in span.events[0][1]["exception.stacktrace"]
    assert span.output is None


def test_a_builtin_error_has_no_module_in_its_type(recorder: Recorder) -> None:
    @tracekit.tool
    def fail() -> float:
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert recorder.spans[0].error == "ZeroDivisionError"


def test_an_exception_that_cannot_be_read_is_still_the_users_own(recorder: Recorder) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    problem = MuteError()

    @tracekit.tool
    def fail() -> None:
        raise problem

    with pytest.raises(MuteError) as caught:
        fail()
    assert caught.value is problem
    assert recorder.spans[0].status == "error"
    assert recorder.spans[0].error.endswith("MuteError")


def test_a_clean_exit_is_no_error(recorder: Recorder) -> None:
    @tracekit.agent
    def leave(code: object) -> None:
        raise SystemExit(code)

    for code in (0, None, 3):
        with pytest.raises(SystemExit):
            leave(code)
    assert [span.status for span in recorder.spans] == ["unset", "unset", "error"]


def test_a_cancelled_task_is_cancelled_not_failed(recorder: Recorder) -> None:
    @tracekit.tool
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    span = recorder.spans[0]
    assert (span.status, span.error, span.events) == ("unset", None, [])
    assert span.attributes["tracekit.cancelled"] is True


def test_an_llm_call_records_messages_in_opentelemetrys_form(recorder: Recorder) -> None:
    @tracekit.llm
    def chat(messages: list[dict[str, object]], model: str, temperature: float = 0.5) -> dict[str, object]:
        return {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}

    chat(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "tool_calls": [TOOL_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
        "small-1",
    )
    span = recorder.find(step="llm")
    assert span.name == "chat small-1"
    assert span.attributes["gen_ai.request.model"] == "small-1"
    assert span.attributes["gen_ai.request.temperature"] == 0.5
    call = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}
    assert json.loads(span.attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}]},
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}]},
    ]
    assert json.loads(span.attributes["gen_ai.output.messages"]) == [{"role": "assistant", "parts": [call]}]


TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def test_an_llm_call_of_texts_records_them_as_messages(recorder: Recorder) -> None:
    @tracekit.llm(model="small-1", provider="example")
    def ask(prompt: str, system: str = "Be brief.") -> str:
        tracekit.current_span().set(
            input_tokens=12, output_tokens=3, cached_tokens=4, reasoning_tokens=1, cost_usd=0.5, finish_reasons="stop"
        )
        return "yes"

    ask("Is it?")
    attributes = recorder.find(step="llm").attributes
    assert attributes["gen_ai.input.messages"] == '[{"role": "user", "parts": [{"type": "text", "content": "Is it?"}]}]'
    assert attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "yes"}]}]'
    )
    assert attributes["gen_ai.system_instructions"] == '[{"type": "text", "content": "Be brief."}]'
    assert attributes["gen_ai.provider.name"] == "example"
    assert attributes["gen_ai.usage.input_tokens"] == 12
    assert attributes["gen_ai.usage.output_tokens"] == 3
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 4
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 1
    assert attributes["gen_ai.usage.cost"] == 0.5
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_a_retrieval_records_its_query_and_documents(recorder: Recorder) -> None:
    class Document:
        def __init__(self, page_content: str, metadata: dict[str, object]) -> None:
            self.page_content = page_content
            self.metadata = metadata

    @tracekit.retriever
    def search(query: str) -> list[object]:
        return [
            {"id": "d1", "text": "one", "score": 0.5},
            (Document("two", {"id": "d2", "page": 7}), 0.25),
            "three",
        ]

    search("what")
    attributes = recorder.find(step="retriever").attributes
    assert attributes["gen_ai.retrieval.query.text"] == "what"
    assert json.loads(attributes["gen_ai.retrieval.documents"]) == [
        {"id": "d1", "content": "one", "score": 0.5},
        {"id": "d2", "content": "two", "score": 0.25, "metadata": {"id": "d2", "page": 7}},
        {"content": "three"},
    ]


def test_results_that_are_no_documents_are_no_documents(recorder: Recorder) -> None:
    @tracekit.retriever
    def search(query: str) -> object:
        return [{"id": "d1"}, 3]

    search("what")
    assert "gen_ai.retrieval.documents" not in recorder.spans[0].attributes
    assert recorder.spans[0].output == '[{"id": "d1"}, 3]'


def test_an_embedding_is_named_after_its_model(recorder: Recorder) -> None:
    @tracekit.embedding(model="tiny", capture=["texts"])
    def embed(texts: list[str]) -> list[list[float]]:
        return [[0.0] * 8 for _ in texts]

    embed(["a"])
    span = recorder.find(step="embedding")
    assert (span.name, span.input, span.output) == ("embeddings tiny", '{"texts": ["a"]}', None)


def test_the_process_agent_is_on_every_span_and_a_named_agent_keeps_its_own() -> None:
    @tracekit.tool
    def look() -> None: ...

    @tracekit.agent(name="helper")
    def help_out() -> None: ...

    @tracekit.agent(name="helper", version="7")
    def help_more() -> None: ...

    @tracekit.agent
    def main() -> None:
        look()
        help_out()
        help_more()

    with recorded(agent="bot", agent_version="3") as recorder:
        main()
    found = [
        (span.name, span.attributes.get("gen_ai.agent.name"), span.attributes.get("gen_ai.agent.version"))
        for span in recorder.spans
    ]
    assert found == [
        ("invoke_agent main", "bot", "3"),
        ("execute_tool look", "bot", "3"),
        ("invoke_agent helper", "helper", None),
        ("invoke_agent helper", "helper", "7"),
    ]


def test_what_the_function_said_itself_wins_over_what_it_returned(recorder: Recorder) -> None:
    @tracekit.tool
    def fetch() -> str:
        tracekit.current_span().output = {"rows": 2}
        return "raw"

    assert fetch() == "raw"
    assert recorder.spans[0].output == '{"rows": 2}'
    assert recorder.spans[0].attributes["gen_ai.tool.call.result"] == '{"rows": 2}'


def test_decorating_what_is_no_function_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="a step is a function, and the class Shop is none"):

        @tracekit.tool
        class Shop: ...

    with pytest.raises(UsageError, match="a step is a function, and a int is none"):
        tracekit.tool(3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="there is no step kind 'chian'; use one of agent, llm, tool"):
        tracekit.step(kind="chian")  # type: ignore[call-overload]


def test_a_wrong_call_fails_as_it_would_without_us(recorder: Recorder) -> None:
    @tracekit.tool
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'b'"):
        add(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        add(1, b=2, c=3)  # type: ignore[call-arg]
    assert [span.status for span in recorder.spans] == ["error", "error"]


def test_faults_of_ours_do_not_reach_the_code(recorder: Recorder, monkeypatch, caplog) -> None:
    """Whatever breaks inside, the function runs once, returns its own value, and one line is logged."""
    from tracekit import _content, _guard

    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    calls: list[int] = []

    @tracekit.tool
    def add(a: int) -> int:
        calls.append(a)
        return a

    monkeypatch.setattr(_content, "result", broken)
    monkeypatch.setattr(_content, "arguments", broken)
    assert [add(1), add(2)] == [1, 2]
    assert calls == [1, 2]
    assert _guard.faults == {"reading arguments": 2, "recording an output": 2}
    assert len(caplog.records) == 2
    assert [span.name for span in recorder.spans] == ["execute_tool add", "execute_tool add"]


def test_a_tracer_that_cannot_begin_a_span_leaves_the_code_alone(recorder: Recorder) -> None:
    from tracekit._runtime import runtime

    class Broken:
        def start_span(self, *_: object, **__: object) -> None:
            raise RuntimeError("no")

    @tracekit.tool
    def add(a: int) -> int:
        return a

    @tracekit.tool
    def count(to: int):
        yield from range(to)

    runtime.tracer = Broken()
    assert add(1) == 1
    assert list(count(3)) == [0, 1, 2]
    with tracekit.span("x") as span:
        span.output = 3
        span.set(model="m")
    assert span.trace_id is None
