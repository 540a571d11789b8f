"""A tool's definition from its signature; tags and metadata."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest

import tracekit
from tracekit import _docstrings
from tracekit.testing import Recorder


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


@dataclasses.dataclass
class Place:
    city: str
    country: str = "NO"


class Options(TypedDict, total=False):
    deep: bool


class Model:
    @classmethod
    def model_json_schema(cls) -> dict[str, object]:
        return {"type": "object", "title": "Model"}


TYPES: list[tuple[Any, dict[str, object]]] = [
    (str, {"type": "string"}),
    (bool, {"type": "boolean"}),
    (int, {"type": "integer"}),
    (float, {"type": "number"}),
    (list, {"type": "array"}),
    (list[str], {"type": "array", "items": {"type": "string"}}),
    (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
    (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
    (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
    ),
    (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
    (Mapping[str, Any], {"type": "object"}),
    (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045 - people write it so
    (int | list[int], {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
    (int | None, {"type": ["integer", "null"]}),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1], {"enum": ["a", 1]}),
    (Unit, {"type": "string", "enum": ["metric", "imperial"]}),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
    (
        Place,
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
            "required": ["city"],
        },
    ),
    (Options, {"type": "object", "properties": {"deep": {"type": "boolean"}}}),
    (Model, {"type": "object", "title": "Model"}),
    (Any, {}),
    (object, {}),
    (int | Any, {}),
]


@pytest.mark.parametrize(("annotation", "schema"), TYPES, ids=[str(item[0]) for item in TYPES])
def test_annotations_become_json_schema(annotation: Any, schema: dict[str, object]) -> None:
    def work(value) -> None: ...

    work.__annotations__["value"] = annotation
    assert tracekit.tool_definition(work)["parameters"] == {
        "type": "object",
        "properties": {"value": schema},
        "required": ["value"],
        "additionalProperties": False,
    }


def test_a_definition_has_name_description_and_defaults() -> None:
    def search(query: str, limit: int = 5, unit: Unit = Unit.METRIC, *, place: Place | None = None) -> list[str]:
        return []

    search.__doc__ = (
        "Search the shop\n    for something.\n\n    Not part of it.\n\n"
        "    Args:\n        query: What to look for,\n            in words.\n        limit (int): How many.\n"
    )

    assert tracekit.tool_definition(tracekit.tool(search)) == {
        "type": "function",
        "name": "search",
        "description": "Search the shop for something.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to look for, in words."},
                "limit": {"type": "integer", "description": "How many.", "default": 5},
                "unit": {"type": "string", "enum": ["metric", "imperial"], "default": "metric"},
                "place": {
                    "anyOf": [
                        {
                            "type": "object",
                            "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                            "required": ["city"],
                        },
                        {"type": "null"},
                    ]
                },
            },
            "required": ["query"],
            "additionalProperties": False,
        },
    }


def test_methods_partials_and_objects_have_definitions() -> None:
    class Shop:
        def price(self, item: str, **more: int) -> int:
            return 3

        def __call__(self, item: str) -> int:
            return 3

    schema = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    assert tracekit.tool_definition(Shop.price)["parameters"] == schema
    assert tracekit.tool_definition(Shop().price)["parameters"] == schema
    closed = {**schema, "additionalProperties": False}
    assert tracekit.tool_definition(Shop(), name="shop") == {"type": "function", "name": "shop", "parameters": closed}
    assert tracekit.tool_definition(functools.partial(Shop().price, item="pen"))["parameters"] == {
        "type": "object",
        "properties": {"item": {"type": "string", "default": "pen"}},
    }


def test_annotations_that_nobody_can_read_are_left_open(recorder: Recorder) -> None:
    @tracekit.tool
    def work(known: int, unknown: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821 - on purpose
        ...

    work(1, 2)
    (definition,) = json.loads(recorder.spans[0].attributes["gen_ai.tool.definitions"])
    assert definition["parameters"]["properties"] == {"known": {"type": "integer"}, "unknown": {}}


@pytest.mark.parametrize(
    "docstring",
    [
        (
            "Do.\n\nArgs:\n    a: First thing.\n    b (int, optional): Second\n        thing: it is."
            "\n\nReturns:\n    c: No."
        ),
        (
            "Do.\n\nParameters\n----------\na : int\n    First thing.\nb\n    Second\n    thing: it is."
            "\n\nReturns\n-------\nc : int"
        ),
        "Do.\n\n:param a: First thing.\n:param int b: Second\n    thing: it is.\n:returns: no",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_describe_parameters(docstring: str) -> None:
    assert _docstrings.described(docstring) == {"a": "First thing.", "b": "Second thing: it is."}
    assert _docstrings.summary(docstring) == "Do."


def test_tags_and_metadata_are_on_every_span_inside(recorder: Recorder) -> None:
    outer = tracekit.tags("beta"), tracekit.metadata(shelf=3, row=None), tracekit.span("a")
    with outer[0], outer[1], outer[2], tracekit.tags("night", "beta"), tracekit.span("b") as span:
        span.set(metadata={"book": "x", "page": None}, prompt_name="greet", prompt_version="2")
    with tracekit.span("c") as span:
        span.set(tags=["one"])
    first, second, third = (span.attributes for span in recorder.spans)
    assert (first["tracekit.tags"], first["tracekit.metadata.shelf"]) == (("beta",), 3)
    assert "tracekit.metadata.row" not in first
    assert second["tracekit.tags"] == ("beta", "night")
    assert (second["tracekit.metadata.shelf"], second["tracekit.metadata.book"]) == (3, "x")
    assert "tracekit.metadata.page" not in second
    assert (second["gen_ai.prompt.name"], second["gen_ai.prompt.version"]) == ("greet", "2")
    assert third["tracekit.tags"] == ("one",)
