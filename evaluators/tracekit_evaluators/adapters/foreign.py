"""Scorers of other packages as judges: found and built, called with time and budget, their failures told apart.

A package's own adapter says what its scorers are given and how their results are read; everything else is here. What
another package raises never becomes a value: it has the status that its kind stands for.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from tracekit import plugins
from tracekit.errors import TracekitError, UsageError
from tracekit_evaluators._digest import code_digest
from tracekit_evaluators.asking import Desk, current
from tracekit_evaluators.models.chat import Completion
from tracekit_evaluators.score import (
    DIRECTIONS,
    Direction,
    MissingInput,
    ParseFailed,
    Refused,
    Score,
    Source,
    TimedOut,
    Unscored,
)
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_evaluators.subject import Subject

_PLAIN = (bool, int, float, str, type(None))
_FILTERED = ("ContentPolicy", "ContentFilter", "ContentModeration", "Refusal")
_UNREAD = ("Parse", "JSONDecode", "ValidationError", "LLMDidNotFinish", "IncompleteOutput", "InstructorRetry")
_SECRET = ("api_key", "apikey", "password", "secret", "access_token")
_UNREADABLE = ("invalid json", "no tool call", "failed to parse", "could not parse")
_LACKING = ("requires", "is required", "missing required", "cannot be none")

Ask = Callable[["Subject"], "Awaitable[object] | object"]


@dataclass(frozen=True)
class Package:
    """Another package.

    Args:
        distribution: What it is called where packages are installed from.
        module: What is imported; its first part is the first part of scores' names.
        homes: Modules that its scorers are looked for in, in this order.
    """

    distribution: str
    module: str
    homes: tuple[str, ...]

    @property
    def version(self) -> str:
        """Its installed version."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return str(getattr(self.load(self.module), "__version__", "unknown"))

    def load(self, module: str) -> Any:
        """One of its modules.

        Raises:
            UsageError: The package is not installed, or cannot be imported.
        """
        try:
            return importlib.import_module(module)
        except ImportError as error:
            if (error.name or self.module).partition(".")[0] == self.module.partition(".")[0]:
                words = f"the package {self.distribution} is not installed; pip install 'tracekit[{self.extra}]'"
                raise UsageError(words) from None
            raise UsageError(f"the package {self.distribution} cannot be imported: {error}") from error

    @property
    def extra(self) -> str:
        """The extra of tracekit that installs it."""
        return self.distribution

    def find(self, scorer: object) -> object:
        """The scorer that a name stands for; one that is no name is itself.

        Args:
            scorer: A name in one of the package's homes, `package.module:name`, or the scorer.

        Raises:
            UsageError: There is none of that name.
        """
        if not isinstance(scorer, str):
            return scorer
        if ":" in scorer:
            return plugins.find("tracekit.judges", scorer)
        known: list[str] = []
        self.load(self.module)
        for home in self.homes:
            try:
                module = importlib.import_module(home)
            except ImportError:  # a part of the package that this version lacks, or that needs more than is installed
                continue
            found = getattr(module, scorer, None)
            if callable(found):
                return cast("object", found)
            known += [name for name in dir(module) if not name.startswith("_")]
        near = difflib.get_close_matches(scorer, known, 3)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"{self.distribution} {self.version} has no scorer called {scorer!r}{meant}")

    def build(self, scorer: object, parameters: Mapping[str, object] | None) -> Any:
        """A scorer with its parameters: a class is called with them, anything else is taken as it is.

        A parameter `{use: package.module:name, key: value}` stands for what that call returns.

        Raises:
            UsageError: There is no such scorer, or it does not take these parameters.
        """
        found = self.find(scorer)
        if not isinstance(found, type):
            return found
        return self.made(found, parameters)

    def made(self, factory: Callable[..., object], parameters: Mapping[str, object] | None) -> Any:
        """What a class or function of the package returns for these parameters.

        Raises:
            UsageError: It does not take them.
        """
        secret = _secret_in(parameters)
        if secret is not None:
            raise UsageError(
                f"{secret} would be kept with every run; give it to {self.distribution} by the environment"
            )
        try:
            return factory(**{key: _resolved(value) for key, value in (parameters or {}).items()})
        except TracekitError:
            raise
        except Exception as error:
            name = getattr(factory, "__name__", str(factory))
            words = f"{self.distribution}: {name} cannot be made: {type(error).__name__}: {error}"
            raise UsageError(words.partition("\n")[0]) from error


