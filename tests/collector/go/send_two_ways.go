// Sends two spans by OTLP over HTTP (protobuf) and gRPC, with the SDK as it is; the targets are the arguments, in this
// order: a base URL and a host with its port. Ids and times are literal, so that another SDK can make the same spans.
package main

import (
	"context"
	"math"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// literalIDs gives one trace id, and span ids that end in 1, 2, 3 and so on.
type literalIDs struct{ made byte }

func (ids *literalIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	traceID := trace.TraceID{0x5b, 0x8e, 0xfd, 0xf0, 0x44, 0x4d, 0x2a, 0x10, 0x91, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77}
	return traceID, ids.NewSpanID(ctx, traceID)
}

func (ids *literalIDs) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	ids.made++
	return trace.SpanID{0xa1, 0, 0, 0, 0, 0, 0, ids.made}
}

func at(nanoseconds int64) time.Time { return time.Unix(1_795_435_348, 123_456_789+nanoseconds) }

func record() []sdk.ReadOnlySpan {
	memory := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(
		sdk.WithSyncer(memory),
		sdk.WithIDGenerator(&literalIDs{}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "same-agent"),
			attribute.Int("host.cpus", 2),
			attribute.StringSlice("zones", []string{"a", "b"}),
		)),
	)
	tracer := provider.Tracer("acme", trace.WithInstrumentationVersion("0.9.0"))
	ctx, root := tracer.Start(context.Background(), "invoke_agent bot",
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at(0)),
		trace.WithAttributes(attribute.String("gen_ai.operation.name", "invoke_agent")))
	_, child := tracer.Start(ctx, "chat gpt-4o",
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(at(1)),
		trace.WithLinks(trace.Link{SpanContext: root.SpanContext(), Attributes: []attribute.KeyValue{attribute.String("why", "parent")}}),
		trace.WithAttributes(
			attribute.String("gen_ai.operation.name", "chat"),
			attribute.String("gen_ai.request.model", "gpt-4o"),
			attribute.Int("gen_ai.usage.input_tokens", 12),
			attribute.String("text", "Grüße 日本 🎉"),
			attribute.String("empty", ""),
			attribute.Int("int", 57),
			attribute.Int64("big", math.MaxInt64),
			attribute.Int64("small", math.MinInt64),
			attribute.Float64("double", 0.1),
			attribute.Float64("whole", 2),
			attribute.Bool("yes", true),
			attribute.StringSlice("list", []string{"a", "b"}),
			attribute.Int64Slice("numbers", []int64{1, 2}),
			attribute.Float64Slice("doubles", []float64{1, 2.5}),
			attribute.BoolSlice("flags", []bool{true, false}),
			attribute.String("large", strings.Repeat("x", 2000)),
		))
	child.AddEvent("first token", trace.WithTimestamp(at(2)), trace.WithAttributes(attribute.Int("index", 0)))
	child.SetStatus(codes.Error, "model said no")
	child.End(trace.WithTimestamp(at(1001)))
	root.End(trace.WithTimestamp(at(2000)))
	return memory.GetSpans().Snapshots()
}

func send(exporter sdk.SpanExporter, err error, spans []sdk.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err == nil {
		err = exporter.ExportSpans(ctx, spans)
	}
	if err == nil {
		err = exporter.Shutdown(ctx)
	}
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx, spans := context.Background(), record()
	overHTTP, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(os.Args[1]+"/v1/traces"),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	send(overHTTP, err, spans)
	overGRPC, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(os.Args[2]), otlptracegrpc.WithInsecure())
	send(overGRPC, err, spans)
}
