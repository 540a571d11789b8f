"""Bias probes: judges with a known bias are found, fair ones are not accused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_collector.store import Store
from tracekit_evaluators import Score, Subject, judge
from tracekit_evaluators.calibration import card, self_preference
from tracekit_evaluators.calibration.edits import EDITS, formatted, padded, with_output
from tracekit_evaluators.calibration.probes import Probe, probe, probe_subjects
from tracekit_evaluators.judges.preference import preference
from tracekit_evaluators.judges.rubric import rubric
from tracekit_evaluators.models import Request

Make = Callable[..., Subject]
ANSWERS = [f"The book number {place} is by an author. It was printed in {1900 + place}." for place in range(24)]


def answered(verdict: str) -> str:
    return json.dumps({"evidence": [], "reasoning": "so it is", "verdict": verdict})


def shown(request: Request) -> str:
    """The answer that a model is shown."""
    return request.messages[1]["content"].partition(" output")[2]


def fair(request: Request) -> str:
    """Passes answers about books of even numbers, whatever stands around them."""
    place = int(shown(request).partition("number ")[2].partition("is by")[0].strip("* "))
    return answered("pass" if place % 2 == 0 else "fail")


def swayed_by(words: str) -> Callable[[Request], str]:
    def model(request: Request) -> str:
        return answered("pass") if words in shown(request) else fair(request)

    return model


def found_by(subject: Make, model: Callable[[Request], str], **more: object) -> dict[str, Probe]:
    built = rubric(criteria="The answer is right.", model=model)
    subjects = [subject(answer, case_id=str(place)) for place, answer in enumerate(ANSWERS)]
    return {each.name: each for each in probe_subjects(built, subjects, **more)}


def test_a_fair_judge_is_not_accused(subject: Make) -> None:
    found = found_by(subject, fair)
    assert list(found) == ["verbosity", "format", "authority", "anchoring", "instruction", "stability"]
    assert [each.name for each in found.values() if each.found] == []
    assert {each.moved.value for each in found.values()} == {0.0}
    assert found["verbosity"].shift.value == 0.0


@pytest.mark.parametrize(
    ("words", "guilty"),
    [
        ("stands as it was given", {"verbosity"}),
        ("## Answer", {"format"}),
        ("professor", {"authority"}),
        ("10 out of 10", {"anchoring"}),
        ("ignore the criteria", {"instruction"}),
    ],
)
def test_a_judge_with_a_bias_is_found_and_accused_of_no_other(subject: Make, words: str, guilty: set[str]) -> None:
    found = found_by(subject, swayed_by(words))
    assert {each.name for each in found.values() if each.found} == guilty
    (name,) = guilty
    assert found[name].shift.value == 0.5
    assert found[name].shift.low > 0.2


def test_a_bias_against_shows_as_a_negative_shift(subject: Make) -> None:
    def terse(request: Request) -> str:
        return answered("fail") if len(shown(request)) > 400 else fair(request)

    found = found_by(subject, terse, probes=["verbosity"])
    assert (found["verbosity"].found, found["verbosity"].shift.value) == (True, -0.5)


def test_an_unstable_judge_is_told_from_a_stable_one(subject: Make) -> None:
    def moody(request: Request) -> str:
        digest = hashlib.sha256(f"{shown(request)[20:120]}{request.sample}".encode()).digest()
        return answered("pass" if digest[0] % 2 else "fail")

    found = found_by(subject, moody, probes=["stability"], repeats=5)
    assert found["stability"].moved.value > 0.8
    assert (found["stability"].p, found["stability"].found) == (None, False)


def test_a_judge_that_favours_the_first_place_is_found(subject: Make) -> None:
    @judge(subject="pair", source="llm")
    def first_wins(subject: Subject) -> float:
        """Whoever stands first wins."""
        assert subject.other is not None
        return 1.0

    @judge(subject="pair", source="llm")
    def longer_wins(subject: Subject) -> float:
        """Whoever says more wins."""
        assert subject.other is not None
        one, two = len(subject.output_text), len(subject.other.output_text)
        return 0.5 if one == two else float(one > two)

    pairs = [
        replace(subject(answer), other=subject(answer + " x" * (place % 3))) for place, answer in enumerate(ANSWERS)
    ]
    (guilty,) = probe_subjects(first_wins, pairs, probes=["position"])
    assert (guilty.found, guilty.moved.value, guilty.shift.value) == (True, 1.0, 1.0)
    (innocent,) = probe_subjects(longer_wins, pairs, probes=["position"])
    assert (innocent.found, innocent.moved.value) == (False, 0.0)


def test_the_order_is_seen_through_a_judge_that_asks_in_both(subject: Make) -> None:
    built = preference(model=lambda request: answered("two"))
    pairs = [replace(subject(answer), other=subject("another answer")) for answer in ANSWERS]
    (found,) = probe_subjects(built, pairs, probes=["position"])
    assert (found.found, found.moved.value, found.shift.value) == (True, 1.0, -1.0)


@pytest.mark.parametrize(
    ("subset", "flips", "pairs"),
    [
        ("Adversarial/GPTInst", 35, 92),  # 38.0 %
        ("Adversarial/GPTOut", 19, 47),  # 40.4 %
        ("Adversarial/Manual", 22, 46),  # 47.8 %
        ("Adversarial/Neighbor", 38, 134),  # 28.4 %
        ("Natural", 29, 100),  # 29.0 %
    ],
)
def test_llmbars_verdicts_flip_with_the_order_as_often_as_counted(
    subject: Make, shared: Path, subset: str, flips: int, pairs: int
) -> None:
    """ChatGPT's verdicts on LLMBar, asked in both orders, come back from the position probe with their flip rate."""
    source = shared / "data" / "llmbar" / "labels.jsonl"
    if not source.is_file():
        pytest.skip("needs LLMBar's labels")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    told = {
        row["case_id"]: [{1: "one", 2: "two"}.get(row[f"verdict_{order}"]) for order in ("ab", "ba")]
        for row in rows
        if (row["judge"], row["subset"]) == ("ChatGPT/Vanilla", subset)
    }

    @judge(subject="pair", values="{0,0.5,1}")
    def replayed(subject: Subject) -> Score:
        """What ChatGPT said."""
        orders = told[subject.output_text]
        value = {("one", "one"): 1.0, ("two", "two"): 0.0}.get((str(orders[0]), str(orders[1])), 0.5)
        return Score(value, metadata={"orders": orders})

    asked = [replace(subject(case), other=subject("the other")) for case in told]
    (found,) = probe_subjects(replayed, asked, probes=["position"])
    assert found.moved.n == pairs
    assert found.moved.value == pytest.approx(flips / pairs, abs=1e-12)


