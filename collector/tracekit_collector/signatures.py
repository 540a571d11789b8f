"""Signatures: JSON schemas of what an agent takes and gives, and where a value does not fit one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import Draft202012Validator
from referencing import Registry

from tracekit.errors import UsageError

_MOST = 10
_REASON_LIMIT = 300


class Fit:
    """Compares values with a schema.

    Args:
        schema: A JSON schema; anything fits an empty one.

    Raises:
        UsageError: It is none; says why.

    Example:
        >>> Fit({"type": "object", "properties": {"n": {"type": "integer"}}}).misfits({"n": "one"})
        [{'path': '/n', 'reason': "'one' is not of type 'integer'"}]
        >>> Fit({}).misfits(None)
        []
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._validator: Draft202012Validator | None = None
        if schema:
            try:
                Draft202012Validator.check_schema(schema)
            except SchemaError as error:
                raise UsageError(error.message) from None
            # Its own registry: a reference to somewhere else is an error, never a download.
            self._validator = Draft202012Validator(schema, registry=Registry())

    def misfits(self, value: object) -> list[dict[str, str]]:
        """Where a value does not fit: JSON pointers and reasons, ten at most."""
        found: list[dict[str, str]] = []
        if self._validator is None:
            return found
        for each in self._validator.iter_errors(value):
            error = best_match([each]) or each  # of several schemas that do not fit, what is wrong with the nearest
            path = "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
            found.append({"path": "" if path == "/" else path, "reason": _short(error.message)})
            if len(found) == _MOST:
                break
        return found


def first_misfit(found: list[dict[str, str]]) -> str:
    """The first of what does not fit, in words."""
    path, reason = found[0]["path"], found[0]["reason"]
    return f"at {path}: {reason}" if path else reason


def _short(text: str) -> str:
    return text if len(text) <= _REASON_LIMIT else f"{text[:_REASON_LIMIT]}…"
