"""Lineage: what a version, run, dataset or trace came from and what came from it, as a tree and as events."""

from __future__ import annotations

import datetime
import json
import re
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tracekit.cli import main
from tracekit.errors import NotFoundError, UsageError
from tracekit.inbox import ulid
from tracekit_collector.catalog import AgentVersion, RunRecord
from tracekit_collector.lineage import dataset_lineage, run_lineage, trace_lineage, version_lineage
from tracekit_collector.lineage_tree import tree_lines
from tracekit_collector.openlineage import events, run_uuid
from tracekit_collector.store import Store

AT = datetime.datetime(2026, 1, 2, 3, 4, 5)
FACTS: dict[str, Any] = {"code": {"commit": "4f2a"}, "parameters": {"temperature": 0}, "dependencies": {"httpx": "1"}}
JUDGE = {"name": "exact", "version": "1", "digest": "e" * 64, "spec": "exact_match"}
EVIDENCE = {"verdict": "PASS", "policy": "q" * 64, "sentence": "fine", "exit_code": 0, "checks": []}

_FACET = {"type": "object", "required": ["_producer", "_schemaURL"]}
_FACETS = {"type": "object", "additionalProperties": _FACET}
_DATASET = {
    "type": "object",
    "required": ["namespace", "name"],
    "properties": {"facets": _FACETS, "inputFacets": _FACETS, "outputFacets": _FACETS},
}
# What OpenLineage 2-0-2 asks of a run event, in our words.
RUN_EVENT = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
        "producer": {"type": "string", "pattern": "^https://"},
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}},
        },
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": _FACETS},
        },
        "inputs": {"type": "array", "items": _DATASET},
        "outputs": {"type": "array", "items": _DATASET},
    },
}


def span(trace: int, number: int, **columns: object) -> dict[str, object]:
    at = AT + datetime.timedelta(seconds=trace, milliseconds=number)
    keys = {"trace_id": f"{trace:032x}", "span_id": f"{trace:08x}{number:08x}", "start_time": at}
    plain = {"name": "x", "step": "llm" if number else "agent", "start_ns": trace * 10**9 + number, "status": "ok"}
    return {**keys, **plain, "agent_name": "bot", "agent_version": "one", **columns}


def score(trace: int, run_id: str, value: float) -> dict[str, object]:
    told = {"score_id": ulid(), "time": AT, "run_id": run_id, "target": "trace", "trace_id": f"{trace:032x}"}
    judge = {"judge": "exact", "judge_digest": "e" * 64, "source": "code", "name": "exact"}
    return {**told, **judge, "value_type": "number", "value": value, "status": "scored"}


