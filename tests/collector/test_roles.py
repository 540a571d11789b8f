"""Roles: what each may send and ask at the doors and the API, by principals, and how the audit log names them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tracekit import attributes as names
from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_collector import access as access_module
from tracekit_collector.access import Access
from tracekit_collector.catalog.roles import RIGHTS, ROLES, SCOPES, rights, scopes_of
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACE = bytes(range(1, 17))
DOCS = Path(__file__).parents[2] / "docs" / "governance.md"


def text(key: str, value: str) -> dict:
    return {"key": key, "value": {"string_value": value}}


def score(name: str, source: str | None) -> dict:
    said = [text(names.SCORE_NAME, name), {"key": names.SCORE_VALUE, "value": {"double_value": 1.0}}]
    if source is not None:
        said.append(text(names.SCORE_SOURCE, source))
    return {"event_name": names.SCORE_EVENT, "time_unix_nano": 5, "trace_id": TRACE, "attributes": said}


def version(*more: dict) -> dict:
    said = [text(names.AGENT_NAME, "bot"), text(names.VERSION_DIGEST, "d" * 64), *more]
    return {"event_name": names.VERSION_EVENT, "time_unix_nano": 5, "attributes": said}


def logs(*records: dict) -> bytes:
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": list(records)}]}])
    return request.SerializeToString()


def spans(*events: dict) -> bytes:
    span = {"name": "work", "trace_id": TRACE, "span_id": bytes(range(1, 9)), "events": list(events)}
    return ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}]).SerializeToString()


class Door:
    """A running collector, and requests to it with a role's token."""

    def __init__(self, store: Store, collector: Collector) -> None:
        self.store = store
        self.collector = collector
        self.headers: dict[str, str] = {}

    def become(self, role: str | None, **options: object) -> None:
        token, _ = self.store.catalog.tokens.create("test", role=role, principal="ana", **options)  # type: ignore[arg-type]
        self.headers = {"authorization": f"Bearer {token}"}

    def post(self, kind: str, body: bytes) -> httpx.Response:
        headers = {**PROTOBUF, **self.headers}
        return httpx.post(f"{self.collector.url}/v1/{kind}", content=body, headers=headers, timeout=20)

    def logs(self, *records: dict) -> tuple[int, int, str]:
        """The status, how many records were refused, and why."""
        answer = self.post("logs", logs(*records))
        if answer.status_code != 200:
            return answer.status_code, len(records), ""
        partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
        return 200, partial.rejected_log_records, partial.error_message


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(access_module, "FRESH_SECONDS", -1)
    with Store.open(tmp_path / "S") as store:
        access = Access(store.catalog)
        with Collector(store, port=0, grpc_port=0, authorise=access.admit) as collector:
            yield Door(store, collector)


class TestTable:
    def test_each_role_has_its_rights(self) -> None:
        assert {role: sorted(found) for role, found in ROLES.items()} == {
            "reader": ["read"],
            "writer": ["send"],
            "evaluator": ["judge", "read", "send"],
            "admin": ["administer", "judge", "promote", "read", "send"],
        }

    def test_tokens_of_before_allow_what_they_did(self) -> None:
        assert rights(None, ["write"]) == {"send", "judge", "promote"}
        assert rights(None, ["read"]) == {"read"}
        assert rights(None, ["admin"]) == set(RIGHTS)
        assert [scopes_of(role) for role in ROLES] == [("read",), ("write",), ("write", "read"), ("admin",)]
        assert set(SCOPES) == {"write", "read", "admin"}

    def test_a_role_of_a_newer_tracekit_allows_nothing(self) -> None:
        assert rights("emperor", ["admin"]) == frozenset()

    def test_the_page_says_the_same(self) -> None:
        page = DOCS.read_text(encoding="utf-8")
        for role, found in ROLES.items():
            cells = " | ".join("yes" if right in found else "–" for right in RIGHTS)
            assert f"| `{role}` | {cells} |" in page


