"""Between chat and agents: what an agent is asked when messages come, and what of its output is said.

What it takes decides: an agent that takes `messages` (an object with that property, or a list) gets them all; any
other one is asked the last user message as text, put into the one text property where it takes an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tracekit_collector.serving.refusals import Refusal

_TEXT_NAMES = ("input", "question", "query", "prompt", "message", "text")
_SAID_NAMES = ("content", "text", "output", "answer", "response", "result", "delta")
_OURS = frozenset({"messages", "model", "stream", "stream_options", "user", "metadata"})

Message = Mapping[str, Any]


class Asked:
    """How an agent is asked.

    Args:
        schema: The JSON schema of its input; empty where nothing is known.

    Example:
        >>> said = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"}]
        >>> Asked({"type": "string"}).input(said, {})
        'Who?'
        >>> Asked({"type": "object", "properties": {"question": {"type": "string"}}}).input(said, {})
        {'question': 'Who?'}
        >>> Asked({"type": "array"}).input(said, {}) == said
        True
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        branches = _branches(schema)
        self._properties: dict[str, Any] = {}
        for branch in branches:
            found = branch.get("properties")
            self._properties.update(found if isinstance(found, Mapping) else {})
        texts = any(_takes(branch, "string") for branch in branches)
        self._messages = "messages" in self._properties
        self._list = not texts and any(_takes(branch, "array") for branch in branches)
        self._field = None if texts or self._messages else self._text_field(schema, branches)

    def input(self, messages: Sequence[Message], body: Mapping[str, Any]) -> object:
        """The agent's input for a chat.

        Args:
            messages: The chat, oldest first.
            body: The request, of which an agent that takes `messages` gets other properties that it takes too.

        Raises:
            Refusal: The agent takes one text, and no user message has any.
        """
        if self._messages:
            more = {key: body[key] for key in self._properties if key in body and key not in _OURS}
            return {"messages": list(messages), **more}
        if self._list:
            return list(messages)
        for message in reversed(messages):
            if message.get("role") == "user":
                text = text_of(message.get("content"))
                return text if self._field is None else {self._field: text}
        raise Refusal(
            422, "invalid_input", "the agent is asked the last user message; there is none", param="/messages"
        )

    def _text_field(self, root: Mapping[str, Any], branches: Sequence[Mapping[str, Any]]) -> str | None:
        texts = [
            name
            for name, each in self._properties.items()
            if any(_takes(branch, "string") for branch in _branches(each, root))
        ]
        needed = {name for branch in branches for name in branch.get("required", ())}
        for candidates in ([name for name in texts if name in needed], texts):
            if len(candidates) == 1:
                return candidates[0]
        return next((name for name in _TEXT_NAMES if name in texts), None)


def text_of(content: object) -> str:
    r"""The text of a message's content: itself, or that of its parts.

    Example:
        >>> text_of([{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "input_text", "text": "two"}])
        'one\ntwo'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def said(output: object) -> str:
    """What of an agent's output a chat shows; the whole as JSON where no part of it is the answer.

    Example:
        >>> said({"answer": "42", "sources": []}), said({"messages": [{"role": "assistant", "content": "yes"}]})
        ('42', 'yes')
    """
    if isinstance(output, str):
        return output
    message = assistant(output)
    if message is not None:
        return text_of(message.get("content"))
    if isinstance(output, Mapping):
        for name in _SAID_NAMES:
            if isinstance(output.get(name), str):
                return str(output[name])
    return "" if output is None else orjson.dumps(output).decode()


def assistant(output: object) -> Message | None:
    """The message of an output that is one, or ends with one; `None` where there is none."""
    if not isinstance(output, Mapping):
        return _last(output)
    choices = output.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        found = choices[0].get("message", choices[0].get("delta"))
        return found if isinstance(found, Mapping) else None
    if output.get("role") in {"assistant", "ai"} or output.get("type") == "ai":
        return output
    return _last(output.get("messages"))


def usage(output: object) -> Mapping[str, Any] | None:
    """The tokens that an output names."""
    found = output.get("usage") if isinstance(output, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _last(output: object) -> Message | None:
    if isinstance(output, list) and output and isinstance(output[-1], Mapping) and "content" in output[-1]:
        return output[-1]
    return None


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, or what it refers to within the same document."""
    for _ in range(8):
        if not isinstance(schema, Mapping):
            return {}
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#/"):
            return schema
        found: object = root
        for part in ref[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        schema = found
    return {}


def _branches(schema: object, root: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    """What a value may be: the schema itself, or each of the alternatives that it names."""
    if root is None:
        root = schema if isinstance(schema, Mapping) else {}
    whole = _resolved(schema, root)
    more = [_resolved(each, root) for word in ("anyOf", "oneOf") for each in whole.get(word, ())]
    return [whole, *more]


def _takes(schema: Mapping[str, Any], kind: str) -> bool:
    types = schema.get("type")
    return types == kind or (isinstance(types, list) and kind in types)
