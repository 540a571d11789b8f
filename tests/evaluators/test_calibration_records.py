"""Judges measured against people's labels in a store: calibrations, cards, bridges, corrected runs."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import NotFoundError, UsageError
from tracekit_collector.store import Store
from tracekit_evaluators import evaluate, import_scores, judge
from tracekit_evaluators.calibration import (
    bridge,
    bridge_of,
    calibrate,
    calibration_of,
    calibrations,
    card,
    corrected_difference,
    corrected_mean,
)
from tracekit_evaluators.calibration.agreement import Ratings, cohen_kappa
from tracekit_evaluators.calibration.record import duration
from tracekit_evaluators.compare import compare
from tracekit_evaluators.comparison import ScoreDifference
from tracekit_evaluators.subject import Subject


@judge
def says_good(subject: Subject) -> bool:
    """Whether the output says that it is good."""
    return "good" in subject.output_text


@judge
def says_fine(subject: Subject) -> bool:
    """Whether the output says that it is good, or fine."""
    return "good" in subject.output_text or "fine" in subject.output_text


@judge
def length(subject: Subject) -> float:
    """How long the output is."""
    return float(len(subject.output_text))


def lines(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


Labelled = tuple[list[str], str]


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, recorder: Callable[[Path], Callable[..., str]]
) -> tuple[Path, list[str]]:
    """A store with 60 judged traces, which each test has a copy of."""
    folder = tmp_path_factory.mktemp("judged") / "store"
    with Store.open(folder) as opened:
        record = recorder(opened.location)
        ids = [
            record(f"t{place}", output="good" if place % 2 else "fine" if place % 4 else "bad", case=str(place))
            for place in range(60)
        ]
        evaluate(opened, judges=[says_good, length], name="first", progress=False)
    return folder, ids


@pytest.fixture
def store(judged: tuple[Path, list[str]], tmp_path: Path) -> Iterator[Store]:
    """A copy of the judged store."""
    shutil.copytree(judged[0], tmp_path / "store")
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def labelled(judged: tuple[Path, list[str]], tmp_path: Path) -> Labelled:
    """Labels of 40 of the 60 traces: people agree with `says_good` on 36 of them."""
    rows = []
    for place, trace_id in enumerate(judged[1][:40]):
        value = (place % 2 == 1) != (place % 10 == 3)
        rows.append({"trace_id": trace_id, "name": "good", "value": value, "annotator": "ann"})
    return judged[1], lines(tmp_path / "labels.jsonl", rows)


def test_a_calibration_says_how_far_people_agree(store: Store, labelled: Labelled) -> None:
    found = calibrate(store, "first", labels=labelled[1], score="says_good", random=True)
    assert (found.judge, found.score, found.kind, found.n) == ("says_good", "says_good", "bool", 40)
    assert found.digest == says_good.digest
    assert found.metrics["agreement"]["value"] == 0.9
    assert found.metrics["kappa"]["value"] == pytest.approx(0.8, abs=0.02)
    assert found.run.summary["confusion"] == {"tp": 16, "fp": 4, "fn": 0, "tn": 20}
    assert found.metrics["tnr"]["value"] == pytest.approx(20 / 24)
    corrected = found.run.summary["corrected"]
    assert corrected["method"].startswith("PPI++")
    assert corrected["value"] == pytest.approx(0.4, abs=0.01)
    assert corrected["naive"]["value"] == 0.5
    assert found.verdict == "good"


def test_a_judge_is_found_by_name_and_by_its_digests_beginning(store: Store, labelled: Labelled) -> None:
    by_name = calibrate(store, "says_good", labels=labelled[1])
    by_digest = calibrate(store, says_good.digest[:10], labels=labelled[1])
    assert by_name.digest == by_digest.digest == says_good.digest
    assert by_name.metrics == by_digest.metrics
    with pytest.raises(NotFoundError, match="no run, and no judge"):
        calibrate(store, "nobody", labels=labelled[1])
    with pytest.raises(UsageError, match="length, says_good; say which with --score"):
        calibrate(store, "first", labels=labelled[1])


def test_without_a_random_part_rogan_gladen_corrects(store: Store, labelled: Labelled) -> None:
    found = calibrate(store, "says_good", labels=labelled[1])
    corrected = found.run.summary["corrected"]
    assert corrected["method"] == "Rogan-Gladen, Lang-Reiczigel interval, half a label added"
    assert corrected["youden"] == pytest.approx(20 / 24)


def test_a_calibration_is_bound_to_the_digest_and_to_time(store: Store, labelled: Labelled) -> None:
    made = calibrate(store, "says_good", labels=labelled[1], expires="90d")
    assert calibration_of(store, says_good.digest).run.id == made.run.id
    assert calibration_of(store, says_good.digest, score="other") is None
    assert calibration_of(store, says_fine.digest) is None
    later = made.created_at + datetime.timedelta(days=91)
    assert calibration_of(store, says_good.digest, at=later) is None
    assert calibration_of(store, says_good.digest, at=later, expired=True).run.id == made.run.id
    forever = calibrate(store, "says_good", labels=labelled[1], expires=None)
    assert calibration_of(store, says_good.digest, at=later).run.id == forever.run.id
    assert [each.run.id for each in calibrations(store)] == [forever.run.id, made.run.id]


def test_a_judge_that_favours_its_own_family_is_found(store: Store, labelled: Labelled, tmp_path: Path) -> None:
    """People find half of all answers good, whoever wrote them; the judge passes the answers of the family x alone."""
    spans, rows = [], []
    for place, trace_id in enumerate(labelled[0][:40]):
        named = {"model": "x-large" if place % 2 else "other-1", "step": "llm", "name": "chat", "span_id": "2" * 16}
        spans.append({"trace_id": trace_id, "start_ns": 1_770_000_000 * 10**9, "duration_ns": 1, **named})
        rows.append({"trace_id": trace_id, "name": "good", "value": place % 4 < 2})
    store.append("spans", spans)
    path = lines(tmp_path / "fair.jsonl", rows)
    found = calibrate(store, "says_good", labels=path, family="X").run.summary["self_preference"]
    assert (found["family"], found["value"], found["n"]) == ("X", 1.0, 40)
    assert found["own"]["value"] == pytest.approx(0.5)
    with pytest.raises(UsageError, match="all or none are of the family"):
        calibrate(store, "says_good", labels=path, family="gpt")


@pytest.mark.parametrize("name", ["says_good", "length"])
def test_a_judge_that_is_always_right_is_good(store: Store, labelled: Labelled, tmp_path: Path, name: str) -> None:
    """Though no resample differs from the others."""
    rows = []
    for place, trace_id in enumerate(labelled[0]):
        value = place % 2 == 1 if name == "says_good" else 3 if place % 4 == 0 else 4
        rows.append({"trace_id": trace_id, "name": name, "value": value})
    found = calibrate(store, name, labels=lines(tmp_path / "right.jsonl", rows), random=True)
    assert (found.verdict, found.reasons) == ("good", [])


@pytest.mark.parametrize("text", ["90", "d", "-1d", "1y", "9999999d", ""])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        duration(text)


def test_several_annotators_show_the_ceiling(store: Store, labelled: Labelled, tmp_path: Path) -> None:
    rows = []
    for place, trace_id in enumerate(labelled[0][:40]):
        for name, wrong in (("ann", 7), ("bob", 9), ("cem", 11)):
            value = (place % 2 == 1) != (place % wrong == 2)
            rows.append({"trace_id": trace_id, "name": "good", "value": value, "annotator": name})
    found = calibrate(store, "says_good", labels=lines(tmp_path / "three.jsonl", rows))
    assert found.run.summary["annotators"] == ["ann", "bob", "cem"]
    ceiling = found.run.summary["ceiling"]
    assert ceiling["alpha"]["annotators"] == 3
    assert 0.6 < ceiling["kappa"]["value"] < found.metrics["kappa"]["value"]


def test_people_who_are_divided_give_no_label(store: Store, labelled: Labelled, tmp_path: Path) -> None:
    rows = [
        {"trace_id": trace_id, "name": "good", "value": value, "annotator": name}
        for place, trace_id in enumerate(labelled[0][:40])
        for name, value in (("ann", place % 2 == 1), ("bob", place % 2 == 1 or place == 0))
    ]
    found = calibrate(store, "says_good", labels=lines(tmp_path / "two.jsonl", rows))
    assert (found.n, found.run.summary["divided"]) == (39, 1)


def test_labels_may_be_a_run_and_meet_by_case(
    store: Store, labelled: Labelled, record: Callable[..., str], tmp_path: Path
) -> None:
    rows = [
        {"trace_id": f"{place:032x}", "name": "good", "value": place % 2 == 1, "case_id": str(place)}
        for place in range(1, 40)
    ]
    import_scores(store, lines(tmp_path / "by_case.jsonl", rows), run="people")
    found = calibrate(store, "says_good", labels="people")
    assert (found.n, found.metrics["agreement"]["value"]) == (39, 1.0)


def test_numbers_have_correlations(store: Store, labelled: Labelled, tmp_path: Path) -> None:
    rows = [
        {"trace_id": trace_id, "name": "length", "value": 4 if place % 2 else 3 + place % 3}
        for place, trace_id in enumerate(labelled[0])
    ]
    found = calibrate(store, "length", labels=lines(tmp_path / "numbers.jsonl", rows))
    assert found.kind == "number"
    assert {"spearman", "kendall", "ICC", "alpha", "offset", "weighted_kappa"} <= found.metrics.keys()
    assert found.verdict in {"weak", "unusable"}


def test_verdicts_and_labels_of_one_import_are_told_apart_by_their_source(store: Store, tmp_path: Path) -> None:
    """Data of others: a file with the words of two judges and a person."""
    rows = []
    for place in range(60):
        gold = "ab"[place % 2]
        for who, source, said in (
            ("gpt", "llm", gold if place % 5 else "a"),
            ("coin", "llm", "ab"[(place // 2) % 2]),
            ("ann", "human", gold),
        ):
            row = {"trace_id": f"{place:032x}", "name": "better", "value": said, "annotator": who, "source": source}
            rows.append(row)
    path = lines(tmp_path / "all.jsonl", rows)
    import_scores(store, path, run="all")
    good = calibrate(store, "all", labels="all", annotator="gpt")
    weak = calibrate(store, "all", labels=path, annotator="coin")
    assert (good.judge, good.kind, good.verdict, weak.verdict) == ("gpt", "label", "good", "unusable")
    assert good.metrics["agreement"]["value"] == 0.9
    assert good.digest != weak.digest
    assert "chance alone cannot be ruled out" in weak.reasons[0]
    with pytest.raises(UsageError, match="several judges"):
        calibrate(store, "all", labels="all")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([{"trace_id": "e" * 32, "name": "x", "value": True}], "none of the 1 labels"),
        ([{"trace_id": "e" * 32, "name": name, "value": True} for name in "xy"], "called x, y; say which with --label"),
    ],
)
def test_labels_of_nothing_that_was_judged_are_refused(
    store: Store, labelled: Labelled, tmp_path: Path, rows: list[dict[str, object]], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        calibrate(store, "says_good", labels=lines(tmp_path / "wrong.jsonl", rows))
    assert calibrations(store) == []


def test_probabilities_of_being_labelled_are_read_from_the_metadata(
    store: Store, labelled: Labelled, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in Path(labelled[1]).read_text().splitlines()]
    for place, row in enumerate(rows):
        row["metadata"] = {"inclusion_probability": 0.5 if place % 2 else 0.9}
    found = calibrate(store, "says_good", labels=lines(tmp_path / "drawn.jsonl", rows))
    assert "weighted by 1/π" in found.run.summary["corrected"]["method"]
    rows[0]["metadata"] = {"inclusion_probability": 2}
    with pytest.raises(UsageError, match="above 0 and at most 1"):
        calibrate(store, "says_good", labels=lines(tmp_path / "drawn.jsonl", rows))


def test_runs_are_corrected_while_the_calibration_counts(store: Store, labelled: Labelled) -> None:
    assert corrected_mean(store, "first", score="says_good") is None
    calibrate(store, "says_good", labels=labelled[1], random=True)
    found = corrected_mean(store, "first", score="says_good")
    assert found.naive.value == 0.5
    assert found.estimate.value == pytest.approx(0.4, abs=0.01)
    assert found.estimate.low < 0.4 < found.estimate.high


def test_differences_of_runs_are_corrected(store: Store, labelled: Labelled, record: Callable[..., str]) -> None:
    for place in range(60):
        record(f"new{place}", output="good" if place % 3 else "bad", case=str(place), version="v2")
    evaluate(store, judges=[says_good], agent="bot@v2", name="second", progress=False)
    evaluate(store, judges=[says_good], agent="bot@v1", name="baseline", progress=False)
    assert corrected_difference(store, "baseline", "second") is None
    calibrate(store, "baseline", labels=labelled[1])
    found = corrected_difference(store, "baseline", "second")
    assert found.naive.value == pytest.approx(1 / 6)
    assert found.estimate.value == pytest.approx(1 / 6 / (20 / 24))
    assert found.estimate.method.startswith("Rogan-Gladen on paired differences")
    evaluate(store, judges=[says_fine], agent="bot@v2", name="third", progress=False)
    with pytest.raises(UsageError, match="different versions"):
        corrected_difference(store, "baseline", "third")


def test_a_card_tells_state_agreement_and_cost(
    store: Store, labelled: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert card(store, "says_good")["state"] == "uncalibrated"
    calibrate(store, "says_good", labels=labelled[1])
    told = card(store, "says_good")
    assert (told["state"], told["calibration"]["verdict"], told["cost"]["scored"]) == ("valid", "good", 60)
    assert told["cost"]["cost_usd"] is None
    where = ["--store", str(store.location)]
    assert main(["judges", "card", "says_good", *where]) == 0
    text = capsys.readouterr().out
    assert "people: yes" in text
    assert "40 of 60 judged" in text
    assert main(["judges", "card", "says_good", "--format", "markdown", *where]) == 0
    assert "### Agreement with people" in capsys.readouterr().out
    assert main(["judges", "card", "says_good", "--format", "json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["metrics"]["kappa"]["n"] == 40


def test_a_judge_that_changed_says_so_on_its_card(store: Store, labelled: Labelled) -> None:
    calibrate(store, "says_good", labels=labelled[1])
    changed = says_fine.named("says_good")
    evaluate(store, judges=[changed], name="newer", progress=False)
    told = card(store, "says_good")
    assert (told["digest"], told["state"], told["calibration"]) == (says_fine.digest, "changed", None)
    assert told["calibrated_before"][0]["digest"] == says_good.digest


def test_the_command_calibrates(store: Store, labelled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["judges", "calibrate", "says_good", "--labels", labelled[1], "--random", "--expires", "never"]
    assert main([*words, "--store", str(store.location)]) == 0
    assert "as long as the judge stays as it is" in capsys.readouterr().out
    assert calibration_of(store, says_good.digest).expires_at is None
    assert main([*words[:-1], "soon", "--store", str(store.location)]) == 2
    assert "'soon' is no length of time" in capsys.readouterr().err


def test_a_bridge_says_how_far_the_new_judge_lies_from_the_old(
    store: Store, labelled: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(store, judges=[says_fine.named("says_good")], name="new", progress=False)
    found = bridge(store, "first", "new", score="says_good")
    assert found.metrics["offset"]["value"] == pytest.approx(15 / 60)
    assert (found.summary["verdict"], found.summary["anchors"]) == ("break", 60)
    assert bridge_of(store, says_good.digest, says_fine.digest).id == found.id
    assert bridge_of(store, says_fine.digest, says_good.digest) is None
    assert card(store, "new")["bridges"][0]["verdict"] == "break"
    words = ["judges", "bridge", "first", "new", "--score", "says_good", "--store", str(store.location)]
    assert main(words) == 1
    assert "break: the new version scores +0.250" in capsys.readouterr().out
    assert main([*words, "--margin", "0.9"]) == 0


def test_llmbars_weak_judges_are_flagged(store: Store, shared: Path, tmp_path: Path) -> None:
    """LLMBar's published accuracies: what a judge says, averaged over both orders, beside the gold preference."""
    source = shared / "data" / "llmbar" / "labels.jsonl"
    if not source.is_file():
        pytest.skip("needs LLMBar's labels")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    published = {
        ("ChatGPT/Vanilla", "Adversarial/GPTInst"): (0.2663, "unusable"),
        ("ChatGPT/Vanilla", "Adversarial/GPTOut"): (0.4149, "unusable"),
        ("ChatGPT/Vanilla", "Adversarial/Manual"): (0.3478, "unusable"),
        ("ChatGPT/Vanilla", "Adversarial/Neighbor"): (0.1940, "unusable"),
        ("ChatGPT/CoT", "Natural"): (0.74, None),
    }
    for place, ((who, subset), (right, verdict)) in enumerate(published.items()):
        chosen = [row for row in rows if (row["judge"], row["subset"]) == (who, subset)]
        judged, gold = [], []
        for row in chosen:
            gold.append({"trace_id": row["trace_id"], "name": "gold", "value": str(row["gold"])})
            for order in ("ab", "ba"):
                said = row[f"verdict_{order}"]
                told = {"value": str(said)} if said is not None else {"status": "parse_error"}
                line = {"trace_id": row["trace_id"], "name": order, "source": "llm", "case_id": row["case_id"]}
                judged.append({**line, **told})
        run = f"judge {place}"
        import_scores(store, lines(tmp_path / "judged.jsonl", judged), run=run)
        labels = lines(tmp_path / "gold.jsonl", gold)
        found = [calibrate(store, run, score=order, labels=labels) for order in ("ab", "ba")]
        hits = sum(each.metrics["agreement"]["value"] * each.n for each in found)
        assert hits / (2 * len(chosen)) == pytest.approx(right, abs=1e-4)
        if verdict is not None:
            assert {each.verdict for each in found} == {verdict}


