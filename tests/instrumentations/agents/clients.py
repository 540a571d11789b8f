"""Real clients' responses, whole and streamed, returned from functions that are recorded as model calls."""

import asyncio
import os

import anthropic
import openai
from google import genai
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

import tracekit

ASKED = [{"role": "user", "content": "When?"}]
FUNCTION = {"name": "opening_hours", "parameters": {"type": "object", "properties": {"day": {"type": "string"}}}}
SCHEMA = {"name": "opening_hours", "input_schema": FUNCTION["parameters"]}
CALLING = {"tools": [{"type": "function", "function": FUNCTION}]}
COUNTED = {"stream": True, "stream_options": {"include_usage": True}}
DECLARED = {"tools": [{"function_declarations": [FUNCTION]}]}

chat = openai.OpenAI().chat.completions.create
later_chat = openai.AsyncOpenAI().chat.completions.create
claude = anthropic.Anthropic(base_url=os.environ["MODELS"], api_key="unused")
later_claude = anthropic.AsyncAnthropic(base_url=os.environ["MODELS"], api_key="unused")
gemini = genai.Client(api_key="unused", http_options={"base_url": os.environ["MODELS"]})
ours = {"model": "scripted", "messages": ASKED}
theirs = {"model": "scripted", "messages": ASKED, "max_tokens": 99}
google = {"model": "scripted", "contents": "When?"}
chain = ChatOpenAI(model="scripted", stream_usage=True)
link = ChatAnthropic(model="scripted", base_url=os.environ["MODELS"], api_key="unused")

CALLS = {
    "openai": lambda: chat(**ours),
    "openai tool": lambda: chat(**ours, **CALLING),
    "openai stream": lambda: chat(**ours, **COUNTED),
    "openai tool stream": lambda: chat(**ours, **CALLING, **COUNTED),
    "anthropic": lambda: claude.messages.create(**theirs),
    "anthropic tool": lambda: claude.messages.create(**theirs, tools=[SCHEMA]),
    "anthropic stream": lambda: claude.messages.create(**theirs, stream=True),
    "anthropic tool stream": lambda: claude.messages.create(**theirs, tools=[SCHEMA], stream=True),
    "anthropic helper stream": lambda: claude.messages.stream(**theirs).__enter__(),
    "gemini": lambda: gemini.models.generate_content(**google),
    "gemini tool": lambda: gemini.models.generate_content(**google, config=DECLARED),
    "gemini stream": lambda: gemini.models.generate_content_stream(**google),
    "gemini tool stream": lambda: gemini.models.generate_content_stream(**google, config=DECLARED),
    "langchain": lambda: chain.invoke("When?"),
    "langchain tool": lambda: chain.bind_tools([CALLING["tools"][0]]).invoke("When?"),
    "langchain stream": lambda: chain.stream("When?"),
    "langchain anthropic": lambda: link.invoke("When?"),
    "langchain anthropic stream": lambda: link.stream("When?"),
}
LATER = {
    "openai async": lambda: later_chat(**ours),
    "openai async stream": lambda: later_chat(**ours, **COUNTED),
    "anthropic async": lambda: later_claude.messages.create(**theirs),
    "anthropic async stream": lambda: later_claude.messages.create(**theirs, stream=True),
    "gemini async": lambda: gemini.aio.models.generate_content(**google),
    "gemini async stream": lambda: gemini.aio.models.generate_content_stream(**google),
}

made: list[object] = []


def asked(name: str) -> object:
    made.append(CALLS[name]())
    return made[-1]


async def asked_later(name: str) -> object:
    made.append(await LATER[name]())
    return made[-1]


async def later() -> None:
    for name in LATER:
        found = await tracekit.llm(name=name)(asked_later)(name)
        told(name, found)
        if "stream" in name:
            async for _ in found:
                pass


def told(name: str, found: object) -> None:
    """Whether the caller got the very object, and of the very type."""
    print(name, type(found).__name__, "itself" if found is made[-1] else "another", sep="|")


for name in CALLS:
    found = tracekit.llm(name=name)(asked)(name)
    told(name, found)
    if "stream" in name:
        list(found)
asyncio.run(later())
