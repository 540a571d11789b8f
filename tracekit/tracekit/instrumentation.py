"""The instrumentations of other people that are installed: found by entry point, chosen, activated.

OpenTelemetry's, OpenInference's and OpenLLMetry's all register an instrumentor under `opentelemetry_instrumentor` or
`openinference_instrumentor`, named for the library that it instruments. Where two are for one library, one is chosen,
so that a call is not recorded twice: one that is active already; else the one that was asked for by its distribution's
name; else by `FAMILIES`, what tells most of a call first.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace

from tracekit import _guard, propagation
from tracekit._runtime import runtime

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint  # slow to import, and few processes instrument

GROUPS = ("openinference_instrumentor", "opentelemetry_instrumentor")
FAMILIES = ("library", "openinference", "opentelemetry", "openllmetry", "other")
"""Who made it, in the order of preference; `library` is the instrumented library itself."""
State = Literal["active", "chosen", "passed over", "disabled", "library missing", "failed"]

_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_THREADS = "threading"
_SAME_LIBRARY = {"googlegenerativeai": "googlegenai"}
_OFF = {"0", "false", "no", "off", ""}
_ON = {"1", "true", "yes", "on"}
_LANGCHAIN = "openinference.instrumentation.langchain"
_failures: dict[str, str] = {}


@dataclass(frozen=True)
class Instrumentor:
    """An installed instrumentation of one library.

    Args:
        name: The library, as the instrumentation calls it.
        family: Who made it, one of `FAMILIES`.
        distribution: What is installed, such as `openinference-instrumentation-openai`.
        version: Its version; unknown where the distribution does not say.
        state: `active`; `chosen`: `tracekit.instrument()` would activate it; `passed over`: another one is for the same
            library; `disabled`: by the environment; `library missing`: the library is not there, or in another version
            than is needed; `failed`: it could not be activated.
        reason: Why it is in that state, if there is more to say.
    """

    name: str
    family: str
    distribution: str
    version: str | None
    state: State = "chosen"
    reason: str = ""
    _module: str = field(default="", repr=False)
    _class: str = field(default="", repr=False)
    _installed: Distribution | None = field(default=None, repr=False, compare=False)

    @property
    def library(self) -> str:
        """The library's name without its spelling: what two instrumentations of one library have in common."""
        return _SAME_LIBRARY.get(_plain(self.name), _plain(self.name))


def instrument(*names: str) -> list[str]:
    """Activate the installed instrumentations of other libraries, so that their spans join ours.

    One that fails is logged and costs no other. What is active already stays as it is, and the variable
    `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` is respected. New threads carry the trace on from here.

    Args:
        names: Libraries (`openai`), or distributions where the choice between two is to be another than ours
            (`opentelemetry-instrumentation-openai-v2`); all that are installed when none is given.

    Returns:
        The libraries that are instrumented now.

    Example:
        >>> instrument("no-such-library")
        []
    """
    try:
        runtime.start()
        if runtime.tracer is None:
            return []
        found = survey(*names)
        _tell_content()
        active = [item.name for item in found if item.state == "active" or (item.state == "chosen" and _activate(item))]
        if not names and _THREADS not in active:
            propagation.carry_into_threads()
        for name in names:
            if not any(_means(name, item) for item in found):
                known = ", ".join(sorted({item.name for item in installed()})) or "none"
                _guard.note(f"instrumenting {name}", f"no instrumentation of {name!r} is installed; installed: {known}")
    except Exception:  # noqa: BLE001 - never into the user's code
        _guard.fault("instrumenting")
        return []
    return sorted(set(active))


def installed() -> list[Instrumentor]:
    """The installed instrumentations, by library and preference; none is imported."""
    found = {point.value: _described(point) for point in _points() if point.dist is not None}
    every = [*found.values(), *_self_instrumenting()]
    return sorted(every, key=lambda item: (item.library, FAMILIES.index(item.family), item.distribution))


def survey(*names: str) -> list[Instrumentor]:
    """The installed instrumentations with what is to become of each.

    Args:
        names: As for `instrument`.

    Returns:
        Those that the names mean, all without names, by library and preference.
    """
    asked = [item for item in installed() if not names or any(_means(name, item) for name in names)]
    by_name = {_plain(name) for name in names}
    groups: dict[str, list[Instrumentor]] = {}
    for item in asked:
        groups.setdefault(item.library, []).append(item)
    return [judged for group in groups.values() for judged in _judged(group, by_name)]


def begin(given: bool | Iterable[str] | None, propagate_threads: bool | None) -> None:  # noqa: FBT001 - as `init` has them
    """Do what `init` was told about instrumentations and threads, or what the settings say.

    Args:
        given: The argument `instrument` of `init`.
        propagate_threads: The argument of that name.
    """
    from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick

    runtime.baggage = None
    word = (settings.setting("instrument") or "") if given is None else ""
    if given is True or word.lower() in _ON:
        instrument()
    elif given is None and word.lower() not in _OFF:
        instrument(*(name.strip() for name in word.split(",") if name.strip()))
    elif given:
        instrument(*([given] if isinstance(given, str) else given))
    if settings.switch("propagate_threads") if propagate_threads is None else propagate_threads:
        official = any(item.library == _THREADS for item in installed())
        if not (official and instrument(_THREADS)):
            propagation.carry_into_threads()
    elif propagate_threads is False:
        propagation.leave_threads_alone()


def _judged(group: Sequence[Instrumentor], by_name: set[str]) -> list[Instrumentor]:
    """The instrumentations of one library, one of which at most is to be active."""
    usable = [_checked(item) for item in group]
    winner = next((item for item in usable if item.state == "active"), None)
    if winner is None:
        chosen = [item for item in usable if item.state == "chosen"]
        preferred = [item for item in chosen if _plain(item.distribution) in by_name]
        winner = next(iter([*preferred, *chosen]), None)
    return [
        replace(item, state="passed over", reason=f"{winner.distribution} is for the same library")
        if winner is not None and item.state == "chosen" and item is not winner
        else item
        for item in usable
    ]


