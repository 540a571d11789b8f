"""What a report packs, how large it grows, what it finds to differ, and what it gives out as Markdown and SVG."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli import main
from tracekit_collector.store import Store
from tracekit_evaluators.report import build_report, differing, html_report
from tracekit_evaluators.report.packing import Packer, packed, unpacked

sys.path.insert(0, str(Path(__file__).parent))
from _reports import Page, hostile_run, kept, noise, score, span, two_runs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def test_cases_beyond_the_limit_bring_no_trace_and_the_header_says_so(store: Store) -> None:
    _, run = two_runs(store)
    page = Page(html_report(store, run, max_cases=2))
    assert page.listed["name"] == ["1", "3", "2", "4", "5"]
    assert [len(traces) for traces in page.shelf("traces")] == [1, 1]
    assert len(page.shelf("texts")) == 5
    assert "All 5 cases are listed. All have their texts (beyond the worst 2 cut at 1,500 characters)" in page.said
    assert "the worst 2 their traces. For more, raise --max-cases or --max-mb; tracekit trace ID" in page.said


def test_the_list_has_a_change_flags_and_a_cell_for_each_score_of_every_case(store: Store) -> None:
    baseline, run = two_runs(store)
    listed = Page(html_report(store, run, baseline=baseline)).listed
    assert listed["name"] == ["1", "3", "4", "5", "2"]
    assert listed["change"] == [1, 1, 0, 0, 2]
    assert listed["flags"] == [1, 1, 0, 0, 0]
    assert listed["ask"][0] == "What is 1?"
    column = listed["columns"][0]
    assert column["name"] == "correct"
    assert column["value"] == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert column["cells"][column["at"][0]] == [
        "✗",
        "bad",
        "correct: ✗, failed, −100.0 pt since the baseline",
        "▼",
        "bad",
    ]


def test_a_small_budget_keeps_the_whole_list_and_gives_room_to_the_worst_cases(store: Store) -> None:
    spans = [span(n, case_id=f"c{n}", input=noise(n, 900), output=noise(-n, 900)) for n in range(1, 401)]
    run = kept(store, "run", spans, [score(n, float(n > 40)) for n in range(1, 401)])
    whole = html_report(store, run, max_cases=50)
    html = html_report(store, run, max_cases=50, max_bytes=400_000)
    page = Page(html)
    assert len(whole) > 500_000
    assert len(html.encode()) <= 400_000
    assert len(page.listed["name"]) == 400
    assert 0 < len(page.shelf("texts")) < 400
    assert page.shelf("texts")[0]["input"] == noise(1, 900)
    assert f"The worst {len(page.shelf('texts'))} have their texts" in page.said


def test_a_packer_stops_before_the_chunk_that_does_not_fit_and_goes_on_when_there_is_room() -> None:
    packer = Packer("t-", iter([noise(n, 2_000) for n in range(250)]))
    few = packer.fill(350_000)
    assert [chunk.name for chunk in few.chunks] == ["t-0", "t-1"]
    assert few.starts == (0, 100)
    assert few.end == 200
    assert few.size <= 350_000
    every = packer.fill(1_000_000)
    assert every.starts == (0, 100, 200)
    assert every.end == 250
    assert unpacked(every.chunks[2].data) == [noise(n, 2_000) for n in range(200, 250)]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_what_is_packed_comes_back_and_holds_no_markup(value: object) -> None:
    assert unpacked(packed(value)) == value
    assert re.fullmatch("[A-Za-z0-9+/=]+", packed(value))


def test_what_differs_ranks_the_tool_that_only_failed_traces_call_first(store: Store) -> None:
    spans = []
    for n in range(1, 21):
        spans += [span(n, 1, case_id=str(n), input="same"), span(n, 2, parent=1, step="tool", tool_name="search")]
        if n <= 8:
            spans.append(span(n, 3, parent=1, step="tool", tool_name="refund"))
    run = kept(store, "run", spans, [score(n, float(n > 8)) for n in range(1, 21)])
    found = build_report(store, run).differing[0]
    assert (found.score, found.failed, found.passed) == ("correct", 8, 12)
    refund = next(each for each in found.differences if each.name == "calls the tool refund")
    assert (refund.failed, refund.passed, refund.effect, refund.clear) == ("100.0 %", "0.0 %", 1.0, True)
    assert {each.name for each in found.differences[:2]} == {"calls the tool refund", "tool calls"}
    assert "calls the tool search" not in [each.name for each in found.differences]  # all call it
    page = Page(html_report(store, run))
    assert "What differs between failed and passed" in page.said


def test_cliffs_delta_and_the_test_by_ranks_agree_with_scipy() -> None:
    import numpy as np
    from scipy import stats

    failed, passed = [3.0, 5.0, 5.0, 9.0, 12.0, 14.0], [1.0, 2.0, 3.0, 5.0, 6.0, 6.0, 8.0]
    u = stats.mannwhitneyu(failed, passed).statistic
    assert differing.cliffs_delta(failed, passed) == pytest.approx(2 * u / 42 - 1, abs=1e-12)
    y = np.array([1.0] * 6 + [0.0] * 7)
    ranks = stats.rankdata([*failed, *passed])
    import statsmodels.api as sm

    clusters = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6])
    model = sm.OLS(ranks, sm.add_constant(y)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert differing._clustered_p(ranks, y, clusters) == pytest.approx(model.pvalues[1], rel=1e-9)


def test_what_differs_cries_wolf_in_one_run_of_twenty_at_most() -> None:
    """A false alarm among many true nulls is what the correction is for; repeats share their case's habits."""
    import numpy as np

    from tracekit_evaluators.statistics import benjamini_hochberg

    source = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        clusters = np.repeat(np.arange(40), 4)
        y = (source.random(160) < np.repeat(source.beta(2, 2, 40), 4)).astype(float)
        columns = [np.repeat(source.normal(size=40), 4) + source.normal(size=160) for _ in range(10)]
        adjusted = benjamini_hochberg([differing._clustered_p(differing._ranks(x), y, clusters) for x in columns])
        alarms += any(p is not None and p < 0.05 for p in adjusted)
    assert alarms <= 10 + 2 * (200 * 0.05 * 0.95) ** 0.5