class Life:
    """A store in which a version was traced, tracked, evaluated, refused, promoted, replaced and served."""

    def __init__(self, store: Store) -> None:
        self.store = store
        catalog = store.catalog
        catalog.prompts.register("support/answer", "Be brief.")
        prompts = {"system": "Be brief.", "named": {"ref": "support/answer@1", "digest": "d", "content": "Be brief."}}
        self.one = catalog.agents.register("bot", digest="1" * 64, label="one", prompts=prompts, **FACTS)
        self.two = catalog.agents.register("bot", digest="2" * 64, label="two", prompts={"system": "?"}, **FACTS)
        self.dataset = catalog.datasets.add("sums", digest="c" * 64, cases=2, splits={})
        selection = {"dataset_name": "sums", "dataset_version": 1, "dataset_digest": "c" * 64, "cases": 2}
        self.tracked = catalog.runs.create("tune", kind="run", agent_version=self.one)
        self.nightly = self._evaluated("nightly", self.one, selection)
        self.mixed = self._evaluated("mixed", None, {"where": "true"})
        store.append("spans", self._spans())
        store.append("scores", [score(1, self.nightly.id, 1.0), score(2, self.nightly.id, 0.0)])
        store.append("scores", [score(2, self.mixed.id, 0.5), score(9, self.mixed.id, 0.5)])
        served = {"request_id": "r", "agent_name": "bot", "agent_version": "1" * 64, "endpoint": "/invocations"}
        store.append("inferences", [{**served, "time": AT, "status_code": 503}])
        self._promoted()

    def _evaluated(self, name: str, version: AgentVersion | None, selection: dict[str, Any]) -> RunRecord:
        runs = self.store.catalog.runs
        run = runs.create(name, kind="eval", agent_version=version, judges=[JUDGE], selection=selection)
        return runs.update(
            run.id, status="finished", metrics={"exact": {"value": 0.5, "low": 0.0, "high": 1.0, "n": 2}}
        )

    def _spans(self) -> list[dict[str, object]]:
        prompt = {"prompt_name": "support/answer", "prompt_version": "1"}
        return [
            span(1, 0, session_id="s-1"),
            span(1, 1, session_id="s-1", **prompt),
            span(2, 0, session_id="s-2", agent_version="1" * 64),  # named by its digest
            span(3, 0, run_id=self.tracked.id, session_id="s-2"),
            span(9, 0, agent_version="two"),
        ]

    def _promoted(self) -> None:
        agents = self.store.catalog.agents
        said = {"id": self.nightly.id, "name": "nightly", "agent_version": "bot@1"}
        agents.promotions.refuse("production", self.one, {**EVIDENCE, "verdict": "FAIL", "run": said})
        agents.set_alias("bot", "production", self.one, why="good", evidence={**EVIDENCE, "run": said})
        agents.set_alias("bot", "production", self.two, why="better")


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with Store.open(tmp_path / ".tracekit") as store:
        yield Life(store)


def test_a_version_leads_to_all_that_came_of_it(life: Life) -> None:
    found = version_lineage(life.store, life.one)
    assert found["version"]["ref"] == "bot@1"
    assert [(each["name"], each["ref"]) for each in found["from"]["prompts"]] == [
        ("system", "support/answer@1"),
        ("named", "support/answer@1"),
    ]
    assert (found["from"]["code"], found["from"]["dependencies"]) == ({"commit": "4f2a"}, {"httpx": "1"})
    to = found["to"]
    assert (to["traces"]["count"], to["traces"]["spans"]) == (3, 4)
    assert to["traces"]["first"] == AT + datetime.timedelta(seconds=1)
    assert to["traces"]["newest"] == [f"{each:032x}" for each in (3, 2, 1)]
    assert to["sessions"] == {"count": 2, "newest": ["s-2", "s-1"]}
    assert to["prompts_used"] == [{"name": "support/answer", "version": "1", "traces": 1}]
    runs = [(each["name"], each["version"], each["traces"]) for each in to["runs"]]
    assert sorted(runs) == [("mixed", None, 0), ("nightly", "bot@1", 0), ("tune", "bot@1", 1)]
    assert [(each["name"], each["version"], each["runs"]) for each in to["datasets"]] == [
        ("sums", 1, [life.nightly.id])
    ]
    assert [(each["spec"], sorted(each["runs"])) for each in to["judges"]] == [
        ("exact_match", sorted([life.nightly.id, life.mixed.id]))
    ]
    assert [(each["name"], each["judge_digest"], each["count"], each["mean"]) for each in to["scores"]] == [
        ("exact", "e" * 64, 3, 0.5)
    ]
    assert [(each["endpoint"], each["count"], each["failed"]) for each in to["inferences"]] == [("/invocations", 1, 1)]


def test_a_version_leads_to_how_it_was_promoted(life: Life) -> None:
    to = version_lineage(life.store, life.one)["to"]
    ((alias, since, until),) = [(each["alias"], each["from"], each["until"]) for each in to["aliases"]]
    assert (alias, since < until) == ("production", True)
    assert [(each["why"], each["evidence"]["run"]["id"]) for each in to["promotions"]] == [("good", life.nightly.id)]
    assert [(each["alias"], each["verdict"]) for each in to["refusals"]] == [("production", "FAIL")]
    newer = version_lineage(life.store, life.two)["to"]
    assert [(each["why"], each["until"]) for each in newer["aliases"]] == [("better", None)]


