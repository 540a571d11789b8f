"""The JSON API under `/api/v1`: read-only, for the UI and for programs.

    GET  /traces /traces/{id} /spans /sessions /scores /agents /runs /runs/{id} /stats
    POST /sql
    GET  /openapi.json

Parameters are checked strictly: one that is not known, is there twice or has a wrong value is a 400. Failures are
`application/problem+json` (RFC 9457). A store is asked on a thread, a few at a time; who would wait behind too many
others is told to come again (429). Answers carry an ETag, and are gzipped for those who take it.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import gzip
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from tracekit.errors import NotFoundError, StoreBusyError, StoreError, TracekitError, UsageError
from tracekit_collector import _answers
from tracekit_collector._answers import ENDPOINTS, MOST_ROWS, Endpoint
from tracekit_collector._parameters import read
from tracekit_collector.access import AccessError
from tracekit_collector.store import Store

PREFIX = "/api/v1"

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_AT_ONCE = 4
_WAITING = 32
_LARGE = 1 << 10
_MOST_QUERY = 1 << 20
_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
_TITLES = {
    400: "Bad request",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    415: "Unsupported media type",
    429: "Too many requests",
    500: "A fault of tracekit",
    503: "The store cannot be read",
}

Authorise = Callable[[str | None], "str | None"]

logger = logging.getLogger(__name__)


class _Problem(Exception):  # noqa: N818 - never leaves this module
    """The request is answered with this status and text."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def routes(store: Store, authorise: Authorise) -> list[BaseRoute]:
    """The API as routes for a Starlette application.

    Args:
        store: What is asked; it is not settled for a request, that is the collector's to do.
        authorise: Given the `Authorization` header, the project that the asker is confined to, or `None` for all;
            raises `AccessError` where they may not read.

    Returns:
        One mount at `/api/v1`.

    Example:
        >>> import tempfile
        >>> with Store.open(tempfile.mkdtemp()) as store:
        ...     [route.path for route in routes(store, lambda header: None)]
        ['/api/v1']
    """
    api = _Api(store, authorise)
    paths = [Route(each.path, partial(api.get, each), methods=["GET"], name=each.name) for each in ENDPOINTS]
    paths.append(Route("/sql", api.sql, methods=["POST"]))
    paths.append(Route("/openapi.json", api.openapi, methods=["GET"]))
    return [Mount(PREFIX, app=Starlette(routes=paths, exception_handlers={HTTPException: _no_route}))]


class _Api:
    def __init__(self, store: Store, authorise: Authorise) -> None:
        self._store = store
        self._authorise = authorise
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def get(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request to one of the endpoints."""

        async def answer() -> bytes:
            project = await self._project(request, whole=endpoint.whole)
            values = read(endpoint.parameters, request.query_params.multi_items(), request.path_params)
            return await self._on_thread(lambda: _bytes(endpoint.answer(self._store, values, project)))

        return await _answered(request, answer)

    async def sql(self, request: Request) -> Response:
        """Answer a query."""

        async def answer() -> bytes:
            await self._project(request, whole=True)
            read((), request.query_params.multi_items(), {})
            body = await _query(request)
            return await self._on_thread(lambda: _bytes(_answers.sql(self._store, body)))

        return await _answered(request, answer)

    async def openapi(self, request: Request) -> Response:
        """Describe the API; that needs no token."""

        async def answer() -> bytes:
            read((), request.query_params.multi_items(), {})
            return orjson.dumps(document())

        return await _answered(request, answer)

    async def _project(self, request: Request, *, whole: bool) -> str | None:
        project = await asyncio.to_thread(self._authorise, request.headers.get("authorization"))
        if project is not None and whole:
            raise AccessError(f"this tells of all projects, and the token is for {project!r} alone", status=403)
        return project

    async def _on_thread(self, work: Callable[[], bytes]) -> bytes:
        if self._waiting >= _WAITING:
            raise _Problem(429, f"{_WAITING} requests wait already; come again", {"Retry-After": "2"})
        self._waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


async def _answered(request: Request, answer: Callable[[], Awaitable[bytes]]) -> Response:
    try:
        body = await answer()
    except _Problem as problem:
        return _problem(problem.status, problem.detail, problem.headers)
    except AccessError as error:
        return _problem(error.status, str(error), {"WWW-Authenticate": "Bearer"} if error.status == 401 else {})
    except NotFoundError as error:
        return _problem(404, str(error))
    except UsageError as error:
        return _problem(400, str(error))
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is left to read it
    except (StoreBusyError, StoreError) as error:
        logger.warning("a request to the API failed: %s", error)
        return _problem(503, str(error), {"Retry-After": "2"})
    except TracekitError as error:
        return _problem(400, str(error))
    return await _sent(request, body)


async def _sent(request: Request, body: bytes) -> Response:
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Authorization"}
    if tag in [each.strip() for each in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    if len(body) > _LARGE and _takes_gzip(request.headers.get("accept-encoding", "")):
        body = await asyncio.to_thread(gzip.compress, body, 5)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=_JSON)


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        name, _, quality = each.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _query(request: Request) -> dict[str, object]:
    """The body of a request to `/sql`, checked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise _Problem(415, f"Content-Type must be {_JSON}")
    pieces: list[bytes] = []
    async for piece in request.stream():
        pieces.append(piece)
        if sum(map(len, pieces)) > _MOST_QUERY:
            raise _Problem(413, f"the body is larger than {_MOST_QUERY} bytes")
    try:
        body = orjson.loads(b"".join(pieces))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict) or not body.keys() <= {"query", "parameters", "limit"}:
        raise UsageError("the body must be an object with `query`, and `parameters` and `limit` if need be")
    query, parameters, limit = body.get("query"), body.get("parameters", []), body.get("limit", 1_000)
    if not isinstance(query, str) or not query.strip() or "\x00" in query:
        raise UsageError("`query` must be one statement of SQL, as text")
    plain = isinstance(parameters, list) and all(
        each is None or (isinstance(each, (str, int, float)) and "\x00" not in str(each)) for each in parameters
    )
    if not plain:
        raise UsageError("`parameters` must be a list of texts, numbers, booleans and nulls")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_ROWS:
        raise UsageError(f"`limit` must be an integer from 1 to {MOST_ROWS}")
    return body


