"""Agents of frameworks as entries, known by their shape: LangGraph and other runnables, pydantic-ai, OpenAI agents.

All of them take a text, or an object with `messages` as OpenAI's chat has them; a runnable without messages takes its
state. A text for an input is answered with a text where there is one.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from tracekit._definitions import schema_of
from tracekit._serial import json_value
from tracekit.errors import UsageError

Schema = dict[str, object]
_MESSAGES: Schema = {
    "type": "object",
    "properties": {"messages": {"type": "array", "items": {"type": "object"}}},
    "required": ["messages"],
}
_ASKED: Schema = {"anyOf": [{"type": "string"}, _MESSAGES]}
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_AI = frozenset({"ai", "AIMessageChunk"})


def framework(target: Any, ref: str) -> RunnableEntry | PydanticAIEntry | OpenAIAgentsEntry | None:
    """The entry of a framework's agent; `None` for what is none."""
    if isinstance(target, type):
        return None
    if _has(target, "ainvoke", "astream"):
        return RunnableEntry(target, ref)
    if _has(target, "run", "run_stream"):
        return PydanticAIEntry(target, ref)
    if all(hasattr(target, name) for name in ("instructions", "handoffs", "tools", "model")) and _has(
        target, "as_tool"
    ):
        return OpenAIAgentsEntry(target, ref)
    return None


class RunnableEntry:
    """A compiled LangGraph graph, or another runnable of LangChain's.

    Args:
        runnable: Has `ainvoke` and `astream`.
        ref: What names it.
    """

    kind = "runnable"

    def __init__(self, runnable: Any, ref: str) -> None:
        self.ref = ref
        self._runnable = runnable
        self._is_graph = hasattr(runnable, "channels") or hasattr(runnable, "stream_mode")
        self._has_messages = self._is_graph and "messages" in _channels(runnable)

    async def call(self, input: object) -> object:  # noqa: A002 - the word of the whole project
        """The graph's last state, or the text of its last message where a text asked."""
        return self._answer(input, await self._runnable.ainvoke(self._input(input)))

    async def stream(self, input: object) -> AsyncGenerator[object, None]:  # noqa: A002 - as above
        """The text of the models as it comes; the whole output where none came."""
        if not self._is_graph:
            async for chunk in self._runnable.astream(self._input(input)):
                yield _state(chunk)
            return
        said, last = False, None
        async for mode, payload in self._runnable.astream(self._input(input), stream_mode=["messages", "values"]):
            if mode == "values":
                last = payload
                continue
            message = payload[0]
            text = _text(getattr(message, "content", "")) if getattr(message, "type", "") in _AI else ""
            if text:
                said = True
                yield text
        if not said:
            yield self._answer(input, last)

    def signature(self) -> dict[str, object]:
        """Text or messages where the state has messages, else the graph's own schemas."""
        if self._has_messages:
            return {"input": _ASKED, "output": {"anyOf": [{"type": "string"}, {"type": "object"}]}}
        return {"input": self._own("get_input_jsonschema"), "output": self._own("get_output_jsonschema")}

    def _own(self, name: str) -> Schema:
        try:
            return dict(getattr(self._runnable, name)())
        except Exception:  # noqa: BLE001 - not all have one, and not every state can tell it
            return {}

    def _input(self, given: object) -> object:
        if self._has_messages and isinstance(given, str):
            return {"messages": [{"role": "user", "content": given}]}
        return given

    def _answer(self, given: object, state: Any) -> object:
        messages = state.get("messages") if isinstance(state, Mapping) else None
        if isinstance(given, str) and self._has_messages and messages:
            return _text(getattr(messages[-1], "content", messages[-1]))
        return _state(state)