@dataclass(frozen=True)
class Foreign:
    """The function of a judge that asks another package's scorer.

    Args:
        package: Whose.
        scores_as: What its scores are called.
        ask: Takes a subject; returns a verdict as a judge does, or an awaitable of one.
        described: The scorer, for the digest.
        source: `llm` where it asks a model.
        direction: Which way is better.
        timeout: Seconds that a scorer that asks a model may take.
    """

    package: Package
    scores_as: str
    ask: Ask
    described: object
    source: Source = "code"
    direction: Direction = "maximize"
    timeout: float = 120.0

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise UsageError(f"{self.direction!r} is no direction; one of {', '.join(DIRECTIONS)}")

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """What decides the verdicts besides the parameters: the package with its version, and the scorer."""
        package = self.package
        return {"package": package.distribution, "package_version": package.version, "scorer_of": self.described}

    async def __call__(self, subject: Subject) -> object:
        """The scorer's verdict on a subject.

        Raises:
            Unscored: It gave none; the status says why.
        """
        lent = current() if self.source == "llm" else Desk()
        budget = lent.budget
        if budget is not None:
            budget.admit()
        try:
            with contextlib.ExitStack() as open_:
                told: Callable[[Completion], None] = _unheard
                if lent.traces is not None:
                    told = open_.enter_context(lent.traces.scorer(self.scores_as, self.package.distribution))
                verdict = await asyncio.wait_for(self._asked(subject), self.timeout if self.source == "llm" else None)
                told(_spent(verdict))
        except asyncio.TimeoutError:
            raise TimedOut(f"{self.scores_as} did not answer within {self.timeout:g} s") from None
        except Exception as error:
            raise meaning(error, self.scores_as) from error
        if budget is not None:
            budget.spend(_spent(verdict))
        return verdict

    async def _asked(self, subject: Subject) -> object:
        verdict = self.ask(subject)
        return await verdict if inspect.isawaitable(verdict) else verdict


def label(package: Package, scorer: object) -> str:
    """What a scorer's scores are called: the package's name, then the scorer's."""
    own = scorer.rpartition(":")[2] if isinstance(scorer, str) else None
    for each in (own, getattr(scorer, "name", None), getattr(scorer, "__name__", None)):
        if isinstance(each, str) and each:
            return f"{package.module.partition('.')[0]}.{each}"
    return f"{package.module.partition('.')[0]}.{type(scorer).__name__}"


def together(package: Package, scores: Sequence[tuple[str, Score]]) -> Score | dict[str, Score]:
    """Several scores of one scorer by their own names, a name that comes again with its place; one score as it is."""
    if len(scores) == 1:
        return scores[0][1]
    found: dict[str, Score] = {}
    for place, (name, score) in enumerate(scores, start=1):
        # The part before the dot is the declared judge's name, for which the scorer's is put in.
        key = f"{package.module.partition('.')[0]}.{name}"
        found[f"{key}.{place}" if key in found else key] = score
    return found


def described(scorer: object) -> object:
    """A scorer as JSON holds it: where it is defined, and the plain settings of one that is built already."""
    if isinstance(scorer, str):
        return scorer
    kind = scorer if hasattr(scorer, "__qualname__") else type(scorer)
    name = f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"
    if kind is scorer:
        return {"name": name}
    own = {**getattr(scorer, "__dict__", {}), **(getattr(scorer, "__pydantic_private__", None) or {})}
    open_ = {key: value for key, value in own.items() if not any(word in key.lower() for word in _SECRET)}
    settings = {key: value for key, value in open_.items() if isinstance(value, _PLAIN) or _plain_list(value)}
    functions = {key: code_digest(value) for key, value in open_.items() if isinstance(value, FunctionType)}
    return {"name": name, **settings, **functions}


