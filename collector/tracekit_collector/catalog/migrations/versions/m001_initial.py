"""The first catalog: agents, versions, aliases, runs, metrics, known requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "001"
down_revision = None


def upgrade() -> None:
    """Bring an empty database to the first catalog."""
    op.create_table(
        "requests",
        sa.Column("digest", sa.String(32), primary_key=True),
        sa.Column("settled_at", sa.DateTime, nullable=False),
    )
    op.create_index("ix_requests_settled_at", "requests", ["settled_at"])
    _create_agents()
    _create_runs()


def _create_agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("name", name="uq_agents_name"),
    )
    op.create_table(
        "agent_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("agent_id", sa.Integer, sa.ForeignKey("agents.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("label", sa.String(200)),
        sa.Column("digest", sa.String(64)),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("code", sa.JSON, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("prompts", sa.JSON, nullable=False),
        sa.Column("dependencies", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("agent_id", "number", name="uq_agent_versions_agent_id_number"),
        sa.UniqueConstraint("agent_id", "label", name="uq_agent_versions_agent_id_label"),
        sa.UniqueConstraint("agent_id", "digest", name="uq_agent_versions_agent_id_digest"),
    )
    op.create_table(
        "aliases",
        sa.Column("agent_id", sa.Integer, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("agent_versions.id"), nullable=False),
        sa.Column("moved_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("agent_id", sa.Integer, sa.ForeignKey("agents.id"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("agent_versions.id"), nullable=False),
        sa.Column("moved_at", sa.DateTime, nullable=False),
        sa.Column("moved_by", sa.String(200)),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("agent_versions.id")),
        *(
            sa.Column(name, sa.JSON, nullable=False)
            for name in ("parameters", "judges", "selection", "code", "environment", "lake_versions", "summary")
        ),
    )
    op.create_index("ix_runs_name", "runs", ["name"])
    op.create_table(
        "run_metrics",
        sa.Column("run_id", sa.String(26), sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("low", sa.Float),
        sa.Column("high", sa.Float),
        sa.Column("detail", sa.JSON, nullable=False),
    )
