"""The catalog: agents, versions, aliases, runs and datasets, in SQLite or PostgreSQL."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit_collector.catalog.agents import Agents
    from tracekit_collector.catalog.database import Catalog
    from tracekit_collector.catalog.datasets import Datasets, DatasetVersion
    from tracekit_collector.catalog.runs import RunRecord, Runs
    from tracekit_collector.catalog.versions import AgentVersion

__all__ = ["AgentVersion", "Agents", "Catalog", "DatasetVersion", "Datasets", "RunRecord", "Runs"]

_HOMES = {"AgentVersion": "versions", "Agents": "agents", "Catalog": "database", "DatasetVersion": "datasets"}
_HOMES |= {"Datasets": "datasets", "RunRecord": "runs", "Runs": "runs"}


def __getattr__(name: str) -> object:
    # To look at a trace takes no catalog, and SQLAlchemy takes a fifth of a second to load.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
