"""What `tracekit doctor` finds out: the facts of an installation, and the faults that keep traces from arriving."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from tracekit import settings
from tracekit.errors import TracekitError
from tracekit.inbox import segments

_PACKAGES = ("tracekit", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "protobuf")
_EXTRAS = {"collector": "deltalake", "evaluators": "jinja2"}
_SECRET = ("key", "token", "secret", "password")
_PATIENCE = 3.0
_ROOM = 100 << 20  # bytes; less free space than that will be gone soon
_LATE = 3_600.0  # seconds after which what waits in an inbox is waiting for nobody


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        what: What was looked at.
        status: `ok`; `note`, worth knowing; `fault`, what must be mended.
        detail: What was found and, for a fault, how to mend it.
    """

    what: str
    status: Literal["ok", "note", "fault"]
    detail: str


def examine(*, endpoint: str | None = None, store: str | None = None) -> dict[str, Any]:
    """Look at the installation, the settings and the place that traces go to.

    Args:
        endpoint: The collector to look at; that of the settings when not given.
        store: The store to look at; that of the settings when not given.

    Returns:
        `versions`, `settings`, `instrumentations`, `checks`, and `ok`: whether no fault was found.
    """
    from tracekit import instrumentation  # noqa: PLC0415 - keeps `tracekit --help` quick

    try:
        table, checks = _settings(), list(_checks(endpoint, store))
    except TracekitError as error:
        table, checks = [], [Check("settings", "fault", str(error))]
    found = [
        {
            "name": item.name,
            "distribution": item.distribution,
            "version": item.version,
            "family": item.family,
            "state": item.state,
            "reason": item.reason,
        }
        for item in instrumentation.survey()
    ]
    return {
        "versions": _versions(),
        "settings": table,
        "instrumentations": found,
        "checks": [asdict(check) for check in checks],
        "ok": all(check.status != "fault" for check in checks),
    }


def _checks(endpoint: str | None, store: str | None) -> Iterator[Check]:
    yield from _versions_agree()
    yield from _switches()
    yield _provider()
    target = settings.setting("endpoint", "" if endpoint is None and store is not None else endpoint)
    if target:
        yield _endpoint(target)
    else:
        yield from _store(settings.store_path(store).absolute())


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    found.update({name: _version(name) for name in _PACKAGES})
    for extra, needs in _EXTRAS.items():
        found[f"tracekit[{extra}]"] = found["tracekit"] if _version(needs) else None
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _versions_agree() -> Iterator[Check]:
    api, sdk = _version("opentelemetry-api"), _version("opentelemetry-sdk")
    if api == sdk and api is not None:
        yield Check("OpenTelemetry", "ok", f"API and SDK {sdk}")
    else:
        mend = "pip install --upgrade opentelemetry-api opentelemetry-sdk"
        yield Check("OpenTelemetry", "fault", f"API {api} and SDK {sdk} do not belong together; {mend}")


def _settings() -> list[dict[str, str | None]]:
    rows = []
    for name in settings.SETTINGS:
        value = settings.setting(name)
        if value and any(word in name for word in _SECRET):
            value = "(set)"
        rows.append({"name": name, "value": value, "source": settings.origin(name)})
    return rows


def _switches() -> Iterator[Check]:
    if settings.switch("disabled"):
        yield Check("tracing", "note", f"turned off by {settings.origin('disabled')}: nothing is recorded")
    if not settings.switch("capture_content"):
        yield Check("content", "note", f"turned off by {settings.origin('capture_content')}: no inputs and outputs")
    given = os.environ.get("OTEL_TRACES_SAMPLER", "")
    if given and given not in {"always_on", "parentbased_always_on"}:
        yield Check("sampling", "note", f"OTEL_TRACES_SAMPLER={given}: not every trace is kept")


def _provider() -> Check:
    """What a program finds as the global provider before anybody sets one."""
    from opentelemetry import trace  # noqa: PLC0415 - as above

    current = trace.get_tracer_provider()
    kind = f"{type(current).__module__}.{type(current).__qualname__}"
    if isinstance(current, trace.ProxyTracerProvider):
        return Check("TracerProvider", "ok", "none is set at a program's start: tracekit makes its own")
    if hasattr(current, "add_span_processor"):
        return Check("TracerProvider", "ok", f"{kind} is set at a program's start: tracekit joins it")
    detail = f"{kind} takes no span processors: tracekit makes its own, and other instrumentations' spans stay out"
    return Check("TracerProvider", "note", detail)


def _endpoint(target: str) -> Check:
    """Whether a collector takes an export, one of nothing."""
    from tracekit._delivery import signal_url  # noqa: PLC0415 - brings the SDK

    try:
        url = signal_url(target, "traces")
        request = urllib.request.Request(url, b"", _headers(), method="POST")  # noqa: S310 - http or https, as checked
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - as above
            return Check("endpoint", "ok", f"{url} answers {answer.status}")
    except TracekitError as error:
        return Check("endpoint", "fault", str(error))
    except urllib.error.HTTPError as error:
        mend = {401: "; set OTEL_EXPORTER_OTLP_HEADERS", 403: "; set OTEL_EXPORTER_OTLP_HEADERS"}.get(error.code, "")
        with error:
            return Check("endpoint", "fault", f"{url} answers {error.code} {error.reason}{mend}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Check("endpoint", "fault", f"cannot reach {url}: {reason}; is the collector running?")


def _headers() -> dict[str, str]:
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415 - as above

    said = parse_env_headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True)
    return {**said, "Content-Type": "application/x-protobuf"}


def _store(folder: Path) -> Iterator[Check]:
    yield _writable(folder)
    nearest = _nearest(folder)
    free = shutil.disk_usage(nearest).free
    if free < _ROOM:
        yield Check("disk", "fault", f"only {free >> 20} MB are free at {nearest}; make room, or set another store")
    else:
        yield Check("disk", "ok", f"{free / (1 << 30):.1f} GB are free at {nearest}")
    yield _backlog(folder / "inbox")
    lost = sorted((folder / "inbox" / "quarantine").glob("*.bin"))
    if lost:
        detail = f"{len(lost)} stretches could not be read; the reasons lie beside them in {lost[0].parent}"
        yield Check("quarantine", "note", detail)


def _writable(folder: Path) -> Check:
    """Whether a file can be made where the inbox is or will be; nothing is left behind."""
    place = _nearest(folder / "inbox")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        mend = "change its permissions, or set another store with TRACEKIT_STORE"
        return Check("store", "fault", f"cannot write to {place}: {error.strerror or error}; {mend}")
    return Check(
        "store", "ok", f"{folder} {'can be written' if folder.is_dir() else 'will be made with the first span'}"
    )


def _nearest(folder: Path) -> Path:
    """The folder itself or, while it is not there, the nearest thing above it that is."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _backlog(inbox: Path) -> Check:
    waiting = segments(inbox)
    if not waiting:
        return Check("inbox", "ok", "nothing waits to be settled")
    facts = [path.stat() for path in waiting if path.exists()]
    size = sum(fact.st_size for fact in facts)
    age = time.time() - min((fact.st_mtime for fact in facts), default=time.time())
    detail = f"{len(waiting)} segments, {size / 1e6:.1f} MB, the oldest {age / 60:.0f} min old"
    if age > _LATE:
        return Check("inbox", "note", f"{detail}; any command that reads, such as `tracekit traces`, settles them")
    return Check("inbox", "ok", detail)
