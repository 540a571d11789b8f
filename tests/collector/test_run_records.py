"""Runs from the program to the store: through the inbox and an endpoint, once, and whatever happens to processes."""

from __future__ import annotations

import datetime
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tracekit import attributes as names
from tracekit.inbox import Record, SegmentWriter, read_segment, segments
from tracekit_collector import run_records
from tracekit_collector.catalog import Catalog
from tracekit_collector.run_news import RunNews, merged, status_of
from tracekit_collector.service import Collector
from tracekit_collector.store import Store

NOON = datetime.datetime(2026, 1, 1, 12)
RUN = "01M850CF81S5593VPA5JWYQZSV"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def start(source: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Some Python in a process of its own, whose output is read line by line."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)],
        cwd=folder,
        env={**os.environ, "TRACEKIT_STORE": str(folder / "store"), **environment},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def run(source: str, folder: Path, **environment: str) -> str:
    process = start(source, folder, **environment)
    said, _ = process.communicate(timeout=40)
    assert process.returncode == 0
    return said.strip()


def requests(store: Store) -> list[bytes]:
    return [
        item.payload
        for path in segments(store.inbox)
        for item in read_segment(path)
        if path.suffix == ".logs" and isinstance(item, Record)
    ]


LOGGED = """
    import math, pathlib, tracekit
    with tracekit.run("tune", params={"rate": 0.1}, tags={"team": "x"}, seed=7) as run:
        for step, value in enumerate((1.0, math.nan, None, math.inf, 0.25)):
            run.log_metric("loss", value, step=step)
        with tracekit.span("inside"):
            pass
        pathlib.Path("big.bin").write_bytes(bytes(range(256)) * 5_000)
        run.log_artifact("big.bin")
        with tracekit.run("part") as child:
            child.log_metric("loss", 3.0)
    print(run.id)
"""


def check_logged(store: Store, run_id: str) -> None:
    """What `LOGGED` has to come to."""
    record = store.catalog.runs.find("tune")
    assert (record.id, record.kind, record.status, record.stale) == (run_id, "run", "finished", False)
    assert (record.parameters, record.tags, record.seed) == ({"rate": 0.1}, {"team": "x"}, "7")
    assert record.finished_at is not None
    assert record.created_at <= record.finished_at
    assert record.environment["python"]
    told = record.artifacts["big.bin"]
    assert (store.artifacts / str(told["sha256"])).read_bytes() == bytes(range(256)) * 5_000
    (child,) = store.catalog.runs.list(parent_id=run_id)
    assert child.name == "part"
    rows = store.sql("SELECT step, value FROM points WHERE run_id = ? ORDER BY step", [run_id]).fetchall()
    assert [step for step, _ in rows] == [0, 1, 2, 3, 4]
    assert [str(value) for _, value in rows] == ["1.0", "nan", "None", "inf", "0.25"]
    assert store.sql("SELECT run_id FROM spans WHERE name = 'inside'").fetchall() == [(run_id,)]
    assert store.sql("SELECT count(*) FROM logs").fetchone() == (0,)
    query = "SELECT value, n, last_step FROM run_metrics WHERE run_id = ? AND name = 'loss'"
    assert store.sql(query, [run_id]).fetchone() == (0.25, 5, 4)


class TestAProgram:
    def test_logs_through_the_inbox(self, store: Store, tmp_path: Path) -> None:
        run_id = run(LOGGED, tmp_path)
        assert store.settle().points == 6
        check_logged(store, run_id)

    def test_logs_through_an_endpoint(self, store: Store, tmp_path: Path) -> None:
        """Artifacts come too, in parts; a name is asked of the collector."""
        with Collector(store, port=0, settle_every=0.05) as collector:
            run_id = run(LOGGED, tmp_path, TRACEKIT_ENDPOINT=collector.url, TRACEKIT_STORE=str(tmp_path / "none"))
            store.settle()
            again = run(
                "import tracekit\nwith tracekit.run(resume='tune') as run: print(run.id)",
                tmp_path,
                TRACEKIT_ENDPOINT=collector.url,
            )
        store.settle()
        assert again == run_id
        check_logged(store, run_id)
        assert not (tmp_path / "none").exists()
        assert list((store.artifacts / ".parts").iterdir()) == []

    def test_what_is_said_twice_counts_once(self, store: Store, tmp_path: Path) -> None:
        """The same bytes are known by their digest; the same records in other requests by their keys."""
        run_id = run(LOGGED, tmp_path)
        said = requests(store)
        store.settle()
        whole = ExportLogsServiceRequest()
        for payload in said:
            whole.MergeFromString(payload)
        writer = SegmentWriter(store.inbox, "logs")
        writer.append(*said, whole.SerializeToString())
        writer.close()
        settled = store.settle()
        assert (settled.requests, settled.repeated) == (1 if len(said) > 1 else 0, len(said) + (len(said) == 1))
        check_logged(store, run_id)

    def test_that_is_killed_leaves_a_run_that_is_stale_and_can_go_on(self, store: Store, tmp_path: Path) -> None:
        process = start(
            """
            import tracekit
            with tracekit.run("tune") as run:
                run.log_metric("loss", 1.0, step=0)
                tracekit.flush()
                print(run.id, flush=True)
                input()
            """,
            tmp_path,
        )
        with process:
            assert process.stdout is not None
            run_id = process.stdout.readline().strip()
            store.settle()
            record = store.catalog.runs.find("tune")
            assert (record.status, record.stale) == ("running", False)
            process.send_signal(signal.SIGKILL)
            process.wait()
        record = store.catalog.runs.find("tune")
        assert (record.id, record.status, record.stale, record.finished_at) == (run_id, "running", True, None)
        run("import tracekit\nwith tracekit.run(resume='tune') as run: run.log_metric('loss', 0.5, step=1)", tmp_path)
        rows = store.sql("SELECT step, value FROM points WHERE run_id = ? ORDER BY step", [run_id]).fetchall()
        assert rows == [(0, 1.0), (1, 0.5)]
        record = store.catalog.runs.find("tune")
        assert (record.id, record.status, record.stale) == (run_id, "finished", False)
        assert len(store.catalog.runs.list()) == 1

    def test_that_has_several_processes_has_one_run(self, store: Store, tmp_path: Path) -> None:
        source = """
            import os, sys, tracekit
            with tracekit.run(resume=sys.stdin.readline().strip() or None) as run:
                tracekit.flush()
                print(run.id, flush=True)
                for step in range(500):
                    run.log_metric(f"loss-{os.environ['WHICH']}", step / 2, step=step)
                sys.stdin.readline()
        """
        first = start(source.replace("tracekit.run(", "tracekit.run('many', "), tmp_path, WHICH="0")
        with first:
            assert first.stdin is not None
            assert first.stdout is not None
            first.stdin.write("\n")
            first.stdin.flush()
            run_id = first.stdout.readline().strip()
            others = [start(source, tmp_path, WHICH=str(each)) for each in (1, 2)]
            others.append(start(source, tmp_path, WHICH="3", TRACEKIT_RUN_ID=run_id))
            for place, process in enumerate(others):
                process.communicate("\n\n" if place == 2 else f"{run_id}\n\n", timeout=40)
                assert process.returncode == 0
            store.settle()
            assert store.catalog.runs.find(run_id).status == "running"  # the first one is at work still
            first.communicate("\n", timeout=40)
        store.settle()
        (record,) = store.catalog.runs.list()
        assert (record.id, record.name, record.status) == (run_id, "many", "finished")
        rows = store.sql("SELECT name, count(*), sum(value) FROM points GROUP BY name ORDER BY name").fetchall()
        assert rows == [(f"loss-{each}", 500, 62375.0) for each in range(4)]

    def test_that_fails_says_why(self, store: Store, tmp_path: Path) -> None:
        source = """
            import tracekit
            try:
                with tracekit.run("tune"):
                    raise KeyError("prompt")
            except KeyError:
                pass
        """
        run(source, tmp_path)
        store.settle()
        record = store.catalog.runs.find("tune")
        assert (record.status, record.error) == ("failed", {"type": "KeyError", "message": "'prompt'"})


class TestHostileRecords:
    def request(self, event: str, body: bytes | None = None, **said: Any) -> ExportLogsServiceRequest:
        request = ExportLogsServiceRequest()
        record = request.resource_logs.add().scope_logs.add().log_records.add(event_name=event, time_unix_nano=1)
        for key, value in said.items():
            pair = record.attributes.add(key="tracekit.run." + key.replace("_", "."))
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
        if body is not None:
            record.body.bytes_value = body
        return request

    @pytest.mark.parametrize(
        ("event", "said", "body"),
        [
            (names.RUN_EVENT, {"id": "../../etc"}, None),
            (names.RUN_EVENT, {"id": "01m850cf81s5593vpa5jwyqzsv"}, None),
            (names.RUN_POINTS_EVENT, {"id": RUN}, b"tkp1 and nothing"),
            (names.RUN_POINTS_EVENT, {"id": RUN}, None),
            (names.RUN_CONTENT_EVENT, {"content_sha256": "../x", "content_part": 0, "content_parts": 1}, b"x"),
            (names.RUN_CONTENT_EVENT, {"content_sha256": "0" * 64, "content_part": 5, "content_parts": 1}, b"x"),
            (names.RUN_CONTENT_EVENT, {"content_sha256": "0" * 64, "content_part": 0, "content_parts": 1 << 40}, b"x"),
        ],
    )
    def test_what_is_no_word_of_a_run_stays_a_log_record(self, store: Store, event, said, body) -> None:
        writer = SegmentWriter(store.inbox, "logs")
        writer.append(self.request(event, body, **said).SerializeToString())
        writer.close()
        settled = store.settle()
        assert (settled.logs, settled.points, settled.quarantined) == (1, 0, 0)
        assert store.catalog.runs.list() == []
        assert list(store.artifacts.iterdir()) == []

    def test_content_that_is_not_what_its_name_says_is_not_kept(self, tmp_path: Path, caplog) -> None:
        said = {"content_sha256": "0" * 64, "content_part": 0, "content_parts": 1}
        run_records.read(self.request(names.RUN_CONTENT_EVENT, b"x", **said), received_ns=1, artifacts=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".parts"]
        assert "it is not kept" in caplog.text

    def test_parts_whose_rest_never_came_are_forgotten(self, tmp_path: Path) -> None:
        said = {"content_sha256": "0" * 64, "content_part": 0, "content_parts": 2}
        run_records.read(self.request(names.RUN_CONTENT_EVENT, b"x", **said), received_ns=1, artifacts=tmp_path)
        assert run_records.forget_parts(tmp_path, before=0) == 0
        assert run_records.forget_parts(tmp_path, before=math.inf) == 1
        assert list((tmp_path / ".parts").iterdir()) == []


def news(second: int, **said: Any) -> RunNews:
    return RunNews(RUN, NOON + datetime.timedelta(seconds=second), **said)


class TestNews:
    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 3), st.sampled_from(["open", "finished"])),
            min_size=1,
            max_size=6,
        ),
        st.randoms(use_true_random=False),
    )
    def test_however_often_and_whatever_first_the_last_word_counts(self, said: Any, random: Any) -> None:
        """Once more changes nothing; another order changes neither status nor the values of the newest news."""
        writers = {"host": "elsewhere", "pid": 1}
        told = [
            news(second, tags={name: value}, writer={"id": name, "state": state, **writers})
            for second, (name, value, state) in enumerate(said)
        ]
        row = None
        for each in told:
            row = merged(row, each)
        again = row
        for each in told:
            again = merged(again, each)
        assert again == row
        mixed = list(told)
        random.shuffle(mixed)
        other = None
        for each in mixed:
            other = merged(other, each)
        assert row is not None
        assert other is not None
        assert (other["writers"], other["status"], other["created_at"]) == (
            row["writers"], row["status"], row["created_at"],
        )  # fmt: skip
        assert other["tags"][told[-1].tags.keys().__iter__().__next__()] == row["tags"][said[-1][0]]

    @pytest.mark.parametrize(
        ("writers", "status", "stale"),
        [
            ([("open", 0)], "running", False),
            ([("open", -70)], "running", True),
            ([("finished", -5)], "finished", False),
            ([("finished", -5), ("open", -10)], "running", False),
            ([("finished", -5), ("open", -70)], "finished", False),
            ([("finished", -200), ("open", -70)], "running", True),
            ([("failed", -5), ("finished", -4)], "finished", False),
        ],
    )
    def test_a_run_runs_as_long_as_a_process_of_it_does(self, writers, status: str, stale: bool) -> None:
        times = [(NOON + datetime.timedelta(seconds=at)).isoformat() for _, at in writers]
        told = {
            str(place): {"state": state, "at": times[place], "host": "elsewhere", "pid": 1}
            for place, (state, _) in enumerate(writers)
        }
        found = status_of(told, now=NOON)
        assert (found[0], found[2]) == (status, stale)

    def test_news_of_an_evaluation_leave_its_status_alone(self, store: Store) -> None:
        record = store.catalog.runs.create("nightly", kind="eval", parameters={"a": 1})
        store.catalog.runs.update(record.id, status="finished")
        told = replace(news(0, parameters={"b": 2}, writer={"id": "w", "state": "open"}), run_id=record.id)
        store.catalog.runs.take([told])
        after = store.catalog.runs.find("nightly")
        assert (after.kind, after.status, after.parameters) == ("eval", "finished", {"a": 1, "b": 2})


