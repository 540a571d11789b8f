"""Two ways to rank the corpus for a question: shared words counted, and Okapi BM25 by the library bm25s."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tracekit_evaluators.demo.corpus import Document

Ranking = Callable[[str], Sequence[float]]
"""Gives each document of the corpus a number for a question, in the corpus's order; 0 where nothing fits."""

_WORD = re.compile(r"[a-z0-9]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LITTLE = """
    a all an and are as at be by can do does for from get given has have how i if in is it its make
    many me my of on or out so some that the their them there these they this to use was what when
    where which who why will with you your
"""
_STOP_WORDS = frozenset(_LITTLE.split())


def words(text: str) -> list[str]:
    """The words of a text in lower case; names like `DictReader` come apart, stop words go.

    Example:
        >>> words("How do I use a DictReader?")
        ['dict', 'reader']
    """
    return [word for word in _WORD.findall(_HUMP.sub(" ", text).lower()) if word not in _STOP_WORDS]


def overlap(documents: Sequence[Document]) -> Ranking:
    """Rank by how many of a question's words a document has, whatever the words and its length."""
    bags = [frozenset(_tokens(document)) for document in documents]

    def ranking(question: str) -> Sequence[float]:
        asked = set(words(question))
        return [float(len(asked & bag)) for bag in bags]

    return ranking


def bm25(documents: Sequence[Document], *, k1: float, b: float) -> Ranking:
    """Rank by BM25: rare words count more, repeated words less and less, long documents less.

    Args:
        documents: The corpus.
        k1: How soon repetitions of a word stop counting.
        b: How much a document's length counts, from 0 to 1.
    """
    import bm25s  # noqa: PLC0415 - the other ranking is packaged without it

    index = bm25s.BM25(k1=k1, b=b)
    index.index([_tokens(document) for document in documents], show_progress=False)

    def ranking(question: str) -> Sequence[float]:
        asked = words(question)
        return [float(number) for number in index.get_scores(asked)] if asked else [0.0] * len(documents)

    return ranking


def best(ranking: Ranking, question: str, documents: Sequence[Document], k: int) -> list[tuple[Document, float]]:
    """The `k` documents that fit a question best, with their numbers, best first; equals keep their order."""
    numbers = ranking(question)
    order = sorted(range(len(documents)), key=lambda place: -numbers[place])[:k]
    return [(documents[place], numbers[place]) for place in order if numbers[place] > 0]


def _tokens(document: Document) -> list[str]:
    return words(document.symbol) + words(document.text)
