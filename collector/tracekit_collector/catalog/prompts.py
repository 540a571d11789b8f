"""Registered prompts: numbered versions that never change, by digest, and the aliases that move between them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from tracekit.errors import NotFoundError, UsageError
from tracekit.prompts import Content, checked_content, digest_of_content, rendered_content, split_ref, variables_of
from tracekit_collector.catalog.attempts import attempted
from tracekit_collector.catalog.audit import note, user
from tracekit_collector.catalog.promotions import check_alias
from tracekit_collector.catalog.tables import PROMPT_ALIAS_MOVES, PROMPT_ALIASES, PROMPT_VERSIONS, PROMPTS
from tracekit_collector.catalog.versions import now

Transaction = Callable[[], AbstractContextManager[Connection]]
_ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class PromptVersion:
    """One immutable state of a prompt.

    Args:
        id: Its key in the catalog.
        name: The prompt's name.
        number: 1, 2, 3 …, dense per prompt.
        digest: SHA-256 of the content: the same text is the same version.
        content: A text, or messages with `role` and `content`.
        tags: Words about it by key; free to change.
        message: Why it was made.
        created_by: Who registered it; `None` where the system knows no name.
        created_at: UTC.
    """

    id: int
    name: str
    number: int
    digest: str
    content: Content
    tags: dict[str, str]
    message: str
    created_by: str | None
    created_at: datetime.datetime

    @property
    def ref(self) -> str:
        """The version as one writes it: `name@number`."""
        return f"{self.name}@{self.number}"

    @property
    def variables(self) -> tuple[str, ...]:
        """What `render` takes, in the order of first appearance."""
        return variables_of(self.content)

    def render(self, variables: Mapping[str, object]) -> Any:
        """The text or messages with a value for each variable; see `tracekit.Prompt.render`."""
        return rendered_content(self.content, variables, of=self.ref)

    def to_dict(self) -> dict[str, object]:
        """The version as JSON takes it."""
        plain = {name: getattr(self, name) for name in ("name", "number", "digest", "content", "tags", "message")}
        more = {"variables": list(self.variables), "created_by": self.created_by, "created_at": self.created_at}
        return {"ref": self.ref, **plain, **more}


@dataclass(frozen=True)
class PromptMove:
    """One move of a prompt's alias.

    Args:
        alias: The alias.
        version: What it stood for from then on; where it was removed, what it had stood for.
        at: When, UTC.
        by: Who; `None` where nobody knows.
        why: The reason that was given.
        removed: Whether the alias went.
    """

    alias: str
    version: PromptVersion
    at: datetime.datetime
    by: str | None
    why: str | None
    removed: bool


class Prompts:
    """The registry of prompts in a catalog.

    Args:
        transaction: Gives a connection whose work is kept as a whole.
        reading: Gives a connection that only reads.
    """

    def __init__(self, transaction: Transaction, reading: Transaction) -> None:
        self._transaction = transaction
        self._reading = reading

    def register(
        self, name: str, content: object, *, tags: Mapping[str, str] | None = None, message: str = ""
    ) -> PromptVersion:
        """Register a version, or find the one that says the same, which then gets the tags besides.

        Args:
            name: The prompt, such as `support/answer`.
            content: A text, or messages with `role` and `content`; `{{name}}` stands for a variable.
            tags: Words about it by key.
            message: Why it is made.

        Raises:
            UsageError: The name or content cannot be one.
        """
        if split_ref(name)[1]:
            raise UsageError(f"{name!r} cannot be a prompt's name: the number is given by the catalog")
        held = checked_content(content, strict=True)
        if "\0" in message + "".join(f"{key}{value}" for key, value in (tags or {}).items()):
            raise UsageError("a message or tag cannot hold a NUL character")
        digest = digest_of_content(held)

        def add(connection: Connection) -> PromptVersion:
            prompt = _prompt_key(connection, name)
            mine = _versions().where(PROMPTS.c.id == prompt)
            known = _first(connection, mine.where(PROMPT_VERSIONS.c.digest == digest))
            if known is not None:
                return self._tagged(connection, known, tags or {})
            query = select(func.max(PROMPT_VERSIONS.c.number)).where(PROMPT_VERSIONS.c.prompt_id == prompt)
            number = (connection.scalar(query) or 0) + 1
            row = {"prompt_id": prompt, "number": number, "digest": digest, "content": held, "tags": dict(tags or {})}
            more = {"message": message, "created_by": user(), "created_at": now()}
            connection.execute(insert(PROMPT_VERSIONS).values(**row, **more))
            note(connection, "prompt.register", f"{name}@{number}", {"digest": digest, "message": message})
            found = _first(connection, mine.where(PROMPT_VERSIONS.c.number == number))
            assert found is not None  # noqa: S101 - it was written just now
            return found

        return attempted(self._transaction, add)

    def list(self) -> Sequence[PromptVersion]:
        """The newest version of every prompt, by name."""
        newest = (
            select(func.max(PROMPT_VERSIONS.c.number))
            .where(PROMPT_VERSIONS.c.prompt_id == PROMPTS.c.id)
            .correlate(PROMPTS)
            .scalar_subquery()
        )
        query = _versions().where(PROMPT_VERSIONS.c.number == newest).order_by(PROMPTS.c.name)
        with self._reading() as connection:
            return [_version(row) for row in connection.execute(query)]

    def versions(self, name: str) -> Sequence[PromptVersion]:
        """The versions of one prompt, by number.

        Raises:
            NotFoundError: There is no such prompt.
        """
        query = _versions().where(PROMPTS.c.name == name).order_by(PROMPT_VERSIONS.c.number)
        with self._reading() as connection:
            found = [_version(row) for row in connection.execute(query)]
        if not found:
            raise NotFoundError(f"there is no prompt {name!r}; `tracekit prompts list` shows the known ones")
        return found

    def resolve(self, ref: str) -> PromptVersion:
        """The version that `name`, `name@alias` or `name@number` stands for; a bare name is the newest one.

        Raises:
            UsageError: That cannot be a reference.
            NotFoundError: Nothing has that name.
        """
        name, wanted = split_ref(ref)
        mine = _versions().where(PROMPTS.c.name == name)
        with self._reading() as connection:
            if not wanted:
                found = _first(connection, mine.order_by(PROMPT_VERSIONS.c.number.desc()))
            elif wanted.isascii() and wanted.isdigit():
                number = int(wanted) if len(wanted) < 10 else -1
                found = _first(connection, mine.where(PROMPT_VERSIONS.c.number == number))
            else:
                named = mine.join(PROMPT_ALIASES, PROMPT_ALIASES.c.version_id == PROMPT_VERSIONS.c.id)
                found = _first(connection, named.where(PROMPT_ALIASES.c.name == wanted))
        if found is None:
            known = ", ".join([f"1 to {len(self.versions(name))}", *sorted(self.aliases(name))])
            raise NotFoundError(f"the prompt {name!r} has no version or alias {wanted!r}; it has {known}")
        return found

    def with_digests(self, digests: Iterable[str]) -> dict[str, PromptVersion]:
        """The versions that have these digests; of several, the one registered first."""
        wanted = sorted(set(digests))
        found: dict[str, PromptVersion] = {}
        with self._reading() as connection:
            for at in range(0, len(wanted), _ASKED_AT_ONCE):
                some = PROMPT_VERSIONS.c.digest.in_(wanted[at : at + _ASKED_AT_ONCE])
                for row in connection.execute(_versions().where(some).order_by(PROMPT_VERSIONS.c.id)):
                    found.setdefault(row.digest, _version(row))
        return found

    def set_alias(self, name: str, alias: str, version: PromptVersion, *, why: str | None = None) -> None:
        """Make `name@alias` stand for a version from now on, and take the move down.

        Raises:
            UsageError: The alias could be read as a number, or the version is another prompt's.
        """
        check_alias(alias)
        if version.name != name:
            raise UsageError(f"{version.ref} is no version of {name!r}")
        if "\0" in f"{alias}{why}":
            raise UsageError("an alias or reason cannot hold a NUL character")
        at = now()
        with self._transaction() as connection:
            prompt = _prompt_key(connection, name)
            mine = (PROMPT_ALIASES.c.prompt_id == prompt) & (PROMPT_ALIASES.c.name == alias)
            held = connection.scalar(select(PROMPT_ALIASES.c.version_id).where(mine))
            if held == version.id and why is None:
                return
            values = {"version_id": version.id, "moved_at": at}
            if not connection.execute(update(PROMPT_ALIASES).where(mine).values(**values)).rowcount:
                connection.execute(insert(PROMPT_ALIASES).values(prompt_id=prompt, name=alias, **values))
            move = {"prompt_id": prompt, "name": alias, **values, "moved_by": user(), "why": why}
            connection.execute(insert(PROMPT_ALIAS_MOVES).values(**move))
            note(connection, "prompt.alias", f"{name}@{alias}", {"version": version.number, "why": why})

    def remove_alias(self, name: str, alias: str, *, why: str | None = None) -> PromptVersion:
        """Let an alias stand for nothing; its history stays. Returns the version that it stood for.

        Raises:
            NotFoundError: There is no such alias.
        """
        held = self.aliases(name).get(alias)
        if held is None:
            raise NotFoundError(f"the prompt {name!r} has no alias {alias!r}")
        with self._transaction() as connection:
            prompt = _prompt_key(connection, name)
            mine = (PROMPT_ALIASES.c.prompt_id == prompt) & (PROMPT_ALIASES.c.name == alias)
            connection.execute(delete(PROMPT_ALIASES).where(mine))
            move = {"prompt_id": prompt, "name": alias, "version_id": held.id, "moved_at": now(), "moved_by": user()}
            connection.execute(insert(PROMPT_ALIAS_MOVES).values(**move, why=why, removed=True))
            note(connection, "prompt.unalias", f"{name}@{alias}", {"version": held.number, "why": why})
        return held

    def aliases(self, name: str) -> dict[str, PromptVersion]:
        """The versions that a prompt's aliases stand for."""
        query = (
            _versions(PROMPT_ALIASES.c.name.label("alias"))
            .join(PROMPT_ALIASES, PROMPT_ALIASES.c.version_id == PROMPT_VERSIONS.c.id)
            .where(PROMPTS.c.name == name)
            .order_by(PROMPT_ALIASES.c.name)
        )
        with self._reading() as connection:
            return {row.alias: _version(row) for row in connection.execute(query)}

    def history(self, name: str, alias: str | None = None) -> Sequence[PromptMove]:
        """The moves of a prompt's aliases, newest first.

        Args:
            name: The prompt.
            alias: Only this one's.

        Raises:
            NotFoundError: There is no such prompt.
        """
        self.versions(name)
        moves = PROMPT_ALIAS_MOVES.c
        query = (
            _versions(moves.name.label("alias"), moves.moved_at, moves.moved_by, moves.why, moves.removed)
            .join(PROMPT_ALIAS_MOVES, moves.version_id == PROMPT_VERSIONS.c.id)
            .where(PROMPTS.c.name == name)
            .order_by(moves.id.desc())
        )
        if alias is not None:
            query = query.where(moves.name == alias)
        with self._reading() as connection:
            return [
                PromptMove(row.alias, _version(row), row.moved_at, row.moved_by, row.why, row.removed)
                for row in connection.execute(query)
            ]

    def _tagged(self, connection: Connection, version: PromptVersion, tags: Mapping[str, str]) -> PromptVersion:
        """The version with more tags."""
        merged = {**version.tags, **tags}
        if merged == version.tags:
            return version
        mine = PROMPT_VERSIONS.c.id == version.id
        connection.execute(update(PROMPT_VERSIONS).where(mine).values(tags=merged))
        note(connection, "prompt.tag", version.ref, {"tags": dict(tags)})
        found = _first(connection, _versions().where(mine))
        assert found is not None  # noqa: S101 - it was changed just now
        return found


def _versions(*more: Any) -> Select[Any]:
    joined = PROMPT_VERSIONS.c.prompt_id == PROMPTS.c.id
    return select(PROMPT_VERSIONS, PROMPTS.c.name.label("name"), *more).join(PROMPTS, joined)


def _prompt_key(connection: Connection, name: str) -> int:
    found = connection.scalar(select(PROMPTS.c.id).where(PROMPTS.c.name == name))
    if found is None:
        made = insert(PROMPTS).values(name=name, created_at=now()).returning(PROMPTS.c.id)
        found = connection.execute(made).scalar_one()
    # PostgreSQL lets one transaction at a time past this row, so that each number goes to one version.
    connection.execute(select(PROMPTS.c.id).where(PROMPTS.c.id == found).with_for_update())
    return int(found)


def _first(connection: Connection, query: Select[Any]) -> PromptVersion | None:
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _version(row)


def _version(row: Row[Any]) -> PromptVersion:
    return PromptVersion(
        id=row.id,
        name=row.name,
        number=row.number,
        digest=row.digest,
        content=row.content,
        tags=row.tags,
        message=row.message,
        created_by=row.created_by,
        created_at=row.created_at,
    )
