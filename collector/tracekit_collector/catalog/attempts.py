"""Doing a piece of work in the catalog again where others came between, or the connection was lost.

What is handed over has to come to the same when it is done twice: a connection may be lost after the database has kept
the work and before it could say so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from tracekit.errors import StoreError

Transaction = Callable[[], AbstractContextManager[Connection]]
Result = TypeVar("Result")

_ATTEMPTS = 10
_LONGEST_PAUSE = 0.5  # seconds
_AGAIN = frozenset({"40001", "40P01"})  # serialization failure, deadlock: PostgreSQL's codes


def attempted(transaction: Transaction, work: Callable[[Connection], Result]) -> Result:
    """Do work in a transaction, and again where that helps.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        work: What is done; it must come to the same when it is done twice.

    Returns:
        What the work returns.

    Raises:
        StoreError: It failed for another reason, or ten times.
    """
    attempt = 1
    while True:
        try:
            with transaction() as connection:
                return work(connection)
        except StoreError as error:
            if attempt == _ATTEMPTS or not _may_go_better(error.__cause__):
                raise
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.005 * 2**attempt)))  # noqa: S311 - only spreads them out
        attempt += 1


def _may_go_better(cause: BaseException | None) -> bool:
    if not isinstance(cause, DBAPIError):
        return False
    state = getattr(cause.orig, "sqlstate", None)
    return isinstance(cause, IntegrityError) or cause.connection_invalidated or state in _AGAIN
