"""`init`: where spans go, whose provider is used, what spans carry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import tracekit
from tracekit.errors import SettingError
from tracekit.inbox import segments


@tracekit.tool
def look(query: str) -> str:
    return query


def a_provider() -> TracerProvider:
    return TracerProvider(resource=Resource({"service.name": "theirs"}), shutdown_on_exit=False)


def test_without_an_endpoint_spans_and_scores_go_to_the_local_inbox(fresh, stored, tmp_path: Path) -> None:
    tracekit.init(project="library", environment="dev", service="desk", tracer_provider=a_provider())
    with tracekit.span("visit"):
        look("bread")
        tracekit.score("helpful", True)
    assert tracekit.flush()
    store = tmp_path / ".tracekit"
    assert sorted(span.name for span in stored.spans(store)) == ["execute_tool look", "visit"]
    record = stored.records(store)[0]
    assert record.event_name == "gen_ai.evaluation.result"
    assert record.trace_id == stored.spans(store)[0].trace_id
    assert record.time_unix_nano > 0
    assert stored.attributes(record)["gen_ai.evaluation.score.value"] == 1.0


def test_our_own_provider_says_project_environment_and_service_in_its_resource(script, stored, tmp_path: Path) -> None:
    script(
        """
        import tracekit
        tracekit.init(project="library", environment="dev")
        with tracekit.span("visit"):
            pass
        """,
        OTEL_SERVICE_NAME="desk",
        OTEL_RESOURCE_ATTRIBUTES="team=blue",
    )
    said = stored.resources(tmp_path / ".tracekit")[0]
    assert {key: said[key] for key in ("tracekit.project", "deployment.environment.name", "service.name", "team")} == {
        "tracekit.project": "library",
        "deployment.environment.name": "dev",
        "service.name": "desk",
        "team": "blue",
    }
    assert "tracekit.project" not in stored.attributes(stored.spans(tmp_path / ".tracekit")[0])


def test_an_existing_provider_is_joined_not_replaced(script, stored, tmp_path: Path) -> None:
    done = script(
        """
        import tracekit
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        theirs, kept = TracerProvider(), InMemorySpanExporter()
        theirs.add_span_processor(SimpleSpanProcessor(kept))
        trace.set_tracer_provider(theirs)
        tracekit.init(project="library", agent="bot", agent_version="3")
        with trace.get_tracer("theirs").start_as_current_span("request"):
            with tracekit.span("visit"):
                pass
        assert trace.get_tracer_provider() is theirs
        print([span.name for span in kept.get_finished_spans()])
        """
    )
    assert done.stdout == "['visit', 'request']\n"
    spans = stored.spans(tmp_path / ".tracekit")
    assert sorted(span.name for span in spans) == ["request", "visit"]
    assert {span.name: span.parent_span_id != b"" for span in spans} == {"visit": True, "request": False}
    for span in spans:
        said = stored.attributes(span)
        assert (said["tracekit.project"], said["gen_ai.agent.name"], said["gen_ai.agent.version"]) == (
            "library",
            "bot",
            "3",
        )


def test_decorated_code_without_init_is_configured_from_the_settings(script, stored, tmp_path: Path) -> None:
    script(
        """
        import tracekit

        @tracekit.tool
        def look(query):
            return query

        look("x")
        """,
        TRACEKIT_STORE="elsewhere",
        TRACEKIT_PROJECT="library",
        TRACEKIT_AGENT="bot",
    )
    assert [span.name for span in stored.spans(tmp_path / "elsewhere")] == ["execute_tool look"]
    assert stored.resources(tmp_path / "elsewhere")[0]["tracekit.project"] == "library"
    assert stored.attributes(stored.spans(tmp_path / "elsewhere")[0])["gen_ai.agent.name"] == "bot"


def test_a_second_init_takes_the_place_of_the_first(fresh, stored, tmp_path: Path) -> None:
    provider = a_provider()
    tracekit.init(store=tmp_path / "one", project="first", tracer_provider=provider)
    look("a")
    tracekit.init(store=tmp_path / "two", project="second", agent="bot", tracer_provider=provider)
    look("b")
    tracekit.flush()
    found = [stored.spans(tmp_path / name) for name in ("one", "two")]
    assert [len(spans) for spans in found] == [1, 1]
    said = [stored.attributes(spans[0]) for spans in found]
    assert [(item["tracekit.project"], item.get("gen_ai.agent.name")) for item in said] == [
        ("first", None),
        ("second", "bot"),
    ]


def test_after_a_move_to_another_provider_the_first_is_left_alone(fresh, stored, tmp_path: Path) -> None:
    first, second = a_provider(), a_provider()
    tracekit.init(store=tmp_path / "store", tracer_provider=first)
    tracekit.init(store=tmp_path / "store", tracer_provider=second)
    first.get_tracer("theirs").start_span("unseen").end()
    second.get_tracer("theirs").start_span("seen").end()
    tracekit.flush()
    assert [span.name for span in stored.spans(tmp_path / "store")] == ["seen"]


def test_disabled_code_runs_as_if_it_were_not_decorated(script, tmp_path: Path) -> None:
    done = script(
        """
        import asyncio, tracekit
        tracekit.init()

        @tracekit.tool
        def add(a, b):
            return a + b

        @tracekit.tool
        def count(to):
            yield from range(to)

        @tracekit.tool
        async def later():
            return 3

        @tracekit.tool
        async def stream():
            yield 1

        async def main():
            return await later(), [item async for item in stream()]

        with tracekit.session("s"), tracekit.case("c"), tracekit.span("x") as span:
            span.output = 1
            span.set(model="m")
            tracekit.score("ok", True)
            print(add(1, 2), list(count(2)), asyncio.run(main()), span.trace_id, tracekit.trace_id())
        tracekit.register_agent("bot", code={}, dependencies={})
        assert tracekit.flush() and tracekit.shutdown()
        """,
        OTEL_SDK_DISABLED="true",
    )
    assert done.stdout == "3 [0, 1] (3, [1]) None None\n"
    assert not (tmp_path / ".tracekit").exists()


def test_after_shutdown_code_goes_on_untraced_until_the_next_init(fresh, stored, tmp_path: Path) -> None:
    provider = a_provider()
    tracekit.init(store=tmp_path / "store", tracer_provider=provider)
    look("a")
    assert tracekit.shutdown()
    assert look("b") == "b"
    tracekit.init(store=tmp_path / "store", tracer_provider=provider)
    look("c")
    tracekit.flush()
    inputs = [stored.attributes(span)["input.value"] for span in stored.spans(tmp_path / "store")]
    assert sorted(inputs) == ['{"query": "a"}', '{"query": "c"}']


def test_content_is_kept_out_by_the_setting(fresh, stored, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACEKIT_CAPTURE_CONTENT", "0")
    tracekit.init(tracer_provider=a_provider())
    look("secret")
    tracekit.flush()
    assert b"secret" not in b"".join(path.read_bytes() for path in segments(tmp_path / ".tracekit" / "inbox"))


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [
        (None, "no_content", False),
        (None, "event_only", False),
        (None, "FALSE", False),
        (None, "span_only", True),
        (None, "span_and_event", True),
        (None, "true", True),
        ("1", "false", True),
        ("0", "true", False),
    ],
)
def test_opentelemetrys_variable_for_content_counts_where_ours_is_not_set(
    fresh, stored, monkeypatch, tmp_path: Path, ours: str | None, theirs: str, kept: bool
) -> None:
    if ours is not None:
        monkeypatch.setenv("TRACEKIT_CAPTURE_CONTENT", ours)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", theirs)
    tracekit.init(tracer_provider=a_provider())
    look("here")
    tracekit.flush()
    assert ("input.value" in stored.attributes(stored.spans(tmp_path / ".tracekit")[0])) is kept


def test_a_store_that_is_removed_while_running_is_begun_anew(fresh, stored, tmp_path: Path) -> None:
    """What is recorded after somebody removed the store goes to a new one, not to a file without a name."""
    tracekit.init(tracer_provider=a_provider())
    look("before")
    assert tracekit.flush()
    shutil.rmtree(tmp_path / ".tracekit")
    look("after")
    assert tracekit.flush()
    assert [stored.attributes(span)["input.value"] for span in stored.spans(tmp_path / ".tracekit")] == [
        '{"query": "after"}'
    ]


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://x", "grpc://x:4317"])
def test_an_endpoint_that_is_no_url_is_told(fresh, endpoint: str) -> None:
    with pytest.raises(SettingError, match=r"is no http or https URL; write it like http://127\.0\.0\.1:4318"):
        tracekit.init(endpoint=endpoint, tracer_provider=a_provider())


def test_a_store_that_is_asked_for_wins_over_an_endpoint_of_the_environment(fresh, monkeypatch, stored) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracekit.init(store="here", tracer_provider=a_provider())
    look("x")
    tracekit.flush()
    assert len(stored.spans(Path("here"))) == 1
