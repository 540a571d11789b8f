"""An agent by hand on Anthropic's client; it says nothing of instrumentation."""

import os

import anthropic

import tracekit

SCHEMA = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
TOOLS = [{"name": "opening_hours", "description": "When the library opens.", "input_schema": SCHEMA}]


@tracekit.tool
def opening_hours(day: str) -> str:
    """When the library opens."""
    return f"{day}: 10 to 16"


@tracekit.agent(name="desk")
def answer(question: str) -> str:
    client = anthropic.Anthropic(base_url=os.environ["MODELS"], api_key="unused")
    messages = [{"role": "user", "content": question}]
    for _ in range(5):
        said = client.messages.create(model="scripted", max_tokens=99, messages=messages, tools=TOOLS)
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            return said.content[0].text
        messages.append({"role": "assistant", "content": [block.model_dump() for block in said.content]})
        found = [
            {"type": "tool_result", "tool_use_id": call.id, "content": opening_hours(**call.input)} for call in calls
        ]
        messages.append({"role": "user", "content": found})
    raise RuntimeError("the model goes round in circles")


with tracekit.session("chat-1", user="ada"):
    print(answer("When does the library open on sunday?"))
