"""Whether an answer's quotes and citations hold: by their words and ids, without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracekit.errors import UsageError
from tracekit_evaluators.grounding import words_of
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.score import Evidence, MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject, as_text

_QUOTES = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|„([^“”\n]+)[“”]|«([^»\n]+)»|(?m:^> ?(.+)$)")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+(?=[^\s\]])[^.!?\n]+)*[.!?]*(?:\s*\[[^\]\n]{1,80}\])*")
CITED = r"\[(?!\s*[xX]?\s*\])([^\[\]\n]{1,80})\](?!\()"


@judge(needs=("output", "documents"), values="[0,1]")
def quoted_spans(*, min_words: int = 3) -> Call:
    """Share of the answer's quotes that stand word for word in a source.

    Sources are retrieved documents, tool results and the input; spaces, case and the kind of quotation mark do not
    count. Not applicable where nothing is quoted.

    Args:
        min_words: The shortest quote that counts, in words, at least 1; shorter ones are mostly no quotes.

    Raises:
        UsageError: min_words is less than 1.
    """
    least = count_of("quoted_spans", "min_words", min_words, at_least=1)

    def call(subject: Subject) -> Score:
        quotes = [quote for quote in quotes_in(subject.output_text) if len(quote.split()) >= least]
        if not quotes:
            raise NotApplicable("the output quotes nothing")
        told = [as_text(document.content) for document in subject.documents]
        told += [as_text(call.result) for call in subject.tool_calls if call.result is not None]
        told += [subject.input] if subject.input else []
        if not told:
            raise MissingInput("the trace shows no source to quote from")
        sources = "|".join(map(_spaced, told))
        loose = [quote for quote in quotes if _spaced(quote).rstrip(".,;:!?… ") not in sources]
        return Score(
            1 - len(loose) / len(quotes),
            explanation=f"{len(quotes) - len(loose)} of {len(quotes)} quotes stand in a source",
            evidence=[Evidence(None, quote) for quote in loose[:10]],
        )

    return call


def quotes_in(text: str) -> list[str]:
    """What stands between quotation marks, and quoted lines (`> …`).

    Example:
        >>> quotes_in('It says "no refunds", then “none at all”.')
        ['no refunds', 'none at all']
    """
    return [next(group for group in match.groups() if group).strip() for match in _QUOTES.finditer(text)]


@judge(needs=("output", "documents"), values="{0,1}, [0,1]")
def citations(*, pattern: str = CITED, numbered: bool = True, expected: str = "citations") -> Call:
    """Whether everything that the answer cites is a document that was retrieved.

    Besides `citations` it says `.valid` (cited ids that exist over all cited), `.cited` (sentences that cite something
    over all sentences of four words and more), and, where the case names the ids that should be cited, `.precision`
    and `.recall` of the cited ids.

    Args:
        pattern: A regular expression whose first group, or match, is what is cited; several may stand in one,
            separated by commas or semicolons. Brackets (`[doc-1]`, `[1, 2]`) when not given.
        numbered: Whether a number n that is no document's id stands for the n-th document that was retrieved.
        expected: Which of the case's expectations holds the ids that should be cited.

    Raises:
        UsageError: The pattern is no regular expression.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"citations: this is no regular expression: {error}") from None

    def call(subject: Subject) -> dict[str, Score]:
        text = subject.output_text
        ids = [as_text(document.id) for document in subject.documents if document.id is not None]
        places = {str(place): each for place, each in enumerate(ids, start=1)} if numbered else {}
        cited = [places.get(each, each) if each not in ids else each for each in _cited(text, regex)]
        sentences = [each for each in _SENTENCE.findall(text) if len(words_of(regex.sub("", each)).split()) >= 4]
        with_one = sum(1 for each in sentences if regex.search(each))
        found = {
            "citations": unscored(NotApplicable("the output cites nothing")),
            "citations.valid": unscored(NotApplicable("the output cites nothing")),
            "citations.cited": Score(with_one / len(sentences))
            if sentences
            else unscored(NotApplicable("the output holds no sentence")),
        }
        if cited and not ids:
            found["citations"] = found["citations.valid"] = unscored(
                MissingInput("the trace shows no documents with ids")
            )
        elif cited:
            wrong = [each for each in dict.fromkeys(cited) if each not in ids]
            found["citations"] = Score(
                not wrong,
                explanation=f"no such document: {', '.join(wrong[:20])}" if wrong else None,
                evidence=[Evidence(None, each) for each in wrong[:10] if each in text],
            )
            found["citations.valid"] = Score(sum(1 for each in cited if each in ids) / len(cited))
        wanted = (subject.expected or {}).get(expected)
        if wanted is not None:
            should = {as_text(each) for each in (wanted if isinstance(wanted, (list, tuple)) else [wanted])}
            both = len(should & set(cited))
            nothing = unscored(NotApplicable("the output cites nothing"))
            found["citations.precision"] = Score(both / len(set(cited))) if cited else nothing
            if should:
                found["citations.recall"] = Score(both / len(should))
        return found

    return call


def _cited(text: str, regex: re.Pattern[str]) -> Iterator[str]:
    for match in regex.finditer(text):
        inside = match[1] if regex.groups else match[0]
        yield from (each.strip(" ^#†") for each in re.split(r"[,;]", inside or "") if each.strip(" ^#†"))


def _spaced(text: str) -> str:
    return " ".join(text.casefold().split()).replace("’", "'").replace("“", '"').replace("”", '"')
