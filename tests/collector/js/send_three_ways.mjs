// Sends one span by OTLP as JSON, protobuf and gRPC, with the SDK as it is; the targets are the arguments, in this order.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [json, protobuf, grpc] = process.argv.slice(2);
const memory = new InMemorySpanExporter();
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "js-agent", "host.cpus": 2 }),
  spanProcessors: [new SimpleSpanProcessor(memory)],
});
const attributes = {
  "gen_ai.operation.name": "chat",
  "gen_ai.request.model": "gpt-4o",
  text: "Grüße 日本 🎉",
  empty: "",
  int: 57,
  big: Number.MAX_SAFE_INTEGER,
  negative: -3,
  double: 0.25,
  yes: true,
  list: ["a", "b"],
};
const span = provider.getTracer("acme.js", "0.9.0").startSpan("chat gpt-4o", { kind: SpanKind.CLIENT, attributes }, ROOT_CONTEXT);
span.addEvent("first token", { index: 0 });
span.setStatus({ code: SpanStatusCode.ERROR, message: "model said no" });
span.end();
await provider.forceFlush();

for (const exporter of [
  new JsonExporter({ url: `${json}/v1/traces` }),
  new ProtobufExporter({ url: `${protobuf}/v1/traces` }),
  new GrpcExporter({ url: grpc }),
]) {
  const result = await new Promise((resolve) => exporter.export(memory.getFinishedSpans(), resolve));
  if (result.code !== 0) throw result.error ?? new Error("the export failed");
  await exporter.shutdown();
}
