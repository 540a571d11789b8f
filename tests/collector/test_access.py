"""Access: tokens, what they allow, which project they confine to, and the audit log."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracekit.cli import main
from tracekit.errors import NotFoundError, StoreError, UsageError
from tracekit_collector import access as module
from tracekit_collector.access import Access, AccessError, confine
from tracekit_collector.catalog import Catalog


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Catalog]:
    opened = Catalog.in_folder(tmp_path)
    yield opened
    opened.close()


def refused(access: Access, header: str | None, kind: str = "write") -> tuple[int, str]:
    with pytest.raises(AccessError) as caught:
        access.authorise(header, kind)
    return caught.value.status, str(caught.value)


class TestTokens:
    def test_a_token_is_shown_once_and_its_digest_is_kept(self, catalog: Catalog) -> None:
        text, token = catalog.tokens.create("ci", scopes=["read", "write"], project="library")
        assert text.startswith(f"tk_{token.id}_")
        assert len(text) == 3 + 12 + 1 + 43
        assert (token.name, token.scopes, token.project, token.state) == ("ci", ("write", "read"), "library", "active")
        assert catalog.tokens.list() == [token]
        assert text[16:] not in repr(token)

    def test_the_secret_is_nowhere_in_the_database(self, lite: Catalog, tmp_path: Path) -> None:
        text, _ = lite.tokens.create("ci")
        lite.close()
        secret = text.rpartition("_")[2].encode()
        assert all(secret not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"name": " "}, "needs a name"),
            ({"name": "a", "scopes": ["everything"]}, "of write, read, admin, not everything"),
            ({"name": "a", "scopes": []}, "of write, read, admin, not none"),
            ({"name": "a", "scopes": ["admin"], "project": "p"}, "an admin token is for all projects"),
            ({"name": "a", "project": ""}, "an admin token is for all projects"),
        ],
    )
    def test_a_token_that_means_nothing_is_refused(self, lite: Catalog, options: dict, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            lite.tokens.create(options.pop("name"), **options)

    def test_found_by_id_or_by_the_name_of_one_active_token(self, catalog: Catalog) -> None:
        _, first = catalog.tokens.create("ci")
        assert catalog.tokens.find(first.id) == catalog.tokens.find("ci") == first
        _, second = catalog.tokens.create("ci")
        with pytest.raises(NotFoundError, match="several tokens are called 'ci'"):
            catalog.tokens.revoke("ci")
        assert catalog.tokens.revoke(first.id).state == "revoked"
        assert catalog.tokens.find("ci") == second
        with pytest.raises(NotFoundError, match="there is no token 'nobody'"):
            catalog.tokens.revoke("nobody")


class TestAuthorise:
    def test_without_any_token_everybody_may(self, lite: Catalog) -> None:
        access = Access(lite)
        assert access.required is False
        assert access.authorise(None, "admin") is None

    def test_with_the_first_token_everybody_needs_one(self, catalog: Catalog) -> None:
        text, token = catalog.tokens.create("ci", project="library")
        access = Access(catalog)
        assert access.required is True
        assert access.authorise(f"Bearer {text}", "write") == "library"
        assert access.authorise(f"bearer  {text} ", "write") == "library"
        assert refused(access, None) == (401, "a token is needed; send `Authorization: Bearer tk_…`")
        assert refused(access, f"Bearer {text}", "read") == (
            403,
            f"the token {token.id} does not allow to read, only to write",
        )

    def test_a_role_is_refused_in_the_words_of_its_rights(self, lite: Catalog) -> None:
        text, token = lite.tokens.create("dashboard", role="reader")
        why = "its role is reader, and that takes writer or evaluator or admin"
        assert refused(Access(lite), f"Bearer {text}", "write") == (
            403,
            f"the token {token.id} does not allow to send: {why}",
        )

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer x",
            "Basic dXNlcjpwYXNz",
            "Bearer tk_",
            "tk_",
            "Bearer tk_\udcff",
            "Bearer tk_" + "a" * 5000,
        ],
    )
    def test_what_is_no_token_is_refused(self, lite: Catalog, header: str) -> None:
        lite.tokens.create("ci")
        assert refused(Access(lite), header)[0] == 401

    def test_the_id_alone_opens_nothing(self, lite: Catalog) -> None:
        text, token = lite.tokens.create("ci")
        access = Access(lite)
        for wrong in (f"tk_{token.id}_", text[:-1], text + "a", text.upper()):
            assert refused(access, f"Bearer {wrong}")[0] == 401

    def test_an_admin_token_allows_all(self, lite: Catalog) -> None:
        text, _ = lite.tokens.create("root", scopes=["admin"])
        access = Access(lite)
        assert [access.authorise(f"Bearer {text}", kind) for kind in ("write", "read", "admin")] == [None] * 3

    def test_a_revoked_or_expired_token_opens_nothing_and_the_last_one_leaves_no_open_door(self, lite: Catalog) -> None:
        past = datetime.datetime(2020, 1, 1)
        old, _ = lite.tokens.create("old", expires_at=past)
        text, token = lite.tokens.create("ci")
        lite.tokens.revoke("ci")
        access = Access(lite)
        assert refused(access, f"Bearer {text}") == (
            401,
            f"the token {token.id} is revoked; `tracekit tokens create` makes one",
        )
        assert "is expired" in refused(access, f"Bearer {old}")[1]
        assert refused(access, None)[0] == 401

    def test_a_running_collector_learns_of_a_revocation(self, lite: Catalog, monkeypatch) -> None:
        text, token = lite.tokens.create("ci")
        access = Access(lite)
        access.authorise(f"Bearer {text}", "write")
        lite.tokens.revoke(token.id)
        monkeypatch.setattr(module, "FRESH_SECONDS", -1)
        assert refused(access, f"Bearer {text}")[0] == 401

    def test_a_catalog_that_is_away_opens_no_door_and_shuts_nobody_out(self, lite: Catalog, monkeypatch) -> None:
        text, _ = lite.tokens.create("ci")
        access = Access(lite)
        access.authorise(f"Bearer {text}", "write")

        def away() -> None:
            raise StoreError("away")

        monkeypatch.setattr(lite.tokens, "list", away)
        monkeypatch.setattr(module, "FRESH_SECONDS", -1)
        assert access.authorise(f"Bearer {text}", "write") is None
        assert refused(access, None)[0] == 401
        with pytest.raises(StoreError):
            Access(lite).authorise(None, "write")


class TestConfine:
    def test_a_project_that_the_payload_names_is_overridden_wherever_it_stands(self) -> None:
        other = [{"key": "tracekit.project", "value": {"string_value": "other"}}]
        openinference = [{"key": "openinference.project.name", "value": {"string_value": "other"}}]
        request = ExportTraceServiceRequest(
            resource_spans=[
                {
                    "resource": {"attributes": [*other, *openinference]},
                    "scope_spans": [{"spans": [{"name": "a", "attributes": other}]}],
                },
                {"scope_spans": [{"spans": [{"name": "b"}]}]},
            ]
        )
        assert confine(request, "mine") is True
        assert b"other" not in request.SerializeToString()
        for outer in request.resource_spans:
            assert [(pair.key, pair.value.string_value) for pair in outer.resource.attributes] == [
                ("tracekit.project", "mine")
            ]
        assert confine(request, "mine") is False

    def test_the_row_is_of_the_tokens_project(self) -> None:
        from tracekit_collector.rows import log_rows, span_rows

        span = {"name": "a", "trace_id": bytes(range(16)), "span_id": bytes(range(8))}
        span["attributes"] = [{"key": "tracekit.project", "value": {"string_value": "other"}}]
        request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}])
        assert span_rows(request, received_ns=1)[0][0]["project"] == "other"
        confine(request, "mine")
        assert span_rows(request, received_ns=1)[0][0]["project"] == "mine"
        logs = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [{"event_name": "e"}]}]}])
        confine(logs, "mine")
        assert log_rows(logs, received_ns=1, digest="d")[0]["project"] == "mine"


class TestAudit:
    def test_acts_are_taken_down_newest_first(self, catalog: Catalog) -> None:
        _, token = catalog.tokens.create("ci", project="library")
        version = catalog.agents.see("bot", "1.0")
        catalog.agents.set_alias("bot", "production", version)
        catalog.tokens.revoke("ci")
        catalog.audit.record("delete", "project old", {"traces": 3}, actor="token:abc")
        acts = catalog.audit.list()
        assert [(act.act, act.target, act.details) for act in acts] == [
            ("delete", "project old", {"traces": 3}),
            ("token.revoke", f"token {token.id}", {"name": "ci"}),
            ("alias.move", "bot@production", {"version": 1, "label": "1.0"}),
            ("version.see", "bot@1", {"label": "1.0"}),
            ("token.create", f"token {token.id}", {"name": "ci", "scopes": ["write"], "project": "library"}),
        ]
        assert acts[0].actor == "token:abc"
        assert [act.act for act in catalog.audit.list(act="alias.move")] == ["alias.move"]
        assert len(catalog.audit.list(limit=2)) == 2


class TestCommands:
    def test_create_list_revoke_and_audit(self, tmp_path: Path, capsys) -> None:
        store = ["--store", str(tmp_path / "S")]
        assert main(["tokens", "create", "ci", "--project", "library", "--scope", "read", "--days", "1", *store]) == 0
        said = capsys.readouterr()
        token = said.out.strip()
        assert token.startswith("tk_")
        assert token not in said.err
        assert main(["tokens", "list", "--format", "json", *store]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["name"], row["scopes"], row["project"], row["state"]) == ("ci", ["read"], "library", "active")
        assert main(["tokens", "revoke", "ci", *store]) == 0
        assert main(["audit", "--format", "json", *store]) == 0
        acts = json.loads(capsys.readouterr().out)
        assert [act["act"] for act in acts] == ["token.revoke", "token.create"]

    @pytest.mark.parametrize(
        "words", [["tokens", "create", "a", "--days", "0"], ["tokens", "revoke", "x"], ["audit", "--limit", "0"]]
    )
    def test_bad_usage(self, tmp_path: Path, words: list[str], capsys) -> None:
        Catalog.in_folder(tmp_path).close()
        assert main([*words, "--store", str(tmp_path)]) == 2
        assert capsys.readouterr().err
