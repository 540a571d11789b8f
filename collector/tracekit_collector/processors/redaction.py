"""Redaction at the door: the rules of `tracekit.redaction`, for what comes from instrumentations that have none."""

from __future__ import annotations

from typing import Any

from tracekit._redacted import redact_request
from tracekit.errors import PluginError, SettingError
from tracekit.redaction import DEFAULT, Keys, Redactor, redactor


class Redaction:
    """Redacts a request in place.

    It fails closed: a request that cannot be redacted is refused, and its sender, who still has it, tries again. To
    keep it would put on the disk what should never be there; to drop it would lose what was not yet looked at.

    Args:
        rules: What to redact.
    """

    fail_closed = True

    def __init__(self, rules: Redactor) -> None:
        self._rules = rules

    def __call__(self, batch: Any) -> Any:
        """The batch as it may be seen."""
        redact_request(batch, self._rules)
        return batch


def redaction(*, rules: str | list[str] = DEFAULT, keys: str | list[str] | None = None) -> Redaction:
    """Replace credentials, and personal data if asked, by marks that say why.

    Args:
        rules: Names of rules, as for `tracekit.init(redact=…)`: `keys`, `secrets`, `personal`, `email`, `card`, …
        keys: More keys whose values are hidden, with commas between.

    Raises:
        PluginError: There is no such rule.

    Example:
        >>> from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        >>> spans = [{"name": "mail a@example.org"}]
        >>> request = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": spans}]}])
        >>> redaction(rules="email")(request).resource_spans[0].scope_spans[0].spans[0].name
        'mail [redacted: email]'
    """
    named = [part.strip() for part in rules.split(",")] if isinstance(rules, str) else list(rules)
    hidden = [part.strip() for part in keys.split(",")] if isinstance(keys, str) else list(keys or ())
    given: list[object] = [part for part in named if part]
    if hidden:
        given.append(Keys(tuple(part for part in hidden if part)))
    try:
        found = redactor(given if len(given) != 1 else given[0])
    except SettingError as error:
        raise PluginError(f"redaction: {error}") from None
    if found is None:
        raise PluginError("redaction: these rules redact nothing; leave the processor out instead")
    return Redaction(found)
