"""An agent on any OpenAI-compatible model, with an existing instrumentation of the openai package.

The instrumentation makes the spans of the model's calls; two decorators make those of the agent and its tool. All are
one trace, because tracekit and the instrumentation share OpenTelemetry's tracer provider.

    OPENAI_BASE_URL=http://127.0.0.1:11434/v1 OPENAI_API_KEY=none OPENAI_MODEL=qwen3 python agent.py "What is 12*31?"
"""

from __future__ import annotations

import json
import os
import sys

# Before the import: what the instrumentation records. It keeps the conversation to itself unless it is asked.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
os.environ.setdefault("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")

from openai import OpenAI
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

import tracekit

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "multiply",
            "description": "Multiply two numbers.",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
        },
    }
]


@tracekit.tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


@tracekit.agent(name="calculator")
def answer(question: str) -> str | None:
    client = OpenAI()
    model = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
    messages = [{"role": "user", "content": question}]
    for _ in range(8):
        reply = client.chat.completions.create(model=model, messages=messages, tools=TOOLS).choices[0].message
        if not reply.tool_calls:
            return reply.content
        messages.append(reply.model_dump(exclude_none=True))
        for call in reply.tool_calls:
            result = multiply(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})
    raise RuntimeError("the model did not come to an answer in 8 turns")


if __name__ == "__main__":
    tracekit.init(project="samples")
    OpenAIInstrumentor().instrument()
    print(answer(" ".join(sys.argv[1:]) or "What is 12 times 31?"))