class TestByHand:
    def test_changes_are_audited(self, store: Store) -> None:
        store.catalog.runs.take([news(0, name="tune", tags={"a": 1})])
        assert store.catalog.runs.tag("tune", {"b": "2", "a": None}, actor="ada").tags == {"b": "2"}
        store.catalog.runs.delete("tune", actor="ada")
        assert store.catalog.runs.list() == []
        assert [record.id for record in store.catalog.runs.list(deleted=True)] == [RUN]
        assert store.catalog.runs.find(RUN).deleted_at is not None
        store.catalog.runs.restore(RUN, actor="bob")
        assert store.catalog.runs.find("tune").deleted_at is None
        acts = [(act.act, act.target, act.actor) for act in store.catalog.audit.list() if act.act != "run.create"]
        assert acts == [("run.restore", RUN, "bob"), ("run.delete", RUN, "ada"), ("run.tag", RUN, "ada")]

    def test_the_same_holds_on_postgresql(self, postgresql: str, tmp_path: Path) -> None:
        catalog = Catalog(postgresql, lock=tmp_path / "lock")
        told = news(
            0, name="tune\ntune", tags={"a": "\ud800".encode("utf-8", "replace").decode()}, parameters={"b": [1]}
        )
        try:
            catalog.runs.take([told, news(1, writer={"id": "w", "state": "failed", "host": "h", "pid": 1})])
            catalog.runs.take([told])
            catalog.runs.tag(RUN, {"a": None})
            record = catalog.runs.delete(RUN)
            assert (record.status, record.tags, record.parameters) == ("failed", {}, {"b": [1]})
            assert [row["run_id"] for row in catalog.runs.rows()] == [RUN]
        finally:
            catalog.close()

    def test_a_tag_that_was_taken_away_does_not_come_back_with_old_news(self, store: Store) -> None:
        store.catalog.runs.take([news(0, name="tune", tags={"a": 1})])
        store.catalog.runs.tag("tune", {"a": None})
        store.catalog.runs.take([news(1, tags={"a": 2})])
        assert store.catalog.runs.find("tune").tags == {}