def _bytes(answer: object) -> bytes:
    try:
        return orjson.dumps(answer, default=_plain, option=_OPTIONS)
    except TypeError:  # an integer of more than 64 bits; Python's own writes these
        return json.dumps(answer, default=_plain, allow_nan=False, skipkeys=True).encode()


def _plain(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    told = {"type": "about:blank", "title": _TITLES.get(status, "Failed"), "status": status, "detail": detail}
    return Response(orjson.dumps(told), status, headers=dict(headers or {}), media_type=_PROBLEM)


async def _no_route(request: Request, error: Exception) -> Response:
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    path = request.url.path[:100]
    detail = f"{path} does not take {request.method[:20]}" if status == 405 else f"there is nothing at {path}"
    return _problem(status, f"{detail}; {PREFIX}/openapi.json tells what there is", headers)


@lru_cache
def document() -> dict[str, object]:
    """The OpenAPI 3.1 description of all that `routes` serves, made of the same declarations."""
    paths: dict[str, object] = {}
    for each in ENDPOINTS:
        statuses = [400, 401, 429, 503, *([403] if each.whole else []), *([404] if "{" in each.path else [])]
        paths[each.path] = {
            "get": {
                "operationId": each.name,
                "summary": each.about,
                "parameters": [parameter.described() for parameter in each.parameters],
                "responses": _responses(each.told, statuses),
            }
        }
    schema = {
        "type": "object",
        "required": ["query"],
        "additionalProperties": False,
        "properties": {
            "query": {"type": "string", "minLength": 1, "description": "One statement of DuckDB's SQL that reads."},
            "parameters": {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": 1_000},
        },
    }
    paths["/sql"] = {
        "post": {
            "operationId": "sql",
            "summary": f"The rows of one query, which may take {_answers.SECONDS:.0f} s.",
            "requestBody": {"required": True, "content": {_JSON: {"schema": schema}}},
            "responses": _responses(("columns", "rows", "truncated"), [400, 401, 403, 413, 415, 429, 503]),
        }
    }
    paths["/openapi.json"] = {
        "get": {
            "operationId": "openapi",
            "summary": "This description.",
            "security": [],
            "responses": _responses(("openapi", "paths"), [400]),
        }
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "tracekit", "version": "1", "description": "Reads a store of traces."},
        "servers": [{"url": PREFIX}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _SCHEMAS},
    }


_SCHEMAS = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
    }
}


def _responses(told: tuple[str, ...], statuses: list[int]) -> dict[str, object]:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    found: dict[str, object] = {
        "200": {
            "description": "The answer.",
            "headers": {"ETag": {"schema": {"type": "string"}}},
            "content": {_JSON: {"schema": {"type": "object", "required": list(told)}}},
        },
        "304": {"description": "The same as the asker has."},
    }
    for status in sorted(statuses):
        found[str(status)] = {"description": _TITLES[status], "content": {_PROBLEM: problem}}
    return found
