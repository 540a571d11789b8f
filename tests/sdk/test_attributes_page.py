"""docs/attributes.md lists every attribute that we emit, with its type, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracekit
from tracekit import _content, attributes
from tracekit._capture import LIMIT
from tracekit.testing import Recorder, recorded

PAGE = (Path(__file__).parents[2] / "docs" / "attributes.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)
EVENTS = {"exception", attributes.SCORE_EVENT, attributes.VERSION_EVENT, attributes.INFERENCE_EVENT}
EVENTS |= {attributes.RUN_EVENT, attributes.RUN_POINTS_EVENT, attributes.RUN_CONTENT_EVENT}
EXCEPTION = {"exception.type", "exception.message", "exception.stacktrace"}
PREFIX = "tracekit.metadata."


def documented() -> dict[str, str]:
    return {name: kind.strip() for name, kind in ROW.findall(PAGE) if name not in EVENTS}


def named() -> set[str]:
    """Every attribute that the code has a name for."""
    constants = {value for key, value in vars(attributes).items() if key.isupper() and isinstance(value, str)}
    return (constants - EVENTS - {PREFIX}) | set(_content.SET_KEYS.values()) | EXCEPTION | {f"{PREFIX}<key>"}


def test_the_page_lists_what_the_code_names_and_nothing_else() -> None:
    page = documented()
    assert sorted(set(page) - named()) == []
    assert sorted(named() - set(page)) == []


def test_nothing_is_listed_twice() -> None:
    names = [name for name, _ in ROW.findall(PAGE)]
    assert len(names) == len(set(names))


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {LIMIT:,} characters" in PAGE
    assert f"together {_content.SPAN_LIMIT:,}" in PAGE


def is_json(value: Any) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


FITS = {
    "string": lambda value: isinstance(value, str),
    "text or JSON": lambda value: isinstance(value, str),
    "JSON": lambda value: isinstance(value, str) and is_json(value),
    "string[]": lambda value: isinstance(value, tuple) and all(isinstance(item, str) for item in value),
    "int": lambda value: type(value) is int,
    "double": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "any": lambda value: True,
}


@pytest.fixture
def busy() -> Iterator[Recorder]:
    """One of everything, recorded."""
    with recorded(agent="bot", agent_version="1") as recorder:
        with tracekit.session("s", user="u"), tracekit.case("c", repeat=0), tracekit.tags("a"):
            for kind in attributes.STEP_KINDS:

                @tracekit.step(kind=kind)
                def work(query: str, model: str = "m", temperature: float = 0.5, system: str = "s") -> object:
                    return [{"id": "d", "content": query}]

                work("x")
                with tracekit.span("y", step=kind, input={"query": "x"}) as span:
                    span.set(
                        **{key: 1 for key in _content.SET_KEYS if key.endswith(("_tokens", "_penalty", "cost_usd"))},
                        tags=["a"],
                        finish_reasons=["stop"],
                        shelf=3,
                        tool_definitions=[{"name": "t"}],
                        documents=["d"],
                    )
                    span.output = "y"
            with tracekit.span("z") as span:
                span.fail(ValueError("bad"))
                about = {"explanation": "so", "annotator": "ada", "metadata": {"a": 1}}
                tracekit.score("helpful", 0.5, direction="maximize", **about)  # type: ignore[arg-type]  # as above
        tracekit.register_agent("bot", version="2", parameters={"a": 1})
        yield recorder


def test_what_is_emitted_is_on_the_page_and_of_its_type(busy: Recorder) -> None:
    page = documented()
    carried = [span.attributes for span in busy.spans]
    carried += [event for span in busy.spans for _, event in span.events]
    carried += [record.attributes for record in busy.records]
    seen = {key: value for found in carried for key, value in found.items()}
    assert len(seen) > 40
    for key, value in seen.items():
        kind = page[f"{PREFIX}<key>" if key.startswith(PREFIX) else key]
        assert FITS[kind](value), (key, kind, value)
