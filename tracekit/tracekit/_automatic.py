"""An agent version that is found out when the first span begins: by then the program's functions are decorated.

It counts the git state, the source of every decorated function, the parameters and prompts that `init` was given, and
the installed distributions. Outside of a git repository, the whole files of the decorated functions count instead.
"""

from __future__ import annotations

import hashlib
import linecache
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import Span

from tracekit import _decorated, _guard
from tracekit import attributes as names
from tracekit._capture import clean_text
from tracekit._records import register_agent
from tracekit._runtime import runtime
from tracekit.agent_version import code_state

_GIT_SECONDS = 1.0


class Automatic:
    """Registers the process's agent version, once, and puts it on the span that is the first.

    Args:
        name: The agent's name.
        label: What the version is called; by its digest when `None`.
        parameters: Settings that change what the agent does.
        prompts: Its prompts, by name.
        identity: What spans carry, to which the version is added.
    """

    def __init__(
        self,
        name: str,
        label: str | None,
        parameters: Mapping[str, object] | None,
        prompts: Mapping[str, object] | None,
        identity: dict[str, str],
    ) -> None:
        self._name = clean_text(name)
        self._label = label
        self._parameters = parameters
        self._prompts = prompts
        self._identity = identity
        self._done = False

    def __call__(self, span: Span) -> None:
        """Register the version if this span is the first; a span that begins meanwhile waits for it."""
        try:
            with runtime.lock:  # a fork gets a new one
                if not self._done:
                    self._done = True
                    self._register()
            if runtime.relay is not None and runtime.relay.first is self:
                runtime.relay.first = None
            version, known = self._identity.get(names.AGENT_VERSION), span.attributes or {}
            if version and known.get(names.AGENT_NAME) == self._name and names.AGENT_VERSION not in known:
                span.set_attribute(names.AGENT_VERSION, version)
        except Exception:  # noqa: BLE001 - never into the code that begins a span
            _guard.fault("finding out the agent's version")

    def _register(self) -> None:
        found = register_agent(
            self._name,
            version=self._label,
            parameters=self._parameters,
            prompts=self._prompts,
            code=running_code(),
        )
        self._identity[names.AGENT_VERSION] = found.label


def running_code() -> dict[str, object]:
    """The state of the code that this process runs: of its repository or its files, and of its decorated functions."""
    codes = dict(_decorated.codes)
    state = code_state(seconds=_GIT_SECONDS)
    functions = {name: _digest(code) for name, code in sorted(codes.items())}
    if "diff" not in state:  # git does not know, or not soon enough
        files = sorted({code.co_filename for code in codes.values() if Path(code.co_filename).is_file()})
        named = state.get("sources")
        sources: dict[str, Any] = dict(named) if isinstance(named, dict) else {}
        for file in files:
            digests = code_state(file)["sources"]
            sources.update(digests if isinstance(digests, dict) else {})
        state = {**state, "sources": sources}
    return {**state, "functions": functions}


def _digest(code: types.CodeType) -> str:
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : _last_line(code)]
    if lines:
        return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()
    whole = hashlib.sha256()  # typed into an interpreter, or made by a program: no source
    for each in _nested(code):
        constants = [item for item in each.co_consts if not isinstance(item, types.CodeType)]
        whole.update(each.co_code + repr((each.co_names, constants)).encode("utf-8", "backslashreplace"))
    return whole.hexdigest()


def _last_line(code: types.CodeType) -> int:
    last = code.co_firstlineno
    for each in _nested(code):
        positions = getattr(each, "co_positions", None)  # since Python 3.11: where an expression ends, too
        ends = (end for _, end, _, _ in positions()) if positions else (line for _, _, line in each.co_lines())
        last = max(last, *(end or 0 for end in ends), 0)
    return last


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield from _nested(item)
