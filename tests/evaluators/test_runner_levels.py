"""What judges may be called with, how often, for how much, and what is told of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_evaluators import Budget, Score, Subject, estimate, evaluate, judge
from tracekit_evaluators.judges.rubric import rubric
from tracekit_evaluators.models import Completion, ModelUnavailable, Request
from tracekit_evaluators.models.limits import Bucket, Limiter, Resting


def said(verdict: str = "pass") -> str:
    return json.dumps({"evidence": [], "reasoning": "because", "verdict": verdict})


@judge(subject="span", steps=("tool",))
def named_well(subject: Subject) -> bool:
    assert subject.span is not None
    return subject.span.tool_name == "search"


@judge(subject="session")
def turns(subject: Subject) -> int:
    return len(subject.turns)


@judge(subject="pair")
def longer(subject: Subject) -> str:
    assert subject.other is not None
    return "longer" if len(subject.output_text) > len(subject.other.output_text) else "not longer"


@judge(needs=("earlier.short",))
def confirmed(subject: Subject) -> bool:
    return subject.earlier.get("short") == 1.0


@judge
def short(subject: Subject) -> bool:
    return len(subject.output_text) < 100


def test_a_judge_of_spans_is_called_with_each_span_of_its_steps(store, record) -> None:
    trace_id = record("a", tools=["search", "book"])
    scores = evaluate(store, judges=[named_well], progress=False).scores()
    assert [(row["target"], row["trace_id"], row["span_id"], row["value"]) for row in scores] == [
        ("span", trace_id, "0202020202020202", 1.0),
        ("span", trace_id, "0303030303030303", 0.0),
    ]


@pytest.mark.usefixtures("fresh")
def test_a_judge_of_sessions_is_called_once_with_all_traces_of_each(store, tmp_path: Path) -> None:
    import tracekit

    tracekit.init(store=store.location)
    for session, count in (("s-1", 2), ("s-2", 1)):
        for number in range(count):
            with tracekit.session(session), tracekit.span(f"turn {number}", step="agent"):
                pass
    with tracekit.span("alone", step="agent"):
        pass
    tracekit.shutdown(10)
    run = evaluate(store, judges=[turns, short], progress=False)
    scores = [row for row in run.scores() if row["name"] == "turns"]
    assert sorted((row["target"], row["session_id"], row["value"]) for row in scores) == [
        ("session", "s-1", 2.0),
        ("session", "s-2", 1.0),
    ]
    assert run.metrics["turns"]["n"] == 2


def test_a_judge_of_pairs_is_called_with_two_tries_at_one_case(store, record) -> None:
    for case, old, new in (("one", "ab", "abcd"), ("two", "abcd", "ab")):
        record(f"{case} old", case=case, output=old, version="v1")
        record(f"{case} new", case=case, output=new, version="v2")
    record("three new", case="three", version="v2")
    run = evaluate(store, judges=[longer], agent="bot@v2", against="bot@v1", progress=False)
    assert [(row["case_id"], row["label"], row["status"]) for row in run.scores()] == [
        ("one", "longer", "scored"),
        ("three", None, "missing_input"),
        ("two", "not longer", "scored"),
    ]


def test_pairs_need_another_side_and_another_side_needs_pairs(store, record) -> None:
    record("a")
    with pytest.raises(UsageError, match="longer compares two tries; name a run or an agent with `against`"):
        evaluate(store, judges=[longer], progress=False)
    with pytest.raises(UsageError, match="none of these does"):
        evaluate(store, judges=[short], against="bot", progress=False)


def test_earlier_scores_are_there_for_a_judge_that_asks(store, record) -> None:
    record("a", output="brief")
    record("b", output="x" * 200)
    evaluate(store, judges=[short], progress=False)
    scores = evaluate(store, judges=[confirmed], progress=False).scores()
    assert sorted(row["value"] for row in scores) == [0.0, 1.0]


def test_samples_are_independent_and_asked_for_one_by_one(store, record, model_server) -> None:
    record("a")
    model_server.script = [said("pass"), said("fail"), said("pass")]
    built = rubric(criteria="Polite.", model="judge-1", base_url=model_server.url)
    run = evaluate(store, judges=[built], samples=3, concurrency=1, progress=False)
    assert [(row["sample"], row["value"]) for row in run.scores()] == [(0, 1.0), (1, 0.0), (2, 1.0)]
    assert [request["seed"] for request in model_server.asked] == [0, 1, 2]
    again = evaluate(store, judges=[built], samples=3, progress=False)
    assert [row["value"] for row in again.scores()] == [1.0, 0.0, 1.0]
    assert len(model_server.asked) == 3


def test_a_budget_in_tokens_stops_asking_and_resuming_pays_for_nothing_twice(store, record, model_server) -> None:
    for number in range(6):
        record(f"trace {number}", output=f"answer {number}")
    model_server.script = [said()]  # 110 tokens each
    built = rubric(criteria="Polite.", model="judge-1", base_url=model_server.url)
    run = evaluate(store, judges=[built], budget=Budget(tokens=250), concurrency=1, progress=False)
    assert run.summary["statuses"] == {"scored": 3, "budget_exceeded": 3}
    assert run.summary["asked"] == {
        "requests": 3,
        "tokens": 330,
        "usd": None,
        "budget_usd": None,
        "budget_tokens": 250,
    }
    assert len(model_server.asked) == 3
    again = evaluate(store, judges=[built], resume=run.id, progress=False)
    assert again.summary["statuses"] == {"scored": 6}
    assert len(model_server.asked) == 6


def test_a_budget_in_money_cannot_be_kept_where_the_price_is_unknown(store, record, model_server) -> None:
    record("a")
    record("b", output="other")
    model_server.script = [said()]
    built = rubric(criteria="Polite.", model="judge-1", base_url=model_server.url)
    run = evaluate(store, judges=[built], budget=Budget(usd=1.0), concurrency=1, progress=False)
    assert run.summary["statuses"] == {"scored": 1, "budget_exceeded": 1}
    told = [row["explanation"] for row in run.scores() if row["status"] == "budget_exceeded"]
    assert told == ["nobody knows the price of 1 answers, so a budget in money cannot be kept"]


def test_a_run_can_be_judged_by_more_judges_and_by_others_of_the_same_name(store, record) -> None:
    record("a", output="brief")
    first = evaluate(store, judges=[short], progress=False)
    more = evaluate(store, judges=["error"], into=first.id, progress=False)
    assert more.id == first.id
    assert {name: metric["value"] for name, metric in more.metrics.items()} == {"error": 0.0, "short": 1.0}

    @judge(name="short")
    def shorter(subject: Subject) -> bool:
        return len(subject.output_text) < 3

    other = evaluate(store, judges=[shorter], into=first.id, progress=False)
    assert other.metrics["short"]["value"] == 0.0
    assert other.metrics["short"]["scores"] == 1
    assert sorted(each["name"] for each in other.record.judges) == ["error", "short"]


def test_only_unscored_leaves_out_what_any_run_has_scored(store, record) -> None:
    record("a")
    evaluate(store, judges=[short], progress=False)
    second = record("b")
    run = evaluate(store, judges=[short], only_unscored=True, progress=False)
    assert [row["trace_id"] for row in run.scores()] == [second]


def test_what_a_judge_asks_is_a_trace_that_is_linked_and_never_judged(store, record, model_server) -> None:
    judged = record("a", output="fine")
    model_server.script = [said()]
    built = rubric(criteria="Polite.", model="judge-1", base_url=model_server.url)
    run = evaluate(store, judges=[built], progress=False)
    (found,) = store.sql("SELECT trace_id FROM spans WHERE step = 'evaluator'").fetchall()
    trace = store.trace(str(found[0]))
    assert [(span.name, span.step) for span in trace.spans] == [("judge rubric", "evaluator"), ("chat judge-1", "llm")]
    assert trace.run_id == run.id
    links = store.sql("SELECT links FROM spans WHERE step = 'evaluator'").fetchall()[0][0]
    assert judged in str(links)
    again = evaluate(store, judges=[short], progress=False)
    assert [row["trace_id"] for row in again.scores()] == [judged]


def test_an_estimate_asks_nothing_and_begins_nothing(store, record, model_server) -> None:
    for number in range(3):
        record(f"trace {number}", tools=["search"])
    model_server.script = [said()]
    built = rubric(criteria="Polite.", model="gpt-4o-mini", base_url=model_server.url)
    code, asking = estimate(store, judges=[named_well, built], samples=2)
    assert (code.subjects, code.requests, code.cost_usd) == (3, 0, 0.0)
    assert (asking.subjects, asking.requests, asking.output_tokens) == (3, 6, 1800)
    assert asking.input_tokens is not None
    assert asking.input_tokens > 600
    assert model_server.asked == []
    assert store.catalog.runs.list() == []


def test_the_command_foretells_and_stops_at_a_budget(store, record, model_server, capsys) -> None:
    record("a")
    model_server.script = [said()]
    spec = f"rubric?criteria=Polite.&model=judge-1&base_url={model_server.url}"
    where = ["--store", str(store.location)]
    assert main(["eval", "--judge", spec, "--dry-run", "--format", "json", *where]) == 0
    out = capsys.readouterr()
    assert [row["requests"] for row in json.loads(out.out)] == [1]
    assert "in all: unknown" in out.err
    assert model_server.asked == []
    assert main(["eval", "--judge", spec, "--budget-tokens", "0", *where]) == 4
    assert "the budget is used up, 1 scores are missing" in capsys.readouterr().err


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_a_minutes_worth_and_then_its_rate() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    assert [bucket.wait(30), bucket.wait(30), bucket.wait(1), bucket.wait(1)] == [0.0, 0.0, 1.0, 2.0]
    clock.now += 60
    assert bucket.wait(1) == 0.0
    assert Bucket(None).wait(10**9) == 0.0


def test_too_much_halves_the_window_once_and_answers_widen_it_again() -> None:
    clock = Clock()
    limiter = Limiter(most=8, clock=clock)

    async def busy() -> None:
        async with limiter.turn(), limiter.turn(), limiter.turn(), limiter.turn():
            limiter.too_much(None)
            limiter.too_much(None)
            assert limiter.window == 2.0

    asyncio.run(busy())
    for _ in range(5):
        limiter.answered()
    assert 3.5 < limiter.window < 4.5


def test_a_model_that_fails_in_a_row_rests_and_is_then_tried_once() -> None:
    clock = Clock()
    limiter = Limiter(clock=clock)

    async def go() -> None:
        for _ in range(5):
            async with limiter.turn():
                limiter.failed()
        with pytest.raises(Resting, match="5 requests in a row failed; it is left alone for another 30 s"):
            async with limiter.turn():
                pass
        clock.now += 31
        async with limiter.turn():
            with pytest.raises(Resting):
                async with limiter.turn():
                    pass
            limiter.answered()
        async with limiter.turn(), limiter.turn():
            pass

    asyncio.run(go())


def test_no_more_than_the_window_are_out_at_once_and_all_get_their_turn() -> None:
    limiter = Limiter(most=3)
    out, most = 0, 0

    async def one() -> None:
        nonlocal out, most
        async with limiter.turn():
            out += 1
            most = max(most, out)
            await asyncio.sleep(0)
            out -= 1

    async def go() -> None:
        await asyncio.gather(*(one() for _ in range(50)))

    asyncio.run(go())
    assert most == 3


class Gone:
    """A model that is never there."""

    fingerprint = {"model": "gone"}  # noqa: RUF012 - a stand-in

    async def complete(self, request: Request) -> Completion:
        raise ModelUnavailable("nobody answers")

    async def aclose(self) -> None: ...


def test_a_model_that_is_away_costs_its_scores_and_nothing_else(store, record) -> None:
    record("a")
    run = evaluate(store, judges=[rubric(criteria="Polite.", model=Gone()), short], progress=False)
    assert run.summary["statuses"] == {"judge_error": 1, "scored": 1}
    assert isinstance(Score(1.0).value, float)
