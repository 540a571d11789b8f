"""Settings: the first of argument, environment, file and default that has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracekit.errors import SettingError
from tracekit.settings import SETTINGS, _from_file, setting, store_path, switch

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_memory():
    _from_file.cache_clear()
    yield
    _from_file.cache_clear()


def test_the_page_lists_every_setting_as_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {
        name: (tuple(re.findall(r"`(\w+)`", variables)), default.strip("` ") or None, help_text)
        for name, variables, default, help_text in rows
    }
    known = {item.name: (item.variables, item.default, item.help) for item in SETTINGS.values()}
    assert shown == known


def test_the_order_of_sources(monkeypatch, tmp_path: Path) -> None:
    assert setting("port") == "4318"
    (tmp_path / "pyproject.toml").write_text("[tool.tracekit]\nport = 1111\n")
    _from_file.cache_clear()
    assert setting("port") == "1111"
    monkeypatch.setenv("TRACEKIT_PORT", "2222")
    assert setting("port") == "2222"
    assert setting("port", "3333") == "3333"


def test_our_variable_wins_over_opentelemetrys(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318")
    assert setting("endpoint") == "http://otel:4318"
    monkeypatch.setenv("TRACEKIT_ENDPOINT", "http://ours:4318")
    assert setting("endpoint") == "http://ours:4318"


def test_an_empty_variable_sets_nothing(monkeypatch) -> None:
    monkeypatch.setenv("TRACEKIT_STORE", "")
    assert setting("store") == ".tracekit"


def test_the_nearest_file_wins_and_one_without_our_table_is_passed_over(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tracekit.toml").write_text('project = "outer"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text('[project]\nname = "x"\n')
    monkeypatch.chdir(inner)
    assert setting("project") == "outer"
    _from_file.cache_clear()
    (inner / "tracekit.toml").write_text('project = "inner"\n')
    assert setting("project") == "inner"


def test_a_typing_mistake_in_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "tracekit.toml").write_text('projekt = "x"\n')
    with pytest.raises(SettingError, match=r"tracekit\.toml sets projekt, which is no setting; known: store"):
        setting("project")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "tracekit.toml").write_text("project = \n")
    with pytest.raises(SettingError, match=r"cannot read .*tracekit\.toml"):
        setting("project")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("true", True), ("yes", True), ("0", False), ("False", False), ("no", False), ("off", False)],
)
def test_switches(monkeypatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("TRACEKIT_DISABLED", text)
    assert switch("disabled") is expected


def test_a_switch_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "tracekit.toml").write_text("capture_content = false\ndisabled = true\n")
    assert (switch("capture_content"), switch("disabled")) == (False, True)


def test_the_store_is_a_path(monkeypatch) -> None:
    assert store_path() == Path(".tracekit")
    assert store_path(Path("a") / "b") == Path("a/b")
    monkeypatch.setenv("TRACEKIT_STORE", "/somewhere")
    assert store_path() == Path("/somewhere")
