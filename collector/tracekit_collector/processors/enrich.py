"""Enrichment: attributes that a rule adds to resources, spans and log records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tracekit import attributes as names
from tracekit.errors import PluginError
from tracekit_collector.processors import _match
from tracekit_collector.processors._match import Patterns, Rule

_PLACES = ("resource", "item")
_SHORT = {"project": names.PROJECT, "environment": names.ENVIRONMENT, "service": names.SERVICE}


class Enrich:
    """Adds attributes.

    Args:
        rule: To what.
        attributes: Keys and values: text, bool, int or float.
        on: `resource`, or `item` for spans and log records.
        overwrite: Whether to replace what is there.
    """

    def __init__(self, rule: Rule, attributes: Mapping[str, object], *, on: str, overwrite: bool) -> None:
        self._rule = rule
        self._attributes = dict(attributes)
        self._on = on
        self._overwrite = overwrite

    def __call__(self, batch: Any) -> Any:
        """The batch with its new attributes."""
        for resource, scope, found in _match.groups(batch):
            for item in found:
                if not self._rule.fits(item, scope, resource.attributes):
                    continue
                if self._on == "resource":
                    self._set(resource.attributes)
                    break
                self._set(item.attributes)
        return batch

    def _set(self, pairs: Any) -> None:
        there = {pair.key for pair in pairs}
        for key, value in self._attributes.items():
            if key in there:
                if not self._overwrite:
                    continue
                _match.without(pairs, frozenset({key}))
            _fill(pairs.add(key=key).value, value)


def enrich(
    *,
    scope: Patterns | None = None,
    name: Patterns | None = None,
    when: Mapping[str, object] | str | None = None,
    on: str = "resource",
    overwrite: bool = False,
    **attributes: object,
) -> Enrich:
    """Set attributes where a rule holds; without a rule, everywhere.

    Args:
        scope: Patterns of the instrumentation scope's name.
        name: Patterns of the span's name, or of the record's event name.
        when: By key, patterns of attributes' values, as a mapping or `key=pattern;key=pattern`.
        on: `resource`, which all of its spans and records share, or `item` for those alone that the rule is about.
        overwrite: Whether to replace what is there already.
        attributes: What to set: any other parameter. `project`, `environment` and `service` stand for the keys that
            OpenTelemetry and tracekit have for these.

    Raises:
        PluginError: There is nothing to set, or a value is neither text, number nor boolean.

    Example:
        >>> from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        >>> request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [{"name": "a"}]}]}])
        >>> enrich(environment="staging")(request).resource_spans[0].resource.attributes[0].key
        'deployment.environment.name'
    """
    if on not in _PLACES:
        raise PluginError(f"enrich: on is one of {', '.join(_PLACES)}, not {on!r}")
    if not attributes:
        raise PluginError("enrich: say what to set, such as environment=production or team=search")
    for key, value in attributes.items():
        if not isinstance(value, (str, bool, int, float)):
            raise PluginError(f"enrich: {key} must be a text, number or boolean, not {json.dumps(value, default=str)}")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise PluginError(f"enrich: {key} does not fit 64 bits")
    conditions = _conditions(when) if isinstance(when, str) else when
    rule = Rule(scope=scope, name=name, attributes=conditions)
    return Enrich(rule, {_SHORT.get(key, key): value for key, value in attributes.items()}, on=on, overwrite=overwrite)


def _conditions(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for part in text.split(";"):
        key, equals, pattern = part.partition("=")
        if not equals or not key.strip():
            raise PluginError(f"enrich: when={text!r} is not key=pattern")
        found[key.strip()] = pattern.strip()
    return found


def _fill(into: Any, value: object) -> None:
    if isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int):
        into.int_value = value
    elif isinstance(value, float):
        into.double_value = value
    else:
        into.string_value = str(value)
