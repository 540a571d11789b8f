"""What the demo's answers are judged by: was the right document found, and does the answer name it?"""

from __future__ import annotations

from tracekit_evaluators.demo.questions import QUESTIONS

CRITERIA = (
    "The answer names the expected function, class or method of Python's standard library, or another one that does "
    "what the question asks just as well. Naming it among several equally recommended ones is not enough."
)


def judges(model: str | None) -> list[dict[str, object]]:
    """The judges' specs; a model adds one that reads the answers.

    There is none for time and cost, which a comparison measures by itself.
    """
    specs: list[dict[str, object]] = [{"use": "retrieved", "k": 5}, {"use": "contains"}, {"use": "error"}]
    return specs if model is None else [*specs, {"use": "rubric", "criteria": CRITERIA, "model": model}]


def dataset() -> list[dict[str, object]]:
    """The questions as cases, with what is expected of retrieval and answer.

    Example:
        >>> dataset()[0]["expected"]["documents"]
        ['itertools.chain.from_iterable']
    """
    return [
        {
            "case_id": question.case,
            "input": {"question": question.text},
            "expected": {"documents": [question.symbol], "contains": question.symbol},
        }
        for question in QUESTIONS
    ]
