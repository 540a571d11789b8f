"""From one span as it came to the derived columns of `spans`: only what that span's own data can tell.

Field by field, the filled value of the lowest rank wins, whichever dialect's key holds it. Which keys hold which fields
is the same for all spans of one shape (scope and attribute keys), so it is worked out once a shape (`plans.Plan`).
What needs the whole trace (calls counted once, content that came in log records) is `tracekit_collector.trace`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from tracekit_collector import fields, plans
from tracekit_collector._finish import finish
from tracekit_collector.dialects import NOTHING, Dialect, Event, Lift, RawSpan, Shape, installed
from tracekit_collector.plans import Plan

__all__ = ["NORMALISER_VERSION", "Event", "RawSpan", "normalise", "resource_columns"]

NORMALISER_VERSION = 2

VAGUE = frozenset({"chain", "task", "span"})  # a more specific word of a higher rank beats these
_CORRECTION = 10  # a lift of a lower rank knows better than any key
_MOST_PLANS = 4096
_MOST_KEYS = 512  # a shape with more keys is not worth remembering

_plans: dict[tuple[str, tuple[str, ...]], Plan] = {}


def normalise(span: RawSpan, *, known: Mapping[str, object] | None = None) -> dict[str, object]:
    """The derived columns of a span.

    Args:
        span: The span as it came.
        known: `resource_columns(span.resource)`, where the caller has it already.

    Returns:
        Columns of `spans` that are known, `step`, `dialect` and `normaliser_version` among them; never a guess:
        a count or cost that nobody sent is absent.

    Example:
        >>> span = RawSpan("chat", attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 57})
        >>> columns = normalise(span)
        >>> columns["step"], columns["input_tokens"], columns.get("output_tokens")
        ('llm', 57, None)
    """
    attributes = span.attributes
    shape = (span.scope_name, tuple(attributes))
    plan = _plans.get(shape)
    if plan is None:
        plan = _planned(shape)
    columns: dict[str, object] = dict(resource_columns(span.resource) if known is None else known)
    step = vague = None
    for key, meanings, other in plan.steps:
        value = attributes[key]
        if type(value) is str:
            said = meanings.get(value) or meanings.get(value.strip('"').lower(), other)
            if said in VAGUE:
                vague = vague or said
            elif said is not None:
                step = said
                break
    lifts = plan.with_events if span.events else plan.lifts
    if lifts:
        step, vague = _with_lifts(span, plan, lifts, columns, step, vague)
    else:
        for field, places in plan.single:
            for key, read in places:
                found = read(attributes[key])
                if found is not None:
                    columns[field] = found
                    break
        for field, ranked in plan.payloads:
            _keep_payload(attributes, field, ranked, columns)
    columns["step"] = finish(span, step or vague, columns, attributes)
    columns["dialect"] = plan.dialect
    columns["normaliser_version"] = NORMALISER_VERSION
    return columns


def _keep_payload(
    attributes: Mapping[str, object], field: str, ranked: tuple[plans.Place, ...], columns: dict[str, object]
) -> None:
    """The first payload that says something; else one that says that there was nothing."""
    empty = None
    for key, _, read in ranked:
        found = read(attributes[key])
        if found is None:
            continue
        if found not in fields.EMPTY:
            columns[field] = found
            return
        empty = empty or found
    if empty is not None:
        columns[field] = empty


def _with_lifts(
    span: RawSpan,
    plan: Plan,
    lifts: tuple[Lift, ...],
    columns: dict[str, object],
    step: str | None,
    vague: str | None,
) -> tuple[str | None, str | None]:
    """As the short way in `normalise`, with what lifts say; their fields take part in the order of ranks."""
    attributes = span.attributes
    best: plans.Best = {}
    steps: list[tuple[int, str]] = []
    for lift in lifts:
        for field, value in lift.read(span).items():
            if value is None:
                continue
            if field == "step":
                steps.append((lift.rank, str(value)))
            elif field not in best or lift.rank < best[field][0]:
                plans.offer(best, field, lift.rank, value if value is NOTHING else fields.READERS[field](value))
    for field, ranked in plan.ranked:
        held = best.get(field)
        for key, rank, read in ranked:
            if held is not None and held[0] <= rank:
                break
            plans.offer(best, field, rank, read(attributes[key]))
            held = best.get(field)
    columns.update({field: value for field, (_, value) in best.items() if value is not NOTHING})
    return _with_steps(attributes, plan, steps) if steps else (step, vague)


def _with_steps(
    attributes: Mapping[str, object], plan: Plan, steps: list[tuple[int, str]]
) -> tuple[str | None, str | None]:
    corrected = min((pair for pair in steps if pair[0] < _CORRECTION), default=None)
    for key, rank, meanings in plan.step_ranks:
        value = attributes[key]
        if isinstance(value, str):
            found = meanings.get(value.strip('"').lower(), meanings.get("*"))
            if found is not None:
                steps.append((rank, found))
    steps.sort()
    if corrected is not None and corrected == steps[0]:
        return corrected[1], None
    specific = next((step for _, step in steps if step not in VAGUE), None)
    return specific, next((step for _, step in steps if step in VAGUE), None)


def resource_columns(resource: Mapping[str, object]) -> dict[str, object]:
    """The columns that a resource's attributes tell for all its spans and log records."""
    best: plans.Best = {}
    places = _index().resource
    for key, value in resource.items():
        for field, rank, read in places.get(key, ()):
            plans.offer(best, field, rank, read(value))
    return {field: value for field, (_, value) in best.items()}


@lru_cache
def _dialects() -> tuple[Dialect, ...]:
    return installed()


@lru_cache
def _index() -> plans.Index:
    _plans.clear()
    return plans.index_of(_dialects())


def _planned(shape: tuple[str, tuple[str, ...]]) -> Plan:
    index = _index()
    scope_name, keys = shape
    plan = plans.plan_of(index, _dialects(), Shape(scope_name, frozenset(keys)))
    if len(keys) <= _MOST_KEYS:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        _plans[shape] = plan
    return plan
