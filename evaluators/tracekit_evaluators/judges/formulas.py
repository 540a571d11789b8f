"""Whether the output's formula is the expected one, however either is written."""

from __future__ import annotations

import re

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.texts import formulas

_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_SET_APART = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_NAMED = re.compile(r"^\s*(?:[A-Za-z]\w?(?:\([a-z]\))?|[Aa]nswer|[Rr]esult)\s*[=:]")


@judge(needs=("output", "expected.output"), values="{0,1}")
def math_equivalent(*, expected: str | None = None, take: str = "last") -> Call:
    r"""Whether the output's formula equals the expected one for all values: `(x+1)^2` is `x^2 + 2x + 1`.

    Both are worked out at points that chance chose; no computer algebra is needed. The formula is what stands in
    `\boxed{…}`, else between dollar signs, else the whole output; what is before a single `=` is left out.

    Args:
        expected: The formula that is expected of every case; the case's `formula` (or `output`) when not given.
        take: Which of several formulas that are set apart counts: `last` or `first`.

    Raises:
        UsageError: `take` is neither.

    Example:
        >>> math_equivalent(expected="1/2").parameters["expected"]
        '1/2'
    """
    if take not in {"last", "first"}:
        raise UsageError(f"math_equivalent takes the last or first formula, not {take!r}")

    def call(subject: Subject) -> Score:
        wanted = _formula(as_text(subject.expect("formula", "output") if expected is None else expected), take)
        try:
            formulas.tokens(wanted)
        except ValueError as error:
            raise MissingInput(f"the case expects {wanted[:100]!r}, which is no formula: {error}") from None
        said = _formula(subject.output_text, take)
        words = f"{said[:100]!r}, {wanted[:100]!r} was expected"
        try:
            return Score(formulas.equal(said, wanted), explanation=words)
        except ValueError as error:
            return Score(value=False, explanation=f"{words}: {error}")

    return call


def _formula(text: str, take: str) -> str:
    found = _BOXED.findall(text) or [next(filter(None, each)) for each in _SET_APART.findall(text)]
    if found:
        text = found[0 if take == "first" else -1]
    lines = [line for line in text.splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    begin = _NAMED.match(text)
    return text[begin.end() :].strip() if begin else text.strip()
