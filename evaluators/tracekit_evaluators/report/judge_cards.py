"""The report's cards of judges: what each is, how far people agree with it, until when that counts."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.calibration.record import Calibration, calibrations
from tracekit_evaluators.pairing import RunRows
from tracekit_evaluators.report.text import line
from tracekit_evaluators.summary import status
from tracekit_evaluators.verdict import amount, figure, interval

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_SHOWN_DIGEST = 12
_MOST_CARDS = 12
_SAID = {  # what is shown, in this order
    "agreement": "agreement",
    "kappa": "Cohen’s kappa",
    "weighted_kappa": "weighted kappa",
    "tpr": "says yes where people do (TPR)",
    "tnr": "says no where people do (TNR)",
    "AC1": "Gwet’s AC1",
    "alpha": "Krippendorff’s alpha",
    "spearman": "Spearman’s rho",
    "kendall": "Kendall’s tau",
    "ICC": "ICC",
    "offset": "above people by",
}
_SOURCES = {"llm": "model", "code": "code", "human": "person", "user": "user", "environment": "environment"}
Key = tuple[str, str]  # a judge's name and digest


@dataclass(frozen=True)
class Agreement:
    """One statistic of a judge beside people: its name, value, interval, labels, and people among themselves."""

    name: str
    value: str
    interval: str
    n: str
    people: str


@dataclass(frozen=True)
class JudgeCard:
    """A judge of the run.

    Args:
        name: Its name and version.
        facts: Kind, digest, model, prompt, what it scored and the like, as (name, value).
        state: `good`, `weak`, `unusable`, `expired`, `changed` or `not calibrated`.
        tone: `good`, `bad`, `mixed` or empty.
        glyph: The state's sign, so that no colour is needed.
        told: The state in a sentence.
        reasons: Why it is not good.
        agreement: Statistics beside people's labels.
        expires: The day from which on it no longer counts, as `2027-02-01`; empty without one.
        score: Which of its scores was compared with people's labels; empty where none was.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    state: str
    tone: str
    glyph: str
    told: str
    reasons: tuple[str, ...]
    agreement: tuple[Agreement, ...]
    expires: str = ""
    score: str = ""


def judge_cards(store: Store, run: RunRows) -> tuple[JudgeCard, ...]:
    """One card for each judge that gave the run a score, the ones by models first.

    Whether a calibration counts is told as of the run's end, so that the same store gives the same report; the page
    itself marks one that has expired since.

    Args:
        store: The store that may hold calibrations.
        run: The run's rows.
    """
    given: dict[Key, list[Mapping[str, object]]] = {}
    for row in run.rows:
        given.setdefault(
            (str(row.get("judge") or row.get("source") or "unnamed"), str(row.get("judge_digest") or "")), []
        ).append(row)
    records = {(str(each.get("name")), str(each.get("digest") or "")): each for each in run.run.judges}
    for name, digest in [key for key in given if not key[1]]:  # rows that name no digest: the run's judge of that name
        known = [key for key in records if key[0] == name]
        if len(known) == 1 and known[0] not in given:
            given[known[0]] = given.pop((name, digest))
    made = calibrations(store)
    ordered = sorted(given, key=lambda key: (_source(records.get(key, {}), given[key]) != "llm", key))
    return tuple(_card(key, records.get(key, {}), given[key], made, run) for key in ordered[:_MOST_CARDS])


def weak(cards: Iterable[JudgeCard]) -> list[str]:
    """The names of judges that people's labels speak against."""
    return [card.name for card in cards if card.state in {"weak", "unusable"}]


def _card(
    key: Key,
    record: Mapping[str, object],
    rows: Sequence[Mapping[str, object]],
    made: Sequence[Calibration],
    run: RunRows,
) -> JudgeCard:
    name, digest = key
    version = record.get("version") or next((row["judge_version"] for row in rows if row.get("judge_version")), None)
    at = run.run.finished_at or run.run.created_at
    names = {str(row.get("name")) for row in rows}
    mine = [each for each in made if digest and each.digest == digest and each.score in names]
    found = next((each for each in mine if each.valid(at)), next(iter(mine), None))
    state, told = _state(found, name, digest, made, at, _source(record, rows))
    tone, glyph = {"good": ("good", "✓"), "weak": ("mixed", "◆"), "unusable": ("bad", "✗")}.get(state, ("", "–"))
    ends = None if found is None or state == "expired" else found.expires_at
    return JudgeCard(
        name=line(f"{name} {version}" if version else name, longest=80),
        facts=tuple(_facts(digest, record, rows)),
        state=state,
        tone=tone,
        glyph=glyph,
        told=told,
        reasons=() if found is None else tuple(line(reason, longest=300) for reason in found.reasons),
        agreement=() if found is None else tuple(_agreement(found)),
        expires="" if ends is None else f"{ends:%Y-%m-%d}",
        score="" if found is None else found.score,
    )


