"""What is new of a tracked run, and what the run is then: the same whatever came first, and however often it came."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ALIVE_SECONDS = 60.0
"""After how long a process that says nothing is taken for lost; it says something every 20 s."""

_TEXTS = ("parent_id", "project", "command", "seed")


@dataclass(frozen=True)
class RunNews:
    """What one record says of a run.

    Args:
        run_id: The run.
        at: When, in UTC without a zone.
        name: What it is called.
        parent_id: The run that it is part of.
        project: Whose it is.
        parameters: Values by name.
        tags: Values by name; `None` takes a tag away.
        code: Where its code stands.
        environment: What it runs on.
        command: How it was called.
        seed: What randomness was seeded with.
        error: Type and message of what ended it.
        artifacts: Digest, size and media type by name.
        writer: Which process says it: `id`, `state` (`open`, `finished`, `failed`), `host`, `pid`.
        agent: Name and version of the agent that it ran.
        actor: Who sent it, as a collector's door knows them.
    """

    run_id: str
    at: datetime.datetime
    name: str | None = None
    parent_id: str | None = None
    project: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)
    code: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    command: str | None = None
    seed: str | None = None
    error: Mapping[str, object] | None = None
    artifacts: Mapping[str, object] = field(default_factory=dict)
    writer: Mapping[str, object] | None = None
    agent: tuple[str, str] | None = None
    actor: str | None = None


def merged(known: Mapping[str, Any] | None, news: RunNews) -> dict[str, Any]:
    """The columns of the run's row after some news.

    Args:
        known: Its row; `None` where the catalog has none.
        news: What is new; of two that differ the later counts, in whatever order they come.
    """
    row = _new(news) if known is None else dict(known)
    newer = row["changed_at"] is None or news.at >= row["changed_at"]
    for name in ("parameters", "tags", "artifacts"):
        told = dict(getattr(news, name))
        row[name] = {**row[name], **told} if newer else {**told, **row[name]}
    for name in ("code", "environment"):
        if getattr(news, name) and (newer or not row[name]):
            row[name] = dict(getattr(news, name))
    for name in _TEXTS:
        if getattr(news, name) is not None and (newer or row[name] is None):
            row[name] = getattr(news, name)
    if news.name and (newer or row["name"] == row["id"]):
        row["name"] = news.name
    if row["kind"] == "run":
        row["created_at"] = min(row["created_at"], news.at)
        _end(row, news)
    row["changed_at"] = max(row["changed_at"] or news.at, news.at)
    return row


def status_of(
    writers: Mapping[str, Mapping[str, Any]], *, now: datetime.datetime
) -> tuple[str, datetime.datetime | None, bool]:
    """A run's status, when it ended, and whether it is stale: it runs, but nobody is left who says anything.

    It runs as long as one of its processes does. A process that was lost before another one ended the run no longer
    counts.

    Args:
        writers: What is known of its processes, by id.
        now: UTC, without a zone.
    """
    ended = [each for each in writers.values() if each["state"] != "open"]
    still = [each for each in writers.values() if each["state"] == "open"]
    if any(_alive(each, now) for each in still):
        return "running", None, False
    last = max(ended, key=lambda each: str(each["at"]), default=None)
    if last is None or any(str(each["at"]) > str(last["at"]) for each in still):
        return "running", None, bool(writers)
    return str(last["state"]), datetime.datetime.fromisoformat(str(last["at"])), False


def _new(news: RunNews) -> dict[str, Any]:
    empty: dict[str, Any] = {name: {} for name in ("parameters", "selection", "code", "environment", "lake_versions")}
    empty |= {name: {} for name in ("summary", "tags", "artifacts", "writers")}
    nothing = dict.fromkeys((*_TEXTS, "finished_at", "version_id", "error", "changed_at", "deleted_at"))
    known = {"id": news.run_id, "name": news.run_id, "kind": "run", "status": "running", "created_at": news.at}
    return {**empty, **nothing, **known, "judges": []}


def _end(row: dict[str, Any], news: RunNews) -> None:
    if news.writer is not None:
        key = str(news.writer.get("id"))
        before = row["writers"].get(key)
        at = news.at.isoformat(timespec="microseconds")
        if before is None or at >= before["at"]:
            row["writers"] = {**row["writers"], key: {**news.writer, "at": at}}
    status, ended, _ = status_of(row["writers"], now=_now())
    row["status"], row["finished_at"] = status, ended
    if news.error is not None:
        row["error"] = dict(news.error)
    if status == "finished":
        row["error"] = None


def _alive(writer: Mapping[str, Any], now: datetime.datetime) -> bool:
    if writer.get("host") == socket.gethostname() and os.name == "posix":
        return _is_running(writer.get("pid"))
    heard = datetime.datetime.fromisoformat(str(writer["at"]))
    return (now - heard).total_seconds() < ALIVE_SECONDS


def _is_running(pid: object) -> bool:
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
