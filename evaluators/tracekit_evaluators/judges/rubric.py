"""A model's verdict by criteria in plain words.

The model is asked for evidence first (span ids and quotes), then its reasoning, the verdict last, in a form that a
schema fixes. What it judges stands between lines with a random mark and is declared to be data. A quote that does not
stand in the trace word for word is left out, and the score says so.
"""

from __future__ import annotations

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Prompt, Scale
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.models import resolve

_BINARY = {"fail": "The criteria are not met.", "pass": "The criteria are met."}


@judge(source="llm", needs=("output",), values="{0,1} or [0,1]")
def rubric(
    *,
    criteria: str,
    model: object = None,
    levels: list[str] | None = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """Whether the trace meets criteria in plain words, as a model sees it.

    Args:
        criteria: What to judge, in a few sentences.
        model: A model's name on an OpenAI-compatible server, a spec of a model plugin, a function, or a `ChatModel`;
            the setting `judge_model` when not given.
        levels: 2 to 5 texts, from worst to best, each saying what that level looks like; the value is then the
            level's place in [0,1]. Without them the verdict is pass or fail.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters; long parts are cut in the middle.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The criteria are empty, or there are fewer than 2 or more than 5 levels.
        SettingError: No model or no server is named.

    Example:
        >>> rubric(criteria="The answer names its source.", model="m", base_url="http://127.0.0.1:8000/v1").name
        'rubric'
    """
    if not str(criteria).strip():
        raise UsageError("rubric needs criteria: a few sentences that say what to judge")
    prompt = Prompt(str(criteria).strip(), scale_of("rubric", levels))
    client = resolve(model, base_url=base_url, timeout=timeout)
    return Asked("rubric", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample)


@judge(source="llm", values="{0,1} or [0,1]", subject="session")
def conversational_rubric(
    *,
    criteria: str,
    model: object = None,
    levels: list[str] | None = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """Whether a whole session meets criteria in plain words, as a model sees it.

    Args:
        criteria: What to judge, in a few sentences.
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        levels: 2 to 5 texts, from worst to best; without them the verdict is pass or fail.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the session the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The criteria are empty, or there are fewer than 2 or more than 5 levels.
    """
    if not str(criteria).strip():
        raise UsageError("conversational_rubric needs criteria: a few sentences that say what to judge")
    client = resolve(model, base_url=base_url, timeout=timeout)
    form = scale_of("conversational_rubric", levels)
    prompt = Prompt(str(criteria).strip(), form, show=("session", "expected"))
    return Asked("conversational_rubric", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample)


def scale_of(name: str, levels: object) -> Scale:
    """Pass and fail, or anchored levels whose values lie evenly between 0 and 1.

    Args:
        name: The judge, for messages.
        levels: `None`, or 2 to 5 texts from worst to best.

    Raises:
        UsageError: There are fewer than 2 or more than 5 levels.
    """
    if levels is None:
        return Scale(_BINARY, {"fail": False, "pass": True})
    if not isinstance(levels, list) or not 2 <= len(levels) <= 5:
        raise UsageError(f"{name} needs a list of 2 to 5 levels, from worst to best, not {levels!r}")
    texts = {str(place): str(text) for place, text in enumerate(levels, start=1)}
    return Scale(texts, {level: place / (len(texts) - 1) for place, level in enumerate(texts)})
