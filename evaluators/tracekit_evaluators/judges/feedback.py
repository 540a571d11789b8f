"""What people said of a trace, as scores: thumbs, stars, whether an answer was taken, and how much of it was changed.

These read scores that stand already, of people and users, and say nothing of a trace that nobody spoke of.
"""

from __future__ import annotations

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject
from tracekit_evaluators.texts.edits import distance as edits

_YES = frozenset({"up", "yes", "true", "good", "accepted", "1", "1.0", "+1", "👍"})
_NO = frozenset({"down", "no", "false", "bad", "rejected", "0", "0.0", "-1", "-1.0", "👎"})
_LONGEST = 20_000


@judge(needs=("earlier score of a person",), values="{0,1}")
def thumb(*, of: str = "thumb") -> Call:
    """Whether the newest thumb that a person gave is up; its mean is the thumb rate.

    Args:
        of: The score that people gave: true, 1, `up`, `yes`, `good` for up; false, 0, -1, `down`, `no`, `bad` for down.
    """

    def call(subject: Subject) -> Score:
        said = _earlier(subject, of)
        word = str(said).strip().lower()
        if word in _YES or word in _NO:
            return Score(word in _YES)
        raise UsageError(f"the score {of} is {said!r:.40}, which is neither up nor down")

    return call


@judge(needs=("earlier score of a person",), values="1 to most")
def stars(*, of: str = "stars", most: int = 5) -> Call:
    """How many stars a person gave; their order is sure, their distances are not.

    Args:
        of: The score that people gave.
        most: The most stars there are.
    """

    def call(subject: Subject) -> Score:
        said = _earlier(subject, of)
        if not isinstance(said, float) or not 1 <= said <= most:
            raise UsageError(f"the score {of} is {said!r:.40}, not 1 to {most} stars")
        return Score(said)

    return call


@judge(needs=("earlier score of a person",), values="{0,1}")
def acceptance(*, of: str = "accepted", final: str = "final") -> Call:
    """Whether a person took the answer as it was: said so, or used it unchanged.

    Args:
        of: The score that says so.
        final: Where nobody said so: the score whose label is the text that was used in the end.
    """

    def call(subject: Subject) -> Score:
        if of in subject.earlier:
            return Score(_is_yes(subject.earlier[of], of))
        return Score(_final(subject, final).strip() == subject.output_text.strip())

    return call


@judge(direction="minimize", needs=("earlier score of a person",), values="{0,1}")
def override(*, of: str = "overridden", final: str = "final") -> Call:
    """Whether a person overrode the answer: said so, or used another one.

    Args:
        of: The score that says so.
        final: Where nobody said so: the score whose label is the text that was used in the end.
    """

    def call(subject: Subject) -> Score:
        if of in subject.earlier:
            return Score(_is_yes(subject.earlier[of], of))
        return Score(_final(subject, final).strip() != subject.output_text.strip())

    return call


@judge(direction="minimize", needs=("output", "earlier score of a person"), values="[0,1]")
def draft_edits(*, final: str = "final") -> Call:
    """How much of the agent's draft a person changed: edit distance to the final text, by the longer one's length.

    Levenshtein's distance over characters; 0 where nothing was changed. Besides `draft_edits` it says
    `draft_edits.characters`, the distance itself.

    Args:
        final: The score whose label is the text that was used in the end; else the case's expected `final`.
    """

    def call(subject: Subject) -> dict[str, Score]:
        draft, kept = subject.output_text, _final(subject, final)
        longest = max(len(draft), len(kept))
        if longest > _LONGEST:
            raise MissingInput(f"the texts are longer than {_LONGEST} characters, too long to compare letter by letter")
        distance = edits(draft, kept)
        return {
            "draft_edits": Score(distance / longest if longest else 0.0),
            "draft_edits.characters": Score(float(distance), direction="minimize"),
        }

    return call


def _earlier(subject: Subject, name: str) -> float | str:
    if name not in subject.earlier:
        raise MissingInput(f"nobody gave a score called {name}")
    return subject.earlier[name]


def _is_yes(said: float | str, name: str) -> bool:
    word = str(said).strip().lower()
    if word not in _YES and word not in _NO:
        raise UsageError(f"the score {name} is {said!r:.40}, which is neither yes nor no")
    return word in _YES


def _final(subject: Subject, name: str) -> str:
    said = subject.earlier.get(name)
    if said is None and subject.expected is not None:
        said = subject.expected.get(name)  # type: ignore[assignment]  # what it is, the next line sees
    if not isinstance(said, str):
        raise MissingInput(f"nobody said what was used in the end: there is no text called {name}")
    return said
