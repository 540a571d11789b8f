"""Whether the output is JSON of a given shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject

_SHOWN = 5


@judge(needs=("output",), values="{0,1}")
def json_schema(*, schema: Mapping[str, object] | str | None = None) -> Call:
    """Whether the output is JSON that a JSON Schema accepts.

    A reference to another document is not fetched; it makes the schema unusable.

    Args:
        schema: The schema, or the path of a file that holds it; the case's `json_schema` when not given.

    Raises:
        UsageError: The schema is none, or its file cannot be read.

    Example:
        >>> json_schema(schema={"type": "object", "required": ["answer"]}).name
        'json_schema'
    """
    fixed = None if schema is None else _validator(_schema(schema))

    def call(subject: Subject) -> Score:
        text = subject.output_text
        validator = fixed or _validator(_schema(subject.expect("json_schema")))
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Score(value=False, explanation=f"the output is not JSON: {error}")
        try:
            faults = sorted(validator.iter_errors(value), key=lambda fault: fault.json_path)
        except Unresolvable as error:
            raise UsageError(f"the JSON Schema refers to {error.ref!r}, which it does not hold") from None
        lines = [f"{fault.json_path}: {fault.message[:300]}" for fault in faults[:_SHOWN]]
        if len(faults) > _SHOWN:
            lines.append(f"and {len(faults) - _SHOWN} more")
        return Score(not faults, explanation="; ".join(lines) or None)

    return call


def _schema(given: object) -> Mapping[str, object]:
    if isinstance(given, str):
        try:
            given = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"json_schema: cannot read a schema from {given}: {error}") from error
    if not isinstance(given, Mapping):
        raise UsageError(f"json_schema needs a JSON Schema (an object), not {given!r}")
    return given


def _validator(schema: Mapping[str, object]) -> Validator:
    kind = validator_for(schema)
    try:
        kind.check_schema(dict(schema))
    except SchemaError as error:
        raise UsageError(f"json_schema: this is no JSON Schema: {error.json_path}: {error.message[:300]}") from None
    # The default registry would fetch what a schema refers to from the network.
    validator: Validator = kind(dict(schema), registry=Registry())
    return validator
