"""The decorators: which wrapper a function gets is chosen when it is decorated.

A wrapper is of the same sort as its function (a coroutine function, a generator function, …), so `inspect` and
frameworks treat it alike. Exceptions pass through as they are; generators stay lazy and pass on `send`, `throw` and
`close`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any, ParamSpec, TypeVar, cast, overload

from tracekit._spans import checked_kind
from tracekit._steps import Step
from tracekit.attributes import StepKind
from tracekit.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
Capture = bool | Sequence[str]


@overload
def agent(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def agent(
    *, name: str | None = None, version: str | None = None, capture: Capture = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def agent(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    capture: Capture = True,
) -> Any:
    """Record each call of a function as an agent's turn: `invoke_agent NAME`.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The agent's name; that of `init` when not given, else the function's.
        version: The agent's version; that of `init` when not given and the agent is the same.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @agent(name="support")
        ... def answer(question: str) -> str:
        ...     return "yes"
    """
    return _decorated(function, "agent", name=name, version=version, capture=capture)


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(*, name: str | None = None, capture: Capture = True) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def tool(function: Callable[..., Any] | None = None, /, *, name: str | None = None, capture: Capture = True) -> Any:
    """Record each call of a function as a tool's: `execute_tool NAME`, with its arguments and result.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The tool's name; the function's when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @tool
        ... def add(a: int, b: int) -> int:
        ...     return a + b
    """
    return _decorated(function, "tool", name=name, capture=capture)


@overload
def llm(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def llm(
    *, name: str | None = None, model: str | None = None, provider: str | None = None, capture: Capture = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def llm(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
) -> Any:
    """Record each call of a function as a model's: `chat MODEL`.

    Chat messages among the arguments and in the result are recorded as such. What the function learns of the call
    (tokens, cost, the answering model) it says by `tracekit.current_span().set(…)`.

    Args:
        function: The function, where the decorator is used without arguments.
        name: What the step is called; when not given the model's name (a parameter `model` counts) or the function's.
        model: The model that is asked.
        provider: Whose model it is, such as `openai`.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @llm(model="small-1", provider="example")
        ... def ask(prompt: str) -> str:
        ...     return "yes"
    """
    about = {"model": model, "provider": provider}
    return _decorated(function, "llm", name=name, capture=capture, attributes=about)


@overload
def retriever(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def retriever(*, name: str | None = None, capture: Capture = True) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def retriever(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, capture: Capture = True
) -> Any:
    """Record each call of a function as a retrieval: `retrieval NAME`, with the documents that it returns.

    Args:
        function: The function, where the decorator is used without arguments.
        name: What the step is called; the function's name when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @retriever
        ... def search(query: str) -> list[dict[str, object]]:
        ...     return [{"id": "d1", "content": "…", "score": 0.5}]
    """
    return _decorated(function, "retriever", name=name, capture=capture)


@overload
def embedding(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def embedding(
    *, name: str | None = None, model: str | None = None, provider: str | None = None, capture: Capture = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def embedding(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
) -> Any:
    """Record each call of a function as an embedding of texts: `embeddings MODEL`.

    Args:
        function: The function, where the decorator is used without arguments.
        name: What the step is called; the model's name when not given, else the function's.
        model: The model that embeds.
        provider: Whose model it is.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @embedding(model="tiny", capture=["text"])
        ... def embed(text: str) -> list[float]:
        ...     return [0.5]
    """
    about = {"model": model, "provider": provider}
    return _decorated(function, "embedding", name=name, capture=capture, attributes=about)


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *, kind: StepKind = "span", name: str | None = None, capture: Capture = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    kind: StepKind = "span",
    name: str | None = None,
    capture: Capture = True,
) -> Any:
    """Record each call of a function as a step of any kind.

    Args:
        function: The function, where the decorator is used without arguments.
        kind: The step kind.
        name: What the step is called; the function's name when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Raises:
        UsageError: There is no such step kind.

    Example:
        >>> @step(kind="chain")
        ... def pipeline(question: str) -> str:
        ...     return question
    """
    return _decorated(function, checked_kind(kind), name=name, capture=capture)


def _decorated(function: Any, kind: str, **options: Any) -> Any:
    if function is None:
        return functools.partial(_wrapped, kind, options)
    return _wrapped(kind, options, function)


def _wrapped(kind: str, options: dict[str, Any], function: Any) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_wrapped(kind, options, function.__func__))
    if isinstance(function, type) or not callable(function):
        what = f"the class {function.__name__}" if isinstance(function, type) else f"a {type(function).__name__}"
        raise UsageError(f"a step is a function, and {what} is none; decorate its methods instead")
    made = Step(function, kind, **options)
    called = function if inspect.isroutine(function) or isinstance(function, functools.partial) else function.__call__
    if inspect.isasyncgenfunction(called):
        return _async_generator(function, made)
    if inspect.iscoroutinefunction(called):
        return _coroutine(function, made)
    if inspect.isgeneratorfunction(called):
        return _generator(function, made)
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
        recording.end(value)
        return value

    return wrapper


def _coroutine(function: Callable[..., Any], made: Step) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        recording = made.begin(args, kwargs)
        if recording is None:
            return await function(*args, **kwargs)
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            recording.fail(error)
            raise
        recording.end(value)
        return value

    return wrapper


def _generator(function: Callable[..., Any], made: Step) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        stream = made.stream(args, kwargs)
        try:
            body = function(*args, **kwargs)
            go: Callable[[Any], Any] = body.send
            sent: Any = None
            while True:
                stream.enter()
                try:
                    item = go(sent)
                except StopIteration as stop:
                    value = stop.value
                    break
                finally:
                    sent = None  # it may be an exception that holds on to the whole stack
                    stream.leave()
                stream.chunk(item)
                try:
                    sent = yield item
                    go = body.send
                except GeneratorExit as leaving:
                    stream.enter()
                    try:
                        value = body.close()
                    finally:
                        stream.leave()
                    stream.fail(leaving)
                    if value is None:  # since Python 3.13, `close` gives what the generator returns
                        raise
                    return value
                except BaseException as error:  # noqa: BLE001 - it is the generator's to handle, whatever it is
                    go, sent = body.throw, error
        except BaseException as error:
            stream.fail(error)
            raise
        stream.end(value)
        return value

    return wrapper


def _async_generator(function: Callable[..., Any], made: Step) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stream = made.stream(args, kwargs)
        try:
            body = cast("AsyncGenerator[Any, Any]", function(*args, **kwargs))
            following = _first(body)
            while True:
                stream.enter()
                try:
                    item = await following
                except StopAsyncIteration:
                    break
                finally:
                    stream.leave()
                stream.chunk(item)
                try:
                    sent = yield item
                    following = body.asend(sent)
                except GeneratorExit:
                    stream.enter()
                    try:
                        await body.aclose()
                    finally:
                        stream.leave()
                    raise
                except BaseException as error:  # noqa: BLE001 - it is the generator's to handle, whatever it is
                    following = body.athrow(error)
        except BaseException as error:
            stream.fail(error)
            raise
        stream.end()

    return wrapper


def _first(body: AsyncGenerator[Any, Any]) -> Any:
    """The first step of an async generator that the event loop is not told of: the wrapper is, and closes it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)
