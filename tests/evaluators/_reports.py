"""Runs to report on, and what a browser would make of a report."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tracekit_collector.catalog import RunRecord
from tracekit_collector.store import Store
from tracekit_evaluators.report.packing import unpacked
from tracekit_evaluators.summary import summarise

TEXT = "refund order ticket customer policy window days plan search booking flight seat bag fare class note"
WORDS = TEXT.split()
TOOLS = ("search", "book", "refund", "look up")
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


def kept(
    store: Store,
    name: str,
    spans: Iterable[dict[str, object]],
    scores: Iterable[dict[str, object]],
    **more: Any,
) -> RunRecord:
    """A finished run of these scores over these spans."""
    from datetime import datetime, timedelta

    moment = datetime(2026, 1, 1)
    run = store.catalog.runs.create(
        name, kind="eval", judges=[{"name": "correct", "version": "1", "digest": "d" * 64}], **more
    )
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


def rich_runs(store: Store, cases: int) -> tuple[RunRecord, RunRecord]:
    """Two of three versions of an agent on the same cases: four scores, two tries a case, tools, tags and costs.

    The first of the two judges is calibrated with people's labels if there are cases enough for that.
    """
    chance = random.Random(3)
    runs = []
    for side in range(3):
        spans, scores = [], []
        for case in range(min(cases, 50) if side == 0 else cases):
            for repeat in (0, 1):
                number = (side * cases + case) * 2 + repeat
                spans += _rich_spans(number, case, repeat, side, chance)
                scores += _rich_scores(number, case, repeat, side, chance)
        version = store.catalog.agents.see("bot", f"v{side + 1}", seen_at=None)
        runs.append(kept(store, f"night {side + 1}", spans, scores, agent_version=version))
        metrics = summarise(store.sql("SELECT * FROM scores WHERE run_id = ?", [runs[-1].id], settle=False).dicts())
        runs[-1] = store.catalog.runs.update(runs[-1].id, metrics=metrics)
    return runs[1], runs[2]


def _rich_spans(number: int, case: int, repeat: int, side: int, chance: random.Random) -> list[dict[str, object]]:
    took = int(chance.lognormvariate(20, 0.5))
    asked, said = (" ".join(chance.choices(WORDS, k=size)) for size in (8, 12))
    whole = {"case_id": f"case-{case}", "repeat": repeat, "input": f"{asked}?", "output": said, "duration_ns": took}
    whole |= {"agent_name": "bot", "agent_version": f"v{side + 1}"}
    tool = {"step": "tool", "tool_name": TOOLS[(case + repeat) % 4], "name": "call", "tool_result": said}
    asking = {"step": "llm", "name": "ask", "model": ("small", "large")[case % 2], "cost_usd": chance.random() / 100}
    asking |= {"input_tokens": 400 + case % 90, "output_tokens": 60 + case % 7}
    return [span(number, **whole), span(number, 2, parent=1, **tool), span(number, 3, parent=1, **asking)]


def _rich_scores(number: int, case: int, repeat: int, side: int, chance: random.Random) -> list[dict[str, object]]:
    common = {"case_id": f"case-{case}", "repeat": repeat}
    sure, likes = chance.random() < 0.8 - 0.06 * (side == 2) * (case % 4 == 0), chance.random() < 0.7
    why = f"It {'holds' if sure else 'fails'}: {' '.join(chance.choices(WORDS, k=6))}."
    judged = {"source": "llm", "judge_digest": "d" * 64, "explanation": why, "cost_usd": 0.0004, "latency_ms": 300.0}
    grade = round(min(1.0, max(0.0, chance.gauss(0.7, 0.2))), 3)
    tone = {"value_type": "label", "label": chance.choice(("warm", "plain", "cold")), "status": "scored"}
    return [
        score(number, float(sure), **common, **judged),
        score(number, float(likes), name="grounded", **common, **{**judged, "judge_digest": "e" * 64}),
        score(number, grade, name="grade", value_type="number", passed=None, **common),
        score(number, None, name="tone", passed=None, **common, **tone),
    ]


def rich_labels(baseline: RunRecord, run: RunRecord, folder: Path, store: Store) -> Path:
    """People's labels of sixty cases' first tries in both runs, which agree with `correct` nine times of ten."""
    path = folder / "labels.jsonl"
    rows = store.sql(
        "SELECT DISTINCT trace_id, case_id, value FROM scores WHERE run_id IN (?, ?) AND name = 'correct' "
        "AND repeat = 0 AND split_part(case_id, '-', 2)::INT < 60 ORDER BY trace_id",
        [baseline.id, run.id],
        settle=False,
    ).fetchall()
    with path.open("w") as file:
        for place, (trace_id, case_id, value) in enumerate(rows):
            right = bool(value) != (place % 10 == 0)
            file.write(json.dumps({"trace_id": trace_id, "case_id": case_id, "name": "correct", "value": right}) + "\n")
    return path
