"""Made OTLP requests for load: agents that call models and tools, ten spans a trace, 1.2 KB a span, text that varies.

A request is made once and sent many times: before each sending it gets ids and times of its own, written over the
bytes that held the last ones, so that sending costs the sender next to nothing.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import time
from dataclasses import dataclass

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

SPANS_A_TRACE = 10

_TRACE, _SPAN, _TIME = b"\xfe\xfdTRCE", b"\xfe\xfdSP", 0x7E57ABCD
_STEPS = ("agent", "llm", "tool", "llm", "tool", "retriever", "llm", "tool", "llm", "llm")
_TOOLS = ("look_up_order", "refund", "send_mail", "search_web", "read_file")
_MODELS = ("gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-flash")
_LETTERS = "eeeeeetttttaaaaooooiiiinnnnsssshhhhrrrrddllluuccmmwwffggyyppbbvvkkxjqz"


@dataclass(frozen=True)
class Template:
    """A request, and where in its bytes the ids and times stand.

    Args:
        body: The serialized request.
        spans: How many spans it has.
        traces: For each trace, the places of its trace id.
        ids: For each span, the places of its id, in its own and in its children's bytes.
        times: The places of times, each 8 bytes.
        offsets: What each of these times adds to the request's own, in nanoseconds.
    """

    body: bytes
    spans: int
    traces: tuple[np.ndarray, ...]
    ids: tuple[np.ndarray, ...]
    times: np.ndarray
    offsets: np.ndarray

    def fresh(self, now_ns: int | None = None) -> bytearray:
        """The request with ids that no other has, ending now."""
        body = bytearray(self.body)
        view = np.frombuffer(body, np.uint8)
        for places, size in ((self.traces, 16), (self.ids, 8)):
            drawn = np.frombuffer(secrets.token_bytes(len(places[0]) * size), np.uint8).reshape(-1, size)
            for each in places:
                known = each >= 0
                view[each[known, None] + np.arange(size)] = drawn[known]
        times = (self.offsets + (time.time_ns() if now_ns is None else now_ns)).astype("<u8")
        view[self.times[:, None] + np.arange(8)] = times.view(np.uint8).reshape(-1, 8)
        return body


def templates(count: int, *, traces: int = 100, seed: int = 1) -> list[Template]:
    """So many requests of 10 × `traces` spans, no two with the same text."""
    rng = random.Random(seed)
    words = _words(rng)
    return [_template(rng, words, traces) for _ in range(count)]


def _words(rng: random.Random) -> list[str]:
    made = {"".join(rng.choices(_LETTERS, k=rng.choice((2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 11)))) for _ in range(9_000)}
    ordered = sorted(made)
    rng.shuffle(ordered)
    return ordered


def _text(rng: random.Random, words: list[str], length: int) -> str:
    # Like language: the n-th word is drawn about 1/n as often as the first.
    drawn = [words[int(len(words) ** rng.random()) - 1] for _ in range(length // 5)]
    text = " ".join(drawn)[:length]
    return f"{text[:1].upper()}{text[1:]}. #{rng.randrange(10**9)}"


def _template(rng: random.Random, words: list[str], traces: int) -> Template:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in (
        ("service.name", "support"),
        ("service.version", "2.4.1"),
        ("deployment.environment.name", "production"),
        ("telemetry.sdk.language", "python"),
        ("host.name", f"worker-{rng.randrange(20)}"),
    ):
        resource.resource.attributes.append(_pair(key, value))
    scope = resource.scope_spans.add()
    scope.scope.name, scope.scope.version = "tracekit", "0.1.0"
    for trace in range(traces):
        session, before = f"s-{rng.randrange(10**6)}", -rng.randrange(1_000, 1_500)
        for place, step in enumerate(_STEPS):
            number = trace * SPANS_A_TRACE + place
            start = before + place * 90
            span = scope.spans.add(
                name={"agent": "invoke_agent support", "llm": "chat", "retriever": "search handbook"}.get(
                    step, "execute_tool"
                ),
                kind=3 if step == "llm" else 1,
                trace_id=_TRACE + trace.to_bytes(10, "big"),
                span_id=_SPAN + number.to_bytes(4, "big"),
                parent_span_id=b"" if place == 0 else _SPAN + (trace * SPANS_A_TRACE).to_bytes(4, "big"),
                start_time_unix_nano=_placeholder(start),
                end_time_unix_nano=_placeholder(start + (1_000 if place == 0 else 80)),
            )
            span.flags = 256
            for key, value in _attributes(step, rng, words, session):
                span.attributes.append(_pair(key, value))
            if rng.random() < 0.01:
                span.status.code, span.status.message = 2, _text(rng, words, 60)
    return _located(request.SerializeToString(), traces)


def _attributes(step: str, rng: random.Random, words: list[str], session: str) -> list[tuple[str, object]]:
    common: list[tuple[str, object]] = [
        ("gen_ai.conversation.id", session),
        ("gen_ai.agent.name", "support"),
        ("app.tenant", f"t-{rng.randrange(5_000)}"),
        ("app.note", _text(rng, words, 60)),
    ]
    if step == "agent":
        asked, said = _text(rng, words, 220), _text(rng, words, 340)
        return [
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.input.messages", _message("user", asked)),
            ("gen_ai.output.messages", _message("assistant", said)),
            *common,
        ]
    if step == "llm":
        asked, said = _text(rng, words, 340), _text(rng, words, 290)
        return [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", _MODELS[rng.randrange(3)]),
            ("gen_ai.response.model", _MODELS[rng.randrange(3)]),
            ("gen_ai.response.id", f"resp_{rng.randrange(16**16):016x}"),
            ("gen_ai.usage.input_tokens", rng.randrange(100, 4_000)),
            ("gen_ai.usage.output_tokens", rng.randrange(10, 900)),
            ("gen_ai.response.finish_reasons", ["stop"]),
            ("gen_ai.request.temperature", rng.randrange(0, 10) / 10),
            ("gen_ai.input.messages", _message("user", asked)),
            ("gen_ai.output.messages", _message("assistant", said)),
            *common,
        ]
    if step == "tool":
        return [
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", _TOOLS[rng.randrange(len(_TOOLS))]),
            ("gen_ai.tool.call.id", f"call_{rng.randrange(16**12):012x}"),
            ("gen_ai.tool.call.arguments", json.dumps({"query": _text(rng, words, 200), "limit": rng.randrange(99)})),
            ("gen_ai.tool.call.result", json.dumps({"ok": True, "rows": _text(rng, words, 430)})),
            *common,
        ]
    found = [{"id": f"d-{rng.randrange(10**5)}", "content": _text(rng, words, 150), "score": 0.5} for _ in range(3)]
    return [
        ("gen_ai.operation.name", "retrieval"),
        ("gen_ai.retrieval.query.text", _text(rng, words, 90)),
        ("gen_ai.retrieval.documents", json.dumps(found)),
        *common,
    ]


def _message(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def _pair(key: str, value: object) -> KeyValue:
    pair = KeyValue(key=key)
    if isinstance(value, list):
        for each in value:
            pair.value.array_value.values.add(string_value=each)
    elif isinstance(value, float):
        pair.value.double_value = value
    elif isinstance(value, int):
        pair.value.int_value = value
    else:
        pair.value.string_value = str(value)
    return pair


def _placeholder(offset_ms: int) -> int:
    return _TIME << 32 | (offset_ms + 2**31)


def _located(body: bytes, traces: int) -> Template:
    by_trace: list[list[int]] = [[] for _ in range(traces)]
    for found in re.finditer(re.escape(_TRACE), body):
        by_trace[int.from_bytes(body[found.start() + 6 : found.start() + 16], "big")].append(found.start())
    by_span: list[list[int]] = [[] for _ in range(traces * SPANS_A_TRACE)]
    for found in re.finditer(re.escape(_SPAN), body):
        by_span[int.from_bytes(body[found.start() + 4 : found.start() + 8], "big")].append(found.start())
    high = _TIME.to_bytes(4, "little")
    times = [found.start() - 4 for found in re.finditer(re.escape(high), body)]
    offsets = [(int.from_bytes(body[at : at + 4], "little") - 2**31) * 1_000_000 for at in times]
    return Template(
        body, traces * SPANS_A_TRACE, _columns(by_trace), _columns(by_span), np.array(times), np.array(offsets)
    )


def _columns(places: list[list[int]]) -> tuple[np.ndarray, ...]:
    """The first place of each, the second of each, ...; -1 where there is none."""
    most = max(len(each) for each in places)
    return tuple(np.array([each[n] if n < len(each) else -1 for each in places]) for n in range(most))
