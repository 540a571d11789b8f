"""What retrieval found, against the documents and entities that it should have found."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from tracekit.errors import UsageError
from tracekit_evaluators.grounding import words_of
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.score import MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject, as_text

_NUMBER = re.compile(r"(?<!\w)[$€£]?\d[\d.,:/-]*\d|(?<!\w)\d(?!\w)")
_CODE = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{3,}\b|[\w.+-]+@[\w-]+\.[\w.-]+|https?://\S+")
_NAME = re.compile(r"\b[A-ZÄÖÜ][\w'’-]+(?:[ \t]+(?:of|the|de|von|van|der)?[ \t]*[A-ZÄÖÜ][\w'’-]+)*")
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{2,80})[\"”“»]")


def precision_at(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Of the first k places, the share that holds a relevant document; places that are empty hold none."""
    return sum(1 for each in ranked[:k] if relevant.get(each, 0) > 0) / k


def recall_at(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Of the relevant documents, the share among the first k."""
    wanted = sum(1 for grade in relevant.values() if grade > 0)
    return sum(1 for each in ranked[:k] if relevant.get(each, 0) > 0) / wanted


def average_precision(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Precision at each relevant document's rank, summed, over all relevant ones (or k, if fewer fit)."""
    wanted = sum(1 for grade in relevant.values() if grade > 0)
    found, total = 0, 0.0
    for rank, each in enumerate(ranked[:k], start=1):
        if relevant.get(each, 0) > 0:
            found += 1
            total += found / rank
    return total / min(wanted, k)


def ndcg_at(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Discounted cumulative gain of the first k over the best possible one (Järvelin 2002; gain is the grade itself).

    Example:
        >>> round(ndcg_at(["b", "a"], {"a": 2, "b": 1}, 2), 4)
        0.8597
    """
    gains = [max(0.0, relevant.get(each, 0.0)) for each in ranked[:k]]
    best = sorted((grade for grade in relevant.values() if grade > 0), reverse=True)[:k]
    return _dcg(gains) / _dcg(best)


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@judge(needs=("documents", "expected.documents"), values="[0,1] each")
def retrieval(*, k: int | None = None, expected: str = "documents", least: float = 1.0) -> Call:
    """How well retrieval ranked, by ids: nDCG@k, with precision, recall, hit, rank, average precision, fidelity, holes.

    `retrieval` is nDCG@k; `.precision`, `.recall`, `.hit` at k; `.reciprocal_rank` (its mean is the MRR) and
    `.average_precision` (its mean is the MAP) within k; `.fidelity`: the grades of what was found over the grades of
    all that is known to be relevant; `.holes`: of the first k, the share of which nobody said whether it is relevant
    (applicable only where the case grades irrelevant documents too, with 0). Each document counts once, at its best
    rank.

    Args:
        k: How many of the retrieved documents count, at least 1; as many as there are when not given.
        expected: Which of the case's expectations holds the ids: a list of relevant ones, or ids with grades
            (`{"doc-1": 3, "doc-2": 0}`); `document_ids` is tried too.
        least: The lowest grade that counts as relevant where only relevant or not is asked, above 0.

    Raises:
        UsageError: k is less than 1, or least is not above 0.

    Example:
        >>> retrieval(k=5).parameters["k"]
        5
    """
    first = None if k is None else count_of("retrieval", "k", k, at_least=1)
    if least <= 0:
        raise UsageError(f"retrieval needs a grade above 0 as least, not {least!r}")

    def call(subject: Subject) -> dict[str, Score]:
        grades, complete = _grades(subject.expect(expected, "document_ids"))
        relevant = {each: grade for each, grade in grades.items() if grade >= least}
        if not relevant:
            raise NotApplicable("the case names no relevant document")
        ids = [as_text(document.id) for document in subject.documents if document.id is not None]
        if not ids and subject.documents:
            raise MissingInput("the retrieved documents have no ids")
        ranked = list(dict.fromkeys(ids))
        shown = len(ranked) if first is None else first
        ranked = ranked[:shown]
        at = max(shown, 1)
        ranks = [rank for rank, each in enumerate(ranked, start=1) if each in relevant]
        unknown = [each for each in ranked if each not in grades]
        holes = f"{len(unknown)} of {len(ranked)} retrieved documents have no label" if complete else None
        known = math.fsum(grade for grade in grades.values() if grade > 0)
        found = math.fsum(max(0.0, grades.get(each, 0.0)) for each in ranked)
        return {
            "retrieval": Score(ndcg_at(ranked, grades, _most(at, first, grades)), explanation=holes),
            "retrieval.precision": Score(precision_at(ranked, relevant, at)),
            "retrieval.recall": Score(recall_at(ranked, relevant, at)),
            "retrieval.hit": Score(bool(ranks)),
            "retrieval.reciprocal_rank": Score(1 / ranks[0] if ranks else 0.0),
            "retrieval.average_precision": Score(average_precision(ranked, relevant, _most(at, first, relevant))),
            "retrieval.fidelity": Score(found / known),
            "retrieval.holes": Score(len(unknown) / len(ranked), direction="minimize")
            if complete and ranked
            else unscored(NotApplicable("the case labels relevant documents only, or nothing was retrieved")),
        }

    return call


def _most(shown: int, first: int | None, grades: Mapping[str, float]) -> int:
    """Up to where an ideal ranking may go: k, or where none is set so far that it holds everything relevant."""
    return shown if first is not None else max(shown, len(grades))


def _grades(stated: object) -> tuple[dict[str, float], bool]:
    if isinstance(stated, Mapping):
        numbers = {str(key): value for key, value in stated.items()}
        for key, value in numbers.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise MissingInput(f"the grade of the document {key} is no number: {value!r:.50}")
        return {key: float(value) for key, value in numbers.items()}, any(value <= 0 for value in numbers.values())
    return {as_text(each): 1.0 for each in (stated if isinstance(stated, (list, tuple)) else [stated])}, False


@judge(needs=("documents", "expected.output"), values="[0,1]")
def context_entity_recall(*, expected: str = "output") -> Call:
    """Share of the expected answer's entities that stand in what was retrieved.

    Entities are found by rules: numbers, amounts and dates, codes, addresses, quoted words, and names (words with
    capital letters that do not begin a sentence). The case's `entities`, a list, count instead where it has them.

    Args:
        expected: Which of the case's expectations is the answer.
    """

    def call(subject: Subject) -> Score:
        stated = (subject.expected or {}).get("entities")
        if isinstance(stated, (list, tuple)):
            found = [as_text(each) for each in stated]
        else:
            found = entities(as_text(subject.expect(expected, "outputs")))
        if not found:
            raise NotApplicable("the expected answer names no entity")
        if not subject.documents:
            raise MissingInput("the trace shows no retrieved documents")
        told = "|".join(words_of(as_text(document.content)) for document in subject.documents)
        missing = [each for each in found if words_of(each) not in told]
        words = f"not in the context: {', '.join(missing[:20])}" if missing else None
        return Score(1 - len(missing) / len(found), explanation=words, metadata={"entities": found[:50]})

    return call


def entities(text: str) -> list[str]:
    """Numbers, codes, quoted words and names in a text, each once, in order of kind.

    Example:
        >>> entities("The plan of Ada Lovelace costs $30.50 on A-17.")
        ['30.50', 'A-17', 'Ada Lovelace']
    """
    found = [match.strip("$€£.,:;/-") for match in _NUMBER.findall(text)]
    found += [match.rstrip(".,;:") for match in _CODE.findall(text)]
    found += _QUOTED.findall(text)
    for match in _NAME.finditer(text):
        begins = not text[: match.start()].rstrip() or text[: match.start()].rstrip()[-1] in ".!?:\n"
        if not begins or " " in match[0] or match[0].isupper():
            found.append(match[0])
    told = {each: words_of(each) for each in found if words_of(each).strip()}
    return [
        each for each, words in told.items() if not any(words != other and words in other for other in told.values())
    ]
