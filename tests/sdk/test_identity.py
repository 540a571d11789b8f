"""What comes out of a decorated call is what comes out of the undecorated one; a wrong call fails where it is made."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import traceback
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracekit
from tracekit.testing import Recorder, recorded

T = TypeVar("T")


class Numbers:
    def __init__(self) -> None:
        self.left = 3

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left


class Slotted:
    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 3

    def __iter__(self) -> Any:
        return self

    __next__ = Numbers.__next__


class Decoded(Generic[T]):
    """As clients write their streams: iterable by a generator of its own."""

    def __init__(self) -> None:
        self.inner = Numbers()

    def __iter__(self) -> Iterator[int]:
        yield from self.inner

    def __next__(self) -> int:
        return next(self.inner)


class Stainless:
    """As OpenAI's and Anthropic's clients have it."""

    def __init__(self) -> None:
        self.closed = 0
        self._iterator = self.__stream__()

    def __stream__(self) -> Iterator[int]:
        yield from (2, 1, 0)

    def __iter__(self) -> Iterator[int]:
        yield from self._iterator

    def __next__(self) -> int:
        return self._iterator.__next__()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1


def returned(value: Any) -> Any:
    @tracekit.tool
    def work() -> Any:
        return value

    return work()


@pytest.mark.parametrize("make", [Numbers, Slotted, Decoded, Stainless], ids=lambda make: make.__name__)
def test_a_stream_is_the_very_object_and_its_chunks_are_recorded(recorder: Recorder, make: Any) -> None:
    stream = make()
    assert returned(stream) is stream
    assert stream.__class__ is make
    assert isinstance(stream, make)
    assert list(stream) == [2, 1, 0]
    assert type(stream) is make
    assert recorder.find(step="tool").output == "[2, 1, 0]"
    assert "tracekit.output.partial" not in recorder.find(step="tool").attributes


def test_a_clients_stream_keeps_its_type_all_the_while_and_ends_when_it_is_closed(recorder: Recorder) -> None:
    stream = Stainless()
    with returned(stream) as same:
        assert same is stream
        assert type(stream) is Stainless
        assert next(stream) == 2
        assert recorder.spans == []
    assert (stream.closed, recorder.spans[0].output) == (1, "[2]")
    assert recorder.spans[0].attributes["tracekit.output.partial"] is True
    assert "close" not in vars(stream)
    assert list(stream) == [1, 0]


def test_a_stream_that_is_dropped_is_freed_at_once_and_its_span_ends(recorder: Recorder) -> None:
    made = tracekit.tool(lambda make: make())
    gc.disable()
    try:
        for make in (Numbers, Slotted):
            assert next(made(make)) == 2
    finally:
        gc.enable()
    assert [span.output for span in recorder.spans] == ["[2]", "[2]"]


def test_steps_that_hand_on_one_stream_record_it_all(recorder: Recorder) -> None:
    for make in (Numbers, Stainless, lambda: iter(Numbers()), lambda: (number for number in Numbers())):
        before = len(recorder.spans)

        @tracekit.llm
        def inner(make: Any = make) -> Any:
            return make()

        @tracekit.agent
        def outer(inner: Any = inner) -> Any:
            return inner()

        assert list(outer()) == [2, 1, 0]
        gc.collect()
        assert sorted(str(span.output) for span in recorder.spans[before:]) == ["[2, 1, 0]", "[2, 1, 0]"]


def test_an_object_of_a_class_that_hears_of_its_subclasses_is_behind_a_stand_in(recorder: Recorder) -> None:
    class Told(Numbers):
        subclasses: list[type] = []  # noqa: RUF012 - a registry, as frameworks have them

        def __init_subclass__(cls, **_: object) -> None:
            cls.subclasses.append(cls)

    stream = returned(Told())
    assert isinstance(stream, Told)
    assert list(stream) == [2, 1, 0]
    assert Told.subclasses == []
    assert recorder.spans[0].output == "[2, 1, 0]"


def test_a_stream_is_copied_and_pickled_as_one_of_its_own_class(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("a_users_streams")
    module.Numbers = Numbers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_users_streams", module)
    monkeypatch.setattr(Numbers, "__module__", "a_users_streams")
    stream = returned(Numbers())
    assert next(stream) == 2
    for another in (copy.copy(stream), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        assert type(another) is Numbers
        assert list(another) == [1, 0]
    assert list(stream) == [1, 0]
    assert [span.output for span in recorder.spans] == ["[2, 1, 0]"]


class Answer:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        with tracekit.span("inside"):
            return 5


def test_an_awaitable_is_the_very_object_and_its_result_is_recorded(recorder: Recorder) -> None:
    async def main() -> object:
        waiting = Answer()
        assert returned(waiting) is waiting
        assert inspect.isawaitable(waiting)
        result = await asyncio.gather(waiting)
        assert type(waiting) is Answer
        return result

    assert asyncio.run(main()) == [5]
    assert recorder.tree() == "execute_tool work\n  inside"
    assert recorder.find(step="tool").output == "5"


def numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> AsyncIterator[int]:
    yield 1


async def later() -> int:
    return 1


@pytest.mark.parametrize("make", [numbers, async_numbers, later], ids=lambda make: make.__name__)
def test_a_generator_or_coroutine_comes_as_one_of_the_same_type_and_name(recorder: Recorder, make: Any) -> None:
    plain = make()
    found = returned(plain)
    assert type(found) is type(plain)
    assert (found.__name__, found.__qualname__) == (plain.__name__, plain.__qualname__)
    for question in (inspect.isgenerator, inspect.isasyncgen, inspect.iscoroutine, inspect.isawaitable):
        assert question(found) == question(plain)
    if make is later:
        found.close()
    del found
    gc.collect()
    assert recorder.find(step="tool").attributes["tracekit.output.partial"] is True


def test_a_coroutine_goes_wherever_a_coroutine_goes(recorder: Recorder) -> None:
    async def main() -> object:
        task = asyncio.create_task(returned(later()))
        future = asyncio.ensure_future(returned(later()))
        waited = await asyncio.wait_for(returned(later()), 5)
        return [await task, await future, waited, *await asyncio.gather(returned(later()))]

    assert asyncio.run(main()) == [1, 1, 1, 1]
    assert asyncio.run(returned(later())) == 1
    assert [span.output for span in recorder.spans] == ["1"] * 5


def test_a_generator_delegates(recorder: Recorder) -> None:
    def echo() -> Any:
        heard = yield "first"
        try:
            yield heard
        except KeyError as error:
            yield error.args[0]
        return "value"

    def outer() -> Any:
        value = yield from returned(echo())
        yield value

    going = outer()
    assert [next(going), going.send("heard"), going.throw(KeyError("thrown")), next(going)] == [
        "first",
        "heard",
        "thrown",
        "value",
    ]
    assert recorder.spans[0].output == "firstheardthrown"


@given(
    st.one_of(
        st.none(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.builds(object),
        st.dictionaries(st.text(), st.integers()), st.builds(Numbers), st.builds(Slotted), st.builds(Stainless),
        st.builds(Answer), st.functions(), st.builds(range, st.integers(0, 9)), st.builds(Exception),
        st.sampled_from([int, Numbers, sys, print, Numbers.__next__, NotImplemented, ...]),
    )
)  # fmt: skip
def test_any_object_comes_back_as_itself(value: object) -> None:
    with recorded():
        assert returned(value) is value
        assert asyncio.run(_returned_later(value)) is value


async def _returned_later(value: object) -> object:
    @tracekit.tool
    async def work() -> object:
        return value

    return await work()


def coroutine(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    async def work(a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
        return (a, b, c, d)

    return work


def generator(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    def work(a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
        yield (a, b, c, d)

    return work


def async_generator(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    async def work(a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
        yield (a, b, c, d)

    return work


def method(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @wrap
        async def work(self, a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
            return (a, b, c, d)

    return Worker().work


def bound_method(wrap: Callable[[Any], Any]) -> Any:
    return wrap(method(lambda function: function))


def classmethod_outside(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        @wrap
        @classmethod
        async def work(cls, a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
            return (a, b, c, d)

    return Worker.work


def callable_object(wrap: Callable[[Any], Any]) -> Any:
    class Worker:
        async def __call__(self, a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
            return (a, b, c, d)

    return wrap(Worker())


def partial(wrap: Callable[[Any], Any]) -> Any:
    return wrap(functools.partial(generator(lambda function: function), d=4))


def plain(wrap: Callable[[Any], Any]) -> Any:
    @wrap
    def work(a: int, /, b: int = 2, *, c: int, d: int = 4) -> Any:
        return iter(((a, b, c, d),))

    return work


MAKERS = [
    coroutine, generator, async_generator, method, bound_method, classmethod_outside, callable_object, partial, plain,
]  # fmt: skip
WRONG: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2, 3), {"c": 3}),
    ((1,), {"c": 3, "e": 5}),
    ((), {"a": 1, "c": 3}),
    ((1, 2), {"b": 2, "c": 3}),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_wrong_call_fails_where_it_is_made_in_the_same_words(recorder: Recorder, make: Any) -> None:
    for args, kwargs in WRONG:
        told = []
        for wrap in (lambda function: function, tracekit.tool):
            with pytest.raises(TypeError) as caught:
                make(wrap)(*args, **kwargs)
            told.append(str(caught.value))
        assert told[0] == told[1]
    assert {span.error for span in recorder.spans} == ({"TypeError"} if make is plain else set())


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_every_sort_of_parameter_is_passed_on_and_recorded(recorder: Recorder, make: Any) -> None:
    async def drive(found: Any) -> Any:
        if hasattr(found, "__anext__"):
            return await found.__anext__()
        return await found if inspect.isawaitable(found) else next(found)

    for args, kwargs in [((1,), {"c": 3}), ((1, 5), {"c": 3, "d": 6}), ((1,), {"b": 7, "c": 3})]:
        expected = asyncio.run(drive(make(lambda function: function)(*args, **kwargs)))
        assert asyncio.run(drive(make(tracekit.tool)(*args, **kwargs))) == expected
    gc.collect()
    assert {span.name.split()[0] for span in recorder.spans} == {"execute_tool"}
    assert recorder.spans[0].input == '{"a": 1, "b": 2, "c": 3, "d": 4}'


def test_names_of_parameters_are_nobodys_business(recorder: Recorder) -> None:
    @tracekit.tool
    async def work(made: int, function: int = 1, *args: int, recording: int = 2, **kwargs: int) -> Any:
        return (made, function, args, recording, kwargs)

    assert asyncio.run(work(1, 2, 3, recording=4, body=5, value=6)) == (1, 2, (3,), 4, {"body": 5, "value": 6})

    class Mangled:
        @tracekit.tool
        async def work(self, __value: int = 1, /, *, __named: int = 2) -> Any:
            return (__value, __named)

    assert asyncio.run(Mangled().work()) == (1, 2)


def test_a_coroutine_of_the_old_sort_can_be_awaited(recorder: Recorder) -> None:
    @tracekit.tool
    @types.coroutine
    def old() -> Any:
        yield from asyncio.sleep(0).__await__()
        return 3

    async def main() -> object:
        return await old()

    assert asyncio.run(main()) == 3
    assert recorder.spans[0].output == "3"


def test_a_traceback_shows_what_runs_in_between(recorder: Recorder) -> None:
    @tracekit.tool
    async def work() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x") as caught:
        asyncio.run(work())
    lines = traceback.format_exception(caught.value)
    assert any("await tracekit_function()" in line for line in lines)


def test_a_traceback_shows_the_wrapper_that_ran_and_not_one_made_later(recorder: Recorder) -> None:
    @tracekit.tool
    async def work() -> None:
        raise ValueError("x")

    @tracekit.tool
    async def later(first: int, *, second: int) -> int:
        return first + second

    assert asyncio.run(later(1, second=2)) == 3
    with pytest.raises(ValueError, match="x") as caught:
        asyncio.run(work())
    lines = traceback.format_exception(caught.value)
    assert any("await tracekit_function()" in line for line in lines)


def test_a_bound_method_stays_one(recorder: Recorder) -> None:
    numbers = Numbers()
    bound: Any = tracekit.tool(numbers.__next__)
    assert (inspect.ismethod(bound), bound.__self__ is numbers, bound()) == (True, True, 2)
