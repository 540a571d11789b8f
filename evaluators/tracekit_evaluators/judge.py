"""Judges: functions from a subject to a verdict, with a name, a version, a direction and a digest.

`@judge` turns a function into one. A function that takes the subject is a judge; a function with keyword parameters
only is a factory, whose every call builds a judge with those parameters. Both can be named by a spec string:
`name?key=value` where installed, `package.module:function?key=value` anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, Literal, ParamSpec, Protocol, cast, get_args, overload

from tracekit import plugins
from tracekit.errors import PluginError, UsageError
from tracekit_evaluators._digest import code_digest
from tracekit_evaluators.score import DIRECTIONS, Direction, Score, Source, named_scores
from tracekit_evaluators.subject import canonical

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

GROUP = "tracekit.judges"
Level = Literal["trace", "span", "session", "pair"]
LEVELS: tuple[str, ...] = get_args(Level)
_OURS = ("tracekit_evaluators.judges.", "tracekit_evaluators.adapters.")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
P = ParamSpec("P")
Call = Callable[["Subject"], object]


@dataclass(frozen=True)
class Declaration:
    """What a judge says of itself, whatever its parameters.

    Args:
        name: What its scores are called.
        version: Raised by its author when its verdicts change.
        direction: Which way is better.
        source: `code` or `llm`.
        needs: What a subject must have: `output`, `expected.tool_names`, …
        values: The range of its value: `{0,1}`, `[0,1]`, `seconds ≥ 0`.
        about: What it says, in one sentence.
        subject: What it judges, one at a time: a trace, a span, the traces of a session, or two tries at one case.
        steps: Of which step kinds, where it judges spans; all when empty.
    """

    name: str
    version: str = "1"
    direction: Direction = "maximize"
    source: Source = "code"
    needs: tuple[str, ...] = ()
    values: str = ""
    about: str = ""
    subject: Level = "trace"
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judge:
    """A judge with its parameters, ready to be called with a subject.

    Args:
        name: What its scores are called; the declared name unless it was renamed.
        declared: What it says of itself.
        call: Takes the subject, returns a verdict or an awaitable of one.
        digest: SHA-256 over code, parameters and, where a model judges, prompt and model.
        spec: The string that builds it again.
        parameters: What it was built with.
        fingerprint: What else decides its verdicts: the model, the prompt's digest.
    """

    name: str
    declared: Declaration
    call: Call
    digest: str
    spec: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    fingerprint: Mapping[str, object] = field(default_factory=dict)

    @property
    def of_a_set(self) -> bool:
        """Whether it judges a whole selection at once: its function has `over(store, trace_ids)`."""
        return callable(getattr(self.call, "over", None))

    def __call__(self, subject: Subject) -> object:
        """The verdict on a subject, as the judge's function returns it."""
        return self.call(subject)

    def named(self, name: str) -> Judge:
        """The same judge, whose scores have another name."""
        if not name.strip():
            raise UsageError(f"the judge {self.name} cannot be given an empty name")
        return replace(self, name=name)

    def scores(self, verdict: object) -> dict[str, Score]:
        """A verdict of this judge as scores by name.

        Raises:
            UsageError: The verdict is none of the forms that a judge may return.
        """
        if isinstance(verdict, Mapping) and self.name != self.declared.name:
            verdict = {self._renamed(key): item for key, item in verdict.items()}
        return named_scores(verdict, name=self.name, direction=self.declared.direction)

    def record(self) -> dict[str, object]:
        """What a run keeps of the judge."""
        declared = self.declared
        return {
            "name": self.name,
            "version": declared.version,
            "digest": self.digest,
            "spec": self.spec,
            "source": declared.source,
            "subject": declared.subject,
            "steps": list(declared.steps),
            "direction": declared.direction,
            "values": declared.values,
            "needs": list(declared.needs),
            "about": declared.about,
            "parameters": dict(self.parameters),
            **self.fingerprint,
        }

    def _renamed(self, key: object) -> object:
        old = self.declared.name
        if isinstance(key, str) and (key == old or key.startswith(f"{old}.")):
            return self.name + key[len(old) :]
        return key


