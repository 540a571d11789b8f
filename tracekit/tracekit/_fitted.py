"""Wrappers of functions whose code runs later, each written for its function's own parameters.

A coroutine, generator or async generator function runs none of its code when it is called, so a wrapper that takes
`*args, **kwargs` would find out at the first step only that the arguments do not fit. These take the very parameters
of their function: Python itself refuses a wrong call at the call, in the same words. The text of a wrapper is compiled
once for each list of parameters.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import sys
import types
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tracekit._steps import Step

# Every name of ours in these texts begins with `tracekit_`, so that it is no parameter's.
_COROUTINE = """
async def wrapper({parameters}):
    tracekit_recording = tracekit_step.begin({args}, {kwargs})
    if tracekit_recording is None:
        return (await tracekit_function({call}))
    try:
        tracekit_value = (await tracekit_function({call}))
    except BaseException as tracekit_error:
        tracekit_recording.fail(tracekit_error)
        raise
    return tracekit_recording.returned(tracekit_value)
"""

# What was sent may be an exception that holds on to the whole stack, hence the `None` after each step. Since Python
# 3.13, `close` gives what the generator returns.
_GENERATOR = """
def wrapper({parameters}):
    {opening}
    try:
        tracekit_body = {body}
        tracekit_go, tracekit_sent = tracekit_body.send, None
        while True:
            tracekit_stream.enter()
            try:
                tracekit_item = tracekit_go(tracekit_sent)
            except StopIteration as tracekit_stop:
                tracekit_value = tracekit_stop.value
                break
            finally:
                tracekit_sent = None
                tracekit_stream.leave()
            tracekit_stream.chunk(tracekit_item)
            try:
                tracekit_sent = yield tracekit_item
                tracekit_go = tracekit_body.send
            except GeneratorExit as tracekit_leaving:
                tracekit_go = None
                tracekit_stream.enter()
                try:
                    tracekit_value = {close}
                finally:
                    tracekit_stream.leave()
                tracekit_stream.fail(tracekit_leaving)
                if tracekit_value is None:
                    raise
                return tracekit_value
            except BaseException as tracekit_error:
                tracekit_go, tracekit_sent = tracekit_body.throw, tracekit_error
    except BaseException as tracekit_error:
        tracekit_stream.fail(tracekit_error)
        raise
    tracekit_stream.end(tracekit_value)
    return tracekit_value
"""

_ASYNC_GENERATOR = """
async def wrapper({parameters}):
    {opening}
    try:
        tracekit_body = {body}
        tracekit_following = tracekit_first(tracekit_body)
        while True:
            tracekit_stream.enter()
            try:
                tracekit_item = await tracekit_following
            except StopAsyncIteration:
                break
            finally:
                tracekit_following = None
                tracekit_stream.leave()
            tracekit_stream.chunk(tracekit_item)
            try:
                tracekit_sent = yield tracekit_item
                tracekit_following = tracekit_body.asend(tracekit_sent)
            except GeneratorExit:
                tracekit_stream.enter()
                try:
                    await {close}
                finally:
                    tracekit_stream.leave()
                raise
            except BaseException as tracekit_error:
                tracekit_following = tracekit_body.athrow(tracekit_error)
    except BaseException as tracekit_error:
        tracekit_stream.fail(tracekit_error)
        raise
    tracekit_stream.end()