class PydanticAIEntry:
    """An agent of pydantic-ai.

    Args:
        agent: Has `run` and `run_stream`.
        ref: What names it.
    """

    kind = "pydantic_ai"

    def __init__(self, agent: Any, ref: str) -> None:
        self.ref = ref
        self._agent = agent
        self._output = getattr(agent, "output_type", str)

    async def call(self, input: object) -> object:  # noqa: A002 - the word of the whole project
        """The agent's output."""
        prompt, more = self._asked(input)
        return json_value((await self._agent.run(prompt, **more)).output)

    async def stream(self, input: object) -> AsyncGenerator[object, None]:  # noqa: A002 - as above
        """The agent's text as it comes; its whole output where that is no text."""
        if self._output is not str:
            yield await self.call(input)
            return
        prompt, more = self._asked(input)
        async with self._agent.run_stream(prompt, **more) as result:
            async for text in result.stream_text(delta=True):
                yield text

    def signature(self) -> dict[str, object]:
        """A text or messages, and what the agent's output type says."""
        return {"input": _ASKED, "output": schema_of(self._output)}

    def _asked(self, given: object) -> tuple[str, dict[str, object]]:
        messages = _messages(given, self.ref)
        *before, last = messages
        return _text(last.get("content")), {"message_history": self._history(before)} if before else {}

    def _history(self, messages: Sequence[Mapping[str, Any]]) -> list[Any]:
        # The classes of messages are the framework's; it is installed, since this is one of its agents.
        known = importlib.import_module(type(self._agent).__module__.partition(".")[0] + ".messages")
        history: list[Any] = []
        for message in messages:
            text = _text(message.get("content"))
            if message.get("role") == "assistant":
                history.append(known.ModelResponse(parts=[known.TextPart(content=text)]))
            else:
                is_user = message.get("role") == "user"
                part = known.UserPromptPart if is_user else known.SystemPromptPart
                history.append(known.ModelRequest(parts=[part(content=text)]))
        return history


class OpenAIAgentsEntry:
    """An agent of OpenAI's Agents SDK.

    Args:
        agent: Its definition; `Runner` runs it.
        ref: What names it.
    """

    kind = "openai_agents"

    def __init__(self, agent: Any, ref: str) -> None:
        self.ref = ref
        self._agent = agent

    async def call(self, input: object) -> object:  # noqa: A002 - the word of the whole project
        """The agent's final output."""
        return json_value((await self._runner().run(self._agent, self._asked(input))).final_output)

    async def stream(self, input: object) -> AsyncGenerator[object, None]:  # noqa: A002 - as above
        """The agent's text as it comes; its whole output where that is no text."""
        result = self._runner().run_streamed(self._agent, self._asked(input))
        is_text = getattr(self._agent, "output_type", None) in (None, str)
        said = False
        async with contextlib.aclosing(result.stream_events()) as events:
            async for event in events:
                data: Any = getattr(event, "data", None)
                if is_text and getattr(data, "type", "") == "response.output_text.delta":
                    said = True
                    yield data.delta
        if not said:
            yield json_value(result.final_output)

    def signature(self) -> dict[str, object]:
        """A text or messages, and what the agent's output type says."""
        output = getattr(self._agent, "output_type", None)
        output = getattr(output, "output_type", output)
        return {"input": _ASKED, "output": {"type": "string"} if output is None else schema_of(output)}

    def _runner(self) -> Any:
        return importlib.import_module(type(self._agent).__module__.partition(".")[0]).Runner

    def _asked(self, given: object) -> object:
        if isinstance(given, str):
            return given
        messages = _messages(given, self.ref)
        return [{"role": each.get("role", "user"), "content": each.get("content", "")} for each in messages]


def _messages(given: object, ref: str) -> list[Mapping[str, Any]]:
    found = given.get("messages") if isinstance(given, Mapping) else given
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    if isinstance(found, list) and found and all(isinstance(each, Mapping) for each in found):
        return found
    raise UsageError(f"{ref} takes a text, or an object with messages, not {type(given).__name__}")


def _channels(runnable: Any) -> Any:
    return getattr(runnable, "channels", None) or ()


def _state(state: Any) -> object:
    """A state as JSON, its messages as OpenAI's chat has them: their own form has ids that differ from run to run."""
    if isinstance(state, Mapping):
        return {str(key): _state(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_state(item) for item in state]
    if hasattr(state, "content") and isinstance(getattr(state, "type", None), str):
        return _message(state)
    return json_value(state)


def _message(message: Any) -> dict[str, object]:
    role = _ROLES.get(message.type, message.type)
    found: dict[str, object] = {"role": role, "content": json_value(message.content)}
    for key in ("name", "tool_call_id"):
        if getattr(message, key, None):
            found[key] = json_value(getattr(message, key))
    calls = getattr(message, "tool_calls", None)
    if calls:
        found["tool_calls"] = [
            {key: json_value(value) for key, value in call.items() if key in ("id", "name", "args")} for call in calls
        ]
    return found


def _text(content: Any) -> str:
    """The text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            each if isinstance(each, str) else str(each.get("text", ""))
            for each in content
            if isinstance(each, (str, dict))
        )
    return "" if content is None else str(content)


def _has(target: Any, *methods: str) -> bool:
    return all(callable(getattr(target, name, None)) for name in methods)
