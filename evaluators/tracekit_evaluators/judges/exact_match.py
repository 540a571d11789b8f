"""Whether the output is the expected one."""

from __future__ import annotations

import re
import unicodedata

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject, as_text, canonical

_SPACE = re.compile(r"\s+")
_PUNCTUATION = re.compile(r"[^\w\s]")


@judge(needs=("output", "expected.output"), values="{0,1}")
def exact_match(
    *,
    expected: object = None,
    ignore_case: bool = False,
    ignore_space: bool = True,
    ignore_punctuation: bool = False,
) -> Call:
    """Whether the output equals the expected output.

    A text is compared in Unicode's NFKC form; where anything else is expected, the output counts as JSON. Of several
    expected outputs (`expected.outputs`, a list) any one will do.

    Args:
        expected: What is expected of every case; the case's `output`, else its `outputs`, when not given.
        ignore_case: Whether `Yes` equals `yes`.
        ignore_space: Whether runs of white space count as one space, and none at the ends.
        ignore_punctuation: Whether everything but letters, digits, underscores and white space is left out.

    Example:
        >>> exact_match(ignore_case=True).name
        'exact_match'
    """

    def form(text: str) -> str:
        text = unicodedata.normalize("NFKC", text)
        text = text.casefold() if ignore_case else text
        text = _PUNCTUATION.sub("", text) if ignore_punctuation else text
        return _SPACE.sub(" ", text).strip() if ignore_space else text

    def equal(text: str, wanted: object) -> bool:
        return form(text) == form(wanted) if isinstance(wanted, str) else canonical(text) == canonical(wanted)

    def call(subject: Subject) -> Score:
        text = subject.output_text
        wanted = subject.expect("output", "outputs") if expected is None else expected
        several = expected is None and (subject.expected or {}).get("output") is None
        choices = wanted if several and isinstance(wanted, list) else [wanted]
        if any(equal(text, choice) for choice in choices):
            return Score(value=True)
        return Score(value=False, explanation=f"expected {_short(choices)}, got {_short([text])}")

    return call


def _short(values: list[object]) -> str:
    texts = [as_text(value) for value in values]
    return " or ".join(repr(text if len(text) <= 200 else text[:199] + "…") for text in texts)
