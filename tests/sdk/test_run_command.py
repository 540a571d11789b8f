"""`tracekit run`: the program is what it is without it, and is traced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, os, sys
from opentelemetry import trace
with trace.get_tracer("program").start_as_current_span("work"):
    print(json.dumps([__name__, sys.argv, sys.path[0], type(trace.get_tracer_provider()).__name__]))
    print(__file__, file=sys.stderr)
    print(input())
exec(sys.argv[1])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        input="said\n",
        capture_output=True,
        text=True,
        timeout=40,
        env={**os.environ, **environment},
        check=False,
    )


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "tracekit", "run", *words, **environment)


@pytest.mark.parametrize(
    "last",
    ["pass", "sys.exit(7)", "raise ValueError('ä')", "1/0", "exit('gone')", "os.kill(os.getpid(), 15)", "os._exit(3)"],
)
def test_output_and_exit_code_are_the_programs_own(program: Path, last: str) -> None:
    plain, traced = python(str(program), last, "--store", "x"), run(str(program), last, "--store", "x")
    assert traced.stdout == plain.stdout.replace("ProxyTracerProvider", "TracerProvider")
    assert (traced.stderr, traced.returncode) == (plain.stderr, plain.returncode)


def test_a_module_is_run_as_python_does(program: Path, stored, tmp_path: Path) -> None:
    plain, traced = python("-m", "program", "pass", "-m", "x"), run("-m", "program", "pass", "-m", "x")
    assert traced.stdout == plain.stdout.replace("ProxyTracerProvider", "TracerProvider")
    assert (traced.stderr, traced.returncode) == (plain.stderr, plain.returncode)
    assert [span.name for span in stored.spans(tmp_path / ".tracekit")] == ["work"]


def test_the_flags_say_where_traces_go_and_whose_they_are(program: Path, stored, tmp_path: Path) -> None:
    done = run(
        *("--store", "elsewhere", "--project=library", "--agent", "bot", str(program), "pass", "--debug", "--version"),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    assert done.returncode == 0, done.stderr
    assert [stored.attributes(span)["gen_ai.agent.name"] for span in stored.spans(tmp_path / "elsewhere")] == ["bot"]
    assert stored.resources(tmp_path / "elsewhere")[0]["tracekit.project"] == "library"


@pytest.mark.parametrize("words", [[], ["-m"], ["--project", "x"]])
def test_nothing_to_run_is_bad_usage(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is nothing to run" in done.stderr


def test_a_script_that_is_not_there_fails_as_it_does(tmp_path: Path) -> None:
    plain, traced = python("nowhere.py"), run("nowhere.py")
    assert (traced.stdout, traced.stderr, traced.returncode) == (plain.stdout, plain.stderr, plain.returncode)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_are_traced_too(stored, tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(
        f"""
import multiprocessing
from opentelemetry import trace

def work(number):
    with trace.get_tracer("program").start_as_current_span("work"):
        return number

if __name__ == "__main__":
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        print(pool.map(work, [1, 2, 3]))
        pool.close()
        pool.join()
"""
    )
    done = run("program.py")
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 2, 3]\n", "", 0)
    assert [span.name for span in stored.spans(tmp_path / ".tracekit")] == ["work"] * 3


def test_other_programs_that_it_starts_are_left_alone(stored, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import subprocess, sys\n"
        "code = \"import sys; print('tracekit' in sys.modules, 'opentelemetry' in sys.modules)\"\n"
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout, end='')\n"
    )
    done = run("program.py")
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_a_sitecustomize_of_ones_own_still_runs(program: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('mine')")
    done = run(
        str(program), "pass", PYTHONPATH=os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    )
    assert done.stdout.splitlines()[-3] == "mine"
    assert done.returncode == 0


def test_settings_that_cannot_be_used_cost_the_trace_and_one_line(program: Path) -> None:
    done = run(str(program), "sys.exit(5)", TRACEKIT_ENDPOINT="nowhere")
    assert done.returncode == 5
    assert done.stderr.splitlines()[0].startswith("tracekit: the program runs untraced: the endpoint 'nowhere' is no")