def test_versions_stand_side_by_side_the_newest_run_of_each(store: Store) -> None:
    agents, runs = store.catalog.agents, store.catalog.runs
    made = []
    for number, value in ((1, 0.5), (1, 0.6), (2, 0.8)):
        version = agents.see("bot", f"v{number}", seen_at=None)
        run = runs.create(f"run-{value}", kind="eval", agent_version=version)
        metric = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 10, "method": "Wilson", "kind": "bool"}
        made.append(runs.update(run.id, status="finished", metrics={"correct": metric}))
    table = build_report(store, made[2]).versions
    assert table is not None
    assert [(column.version, column.run, column.own) for column in table.columns] == [
        ("bot@1 v1", "run-0.6", False),
        ("bot@2 v2", "run-0.8", True),
    ]
    name, cells = table.rows[0]
    assert name == "correct"
    assert [cell.value for cell in cells if cell is not None] == ["60.0 %", "80.0 %"]


def test_markdown_says_the_verdict_and_leaves_hostile_names_as_text(store: Store, tmp_path: Path) -> None:
    baseline, run = two_runs(store)
    target = tmp_path / "x.md"
    words = ["report", run.id, "--baseline", baseline.id, "-o", str(target), "--svg", str(tmp_path / "charts")]
    assert main([*words, "--store", str(store.location)]) == 0
    said = target.read_text(encoding="utf-8")
    assert said.startswith("## after against before\n")
    assert "**≈ No clear difference.** No clear difference between after and before on correct" in said
    assert "| 1 | What is 1? | ✗ ▼ |" in said
    assert sorted(each.name for each in (tmp_path / "charts").iterdir()) == ["distribution-1.svg", "scores.svg"]
    hostile = hostile_run(store)
    assert main(["report", hostile.id, "-o", str(target), "--store", str(store.location)]) == 0
    said = target.read_text(encoding="utf-8")
    assert "<script" not in said
    assert "<img" not in said
    assert "\x1b" not in said


def test_exported_drawings_are_xml_with_text_alone(store: Store) -> None:
    from xml.etree import ElementTree

    from tracekit_evaluators.report import drawings

    for name, drawing in drawings(build_report(store, hostile_run(store))).items():
        root = ElementTree.fromstring(drawing)
        assert name in {"scores.svg", "distribution-1.svg", "distribution-2.svg"}
        assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {
            "svg",
            "title",
            "style",
            "rect",
            "text",
            "g",
            "line",
            "circle",
        }
        assert "window.hack" in "".join(root.itertext())


def test_compare_writes_the_same_report_as_html(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline, run = two_runs(store)
    target = tmp_path / "compared.html"
    words = ["--html", str(target), "--store", str(store.location)]
    assert main(["compare", baseline.id, run.id, *words]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert target.read_text(encoding="utf-8") == html_report(store, run, baseline=baseline)
    assert main(["compare", baseline.id, run.id, run.id, *words]) == 2
    assert "give A and B alone" in capsys.readouterr().err
