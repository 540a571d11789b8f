"""A model server that speaks OpenAI's, Anthropic's and Gemini's interfaces, and answers from a script.

Asked with tools and without a tool's result, it calls the first tool with `{"day": "sunday"}`; asked with a result, it
says what the result was. What is to be streamed comes word by word.
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
        answer = _answer(self.path, number, body)
        is_stream = isinstance(answer, list)
        payload = _events(answer) if is_stream else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if is_stream else "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def _answer(path: str, number: int, body: dict[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
    """What is answered; a list where it is to be streamed."""
    if "generateContent" in path or "streamGenerateContent" in path:
        whole = _content(number, body)
        return _content_chunks(whole) if "stream" in path.partition(":")[2] else whole
    if path.partition("?")[0].endswith("/messages"):
        whole = _message(number, body)
        return _message_events(whole) if body.get("stream") else whole
    if path.endswith("/responses"):
        return _response(number, body)
    whole = _completion(number, body)
    return _completion_chunks(whole) if body.get("stream") else whole


def _events(chunks: list[dict[str, Any]]) -> bytes:
    """Server-sent events; Anthropic's are named, OpenAI's have an end mark."""
    lines = [f"event: {chunk['type']}\n" if "type" in chunk else "" for chunk in chunks]
    text = "".join(f"{line}data: {json.dumps(chunk)}\n\n" for line, chunk in zip(lines, chunks, strict=True))
    return (text + ("data: [DONE]\n\n" if chunks[0].get("object") else "")).encode()


def _words(text: str) -> list[str]:
    return [word if at == 0 else f" {word}" for at, word in enumerate(text.split(" "))]


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


def _completion_chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    choice = whole["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in _words(message["content"] or "")]
    deltas += [{"tool_calls": [{"index": 0, **call}]} for call in message.get("tool_calls", [])]
    about = {**{key: whole[key] for key in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    chunks = [{**about, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**about, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return [*chunks, {**about, "choices": [], "usage": whole["usage"]}]


def _message(number: int, body: dict[str, Any]) -> dict[str, Any]:
    blocks = [block for said in body["messages"] if isinstance(said["content"], list) for block in said["content"]]
    results = [_plain(block["content"]) for block in blocks if block["type"] == "tool_result"]
    if results or not body.get("tools"):
        content = {"type": "text", "text": f"On sundays: {results[-1] if results else 'unknown'}"}
    else:
        name = body["tools"][0]["name"]
        content = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": json.loads(ARGUMENTS)}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [content],
        "stop_reason": "end_turn" if content["type"] == "text" else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
    }


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _message_events(whole: dict[str, Any]) -> list[dict[str, Any]]:
    block = whole["content"][0]
    usage = {**whole["usage"], "output_tokens": 1}
    if block["type"] == "text":
        begun, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in _words(block["text"])]
    else:
        given = json.dumps(block["input"])
        halves = given[:5], given[5:]
        begun = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in halves]
    said = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    return [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": said, "usage": {"output_tokens": OUTPUT_TOKENS}},
        {"type": "message_stop"},
    ]


def _content(number: int, body: dict[str, Any]) -> dict[str, Any]:
    parts = [part for content in body["contents"] for part in content["parts"]]
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    if results or not body.get("tools"):
        said: dict[str, Any] = {"text": f"On sundays: {next(iter(results[-1].values())) if results else 'unknown'}"}
    else:
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        said = {"functionCall": {"name": name, "args": json.loads(ARGUMENTS)}}
    return {
        "responseId": f"gen_{number}",
        "modelVersion": MODEL,
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [said]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": INPUT_TOKENS,
            "candidatesTokenCount": OUTPUT_TOKENS,
            "totalTokenCount": INPUT_TOKENS + OUTPUT_TOKENS,
        },
    }


def _content_chunks(whole: dict[str, Any]) -> list[dict[str, Any]]:
    part = whole["candidates"][0]["content"]["parts"][0]
    parts = [{"text": word} for word in _words(part["text"])] if "text" in part else [part]
    about = {key: whole[key] for key in ("responseId", "modelVersion")}
    chunks = [{**about, "candidates": [{"index": 0, "content": {"role": "model", "parts": [each]}}]} for each in parts]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    chunks[-1]["usageMetadata"] = whole["usageMetadata"]
    return chunks


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
