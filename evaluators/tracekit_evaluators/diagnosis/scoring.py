"""How well findings fit annotations, as TRAIL counts it: category F1, location accuracy, joint accuracy; and by code.

An annotation and a finding are both a pair of a category and the span that it lies in. Category F1 is that of the
categories of each trace, weighted by how often each is annotated. Location accuracy is the share of annotated spans
that are found at all, joint accuracy that of annotated pairs, both per trace and then averaged over the traces that
have annotations; joint recall and precision count pairs over all traces together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit_evaluators.diagnosis.taxonomy import code_of

if TYPE_CHECKING:
    from tracekit_evaluators.diagnosis.finding import Finding

Pair = tuple[str, str]


@dataclass(frozen=True)
class CodeFigures:
    """How well one category is found.

    Args:
        code: The category.
        planted: How many annotations there are.
        found: How many findings.
        hit: How many findings are annotated, in this span.
    """

    code: str
    planted: int
    found: int
    hit: int

    @property
    def recall(self) -> float | None:
        """The share of annotations that were found in their span; `None` where there are none."""
        return self.hit / self.planted if self.planted else None

    @property
    def precision(self) -> float | None:
        """The share of findings that are annotated; `None` where there are none."""
        return self.hit / self.found if self.found else None


@dataclass(frozen=True)
class Figures:
    """How well findings fit annotations.

    Args:
        traces: How many traces were compared.
        category_f1: Weighted F1 of the categories of each trace, wherever they are; `None` without annotations.
        location_accuracy: Mean share of annotated spans that are found; `None` without annotations.
        joint_accuracy: Mean share of annotated pairs of category and span that are found.
        joint_recall: The share of all annotated pairs that are found.
        joint_precision: The share of all findings that are annotated.
        codes: The same by category.
    """

    traces: int
    category_f1: float | None
    location_accuracy: float | None
    joint_accuracy: float | None
    joint_recall: float | None
    joint_precision: float | None
    codes: tuple[CodeFigures, ...]


def score(annotated: Mapping[str, Iterable[Pair]], found: Mapping[str, Iterable[Pair]]) -> Figures:
    """Compare findings with annotations.

    Args:
        annotated: Pairs of category and span id, by trace. A trace without pairs is one known to be clean.
        found: The same of a diagnosis; a trace that is left out has no finding, one that `annotated` lacks is not
            counted.

    Example:
        >>> score({"t": [("timeout", "a")]}, {"t": [("timeout", "b")]}).category_f1
        1.0
        >>> score({"t": [("timeout", "a")]}, {"t": [("timeout", "b")]}).joint_recall
        0.0
    """
    truth = {trace: set(pairs) for trace, pairs in annotated.items()}
    given = {trace: set(found.get(trace, ())) for trace in truth}
    places, joints = [], []
    for trace, pairs in truth.items():
        spans = {span for _, span in pairs}
        if pairs:
            places.append(len(spans & {span for _, span in given[trace]}) / len(spans))
            joints.append(len(pairs & given[trace]) / len(pairs))
    planted = Counter(code for pairs in truth.values() for code, _ in pairs)
    said = Counter(code for pairs in given.values() for code, _ in pairs)
    hit = Counter(code for trace, pairs in truth.items() for code, _ in pairs & given[trace])
    codes = tuple(CodeFigures(code, planted[code], said[code], hit[code]) for code in sorted({*planted, *said}))
    return Figures(
        traces=len(truth),
        category_f1=_category_f1(truth, given),
        location_accuracy=_mean(places),
        joint_accuracy=_mean(joints),
        joint_recall=_share(hit.total(), planted.total()),
        joint_precision=_share(hit.total(), said.total()),
        codes=codes,
    )


def pairs_of(findings: Sequence[Finding]) -> list[Pair]:
    """Findings as pairs of code and span id."""
    return [(each.code, each.span_id) for each in findings]


def trail_pairs(annotations: Mapping[str, object]) -> list[Pair]:
    """A TRAIL file (`errors` with `category` and `location`) as pairs of TRAIL's category and span id.

    Example:
        >>> trail_pairs({"errors": [{"category": "Timeout Issues", "location": "ab", "evidence": "…"}]})
        [('Timeout Issues', 'ab')]
    """
    errors = annotations.get("errors")
    return [
        (str(each["category"]), str(each["location"]))
        for each in (errors if isinstance(errors, list) else ())
        if isinstance(each, Mapping) and each.get("category") and each.get("location")
    ]


def as_trail(findings: Sequence[Finding]) -> dict[str, object]:
    """Findings as TRAIL writes annotations; codes that TRAIL has no category for are left out."""
    errors = [
        {
            "category": category,
            "location": each.span_id,
            "evidence": each.quote,
            "description": each.explanation,
            "impact": each.severity.upper(),
        }
        for each in findings
        if (category := code_of(each.code).trail) is not None
    ]
    return {"errors": errors}


def _category_f1(truth: Mapping[str, set[Pair]], given: Mapping[str, set[Pair]]) -> float | None:
    true, said, both = Counter[str](), Counter[str](), Counter[str]()
    for trace, pairs in truth.items():
        codes, told = {code for code, _ in pairs}, {code for code, _ in given[trace]}
        true.update(codes)
        said.update(told)
        both.update(codes & told)
    if not true:
        return None
    return sum(number * 2 * both[code] / (number + said[code]) for code, number in true.items()) / true.total()


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
