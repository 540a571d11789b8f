"""Calibrations: what a judge was worth beside people, kept with the judge's digest and for a limited time.

A calibration is a run of the kind `calibration`. It holds for one digest: a judge whose prompt, model, code or
parameters change has another digest, and so no calibration until it is measured again.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tracekit.errors import UsageError
from tracekit_evaluators import provenance
from tracekit_evaluators._artifacts import keep, kept
from tracekit_evaluators.calibration.comparing import Figures, figures
from tracekit_evaluators.calibration.labelled import Meeting, Verdicts, labels_of, meet, verdicts_of
from tracekit_evaluators.calibration.sources import facts_of_runs

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

KIND = "calibration"
_SPAN = re.compile(r"(\d+)([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True)
class Calibration:
    """What a judge was worth beside people, and until when that counts.

    Args:
        run: The run that keeps it.
    """

    run: RunRecord

    @property
    def judge(self) -> str:
        """The judge's name."""
        return str(self.run.parameters["judge"])

    @property
    def digest(self) -> str:
        """The judge's digest, which it is bound to."""
        return str(self.run.parameters["judge_digest"])

    @property
    def score(self) -> str:
        """The score's name."""
        return str(self.run.parameters["score"])

    @property
    def kind(self) -> str:
        """`bool`, `label` or `number`."""
        return str(self.run.summary["kind"])

    @property
    def n(self) -> int:
        """How many targets people labelled and the judge judged."""
        return int(cast("int", self.run.summary["n"]))

    @property
    def metrics(self) -> dict[str, dict[str, object]]:
        """Agreement by name, as a run's metrics: `kappa`, `tpr`, `tnr`, `spearman`."""
        return self.run.metrics

    @property
    def verdict(self) -> str:
        """`good`, `weak` or `unusable`."""
        return str(self.run.summary["verdict"])

    @property
    def reasons(self) -> list[str]:
        """Why it is not good."""
        return [str(each) for each in cast("list[object]", self.run.summary["reasons"])]

    @property
    def created_at(self) -> datetime.datetime:
        """When it was made, UTC."""
        return self.run.created_at

    @property
    def expires_at(self) -> datetime.datetime | None:
        """Until when it counts, UTC; `None` for as long as the judge stays as it is."""
        told = self.run.parameters.get("expires_at")
        return None if told is None else datetime.datetime.fromisoformat(str(told))

    def valid(self, at: datetime.datetime | None = None) -> bool:
        """Whether it counts at a time, UTC; now when not given."""
        ends = self.expires_at
        return ends is None or (at or _now()) < ends

    def pairs(self, store: Store) -> list[dict[str, Any]]:
        """The labelled targets: `key` (trace and span), `case`, `judged`, `human`, `annotators`, `probability`."""
        found: list[dict[str, Any]] = json.loads(kept(store.artifacts, str(self.run.summary["pairs"])))
        return found

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON takes it."""
        ends = self.expires_at
        return {
            "id": self.run.id,
            "judge": self.judge,
            "judge_digest": self.digest,
            "score": self.score,
            "created_at": self.created_at.isoformat(),
            "expires_at": None if ends is None else ends.isoformat(),
            "valid": self.valid(),
            **{key: value for key, value in self.run.summary.items() if key != "pairs"},
            "metrics": self.metrics,
        }


def calibrate(
    store: Store,
    judge: str,
    *,
    labels: str,
    score: str | None = None,
    label: str | None = None,
    annotator: str | None = None,
    random: bool = False,
    family: str | None = None,
    expires: str | None = "90d",
    floor: float = 0.4,
    seed: int = 0,
) -> Calibration:
    """Measure a judge against people's labels, and keep that.

    Args:
        store: An open store.
        judge: A run, or a judge by name, spec or the beginning of its digest.
        labels: A file as `tracekit scores import` reads it, or a run.
        score: Which of the judge's scores, where it has several.
        label: Which labels, where they have several names.
        annotator: Which judge, where imported verdicts are told apart so.
        random: Whether the labelled targets are a random part of those judged, which lets PPI++ correct the mean. Where
            each label's metadata tell its `inclusion_probability`, that is used.
        family: What the names of the judge's own family of models hold, such as `gpt`: then its self-preference is
            measured on answers whose traces name their model.
        expires: After how long it stops counting: `90d`, `12h`, `8w`; never when `None`.
        floor: The kappa (for numbers: the rank correlation) below which a judge is weak.
        seed: Seed of all bootstraps.

    Raises:
        NotFoundError: There is no such judge, run or file.
        UsageError: Verdicts and labels do not meet.

    Example:
        >>> calibrate(store, "rubric", labels="labels.jsonl").metrics["kappa"]["value"]  # doctest: +SKIP
        0.62
    """
    ends = None if expires is None else _now() + duration(expires)
    verdicts = verdicts_of(store, judge, score=score, annotator=annotator)
    facts = facts_of_runs(store, verdicts.runs)
    meeting = meet(verdicts.rows, labels_of(store, labels, score=verdicts.score, name=label), facts=facts)
    found = figures(meeting, random=random, floor=floor, seed=seed)
    favour = None if family is None else _self_preference(store, meeting, family)
    begun = store.catalog.runs.create(
        run_name(verdicts.judge, verdicts.digest, verdicts.score),
        kind=KIND,
        parameters={
            "judge": verdicts.judge,
            "judge_digest": verdicts.digest,
            "score": verdicts.score,
            "labels": labels,
            "random": random,
            "family": family,
            "floor": floor,
            "seed": seed,
            "expires_at": None if ends is None else ends.isoformat(),
        },
        judges=[verdicts.record] if verdicts.record else [],
        selection={"runs": list(verdicts.runs), "labels_digest": meeting.labels_digest},
        code=provenance.code_version(),
        environment=provenance.environment(),
        lake_versions=store.versions(),
    )
    kept_pairs = keep(store.artifacts, _pairs(meeting))
    summary = {**_summary(verdicts, meeting, found, kept_pairs), "self_preference": favour}
    return Calibration(store.catalog.runs.update(begun.id, status="finished", metrics=found.metrics, summary=summary))


def calibration_of(
    store: Store,
    judge_digest: str,
    *,
    score: str | None = None,
    at: datetime.datetime | None = None,
    expired: bool = False,
) -> Calibration | None:
    """The newest calibration of a judge that counts, or `None`: gates, comparisons and reports ask this.

    Args:
        store: An open store.
        judge_digest: The judge's digest, whole: any other digest is another judge.
        score: Which of its scores; any when not given.
        at: When it has to count, UTC; now when not given.
        expired: Whether one that has expired will do.
    """
    for found in calibrations(store, judge_digest):
        if (score is None or found.score == score) and (expired or found.valid(at)):
            return found
    return None


def calibrations(store: Store, judge_digest: str | None = None) -> list[Calibration]:
    """All calibrations, or those of one judge, the newest first."""
    listed = [row for row in store.catalog.runs.rows() if row["kind"] == KIND and row["status"] == "finished"]
    if judge_digest is not None:
        mark = f"@{judge_digest[:12]}/"
        listed = [row for row in listed if mark in str(row["name"])]
    found = [Calibration(store.catalog.runs.find(str(row["run_id"]))) for row in reversed(listed)]
    return [each for each in found if judge_digest is None or each.digest == judge_digest]


def run_name(judge: str, digest: str, score: str, kind: str = KIND) -> str:
    """What a run about a judge is called."""
    return f"{kind} {judge[:80]}@{digest[:12]}/{score[:80]}"


def duration(text: str) -> datetime.timedelta:
    """A length of time in words: `12h`, `90d`, `8w`.

    Raises:
        UsageError: It is none.

    Example:
        >>> duration("90d").days
        90
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or int(found[1]) > 100_000:
        raise UsageError(f"{text!r} is no length of time; say 12h, 90d or 8w")
    return datetime.timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _self_preference(store: Store, meeting: Meeting, family: str) -> dict[str, object]:
    from tracekit_evaluators.calibration.families import self_preference_in  # noqa: PLC0415 - it needs what stands here

    return self_preference_in(store, meeting, family=family)


def _summary(verdicts: Verdicts, meeting: Meeting, found: Figures, pairs: str) -> Mapping[str, object]:
    return {
        "kind": meeting.kind,
        "direction": verdicts.direction,
        "n": sum(item.human is not None for item in meeting.items),
        "judged": len(meeting.items) + len(meeting.rest),
        "divided": meeting.divided,
        "unjudged": meeting.unjudged,
        "unmatched": meeting.unmatched,
        "shared": meeting.shared,
        "annotators": sorted({name for item in meeting.items for name in item.annotators})[:50],
        "confusion": found.confusion,
        "baseline": found.baseline,
        "ceiling": found.ceiling,
        "corrected": None if found.corrected is None else found.corrected.to_dict(),
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "labels_digest": meeting.labels_digest,
        "pairs": pairs,
    }


def _pairs(meeting: Meeting) -> bytes:
    lines = [
        {
            "key": list(item.key),
            "case": item.case,
            "source": item.source,
            "judged": item.judged,
            "human": item.human,
            "annotators": dict(item.annotators),
            "probability": item.probability,
        }
        for item in meeting.items
    ]
    return json.dumps(lines, sort_keys=True, default=str).encode()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
