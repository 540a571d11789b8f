"""Alembic's way in: it runs on the connection that the catalog hands over."""

from __future__ import annotations

from alembic import context

from tracekit_collector.catalog.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
