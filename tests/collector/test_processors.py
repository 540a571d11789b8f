"""Processors at the door: what each does to a request, and that a faulty one costs nothing."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.errors import PluginError, StoreError
from tracekit_collector.processors import Pipeline

TRACE = bytes(range(1, 17))


def text(key: str, value: object) -> dict[str, object]:
    kind = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
    return {"key": key, "value": {kind: value}}


def span(
    name: str, number: int = 1, *, parent: int = 0, error: bool = False, **attributes: object
) -> dict[str, object]:
    return {
        "name": name,
        "trace_id": TRACE,
        "span_id": number.to_bytes(8, "big"),
        "parent_span_id": parent.to_bytes(8, "big") if parent else b"",
        "status": {"code": 2 if error else 0},
        "attributes": [text(key, value) for key, value in attributes.items()],
    }


def traces(*spans: dict[str, object], scope: str = "app", **resource: object) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest(
        resource_spans=[
            {
                "resource": {"attributes": [text(key, value) for key, value in resource.items()]},
                "scope_spans": [{"scope": {"name": scope}, "spans": list(spans)}],
            }
        ]
    )


def logs(*names: str, body: str = "") -> ExportLogsServiceRequest:
    records = [{"event_name": name, "body": {"string_value": body}} for name in names]
    return ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": records}]}])


def names(request: ExportTraceServiceRequest) -> list[str]:
    return [each.name for outer in request.resource_spans for scope in outer.scope_spans for each in scope.spans]


def attributes(pairs) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def broken():
    """A processor that changes what it is given, and then fails."""

    def process(batch):
        batch.resource_spans[0].scope_spans[0].spans[0].name = "spoilt"
        raise ValueError("a fault")

    return process


def closed():
    """A processor that must not be skipped, and fails."""
    process = broken()
    process.fail_closed = True
    return process


def nothing():
    """A processor that keeps nothing."""
    return lambda batch: None


def fresh():
    """A processor that makes a request of its own."""
    return lambda batch: traces(span("mine"))


class TestPipeline:
    def test_a_request_that_no_rule_is_about_is_not_changed(self) -> None:
        pipeline = Pipeline.load(["redaction", "drop?name=ping", "enrich?when=service.name=web&team=a"])
        request = traces(span("chat"))
        before = request.SerializeToString()
        assert pipeline("traces", request) is False
        assert request.SerializeToString() == before

    def test_processors_run_in_order(self) -> None:
        request = traces(span("ping"), span("chat", 2))
        pipeline = Pipeline.load(["enrich?on=item&noise=true&name=ping", "drop?noise=true"])
        assert pipeline("traces", request) is True
        assert names(request) == ["chat"]
        assert pipeline.stats() == {
            "enrich": {"changed": 1, "dropped": 0, "failed": 0},
            "drop": {"changed": 1, "dropped": 1, "failed": 0},
        }

    def test_one_that_raises_costs_nothing_and_is_said_once(self, caplog) -> None:
        pipeline = Pipeline([("broken", broken()), *Pipeline.load(["enrich?team=a"])._processors])
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                request = traces(span("chat"))
                assert pipeline("traces", request) is True
                assert names(request) == ["chat"]
                assert attributes(request.resource_spans[0].resource.attributes) == {"team": "a"}
        assert pipeline.stats()["broken"] == {"changed": 0, "dropped": 0, "failed": 3}
        assert [record.message for record in caplog.records] == [
            "the processor broken failed (ValueError: a fault); this is said once, and counted"
        ]

    def test_one_that_must_not_be_skipped_refuses_the_request(self) -> None:
        request = traces(span("chat"))
        with pytest.raises(StoreError, match="closed failed, so the request is not kept; send it again"):
            Pipeline([("closed", closed())])("traces", request)

    def test_redaction_must_not_be_skipped(self, monkeypatch) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr("tracekit_collector.processors.redaction.redact_request", fail)
        with pytest.raises(StoreError, match="redaction"):
            Pipeline.load(["redaction"])("traces", traces(span("password=hunter2")))

    def test_none_keeps_nothing_and_another_request_takes_its_place(self) -> None:
        request = traces(span("a"), span("b"))
        assert Pipeline([("nothing", nothing())])("traces", request) is True
        assert len(request.resource_spans) == 0
        request = traces(span("a"))
        assert Pipeline([("fresh", fresh())])("traces", request) is True
        assert names(request) == ["mine"]

    def test_metrics_are_left_alone(self) -> None:
        assert Pipeline([("nothing", nothing())])("metrics", traces(span("a"))) is False

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("nonsense", "there is no processor called 'nonsense'"),
            ("drop", "say what to drop"),
            ("drop?rules=other", "there is no set of rules 'other'; known: codex"),
            ("drop?rules=codex&name=x", "rules=codex goes with keep alone"),
            ("drop?name=", "is empty"),
            ("drop?name=a&signal=metrics", "signal is one of spans, logs, both"),
            ("enrich", "say what to set"),
            ("enrich?a=1&on=span", "on is one of resource, item"),
            ("enrich?a=[1]", "a must be a text, number or boolean"),
            ("enrich?a=99999999999999999999", "a does not fit 64 bits"),
            ("enrich?a=1&when=b", "is not key=pattern"),
            ("redaction?rules=nonsense", "there is no redaction rule 'nonsense'"),
            ("redaction?rules=off", "redact nothing"),
            ("tail_sampling", "missing a required argument: 'share'"),
            ("tail_sampling?share=2", "share must be a number from 0 to 1, not 2"),
            ("tail_sampling?share=0.1&window=0", "window must be a number above 0"),
            ("redaction?other=1", "redaction: "),
        ],
    )
    def test_a_spec_that_cannot_be_used_says_why(self, spec: str, says: str) -> None:
        with pytest.raises(PluginError) as caught:
            Pipeline.load([spec])
        assert says in str(caught.value)


class TestDrop:
    def test_by_name_scope_and_attribute_all_of_which_have_to_hold(self) -> None:
        request = traces(
            span("GET /health", 1, **{"http.route": "/health"}),
            span("GET /health", 2, **{"http.route": "/other"}),
            span("POST /health", 3, **{"http.route": "/health"}),
        )
        assert Pipeline.load(["drop?scope=app&name=GET *&http.route=/health*"])("traces", request) is True
        assert [each.span_id[-1] for each in request.resource_spans[0].scope_spans[0].spans] == [2, 3]

    def test_an_attribute_may_be_of_the_resource_or_a_number_or_a_boolean(self) -> None:
        request = traces(span("a", 1, code=200, ok=True), span("b", 2, code=404, ok=True), **{"service.name": "web-1"})
        assert Pipeline.load(["drop?service.name=web-*&code=200&ok=true"])("traces", request) is True
        assert names(request) == ["b"]

    def test_what_is_to_be_kept_is_kept(self) -> None:
        request = traces(span("a.x"), span("a.y", 2), span("b", 3))
        Pipeline.load(["drop?name=a.*&keep=*.y"])("traces", request)
        assert names(request) == ["a.y", "b"]

    def test_children_of_a_dropped_span_go_to_its_parent(self) -> None:
        request = traces(
            span("root", 1), span("noise", 2, parent=1), span("noise", 3, parent=2), span("leaf", 4, parent=3)
        )
        Pipeline.load(["drop?name=noise"])("traces", request)
        kept = request.resource_spans[0].scope_spans[0].spans
        assert [(each.name, each.parent_span_id.hex()[-1:]) for each in kept] == [("root", ""), ("leaf", "1")]

    def test_parents_that_go_round_in_circles_end(self) -> None:
        request = traces(span("noise", 2, parent=3), span("noise", 3, parent=2), span("leaf", 4, parent=3))
        Pipeline.load(["drop?name=noise"])("traces", request)
        assert names(request) == ["leaf"]

    def test_log_records_by_event_name_in_the_field_or_the_attribute(self) -> None:
        request = logs("noise", "news")
        request.resource_logs[0].scope_logs[0].log_records.add(attributes=[text("event.name", "noise")])
        Pipeline.load(["drop?name=noise&signal=logs"])("logs", request)
        assert [each.event_name for each in request.resource_logs[0].scope_logs[0].log_records] == ["news"]

    def test_a_rule_for_spans_leaves_log_records(self) -> None:
        assert Pipeline.load(["drop?name=*&signal=spans"])("logs", logs("news")) is False

    def test_what_is_emptied_is_gone(self) -> None:
        request = traces(span("noise"))
        Pipeline.load(["drop?name=noise"])("traces", request)
        assert request == ExportTraceServiceRequest()

    def test_ten_thousand_spans_are_dropped_in_no_time(self) -> None:
        request = traces(*(span("noise" if number % 2 else "chat", number) for number in range(1, 10_001)))
        Pipeline.load(["drop?name=noise"])("traces", request)
        assert names(request) == ["chat"] * 5000


class TestCodex:
    def test_its_own_works_go_and_what_tells_of_the_run_stays(self) -> None:
        request = traces(
            span("session_task.turn", 1),
            span("run_turn", 2, parent=1),
            span("build_prompt", 3, parent=2),
            span("model_client.stream_responses_api", 4, parent=3, model="m"),
            span("handle_output_item", 5, parent=4),
            span("shell_command", 6, parent=5, tool_name="shell_command", call_id="c1"),
            span("load_config", 7, error=True),
            *(span("internal", number, parent=2) for number in range(100, 640)),
            scope="codex_exec",
            **{"service.name": "codex_exec"},
        )
        pipeline = Pipeline.load(["drop?rules=codex"])
        assert pipeline("traces", request) is True
        assert names(request) == [
            "session_task.turn",
            "run_turn",
            "model_client.stream_responses_api",
            "shell_command",
            "load_config",
        ]
        kept = request.resource_spans[0].scope_spans[0].spans
        assert [each.parent_span_id[-1:].hex() for each in kept] == ["", "01", "02", "04", ""]
        assert pipeline.stats()["drop"]["dropped"] == 542

    def test_other_services_and_log_records_are_left_alone(self) -> None:
        pipeline = Pipeline.load(["drop?rules=codex"])
        assert pipeline("traces", traces(span("internal"), scope="app", **{"service.name": "shop"})) is False
        assert pipeline("logs", logs("codex.user_prompt")) is False


class TestEnrich:
    def test_resources_get_what_they_do_not_have(self) -> None:
        request = traces(span("a"), **{"service.name": "web", "team": "mine"})
        Pipeline.load(["enrich?project=shop&environment=prod&team=theirs&shard=3&ratio=0.5&on_call=true"])(
            "traces", request
        )
        assert attributes(request.resource_spans[0].resource.attributes) == {
            "service.name": "web",
            "team": "mine",
            "tracekit.project": "shop",
            "deployment.environment.name": "prod",
            "shard": 3,
            "ratio": 0.5,
            "on_call": True,
        }

    def test_overwriting_leaves_one_of_a_key(self) -> None:
        request = traces(span("a"), team="mine")
        request.resource_spans[0].resource.attributes.add(key="team").value.string_value = "again"
        Pipeline.load(["enrich?team=theirs&overwrite=true"])("traces", request)
        assert [pair.value.string_value for pair in request.resource_spans[0].resource.attributes] == ["theirs"]

    def test_only_where_the_rule_holds(self) -> None:
        request = traces(span("a"), span("b", 2), **{"service.name": "web"})
        Pipeline.load(["enrich?name=b&when=service.name=w*&on=item&tier=gold"])("traces", request)
        found = [attributes(each.attributes) for each in request.resource_spans[0].scope_spans[0].spans]
        assert found == [{}, {"tier": "gold"}]

    def test_log_records_are_enriched_too(self) -> None:
        request = logs("news")
        Pipeline.load(["enrich?environment=prod"])("logs", request)
        assert attributes(request.resource_logs[0].resource.attributes) == {"deployment.environment.name": "prod"}


class TestRedaction:
    def test_credentials_go_wherever_they_are(self) -> None:
        request = traces(
            span("login password=hunter2", 1, **{"http.request.header.authorization": "Bearer abcdef", "size": 7}),
            api_key="abc",
        )
        assert Pipeline.load(["redaction"])("traces", request) is True
        found = request.SerializeToString()
        for secret in (b"hunter2", b"Bearer abcdef", b"abc"):
            assert secret not in found

    def test_personal_data_and_own_keys_where_asked(self) -> None:
        request = logs("note", body='{"patientName": "Ada", "mail": "ada@example.org"}')
        Pipeline.load(["redaction?rules=keys,email&keys=patient_name"])("logs", request)
        body = request.resource_logs[0].scope_logs[0].log_records[0].body.string_value
        assert body == '{"patientName": "[redacted: key patient name]", "mail": "[redacted: email]"}'


@given(
    st.binary(max_size=200), st.sampled_from(["drop?name=a*", "enrich?a=1&on=item", "redaction", "drop?rules=codex"])
)
@settings(max_examples=200, deadline=None)
def test_no_request_makes_a_processor_fail(body: bytes, spec: str) -> None:
    from google.protobuf.message import DecodeError

    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return
    pipeline = Pipeline.load([spec])
    pipeline("traces", request)
    assert all(counts["failed"] == 0 for counts in pipeline.stats().values())
