"""Packs of model judges: frozen prompts, and examples that go through the whole path with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tracekit.errors import PluginError, UsageError
from tracekit_collector.trace import Trace, assemble
from tracekit_evaluators import Case, Score, Subject, load_judge
from tracekit_evaluators.asked.measures import Item, agreement, lowest, ranked, topics
from tracekit_evaluators.models import Completion, Request
from tracekit_evaluators.packs.pack import files, prompt_of

DIGESTS = json.loads((Path(__file__).parent / "prompt_digests.json").read_text())
MODEL = "scripted"


class Scripted:
    """A model that gives the answers that it was told to give, in turn."""

    fingerprint: Mapping[str, object] = {"model": MODEL}

    def __init__(self, *answers: object) -> None:
        self.answers = [each if isinstance(each, str) else json.dumps(each) for each in answers]
        self.asked: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        text = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return Completion(text, model=MODEL, input_tokens=10, output_tokens=5, cost_usd=0.001)

    async def aclose(self) -> None:
        pass


def trace(said: Mapping[str, object], place: int = 0) -> Trace:
    base = {
        "trace_id": f"{place + 1:032x}",
        "kind": "internal",
        "start_ns": place * 10**9,
        "duration_ns": 10,
        "status": "ok",
    }
    root = {"span_id": "00" * 8, "parent_span_id": None, "name": "agent", "step": "agent", "session_id": "s"}
    told = {"input": said["input"], "output": said["output"], "system_instructions": said.get("instructions")}
    rows = [{**base, **root, **told}]
    for number, (name, arguments, error) in enumerate(said.get("tools", ()), start=1):
        done = {"tool_name": name, "tool_arguments": json.dumps(arguments), "input": json.dumps(arguments)}
        failed = {"status": "error", "status_message": error} if error else {"tool_result": '"done"', "output": "done"}
        child = {"span_id": f"{number:016x}", "parent_span_id": "00" * 8, "name": name, "step": "tool"}
        rows.append({**base, **child, **done, **failed, "start_ns": place * 10**9 + number})
    if said.get("documents"):
        found = [{"id": f"d{n}", "content": text} for n, text in enumerate(said["documents"], start=1)]
        child = {"span_id": "ff" * 8, "parent_span_id": "00" * 8, "name": "search", "step": "retriever"}
        rows.append({**base, **child, "documents": json.dumps(found)})
    return assemble(rows)


def subject_of(said: Mapping[str, object]) -> Subject:
    if "turns" in said:
        traces = tuple(trace({"input": i, "output": o}, n) for n, (i, o) in enumerate(said["turns"]))
        return Subject(traces[-1], session=traces)
    return Subject(trace(said), Case(expected=said.get("expected")))


def examples() -> Iterator[tuple[str, str, Mapping[str, object], Mapping[str, object], Subject]]:
    for folder in sorted({path.parent for path in files().values()}):
        area = json.loads((folder / "examples.json").read_text("utf-8"))
        for name, said in area["judges"].items():
            for kind in ("golden", "known_bad"):
                for example in said[kind]:
                    yield (
                        name,
                        kind,
                        said.get("parameters", {}),
                        example,
                        subject_of(area["subjects"][example["subject"]]),
                    )


EXAMPLES = [pytest.param(*each, id=f"{each[0]}-{each[1]}-{each[3]['subject']}") for each in examples()]


def judged(name: str, subject: Subject, *answers: object, **parameters: object) -> tuple[dict[str, Score], Scripted]:
    model = Scripted(*answers)
    built = load_judge({"use": name, "model": model, **parameters})
    return built.scores(asyncio.run(built(subject))), model


def test_every_pack_judge_is_installed_and_has_good_and_bad_examples() -> None:
    seen: dict[str, set[str]] = {}
    for name, kind, parameters, _, _ in examples():
        seen.setdefault(name, set()).add(kind)
        assert load_judge({"use": name, "model": Scripted(""), **parameters}).declared.about
    assert seen == {name: {"golden", "known_bad"} for name in files()}


@pytest.mark.parametrize("name", sorted(files()))
def test_no_prompt_changes_without_being_noticed(name: str) -> None:
    path = files()[name]
    own = {"tone": "x", "role": "x", "topics": "x", "policy": "x", "skills": "x", "commitments": "x", "scope": "x"}
    assert prompt_of(path, {**own, "disclosures": "x"}).digest == DIGESTS[name]


def test_no_digest_is_left_over() -> None:
    assert sorted(DIGESTS) == sorted(files())


@pytest.mark.parametrize(("name", "kind", "parameters", "example", "subject"), EXAMPLES)
def test_an_example_goes_through_schema_scale_and_evidence(name, kind, parameters, example, subject) -> None:
    import jsonschema

    scores, model = judged(name, subject, example["answer"], **parameters)
    score = scores[name]
    assert (score.status, score.value) == ("scored", pytest.approx(example["value"]))
    assert score.metadata["quotes_left_out"] == 0
    assert score.explanation == example["answer"]["reasoning"]
    assert (score.input_tokens, score.output_tokens, score.cost_usd) == (10, 5, 0.001)
    assert len(model.asked) == 1
    schema = model.asked[0].schema
    assert schema is not None
    jsonschema.validate(example["answer"], schema)
    assert list(schema["properties"])[-2:] == ["reasoning", "verdict"]
    assert {"not_applicable", "cannot_tell"} < set(schema["properties"]["verdict"]["enum"])
    wanted = [
        item for key, value in example["answer"].items() if isinstance(value, list) for item in value if item["quote"]
    ]
    assert [each.quote for each in score.evidence] == [item["quote"] for item in wanted]


@pytest.mark.parametrize("name", sorted(files()))
@pytest.mark.parametrize(
    ("verdict", "status"), [("not_applicable", "not_applicable"), ("cannot_tell", "missing_input")]
)
def test_every_judge_may_abstain(name: str, verdict: str, status: str) -> None:
    parameters, example, subject = next((p, e, s) for n, _, p, e, s in examples() if n == name)
    answer = {**example["answer"], "verdict": verdict}
    score = judged(name, subject, answer, **parameters)[0][name]
    assert (score.status, score.value, score.explanation) == (status, None, answer["reasoning"])


@pytest.mark.parametrize("name", sorted(files()))
def test_a_wrong_answer_is_repaired_once_or_is_a_parse_error(name: str) -> None:
    parameters, example, subject = next((p, e, s) for n, _, p, e, s in examples() if n == name)
    fenced = f"Here you are:\n```json\n{json.dumps(example['answer'])}\n```"
    scores, model = judged(name, subject, '{"verdict": "excellent"}', fenced, **parameters)
    assert (scores[name].value, len(model.asked)) == (pytest.approx(example["value"]), 2)
    cut = json.dumps(example["answer"])[:-3]
    scores, model = judged(name, subject, cut, **parameters)
    assert (scores[name].status, scores[name].input_tokens, len(model.asked)) == ("parse_error", 20, 2)


def test_a_document_that_was_left_out_is_asked_for_again() -> None:
    subject = subject_of({"input": "q", "output": "a", "documents": ["one", "two"]})
    item = {"number": 1, "span_id": "", "quote": "", "verdict": "2"}
    half = {"documents": [item], "reasoning": "", "verdict": "listed"}
    whole = {**half, "documents": [{**item, "number": 2}, {**item, "verdict": "0"}]}
    scores, model = judged("context_relevance", subject, half, whole)
    assert scores["context_relevance"].value == 0.5
    assert "numbers [1], but there are 1 to 2, each once" in model.asked[1].messages[-1]["content"]


def test_what_a_subject_lacks_is_said_before_a_model_is_asked() -> None:
    from tracekit_evaluators.score import MissingInput, NotApplicable

    bare = subject_of({"input": "q", "output": "a"})
    for name, kind in [("faithfulness", MissingInput), ("correctness_judge", MissingInput), ("mcp_use", NotApplicable)]:
        model = Scripted("")
        with pytest.raises(kind):
            asyncio.run(load_judge({"use": name, "model": model})(bare))
        assert model.asked == []


def test_a_case_that_cannot_be_answered_has_no_over_refusal() -> None:
    from tracekit_evaluators.score import NotApplicable

    subject = subject_of({"input": "q", "output": "no", "expected": {"answerable": False}})
    with pytest.raises(NotApplicable, match="answerable=False"):
        asyncio.run(load_judge({"use": "over_refusal", "model": Scripted("")})(subject))


def test_a_line_is_drawn_where_it_was_asked_for() -> None:
    subject = subject_of({"input": "q", "output": "a", "documents": ["one"]})
    claims = [{"text": "t", "span_id": "", "quote": "", "verdict": each} for each in ("supported", "contradicted")]
    answer = {"claims": claims, "reasoning": "", "verdict": "listed"}
    assert judged("faithfulness", subject, answer)[0]["faithfulness"].passed is None
    assert judged("faithfulness", subject, answer, at_least=0.5)[0]["faithfulness"].passed is True
    assert judged("faithfulness", subject, answer, at_least=0.6)[0]["faithfulness"].passed is False
    scores, _ = judged("faithfulness", subject, answer)
    assert {key: each.value for key, each in scores.items()} == {
        "faithfulness": 0.5,
        "faithfulness.supported": 0.5,
        "faithfulness.unsupported": 0.0,
        "faithfulness.contradicted": 0.5,
    }
    assert scores["faithfulness"].metadata["claims"] == [
        {"text": "t", "verdict": "supported"},
        {"text": "t", "verdict": "contradicted"},
    ]


def test_no_claims_leave_nothing_to_take_a_share_of() -> None:
    from tracekit_evaluators.score import NotApplicable

    subject = subject_of({"input": "q", "output": "a", "documents": ["one"]})
    with pytest.raises(NotApplicable, match="no claims"):
        judged("faithfulness", subject, {"claims": [], "reasoning": "", "verdict": "listed"})


def test_parameters_of_a_judge_stand_in_its_question_and_are_checked() -> None:
    subject = subject_of({"turns": [["q", "a"]]})
    answer = {
        "turns": [{"number": 1, "span_id": "", "quote": "", "verdict": "answered_on"}],
        "reasoning": "",
        "verdict": "listed",
    }
    scores, model = judged("topic_adherence", subject, answer, topics=["tea", "{coffee}"], mode="precision")
    assert "1. tea\n2. {coffee}" in model.asked[0].messages[0]["content"]
    assert scores["topic_adherence"].value == 1.0
    with pytest.raises(UsageError, match="needs topics"):
        load_judge({"use": "topic_adherence", "model": Scripted(""), "topics": []})
    with pytest.raises(PluginError, match="topics"):
        load_judge({"use": "topic_adherence", "model": Scripted("")})
    with pytest.raises(UsageError, match="no mode"):
        judged("topic_adherence", subject, answer, topics="tea", mode="f7")


def items(*verdicts: str) -> list[Item]:
    return [Item("", each) for each in verdicts]


def test_measures_are_what_they_are_called() -> None:
    relevance = {"documents": {"yes": 1.0, "no": 0.0}}
    assert ranked({"documents": items("yes", "no", "yes")}, relevance, {})[""] == pytest.approx((1 + 2 / 3) / 2)
    assert ranked({"documents": items("no", "no")}, relevance, {})[""] == 0.0
    worth = {"a": {"s": 1.0, "u": 0.0}, "b": {"c": 1.0, "m": 0.0}}
    both = {"a": items("s", "s", "u", "u"), "b": items("c")}
    assert agreement(both, worth, {}) == {
        "": pytest.approx(2 / 3),
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
    }
    assert agreement(both, worth, {"beta": 2.0})[""] == pytest.approx(5 * 0.5 / (4 * 0.5 + 1))
    assert agreement({"a": [], "b": items("m")}, worth, {"mode": "precision"})[""] == 0.0
    assert lowest(both, worth, {}) == {"": 0.5, "a": 0.5, "b": 1.0}
    turns = {"turns": dict.fromkeys(("answered_on", "refused_on", "answered_off", "refused_off"), 1.0)}
    seen = {"turns": items("answered_on", "answered_on", "answered_off", "refused_on", "refused_off")}
    assert topics(seen, turns, {}) == {key: pytest.approx(2 / 3) for key in ("", "precision", "recall", "f1")}


def test_a_digest_follows_the_prompt_the_model_and_the_parameters() -> None:
    one = load_judge({"use": "faithfulness", "model": Scripted("")})
    assert one.fingerprint["prompt_digest"] == DIGESTS["faithfulness"]
    assert one.digest == load_judge({"use": "faithfulness", "model": Scripted("")}).digest
    assert one.digest != load_judge({"use": "hallucination_rate", "model": Scripted("")}).digest
    assert one.digest != load_judge({"use": "faithfulness", "model": Scripted(""), "at_least": 0.5}).digest
    assert one.spec.startswith("faithfulness")
