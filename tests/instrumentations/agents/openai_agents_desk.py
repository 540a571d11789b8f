"""An agent of OpenAI's Agents SDK within a decorated coroutine function, with a decorated tool."""

import asyncio

from agents import Agent, Runner, function_tool

import tracekit

tracekit.init(instrument=True)


@function_tool
@tracekit.tool
def opening_hours(day: str) -> str:
    """When the library opens."""
    return f"{day}: 10 to 16"


@tracekit.agent(name="desk")
async def answer(question: str) -> str:
    agent = Agent(name="inner", instructions="Answer in one line.", model="scripted", tools=[opening_hours])
    return (await Runner.run(agent, question)).final_output


async def main() -> None:
    async with tracekit.session("chat-1", user="ada"):
        print(await answer("When does the library open on sunday?"))


asyncio.run(main())