class JudgeFactory(Generic[P]):
    """Builds a judge from keyword parameters.

    Args:
        declared: What its judges say of themselves.
        build: Takes the parameters, returns the function that judges.
    """

    def __init__(self, declared: Declaration, build: Callable[P, Call]) -> None:
        functools.update_wrapper(self, build)
        self.declared = declared
        self.__signature__ = inspect.signature(build)
        self._build = build

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Judge:
        """The judge with these parameters."""
        return _built(self.declared, self._build, self._build(*args, **kwargs), kwargs)


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[[Subject], object], /) -> Judge: ...
    @overload
    def __call__(self, function: Callable[P, Call], /) -> JudgeFactory[P]: ...


@overload
def judge(function: Callable[[Subject], object], /) -> Judge: ...
@overload
def judge(function: Callable[P, Call], /) -> JudgeFactory[P]: ...
@overload
def judge(
    *,
    name: str | None = None,
    version: str = "1",
    direction: Direction = "maximize",
    source: Source = "code",
    needs: tuple[str, ...] = (),
    values: str = "",
    subject: Level = "trace",
    steps: tuple[str, ...] = (),
) -> _Decorator: ...
def judge(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    direction: Direction = "maximize",
    source: Source = "code",
    needs: tuple[str, ...] = (),
    values: str = "",
    subject: Level = "trace",
    steps: tuple[str, ...] = (),
) -> object:
    """Turn a function into a judge, or into a factory of judges.

    The function takes one `Subject` and returns a bool, a number, a label, a `Score`, or a mapping of names to these;
    it may be async. It raises `MissingInput` where the subject lacks something and `NotApplicable` where its question
    makes no sense; whatever else it raises becomes a score with the status `judge_error`.

    Args:
        function: Takes the subject; or takes keyword parameters only and returns such a function.
        name: What its scores are called; the function's name when not given.
        version: Raise it when its verdicts change for a reason that its code does not show.
        direction: `maximize`, `minimize` or `neutral`: which way is better.
        source: `code`, or `llm` where a model judges.
        needs: What a subject must have, for the listing.
        values: The range of its value, for the listing.
        subject: What it is called with, one at a time: a `trace`, each `span` of a trace, the traces of a `session`
            together, or a `pair` of two tries at one case (`evaluate(against=…)`).
        steps: The step kinds of the spans that it judges (`("tool",)`); all when empty.

    Returns:
        A `Judge` or a `JudgeFactory`.

    Raises:
        UsageError: The direction or the subject is unknown.

    Example:
        >>> @judge(direction="minimize")
        ... def tool_count(subject):
        ...     return len(subject.tool_calls)
        >>> tool_count.name
        'tool_count'
    """
    if direction not in DIRECTIONS:
        raise UsageError(f"{direction!r} is no direction; one of {', '.join(DIRECTIONS)}")
    if subject not in LEVELS:
        raise UsageError(f"{subject!r} is nothing that can be judged; one of {', '.join(LEVELS)}")

    def decorate(function: Callable[..., object]) -> Judge | JudgeFactory[...]:
        declared = Declaration(
            name=name or getattr(function, "__name__", type(function).__name__).strip("<>"),
            version=version,
            direction=direction,
            source=source,
            needs=needs,
            values=values,
            about=(inspect.getdoc(function) or "").partition("\n")[0],
            subject=subject,
            steps=steps,
        )
        if takes_subject(function):
            return _built(declared, function, function, {})
        return JudgeFactory(declared, cast("Callable[..., Call]", function))

    return decorate if function is None else decorate(function)


def load(spec: str | Mapping[str, object] | Judge | Callable[..., object]) -> Judge:
    """The judge that a spec names.

    Any spec may carry `name=…`, which is then what the judge's scores are called.

    Args:
        spec: `name?key=value`, `package.module:function?key=value`, `{"use": name, key: value}`, or a judge, a
            factory that needs no parameters, or a plain function.

    Raises:
        PluginError: Nothing has that name, or it does not take these parameters.

    Example:
        >>> load("regex?pattern=^ok&name=begins_well").name
        'begins_well'
    """
    if isinstance(spec, (str, Mapping)):
        return _named_in(plugins.parse(spec))
    if isinstance(spec, Judge):
        return spec
    if isinstance(spec, JudgeFactory):
        return spec()
    if callable(spec):
        return judge(spec) if takes_subject(spec) else load(cast("Judge", spec()))
    raise UsageError(f"a judge is a spec, a Judge or a function, not a {type(spec).__name__}")


