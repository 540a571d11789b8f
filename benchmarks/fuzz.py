"""A million hostile bodies against the decoders: every one is read or refused with a reason, and nothing grows.

    python benchmarks/fuzz.py --bodies 1000000 --seed 1

Bodies are sound requests that were mutated (bits, cuts, copies, splices, lengths), JSON of the right and the wrong
shape, noise, each as it is or compressed, some with the compressed form mutated. Prints one line of JSON; ends with 1
where something was found.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable

import orjson
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import DecodeError
from tracekit_collector.encoding import inflate
from tracekit_collector.otlp import JSON, PROTOBUF, decode, genai_metrics, response_body

LIMIT = 1 << 20
KINDS = ("traces", "logs", "metrics")
WORDS = (
    b"\x00",
    b"\xff",
    b"\x0a\x00",
    b"\x12\xff\xff\xff\xff\x0f",
    b"\xf5TKR",
    b"null",
    b"{",
    b"]",
    b"-1",
    b"1e999",
    b'""',
)
ODD = (None, True, -1, 2**64, 1e308, float("nan"), "", "\ud800", "ab" * 16, [], {}, [[[]]], {"key": 1}, "9" * 30)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    sound = {kind: _sound(kind) for kind in KINDS}
    answers: Counter[str] = Counter()
    found: list[str] = []
    longest, warm, began, done = 0.0, 0, time.monotonic(), 0
    while done < arguments.bodies and time.monotonic() - began < arguments.seconds:
        kind = chance.choice(KINDS)
        body, media, coding = _body(chance, *sound[kind if chance.random() < 0.9 else chance.choice(KINDS)])
        since = time.perf_counter()
        try:
            answers[_ask(kind, body, media, coding)] += 1
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            answers["fault"] += 1
            if len(found) < 5:
                found.append(f"{kind} {media} {coding!r} {body[:200]!r}\n{traceback.format_exc()}")
        longest = max(longest, time.perf_counter() - since)
        done += 1
        if done == min(50_000, arguments.bodies // 2):
            warm = _resident()
    grown = _resident() - warm
    figures = {
        "bodies": done,
        "seed": arguments.seed,
        "seconds": round(time.monotonic() - began, 1),
        "answers": dict(answers),
        "faults": answers["fault"],
        "grown_bytes": grown,
        "longest_ms": round(longest * 1000, 1),
    }
    print(json.dumps(figures))
    for each in found:
        print(each, file=sys.stderr)
    return 1 if answers["fault"] or grown > 64 << 20 else 0


def _ask(kind: str, body: bytes, media: str, coding: str) -> str:
    """How a door would answer: the status."""
    try:
        plain = inflate(body, coding, limit=LIMIT) if coding else body
        decoded = decode(kind, plain, media)  # type: ignore[arg-type]  # one of the three
    except DecodeError as error:
        if not str(error):
            raise
        return type(error).__name__
    again = decode(kind, decoded.payload)  # type: ignore[arg-type]  # as above
    if again.items != decoded.items or again.refused:
        raise AssertionError("what is kept does not read as what was taken")
    response_body(decoded, media)
    if kind == "metrics":
        genai_metrics(decoded)
    return "partial" if decoded.refused else "taken"


def _body(chance: random.Random, raw: bytes, tree: object) -> tuple[bytes, str, str]:
    way = chance.random()
    if way < 0.5:
        body, media = _mutated(chance, raw), PROTOBUF
    elif way < 0.75:
        body, media = orjson.dumps(_bent(chance, tree), default=str, option=orjson.OPT_NON_STR_KEYS), JSON
        body = _mutated(chance, body) if chance.random() < 0.3 else body
    elif way < 0.9:
        body, media = chance.randbytes(chance.randrange(200)), chance.choice((PROTOBUF, JSON))
    else:
        body, media = _mutated(chance, orjson.dumps(tree)), JSON
    coding = ""
    if chance.random() < 0.15:
        coding, packed = chance.choice(PACKERS)
        body = packed(body)
        body = _mutated(chance, body) if chance.random() < 0.4 else body
    return body, media, coding


def _mutated(chance: random.Random, body: bytes) -> bytes:
    out = bytearray(body)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
        at = chance.randrange(len(out) + 1)
        how = chance.randrange(6)
        if how == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif how == 1:
            del out[at : at + chance.randrange(1, 30)]
        elif how == 2:
            out[at:at] = chance.choice(WORDS)
        elif how == 3:
            start = chance.randrange(len(out) + 1)
            out[at:at] = out[start : start + chance.randrange(1, 60)]
        elif how == 4 and out:
            out[at % len(out)] = chance.randrange(256)
        else:
            del out[at:]
    return bytes(out)


def _bent(chance: random.Random, value: object, depth: int = 0) -> object:
    if chance.random() < 0.03:
        odd = chance.choice(ODD)
        return "odd" if odd == "\ud800" else odd if not isinstance(odd, int) or abs(odd) < 2**63 else str(odd)
    if isinstance(value, dict):
        return {
            key if chance.random() > 0.02 else key.upper(): _bent(chance, each, depth + 1)
            for key, each in value.items()
            if chance.random() > 0.02
        }
    if isinstance(value, list):
        out = [_bent(chance, each, depth + 1) for each in value]
        return out * 2 if chance.random() < 0.05 else out
    return value


def _zstd(body: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.compress(body, codec="zstd", asbytes=True))


PACKERS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("gzip", lambda body: gzip.compress(body, 1)),
    ("deflate", zlib.compress),
    ("zstd", _zstd),
    ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body, 1))),
    ("br", bytes),
)


def _sound(kind: str) -> tuple[bytes, object]:
    """A request of a kind with something of everything, and its JSON."""
    values = [
        {"string_value": "x"},
        {"int_value": -(2**63)},
        {"double_value": float("inf")},
        {"bool_value": True},
        {"bytes_value": b"\x00\xff"},
        {"array_value": {"values": [{"kvlist_value": {"values": [{"key": "k", "value": {"int_value": 1}}]}}, {}]}},
    ]
    pairs = [{"key": f"k{number}", "value": value} for number, value in enumerate(values)]
    resource, scope = {"attributes": pairs[:2]}, {"name": "scope", "version": "1", "attributes": pairs[:1]}
    ids = {"trace_id": bytes(range(1, 17)), "span_id": bytes(range(1, 9))}
    if kind == "traces":
        span = {
            **ids,
            "name": "chat",
            "kind": 3,
            "start_time_unix_nano": 1,
            "end_time_unix_nano": 2,
            "attributes": pairs,
            "events": [{"name": "e", "attributes": pairs[:1]}],
            "links": [{**ids, "attributes": pairs[:1]}],
            "status": {"code": 2, "message": "m"},
        }
        spans = {"scope": scope, "spans": [span, {**span, "span_id": bytes(range(2, 10))}, {"name": "no id"}]}
        request = ExportTraceServiceRequest(resource_spans=[{"resource": resource, "scope_spans": [spans]}])
    elif kind == "logs":
        record = {
            "time_unix_nano": 1,
            "severity_number": 9,
            "body": values[5],
            "attributes": pairs,
            "event_name": "e",
            **ids,
        }
        logs = {"scope": scope, "log_records": [record, {}]}
        request = ExportLogsServiceRequest(resource_logs=[{"resource": resource, "scope_logs": [logs]}])
    else:
        point = {"attributes": pairs, "time_unix_nano": 2, "as_double": 0.5}
        histogram = {"data_points": [{"count": 2, "sum": 1.0, "bucket_counts": [1, 1], "explicit_bounds": [0.5]}]}
        metrics = [
            {"name": "gen_ai.client.token.usage", "histogram": histogram},
            {"name": "m", "sum": {"data_points": [point]}},
        ]
        scoped = {"scope": scope, "metrics": metrics}
        request = ExportMetricsServiceRequest(resource_metrics=[{"resource": resource, "scope_metrics": [scoped]}])
    return request.SerializeToString(), json_format.MessageToDict(request, use_integers_for_enums=True)


def _resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - Linux's own, not a file of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
