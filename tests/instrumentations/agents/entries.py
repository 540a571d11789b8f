"""Agents of three frameworks, with models that answer from a script: each is an entry point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent as OpenAIAgent
from agents import Model, ModelResponse, Usage
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from openai.types.responses import Response, ResponseCompletedEvent, ResponseOutputMessage, ResponseOutputText
from openai.types.responses.response_text_delta_event import ResponseTextDeltaEvent
from pydantic_ai import Agent as Desk
from pydantic_ai.models.test import TestModel
from typing_extensions import TypedDict

from tracekit.entry_point import load


async def respond(state: MessagesState) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=iter([AIMessage("ten to four")]))
    return {"messages": [await model.ainvoke(state["messages"])]}


class Count(TypedDict):
    number: int


def doubled(state: Count) -> Count:
    return {"number": state["number"] * 2}


def compiled(state: type, node: Any) -> Any:
    graph = StateGraph(state)
    graph.add_node("only", node)
    graph.add_edge(START, "only")
    graph.add_edge("only", END)
    return graph.compile()


chatting = compiled(MessagesState, respond)
counting = compiled(Count, doubled)
desk = Desk(TestModel(custom_output_text="ten to four"))


class Scripted(Model):
    async def get_response(self, *_args: Any, **_kwargs: Any) -> ModelResponse:
        return ModelResponse(output=[_message()], usage=Usage(), response_id="r")

    async def stream_response(self, *_args: Any, **_kwargs: Any) -> AsyncIterator[Any]:
        place = {"content_index": 0, "item_id": "m", "output_index": 0, "logprobs": []}
        for at, text in enumerate(["ten ", "to ", "four"]):
            kind = "response.output_text.delta"
            yield ResponseTextDeltaEvent(delta=text, sequence_number=at, type=kind, **place)
        fields = {"id": "r", "created_at": 0, "model": "m", "object": "response", "output": [_message()]}
        whole = Response(**fields, parallel_tool_calls=False, tool_choice="auto", tools=[])
        yield ResponseCompletedEvent(response=whole, sequence_number=3, type="response.completed")


def _message() -> ResponseOutputMessage:
    text = ResponseOutputText(annotations=[], text="ten to four", type="output_text", logprobs=[])
    return ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")


triage = OpenAIAgent(name="triage", model=Scripted())
ASKED = "When is it open?"
CHAT = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}
CHAT["messages"].append({"role": "user", "content": ASKED})


async def main() -> None:
    told: dict[str, Any] = {}
    for name in ("chatting", "desk", "triage"):
        entry = load(f"__main__:{name}")
        told[name] = {
            "kind": entry.kind,
            "call": await entry.call(ASKED),
            "chat": await entry.call(CHAT),
            "stream": "".join([str(chunk) async for chunk in entry.stream(ASKED)]),
            "output": entry.signature()["output"],
        }
    entry = load("__main__:counting")
    told["counting"] = {
        "call": await entry.call({"number": 2}),
        "stream": [chunk async for chunk in entry.stream({"number": 2})],
        "input": entry.signature()["input"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
