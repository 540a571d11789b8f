"""Diagnosis by detectors: the taxonomy, what each detector says of literal traces, causes, quotes, and the corpus."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit_collector.trace import assemble
from tracekit_evaluators import diagnosis, load_judge
from tracekit_evaluators.diagnosis import CODES, Finding, code_of, detect
from tracekit_evaluators.diagnosis.causes import linked, root_cause
from tracekit_evaluators.diagnosis.corpus import corpus, otlp
from tracekit_evaluators.diagnosis.errors import error_in, meaning
from tracekit_evaluators.diagnosis.finding import merged, verified
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.diagnosis.measure import MEASURED, execution, figures, measured
from tracekit_evaluators.diagnosis.scoring import as_trail, score, trail_pairs
from tracekit_evaluators.diagnosis.taxonomy import BY_ERROR_TYPE, GROUPS, SEVERITIES, TRAIL_CATEGORIES, table
from tracekit_evaluators.diagnosis.wordings import DRAFTED, real

MODULES = [f"{diagnosis.__name__}.{each.name}" for each in pkgutil.iter_modules(diagnosis.__path__)]
ROOT = Path(__file__).parents[2]
A, B, C, D = ("a" * 16, "b" * 16, "c" * 16, "d" * 16)


def row(span_id: str, step: str, at: int, /, **columns: object) -> dict[str, object]:
    base = {"trace_id": "ab" * 16, "span_id": span_id, "parent_span_id": None if span_id == A else A, "name": step}
    return {**base, "step": step, "start_ns": at, "duration_ns": 5, "status": "ok", **columns}


def said(text: str, **part: object) -> str:
    parts = [{"type": "text", "content": text}] if text else [part] if part else []
    return json.dumps([{"role": "assistant", "parts": parts}])


def found(*rows: dict[str, object]) -> list[tuple[str, str]]:
    return [(each.code, each.span_id) for each in detect(assemble(rows))]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_every_code_is_whole_and_named_once() -> None:
    assert len({code.id for code in CODES}) == len(CODES) == 46
    assert {code.group for code in CODES} == set(GROUPS)
    assert {code.severity for code in CODES} <= set(SEVERITIES)
    types = [name for code in CODES for name in code.error_types]
    assert len(types) == len(set(types)) == len(BY_ERROR_TYPE)
    assert all(name == name.lower() for name in types)


def test_every_category_of_trail_and_mode_of_mast_has_a_code() -> None:
    assert set(TRAIL_CATEGORIES) == {
        "Language-only", "Tool-related", "Poor Information Retrieval", "Tool Output Misinterpretation",
        "Incorrect Problem Identification", "Tool Selection Errors", "Formatting Errors", "Instruction Non-compliance",
        "Context Handling Failures", "Resource Abuse", "Goal Deviation", "Task Orchestration", "Tool Definition Issues",
        "Environment Setup Errors", "Rate Limiting", "Authentication Errors", "Service Errors", "Resource Not Found",
        "Resource Exhaustion", "Timeout Issues",
    }  # fmt: skip
    modes = {code.mast.split()[0] for code in CODES if code.mast is not None}
    assert modes == {
        f"FM-{n}"
        for n in ["1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.1", "3.2", "3.3"]
    }


def test_the_docs_show_the_taxonomy_and_what_was_measured() -> None:
    page = (ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    assert table() in page


@pytest.mark.parametrize("wording", DRAFTED, ids=lambda each: f"{each.code}-{each.message[:20]}")
def test_errors_mean_what_they_say(wording) -> None:
    assert meaning(wording.message, wording.type).code == wording.code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Error: payment method not found", "not_found"),
        ("Error: payment method certificate_7504069 not found", "not_found"),
        ("Error: certificate cannot be used to update reservation", "step_failed"),
        ("Error: gift card balance is not enough", "step_failed"),
        ("MCP error -32601: Method not found", "unknown_tool"),
        ("certificate verify failed: self-signed certificate", "connection"),
    ],
)
def test_what_a_tool_refuses_by_its_own_rules_is_not_taken_for_a_fault_of_the_system(text: str, code: str) -> None:
    assert meaning(text, "tool_error").code == code


@pytest.mark.parametrize(
    ("text", "is_error"),
    [
        ("Error: no such order", True),
        ("ValueError: bad day", True),
        ("Traceback (most recent call last):\n  File", True),
        ('{"error": "no access"}', True),
        ('{"status": 503}', True),
        ('{"success": false, "message": "closed"}', True),
        ('[{"type": "text", "text": "Error: closed"}]', True),
        ('{"error": null, "errors": [], "status": 200}', False),
        ("A page on errors and timeouts.", False),
        ("429 lamps are in stock", False),
        ('{"rows": [{"level": "error"}]}', False),
        ("", False),
        ("[1, 2]", False),
        ('{"error"', False),
    ],
)
def test_a_result_is_an_error_by_its_form(text: str, is_error: bool) -> None:
    assert (error_in(text) is not None) is is_error


def test_an_error_is_found_where_it_began_and_not_where_it_passed_through() -> None:
    failed = {"status": "error", "status_message": "HTTP 429: slow down"}
    root = row(A, "agent", 1, **failed)
    assert found(root, row(B, "llm", 2, **failed), row(C, "tool", 3, tool_name="t")) == [("rate_limit", B)]


def test_a_failure_that_was_made_good_is_of_low_severity() -> None:
    tries = [row(B, "tool", 2, tool_name="t", status="error", status_message="timed out")]
    tries.append(row(C, "tool", 3, tool_name="t", tool_result='"fine"'))
    finding = detect(assemble([row(A, "agent", 1), *tries]))[0]
    assert (finding.code, finding.severity, finding.field, finding.quote) == ("timeout", "low", "error", "timed out")


def test_a_call_that_breaks_its_schema_or_was_not_offered_is_found() -> None:
    shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    model = row(B, "llm", 2, tool_definitions=json.dumps([{"name": "add", "parameters": shape}]), output="x")
    good = row(C, "tool", 3, tool_name="add", tool_arguments='{"n": 1}', tool_result="2")
    assert found(row(A, "agent", 1), model, good) == []
    assert found(row(A, "agent", 1), model, {**good, "tool_arguments": '{"n": "1"}'}) == [("tool_arguments", C)]
    assert found(row(A, "agent", 1), model, {**good, "tool_name": "sub"}) == [("unknown_tool", C)]


def test_an_id_that_nobody_said_is_ungrounded_and_one_written_otherwise_is_not() -> None:
    root = row(A, "agent", 1, input="Cancel order A-4711", output="x")

    def call(**arguments: object) -> dict[str, object]:
        return row(B, "tool", 2, tool_name="get", tool_arguments=json.dumps(arguments), tool_result="1")

    assert found(root, call(order="a4711")) == []
    assert found(root, call(order="A-4712")) == [("ungrounded_argument", B)]
    assert found(root, call(day="2026-03-04", code="x = 12345")) == []


def test_equal_calls_with_equal_results_are_a_loop_and_polling_is_not() -> None:
    def calls(*results: str) -> list[dict[str, object]]:
        return [
            row(f"{place:016x}", "tool", place, tool_name="t", tool_arguments="{}", tool_result=result)
            for place, result in enumerate(results, start=2)
        ]

    assert found(row(A, "agent", 1), *calls("1", "1", "1")) == [("repetition", f"{4:016x}")]
    assert found(row(A, "agent", 1), *calls("1", "2", "3")) == []


@pytest.mark.parametrize(
    ("answer", "tool", "claimed"),
    [
        ("I've sent the mail.", "get_order", True),
        ("I've sent the mail.", "send_mail", False),
        ("I've sent the mail.", "run_python", False),
        ("I have booked the table.", "get_order", True),
        ("The shop says that it has been sent.", "get_order", False),
        ("I can send it if you like.", "get_order", False),
        ("I have not sent it.", "get_order", False),
    ],
)
def test_an_act_that_is_claimed_needs_a_call_that_could_have_done_it(answer: str, tool: str, claimed: bool) -> None:
    rows = [row(A, "agent", 1, input="q", output=answer), row(B, "tool", 2, tool_name=tool, tool_result='"ok"')]
    rows.append(row(C, "llm", 3, output_messages=said(answer)))
    assert (("claimed_action", C) in found(*rows)) is claimed


def test_an_answer_that_passes_over_the_error_before_it_is_found_and_comes_of_it() -> None:
    tool = row(B, "tool", 2, tool_name="get", status="error", status_message="HTTP 500: internal error")
    model = row(C, "llm", 3, output_messages=said("All is well."))
    findings = detect(assemble([row(A, "agent", 1, input="q", output="All is well."), tool, model]))
    assert [(each.key, each.root_cause_of) for each in findings] == [
        (f"service_error@{B}", (f"ignored_tool_error@{C}",)),
        (f"ignored_tool_error@{C}", ()),
    ]
    assert root_cause(findings) == findings[0]
    honest = row(C, "llm", 3, output_messages=said("I could not look it up."))
    assert found(row(A, "agent", 1, input="q"), tool, honest) == [("service_error", B)]


def test_answers_that_are_empty_or_cut_off_are_found() -> None:
    assert found(row(A, "agent", 1, output=""), row(B, "llm", 2, output_messages=said(""))) == [("empty_answer", B)]
    cut = row(B, "llm", 2, output_messages=said("and th"), finish_reasons=["length"])
    assert found(row(A, "agent", 1, output="and th"), cut) == [("truncated_answer", B)]
    asks = said("", type="tool_call", id="1", name="t", arguments={})
    assert found(row(A, "agent", 1), row(B, "llm", 2, output_messages=asks)) == []


def test_of_a_trace_without_content_nothing_is_said() -> None:
    assert found(row(A, "agent", 1), row(B, "llm", 2), row(C, "tool", 3, tool_name="t")) == []


def test_quotes_that_do_not_stand_in_the_span_are_dropped_and_misplaced_ones_are_put_right() -> None:
    material = Material(assemble([row(A, "agent", 1, input="the question", output="the answer")]))
    given_ = [Finding("goal_deviation", A, quote) for quote in ("the question", "never said", "")]
    given_.append(Finding("empty_answer", A, "", "output"))
    assert [(each.quote, each.field, each.offset) for each in verified(given_, material)] == [
        ("the question", "input", 0)
    ]


def test_one_finding_is_left_of_several_for_one_code_and_span() -> None:
    first = Finding("timeout", A, "x", confidence=0.6)
    sure, model = replace(first, confidence=0.9), replace(first, confidence=1.0, found_by="model")
    assert merged([first, model, sure], {A: 0}) == [sure]


def test_causes_make_no_circle() -> None:
    material = Material(assemble([row(A, "agent", 1, output="x"), row(B, "tool", 2), row(C, "tool", 3)]))
    findings = [Finding(code, span, "x") for code in ("tool_arguments", "step_failed", "timeout") for span in (A, B, C)]
    for each in linked(findings, material):
        below, waiting = set(), list(each.root_cause_of)
        while waiting:
            key = waiting.pop()
            assert key != each.key
            assert key not in below
            below.add(key)
            waiting += next(one.root_cause_of for one in linked(findings, material) if one.key == key)


TEXTS = st.one_of(st.none(), st.text(max_size=40), st.sampled_from(['{"error": 1}', "[]", "Error: x", "I've sent it."]))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "step": st.sampled_from(["llm", "tool", "agent", "retriever", "span"]),
                "status": st.sampled_from(["ok", "error", "unset"]),
                "status_message": TEXTS, "input": TEXTS, "output": TEXTS, "tool_result": TEXTS,
                "tool_arguments": TEXTS, "output_messages": TEXTS, "documents": TEXTS,
                "tool_name": st.sampled_from([None, "t", "u"]),
                "tool_definitions": st.sampled_from([None, "[]", '[{"name": "t", "parameters": {"type": 3}}]', "[1]"]),
            }
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_whatever_a_trace_holds_every_quote_stands_in_its_span(columns) -> None:
    rows = [row(f"{n:016x}", str(each["step"]), n, **each) for n, each in enumerate(columns, start=1)]
    for each in rows:
        each["parent_span_id"] = None
    trace = assemble(rows)
    material = Material(trace)
    for each in detect(trace):
        text = material.texts(each.span_id)[each.field]
        assert text[each.offset : each.offset + len(each.quote)] == each.quote
        assert code_of(each.code).found_by == "code"
        assert 0 <= each.confidence <= 1


@pytest.mark.parametrize("hostile", ["\n" * 60_000, ". " * 40_000, "I have " * 20_000, "error" * 20_000, "(" * 50_000])
def test_hostile_texts_take_no_time(hostile: str) -> None:
    rows = [row(A, "agent", 1, input="q", output=hostile), row(C, "llm", 4, output_messages=said(hostile))]
    rows.append(row(B, "tool", 2, tool_name="t", tool_result=hostile))
    rows.append(row(D, "tool", 3, tool_name="t", status="error", status_message=hostile))
    trace = assemble(rows)
    began = time.process_time()
    detect(trace)
    assert time.process_time() - began < 2


def test_the_corpus_is_the_same_from_the_same_seed_and_plants_what_it_says() -> None:
    first, again, other = corpus(seed=3), corpus(seed=3), corpus(seed=4)
    assert first == again
    assert first != other
    assert len(first) == len({each.trace_id for each in first}) == 320
    assert len({code for each in first for code, _ in each.faults}) == 25
    assert sum(not each.faults for each in first) == 64
    assert {each.shape for each in first} == {"loop", "retrieval", "team", "bare"}
    for each in first:
        spans = {str(row_["span_id"]) for row_ in each.rows}
        assert len(spans) == len(each.rows)
        assert {span for _, span in each.faults} <= spans


def test_by_way_of_a_collector_as_much_is_found(tmp_path, capsys) -> None:
    """The corpus as OTLP, into a store, and through the command."""
    made = corpus(seed=5, traces=60)
    file = tmp_path / "corpus.jsonl"
    file.write_text("\n".join(json.dumps(otlp(each)) for each in made))
    assert main(["ingest", str(file), "--store", str(tmp_path / "S")]) == 0
    capsys.readouterr()
    assert main(["diagnose", "--where", "true", "--limit", "100", "--store", "S", "--format", "json"]) == 0
    said_: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(capsys.readouterr().out):
        said_.setdefault(each["trace_id"], []).append((each["code"], each["span_id"]))
    stored, direct = score({each.trace_id: each.faults for each in made}, said_), figures(made)
    assert stored.joint_recall >= direct.joint_recall - 0.05
    assert stored.joint_precision >= direct.joint_precision - 0.05


def test_the_command_wants_a_trace_or_a_condition(tmp_path, store) -> None:
    assert main(["diagnose", "--store", str(store.location)]) == 2
    assert main(["diagnose", "abcd", "--store", str(store.location)]) == 2


def test_wordings_of_real_libraries_are_none_of_ours() -> None:
    assert len(real()) >= 120
    assert not {each.message for each in real() if each.message} & {each.message for each in DRAFTED}
    assert all(each.source != "tracekit" for each in real())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_system_execution_faults_are_found_in_their_span_without_a_model(seed: int) -> None:
    """On wordings of real libraries, for which no rule was changed."""
    result = execution(corpus(seed=seed))
    assert result.joint_recall >= 0.8
    assert result.joint_precision >= 0.8


def test_all_planted_faults_are_found_for_the_most_part_and_clean_traces_left_alone() -> None:
    result = figures(corpus(seed=1))
    assert result.joint_recall >= 0.9
    assert result.joint_precision >= 0.9
    assert result.location_accuracy >= 0.95
    clean = [each for each in corpus(seed=1) if not each.faults]
    assert [each.note for each in clean if detect(each.trace())] == []


def test_what_was_measured_is_a_table() -> None:
    rows = measured(traces=80)
    assert tuple(rows[0]) == MEASURED
    assert rows[-1]["code"] == "all"
    assert rows[-1]["planted"] == sum(each["planted"] for each in rows[:-1])


def test_figures_are_those_of_trail() -> None:
    annotated = {"1": [("a", "x"), ("b", "y")], "2": [("a", "z")], "3": []}
    given_ = {"1": [("a", "x"), ("b", "q")], "2": [("b", "z")], "3": [("a", "x")]}
    result = score(annotated, given_)
    assert (result.location_accuracy, result.joint_accuracy) == (0.75, 0.25)
    assert (result.joint_recall, result.joint_precision) == (1 / 3, 1 / 4)
    assert result.category_f1 == pytest.approx((2 * (2 * 1 / 4) + 1 * (2 * 1 / 3)) / 3)
    assert score(annotated, annotated).category_f1 == 1.0
    assert score({"1": []}, {}).joint_recall is None


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))), min_size=1, max_size=8))
def test_category_f1_is_that_of_scikit_learn(traces) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    truth = [[int(code in codes) for code in "abc"] for codes, _ in traces]
    given_ = [[int(code in codes) for code in "abc"] for _, codes in traces]
    annotated = {str(n): [(code, "x") for code in codes] for n, (codes, _) in enumerate(traces)}
    said_ = {str(n): [(code, "y") for code in codes] for n, (_, codes) in enumerate(traces)}
    ours = score(annotated, said_).category_f1
    if any(map(any, truth)):
        assert ours == pytest.approx(metrics.f1_score(truth, given_, average="weighted", zero_division=0))
    else:
        assert ours is None


def test_findings_are_written_and_annotations_read_as_trail_does() -> None:
    written = as_trail([Finding("timeout", A, "timed out", severity="high"), Finding("secret_exposed", A, "sk")])
    assert written["errors"][0]["impact"] == "HIGH"
    assert trail_pairs(written) == [("Timeout Issues", A)]
    assert trail_pairs({"errors": [{"category": "x"}, 3]}) == trail_pairs({}) == []


def test_the_judge_says_how_many_which_and_from_what_cause(subject) -> None:
    judge = load_judge("diagnose")
    scores = judge.scores(judge(subject("done", tools=[("get", {}, "HTTP 404: the page does not exist")])))
    assert list(scores) == ["diagnose", "diagnose.root_cause"] + [f"diagnose.{group}" for group in GROUPS]
    first = scores["diagnose"]
    assert (first.value, first.passed, first.direction) == (2.0, False, "minimize")
    assert scores["diagnose.root_cause"].value == "not_found"
    assert scores["diagnose.execution"].value is True
    assert scores["diagnose.safety"].value is False
    assert first.metadata["findings"][1]["quote"] == "HTTP 404: the page does not exist"
    clean = judge.scores(judge(subject("done")))
    assert (clean["diagnose"].value, clean["diagnose"].passed) == (0.0, True)
    assert clean["diagnose.root_cause"].value == "none"


def test_findings_of_which_a_detector_is_not_sure_can_be_left_out(subject) -> None:
    traced = subject("done", tools=[("get", {}, "HTTP 404: the page does not exist")])
    judge = load_judge("diagnose?min_confidence=0.85")
    assert judge.scores(judge(traced))["diagnose"].value == 1.0