def _checked(item: Instrumentor) -> Instrumentor:
    if _is_active(item):
        return replace(item, state="active")
    disabled = {_plain(name) for name in os.environ.get(_DISABLED, "").split(",") if name.strip()}
    if "*" in os.environ.get(_DISABLED, "").replace(" ", "").split(",") or _names(item) & disabled:
        return replace(item, state="disabled", reason=f"by {_DISABLED}")
    missing = _missing(item)
    if missing:
        return replace(item, state="library missing", reason=missing)
    if item.distribution in _failures:
        return replace(item, state="failed", reason=_failures[item.distribution])
    return item


def _activate(item: Instrumentor) -> bool:
    try:
        is_global = runtime.provider in (None, trace.get_tracer_provider())
        others = {} if is_global else {"tracer_provider": runtime.provider}
        if item.family == "library":
            _SELF_INSTRUMENTING[item.name][2](others)
        else:
            instrumentor: Any = getattr(importlib.import_module(item._module), item._class)()  # noqa: SLF001 - its module
            instrumentor.instrument(raise_exception_on_conflict=True, **others)
            if item._module == _LANGCHAIN:  # noqa: SLF001 - as above
                from tracekit import _langchain  # noqa: PLC0415 - only LangChain needs it

                _langchain.make_current()
    except Exception as error:  # noqa: BLE001 - one that fails costs no other
        _failures[item.distribution] = f"{type(error).__name__}: {error}"
        _guard.fault(f"instrumenting {item.name} with {item.distribution}")
        return False
    return True


def _is_active(item: Instrumentor) -> bool:
    module: Any = sys.modules.get(item._module)  # noqa: SLF001 - its module
    if module is None:
        return False
    if item.family == "library":
        return bool(_SELF_INSTRUMENTING[item.name][1](module))
    single = getattr(getattr(module, item._class, None), "_instance", None)  # noqa: SLF001 - as above
    return bool(getattr(single, "is_instrumented_by_opentelemetry", False))


def _points() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - as above

    return [point for group in GROUPS for point in entry_points(group=group)]


def _described(point: EntryPoint) -> Instrumentor:
    made: Distribution = point.dist  # type: ignore[assignment]  # asked before
    name = str(made.metadata["Name"])
    fields = ("Author", "Author-email", "Home-page", "Project-URL")
    about = " ".join(str(value) for key in fields for value in made.metadata.get_all(key, []))
    if name.startswith("openinference-"):
        family = "openinference"
    elif "traceloop" in about.lower() or "openllmetry" in about.lower():
        family = "openllmetry"
    else:
        family = "opentelemetry" if name.startswith("opentelemetry-") else "other"
    return Instrumentor(
        point.name, family, name, made.version, _module=point.module, _class=point.attr, _installed=made
    )


def _missing(item: Instrumentor) -> str:
    """What an instrumentation needs and is not there, empty where nothing is missing."""
    if item._installed is None:  # noqa: SLF001 - its module
        return ""
    try:
        dependencies: Any = importlib.import_module("opentelemetry.instrumentation.dependencies")
        conflict = dependencies.get_dist_dependency_conflicts(item._installed)  # noqa: SLF001 - as above
    except Exception:  # noqa: BLE001 - an older or odd one: it tells when it is activated
        return ""
    if conflict is None:
        return ""
    needed = str(getattr(conflict, "required", None) or "").partition(";")[0].strip()
    there = getattr(conflict, "found", None)
    return f"it needs {needed or 'another library'}, {f'and {there} is' if there else 'which is not'} installed"


def _means(name: str, item: Instrumentor) -> bool:
    return _SAME_LIBRARY.get(_plain(name), _plain(name)) in _names(item)


def _names(item: Instrumentor) -> set[str]:
    return {item.library, _plain(item.name), _plain(item.distribution)}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _tell_content() -> None:
    """Tell the instrumentations, in their own variables, whether to record what models are given and say."""
    if runtime.capture:
        os.environ.setdefault("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")  # older ones ask for it
        return
    for variable, value in (
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT"),
        ("OPENINFERENCE_HIDE_INPUTS", "true"),
        ("OPENINFERENCE_HIDE_OUTPUTS", "true"),
        ("TRACELOOP_TRACE_CONTENT", "false"),
    ):
        os.environ[variable] = value


def _switch_on_pydantic_ai(others: dict[str, Any]) -> None:
    pydantic_ai: Any = importlib.import_module("pydantic_ai")
    models: Any = importlib.import_module("pydantic_ai.models.instrumented")
    pydantic_ai.Agent.instrument_all(models.InstrumentationSettings(include_content=runtime.capture, **others))


# Libraries that bring their own spans and want to be told: distributions, whether it is on, how to switch it on.
_SELF_INSTRUMENTING: dict[str, tuple[tuple[str, ...], Callable[[Any], object], Callable[[dict[str, Any]], None]]] = {
    "pydantic_ai": (
        ("pydantic-ai-slim", "pydantic-ai"),
        lambda module: getattr(module.Agent, "_instrument_default", False),
        _switch_on_pydantic_ai,
    ),
}


def _self_instrumenting() -> Iterable[Instrumentor]:
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415 - as above

    for name, (distributions, *_) in _SELF_INSTRUMENTING.items():
        for each in distributions:
            try:
                version = distribution(each).version
            except PackageNotFoundError:
                continue
            yield Instrumentor(name, "library", each, version, _module=name)
            break
