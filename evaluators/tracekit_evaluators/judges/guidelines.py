"""Rules in plain words that must all hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Lists, Prompt
from tracekit_evaluators.asked.forms import ItemList, Reading
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.models import resolve
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject

_CRITERIA = """Decide for each of these rules whether what the agent did and said keeps it. A rule that says
nothing about this material does not apply. The rules:
"""
_VERDICTS = {
    "kept": "The rule is kept.",
    "broken": "The rule is broken.",
    "does_not_apply": "The rule says nothing about this material.",
}


@judge(source="llm", needs=("output",), values="{0,1}")
def guidelines(
    *,
    rules: list[str] | dict[str, str],
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 4000,
    sample: int = 0,
) -> Call:
    """Whether every one of several rules in plain words is kept; the broken ones are named.

    Args:
        rules: The rules: a list, whose members are then called `1`, `2`, …, or texts by name.
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: There are no rules, or one of them is empty.

    Example:
        >>> guidelines(rules=["It is polite."], model="m", base_url="http://127.0.0.1:8000/v1").name
        'guidelines'
    """
    client = resolve(model, base_url=base_url, timeout=timeout)
    prompt = Prompt(_CRITERIA + listed(_named(rules)), _form())
    asked = Asked("guidelines", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample)
    return Rules(replace(asked, sizes={"rules": len(rules)}), tuple(_named(rules)))


@judge(source="llm", values="{0,1}", subject="session")
def conversational_guidelines(
    *,
    rules: list[str] | dict[str, str],
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 4000,
    sample: int = 0,
) -> Call:
    """Whether every one of several rules is kept in a whole session; the broken ones are named.

    Args:
        rules: The rules: a list, or texts by name.
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the session the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: There are no rules, or one of them is empty.
    """
    client = resolve(model, base_url=base_url, timeout=timeout)
    prompt = Prompt(_CRITERIA + listed(_named(rules)), _form(), show=("session", "expected"))
    asked = Asked("conversational_guidelines", prompt, client, max_chars, max_tokens, sample)
    return Rules(replace(asked, sizes={"rules": len(rules)}), tuple(_named(rules)))


class Rules:
    """The function of a judge of rules; adds which of them are broken.

    Args:
        asked: Puts the question.
        names: The rules' names, in the order in which they are numbered.
    """

    def __init__(self, asked: Asked, names: tuple[str, ...]) -> None:
        self._asked = asked
        self._names = names
        self.requests = asked.requests
        self.aclose = asked.aclose

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompt and the model."""
        return self._asked.fingerprint

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """Whether all rules that apply are kept."""
        outcome = await self._asked.outcome(subject)
        verdict = self._asked.scored(outcome, subject)
        if not isinstance(verdict, Score) or verdict.status != "scored" or not isinstance(outcome.reading, Reading):
            return verdict
        broken = [
            self._names[(item.number or 1) - 1] for item in outcome.reading.lists["rules"] if item.verdict == "broken"
        ]
        said = f"broken: {', '.join(broken)}." if broken else "all that apply are kept."
        words = f"{said} {verdict.explanation or ''}".strip()
        return replace(verdict, explanation=words, metadata={**verdict.metadata, "broken": broken})


def listed(rules: Mapping[str, str]) -> str:
    """Rules as a numbered list."""
    return "\n".join(f"{place}. {text}" for place, text in enumerate(rules.values(), start=1))


def _named(rules: object) -> dict[str, str]:
    if isinstance(rules, Mapping):
        named = {str(name): text for name, text in rules.items()}
    elif isinstance(rules, list):
        named = {str(place): text for place, text in enumerate(rules, start=1)}
    else:
        named = {}
    if not named or not all(isinstance(text, str) and text.strip() for text in named.values()):
        raise UsageError(f"guidelines need rules: a list of texts, or texts by name, not {rules!r:.100}")
    return {name: text.strip() for name, text in named.items()}


def _form() -> Lists:
    one = ItemList("rules", "whether it is kept", _VERDICTS, {"kept": 1.0, "broken": 0.0}, over="rules")
    return Lists((one,), "all_hold")
