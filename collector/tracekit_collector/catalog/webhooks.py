"""Webhooks: changes of the registry told to others over HTTP, signed, and again until they are taken.

A change writes what is to be sent in its own transaction, so that neither is there without the other; whoever made the
change, a later command or a collector then sends it. Headers and signature are those of Standard Webhooks 1.0.0:
`webhook-id` (the same in each attempt), `webhook-timestamp` (seconds) and `webhook-signature`, which is `v1,` and the
Base64 of HMAC-SHA256 over `id.timestamp.body`. Redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit.inbox import ulid
from tracekit_collector.catalog.audit import note
from tracekit_collector.catalog.tables import WEBHOOK_DELIVERIES, WEBHOOKS
from tracekit_collector.catalog.versions import now

EVENTS = (
    "version.registered",
    "version.deleted",
    "version.restored",
    "alias.moved",
    "alias.removed",
    "promotion.refused",
)
TEST = "webhook.test"
WAITING, DELIVERED, FAILED = "waiting", "delivered", "failed"

_BACK_OFF = (1, 5, 30, 120, 600, 3_600, 21_600, 86_400)  # seconds after each attempt that failed
_ATTEMPT_SECONDS = 5.0
_LEASE_SECONDS = 60  # whoever takes a delivery has it for so long; killed, it leaves it to others after that
_KEPT_DELIVERIES = 100
_PREFIX = "whsec_"

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Webhook:
    """Somebody who wants to be told.

    Args:
        id: Its key, a ULID.
        url: Where messages go.
        events: Which of `EVENTS` it wants.
        secret_env: The environment variable that holds its secret; `None` where messages are not signed.
        created_at: Since when, UTC.
    """

    id: str
    url: str
    events: tuple[str, ...]
    secret_env: str | None
    created_at: datetime.datetime


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook.

    Args:
        id: The message's id, a ULID; the header `webhook-id`.
        webhook: The webhook's id.
        event: What is told.
        status: `waiting`, `delivered`, or `failed` for good.
        attempts: How often it was tried.
        answer: What came of the last attempt.
        created_at: When the change was made, UTC.
        due_at: When it is tried next, UTC.
        delivered_at: When it was taken, UTC.
    """

    id: str
    webhook: str
    event: str
    status: str
    attempts: int
    answer: str | None
    created_at: datetime.datetime
    due_at: datetime.datetime
    delivered_at: datetime.datetime | None


