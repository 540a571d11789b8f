"""Whether the world is, after the agent, as it should be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.matching import same
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject, canonical
from tracekit_evaluators.trajectory import like, patterns, steps_of

_ABSENT = object()


@judge(needs=("final state", "expected.state"), values="{0,1}, [0,1]")
def environment_state(
    *,
    attribute: str = "tracekit.metadata.state",
    tool: str | None = None,
    ignore: list[str] | str | None = None,
    partial: bool = False,
) -> Call:
    """Whether the final state of the agent's environment is the expected one: by its fields, or by a hash.

    The state is an attribute of a span (the last that has it), or the last result of a tool. With a `state` to compare
    with, it says besides `environment_state.fields`: the share of the fields (paths to values) that are as expected.
    With a `state_hash`, the state's SHA-256 over canonical JSON (keys sorted, no spaces) is compared, or the state
    itself where it is such a hash.

    Args:
        attribute: The attribute that holds the state, as JSON or a hash.
        tool: The name or pattern of a tool whose last result is the state, instead.
        ignore: Fields that do not count, by path (`orders.1.updated_at`) or pattern.
        partial: Whether fields that are not expected may be there.

    Example:
        >>> environment_state(tool="dump_database", ignore=["*.updated_at"]).name
        'environment_state'
    """
    left_out = patterns(ignore)

    def call(subject: Subject) -> dict[str, Score]:
        actual = _state(subject, attribute, tool)
        expected = subject.expect("state", "state_hash")
        if (subject.expected or {}).get("state") is None:
            found = actual if _is_hash(actual) else state_hash(actual)
            alike = str(found).lower() == str(expected).lower()
            words = None if alike else f"the state's hash is {found}, {expected} was expected"
            return {"environment_state": Score(alike, explanation=words)}
        ours = {path: value for path, value in _fields(_decoded(actual), "") if not like(path, left_out)}
        theirs = {path: value for path, value in _fields(_decoded(expected), "") if not like(path, left_out)}
        paths = theirs if partial else {**theirs, **ours}
        wrong = [path for path in paths if not same(ours.get(path, _ABSENT), theirs.get(path, _ABSENT))]
        told = [f"{path}: {_short(ours, path)}, {_short(theirs, path)} was expected" for path in wrong[:10]]
        return {
            "environment_state": Score(not wrong, explanation="; ".join(told) or None),
            "environment_state.fields": Score(1 - len(wrong) / len(paths) if paths else 1.0),
        }

    return call


def state_hash(state: object) -> str:
    """SHA-256 of a state's canonical JSON, in hex.

    Example:
        >>> state_hash({"b": 1, "a": 2}) == state_hash('{"a": 2, "b": 1}')
        True
    """
    return hashlib.sha256(canonical(state).encode("utf-8", "replace")).hexdigest()


def _state(subject: Subject, attribute: str, tool: str | None) -> object:
    if tool is not None:
        results = [step.result for step in steps_of(subject) if like(step.tool, [tool]) and not step.failed]
        if not results or results[-1] is None:
            raise MissingInput(f"no result of {tool} shows the state")
        return results[-1]
    for span in sorted(subject.trace.spans, key=lambda span: -(span.start_ns + (span.duration_ns or 0))):
        if attribute in str(span.row.get("attributes", "")):
            found = span.attributes.get(attribute)
            if found is not None:
                return found
    raise MissingInput(f"no span has the attribute {attribute}, which should hold the state")


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) in (32, 40, 64) and all(each in "0123456789abcdef" for each in value)


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _fields(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _fields(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _fields(item, f"{path}.{place}" if path else str(place))
    else:
        yield path or "$", value


def _short(fields: Mapping[str, object], path: str) -> str:
    return json.dumps(fields[path], ensure_ascii=False, default=str)[:60] if path in fields else "nothing"
