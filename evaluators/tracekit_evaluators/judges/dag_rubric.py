"""A decision tree: questions to a model and judges of code at its nodes, a verdict at each leaf.

A node is `{ask: question, answers: {label: node, …}}` or `{judge: spec, answers: {value: node, …}}`; everything else
is a leaf: a number, a bool, a label, or `{value: …, because: text}`. A judge's verdict picks the answer of its own
name (`true`, `false`, a label); for numbers an answer may be `>=0.5` or `<0.5`. The answer `else` takes what is left,
also a judge that has no verdict.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tracekit.errors import UsageError
from tracekit_evaluators._digest import code_digest
from tracekit_evaluators.asked import Asked, Prompt, Scale, Spent
from tracekit_evaluators.asked.forms import Reading
from tracekit_evaluators.asked.measures import Value
from tracekit_evaluators.judge import Call, Judge, judge, load
from tracekit_evaluators.judges._material import EVERYTHING
from tracekit_evaluators.judges.panel import asked_by, freed, verdict_of
from tracekit_evaluators.models import ChatModel, Request, resolve
from tracekit_evaluators.score import Evidence, Score
from tracekit_evaluators.subject import Subject

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BOUND = re.compile(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\Z")
_DEEPEST = 20


@judge(source="llm", needs=("output",), values="as its leaves")
def dag_rubric(
    *,
    tree: dict[str, object] | str,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """The leaf of a decision tree that a subject comes to, with the path to it.

    Args:
        tree: The tree, or a file that holds it: JSON, TOML, or YAML where PyYAML is installed.
        model: Whom the questions are put to: a model's name, spec, function or `ChatModel`; the setting `judge_model`
            when not given. Needed only where the tree asks.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The tree has a node that is none, or is deeper than 20.
        PluginError: A node names a judge that is not there.

    Example:
        >>> sourced = {"judge": "regex?pattern=https://", "answers": {"true": 1, "false": 0}}
        >>> dag_rubric(tree=sourced).name
        'dag_rubric'
    """
    return _built(tree, model, EVERYTHING, "dag_rubric", base_url, timeout, (max_chars, max_tokens, sample))


@judge(source="llm", values="as its leaves", subject="session")
def conversational_dag(
    *,
    tree: dict[str, object] | str,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """The leaf of a decision tree that a whole session comes to, with the path to it.

    Args:
        tree: The tree, or a file that holds it; see `dag_rubric`.
        model: Whom the questions are put to; the setting `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the session the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The tree has a node that is none, or is deeper than 20.
    """
    shown = ("session", "expected")
    return _built(tree, model, shown, "conversational_dag", base_url, timeout, (max_chars, max_tokens, sample))


@dataclass(frozen=True)
class _Leaf:
    value: Value
    because: str | None


@dataclass(frozen=True)
class _Node:
    name: str
    asked: Asked | None
    member: Judge | None
    answers: Mapping[str, _Node | _Leaf]

    def next(self, verdict: Value | None) -> tuple[str, _Node | _Leaf] | None:
        """The answer that a verdict picks, and what follows it."""
        word = str(verdict).lower() if isinstance(verdict, bool) else str(verdict)
        for key, after in self.answers.items():
            if verdict is not None and (key == word or _holds(key, verdict)):
                return key, after
        return ("else", self.answers["else"]) if "else" in self.answers else None


@dataclass(frozen=True)
class _Tree:
    name: str
    root: _Node
    model: ChatModel | None

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The nodes' prompts and judges, and the model."""
        digests = [
            node.asked.prompt.digest if node.asked else node.member.digest if node.member else ""
            for node in _nodes(self.root)
        ]
        model = {} if self.model is None else {"model": dict(self.model.fingerprint)}
        return {"nodes": digests, "walk": code_digest(_Node.next), **model}

    def requests(self, subject: Subject) -> list[Request]:
        """What the root would ask; what follows depends on the answer."""
        if self.root.asked is not None:
            return self.root.asked.requests(subject)
        return [] if self.root.member is None else asked_by(self.root.member, subject)

    async def aclose(self) -> None:
        """Free the model's connections."""
        if self.model is not None:
            await self.model.aclose()
        await freed([node.member for node in _nodes(self.root) if node.member is not None])

    async def __call__(self, subject: Subject) -> Score:
        """The leaf that the subject comes to."""
        at: _Node | _Leaf = self.root
        path: list[str] = []
        words: list[str] = []
        evidence: list[Evidence] = []
        spent: list[Spent] = []
        while isinstance(at, _Node):
            score, cost = await _verdict(at, subject)
            spent.append(cost)
            evidence += score.evidence
            words += [score.explanation] if score.explanation else []
            step = at.next(score.value)
            if step is None:
                if score.status == "scored":
                    text = f"{at.name} says {score.value!r}, for which the tree has no answer"
                    score = Score(status="judge_error", explanation=text)
                return Spent.on(spent).onto(replace(score, metadata={**score.metadata, "path": path}))
            path.append(f"{at.name}: {step[0]}")
            at = step[1]
        said = " → ".join(path) + (f". {at.because}" if at.because else ".")
        told = {"path": path, "reasons": words}
        return Spent.on(spent).onto(Score(at.value, explanation=said, evidence=evidence, metadata=told))


async def _verdict(node: _Node, subject: Subject) -> tuple[Score, Spent]:
    if node.asked is None:
        assert node.member is not None  # noqa: S101 - a node has the one or the other
        score = await verdict_of(node.member, subject)
        return score, Spent.on([score]) if node.member.declared.source == "llm" else Spent()
    outcome = await node.asked.outcome(subject)
    failed = outcome.failed()
    if failed is not None:
        return failed, outcome.spent
    assert isinstance(outcome.reading, Reading)  # noqa: S101 - failed() has sent the others away
    return outcome.dressed(Score(outcome.reading.verdict)), outcome.spent


def _built(
    tree: object,
    model: object,
    show: tuple[str, ...],
    name: str,
    base_url: str | None,
    timeout: float | None,
    limits: tuple[int, int, int],
) -> _Tree:
    said = _read(tree) if isinstance(tree, str) else tree
    client = resolve(model, base_url=base_url, timeout=timeout) if _asks(said) else None
    root = _node(said, client, show, limits, 0)
    if isinstance(root, _Leaf):
        raise UsageError(f"{name} needs a tree: a node with answers, not only {tree!r:.80}")
    return _Tree(name, root, client)


def _node(
    said: object, model: ChatModel | None, show: tuple[str, ...], limits: tuple[int, int, int], depth: int
) -> _Node | _Leaf:
    if depth > _DEEPEST:
        raise UsageError(f"the tree is deeper than {_DEEPEST} nodes")
    if isinstance(said, (bool, int, float, str)):
        return _Leaf(said, None)
    if isinstance(said, Mapping) and "value" in said:
        because = said.get("because")
        return _Leaf(said["value"], None if because is None else str(because))
    answers = said.get("answers") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(answers, Mapping) or ("ask" in said) is ("judge" in said):
        raise UsageError(f"a node has `ask` or `judge`, and `answers`; this one is {said!r:.150}")
    after = {_key(key): _node(each, model, show, limits, depth + 1) for key, each in answers.items()}
    if "judge" in said:
        member = load(said["judge"])
        return _Node(str(said.get("name", member.name)), None, member, after)
    labels = [key for key in after if key != "else"]
    meanings = said.get("meanings", {})
    form = Scale({label: str(meanings.get(label, f"The answer is {label}.")) for label in labels}, {})
    question = str(said["ask"]).strip()
    assert model is not None  # noqa: S101 - a tree that asks has one
    asked = Asked(
        "node", Prompt(f"Answer this question about the material:\n{question}", form, show=show), model, *limits
    )
    return _Node(str(said.get("name", question)), asked, None, after)


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _holds(key: str, verdict: Value) -> bool:
    found = _BOUND.match(key)
    if found is None or isinstance(verdict, (bool, str)):
        return not isinstance(verdict, (bool, str)) and key == f"{verdict:g}"
    bound = float(found[2])
    return {"<": verdict < bound, "<=": verdict <= bound, ">": verdict > bound, ">=": verdict >= bound}[found[1]]


def _asks(said: object) -> bool:
    if not isinstance(said, Mapping):
        return False
    answers = said.get("answers")
    return "ask" in said or (isinstance(answers, Mapping) and any(_asks(each) for each in answers.values()))


def _nodes(at: _Node | _Leaf) -> Iterator[_Node]:
    if isinstance(at, _Node):
        yield at
        for after in at.answers.values():
            yield from _nodes(after)


def _read(name: str) -> object:
    path = Path(name)
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix in (".yaml", ".yml"):
            import yaml  # noqa: PLC0415 - only where a tree is YAML

            return yaml.safe_load(text)
        return json.loads(text)
    except ImportError:
        raise UsageError(f"{name} is YAML, which needs PyYAML; install it, or write the tree as JSON or TOML") from None
    except OSError as error:
        raise UsageError(f"the tree {name} cannot be read: {error}") from None
    except Exception as error:  # noqa: BLE001 - three readers, each with faults of its own
        raise UsageError(f"the tree {name} is not valid: {error}") from None