def test_the_lineage_of_what_was_deleted_stays(life: Life, capsys: pytest.CaptureFixture[str]) -> None:
    before = version_lineage(life.store, life.one)
    life.store.catalog.agents.delete(life.one)
    life.store.catalog.runs.delete(life.nightly.id)
    after = version_lineage(life.store, life.store.catalog.agents.resolve("bot@1", deleted=True))
    assert after["to"]["traces"] == before["to"]["traces"]
    assert after["to"]["scores"] == before["to"]["scores"]
    assert [each["name"] for each in after["to"]["runs"] if each["deleted_at"]] == ["nightly"]
    assert main(["agents", "lineage", "bot@1"]) == 0
    assert re.match(r"bot@1 \(one, 111111111111, deleted ", capsys.readouterr().out)


def test_a_run_leads_back_and_on(life: Life) -> None:
    found = run_lineage(life.store, life.mixed)
    assert sorted((each["ref"], each["traces"]) for each in found["from"]["versions"]) == [("bot@1", 1), ("bot@2", 1)]
    assert (found["to"]["traces"]["count"], found["to"]["metrics"]) == (2, {"exact": 0.5})
    evaluated = run_lineage(life.store, life.nightly)
    assert [each["name"] for each in evaluated["from"]["datasets"]] == ["sums"]
    assert [(each["alias"], each["version"]) for each in evaluated["to"]["promotions"]] == [("production", "bot@1")]
    assert [each["count"] for each in evaluated["to"]["scores"]] == [2]


def test_a_run_leads_to_its_children(life: Life) -> None:
    assert run_lineage(life.store, life.tracked)["to"]["children"] == []


def test_a_dataset_leads_to_runs_and_versions(life: Life) -> None:
    found = dataset_lineage(life.store, life.dataset)
    assert found["dataset"]["ref"] == "sums@1"
    assert [each["name"] for each in found["to"]["runs"]] == ["nightly"]
    assert found["to"]["versions"] == [{"ref": "bot@1", "runs": 1}]
    assert [each["spec"] for each in found["to"]["judges"]] == ["exact_match"]


def test_a_trace_leads_to_its_version_runs_and_judges(life: Life) -> None:
    tracked = trace_lineage(life.store, f"{3:032x}")
    assert [each["ref"] for each in tracked["from"]["versions"]] == ["bot@1"]
    assert [each["name"] for each in tracked["from"]["runs"]] == ["tune"]
    judged = trace_lineage(life.store, f"{2:032x}")
    assert [each["ref"] for each in judged["from"]["versions"]] == ["bot@1"]
    assert sorted(each["name"] for each in judged["to"]["judged_by"]) == ["mixed", "nightly"]
    with pytest.raises(NotFoundError, match="several traces begin with '0000'"):
        trace_lineage(life.store, "0000")
    with pytest.raises(NotFoundError, match="there is no trace 'ffff'"):
        trace_lineage(life.store, "ffff")
    with pytest.raises(UsageError, match="is no trace id"):
        trace_lineage(life.store, "' OR 1=1")


def test_names_that_look_like_sql_are_names(life: Life) -> None:
    hostile = "bot' OR '1'='1"
    version = life.store.catalog.agents.register(hostile, digest="x", label="' OR 1=1 --", prompts={}, **FACTS)
    assert version_lineage(life.store, version)["to"]["traces"]["count"] == 0


def test_what_traces_do_not_say_the_version_of_is_the_version_without_a_label(life: Life) -> None:
    life.store.append("spans", [span(20, 0, agent_name="seen", agent_version=None)])
    version = life.store.catalog.agents.see("seen", None)
    assert version_lineage(life.store, version)["to"]["traces"]["count"] == 1


