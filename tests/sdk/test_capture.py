"""Capture: any object becomes valid JSON within its limit, and nothing ever raises."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracekit
from tracekit import _guard
from tracekit._capture import LIMIT, attribute, clean_text, plain, to_json, to_text
from tracekit.attributes import STEP_KINDS, StepKind
from tracekit.testing import recorded


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Order:
    item: str
    parts: list[object]


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Evil:
    """Raises at every touch."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class EvilMapping(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class EvilText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    def encode(self, *_: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError


class Endless(collections.abc.Sequence):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: Any) -> int:
        return 7


def cycle() -> list[object]:
    items: list[object] = [1]
    items.append(items)
    return items


EXAMPLES: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (7, 7),
    (1.5, 1.5),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (float("-inf"), "-Infinity"),
    ("text", "text"),
    (Word("word"), "word"),
    (Colour.RED, "red"),
    (Level.LOW, 1),
    ((1, [2, {"a": None}]), [1, [2, {"a": None}]]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (collections.deque([1, 2]), [1, 2]),
    (range(3), [0, 1, 2]),
    ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (Point(1, 2), {"x": 1, "y": 2}),
    (Order("pen", [Colour.RED]), {"item": "pen", "parts": ["red"]}),
    (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.time(3, 4), "03:04:00"),
    (datetime.timedelta(hours=1), "1:00:00"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (pathlib.PurePosixPath("/a/b"), "/a/b"),
    (1 + 2j, "(1+2j)"),
    (b"abc", {"type": "bytes", "size": 3, "base64": "YWJj"}),
    (bytearray(b"abc"), {"type": "bytes", "size": 3, "base64": "YWJj"}),
    (memoryview(b"abc"), {"type": "bytes", "size": 3, "base64": "YWJj"}),
    (ValueError("bad"), {"type": "ValueError", "message": "bad"}),
    (Mute(), "<Mute: cannot be read: RuntimeError>"),
    (Evil(), "<Evil: cannot be read: RuntimeError>"),
    (EvilMapping(a=1), "<EvilMapping: cannot be read: RuntimeError>"),
    (cycle(), [1, "…[cycle: list]"]),
    (object(), "<object>"),
    (Order, f"<class {__name__}.Order>"),
    (len, "<function builtins.len>"),
    (json, "<module json>"),
    ((number for number in [1]), "<generator>"),
    ("a\ud800", "a\\ud800"),
    ({"k\udfff": "é"}, {"k\\udfff": "é"}),
    (10**5000, "…[integer of 16610 bits]"),
]


@pytest.mark.parametrize(("value", "expected"), EXAMPLES, ids=[str(number) for number in range(len(EXAMPLES))])
def test_examples(value: object, expected: object) -> None:
    text = to_json(value)
    assert json.loads(text) == expected
    text.encode()


def test_arrays_and_tables_are_previewed() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy comes with the evaluators")
    assert json.loads(to_json({"x": numpy.float32(1.5), "n": numpy.int64(3), "b": numpy.bool_(True)})) == {
        "x": 1.5,
        "n": 3,
        "b": True,
    }
    assert json.loads(to_json(numpy.zeros((2, 2)))) == {
        "type": "ndarray",
        "dtype": "float64",
        "shape": [2, 2],
        "values": [[0.0, 0.0], [0.0, 0.0]],
    }
    assert json.loads(to_json(numpy.arange(1000)))["first values"] == list(range(32))


def test_a_data_frame_shows_its_first_rows() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is nobody's dependency here")
    assert json.loads(to_json(pandas.DataFrame({"a": range(9)}))) == {
        "type": "DataFrame",
        "shape": [9, 1],
        "columns": ["a"],
        "first rows": [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}],
    }


def test_objects_that_dump_themselves_are_dumped() -> None:
    class Model:
        def model_dump(self) -> dict[str, object]:
            return {"name": "n", "when": datetime.date(2026, 1, 2)}

    class Defined:
        __attrs_attrs__ = (type("Field", (), {"name": "size"})(),)
        size = 3

    assert json.loads(to_json([Model(), Defined()])) == [{"name": "n", "when": "2026-01-02"}, {"size": 3}]


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        ("x" * 1_000_000, "…[truncated: "),
        (list(range(1_000_000)), " more items]"),
        ({str(number): number for number in range(100_000)}, " more entries]"),
        ({"deep": ["y" * 100_000, 1]}, " more characters]"),
        (Endless(), " more items]"),
        (range(10**12), " more items]"),
        (["\x00" * 60_000], "…[truncated: "),
        ([cycle()] * 100_000, " more items]"),
        ({f"k{n}": float("nan") for n in range(100_000)}, " more entries]"),
    ],
    ids=["text", "list", "dict", "deep text", "endless", "range", "escapes", "cycles", "numbers"],
)
def test_what_is_too_long_is_cut_with_a_mark(value: object, mark: str) -> None:
    text = to_json(value)
    assert len(text) <= LIMIT
    assert len(text) > LIMIT // 4
    assert mark in text
    json.loads(text)


