"""A service that converts units, instrumented with plain OpenTelemetry: no tracekit in it.

It answers `POST /ask` with `{"question": "12 km in mi"}` and exports its spans to `OTEL_EXPORTER_OTLP_ENDPOINT`, with
the attributes of OpenTelemetry's GenAI conventions.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344}

provider = TracerProvider(resource=Resource.create({"service.name": "units"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(compression=Compression.Gzip)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("units")


def convert(amount: float, unit: str, to: str) -> float:
    arguments = {"amount": amount, "unit": unit, "to": to}
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "convert",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.arguments": json.dumps(arguments),
    }
    with tracer.start_as_current_span("execute_tool convert", attributes=attributes) as span:
        for name in (unit, to):
            if name not in METRES:
                span.set_attribute("error.type", "LookupError")
                raise LookupError(f"unknown unit {name!r}")
        result = round(amount * METRES[unit] / METRES[to], 6)
        span.set_attribute("gen_ai.tool.call.result", json.dumps(result))
        return result


def answer(question: str) -> str:
    asked = [{"role": "user", "parts": [{"type": "text", "content": question}]}]
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "units",
        "gen_ai.agent.version": "1",
        "gen_ai.input.messages": json.dumps(asked),
    }
    with tracer.start_as_current_span("invoke_agent units", attributes=attributes) as span:
        amount, unit, _, to = question.split()
        text = f"{convert(float(amount), unit, to):g} {to}"
        said = [{"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": "stop"}]
        span.set_attribute("gen_ai.output.messages", json.dumps(said))
        return text


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        with tracer.start_as_current_span(
            "POST /ask",
            context=extract(dict(self.headers)),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": "POST", "url.path": self.path},
        ) as span:
            try:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, reply = 200, {"answer": answer(json.loads(body)["question"])}
            except (LookupError, ValueError, TypeError) as error:
                status, reply = 422, {"error": str(error)}
                span.set_status(Status(StatusCode.ERROR, str(error)))
            span.set_attribute("http.response.status_code", status)
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - as http.server calls it


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
        provider.shutdown()


if __name__ == "__main__":
    main()
