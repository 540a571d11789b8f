"""Plugin specs: what they say, what they load, what they tell when they are wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import plugins
from tracekit.errors import PluginError
from tracekit.plugins import Spec, parse


def scale(factor: float = 2.0, *, name: str = "x") -> Callable[[float], tuple[str, float]]:
    return lambda value: (name, value * factor)


class Shelf:
    factory = staticmethod(scale)


NOT_CALLABLE = 3


@pytest.fixture(autouse=True)
def _importable(monkeypatch) -> None:
    import types

    module = types.ModuleType("shelf_of_plugins")
    module.__dict__.update(scale=scale, Shelf=Shelf, NOT_CALLABLE=NOT_CALLABLE)
    monkeypatch.setitem(sys.modules, "shelf_of_plugins", module)
    point = EntryPoint("scale", "shelf_of_plugins:scale", "tracekit.judges")
    monkeypatch.setattr(plugins, "points", lambda group: (point,) if group == "tracekit.judges" else ())


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("name", Spec("name")),
        (" name ", Spec("name")),
        ("name?a=1", Spec("name", {"a": 1})),
        ("name?a=1.5&b=true&c=text&d=", Spec("name", {"a": 1.5, "b": True, "c": "text", "d": ""})),
        ('name?list=["a","b"]', Spec("name", {"list": ["a", "b"]})),
        ("name?text=a+b%26c", Spec("name", {"text": "a+b&c"})),
        ("regex?pattern=^a(b|c)?=$", Spec("regex", {"pattern": "^a(b|c)?=$"})),
        ("pkg.mod:Class.factory?x=null", Spec("pkg.mod:Class.factory", {"x": None})),
        ({"use": "name", "a": [1]}, Spec("name", {"a": [1]})),
    ],
)
def test_what_a_spec_says(text, spec: Spec) -> None:
    assert parse(text) == spec


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True).filter(lambda key: key != "use"),
        st.integers() | st.booleans() | st.lists(st.integers()),
    )
)
def test_a_mapping_says_the_same_as_its_parts(parameters: dict[str, object]) -> None:
    assert parse({"use": "name", **parameters}) == Spec("name", parameters)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]+", fullmatch=True),
        st.integers() | st.booleans() | st.lists(st.integers() | st.sampled_from("abc")) | st.sampled_from("abc"),
    )
)
def test_a_spec_written_out_is_read_back(parameters: dict[str, object]) -> None:
    spec = Spec("name", parameters)
    assert parse(str(spec)) == spec


@pytest.mark.parametrize("text", ["", "  ", "?a=1", {"a": 1}, {"use": " "}])
def test_a_spec_that_names_nothing_is_told(text) -> None:
    with pytest.raises(PluginError, match=r"names no plugin|has no 'use'"):
        parse(text)


@pytest.mark.parametrize(
    "spec",
    [
        "scale?factor=3&name=y",
        "shelf_of_plugins:scale?factor=3&name=y",
        "shelf_of_plugins:Shelf.factory?factor=3&name=y",
        {"use": "scale", "factor": 3, "name": "y"},
        Spec("scale", {"factor": 3, "name": "y"}),
    ],
)
def test_every_way_to_name_a_plugin_builds_the_same(spec) -> None:
    built = plugins.load("tracekit.judges", spec)
    assert built(2) == ("y", 6)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scael", r"there is no judge called 'scael'; installed: scale"),
        ("scale?fctor=3", r"scale: got an unexpected keyword argument 'fctor'; it takes factor: 'float' = 2\.0, name"),
        ("nowhere:scale", r"cannot load nowhere:scale: No module named 'nowhere'"),
        ("shelf_of_plugins:missing", r"cannot load shelf_of_plugins:missing: "),
        ("shelf_of_plugins:NOT_CALLABLE", r"shelf_of_plugins:NOT_CALLABLE is a int, not a factory"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        plugins.load("tracekit.judges", spec)


def test_a_group_without_plugins_says_so() -> None:
    with pytest.raises(PluginError, match="there is no reporter called 'x'; installed: none"):
        plugins.load("tracekit.reporters", "x")


def test_what_is_installed_is_listed_by_group() -> None:
    assert [(group, point.name) for group, point in plugins.installed()] == [("tracekit.judges", "scale")]
