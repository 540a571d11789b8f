"""The agent on OpenAI's client, instrumented by OpenTelemetry's own package although OpenInference's is installed."""

import openai_loop

import tracekit

tracekit.instrument("opentelemetry-instrumentation-openai-v2")
with tracekit.session("chat-1", user="ada"):
    print(openai_loop.answer("When does the library open on sunday?"))
