"""The shapes in which an answer goes out: one for each endpoint, whole and as a stream of server-sent events.

`/invocations` is our own; the others are OpenAI's, as https://platform.openai.com/docs/api-reference describes them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tracekit_collector.serving.messages import Asked, Message, assistant, said, text_of, usage
from tracekit_collector.serving.refusals import Refusal

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class Shape:
    """One request's way from its body to the agent's input, and from the agent's output to the answer.

    Args:
        body: The request's body, decoded.
        accepts: The request's `Accept` header.
    """

    def __init__(self, body: Any, accepts: str = "") -> None:
        self.body = body
        self.served = ""  # who answers
        self.stream = self._wants_stream(accepts)

    @property
    def model(self) -> str | None:
        """The version that the request wants; `None` for any."""
        return None

    @property
    def user(self) -> str | None:
        """The user that the body names."""
        return None

    def input(self, asked: Asked) -> object:  # noqa: ARG002 - the other shapes need it
        """The agent's input.

        Raises:
            Refusal: The body is not of the endpoint's shape.
        """
        if isinstance(self.body, dict) and "input" in self.body and self.body.keys() <= {"input", "stream"}:
            return self.body["input"]
        return self.body

    def whole(self, output: bytes) -> bytes:
        """The answer.

        Args:
            output: The agent's output as JSON.
        """
        return output

    def opening(self) -> bytes:
        """What a stream begins with."""
        return b""

    def part(self, chunk: bytes) -> bytes:
        """One chunk of a stream.

        Args:
            chunk: As JSON.
        """
        return b"data: " + chunk + b"\n\n"

    def closing(self) -> bytes:
        """What a stream ends with."""
        return b"event: done\ndata: {}\n\n"

    def failing(self, refusal: Refusal, trace_id: str | None) -> bytes:
        """What a stream ends with that cannot go on."""
        return b"event: error\ndata: " + refusal.dumped(trace_id) + b"\n\n"

    def _wants_stream(self, accepts: str) -> bool:
        wish = self.body.get("stream") if isinstance(self.body, dict) and "input" in self.body else None
        return wish is True or (wish is None and "text/event-stream" in accepts)


class _OpenAI(Shape):
    prefix = ""

    def __init__(self, body: Any, accepts: str = "") -> None:
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_body", "the body must be a JSON object", param="")
        super().__init__(body, accepts)
        self._id = f"{self.prefix}{secrets.token_hex(16)}"
        self._created = int(time.time())

    @property
    def model(self) -> str | None:
        found = self.body.get("model")
        if found is not None and not isinstance(found, str):
            raise Refusal(400, "invalid_body", "`model` must be a text", param="/model")
        return found or None

    @property
    def user(self) -> str | None:
        found = self.body.get("user")
        return found if isinstance(found, str) else None

    def _wants_stream(self, accepts: str) -> bool:  # noqa: ARG002 - OpenAI's clients say it in the body
        return self.body.get("stream") is True


class Chat(_OpenAI):
    """`/v1/chat/completions`."""

    prefix = "chatcmpl-"

    def input(self, asked: Asked) -> object:
        """The agent's input for the messages of the body."""
        return asked.input(_checked(self.body.get("messages"), "/messages"), self.body)

    def whole(self, output: bytes) -> bytes:
        """The answer in OpenAI's shape."""
        found = orjson.loads(output)
        message: dict[str, Any] = {"role": "assistant", "content": said(found), "refusal": None}
        calls = (assistant(found) or {}).get("tool_calls")
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if calls else "stop"}
        answer = {**self._head("chat.completion"), "choices": [choice]}
        counted = usage(found)
        return orjson.dumps(answer if counted is None else {**answer, "usage": counted})

    def opening(self) -> bytes:
        """The events before the first text."""
        return self._chunk({"role": "assistant", "content": ""})

    def part(self, chunk: bytes) -> bytes:
        """The event of one text."""
        return self._chunk({"content": said(orjson.loads(chunk))})

    def closing(self) -> bytes:
        """The events after the last text."""
        return self._chunk({}, finish="stop") + b"data: [DONE]\n\n"

    def failing(self, refusal: Refusal, trace_id: str | None) -> bytes:
        """The event of a failure."""
        return b"data: " + refusal.dumped(trace_id) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.body.get("model") or self.served,
        }

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({**self._head("chat.completion.chunk"), "choices": [choice]}) + b"\n\n"


