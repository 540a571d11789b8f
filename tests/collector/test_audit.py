"""The audit log: who is taken down for what, its chain, and what shows that it was tampered with."""

from __future__ import annotations

import datetime
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from tracekit.cli import main
from tracekit.errors import StoreError, UsageError
from tracekit_collector.catalog import Catalog, chain, database
from tracekit_collector.catalog.audit import acting, note, user

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
FIRST = {
    "number": 1,
    "id": "01",
    "at": datetime.datetime(2026, 1, 2),
    "actor": None,
    "act": "token.create",
    "target": "token a",
    "details": {},
}


class TestChain:
    def test_a_digest_is_over_the_one_before_and_the_row_as_json(self) -> None:
        import hashlib

        said = (
            '{"act":"token.create","actor":null,"at":"2026-01-02T00:00:00.000000","details":{},"id":"01","number":1,'
            '"target":"token a"}'
        )
        assert chain.digest(chain.START, FIRST) == hashlib.sha256(f"{'0' * 64}\n{said}".encode()).hexdigest()

    @given(
        st.sampled_from(["number", "id", "actor", "act", "target", "details"]),
        st.one_of(st.text(), st.integers(), st.none(), st.dictionaries(st.text(), st.text())),
    )
    def test_whatever_is_changed_changes_the_digest(self, column: str, value: object) -> None:
        changed = {**FIRST, column: value}
        assert (chain.digest(chain.START, changed) == chain.digest(chain.START, FIRST)) is (changed == FIRST)

    def test_every_act_is_linked_to_the_one_before(self, catalog: Catalog) -> None:
        for number in range(3):
            catalog.audit.record("test", f"thing {number}", {"größe": 1.5, "list": [1, None], 3: "three"})
        acts = list(reversed(catalog.audit.list()))
        assert [act.number for act in acts] == [1, 2, 3]
        assert catalog.audit.verify() == database.audit.Verified(3, f"3:{acts[2].digest}", None)

    def test_an_empty_log_is_whole(self, catalog: Catalog) -> None:
        found = catalog.audit.verify(head=f"0:{chain.START}")
        assert (found.acts, found.head, found.fault) == (0, f"0:{chain.START}", None)

    @pytest.mark.parametrize(
        ("tampering", "says"),
        [
            ("UPDATE audit SET actor = 'nobody' WHERE number = 2", "act 2 (test thing 1) is not what was taken down"),
            ("UPDATE audit SET details = '{\"traces\":3}' WHERE number = 3", "act 3 "),
            ("DELETE FROM audit WHERE number = 2", "act 2 is missing"),
            ("DELETE FROM audit WHERE number = 1", "act 1 is missing"),
        ],
    )
    def test_a_row_that_is_changed_or_gone_is_found(self, catalog: Catalog, tampering: str, says: str) -> None:
        for number in range(4):
            catalog.audit.record("test", f"thing {number}")
        with catalog.transaction() as connection:
            connection.exec_driver_sql(tampering)
        assert says in str(catalog.audit.verify().fault)

    def test_an_end_that_was_cut_off_is_found_by_a_head_kept_elsewhere(self, catalog: Catalog) -> None:
        catalog.audit.record("test", "one")
        early = catalog.audit.verify().head
        catalog.audit.record("test", "two")
        late = catalog.audit.verify().head
        assert catalog.audit.verify(head=early).fault is None
        with catalog.transaction() as connection:
            connection.execute(text("DELETE FROM audit WHERE number = 2"))
        assert catalog.audit.verify().fault is None
        assert catalog.audit.verify(head=early).fault is None
        assert "taken from its end" in str(catalog.audit.verify(head=late).fault)
        with pytest.raises(UsageError, match="no head of the audit log"):
            catalog.audit.verify(head="12")

    def test_threads_that_act_at_once_make_one_chain(self, catalog: Catalog) -> None:
        """Each of eight threads notes twenty acts, some transactions holding two."""

        def act(part: int) -> None:
            for number in range(10):
                with catalog.transaction() as connection:
                    note(connection, "test", f"{part} {number} a")
                    note(connection, "test", f"{part} {number} b")

        threads = [threading.Thread(target=act, args=(part,)) for part in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = catalog.audit.verify()
        assert (found.acts, found.fault) == (160, None)
        assert len({act.target for act in catalog.audit.list()}) == 160


class TestTransaction:
    def test_an_act_that_is_undone_is_not_taken_down(self, catalog: Catalog) -> None:
        def undone() -> None:
            with catalog.transaction() as connection:
                note(connection, "test", "undone")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            undone()
        catalog.audit.record("test", "done")
        assert [act.target for act in catalog.audit.list()] == ["done"]

    def test_what_cannot_be_taken_down_is_not_done(self, catalog: Catalog) -> None:
        with catalog.transaction() as connection:
            connection.execute(text("ALTER TABLE audit RENAME TO away"))
        with pytest.raises(StoreError):
            catalog.tokens.create("ci")
        assert catalog.tokens.list() == []


class TestActors:
    def test_every_change_names_who(self, catalog: Catalog) -> None:
        """One of each act that the catalog itself does, newest last."""
        with acting("principal:ana"):
            version = catalog.agents.register("bot", digest="a" * 64, label="1", **FACTS)
            catalog.agents.set_alias("bot", "production", version)
            catalog.datasets.add("cases", digest="b" * 64, cases=1, splits={})
            catalog.runs.create("nightly", kind="eval")
            _, token = catalog.tokens.create("ci", role="writer", principal="bot-service", kind="service")
            catalog.tokens.revoke(token.id)
            catalog.principals.disable("bot-service")
            catalog.principals.enable("bot-service")
            catalog.datasets.remove("cases")
        acts = list(reversed(catalog.audit.list()))
        assert [act.act for act in acts] == [
            "version.register",
            "alias.move",
            "dataset.add",
            "run.create",
            "principal.create",
            "token.create",
            "token.revoke",
            "principal.disable",
            "principal.enable",
            "dataset.remove",
        ]
        assert {act.actor for act in acts} == {"principal:ana"}
        assert catalog.audit.verify().fault is None

    def test_nothing_that_changes_nothing_is_taken_down(self, catalog: Catalog) -> None:
        for _ in range(2):
            catalog.agents.register("bot", digest="a" * 64, **FACTS)
            catalog.agents.see("bot", "9")
            catalog.datasets.add("cases", digest="b" * 64, cases=1, splits={})
            catalog.principals.create("ana")
            catalog.principals.enable("ana")
        acts = [act.act for act in reversed(catalog.audit.list())]
        assert acts == ["version.register", "version.see", "dataset.add", "principal.create"]

    def test_without_a_principal_it_is_the_machines_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "mira")
        assert user() == "mira"
        with acting("principal:ana"):
            assert user() == "principal:ana"
        assert user() == "mira"


