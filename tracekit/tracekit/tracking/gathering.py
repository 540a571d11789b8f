"""What open runs hold back to send together, and the thread that sends it: points, and signs of life."""

from __future__ import annotations

import math
import operator
import os
import secrets
import socket
import threading
import time
import weakref
from collections import deque

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context

from tracekit import _guard
from tracekit import attributes as names
from tracekit._capture import clean_text, to_json
from tracekit._runtime import runtime
from tracekit.tracking.points import AT_ONCE, Point, packed

_EVERY = 1.0
_ALIVE_SECONDS = 20.0
_EVERY_SAMPLE = 5.0
_NAME = 500
_LARGEST = 1 << 63


class Part:
    """What one process says of a run while its block is open.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._clean: dict[str, str] = {}
        self._sampled = math.inf
        self._sampling = 0.0
        self._ours = True
        self._renew()

    def _renew(self) -> None:
        """Begin anew, as in a child process: what waits is the parent's to send."""
        self.writer = secrets.token_hex(8)
        self._pending: deque[Point] = deque()
        self._place = 0
        self._mutex = threading.Lock()
        self._seen = time.monotonic()

    def add(self, name: str, value: object, step: object) -> None:
        """Take a point; one that has no number is logged once, never raised."""
        try:
            kind = type(value)
            if kind is not float and value is not None:
                value = _number(value)
            if step is not None:
                step = _step(step)
            known = self._clean.get(name) or self._named(name)
        except Exception as error:  # noqa: BLE001 - never into the user's code
            _guard.note("log_metric", f"run.log_metric({name!r}, {kind.__name__}) is left out: {error}")
            return
        clock = runtime.clock
        pending = self._pending
        pending.append((known, value, step, time.time_ns() if clock is None else clock()))  # type: ignore[arg-type]  # a float
        if len(pending) >= AT_ONCE:
            self.send()

    def send(self) -> None:
        """Emit the points that wait."""
        with self._mutex:
            pending = self._pending
            while count := min(len(pending), AT_ONCE):
                points = [pending.popleft() for _ in range(count)]
                series, body = packed(points, writer=self.writer, first=self._place)
                self._place += count
                self._seen = time.monotonic()
                told = {names.RUN: self.run_id, names.RUN_POINTS_NAMES: series}
                if runtime.tracer is not None:
                    runtime.emit(names.RUN_POINTS_EVENT, told, Context(), body=body)

    def said(self, state: str) -> str:
        """What a record says of who writes: `open`, `finished` or `failed`."""
        self._seen = time.monotonic()
        who = {"id": self.writer, "state": state, "host": socket.gethostname(), "pid": os.getpid()}
        return to_json(who)

    def sample(self, every: float | bool) -> None:  # noqa: FBT001 - as `tracekit.run` takes it
        """Add a point of what the process takes, now and from now on."""
        self._sampling = _EVERY_SAMPLE if every is True else max(0.1, float(every))
        self._sampled = -math.inf
        self.tick()

    def tick(self) -> None:
        """Do what is due: a sample, the points that wait, a sign of life."""
        now = time.monotonic()
        if now - self._sampled >= self._sampling > 0:
            from tracekit.tracking import machine  # noqa: PLC0415 - few runs ask for it

            self._sampled = now
            for name, value in machine.sample().items():
                self.add(name, value, None)
        self.send()
        if self._ours and now - self._seen >= _ALIVE_SECONDS and runtime.tracer is not None:
            told = {names.RUN: self.run_id, names.RUN_WRITER: self.said("open")}
            runtime.emit(names.RUN_EVENT, told, Context())

    def due(self) -> float:
        """In how many seconds something is due."""
        return min(_EVERY, self._sampling) if self._sampling > 0 else _EVERY

    def end(self) -> None:
        """Send what waits, and be forgotten."""
        if self._sampling > 0:
            self._sampled = -math.inf
            self.tick()
        self.send()
        _open.discard(self)

    def in_child(self) -> None:
        """Go on in a forked process: with points of its own, while the block is still the parent's to end."""
        self._renew()
        self._ours = False

    def _named(self, name: object) -> str:
        if not isinstance(name, str) or not name.strip():
            raise ValueError("a series needs a name")
        clean = clean_text(name, limit=4_096)[:_NAME]
        if len(self._clean) < 10_000:  # names may be made up, one a step
            self._clean[name] = clean
        return clean


_open: set[Part] = set()
_mutex = threading.Lock()
_thread: weakref.ref[threading.Thread] | None = None
_woken = threading.Event()


def begin(run_id: str) -> Part:
    """Begin to gather for a run."""
    part = Part(run_id)
    runtime.gathered = gather
    with _mutex:
        _open.add(part)
        _employ()
    return part


def gather() -> None:
    """Emit all that open runs hold back."""
    for part in list(_open):
        try:
            part.send()
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("sending points")


def _employ() -> None:
    global _thread  # noqa: PLW0603 - there is one for the process
    thread = None if _thread is None else _thread()
    if thread is not None and thread.is_alive():
        return
    thread = threading.Thread(target=_work, name="tracekit-runs", daemon=True)
    try:
        thread.start()
        _thread = weakref.ref(thread)
    except RuntimeError:
        pass  # the interpreter is ending: what waits is sent when runs end


def _work() -> None:
    global _thread  # noqa: PLW0603 - as above
    otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
    while True:
        _woken.wait(min((part.due() for part in list(_open)), default=_EVERY))
        with _mutex:
            if not _open:
                _thread = None
                return
        for part in list(_open):
            try:
                part.tick()
            except Exception:  # noqa: BLE001 - one run's fault is not another's
                _guard.fault("sending points")


def _number(value: object) -> float:
    if isinstance(value, (str, bytes)):
        raise ValueError("a metric is a number, not a text")  # noqa: TRY004 - it becomes a message
    return float(value)  # type: ignore[arg-type]  # numpy's and torch's numbers are welcome; the rest raises


def _step(step: object) -> int:
    if isinstance(step, bool):
        raise ValueError("a step is a whole number, not a yes or no")  # noqa: TRY004 - as above
    number = operator.index(step)  # type: ignore[arg-type]  # numpy's whole numbers are welcome; the rest raises
    if not -_LARGEST <= number < _LARGEST:
        raise ValueError(f"the step {number} does not fit in 64 bits")
    return number


def _after_fork() -> None:
    global _mutex, _thread, _woken
    _mutex, _thread, _woken = threading.Lock(), None, threading.Event()
    for part in list(_open):
        part.in_child()
    if _open:
        _employ()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
