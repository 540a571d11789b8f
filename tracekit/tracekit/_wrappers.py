"""The wrappers: which one a function gets is chosen when it is decorated.

A wrapper is of the same sort as its function (a coroutine function, a generator function, …), so `inspect` and
frameworks treat it alike. Exceptions pass through as they are; generators stay lazy and pass on `send`, `throw` and
`close`.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

from tracekit._fitted import Held, fitted, in_place_of, sort_of_function
from tracekit._proxies import BindingObject, CallableObject, stand_in
from tracekit._steps import Recording, Step
from tracekit.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
)


def decorated(function: Any, kind: str, **options: Any) -> Any:
    """A function's recorded self, or the decorator where there is no function yet.

    Args:
        function: The function; `None` where the decorator is used with arguments.
        kind: The step kind.
        options: What `Step` takes.
    """
    if function is None:
        return functools.partial(wrapped, kind, options)
    return wrapped(kind, options, function)


def wrapped(kind: str, options: dict[str, Any], function: Any) -> Any:
    """What takes the function's place.

    Args:
        kind: The step kind.
        options: What `Step` takes.
        function: A function, static- or classmethod, or another callable object.

    Raises:
        UsageError: It is a class, or cannot be called.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(wrapped(kind, options, function.__func__))
    if isinstance(function, type) or not callable(function):
        what = f"the class {function.__name__}" if isinstance(function, type) else f"a {type(function).__name__}"
        raise UsageError(f"a step is a function, and {what} is none; decorate its methods instead")
    if isinstance(function, types.MethodType) and isinstance(function.__func__, types.FunctionType):
        return types.MethodType(wrapped(kind, options, function.__func__), function.__self__)
    made = Step(function, kind, **options)
    if isinstance(function, _FUNCTIONS):
        return _of_function(function, made)
    told = function if isinstance(function, functools.partial) else function.__call__
    call = _function(function, made) if sort_of_function(told) is None else _of_object(function, made)
    like = BindingObject if hasattr(type(function), "__get__") else CallableObject
    return stand_in(like, function)(function, call, (wrapped, (kind, options, function)))


def _of_function(function: Any, made: Step) -> Callable[..., Any]:
    sort = sort_of_function(function)
    if sort is not None:
        is_plain = isinstance(function, types.FunctionType)
        return cast("Callable[..., Any]", fitted(sort, function, made)) if is_plain else _of_object(function, made)
    if _makes_context_manager(function):
        return _context_manager(function, made)
    return _function(function, made)


def _function(function: Callable[P, R], made: Step) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        recording = made.begin(args, kwargs)
        if recording is None:
            return function(*args, **kwargs)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            recording.fail(error)
            raise
        return cast("R", recording.returned(value))

    return wrapper


def _of_object(function: Callable[..., Any], made: Step) -> Callable[..., Any]:
    """A call of a callable object whose code runs later: it is made at once, so what does not fit is found at once."""

    def call(*args: Any, **kwargs: Any) -> Any:
        body = function(*args, **kwargs)
        if type(body) is types.CoroutineType:
            return in_place_of(body, lambda: made.begin(args, kwargs), _awaited)
        if type(body) in (types.GeneratorType, types.AsyncGeneratorType):
            return in_place_of(body, lambda: made.stream(args, kwargs))
        recording = made.begin(args, kwargs)
        return body if recording is None else recording.returned(body)

    return call


async def _awaited(begin: Callable[[], Recording | None], held: Held) -> Any:
    recording, body = begin(), held.taken()
    if recording is None:
        return await body
    try:
        value = await body
    except BaseException as error:
        recording.fail(error)
        raise
    return recording.returned(value)


def _once() -> Iterator[None]:
    yield


async def _once_async() -> AsyncIterator[None]:
    yield


_MADE: tuple[Any, ...] = (contextlib.contextmanager(_once), contextlib.asynccontextmanager(_once_async))
_CODES = frozenset(made.__code__ for made in _MADE)


def _makes_context_manager(function: Any) -> bool:
    """Whether a function is one that `contextlib.contextmanager` or its async twin has made."""
    return isinstance(function, types.FunctionType) and function.__code__ in _CODES


def _context_manager(function: Callable[..., Any], made: Step) -> Callable[..., Any]:
    """A function whose context managers are spans as long as the `with` block."""
    kinds: dict[type[Any], type[Any]] = {}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        manager = function(*args, **kwargs)
        kind = type(manager)
        if kind not in kinds:
            methods = _ASYNC_BLOCK if hasattr(kind, "__aenter__") else _BLOCK
            body = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
            kinds[kind] = type(
                kind.__name__, (kind,), {**body, **methods, "_tracekit_kind": kind, "_tracekit_step": made}
            )
        manager.__class__ = kinds[kind]  # its own object still, also for those who make it anew for each call
        return manager

    return wrapper


def _begin(manager: Any) -> Recording | None:
    step: Step = manager._tracekit_step  # noqa: SLF001 - put there above, as what follows
    return step.begin(manager.args, manager.kwds)


def _begun(manager: Any, recording: Recording | None, value: Any) -> Any:
    manager._tracekit_recording, manager._tracekit_value = recording, value  # noqa: SLF001 - as above
    return value


def _end(manager: Any, error: object) -> None:
    recording, manager._tracekit_recording = manager._tracekit_recording, None  # noqa: SLF001 - as above
    if recording is None:
        return
    if isinstance(error, BaseException):
        recording.fail(error)
    else:
        recording.end(manager._tracekit_value)  # noqa: SLF001 - as above


def _enter(self: Any) -> Any:
    recording = _begin(self)
    try:
        value = self._tracekit_kind.__enter__(self)
    except BaseException as error:
        if recording is not None:
            recording.fail(error)
        raise
    return _begun(self, recording, value)


def _exit(self: Any, *raised: object) -> Any:
    try:
        swallowed = self._tracekit_kind.__exit__(self, *raised)
    except BaseException as another:
        _end(self, another)
        raise
    _end(self, None if swallowed else raised[1])
    return swallowed


async def _async_enter(self: Any) -> Any:
    recording = _begin(self)
    try:
        value = await self._tracekit_kind.__aenter__(self)
    except BaseException as error:
        if recording is not None:
            recording.fail(error)
        raise
    return _begun(self, recording, value)


async def _async_exit(self: Any, *raised: object) -> Any:
    try:
        swallowed = await self._tracekit_kind.__aexit__(self, *raised)
    except BaseException as another:
        _end(self, another)
        raise
    _end(self, None if swallowed else raised[1])
    return swallowed


_BLOCK: dict[str, Any] = {"__enter__": _enter, "__exit__": _exit}
_ASYNC_BLOCK: dict[str, Any] = {"__aenter__": _async_enter, "__aexit__": _async_exit}
