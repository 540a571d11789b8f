"""How large, quick and quiet the report of a large run is: two runs of many cases, compared, in headless Chromium.

    python benchmarks/report.py [--cases 10000] [--rich] [--keep FILE]

Prints one JSON line a figure: bytes of the file, seconds to write it, milliseconds by the page's own clock until its
list of cases answers, and how many requests left the page. Beside it stands the same page without its data, since what
a browser takes for any page differs from machine to machine. Needs `chromium` on the PATH for all but the first two.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from tracekit_collector.catalog import RunRecord
from tracekit_collector.store import Store
from tracekit_evaluators.calibration import calibrate
from tracekit_evaluators.report import html_report

START = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None)  # the lake's times are naive UTC
TEXT = """
refund order ticket customer policy window days after plan search booking flight seat bag charge card total agent please
confirm change cancel date city return fare class note error retry found none user account email
"""
WORDS = tuple(TEXT.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument(
        "--rich", action="store_true", help="four scores, two tries a case, slices, three versions, a calibrated judge"
    )
    parser.add_argument("--keep", metavar="FILE", type=Path, help="keep the page here")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        target = arguments.keep or folder / "report.html"
        with Store.open(folder / "store") as store:
            if arguments.rich:
                before, after = _rich(store, arguments.cases, folder)
            else:
                before, after = (_run(store, side, arguments.cases) for side in (0, 1))
            began, busy = time.monotonic(), time.process_time()
            html = html_report(store, after, baseline=before)
            target.write_text(html, encoding="utf-8")
            _told("seconds to write", round(time.monotonic() - began, 2), cases=arguments.cases)
            _told("CPU seconds to write", round(time.process_time() - busy, 2))
            _told("peak megabytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        _told("bytes", target.stat().st_size, bar=5_000_000)
        empty = folder / "empty.html"
        with Store.open(folder / "few") as store:
            empty.write_text(html_report(store, _run(store, 1, 5)), encoding="utf-8")
        _browse(target, empty, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rich(store: Store, cases: int, folder: Path) -> tuple[RunRecord, RunRecord]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluators"))
    from _reports import rich_labels, rich_runs

    before, after = rich_runs(store, cases)
    calibrate(store, after.id, labels=str(rich_labels(before, after, folder, store)), score="correct")
    return before, after


def _run(store: Store, side: int, cases: int) -> RunRecord:
    source = random.Random(7)  # the same questions on either side
    chance = random.Random(side)
    run = store.catalog.runs.create(("before", "after")[side], kind="eval")
    spans: list[dict[str, object]] = []
    scores: list[dict[str, object]] = []
    for case in range(cases):
        asked = " ".join(source.choices(WORDS, k=14))
        answer = source.choices(WORDS, k=40)
        if chance.random() < 0.5:
            answer[chance.randrange(40)] = chance.choice(WORDS)
        trace = f"{side + 1:08x}{case:024x}"
        spans += _spans(trace, f"{side + 1:04x}{case:08x}", f"case-{case}", asked, " ".join(answer), chance)
        for name, rate in (("correct", 0.82), ("grounded", 0.9), ("polite", 0.97)):
            passed = chance.random() < rate - 0.04 * side
            why = f"The answer {'does' if passed else 'does not'} say {' '.join(chance.choices(WORDS, k=10))}."
            scores.append(_score(run.id, trace, f"case-{case}", name, float(passed), why))
    store.append("spans", spans)
    store.append("scores", scores)
    return store.catalog.runs.update(run.id, status="finished")


def _spans(
    trace: str, prefix: str, case: str, asked: str, answer: str, chance: random.Random
) -> list[dict[str, object]]:
    common = {"trace_id": trace, "kind": "internal", "status": "unset"}
    begin = START + int(chance.random() * 1e12)
    length = int(chance.lognormvariate(21, 0.5))
    rows: list[dict[str, object]] = [
        {"step": "agent", "name": "answer", "input": asked, "output": answer, "case_id": case, "duration_ns": length}
    ]
    for place in range(4):
        step = ("llm", "tool")[place % 2]
        given, said = (" ".join(chance.choices(WORDS, k=size)) for size in (20, 30))
        row: dict[str, object] = {"step": step, "name": f"{step} {place}", "input": given, "output": said}
        if step == "tool":
            row["tool_name"] = chance.choice(("search", "book", "refund"))
        rows.append({**row, "duration_ns": length // 5, "parent_span_id": f"{prefix}0000"})
    for place, row in enumerate(rows):
        row |= {**common, "span_id": f"{prefix}{place:04x}", "start_ns": begin + place * length // 5}
        row["start_time"] = MOMENT
    return rows


def _score(run: str, trace: str, case: str, name: str, value: float, why: str) -> dict[str, object]:
    return {
        "score_id": f"{run}-{trace}-{name}",
        "run_id": run,
        "target": "trace",
        "trace_id": trace,
        "case_id": case,
        "judge": name,
        "judge_version": "1",
        "source": "model",
        "name": name,
        "value_type": "bool",
        "value": value,
        "passed": bool(value),
        "direction": "maximize",
        "status": "scored",
        "explanation": why,
        "time": MOMENT,
    }


def _browse(page: Path, empty: Path, folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluators"))
    from _browser import CHROMIUM, Browser

    if CHROMIUM is None:
        _told("milliseconds to interactive", None, why="no Chromium on the PATH")
        return
    browser = Browser(folder / "chromium")
    try:
        ready = "document.documentElement.dataset.ready"
        for name, path in (("warming up", empty), ("of five cases", empty), ("of all cases", page)):
            browser.open(path)
            waited = (
                f"(async () => {{ while (!{ready}) await new Promise(requestAnimationFrame); return +{ready}; }})()"
            )
            found = browser.run(waited)
            if path is not empty or name != "warming up":
                _told(f"milliseconds to interactive, page {name}", found, load=round(os.getloadavg()[0], 1))
        _told("elements", browser.run("document.getElementsByTagName('*').length"), bar=1_500)
        jump = """(async () => {
            const box = document.querySelector(".rows"), times = [];
            for (let step = 1; step <= 40; step += 1) {
              const begin = performance.now();
              box.scrollTop = (box.scrollHeight * step) / 40;
              await new Promise(requestAnimationFrame);
              await new Promise(requestAnimationFrame);
              times.push(performance.now() - begin);
            }
            return times.sort((a, b) => a - b)[36];
        })()"""
        _told("milliseconds of a jump in the list, 90th percentile", round(browser.run(jump)))
        find = """(() => {
            const box = document.querySelector("#search"), begin = performance.now();
            box.value = "refund fl";
            box.dispatchEvent(new Event("input"));
            return performance.now() - begin;
        })()"""
        _told("milliseconds to search and sort", round(browser.run(find)))
        drawn = """(async () => {
            const begin = performance.now();
            while (!document.querySelector("#drawn svg")) await new Promise(requestAnimationFrame);
            return performance.now() - begin;
        })()"""
        _told("milliseconds to draw charts of what was found, first time", round(browser.run(drawn)))
        _told("elements with these charts", browser.run("document.getElementsByTagName('*').length"), bar=1_500)
        _told("requests", len([url for url in browser.requests() if not url.startswith(("data:", page.as_uri()))]))
        _told("complaints", len(browser.complaints()))
    finally:
        browser.close()


def _told(figure: str, value: object, **more: object) -> None:
    print(json.dumps({"figure": figure, "value": value, **more}), flush=True)


if __name__ == "__main__":
    main()
