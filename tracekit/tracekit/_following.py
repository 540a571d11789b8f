"""Objects that are followed step by step: in place where their class allows it, else behind a stand-in.

An object of a class that was written in Python becomes one of a subclass that sees each step, and one of its own class
again at its end. It stays the same object: whoever holds it sees what our caller sees, and what pickles or copies it
gets its own class. What is written in C (`map`, `itertools`, …) and what is told of
its subclasses is behind a stand-in.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import inspect
import types
import typing
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, ClassVar, Protocol, cast

from tracekit._fitted import in_place_of
from tracekit._proxies import Proxy, stand_in
from tracekit._streams import Stream

NATIVE = (types.GeneratorType, types.AsyncGeneratorType)
_PLAIN_METACLASSES = (type, abc.ABCMeta, type(Protocol))
_SILENT = (object, typing.Generic, Protocol)  # whose subclasses are announced to nobody
_set_class = vars(object)["__class__"].__set__  # by itself: a class may have its own idea of being assigned to


def is_observed(kind: type[Any]) -> bool:
    """Whether a class is one of those subclasses that see each step."""
    return "_tracekit_of" in vars(kind)


def _own_class(kind: type[Any]) -> type[Any]:
    found: type[Any] = vars(kind).get("_tracekit_of", kind)
    return found


class _Several:
    """The spans of several steps that have handed on the same object, the innermost first."""

    __slots__ = ("_streams",)

    def __init__(self, streams: list[Stream]) -> None:
        self._streams = streams

    @property
    def busy(self) -> bool:
        return any(stream.busy for stream in self._streams)

    @property
    def ended(self) -> bool:
        return all(stream.ended for stream in self._streams)

    def enter(self) -> None:
        for stream in reversed(self._streams):
            stream.enter()

    def __getattr__(self, name: str) -> Any:
        each = [getattr(stream, name) for stream in self._streams]

        def all_of_them(*args: object) -> None:
            for one in each:
                one(*args)

        return all_of_them


_streams: dict[int, Any] = {}  # by the identity of what is followed in place; gone with it, at the latest


def observe(value: Any, stream: Stream) -> bool:
    """Follow an object in place; whether that can be done.

    Args:
        value: The object.
        stream: The call's span, which ends with the object.
    """
    known = _stream_of(value) if is_observed(type(value)) else None
    if known is not None:
        before = known._streams if isinstance(known, _Several) else [known]  # noqa: SLF001 - our own
        _streams[id(value)] = _Several([*before, stream])
        return True
    if _observe_iterator(value, stream):
        return True
    kind = observed_kind(type(value))
    if kind is None:
        return False
    try:
        _set_class(value, kind)
    except TypeError:  # its objects are laid out by C
        return False
    _streams[id(value)] = stream
    with contextlib.suppress(TypeError):  # where it cannot be referred to weakly, its next step will do
        stream.after(functools.partial(_restore_behind, weakref.ref(value)))
    return True


def _observe_iterator(value: Any, stream: Stream) -> bool:
    """Follow a stream of the clients that Stainless makes (OpenAI's, Anthropic's) by the generator that it reads."""
    inner = getattr(value, "__dict__", {}).get("_iterator")
    if type(inner) not in NATIVE or not hasattr(type(value), "__stream__"):
        return False
    value._iterator = in_place_of(inner, lambda: stream)  # noqa: SLF001 - where these clients have it
    known, own_close = weakref.ref(value), type(value).close  # nothing that would keep it alive

    def close() -> Any:
        return _closed(stream, functools.partial(own_close, known()))

    def restore() -> None:
        own = getattr(known(), "__dict__", {})
        if own.get("close") is close:
            del own["close"]

    value.close = close
    stream.after(restore)
    return True


def _restore_behind(reference: Any) -> None:
    value = reference()
    if value is not None:
        _stream_of(value)


def _stream_of(value: Any) -> Any:
    """The span of an object that is followed in place; `None` when that is over."""
    stream = _streams.get(id(value))
    if stream is None or stream.ended:
        _streams.pop(id(value), None)
        kind = type(value)
        if is_observed(kind):
            _set_class(value, _own_class(kind))
        return None
    return stream


def _make(of: type[Any]) -> type[Any] | None:
    """The subclass for objects of a class; `None` where it cannot have one."""
    telling = next(kind for kind in of.__mro__ if "__init_subclass__" in vars(kind))
    if type(of) not in _PLAIN_METACLASSES or telling not in _SILENT or is_observed(of):
        return None
    body: dict[str, Any] = {
        "__slots__": (),
        "__module__": of.__module__,
        "__qualname__": of.__qualname__,
        "__doc__": of.__doc__,
        "__class__": property(lambda _: of),
        "_tracekit_of": of,
    }
    body.update({name: method for name, method in _in_place().items() if hasattr(of, name)})
    body["__reduce_ex__"] = functools.partialmethod(_as_its_own, "__reduce_ex__")
    made: Any
    try:
        made = type(of)(of.__name__, (of,), body)  # type: ignore[misc]  # one of the metaclasses above
    except Exception:  # noqa: BLE001 - a class may refuse to be subclassed in ways of its own
        return None

    own_end = getattr(of, "__del__", None)

    def dropped(self: Any, streams: dict[int, Any] = _streams) -> None:  # given: modules are emptied before the end
        try:
            if own_end is not None:
                own_end(self)
        finally:
            streams.pop(id(self), None)  # whose span ends, unless an iterator of the object's goes on

    made.__del__ = dropped
    return cast("type[Any]", made)


observed_kind = cast("Callable[[type[Any]], type[Any] | None]", functools.lru_cache(maxsize=256)(_make))


def _as_its_own(self: Any, name: str, *args: Any) -> Any:
    kind = type(self)
    _set_class(self, _own_class(kind))
    try:
        return getattr(self, name)(*args)
    finally:
        _set_class(self, kind)


def step(stream: Any, go: Callable[..., Any], *args: Any) -> Any:
    """One step of a synchronous stream."""
    if stream is None or stream.busy:
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


async def async_step(stream: Any, following: Awaitable[Any]) -> Any:
    """One step of an asynchronous stream."""
    if stream is None or stream.busy:
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


def _closed(stream: Any, close: Callable[[], Any]) -> Any:
    """Close what is followed; an asynchronous `close` is awaited by the caller."""
    if stream is None or stream.busy:
        return close()
    stream.enter()
    try:
        value = close()
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    if inspect.isawaitable(value):
        return _closing(stream, value)
    stream.fail(GeneratorExit())
    return value


async def _closing(stream: Any, closing: Awaitable[Any]) -> Any:
    if stream is None:
        return await closing
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


def _left(stream: Any, leave: Callable[..., Any], *raised: Any) -> Any:
    try:
        return leave(*raised)
    finally:
        if stream is not None:
            stream.fail(raised[1] if raised[1] is not None else GeneratorExit())


async def _async_left(stream: Any, leave: Callable[..., Any], *raised: Any) -> Any:
    try:
        return await leave(*raised)
    finally:
        if stream is not None:
            stream.fail(raised[1] if raised[1] is not None else GeneratorExit())


def _waited(stream: Any, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """What `await` drives."""
    return begin() if stream is None or stream.busy else _waiting(stream, begin())


def _waiting(stream: Any, waiting: Any) -> Generator[Any, Any, Any]:
    stream.enter()
    try:
        value = yield from waiting
    except BaseException as error:
        stream.leave()
        stream.fail(error)
        raise
    stream.leave()
    stream.give(value)
    return value


_STEPS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("__next__", "send", "throw"), step),
    "__anext__": lambda stream, go: async_step(stream, go()),
    "asend": lambda stream, go, value: async_step(stream, go(value)),
    "athrow": lambda stream, go, *error: async_step(stream, go(*error)),
    "close": _closed,
    "aclose": lambda stream, close: _closing(stream, close()),
    "__exit__": _left,
    "__aexit__": _async_left,
    "__await__": _waited,
}
_BEGINNINGS = ("__iter__", "__aiter__")


def _in_place() -> dict[str, Callable[..., Any]]:
    """The methods of what is followed in place."""

    def seen(name: str, taken: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Any, *args: Any) -> Any:
            stream = _stream_of(self)
            try:
                return taken(stream, functools.partial(_own(self, name), self), *args)
            finally:
                if stream is not None and stream.ended:
                    _stream_of(self)

        method.__name__ = name
        return method

    def begun(name: str) -> Callable[..., Any]:
        def method(self: Any) -> Any:
            stream = _stream_of(self)
            return _inner(self, _own(self, name)(self), stream)

        method.__name__ = name
        return method

    return {
        **{name: seen(name, taken) for name, taken in _STEPS.items()},
        **{name: begun(name) for name in _BEGINNINGS},
    }


def _own(value: Any, name: str) -> Any:
    """The method of the object's own class, while it is followed and after that."""
    return getattr(_own_class(type(value)), name)


