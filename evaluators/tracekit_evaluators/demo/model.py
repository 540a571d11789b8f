"""An answer step that asks a model what the documents say, traced as a step of kind `llm`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import tracekit
from tracekit_evaluators.models.chat import Completion, Request
from tracekit_evaluators.models.openai import OpenAIModel, openai

INSTRUCTIONS = (
    "You answer questions about Python's standard library from the documents given, in at most three sentences. "
    "Name the one function, class or method to use by its full name in backticks. If no document answers the "
    "question, say so."
)


def asking(name: str) -> Callable[[str, Sequence[Mapping[str, object]]], str]:
    """An answer step that asks the model `name` at OPENAI_BASE_URL with OPENAI_API_KEY.

    Raises:
        SettingError: No server is named.
    """
    model = openai(model=name, attempts=3)

    def answer(question: str, found: Sequence[Mapping[str, object]]) -> str:
        documents = "\n\n".join(f"# {document['id']}\n{document['content']}" for document in found)
        messages = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": f"{documents}\n\nQuestion: {question}"},
        ]
        with tracekit.span(f"chat {name}", step="llm", input=messages) as span:
            span.set(model=name)
            done = asyncio.run(_asked(model, messages))
            span.set(**_facts(done))
            span.output = done.text
        return done.text

    return answer


async def _asked(model: OpenAIModel, messages: Sequence[Mapping[str, str]]) -> Completion:
    try:
        return await model.complete(Request(messages, max_tokens=400))
    finally:
        await model.aclose()


def _facts(done: Completion) -> dict[str, object]:
    facts: dict[str, object] = {
        "response_model": done.model,
        "input_tokens": done.input_tokens,
        "output_tokens": done.output_tokens,
        "cached_tokens": done.cached_tokens,
        "cost_usd": done.cost_usd,
        "finish_reasons": [done.finish_reason] if done.finish_reason else None,
    }
    return {name: value for name, value in facts.items() if value is not None}
