"""Tail sampling: what stays, what goes, that both hold for late spans, after a kill, and in SQL."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.inbox import SegmentWriter
from tracekit.sampling import drawn
from tracekit_collector.processors import tail_sampling as module
from tracekit_collector.processors.tail_sampling import Sampled, apply, tail_sampling
from tracekit_collector.store import Store

START = datetime.datetime(2026, 11, 23, 12)
IN = "11" * 8 + "00" * 7 + "01"  # its low bits draw it at any share above 0
OUT = "22" * 8 + "ff" * 8  # and this one at none below 1


class Clock:
    """The time that sampling goes by, and at which requests arrive."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = START

    def forward(self, seconds: float) -> None:
        self.now += datetime.timedelta(seconds=seconds)

    def send(self, *spans: dict[str, object]) -> None:
        request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": list(spans)}]}])
        self._keep("traces", request.SerializeToString())

    def log(self, trace_id: str, event: str) -> None:
        record = {"event_name": event, "trace_id": bytes.fromhex(trace_id), "time_unix_nano": self.ns}
        if event == "gen_ai.evaluation.result":
            record["attributes"] = [
                {"key": "gen_ai.evaluation.name", "value": {"string_value": "good"}},
                {"key": "gen_ai.evaluation.score.value", "value": {"double_value": 1.0}},
            ]
        request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
        self._keep("logs", request.SerializeToString())

    @property
    def ns(self) -> int:
        return int(self.now.replace(tzinfo=datetime.timezone.utc).timestamp()) * 10**9

    def span(self, trace_id: str, name: str = "root", **more: object) -> dict[str, object]:
        took = more.pop("ms", 1)
        attributes = [
            {"key": key, "value": {"double_value" if isinstance(value, float) else "string_value": value}}
            for key, value in more.pop("attributes", {}).items()
        ]
        return {
            "name": name,
            "trace_id": bytes.fromhex(trace_id),
            "span_id": os.urandom(8),
            "start_time_unix_nano": self.ns,
            "end_time_unix_nano": self.ns + took * 10**6,
            "attributes": attributes,
            **more,
        }

    def _keep(self, signal: str, payload: bytes) -> None:
        writer = SegmentWriter(self.store.inbox, signal)
        writer.append(payload, received_ns=self.ns)
        writer.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "S") as opened:
        yield opened


@pytest.fixture
def clock(store: Store, monkeypatch) -> Clock:
    made = Clock(store)
    monkeypatch.setattr(module, "_now", lambda: made.now)
    return made


def left(store: Store) -> list[tuple[object, ...]]:
    return store.sql("SELECT trace_id, count(*) FROM spans GROUP BY ALL ORDER BY trace_id").fetchall()


RULE = tail_sampling(share=0.5, slow_ms=1000, window=60)


def begun(store: Store, clock: Clock) -> None:
    assert apply(store, RULE) == Sampled({})
    clock.forward(1)


def test_errors_slow_and_scored_traces_stay_and_the_rest_by_its_draw(store: Store, clock: Clock) -> None:
    begun(store, clock)
    failed, slow, scored, kept = (f"{number:02x}{OUT[2:]}" for number in (3, 4, 5, 6))
    clock.send(clock.span(IN), clock.span(OUT), clock.span(slow, ms=1000))
    clock.send(clock.span(failed), clock.span(failed, "child", status={"code": 2}))
    clock.send(clock.span(scored), clock.span(kept, attributes={"tracekit.sample.reason": "keep"}))
    clock.log(scored, "gen_ai.evaluation.result")
    for each in (OUT, failed):
        clock.log(each, "note")
    clock.forward(61)
    done = apply(store, RULE)
    assert done == Sampled({"keep": 1, "error": 1, "slow": 1, "scored": 1, "share": 1}, dropped=1, late=0, spans=1)
    assert left(store) == sorted([(failed, 2), (slow, 1), (scored, 1), (kept, 1), (IN, 1)])
    assert store.sql("SELECT trace_id FROM logs WHERE event_name = 'note'").fetchall() == [(failed,)]
    told = dict(store.sql("SELECT trace_id, probability FROM weights").fetchall())
    assert told == {failed: 1.0, slow: 1.0, scored: 1.0, kept: 1.0, IN: 0.5}
    assert store.sql("SELECT weight FROM weights WHERE trace_id = ?", [IN]).fetchone() == (2.0,)


def test_nothing_is_decided_before_the_trace_is_quiet(store: Store, clock: Clock) -> None:
    begun(store, clock)
    rule = tail_sampling(share=0.5, window=60)
    clock.send(clock.span(OUT))
    clock.forward(40)
    clock.send(clock.span(OUT, "child"))
    clock.forward(40)
    assert apply(store, rule) == Sampled({})
    assert left(store) == [(OUT, 2)]
    clock.forward(21)
    assert apply(store, rule) == Sampled({}, dropped=1, late=0, spans=2)
    assert left(store) == []


