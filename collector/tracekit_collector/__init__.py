"""The collector: OTLP in, an open lake of Parquet out, and everything that reads it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit_collector.query import Result
    from tracekit_collector.settled import Settled
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

__all__ = ["Result", "Settled", "Store", "Trace"]

_HOMES = {"Result": "query", "Settled": "settled", "Store": "store", "Trace": "trace"}


def __getattr__(name: str) -> object:
    # The command line imports this package where DuckDB and Arrow are not installed, to list its commands.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
