"""Asking a model on behalf of a judge: out of the cache, within the budget, and traced.

A judge that asks a model goes through `ask`. What the run around it has set up (`desk`) decides whether an answer that
is known is used again, whether there is money left, and whether the call is recorded as a span. Without a run, as in a
notebook or a test, a judge asks all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.budget import Budget
from tracekit_evaluators.cache import Cache
from tracekit_evaluators.judge_traces import JudgeTraces
from tracekit_evaluators.models.chat import ChatModel, Completion, Request

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace


@dataclass(frozen=True)
class Desk:
    """What a run lends to the judges that ask models.

    Args:
        cache: Answers that are known; `None` for none.
        budget: What may be spent; `None` for no cap.
        traces: Where calls are recorded; `None` for nowhere.
        session: Gives the traces of a session by its id, in order; `None` where they cannot be looked up.
    """

    cache: Cache | None = None
    budget: Budget | None = None
    traces: JudgeTraces | None = None
    session: Callable[[str], Sequence[Trace]] | None = None


_desk: ContextVar[Desk] = ContextVar("tracekit_desk", default=Desk())  # noqa: B039 - frozen


@contextlib.contextmanager
def desk(lent: Desk) -> Iterator[None]:
    """Let judges that are called inside the block use this."""
    token = _desk.set(lent)
    try:
        yield
    finally:
        _desk.reset(token)


def current() -> Desk:
    """What the run around this code lends; nothing where there is none."""
    return _desk.get()


def known(key: str) -> Completion | None:
    """The answer that is kept under a key (see `cache.key_of`); `None` where there is none, or no cache."""
    cache = _desk.get().cache
    return None if cache is None else cache.get(key)


def keep(key: str, completion: Completion) -> None:
    """Keep an answer that gave a verdict, so that it is not paid for again."""
    cache = _desk.get().cache
    if cache is not None:
        cache.put(key, completion)


async def ask(model: ChatModel, request: Request) -> Completion:
    """A model's answer.

    Args:
        model: Whom to ask.
        request: What.

    Raises:
        BudgetExceeded: Nothing is left to spend.
        ModelUnavailable: The server cannot be reached, or goes on failing.
        Refused: The model or a content filter refused.
        TimedOut: No answer came in the time allowed.
    """
    lent = _desk.get()
    if lent.budget is not None:
        lent.budget.admit()
    if lent.traces is None:
        answer = await model.complete(request)
    else:
        with lent.traces.call(model, request) as told:
            answer = await model.complete(request)
            told(answer)
    if lent.budget is not None:
        lent.budget.spend(answer)
    return answer
