"""What tests of traced code are given: recorded spans, how they are found, and golden files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from opentelemetry import trace

import tracekit
from tracekit._runtime import runtime
from tracekit.testing import Recorder, golden, recorded


@tracekit.tool
def search(query: str) -> str:
    if query == "nothing":
        raise LookupError("there is nothing")
    return f"found {query}"


@tracekit.agent(name="bot")
def answer(question: str) -> str:
    with contextlib.suppress(LookupError):
        search("nothing")
    return search(question)


def test_the_one_span_that_fits_is_found(recorder: Recorder) -> None:
    answer("x")
    assert recorder.find(step="tool", name="search", status="unset").output == "found x"
    assert recorder.one(attributes={"error.type": "LookupError"}).input == '{"query": "nothing"}'
    assert [span.status for span in recorder.all(name="search")] == ["error", "unset"]
    assert recorder.all(name="nowhere") == []
    assert recorder.children(recorder.find(step="agent")) == recorder.all(step="tool")
    assert recorder.children(recorder.find(status="error")) == []


def test_what_is_not_found_shows_what_was_recorded(recorder: Recorder) -> None:
    with pytest.raises(LookupError, match="0 spans have no conditions; recorded:\n  nothing"):
        recorder.find()
    answer("x")
    outline = "  invoke_agent bot\n    execute_tool search !LookupError\n    execute_tool search$"
    with pytest.raises(LookupError, match=f"^2 spans have name='search', step='tool'; recorded:\n{outline}"):
        recorder.find(name="search", step="tool")


def test_ids_count_and_the_clock_ticks_from_the_start_in_each_recording() -> None:
    for _ in range(2):
        with recorded() as recorder:
            search("x")
        span = recorder.find()
        assert (span.trace_id[-1], span.span_id[-1]) == ("1", "1")
        assert (span.start_ns, span.end_ns) == (1_700_000_000_000_000_000, 1_700_000_001_000_000_000)


def test_what_was_recorded_can_be_forgotten(recorder: Recorder) -> None:
    search("x")
    tracekit.score("good", True, trace_id="1" * 32)
    recorder.clear()
    assert (recorder.spans, recorder.records) == ([], [])
    search("y")
    assert recorder.find().span_id == "0" * 15 + "2"


def test_a_deep_tree_is_outlined(recorder: Recorder) -> None:
    def down(depth: int) -> None:
        with tracekit.span(f"{depth}"):
            if depth < 300:
                down(depth + 1)

    down(1)
    assert recorder.tree().splitlines()[299] == "  " * 299 + "300"


def test_code_under_test_may_configure_and_is_recorded_all_the_same(tmp_path: Path, recorder: Recorder) -> None:
    tracekit.init(store=tmp_path / "store", agent="bot", agent_version="3", prompts={"system": "x"})
    search("x")
    assert tracekit.flush()
    assert recorder.find().attributes["gen_ai.agent.version"] == "3"
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("fresh")
def test_a_recording_leaves_the_configuration_as_it_was(tmp_path: Path) -> None:
    tracekit.init(store=tmp_path / "store", agent="bot")
    before = (runtime.tracer, dict(runtime.identity))
    with recorded(agent="other"):
        tracekit.init(agent="third")
    assert (runtime.tracer, dict(runtime.identity)) == before
    assert not trace.get_current_span().get_span_context().is_valid


GOLDEN = """\
- invoke_agent bot
    input.value: {"question": "x"}
    output.value: found x
  - execute_tool search !LookupError
      input.value: {"query": "nothing"}
  - execute_tool search
      input.value: {"query": "x"}
      output.value: found x
"""


def test_a_golden_file_holds_the_tree_and_the_attributes_that_are_asked_for(recorder: Recorder, tmp_path: Path) -> None:
    file = tmp_path / "golden" / "answer.txt"
    answer("x")
    attributes = ("input.value", "output.value", "never.set")
    golden(recorder, file, attributes=attributes, update=True)
    assert file.read_text("utf-8") == GOLDEN
    file.write_bytes(GOLDEN.encode().replace(b"\n", b"\r\n"))  # a checkout on Windows
    golden(recorder, file, attributes=attributes)


def test_a_difference_from_the_golden_file_is_shown(recorder: Recorder, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text(GOLDEN)
    answer("y")
    with pytest.raises(AssertionError) as caught:
        golden(recorder, file, attributes=("input.value", "output.value"))
    lines = str(caught.value).splitlines()
    mend = "run pytest with --update-golden (or set TRACEKIT_UPDATE_GOLDEN=1) if this is as it should be"
    assert lines[0] == f"the spans differ from {file}; {mend}"
    assert lines[1:3] == ["--- answer.txt (expected)", "+++ recorded"]
    assert [line for line in lines[3:] if line[0] in "+-"] == [
        '-    input.value: {"question": "x"}',
        "-    output.value: found x",
        '+    input.value: {"question": "y"}',
        "+    output.value: found y",
        '-      input.value: {"query": "x"}',
        "-      output.value: found x",
        '+      input.value: {"query": "y"}',
        "+      output.value: found y",
    ]
    assert file.read_text() == GOLDEN


def test_a_missing_golden_file_is_told_with_what_it_would_be(recorder: Recorder, tmp_path: Path) -> None:
    search("x")
    with pytest.raises(AssertionError, match=r"there is no golden file .*answer\.txt; run pytest with .*\n- execute_"):
        golden(recorder, tmp_path / "answer.txt")
    assert not (tmp_path / "answer.txt").exists()


def test_the_setting_writes_the_golden_file(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search("x")
    monkeypatch.setenv("TRACEKIT_UPDATE_GOLDEN", "1")
    golden(recorder, tmp_path / "answer.txt")
    golden(recorder, tmp_path / "answer.txt", update=False)


def test_text_that_would_blur_the_file_is_written_as_json(recorder: Recorder, tmp_path: Path) -> None:
    with tracekit.span("two\nlines") as span:
        span.output = "- a\n    b: ü\u2028"
    golden(recorder, tmp_path / "file.txt", attributes=["output.value"], update=True)
    assert (tmp_path / "file.txt").read_text("utf-8") == '- "two\\nlines"\n    output.value: "- a\\n    b: ü\u2028"\n'
