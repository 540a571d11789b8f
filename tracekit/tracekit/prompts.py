r"""Registered prompts in a program: found by name, rendered with values, linked to the spans that used them.

`tracekit.prompt("support/answer@production")` asks the local store's catalog (SQLite, read-only, or PostgreSQL where
psycopg is installed) or, with an endpoint, the collector's JSON API. `{{name}}` stands for a variable; there is nothing
else to a template, and a value is never looked through for variables. `\{{` stands for two braces.

A rendered prompt belongs to the step that it is rendered in, and to every model call that begins in that step after it,
until another prompt is rendered there. One that is rendered outside of any step belongs to the next model call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracekit import _guard, _prompt_links
from tracekit.errors import NotFoundError, UsageError

Content = str | list[dict[str, Any]]

SECONDS = 60.0
"""How long an alias, or a bare name, is taken to stand for the same version."""

_TOKEN = re.compile(r"\\\{\{|\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}")
_UNCLEAR = re.compile(r"\{\{([^{}\n]*)\}\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Prompt:
    """One version of a prompt.

    Args:
        name: What it is called, such as `support/answer`.
        version: Its number; `None` for a fallback, which no catalog knows.
        content: A text, or messages with `role` and `content`.
        digest: SHA-256 of the content.
        tags: Words about it by key.
        is_fallback: Whether it is what the program brought along.

    Example:
        >>> greeting = Prompt("greeting", 2, "Say hello to {{name}}.")
        >>> greeting.render(name="Ada")
        'Say hello to Ada.'
    """

    name: str
    version: int | None
    content: Content
    digest: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_fallback: bool = False

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", digest_of_content(self.content))

    @property
    def ref(self) -> str:
        """The version as one writes it: `name@number`; the bare name of a fallback."""
        return self.name if self.version is None else f"{self.name}@{self.version}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that `render` takes, in the order in which they first appear."""
        return variables_of(self.content)

    @property
    def is_chat(self) -> bool:
        """Whether it consists of messages."""
        return not isinstance(self.content, str)

    def render(self, **variables: object) -> Any:
        """The prompt with a value for each variable, linked to the step that this code runs in.

        Args:
            variables: Texts, or numbers and booleans, which are written as Python writes them. They go in as they are:
                `{{…}}` in a value stays what it is.

        Returns:
            The text; of a prompt of messages, the list of them.

        Raises:
            UsageError: A variable has no value, a value no variable, or is no text.

        Example:
            >>> Prompt("p", 1, [{"role": "user", "content": "{{question}}"}]).render(question="{{why}}?")
            [{'role': 'user', 'content': '{{why}}?'}]
        """
        rendered = rendered_content(self.content, variables, of=self.ref)
        try:
            _prompt_links.link(self.name, None if self.version is None else str(self.version))
        except Exception:  # noqa: BLE001 - a link that fails costs no prompt
            _guard.fault("linking a prompt")
        return rendered

    def facts(self) -> dict[str, object]:
        """What an agent version keeps of it."""
        return {"ref": self.ref, "digest": self.digest, "content": self.content}


def prompt(
    ref: str,
    *,
    fallback: str | Sequence[Mapping[str, Any]] | None = None,
    ttl: float = SECONDS,
    timeout: float = 3.0,
) -> Prompt:
    r"""The version of a registered prompt that a name stands for.

    It is looked up once and kept; an alias or bare name is looked up again after `ttl` seconds, a number never. Where
    that fails, what was found before is used, else the fallback; the next try is five seconds later at the earliest.

    Args:
        ref: `name@alias`, `name@number`, or the bare name for the newest version.
        fallback: The text or messages to use where it cannot be found; without one, that raises.
        ttl: For how long an alias is taken to stand for the same version, in seconds; 0 looks it up each time.
        timeout: How long to wait for an answer, in seconds.

    Raises:
        NotFoundError: There is no such prompt, and no fallback.
        UsageError: The reference cannot be one, or the fallback is no prompt.
        StoreError: The catalog or endpoint cannot be asked, and there is no fallback.

    Example:
        >>> found = prompt("support/answer@production", fallback="Answer {{question}} briefly.")
        >>> found.render(question="Why?"), found.is_fallback
        ('Answer Why? briefly.', True)
    """
    from tracekit import _prompt_lookup  # noqa: PLC0415 - keeps `import tracekit` quick

    name, _ = split_ref(ref)
    mine = None if fallback is None else Prompt(name, None, checked_content(fallback), is_fallback=True)
    try:
        found = _prompt_lookup.find(ref, ttl=ttl, timeout=timeout)
        return Prompt(found.name, found.version, found.content, found.digest, found.tags)
    except Exception as error:
        if mine is None:
            raise
        _guard.note(f"finding the prompt {ref}", f"the prompt {ref} was not found, its fallback is used: {error}")
        return mine


def split_ref(ref: str) -> tuple[str, str]:
    """Name, and alias or number, of a reference; the second is empty for a bare name.

    Raises:
        UsageError: It cannot be a reference.

    Example:
        >>> split_ref("support/answer@production")
        ('support/answer', 'production')
    """
    name, at, wanted = ref.partition("@")
    if not _NAME.fullmatch(name) or (at and (not wanted or "@" in wanted or len(wanted) > 200 or "\0" in wanted)):
        raise UsageError(f"{ref[:80]!r} names no prompt; write it as NAME, NAME@NUMBER or NAME@ALIAS")
    return name, wanted


