"""The report: what it says, in which order, and that nothing in a trace can be more than text."""

from __future__ import annotations

import base64
import doctest
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit_collector.store import Store
from tracekit_evaluators.report import differing, folding, html_report, library, packing, scatters, text, waterfall
from tracekit_evaluators.report.packing import unpacked

sys.path.insert(0, str(Path(__file__).parent))
from _reports import Page, hostile_run, kept, score, span, two_runs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize("module", [text, waterfall, packing, differing, folding, scatters])
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_run_alone_is_told_with_intervals_and_its_worst_cases_first(store: Store) -> None:
    _, run = two_runs(store)
    page = Page(html_report(store, run))
    assert "after: correct 60.0 % over 5 cases (95 % interval 23.1 to 88.2 %)" in page.said
    assert page.cases == ["1", "3", "2", "4", "5"]
    assert "because 101" in page.said
    assert "What is 1?" in page.said
    assert "tracekit report " + run.id in page.said


def test_against_a_baseline_the_worst_regression_is_first_and_both_outputs_stand_side_by_side(store: Store) -> None:
    baseline, run = two_runs(store)
    html = html_report(store, run, baseline=baseline)
    page = Page(html)
    assert page.cases == ["1", "3", "4", "5", "2"]
    assert page.attributes("data-change") == ["regressed", "regressed", "", "", "improved"]
    assert "No clear difference between after and before on correct (−20.0 pt" in page.said
    assert "5 of 5 cases are in both, paired by case id." in page.said
    assert "side 1" in page.said
    assert "side 0" in page.said
    assert "because 1" in page.said


def test_the_same_store_and_arguments_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    baseline, run = two_runs(store)
    first = html_report(store, run, baseline=baseline)
    with Store.open(store.location) as again:
        found = again.catalog.runs.find(run.id), again.catalog.runs.find(baseline.id)
        assert html_report(again, found[0], baseline=found[1]) == first


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(store: Store) -> None:
    thirty = [span(n, case_id=str(n)) for n in range(1, 31)]
    page = Page(html_report(store, kept(store, "run", thirty, [score(n, 1.0) for n in range(1, 31)])))
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert {kind for tag, given in page.tags if tag == "script" and (kind := given.get("type"))} == {"text/plain"}
    assert all(re.fullmatch("[A-Za-z0-9+/=]+", data) for data in page.data.values())
    vendored = [str(unpacked(page.data[f"library-{place}"])) for place in (0, 1)]
    for kind, more in (("style", [library.STYLE]), ("script", vendored)):
        texts = [page.inline[kind], *more]
        digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in texts]
        assert rules[f"{kind}-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
        assert page.inline[kind].count("</") == 0 or kind == "script"
        assert f"</{kind}" not in page.inline[kind]
    assert page.attributes("style") == []
    assert page.attributes("src") == []
    assert page.attributes("href") == ["data:,"]
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]


def test_hostile_content_is_only_text(store: Store) -> None:
    calm = Page(html_report(store, two_runs(store)[1]))
    html = html_report(store, hostile_run(store))
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in calm.tags} | {"blockquote", "b", "code", "tr", "td"}
    assert len([tag for tag, given in page.tags if tag == "script" and given.get("type") != "text/plain"]) == 1
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert page.attributes("src") == []
    assert "window.hacked = 1" in page.said
    assert "{{ 7 * 7 }}" in page.said
    for character in "\x00\x1b\x85\u202e\u202c\u2028\ufeff":
        assert character not in html
        assert character not in page.packs
    assert "⟨U+202E⟩" in html
    assert "␛[31m" in html


def test_a_megabyte_in_one_line_is_cut_with_a_mark_that_says_how_much(store: Store) -> None:
    page = Page(html_report(store, hostile_run(store)))
    assert "998,800 more characters are left out here" in page.said
    told = next(body for body in page.shelf("texts") if body["attempts"][0]["trace_id"].endswith("2"))
    assert told["input"] == {"t": "x" * 20_000, "x": 980_000}
    assert told["attempts"][0]["verdicts"][0]["explanation"] == {"t": "y" * 3_000, "x": 997_000}


def test_an_error_is_marked_by_a_glyph_and_named(store: Store) -> None:
    spans = [
        span(1, 1, case_id="a", status="error", status_message="no money left", error_type="PaymentError"),
        span(1, 2, parent=1, step="tool", tool_name="pay", status="error", error_type="PaymentError"),
    ]
    page = Page(html_report(store, kept(store, "run", spans, [score(1, 0.0)])))
    assert page.attributes("data-error") == [""]
    assert page.shelf("traces")[0][0]["error"] == "PaymentError"
    assert page.shelf("traces")[0][0]["failed"] is True


