"""The manifest of a package, `package.json`: what the version is, what runs it, what it needs.

Format 1. Keys: `format`, `agent`, `label`, `entry_point`, `root` (the folder of the source that modules are imported
from), `python` (`3.11`), `code`, `parameters`, `prompts`, `tools`, `models`, `dependencies` (versions by name),
`signature` (`{"input": schema, "output": schema}`), `example` (`{"input": …, "output": …}` or null).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tracekit.errors import DecodeError

FORMAT = 1
_PYTHON = re.compile(r"3\.\d{1,2}")
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*(\(\))?")
_KINDS: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "label": (str, type(None)),
    "entry_point": (str,),
    "root": (str,),
    "python": (str,),
    "code": (dict,),
    "parameters": (dict,),
    "prompts": (dict,),
    "tools": (list, type(None)),
    "models": (list, type(None)),
    "dependencies": (dict,),
    "signature": (dict,),
    "example": (dict, type(None)),
}

Manifest = Mapping[str, Any]


def written(manifest: Manifest) -> bytes:
    """A manifest as its file: the same bytes for the same facts.

    Args:
        manifest: Its facts, without the format.
    """
    facts = {"format": FORMAT, **manifest}
    return (json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True) + "\n").encode()


def read(content: bytes) -> Manifest:
    """The facts of a manifest's file.

    Raises:
        DecodeError: It is no manifest, lacks something, or is of a format that a newer tracekit writes.
    """
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"package.json is no JSON: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise DecodeError("package.json is no manifest of a package")
    if facts["format"] > FORMAT:
        raise DecodeError(
            f"the package has the format {facts['format']}, which is newer than this tracekit; upgrade it"
        )
    for key, kinds in _KINDS.items():
        if key not in facts or not isinstance(facts[key], kinds):
            raise DecodeError(f"package.json has no {key} that can be used")
    if not _PYTHON.fullmatch(facts["python"]):
        raise DecodeError(f"package.json names the Python {facts['python']!r}; it must be such as 3.11")
    if not _ENTRY_POINT.fullmatch(facts["entry_point"]):
        raise DecodeError(f"package.json names the entry point {facts['entry_point']!r}; it must be module:callable")
    if facts["root"].startswith("/") or ".." in facts["root"].split("/"):
        raise DecodeError(f"package.json names the root {facts['root']!r}, which is outside of the package")
    return facts
