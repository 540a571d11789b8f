"""Sampling: which traces are delivered, and those that are kept whatever was drawn."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

import tracekit
from tracekit import _configuration, _guard, sampling
from tracekit._sampler import HeadSampler
from tracekit.errors import SettingError
from tracekit.sampling import Root, Sampling, drawn


@tracekit.tool
def look(query: str) -> str:
    return query


@pytest.fixture
def ours(fresh, monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """A provider as tracekit makes it."""
    made = TracerProvider(HeadSampler(), shutdown_on_exit=False)
    monkeypatch.setattr(_configuration, "_ours", [made])
    return made


def a_trace(name: str = "work", *, keep: bool = False, fail: bool = False) -> str | None:
    with tracekit.span(name) as span:
        look(name)
        if keep:
            tracekit.keep()
        if fail:
            span.fail(ValueError("no"))
        look("after")
        return span.trace_id


def delivered(stored: Any) -> dict[str, list[Any]]:
    assert tracekit.flush()
    found: dict[str, list[Any]] = {}
    for span in stored.spans(Path(".tracekit")):
        found.setdefault(span.trace_id.hex(), []).append(span)
    return found


@given(st.integers(1, (1 << 128) - 1), st.floats(0, 1))
def test_the_draw_is_opentelemetrys(trace_id: int, rate: float) -> None:
    theirs = TraceIdRatioBased(rate).should_sample(None, trace_id, "x")
    assert drawn(trace_id, rate) is theirs.decision.is_sampled()


def test_whole_traces_are_drawn_at_the_rate_and_say_it(ours, stored) -> None:
    tracekit.init(sample=0.3, tracer_provider=ours)
    ids = [a_trace() for _ in range(200)]
    found = delivered(stored)
    assert sorted(found) == sorted(one for one in ids if one and drawn(int(one, 16), 0.3))
    assert 30 < len(found) < 95
    assert {len(spans) for spans in found.values()} == {3}
    roots = [span for spans in found.values() for span in spans if span.name == "work"]
    assert {stored.attributes(root)["tracekit.sample.probability"] for root in roots} == {0.3}


@pytest.mark.parametrize("joined", [False, True])
def test_a_kept_trace_is_delivered_whole_and_says_so(ours, stored, joined: bool) -> None:
    tracekit.init(sample=0, tracer_provider=TracerProvider(shutdown_on_exit=False) if joined else ours)
    assert a_trace() is not None
    kept = a_trace(keep=True)
    assert kept is not None
    found = delivered(stored)
    assert list(found) == [kept]
    assert sorted(span.name for span in found[kept]) == ["execute_tool look", "execute_tool look", "work"]
    for span in found[kept]:
        said = stored.attributes(span)
        assert (said["tracekit.sample.probability"], said["tracekit.sample.reason"]) == (1.0, "keep")


@pytest.mark.parametrize(("errors", "expected"), [(True, 1), (False, 0)])
def test_traces_with_errors_are_delivered_where_that_is_asked_for(ours, stored, errors: bool, expected: int) -> None:
    tracekit.init(sample=0.0, sample_errors=errors, tracer_provider=ours)
    a_trace()
    a_trace(fail=True)
    found = delivered(stored)
    assert len(found) == expected
    for spans in found.values():
        root = next(span for span in spans if span.name == "work")
        assert stored.attributes(root)["tracekit.sample.reason"] == "error"
        assert len(spans) == 3


def test_rules_by_name_step_agent_and_function() -> None:
    rules = Sampling(
        [
            ("GET /health*", 0.0),
            ({"step": "agent", "agent": "triage-*"}, 0.25),
            (lambda root: root.attributes.get("user.id") == "ada", 1.0),
            ("*", 0.5),
        ]
    )
    assert rules.rate(Root("GET /healthz", None, None, {})) == 0.0
    assert rules.rate(Root("invoke_agent x", "agent", "triage-2", {})) == 0.25
    assert rules.rate(Root("x", None, None, {"user.id": "ada"})) == 1.0
    assert rules.rate(Root("x", "agent", None, {})) == 0.5
    assert Sampling([("y", 0.1)]).rate(Root("x", None, None, {})) == 1.0


def test_a_rule_that_fails_costs_no_trace(ours, stored) -> None:
    def broken(root: Root) -> float:
        raise RuntimeError(root.name)

    tracekit.init(sample=broken, tracer_provider=ours)
    a_trace()
    assert len(delivered(stored)) == 1
    assert _guard.faults == {"a sampling rule": 1}


@pytest.mark.parametrize("wrong", [1.5, -1, float("nan"), [("x", 2)], [3], [({"color": "x"}, 1)]])
def test_a_rate_or_rule_that_is_none_is_told(wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"no number from 0 to 1|no pair|matches no traces"):
        Sampling(wrong)


def test_the_flag_that_other_services_see_is_true_to_the_draw(ours) -> None:
    tracekit.init(sample=0.5, tracer_provider=ours)
    for _ in range(20):
        with tracekit.span("x"), tracekit.span("y"):
            context = trace.get_current_span().get_span_context()
            assert bool(context.trace_flags.sampled) is drawn(context.trace_id, 0.5)


@pytest.mark.parametrize("flag", [0, 1])
def test_a_parent_in_another_service_has_decided(ours, stored, flag: int) -> None:
    tracekit.init(sample=1 - flag, tracer_provider=ours)
    parent = NonRecordingSpan(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(flag)))
    token = otel_context.attach(set_span_in_context(parent, Context()))
    try:
        a_trace()
    finally:
        otel_context.detach(token)
    found = delivered(stored)
    assert len(found) == flag
    for spans in found.values():
        assert all("tracekit.sample.probability" not in stored.attributes(span) for span in spans)


def test_what_somebody_elses_sampler_leaves_out_is_left_out(fresh, stored) -> None:
    tracekit.init(sample=1.0, tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    a_trace(keep=True)
    assert delivered(stored) == {}


def test_spans_that_end_after_their_root_go_the_same_way(ours, stored) -> None:
    tracekit.init(sample=0.0, tracer_provider=ours)
    for keep in (False, True):
        with tracekit.span("root"):
            late = trace.get_tracer("x", tracer_provider=ours).start_span("late")
            if keep:
                tracekit.keep()
        late.end()
    assert [sorted(span.name for span in spans) for spans in delivered(stored).values()] == [["late", "root"]]


def test_what_is_held_back_is_bounded_and_a_loss_is_told(ours, stored, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "HELD_SPANS", 50)
    tracekit.init(sample=0.0, tracer_provider=ours)
    with tracekit.span("root"):
        for number in range(200):
            look(str(number))
        tracekit.keep()
    (spans,) = delivered(stored).values()
    assert 20 < len(spans) < 60
    assert _guard.faults["held back"] == 201 - len(spans)


def test_nothing_is_left_of_traces_that_were_not_drawn(ours, stored) -> None:
    tracekit.init(sample=0.0, tracer_provider=ours)
    threads = [threading.Thread(target=lambda: [a_trace() for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sampler = _configuration.runtime.relay.sampler  # type: ignore[union-attr]
    assert sampler is not None
    assert (sampler._held, len(sampler._open)) == (0, 0)
    assert delivered(stored) == {}


def test_keep_outside_of_a_trace_or_without_sampling_does_nothing(ours, stored) -> None:
    tracekit.init(tracer_provider=ours)
    tracekit.keep()
    a_trace(keep=True)
    ((_, spans),) = delivered(stored).items()
    assert all("tracekit.sample.reason" not in stored.attributes(span) for span in spans)


@pytest.mark.parametrize(
    "environment",
    [
        {"TRACEKIT_SAMPLE": "0"},
        {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.0"},
    ],
    ids=["ours", "opentelemetrys"],
)
def test_a_rate_from_the_environment_keeps_what_is_marked(script, stored, tmp_path: Path, environment) -> None:
    script(
        """
        import os, tracekit

        for name in ("a", "b", "c"):
            with tracekit.span(name):
                if name == "b":
                    tracekit.keep()
                if name == "c" and os.fork() == 0:
                    tracekit.keep()  # in a child: what is held back is the parent's
                    tracekit.flush()
                    os._exit(0)
        """,
        **environment,
    )
    assert [span.name for span in stored.spans(tmp_path / ".tracekit")] == ["b"]
