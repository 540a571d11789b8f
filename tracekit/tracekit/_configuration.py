"""`init`, `flush`, `shutdown`: from settings to what is in force, and back."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from tracekit import _guard
from tracekit import attributes as names
from tracekit._runtime import Line, Opener, runtime
from tracekit.errors import SettingError
from tracekit.sampling import Root, Rule, Sampling, TailSampler, checked_rate

_SIGTERM_SECONDS = 5.0


def init(
    *,
    project: str | None = None,
    agent: str | None = None,
    agent_version: str | None = None,
    parameters: Mapping[str, object] | None = None,
    prompts: Mapping[str, object] | None = None,
    endpoint: str | None = None,
    store: str | os.PathLike[str] | None = None,
    environment: str | None = None,
    service: str | None = None,
    capture_content: bool | None = None,
    disabled: bool | None = None,
    headers: Mapping[str, str] | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    instrument: bool | Sequence[str] | None = None,
    propagate_threads: bool | None = None,
    redact: Any = None,
    sample: float | Callable[[Root], Any] | Sequence[Rule] | None = None,
    sample_errors: bool | None = None,
    handle_sigterm: bool | None = None,
) -> None:
    """Say where traces go and what they carry; call it once, early, or not at all.

    What is not given comes from the environment and the configuration file (docs/settings.md lists all settings). A
    TracerProvider that is already there is joined, not replaced. A second call takes the place of the first.

    Args:
        project: The project that the traces belong to.
        agent: The agent's name, put on every span.
        agent_version: The agent's version, put on every span. `auto` derives it, when the first span begins, from the
            git state, the source of the decorated functions, parameters, prompts and installed distributions.
        parameters: Settings that change what the agent does, such as a model's name; registered with the version.
        prompts: The agent's prompts, by name; registered with the version.
        endpoint: Base URL of an OTLP/HTTP collector; without one, spans go to the local store.
        store: The local store's folder. Given without `endpoint`, it wins over an endpoint of the environment.
        environment: Where the process runs: production, staging, dev.
        service: The service's name.
        capture_content: `False` keeps inputs and outputs out of spans.
        disabled: `True` turns tracing off: decorated code runs as if it were not decorated.
        headers: Headers for the endpoint, such as one that carries a key.
        tracer_provider: The OpenTelemetry SDK provider to join; the global one when not given.
        instrument: `True` activates every installed instrumentation, names activate those: `tracekit.instrument`.
        propagate_threads: `True` carries the trace into new threads and thread pools; on with `instrument=True`.
        redact: What is redacted before it leaves the process: names (`"keys,secrets,email"`), a list of names, `Keys`,
            `Pattern`s, expressions and functions, one function besides the default, `True` for all that is known,
            `False` for nothing; see `tracekit.redaction`.
        sample: How many of the traces are delivered: a rate from 0 to 1, a list of `(match, rate)`, or a function;
            see `tracekit.sampling`.
        sample_errors: `True` delivers every trace that has an error, whatever its rate.
        handle_sigterm: `True` delivers what there is when SIGTERM comes, unless the program handles it itself.

    Raises:
        SettingError: A setting has a value that cannot be used, such as an endpoint that is no URL.

    Example:
        >>> init(disabled=True)
    """
    from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick
    from tracekit.redaction import redactor  # noqa: PLC0415 - as above

    with runtime.lock:
        if settings.switch("disabled") if disabled is None else disabled:
            _stop(None)
            return
        target = settings.setting("endpoint", "" if endpoint is None and store is not None else endpoint)
        facts = _known(
            {
                names.PROJECT: settings.setting("project", project),
                names.ENVIRONMENT: settings.setting("environment", environment),
                names.SERVICE: settings.setting("service", service),
            }
        )
        identity = _known(
            {
                names.AGENT_NAME: settings.setting("agent", agent),
                names.AGENT_VERSION: settings.setting("agent_version", agent_version),
            }
        )
        if runtime.sink is not None:
            _said_in_a_test(identity)
            return
        first = _first(identity, parameters, prompts)
        capture = settings.switch("capture_content") if capture_content is None else capture_content
        rules = redactor(settings.setting("redact") if redact is None else redact)
        opener = _opener(target, store, headers, rules)
        sampling = _sampling(sample, errors=sample_errors)
        provider, is_ours = _provider(tracer_provider, facts)
        explicit = endpoint is not None or bool(os.environ.get("TRACEKIT_ENDPOINT"))
        delivered = not is_ours and bool(target) and not explicit and _sends_otlp(provider)
        if delivered and redact:
            _guard.note("redaction", "spans go out, as they are, by an exporter that is there already; set endpoint=…")

        def begin(chosen: Any) -> None:
            _begin(chosen, facts, identity, opener, delivers=not delivered, first=first, sampling=sampling)

        begin(provider)
        runtime.join = begin
        runtime.capture = capture
        keeps = not target and settings.switch("attachments")
        runtime.artifacts = settings.store_path(store).absolute() / "artifacts" if keeps else None
        runtime.redactor = rules
        runtime.destination, runtime.headers = target or settings.store_path(store).absolute(), headers
        _end_well()
        if settings.switch("handle_sigterm") if handle_sigterm is None else handle_sigterm:
            from tracekit import _sigterm  # noqa: PLC0415 - as above

            _sigterm.handle(_stop, _SIGTERM_SECONDS)
        from tracekit import instrumentation  # noqa: PLC0415 - as above

        instrumentation.begin(instrument, propagate_threads)


def _first(
    identity: dict[str, str], parameters: Mapping[str, object] | None, prompts: Mapping[str, object] | None
) -> Callable[[Any], None] | None:
    """What registers the agent's version when the first span begins, if it is to be found out or has more to it."""
    version = identity.get(names.AGENT_VERSION)
    if version != "auto" and parameters is None and prompts is None:
        return None
    if names.AGENT_NAME not in identity:
        raise SettingError("an agent version that is registered needs the agent's name: init(agent=…)")
    from tracekit._automatic import Automatic  # noqa: PLC0415 - few programs need it

    label = None if version == "auto" else version
    if label is None:
        identity.pop(names.AGENT_VERSION, None)
    return Automatic(identity[names.AGENT_NAME], label, parameters, prompts, identity)