class TestFinding:
    def test_by_act_actor_target_and_time(self, catalog: Catalog) -> None:
        catalog.audit.record("token.create", "token a", actor="principal:ana")
        catalog.audit.record("token.revoke", "token a", actor="mira")
        catalog.audit.record("alias.move", "bot@production", actor="mira")
        moment = catalog.audit.list(act="alias.move")[0].at

        def found(**wanted: Any) -> list[str]:
            return [act.act for act in catalog.audit.list(**wanted)]

        assert found(act="token.") == ["token.revoke", "token.create"]
        assert found(act="token") == []
        assert found(actor="ana") == found(actor="principal:ana") == ["token.create"]
        assert found(target="token a", limit=1) == ["token.revoke"]
        assert found(since=moment) == ["alias.move"]


class TestOlderStores:
    def test_the_acts_of_before_are_chained_oldest_first(self, catalog_url: str, tmp_path: Path) -> None:
        engine = create_engine(catalog_url)
        with engine.begin() as connection:
            database.migrate(connection, "003")
            for key, at in (("02", "2026-01-02 00:00:00"), ("01", "2026-01-03 00:00:00")):
                connection.execute(
                    text(f"INSERT INTO audit VALUES ('{key}', '{at}', 'ana', 'test', 'thing', '{{\"a\": 1}}')")
                )
            connection.execute(
                text(
                    "INSERT INTO tokens (id, digest, name, scopes, created_at)"
                    " VALUES ('ab', 'cd', 'ci', '[\"write\"]', '2026-01-01 00:00:00')"
                )
            )
        engine.dispose()
        catalog = Catalog(catalog_url, lock=tmp_path / ".lock")
        catalog.audit.record("test", "later")
        assert [(act.number, act.id) for act in catalog.audit.list()][1:] == [(2, "01"), (1, "02")]
        assert catalog.audit.verify().fault is None
        (token,) = catalog.tokens.list()
        assert (token.scopes, token.role, token.principal, token.state) == (("write",), None, None, "active")
        catalog.close()


class TestCommands:
    def run(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
        code = main([*words, "--store", "S"])
        said = capsys.readouterr()
        return code, said.out, said.err

    def test_lists_verifies_and_finds_tampering(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(capsys, "tokens", "create", "ci", "--principal", "ana", "--role", "writer")[0] == 0
        code, out, _ = self.run(capsys, "audit", "list", "--act", "token.", "--format", "json")
        (act,) = json.loads(out)
        assert (code, act["number"], act["act"], act["details"]["role"]) == (0, 2, "token.create", "writer")
        code, head, _ = self.run(capsys, "audit", "verify")
        assert (code, head) == (0, f"2:{act['digest']}\n")
        assert self.run(capsys, "audit", "verify", "--head", head.strip())[0] == 0
        with sqlite3.connect("S/catalog.db") as connection:
            connection.execute("UPDATE audit SET target = 'x' WHERE number = 1")
        connection.close()
        code, out, err = self.run(capsys, "audit", "verify")
        assert (code, out) == (1, "")
        assert "act 1 (principal.create x) is not what was taken down" in err

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["audit", "list", "--since", "yesterday"], "--since"),
            (["audit", "list", "--limit", "0"], "--limit must be at least 1"),
            (["audit", "verify", "--head", "7"], "no head of the audit log"),
        ],
    )
    def test_bad_usage(self, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("S").mkdir()
        code, _, err = self.run(capsys, *words)
        assert code == 2
        assert says in err

    def test_since_takes_a_day_and_a_time(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run(capsys, "tokens", "create", "ci")[0] == 0
        for since, count in (("2020-01-01", 1), ("2999-01-01T00:00:00Z", 0)):
            _, out, _ = self.run(capsys, "audit", "--since", since, "--format", "json")
            assert len(json.loads(out)) == count
