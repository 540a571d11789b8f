"""Finding a registered prompt: in the local store's catalog, or at the endpoint; and keeping what was found."""

from __future__ import annotations

import importlib
import json
import sqlite3
import time
import urllib.parse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import MissingExtraError, NotFoundError, StoreError, TracekitError

if TYPE_CHECKING:
    from tracekit.prompts import Prompt

_AGAIN = 5.0  # seconds until a failed look-up is tried again
_LARGEST_ANSWER = 16 << 20
_MOST = 1_000
_FIND = """
SELECT v.number, v.digest, v.content, v.tags FROM prompt_versions v JOIN prompts p ON p.id = v.prompt_id
LEFT JOIN prompt_aliases a ON a.version_id = v.id AND a.name = {0}
WHERE p.name = {0} AND (a.name IS NOT NULL OR v.number = {0} OR {0} = 1)
ORDER BY (CASE WHEN a.name IS NOT NULL THEN 0 ELSE 1 END), v.number DESC LIMIT 1"""


@dataclass
class _Kept:
    prompt: Prompt | None
    error: TracekitError | None
    found_at: float
    tried_at: float


_kept: dict[tuple[str, str], _Kept] = {}


def find(ref: str, *, ttl: float, timeout: float) -> Prompt:
    """The prompt that a reference stands for.

    Args:
        ref: The reference.
        ttl: How long an alias is taken to stand for the same version, in seconds.
        timeout: How long to wait for an answer, in seconds.

    Raises:
        NotFoundError: There is no such prompt.
        StoreError: The catalog or endpoint cannot be asked.
    """
    where = _destination()
    key, now = (str(where), ref), time.monotonic()
    known = _kept.get(key)
    if known is not None and (kept := _still(known, ref, now, ttl)) is not None:
        return kept
    try:
        found = _in_catalog(where, ref, timeout) if isinstance(where, Path) else _asked(where, ref, timeout)
    except TracekitError as error:
        before = None if known is None else known.prompt
        since = 0.0 if known is None else known.found_at
        gone = isinstance(error, NotFoundError)
        _keep(key, _Kept(None if gone else before, error, since, now))
        if before is not None and not gone:
            return before
        raise
    _keep(key, _Kept(found, None, now, now))
    return found


def forget() -> None:
    """Forget what was found, so that the next look-up asks again."""
    _kept.clear()


def _still(known: _Kept, ref: str, now: float, ttl: float) -> Prompt | None:
    """What may be used without asking; raises what asking came to a moment ago."""
    wanted = ref.partition("@")[2]
    if known.prompt is not None:
        fixed = wanted.isascii() and wanted.isdigit()
        fresh = fixed or now - known.found_at < ttl
        return known.prompt if fresh or (known.error is not None and now - known.tried_at < _AGAIN) else None
    if known.error is not None and now - known.tried_at < min(ttl, _AGAIN):
        raise type(known.error)(str(known.error))
    return None


def _keep(key: tuple[str, str], kept: _Kept) -> None:
    if len(_kept) >= _MOST:
        _kept.clear()
    _kept[key] = kept


def _destination() -> Path | str:
    from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick
    from tracekit._runtime import runtime  # noqa: PLC0415 - as above

    return runtime.destination or settings.setting("endpoint") or settings.store_path().absolute()


def _in_catalog(store: Path, ref: str, timeout: float) -> Prompt:
    from tracekit.prompts import known, split_ref  # noqa: PLC0415 - it imports this module

    name, wanted = split_ref(ref)
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else -1
    values = (wanted, name, number, int(not wanted))
    row = _row(_url(store), values, timeout, store)
    if row is None:
        raise NotFoundError(f"there is no prompt {ref!r} in {store}; `tracekit prompts list` shows the known ones")
    return known({**row, "content": json.loads(row["content"]), "tags": json.loads(row["tags"])}, name)


def _row(url: str, values: tuple[object, ...], timeout: float, store: Path) -> dict[str, Any] | None:
    columns = ("number", "digest", "content", "tags")
    try:
        with closing(_connected(url, timeout, store)) as database:
            # Columns of JSON come as text from SQLite; PostgreSQL is asked for text too.
            mark, query = ("?", _FIND) if url.startswith("sqlite") else ("%s", _as_text(_FIND))
            cursor = database.cursor()
            cursor.execute(query.format(mark), values)
            row = cursor.fetchone()
    except Exception as error:
        if isinstance(error, TracekitError):
            raise
        raise StoreError(f"cannot look for prompts in the catalog of {store}: {error}") from error
    return None if row is None else dict(zip(columns, row, strict=True))


def _connected(url: str, timeout: float, store: Path) -> Any:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.is_file():
            raise NotFoundError(f"there is no catalog at {path}; register a prompt, or set the store")
        return sqlite3.connect(f"file:{urllib.parse.quote(str(path))}?mode=ro", uri=True, timeout=timeout)
    try:
        psycopg = importlib.import_module("psycopg")
    except ImportError as error:
        raise MissingExtraError(
            f"the catalog of {store} is in PostgreSQL, and psycopg is not installed; install it, or set an endpoint"
        ) from error
    plain = "postgresql://" + url.partition("://")[2]
    return psycopg.connect(plain, connect_timeout=max(1, round(timeout)))


def _as_text(query: str) -> str:
    cast = query.replace("v.content, v.tags", "v.content::text, v.tags::text")
    return cast.replace("{0} = 1", "{0}::int = 1").replace("v.number = {0}", "v.number = {0}::int")


def _url(store: Path) -> str:
    """The catalog's URL: by the setting, else what the store remembers, else its own file."""
    from tracekit import settings  # noqa: PLC0415 - as above

    told = settings.setting("catalog")
    if told is None:
        try:
            told = str(json.loads((store / "catalog.json").read_text(encoding="utf-8"))["url"])
        except FileNotFoundError:
            told = f"sqlite:///{store / 'catalog.db'}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"cannot read {store / 'catalog.json'}, which names the catalog: {error}") from error
    if not told.startswith(("sqlite", "postgresql")):
        raise StoreError(f"the catalog of {store} is in a database that is not known")
    return told


def _asked(endpoint: str, ref: str, timeout: float) -> Prompt:
    import urllib.error  # noqa: PLC0415 - only an endpoint needs them
    import urllib.request  # noqa: PLC0415

    from tracekit._delivery import signal_url  # noqa: PLC0415 - brings the SDK
    from tracekit._runtime import runtime  # noqa: PLC0415 - keeps `import tracekit` quick
    from tracekit._sender import Sender  # noqa: PLC0415 - as above
    from tracekit.prompts import known, split_ref  # noqa: PLC0415 - it imports this module

    name, _ = split_ref(ref)
    sender = Sender(signal_url(endpoint, "logs"), "logs", runtime.headers)
    base = sender.url.removesuffix("/v1/logs")
    url = f"{base}/api/v1/prompt?ref={urllib.parse.quote(ref, safe='')}"
    request = urllib.request.Request(url, headers=sender.headers)  # noqa: S310 - http or https, as `signal_url` has checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - as above
            found = json.loads(answer.read(_LARGEST_ANSWER))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                raise NotFoundError(f"{base} has no prompt {ref!r}, or this token may not see it") from error
            raise StoreError(f"{base} did not tell the prompt {ref!r}: {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{base} cannot be asked for the prompt {ref!r}: {error}") from error
    return known(found if isinstance(found, Mapping) else {}, name)
