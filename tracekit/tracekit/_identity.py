"""Who and what the spans inside a block belong to: a session and its user, a case and its repeat.

The facts travel in the OpenTelemetry context, so they go wherever that context goes, and they reach every span that is
begun inside the block, whoever begins it. Session and user are in the context's baggage too, which W3C propagation
carries to other services, where they are read from it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from opentelemetry import context as otel_context
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from tracekit import attributes as names
from tracekit._capture import clean_text
from tracekit._runtime import runtime

_KEY = otel_context.create_key("tracekit-identity")
_OURS = otel_context.create_key("tracekit-baggage")  # the baggage that says no more than the facts do
_NOTHING: Mapping[str, AttributeValue] = {}
_CARRIED_LIMIT = 1_024  # what comes from another service may be of any size


def facts(context: Context) -> Mapping[str, AttributeValue]:
    """The attributes that a span begun in this context carries."""
    found = context.get(_KEY)
    own = found if isinstance(found, dict) else _NOTHING
    baggage = context.get(_BAGGAGE_KEY)
    if not baggage or baggage is context.get(_OURS) or not isinstance(baggage, dict):
        return own
    carried = _carried(baggage)
    return {**carried, **own} if carried else own


def with_facts(context: Context, attributes: Mapping[str, AttributeValue], *, share: bool) -> Context:
    """A context whose spans carry more attributes.

    Args:
        context: The context before.
        attributes: What its spans carry besides what they carried already.
        share: Whether session and user among them go to other services too.
    """
    context = otel_context.set_value(_KEY, {**facts(context), **attributes}, context)
    shared = {key: attributes[key] for key in (names.SESSION, names.USER) if key in attributes} if share else {}
    if not shared:
        return context
    before = context.get(_BAGGAGE_KEY)
    baggage = {**(before if isinstance(before, dict) else {}), **shared}
    return otel_context.set_value(_OURS, baggage, otel_context.set_value(_BAGGAGE_KEY, baggage, context))


def _carried(baggage: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Session and user as another service, or another instrumentation, put them into baggage."""
    found: dict[str, AttributeValue] = {}
    for key in (names.SESSION, names.USER):
        value = baggage.get(key)
        if isinstance(value, str) and value:
            found[key] = clean_text(value, limit=_CARRIED_LIMIT)
    if names.SESSION in found:
        found[names.CONVERSATION] = found[names.SESSION]
    return found


class Scope:
    """A block whose spans carry some attributes; use it with `with` or `async with`.

    Args:
        value: What `with … as` gives.
        attributes: What the spans inside carry, besides what they carried already.
    """

    __slots__ = ("_attributes", "_tokens", "_value")

    def __init__(self, value: str, attributes: Mapping[str, AttributeValue]) -> None:
        self._value = value
        self._attributes = attributes
        self._tokens: list[object] = []

    def __enter__(self) -> str:
        current = otel_context.get_current()
        inside = with_facts(current, self._attributes, share=runtime.shares())
        self._tokens.append(otel_context.attach(inside))
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tokens:
            leave(self._tokens.pop())

    async def __aenter__(self) -> str:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def leave(token: object) -> None:
    """Go back to the context from before `attach`; quietly nothing where that happened in another context."""
    try:
        token.var.reset(token)  # type: ignore[attr-defined]  # what OpenTelemetry's detach does, but for its log line
    except (ValueError, RuntimeError):
        pass  # a coroutine or generator that somebody else closes: its context is gone anyway
    except AttributeError:
        otel_context.detach(token)  # type: ignore[arg-type]  # another runtime context than contextvars


def session(session_id: str | None = None, *, user: str | None = None) -> Scope:
    """Put a conversation's id on every span inside the block, and of the services that are called from it.

    Other services learn of it by W3C baggage, wherever that is sent (`tracekit.inject`, instrumented HTTP clients); the
    setting `baggage` keeps it here.

    Args:
        session_id: The conversation's id; a new one when not given.
        user: The id of the user who speaks.

    Returns:
        A block to be used with `with` or `async with`; it gives the session's id.

    Example:
        >>> with session("chat-1", user="ada") as chat:
        ...     chat
        'chat-1'
    """
    if session_id is None:
        from tracekit.inbox import ulid  # noqa: PLC0415 - keeps `import tracekit` quick

        session_id = ulid()
    name = clean_text(str(session_id))
    attributes: dict[str, AttributeValue] = {names.SESSION: name, names.CONVERSATION: name}
    if user is not None:
        attributes[names.USER] = clean_text(str(user))
    return Scope(name, attributes)


def case(case_id: str, *, repeat: int | None = None) -> Scope:
    """Say which case of a dataset every span inside the block is an attempt at: that is what pairs two runs.

    Args:
        case_id: The case's id.
        repeat: Which attempt at the case this is, from 0; unknown when not given.

    Returns:
        A block to be used with `with` or `async with`; it gives the case's id.

    Example:
        >>> with case("q-17", repeat=2) as tried:
        ...     tried
        'q-17'
    """
    name = clean_text(str(case_id))
    attributes: dict[str, AttributeValue] = {names.CASE: name}
    if repeat is not None:
        attributes[names.REPEAT] = repeat
    return Scope(name, attributes)
