"""A step that goes on after its function has returned: a generator, a stream of chunks, an awaitable.

`Stream` is the span of one. It is current only while the step's own code runs, and ends when the step is exhausted,
closed, dropped, or the process exits.
"""

from __future__ import annotations

import atexit
import json
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from tracekit import _guard
from tracekit import attributes as names
from tracekit._capture import LIMIT, clean_text, to_json
from tracekit._identity import leave
from tracekit._runtime import runtime
from tracekit._spans import finish, mark_ending

if TYPE_CHECKING:
    from tracekit._responses import Fold
    from tracekit._steps import Step


class Stream:
    """One call of a decorated generator, or of a function that has returned a stream or an awaitable.

    The context that the step's code leaves behind at a `yield` is the one that it finds when it goes on, so spans
    that it opens around a `yield` nest as they are written.

    Args:
        step: What is called.
        span: The call's span.
        context: The context in which the span is current; `None` where nothing is recorded.
    """

    __slots__ = (
        "__weakref__",
        "_after",
        "_begun_ns",
        "_chunks",
        "_context",
        "_count",
        "_cut",
        "_fold",
        "_generation",
        "_room",
        "_span",
        "_step",
        "_token",
    )

    def __init__(self, step: Step, span: trace.Span, context: Context | None) -> None:
        self._step = step
        self._span = span
        self._context = context
        self._token: object = None
        self._after: Callable[[], None] | None = None
        self._chunks: list[tuple[bool, str]] = []
        self._count = 0
        self._fold: Fold | None = None
        self._room = LIMIT
        self._cut = 0
        self._generation = runtime.generation
        self._begun_ns = time.perf_counter_ns()
        if context is not None:
            _keep(self)

    def __del__(self) -> None:
        if self._context is not None:
            self.fail(GeneratorExit())

    @property
    def busy(self) -> bool:
        """Whether the step's own code is running, so that what it asks of its own stream is no news."""
        return self._token is not None

    @property
    def ended(self) -> bool:
        """Whether the span has ended, or there is none."""
        return self._context is None

    def after(self, then: Callable[[], None]) -> None:
        """Call `then` when the span has ended."""
        self._after = then

    def since_the_call(self) -> Stream:
        """Count the time to the first chunk from the span's beginning."""
        begun = getattr(self._span, "start_time", None)
        if begun is not None and runtime.clock is None:
            self._begun_ns -= max(0, time.time_ns() - begun)
        return self

    def enter(self) -> None:
        """The step's code is about to run."""
        if self._context is not None:
            self._token = otel_context.attach(self._context)

    def leave(self) -> None:
        """The step's code has come to a `yield` or an end."""
        if self._token is not None:
            self._context = otel_context.get_current()
            leave(self._token)
            self._token = None

    def chunk(self, item: object) -> None:
        """The step has given `item`."""
        if self._context is None:
            return
        try:
            self._count += 1
            if self._step.kind == "llm":
                self._tell(item)
            if self._room <= 0 or not runtime.capture:
                self._cut += 1
                return
            if self._fold is None or not self._fold.complete:
                is_text = type(item) is str
                text = clean_text(item) if isinstance(item, str) and is_text else to_json(item)
                self._chunks.append((is_text, text))
                self._room -= len(text)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording a chunk")

    def end(self, value: object = None) -> None:
        """The step is exhausted; a generator has returned `value`."""
        if self._context is None:
            return
        if self._count or value is None:
            self._record_chunks()
        else:
            self._step.result(self._span, value)
        self._finish()

    def give(self, value: object) -> None:
        """The awaitable has given `value`."""
        if self._context is not None:
            self._step.result(self._span, value)
            self._finish()

    def fail(self, error: BaseException) -> None:
        """The step has raised, or was closed or dropped by its consumer, which is no failure."""
        if self._context is None:
            return
        try:
            if isinstance(error, GeneratorExit):
                self._span.set_attribute(names.PARTIAL, value=True)
            mark_ending(self._span, error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("marking a failure")
        if self._count:
            self._record_chunks()
        self._finish()

    def cancel(self) -> None:
        """The awaitable was cancelled."""
        if self._context is not None:
            self._span.set_attribute(names.CANCELLED, value=True)
            self._finish()

    def _finish(self) -> None:
        self._context = None
        _open.discard(self)
        finish(self._span, self._generation)
        after, self._after = self._after, None
        if after is not None:
            after()

    def _tell(self, item: object) -> None:
        """A chunk of a model's answer tells that it has begun, and where it has a known shape, what it says."""
        if self._count == 1:
            if runtime.clock is None:
                seconds = (time.perf_counter_ns() - self._begun_ns) / 1e9
                self._span.set_attribute(names.TIME_TO_FIRST_CHUNK, seconds)
            if type(item) is not str:
                from tracekit import _responses  # noqa: PLC0415 - only models' answers need it

                self._fold = _responses.fold(item)
        if self._fold is not None:
            self._fold.add(item)

    def _record_chunks(self) -> None:
        try:
            answer = None if self._fold is None else self._fold.answer()
            if answer is not None:
                self._step.answer(self._span, answer)
                return
            mark = f"…[truncated: {self._cut} more chunks]"
            output: object
            if self._chunks and all(is_text for is_text, _ in self._chunks):
                output = "".join(text for _, text in self._chunks) + (mark if self._cut else "")
            else:
                items = [text if is_text else json.loads(text) for is_text, text in self._chunks]
                output = [*items, mark] if self._cut else items
            self._step.result(self._span, output)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("recording a stream's output")


_open: weakref.WeakSet[Stream] = weakref.WeakSet()
_exits: list[object] = []


def _keep(stream: Stream) -> None:
    """Remember an open stream, so that the end of the process ends it before the last delivery."""
    _open.add(stream)
    if not _exits:
        _exits.append(atexit.register(_end_all))


def _end_all() -> None:
    for stream in list(_open):
        stream.fail(GeneratorExit())
