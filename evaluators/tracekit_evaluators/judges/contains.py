"""Whether the output holds given texts."""

from __future__ import annotations

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Score
from tracekit_evaluators.subject import Subject, as_text


@judge(needs=("output",), values="{0,1}")
def contains(
    *,
    any: list[str] | str | None = None,  # noqa: A002 - the words that one writes in a spec
    all: list[str] | str | None = None,  # noqa: A002
    negate: bool = False,
    ignore_case: bool = False,
) -> Call:
    """Whether the output holds all of some texts, or any of some.

    Args:
        any: Texts of which one must be there.
        all: Texts that must all be there; the case's `contains` when neither this nor `any` is given.
        negate: Whether the answer is turned round: a pass is that they are not there.
        ignore_case: Whether `Yes` is found in `yes`.

    Raises:
        UsageError: A list is empty, or holds something other than texts.

    Example:
        >>> contains(any=["sorry", "cannot"], negate=True).parameters["negate"]
        True
    """
    some, every = _texts("any", any), _texts("all", all)

    def call(subject: Subject) -> Score:
        wanted = every
        if some is None and every is None:
            wanted = _texts("the case's contains", subject.expect("contains"))
        text = subject.output_text
        here = text.casefold() if ignore_case else text

        def found(part: str) -> bool:
            return (part.casefold() if ignore_case else part) in here

        missing = [part for part in wanted or () if not found(part)]
        present = [part for part in (*(wanted or ()), *(some or ())) if found(part)]
        holds = not missing and (some is None or not set(some).isdisjoint(present))
        words = f"holds {_quoted(present) or 'none of them'}" + (f", lacks {_quoted(missing)}" if missing else "")
        return Score(holds is not negate, explanation=f"the output {words}")

    return call


def _texts(name: str, given: object) -> list[str] | None:
    if given is None:
        return None
    texts = given if isinstance(given, list) else [given]
    # A spec's `all=42` arrives as a number.
    wanted = [as_text(text) for text in texts if isinstance(text, (str, int, float))]
    if not wanted or len(wanted) < len(texts) or "" in wanted:
        raise UsageError(f"contains needs texts in {name}, not {given!r}")
    return wanted


def _quoted(parts: list[str]) -> str:
    return ", ".join(repr(part) for part in parts)
