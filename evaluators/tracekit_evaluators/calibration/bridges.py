"""Bridge runs: two versions of a judge on the same anchor targets, and whether their scores may be joined.

When a judge changes, a step in its scores may be the judge's, not the agent's. The bridge says how large the judge's
own step is: a chart breaks its line there and shows the offset, unless the two versions are shown to score alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.errors import UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators.calibration.agreement import Label, Ratings, accuracy, cohen_kappa
from tracekit_evaluators.calibration.correlation import spearman
from tracekit_evaluators.calibration.labelled import meet, verdicts_of
from tracekit_evaluators.calibration.record import run_name
from tracekit_evaluators.statistics import (
    Estimate,
    mcnemar_exact_p,
    paired_difference,
    paired_proportion_difference,
    sign_flip_p,
)

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

KIND = "bridge"
FEWEST = 15


@dataclass(frozen=True)
class Step:
    """What lies between two versions of a judge.

    Args:
        offset: The new one's score less the old one's on the same targets; `None` where verdicts are words.
        agreement: The share of targets with the same verdict; `None` for numbers.
        kappa: Their agreement beyond chance; for numbers the rank correlation.
        p: p-value of the offset.
        margin: Up to which offset, either way, scores may be joined.
        verdict: `join`, `break` or `unsure`.
        why: In a sentence.
    """

    offset: Estimate | None
    agreement: Estimate | None
    kappa: Estimate
    p: float | None
    margin: float
    verdict: str
    why: str


def bridge(
    store: Store,
    old: str,
    new: str,
    *,
    score: str | None = None,
    margin: float | None = None,
    seed: int = 0,
) -> RunRecord:
    """Compare two versions of a judge on what both judged, and keep that as a run of the kind `bridge`.

    Args:
        store: An open store.
        old: The run with the old version's verdicts on the anchor set.
        new: The run with the new version's.
        score: Which score, where there are several.
        margin: Up to which offset scores may be joined; 0.05 for shares, a twentieth of the range for numbers.
        seed: Seed of the bootstrap.

    Raises:
        NotFoundError: There is no such run.
        UsageError: The runs have no target in common.
    """
    before, after = verdicts_of(store, old, score=score), verdicts_of(store, new, score=score)
    meeting = meet(after.rows, before.rows)
    pairs = [(item.human, item.judged) for item in meeting.items if item.human is not None]
    cases = [item.source for item in meeting.items if item.human is not None]
    clusters = cases if len(set(cases)) < len(cases) else None
    found = step(pairs, kind=meeting.kind, clusters=clusters, margin=margin, seed=seed)
    told = {
        "offset": found.offset,
        "agreement": found.agreement,
        "spearman" if meeting.kind == "number" else "kappa": found.kappa,
    }
    begun = store.catalog.runs.create(
        run_name(after.judge, after.digest, after.score, KIND),
        kind=KIND,
        parameters={
            "judge": after.judge,
            "judge_digest": after.digest,
            "score": after.score,
            "old_judge_digest": before.digest,
            "margin": found.margin,
            "seed": seed,
        },
        judges=[dict(each.record) for each in (before, after) if each.record],
        selection={"old": list(before.runs), "new": list(after.runs), "anchors": len(pairs)},
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    summary: dict[str, object] = {
        "kind": meeting.kind,
        "anchors": len(pairs),
        "only_old": meeting.unmatched + meeting.unjudged,
        "only_new": len(meeting.rest),
        "p": found.p,
        "verdict": found.verdict,
        "why": found.why,
        "same_judge": before.digest == after.digest,
    }
    metrics = {name: dict(each.to_dict()) for name, each in told.items() if each is not None}
    return store.catalog.runs.update(begun.id, status="finished", metrics=metrics, summary=summary)


def step(
    pairs: list[tuple[Label, Label]],
    *,
    kind: str,
    clusters: list[str] | None = None,
    margin: float | None = None,
    seed: int = 0,
) -> Step:
    """What lies between two versions of a judge whose verdicts on the same targets are given.

    Scores may be joined where the 95 % interval of the offset lies inside the margin (for words: where at least 95 % of
    verdicts agree for certain); they must not be where it lies outside or excludes 0; else more anchors are needed.

    Args:
        pairs: For each target (old, new).
        kind: `bool`, `label` or `number`.
        clusters: For each target what it shares with others, such as its case.
        margin: See `bridge`.
        seed: Seed of the bootstrap.

    Raises:
        UsageError: There are no pairs, or the margin is not above 0.

    Example:
        >>> step([(True, True), (False, False)] * 100, kind="bool").verdict
        'join'
    """
    if not pairs:
        raise UsageError("two versions of a judge meet on the targets that both judged; these have none in common")
    if margin is not None and not margin > 0:
        raise UsageError(f"a margin is above 0, not {margin:g}")
    if kind == "label":
        return _of_words(pairs, clusters, seed)
    numbers = [(float(one), float(two)) for one, two in pairs]
    differences = [two - one for one, two in numbers]
    if kind == "bool":
        gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        ratings = Ratings([bool(one) for one, _ in pairs], [bool(two) for _, two in pairs], (False, True), clusters)
        agreement, kappa, allowed = accuracy(ratings), cohen_kappa(ratings, seed=seed), margin or 0.05
        offset = paired_proportion_difference(gained=gained, lost=lost, n=len(pairs))
        p = mcnemar_exact_p(gained=gained, lost=lost).value
        if clusters is not None:
            offset, p = (
                paired_difference(differences, clusters=clusters),
                sign_flip_p(differences, clusters=clusters).value,
            )
    else:
        values = [value for pair in numbers for value in pair]
        allowed = margin or (max(values) - min(values)) / 20 or 1e-9
        agreement, kappa = None, spearman([one for one, _ in numbers], [two for _, two in numbers])
        offset, p = paired_difference(differences, clusters=clusters), sign_flip_p(differences, clusters=clusters).value
    verdict, why = _judged(offset, allowed, len(pairs), flat=not any(differences))
    return Step(offset, agreement, kappa, p, allowed, verdict, why)


def bridge_of(store: Store, old_digest: str, new_digest: str) -> RunRecord | None:
    """The newest bridge between two versions of a judge; `None` where none was made.

    Args:
        store: An open store.
        old_digest: The old version's digest.
        new_digest: The new version's.
    """
    mark = f"@{new_digest[:12]}/"
    for row in reversed(store.catalog.runs.rows()):
        if row["kind"] != KIND or row["status"] != "finished" or mark not in str(row["name"]):
            continue
        found = store.catalog.runs.find(str(row["run_id"]))
        told = found.parameters
        if (told.get("old_judge_digest"), told.get("judge_digest")) == (old_digest, new_digest):
            return found
    return None


def _judged(offset: Estimate, margin: float, n: int, *, flat: bool) -> tuple[str, str]:
    if n < FEWEST:
        return "unsure", f"{n} common targets are too few; at least {FEWEST} are needed"
    if flat and offset.low is None:
        return "join", "both versions gave the same score to every target"
    if offset.value is None or offset.low is None or offset.high is None:
        return "unsure", offset.method
    if -margin <= offset.low and offset.high <= margin:
        return "join", f"the offset lies within ±{margin:g} for certain"
    if offset.low > 0 or offset.high < 0:
        return "break", f"the new version scores {offset.value:+.3f} on the same targets"
    half = (offset.high - offset.low) / 2
    needed = math.ceil(n * (half / max(margin - abs(offset.value), margin / 10)) ** 2)
    return (
        "unsure",
        f"the offset may be as far as {max(-offset.low, offset.high):.3f}; about {needed} targets would tell",
    )


def _of_words(pairs: list[tuple[Label, Label]], clusters: list[str] | None, seed: int) -> Step:
    ratings = Ratings([one for one, _ in pairs], [two for _, two in pairs], clusters=clusters)
    agreement, kappa, margin = accuracy(ratings), cohen_kappa(ratings, seed=seed), 0.05
    low, high = agreement.low or 0.0, agreement.high or 1.0
    if len(pairs) < FEWEST:
        verdict, why = "unsure", f"{len(pairs)} common targets are too few; at least {FEWEST} are needed"
    elif low >= 1 - margin:
        verdict, why = "join", "at least 95 % of the verdicts are the same for certain"
    elif high < 1 - margin:
        verdict, why = "break", f"only {agreement.value:.1%} of the verdicts are the same"
    else:
        verdict, why = "unsure", f"between {low:.1%} and {high:.1%} of the verdicts are the same"
    return Step(None, agreement, kappa, None, margin, verdict, why)
