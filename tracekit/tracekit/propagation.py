"""Traces across threads, processes and services: `carry`, `inject`, `extract`.

Between services and processes the trace goes as W3C headers: `traceparent` and `tracestate` for the trace, `baggage`
for the session and the user; `OTEL_PROPAGATORS` chooses other formats, as everywhere in OpenTelemetry.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import _guard
from tracekit._identity import facts, leave, with_facts

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor  # slow to import, and not everybody has pools

P = ParamSpec("P")
R = TypeVar("R")
Headers = MutableMapping[str, str]
Received = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]


def inject(headers: Headers | None = None) -> Headers:
    """Add to a request's headers what its receiver needs to go on with this trace and session.

    Args:
        headers: The headers of a request, changed in place; new ones when not given.

    Returns:
        The headers.

    Example:
        >>> import tracekit
        >>> with tracekit.span("ask the other service"):
        ...     sorted(inject({"accept": "text/plain"}))
        ['accept', 'traceparent']
    """
    found: Headers = {} if headers is None else headers
    try:
        from opentelemetry import propagate  # noqa: PLC0415 - it loads entry points

        propagate.inject(found)
    except Exception:  # noqa: BLE001 - a request must go out, with or without its trace
        _guard.fault("adding trace headers")
    return found


def extract(headers: Received) -> Continued:
    """Go on with the trace and session that a request's headers tell of.

    Where an instrumentation of the server has begun a span for the request already, that span stays the parent.

    Args:
        headers: The request's headers: a mapping, or pairs of names and values, as text or bytes (as ASGI has them).

    Returns:
        A block to be used with `with` or `async with`; it gives the trace's id, `None` where the headers have none.

    Example:
        >>> import tracekit
        >>> headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        >>> with extract(headers) as trace_id, tracekit.span("answer"):
        ...     trace_id
        '0af7651916cd43dd8448eb211c80319c'
    """
    return Continued(headers)


class Continued:
    """A block that goes on with a trace of another process; made by `extract`."""

    __slots__ = ("_headers", "_tokens")

    def __init__(self, headers: Received) -> None:
        self._headers = headers
        self._tokens: list[object] = []

    def __enter__(self) -> str | None:
        try:
            context = _continued(self._headers, otel_context.get_current())
        except Exception:  # noqa: BLE001 - whatever the headers hold, the request is to be answered
            _guard.fault("reading trace headers")
            context = otel_context.get_current()
        self._tokens.append(otel_context.attach(context))
        place = trace.get_current_span(context).get_span_context()
        return trace.format_trace_id(place.trace_id) if place.is_valid else None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._tokens:
            leave(self._tokens.pop())

    async def __aenter__(self) -> str | None:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, where)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs, wherever it is called, in the trace and session that this code is in.

    For threads, executors and worker processes: `pool.submit(tracekit.carry(work), 1)`. What it gives can be pickled if
    the function can, so a `ProcessPoolExecutor` takes it too. Coroutine functions are carried as well.

    Args:
        function: What is to run elsewhere.

    Example:
        >>> import tracekit
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with tracekit.span("outer"), ThreadPoolExecutor() as pool:
        ...     pool.submit(carry(tracekit.trace_id)).result() == tracekit.trace_id()
        True
    """
    return Carried(function, otel_context.get_current())


class Carried(Generic[P, R]):
    """A function with the context that it runs in; made by `carry`."""

    def __init__(self, function: Callable[P, R], context: Context) -> None:
        with suppress(Exception):  # an odd callable has odd attributes; they are for show
            functools.update_wrapper(self, function)
        self._function = function
        self._context = context

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in its context."""
        token = otel_context.attach(self._context)
        try:
            result = self._function(*args, **kwargs)
        finally:
            leave(token)
        if inspect.iscoroutine(result):
            return _within(result, self._context)  # type: ignore[return-value]  # a coroutine for a coroutine
        return result

    def __reduce__(self) -> tuple[object, ...]:
        headers: dict[str, str] = {}
        from opentelemetry import propagate  # noqa: PLC0415 - it loads entry points

        propagate.inject(headers, self._context)
        return _arrived, (self._function, headers, dict(facts(self._context)))


async def _within(awaitable: Awaitable[R], context: Context) -> R:
    token = otel_context.attach(context)
    try:
        return await awaitable
    finally:
        leave(token)


def _arrived(
    function: Callable[..., Any], headers: dict[str, str], attributes: dict[str, AttributeValue]
) -> Callable[..., Any]:
    """What a pickled `Carried` becomes in another process."""
    context = with_facts(_continued(headers, Context()), attributes, share=False)
    return Carried(function, context)


def _continued(headers: Received, current: Context) -> Context:
    from opentelemetry import propagate  # noqa: PLC0415 - as above

    context = propagate.extract(_plain(headers), current)
    here = trace.get_current_span(current)
    theirs = trace.get_current_span(context).get_span_context()
    if here.get_span_context().trace_id == theirs.trace_id:
        return trace.set_span_in_context(here, context)
    return context


def _plain(headers: Received) -> dict[str, str]:
    """Headers by lower-case name, as the propagators ask for them; those that come twice joined."""
    found: dict[str, str] = {}
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        key, text = (item.decode("latin-1") if isinstance(item, bytes) else str(item) for item in (name, value))
        key = key.lower()
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


_original_start = threading.Thread.start


def carry_into_threads() -> None:
    """Make every new thread, and every call that a thread pool is given, run in the trace that it comes from."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

    if threading.Thread.start is _original_start:
        threading.Thread.start = _start  # type: ignore[method-assign]  # what the user has asked for
    if not hasattr(ThreadPoolExecutor.submit, "tracekit_original"):
        ThreadPoolExecutor.submit = _submitting(ThreadPoolExecutor.submit)  # type: ignore[method-assign]  # as above


def leave_threads_alone() -> None:
    """Undo `carry_into_threads`."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

    if threading.Thread.start is _start:
        threading.Thread.start = _original_start  # type: ignore[method-assign]
    submit: Any = ThreadPoolExecutor.submit
    if hasattr(submit, "tracekit_original"):
        ThreadPoolExecutor.submit = submit.tracekit_original  # type: ignore[method-assign]


@functools.wraps(_original_start)
def _start(self: threading.Thread) -> None:
    context = otel_context.get_current()
    if not context or "run" in vars(self) or self.ident is not None:
        _original_start(self)
        return
    run = self.run

    def carried() -> None:
        vars(self).pop("run", None)
        token = otel_context.attach(context)
        try:
            run()
        finally:
            leave(token)

    vars(self)["run"] = carried
    try:
        _original_start(self)
    except BaseException:
        vars(self).pop("run", None)
        raise


def _submitting(original: Any) -> Any:
    @functools.wraps(original)
    def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        context = otel_context.get_current()
        if not context:
            future: Future[Any] = original(self, fn, *args, **kwargs)
            return future
        # A worker that is begun here outlives this trace: it must not be in it.
        token = otel_context.attach(Context())
        try:
            future = original(self, Carried(fn, context), *args, **kwargs)
        finally:
            leave(token)
        return future

    submit.tracekit_original = original  # type: ignore[attr-defined]
    return submit
