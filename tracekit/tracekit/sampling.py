"""Sampling: which traces are delivered, decided at their root, and `keep`, which overrules that.

The draw depends on the trace id alone, as that of OpenTelemetry's `TraceIdRatioBased` does, so every service that draws
at the same rate draws the same traces. Spans of a trace that is not drawn are held back until the trace's root in this
process ends; they are delivered after all if the code says `keep()`, or if there is an error and errors are kept.
"""

from __future__ import annotations

import fnmatch
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from opentelemetry import trace

from tracekit import _guard
from tracekit import attributes as names
from tracekit._runtime import runtime
from tracekit.errors import SettingError

HELD_SPANS = 10_000
_REMEMBERED = 10_000
_LOW = (1 << 64) - 1


@dataclass(frozen=True)
class Root:
    """The first span of a trace, as it begins.

    Args:
        name: The span's name, such as `invoke_agent bot`.
        step: Its step kind; `None` on another instrumentation's span.
        agent: The agent's name, where one is known.
        attributes: All that it carries so far.
    """

    name: str
    step: str | None
    agent: str | None
    attributes: Mapping[str, Any]


Match = Callable[[Root], bool] | Mapping[str, str] | str
Rule = tuple[Match, float]


class Sampling:
    """How often traces are delivered.

    Args:
        sample: A rate from 0 to 1; a function that is given the `Root` and returns a rate (or a yes or no); or a list
            of `(match, rate)` of which the first that matches counts, and 1 if none does. A match is a pattern of the
            root's name (`"GET *"`), a mapping of patterns by `name`, `step` and `agent`, or a function of the `Root`.
        errors: Whether a trace with an error is delivered in any case.

    Raises:
        SettingError: A rate is no number from 0 to 1, or a match is none of these.

    Example:
        >>> sampling = Sampling([("GET /health", 0.0), ({"agent": "triage*"}, 0.5)])
        >>> sampling.rate(Root("GET /health", None, None, {})), sampling.rate(Root("GET /", None, None, {}))
        (0.0, 1.0)
    """

    def __init__(self, sample: float | Callable[[Root], Any] | Sequence[Rule], *, errors: bool = False) -> None:
        self.errors = errors
        self._function: Callable[[Root], Any] | None = None
        self._rules: list[Rule] = []
        self._rate = 1.0
        if callable(sample):
            self._function = sample
        elif isinstance(sample, (int, float)):
            self._rate = checked_rate(sample)
        else:
            self._rules = [_checked_rule(rule) for rule in sample]

    def rate(self, root: Root) -> float:
        """The rate for a trace that begins so; 1 where a rule of the user's fails."""
        try:
            if self._function is not None:
                said = self._function(root)
                return 1.0 if said is None else checked_rate(said)
            for match, rate in self._rules:
                if _matches(match, root):
                    return rate
        except Exception:  # noqa: BLE001 - a rule that fails must not cost traces
            _guard.fault("a sampling rule")
            return 1.0
        return self._rate


def drawn(trace_id: int, rate: float) -> bool:
    """Whether a trace is among those that are delivered at a rate, as OpenTelemetry's `TraceIdRatioBased` decides it.

    Args:
        trace_id: The trace's id.
        rate: From 0 to 1.

    Example:
        >>> drawn(1, 0.5), drawn(2**64 - 1, 0.5)
        (True, False)
    """
    return trace_id & _LOW < round(rate * (_LOW + 1))


def keep() -> None:
    """Deliver the current trace whatever the sampling says; without sampling, or outside of any trace, nothing happens.

    Example:
        >>> import tracekit
        >>> with tracekit.span("refund"):
        ...     tracekit.keep()
    """
    try:
        context = trace.get_current_span().get_span_context()
        relay = runtime.relay
        if context.is_valid and relay is not None and relay.sampler is not None:
            relay.sampler.keep(context.trace_id)
    except Exception:  # noqa: BLE001 - never into the user's code
        _guard.fault("keeping a trace")


@dataclass
class _Open:
    """A trace whose root in this process has not ended.

    Args:
        deliver: Whether its spans go out as they end.
        rate: The rate it was drawn at; `None` if somebody else drew.
        reason: Why it goes out in any case.
        roots: How many roots are open.
        held: Spans that wait for the root's end.
        lost: How many there was no room for.
    """

    deliver: bool
    rate: float | None
    reason: Literal["keep", "error"] | None = None
    roots: int = 0
    held: list[Any] = field(default_factory=list)
    lost: int = 0