def test_what_is_too_deep_is_cut_with_a_mark() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    text = to_json(value)
    assert "…[too deep: list]" in text
    json.loads(text)


def test_digests_need_the_whole_value() -> None:
    whole = ["x" * 1_000_000, list(range(100_000))]
    assert plain(whole, limit=None) == whole


def test_text_stays_text() -> None:
    assert to_text('{"a": 1}') == ('{"a": 1}', "text/plain")
    assert to_text({"a": 1}) == ('{"a": 1}', "application/json")
    assert to_text(Colour.RED) == ('"red"', "application/json")
    assert len(clean_text("x" * 1_000_000)) <= LIMIT
    assert clean_text(EvilText("abc")) in {"abc", "<str: cannot be read>"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (True, True),
        (1.5, 1.5),
        ("a", "a"),
        (["a", "b"], ["a", "b"]),
        ((1, 2), [1, 2]),
        ([1, "a"], '[1, "a"]'),
        ([1, True], "[1, true]"),
        (1 << 64, "18446744073709551616"),
        ([1 << 64], "[18446744073709551616]"),
        ([], "[]"),
        ({"a": 1}, '{"a": 1}'),
        (None, "null"),
    ],
)
def test_attributes_are_scalars_lists_of_one_type_or_json(value: object, expected: object) -> None:
    assert attribute(value) == expected


ODD: dict[str, object] = {
    "enum": Colour.RED,
    "number enum": Level.LOW,
    "mute": Mute(),
    "evil": Evil(),
    "evil mapping": EvilMapping(a=1),
    "evil text": EvilText("x"),
    "object": object(),
    "class": Order,
    "function": len,
    "cycle": cycle(),
}


@dataclasses.dataclass(frozen=True)
class Odd:
    """Stands for an object that not even hypothesis could handle."""

    name: str


def real(value: object) -> object:
    """The value with the odd objects in their places."""
    if isinstance(value, Odd):
        return ODD[value.name]
    if isinstance(value, (list, tuple)):
        return type(value)(real(item) for item in value)
    if isinstance(value, dict):
        return {key: real(item) for key, item in value.items()}
    if isinstance(value, Order):
        return Order(value.item, [real(part) for part in value.parts])
    if isinstance(value, ValueError):
        return ValueError(*(real(part) for part in value.args))
    return value


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.builds(Odd, st.sampled_from(sorted(ODD)))
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.sets(scalars.filter(lambda value: type(value) in (int, str, float, bytes)))
        | st.dictionaries(st.text(st.characters(exclude_categories=[])) | st.integers() | st.none(), inner)
        | st.builds(Order, st.text(), st.lists(inner))
        | st.builds(ValueError, inner)
    ),
    max_leaves=40,
)


@given(anything)
def test_any_object_becomes_valid_json_within_the_limit(value: object) -> None:
    text = to_json(real(value), limit=4_096)
    json.loads(text)
    text.encode()
    assert len(text) <= 4_096


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20), st.lists))
def test_plain_values_come_back_as_they_went_in(value: object) -> None:
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return
    text = to_json(value)
    if "…[" not in text:
        assert json.loads(text) == value


@pytest.mark.parametrize("name", sorted(ODD))
@pytest.mark.parametrize("kind", STEP_KINDS)
def test_odd_objects_cost_nothing_but_themselves(name: str, kind: StepKind) -> None:
    odd = ODD[name]

    @tracekit.step(kind=kind)
    def work(value: object, items: list[object]) -> object:
        return odd

    with recorded() as recorder:
        assert work(odd, [odd]) is odd
        with tracekit.span("by hand", step=kind, input=odd) as span:
            span.output = odd
            span.output = [odd]
            span.set(model=odd, documents=odd, tags=odd, other=odd, input_messages=odd, finish_reason=odd)
    assert _guard.faults == {}
    first, second = recorder.spans
    assert (first.status, second.status) == ("unset", "unset")
    assert None not in (first.input, first.output, second.input, second.output)


@given(anything, anything)
def test_any_object_as_argument_and_result_changes_nothing_and_raises_nothing(given_value, returned) -> None:
    given_value, returned = real(given_value), real(returned)

    @tracekit.llm
    def work(value: object, *rest: object, **named: object) -> object:
        return returned

    with recorded() as recorder:
        assert work(given_value, given_value, extra=given_value) is returned
        with tracekit.span("by hand", step="retriever", input=given_value) as span:
            span.output = returned
            span.set(model=returned, documents=returned, tags=returned, other=returned, input_messages=returned)
    assert _guard.faults == {}
    assert len(recorder.spans) == 2
    for found in recorder.spans:
        for value in found.attributes.values():
            json.dumps(value, ensure_ascii=False).encode()
