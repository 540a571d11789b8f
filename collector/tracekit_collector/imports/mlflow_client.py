"""MLflow's REST API over HTTP, with the credentials that its own client would take from the environment."""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlencode, urlsplit

from tracekit.errors import UsageError

_AGAIN = frozenset({429, 502, 503, 504})
_ATTEMPTS = 4


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect, and shows who asks to no other server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and urlsplit(found.full_url).netloc != urlsplit(req.full_url).netloc:
            found.remove_header("Authorization")
        return found


_opener = urllib.request.build_opener(_Redirects)


class Client:
    """A tracking server.

    MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, say who asks.

    Args:
        url: The server's URL.
        timeout: Seconds for one answer.
        wait: Waits so many seconds.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, wait: Callable[[float], object] = time.sleep) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise UsageError(f"{url!r} is no tracking server; give a URL such as http://127.0.0.1:5000")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._wait = wait
        token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
        self.headers: dict[str, str] = {}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        elif user:
            pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
            self.headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()

    def get(self, place: str, **parameters: object) -> dict[str, Any]:
        """What the server answers to a question.

        Args:
            place: Behind `/api/`, such as `2.0/mlflow/runs/get`.
            parameters: What is asked for.

        Raises:
            UsageError: The server cannot be reached, refuses, or is no MLflow server.
            LookupError: There is no such thing.
        """
        asked = {name: value for name, value in parameters.items() if value is not None}
        return self._json(f"/api/{place}?{urlencode(asked)}" if asked else f"/api/{place}")

    def post(self, path: str, body: Mapping[str, object], *, method: str = "POST") -> dict[str, Any]:
        """What the server answers to a request; as `get`."""
        return self._json(f"/api/{path}", json.dumps(body).encode(), "application/json", method=method)

    def pages(self, place: str, key: str, body: Mapping[str, object] | None = None, **asked: object) -> Iterator[Any]:
        """Every item of an answer that comes in pages.

        Args:
            place: As for `get`.
            key: What the items are called in the answer.
            body: Of a request; a question when not given.
            asked: As for `get`.
        """
        token: str | None = None
        while True:
            if body is None:
                answer = self.get(place, **asked, page_token=token)
            else:
                answer = self.post(place, {**body, **({"page_token": token} if token else {})})
            found = answer.get(key) or []
            yield from found
            token, before = answer.get("next_page_token") or None, token
            if token is None or token == before or not found:
                return

    def open(self, place: str, **parameters: object) -> BinaryIO:
        """A file that the server sends; as `get`, with a path from the server's root."""
        return cast("BinaryIO", self._ask(f"{place}?{urlencode(parameters)}", None, {}, "GET"))

    def send(
        self,
        path: str,
        body: bytes,
        content_type: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send bytes to a path from the server's root; as `get`."""
        with self._ask(path, body, {"Content-Type": content_type, **(headers or {})}, method) as answer:
            answer.read()

    def _json(
        self, path: str, body: bytes | None = None, kind: str | None = None, *, method: str | None = None
    ) -> dict[str, Any]:
        headers = {} if kind is None else {"Content-Type": kind}
        with self._ask(path, body, headers, method or ("GET" if body is None else "POST")) as answer:
            try:
                read = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise UsageError(f"{self.url} broke off its answer to {path.partition('?')[0]}: {error}") from None
        try:
            found = json.loads(read or b"{}")
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UsageError(f"{self.url} does not answer as an MLflow server does: {read[:80]!r}")
        return found

    def _ask(self, path: str, body: bytes | None, headers: Mapping[str, str], method: str) -> Any:
        request = urllib.request.Request(  # noqa: S310 - http or https, see above
            self.url + quote(path, safe="/?&=%+:,;@~-._"), body, {**self.headers, **headers}, method=method
        )
        cause = ""
        for attempt in range(_ATTEMPTS):
            try:
                return _opener.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                with error:
                    told = error.read(2_000).decode("utf-8", "replace")
                if error.code == 404:
                    raise LookupError(f"{self.url} has no {path.partition('?')[0]}: {_message(told)}") from None
                cause = f"{error.code} {error.reason}: {_message(told)}"
                if error.code in (401, 403):
                    raise UsageError(
                        f"{self.url} lets nobody in like that ({error.code}); set MLFLOW_TRACKING_TOKEN, or "
                        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
                    ) from None
                if error.code not in _AGAIN:
                    raise UsageError(f"{self.url} refused {path.partition('?')[0]}: {cause}") from None
            except (OSError, http.client.HTTPException) as error:
                cause = str(getattr(error, "reason", error))
                if isinstance(getattr(error, "reason", error), ConnectionRefusedError):
                    break
            if attempt + 1 < _ATTEMPTS:
                self._wait(0.5 * 2**attempt)
        raise UsageError(f"{self.url} cannot be reached: {cause}; check the URL, and that the server runs")


def _message(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return text[:200]
    return str(found.get("message") or found.get("error_code") or text)[:300] if isinstance(found, dict) else text[:200]