class TailSampler:
    """Decides span by span what goes out now, what is held back, and what is dropped.

    Args:
        sampling: The rates.
        put: Takes a span that is to be delivered.
        owned: Whether the provider is ours, and records what it does not sample. In another's provider, what its
            sampler does not take is left alone.
    """

    def __init__(self, sampling: Sampling, put: Callable[[Any], None], *, owned: bool) -> None:
        self.sampling = sampling
        self._put = put
        self._owned = owned
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._closed: OrderedDict[int, _Open] = OrderedDict()
        self._held = 0

    def started(self, span: Any) -> None:
        """A span has begun; draws if it is the root of a new trace, and says on it at which rate."""
        parent = span.parent
        if parent is not None and not parent.is_remote:
            return
        context = span.context
        sampled = bool(context.trace_flags.sampled)
        rate: float | None = None
        if parent is None and (sampled or self._owned):
            known = span.attributes or {}
            said = known.get(names.SAMPLE_PROBABILITY)  # our provider's sampler has drawn already
            rate = float(said) if isinstance(said, float) else self.sampling.rate(root_of(span.name, known))
            sampled = sampled and drawn(context.trace_id, rate)
            if said is None:
                span.set_attribute(names.SAMPLE_PROBABILITY, rate)
        with self._lock:
            found = self._open.get(context.trace_id)
            if found is None:
                found = self._open[context.trace_id] = _Open(sampled, rate)
            found.roots += 1

    def ended(self, span: Any) -> None:
        """A span has ended."""
        context = span.context
        is_root = span.parent is None or span.parent.is_remote
        out: list[Any] = []
        with self._lock:
            found = self._open.get(context.trace_id)
            late = found is None
            if found is None:
                found = self._closed.get(context.trace_id) or _Open(bool(context.trace_flags.sampled), None)
            if not (context.trace_flags.sampled or self._owned):
                found = _Open(deliver=False, rate=None)  # another's sampler has left it out
            elif self.sampling.errors and found.reason is None and span.status.status_code.name == "ERROR" and not late:
                self._force(found, "error", out)
            if found.deliver:
                out.append(_told(span, found))
            elif not late:
                self._hold(found, span)
            if is_root and not late:
                self._end_root(context.trace_id)
        for item in out:
            self._put(item)

    def keep(self, trace_id: int) -> None:
        """Deliver a trace whatever was drawn, with what is held of it."""
        out: list[Any] = []
        with self._lock:
            found = self._open.get(trace_id)
            if found is not None and found.reason is None:
                self._force(found, "keep", out)
        for item in out:
            self._put(item)

    def _force(self, found: _Open, reason: Literal["keep", "error"], out: list[Any]) -> None:
        found.reason, found.deliver = reason, True
        self._held -= len(found.held)
        out.extend(_told(span, found) for span in found.held)
        found.held = []
        if found.lost:
            message = "there was no room to hold back all spans of a trace that is kept; some are lost"
            _guard.note("held back", message, count=found.lost)

    def _hold(self, found: _Open, span: Any) -> None:
        found.held.append(span)
        self._held += 1
        while self._held > HELD_SPANS:
            longest = max(self._open.values(), key=lambda one: len(one.held))
            if not longest.held:
                self._held = 0
                break
            gone = max(1, len(longest.held) // 2)
            del longest.held[:gone]
            longest.lost += gone
            self._held -= gone

    def _end_root(self, trace_id: int) -> None:
        found = self._open.get(trace_id)
        if found is None:
            return
        found.roots -= 1
        if found.roots > 0:
            return
        del self._open[trace_id]
        self._held -= len(found.held)
        found.held = []
        self._closed[trace_id] = found  # spans that end after their root go the same way
        if len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)


def _told(span: Any, found: _Open) -> Any:
    """The span; one that goes out in any case says why, and that it was sure to."""
    if found.reason is None:
        return span
    try:
        from tracekit._sampler import with_attributes  # noqa: PLC0415 - brings the SDK

        return with_attributes(span, {names.SAMPLE_PROBABILITY: 1.0, names.SAMPLE_REASON: found.reason})
    except Exception:  # noqa: BLE001 - better delivered as it is than not at all
        _guard.fault("marking a kept span")
        return span


def root_of(name: str, attributes: Mapping[str, Any]) -> Root:
    """What rules see of a trace's first span."""
    step, agent = attributes.get(names.STEP), attributes.get(names.AGENT_NAME)
    return Root(name, None if step is None else str(step), None if agent is None else str(agent), attributes)


def checked_rate(value: object) -> float:
    """A rate as a number from 0 to 1.

    Raises:
        SettingError: It is none.
    """
    try:
        rate = float(value)  # type: ignore[arg-type]  # what is no number is told below
    except (TypeError, ValueError):
        rate = math.nan
    if not 0.0 <= rate <= 1.0:
        raise SettingError(f"the sampling rate {value!r} is no number from 0 to 1")
    return rate


def _checked_rule(rule: Any) -> Rule:
    try:
        match, rate = rule
    except (TypeError, ValueError):
        raise SettingError(f"the sampling rule {rule!r} is no pair of a match and a rate") from None
    known = {"name", "step", "agent"}
    if not (callable(match) or isinstance(match, str) or (isinstance(match, Mapping) and set(match) <= known)):
        raise SettingError(
            f"{match!r} matches no traces; give a pattern, a mapping by name, step, agent, or a function"
        )
    return match, checked_rate(rate)


def _matches(match: Match, root: Root) -> bool:
    if callable(match):
        return bool(match(root))
    wanted = {"name": match} if isinstance(match, str) else match
    return all(fnmatch.fnmatchcase(getattr(root, key) or "", pattern) for key, pattern in wanted.items())
