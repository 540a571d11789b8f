"""Checked by mypy and pyright, never run: what a type checker sees of the public names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

from typing_extensions import assert_type

import tracekit
from tracekit.agent_version import AgentVersionInfo


@tracekit.tool
def bare(query: str, limit: int = 5) -> list[str]:
    return [query] * limit


@tracekit.tool(name="search", capture=["query"])
def with_arguments(query: str, *, limit: int = 5) -> list[str]:
    return [query] * limit


assert_type(bare("x"), list[str])
assert_type(bare("x", limit=3), list[str])
assert_type(with_arguments("x", limit=3), list[str])
bare(3)  # type: ignore[arg-type]
bare("x", limti=3)  # type: ignore[call-arg]
with_arguments("x", 3)  # type: ignore[call-arg]
with_arguments()  # type: ignore[call-arg]


@tracekit.llm(model="small-1", provider="example")
async def ask(prompt: str) -> str:
    return prompt


asked: Coroutine[Any, Any, str] = ask("x")
assert_type(asyncio.run(ask("x")), str)


@tracekit.step(kind="chain")
def count(to: int) -> Iterator[int]:
    yield from range(to)


assert_type(count(3), Iterator[int])


@tracekit.agent
async def stream(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


assert_type(stream(3), AsyncIterator[int])


class Shop:
    @tracekit.tool
    def price(self, item: str) -> float:
        return 1.0

    @classmethod
    @tracekit.retriever
    def all_items(cls, limit: int = 5) -> list[str]:
        return []

    @staticmethod
    @tracekit.embedding(model="tiny")
    def embed(text: str) -> list[float]:
        return []


assert_type(Shop().price("pen"), float)
assert_type(Shop().price(item="pen"), float)
assert_type(Shop.all_items(limit=3), list[str])
assert_type(Shop.embed("x"), list[float])
Shop().price(3)  # type: ignore[arg-type]

tracekit.step(kind="chian")  # type: ignore[call-overload]
tracekit.span("x", step="toll")  # type: ignore[arg-type]

with tracekit.span("x", step="tool", input={"a": 1}) as span:
    assert_type(span, tracekit.Span)
    assert_type(span.trace_id, str | None)
    span.output = 3
    span.set(model="small-1", input_tokens=3, anything=object())

with tracekit.session("s1", user="ada") as session:
    assert_type(session, str)
with tracekit.case("q1", repeat=0) as case:
    assert_type(case, str)

assert_type(tracekit.trace_id(), str | None)
assert_type(tracekit.flush(timeout=1.0), bool)
assert_type(tracekit.register_agent("bot", version="1"), AgentVersionInfo)
tracekit.score("ok", True)
tracekit.score("ok", 0.5, source="human")
tracekit.score("ok", "good", source="nobody")  # type: ignore[arg-type]
tracekit.init(project="x", projekt="y")  # type: ignore[call-arg]


def takes(function: Callable[[str], Awaitable[str]]) -> None: ...


takes(ask)
