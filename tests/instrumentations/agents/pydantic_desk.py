"""A Pydantic AI agent within a decorated coroutine function, with a decorated tool."""

import asyncio

from pydantic_ai import Agent

import tracekit

tracekit.init(instrument=True)


@tracekit.tool
def opening_hours(day: str) -> str:
    """When the library opens."""
    return f"{day}: 10 to 16"


@tracekit.agent(name="desk")
async def answer(question: str) -> str:
    agent = Agent("openai-chat:scripted", tools=[opening_hours], name="inner")
    return (await agent.run(question)).output


async def main() -> None:
    async with tracekit.session("chat-1", user="ada"):
        print(await answer("When does the library open on sunday?"))


asyncio.run(main())
