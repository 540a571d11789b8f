"""Webhooks: signed as Standard Webhooks says, sent after the change, again until they are taken."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import update

from tracekit.cli import main
from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.catalog import AgentVersion, Catalog
from tracekit_collector.catalog.tables import WEBHOOK_DELIVERIES
from tracekit_collector.catalog.versions import now
from tracekit_collector.catalog.webhooks import EVENTS, signature
from tracekit_collector.house import House
from tracekit_collector.store import Store

FACTS: dict[str, dict[str, object]] = {"code": {}, "parameters": {}, "prompts": {}, "dependencies": {}}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Receiver:
    """A real HTTP server that keeps what it was sent."""

    url: str
    answers: list[int] = field(default_factory=list)  # of the next requests; 204 after that
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.taken.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(found.answers.pop(0) if found.answers else 204)
            self.send_header("Location", f"{found.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def register(catalog: Catalog, digest: str = "aa") -> AgentVersion:
    return catalog.agents.register("bot", digest=digest, label="one", **FACTS)


def make_due(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        connection.execute(update(WEBHOOK_DELIVERIES).values(due_at=now()))


def test_the_signature_is_that_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    assert signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_change_is_told_signed(catalog: Catalog, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    catalog.webhooks.add(receiver.url, events=["alias.moved"], secret_env="HOOK_SECRET")
    version = register(catalog)
    catalog.agents.set_alias("bot", "production", version, why="it is better")
    assert receiver.taken == []  # nothing leaves inside of the change
    assert catalog.webhooks.deliver() == 0
    [(headers, body)] = receiver.taken
    said = json.loads(body)
    assert (said["type"], said["data"]["alias"], said["data"]["version"]) == ("alias.moved", "production", "bot@1")
    assert (said["data"]["why"], said["data"]["previous"], said["data"]["forced"]) == ("it is better", None, False)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    [delivery] = catalog.webhooks.deliveries()
    assert (delivery.id, delivery.status, delivery.attempts) == (headers["webhook-id"], "delivered", 1)
    assert delivery.answer == "204 No Content"


def test_a_change_that_is_undone_tells_nothing(catalog: Catalog, receiver: Receiver) -> None:
    catalog.webhooks.add(receiver.url)
    version = register(catalog)
    catalog.agents.promotions.set_policy("bot", "production", {}, digest="d")
    catalog.webhooks.deliver()
    with pytest.raises(UsageError):
        catalog.agents.set_alias("bot", "production", version)
    catalog.webhooks.deliver()
    assert [json.loads(body)["type"] for _, body in receiver.taken] == ["version.registered"]


def test_each_event_is_told_once_to_those_who_want_it(catalog: Catalog, receiver: Receiver) -> None:
    catalog.webhooks.add(receiver.url)
    version = register(catalog)
    register(catalog)  # the same again
    catalog.agents.set_alias("bot", "staging", version)
    catalog.agents.set_alias("bot", "staging", version)  # it stands there already
    catalog.agents.promotions.refuse("production", version, {"verdict": "FAIL"})
    catalog.agents.promotions.remove("bot", "staging")
    catalog.agents.delete(version)
    catalog.agents.restore(version)
    catalog.webhooks.deliver()
    told = [json.loads(body)["type"] for _, body in receiver.taken]
    assert sorted(told) == sorted(EVENTS)


def test_a_receiver_that_fails_is_asked_again_with_the_same_id(catalog: Catalog, receiver: Receiver) -> None:
    receiver.answers = [500, 307]
    catalog.webhooks.add(receiver.url)
    register(catalog)
    before = now()
    assert catalog.webhooks.deliver() == 1
    [waiting] = catalog.webhooks.deliveries()
    assert (waiting.status, waiting.attempts, waiting.answer) == ("waiting", 1, "500 Internal Server Error")
    assert before < waiting.due_at <= now() + datetime.timedelta(seconds=1)
    make_due(catalog)
    assert catalog.webhooks.deliver() == 1  # a redirect is not followed
    make_due(catalog)
    assert catalog.webhooks.deliver() == 0
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1
    assert [delivery.attempts for delivery in catalog.webhooks.deliveries()] == [3]


def test_patience_waits_for_what_comes_due_soon(catalog: Catalog, receiver: Receiver) -> None:
    receiver.answers = [503]
    catalog.webhooks.add(receiver.url)
    register(catalog)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        make_due(catalog)

    assert catalog.webhooks.deliver(patience=5, wait=wait) == 0
    assert len(waits) == 1


def test_it_gives_up_after_nine_attempts_or_when_the_receiver_is_gone(catalog: Catalog, receiver: Receiver) -> None:
    receiver.answers = [500] * 9 + [410]
    catalog.webhooks.add(receiver.url)
    register(catalog)
    for _ in range(9):
        make_due(catalog)
        catalog.webhooks.deliver()
    assert [(each.status, each.attempts) for each in catalog.webhooks.deliveries()] == [("failed", 9)]
    register(catalog, "bb")
    catalog.webhooks.deliver()
    assert catalog.webhooks.deliveries()[0].answer == "410 Gone"
    assert catalog.webhooks.deliver() == 0


def test_nobody_listening_fails_no_change(catalog: Catalog) -> None:
    catalog.webhooks.add("http://127.0.0.1:9/hook")  # the discard port, where nothing listens
    register(catalog)
    assert catalog.webhooks.deliver() == 1
    [waiting] = catalog.webhooks.deliveries()
    assert "refused" in str(waiting.answer)


def test_whoever_has_no_secret_leaves_the_message_to_others(catalog: Catalog, receiver: Receiver, monkeypatch) -> None:
    catalog.webhooks.add(receiver.url, secret_env="HOOK_SECRET")
    register(catalog)
    assert catalog.webhooks.deliver() == 1
    assert catalog.webhooks.deliveries()[0].answer == "the variable HOOK_SECRET with the secret is not set here"
    monkeypatch.setenv("HOOK_SECRET", "whsec_%%%")
    make_due(catalog)
    assert catalog.webhooks.deliver() == 1
    assert "no Base64" in str(catalog.webhooks.deliveries()[0].answer)
    monkeypatch.setenv("HOOK_SECRET", "plain text")
    make_due(catalog)
    assert catalog.webhooks.deliver() == 0
    assert len(receiver.taken) == 1


def test_two_senders_send_a_message_once(catalog: Catalog, receiver: Receiver) -> None:
    catalog.webhooks.add(receiver.url)
    for number in range(20):
        register(catalog, f"digest-{number}")
    senders = [threading.Thread(target=catalog.webhooks.deliver) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ids = [headers["webhook-id"] for headers, _ in receiver.taken]
    assert (len(ids), len(set(ids))) == (20, 20)


def test_a_removed_webhook_is_told_nothing_more(catalog: Catalog, receiver: Receiver) -> None:
    hook = catalog.webhooks.add(receiver.url)
    register(catalog)
    catalog.webhooks.remove(hook.id[:10])
    register(catalog, "bb")
    assert catalog.webhooks.deliver() == 0
    assert (receiver.taken, catalog.webhooks.list()) == ([], [])
    [given_up] = catalog.webhooks.deliveries()
    assert (given_up.status, given_up.answer) == ("failed", "the webhook was removed")
    with pytest.raises(NotFoundError):
        catalog.webhooks.remove(hook.id)


@pytest.mark.parametrize(
    "url", ["ftp://example.org", "file:///etc/passwd", "example.org", "http://", "http://a b/", "https://u:p@e.org/"]
)
def test_only_plain_web_addresses_are_taken(catalog: Catalog, url: str) -> None:
    with pytest.raises(UsageError):
        catalog.webhooks.add(url)


def test_unknown_events_are_named(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"alias\.moves is no event; the events are version\.registered"):
        catalog.webhooks.add("https://example.org", events=["alias.moves"])


def test_the_audit_log_knows_the_host_and_no_path(catalog: Catalog) -> None:
    catalog.webhooks.add("https://example.org/a-path-that-may-be-secret", events=["alias.moved"])
    [act] = catalog.audit.list()
    assert (act.act, act.details) == ("webhook.add", {"host": "example.org", "events": ["alias.moved"]})


def test_housekeeping_sends_what_waits(receiver: Receiver) -> None:
    with Store.open() as store:
        store.catalog.webhooks.add(receiver.url)
        register(store.catalog)
        House(store).tend()
    assert len(receiver.taken) == 1


class TestCommands:
    def test_a_moved_alias_is_told_by_the_command_that_moved_it(
        self, receiver: Receiver, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Store.open() as store:
            register(store.catalog)
        assert main(["agents", "webhooks", "add", receiver.url, "--events", "alias.moved,alias.removed"]) == 0
        assert "not signed" in capsys.readouterr().err
        assert main(["agents", "alias", "bot", "production", "1", "--why", "tests"]) == 0
        assert [json.loads(body)["data"]["why"] for _, body in receiver.taken] == ["tests"]
        assert main(["agents", "webhooks", "test", receiver.url]) == 0
        capsys.readouterr()
        assert main(["agents", "webhooks", "deliveries", "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [(row["event"], row["status"]) for row in rows] == [
            ("webhook.test", "delivered"),
            ("alias.moved", "delivered"),
        ]
        assert main(["agents", "webhooks", "list", "--format", "json"]) == 0
        assert [row["url"] for row in json.loads(capsys.readouterr().out)] == [receiver.url]
        assert main(["agents", "webhooks", "remove", receiver.url]) == 0

    def test_a_receiver_that_is_away_costs_a_note_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Store.open() as store:
            register(store.catalog)
            store.catalog.webhooks.add("http://127.0.0.1:9/hook")
        assert main(["agents", "alias", "bot", "production", "1"]) == 0
        assert "1 webhook message waits" in capsys.readouterr().err
        assert main(["agents", "webhooks", "test", "http://127.0.0.1:9/hook"]) == 1