def test_the_tree_shows_it_all_and_no_control_codes(life: Life) -> None:
    life.store.catalog.runs.create("\x1b[31mred", kind="run", agent_version=life.one)
    lines = tree_lines(version_lineage(life.store, life.one))
    assert lines[0] == "bot@1 (one, 111111111111)"
    assert "│  │  ├─ system: support/answer@1 " in "\n".join(lines)
    assert any(re.search(r"traces: 3, from 2026-01-02 03:04:06 to 2026-01-02 03:04:08", line) for line in lines)
    assert any(f"PASS from run nightly ({life.nightly.id})" in line for line in lines)
    assert any(r"\x1b[31mred" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    "words",
    [["runs", "lineage", "nightly"], ["datasets", "lineage", "sums@1"], ["trace", f"{3:032x}", "--lineage"]],
)
def test_commands_print_trees_and_json(life: Life, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 0
    assert "└─" in capsys.readouterr().out
    assert main([*words, "--format", "json"]) == 0
    assert "to" in json.loads(capsys.readouterr().out)


class TestOpenLineage:
    def test_events_are_what_the_specification_asks_for(self, life: Life) -> None:
        made = events(version_lineage(life.store, life.one))
        for each in made:
            jsonschema.validate(each, RUN_EVENT)
            uuid.UUID(each["run"]["runId"])
        told = [(each["eventType"], each["job"]["name"]) for each in made]
        assert sorted(told) == [
            ("COMPLETE", "eval mixed"),
            ("COMPLETE", "eval nightly"),
            ("COMPLETE", "promote bot@production"),
            ("COMPLETE", "register bot"),
            ("START", "eval mixed"),
            ("START", "eval nightly"),
            ("START", "promote bot@production"),
            ("START", "register bot"),
            ("START", "run tune"),
        ]
        assert made == events(version_lineage(life.store, life.one))

    def test_a_run_reads_the_version_and_its_dataset(self, life: Life) -> None:
        made = events(version_lineage(life.store, life.one))
        (ended,) = [each for each in made if (each["eventType"], each["job"]["name"]) == ("COMPLETE", "eval nightly")]
        inputs = [(each["name"], each["facets"]["version"]["datasetVersion"]) for each in ended["inputs"]]
        assert inputs == [("agents/bot", "1"), ("datasets/sums", "1")]
        assert ended["run"]["facets"]["tracekit_judges"]["judges"] == [JUDGE]
        assert ended["run"]["runId"] == run_uuid(life.nightly.id)

    def test_an_id_that_is_no_ulid_becomes_a_uuid_too(self) -> None:
        assert run_uuid("01ARZ3NDEKTSV4RRFFQ69G5FAV") == "01563e3a-b5d3-d676-4c61-efb99302bd5b"
        assert run_uuid("not one") == run_uuid("not one") != run_uuid("another")
        uuid.UUID(run_uuid("8" * 26))

    def test_events_are_posted_one_by_one(self, life: Life, capsys: pytest.CaptureFixture[str]) -> None:
        taken: list[tuple[str, Any]] = []

        class Marquez(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                taken.append((self.path, json.loads(body)))
                self.send_response(201 if len(taken) < 11 else 500)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = HTTPServer(("127.0.0.1", 0), Marquez)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            assert main(["agents", "lineage", "bot@1", "--to", url]) == 0
            assert capsys.readouterr().out == "9 events were taken\n"
            assert {path for path, _ in taken} == {"/api/v1/lineage"}
            assert main(["agents", "lineage", "bot@1", "--to", f"{url}/other"]) == 4
            assert "took 1 of 9 events, and then: 500" in capsys.readouterr().err
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        assert main(["agents", "lineage", "bot@1", "--to", "ftp://x"]) == 2
        assert main(["agents", "lineage", "bot@1", "--openlineage"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 9
