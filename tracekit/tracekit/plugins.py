"""Plugins: a factory found by name, given keyword parameters, returning a callable.

One spec string names any of them: `name?key=value&other=2`, or `package.module:factory?key=value`. In configuration
files the same is `{use: name, key: value}`.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import parse_qsl

from tracekit.errors import PluginError

GROUPS = (
    "tracekit.commands",
    "tracekit.dialects",
    "tracekit.processors",
    "tracekit.judges",
    "tracekit.models",
    "tracekit.reporters",
    "tracekit.gates",
)


@dataclass(frozen=True)
class Spec:
    """What a spec string or mapping says.

    Args:
        use: The plugin's name, or `package.module:factory`.
        parameters: Keyword parameters for the factory.
    """

    use: str
    parameters: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """The spec as one string, its parameters sorted by name."""
        if not self.parameters:
            return self.use
        return self.use + "?" + "&".join(f"{key}={_text(value)}" for key, value in sorted(self.parameters.items()))


def parse(spec: str | Mapping[str, object]) -> Spec:
    """Read a spec string or mapping.

    Values in a string are read as JSON where they are JSON (`3`, `true`, `["a","b"]`), else as text.

    Args:
        spec: `name?key=value` or `{"use": name, key: value}`.

    Returns:
        The plugin's name and parameters.

    Raises:
        PluginError: The mapping has no `use`, or the string is empty.

    Example:
        >>> parse("regex?pattern=^ok&ignore_case=true")
        Spec(use='regex', parameters={'pattern': '^ok', 'ignore_case': True})
    """
    if isinstance(spec, str):
        use, _, query = spec.partition("?")
        if not use.strip():
            raise PluginError(f"the plugin spec {spec!r} names no plugin; write NAME or NAME?key=value")
        pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
        return Spec(use.strip(), {key: _value(value) for key, value in pairs})
    use = str(spec.get("use", "")).strip()
    if not use:
        raise PluginError(f"the plugin spec {dict(spec)!r} has no 'use'; write {{use: NAME, key: value}}")
    return Spec(use, {str(key): value for key, value in spec.items() if key != "use"})


def load(group: str, spec: str | Mapping[str, object] | Spec) -> object:
    """Build the plugin that a spec names.

    Args:
        group: One of `GROUPS`.
        spec: The plugin and its parameters.

    Returns:
        What the plugin's factory returns.

    Raises:
        PluginError: Nothing has that name, or its factory does not take these parameters.
    """
    parsed = spec if isinstance(spec, Spec) else parse(spec)
    factory = find(group, parsed.use)
    try:
        inspect.signature(factory).bind(**parsed.parameters)
    except TypeError as error:
        raise PluginError(f"{parsed.use}: {error}; it takes {_signature(factory)}") from None
    return factory(**parsed.parameters)


def find(group: str, name: str) -> Callable[..., object]:
    """The factory that a name or `package.module:factory` stands for.

    Args:
        group: One of `GROUPS`.
        name: An entry point's name, or a path to import.

    Raises:
        PluginError: There is no such plugin.
    """
    module, colon, attribute = name.partition(":")
    if colon:
        return _imported(module, attribute)
    for point in points(group):
        if point.name == name:
            return _callable(point.load(), name)
    known = ", ".join(sorted({point.name for point in points(group)})) or "none"
    raise PluginError(f"there is no {group.partition('.')[2].rstrip('s')} called {name!r}; installed: {known}")


@lru_cache
def points(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, by name."""
    return tuple(sorted(set(entry_points(group=group)), key=lambda point: (point.name, point.value)))


def installed() -> Iterator[tuple[str, EntryPoint]]:
    """Every installed plugin with its group."""
    for group in GROUPS:
        for point in points(group):
            yield group, point


def _imported(module: str, attribute: str) -> Callable[..., object]:
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"cannot load {module}:{attribute}: {error}") from error
    return _callable(found, f"{module}:{attribute}")


def _callable(found: object, name: str) -> Callable[..., object]:
    if not callable(found):
        raise PluginError(f"{name} is a {type(found).__name__}, not a factory")
    return found


def _signature(factory: Callable[..., object]) -> str:
    names = [str(parameter) for parameter in inspect.signature(factory).parameters.values()]
    return ", ".join(names) or "no parameters"


def _value(text: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
