"""What agents are made of, how they were promoted, and tracked runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from tracekit_collector.catalog import chain

revision = "004"
down_revision = "003"


def upgrade() -> None:
    """Add the columns of agents, versions and alias moves."""
    op.add_column("agents", sa.Column("description", sa.Text, nullable=False, server_default=""))
    op.add_column("agents", sa.Column("tags", sa.JSON, nullable=False, server_default="{}"))
    for column in (
        sa.Column("entry_point", sa.String(400)),
        sa.Column("tools", sa.JSON),
        sa.Column("models", sa.JSON),
        sa.Column("python", sa.String(20)),
        sa.Column("signature", sa.JSON),
        sa.Column("package", sa.String(64)),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        sa.Column("tags", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("deleted_at", sa.DateTime),
    ):
        op.add_column("agent_versions", column)
    op.add_column("alias_moves", sa.Column("why", sa.Text))
    op.add_column("alias_moves", sa.Column("evidence", sa.JSON))
    op.add_column("alias_moves", sa.Column("removed", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "alias_policies",
        sa.Column("agent_id", sa.Integer, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("gate", sa.String(400), nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("set_at", sa.DateTime, nullable=False),
        sa.Column("set_by", sa.String(200)),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("secret_env", sa.String(200)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("removed_at", sa.DateTime),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("webhook_id", sa.String(26), sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("event", sa.String(50), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("answer", sa.String(400)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("due_at", sa.DateTime, nullable=False),
        sa.Column("delivered_at", sa.DateTime),
    )
    op.create_index("ix_webhook_deliveries_status_due_at", "webhook_deliveries", ["status", "due_at"])
    op.create_table(
        "verifications",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("agent_versions.id"), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("actor", sa.String(200)),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
    )
    op.create_index("ix_verifications_version_id", "verifications", ["version_id"])
    _add_prompts()
    _add_tracking()
    _add_principals()
    _chain_audit()


def _add_prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "prompt_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("prompt_id", sa.Integer, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_by", sa.String(200)),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("prompt_id", "number"),
        sa.UniqueConstraint("prompt_id", "digest"),
    )
    op.create_table(
        "prompt_aliases",
        sa.Column("prompt_id", sa.Integer, sa.ForeignKey("prompts.id"), primary_key=True),
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("prompt_versions.id"), nullable=False),
        sa.Column("moved_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "prompt_alias_moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("prompt_id", sa.Integer, sa.ForeignKey("prompts.id"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("prompt_versions.id"), nullable=False),
        sa.Column("moved_at", sa.DateTime, nullable=False),
        sa.Column("moved_by", sa.String(200)),
        sa.Column("why", sa.Text),
        sa.Column("removed", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def _add_tracking() -> None:
    for column in (
        sa.Column("parent_id", sa.String(26)),
        sa.Column("project", sa.String(200)),
        sa.Column("tags", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("command", sa.Text),
        sa.Column("seed", sa.String(100)),
        sa.Column("error", sa.JSON),
        sa.Column("artifacts", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("writers", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("changed_at", sa.DateTime),
        sa.Column("deleted_at", sa.DateTime),
    ):
        op.add_column("runs", column)
    op.create_index("ix_runs_parent_id", "runs", ["parent_id"])


def _add_principals() -> None:
    op.create_table(
        "principals",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("disabled_at", sa.DateTime),
    )
    with op.batch_alter_table("tokens") as tokens:
        tokens.add_column(sa.Column("principal", sa.String(200)))
        tokens.add_column(sa.Column("role", sa.String(20)))
        tokens.create_foreign_key("fk_tokens_principal", "principals", ["principal"], ["name"])


def _chain_audit() -> None:
    """Number the acts that are there, oldest first, and chain them from the first on."""
    op.add_column("audit", sa.Column("number", sa.Integer))
    op.add_column("audit", sa.Column("digest", sa.String(64)))
    audit = sa.table(
        "audit",
        *(sa.column(name, sa.String) for name in ("id", "actor", "act", "target", "digest")),
        sa.column("at", sa.DateTime),
        sa.column("details", sa.JSON),
        sa.column("number", sa.Integer),
    )
    connection = op.get_bind()
    previous = chain.START
    rows = connection.execute(sa.select(audit).order_by(audit.c.at, audit.c.id)).mappings().all()
    for number, row in enumerate(rows, 1):
        previous = chain.digest(previous, {**row, "number": number})
        values = {"number": number, "digest": previous}
        connection.execute(sa.update(audit).where(audit.c.id == row["id"]).values(values))
    with op.batch_alter_table("audit") as batch:
        batch.alter_column("number", existing_type=sa.Integer, nullable=False)
        batch.alter_column("digest", existing_type=sa.String(64), nullable=False)
        batch.create_unique_constraint("uq_audit_number", ["number"])
