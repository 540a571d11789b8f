"""Sending OTLP requests over HTTP, again and again as the specification says, until they are taken."""

from __future__ import annotations

import gzip
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from tracekit.errors import StoreError, UsageError

_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_WAIT = 60.0


class Sender:
    """Posts protobuf requests to an OTLP endpoint.

    Args:
        endpoint: The base URL, such as `http://host:4318`; `/v1/traces` and `/v1/logs` are added.
        headers: More headers, for example an authorization.
        attempts: How often one request is tried.
        timeout: Seconds for one try.
        wait: Waits so many seconds.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        attempts: int = 8,
        timeout: float = 30.0,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise UsageError(f"{endpoint!r} is no OTLP endpoint; give a URL such as http://127.0.0.1:4318")
        self._endpoint = endpoint.rstrip("/")
        self._headers = dict(headers or {})
        self._attempts = attempts
        self._timeout = timeout
        self._wait = wait

    def send(self, signal: str, body: bytes) -> None:
        """Send one request and wait until it is taken.

        Args:
            signal: `traces` or `logs`.
            body: The serialized request.

        Raises:
            StoreError: It was refused for good, or not taken in all attempts.
        """
        headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", **self._headers}
        packed = gzip.compress(body, 1)
        cause = ""
        for attempt in range(self._attempts):
            request = urllib.request.Request(f"{self._endpoint}/v1/{signal}", packed, headers, method="POST")  # noqa: S310 - http or https, see above
            pause = min(_LONGEST_WAIT, 0.5 * 2**attempt)
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310 - as above
                    response.read()
            except urllib.error.HTTPError as error:
                with error:
                    cause = f"{error.code} {error.reason}"
                    if error.code not in _AGAIN:
                        raise StoreError(f"{self._endpoint} refused the {signal}: {cause}") from None
                    pause = _asked_for(error.headers.get("Retry-After"), pause)
            except (OSError, http.client.HTTPException) as error:
                cause = str(getattr(error, "reason", error))
            else:
                return
            if attempt + 1 < self._attempts:
                self._wait(pause)
        raise StoreError(f"{self._endpoint} did not take the {signal} in {self._attempts} attempts: {cause}")


def _asked_for(header: str | None, otherwise: float) -> float:
    return min(_LONGEST_WAIT, float(header)) if header is not None and header.strip().isdecimal() else otherwise
