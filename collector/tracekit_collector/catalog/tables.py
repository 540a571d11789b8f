"""The catalog's tables: the few rows of a store that change, under transactions."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

AGENTS = Table(
    "agents",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", DateTime, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("tags", JSON, nullable=False, server_default="{}"),
)

VERSIONS = Table(
    "agent_versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("agent_id", ForeignKey("agents.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("label", String(200)),
    Column("digest", String(64)),
    Column("source", String(20), nullable=False),  # registered | seen
    Column("code", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("prompts", JSON, nullable=False),
    Column("dependencies", JSON, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("entry_point", String(400)),  # module:callable
    Column("tools", JSON),
    Column("models", JSON),
    Column("python", String(20)),
    Column("signature", JSON),
    Column("package", String(64)),  # the digest of the artifact that holds the packaged version
    Column("description", Text, nullable=False, server_default=""),
    Column("tags", JSON, nullable=False, server_default="{}"),
    Column("deleted_at", DateTime),
    UniqueConstraint("agent_id", "number"),
    UniqueConstraint("agent_id", "label"),
    UniqueConstraint("agent_id", "digest"),
)

ALIASES = Table(
    "aliases",
    METADATA,
    Column("agent_id", ForeignKey("agents.id"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("version_id", ForeignKey("agent_versions.id"), nullable=False),
    Column("moved_at", DateTime, nullable=False),
)

ALIAS_MOVES = Table(
    "alias_moves",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("agent_id", ForeignKey("agents.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("version_id", ForeignKey("agent_versions.id"), nullable=False),
    Column("moved_at", DateTime, nullable=False),
    Column("moved_by", String(200)),
    Column("why", Text),
    Column("evidence", JSON),
    Column("removed", Boolean, nullable=False, server_default=false()),  # the alias went, from this version
)

ALIAS_POLICIES = Table(  # what must hold before an alias may move
    "alias_policies",
    METADATA,
    Column("agent_id", ForeignKey("agents.id"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("gate", String(400), nullable=False),  # the plugin that judges by it
    Column("policy", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("set_at", DateTime, nullable=False),
    Column("set_by", String(200)),
)

WEBHOOKS = Table(
    "webhooks",
    METADATA,
    Column("id", String(26), primary_key=True),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("secret_env", String(200)),  # the name of the variable that holds the secret, never the secret
    Column("created_at", DateTime, nullable=False),
    Column("removed_at", DateTime),
)

WEBHOOK_DELIVERIES = Table(  # written in the transaction of the change that they tell
    "webhook_deliveries",
    METADATA,
    Column("id", String(26), primary_key=True),
    Column("webhook_id", ForeignKey("webhooks.id"), nullable=False),
    Column("event", String(50), nullable=False),
    Column("body", Text, nullable=False),
    Column("status", String(20), nullable=False),  # waiting | delivered | failed
    Column("attempts", Integer, nullable=False),
    Column("answer", String(400)),  # what came of the last attempt
    Column("created_at", DateTime, nullable=False),
    Column("due_at", DateTime, nullable=False),
    Column("delivered_at", DateTime),
    Index(None, "status", "due_at"),
)

VERIFICATIONS = Table(  # that a packaged version was built anew, and what came of it
    "verifications",
    METADATA,
    Column("id", String(26), primary_key=True),
    Column("version_id", ForeignKey("agent_versions.id"), nullable=False),
    Column("at", DateTime, nullable=False),
    Column("actor", String(200)),
    Column("passed", Boolean, nullable=False),
    Column("details", JSON, nullable=False),
    Index(None, "version_id"),
)

PROMPTS = Table(
    "prompts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", DateTime, nullable=False),
)

PROMPT_VERSIONS = Table(
    "prompt_versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("content", JSON, nullable=False),  # a text, or a list of messages
    Column("tags", JSON, nullable=False),
    Column("message", Text, nullable=False),  # why it was made
    Column("created_by", String(200)),
    Column("created_at", DateTime, nullable=False),
    UniqueConstraint("prompt_id", "number"),
    UniqueConstraint("prompt_id", "digest"),
)

PROMPT_ALIASES = Table(
    "prompt_aliases",
    METADATA,
    Column("prompt_id", ForeignKey("prompts.id"), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("version_id", ForeignKey("prompt_versions.id"), nullable=False),
    Column("moved_at", DateTime, nullable=False),
)

PROMPT_ALIAS_MOVES = Table(
    "prompt_alias_moves",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("version_id", ForeignKey("prompt_versions.id"), nullable=False),
    Column("moved_at", DateTime, nullable=False),
    Column("moved_by", String(200)),
    Column("why", Text),
    Column("removed", Boolean, nullable=False, server_default=false()),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", String(26), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("kind", String(20), nullable=False),  # eval | import | run
    Column("status", String(20), nullable=False),  # running | finished | failed
    Column("created_at", DateTime, nullable=False),
    Column("finished_at", DateTime),
    Column("version_id", ForeignKey("agent_versions.id")),
    Column("parameters", JSON, nullable=False),
    Column("judges", JSON, nullable=False),
    Column("selection", JSON, nullable=False),
    Column("code", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("lake_versions", JSON, nullable=False),
    Column("summary", JSON, nullable=False),
    Column("parent_id", String(26)),  # no foreign key: a child's records may arrive before its parent's
    Column("project", String(200)),
    Column("tags", JSON, nullable=False, server_default="{}"),  # null where a tag was taken away
    Column("command", Text),
    Column("seed", String(100)),
    Column("error", JSON),
    Column("artifacts", JSON, nullable=False, server_default="{}"),
    Column("writers", JSON, nullable=False, server_default="{}"),  # the processes that said something, and when
    Column("changed_at", DateTime),
    Column("deleted_at", DateTime),
    Index(None, "name"),
    Index(None, "parent_id"),
)

METRICS = Table(
    "run_metrics",
    METADATA,
    Column("run_id", ForeignKey("runs.id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("value", Float),
    Column("low", Float),
    Column("high", Float),
    Column("detail", JSON, nullable=False),
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("digest", String(32), primary_key=True),
    Column("settled_at", DateTime, nullable=False),
    Index(None, "settled_at"),
)

PRINCIPALS = Table(  # people and services that act
    "principals",
    METADATA,
    Column("name", String(200), primary_key=True),
    Column("kind", String(20), nullable=False),  # person | service
    Column("created_at", DateTime, nullable=False),
    Column("disabled_at", DateTime),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),  # the token's own beginning, which is no secret
    Column("digest", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),  # of write, read, admin
    Column("project", String(200)),
    Column("created_at", DateTime, nullable=False),
    Column("expires_at", DateTime),
    Column("revoked_at", DateTime),
    Column("principal", ForeignKey("principals.name")),
    Column("role", String(20)),  # reader | writer | evaluator | admin; null where the scopes say all
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", String(26), primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("actor", String(200)),
    Column("act", String(50), nullable=False),
    Column("target", String(400), nullable=False),
    Column("details", JSON, nullable=False),
    Column("number", Integer, nullable=False, unique=True),  # 1, 2, 3 … in the order of the acts
    Column("digest", String(64), nullable=False),  # over this row and the digest of the row before
    Index(None, "at"),
)

UNSAMPLED = Table(
    "unsampled_traces",
    METADATA,
    Column("trace_id", String(32), primary_key=True),
    Column("decided_at", DateTime, nullable=False),
    Index(None, "decided_at"),
)

MARKS = Table(  # how far a job that goes over the store again and again has come
    "marks",
    METADATA,
    Column("name", String(100), primary_key=True),
    Column("value", String(400), nullable=False),
    Column("moved_at", DateTime, nullable=False),
)

DATASETS = Table(
    "datasets",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", DateTime, nullable=False),
)

DATASET_VERSIONS = Table(
    "dataset_versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("dataset_id", ForeignKey("datasets.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False),  # of the artifact that holds the cases
    Column("cases", Integer, nullable=False),
    Column("splits", JSON, nullable=False),  # cases by split
    Column("note", String(1000), nullable=False),
    Column("created_by", String(200)),
    Column("created_at", DateTime, nullable=False),
    UniqueConstraint("dataset_id", "number"),
)