def test_what_was_not_scored_is_told_and_bounded(store: Store) -> None:
    spans = [span(n, case_id=str(n)) for n in range(1, 5)]
    run = kept(store, "run", spans, [score(1, 1.0), score(2, 0.0), score(3, 1.0), score(4, None)])
    page = Page(html_report(store, run))
    assert "correct: not scored: 1 judge error; whatever these are, the share is 50.0 to 75.0 %." in page.said
    assert "1 score is missing." in page.said


def test_repeats_show_how_often_a_case_passed_and_pass_hat_k(store: Store) -> None:
    spans = [span(n, case_id=str(n // 10), repeat=n % 10) for n in (10, 11, 20, 21, 30, 31)]
    run = kept(store, "run", spans, [score(n, float(n in (10, 20, 21))) for n in (10, 11, 20, 21, 30, 31)])
    page = Page(html_report(store, run))
    assert page.cases == ["3", "1", "2"]
    assert "pass^k of correct" in page.said
    assert "1/2" in page.said
    assert "repeat 1" in page.said
    assert [attempt["label"] for attempt in page.shelf("texts")[1]["attempts"]] == ["repeat 1", "repeat 0"]


def test_scores_without_traces_still_make_a_report(store: Store) -> None:
    rows = [score(n, float(n % 2), case_id=str(n), trace_id=None if n < 3 else f"{n:032x}") for n in range(1, 6)]
    page = Page(html_report(store, kept(store, "run", [], rows)))
    assert sorted(page.cases) == ["1", "2", "3", "4", "5"]
    assert "is not in the store" in page.said


def test_a_run_without_scores_makes_a_report_that_says_so(store: Store) -> None:
    page = Page(html_report(store, kept(store, "run", [], [])))
    assert "run has no score with a value yet." in page.said


def test_runs_that_share_nothing_are_reported_as_two_samples(store: Store) -> None:
    before = kept(store, "a", [span(1, case_id="x", input="1")], [score(1, 1.0)])
    after = kept(store, "b", [span(2, case_id="y", input="2")], [score(2, 0.0)])
    page = Page(html_report(store, after, baseline=before))
    assert "compared as two independent samples" in page.said
    assert page.attributes("data-change") == [""]


def test_numbers_and_labels_have_charts(store: Store) -> None:
    spans = [span(n, case_id=str(n)) for n in range(1, 9)]
    graded = [score(n, n / 8, name="grade", value_type="number", passed=None) for n in range(1, 9)]
    labelled = [
        score(n, None, name="tone", value_type="label", label="warm" if n % 2 else "cold", status="scored", passed=None)
        for n in range(1, 9)
    ]
    page = Page(html_report(store, kept(store, "run", spans, [*graded, *labelled])))
    assert [given["aria-label"] for tag, given in page.tags if given.get("class") == "histogram"] == [
        "Histogram of grade"
    ]
    assert "warm 4" in page.said.replace("warm", "warm ").replace("  ", " ")
    assert page.cases[0] == "1"


def test_the_command_writes_the_file_whole_and_prints_where(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_runs(store)
    target = tmp_path / "out put.html"
    words = ["report", "after", "--baseline", "before", "-o", str(target), "--store", str(store.location)]
    assert main(words) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "none", "-o", "x.html"], "there is no run 'none'"),
        (["report", "after", "-o", "no/where/x.html"], "there is no folder no/where"),
        (["report", "after", "-o", "x.html", "--max-cases", "-1"], "--max-cases counts cases"),
        (["report", "after", "-o", "x.html", "--max-mb", "0"], "--max-mb is a size in megabytes"),
        (["report", "after"], "say where to: -o FILE"),
    ],
)
def test_the_command_names_what_to_mend(
    store: Store, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    two_runs(store)
    assert main([*words, "--store", str(store.location)]) == 2
    assert message in capsys.readouterr().err


def test_compare_prints_the_sentence_the_table_and_the_worst_regressions(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    two_runs(store)
    assert main(["compare", "before", "after", "--store", str(store.location)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("No clear difference between after and before on correct (−20.0 pt")
    assert re.search(r"correct +80.0 % +60.0 % +−20.0 pt", told)
    assert re.search(r"1 +correct +1.000 → 0 +What is 1\? +because 101", told)
    assert main(["compare", "before", "after", "--store", str(store.location), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [change["case"] for change in found["scores"][0]["regressed"]] == ["1", "3"]
    assert main(["compare", "before", "after", "--store", str(store.location), "--format", "markdown"]) == 0
    assert "| correct | 80.0 % | 60.0 % |" in capsys.readouterr().out


@given(st.text())
def test_shown_text_has_no_character_that_a_reader_cannot_see(words: str) -> None:
    shown = text.shown(words)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert text.shown(shown) == shown
    shown.encode()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists), st.integers(1, 50))
def test_any_value_becomes_a_text_and_a_line_of_at_most_the_asked_length(value: object, longest: int) -> None:
    found = text.text(value, longest=longest)
    assert (found is None) is (value is None)
    assert "\n" not in text.line(value, longest=longest)