def _said_in_a_test(identity: Mapping[str, str]) -> None:
    """Spans that a test records stay in memory, whatever the code under test configures; the agent is named."""
    runtime.identity = {**runtime.identity, **identity}
    if runtime.relay is not None:
        runtime.relay.extra = runtime.identity


def flush(timeout: float = 10.0) -> bool:
    """Wait until every span and record so far is delivered: at the end of each invocation where a process is frozen.

    Args:
        timeout: The longest wait, in seconds.

    Returns:
        Whether everything was handed over in time, with nothing left to be sent later.

    Example:
        >>> flush()
        True
    """
    deadline = time.monotonic() + timeout
    if runtime.gathered is not None:
        runtime.gathered()
    lines = list(runtime.lines.values())
    flushed = [line.batch.flush(max(0.0, deadline - time.monotonic())) for line in lines]
    settled = [line.outlet.settle(deadline) for line in lines]
    return all(flushed) and all(settled)


def shutdown(timeout: float | None = None) -> bool:
    """Deliver what there is and stop tracing; decorated code goes on untraced until the next `init`.

    Args:
        timeout: The longest wait, in seconds; a minute for the local inbox and four seconds for an endpoint when not
            given.

    Returns:
        Whether everything was handed over in time.
    """
    with runtime.lock:
        return _stop(timeout)


def _stop(timeout: float | None) -> bool:
    if runtime.gathered is not None:
        runtime.gathered()
    runtime.tracer, runtime.logger, runtime.started, runtime.destination = None, None, True, None
    if runtime.relay is not None:
        runtime.relay.batch, runtime.relay.active = None, False
    lines, runtime.lines = list(runtime.lines.values()), {}
    return _closed(lines, timeout)


def _closed(lines: list[Line], timeout: float | None) -> bool:
    begun = time.monotonic()
    closed = [line.close(begun + (line.outlet.exit_seconds if timeout is None else timeout)) for line in lines]
    return all(closed)


def _known(facts: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in facts.items() if value}


def _opener(
    target: str | None, store: str | os.PathLike[str] | None, headers: Mapping[str, str] | None, rules: Any
) -> Opener:
    from tracekit import _delivery, _outlets, settings  # noqa: PLC0415 - the SDK comes when tracing starts, not before

    if target:
        _delivery.signal_url(target, "traces")
        spool, limit = settings.setting("spool"), _mebibytes(settings.setting("spool_mb"))
        return lambda signal: _outlets.OtlpOutlet(target, signal, headers, rules, spool=spool, spool_bytes=limit)
    folder = settings.store_path(store).absolute() / "inbox"
    return lambda signal: _outlets.InboxOutlet(folder, signal, rules)


