"""Points as bytes: what goes in comes out, and what is no points is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.tracking.points import packed, unpacked

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
POINT = st.tuples(st.text(min_size=1, max_size=8), st.none() | st.floats(), st.none() | INT64, INT64)


def told(names: list[str], body: bytes) -> list[tuple[str, float | None, int | None, int]]:
    points = unpacked(body)
    return [
        (names[name], value if known & 2 else None, step if known & 1 else None, time)
        for name, value, step, time, known in zip(
            points.names, points.values, points.steps, points.times, points.known, strict=True
        )
    ]


def plain(point: tuple[object, ...]) -> tuple[object, ...]:
    return tuple("NaN" if isinstance(each, float) and math.isnan(each) else each for each in point)


@given(st.lists(POINT, min_size=1, max_size=40), st.integers(0, 1 << 40))
def test_points_come_out_as_they_went_in(points: list[tuple[str, float | None, int | None, int]], first: int) -> None:
    names, body = packed(points, writer="0123456789abcdef", first=first)
    assert [plain(each) for each in told(names, body)] == [plain(each) for each in points]
    assert (unpacked(body).writer, unpacked(body).first) == ("0123456789abcdef", first)


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="points"):
        unpacked(body)


@given(st.lists(POINT, min_size=1, max_size=5), st.data())
def test_points_that_are_cut_are_refused(points: list[tuple[str, float | None, int | None, int]], data) -> None:
    body = packed(points, writer="00" * 8, first=0)[1]
    with pytest.raises(ValueError, match="points"):
        unpacked(body[: data.draw(st.integers(0, len(body) - 1))])


def test_the_format_is_what_the_docs_of_the_module_say() -> None:
    names, body = packed([("loss", 0.5, 3, 7)], writer="0123456789abcdef", first=2)
    assert names == ["loss"]
    assert body == (
        b"tkp1" + bytes.fromhex("0123456789abcdef") + b"\2" + bytes(7) + b"\1\0\0\0"
        b"\0\0" + b"\7" + bytes(7) + b"\3" + bytes(7) + b"\0\0\0\0\0\0\xe0?" + b"\3"
    )  # fmt: skip
