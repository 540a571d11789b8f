"""A corpus of traces with faults planted by code: what a detector should find is known exactly.

Traces come in several shapes (`_shapes`). A fault is planted with a wording, a place and a way to surface that chance
picks: an exception event, a status message, a type alone, or an error that comes as an ordinary result. Among them are
clean traces that talk of errors, or look like one, and are none. One seed gives one corpus.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis import _faults, _negatives
from tracekit_evaluators.diagnosis._shapes import SHAPES, Clean, Draft
from tracekit_evaluators.diagnosis.wordings import Wording, real

if TYPE_CHECKING:
    from tracekit_collector.trace import Trace

Row = dict[str, object]
Plant = Callable[[Clean], Sequence[tuple[str, str]] | None]


@dataclass(frozen=True)
class Planted:
    """One trace of the corpus.

    Args:
        trace_id: Its id.
        shape: The agent's shape.
        rows: Its spans, as rows of the lake.
        faults: Code and span id of each fault; empty for a clean trace.
        note: How the fault surfaces, or what makes a clean trace hard.
    """

    trace_id: str
    shape: str
    rows: tuple[Row, ...]
    faults: tuple[tuple[str, str], ...]
    note: str

    def trace(self) -> Trace:
        """The trace, assembled."""
        from tracekit_collector.trace import assemble  # noqa: PLC0415 - the generator itself needs no collector

        return assemble(self.rows)


def corpus(*, seed: int = 1, traces: int = 320, wordings: Sequence[Wording] | None = None) -> list[Planted]:
    """Traces with planted faults, a fifth of them clean.

    Args:
        seed: What chance begins from.
        traces: How many, at least 40.
        wordings: How errors are worded; those of real libraries when not given.

    Example:
        >>> made = corpus(seed=7, traces=40)
        >>> len(made), sum(not each.faults for each in made)
        (40, 8)
    """
    dice = random.Random(seed)  # noqa: S311 - the same corpus from the same seed
    words = list(real() if wordings is None else wordings)
    dice.shuffle(words)
    plans = list(_plans(words))
    made = []
    for place in range(traces):
        if place % 5 == 4:
            made.append(_clean(dice, place, seed))
        else:
            code, plant = plans[(place - place // 5) % len(plans)]
            made.append(_faulty(dice, place, seed, code, plant))
    return made


def _plans(words: Sequence[Wording]) -> Iterator[tuple[str, Plant]]:
    """What to plant, one after the other: errors code by code, and between them faults that need no wording."""
    by_code: dict[str, list[Wording]] = {}
    for each in words:
        by_code.setdefault(each.code, []).append(each)
    others = list(_faults.OTHERS.items())
    for turn in range(max(len(each) for each in by_code.values())):
        for code, told in by_code.items():
            if code in _faults.WORDED:
                yield code, _worded(told[turn % len(told)], turn)
        yield from others


def _worded(wording: Wording, turn: int) -> Plant:
    return lambda made: _faults.error(made, wording, turn)


def _faulty(dice: random.Random, place: int, seed: int, code: str, plant: Plant) -> Planted:
    """A trace with the fault in it; another shape where it cannot be planted in the one that chance picked."""
    for shape in _shapes(dice):
        made = SHAPES[shape](_draft(dice, place, seed))
        faults = plant(made)
        if faults:
            return Planted(made.draft.trace_id, shape, tuple(made.draft.rows), tuple(faults), code)
    raise AssertionError(f"{code} can be planted in no shape")


def _clean(dice: random.Random, place: int, seed: int) -> Planted:
    note = sorted(_negatives.NEGATIVES)[place // 5 % len(_negatives.NEGATIVES)]
    for shape in _shapes(dice):
        made = SHAPES[shape](_draft(dice, place, seed))
        if _negatives.NEGATIVES[note](made):
            return Planted(made.draft.trace_id, shape, tuple(made.draft.rows), (), note)
    raise AssertionError(f"{note} fits no shape")


def _shapes(dice: random.Random) -> Iterator[str]:
    """Shapes to try, again and again: the tools of a trace are chance, and some faults need one of them."""
    for _ in range(50):
        yield from dice.sample(sorted(SHAPES), len(SHAPES))


def _draft(dice: random.Random, place: int, seed: int) -> Draft:
    return Draft(f"{seed % 0xFFFF:04x}{place:012x}" + dice.randbytes(8).hex(), random.Random(dice.random()))  # noqa: S311


def otlp(planted: Planted) -> dict[str, object]:
    """A trace of the corpus as an OTLP request in JSON, to be sent to a collector.

    Args:
        planted: The trace.
    """
    spans = [_otlp_span(row) for row in planted.rows]
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "corpus"}, "spans": spans}]}]}


_NAMES: Mapping[str, str] = {
    "step": "tracekit.step",
    "input": "input.value",
    "output": "output.value",
    "agent_name": "gen_ai.agent.name",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.response.model",
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "tool_definitions": "gen_ai.tool.definitions",
    "tool_name": "gen_ai.tool.name",
    "tool_call_id": "gen_ai.tool.call.id",
    "tool_arguments": "gen_ai.tool.call.arguments",
    "tool_result": "gen_ai.tool.call.result",
    "error_type": "error.type",
}


def _otlp_span(row: Mapping[str, object]) -> dict[str, object]:
    start = int(str(row["start_ns"]))
    attributes = [
        {"key": name, "value": {"stringValue": str(row[column])}}
        for column, name in _NAMES.items()
        if row.get(column) is not None
    ]
    if row.get("documents") is not None:
        attributes.append({"key": "gen_ai.retrieval.documents", "value": {"stringValue": str(row["documents"])}})
    reasons = row.get("finish_reasons")
    if isinstance(reasons, list):
        values = [{"stringValue": each} for each in reasons]
        attributes.append({"key": "gen_ai.response.finish_reasons", "value": {"arrayValue": {"values": values}}})
    events = json.loads(str(row.get("events") or "[]"))
    return {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        **({"parentSpanId": row["parent_span_id"]} if row.get("parent_span_id") else {}),
        "name": row["name"],
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + int(str(row["duration_ns"]))),
        "status": {"code": 2 if row.get("status") == "error" else 1, "message": row.get("status_message") or ""},
        "attributes": attributes,
        "events": [
            {
                "name": each["name"],
                "timeUnixNano": str(each.get("time_ns", start)),
                "attributes": [
                    {"key": key, "value": {"stringValue": str(value)}} for key, value in each["attributes"].items()
                ],
            }
            for each in events
        ],
    }
