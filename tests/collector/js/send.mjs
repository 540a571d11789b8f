// Sends spans by OTLP/JSON with the SDK as it is, and prints what it sent as it knows it.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const memory = new InMemorySpanExporter();
const exporter = new OTLPTraceExporter({ url: `${process.argv[2]}/v1/traces` });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "js-agent", "service.version": "1.2.3", "host.cpus": 2 }),
  spanProcessors: [new SimpleSpanProcessor(memory), new SimpleSpanProcessor(exporter)],
});
const tracer = provider.getTracer("acme.js", "0.9.0");

const root = tracer.startSpan("invoke_agent", { kind: SpanKind.SERVER, startTime: [1795435348, 123456789] }, ROOT_CONTEXT);
const child = tracer.startSpan(
  "chat",
  {
    kind: SpanKind.CLIENT,
    startTime: [1795435348, 223456789],
    links: [{ context: root.spanContext(), attributes: { why: "parent" } }],
    attributes: {
      text: "Grüße 日本 🎉",
      lone: "cut \ud83d",
      empty: "",
      int: 57,
      negative: -3,
      double: 0.25,
      yes: true,
      list: ["a", "b"],
      numbers: [1, 2],
      large: "x".repeat(2000),
    },
  },
  trace.setSpan(ROOT_CONTEXT, root),
);
child.addEvent("first token", { index: 0 }, [1795435348, 323456789]);
child.setStatus({ code: SpanStatusCode.ERROR, message: "model said no" });
child.end([1795435349, 1]);
root.end([1795435349, 2]);
await provider.forceFlush();
await provider.shutdown().catch(() => undefined);

const sent = memory.getFinishedSpans();
console.log(JSON.stringify([root, child].map((span) => span.spanContext())));
if (sent.length > 2) process.exit(1);
