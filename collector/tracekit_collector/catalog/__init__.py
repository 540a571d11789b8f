"""The catalog: agents, versions, aliases, runs and datasets, in SQLite or PostgreSQL."""

from __future__ import annotations

from tracekit_collector.catalog.agents import Agents
from tracekit_collector.catalog.database import Catalog
from tracekit_collector.catalog.datasets import Datasets, DatasetVersion
from tracekit_collector.catalog.runs import RunRecord, Runs
from tracekit_collector.catalog.versions import AgentVersion

__all__ = ["AgentVersion", "Agents", "Catalog", "DatasetVersion", "Datasets", "RunRecord", "Runs"]