def given(subject: Subject) -> dict[str, Any]:
    """What a subject has of `input`, `output`, `expected` (texts) and `context` (a list of texts).

    The expected answer is the case's `output`, else its `answer`; the context is what the documents say.
    """
    expected = subject.expected or {}
    answer = next((expected[name] for name in ("output", "answer") if expected.get(name) is not None), None)
    contents = [as_text(document.content) for document in subject.documents if document.content not in (None, "")]
    found = {
        "input": subject.input,
        "output": subject.output,
        "expected": None if answer is None else as_text(answer),
        "context": contents or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def need(found: Mapping[str, object], names: Sequence[str], who: str) -> None:
    """See that all of these are there.

    Raises:
        MissingInput: One is not; the message names it.
    """
    lacking = [name for name in names if found.get(name) is None]
    if lacking:
        raise MissingInput(f"{who} needs {', '.join(lacking)}, which the subject does not have")


def number(value: object, who: str) -> float | bool | str:
    """A scorer's value as a score holds it.

    Raises:
        ParseFailed: There is none, or it is not finite, by which packages say that something failed.
    """
    value = value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]  # numpy
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise ParseFailed(f"{who} gave no value ({value})")
    if not isinstance(value, (bool, int, float, str)):
        raise ParseFailed(f"{who} gave a {type(value).__name__}, which is no value of a score")
    return float(value) if type(value) is int else value


def text(value: object) -> str | None:
    """An explanation; `None` where there is none."""
    return None if value is None or value == "" else as_text(value)


def meaning(error: Exception, who: str) -> Exception:
    """What another package's exception stands for among ours."""
    kind, words = type(error).__name__, f"{who}: {type(error).__name__}: {error}"
    if isinstance(error, TracekitError):
        return error
    if any(word in kind for word in _FILTERED):
        return Refused(words)
    if "Timeout" in kind:
        return TimedOut(words)
    if "MissingTestCaseParams" in kind or (
        isinstance(error, ValueError) and any(word in str(error).lower() for word in _LACKING)
    ):
        return MissingInput(words)
    unread = any(word in kind for word in _UNREAD) or any(word in str(error).lower() for word in _UNREADABLE)
    return ParseFailed(words) if unread else Unscored(words)


def _resolved(value: object) -> object:
    if isinstance(value, Mapping):
        rest = {key: _resolved(item) for key, item in value.items() if key != "use"}
        use = value.get("use")
        return plugins.find("tracekit.judges", use)(**rest) if isinstance(use, str) and ":" in use else dict(value)
    return value


def _plain_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value)


def _unheard(took: Completion) -> None:
    del took


def _spent(verdict: object) -> Completion:
    told = list(verdict.values()) if isinstance(verdict, Mapping) else [verdict]
    scores = [each for each in told if isinstance(each, Score)]
    costs = [each.cost_usd for each in scores if each.cost_usd is not None]
    read = [each.input_tokens for each in scores if each.input_tokens is not None]
    wrote = [each.output_tokens for each in scores if each.output_tokens is not None]
    return Completion(
        text="",
        input_tokens=sum(read) if read else None,
        output_tokens=sum(wrote) if wrote else None,
        cost_usd=sum(costs) if costs else None,
    )


def _secret_in(value: object) -> str | None:
    """A key that names a secret, however deep it stands; `None` where there is none."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if any(word in str(key).lower() for word in _SECRET):
                return str(key)
            found = _secret_in(item)
            if found is not None:
                return found
    elif isinstance(value, (list, tuple)):
        return next((found for item in value if (found := _secret_in(item)) is not None), None)
    return None
