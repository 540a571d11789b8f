"""What a function returns that is not there yet: streams and awaitables are followed to their end.

A future or task is returned as it is, and tells by its callback. A generator, coroutine or other iterator is returned
behind a stand-in that sees what passes. Files, database cursors and iterators written in C that are no plain streams
are left alone.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, cast

from tracekit import _guard
from tracekit._proxies import Proxy, stand_in
from tracekit._streams import Stream

_PLAIN_MODULES = frozenset({"builtins", "itertools"})
_NO_STREAMS = ("readline", "fetchone", "__len__")  # files, cursors, and containers that iterate over themselves
_HEAP_TYPE = 1 << 9  # of a class that was made by a `class` statement, among others

NOT_FOLLOWED = frozenset(
    {str, int, float, bool, type(None), dict, list, tuple, set, frozenset, bytes, bytearray, complex}
)
"""The classes of most results, of which nobody needs to be asked what they are."""


def _sort(kind: type[Any]) -> str | None:
    try:
        return _sort_of(kind)
    except Exception:  # noqa: BLE001 - a metaclass may refuse to be asked
        return None


def _sort_of(kind: type[Any]) -> str | None:
    if kind in (types.GeneratorType, types.AsyncGeneratorType):
        return "stream"
    if kind is types.CoroutineType:
        return "coroutine"
    if issubclass(kind, Proxy):
        return None  # a step's stream that is handed on is followed already
    if all(hasattr(kind, name) for name in ("add_done_callback", "cancelled", "exception", "result")):
        return "future"
    if any(hasattr(kind, name) for name in _NO_STREAMS):
        return None
    steps = hasattr(kind, "__next__") or hasattr(kind, "__anext__")
    if steps and (kind.__flags__ & _HEAP_TYPE or kind.__module__ in _PLAIN_MODULES):
        return "stream"
    if "Stream" in kind.__name__ and (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__")):
        return "stream"
    return None


sort_of = cast("Callable[[type[Any]], str | None]", functools.lru_cache(maxsize=1_024)(_sort))
"""How values of a class are followed: `future`, `coroutine`, `stream`, or not at all."""


def followed(value: Any, stream: Stream) -> Any:
    """What the caller gets instead of the value: the value itself, or its stand-in.

    Args:
        value: What a function has returned; `sort_of` its class is not `None`.
        stream: The call's span, which ends with the value.
    """
    sort = sort_of(type(value))
    if sort == "future":
        _watch(value, stream)
        return value
    if sort == "coroutine":
        return stand_in(_Coroutine, value)(value, stream)
    return stand_in(_Iterator, value)(value, stream)


def _watch(future: Any, stream: Stream) -> None:
    def done(ended: Any) -> None:
        try:
            if ended.cancelled():
                stream.cancel()
                return
            # Asking asyncio's futures in public would count as having retrieved the exception.
            error = ended._exception if hasattr(ended, "_exception") else ended.exception()  # noqa: SLF001 - as above
            if error is None:
                stream.give(ended._result if hasattr(ended, "_result") else ended.result())  # noqa: SLF001 - as above
            else:
                stream.fail(error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("following a future")

    if future.done():
        done(future)
    else:
        future.add_done_callback(done)


class _Following(Proxy):
    """A stand-in that knows the stream that it belongs to."""

    __slots__ = ("_tracekit_stream",)

    def __init__(self, subject: Any, stream: Stream) -> None:
        super().__init__(subject)
        object.__setattr__(self, "_tracekit_stream", stream)


def _step(self: Any, go: Callable[..., Any], *args: Any) -> Any:
    """One step of a synchronous stream."""
    stream: Stream = self._tracekit_stream
    if stream.busy:
        return go(*args)
    stream.enter()
    try:
        item = go(*args)
    except StopIteration as stop:
        stream.leave()
        stream.end(stop.value)
        raise
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    stream.chunk(item)
    return item


async def _async_step(self: Any, following: Awaitable[Any]) -> Any:
    """One step of an asynchronous stream."""
    stream: Stream = self._tracekit_stream
    if stream.busy:
        return await following
    stream.enter()
    try:
        item = await following
    except StopAsyncIteration:
        stream.leave()
        stream.end()
        raise
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    stream.chunk(item)
    return item


def _iterated(self: Any, begin: Callable[[Any], Any]) -> Any:
    inner = begin(self._tracekit_subject)
    if inner is self._tracekit_subject:
        return self
    return stand_in(_Iterator, inner)(inner, self._tracekit_stream)


def _close(self: Any) -> Any:
    """Close what is behind; an asynchronous `close` is awaited by the caller."""
    stream: Stream = self._tracekit_stream
    stream.enter()
    try:
        value = self._tracekit_subject.close()
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    if inspect.isawaitable(value):
        return _closing(stream, value)
    stream.fail(GeneratorExit())
    return value


async def _closing(stream: Stream, closing: Awaitable[Any]) -> Any:
    stream.enter()
    try:
        value = await closing
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    stream.fail(GeneratorExit())
    return value


def _exit(self: Any, *raised: Any) -> Any:
    stream: Stream = self._tracekit_stream
    try:
        return self._tracekit_subject.__exit__(*raised)
    finally:
        stream.fail(raised[1] if raised[1] is not None else GeneratorExit())


async def _async_exit(self: Any, *raised: Any) -> Any:
    stream: Stream = self._tracekit_stream
    try:
        return await self._tracekit_subject.__aexit__(*raised)
    finally:
        stream.fail(raised[1] if raised[1] is not None else GeneratorExit())


class _Iterator(_Following):
    """Stands in for an iterator, asynchronous iterator, generator, or a client's stream of a response."""

    __slots__ = ()
    OVERRIDES: ClassVar[dict[str, Callable[..., Any]]] = {
        "__iter__": lambda self: _iterated(self, iter),
        "__aiter__": lambda self: _iterated(self, lambda subject: subject.__aiter__()),
        "__next__": lambda self: _step(self, self._tracekit_subject.__next__),
        "send": lambda self, value: _step(self, self._tracekit_subject.send, value),
        "throw": lambda self, *error: _step(self, self._tracekit_subject.throw, *error),
        "close": _close,
        "__anext__": lambda self: _async_step(self, self._tracekit_subject.__anext__()),
        "asend": lambda self, value: _async_step(self, self._tracekit_subject.asend(value)),
        "athrow": lambda self, *error: _async_step(self, self._tracekit_subject.athrow(*error)),
        "aclose": lambda self: _closing(self._tracekit_stream, self._tracekit_subject.aclose()),
        "__exit__": _exit,
        "__aexit__": _async_exit,
    }


def _run(self: Any, go: Callable[..., Any], *args: Any) -> Any:
    """One step of a coroutine."""
    stream: Stream = self._tracekit_stream
    stream.enter()
    try:
        waiting = go(*args)
    except StopIteration as stop:
        stream.leave()
        if sort_of(type(stop.value)) is not None:
            raise StopIteration(followed(stop.value, stream)) from None
        stream.give(stop.value)
        raise
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    return waiting


class _Awaiting:
    """What `await` drives: the steps of the coroutine behind a stand-in."""

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine

    def __iter__(self) -> _Awaiting:
        return self

    def __next__(self) -> Any:
        return self._coroutine.send(None)

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> Any:
        return self._coroutine.close()


class _Coroutine(_Following):
    """Stands in for a coroutine."""

    __slots__ = ()
    OVERRIDES: ClassVar[dict[str, Callable[..., Any]]] = {
        "__await__": lambda self: _Awaiting(self),  # noqa: PLW0108 - a class would not be bound
        "send": lambda self, value: _run(self, self._tracekit_subject.send, value),
        "throw": lambda self, *error: _run(self, self._tracekit_subject.throw, *error),
        "close": _close,
    }
