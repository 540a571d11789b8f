"""The door of a served agent: which endpoint a request is for, and whether it may come in.

    POST /invocations /v1/chat/completions /v1/responses /feedback
    GET  /health /health/live /health/ready /version /v1/models /openapi.json /metrics

A plain ASGI application: nothing stands between a request and the agent that it does not need. Pages of other origins
are let in by nobody: no answer has CORS headers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

import tracekit
from tracekit_collector.access import AccessError
from tracekit_collector.catalog.roles import Scope
from tracekit_collector.health import CONTENT_TYPE
from tracekit_collector.serving.answering import (
    Answer,
    Answering,
    GoneError,
    Receive,
    ScopeMap,
    Send,
    parsed,
    read_body,
)
from tracekit_collector.serving.deployment import Split
from tracekit_collector.serving.description import document
from tracekit_collector.serving.metrics import Metrics
from tracekit_collector.serving.refusals import Refusal
from tracekit_collector.serving.shapes import SHAPES

Authorise = Callable[[str | None, Scope], str | None]

_FRESH_SECONDS = 1.0
_MOST_KNOWN = 1_024
_FEEDBACK_BYTES = 65_536
_FEEDBACK_SECONDS = 10.0
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_FLUSH_SECONDS = 10.0
_GETS = ("/health", "/health/live", "/health/ready", "/version", "/v1/models", "/openapi.json", "/metrics")
_POSTS = (*SHAPES, "/feedback")

logger = logging.getLogger(__name__)


class Entrance:
    """Lets requests in by their tokens; a token that was let in is not looked at again for a second.

    Args:
        authorise: Says for which project a header is good; raises `AccessError`.
        project: The project that answers are recorded in.
        demanded: Whether a token is needed although none was ever made.
    """

    def __init__(self, authorise: Authorise, *, project: str | None, demanded: bool) -> None:
        self._authorise = authorise
        self._project = project
        self._demanded = demanded
        self._known: dict[tuple[bytes, Scope], float] = {}

    async def enter(self, header: str | None, scope: Scope) -> None:
        """Let a request in.

        Args:
            header: The value of its `Authorization` header.
            scope: What it wants.

        Raises:
            Refusal: It may not.
        """
        key = hashlib.sha256((header or "").encode("utf-8", "surrogateescape")).digest(), scope
        now = time.monotonic()
        if self._known.get(key, 0.0) > now:
            return
        try:
            confined = await asyncio.to_thread(self._confined, header, scope)
        except AccessError as error:
            more = {"www-authenticate": "Bearer"} if error.status == 401 else {}
            code = "unauthorized" if error.status == 401 else "forbidden"
            raise Refusal(error.status, code, str(error), headers=more) from None
        except Exception as error:
            logger.exception("tokens cannot be checked")
            raise Refusal(503, "not_ready", "tokens cannot be checked now", headers={"retry-after": "1"}) from error
        if confined is not None and confined != self._project:
            raise Refusal(
                403, "forbidden", f"the token is for the project {confined!r}; this agent is served in another"
            )
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = now + _FRESH_SECONDS

    def _confined(self, header: str | None, scope: Scope) -> str | None:
        if self._demanded and not header:
            raise AccessError("a token is needed; send `Authorization: Bearer tk_…`", status=401)
        return self._authorise(header, scope)


class Door:
    """The ASGI application.

    Args:
        split: The versions that are served.
        metrics: What is counted.
        entrance: Who may come in.
        max_body: Bytes of one request.
        seconds: How long its body may take to come.
        state: Tells readiness, and what else `/health` shows.
        gauges: What `/metrics` shows besides counts.
    """

    def __init__(
        self,
        split: Split,
        metrics: Metrics,
        entrance: Entrance,
        *,
        max_body: int,
        seconds: float,
        state: Callable[[], Mapping[str, Any]],
        gauges: Callable[[], Mapping[tuple[str, str | None], float]],
    ) -> None:
        self._split = split
        self._metrics = metrics
        self._entrance = entrance
        self._state = state
        self._gauges = gauges
        self._answering = Answering(split, metrics, max_body, seconds)

    async def __call__(self, scope: ScopeMap, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name, text = key.decode("latin-1"), value.decode("latin-1")
            headers[name] = f"{headers[name]},{text}" if name in headers else text
        shape = SHAPES.get(path)
        try:
            if shape is not None and method == "POST":
                await self._entrance.enter(headers.get("authorization"), "write")
                await self._answering.answer(shape, scope, headers, receive, send)
                return
            await self._other(method, path, headers, receive, Answer(send, None, None))
        except GoneError:
            return
        except Refusal as refusal:
            await Answer(send, None, None).refuse(refusal)

    async def _other(
        self, method: str, path: str, headers: Mapping[str, str], receive: Receive, answer: Answer
    ) -> None:
        if path == "/feedback" and method == "POST":
            await self._entrance.enter(headers.get("authorization"), "write")
            await answer.whole(200, orjson.dumps(await _feedback(headers, receive)))
            return
        known = path in _GETS or path.startswith("/v1/models/")
        if method not in {"GET", "HEAD"} or not known:
            allowed = "POST" if path in _POSTS else "GET, HEAD" if known else None
            if allowed is None:
                raise Refusal(404, "not_found", f"there is no {path[:200]}; /openapi.json tells what there is")
            raise Refusal(405, "method", f"{path} takes {allowed}", headers={"allow": allowed})
        if path.startswith("/health"):
            state = dict(self._state())
            if failures := state.pop("reload_failures", None):
                state["reload_failing"] = sorted(failures)  # why is not for everybody: it may name hosts and paths
            good = path == "/health/live" or state["status"] == "ready"
            await answer.whole(200 if good else 503, orjson.dumps(state))
            return
        if path == "/openapi.json":
            await answer.whole(200, orjson.dumps(document(self._split.choose())))
            return
        await self._enter_to_read(headers.get("authorization"), metrics=path == "/metrics")
        if path == "/metrics":
            await answer.whole(200, self._metrics.text(self._gauges()).encode(), kind=CONTENT_TYPE)
            return
        found = self._version() if path == "/version" else self._models(path.removeprefix("/v1/models").strip("/"))
        await answer.whole(200, orjson.dumps(found))

    async def _enter_to_read(self, header: str | None, *, metrics: bool) -> None:
        try:
            await self._entrance.enter(header, "read")
        except Refusal as refusal:
            if metrics or refusal.status != 403:
                raise
            await self._entrance.enter(header, "write")  # who may ask an agent may know which one it is

    def _version(self) -> dict[str, Any]:
        versions = []
        for each in self._split.all():
            share = self._split.share if each is self._split.canary else 1 - self._canary_share()
            target = each.target
            versions.append(
                {
                    "agent": target.agent,
                    "version": target.version,
                    "ref": target.ref,
                    "digest": target.digest,
                    "share": share,
                    "workers": each.pool.pids,
                }
            )
        failures = self._state().get("reload_failures")
        found = {"tracekit": tracekit.__version__, "versions": versions}
        return {**found, "reload_failures": failures} if failures else found

    def _canary_share(self) -> float:
        return 0.0 if self._split.canary is None else self._split.share

    def _models(self, wanted: str) -> dict[str, Any]:
        main = self._split.choose()
        names = dict.fromkeys([main.target.agent, *(each.target.ref for each in self._split.all())])
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tracekit"} for name in names]
        if not wanted:
            return {"object": "list", "data": models}
        for model in models:
            if model["id"] == wanted:
                return model
        raise Refusal(404, "model_not_found", f"{wanted[:200]!r} is not served here; {', '.join(names)} are")


async def _feedback(headers: Mapping[str, str], receive: Receive) -> dict[str, object]:
    """Keep a score of a user's; when this returns, it is delivered."""
    body = parsed(await read_body(receive, headers, _FEEDBACK_BYTES, _FEEDBACK_SECONDS))
    if not isinstance(body, dict):
        raise Refusal(422, "invalid_feedback", "feedback is an object with trace_id, name and value", param="")
    unknown = sorted(body.keys() - {"trace_id", "name", "value", "comment"})
    if unknown:
        raise Refusal(422, "invalid_feedback", f"feedback has no {unknown[0][:100]!r}", param=f"/{unknown[0][:100]}")
    trace_id, name, value, comment = (body.get(key) for key in ("trace_id", "name", "value", "comment"))
    wrong: tuple[str, str] | None = None
    if not isinstance(trace_id, str) or not _TRACE_ID.fullmatch(trace_id) or not int(trace_id, 16):
        wrong = "trace_id", "32 hex digits, as X-Trace-Id has them"
    elif not isinstance(name, str) or not name.strip() or len(name) > 200:
        wrong = "name", "a text of at most 200 characters"
    elif not isinstance(value, (bool, int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
        wrong = "value", "a number, true, false or a text"
    elif comment is not None and not isinstance(comment, str):
        wrong = "comment", "a text"
    if wrong is not None:
        raise Refusal(422, "invalid_feedback", f"{wrong[0]} must be {wrong[1]}", param=f"/{wrong[0]}")
    tracekit.score(
        str(name),
        value,
        trace_id=str(trace_id),
        explanation=comment if isinstance(comment, str) else None,
        source="user",
        annotator=headers.get("x-user-id"),
    )
    if not await asyncio.to_thread(tracekit.flush, _FLUSH_SECONDS):
        raise Refusal(503, "not_kept", "the score could not be delivered yet", headers={"retry-after": "5"})
    return {"trace_id": trace_id, "name": name, "value": value}
