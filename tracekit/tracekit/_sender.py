"""Sending a request to a collector by OTLP over HTTP, once, and what its answer means.

Retryable is what OTLP calls so (https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes), and a timeout; a
server's own errors besides are worth a few tries; anything else is refused for good.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import importlib
import importlib.util
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tracekit.errors import SettingError
from tracekit.inbox import Signal

_RETRYABLE = frozenset({408, 429, 502, 503, 504})
_ANSWER_LIMIT = 1 << 16
_TIMEOUT = 10.0

Outcome = Literal["taken", "later", "doubtful", "refused"]


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Args:
        outcome: `taken`; `later`: try again; `doubtful`: try again a few times; `refused`: never try again.
        reason: Why it was not taken, in a few words.
        retry_after: How long the endpoint wants to be left alone, in seconds.
        rejected: How many spans or records of a taken request were not.
    """

    outcome: Outcome
    reason: str = ""
    retry_after: float | None = None
    rejected: int = 0


class Sender:
    """Posts bodies to one URL.

    Args:
        url: The signal's URL. A user and password in it become a header.
        signal: `traces` or `logs`.
        headers: Headers besides those of `OTEL_EXPORTER_OTLP_HEADERS`, which they win over.
        inherit: Whether those of the environment are sent at all.
    """

    def __init__(self, url: str, signal: Signal, headers: Mapping[str, str] | None, *, inherit: bool = True) -> None:
        from tracekit import __version__  # noqa: PLC0415 - the package imports this module

        parts = urllib.parse.urlsplit(url)
        said = _said_headers(signal) if inherit else {}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            said["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.url = urllib.parse.urlunsplit(parts)
        self.headers = {**said, **{key.lower(): value for key, value in (headers or {}).items()}}
        self.timeout = _said_timeout(signal)
        self._sent = {
            "user-agent": f"tracekit/{__version__}",
            **self.headers,
            "content-type": "application/x-protobuf",
            "content-encoding": "gzip",
        }
        handlers: list[Any] = [_NoRedirect()]
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=_tls(signal)))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, body: bytes) -> Answer:
        """Post a body, compressed with gzip, and wait for the answer; never raises."""
        request = urllib.request.Request(self.url, data=body, headers=self._sent, method="POST")  # noqa: S310 - http(s)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                content = answer.read(_ANSWER_LIMIT)
                return Answer("taken", rejected=_rejected(content, answer.headers.get("content-type", "")))
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.reason, error.headers)
        except (OSError, http.client.HTTPException) as error:
            return Answer("later", str(getattr(error, "reason", "") or error) or type(error).__name__)
        except ValueError as error:  # a header or a host that cannot be sent
            return Answer("refused", str(error))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow nobody elsewhere: headers may carry a key."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _answer(code: int, reason: str, headers: Any) -> Answer:
    said = f"{code} {reason}".strip()
    if 300 <= code < 400:
        return Answer("refused", f"{said}: it points to {headers.get('location', 'nowhere')}; set that endpoint")
    after = _seconds(headers.get("retry-after"))
    if code in _RETRYABLE:
        return Answer("later", said, after)
    return Answer("doubtful", said, after) if code >= 500 else Answer("refused", said)


def _seconds(text: str | None) -> float | None:
    """A Retry-After header: seconds, or a date (RFC 9110, section 10.2.3)."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _rejected(content: bytes, kind: str) -> int:
    """How many items a partial success leaves out; field 1 is the count in the answers of both signals."""
    if not content or "protobuf" not in kind:
        return 0
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 - rare
        ExportTraceServiceResponse,
    )

    try:
        return int(ExportTraceServiceResponse.FromString(content).partial_success.rejected_spans)
    except Exception:  # noqa: BLE001 - protobuf's own error; the request was taken, whatever was said besides
        return 0


def _variable(signal: Signal, name: str) -> str | None:
    """OpenTelemetry's variable for a signal, or for all."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}")
    return own or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _said_headers(signal: Signal) -> dict[str, str]:
    from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415 - only an endpoint needs it

    return dict(parse_env_headers(_variable(signal, "HEADERS") or "", liberal=True))


def _said_timeout(signal: Signal) -> float:
    try:
        seconds = float(_variable(signal, "TIMEOUT") or _TIMEOUT)
    except ValueError:
        return _TIMEOUT
    return seconds if 0 < seconds < 86_400 else _TIMEOUT


def _tls(signal: Signal) -> ssl.SSLContext:
    """Whom to trust: the variable's certificates, else the system's and, where it is installed, certifi's."""
    given = _variable(signal, "CERTIFICATE") or os.environ.get("REQUESTS_CA_BUNDLE")
    own = _variable(signal, "CLIENT_CERTIFICATE")
    try:
        context = ssl.create_default_context()
        if given:
            context.load_verify_locations(**{"capath" if Path(given).is_dir() else "cafile": given})
        elif importlib.util.find_spec("certifi") is not None:
            context.load_verify_locations(cafile=importlib.import_module("certifi").where())
        if own:
            context.load_cert_chain(own, _variable(signal, "CLIENT_KEY"))
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, [given, own]))
        raise SettingError(f"cannot use the certificates {files}: {error}") from error
    return context
