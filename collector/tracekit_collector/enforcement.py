"""What becomes of a request whose sender may not send all of it, and who its sender is.

What a role does not allow is left out and told of, as the rest of what a door refuses is; where nothing else came, the
request is refused as a whole. Records that change the catalog are given the name of who sent them, which is how the
audit log knows it after settling; a name that a sender puts there is taken out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tracekit import attributes as names
from tracekit_collector.access import AccessError, Grant
from tracekit_collector.otlp import Decoded, Refusal, serialized_again
from tracekit_collector.processors import _match

_FEEDBACK = frozenset({"user", "code", "environment", ""})
_RUNS = frozenset({names.RUN_EVENT, names.RUN_POINTS_EVENT, names.RUN_CONTENT_EVENT})
_CHANGES = _RUNS | {names.VERSION_EVENT}  # what becomes rows of the catalog
_SIGNS = tuple(sign.encode() for sign in (names.SCORE_EVENT, *sorted(_CHANGES), names.PRINCIPAL))
_REMEMBERED = 100


@dataclass
class _Found:
    refusals: list[Refusal]
    cuts: list[Refusal]
    changed: bool = False


def enforced(decoded: Decoded, grant: Grant) -> Decoded:
    """A request without what its sender may not send, and with the sender's name where that is kept.

    Args:
        decoded: The request; it is changed.
        grant: What its sender may.

    Raises:
        AccessError: Nothing of it may be sent.
    """
    if decoded.kind == "metrics" or not any(sign in decoded.payload for sign in _SIGNS):
        return decoded
    found = _Found([], [])
    act: Callable[[Any, int, Grant, _Found], bool] = _span if decoded.kind == "traces" else _record
    for _, _, items in _match.groups(decoded.request):
        places = iter(range(len(items)))
        if _match.reduce(items, lambda item, places=places: act(item, next(places), grant, found)):  # type: ignore[misc]  # a bound default
            found.changed = True
    if not found.changed:
        return decoded
    left = serialized_again(decoded)
    refused = len(found.refusals)
    if refused and not left.items:
        raise AccessError(f"{grant.who} {found.refusals[0].reason}", status=403)
    return replace(
        left,
        refusals=(*decoded.refusals, *found.refusals)[:_REMEMBERED],
        refused=decoded.refused + refused,
        cuts=(*decoded.cuts, *found.cuts)[:_REMEMBERED],
    )


def _record(record: Any, place: int, grant: Grant, found: _Found) -> bool:
    """Whether a log record has to go; one that stays is signed where it changes the catalog."""
    said = {record.event_name} if record.event_name else set(_texts(record, "event.name"))
    why = None
    if names.SCORE_EVENT in said and not _may_score(record, grant):
        why = "may not send scores of people or models; that takes the role evaluator"
    elif said & _RUNS and "judge" not in grant.rights:
        why = "may not send tracked runs; that takes the role evaluator"
    if why is not None:
        found.refusals.append(Refusal(f"log_records[{place}]", why))
        return True
    if _match.without(record.attributes, {names.PRINCIPAL}):
        found.changed = True
    bound = names.VERSION_EVENT in said and "promote" not in grant.rights
    if bound and _match.without(record.attributes, {names.VERSION_ALIAS}):
        found.cuts.append(Refusal(f"log_records[{place}]", "is kept without its alias; to move one takes an admin"))
        found.changed = True
    if said & _CHANGES and grant.actor is not None:
        record.attributes.add(key=names.PRINCIPAL).value.string_value = grant.actor
        found.changed = True
    return False


def _span(span: Any, place: int, grant: Grant, found: _Found) -> bool:
    """Take scores that may not be sent out of a span's events; the span itself stays."""
    if _match.reduce(span.events, lambda event: event.name == names.SCORE_EVENT and not _may_score(event, grant)):
        why = "is kept without its scores of people or models; they take the role evaluator"
        found.cuts.append(Refusal(f"spans[{place}]", why))
        found.changed = True
    return False


def _may_score(item: Any, grant: Grant) -> bool:
    return "judge" in grant.rights or all(text in _FEEDBACK for text in _texts(item, names.SCORE_SOURCE))


def _texts(item: Any, key: str) -> list[str]:
    """What an item says under a key, however often; `?` for what is no text, which a reader may yet make text of."""
    values = (pair.value for pair in item.attributes if pair.key == key)
    return [value.string_value if value.WhichOneof("value") == "string_value" else "?" for value in values]
