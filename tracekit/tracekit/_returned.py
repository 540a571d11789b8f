"""What a function returns that is not there yet: streams and awaitables are followed to their end.

The caller gets the very object wherever it can be followed in place: a future or task tells by its callback, and an
object of a class that was written in Python by its methods (`_following`). Python lets nobody look on at a generator or
coroutine of its own; in place of one comes another of the same type and name. Iterators written in C, such as `map`,
are returned behind a stand-in. Files, database cursors and containers are left alone.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, cast

from tracekit import _guard
from tracekit._fitted import Held, in_place_of
from tracekit._following import NATIVE, behind, is_observed, observe, observed_kind
from tracekit._proxies import Proxy
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
    if issubclass(kind, Proxy):
        return None  # a step's stream that is handed on is followed already
    if kind is types.CoroutineType:
        return "coroutine"
    if all(hasattr(kind, name) for name in ("add_done_callback", "cancelled", "exception", "result")):
        return "future"
    if _is_stream(kind) or is_observed(kind):
        return "stream"
    is_awaitable = hasattr(kind, "__await__") and not hasattr(kind, "__aenter__")
    return "awaitable" if is_awaitable and observed_kind(kind) is not None else None


def _is_stream(kind: type[Any]) -> bool:
    if any(hasattr(kind, name) for name in _NO_STREAMS):
        return False
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return bool(kind.__flags__ & _HEAP_TYPE) or kind.__module__ in _PLAIN_MODULES
    return "Stream" in kind.__name__ and (hasattr(kind, "__iter__") or hasattr(kind, "__aiter__"))


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
        return in_place_of(value, lambda: stream, _awaited)
    if type(value) in NATIVE:
        return in_place_of(value, lambda: stream)
    if observe(value, stream):
        return value
    if sort == "awaitable":
        stream.give(value)
        return value
    return behind(value, stream)


async def _awaited(begin: Callable[[], Stream], held: Held) -> Any:
    stream, body = begin(), held.taken()
    stream.enter()
    try:
        value = await body
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    if sort_of(type(value)) is not None:
        return followed(value, stream)
    stream.give(value)
    return value


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
