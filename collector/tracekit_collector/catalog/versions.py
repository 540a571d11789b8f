"""One agent version as the catalog keeps it, and how it is found there."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from tracekit.errors import UsageError
from tracekit_collector.catalog.tables import AGENTS, VERSIONS

_TOLD = ("code", "parameters", "prompts", "dependencies", "entry_point", "tools", "models", "python", "signature")


_LONGEST = {"name": 200, "label": 200, "digest": 64, "entry_point": 400, "python": 20}


@dataclass(frozen=True)
class AgentVersion:
    """One immutable state of an agent.

    Args:
        id: Its key in the catalog.
        agent: The agent's name.
        number: 1, 2, 3 … in the order of first sight, dense per agent.
        label: The version's name as spans carry it; `None` where only the digest is known.
        digest: SHA-256 over what it consists of; `None` where it was only seen in a trace.
        source: `registered` by someone, or `seen` in a trace that named it.
        code: Git commit, branch, dirty flag and the like.
        parameters: What the agent was configured with.
        prompts: Prompt texts by name.
        dependencies: Versions by distribution.
        created_at: When the catalog first had it, UTC.
        entry_point: What is called to run it, `module:callable`; `None` where nobody said.
        tools: Definitions of its tools; `None` where nobody said.
        models: Names of its models; `None` where nobody said.
        python: The Python that it runs on; `None` where nobody said.
        signature: JSON schemas of `input` and `output`; `None` where nobody said.
        package: SHA-256 of the artifact that holds it packaged; `None` where it was not packaged.
        description: What people say about it, in Markdown; free to change.
        tags: Words about it by key; free to change.
        deleted_at: When it was deleted, UTC; `None` where it was not.
    """

    id: int
    agent: str
    number: int
    label: str | None
    digest: str | None
    source: str
    code: dict[str, object]
    parameters: dict[str, object]
    prompts: dict[str, object]
    dependencies: dict[str, object]
    created_at: datetime.datetime
    entry_point: str | None = None
    tools: list[dict[str, object]] | None = None
    models: list[str] | None = None
    python: str | None = None
    signature: dict[str, object] | None = None
    package: str | None = None
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    deleted_at: datetime.datetime | None = None

    @property
    def ref(self) -> str:
        """The version as one writes it: `name@number`."""
        return f"{self.agent}@{self.number}"

    def facts(self) -> dict[str, object]:
        """What it consists of, by name; what nobody said is left out."""
        told = {name: getattr(self, name) for name in _TOLD}
        return {name: value for name, value in told.items() if value is not None}


def now() -> datetime.datetime:
    """The time as the catalog writes it: UTC, without a zone."""
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def agent_key(connection: Connection, name: str, at: datetime.datetime) -> int:
    """The key of an agent, made where there is none; the agent stays with this transaction alone until it ends.

    Raises:
        UsageError: The name cannot be an agent's: it is empty, holds `@`, or is too long.
    """
    if not name.strip() or "@" in name:
        raise UsageError(f"{name!r} cannot be an agent's name: it must not be empty or hold '@'")
    check_lengths(name=name)
    found = connection.scalar(select(AGENTS.c.id).where(AGENTS.c.name == name))
    if found is None:
        added = insert(AGENTS).values(name=name, created_at=at).returning(AGENTS.c.id)
        found = connection.execute(added).scalar_one()
    # PostgreSQL lets one transaction at a time past this row, so that each number goes to one version.
    connection.execute(select(AGENTS.c.id).where(AGENTS.c.id == found).with_for_update())
    return int(found)


def select_versions(*more: Any) -> Select[Any]:
    """The query for versions with their agents' names, and for more columns where they are given."""
    return select(VERSIONS, AGENTS.c.name.label("agent"), *more).join(AGENTS, AGENTS.c.id == VERSIONS.c.agent_id)


def first_version(connection: Connection, query: Select[Any]) -> AgentVersion | None:
    """The first by number that a query finds."""
    row = connection.execute(query.order_by(VERSIONS.c.number).limit(1)).first()
    return None if row is None else version_of(row)


def version_with_key(connection: Connection, key: int) -> AgentVersion:
    """The version that has this key."""
    return version_of(connection.execute(select_versions().where(VERSIONS.c.id == key)).one())


def version_named(connection: Connection, agent: int, label: str | None) -> AgentVersion | None:
    """The version that a sender means by a label or digest: a label is what it chose to call it, so it comes first."""
    mine = select_versions().where(VERSIONS.c.agent_id == agent)
    if label is None:
        return first_version(connection, mine.where(VERSIONS.c.label.is_(None)))
    found = first_version(connection, mine.where(VERSIONS.c.label == label))
    return found or first_version(connection, mine.where(VERSIONS.c.digest == label))


def version_of(row: Row[Any]) -> AgentVersion:
    """The version in a row of `select_versions`."""
    return AgentVersion(
        id=row.id,
        agent=row.agent,
        number=row.number,
        label=row.label,
        digest=row.digest,
        source=row.source,
        created_at=row.created_at,
        package=row.package,
        description=row.description,
        tags=row.tags,
        deleted_at=row.deleted_at,
        **{name: getattr(row, name) for name in _TOLD},
    )


def tool_name(definition: Mapping[str, Any]) -> str:
    """The name in a tool's definition, wherever its format has it; `?` where it has none.

    Example:
        >>> tool_name({"type": "function", "function": {"name": "search"}})
        'search'
    """
    inner = definition.get("function")
    return str(definition.get("name") or (inner.get("name") if isinstance(inner, dict) else None) or "?")


def check_lengths(**texts: str | None) -> None:
    """Refuse what a column cannot hold: databases differ in what they would do with it.

    Raises:
        UsageError: A text is longer than its column, or holds a NUL.
    """
    for name, text in texts.items():
        longest = _LONGEST[name]
        if text is not None and (len(text) > longest or "\0" in text):
            raise UsageError(f"the {name.replace('_', ' ')} {text[:40]!r}… is longer than {longest} or holds a NUL")


def told(facts: Mapping[str, object]) -> dict[str, object]:
    """Facts without those that nobody gave, as a row takes them."""
    return {name: value for name, value in facts.items() if value is not None}