class Responses(_OpenAI):
    """`/v1/responses`."""

    prefix = "resp_"

    def __init__(self, body: Any, accepts: str = "") -> None:
        super().__init__(body, accepts)
        self._item = f"msg_{secrets.token_hex(16)}"
        self._number = -1
        self._texts: list[str] = []

    def input(self, asked: Asked) -> object:
        """The agent's input for the messages of the body."""
        given = self.body.get("input")
        if isinstance(given, str):
            messages: list[Message] = [{"role": "user", "content": given}]
        else:
            messages = _checked(given, "/input")
        instructions = self.body.get("instructions")
        if isinstance(instructions, str) and instructions:
            messages = [{"role": "system", "content": instructions}, *messages]
        return asked.input(messages, self.body)

    def whole(self, output: bytes) -> bytes:
        """The answer in OpenAI's shape."""
        found = orjson.loads(output)
        return orjson.dumps(self._response("completed", [self._message("completed", said(found))], usage(found)))

    def opening(self) -> bytes:
        """The events before the first text."""
        begun = self._response("in_progress", [])
        item = {"output_index": 0, "item": {**self._message("in_progress", ""), "content": []}}
        return b"".join(
            (
                self._event("response.created", {"response": begun}),
                self._event("response.in_progress", {"response": begun}),
                self._event("response.output_item.added", item),
                self._event("response.content_part.added", {**self._place(), "part": _text("")}),
            )
        )

    def part(self, chunk: bytes) -> bytes:
        """The event of one text."""
        text = said(orjson.loads(chunk))
        self._texts.append(text)
        return self._event("response.output_text.delta", {**self._place(), "delta": text, "logprobs": []})

    def closing(self) -> bytes:
        """The events after the last text."""
        text = "".join(self._texts)
        message = self._message("completed", text)
        return b"".join(
            (
                self._event("response.output_text.done", {**self._place(), "text": text, "logprobs": []}),
                self._event("response.content_part.done", {**self._place(), "part": _text(text)}),
                self._event("response.output_item.done", {"output_index": 0, "item": message}),
                self._event("response.completed", {"response": self._response("completed", [message])}),
            )
        )

    def failing(self, refusal: Refusal, trace_id: str | None) -> bytes:  # noqa: ARG002 - the header names the trace
        """The event of a failure."""
        failed = self._response("failed", [self._message("incomplete", "".join(self._texts))])
        failed["error"] = {"code": "server_error", "message": refusal.message}
        return self._event("response.failed", {"response": failed})

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _message(self, status: str, text: str) -> dict[str, Any]:
        return {"id": self._item, "type": "message", "status": status, "role": "assistant", "content": [_text(text)]}

    def _response(
        self, status: str, output: list[dict[str, Any]], counted: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": self.body.get("instructions"),
            "metadata": self.body.get("metadata") or {},
            "model": self.body.get("model") or self.served,
            "output": output,
            "parallel_tool_calls": False,
            "temperature": self.body.get("temperature"),
            "tool_choice": "auto",
            "tools": [],
            "top_p": self.body.get("top_p"),
            "usage": counted,
        }

    def _event(self, kind: str, said_of_it: Mapping[str, Any]) -> bytes:
        self._number += 1
        data = orjson.dumps({"type": kind, "sequence_number": self._number, **said_of_it})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


SHAPES: Mapping[str, type[Shape]] = {
    "/invocations": Shape,
    "/v1/chat/completions": Chat,
    "/v1/responses": Responses,
}


def spoken(chunks: Iterable[bytes]) -> object:
    """A stream's chunks as one output: their texts in a row, or a list of what they are."""
    found = [orjson.loads(chunk) for chunk in chunks]
    return "".join(found) if all(isinstance(each, str) for each in found) else found


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _checked(given: object, place: str) -> list[Message]:
    if not isinstance(given, list) or not given:
        raise Refusal(400, "invalid_body", f"`{place[1:]}` must be a list of at least one message", param=place)
    for position, each in enumerate(given):
        role = each.get("role") if isinstance(each, dict) else None
        typed = isinstance(each, dict) and place == "/input" and isinstance(each.get("type"), str)
        if role not in _ROLES and not typed:
            known = ", ".join(sorted(_ROLES))
            raise Refusal(400, "invalid_body", f"a message needs a role of {known}", param=f"{place}/{position}/role")
        content = each.get("content")
        if not isinstance(content, (str, list, type(None))):
            raise Refusal(
                400, "invalid_body", "a message's content is a text or a list of parts", param=f"{place}/{position}"
            )
    if place == "/input":
        return [
            {**each, "content": text_of(each["content"])} if isinstance(each.get("content"), list) else each
            for each in given
        ]
    return given