def _mebibytes(text: str | None) -> int:
    try:
        return max(0, int(float(text or "0") * (1 << 20)))
    except (ValueError, OverflowError):
        raise SettingError(f"spool_mb is {text!r}; give a number of MiB, or 0 for no spool") from None


def _sampling(sample: Any, *, errors: bool | None) -> Sampling | None:
    """What is asked for; OpenTelemetry's variables for a rate count too, so that `keep` works with them."""
    from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick

    if sample is None:
        said = settings.setting("sample")
        if said is None and os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() == "parentbased_traceidratio":
            said = os.environ.get("OTEL_TRACES_SAMPLER_ARG")
        sample = None if said is None else checked_rate(said)
    if sample is None:
        return None
    return Sampling(sample, errors=settings.switch("sample_errors") if errors is None else errors)


_ours: list[Any] = []
_relays: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _provider(given: trace.TracerProvider | None, facts: Mapping[str, str]) -> tuple[Any, bool]:
    """The provider to use, and whether we made it."""
    current: Any = given if given is not None else trace.get_tracer_provider()
    if hasattr(current, "add_span_processor"):
        return current, any(current is ours for ours in _ours)
    if _ours:
        return _ours[0], True
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from tracekit._sampler import HeadSampler  # noqa: PLC0415

    made = TracerProvider(HeadSampler(), Resource.create(dict(facts)), shutdown_on_exit=False)
    _ours.append(made)
    if isinstance(current, trace.ProxyTracerProvider):
        from tracekit import _providers  # noqa: PLC0415 - as above

        _providers.offer(made)
    return made, True


def _sends_otlp(provider: Any) -> bool:
    """Whether somebody else's provider already exports by OTLP, so that we would send everything a second time."""
    active = getattr(provider, "_active_span_processor", None)
    exporters = (getattr(part, "span_exporter", None) for part in getattr(active, "_span_processors", ()))
    return any(type(exporter).__name__ == "OTLPSpanExporter" for exporter in exporters)


def _begin(
    provider: Any,
    facts: dict[str, str],
    identity: dict[str, str],
    opener: Opener,
    *,
    delivers: bool,
    first: Any,
    sampling: Sampling | None,
) -> None:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above

    from tracekit import __version__, _delivery  # noqa: PLC0415
    from tracekit._tracer import StepTracer  # noqa: PLC0415

    resource = getattr(provider, "resource", None) or Resource.create({})
    # What the resource does not say, each span must; but a service's name is its provider's own.
    unsaid = {
        key: value for key, value in facts.items() if key != names.SERVICE and resource.attributes.get(key) != value
    }
    extra: dict[str, AttributeValue] = {**unsaid, **identity}
    lines: dict[str, Line] = {}
    if delivers:
        outlet = opener("traces")
        lines["traces"] = Line(_delivery.batch_for(outlet, "spans"), outlet)

    relay = _relays.get(provider)
    if relay is None:
        relay = _relays[provider] = _delivery.Relay()
        provider.add_span_processor(relay)
    if runtime.relay is not None and runtime.relay is not relay:
        runtime.relay.batch, runtime.relay.active, runtime.relay.sampler = None, False, None
    relay.first = first
    relay.batch, relay.extra, relay.active = (lines["traces"].batch if delivers else None), extra, True
    owned = any(provider is ours for ours in _ours)
    relay.sampler = None if sampling is None else TailSampler(sampling, relay.put, owned=owned)
    if owned:
        provider.sampler.sampling = sampling

    previous, runtime.lines = runtime.lines, lines
    runtime.relay, runtime.identity, runtime.provider = relay, extra, provider
    runtime.resource, runtime.open_outlet, runtime.logger = resource.merge(Resource(dict(facts))), opener, None
    runtime.tracer = StepTracer(provider.get_tracer(_delivery.SCOPE, __version__), relay)
    runtime.started = True
    _closed(list(previous.values()), None)


_ends: list[Callable[[], object]] = []


def _end_well() -> None:
    """See to it, once, that what is queued when the process ends is delivered, forked workers included."""
    if _ends:
        return
    _ends.append(atexit.register(_at_exit))
    # A multiprocessing child leaves without atexit, and forgets its parent's finalizers before it runs.
    from multiprocessing import util  # noqa: PLC0415 - only a process that traces needs it

    util.register_after_fork(runtime, lambda _runtime: util.Finalize(None, _at_exit, exitpriority=0))
    if sys.modules["multiprocessing.process"].parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=0)


def _at_exit() -> None:
    _stop(None)