def digest_of_content(content: Content) -> str:
    """SHA-256 of a prompt's content, as 64 hex digits."""
    from tracekit.agent_version import digest_of  # noqa: PLC0415 - keeps `import tracekit` quick

    return digest_of({"prompt": content})


def checked_content(given: object, *, strict: bool = False) -> Content:
    r"""A prompt's content: a text, or messages each with a `role` and, as `content`, a text or parts.

    Args:
        given: What is to be one; a line ends in `\n` in what is returned, wherever it was written.
        strict: Whether `{{…}}` that names no variable is refused.

    Raises:
        UsageError: It is none, or larger than a mebibyte.

    Example:
        >>> checked_content([{"role": "user", "content": "{{question}}"}])
        [{'role': 'user', 'content': '{{question}}'}]
    """
    if isinstance(given, str):
        content: Content = _line_ends(given)
    elif isinstance(given, Sequence) and given and all(isinstance(each, Mapping) for each in given):
        content = [_message(each, place) for place, each in enumerate(given, 1)]
    else:
        raise UsageError("a prompt is a text, or a list of messages with `role` and `content`")
    texts = list(_texts(content))
    if not any(text.strip() for text in texts):
        raise UsageError("a prompt must not be empty")
    if sum(map(len, texts)) > _LARGEST:
        raise UsageError(f"a prompt has at most {_LARGEST} characters")
    if any("\0" in text for text in texts):
        raise UsageError("a prompt cannot hold a NUL character")
    if strict:
        for text in texts:
            for found in _UNCLEAR.finditer(_TOKEN.sub("", text)):
                raise UsageError(
                    f"{found[0]} names no variable: that takes letters, digits and _, and there is no logic; write "
                    "\\{{ where two braces are meant"
                )
    return content


def variables_of(content: Content) -> tuple[str, ...]:
    r"""The variables of a content, in the order in which they first appear.

    Example:
        >>> variables_of("{{b}} and {{ a }}, {{b}}, \\{{c}}")
        ('b', 'a')
    """
    found = (match[1] for text in _texts(content) for match in _TOKEN.finditer(text) if match[1])
    return tuple(dict.fromkeys(found))


def rendered_content(content: Content, variables: Mapping[str, object], *, of: str) -> Any:
    """A content with a value for each variable.

    Args:
        content: The content.
        variables: Values by name.
        of: What the content is of, for messages.

    Raises:
        UsageError: A variable has no value, a value no variable, or is no text.
    """
    wanted = variables_of(content)
    missing = [name for name in wanted if name not in variables]
    unknown = [name for name in variables if name not in wanted]
    if missing:
        raise UsageError(f"the prompt {of} needs a value for {', '.join(missing)}")
    if unknown:
        takes = ", ".join(wanted) or "none"
        raise UsageError(f"the prompt {of} has no variable {', '.join(unknown)}; it takes {takes}")
    values = {name: _text_value(name, value, of) for name, value in variables.items()}
    # One pass over the template: what a value holds is never looked at again.
    return _mapped(content, lambda text: _TOKEN.sub(lambda match: values[match[1]] if match[1] else "{{", text))


def _text_value(name: str, value: object, of: str) -> str:
    if isinstance(value, (str, int, float)):
        return str.__str__(value) if isinstance(value, str) else str(value)
    raise UsageError(f"the value of {name} for the prompt {of} is a {type(value).__name__}; make a text of it")


def _message(given: Mapping[Any, Any], place: int) -> dict[str, Any]:
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str) or not role.strip():
        raise UsageError(f"message {place} of the prompt has no role")
    parts = isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content)
    if not isinstance(content, str) and not parts:
        raise UsageError(f"message {place} of the prompt needs a text, or a list of parts, as content")
    found = _plain(given, place)
    assert isinstance(found, dict)  # noqa: S101 - a mapping becomes one
    return found


def _plain(value: object, place: int) -> object:
    if isinstance(value, str):
        return _line_ends(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, place) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, place) for item in value]
    raise UsageError(f"message {place} of the prompt holds a {type(value).__name__}, which JSON cannot")


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n")


def _texts(content: Content) -> Iterator[str]:
    found: list[str] = []

    def take(text: str) -> str:
        found.append(text)
        return text

    _mapped(content, take)
    return iter(found)


def _mapped(content: Content, change: Callable[[str], str]) -> Any:
    """A content with each text that may hold variables changed: a message's content, in all of its parts."""
    if isinstance(content, str):
        return change(content)
    return [{key: _deep(item, change) if key == "content" else item for key, item in each.items()} for each in content]


def _deep(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _deep(item, change) for key, item in value.items()}
    return [_deep(item, change) for item in value] if isinstance(value, list) else value


def known(found: Mapping[str, Any], name: str) -> Prompt:
    """The prompt in a row of the catalog, or in an answer of the API.

    Raises:
        NotFoundError: It is none.
    """
    content, number = found.get("content"), found.get("number")
    if not isinstance(content, (str, list)) or not isinstance(number, int):
        raise NotFoundError(f"what was found of the prompt {name!r} is no prompt")
    tags = found.get("tags")
    return Prompt(name, number, content, str(found.get("digest") or ""), tags if isinstance(tags, dict) else {})
