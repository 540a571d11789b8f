"""Whether retrieval found the documents that it should."""

from __future__ import annotations

from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.judges._limits import count_of
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject, as_text


@judge(needs=("expected.documents",), values="{0,1}")
def retrieved(*, k: int | None = None, expected: str = "documents") -> Call:
    """Whether an expected document is among the first k that were retrieved (hit@k).

    Besides `retrieved` it says `retrieved.reciprocal_rank` (1 / rank of the first expected document, 0 where none was
    found; its mean is the MRR) and `retrieved.recall` (expected documents found over expected). Documents are compared
    by id, each counts once, at its best rank; a trace that retrieved nothing found nothing.

    Args:
        k: How many of the retrieved documents count, at least 1; all when not given.
        expected: Which of the case's expectations holds the ids, one or a list; `document_ids` is tried too.

    Raises:
        UsageError: k is less than 1.

    Example:
        >>> retrieved(k=5).parameters
        {'k': 5, 'expected': 'documents'}
    """
    first = None if k is None else count_of("retrieved", "k", k, at_least=1)

    def call(subject: Subject) -> dict[str, Score]:
        stated = subject.expect(expected, "document_ids")
        wanted = {as_text(item) for item in (stated if isinstance(stated, (list, tuple)) else [stated])}
        if not wanted:
            raise MissingInput(f"the case's {expected!r} names no document")
        ids = [as_text(document.id) for document in subject.documents if document.id is not None]
        if not ids and subject.documents:
            raise MissingInput("the retrieved documents have no ids")
        found = list(dict.fromkeys(ids))[:first]
        ranks = [rank for rank, each in enumerate(found, start=1) if each in wanted]
        where = f"at rank {ranks[0]}" if ranks else "not found"
        return {
            "retrieved": Score(
                bool(ranks),
                explanation=f"{', '.join(sorted(wanted))}: {where} of {len(found)}",
                metadata={"rank": ranks[0] if ranks else None, "retrieved": found[:50]},
            ),
            "retrieved.reciprocal_rank": Score(1 / ranks[0] if ranks else 0.0),
            "retrieved.recall": Score(len(ranks) / len(wanted)),
        }

    return call
