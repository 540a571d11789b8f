"""A model server that speaks OpenAI's chat completions and responses, and answers from a script.

Asked with tools and without a tool's result, it calls the first tool with `{"day": "sunday"}`; asked with a result, it
says what the result was.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted-1"
ARGUMENTS = '{"day": "sunday"}'
INPUT_TOKENS, OUTPUT_TOKENS = 21, 8


class ModelServer(ThreadingHTTPServer):
    """Counts the requests that it has answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def take(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Keep a request; returns its number, from 1."""
        with self._lock:
            self.requests.append((path, body, headers))
            return len(self.requests)


@contextmanager
def serving() -> Iterator[ModelServer]:
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Answers(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = self.server.take(self.path, body, {key.lower(): value for key, value in self.headers.items()})
        answer = _response(number, body) if self.path.endswith("/responses") else _completion(number, body)
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _completion(number: int, body: dict[str, Any]) -> dict[str, Any]:
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if results or not body.get("tools"):
        message["content"] = f"On sundays: {results[-1] if results else 'unknown'}"
    else:
        function = {"name": body["tools"][0]["function"]["name"], "arguments": ARGUMENTS}
        message["tool_calls"] = [{"id": f"call_{number}", "type": "function", "function": function}]
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }


def _response(number: int, body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"] if isinstance(body["input"], list) else []
    results = [item["output"] for item in given if item.get("type") == "function_call_output"]
    item: dict[str, Any]
    if results or not body.get("tools"):
        text = f"On sundays: {results[-1] if results else 'unknown'}"
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}
    else:
        item = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": body["tools"][0]["name"],
            "arguments": ARGUMENTS,
            "status": "completed",
        }
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": MODEL,
        "status": "completed",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "usage": {
            "input_tokens": INPUT_TOKENS,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT_TOKENS,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }
