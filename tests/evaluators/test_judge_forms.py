"""Judges made of questions: G-Eval, rules, trees, pairs, panels, cascades, meanings."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tracekit.errors import PluginError, UsageError
from tracekit_evaluators import Score, Subject, judge, load_judge
from tracekit_evaluators.asking import Desk, desk
from tracekit_evaluators.budget import Budget
from tracekit_evaluators.cache import Cache
from tracekit_evaluators.judges.g_eval import weighted
from tracekit_evaluators.models import Completion, Request
from tracekit_evaluators.score import BudgetExceeded, NotApplicable, Refused


def word(verdict: str, reasoning: str = "because", quote: str = "") -> str:
    evidence = [{"span_id": "", "quote": quote}] if quote else []
    return json.dumps({"evidence": evidence, "reasoning": reasoning, "verdict": verdict})


class Model:
    """A model whose answer is a function of the request."""

    def __init__(self, answer: Callable[[Request], object], name: str = "scripted") -> None:
        self.answer, self.asked = answer, []
        self.fingerprint: Mapping[str, object] = {"model": name}

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        given = self.answer(request)
        if isinstance(given, Exception):
            raise given
        return given if isinstance(given, Completion) else Completion(str(given), "m", None, 10, 5, None, 0.001)

    async def aclose(self) -> None:
        pass


def always(text: object, name: str = "scripted") -> Model:
    return Model(lambda _: text, name)


def judged(spec: Mapping[str, object], subject: Subject, lent: Desk | None = None) -> dict[str, Score]:
    built = load_judge(spec)

    async def go() -> object:
        verdict = built(subject)
        try:
            return await verdict if asyncio.iscoroutine(verdict) else verdict
        finally:
            if hasattr(built.call, "aclose"):
                await built.call.aclose()

    with desk(lent or Desk()):
        return dict(built.scores(asyncio.run(go())))


def likely(*top: tuple[str, float]) -> Completion:
    tokens = ['{"evidence": [], "reasoning": "3 of 5", "verdict": "', "4", '"}']
    pairs = [[token, math.log(share)] for token, share in top]
    logprobs = [{"token": token, "top": pairs if token == "4" else []} for token in tokens]
    return Completion("".join(tokens), "m", "stop", 10, 5, logprobs=logprobs)


def test_g_eval_weighs_levels_by_their_probabilities_and_says_what_it_caught(subject) -> None:
    model = always(likely(("4", 0.6), ("5", 0.2), (' "3', 0.1), ("the", 0.05)))
    score = judged({"use": "g_eval", "criteria": "x", "model": model}, subject())["g_eval"]
    assert score.value == pytest.approx((0.6 * 0.75 + 0.2 * 1.0 + 0.1 * 0.5) / 0.9)
    assert score.metadata["captured_mass"] == pytest.approx(0.9)
    assert (score.metadata["method"], len(model.asked), model.asked[0].logprobs) == ("logprobs", 1, 20)


def test_g_eval_takes_the_mean_of_samples_where_no_probabilities_are_named(subject) -> None:
    model = Model(lambda request: word(str(1 + request.sample)))
    score = judged({"use": "g_eval", "criteria": "x", "samples": 3, "model": model}, subject())["g_eval"]
    assert score.value == pytest.approx((0 + 0.25 + 0.5) / 3)
    assert (score.metadata["method"], score.metadata["values"]) == ("mean of 3 samples", [0.0, 0.25, 0.5])
    assert (score.input_tokens, score.cost_usd) == (30, pytest.approx(0.003))


def test_samples_that_give_no_verdict_are_counted_and_left_out(subject) -> None:
    model = Model(lambda request: word("cannot_tell") if request.sample == 1 else word("5"))
    score = judged({"use": "g_eval", "criteria": "x", "samples": 3, "model": model}, subject())["g_eval"]
    assert (score.value, score.metadata["no_verdict"], score.metadata["method"]) == (1.0, 1, "mean of 2 samples")


def test_a_second_verdict_of_g_eval_takes_other_samples(subject) -> None:
    from dataclasses import replace

    model = Model(lambda request: word(str(request.sample)))
    scores = judged({"use": "g_eval", "criteria": "x", "samples": 2, "model": model}, replace(subject(), sample=1))
    assert scores["g_eval"].metadata["values"] == [0.25, 0.5]


@pytest.mark.parametrize("tokens", [[], ["no verdict here"], ['{"verdict": "', "x", '"}']])
def test_nothing_is_weighed_where_no_level_is_named(tokens: Sequence[str]) -> None:
    logprobs = [{"token": token, "top": [["x", -0.1]]} for token in tokens]
    assert weighted(Completion("", logprobs=logprobs), ["1", "2"]) is None


def test_g_eval_out_of_the_cache_costs_nothing(subject, tmp_path: Path) -> None:
    cache, model = Cache(tmp_path / "cache.db"), always(likely(("4", 0.5), ("5", 0.5)))
    spec = {"use": "g_eval", "criteria": "x", "model": model}
    first, second = (judged(spec, subject(), Desk(cache))["g_eval"] for _ in range(2))
    assert (first.value, second.value, second.cost_usd, len(model.asked)) == (0.875, 0.875, 0.0, 1)
    cache.close()


@pytest.mark.parametrize(
    "wrong", [{"criteria": " "}, {"criteria": "x", "samples": 0}, {"criteria": "x", "levels": ["one"]}]
)
def test_g_eval_says_what_it_cannot_be_built_of(wrong) -> None:
    with pytest.raises(UsageError):
        load_judge({"use": "g_eval", "model": always(""), **wrong})


def rules(*verdicts: str) -> str:
    items = [{"number": n, "span_id": "", "quote": "", "verdict": each} for n, each in enumerate(verdicts, start=1)]
    return json.dumps({"rules": items, "reasoning": "because", "verdict": "listed"})


def test_guidelines_name_the_rules_that_are_broken(subject) -> None:
    spec = {"use": "guidelines", "rules": {"polite": "Be polite.", "short": "Be short.", "sources": "Name sources."}}
    score = judged({**spec, "model": always(rules("kept", "broken", "broken"))}, subject())["guidelines"]
    assert (score.value, score.passed, score.metadata["broken"]) == (False, False, ["short", "sources"])
    assert score.explanation == "broken: short, sources. because"
    score = judged({**spec, "model": always(rules("kept", "does_not_apply", "kept"))}, subject())["guidelines"]
    assert (score.value, score.metadata["broken"]) == (True, [])
    with pytest.raises(NotApplicable):
        judged({**spec, "model": always(rules(*["does_not_apply"] * 3))}, subject())
    assert judged({**spec, "model": always(rules("kept"))}, subject())["guidelines"].status == "parse_error"


@pytest.mark.parametrize("wrong", [[], {}, [""], "one", [1]])
def test_guidelines_need_rules(wrong) -> None:
    with pytest.raises(UsageError, match="need rules"):
        load_judge({"use": "guidelines", "rules": wrong, "model": always("")})


def pair(subject) -> Subject:
    return Subject(subject("first answer").trace, other=subject("second answer"))


def preferring(said: str) -> Model:
    """Prefers the answer that holds some words; or, for one or two, a place."""

    def answer(request: Request) -> str:
        if said in ("one", "two", "tie"):
            return word(said)
        user = request.messages[1]["content"]
        return word("one" if user.index(said) < user.index("answer two") else "two")

    return Model(answer)


def test_a_preference_counts_only_when_it_stands_in_both_orders(subject) -> None:
    def told(said: str) -> tuple[object, ...]:
        scores = judged({"use": "preference", "model": preferring(said)}, pair(subject))
        whole = scores["preference"]
        assert whole.cost_usd == pytest.approx(0.002)
        return whole.value, scores["preference.label"].value, scores["preference.consistent"].value

    assert told("first answer") == (1.0, "A", True)
    assert told("second answer") == (0.0, "B", True)
    assert told("one") == told("two") == (0.5, "tie", False)
    assert told("tie") == (0.5, "tie", True)


def test_a_preference_without_another_try_or_answer_has_no_value(subject) -> None:
    from tracekit_evaluators.score import MissingInput

    with pytest.raises(MissingInput):
        judged({"use": "preference", "model": preferring("one")}, subject())
    model = Model(lambda request: word("cannot_tell"))
    score = judged({"use": "preference", "model": model}, pair(subject))["preference"]
    assert (score.status, score.value) == ("missing_input", None)


def vote(
    subject, *answers: object, names: Sequence[str] = ("gpt-5", "claude-5", "llama-4"), **parameters: object
) -> Score:
    from tracekit_evaluators.judges.panel import panel as made

    models = [always(each, name) for each, name in zip(answers, names, strict=True)]
    built = made(member="rubric", models=models, parameters={"criteria": "x", **parameters})
    return built.scores(asyncio.run(built(subject)))["panel"]


def test_a_panel_follows_its_majority(subject) -> None:
    score = vote(subject(), word("pass"), word("fail"), word("pass", "it is", "an answer"))
    assert (score.value, score.passed, score.cost_usd) == (True, True, pytest.approx(0.003))
    assert score.metadata["families"] == ["gpt", "claude", "llama"]
    assert score.metadata["votes"] == [True, False, True]


def test_who_abstains_counts_in_the_majority(subject) -> None:
    score = vote(subject(), word("pass"), word("cannot_tell"), Refused("no"))
    assert (score.status, score.value, score.metadata["abstained"]) == ("missing_input", None, 2)
    score = vote(subject(), word("pass"), word("fail"), word("cannot_tell"))
    assert (score.status, score.value) == ("missing_input", None)
    assert "no verdict has the majority of 3 members" in score.explanation
    assert vote(subject(), word("pass"), word("pass"), Refused("no")).value is True


def test_a_panel_of_numbers_takes_the_median_and_one_family_is_named(subject) -> None:
    levels = ["a", "b", "c"]
    score = vote(subject(), word("1"), word("3"), word("3"), levels=levels, names=("gpt-5", "o3", "openai/gpt-4o"))
    assert score.value == 1.0
    assert "one family, which counts as one judge" in score.explanation


def test_a_panel_does_not_swallow_an_empty_budget(subject) -> None:
    from tracekit_evaluators.judges.panel import panel as made

    built = made(member="rubric", models=[always(word("pass")), always(word("pass"))], parameters={"criteria": "x"})
    with desk(Desk(budget=Budget(tokens=0))), pytest.raises(BudgetExceeded):
        asyncio.run(built(subject()))


def cascaded(subject, stages: list[object]) -> Score:
    from tracekit_evaluators.judges.panel import cascade

    built = cascade(stages=stages)
    return built.scores(asyncio.run(built(subject)))["cascade"]


def test_a_cascade_stops_at_the_first_stage_that_settles_it(subject) -> None:
    big = always(word("pass"))
    last = {"use": "rubric", "criteria": "x", "model": big}
    small = {"use": "rubric", "criteria": "x", "levels": ["a", "b", "c"], "model": always(word("2"))}
    sure = {**small, "model": always(word("3"))}
    empty = {"judge": "regex?pattern=.", "settles": "fail"}
    score = cascaded(subject(), [empty, {"judge": sure, "settles": "sure"}, last])
    assert (score.value, score.metadata["stage"], score.metadata["decided_by"]) == (1.0, 2, "rubric")
    assert score.metadata["passed_on"] == ["regex: True"]
    assert (score.cost_usd, big.asked) == (pytest.approx(0.001), [])
    score = cascaded(subject(), [empty, {"judge": small, "settles": "sure"}, last])
    assert (score.value, score.metadata["stage"], score.cost_usd) == (True, 3, pytest.approx(0.002))
    score = cascaded(subject(""), [{"judge": "regex?pattern=never", "settles": "fail"}, last])
    assert (score.value, score.metadata["stage"], score.cost_usd) == (False, 1, 0.0)


def test_a_stage_that_fails_passes_on(subject) -> None:
    broken = {"use": "rubric", "criteria": "x", "model": always(Refused("no"))}
    score = cascaded(subject(), [broken, {"use": "rubric", "criteria": "x", "model": always(word("fail"))}])
    assert (score.value, score.metadata["passed_on"]) == (False, ["rubric: refused"])


@pytest.mark.parametrize("stages", [[], ["error"], ["error", {"judge": "error", "settles": "often"}]])
def test_a_cascade_needs_stages(stages) -> None:
    with pytest.raises(UsageError):
        load_judge({"use": "cascade", "stages": stages})


TREE = {
    "judge": "regex?pattern=answer",
    "answers": {
        "false": {"value": 0, "because": "no answer at all"},
        "true": {"name": "polite", "ask": "Is it polite?", "answers": {"yes": 1.0, "no": 0.5, "else": "unknown"}},
    },
}


def test_a_tree_comes_to_a_leaf_and_tells_the_path(subject) -> None:
    model = always(word("yes", "it is", "an answer"))
    score = judged({"use": "dag_rubric", "tree": TREE, "model": model}, subject())["dag_rubric"]
    assert (score.value, score.metadata["path"]) == (1.0, ["regex: true", "polite: yes"])
    assert [each.quote for each in score.evidence] == ["answer", "an answer"]
    assert (score.cost_usd, len(model.asked)) == (0.001, 1)
    score = judged({"use": "dag_rubric", "tree": TREE, "model": model}, subject("nothing"))["dag_rubric"]
    assert (score.value, score.explanation, score.cost_usd) == (0, "regex: false. no answer at all", 0.0)


def test_what_has_no_verdict_takes_the_way_of_else_or_none(subject) -> None:
    spec = {"use": "dag_rubric", "tree": TREE, "model": always(word("cannot_tell"))}
    assert judged(spec, subject())["dag_rubric"].value == "unknown"
    tree = {"ask": "Is it?", "answers": {"yes": 1, "no": 0}}
    score = judged({**spec, "tree": tree}, subject())["dag_rubric"]
    assert (score.status, score.value, score.metadata["path"]) == ("missing_input", None, [])


def test_numbers_take_the_way_of_their_bounds(subject) -> None:
    tree = {"judge": "steps", "answers": {"<=1": "short", ">1": "long"}}
    assert judged({"use": "dag_rubric", "tree": tree}, subject())["dag_rubric"].value == "short"


def test_a_tree_may_stand_in_a_file(subject, tmp_path: Path) -> None:
    (tmp_path / "tree.json").write_text(json.dumps(TREE))
    (tmp_path / "tree.toml").write_text('judge = "regex?pattern=answer"\n[answers]\ntrue = 1\nfalse = 0\n')
    (tmp_path / "tree.yaml").write_text("judge: regex?pattern=answer\nanswers:\n  true: 1\n  false: 0\n")
    for name in ("tree.json", "tree.toml", "tree.yaml"):
        spec = {"use": "dag_rubric", "tree": str(tmp_path / name), "model": always(word("yes"))}
        assert judged(spec, subject())["dag_rubric"].value == 1


@pytest.mark.parametrize(
    "tree", [1, {}, {"ask": "x"}, {"ask": "x", "judge": "error", "answers": {}}, "no such file.json"]
)
def test_what_is_no_tree_is_refused(tree) -> None:
    with pytest.raises((UsageError, PluginError)):
        load_judge({"use": "dag_rubric", "tree": tree, "model": always("")})


def test_a_tree_that_is_too_deep_is_refused() -> None:
    tree: object = 1
    for _ in range(30):
        tree = {"judge": "error", "answers": {"true": tree}}
    with pytest.raises(UsageError, match="deeper"):
        load_judge({"use": "dag_rubric", "tree": tree})


def vectors(texts: Sequence[str]) -> list[list[float]]:
    """Texts that begin alike point the same way."""
    return [[1.0, 0.0] if text.startswith("w") else [0.0, 1.0] for text in texts]


def test_meanings_are_compared_by_the_cosine(subject) -> None:
    spec = {"use": "embedding_similarity", "embedder": vectors, "at_least": 0.5}
    score = judged(spec, subject("words", expected={"output": "worlds"}))["embedding_similarity"]
    assert (score.value, score.passed) == (1.0, True)
    score = judged(spec, subject("words", expected={"answer": "else"}))["embedding_similarity"]
    assert (score.value, score.passed) == (0.0, False)


def test_relevancy_is_the_questions_nearness_times_what_is_not_evaded(subject) -> None:
    items = [
        {"text": text, "span_id": "", "quote": "", "verdict": said}
        for text, said in [
            ("who?", "committal"),
            ("why?", "noncommittal"),
            ("how?", "committal"),
            ("what?", "committal"),
        ]
    ]
    model = always(json.dumps({"questions": items, "reasoning": "", "verdict": "listed"}))
    spec = {"use": "answer_relevancy", "embedder": vectors, "model": model}
    score = judged(spec, subject("an answer", input="where?"))["answer_relevancy"]
    assert score.value == pytest.approx(0.75 * 0.75)
    assert "where?" not in model.asked[0].messages[1]["content"]


def test_correctness_weighs_claims_and_meaning_and_says_both(subject) -> None:
    def item(verdict: str) -> dict[str, str]:
        return {"text": "t", "span_id": "", "quote": "", "verdict": verdict}

    lists = {"output_claims": [item("supported"), item("unsupported")], "expected_claims": [item("covered")]}
    model = always(json.dumps({**lists, "reasoning": "", "verdict": "listed"}))
    spec = {"use": "answer_correctness", "embedder": vectors, "model": model}
    scores = judged(spec, subject("words", expected={"output": "else"}))
    assert {name: each.value for name, each in scores.items()} == {
        "answer_correctness": pytest.approx(0.75 * 2 / 3),
        "answer_correctness.f": pytest.approx(2 / 3),
        "answer_correctness.similarity": 0.0,
    }


def test_the_triad_is_its_weakest_side(subject) -> None:
    def answer(request: Request) -> str:
        names = set(request.schema["properties"])
        item = {"text": "t", "span_id": "", "quote": ""}
        if "documents" in names:
            found = {"documents": [{"number": 1, "span_id": "", "quote": "", "verdict": "1"}]}
        elif "claims" in names:
            found = {"claims": [{**item, "verdict": "supported"}]}
        else:
            found = {"statements": [{**item, "verdict": "relevant"}]}
        return json.dumps({**found, "reasoning": "", "verdict": "listed"})

    scores = judged({"use": "rag_triad", "model": Model(answer)}, subject(documents=[{"id": "d", "content": "c"}]))
    assert {name: each.value for name, each in scores.items()} == {
        "rag_triad": 0.5,
        "rag_triad.context_relevance": 0.5,
        "rag_triad.groundedness": 1.0,
        "rag_triad.answer_relevance": 1.0,
    }
    assert scores["rag_triad"].explanation == "the least is context_relevance"


def test_every_judge_that_asks_can_foretell_what_it_will_ask(subject) -> None:
    from tracekit_evaluators.forecast import Foretelling

    model = always("")
    for spec, count in [
        ({"use": "g_eval", "criteria": "x"}, 1),
        ({"use": "guidelines", "rules": ["x"]}, 1),
        ({"use": "dag_rubric", "tree": {"ask": "x", "answers": {"a": 1, "b": 2}}}, 1),
        ({"use": "completeness"}, 1),
        ({"use": "rag_triad"}, 3),
    ]:
        built = load_judge({**spec, "model": model})
        assert isinstance(built.call, Foretelling)
        assert len(built.call.requests(subject(documents=[{"id": "d", "content": "c"}]))) == count
    built = load_judge({"use": "preference", "model": model})
    assert len(built.call.requests(pair(subject))) == 2
    assert model.asked == []


def test_a_judge_of_ones_own_can_be_a_stage(subject) -> None:
    @judge
    def mine(subject: Subject) -> bool:
        return subject.output == "an answer"

    assert cascaded(subject(), [mine, mine]).value is True


def test_a_panel_is_named_by_a_spec(subject, model_server, monkeypatch) -> None:
    model_server.script = [word("pass")]
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.url)
    score = judged(
        {"use": "panel", "member": "rubric", "models": ["a", "b"], "parameters": {"criteria": "x"}}, subject()
    )
    assert (score["panel"].value, sorted(each["model"] for each in model_server.asked)) == (True, ["a", "b"])
