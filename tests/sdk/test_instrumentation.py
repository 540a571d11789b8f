"""Other people's instrumentations are found, chosen between and activated, each for itself."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import tracekit
from tracekit import _guard, instrumentation, propagation

MADE_BY = {
    "openinference": ("openinference-instrumentation-{}", "OpenInference Authors <oss@arize.com>"),
    "opentelemetry": ("opentelemetry-instrumentation-{}-v2", "OpenTelemetry Authors <cncf@lists.cncf.io>"),
    "openllmetry": ("opentelemetry-instrumentation-{}", "Gal Kleinman <gal@traceloop.com>"),
    "other": ("{}-otel", "Somebody"),
}


class _Metadata(dict[str, str]):
    def get_all(self, key: str, otherwise: list[str]) -> list[str]:
        return [self[key]] if key in self else otherwise


class _Installed:
    """A distribution that needs no installation."""

    version = "1.2"
    requires: tuple[str, ...] = ()

    def __init__(self, name: str, author: str) -> None:
        self.name = name
        self.metadata = _Metadata(Name=name)
        self.metadata["Author-email"] = author


class Shelf:
    """Installs instrumentations for a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._points: dict[str, list[EntryPoint]] = {group: [] for group in instrumentation.GROUPS}
        self.calls: list[str] = []
        monkeypatch.setattr(
            instrumentation, "_points", lambda: [point for group in self._points.values() for point in group]
        )
        monkeypatch.setattr(instrumentation, "_self_instrumenting", list)

    def add(self, library: str, family: str, *, raises: Exception | None = None) -> None:
        name, author = (word.format(library) for word in MADE_BY[family])
        module = ModuleType(f"{family}_{library}".replace("-", "_"))
        shelf = self

        class Instrumentor:
            _instance: Any = None
            is_instrumented_by_opentelemetry = False

            def __new__(cls) -> Any:
                cls._instance = cls._instance or object.__new__(cls)
                return cls._instance

            def instrument(self, **_arguments: object) -> None:
                shelf.calls.append(name)
                if raises is not None:
                    raise raises
                self.is_instrumented_by_opentelemetry = True

        module.Instrumentor = Instrumentor  # type: ignore[attr-defined]
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint(library, f"{module.__name__}:Instrumentor", "opentelemetry_instrumentor")
        vars(point)["dist"] = _Installed(name, author)
        for group in instrumentation.GROUPS if family == "openinference" else instrumentation.GROUPS[1:]:
            self._points[group].append(point)

    def states(self, *names: str) -> dict[str, str]:
        return {item.distribution: item.state for item in instrumentation.survey(*names)}


@pytest.fixture
def shelf(monkeypatch):
    # What `instrument` tells the others by environment ends with the test.
    for name in ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "OTEL_SEMCONV_STABILITY_OPT_IN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(instrumentation, "_failures", {})
    yield Shelf(monkeypatch)
    propagation.leave_threads_alone()


def test_every_installed_one_is_activated_once(shelf, recorder) -> None:
    shelf.add("openai", "openinference")
    shelf.add("httpx", "opentelemetry")
    assert tracekit.instrument() == ["httpx", "openai"]
    assert tracekit.instrument() == ["httpx", "openai"]
    assert sorted(shelf.calls) == ["openinference-instrumentation-openai", "opentelemetry-instrumentation-httpx-v2"]


def test_of_several_for_one_library_one_is_activated(shelf, recorder) -> None:
    for family in ("other", "openllmetry", "opentelemetry", "openinference"):
        shelf.add("openai", family)
    assert tracekit.instrument() == ["openai"]
    assert shelf.calls == ["openinference-instrumentation-openai"]
    assert shelf.states() == {
        "openinference-instrumentation-openai": "active",
        "opentelemetry-instrumentation-openai-v2": "passed over",
        "opentelemetry-instrumentation-openai": "passed over",
        "openai-otel": "passed over",
    }


def test_the_spelling_of_a_librarys_name_makes_no_second_library(shelf) -> None:
    shelf.add("llama_index", "openinference")
    shelf.add("llamaindex", "openllmetry")
    assert sorted(shelf.states().values()) == ["chosen", "passed over"]


def test_a_distributions_name_chooses_it(shelf, recorder) -> None:
    for family in ("openinference", "opentelemetry", "openllmetry"):
        shelf.add("openai", family)
    assert tracekit.instrument("opentelemetry-instrumentation-openai") == ["openai"]
    assert shelf.calls == ["opentelemetry-instrumentation-openai"]