def takes_subject(function: Callable[..., object]) -> bool:
    """Whether a function's first parameter is positional, and so the subject."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)


def _named_in(spec: plugins.Spec) -> Judge:
    package, slash, scorer = spec.use.partition("/")
    if slash and ":" not in spec.use:  # deepeval/AnswerRelevancyMetric: a scorer of another package
        spec = plugins.Spec(package, {"scorer": scorer, **spec.parameters})
    found = plugins.find(GROUP, spec.use)
    parameters = dict(spec.parameters)
    own = inspect.signature(found.call if isinstance(found, Judge) else found).parameters
    name = None if "name" in own else parameters.pop("name", None)
    if isinstance(found, Judge) or (not isinstance(found, JudgeFactory) and takes_subject(found)):
        built = _with_parameters(spec.use, found, parameters)
    else:
        made = plugins.load(GROUP, plugins.Spec(spec.use, parameters))
        if not callable(made):
            raise PluginError(f"{spec.use} returned a {type(made).__name__}, not a judge")
        declared = Declaration(spec.use.rpartition(":")[2], about=(inspect.getdoc(found) or "").partition("\n")[0])
        built = made if isinstance(made, Judge) else _built(declared, found, made, parameters)
    plain = cast("dict[str, object]", _plain(spec.parameters))
    built = replace(built, spec=str(plugins.Spec(spec.use, plain)))
    return built if name is None else built.named(str(name))


def _with_parameters(use: str, found: Callable[..., object], parameters: Mapping[str, object]) -> Judge:
    base = found if isinstance(found, Judge) else judge(found)
    if not parameters:
        return base
    try:
        inspect.signature(base.call).bind(None, **parameters)
    except TypeError as error:
        raise PluginError(f"{use}: {error}") from None
    return _built(base.declared, base.call, functools.partial(base.call, **parameters), parameters)


def _built(declared: Declaration, code: Callable[..., object], call: Call, parameters: Mapping[str, object]) -> Judge:
    told = {each: getattr(call, each, getattr(declared, each)) for each in ("direction", "source")}
    declared = replace(declared, direction=told["direction"], source=told["source"])
    signature = inspect.signature(code)
    defaults = {key: each.default for key, each in signature.parameters.items() if each.default is not each.empty}
    everything = {key: value for key, value in {**defaults, **parameters}.items() if value is not None}
    fingerprint: Mapping[str, object] = getattr(call, "fingerprint", {})
    parts: list[object] = [declared.version, declared.direction, declared.source, code_digest(code)]
    if declared.subject != "trace" or declared.steps:
        parts.append([declared.subject, list(declared.steps)])
    text = canonical([*parts, _plain(everything), _plain(fingerprint)])
    given = _plain({key: value for key, value in parameters.items() if value is not None})
    return Judge(
        name=getattr(call, "scores_as", declared.name),
        declared=declared,
        call=call,
        digest=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
        spec=str(plugins.Spec(_use(declared, code), cast("dict[str, object]", given))),
        parameters=cast("dict[str, object]", _plain(everything)),
        fingerprint=fingerprint,
    )


def _use(declared: Declaration, code: Callable[..., object]) -> str:
    module = getattr(code, "__module__", "")
    if module == "tracekit_evaluators.packs" or module.startswith(_OURS):
        return declared.name
    return f"{module}:{getattr(code, '__qualname__', declared.name)}"


def _plain(value: object) -> object:
    """A parameter as JSON holds it; a function stands by its code's digest, so that another one is another judge."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=canonical)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "fingerprint"):
        return _plain(value.fingerprint)
    # The place of an object in memory differs from run to run, and makes no other judge of it.
    return code_digest(value) if callable(value) else _ADDRESS.sub("", str(value))
