"""A TracerProvider that somebody else sets, before us or after us, gets its spans; so do we."""

from __future__ import annotations

from pathlib import Path

THEIRS = """
import json, logging, tracekit
logging.basicConfig(format="%(message)s")
from opentelemetry import trace
from opentelemetry.trace import set_tracer_provider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

def another():
    provider, kept = TracerProvider(resource=Resource({"service.name": "theirs"})), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return provider, kept

def names(kept):
    return sorted(span.name for span in kept.get_finished_spans())

@tracekit.tool
def look(query):
    return query
"""


def test_a_provider_that_is_set_after_ours_is_taken_and_joined(script, stored, tmp_path: Path) -> None:
    done = script(
        THEIRS
        + """
tracekit.init(project="library", agent="bot", agent_version="3")
early = trace.get_tracer("early")
look("before")
theirs, kept = another()
set_tracer_provider(theirs)
assert trace.get_tracer_provider() is theirs
with trace.get_tracer("late").start_as_current_span("late"):
    look("after")
    early.start_span("early").end()
print(json.dumps(names(kept)))
assert tracekit.flush()
"""
    )
    assert done.stdout == '["early", "execute_tool look", "late"]\n'
    assert done.stderr == ""
    spans = stored.spans(tmp_path / ".tracekit")
    assert sorted(span.name for span in spans) == ["early", "execute_tool look", "execute_tool look", "late"]
    assert len({span.span_id for span in spans}) == 4
    late = [span for span in spans if span.name in {"early", "late"}]
    assert [stored.attributes(span)["tracekit.project"] for span in late if span.name == "late"] == ["library"]
    assert {stored.attributes(span)["gen_ai.agent.version"] for span in spans} == {"3"}
    inner = [span for span in spans if span.parent_span_id]
    assert {(span.name, span.trace_id) for span in inner} == {
        ("early", late[0].trace_id),
        ("execute_tool look", late[0].trace_id),
    }


def test_a_third_provider_is_refused_as_opentelemetry_does(script) -> None:
    done = script(
        THEIRS
        + """
tracekit.init()
theirs, kept = another()
trace.set_tracer_provider(theirs)
trace.set_tracer_provider(another()[0])
assert trace.get_tracer_provider() is theirs
look("x")
print(names(kept))
"""
    )
    assert done.stdout == "['execute_tool look']\n"
    assert done.stderr == "Overriding of current TracerProvider is not allowed\n"


def test_a_second_init_stays_with_the_provider_that_was_set_after_ours(script, stored, tmp_path: Path) -> None:
    script(
        THEIRS
        + """
tracekit.init(store="one")
theirs, kept = another()
trace.set_tracer_provider(theirs)
tracekit.init(store="two")
look("x")
assert names(kept) == ["execute_tool look"]
"""
    )
    assert not (tmp_path / "one" / "inbox").exists() or stored.spans(tmp_path / "one") == []
    assert [span.name for span in stored.spans(tmp_path / "two")] == ["execute_tool look"]


def test_after_shutdown_a_provider_is_set_without_us(script, tmp_path: Path) -> None:
    script(
        THEIRS
        + """
tracekit.init()
tracekit.shutdown()
theirs, kept = another()
trace.set_tracer_provider(theirs)
look("x")
trace.get_tracer("t").start_span("y").end()
assert names(kept) == ["y"]
"""
    )
    assert not (tmp_path / ".tracekit" / "inbox").exists()


def test_a_provider_of_another_make_is_taken_and_ours_goes_on(script, stored, tmp_path: Path) -> None:
    script(
        THEIRS
        + """
class Odd(trace.TracerProvider):
    def get_tracer(self, *_, **__):
        return trace.NoOpTracer()

tracekit.init()
odd = Odd()
trace.set_tracer_provider(odd)
assert trace.get_tracer_provider() is odd
look("x")
"""
    )
    assert [span.name for span in stored.spans(tmp_path / ".tracekit")] == ["execute_tool look"]


def test_two_exporters_of_others_and_ours_get_every_span_once(script, stored, tmp_path: Path) -> None:
    done = script(
        THEIRS
        + """
theirs, kept = another()
second = InMemorySpanExporter()
theirs.add_span_processor(BatchSpanProcessor(second))
trace.set_tracer_provider(theirs)
tracekit.init()
for number in range(50):
    look(str(number))
theirs.force_flush()
print(len(kept.get_finished_spans()), len(second.get_finished_spans()))
"""
    )
    assert done.stdout == "50 50\n"
    assert len(stored.spans(tmp_path / ".tracekit")) == 50