"""

_OLD_COROUTINE = _COROUTINE.replace("async def", "def").replace("await", "yield from")
_TEXTS = {
    "coroutine": _COROUTINE,
    "old coroutine": _OLD_COROUTINE,
    "generator": _GENERATOR,
    "async generator": _ASYNC_GENERATOR,
}
_CALLED = {
    "opening": "tracekit_stream = tracekit_step.stream({args}, {kwargs})",
    "body": "tracekit_function({call})",
}
_CLOSED = {
    "coroutine": "",
    "old coroutine": "",
    "generator": "tracekit_body.close()",
    "async generator": "tracekit_body.aclose()",
}


def sort_of_function(told: Any) -> str | None:
    """`coroutine`, `generator` or `async generator`, which is what runs later; `None` for every other callable.

    Args:
        told: The function, or what tells its sort.
    """
    if inspect.isasyncgenfunction(told):
        return "async generator"
    if inspect.iscoroutinefunction(told):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(told) else None


def fitted(sort: str, function: types.FunctionType, made: Step) -> Any:
    """The wrapper of a function, with the function's own parameters.

    Args:
        sort: What `sort_of_function` says of it.
        function: The function.
        made: What is to be recorded of its calls.
    """
    is_old = bool(function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE)  # `types.coroutine` has made it
    make = _maker("old coroutine" if is_old else sort, *_parameters(function))
    wrapper: Any = functools.wraps(function)(make(made, function))
    wrapper.__defaults__ = function.__defaults__  # the text has mere placeholders
    wrapper.__kwdefaults__ = function.__kwdefaults__
    return types.coroutine(wrapper) if is_old else wrapper


def _parameters(function: types.FunctionType) -> tuple[str, str, str, str]:
    """How the parameters are declared, and how they are passed on: as `args`, as `kwargs`, and in a call."""
    code = function.__code__
    end = code.co_argcount + code.co_kwonlyargcount
    positional, only_named = code.co_varnames[: code.co_argcount], code.co_varnames[code.co_argcount : end]
    further = list(code.co_varnames[end:])
    rest = [f"*{further.pop(0)}"] if code.co_flags & inspect.CO_VARARGS else []
    rest_by_name = [f"**{further.pop(0)}"] if code.co_flags & inspect.CO_VARKEYWORDS else []

    filled = code.co_argcount - len(function.__defaults__ or ())
    declared = [name if at < filled else f"{name}=None" for at, name in enumerate(positional)]
    if code.co_posonlyargcount:
        declared.insert(code.co_posonlyargcount, "/")
    declared += rest or (["*"] if only_named else [])
    with_default = function.__kwdefaults__ or {}
    declared += [f"{name}=None" if name in with_default else name for name in only_named] + rest_by_name

    passed = [*positional, *rest]
    args = f"({', '.join(passed)},)" if passed else "()"
    kwargs = "{" + ", ".join([*(f"{name!r}: {name}" for name in only_named), *rest_by_name]) + "}"
    call = ", ".join([*passed, *(f"{name}={name}" for name in only_named), *rest_by_name])
    return ", ".join(declared), args, kwargs, call


@functools.lru_cache(maxsize=512)
def _maker(sort: str, parameters: str, args: str, kwargs: str, call: str) -> Callable[[Step, Any], Any]:
    given = {"args": args, "kwargs": kwargs, "call": call}
    lines = {name: line.format(**given) for name, line in _CALLED.items()}
    text = _TEXTS[sort].format(parameters=parameters, close=_CLOSED[sort], **given, **lines)
    make = _compiled(f"{sort} function ({parameters})", "tracekit_step, tracekit_function", text)
    return cast("Callable[[Step, Any], Any]", make)


def _compiled(wrapped: str, closure: str, text: str) -> Callable[..., Any]:
    inner = text.strip().replace("\n", "\n    ")
    whole = f"def make({closure}):\n    {inner}\n    return wrapper\n"
    file = f"<tracekit's wrapper of a {wrapped}>"  # of this text alone: a traceback shows the lines under the name
    linecache.cache[file] = (len(whole), None, whole.splitlines(keepends=True), file)  # for tracebacks
    names: dict[str, Any] = {
        "__name__": __name__,
        "tracekit_count": sys.getrefcount,
        "tracekit_first": _first,
        "tracekit_no_closing": _no_closing,
    }
    exec(compile(whole, file, "exec"), names)  # noqa: S102 - our own text; what varies are names of parameters
    return cast("Callable[..., Any]", names["make"])


def _first(body: AsyncGenerator[Any, Any]) -> Any:
    """The first step of an async generator that the event loop is not told of: the wrapper is, and closes it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


class Held:
    """What was returned, for the one that takes its place, and whether that one is being dropped.

    Args:
        body: A generator, async generator or coroutine.
    """

    __slots__ = ("_body", "itself")

    def __init__(self, body: Any) -> None:
        self._body = body
        self.itself: weakref.ref[Any] | None = None  # dead as soon as what has taken the place is being dropped

    def __del__(self) -> None:
        body, itself = self._body, self.itself and self.itself()
        if body is None or type(body) is types.AsyncGeneratorType:
            return
        is_closed = itself is not None  # before its first step; else it is being dropped
        # That it was never awaited, the one in its place has told of.
        if is_closed or (type(body) is types.CoroutineType and sys.getrefcount(body) <= _ALONE + 1):
            body.close()

    def taken(self) -> Any:
        """What was returned, which is not held any longer."""
        body, self._body = self._body, None
        return body

    def closes(self, count: int) -> bool:
        """Whether what was returned is to be closed: not where its place is dropped and somebody else keeps it.

        Args:
            count: How often what was returned is referred to.
        """
        return self.itself is None or self.itself() is not None or count <= _ALONE


def _alone() -> int:
    only = object()
    return sys.getrefcount(only)


_ALONE = _alone()


async def _no_closing() -> None:
    """What is awaited where nothing is to be closed."""


_Drive = Callable[[Callable[[], Any], Held], Any]
_HELD = {
    "parameters": "tracekit_begin, tracekit_held",
    "opening": "tracekit_stream = tracekit_begin()",
    "body": "tracekit_held.taken()",
}
_OF_HELD = "{close} if tracekit_held.closes(tracekit_count(tracekit_body)) else {otherwise}"


def _driver(sort: str, otherwise: str) -> _Drive:
    close = f"({_OF_HELD.format(close=_CLOSED[sort], otherwise=otherwise)})"
    make = _compiled(sort, "", _TEXTS[sort].format(close=close, **_HELD))
    return cast("_Drive", make())


@functools.lru_cache(maxsize=1)
def _drivers() -> tuple[_Drive, _Drive]:
    return _driver("generator", "None"), _driver("async generator", "tracekit_no_closing()")


def in_place_of(body: Any, begin: Callable[[], Any], run: _Drive | None = None) -> Any:
    """An object of the same type, name and behaviour as a generator, async generator or coroutine, that is recorded.

    Args:
        body: What was returned.
        begin: Gives the span that ends with it, when its first step is taken.
        run: A coroutine function that awaits the body; for coroutines alone.
    """
    held = Held(body)
    generator, async_generator = _drivers()
    drive = run or (generator if type(body) is types.GeneratorType else async_generator)
    found = drive(begin, held)
    found.__name__, found.__qualname__ = body.__name__, body.__qualname__
    held.itself = weakref.ref(found)
    return found
