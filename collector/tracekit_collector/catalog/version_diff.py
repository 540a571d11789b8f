"""What differs between two versions of agents: code, prompts, parameters, tools, dependencies and the rest.

Code is compared by commits and digests; where both versions are packaged and their packages are among the artifacts,
line by line. Prompts are compared by lines and by words, in which `[-gone-]` and `{+new+}` stand as git writes them.
"""

from __future__ import annotations

import difflib
import json
import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracekit_collector.catalog.versions import AgentVersion, tool_name

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_LARGEST_FILE = 1 << 20
_LARGEST_SOURCE = 32 << 20
_MOST_WORDS = 20_000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Args:
        name: What it is: a file, prompt, parameter, tool or distribution.
        change: `added`, `removed` or `changed`.
        before: What it was; `None` where it is new, or its text is in `lines`.
        after: What it is; `None` where it is gone, or its text is in `lines`.
        lines: A unified diff, where it is text.
        words: The new text with what differs marked, where it is a prompt.
    """

    name: str
    change: str
    before: object = None
    after: object = None
    lines: str | None = None
    words: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The change as JSON takes it; without `lines` and `words` where it has none."""
        told = {"name": self.name, "change": self.change, "before": self.before, "after": self.after}
        more = {"lines": self.lines, "words": self.words}
        return {**told, **{key: value for key, value in more.items() if value is not None}}


@dataclass(frozen=True)
class VersionDiff:
    """What differs between two versions.

    Args:
        before: The one.
        after: The other.
        sections: Changes by what they are of: `code`, `entry_point`, `prompts`, `parameters`, `tools`, `models`,
            `python`, `signature`, `dependencies`; nothing of what is the same.
        compared: How code was compared: `sources` line by line, or `digests`.
    """

    before: AgentVersion
    after: AgentVersion
    sections: Mapping[str, Sequence[Change]] = field(default_factory=dict)
    compared: str = "digests"

    def to_dict(self) -> dict[str, object]:
        """The difference as JSON takes it."""
        return {
            "before": self.before.ref,
            "after": self.after.ref,
            "same": not self.sections,
            "code_compared_by": self.compared,
            **{name: [change.to_dict() for change in changes] for name, changes in self.sections.items()},
        }


def version_diff(before: AgentVersion, after: AgentVersion, *, artifacts: Path | None = None) -> VersionDiff:
    """What differs between two versions.

    Args:
        before: The one.
        after: The other.
        artifacts: The store's folder of artifacts, where packages are.
    """
    sources = [_sources(artifacts, each.package) for each in (before, after)]
    if sources[0] is not None and sources[1] is not None:
        compared, code = "sources", _mapping(_state(before), _state(after)) + _texts(sources[0], sources[1])
    else:
        compared, code = "digests", _mapping(_digests(before), _digests(after))
    sections = {
        "code": code,
        "entry_point": _single("entry_point", before.entry_point, after.entry_point),
        "prompts": _texts(_plain_texts(before.prompts), _plain_texts(after.prompts), words=True),
        "parameters": _mapping(before.parameters, after.parameters),
        "tools": _mapping(_by_name(before.tools), _by_name(after.tools)),
        "models": _mapping(dict.fromkeys(before.models or ()), dict.fromkeys(after.models or ())),
        "python": _single("python", before.python, after.python),
        "signature": _mapping(before.signature or {}, after.signature or {}),
        "dependencies": _mapping(before.dependencies, after.dependencies),
    }
    return VersionDiff(before, after, {name: changes for name, changes in sections.items() if changes}, compared)


def word_diff(before: str, after: str) -> str:
    """Both texts in one: what only the first has in `[-…-]`, what only the second has in `{+…+}`.

    Example:
        >>> word_diff("Be very brief.", "Be brief and kind.")
        'Be [-very -]brief{+ and kind+}.'
    """
    one, two = _WORD.findall(before), _WORD.findall(after)
    if len(one) + len(two) > _MOST_WORDS:
        return f"[-{before}-]{{+{after}+}}"
    found: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(str.isspace, one, two, autojunk=False).get_opcodes():
        gone, new = "".join(one[i1:i2]), "".join(two[j1:j2])
        if tag == "equal":
            found.append(gone)
        else:
            found.append((f"[-{gone}-]" if gone else "") + (f"{{+{new}+}}" if new else ""))
    return "".join(found)


def _mapping(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    found = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(Change(name, REMOVED, before=before[name]))
        elif name not in before:
            found.append(Change(name, ADDED, after=after[name]))
        elif before[name] != after[name]:
            found.append(Change(name, CHANGED, before[name], after[name]))
    return found


def _single(name: str, before: object, after: object) -> list[Change]:
    if before == after:
        return []
    return [Change(name, ADDED if before is None else REMOVED if after is None else CHANGED, before, after)]


def _texts(before: Mapping[str, str], after: Mapping[str, str], *, words: bool = False) -> list[Change]:
    found = []
    for change in _mapping(before, after):
        one, two = before.get(change.name, ""), after.get(change.name, "")
        both = words and change.change == CHANGED
        told = word_diff(one, two) if both else None
        found.append(Change(change.name, change.change, lines=_lines(change.name, one, two), words=told))
    return found


def _lines(name: str, before: str, after: str) -> str:
    one, two = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(one, two, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _plain_texts(prompts: Mapping[str, object]) -> dict[str, str]:
    # A registered prompt is kept with its number; what differs is its text.
    texts = {
        name: each.get("content") if isinstance(each, dict) and "ref" in each else each
        for name, each in prompts.items()
    }
    return {
        name: text if isinstance(text, str) else json.dumps(text, indent=1, ensure_ascii=False, sort_keys=True)
        for name, text in texts.items()
    }


def _by_name(tools: Sequence[Mapping[str, Any]] | None) -> dict[str, object]:
    return {tool_name(each): each for each in tools or ()}


def _state(version: AgentVersion) -> dict[str, object]:
    """The commit, the digest of what differs from it, and the like."""
    return {key: value for key, value in version.code.items() if key != "sources" and value is not None}


def _digests(version: AgentVersion) -> dict[str, object]:
    sources = version.code.get("sources")
    return {**_state(version), **(sources if isinstance(sources, dict) else {})}


def _sources(artifacts: Path | None, package: str | None) -> dict[str, str] | None:
    """The texts of a package's sources by path; `None` where it is not there or cannot be read."""
    if artifacts is None or package is None or not re.fullmatch(r"[0-9a-f]{64}", package):
        return None
    found: dict[str, str] = {}
    left = _LARGEST_SOURCE
    try:
        with tarfile.open(artifacts / package, "r:gz") as archive:
            for member in archive:
                path, left = member.name.removeprefix("./"), left - member.size
                if left < 0:
                    return None
                if member.isfile() and path.startswith("source/"):
                    found[path.removeprefix("source/")] = _text(archive, member)
    except (OSError, tarfile.TarError, EOFError, zlib.error):
        return None
    return found


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.size > _LARGEST_FILE:
        return f"({member.size:,} bytes)\n"
    file = archive.extractfile(member)
    data = b"" if file is None else file.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(data):,} bytes, no text, crc {zlib.crc32(data):08x})\n"
