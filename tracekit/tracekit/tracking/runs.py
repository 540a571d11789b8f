"""`tracekit.run`: a block whose parameters, numbers and files are kept together, with the code they came from."""

from __future__ import annotations

import functools
import inspect
import os
import re
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from tracekit import _guard
from tracekit import attributes as names
from tracekit._capture import clean_text, plain, to_json
from tracekit._identity import leave, with_facts
from tracekit._runtime import runtime

if TYPE_CHECKING:
    from tracekit.tracking.gathering import Part

_CURRENT = otel_context.create_key("tracekit-run")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_FACTS_SECONDS = 5.0
_ROOM = 1 << 20
_NAME = 200

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


class Run:
    """A tracked run; use it with `with`, `async with`, or as a decorator. `tracekit.run` makes one.

    What is logged is sent in the background, and never raises: a wrong name or value is logged once.
    """

    def __init__(
        self,
        name: str | None,
        *,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        parent: Run | str | None = None,
        resume: str | None = None,
        system_metrics: bool | float = False,
        seed: int | str | None = None,
    ) -> None:
        self._given: dict[str, Any] = {
            "params": params,
            "tags": tags,
            "parent": parent,
            "resume": resume,
            "system_metrics": system_metrics,
            "seed": seed,
        }
        self._name = name
        self._id: str | None = None
        self._tokens: list[object] = []
        self._part: Part | None = None
        self._facts: threading.Thread | None = None
        self._mutex = threading.Lock()

    @property
    def id(self) -> str:
        """The run's id, a ULID."""
        if self._id is None:
            from tracekit.inbox import ulid  # noqa: PLC0415 - keeps `import tracekit` quick

            self._id = ulid()
        return self._id

    @property
    def name(self) -> str:
        """What the run is called."""
        return self._name or self.id

    def __repr__(self) -> str:
        return f"<tracekit.Run {self.name!r} {self.id}>"

    def __enter__(self) -> Run:  # noqa: PYI034 - Python 3.10 has no Self
        try:
            self._begin()
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("beginning a run")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("ending a run")

    async def __aenter__(self) -> Run:  # noqa: PYI034 - as above
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Wrapped) -> Wrapped:
        """Make every call of a function a run of its own.

        Args:
            function: A function, or a coroutine function.
        """
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def tracked_later(*args: Any, **kwargs: Any) -> Any:
                async with self._another(function):
                    return await function(*args, **kwargs)

            return tracked_later  # type: ignore[return-value]  # it has the signature of what it wraps

        @functools.wraps(function)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            with self._another(function):
                return function(*args, **kwargs)

        return tracked  # type: ignore[return-value]  # as above

    def log_metric(self, name: str, value: float | None, *, step: int | None = None) -> None:
        """Add a point to a series of numbers.

        Args:
            name: The series.
            value: A number, NaN and infinities as they are; `None` where it is unknown.
            step: Where the point stands in its series; when not given, only its time says so.

        Example:
            >>> import tracekit
            >>> with tracekit.run("tune") as run:
            ...     run.log_metric("loss", 0.25, step=1)
        """
        part = self._part
        if part is None:
            self._unopened("log_metric")
        else:
            part.add(name, value, step)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int | None = None) -> None:
        """Add a point to each of several series.

        Args:
            metrics: Values by series.
            step: As for `log_metric`.
        """
        try:
            for name, value in metrics.items():
                self.log_metric(name, value, step=step)
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("logging metrics")

    def log_params(self, params: Mapping[str, object]) -> None:
        """Say what the run was started with; a name that is said again gets the new value.

        Args:
            params: Values by name; anything JSON can write, the rest as text.
        """
        self._tell("log_params", names.RUN_PARAMETERS, params)

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Put tags on the run; `None` takes a tag away.

        Args:
            tags: Values by name.
        """
        self._tell("set_tags", names.RUN_TAGS, tags)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Keep a file, or all files of a folder, with the run; texts are redacted as spans are.

        Args:
            path: The file or folder.
            name: What it is called in the run; its own name when not given.
        """
        self._keep("log_artifact", lambda artifacts: artifacts.of_path(path, name))

    def log_table(self, name: str, table: Any) -> None:
        """Keep a table with the run.

        Args:
            name: What it is called.
            table: Mappings, one a row; or a mapping of columns; or a data frame of pandas, polars or pyarrow.
        """
        self._keep("log_table", lambda artifacts: artifacts.of_table(name, table))

    def log_figure(self, name: str, figure: Any) -> None:
        """Keep a figure with the run.

        Args:
            name: What it is called; an ending is added where it has none.
            figure: A figure of matplotlib or plotly, a Pillow image, the bytes of an image, or HTML as text.
        """
        self._keep("log_figure", lambda artifacts: artifacts.of_figure(name, figure))

    def log_text(self, name: str, text: str) -> None:
        """Keep a text with the run.

        Args:
            name: What it is called.
            text: The text.
        """
        self._keep("log_text", lambda artifacts: artifacts.of_text(name, text))

    def log_json(self, name: str, value: object) -> None:
        """Keep a value as JSON with the run.

        Args:
            name: What it is called.
            value: Anything; what JSON cannot write becomes text.
        """
        self._keep("log_json", lambda artifacts: artifacts.of_json(name, value))

    def _begin(self) -> None:
        given = self._given
        above = current_run()
        resumed = self._part is None and self._id is not None  # entered a second time
        if not resumed:
            resumed = self._resumes(given["resume"], joins=above is None)
        if not self._name and not resumed:
            _guard.note("run names", "a run has no name: call it tracekit.run('tune-prompt')")
        current = otel_context.get_current()
        inside = with_facts(current, {names.RUN: self.id}, share=False)
        self._tokens.append(otel_context.attach(otel_context.set_value(_CURRENT, self, inside)))
        runtime.start()
        from tracekit.tracking import gathering, origin  # noqa: PLC0415 - only a program with runs needs them

        part = self._part = gathering.begin(self.id)
        facts: dict[str, object] = {names.RUN_WRITER: part.said("open")}
        if not resumed:
            parent = given["parent"] if given["parent"] is not None else above
            facts[names.RUN_PARENT] = parent.id if isinstance(parent, Run) else _ref(parent)
            facts[names.RUN_COMMAND] = origin.command()
            facts[names.RUN_NAME] = clean_text(self._name or self.id)[:_NAME]
        elif self._name and not given["resume"]:
            facts[names.RUN_NAME] = clean_text(self._name)[:_NAME]
        if given["seed"] is not None:
            facts[names.RUN_SEED] = clean_text(str(given["seed"]))[:100]
        for key in (names.AGENT_NAME, names.AGENT_VERSION):
            facts[key] = runtime.identity.get(key)
        self._patch(facts)
        if given["params"] is not None:
            self.log_params(given["params"])
        if given["tags"] is not None:
            self.set_tags(given["tags"])
        if not resumed and runtime.tracer is not None:
            self._facts = threading.Thread(target=self._tell_origin, name="tracekit-run-origin", daemon=True)
            self._facts.start()
        if given["system_metrics"]:
            part.sample(given["system_metrics"])

    def _resumes(self, ref: object, *, joins: bool) -> bool:
        """Take the id of a run that is to go on; says whether there is one."""
        from tracekit import settings  # noqa: PLC0415 - keeps `import tracekit` quick

        ref = ref or (settings.setting("run_id") if joins and self._given["parent"] is None else None)
        if not ref:
            return False
        if isinstance(ref, str) and _ULID.fullmatch(ref):
            self._id = ref
            return True
        from tracekit.tracking.resuming import newest_named  # noqa: PLC0415 - as in `_begin`

        found = newest_named(str(ref))
        if found is None:
            _guard.note("resuming a run", f"there is no run {ref!r} to resume here; a new one begins")
            self._name = self._name or str(ref)
            return False
        self._id, self._name = found, self._name or str(ref)
        return True

    def _end(self, error: BaseException | None) -> None:
        part, self._part = self._part, None
        if self._tokens:
            leave(self._tokens.pop())
        if self._facts is not None:
            self._facts.join(_FACTS_SECONDS)
            self._facts = None
        if part is None:
            return
        well = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        part.end()
        facts: dict[str, object] = {names.RUN_WRITER: part.said("finished" if well else "failed")}
        if error is not None and not well:
            kind = type(error)
            qualified = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
            facts[names.RUN_ERROR] = to_json({"type": qualified, "message": clean_text(_message(error))})
        self._patch(facts)

    def _tell_origin(self) -> None:
        try:
            from tracekit.tracking import artifacts, origin  # noqa: PLC0415 - as in `_begin`

            code, diff = origin.code()
            environment = to_json(origin.environment(), limit=_ROOM)
            self._patch({names.RUN_CODE: to_json(code), names.RUN_ENVIRONMENT: environment})
            if diff:
                self._patch_artifacts(artifacts.of_text("code.diff", diff, mime_type="text/x-diff"))
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault("finding out a run's code")

    def _tell(self, method: str, attribute: str, facts: Mapping[str, object]) -> None:
        try:
            if self._part is None:
                self._unopened(method)
            elif not isinstance(facts, Mapping):
                _guard.note(method, f"run.{method} takes a mapping of names and values, not {type(facts).__name__}")
            else:
                told = {clean_text(str(key))[:_NAME]: plain(value) for key, value in facts.items() if str(key).strip()}
                if len(told) < len(facts):
                    _guard.note(method, f"run.{method} was given an empty name, which is left out")
                if told:
                    self._patch({attribute: to_json(told, limit=_ROOM)})
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault(method)

    def _keep(self, method: str, make: Callable[[Any], dict[str, dict[str, object]]]) -> None:
        try:
            if self._part is None:
                self._unopened(method)
                return
            from tracekit.tracking import artifacts  # noqa: PLC0415 - as in `_begin`

            self._patch_artifacts(make(artifacts))
        except ValueError as error:
            _guard.note(method, f"run.{method}: {error}")
        except Exception:  # noqa: BLE001 - never into the user's code
            _guard.fault(method)

    def _patch_artifacts(self, found: dict[str, dict[str, object]]) -> None:
        listed = list(found.items())
        for start in range(0, len(listed), 200):
            self._patch({names.RUN_ARTIFACTS: to_json(dict(listed[start : start + 200]), limit=_ROOM)})

    def _patch(self, facts: Mapping[str, object]) -> None:
        told = {names.RUN: self.id, **{key: fact for key, fact in facts.items() if fact is not None}}
        if runtime.tracer is not None:
            runtime.emit(names.RUN_EVENT, told, Context())

    def _unopened(self, method: str) -> None:
        _guard.note("run is not open", f"run.{method} outside of the run's block says nothing: use `with tracekit.run`")

    def _another(self, function: Callable[..., Any]) -> Run:
        return Run(self._name or function.__qualname__, **self._given)


