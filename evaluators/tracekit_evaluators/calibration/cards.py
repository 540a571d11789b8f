"""The card of a judge: what it is, how far people agree with it, what sways it, what it costs, until when it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracekit_evaluators.calibration import bridges, probes
from tracekit_evaluators.calibration.labelled import Verdicts, verdicts_of
from tracekit_evaluators.calibration.record import calibration_of, calibrations
from tracekit_evaluators.verdict import figure

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store

Card = dict[str, Any]
_SHOWN_DIGEST = 12


def card(store: Store, judge: str, *, score: str | None = None, annotator: str | None = None) -> Card:
    """All that the store knows of a judge, as JSON takes it.

    Args:
        store: An open store.
        judge: A run, or a judge by name, spec or the beginning of its digest.
        score: Which of its scores, where it has several.
        annotator: Which judge, where imported verdicts are told apart so.

    Returns:
        `judge`, `digest`, `score`, `spec`, `source`, `model`, `direction`, `state` (`valid`, `expired`, `changed` since
        the last calibration, or `uncalibrated`), `calibration`, `probes`, `bridges` and `cost`; what is unknown is
        `None`.

    Raises:
        NotFoundError: There is no such run or judge.
    """
    verdicts = verdicts_of(store, judge, score=score, annotator=annotator)
    found = calibration_of(store, verdicts.digest, score=verdicts.score, expired=True)
    earlier = [each for each in calibrations(store) if each.judge == verdicts.judge and each.digest != verdicts.digest]
    state = "valid" if found is not None and found.valid() else "expired" if found is not None else "uncalibrated"
    if found is None and earlier:
        state = "changed"
    model = verdicts.record.get("model")
    return {
        "judge": verdicts.judge,
        "digest": verdicts.digest,
        "score": verdicts.score,
        "spec": verdicts.record.get("spec"),
        "source": verdicts.record.get("source"),
        "model": dict(model) if isinstance(model, Mapping) else model,
        "direction": verdicts.direction,
        "state": state,
        "calibration": None if found is None else found.to_dict(),
        "calibrated_before": [
            {"digest": each.digest, "at": each.created_at.isoformat(), "verdict": each.verdict} for each in earlier
        ],
        "probes": _probes(store, verdicts),
        "bridges": _bridges(store, verdicts),
        "cost": _cost(verdicts),
    }


def as_text(told: Card) -> str:
    """A card for a terminal."""
    lines = [f"{told['judge']}  ({told['score']}, digest {told['digest'][:_SHOWN_DIGEST]})"]
    lines += [f"  {label:12} {text}" for label, text in _facts(told)]
    for heading, columns, rows in _tables(told):
        widths = [max(len(str(row[place])) for row in (columns, *rows)) for place in range(len(columns))]
        lines += ["", heading]
        for row in (columns, *rows):
            cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def as_markdown(told: Card) -> str:
    """A card for a page or a pull request."""
    lines = [f"## {_safe(told['judge'])}", "", f"`{told['score']}`, digest `{told['digest'][:_SHOWN_DIGEST]}`", ""]
    lines += [f"- **{label}**: {_safe(text)}" for label, text in _facts(told)]
    for heading, columns, rows in _tables(told):
        lines += [
            "",
            f"### {heading}",
            "",
            "| " + " | ".join(columns) + " |",
            "| " + " | ".join(["---"] * len(columns)) + " |",
        ]
        lines += ["| " + " | ".join(_safe(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _facts(told: Card) -> Iterator[tuple[str, str]]:
    if told["spec"]:
        yield "spec", str(told["spec"])
    yield "calibration", _state(told)
    found = told["calibration"]
    if found is not None:
        yield "verdict", "; ".join([found["verdict"], *found["reasons"]])
        several = f", {len(found['annotators'])} annotators" if len(found["annotators"]) > 1 else ""
        gaps = [
            f"{found[key]} {words}"
            for key, words in (
                ("divided", "on which people are divided"),
                ("unjudged", "without a verdict"),
                ("unmatched", "never judged"),
            )
            if found[key]
        ]
        yield "labels", f"{found['n']} of {found['judged']} judged{several}" + "".join(f"; {gap}" for gap in gaps)
        yield from _baseline(found)
        yield from _correction(found["corrected"])
        favour = found["self_preference"]
        if favour is not None:
            yield "own family", f"scores answers of {favour['family']} {_with_ends(favour)} above equally good ones"
    cost = told["cost"]
    spent = "unknown" if cost["cost_usd"] is None else f"{figure(cost['cost_usd'])} USD"
    took = "unknown" if cost["latency_ms"] is None else f"{figure(cost['latency_ms'])} ms"
    yield "cost", f"{spent} and {took} a verdict, over {cost['scored']} verdicts"
    if cost["missing"]:
        yield "unscored", ", ".join(f"{status} {count}" for status, count in cost["missing"].items())


def _state(told: Card) -> str:
    found = told["calibration"]
    if found is not None:
        ends = found["expires_at"]
        until = "as long as the judge stays as it is" if ends is None else f"until {ends[:10]}"
        return (
            f"made {found['created_at'][:10]}, counts {until}"
            if told["state"] == "valid"
            else f"expired on {ends[:10]}"
        )
    if told["state"] == "changed":
        last = told["calibrated_before"][0]
        return (
            f"none: the judge has changed since it was calibrated on {last['at'][:10]} "
            f"(digest {last['digest'][:_SHOWN_DIGEST]})"
        )
    return "none: `tracekit judges calibrate` measures it against people's labels"


def _baseline(found: Card) -> Iterator[tuple[str, str]]:
    base = found["baseline"]
    if base.get("agreement") is not None:
        yield "baseline", f"always saying {base['label']!r} would agree in {base['agreement']:.1%}"


def _correction(corrected: Card | None) -> Iterator[tuple[str, str]]:
    if corrected is None:
        return
    naive = corrected["naive"]
    if corrected["value"] is None:
        yield "corrected", f"no: {corrected['method']}"
        return
    words = f"{_with_ends(corrected)} by {corrected['method']}; the judge's own mean is {_with_ends(naive)}"
    saved = corrected["labels_saved"]
    yield "corrected", words + (f"; the judge spares {saved:.0f} labels" if saved and saved >= 1 else "")


def _tables(told: Card) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    found = told["calibration"]
    if found is not None:
        ceiling = found["ceiling"]
        columns = ("statistic", "value", "95 % interval", "n", *(("people among themselves",) if ceiling else ()))
        rows = []
        for name, metric in found["metrics"].items():
            row = [name, figure(metric["value"]), _ends(metric), str(metric["n"])]
            among = ceiling.get(name)
            rows.append([*row, *(("" if among is None else _with_ends(among),) if ceiling else ())])
        yield "Agreement with people", columns, rows
        if found["confusion"] is not None:
            table = found["confusion"]
            rows = [
                ["judge: yes", str(table["tp"]), str(table["fp"])],
                ["judge: no", str(table["fn"]), str(table["tn"])],
            ]
            yield "Verdicts", ("", "people: yes", "people: no"), rows
    if told["probes"]:
        rows = [
            [
                each["name"],
                "yes" if each["found"] else "no" if each["p"] is not None else "",
                "" if each["shift"] is None else figure(each["shift"]["value"], signed=True),
                "" if each["shift"] is None else _ends(each["shift"]),
                figure(each["moved"]["value"]),
                str(each["moved"]["n"]),
            ]
            for each in told["probes"]
        ]
        yield "Bias probes", ("probe", "bias", "shift", "95 % interval", "verdicts moved", "n"), rows
    if told["bridges"]:
        rows = [
            [each["old"][:_SHOWN_DIGEST], each["verdict"], each["why"], str(each["anchors"])]
            for each in told["bridges"]
        ]
        yield "Bridges from earlier versions", ("from digest", "verdict", "why", "anchors"), rows


def _probes(store: Store, verdicts: Verdicts) -> list[Any]:
    """Each probe as it was last run."""
    found: dict[str, Any] = {}
    for run in _runs(store, verdicts.digest, probes.KIND):
        told = run.summary.get("probes")
        for each in told if isinstance(told, list) else []:
            found.setdefault(each["name"], each)
    return [found[name] for name in probes.PROBES if name in found]


def _bridges(store: Store, verdicts: Verdicts) -> list[Card]:
    return [
        {
            "old": str(run.parameters["old_judge_digest"]),
            "offset": run.metrics.get("offset"),
            "at": run.created_at.isoformat(),
            **{key: run.summary[key] for key in ("verdict", "why", "anchors")},
        }
        for run in _runs(store, verdicts.digest, bridges.KIND)
    ]


def _runs(store: Store, digest: str, kind: str) -> list[RunRecord]:
    listed = [row for row in store.catalog.runs.rows() if row["kind"] == kind and row["status"] == "finished"]
    mark = f"@{digest[:12]}/"
    found = [store.catalog.runs.find(str(row["run_id"])) for row in reversed(listed) if mark in str(row["name"])]
    return [run for run in found if run.parameters.get("judge_digest") == digest]


def _cost(verdicts: Verdicts) -> Card:
    scored = [row for row in verdicts.rows if row.get("status") == "scored"]
    missing: dict[str, int] = {}
    for row in verdicts.rows:
        if row.get("status") != "scored":
            missing[str(row.get("status"))] = missing.get(str(row.get("status")), 0) + 1
    return {
        "scored": len(scored),
        "missing": missing,
        **{
            key: _mean([row.get(key) for row in scored])
            for key in ("cost_usd", "latency_ms", "input_tokens", "output_tokens")
        },
    }


def _mean(values: Sequence[object]) -> float | None:
    """The mean; unknown where one is unknown."""
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(values) else None


def _ends(metric: Mapping[str, Any]) -> str:
    return "" if metric["low"] is None else f"{figure(metric['low'])} to {figure(metric['high'])}"


def _with_ends(metric: Mapping[str, Any]) -> str:
    return figure(metric["value"]) + (f" ({_ends(metric)})" if metric["low"] is not None else "")


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
