"""The one form that all models' answers are read into, and how responses are looked at without their classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from tracekit._messages import Message, Part

CLIENTS = frozenset({"anthropic", "google", "langchain_core", "langchain", "litellm", "openai", "vertexai"})
"""The packages whose objects may be asked for attributes that they compute."""


@dataclass
class Answer:
    """What a model has answered.

    Args:
        messages: The answer in OpenTelemetry's form.
        facts: What else is known, under the names that `Span.set` takes; tokens in full: the input's include what was
            cached, the output's include reasoning.
    """

    messages: list[Message]
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def output(self) -> object:
        """The answer's text where it is nothing else, else its messages."""
        parts = [part for message in self.messages for part in _parts(message)]
        spoken = [part for part in parts if part.get("type") != "reasoning"]
        if len(self.messages) == 1 and spoken and all(part.get("type") == "text" for part in spoken):
            return "".join(str(part.get("content", "")) for part in spoken)
        return self.messages


class Fold(Protocol):
    """Joins the chunks of a streamed answer."""

    complete: bool
    """Whether `answer` says all that the chunks say, so that nobody else has to keep them."""

    def add(self, chunk: object) -> None:
        """Take the next chunk."""

    def answer(self) -> Answer | None:
        """What has come so far; `None` for nothing."""


def may_be_response(value: object) -> bool:
    """Whether a value is worth a look: a mapping, or an object that has its facts by name."""
    return isinstance(value, Mapping) or package(value) in CLIENTS or hasattr(value, "__dict__")


def package(value: object) -> str:
    """The top-level package of the value's class."""
    return str(getattr(type(value), "__module__", "")).partition(".")[0]


def get(value: object, key: str) -> Any:
    """A fact of a response, be it a mapping or an object; `None` where it has none.

    Only the clients' own objects are asked for what they compute: asking any object for any attribute could run code.
    """
    if isinstance(value, Mapping):
        return value.get(key)
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict) and key in held:
        return held[key]
    if package(value) in CLIENTS:
        with suppress(Exception):  # such as a property that wants a finished response
            return getattr(value, key, None)
    return None


def listed(value: object, key: str) -> list[Any]:
    """A list that a response has under a name; `[]` where it has none."""
    found = get(value, key)
    if isinstance(found, (list, tuple)):
        return list(found)
    if package(found) == "proto" or type(found).__name__ in {"RepeatedComposite", "RepeatedCompositeContainer"}:
        return list(found)
    return []


def count(value: object, *path: str) -> int | None:
    """A number of tokens that a response has under a path of names; `None` where it has none."""
    for key in path:
        value = get(value, key)
    return value if type(value) is int and value >= 0 else None


def text(value: object, key: str) -> str | None:
    """A text that a response has under a name, also the value of an enumeration; `None` where it has none."""
    found = get(value, key)
    if isinstance(found, str) and type(found) is not str:
        found = getattr(found, "value", found)
    if found is not None and not isinstance(found, str):
        found = getattr(found, "name", None)
    return found if isinstance(found, str) and found else None


def added(*counts: int | None) -> int | None:
    """The sum of what is known; `None` where the first is not."""
    return None if not counts or counts[0] is None else sum(number or 0 for number in counts)


def decoded(arguments: object) -> object:
    """A tool call's arguments; a model may write broken JSON, and its text is what it said."""
    if isinstance(arguments, str):
        with suppress(ValueError):
            found: object = json.loads(arguments)
            return found
    return arguments


def known(**facts: object) -> dict[str, object]:
    """The facts that are known."""
    return {key: fact for key, fact in facts.items() if fact is not None and fact != []}


def message(parts: list[Part], finish_reason: str | None = None, role: str = "assistant") -> Message:
    """A message in OpenTelemetry's form."""
    found: Message = {"role": role, "parts": parts}
    if finish_reason is not None:
        found["finish_reason"] = finish_reason
    return found


def _parts(found: Message) -> list[Part]:
    parts = found.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
