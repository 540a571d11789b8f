"""Runs to report on, and what a browser would make of a report."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

from tracekit_collector.catalog import RunRecord
from tracekit_collector.store import Store
from tracekit_evaluators.report.packing import unpacked

START = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
HOSTILE = (
    "<script>window.hacked = 1</script></script></style></pre></details><!-- "
    "<img src=x onerror=\"window.hacked = 1\"> <a href='javascript:window.hacked=1'>x</a> "
    "{{ 7 * 7 }} {% raw %} \x1b[31mred\x1b[0m \u202eback\u202c \x00 \x85 \u2028 \ufeff &lt; ]]> "
)


def span(trace: int, number: int = 1, *, parent: int | None = None, **columns: object) -> dict[str, object]:
    start = START + number * 1_000_000
    return {
        "trace_id": f"{trace:032x}",
        "span_id": f"{trace:08x}{number:08x}",
        "parent_span_id": None if parent is None else f"{trace:08x}{parent:08x}",
        "name": "answer",
        "kind": "internal",
        "step": "agent",
        "start_ns": start,
        "duration_ns": 40_000_000 // number,
        "status": "unset",
        **columns,
    }


def score(trace: int, value: float | None, *, name: str = "correct", **columns: object) -> dict[str, object]:
    return {
        "score_id": f"{name}-{trace}",
        "target": "trace",
        "trace_id": f"{trace:032x}",
        "judge": name,
        "judge_version": "1",
        "source": "code",
        "name": name,
        "value_type": "bool",
        "value": value,
        "passed": None if value is None else bool(value),
        "direction": "maximize",
        "status": "judge_error" if value is None else "scored",
        **columns,
    }


def kept(store: Store, name: str, spans: Iterable[dict[str, object]], scores: Iterable[dict[str, object]]) -> RunRecord:
    """A finished run of these scores over these spans."""
    from datetime import datetime, timedelta

    moment = datetime(2026, 1, 1)
    run = store.catalog.runs.create(name, kind="eval", judges=[{"name": "correct", "version": "1", "digest": "d" * 64}])
    store.append(
        "spans",
        [
            {**row, "start_time": moment + timedelta(microseconds=(int(row["start_ns"]) - START) // 1000)}
            for row in spans
        ],
    )
    rows = [{**row, "run_id": run.id, "score_id": f"{run.id}-{row['score_id']}", "time": moment} for row in scores]
    store.append("scores", rows)
    return store.catalog.runs.update(run.id, status="finished")


def noise(seed: int, length: int) -> str:
    """Letters that hardly compress."""
    letters = ""
    while len(letters) < length:
        letters += hashlib.sha256(f"{seed}/{len(letters)}".encode()).hexdigest()
    return letters[:length]


def two_runs(store: Store) -> tuple[RunRecord, RunRecord]:
    """A baseline that fails case 2 of five, and a candidate that fails cases 1 and 3."""
    runs = []
    for side, failing in enumerate(({2}, {1, 3})):
        numbers = [side * 100 + case for case in range(1, 6)]
        spans = [
            span(n, case_id=str(n % 100), input=json.dumps({"question": f"What is {n % 100}?"}), output=f"side {side}")
            for n in numbers
        ]
        scores = [score(n, float(n % 100 not in failing), explanation=f"because {n}") for n in numbers]
        runs.append(kept(store, ("before", "after")[side], spans, scores))
    return runs[0], runs[1]


class Page(HTMLParser):
    """What a browser would make of the report: elements, attributes, visible text, and the cases in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inline: dict[str, str] = {}
        self.data: dict[str, str] = {}
        self._within = ""
        self._id = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._within = tag
        self._id = dict(attributes).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script" and self._id:
            self.data[self._id] = self.data.get(self._id, "") + data
        elif self._within in {"style", "script"}:
            self.inline[self._within] = self.inline.get(self._within, "") + data
        else:
            self.words.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    @property
    def cases(self) -> list[str]:
        """The cases that are shown without JavaScript."""
        return self.attributes("data-case")

    @property
    def listed(self) -> dict[str, Any]:
        """The list of all cases."""
        found = unpacked(self.data["listing"])
        assert isinstance(found, dict)
        return found

    def shelf(self, name: str) -> list[Any]:
        """What opens under cases: `texts` or `traces`, in the order of the list."""
        shelves = unpacked(self.data["shelves"])
        assert isinstance(shelves, dict)
        found = [item for chunk in shelves[name]["names"] for item in unpacked(self.data[chunk])]
        assert len(found) == shelves[name]["end"]
        return found

    @property
    def packs(self) -> str:
        """All that is packed, as JSON."""
        return json.dumps([unpacked(data) for data in self.data.values()], ensure_ascii=False)

    def attributes(self, name: str) -> list[str]:
        return [given[name] or "" for _, given in self.tags if name in given]


def hostile_run(store: Store) -> RunRecord:
    spans = [
        span(
            1, 1, name=HOSTILE, case_id=HOSTILE, input=HOSTILE, output=HOSTILE, session_id=HOSTILE, agent_name=HOSTILE
        ),
        span(
            1,
            2,
            parent=1,
            step="tool",
            name=HOSTILE,
            tool_name=HOSTILE,
            tool_arguments=json.dumps({HOSTILE: HOSTILE}),
            tool_result=HOSTILE,
            status="error",
            status_message=HOSTILE,
            error_type=HOSTILE,
        ),
        span(
            1,
            3,
            parent=1,
            step="llm",
            name=HOSTILE,
            model=HOSTILE,
            input_messages=json.dumps([{"role": HOSTILE, "parts": [{"type": "text", "content": HOSTILE}]}]),
            output_messages=json.dumps([{"role": "assistant", "parts": [{"type": HOSTILE, "content": HOSTILE}]}]),
        ),
        span(2, 1, case_id="long", input="x" * 1_000_000, output="[" * 1_000_000),
    ]
    evidence = json.dumps([{"span_id": HOSTILE, "quote": HOSTILE}])
    scores = [
        score(1, 0.0, name=HOSTILE, explanation=HOSTILE, evidence=evidence),
        score(1, None, name="tone", value_type="label", label=HOSTILE, status="scored"),
        score(2, 1.0, name=HOSTILE, explanation="y" * 1_000_000),
    ]
    return kept(store, HOSTILE[:200], spans, scores)