def _inner(value: Any, inner: Any, stream: Any) -> Any:
    """What iterating over an object gives, followed too where it is another object."""
    if inner is value or stream is None or stream.busy:
        return inner
    if type(inner) in NATIVE:
        return in_place_of(inner, lambda: stream)
    if isinstance(inner, Proxy) or observe(inner, stream):
        return inner
    return behind(inner, stream)


def behind(value: Any, stream: Stream) -> Any:
    """An object's stand-in, which sees its steps.

    Args:
        value: The object.
        stream: The call's span, which ends with the object.
    """
    return stand_in(_StandIn, value)(value, stream)


class _StandIn(Proxy):
    """Stands in for an iterator, and knows the stream that it belongs to."""

    __slots__ = ("_tracekit_stream",)

    def __init__(self, subject: Any, stream: Stream) -> None:
        super().__init__(subject)
        object.__setattr__(self, "_tracekit_stream", stream)

    OVERRIDES: ClassVar[dict[str, Callable[..., Any]]] = {}


def _of_stand_ins() -> dict[str, Callable[..., Any]]:
    def seen(name: str, taken: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *args: taken(self._tracekit_stream, getattr(self._tracekit_subject, name), *args)

    def begun(name: str) -> Callable[..., Any]:
        def method(self: Any) -> Any:
            inner = getattr(self._tracekit_subject, name)()
            return self if inner is self._tracekit_subject else _inner(self, inner, self._tracekit_stream)

        return method

    return {
        **{name: seen(name, taken) for name, taken in _STEPS.items()},
        **{name: begun(name) for name in _BEGINNINGS},
    }


_StandIn.OVERRIDES.update(_of_stand_ins())