class TestDoors:
    @pytest.mark.parametrize(
        ("role", "traces", "read"),
        [("reader", 403, 200), ("writer", 200, 403), ("evaluator", 200, 200), ("admin", 200, 200)],
    )
    def test_who_may_come_in_by_which_door(self, door: Door, role: str, traces: int, read: int) -> None:
        door.become(role)
        assert door.post("traces", spans()).status_code == traces
        assert httpx.get(f"{door.collector.url}/api/v1/traces", headers=door.headers).status_code == read
        with grpc.insecure_channel(str(door.collector.grpc_target)) as channel:
            call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            metadata = tuple(door.headers.items())
            if traces == 200:
                assert call(spans(), timeout=20, metadata=metadata) == b""
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    call(spans(), timeout=20, metadata=metadata)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    def test_a_writer_sends_feedback_and_not_judgements(self, door: Door) -> None:
        door.become("writer", project="library")
        sources = ("user", "human", "llm", "code", "environment", None)
        records = [score(source or "nobody", source) for source in sources]
        status, refused, why = door.logs(*records, {"event_name": "app.note"})
        assert (status, refused) == (200, 2)
        assert "log_records[1] may not send scores of people or models; that takes the role evaluator" in why
        assert door.logs(score("human", "human"))[0] == 403
        door.store.settle()
        found = door.store.sql("SELECT name FROM scores").fetchall()
        assert sorted(found) == [("code",), ("environment",), ("nobody",), ("user",)]

    @pytest.mark.parametrize("role", ["evaluator", "admin"])
    def test_an_evaluator_sends_all_scores(self, door: Door, role: str) -> None:
        door.become(role)
        assert door.logs(score("a", "human"), score("b", "llm")) == (200, 0, "")

    @pytest.mark.parametrize(
        "hidden", ["event name in an attribute", "source twice", "source in bytes", "as a span's event"]
    )
    def test_a_judgement_is_found_however_it_is_put(self, door: Door, hidden: str) -> None:
        door.become("writer")
        record = score("s", "human")
        if hidden == "as a span's event":
            event = {"name": names.SCORE_EVENT, "attributes": record["attributes"]}
            answer = door.post("traces", spans(event))
            partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
            assert (answer.status_code, partial.rejected_spans) == (200, 0)
            assert "spans[0] is kept without its scores" in partial.error_message
        else:
            if hidden == "source twice":
                record["attributes"].append(text(names.SCORE_SOURCE, "user"))
            elif hidden == "source in bytes":
                record["attributes"][-1] = {"key": names.SCORE_SOURCE, "value": {"bytes_value": b"human"}}
            else:
                name = record.pop("event_name")
                record["attributes"] += [text("event.name", "other"), text("event.name", name)]
            assert door.logs(record)[0] == 403
        door.store.settle()
        assert door.store.sql("SELECT count(*) FROM scores").fetchone() == (0,)

    @pytest.mark.parametrize("event", [names.RUN_EVENT, names.RUN_POINTS_EVENT, names.RUN_CONTENT_EVENT])
    def test_tracked_runs_take_an_evaluator(self, door: Door, event: str) -> None:
        record = {"event_name": event, "attributes": [text(names.RUN, "01" * 13)]}
        door.become("writer")
        assert door.logs(record)[0] == 403
        door.become("evaluator")
        assert door.logs(record)[0] == 200

    @pytest.mark.parametrize(
        ("role", "moved"), [("writer", False), ("evaluator", False), ("admin", True), (None, True)]
    )
    def test_an_alias_moves_for_an_admin_and_for_tokens_of_before(
        self, door: Door, role: str | None, moved: bool
    ) -> None:
        door.become(role)
        status, refused, why = door.logs(version(text(names.VERSION_ALIAS, "production")))
        assert (status, refused) == (200, 0)
        assert ("is kept without its alias" in why) is not moved
        door.store.settle()
        assert door.store.catalog.agents.resolve("bot").digest == "d" * 64
        assert ("production" in door.store.catalog.agents.aliases("bot")) is moved


class TestActors:
    def test_a_registration_by_the_door_is_the_principals(self, door: Door) -> None:
        door.become("writer")
        assert door.logs(version())[0] == 200
        door.store.settle()
        (act,) = door.store.catalog.audit.list(act="version.register")
        assert act.actor == "principal:ana"

    def test_a_name_that_a_sender_puts_there_is_not_believed(self, door: Door) -> None:
        """Neither with a token nor, as long as there is none, without."""
        forged = text(names.PRINCIPAL, "principal:root")
        assert door.logs(version(forged))[0] == 200
        door.store.settle()
        door.become("writer")
        record = version(forged)
        record["attributes"][1] = text(names.VERSION_DIGEST, "e" * 64)
        assert door.logs(record)[0] == 200
        door.store.settle()
        acts = door.store.catalog.audit.list(act="version.register")
        assert [act.actor == "principal:root" for act in acts] == [False, False]
        assert acts[0].actor == "principal:ana"

    def test_a_disabled_principals_tokens_open_nothing_until_it_is_enabled(self, door: Door) -> None:
        door.become("writer")
        catalog = door.store.catalog
        catalog.principals.disable("ana")
        assert door.post("traces", spans()).status_code == 401
        assert [token.state for token in catalog.tokens.list()] == ["disabled"]
        with pytest.raises(UsageError, match="the principal ana is disabled"):
            catalog.tokens.create("more", role="writer", principal="ana")
        catalog.principals.enable("ana")
        assert door.post("traces", spans()).status_code == 200


class TestCommands:
    def run(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        code = main([*words, "--store", "S"])
        said = capsys.readouterr()
        return code, said.out, said.err

    def test_create_with_a_role_list_disable_enable(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("tokens", "create", "--principal", "ana", "--role", "evaluator", "--project", "library")
        code, out, err = self.run(capsys, *words)
        assert (code, out[:3]) == (0, "tk_")
        assert "makes its bearer evaluator" in err
        self.run(capsys, "tokens", "create", "live", "--principal", "bot", "--service")
        (first, second) = json.loads(self.run(capsys, "tokens", "list", "--format", "json")[1])
        assert (first["name"], first["principal"], first["role"], first["project"]) == (
            "ana",
            "ana",
            "evaluator",
            "library",
        )
        assert (second["name"], second["principal"], second["role"]) == ("live", "bot", "writer")
        assert self.run(capsys, "tokens", "disable", "ana")[0] == 0
        rows = json.loads(self.run(capsys, "tokens", "principals", "--format", "json")[1])
        assert [(row["name"], row["kind"], row["state"], len(row["tokens"])) for row in rows] == [
            ("ana", "person", "disabled", 1),
            ("bot", "service", "active", 1),
        ]
        assert self.run(capsys, "tokens", "enable", "ana")[0] == 0

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["create"], "give a NAME or --principal"),
            (["create", "x", "--service"], "give --principal too"),
            (["create", "--principal", "a b"], "cannot be a principal's name"),
            (["create", "--principal", "a", "--role", "admin", "--project", "p"], "an admin token is for all projects"),
            (["disable", "nobody"], "there is no principal 'nobody'"),
        ],
    )
    def test_bad_usage(self, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
        Store.open("S").close()
        code, _, err = self.run(capsys, "tokens", *words)
        assert code == 2
        assert says in err