def test_late_spans_go_the_way_of_their_trace(store: Store, clock: Clock) -> None:
    begun(store, clock)
    clock.send(clock.span(IN), clock.span(OUT))
    clock.forward(61)
    apply(store, RULE)
    clock.send(clock.span(IN, "late"), clock.span(OUT, "late", status={"code": 2}))
    clock.forward(120)
    assert apply(store, RULE) == Sampled({}, dropped=0, late=1, spans=1)
    assert left(store) == [(IN, 2)]
    assert store.sql("SELECT probability FROM weights").fetchall() == [(0.5,)]


def test_what_was_there_before_is_left_alone(store: Store, clock: Clock) -> None:
    clock.send(clock.span(OUT))
    clock.forward(1)
    begun(store, clock)
    clock.send(clock.span(OUT, "late"))
    clock.forward(100)
    assert apply(store, RULE) == Sampled({})
    assert left(store) == [(OUT, 2)]


@pytest.mark.parametrize("moment", ["rewrite", "_move_mark"])
def test_a_kill_between_two_steps_changes_no_decision(store: Store, clock: Clock, monkeypatch, moment: str) -> None:
    begun(store, clock)
    clock.send(clock.span(IN), clock.span(OUT))
    clock.forward(61)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            apply(store, RULE)
    other = tail_sampling(share=1.0, window=60)  # would keep all: but what is decided is decided
    apply(store, other)
    assert left(store) == [(IN, 1)]


def test_another_writer_that_is_faster_costs_a_round_alone(store: Store, clock: Clock, monkeypatch) -> None:
    begun(store, clock)
    clock.send(clock.span(OUT))
    clock.forward(61)
    with monkeypatch.context() as patch:
        patch.setattr(module, "rewrite", lambda *_, **__: None)
        assert apply(store, RULE) == Sampled({}, dropped=1, late=0, spans=0)
    assert left(store) == [(OUT, 1)]
    clock.forward(1)
    assert apply(store, RULE) == Sampled({}, dropped=0, late=1, spans=1)
    assert left(store) == []


def test_one_process_at_a_time(store: Store, clock: Clock) -> None:
    from tracekit._locks import held

    with held(store.location / ".sampling.lock", timeout=0) as ours:
        assert ours
        assert apply(store, RULE) is None


def test_a_trace_that_the_sdk_has_drawn_too_is_as_probable_as_the_lower_of_both(store: Store, clock: Clock) -> None:
    begun(store, clock)
    other = "33" * 8 + IN[16:]
    clock.send(clock.span(IN, attributes={"tracekit.sample.probability": 0.25}))
    clock.send(clock.span(other, attributes={"tracekit.sample.probability": 0.75}))
    clock.forward(61)
    apply(store, RULE)
    assert store.sql("SELECT trace_id, probability FROM weights ORDER BY 1").fetchall() == [(IN, 0.25), (other, 0.5)]


def test_attributes_that_say_a_key_twice_keep_both_and_get_the_stamp(store: Store, clock: Clock) -> None:
    begun(store, clock)
    span = clock.span(IN)
    span["attributes"] = [{"key": "id", "value": {"int_value": 1}}, {"key": "id", "value": {"string_value": "one"}}]
    clock.send(span)
    clock.forward(61)
    apply(store, RULE)
    assert store.sql("SELECT attributes FROM spans").fetchone() == (
        '{"$kv":[["id",1],["id","one"],["tracekit.sample.probability",0.5],["tracekit.sample.tail","share"]]}',
    )
    assert store.sql("SELECT probability FROM weights").fetchall() == [(0.5,)]


def test_weighted_counts_are_unbiased(store: Store, clock: Clock) -> None:
    """Of 400 traces 40 fail; a tenth of the others stays: weighted, the error rate is near 10 %, and not near 50 %."""
    begun(store, clock)
    import random

    draw = random.Random(7)
    ids = [draw.randbytes(16).hex() for _ in range(400)]
    clock.send(*(clock.span(each, status={"code": 2 if place % 10 == 0 else 0}) for place, each in enumerate(ids)))
    clock.forward(61)
    rule = tail_sampling(share=0.1, window=60)
    done = apply(store, rule)
    assert done is not None
    expected = sum(drawn(int(each, 16), 0.1) for place, each in enumerate(ids) if place % 10)
    assert done.kept == {"error": 40, "share": expected}
    weighted = store.sql(
        "SELECT sum(weight) FILTER (status = 'error') / sum(weight), sum(weight) "
        "FROM traces JOIN weights USING (trace_id)"
    ).fetchone()
    assert weighted is not None
    rate, total = weighted
    assert math.isclose(total, 40 + 10 * expected)
    assert math.isclose(rate, 40 / (40 + 10 * expected))
    assert 0.07 < rate < 0.14
