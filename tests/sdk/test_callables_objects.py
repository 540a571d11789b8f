"""Decorated callable objects stay what they are: cached functions, partials, objects with `__call__`."""

from __future__ import annotations

import functools
import inspect
import pickle
import sys
import types
from typing import Any

import pytest

import tracekit
from tracekit.testing import Recorder


def same(value: Any) -> Any:
    return value


@functools.lru_cache
def cached(x: int) -> int:
    return x


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        """Add."""
        return x + self.by

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adder) and other.by == self.by

    def __hash__(self) -> int:
        return self.by

    def __len__(self) -> int:
        return 7


def test_a_cached_function_keeps_its_cache(recorder: Recorder) -> None:
    @tracekit.tool
    @functools.lru_cache
    def double(x: int) -> int:
        return 2 * x

    assert (double(2), double(2)) == (4, 4)
    assert double.cache_info().hits == 1  # type: ignore[attr-defined]
    double.cache_clear()  # type: ignore[attr-defined]
    assert double.__wrapped__(3) == 6  # type: ignore[attr-defined]
    assert recorder.tree() == "execute_tool double\nexecute_tool double"


def test_a_cached_method_is_bound(recorder: Recorder) -> None:
    class Shop:
        @tracekit.tool
        @functools.lru_cache  # noqa: B019 - what is tested
        def price(self, item: str) -> int:
            return len(item)

    shop = Shop()
    assert (shop.price("pen"), shop.price("pen")) == (3, 3)
    assert Shop.price.cache_info().hits == 1  # type: ignore[attr-defined]
    assert recorder.spans[0].input == '{"item": "pen"}'


def test_an_object_stays_itself(recorder: Recorder) -> None:
    adder = Adder(2)
    recorded = tracekit.tool(adder)
    assert recorded(3) == 5
    assert isinstance(recorded, Adder)
    assert (recorded.by, len(recorded), recorded == adder, hash(recorded)) == (2, 7, True, 2)
    recorded.by = 4
    assert (recorded(3), adder.by) == (7, 4)
    assert inspect.signature(recorded) == inspect.signature(adder)


def test_it_can_be_pickled(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("a_users_module")
    monkeypatch.setitem(sys.modules, "a_users_module", module)
    for thing in (Adder, cached):
        monkeypatch.setattr(thing, "__module__", "a_users_module")
        setattr(module, thing.__name__, thing)
    again = pickle.loads(pickle.dumps(tracekit.tool(Adder(2))))
    assert again(3) == 5
    part = pickle.loads(pickle.dumps(tracekit.tool(functools.partial(Adder(2), 3))))
    assert part() == 5
    module.cached = tracekit.tool(cached)  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(module.cached)) is module.cached
    assert [span.output for span in recorder.spans] == ["5", "5"]


def test_a_partial_keeps_its_parts(recorder: Recorder) -> None:
    part = tracekit.tool(functools.partial(same, value=3))
    assert (part.func, part.keywords, part()) == (same, {"value": 3}, 3)  # type: ignore[attr-defined]
    assert isinstance(part, functools.partial)