def test_one_that_is_active_already_keeps_its_library(shelf, recorder) -> None:
    for family in ("openinference", "openllmetry"):
        shelf.add("openai", family)
    sys.modules["openllmetry_openai"].Instrumentor().instrument()
    assert tracekit.instrument() == ["openai"]
    assert shelf.calls == ["opentelemetry-instrumentation-openai"]


def test_names_activate_those_alone(shelf, recorder) -> None:
    shelf.add("openai", "openinference")
    shelf.add("httpx", "opentelemetry")
    assert tracekit.instrument("httpx") == ["httpx"]
    assert tracekit.instrument("nothing") == []
    assert _guard.faults["instrumenting nothing"] == 1


def test_one_that_fails_costs_no_other(shelf, recorder) -> None:
    shelf.add("anthropic", "openinference", raises=RuntimeError("no"))
    shelf.add("openai", "openinference")
    assert tracekit.instrument() == ["openai"]
    assert shelf.states() == {
        "openinference-instrumentation-anthropic": "failed",
        "openinference-instrumentation-openai": "active",
    }
    found = instrumentation.survey("anthropic")
    assert [item.reason for item in found] == ["RuntimeError: no"]


@pytest.mark.parametrize(
    ("value", "left"),
    [("openai", ["httpx"]), ("OpenAI , httpx", []), ("*", []), ("openinference-instrumentation-openai", ["httpx"])],
)
def test_the_environment_disables(shelf, recorder, monkeypatch, value: str, left: list[str]) -> None:
    shelf.add("openai", "openinference")
    shelf.add("httpx", "opentelemetry")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value)
    assert tracekit.instrument() == left


def test_one_without_its_library_is_left_out(shelf, recorder, monkeypatch) -> None:
    shelf.add("openai", "openinference")
    monkeypatch.setattr(instrumentation, "_missing", lambda _item: "it needs openai>=1, which is not installed")
    assert tracekit.instrument() == []
    assert shelf.calls == []


@pytest.mark.parametrize(
    ("argument", "setting", "active"),
    [
        (True, None, ["httpx", "openai"]),
        (["httpx"], None, ["httpx"]),
        (None, "1", ["httpx", "openai"]),
        (None, "openai, anthropic", ["openai"]),
        (None, "0", []),
        (None, None, []),
        (False, "1", []),
    ],
)
def test_init_activates_what_it_is_told(shelf, fresh, monkeypatch, argument, setting, active) -> None:
    shelf.add("openai", "openinference")
    shelf.add("httpx", "openinference")
    if setting is not None:
        monkeypatch.setenv("TRACEKIT_INSTRUMENT", setting)
    tracekit.init(instrument=argument, tracer_provider=TracerProvider(shutdown_on_exit=False))
    assert sorted(name.rpartition("-")[2] for name in shelf.calls) == active


def test_content_is_kept_out_of_others_spans_too(shelf, fresh, monkeypatch) -> None:
    for name in ("OPENINFERENCE_HIDE_INPUTS", "OPENINFERENCE_HIDE_OUTPUTS", "TRACELOOP_TRACE_CONTENT"):
        monkeypatch.setenv(name, "")
    provider = TracerProvider(shutdown_on_exit=False)
    tracekit.init(capture_content=False, instrument=True, tracer_provider=provider)
    import os

    assert os.environ["OPENINFERENCE_HIDE_INPUTS"] == os.environ["OPENINFERENCE_HIDE_OUTPUTS"] == "true"
    assert os.environ["TRACELOOP_TRACE_CONTENT"] == "false"
    assert os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] == "NO_CONTENT"


def test_while_tracing_is_off_nothing_is_activated(shelf, fresh) -> None:
    shelf.add("openai", "openinference")
    tracekit.init(disabled=True, instrument=True)
    assert tracekit.instrument() == []
    assert shelf.calls == []


def test_with_everything_instrumented_threads_carry_the_trace(shelf, recorder) -> None:
    import threading

    tracekit.instrument()
    seen: list[str | None] = []
    with tracekit.span("outer"):
        thread = threading.Thread(target=lambda: seen.append(tracekit.trace_id()))
        thread.start()
        thread.join()
    assert seen == [recorder.find(name="outer").trace_id]
