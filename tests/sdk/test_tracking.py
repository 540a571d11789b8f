"""`tracekit.run`: what it says in records, whose the spans inside are, and that it never breaks the program."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

import tracekit
from tracekit import attributes as names
from tracekit._runtime import Runtime
from tracekit.testing import Recorder
from tracekit.tracking.points import unpacked


def told(recorder: Recorder, run: tracekit.Run) -> dict[str, Any]:
    """All that the records say of a run, the last word of each attribute."""
    found: dict[str, Any] = {}
    for record in recorder.records:
        if record.attributes.get(names.RUN) == run.id:
            found.update(record.attributes)
    return found


def points(records: list[Any]) -> list[tuple[str, float | None, int | None]]:
    """The points in protobuf log records, in order."""
    found: list[tuple[str, float | None, int | None]] = []
    for record in records:
        if record.event_name == names.RUN_POINTS_EVENT:
            said = {pair.key: pair.value for pair in record.attributes}
            series = [each.string_value for each in said[names.RUN_POINTS_NAMES].array_value.values]
            columns = unpacked(record.body.bytes_value)
            for name, value, step, known in zip(
                columns.names, columns.values, columns.steps, columns.known, strict=True
            ):
                found.append((series[name], value if known & 2 else None, step if known & 1 else None))
    return found


def span(recorder: Recorder, name: str) -> Any:
    return next(each for each in recorder.spans if each.name == name)


class TestARun:
    def test_says_what_it_was_started_with_and_how_it_ended(self, recorder: Recorder) -> None:
        with tracekit.run("tune", params={"rate": 0.1, "seen": {2, 1}}, tags={"team": "x"}, seed=7) as run:
            run.log_params({"rate": 0.2})
            run.set_tags({"team": None})
        said = told(recorder, run)
        assert said[names.RUN_NAME] == "tune"
        assert [
            json.loads(record.attributes[names.RUN_PARAMETERS])
            for record in recorder.records
            if names.RUN_PARAMETERS in record.attributes
        ] == [{"rate": 0.1, "seen": [1, 2]}, {"rate": 0.2}]
        assert json.loads(said[names.RUN_TAGS]) == {"team": None}
        assert said[names.RUN_SEED] == "7"
        assert json.loads(said[names.RUN_WRITER])["state"] == "finished"
        assert json.loads(said[names.RUN_ENVIRONMENT])["packages"]["opentelemetry-sdk"]
        assert "python" in said[names.RUN_COMMAND]

    def test_spans_inside_belong_to_it_and_those_outside_do_not(self, recorder: Recorder) -> None:
        with tracekit.run("tune") as run, tracekit.span("inside"):
            pass
        with tracekit.span("outside"):
            pass
        assert span(recorder, "inside").attributes[names.RUN] == run.id
        assert names.RUN not in span(recorder, "outside").attributes

    def test_a_run_inside_is_a_child(self, recorder: Recorder) -> None:
        with tracekit.run("sweep") as outer, tracekit.run("one") as inner:
            assert tracekit.current_run() is inner
        assert told(recorder, inner)[names.RUN_PARENT] == outer.id
        assert names.RUN_PARENT not in told(recorder, outer)
        assert tracekit.current_run() is None

    def test_runs_of_tasks_do_not_mix(self, recorder: Recorder) -> None:
        async def one(name: str) -> tuple[str, str]:
            async with tracekit.run(name) as run:
                await asyncio.sleep(0)
                with tracekit.span(name):
                    return run.id, tracekit.current_run().id  # type: ignore[union-attr]  # there is one

        async def both() -> list[tuple[str, str]]:
            return await asyncio.gather(one("a"), one("b"))

        (a, seen_a), (b, seen_b) = asyncio.run(both())
        assert (a, b) == (seen_a, seen_b)
        assert [span(recorder, name).attributes[names.RUN] for name in "ab"] == [a, b]

    def test_as_a_decorator_every_call_is_one(self, recorder: Recorder) -> None:
        seen = []

        @tracekit.run("nightly", params={"a": 1})
        def job(x: int) -> int:
            seen.append(tracekit.current_run())
            return x + 1

        @tracekit.run()
        async def later(x: int) -> int:
            seen.append(tracekit.current_run())
            return x + 2

        assert [job(1), job(2), asyncio.run(later(1))] == [2, 3, 3]
        assert len({run.id for run in seen}) == 3
        assert [told(recorder, run)[names.RUN_NAME].rpartition(".")[2] for run in seen] == [
            "nightly",
            "nightly",
            "later",
        ]

    def test_an_exception_goes_on_unchanged_and_is_told(self, recorder: Recorder) -> None:
        error = ValueError("no such prompt")
        run = tracekit.run("tune")
        with pytest.raises(ValueError, match="no such prompt") as caught, run:
            raise error
        assert caught.value is error
        said = told(recorder, run)
        assert json.loads(said[names.RUN_ERROR]) == {"type": "ValueError", "message": "no such prompt"}
        assert json.loads(said[names.RUN_WRITER])["state"] == "failed"

    def test_leaving_with_exit_code_0_is_no_failure(self, recorder: Recorder) -> None:
        run = tracekit.run("tune")
        with pytest.raises(SystemExit), run:
            raise SystemExit(0)
        assert json.loads(told(recorder, run)[names.RUN_WRITER])["state"] == "finished"

    def test_the_environment_names_a_run_to_take_part_in(self, recorder: Recorder, monkeypatch) -> None:
        known = "01M850CF81S5593VPA5JWYQZSV"
        monkeypatch.setenv("TRACEKIT_RUN_ID", known)
        with tracekit.run() as run, tracekit.run("child") as child:
            pass
        assert run.id == known
        assert told(recorder, child)[names.RUN_PARENT] == known
        assert names.RUN_COMMAND not in told(recorder, run)

    def test_secrets_on_the_command_line_are_left_out(self, fresh: Runtime, tmp_path: Path, monkeypatch) -> None:
        from tracekit.tracking import origin

        tracekit.init(store=tmp_path)
        words = ["python", "tune.py", "--api-key", "hunter2", "--password=hunter2", "--rate", "0.1"]
        monkeypatch.setattr("sys.orig_argv", words, raising=False)
        assert origin.command() == "python tune.py --api-key '[redacted]' '--password=[redacted]' --rate 0.1"


class TestWrongUse:
    """It is logged once, never raised."""

    @pytest.mark.parametrize(
        ("wrong", "word"),
        [
            (lambda run: run.log_metric("", 1.0), "needs a name"),
            (lambda run: run.log_metric("loss", "0.5"), "not a text"),
            (lambda run: run.log_metric("loss", object()), "left out"),
            (lambda run: run.log_metric("loss", 10**400), "left out"),
            (lambda run: run.log_metric("loss", 1.0, step=1 << 63), "64 bits"),
            (lambda run: run.log_metric("loss", 1.0, step=0.5), "left out"),
            (lambda run: run.log_metric(7, 1.0), "needs a name"),
            (lambda run: run.log_metrics(3), "logging metrics"),
            (lambda run: run.log_params("rate"), "takes a mapping"),
            (lambda run: run.set_tags({" ": 1}), "empty name"),
            (lambda run: run.log_artifact("/nowhere/at/all"), "cannot read"),
            (lambda run: run.log_table("t", 7), "no table"),
            (lambda run: run.log_table("t", {"a": [1], "b": []}), "different lengths"),
            (lambda run: run.log_figure("f", object()), "no figure"),
            (lambda run: run.log_text("", "x"), "needs a name"),
        ],
    )
    def test_costs_a_line_in_the_log(self, fresh: Runtime, tmp_path: Path, caplog, wrong, word: str) -> None:
        tracekit.init(store=tmp_path)
        with caplog.at_level(logging.WARNING, "tracekit"), tracekit.run("tune") as run:
            wrong(run)
            wrong(run)
        assert [word in record.message for record in caplog.records] == [True]

    def test_outside_of_the_block_nothing_is_said(self, recorder: Recorder, caplog) -> None:
        run = tracekit.run("tune")
        run.log_metric("loss", 1.0)
        run.log_params({"a": 1})
        assert recorder.records == []
        assert [record.message for record in caplog.records] == [
            "run.log_metric outside of the run's block says nothing: use `with tracekit.run`"
        ]

    def test_while_tracing_is_off_a_run_is_only_a_block(self, fresh: Runtime, tmp_path: Path) -> None:
        tracekit.init(store=tmp_path, disabled=True)
        with tracekit.run("tune") as run:
            run.log_metric("loss", 1.0)
            run.log_text("a.txt", "b")
        assert list(tmp_path.iterdir()) == []


class TestWhatIsLogged:
    def test_numbers_are_what_they_are(self, fresh: Runtime, tmp_path: Path, stored) -> None:
        class Scalar:
            def __float__(self) -> float:
                return 2.5

        tracekit.init(store=tmp_path)
        with tracekit.run("tune") as run:
            for step, value in enumerate((0.1, math.inf, None, True, 3, Scalar())):
                run.log_metric("m", value, step=step)
            run.log_metrics({"m": -0.0, "n": math.nan}, 9)
            run.log_metric("m", 1.0)
        tracekit.flush()
        found = points(stored.records(tmp_path))
        assert found[:7] == [
            ("m", 0.1, 0), ("m", math.inf, 1), ("m", None, 2), ("m", 1.0, 3), ("m", 3.0, 4), ("m", 2.5, 5),
            ("m", -0.0, 9),
        ]  # fmt: skip
        assert found[7][0] == "n"
        assert math.isnan(found[7][1] or 0.0)
        assert found[8:] == [("m", 1.0, None)]

    def test_files_go_to_the_artifacts_redacted(self, fresh: Runtime, tmp_path: Path) -> None:
        tracekit.init(store=tmp_path / "store")
        folder = tmp_path / "out"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.txt").write_text("key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD\n")
        (folder / "b.bin").write_bytes(b"\0\1\2")
        with tracekit.run("tune") as run:
            run.log_artifact(folder)
            run.log_table("t", {"a": [1, 2], "b": ["x", None]})
            run.log_figure("plot", b"\x89PNG\r\n\x1a\n")
            run.log_json("facts", {"nan": math.nan})
        tracekit.flush()
        kept = {path.read_bytes() for path in (tmp_path / "store" / "artifacts").iterdir()}
        assert b"\0\1\2" in kept
        assert b'{"columns": ["a", "b"], "rows": [[1, "x"], [2, null]]}' in kept
        assert b'{"nan": "NaN"}' in kept
        assert not any(b"sk-proj-abc" in content for content in kept)
        assert any(content.startswith(b"key [redacted") for content in kept)

    def test_figures_are_known_by_what_they_can_do(self, recorder: Recorder) -> None:
        class Matplotlib:
            def savefig(self, where: Any, format: str) -> None:  # noqa: A002 - matplotlib's word
                where.write(format.encode())

        class Plotly:
            def to_html(self, include_plotlyjs: str) -> str:
                return f"<html>{include_plotlyjs}</html>"

        class Pillow:
            def save(self, where: Any, kind: str) -> None:
                where.write(kind.encode())

        with tracekit.run("tune") as run:
            run.log_figure("m", Matplotlib())
            run.log_figure("p.html", Plotly())
            run.log_figure("i", Pillow())
            run.log_figure("h", "<b>bold</b>")
        found: dict[str, dict[str, object]] = {}
        for record in recorder.records:
            found.update(json.loads(record.attributes.get(names.RUN_ARTIFACTS, "{}")))
        kinds = {name: told["mime_type"] for name, told in found.items() if name != "code.diff"}
        assert kinds == {"m.png": "image/png", "p.html": "text/html", "i.png": "image/png", "h.html": "text/html"}

    def test_the_machine_is_sampled_on_request(self, fresh: Runtime, tmp_path: Path, stored) -> None:
        tracekit.init(store=tmp_path)
        with tracekit.run("tune", system_metrics=True):
            pass
        tracekit.flush()
        seen = {name for name, value, _ in points(stored.records(tmp_path)) if value is not None and value >= 0}
        assert {"system/cpu_seconds", "system/threads", "system/rss_mb"} <= seen


def test_the_code_and_its_diff_are_kept(script, tmp_path: Path) -> None:
    """The commit, what differs from it (without secrets), and the names of files that git does not know."""
    done = script(
        """
        import json, pathlib, subprocess
        import tracekit
        from tracekit.tracking import origin

        def git(*words):
            who = ("-c", "user.name=a", "-c", "user.email=a@b")
            subprocess.run(["git", *who, *words], check=True, capture_output=True)

        git("init", "-b", "main")
        file = pathlib.Path("tune.py")
        file.write_text("a = 1\\n")
        git("add", "tune.py")
        git("commit", "-m", "one")
        print(json.dumps(origin.code()))
        file.write_text("a = 2\\nkey = 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD'\\n")
        print(json.dumps(origin.code()[0]))
        tracekit.init(store="store")
        with tracekit.run("tune"):
            pass
        """
    )
    clean, dirty = map(json.loads, done.stdout.splitlines())
    assert clean[0]["branch"] == "main"
    assert (clean[0]["diff_digest"], clean[0]["untracked"], clean[1]) == (None, ["script.py"], None)
    assert dirty["dirty"] is True
    assert len(dirty["diff_digest"]) == 64
    (kept,) = (tmp_path / "store" / "artifacts").iterdir()
    assert "+a = 2\n" in kept.read_text()
    assert "sk-proj-abc" not in kept.read_text()


def test_a_run_is_resumed_by_name_before_anybody_settled(script, tmp_path: Path, stored) -> None:
    done = script(
        """
        import tracekit
        tracekit.init(store="store")
        with tracekit.run("tune") as first:
            first.log_metric("loss", 1.0)
        with tracekit.run(resume="tune") as again:
            again.log_metric("loss", 0.5)
        with tracekit.run(resume="another") as other:
            pass
        print(first.id == again.id, other.id != first.id)
        """
    )
    assert done.stdout.split() == ["True", "True"]
    assert "there is no run 'another' to resume here; a new one begins" in done.stderr
    assert points(stored.records(tmp_path / "store")) == [("loss", 1.0, None), ("loss", 0.5, None)]


def test_a_forked_process_goes_on_with_points_of_its_own(script, tmp_path: Path, stored) -> None:
    script(
        """
        import multiprocessing
        import tracekit

        def work(run):
            for step in range(3):
                run.log_metric("child", step, step=step)

        tracekit.init(store="store")
        with tracekit.run("tune") as run:
            run.log_metric("parent", 1.0)
            process = multiprocessing.get_context("fork").Process(target=work, args=(run,))
            process.start()
            process.join()
        """
    )
    assert sorted(points(stored.records(tmp_path / "store"))) == [
        ("child", 0.0, 0),
        ("child", 1.0, 1),
        ("child", 2.0, 2),
        ("parent", 1.0, None),
    ]
