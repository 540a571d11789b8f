"""Entry points: `module:callable` as one thing that is called with a JSON value, whatever kind of agent it names.

Functions of all four kinds (plain, coroutine, generator, async generator), objects and classes with `__call__`,
LangGraph's compiled graphs and other runnables, pydantic-ai agents and OpenAI agents; frameworks are known by their
shape, so that none has to be installed here. `module:make()` calls `make` first and takes what it returns.

A callable with one parameter that has to be given, or with one at all, gets the whole input as that; others get the
input's keys as arguments by name. An input becomes a dataclass or a pydantic model where the parameter is annotated so.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Protocol

from tracekit._arguments import Arguments
from tracekit._frameworks import framework
from tracekit._serial import json_value
from tracekit.errors import UsageError

_SHOWN_LINES = 6
_OURS = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - compared with texts of frames
_END = object()


class Entry(Protocol):
    """An agent that can be called, whatever it is made with.

    Args:
        ref: What names it.
        kind: `function`, `runnable`, `pydantic_ai` or `openai_agents`.
    """

    ref: str
    kind: str

    async def call(self, input: object) -> object:  # noqa: A002 - the word of the whole project
        """The whole output for an input; both are JSON values."""

    def stream(self, input: object) -> AsyncGenerator[object, None]:  # noqa: A002 - as above
        """The output in chunks as they come; one chunk where the agent does not stream."""

    def signature(self) -> dict[str, object]:
        """JSON schemas of `input` and `output`; `{}` where nothing is known."""


def load(ref: str, *, folder: str | os.PathLike[str] | None = None) -> Entry:
    """Import what an entry point names, as something to call.

    Args:
        ref: `module:callable`, `package.module:object.attribute`, or `module:factory()`.
        folder: Where its source is, put first on `sys.path`; the modules that can be imported anyway when not given.

    Raises:
        UsageError: It is not written so, cannot be imported, or names nothing that can be called. The message ends with
            the last lines of the agent's own traceback.

    Example:
        >>> import asyncio
        >>> asyncio.run(load("operator:neg").call(3))
        -3
    """
    module, colon, path = ref.partition(":")
    makes = path.endswith("()")
    path = path.removesuffix("()")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), *path.split(".")]):
        raise UsageError(f"the entry point {ref!r} is not module:callable")
    if folder is not None:
        place = os.path.abspath(os.fspath(folder))  # noqa: PTH100 - `sys.path` holds texts
        if place not in sys.path:
            sys.path.insert(0, place)
        importlib.invalidate_caches()
    found = _imported(ref, module)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"the entry point {ref} names {part!r}, which {_said(found)} does not have") from None
    if makes:
        found = _made(ref, found)
    return entry(found, ref=ref)


def entry(target: object, *, ref: str = "") -> Entry:
    """Something to call, made of an object.

    Args:
        target: A callable, a class whose objects can be called, or an agent of a framework.
        ref: What to call it in messages.

    Raises:
        UsageError: It cannot be called.
    """
    known = framework(target, ref)
    if known is not None:
        return known
    if inspect.isclass(target):
        if "__call__" not in {name for each in target.__mro__[:-1] for name in vars(each)}:
            raise UsageError(f"the entry point {ref} is the class {target.__name__}, whose objects cannot be called")
        target = _made(ref, target)
    if not callable(target):
        raise UsageError(f"the entry point {ref} is a {type(target).__name__}, which cannot be called")
    return CallableEntry(target, ref)


class CallableEntry:
    """A Python callable of any kind.

    Args:
        function: The callable.
        ref: What names it.
    """

    kind = "function"

    def __init__(self, function: Callable[..., Any], ref: str) -> None:
        self.ref = ref
        self._function = function
        self._arguments = Arguments(function)
        called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004 - its kind counts
        self._on_loop = inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)

    async def call(self, input: object) -> object:  # noqa: A002 - the word of the whole project
        """The whole output: what it returns, or what it yields, joined where that is text."""
        result = await self._begin(input)
        if hasattr(result, "__aiter__") or isinstance(result, Iterator):
            async with contextlib.aclosing(_chunks(result)) as chunks:
                return json_value(_joined([chunk async for chunk in chunks]))
        return json_value(result)

    async def stream(self, input: object) -> AsyncGenerator[object, None]:  # noqa: A002 - as above
        """What it yields as it comes, or what it returns as the only chunk."""
        result = await self._begin(input)
        if not hasattr(result, "__aiter__") and not isinstance(result, Iterator):
            yield json_value(result)
            return
        async with contextlib.aclosing(_chunks(result)) as chunks:
            async for chunk in chunks:
                yield json_value(chunk)

    def signature(self) -> dict[str, object]:
        """JSON schemas by its annotations."""
        return {"input": self._arguments.schema(), "output": self._arguments.output_schema()}

    async def _begin(self, given: object) -> Any:
        args, kwargs = self._arguments.bound(given)
        if self._on_loop:
            result = self._function(*args, **kwargs)
        else:  # it may block, and so it gets a thread
            result = await asyncio.to_thread(self._function, *args, **kwargs)
        return await result if isinstance(result, Awaitable) else result


async def _chunks(result: Any) -> AsyncGenerator[Any, None]:
    if hasattr(result, "__aiter__"):
        try:
            async for chunk in result:
                yield chunk
        finally:
            await _close(result)
        return
    # A plain generator's code runs on threads, but always in one context: the spans it opens stay open between chunks.
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    try:
        while (chunk := await loop.run_in_executor(None, partial(context.run, next, result, _END))) is not _END:
            yield chunk
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            with contextlib.suppress(ValueError):  # it is still running on a thread that cannot be stopped
                context.run(close)


async def _close(iterator: AsyncIterator[Any]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


def _joined(chunks: list[Any]) -> object:
    return "".join(chunks) if chunks and all(isinstance(chunk, str) for chunk in chunks) else chunks


def _imported(ref: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the agent's module may raise what it likes
        raise UsageError(f"the entry point {ref} cannot be imported: {last_lines(error)}") from None


def _made(ref: str, factory: Any) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        raise UsageError(f"the entry point {ref} cannot be made: {last_lines(error)}") from None


def last_lines(error: BaseException) -> str:
    """An error and the end of its traceback, as far as that is the agent's own code.

    Args:
        error: What the agent's code raised.
    """
    told = traceback.TracebackException.from_exception(error)
    told.__cause__ = told.__context__ = None
    installed = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), _OURS, "<frozen")
    own = [frame for frame in told.stack if not frame.filename.startswith(installed)]
    told.stack = traceback.StackSummary.from_list(own)
    lines = "".join(told.format()).rstrip().splitlines()
    return "\n".join([lines[-1], *("  " + line for line in lines[:-1][-_SHOWN_LINES:])])


def _said(found: object) -> str:
    return f"the module {found.__name__}" if inspect.ismodule(found) else f"a {type(found).__name__}"