class TestViews:
    def test_runs_are_found_by_what_they_were_and_what_came_out(self, store: Store) -> None:
        store.catalog.runs.take([news(0, name="tune", parameters={'odd "name"': [1], "rate": 0.1}, tags={"a": "b"})])
        rows = [
            {
                "run_id": RUN,
                "name": "loss",
                "step": step,
                "value": value,
                "time_ns": step,
                "writer": "0" * 16,
                "place": step,
            }
            for step, value in enumerate((3.0, math.nan))
        ]
        store.append("points", rows)
        nightly = store.catalog.runs.create("nightly", kind="eval")
        store.catalog.runs.update(nightly.id, metrics={"ok": {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4}})
        found = store.sql("SELECT name, metrics, tags->>'a' FROM runs ORDER BY name").fetchall()
        assert found == [("nightly", '{"ok":0.5}', None), ("tune", '{"loss":"nan"}', "b")]
        assert store.sql("SELECT name, value FROM run_params ORDER BY name").fetchall() == [
            ('odd "name"', "[1]"), ("rate", "0.1"),
        ]  # fmt: skip
        query = "SELECT name, low, n, min FROM run_metrics ORDER BY name"
        assert store.sql(query).fetchall() == [("loss", None, 2, 3.0), ("ok", 0.1, 4, None)]

    def test_they_are_there_where_nothing_was_logged(self, store: Store) -> None:
        for view in ("runs", "run_metrics", "run_params", "points"):
            assert store.sql(f"SELECT count(*) FROM {view}").fetchone() == (0,)
        assert {"points", "run_metrics", "run_params", "runs"} <= {
            name for (name,) in store.sql("SHOW TABLES").fetchall()
        }
