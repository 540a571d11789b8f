"""Whether the output matches a pattern."""

from __future__ import annotations

import re

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Evidence, Score
from tracekit_evaluators.subject import Subject


@judge(needs=("output",), values="{0,1}")
def regex(*, pattern: str, negate: bool = False, ignore_case: bool = False, full: bool = False) -> Call:
    r"""Whether a regular expression matches somewhere in the output.

    Args:
        pattern: A pattern as Python's `re` takes it.
        negate: Whether the answer is turned round: a pass is that nothing matches.
        ignore_case: Whether case is ignored.
        full: Whether the whole output must match.

    Raises:
        UsageError: The pattern cannot be compiled.

    Example:
        >>> regex(pattern=r"\bISBN [0-9-]+").parameters["full"]
        False
    """
    try:
        compiled = re.compile(str(pattern), re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise UsageError(f"regex: the pattern {pattern!r} cannot be compiled: {error}") from None

    def call(subject: Subject) -> Score:
        text = subject.output_text
        found = compiled.fullmatch(text) if full else compiled.search(text)
        evidence = [Evidence(None, found[0][:500])] if found and found[0] else []
        where = f"at character {found.start()}" if found else "nowhere"
        return Score((found is not None) is not negate, explanation=f"the pattern matches {where}", evidence=evidence)

    return call