def run(
    name: str | None = None,
    *,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    parent: Run | str | None = None,
    resume: str | None = None,
    system_metrics: bool | float = False,
    seed: int | str | None = None,
) -> Run:
    """Track what a block does: parameters, series of numbers, files, and the code and environment they came from.

    The run begins with the block and ends with it: `finished`, or `failed` with the exception that leaves the block.
    Traces made inside belong to it. A run inside another one is its child. Several processes may log to one run:
    by `resume=`, or by the variable TRACEKIT_RUN_ID.

    Args:
        name: What the run is called; a name may be used again.
        params: What it is started with, by name.
        tags: Words to find it by.
        parent: The run, or its id, that it is part of; the run around it when not given.
        resume: The id of a run that goes on here, or its name (the newest of that name). A name is looked for in
            the local store or asked of the endpoint.
        system_metrics: `True` samples the process's processor time, memory and threads every 5 s; a number says how
            many seconds.
        seed: What randomness was seeded with, to be kept; nothing is seeded.

    Example:
        >>> import tracekit
        >>> with tracekit.run("tune-prompt", params={"temperature": 0.2}, seed=7) as run:
        ...     run.log_metric("accuracy", 0.9, step=1)
    """
    return Run(name, params=params, tags=tags, parent=parent, resume=resume, system_metrics=system_metrics, seed=seed)


def current_run() -> Run | None:
    """The run that this code runs in; `None` outside of one.

    Example:
        >>> current_run() is None
        True
    """
    found = otel_context.get_current().get(_CURRENT)
    return found if isinstance(found, Run) else None


def _ref(parent: object) -> str | None:
    if parent is None:
        return None
    if isinstance(parent, str) and _ULID.fullmatch(parent):
        return parent
    _guard.note("run parent", f"the parent {parent!r} is no run and no run's id; the run has none")
    return None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's may raise when it is asked for its text
        return "(its message cannot be read)"
