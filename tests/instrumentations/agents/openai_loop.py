"""An agent by hand on OpenAI's client; it says nothing of instrumentation."""

import json

import openai

import tracekit

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "opening_hours",
            "description": "When the library opens.",
            "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
        },
    }
]


@tracekit.tool
def opening_hours(day: str) -> str:
    """When the library opens."""
    return f"{day}: 10 to 16"


@tracekit.agent(name="desk")
def answer(question: str) -> str:
    client = openai.OpenAI()
    messages = [{"role": "user", "content": question}]
    for _ in range(5):
        message = client.chat.completions.create(model="scripted", messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            found = opening_hours(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
    raise RuntimeError("the model goes round in circles")


if __name__ == "__main__":
    with tracekit.session("chat-1", user="ada"):
        print(answer("When does the library open on sunday?"))
