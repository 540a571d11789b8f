"""Finding the run that a name stands for: in this process, in the local store, or at the endpoint."""

from __future__ import annotations

import json
import sqlite3
import urllib.parse
from contextlib import closing
from pathlib import Path
from typing import Any

from tracekit import attributes as names
from tracekit._runtime import runtime
from tracekit.inbox import Record, read_segment, segments

_SEARCHED = 64 << 20  # bytes of the inbox, the newest
_SECONDS = 5.0


def newest_named(name: str) -> str | None:
    """The id of the newest run of this name; `None` where there is none, or nobody to be asked.

    Args:
        name: What the run is called.
    """
    runtime.start()
    if runtime.sink is not None:
        return None
    if isinstance(runtime.destination, Path):
        from tracekit import flush  # noqa: PLC0415 - the package imports this module's

        flush()  # a run that this process began may be on its way still
        found = [_waiting(runtime.destination, name), _settled(runtime.destination, name)]
        return max((each for each in found if each), default=None)
    return None if runtime.destination is None else _asked(runtime.destination, name)


def _settled(store: Path, name: str) -> str | None:
    from tracekit import settings  # noqa: PLC0415 - as above

    path = store / "catalog.db"
    if settings.setting("catalog") is not None or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            kept = "SELECT id FROM runs WHERE name = ? AND deleted_at IS NULL"
            row = database.execute(f"{kept} ORDER BY created_at DESC, id DESC LIMIT 1", (name,)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _waiting(store: Path, name: str) -> str | None:
    """The newest run of this name among what no collector has settled yet."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: PLC0415 - heavy

    marker, left, newest = names.RUN_NAME.encode(), _SEARCHED, None
    for path in reversed([each for each in segments(store / "inbox") if each.suffix == ".logs"]):
        left -= path.stat().st_size
        if left < 0:
            break
        for item in read_segment(path):
            if not isinstance(item, Record) or marker not in item.payload:
                continue
            for found in _named_in(ExportLogsServiceRequest.FromString(item.payload), name):
                newest = max(newest or found, found)
    return newest


def _named_in(request: Any, name: str) -> list[str]:
    found = []
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                said = {pair.key: pair.value.string_value for pair in record.attributes}
                if record.event_name == names.RUN_EVENT and said.get(names.RUN_NAME) == name:
                    found.append(said.get(names.RUN, ""))
    return [each for each in found if each]


def _asked(endpoint: str, name: str) -> str | None:
    import urllib.error  # noqa: PLC0415 - only an endpoint needs them
    import urllib.request  # noqa: PLC0415

    from tracekit._delivery import signal_url  # noqa: PLC0415
    from tracekit._sender import Sender  # noqa: PLC0415

    url = signal_url(endpoint, "logs")
    sender = Sender(url, "logs", runtime.headers)
    base = sender.url.removesuffix("/v1/logs")
    request = urllib.request.Request(  # noqa: S310 - http or https, as `signal_url` has checked
        f"{base}/api/v1/runs/{urllib.parse.quote(name, safe='')}", headers=sender.headers
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    return str(found["id"]) if isinstance(found, dict) and found.get("name") == name else None