@pytest.mark.parametrize(("subset", "published"), [("GPTInst", 0.3161), ("GPTOut", 0.2804)])
def test_llmbars_kappa_between_the_two_orders_is_the_published_one(shared: Path, subset: str, published: float) -> None:
    source = shared / "data" / "llmbar" / "labels.jsonl"
    if not source.is_file():
        pytest.skip("needs LLMBar's labels")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    chosen = [row for row in rows if row["judge"] == "ChatGPT/Vanilla" and row["subset"] == f"Adversarial/{subset}"]
    both = [
        (row["verdict_ab"], row["verdict_ba"]) for row in chosen if None not in (row["verdict_ab"], row["verdict_ba"])
    ]
    found = cohen_kappa(Ratings([one for one, _ in both], [two for _, two in both]))
    assert found.value == pytest.approx(published, abs=1e-4)
    assert found.low < published < found.high


# What people would say, beside what judges say


def test_compare_shows_what_people_would_say_until_the_calibration_ends(
    store: Store,
    labelled: Labelled,
    recorder: Callable[[Path], Callable[..., str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = recorder(store.location)
    for place in range(60):
        record(f"n{place}", output="good" if place % 3 else "bad", case=str(place), version="v2")
    store.settle()
    evaluate(store, judges=[says_good], name="second", agent="bot@2", progress=False)
    at = ("--store", str(store.location))
    assert compare_of(store).corrected is None
    calibrate(store, "says_good", labels=labelled[1])
    found = compare_of(store).corrected
    assert sorted(found) == ["baseline", "candidate", "difference"]
    assert found["baseline"]["method"] == "Rogan-Gladen, Lang-Reiczigel interval, half a label added"
    assert found["baseline"]["value"] == pytest.approx(0.4, abs=0.02)
    assert found["baseline"]["naive"]["value"] == 0.5
    assert found["baseline"]["low"] < 0.4 < found["baseline"]["high"]
    assert found["difference"]["value"] == pytest.approx((40 - 30) / 60 / (20 / 24))
    main(["compare", "first", "second", *at])
    out = capsys.readouterr().out
    assert "As people would say, by the judges' calibrations" in out
    main(["runs", "show", "second", *at])
    assert "says_good, as people would say: 60.0 % (" in capsys.readouterr().out
    main(["runs", "show", "second", "--format", "json", *at])
    assert json.loads(capsys.readouterr().out)["corrected"]["says_good"]["naive"]["value"] == pytest.approx(2 / 3)


def test_a_calibration_that_expired_corrects_nothing_and_a_note_says_so(store: Store, labelled: Labelled) -> None:
    evaluate(store, judges=[says_good], name="second", progress=False)
    calibrate(store, "says_good", labels=labelled[1], expires="0h")
    found = compare_of(store)
    assert found.corrected is None
    notes = compare(store, *(store.catalog.runs.find(name) for name in ("first", "second"))).notes
    assert any("says_good is not corrected: its judge's calibration expired on" in note for note in notes)


def test_a_judge_that_changed_is_not_corrected_and_a_note_says_so(store: Store, labelled: Labelled) -> None:
    calibrate(store, "says_good", labels=labelled[1])
    evaluate(store, judges=[says_fine.named("says_good")], name="second", progress=False)
    found = compare_of(store).corrected
    assert sorted(found) == ["baseline"]
    notes = compare(store, *(store.catalog.runs.find(name) for name in ("first", "second"))).notes
    assert any("says_good is not corrected: its judge has changed since it was calibrated" in note for note in notes)


def test_items_of_one_session_count_together(tmp_path: Path, recorder: Callable[[Path], Callable[..., str]]) -> None:
    """Twelve sessions of five alike answers: sixty labels say as much as about twelve."""
    with Store.open(tmp_path / "sessions") as opened:
        record = recorder(opened.location)
        ids = [
            record(f"t{place}", output="good" if place // 5 % 4 else "bad", case=str(place), session=f"s{place // 5}")
            for place in range(60)
        ]
        evaluate(opened, judges=[says_good], name="first", progress=False)
        rows = [{"trace_id": each, "name": "good", "value": place // 5 % 3 != 1} for place, each in enumerate(ids)]
        found = calibrate(opened, "first", labels=lines(tmp_path / "labels.jsonl", rows))
    assert found.run.summary["shared"] == "session"
    rate = found.metrics["tpr"]
    assert rate["method"].startswith("Wilson on the effective number of trials")
    assert rate["effective_n"] < 12
    assert rate["n"] == 40
    assert "clusters" in found.metrics["agreement"]["method"]


def compare_of(store: Store) -> ScoreDifference:
    """How `says_good` differs between the runs first and second."""
    found = compare(store, *(store.catalog.runs.find(name) for name in ("first", "second")))
    return next(each for each in found.scores if each.name == "says_good")
