"""The dialects that are built in, and the door for others."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tracekit import plugins
from tracekit.errors import PluginError
from tracekit_collector import dialects, fields, normalise
from tracekit_collector.dialects import RawSpan
from tracekit_collector.dialects._flat import items_of, message_of, unflattened
from tracekit_collector.dialects._table import keys_table, steps_table

NEW = """
from tracekit_collector.dialects import Dialect, Lift, marks, ranked

def dialect():
    return Dialect(
        name="acme",
        rank=1,
        recognises=marks("acme.kind"),
        keys={"model": ranked(5, "acme.model"), "output": ranked(30, "acme.answer")},
        steps={("acme.kind", 5): {"thought": "llm"}},
        lifts=(Lift(40, marks("acme.kind"), lambda span: {"input": span.attributes["acme.kind"]}),),
    )
"""


@pytest.fixture
def _fresh() -> object:
    caches = (dialects.installed, normalise._dialects, normalise._index)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> None:
    (folder / "acme_dialect.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    monkeypatch.delitem(__import__("sys").modules, "acme_dialect", raising=False)
    known = plugins.points("tracekit.dialects")
    point = EntryPoint("acme", "acme_dialect:dialect", "tracekit.dialects")
    monkeypatch.setattr(plugins, "points", lambda group: (*known, point))


@pytest.mark.usefixtures("_fresh")
def test_a_new_dialect_is_one_file_and_one_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _install(monkeypatch, tmp_path, NEW)
    span = RawSpan(
        "s", attributes={"acme.kind": "Thought", "acme.model": "m-1", "acme.answer": "42", "gen_ai.request.model": "m"}
    )
    found = normalise.normalise(span)
    assert found["dialect"] == "acme"
    assert (found["step"], found["model"], found["model_requested"]) == ("llm", "m-1", "m")
    assert (found["input"], found["output"]) == ("Thought", "42")


@pytest.mark.usefixtures("_fresh")
def test_an_entry_point_that_gives_no_dialect_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _install(monkeypatch, tmp_path, "def dialect():\n    return 3\n")
    with pytest.raises(PluginError, match=r"acme.*gives a int"):
        dialects.installed()


def test_the_built_in_dialects_come_through_the_same_door() -> None:
    assert {dialect.name for dialect in dialects.installed()} >= {"tracekit", "openinference", "otel_genai"}


@pytest.mark.parametrize(
    ("span", "dialect"),
    [
        (RawSpan("s", attributes={"tracekit.step": "llm", "gen_ai.operation.name": "chat"}), "tracekit"),
        (RawSpan("s", attributes={"openinference.span.kind": "LLM", "gen_ai.request.model": "m"}), "openinference"),
        (RawSpan("s", attributes={"llm.input_messages.0.message.role": "user"}), "openinference"),
        (RawSpan("s", attributes={"gen_ai.system": "openai"}), "otel_genai"),
        (RawSpan("s", attributes={"http.route": "/"}), None),
    ],
)
def test_the_label_names_the_dialect(span: RawSpan, dialect: str | None) -> None:
    assert normalise.normalise(span)["dialect"] == dialect


def test_flattened_indexes_sort_by_number_and_may_have_gaps() -> None:
    attributes = {f"llm.input_messages.{place}.message.content": str(place) for place in (10, 9, 2)}
    attributes["llm.input_messages.x.message.content"] = "no index"
    tree = unflattened(attributes, frozenset({"llm.input_messages"}))["llm.input_messages"]
    assert [item["message"]["content"] for item in items_of(tree)] == ["2", "9", "10"]


def test_a_flattened_message_keeps_text_calls_and_results_once() -> None:
    node = {
        "role": "assistant",
        "content": "Let me look.",
        "contents": {
            "0": {"message_content": {"type": "text", "text": "Let me look."}},
            "1": {
                "message_content": {"type": "tool_use"},
                "tool_call": {"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}},
            },
            "2": {"message_content": {"type": "image", "image": {"image": {"url": "http://x/y.png"}}}},
        },
        "tool_calls": {"0": {"tool_call": {"id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}}},
    }
    assert message_of(node, "assistant") == {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "Let me look."},
            {"type": "uri", "modality": "image", "uri": "http://x/y.png"},
            {"type": "tool_call", "id": "1", "name": "f", "arguments": {"a": 1}},
        ],
    }
    assert message_of({"role": "tool", "content": "r", "tool_call_id": "1"}, "user") == {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "1", "response": "r"}],
    }


def test_an_openinference_model_name_is_the_answering_one_unless_it_repeats_the_request() -> None:
    def models(**more: object) -> tuple[object, object]:
        given = {"openinference.span.kind": "LLM", "llm.model_name": "m-2024", **more}
        found = normalise.normalise(RawSpan("s", attributes=given))
        return found.get("model_requested"), found.get("model")

    assert models(**{"llm.invocation_parameters": '{"model": "m"}'}) == ("m", "m-2024")
    assert models(**{"llm.invocation_parameters": '{"model": "m-2024"}'}) == ("m-2024", None)
    assert models(**{"output.value": '{"id": "r-1", "model": "m-2024"}'}) == (None, "m-2024")
    assert models() == ("m-2024", None)


def test_openinference_tool_spans_are_unwrapped() -> None:
    def tool(**more: object) -> dict[str, object]:
        return normalise.normalise(RawSpan("T", attributes={"openinference.span.kind": "TOOL", **more}))

    wrapped = tool(**{"input.value": '{"args": [], "kwargs": {"q": "x"}}', "tool.name": "search"})
    assert (wrapped["tool_name"], wrapped["tool_arguments"]) == ("search", '{"q":"x"}')
    langchain = tool(**{"output.value": '{"type": "tool", "data": {"content": "r", "tool_call_id": "c-1"}}'})
    assert (langchain["tool_result"], langchain["tool_call_id"]) == ("r", "c-1")
    schema = tool(**{"tool.parameters": '{"type": "object", "properties": {}}'})
    assert "tool_arguments" not in schema
    assert tool(**{"tool.parameters": '{"q": "x"}'})["tool_arguments"] == '{"q":"x"}'


def test_every_key_of_every_dialect_stands_for_a_known_column() -> None:
    for dialect in dialects.installed():
        assert set(dialect.keys) | set(dialect.resource) <= set(fields.READERS)


def test_the_page_of_dialects_shows_the_keys_and_ranks_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dialects.md").read_text()
    built_in = [dialect for dialect in dialects.installed() if f"`{dialect.name}`" in page]
    assert {dialect.name for dialect in dialects.installed()} == {dialect.name for dialect in built_in}
    assert keys_table(built_in) in page
    assert steps_table(built_in) in page


def test_no_two_keys_of_a_field_have_one_rank() -> None:
    """Of two filled values it must be plain which one wins."""
    ranks: dict[tuple[str, int], set[str]] = {}
    for dialect in dialects.installed():
        for field, keys in dialect.keys.items():
            for key in keys:
                ranks.setdefault((field, key.rank), set()).add(key.name)
    assert {place: keys for place, keys in ranks.items() if len(keys) > 1} == {}


def test_a_shape_that_was_seen_before_is_read_from_its_plan_and_plans_are_bounded() -> None:
    for place in range(normalise._MOST_PLANS + 10):
        normalise.normalise(RawSpan("s", attributes={f"k{place}": 1}))
    assert len(normalise._plans) <= normalise._MOST_PLANS
    first = normalise.normalise(RawSpan("s", attributes={"gen_ai.operation.name": "chat", "session.id": "a"}))
    second = normalise.normalise(RawSpan("s", attributes={"gen_ai.operation.name": "execute_tool", "session.id": "b"}))
    assert (first["step"], first["session_id"], second["step"], second["session_id"]) == ("llm", "a", "tool", "b")
