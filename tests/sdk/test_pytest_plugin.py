"""The pytest plugin, in pytest processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tracekit.testing import Recorder

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest on a test file, with warnings as errors; gives the process's end."""

    def run(source: str, *words: str, passes: bool = True) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source), encoding="utf-8")
        known = any(point.name == "tracekit" for point in entry_points(group="pytest11"))
        plugin = [] if known else ["-p", "tracekit.pytest_plugin"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *plugin, *words],
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert (done.returncode == 0) is passes, done.stdout + done.stderr
        return done

    return run


AGENT = """
    import asyncio
    from pathlib import Path
    import pytest
    import tracekit
    from tracekit.testing import golden

    @tracekit.tool
    async def search(query: str) -> str:
        await asyncio.sleep(0)
        return f"found {query}"

    @tracekit.agent(name="bot")
    async def answer(question: str) -> str:
        return await search(question)

"""


def test_the_fixture_of_this_suite_too_is_a_recorder(spans: Recorder) -> None:
    assert spans.spans == []


def test_each_test_has_spans_of_its_own_async_ones_too(run: Run) -> None:
    source = """
    @pytest.mark.parametrize("question", ["a", "b"])
    def test_sync(spans, question):
        asyncio.run(answer(question))
        assert spans.find(step="tool", name="search").output == f"found {question}"
        assert spans.one(step="agent").trace_id == "0" * 31 + "1"
        assert spans.tree() == "invoke_agent bot\\n  execute_tool search"

    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_async(spans, anyio_backend):
        await asyncio.gather(answer("a"), answer("b"))
        assert [span.output for span in spans.all(step="tool")] == ["found a", "found b"]
        assert sorted(span.trace_id[-1] for span in spans.all(step="agent")) == ["1", "2"]
    """
    assert "3 passed" in run(AGENT + source, "-p", "no:randomly").stdout


def test_golden_files_are_written_by_the_option_and_compared_without(run: Run, tmp_path: Path) -> None:
    source = """
    def test_golden(spans):
        asyncio.run(answer("x"))
        golden(spans, Path(__file__).parent / "answer.golden")
    """
    missing = run(AGENT + source, passes=False)
    assert "run pytest with --update-golden" in missing.stdout
    run(AGENT + source, "--update-golden")
    assert (tmp_path / "answer.golden").read_text("utf-8") == (
        "- invoke_agent bot\n"
        "    tracekit.step: agent\n"
        '    input.value: {"question": "x"}\n'
        "    output.value: found x\n"
        "  - execute_tool search\n"
        "      tracekit.step: tool\n"
        '      input.value: {"query": "x"}\n'
        "      output.value: found x\n"
    )
    run(AGENT + source)
    differs = run(AGENT + source.replace('"x"', '"y"'), passes=False)
    assert "-      output.value: found x" in differs.stdout
    assert "+      output.value: found y" in differs.stdout


def test_nothing_is_loaded_or_written_for_tests_that_do_not_ask(run: Run, tmp_path: Path) -> None:
    run(
        """
        import sys

        def test_nothing():
            assert "tracekit.testing" not in sys.modules
            assert "opentelemetry.sdk" not in sys.modules
        """
    )
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["test_it.py"]


def test_the_option_is_explained(run: Run) -> None:
    assert "--update-golden" in run("", "--help").stdout
    assert "spans" in run("", "--fixtures", "-q").stdout