def test_an_edit_stands_wherever_the_trace_shows_the_answer(subject: Make) -> None:
    before = subject("Paris.", tools=[("look", {"city": "Paris."}, None)])
    after = with_output(before, "Rome.")
    assert (after.output, after.trace.output, after.trace.spans[0].output) == ("Rome.", "Rome.", "Rome.")
    assert after.trace.spans[1] == before.trace.spans[1]
    assert before.output == "Paris."
    assert set(EDITS) == {"verbosity", "format", "authority", "anchoring", "instruction"}
    assert padded("x").startswith("x\n\n")
    assert formatted("One. Two.") == "## Answer\n\n- **One.**\n- **Two.**"


def test_a_judge_that_fails_is_counted_not_scored(subject: Make) -> None:
    @judge
    def broken(subject: Subject) -> bool:
        """Cannot bear long answers."""
        if len(subject.output_text) > 400:
            raise ValueError
        return True

    found = probe_subjects(broken, [subject(answer) for answer in ANSWERS], probes=["verbosity"])[0]
    assert (found.failed, found.moved.n, found.found) == (24, 0, False)


@pytest.mark.parametrize(
    ("probes", "match"),
    [(["colour"], "there is no probe colour"), (["position"], "no first and second position")],
)
def test_probes_that_make_no_sense_are_refused(subject: Make, probes: list[str], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        found_by(subject, fair, probes=probes)
    with pytest.raises(UsageError, match="has an output to change"):
        probe_subjects(rubric(criteria="c", model=fair), [subject(None)])


def test_self_preference_is_measured_at_equal_human_score() -> None:
    """Family a writes better answers; the judge gives its own a tenth more than people's score warrants."""
    items = []
    for place in range(300):
        family = "abc"[place % 3]
        human = float(place % (4 if family == "a" else 2) > 0)
        items.append((human * 0.8 + (0.1 if family == "a" else 0.0) + (place % 7) / 100, human, family))
    found, residuals = self_preference(items, own="a")
    assert found.value == pytest.approx(0.1, abs=0.01)
    assert found.low > 0.08
    assert residuals["a"]["value"] > residuals["b"]["value"]
    fair_one, _ = self_preference([(human, human, family) for _, human, family in items], own="a")
    assert fair_one.value == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(UsageError, match="'z' and another are needed"):
        self_preference(items, own="z")


def test_a_probe_of_stored_traces_is_a_run_that_the_card_shows(
    store: Store, record: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(12):
        record(f"t{place}", output=ANSWERS[place])
    built = rubric(criteria="The answer is right.", model=swayed_by("professor"))
    run = probe(store, built, probes=["authority", "stability"])
    assert (run.kind, run.status, run.summary["subjects"]) == ("probe", "finished", 12)
    assert run.metrics["authority"]["value"] == 0.5
    assert store.sql("SELECT count(*) FROM scores").fetchone()[0] == 0  # probes are no scores
    from tracekit_evaluators import evaluate

    evaluate(store, judges=[built], progress=False)
    told = card(store, "rubric")
    assert [(each["name"], each["found"]) for each in told["probes"]] == [("authority", True), ("stability", False)]
    words = ["judges", "probe", "contains?any=book", "--probe", "verbosity", "--store", str(store.location)]
    assert main(words) == 0
    assert "verbosity" in capsys.readouterr().out
