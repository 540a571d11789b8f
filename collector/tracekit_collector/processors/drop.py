"""Dropping noise: spans and log records that nobody will ask for.

A span that goes leaves its children to its own parent, as far as they are in the same request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tracekit.errors import PluginError
from tracekit_collector.processors import _match
from tracekit_collector.processors._match import Names, Patterns, Rule

Noise = Callable[[Any, str, Any], bool]

_SIGNALS = ("spans", "logs", "both")
_LONGEST_CHAIN = 10_000


class Drop:
    """Drops what is noise.

    Args:
        noise: Whether an item (with its scope's name and its resource) is noise.
        signal: `spans`, `logs` or `both`.
    """

    def __init__(self, noise: Noise, *, signal: str = "both") -> None:
        self._noise = noise
        self._signal = signal

    def __call__(self, batch: Any) -> Any:
        """The batch without noise."""
        dropped = 0
        parents: dict[tuple[bytes, bytes], bytes] = {}
        for resource, scope, found in _match.groups(batch):
            spans = hasattr(batch, "resource_spans")
            if self._signal != "both" and spans != (self._signal == "spans"):
                continue

            def is_noise(item: Any, resource: Any = resource, scope: str = scope, spans: bool = spans) -> bool:  # noqa: FBT001 - bound for the loop
                noise = self._noise(item, scope, resource.attributes)
                if noise and spans:
                    parents[item.trace_id, item.span_id] = item.parent_span_id
                return noise

            dropped += _match.reduce(found, is_noise)
        if dropped:
            _match.prune(batch)
            _adopt(batch, parents)
        return batch


def drop(
    *,
    rules: str | None = None,
    scope: Patterns | None = None,
    name: Patterns | None = None,
    keep: Patterns | None = None,
    signal: str = "both",
    **attributes: object,
) -> Drop:
    """Drop spans and log records by name, scope and attributes; all that is given has to hold.

    Args:
        rules: A ready-made set: `codex` drops what Codex CLI says of its own works, some 550 spans a run, and keeps
            turns, model calls, tool calls and whatever failed. Nothing else is given then, but `keep`.
        scope: Patterns of the instrumentation scope's name, with commas between: `codex_*`.
        name: Patterns of the span's name, or of the record's event name.
        keep: Patterns of names that are kept all the same.
        signal: `spans`, `logs` or `both`.
        attributes: Any other parameter is the key of an attribute of the item or its resource, with patterns of its
            value: `http.route=/health*`.

    Raises:
        PluginError: Nothing is asked for, which would drop everything, or there is no such set of rules.
    """
    if signal not in _SIGNALS:
        raise PluginError(f"drop: signal is one of {', '.join(_SIGNALS)}, not {signal!r}")
    spared = None if keep is None else Names(keep)
    if rules is not None:
        if rules not in _SETS:
            raise PluginError(f"drop: there is no set of rules {rules!r}; known: {', '.join(_SETS)}")
        if scope is not None or name is not None or attributes:
            raise PluginError(f"drop: rules={rules} goes with keep alone; write a second drop for other rules")
        noise, signal = _SETS[rules]
    else:
        rule = Rule(scope=scope, name=name, attributes=attributes)
        if rule.is_empty:
            raise PluginError("drop: say what to drop: scope=…, name=…, or an attribute's key; name=* drops everything")
        noise = rule.fits
    if spared is None:
        return Drop(noise, signal=signal)
    return Drop(
        lambda item, scope, resource: noise(item, scope, resource) and not spared.fit(_match.name_of(item)),
        signal=signal,
    )


_CODEX = Names("codex*")
_CODEX_KEPT = Names("session_task.*, run_turn, model_client.*")
_CODEX_KEYS = frozenset({"tool_name", "call_id"})


def _codex_noise(span: Any, scope: str, resource: Any) -> bool:
    if not _CODEX.fit(scope) and not any(
        pair.key == "service.name" and _CODEX.fit(pair.value.string_value) for pair in resource
    ):
        return False
    if span.status.code == Status.STATUS_CODE_ERROR or _CODEX_KEPT.fit(span.name):
        return False
    return not any(pair.key in _CODEX_KEYS or pair.key.startswith("gen_ai.") for pair in span.attributes)


_SETS: dict[str, tuple[Noise, str]] = {"codex": (_codex_noise, "spans")}


def _adopt(batch: Any, parents: dict[tuple[bytes, bytes], bytes]) -> None:
    """Give children of dropped spans to the nearest ancestor that stays."""
    if not parents:
        return
    for _, _, spans in _match.groups(batch):
        for span in spans:
            parent = span.parent_span_id
            for _ in range(_LONGEST_CHAIN):  # ids of hostile content may go round in circles
                above = parents.get((span.trace_id, parent))
                if above is None:
                    break
                parent = above
            if parent != span.parent_span_id:
                span.parent_span_id = parent
