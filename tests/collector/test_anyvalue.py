"""OTLP values survive their way through JSON text, and large payloads are stored once."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tracekit.errors import DecodeError
from tracekit_collector import anyvalue, folding

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)
KEYS = st.one_of(TEXTS, st.sampled_from(["$kv", "$bytes", "$double", "$ref", "$path", "", "a", "b"]))
SCALARS = st.one_of(
    st.builds(AnyValue),
    st.builds(lambda value: AnyValue(string_value=value), TEXTS),
    st.builds(lambda value: AnyValue(bool_value=value), st.booleans()),
    st.builds(lambda value: AnyValue(int_value=value), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda value: AnyValue(double_value=value), st.floats()),
    st.builds(lambda value: AnyValue(bytes_value=value), st.binary(max_size=12)),
)


def _pairs(values: st.SearchStrategy[AnyValue]) -> st.SearchStrategy[list[KeyValue]]:
    return st.lists(st.builds(lambda key, value: KeyValue(key=key, value=value), KEYS, values), max_size=4)


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda items: AnyValue(array_value=ArrayValue(values=items)), st.lists(inner, max_size=4)),
        st.builds(lambda pairs: AnyValue(kvlist_value=KeyValueList(values=pairs)), _pairs(inner)),
    ),
    max_leaves=12,
)
ATTRIBUTES = _pairs(VALUES)


def _same(left: AnyValue, right: AnyValue) -> bool:
    # Serialized, because NaN is not equal to itself.
    return left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True)


@given(VALUES)
def test_any_value_comes_back_with_its_type(value: AnyValue) -> None:
    back = AnyValue()
    anyvalue.value_of(anyvalue.value_text(value), back)
    if value.WhichOneof("value") == "double_value" and math.isnan(value.double_value):
        assert math.isnan(back.double_value)
    else:
        assert _same(back, _with_one_nan(value))


@given(ATTRIBUTES)
def test_attributes_come_back_in_order_with_duplicates(attributes: list[KeyValue]) -> None:
    span = Span(attributes=attributes)
    back = Span()
    anyvalue.attributes_of(anyvalue.attributes_text(span.attributes), back.attributes)
    expected = Span(attributes=[KeyValue(key=item.key, value=_with_one_nan(item.value)) for item in attributes])
    assert back.SerializeToString() == expected.SerializeToString()


@given(ATTRIBUTES)
def test_python_values_are_the_same_from_protobuf_and_from_text(attributes: list[KeyValue]) -> None:
    span = Span(attributes=attributes)
    text = anyvalue.attributes_text(span.attributes)
    assert repr(anyvalue.attributes_from_text(text)) == repr(anyvalue.python_attributes(span.attributes))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (AnyValue(double_value=1), "1.0"),
        (AnyValue(int_value=1), "1"),
        (AnyValue(int_value=-(2**63)), "-9223372036854775808"),
        (AnyValue(double_value=1e300), "1e+300"),
        (AnyValue(double_value=math.inf), '{"$double":"Infinity"}'),
        (AnyValue(double_value=math.nan), '{"$double":"NaN"}'),
        (AnyValue(bytes_value=b"hi"), '{"$bytes":"aGk="}'),
        (AnyValue(), "null"),
        (AnyValue(array_value=ArrayValue()), "[]"),
        (AnyValue(kvlist_value=KeyValueList()), "{}"),
        (
            AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="$ref", value=AnyValue(int_value=1))])),
            '{"$kv":[["$ref",1]]}',
        ),
    ],
)
def test_the_text_of_a_value_is(value: AnyValue, text: str) -> None:
    assert anyvalue.value_text(value) == text


def test_of_a_key_that_comes_twice_the_last_counts_and_both_are_kept() -> None:
    span = Span(attributes=[_attribute("a", "1"), _attribute("a", "2")])
    assert anyvalue.python_attributes(span.attributes) == {"a": "2"}
    assert anyvalue.attributes_text(span.attributes) == '{"$kv":[["a","1"],["a","2"]]}'


def test_a_value_nested_without_end_is_refused_and_not_followed() -> None:
    value = AnyValue()
    inner = value
    for _ in range(200):
        inner = inner.array_value.values.add()
    for read in (anyvalue.python_value, anyvalue.value_text):
        with pytest.raises(DecodeError, match="more than 64 levels deep"):
            read(value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"a": {"$new": 1}}', '{"a": {"$bytes": "?"}}', '{"a": {"$double": "x"}}']
)
def test_damaged_text_is_a_decode_error(text: str) -> None:
    with pytest.raises(DecodeError):
        anyvalue.attributes_of(text, Span().attributes)


def test_a_reference_that_was_not_unfolded_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="unfold"):
        anyvalue.attributes_of('{"input.value": {"$ref": "input"}}', Span().attributes)


@given(
    st.lists(
        st.builds(Span.Event, name=TEXTS, time_unix_nano=st.integers(0, 2**64 - 1), attributes=ATTRIBUTES), max_size=3
    ),
    st.lists(
        st.builds(
            Span.Link,
            trace_id=st.binary(min_size=16, max_size=16),
            span_id=st.binary(max_size=8),
            trace_state=TEXTS,
            flags=st.integers(0, 2**32 - 1),
            dropped_attributes_count=st.integers(0, 9),
        ),
        max_size=3,
    ),
)
@settings(max_examples=50)
def test_events_and_links_come_back(events: list[Span.Event], links: list[Span.Link]) -> None:
    span, back = Span(events=events, links=links), Span()
    anyvalue.events_of(anyvalue.events_text(span), back.events)
    anyvalue.links_of(anyvalue.links_text(span), back.links)
    for event in span.events:
        for item in event.attributes:
            item.value.CopyFrom(_with_one_nan(item.value))
    assert back.SerializeToString() == span.SerializeToString()


LONG = st.text(alphabet='abc$"\\é', min_size=1, max_size=3).map(lambda text: text * 300)


@given(
    st.dictionaries(st.sampled_from(["input.value", "a", "b", "$c", "d"]), st.one_of(LONG, TEXTS), max_size=4),
    st.dictionaries(st.sampled_from(["input", "output", "tool_result"]), LONG, max_size=3),
    st.lists(LONG, max_size=2),
)
def test_folded_attributes_unfold_to_what_they_were(
    attributes: dict[str, str], columns: dict[str, str], said: list[str]
) -> None:
    span = Span(attributes=[_attribute(key, value) for key, value in attributes.items()])
    parts = [{"type": "text", "content": text} for text in said]
    row: dict[str, object] = {**columns, "input_messages": anyvalue.plain_text([{"role": "user", "parts": parts}])}
    known = anyvalue.python_attributes(span.attributes)
    folded = anyvalue.attributes_text(span.attributes, known, folding.references(known, row))
    assert folding.unfold(folded, row) == anyvalue.attributes_text(span.attributes)


def test_a_payload_that_a_column_holds_is_stored_once() -> None:
    whole, inside = "w" * 300, "i" * 300
    row = {"input": whole, "output_messages": f'[{{"role":"user","parts":[{{"type":"text","content":"{inside}"}}]}}]'}
    assert folding.references({"a": whole, "b": inside, "c": "w" * 255, "d": "x" * 300}, row) == {
        "a": {"$ref": "input"},
        "b": {"$ref": "output_messages", "$path": [0, "parts", 0, "content"]},
    }


def test_a_reference_to_nothing_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="does not hold"):
        folding.unfold('{"a": {"$ref": "input_messages", "$path": [3]}}', {"input_messages": "[]"})


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _with_one_nan(value: AnyValue) -> AnyValue:
    """The value with every NaN as the one that text can say: its sign and payload mean nothing."""
    kind = value.WhichOneof("value")
    if kind == "double_value" and math.isnan(value.double_value):
        return AnyValue(double_value=struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000000))[0])
    if kind == "array_value":
        return AnyValue(array_value=ArrayValue(values=[_with_one_nan(item) for item in value.array_value.values]))
    if kind == "kvlist_value":
        pairs = [KeyValue(key=item.key, value=_with_one_nan(item.value)) for item in value.kvlist_value.values]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    return value