class Webhooks:
    """The webhooks of a catalog and their messages.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def add(self, url: str, *, events: Iterable[str] = EVENTS, secret_env: str | None = None) -> Webhook:
        """Tell a URL of events from now on.

        Args:
            url: An `http` or `https` URL.
            events: Which of `EVENTS`.
            secret_env: The environment variable that holds the secret, `whsec_` and Base64, or any text; whoever
                delivers must have it. Without one, messages are not signed.

        Raises:
            UsageError: The URL cannot be sent to, or there is no such event.
        """
        wanted = tuple(dict.fromkeys(events))
        unknown = sorted(set(wanted) - set(EVENTS))
        if unknown or not wanted:
            raise UsageError(f"{', '.join(unknown) or 'nothing'} is no event; the events are {', '.join(EVENTS)}")
        host = _host(url)
        if secret_env is not None and not secret_env.strip():
            raise UsageError("the name of the variable with the secret is empty")
        hook = Webhook(ulid(), url, wanted, secret_env, now())
        with self._transaction() as connection:
            values = {"id": hook.id, "url": url, "events": list(wanted), "secret_env": secret_env}
            connection.execute(insert(WEBHOOKS).values(**values, created_at=hook.created_at))
            note(connection, "webhook.add", hook.id, {"host": host, "events": list(wanted)})
        return hook

    def list(self) -> Sequence[Webhook]:
        """The webhooks, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(WEBHOOKS).where(WEBHOOKS.c.removed_at.is_(None)).order_by(WEBHOOKS.c.id))
            return [_webhook(row) for row in rows]

    def find(self, ref: str) -> Webhook:
        """The webhook with this id, unique beginning of an id, or URL.

        Raises:
            NotFoundError: There is none, or there are several.
        """
        known = self.list()
        near = [hook for hook in known if ref in (hook.id, hook.url)]
        near = near or [hook for hook in known if len(ref) >= 4 and hook.id.startswith(ref.upper())]
        if len(near) != 1:
            several = "there are several webhooks" if near else "there is no webhook"
            raise NotFoundError(f"{several} {ref!r}; `tracekit agents webhooks list` shows their ids")
        return near[0]

    def remove(self, ref: str) -> Webhook:
        """Tell a webhook nothing more; what waits for it is given up.

        Raises:
            NotFoundError: There is none.
        """
        hook = self.find(ref)
        with self._transaction() as connection:
            connection.execute(update(WEBHOOKS).where(WEBHOOKS.c.id == hook.id).values(removed_at=now()))
            waiting = (WEBHOOK_DELIVERIES.c.webhook_id == hook.id) & (WEBHOOK_DELIVERIES.c.status == WAITING)
            given_up = {"status": FAILED, "answer": "the webhook was removed"}
            connection.execute(update(WEBHOOK_DELIVERIES).where(waiting).values(**given_up))
            note(connection, "webhook.remove", hook.id, {"host": urlsplit(hook.url).hostname})
        return hook

    def test(self, ref: str) -> Delivery:
        """Send a webhook a message of the event `webhook.test`, once.

        Raises:
            NotFoundError: There is none.
        """
        hook = self.find(ref)
        with self._transaction() as connection:
            key = _queue(connection, hook.id, TEST, {"webhook": hook.id}, now())
            note(connection, "webhook.test", hook.id)
            row = connection.execute(select(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id == key)).one()
            _lease(connection, row)
        self._attempt(row, hook)
        return next(each for each in self.deliveries(webhook=hook.id) if each.id == key)

    def deliveries(self, *, webhook: str | None = None, limit: int = _KEPT_DELIVERIES) -> Sequence[Delivery]:
        """The messages, newest first.

        Args:
            webhook: The id of the one whose messages are wanted; all when not given.
            limit: At most so many.
        """
        query = select(WEBHOOK_DELIVERIES).order_by(WEBHOOK_DELIVERIES.c.id.desc()).limit(limit)
        if webhook is not None:
            query = query.where(WEBHOOK_DELIVERIES.c.webhook_id == webhook)
        with self._reading() as connection:
            return [_delivery(row) for row in connection.execute(query)]

    def deliver(self, *, patience: float = 0.0, wait: Callable[[float], object] = time.sleep) -> int:
        """Send what is due; how many messages are still waiting afterwards.

        A receiver that is away never raises: its message is due again after 1, 5, 30 seconds and so on up to a day,
        and fails for good after the ninth attempt, after 410 Gone, or where the webhook is removed.

        Args:
            patience: Also wait for what comes due within so many seconds.
            wait: Waits so many seconds.
        """
        until = time.monotonic() + patience
        while True:
            taken = self._take()
            if taken is not None:
                self._attempt(*taken)
                if time.monotonic() > until + _ATTEMPT_SECONDS:
                    return self._waiting()[0]
                continue
            waiting, due = self._waiting()
            if not waiting or due is None:
                return waiting
            pause = (due - now()).total_seconds()
            if time.monotonic() + max(0.0, pause) > until:
                return waiting
            wait(max(0.0, pause) + 0.001)

    def _waiting(self) -> tuple[int, datetime.datetime | None]:
        query = select(WEBHOOK_DELIVERIES.c.due_at).where(WEBHOOK_DELIVERIES.c.status == WAITING)
        with self._reading() as connection:
            due = sorted(connection.scalars(query))
        return len(due), due[0] if due else None

    def _take(self) -> tuple[Row[Any], Webhook] | None:
        due = (WEBHOOK_DELIVERIES.c.status == WAITING) & (WEBHOOK_DELIVERIES.c.due_at <= now())
        query = select(WEBHOOK_DELIVERIES).where(due).order_by(WEBHOOK_DELIVERIES.c.id).limit(1)
        while True:
            with self._reading() as connection:  # a look that makes no writer wait: most of the time nothing is due
                row = connection.execute(query).first()
                if row is None:
                    return None
            with self._transaction() as connection:
                if _lease(connection, row):
                    hook = connection.execute(select(WEBHOOKS).where(WEBHOOKS.c.id == row.webhook_id)).one()
                    return row, _webhook(hook)

    def _attempt(self, row: Row[Any], hook: Webhook) -> None:
        taken, for_good, answer = _posted(hook, row.id, row.body)
        attempts = row.attempts + 1
        again = row.event != TEST and not for_good and attempts <= len(_BACK_OFF)
        status = DELIVERED if taken else WAITING if again else FAILED
        changed: dict[str, object] = {"status": status, "attempts": attempts, "answer": answer[:400]}
        if taken:
            changed["delivered_at"] = now()
        elif again:
            changed["due_at"] = now() + datetime.timedelta(seconds=_BACK_OFF[attempts - 1])
        mine = (WEBHOOK_DELIVERIES.c.id == row.id) & (WEBHOOK_DELIVERIES.c.status == WAITING)
        with self._transaction() as connection:
            connection.execute(update(WEBHOOK_DELIVERIES).where(mine).values(**changed))


