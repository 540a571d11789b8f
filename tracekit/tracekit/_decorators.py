"""The decorators: what each step kind takes, and what type checkers see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from tracekit._selection import Capture
from tracekit._spans import checked_kind
from tracekit._steps import Hook
from tracekit._wrappers import decorated
from tracekit.attributes import StepKind

P = ParamSpec("P")
R = TypeVar("R")


@overload
def agent(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def agent(
    *,
    name: str | None = None,
    version: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def agent(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Any:
    """Record each call of a function as an agent's turn: `invoke_agent NAME`.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The agent's name; that of `init` when not given, else the function's.
        version: The agent's version; that of `init` when not given and the agent is the same.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @agent(name="support")
        ... def answer(question: str) -> str:
        ...     return "yes"
    """
    return decorated(
        function,
        "agent",
        name=name,
        version=version,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
    )


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(
    *,
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Any:
    """Record each call of a function as a tool's: `execute_tool NAME`, with its arguments and result.

    Args:
        function: The function, where the decorator is used without arguments.
        name: The tool's name; the function's when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @tool
        ... def add(a: int, b: int) -> int:
        ...     return a + b
    """
    return decorated(
        function,
        "tool",
        name=name,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
    )


@overload
def llm(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def llm(
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def llm(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
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
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @llm(model="small-1", provider="example")
        ... def ask(prompt: str) -> str:
        ...     return "yes"
    """
    about = {"model": model, "provider": provider}
    return decorated(
        function,
        "llm",
        name=name,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
        attributes=about,
    )


@overload
def retriever(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def retriever(
    *,
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def retriever(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Any:
    """Record each call of a function as a retrieval: `retrieval NAME`, with the documents that it returns.

    Args:
        function: The function, where the decorator is used without arguments.
        name: What the step is called; the function's name when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @retriever
        ... def search(query: str) -> list[dict[str, object]]:
        ...     return [{"id": "d1", "content": "…", "score": 0.5}]
    """
    return decorated(
        function,
        "retriever",
        name=name,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
    )


@overload
def embedding(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def embedding(
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def embedding(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Any:
    """Record each call of a function as an embedding of texts: `embeddings MODEL`.

    Args:
        function: The function, where the decorator is used without arguments.
        name: What the step is called; the model's name when not given, else the function's.
        model: The model that embeds.
        provider: Whose model it is.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Example:
        >>> @embedding(model="tiny", capture=["text"])
        ... def embed(text: str) -> list[float]:
        ...     return [0.5]
    """
    about = {"model": model, "provider": provider}
    return decorated(
        function,
        "embedding",
        name=name,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
        attributes=about,
    )


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *,
    kind: StepKind = "span",
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    kind: StepKind = "span",
    name: str | None = None,
    capture: Capture = True,
    process_input: Hook | None = None,
    process_output: Hook | None = None,
    stream: bool = True,
) -> Any:
    """Record each call of a function as a step of any kind.

    Args:
        function: The function, where the decorator is used without arguments.
        kind: The step kind.
        name: What the step is called; the function's name when not given.
        capture: What is recorded: `True` everything, `False` nothing, else names of parameters, and `return` for
            the output; or a mapping with `input` (a bool or names), `drop` (names) and `output` (a bool).
        process_input: Makes of the arguments by name what is recorded of them.
        process_output: Makes of the output what is recorded of it.
        stream: Whether a stream or awaitable that the function returns is followed to its end; `False` returns the
            very object, and the span ends with the call.

    Returns:
        The function, recorded; its signature and behaviour are unchanged.

    Raises:
        UsageError: There is no such step kind.

    Example:
        >>> @step(kind="chain")
        ... def pipeline(question: str) -> str:
        ...     return question
    """
    return decorated(
        function,
        checked_kind(kind),
        name=name,
        capture=capture,
        process_input=process_input,
        process_output=process_output,
        stream=stream,
    )
