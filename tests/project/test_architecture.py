"""Who may import whom, and how large and how named a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "tracekit": ROOT / "tracekit" / "tracekit",
    "tracekit_collector": ROOT / "collector" / "tracekit_collector",
    "tracekit_evaluators": ROOT / "evaluators" / "tracekit_evaluators",
}
MODULES = [path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))]
ABOVE = {
    "tracekit": {"tracekit_collector", "tracekit_evaluators"},
    "tracekit_collector": {"tracekit_evaluators"},
    "tracekit_evaluators": set(),
}


def imports(path: Path, *, nested: bool = True) -> Iterator[str]:
    """The names of the modules that a file imports; only at its top level unless `nested`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if nested else _run_on_import(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; say the whole name"
            yield node.module or ""


def _run_on_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
            for block in ("body", "handlers", "orelse", "finalbody"):
                yield from _run_on_import(getattr(node, block, []))


def top(name: str) -> str:
    return name.partition(".")[0]


def said(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_downwards(package: str) -> None:
    wrong = [
        f"{said(path)} imports {name}"
        for path in sorted(PACKAGES[package].rglob("*.py"))
        for name in imports(path)
        if top(name) in ABOVE[package]
    ]
    assert wrong == []


def test_the_sdk_needs_opentelemetry_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"tracekit", "opentelemetry", "tomllib", "tomli"}
    plugin = PACKAGES["tracekit"] / "pytest_plugin.py"  # pytest alone loads it
    wrong = [
        f"{said(path)} imports {name}"
        for path in sorted(PACKAGES["tracekit"].rglob("*.py"))
        for name in imports(path)
        if top(name) not in allowed and not (path == plugin and top(name) == "pytest")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "home"),
    [("duckdb", "collector/tracekit_collector/query.py"), ("deltalake", "collector/tracekit_collector/lake.py")],
)
def test_one_module_imports(library: str, home: str) -> None:
    """DuckDB's and Delta Lake's interfaces change between versions: one file is to be mended then."""
    users = [said(path) for path in MODULES if library in {top(name) for name in imports(path)}]
    assert users == [home]


def test_command_modules_are_light() -> None:
    """`tracekit --help` imports every command's module, also where only OpenTelemetry is installed."""
    allowed = set(sys.stdlib_module_names) | {"tracekit"}
    wrong = [
        f"{said(path)} imports {name} at its top level"
        for path in MODULES
        if path.parent.name == "commands"
        for name in imports(path, nested=False)
        if top(name) not in allowed
    ]
    assert wrong == []


def test_importing_the_sdk_loads_nothing_heavy() -> None:
    heavy = ["duckdb", "pyarrow", "deltalake", "numpy", "scipy", "jinja2", "sqlalchemy", "rich", "httpx", "grpc"]
    code = f"import sys, tracekit; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_is_longer_than_500_lines() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    long = [f"{said(path)}: {n}" for path in MODULES + tests if (n := path.read_text("utf-8").count("\n")) > 500]
    assert long == []


def test_modules_are_named_for_what_they_are() -> None:
    vague = {"utils", "util", "helpers", "helper", "base", "manager", "common", "misc"}
    assert [said(path) for path in MODULES if path.stem.strip("_") in vague | {word + "s" for word in vague}] == []


def test_every_module_says_its_duty() -> None:
    assert [said(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


def test_every_package_is_typed() -> None:
    assert [name for name, folder in PACKAGES.items() if not (folder / "py.typed").is_file()] == []