def _state(
    found: Calibration | None,
    name: str,
    digest: str,
    made: Sequence[Calibration],
    at: datetime.datetime,
    source: str,
) -> tuple[str, str]:
    if found is not None:
        ends = found.expires_at
        of = line(found.score, longest=60)
        when = f"Measured against people on {found.created_at:%Y-%m-%d}, {found.n} labels of {of}"
        if not found.valid(at) and ends is not None:
            return "expired", f"{when}; that expired on {ends:%Y-%m-%d}, before this run ended: measure it again."
        until = "as long as the judge stays as it is" if ends is None else f"until {ends:%Y-%m-%d}"
        return found.verdict, f"{when}; counts {until}."
    earlier = next((each for each in made if each.judge == name and each.digest != digest), None)
    if earlier is not None and digest:
        return "changed", (
            f"Not calibrated: it has changed since it was measured on {earlier.created_at:%Y-%m-%d} "
            f"(digest {earlier.digest[:_SHOWN_DIGEST]})."
        )
    if source in {"human", "user"}:
        return "people", "These are people’s own words."
    if source == "code":
        return (
            "not calibrated",
            "Not calibrated: code says the same of the same, but nobody has compared it with people.",
        )
    return (
        "not calibrated",
        "Not calibrated: nobody has compared it with people, so its numbers may be off by any amount.",
    )


def _facts(
    digest: str, record: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> Iterator[tuple[str, str]]:
    source = _source(record, rows)
    scores = sorted({str(row.get("name")) for row in rows})
    directions = sorted({str(row.get("direction")) for row in rows if row.get("direction")})
    scored = [row for row in rows if status(row) == "scored"]
    spent = _total(row.get("cost_usd") for row in scored)
    took = _total(row.get("latency_ms") for row in scored)
    for name, value in (
        ("kind", _SOURCES.get(source, source)),
        ("digest", digest[:_SHOWN_DIGEST]),
        ("spec", record.get("spec")),
        ("model", _model(record.get("model"))),
        ("prompt", str(record.get("prompt_digest") or "")[:_SHOWN_DIGEST]),
        ("about", record.get("about")),
        ("scores", ", ".join(scores)),
        ("direction", ", ".join(directions)),
        ("verdicts", f"{len(scored):,}" + (f" of {len(rows):,}" if len(scored) < len(rows) else "")),
        ("cost", "" if spent is None else f"${figure(spent)}"),
        ("a verdict takes", "" if took is None else f"{figure(took / len(scored))} ms"),
    ):
        if value:
            yield name, line(value, longest=300)


def _model(model: object) -> str:
    if isinstance(model, Mapping):
        first = [str(model[key]) for key in ("provider", "model") if model.get(key)]
        rest = [
            f"{key} {value}"
            for key, value in sorted(model.items())
            if key not in {"provider", "model"} and value not in (None, {}, [])
        ]
        return " ".join([*first, *(rest and [f"({', '.join(rest)})"])])
    return "" if model is None else str(model)


def _agreement(found: Calibration) -> Iterator[Agreement]:
    ceiling: Any = found.run.summary.get("ceiling") or {}
    for name, words in _SAID.items():  # the rest is on the judge's own card
        metric = found.metrics.get(name)
        if metric is None:
            continue
        among = ceiling.get(name)
        kind = str(metric.get("kind") or "number")
        yield Agreement(
            name=words,
            value=amount(_real(metric.get("value")), kind=kind),
            interval=interval(_real(metric.get("low")), _real(metric.get("high")), kind=kind) or "no interval",
            n=str(metric.get("n")),
            people="" if among is None else amount(_real(among.get("value")), kind=kind),
        )


def _source(record: Mapping[str, object], rows: Sequence[Mapping[str, object]]) -> str:
    return str(record.get("source") or next((row["source"] for row in rows if row.get("source")), "unknown"))


def _total(values: Iterable[object]) -> float | None:
    known = [float(value) if isinstance(value, (int, float)) else None for value in values]
    return sum(each for each in known if each is not None) if known and None not in known else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
