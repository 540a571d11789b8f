"""What tools were called with: by their schema, by what was offered and allowed, and by where the values come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from tracekit_evaluators.grounding import Known, literals
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, canonical
from tracekit_evaluators.trajectory import counted, like, patterns, steps_of

Tools = Mapping[str, Mapping[str, object]]
_SHOWN = 5
_KEPT = 512


@judge(subject="span", steps=("tool",), needs=("tool definitions",), values="{0,1}")
def tool_args_schema_valid(*, tools: list[Mapping[str, object]] | None = None) -> Call:
    """Whether a tool call's arguments are valid by the tool's recorded JSON Schema.

    Args:
        tools: Definitions (`{"name": …, "parameters": …}`) that count instead of the recorded ones.
    """
    given = None if tools is None else _by_name(tools)
    validators: dict[str, Callable[[object], list[str]]] = {}

    def call(subject: Subject) -> Score:
        name, arguments, span_id = _called(subject)
        definition = (offered(subject) if given is None else given).get(name)
        if definition is None:
            raise MissingInput(f"the trace holds no definition of {name}")
        schema = definition.get("parameters")
        if not isinstance(schema, Mapping):
            raise MissingInput(f"the definition of {name} has no schema of its arguments")
        key = canonical(schema)
        check = validators.get(key)
        if check is None:
            if len(validators) >= _KEPT:
                validators.clear()
            check = validators[key] = _check(schema, name)
        faults = check({} if arguments is None else arguments)
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        return Score(
            not faults,
            explanation="; ".join([*faults[:_SHOWN], *more]) or None,
            evidence=[Evidence(span_id, _text(arguments)[:500])] if faults else [],
        )

    return call


@judge(subject="span", steps=("tool",), needs=("tool definitions",), values="{0,1}")
def tool_exists(*, tools: list[str] | str | None = None) -> Call:
    """Whether a called tool was among those that the model was offered.

    Args:
        tools: Names that count as offered instead of the recorded definitions.
    """

    def call(subject: Subject) -> Score:
        name, _, span_id = _called(subject)
        names = set(offered(subject) if tools is None else patterns(tools))
        if not names:
            raise MissingInput("the trace does not say which tools were offered")
        if name in names:
            return Score(value=True)
        words = f"{name} was not offered; there were {', '.join(sorted(names)[:20])}"
        return Score(value=False, explanation=words, evidence=[Evidence(span_id, name)])

    return call


@judge(needs=("tool calls",), values="{0,1}, [0,1]")
def tool_permission(
    *,
    allow: list[str] | str | None = None,
    deny: list[str] | str | None = None,
    roles: Mapping[str, list[str]] | None = None,
) -> Call:
    """Whether every tool call was one that the agent may make.

    Besides it says `tool_permission.outside`: calls outside the policy over all calls.

    Args:
        allow: Names or patterns of the tools that may be called; all when neither it nor a role says.
        deny: Names or patterns of those that may not.
        roles: By role, the names or patterns that it may call; the case's expectation `role` says which one holds.
            The case's `allowed_tools` and `denied_tools` count where no parameter is given.
    """
    fixed, denied = patterns(allow), patterns(deny)

    def call(subject: Subject) -> dict[str, Score]:
        steps = steps_of(subject)
        if not steps:
            raise NotApplicable("no tool was called")
        allowed, forbidden = fixed, denied
        if roles is not None:
            role = str(subject.expect("role"))
            if role not in roles:
                raise MissingInput(f"the policy knows {', '.join(sorted(roles))}, not the role {role!r}")
            allowed = [*fixed, *patterns(roles[role])] or ["no tool at all"]
        elif allow is None and deny is None:
            subject.expect("allowed_tools", "denied_tools")  # one of them must be there
            expected = subject.expected or {}
            allowed = [str(each) for each in _listed(expected.get("allowed_tools"))]
            if not allowed and expected.get("allowed_tools") is not None:
                allowed = ["no tool at all"]
            forbidden = [str(each) for each in _listed(expected.get("denied_tools"))]
        outside = [step for step in steps if not counted(step.tool, allowed, forbidden)]
        names = ", ".join(dict.fromkeys(step.tool for step in outside))
        return {
            "tool_permission": Score(
                not outside,
                explanation=f"not permitted: {names}" if outside else None,
                evidence=[Evidence(step.span_id, step.tool) for step in outside[:10]],
            ),
            "tool_permission.outside": Score(len(outside) / len(steps), direction="minimize"),
        }

    return call


@judge(needs=("tool calls",), values="[0,1]")
def tool_arg_grounding(
    *,
    only: list[str] | str | None = None,
    ignore: list[str] | str | None = None,
    ignore_arguments: list[str] | str | None = None,
    max_words: int = 6,
) -> Call:
    """Share of the tool calls' argument values that stand in what the agent was told before.

    Told are the user's turns, the instructions, retrieved documents and the results of earlier tool calls; not the
    agent's own words. Compared are words (case, punctuation and the way numbers are written do not count). Values that
    are true, false, null, of one letter or digit, or named by the tool's definition (an enum, a default) do not count,
    and of longer texts, which an agent writes itself, none does. What was not found is listed with its call.

    Args:
        only: Names or patterns of the tools that count; all when not given.
        ignore: Names or patterns of tools that do not count.
        ignore_arguments: Names or patterns of arguments that do not count.
        max_words: The longest values that count, in words.

    Example:
        >>> tool_arg_grounding(ignore=["think"]).parameters["max_words"]
        6
    """
    within, left_out, no_keys = patterns(only), patterns(ignore), patterns(ignore_arguments)

    def call(subject: Subject) -> Score:
        steps = [step for step in steps_of(subject) if counted(step.tool, within, left_out)]
        if not steps:
            raise NotApplicable("no tool was called")
        known = Known(subject)
        definitions = offered(subject)
        count = 0
        loose: list[tuple[str | None, str, str]] = []
        for step in steps:
            schema = json.dumps(definitions.get(step.tool, {}), ensure_ascii=False)
            for key, value in literals(step.arguments, max_words=max_words):
                if like(key, no_keys) or json.dumps(value, ensure_ascii=False) in schema:
                    continue
                count += 1
                if not known.before(step, value):
                    loose.append((step.span_id, f"{step.tool}.{key}", str(value)))
        if not count:
            raise NotApplicable("no argument holds a value that could have been told")
        words = ", ".join(f"{where} = {value!r}" for _, where, value in loose[:10])
        return Score(
            1 - len(loose) / count,
            explanation=f"{count - len(loose)} of {count} values were told" + (f"; not: {words}" if loose else ""),
            evidence=[Evidence(span, value) for span, _, value in loose[:10]],
            metadata={"ungrounded": [f"{where}={value}" for _, where, value in loose[:50]]} if loose else {},
        )

    return call


def offered(subject: Subject) -> dict[str, Mapping[str, object]]:
    """The definitions of all tools that the trace's spans show, by name.

    Args:
        subject: What is judged.
    """
    found: dict[str, Mapping[str, object]] = {}
    seen: set[str] = set()
    for span in subject.trace.spans:
        text = span.row.get("tool_definitions")
        if isinstance(text, str) and text not in seen:
            seen.add(text)
            found.update(_by_name(span.offered))
    return found


def _by_name(tools: Sequence[Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
    return {str(tool["name"]): tool for tool in tools if tool.get("name")}


def _called(subject: Subject) -> tuple[str, object, str | None]:
    span = subject.span
    calls = [call for call in subject.tool_calls if call.name]
    if calls:
        return str(calls[0].name), calls[0].arguments, calls[0].span_id
    if span is None or not span.tool_name:
        raise NotApplicable("the span shows no tool call")
    text = span.row.get("tool_arguments")
    try:
        return span.tool_name, json.loads(text) if isinstance(text, str) else text, span.span_id
    except (ValueError, RecursionError):
        return span.tool_name, text, span.span_id


def _check(schema: Mapping[str, object], name: str) -> Callable[[object], list[str]]:
    kind = validator_for(schema)
    try:
        kind.check_schema(dict(schema))
    except SchemaError as error:
        raise MissingInput(f"the schema of {name} is none: {error.json_path}: {error.message[:200]}") from None
    # The default registry would fetch what a schema refers to from the network.
    validator = kind(dict(schema), registry=Registry())

    def check(arguments: object) -> list[str]:
        try:
            faults = sorted(validator.iter_errors(cast("Any", arguments)), key=lambda fault: fault.json_path)
        except Unresolvable as error:
            raise MissingInput(f"the schema of {name} refers to {error.ref!r}, which it does not hold") from None
        return [f"{fault.json_path}: {fault.message[:300]}" for fault in faults]

    return check


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _listed(given: object) -> list[object]:
    return list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