def announce(connection: Connection, event: str, data: Mapping[str, object]) -> None:
    """Queue an event for those webhooks that want it, in the transaction that makes it true.

    Args:
        connection: The transaction.
        event: One of `EVENTS`.
        data: What is told: names, numbers and digests, no contents.
    """
    at = now()
    for row in connection.execute(select(WEBHOOKS).where(WEBHOOKS.c.removed_at.is_(None))).all():
        if event in row.events:
            _queue(connection, row.id, event, data, at)


def signature(secret: str, key: str, seconds: int, body: bytes) -> str:
    """The header `webhook-signature` of a message.

    Args:
        secret: `whsec_` and Base64, or any other text, whose UTF-8 is the key.
        key: The message's id.
        seconds: When it is sent, since 1970.
        body: What is sent.

    Raises:
        UsageError: The secret begins with `whsec_`, and what follows is no Base64.

    Example:
        >>> signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
        ...           b'{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    bytes_ = secret.encode("utf-8")
    if secret.startswith(_PREFIX):
        try:
            bytes_ = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise UsageError("the webhook's secret begins with whsec_, and what follows is no Base64") from None
    signed = hmac.new(bytes_, f"{key}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(signed).decode("ascii")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_more: object) -> None:
        """Follow nothing: a message goes where the admin said."""


_opener = urllib.request.build_opener(_NoRedirect)


def _posted(hook: Webhook, key: str, body: str) -> tuple[bool, bool, str]:
    """Whether a message was taken, whether it was refused for good, and what the receiver said."""
    content, seconds = body.encode("utf-8"), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "tracekit",
        "webhook-id": key,
        "webhook-timestamp": str(seconds),
    }
    if hook.secret_env is not None:
        secret = os.environ.get(hook.secret_env)
        if not secret:
            return False, False, f"the variable {hook.secret_env} with the secret is not set here"
        try:
            headers["webhook-signature"] = signature(secret.strip(), key, seconds, content)
        except UsageError as error:
            return False, False, str(error)
    request = urllib.request.Request(hook.url, content, headers, method="POST")  # noqa: S310 - http or https, see _host
    try:
        with _opener.open(request, timeout=_ATTEMPT_SECONDS) as response:
            return True, False, f"{response.status} {response.reason}"
    except urllib.error.HTTPError as error:
        with error:
            return False, error.code == http.client.GONE, f"{error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return False, False, str(getattr(error, "reason", None) or error) or type(error).__name__


def _queue(connection: Connection, hook: str, event: str, data: Mapping[str, object], at: datetime.datetime) -> str:
    told = {"type": event, "timestamp": f"{at.isoformat()}Z", "data": dict(data)}
    values = {"id": ulid(), "webhook_id": hook, "event": event, "body": json.dumps(told)}
    more = {"status": WAITING, "attempts": 0, "created_at": at, "due_at": at}
    connection.execute(insert(WEBHOOK_DELIVERIES).values(**values, **more))
    return values["id"]


def _lease(connection: Connection, row: Row[Any]) -> bool:
    """Whether the delivery is ours now: nobody has taken it since it was read."""
    same = (WEBHOOK_DELIVERIES.c.status == WAITING) & (WEBHOOK_DELIVERIES.c.due_at == row.due_at)
    later = now() + datetime.timedelta(seconds=_LEASE_SECONDS)
    taken = update(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id == row.id, same).values(due_at=later)
    return bool(connection.execute(taken).rowcount == 1)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = None, None
    if parts is None or not host or parts.scheme not in ("http", "https") or not url.isascii() or " " in url:
        raise UsageError(f"{url!r} cannot be a webhook; give a URL such as https://example.org/hook")
    if parts.username is not None or parts.password is not None:
        raise UsageError("a webhook's URL takes no user and password; the receiver checks the signature")
    return host


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(row.id, row.url, tuple(row.events), row.secret_env, row.created_at)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook=row.webhook_id,
        event=row.event,
        status=row.status,
        attempts=row.attempts,
        answer=row.answer,
        created_at=row.created_at,
        due_at=row.due_at,
        delivered_at=row.delivered_at,
    )
