"""The report on judges, slices, versions and unsettled differences, and the library that it carries."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit_collector.store import Store
from tracekit_evaluators import Run
from tracekit_evaluators.calibration import calibrate
from tracekit_evaluators.report import build_report, html_report, library, markdown, raster, scatters

sys.path.insert(0, str(Path(__file__).parent))
from _reports import Page, kept, noise, score, span, two_runs

DIGEST = "d" * 64  # of the judge `correct` in _reports


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def labelled(folder: Path, agreeing: int) -> str:
    """Labels of forty traces, of which people agree with the judge on so many."""
    path = folder / "labels.jsonl"
    rows = [
        {"trace_id": f"{n:032x}", "name": "correct", "value": (n % 2 == 0) == (n <= agreeing), "annotator": "ann"}
        for n in range(1, 41)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def forty(store: Store, name: str = "run", digest: str = DIGEST) -> object:
    scores = [score(n, float(n % 2 == 0), judge_digest=digest, source="llm", case_id=str(n)) for n in range(1, 41)]
    return kept(store, name, [span(n, case_id=str(n)) for n in range(1, 41)], scores)


def test_a_judge_that_nobody_compared_with_people_is_said_to_be_not_calibrated(store: Store) -> None:
    run = forty(store)
    [card] = build_report(store, run).judges
    assert (card.name, card.state, card.tone) == ("correct 1", "not calibrated", "")
    assert card.told.startswith("Not calibrated: nobody has compared it with people")
    assert dict(card.facts)["digest"] == "d" * 12
    assert dict(card.facts)["kind"] == "model"
    assert dict(card.facts)["verdicts"] == "40"
    assert "Not calibrated: nobody has compared it with people" in Page(html_report(store, run)).said


def test_a_calibrated_judge_shows_its_agreement_with_intervals_and_until_when_it_counts(
    store: Store, tmp_path: Path
) -> None:
    run = forty(store)
    found = calibrate(store, "run", labels=labelled(tmp_path, 38), random=True)
    [card] = build_report(store, run).judges
    assert (card.state, card.tone, card.glyph) == ("good", "good", "✓")
    assert card.expires == f"{found.expires_at:%Y-%m-%d}"
    told = {each.name: (each.value, each.interval, each.n) for each in card.agreement}
    assert told["agreement"] == ("95.0 %", "83.5 to 98.6 %", "40")
    assert told["Cohen’s kappa"][0] == "0.900"
    assert "says no where people do (TNR)" in told


def test_a_weak_judge_is_flagged_on_its_card_and_before_the_numbers(store: Store, tmp_path: Path) -> None:
    run = forty(store)
    calibrate(store, "run", labels=labelled(tmp_path, 21))
    report = build_report(store, run)
    assert report.judges[0].state == "unusable"
    assert report.judges[0].reasons[0] == "kappa is 0.05, and chance alone cannot be ruled out"
    assert "People’s labels speak against correct 1: see the judges before trusting the scores." in report.notes


def test_a_calibration_of_another_digest_does_not_count(store: Store, tmp_path: Path) -> None:
    forty(store)
    calibrate(store, "run", labels=labelled(tmp_path, 38))
    [card] = build_report(store, forty(store, "later", "e" * 64)).judges
    assert (card.state, card.agreement) == ("changed", ())
    assert card.told.startswith("Not calibrated: it has changed since it was measured on ")
    assert card.told.endswith("(digest dddddddddddd).")


def test_a_calibration_that_ended_before_the_run_has_expired(store: Store, tmp_path: Path) -> None:
    run = forty(store)
    calibrate(store, "run", labels=labelled(tmp_path, 38), expires="0h")
    late = forty(store, "late")
    assert late.finished_at > run.finished_at
    [card] = build_report(store, late).judges
    assert (card.state, card.tone, card.expires) == ("expired", "", "")
    assert "before this run ended: measure it again." in card.told


def test_what_people_would_say_stands_beside_the_judges_numbers_until_the_judge_changes(
    store: Store, tmp_path: Path
) -> None:
    run = forty(store)
    calibrate(store, "run", labels=labelled(tmp_path, 38), random=True)
    report = build_report(store, run)
    people = report.scores[0].people
    assert people is not None
    assert (report.scores[0].value, people.value) == ("50.0 %", "50.0 %")
    assert people.method == "Student t, all items are labelled"
    assert people.expires == report.judges[0].expires
    assert "as people would say" in Page(html_report(store, run)).said
    told = markdown(report)
    assert "| correct, as people would say | 50.0 % |" in told
    assert "correct, as people would say" in Run.find(store, "run")._repr_html_()
    changed = build_report(store, forty(store, "later", "e" * 64))
    assert changed.scores[0].people is None
    assert any("its judge has changed since it was calibrated" in note for note in changed.notes)


def test_the_difference_that_people_would_see_stands_below_the_judges(store: Store, tmp_path: Path) -> None:
    baseline, run = forty(store, "before"), forty(store, "after")
    calibrate(store, "after", labels=labelled(tmp_path, 38), random=True)
    people = build_report(store, run, baseline=baseline).scores[0].people
    assert people is not None
    assert (people.baseline, people.difference) == (people.value, "0.0 pt")
    assert "correct, as people would say" in Run.find(store, "after").against("before")._repr_html_()


def tooled(store: Store, name: str, refunds: float, searches: float, *, mix: int) -> object:
    """Forty cases, the first `mix` of which refund; so many of either kind pass."""
    spans, scores = [], []
    for n in range(1, 41):
        number = n + (100 if name == "after" else 0)
        tool = "refund" if n <= mix else "search"
        spans += [span(number, 1, case_id=str(n)), span(number, 2, parent=1, step="tool", tool_name=tool)]
        share = refunds if tool == "refund" else searches
        place = n if n <= mix else n - mix
        count = mix if n <= mix else 40 - mix
        scores.append(score(number, float(place <= round(share * count))))
    return kept(store, name, spans, scores)


def test_slices_stand_in_a_table_with_corrected_p_values(store: Store) -> None:
    before = tooled(store, "before", 1.0, 0.8, mix=20)
    after = tooled(store, "after", 0.3, 0.8, mix=20)
    table = build_report(store, after, baseline=before).slices
    assert table is not None
    first = table.lines[0]
    assert (first.of, first.score, first.baseline, first.value) == ("tool: refund", "correct", "100.0 %", "30.0 %")
    assert (first.difference, first.verdict, first.q) == ("−70.0 pt", "worse", "< 0.001")
    assert table.simpson.startswith("Simpson check: no score moves one way overall")
    assert "Slices: 2 in all" in Page(html_report(store, after, baseline=before)).said


def test_a_changed_mix_that_makes_the_difference_is_flagged_as_simpsons_paradox(store: Store) -> None:
    before = tooled(store, "before", 0.2, 0.8, mix=10)
    after = tooled(store, "after", 0.3, 0.9, mix=30)
    table = build_report(store, after, baseline=before).slices
    assert table is not None
    assert table.reversed
    assert "the mix has changed, not the quality (Simpson's paradox)" in table.simpson


def test_beside_what_is_not_clear_stands_what_could_be_seen_and_how_many_cases_would_settle_it(store: Store) -> None:
    baseline = tooled(store, "before", 0.8, 0.8, mix=20)
    run = tooled(store, "after", 0.7, 0.75, mix=20)
    [line] = build_report(store, run, baseline=baseline).scores
    assert line.verdict == "no clear difference"
    assert line.unsettled.startswith("shows from ")
    assert line.unsettled.endswith(" pt on")
    assert line.settles.startswith("about ")
    assert line.settles.endswith(" more cases would settle it")
    said = Page(html_report(store, run, baseline=baseline)).said
    assert f"{line.unsettled}; {line.settles}" in said


def test_the_frontier_marks_versions_that_no_other_is_as_good_and_cheaper_than(store: Store) -> None:
    made = []
    for number, (value, cost) in enumerate([(0.5, 1.0), (0.9, 2.0), (0.8, 3.0)], 1):
        version = store.catalog.agents.see("bot", f"v{number}", seen_at=None)
        run = store.catalog.runs.create(f"run-{number}", kind="eval", agent_version=version)
        store.append("spans", [span(number, case_id="1", cost_usd=cost, step="llm", start_time=datetime(2026, 1, 1))])
        store.append(
            "scores",
            [score(number, value, value_type="number", passed=None) | {"run_id": run.id, "time": datetime(2026, 1, 1)}],
        )
        metric = {"value": value, "low": None, "high": None, "n": 1, "method": "mean", "kind": "bool"}
        metrics = {"correct": {**metric, "direction": "maximize"}}
        made.append(store.catalog.runs.update(run.id, status="finished", metrics=metrics))
    chart = build_report(store, made[2]).frontier
    assert chart is not None
    assert [(spot.label, spot.on_frontier, spot.own) for spot in chart.spots] == [
        ("bot@1", True, False),
        ("bot@2", True, False),
        ("bot@3", False, True),
    ]
    assert chart.spots[2].said == "bot@3: 80.0 % at $3.000 a trace"
    assert scatters.undominated([(1.0, 0.5), (1.0, 0.5)]) == [True, True]


def test_the_trace_of_the_baseline_is_packed_beside_the_runs(store: Store) -> None:
    baseline, run = two_runs(store)
    packed = Page(html_report(store, run, baseline=baseline)).shelf("traces")
    assert [[trace["trace_id"][-3:] for trace in traces] for traces in packed][:2] == [["065", "001"], ["067", "003"]]


def test_the_vendored_library_is_what_was_published() -> None:
    sums = (library.FOLDER / "SHA256SUMS").read_text().split()
    told = dict(zip(sums[1::2], sums[::2], strict=True))
    there = {each.name for each in library.FOLDER.iterdir()} - {"SHA256SUMS", "VENDOR.md"}
    assert set(told) == there == {*library.FILES, "LICENSE-d3", "LICENSE-observablehq-plot"}
    for name, digest in told.items():
        assert hashlib.sha256((library.FOLDER / name).read_bytes()).hexdigest() == digest
    assert "0.6.17" in (library.FOLDER / "plot.umd.min.js").read_text(encoding="utf-8")[:80]
    for version in ("0.6.17", "7.9.2"):
        assert version in (library.FOLDER / "VENDOR.md").read_text()


def test_a_small_page_and_one_of_few_cases_leave_the_library_out(store: Store) -> None:
    spans = [span(n, case_id=str(n), input=noise(n, 200)) for n in range(1, 31)]
    run = kept(store, "run", spans, [score(n, 1.0) for n in range(1, 31)])
    few = Page(html_report(store, kept(store, "few", spans[:29], [score(n, 1.0) for n in range(1, 30)])))
    assert [name for name in few.data if name.startswith("library")] == []
    small, whole = (Page(html_report(store, run, max_bytes=size)) for size in (999_999, 5_000_000))
    assert [name for name in small.data if name.startswith("library")] == []
    assert [name for name in whole.data if name.startswith("library")] == ["library-0", "library-1"]


def test_charts_are_written_as_png_pictures_too(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    two_runs(store)
    words = ["report", "after", "--png", str(tmp_path / "charts"), "--svg", str(tmp_path / "charts")]
    assert main([*words, "--store", str(store.location)]) == 0
    names = ["distribution-1.png", "distribution-1.svg", "scores.png", "scores.svg"]
    assert sorted(each.name for each in (tmp_path / "charts").iterdir()) == names
    picture = (tmp_path / "charts" / "scores.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (1840, 168)


def test_png_without_its_extra_names_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two_runs(store)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert main(["report", "after", "--png", str(tmp_path / "x"), "--store", str(store.location)]) == 2
    assert "pip install 'tracekit[png]'" in capsys.readouterr().err
    assert raster.png.__doc__
