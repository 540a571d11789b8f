"""The built wheel, installed as an agent's owner would: light, recording, and clear about what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tracekit_collector.store import Store

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AGENT = """
import tracekit

tracekit.init(project="light")

@tracekit.agent
def greet(name: str) -> str:
    return f"Hello, {name}!"

greet("Ada")
"""


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with a space in its path, into which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("a light environment")
    wheels = folder / "wheels"
    built = call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, ROOT, cwd=folder)
    offline = "No matching distribution" in built.stderr or "Failed to establish" in built.stderr
    if offline and not os.environ.get("CI"):
        pytest.skip("no package index can be reached")
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    done = call(scripts / "python", "-m", "pip", "install", "-q", *wheels.glob("*.whl"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return scripts


def test_it_brings_opentelemetry_and_nothing_heavy(light: Path, tmp_path: Path) -> None:
    listed = call(light / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert {"tracekit", "opentelemetry-sdk"} <= names
    heavy = {"duckdb", "pyarrow", "deltalake", "sqlalchemy", "jinja2", "numpy", "scipy", "rich", "httpx", "uvicorn"}
    assert names & heavy == set()


def test_its_help_lists_every_command(light: Path, tmp_path: Path) -> None:
    done = call(light / "tracekit", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in (
        "collect",
        "ingest",
        "traces",
        "trace",
        "sql",
        "agents",
        "eval",
        "runs",
        "compare",
        "report",
        "demo",
    ):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["traces"], "collector"),
        (["sql", "SELECT 1"], "collector"),
        (["eval", "--judge", "error"], "evaluators"),
        (["compare", "a", "b"], "evaluators"),
        (["demo"], "demo"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_names_the_extra_that_it_misses(light: Path, tmp_path: Path, words: list[str], extra: str) -> None:
    done = call(light / "tracekit", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"-py3-none-any.whl[{extra}]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_it_records_a_full_environment_reads(light: Path, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    done = call(light / "python", "-W", "error", "agent.py", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((tmp_path / ".tracekit" / "inbox").glob("*.traces"))) == 1
    with Store.open(tmp_path / ".tracekit") as store:
        rows = store.sql("SELECT name, step, project, input, output FROM spans").fetchall()
    assert rows == [("invoke_agent greet", "agent", "light", '{"name": "Ada"}', "Hello, Ada!")]


def test_it_holds_every_file_of_the_packages(light: Path) -> None:
    [wheel] = (light.parents[1] / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        built = set(archive.namelist())
    folders = [ROOT / "tracekit", ROOT / "collector", ROOT / "evaluators"]
    sources = {str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert {name for name in sources - built if "__pycache__" not in name} == set()


def test_it_carries_the_licence_and_types(light: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import files; names = [str(file) for file in files('tracekit')];"
        "print([sum(name.endswith(end) for name in names) for end in ('licenses/LICENSE', 'py.typed')])"
    )
    assert call(light / "python", "-c", code, cwd=tmp_path).stdout == "[1, 3]\n"
