"""Small predicates on the output's text: how it begins and ends, how long it is, which language it is in."""

from __future__ import annotations

import re
from itertools import islice

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score
from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.texts.overlap import words
from tracekit_evaluators.texts.reading import flesch, language
from tracekit_evaluators.texts.wordings import refusals, uncovered

_STUBS = re.compile(
    r"(?i)\bTODO\b|\bFIXME\b"
    r"|\brest (?:of (?:the )?(?:code|file|function) )?(?:is |remains |stays )?(?:unchanged|the same)\b"
    r"|\b(?:remaining|other|existing) (?:code|parts?|lines?|functions?) (?:here|unchanged|as before|remains?)\b"
    r"|\b(?:your|implement(?:ation)?|add|insert) (?:code|logic|implementation)?\s*(?:goes )?here\b"
    r"|(?:#|//|/\*|<!--)\s*\.\.\.|\bplaceholder\b|\bleft as an exercise\b|\braise NotImplementedError\b"
)


@judge(needs=("output",), values="{0,1}")
def starts_with(*, text: str | list[str] | None = None, negate: bool = False, ignore_case: bool = False) -> Call:
    """Whether the output begins with a given text, white space at the front left out.

    Args:
        text: The beginning, or several of which one will do; the case's `starts_with` when not given.
        negate: Whether a pass is that it does not.
        ignore_case: Whether letters count as equal whatever their case.
    """

    def call(subject: Subject) -> Score:
        given = subject.expect("starts_with") if text is None else text
        wanted = [as_text(each) for each in (given if isinstance(given, list) else [given])]
        said = subject.output_text.lstrip()
        said, wanted = (said.casefold(), [each.casefold() for each in wanted]) if ignore_case else (said, wanted)
        begins = said.startswith(tuple(wanted))
        return Score(begins is not negate, explanation=f"it begins with {said[:60]!r}")

    return call


@judge(needs=("output",), values="{0,1}")
def length(*, least: int | None = None, most: int | None = None, unit: str = "words") -> Call:
    """Whether the output is as long as it may be, in words, characters, lines or sentences.

    Args:
        least: The shortest; no limit when not given.
        most: The longest; no limit when not given.
        unit: `words`, `characters`, `lines` or `sentences`.

    Raises:
        UsageError: No limit is given, or the unit is unknown.
    """
    if least is None and most is None:
        raise UsageError("length needs a limit: least, most or both")
    if unit not in _COUNTS:
        raise UsageError(f"length counts {', '.join(_COUNTS)}, not {unit!r}")

    def call(subject: Subject) -> Score:
        count = _COUNTS[unit](subject.output_text)
        fits = (least is None or count >= least) and (most is None or count <= most)
        return Score(fits, explanation=f"{count} {unit}", metadata={"count": count})

    return call


@judge(needs=("output",), values="{0,1}")
def language_match(*, language: str | None = None) -> Call:
    """Whether the output is in the language that was wanted, or in that of the input where none was named.

    Told by script and common words for about twenty languages; where it cannot be told, the judge does not say.

    Args:
        language: An ISO 639-1 code such as `de`; the case's `language`, else the input's language, when not given.
    """

    def call(subject: Subject) -> Score:
        told = (subject.expected or {}).get("language")
        wanted = language or (str(told) if told else None) or _language(subject.input or "")
        if wanted is None:
            raise MissingInput("no language is named, and the input does not show one")
        said = _language(subject.output_text)
        if said is None:
            raise NotApplicable("the output is too short, or in no language that can be told")
        return Score(said == wanted.lower()[:2], explanation=f"the output is in {said!r}, {wanted!r} was wanted")

    return call


@judge(needs=("output",), values="number", direction="neutral")
def readability(*, least: float | None = None) -> Call:
    """Flesch's reading ease of an English output: about 100 is very easy, 30 and less very hard.

    Args:
        least: The lowest ease that passes; none does when not given.
    """

    def call(subject: Subject) -> Score:
        ease = flesch(subject.output_text)
        if ease is None:
            raise NotApplicable("the output holds no words")
        return Score(ease, passed=None if least is None else ease >= least)

    return call


@judge(needs=("output",), values="{0,1}", direction="minimize")
def placeholder(*, patterns: list[str] | None = None) -> Call:
    """Whether the output leaves work undone: a TODO, "rest unchanged", "your code here".

    The words are English; those of another language are given as patterns.

    Args:
        patterns: Regular expressions that count besides the built-in ones.

    Raises:
        UsageError: A pattern is none.
    """
    try:
        more = [re.compile(pattern) for pattern in patterns or ()]
    except re.error as error:
        raise UsageError(f"placeholder: this is no regular expression: {error}") from None

    def call(subject: Subject) -> Score:
        text = subject.output_text
        for pattern in (_STUBS, *more):
            found = pattern.search(text)
            if found:
                return Score(value=True, explanation=f"it says {found[0]!r}")
        return Score(value=False)

    return call


@judge(needs=("output",), values="{0,1}", direction="neutral")
def refusal_words() -> Call:
    """Whether the output declines in so many words: "I'm unable to …", "Ich kann … nicht", "no puedo …".

    Found by rules in English, German, French, Spanish and Portuguese (`texts/wordings.toml`); not applicable to an
    output in another language. An answer that declines a part is found too: `refusal` asks a model which it is.
    """

    def call(subject: Subject) -> Score:
        text = subject.output_text
        found = list(islice(refusals(text), 10))
        other = None if found else uncovered(text)
        if other is not None:
            raise NotApplicable(f"the output is in {other!r}, whose refusals are not known")
        return Score(
            bool(found),
            explanation=f"it says {found[0]!r:.200}" if found else None,
            evidence=[Evidence(None, sentence) for sentence in found],
        )

    return call


@judge(needs=("model_calls",), values="{0,1}")
def finish_reason(*, allowed: list[str] | str = "stop") -> Call:
    """Whether the last model call ended as it should: not cut off, not filtered.

    Args:
        allowed: The reasons that are good, in OpenTelemetry's words: `stop`, `tool_call`, `length`, `content_filter`.
    """
    good = {str(each) for each in (allowed if isinstance(allowed, list) else [allowed])}

    def call(subject: Subject) -> Score:
        calls = [each for each in subject.model_calls if each.finish_reasons]
        if not calls:
            raise MissingInput("no model call says why it ended")
        reasons = calls[-1].finish_reasons or ()
        return Score(all(reason in good for reason in reasons), explanation=", ".join(reasons))

    return call


def _characters(text: str) -> int:
    return len(text)


def _words(text: str) -> int:
    return len(words(text))


def _lines(text: str) -> int:
    return len(text.splitlines())


def _sentences(text: str) -> int:
    return len([part for part in re.split(r"[.!?…。！？]+(?:\s|$)", text) if part.strip()])


_COUNTS = {"words": _words, "characters": _characters, "lines": _lines, "sentences": _sentences}


def _language(text: str) -> str | None:
    return language(text)
