"""The report in a real browser: no request, no complaint, keys and filters work, and it reads without JavaScript."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit_collector.store import Store
from tracekit_evaluators.calibration import calibrate
from tracekit_evaluators.report import html_report
from tracekit_evaluators.report.folding import elements

sys.path.insert(0, str(Path(__file__).parent))
from _browser import CHROMIUM, Browser
from _reports import rich_labels, rich_runs

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on PATH (Debian: chromium)"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


def many_cases(store: Store) -> str:
    """A report of thirty cases against a baseline, in which case 7 regressed and case 8 improved."""
    runs = []
    for side, failing in enumerate(({8}, {7})):
        spans, scores = [], []
        for case in range(1, 31):
            trace, agent = f"{side * 100 + case:032x}", f"{side:08x}{case:08x}"
            common = {"trace_id": trace, "kind": "internal", "status": "unset", "start_ns": 10**18, "step": "agent"}
            spans.append({**common, "span_id": agent, "name": "agent", "duration_ns": 10**9, "case_id": f"c{case}"})
            spans[-1]["input"], spans[-1]["output"] = f"question {case}", f"answer {case} of side {side}"
            child = {"span_id": f"{side:08x}f{case:07x}", "parent_span_id": agent, "name": "look up", "step": "tool"}
            spans.append({**common, **child, "start_ns": 10**18 + 10**8, "duration_ns": 5 * 10**8})
            scores.append(
                {"trace_id": trace, "name": "right", "value_type": "bool", "value": float(case not in failing)}
            )
            scores[-1] |= {"status": "scored", "direction": "maximize", "score_id": f"{side}-{case}", "judge": "right"}
        run = store.catalog.runs.create(("old", "new")[side], kind="eval")
        store.append("spans", spans)
        store.append("scores", [{**row, "run_id": run.id} for row in scores])
        runs.append(store.catalog.runs.update(run.id, status="finished"))
    return html_report(store, runs[1], baseline=runs[0])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report of new.html"
    with Store.open(folder / "store") as store:
        path.write_text(many_cases(store), encoding="utf-8")
    return path


AXE = "4.14.1"
AXE_DIGEST = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker axe-core, fetched once and kept."""
    kept = CACHE / f"axe-{AXE}.min.js"
    if not kept.exists():
        npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
        if npm is None:
            pytest.skip("needs npm to fetch axe-core")
        words = [npm, "pack", "--silent", f"axe-core@{AXE}"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"axe-core cannot be fetched here: {done.stderr[-200:]}")
        with tarfile.open(folder / f"axe-core-{AXE}.tgz") as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            CACHE.mkdir(parents=True, exist_ok=True)
            (folder / "axe.js").write_bytes(member.read())
        shutil.move(folder / "axe.js", kept)
    code = kept.read_bytes()
    assert hashlib.sha256(code).hexdigest() == AXE_DIGEST
    return code.decode()


def listed(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('.room .row')].map((row) => row.dataset.case)")


READY = "(async () => { while (!document.documentElement.dataset.ready) await new Promise(requestAnimationFrame); })()"
OPENED = "(async () => { while (document.querySelector('#pane').hidden) await new Promise(requestAnimationFrame); })()"
TITLE = "document.querySelector('#pane h2').textContent"


def test_it_opens_without_a_request_or_a_complaint(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(READY)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title") == "new against old · tracekit"
    assert browser.run("getComputedStyle(document.querySelector('.tile')).borderTopWidth") == "1px"
    assert listed(browser)[0] == "c7"
    assert browser.run("document.getElementsByTagName('*').length") < 1500


def test_filters_sorting_search_and_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(READY)
    browser.run("document.querySelector('[data-show=regressed]').click()")
    assert listed(browser) == ["c7"]
    assert browser.run("location.hash") == "#show=regressed"
    browser.run("document.querySelector('[data-show=improved]').click()")
    assert listed(browser) == ["c8"]
    browser.run("document.querySelector('[data-show=all]').click()")
    browser.run("document.querySelector('[data-sort=case]').click()")
    assert listed(browser)[:3] == ["c1", "c2", "c3"]
    browser.run("document.querySelector('[data-sort=case]').click()")
    assert listed(browser)[:3] == ["c30", "c29", "c28"]
    browser.press("/")
    assert browser.run("document.activeElement.id") == "search"
    browser.call("Input.insertText", text="question 29")
    assert listed(browser) == ["c29"]
    browser.run("document.activeElement.blur()")
    browser.press("j")
    assert browser.run("document.querySelector('.row.at').dataset.case") == "c29"
    browser.press("Enter")
    browser.run(OPENED)
    assert browser.run(TITLE) == "c29"
    browser.press("Escape")
    assert browser.run("document.querySelector('#pane').hidden") is True
    browser.press("?")
    assert browser.run("document.querySelector('#help').open") is True
    assert browser.complaints() == []


def test_enter_searches_in_the_texts_too(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(READY)
    browser.press("/")
    browser.call("Input.insertText", text="answer 26")
    assert listed(browser) == []
    browser.press("Enter")
    browser.run(
        "(async () => { while (!document.querySelector('.room .row')) await new Promise(requestAnimationFrame); })()"
    )
    assert listed(browser) == ["c26"]


def test_a_link_opens_a_case_on_its_tab_and_the_address_follows(browser: Browser, page: Path) -> None:
    browser.open(page, fragment="#case=c12&tab=tree")
    browser.run(OPENED)
    assert browser.run(TITLE) == "c12"
    assert browser.run("document.querySelector('[role=tab][aria-selected=true]').dataset.tab") == "tree"
    browser.press("1")
    assert browser.run("location.hash") == "#case=c12&tab=waterfall"
    browser.press("r")  # the next regression from here; the only one is before it
    assert browser.run(TITLE) == "c12"
    browser.press("p")
    browser.run("(async () => { while (" + TITLE + " === 'c12') await new Promise(requestAnimationFrame); })()")
    assert browser.run(TITLE) == "c11"


def test_a_case_compares_the_words_of_both_outputs_and_folds_its_tree_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page, fragment="#case=c7&tab=tree")
    browser.run(OPENED)
    words = "[...document.querySelectorAll('#pane del, #pane ins')].map((each) => each.tagName + each.textContent)"
    assert browser.run(words) == ["DEL0", "INS1"]
    steps = (
        "[...document.querySelector('.tab > :last-child [role=tree]').querySelectorAll('[role=treeitem] .sname')]"
        ".map((each) => each.lastChild.textContent)"
    )
    assert browser.run(steps) == ["agent", "look up"]
    browser.run("document.querySelector('.tab > :last-child [role=tree]').focus()")
    for key in ("ArrowDown", "ArrowLeft"):
        browser.press(key)
    assert browser.run(steps) == ["agent"]
    expanded = "document.querySelector('.tab > :last-child [role=treeitem]').getAttribute('aria-expanded')"
    assert browser.run(expanded) == "false"
    browser.press("ArrowRight")
    assert len(browser.run(steps)) == 2
    assert browser.complaints() == []


def test_the_worst_cases_read_without_javascript_and_come_back_on_paper(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.load(page.as_uri())
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        for selector, count in ((".worst .case", 20), (".scores .whisker .point", 1), ("#app[hidden]", 1)):
            found = browser.call("DOM.querySelectorAll", nodeId=root, selector=selector)
            assert len(found["nodeIds"]) == count
        every = browser.call("DOM.querySelectorAll", nodeId=root, selector="*")
        assert len(every["nodeIds"]) < 1500
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.open(page)
    browser.run(READY)
    assert browser.run("document.querySelectorAll('.worst .case').length") == 0
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('.worst .case').length") == 20
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert len(browser.call("Page.printToPDF")["data"]) > 10_000


def test_text_has_a_contrast_of_4_5_on_every_ground_in_both_themes(browser: Browser, page: Path) -> None:
    measured = """(() => {
        const probe = document.body.appendChild(document.createElement("i"));
        const light = (name) => {
          probe.style.color = `var(--${name})`;
          const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
          });
          return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
        };
        const pairs = [["good", "good-soft"], ["bad", "bad-soft"], ["accent", "accent-soft"], ["ink", "accent-soft"]];
        for (const ink of ["ink", "muted", "good", "bad", "warn", "accent"])
          for (const ground of ["ground", "paper", "sunken"]) pairs.push([ink, ground]);
        return pairs.map(([ink, ground]) => {
          const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
          return [`${ink} on ${ground}`, (high + 0.05) / (low + 0.05)];
        });
    })()"""
    for theme in ("light", "dark"):
        browser.open(page)
        browser.run(f"document.documentElement.dataset.theme = '{theme}'")
        assert [(theme, pair, ratio) for pair, ratio in browser.run(measured) if ratio < 4.5] == []


def test_a_list_of_ten_thousand_cases_holds_only_the_rows_in_view(browser: Browser, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        run = store.catalog.runs.create("large", kind="eval")
        common = {"run_id": run.id, "name": "right", "value_type": "bool", "status": "scored", "direction": "maximize"}
        rows = [{**common, "score_id": str(n), "case_id": f"c{n}", "value": float(n % 7 > 0)} for n in range(10_000)]
        store.append("scores", rows)
        target = tmp_path / "large.html"
        target.write_text(html_report(store, store.catalog.runs.update(run.id, status="finished")), encoding="utf-8")
    assert target.stat().st_size < 1_000_000
    browser.open(target)
    browser.run(READY)
    assert browser.run("document.querySelector('[role=grid]').getAttribute('aria-rowcount')") == "10001"
    assert browser.run("document.getElementsByTagName('*').length") < 1500
    browser.run("document.querySelector('.rows').focus()")
    browser.press("End")
    assert browser.run("document.querySelector('.row.at').dataset.case") == "c9999"
    assert browser.run("document.querySelectorAll('.room .row').length") < 60


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scores, two tries a case, slices, three versions, a calibrated judge."""
    folder = tmp_path_factory.mktemp("rich")
    path = folder / "rich.html"
    with Store.open(folder / "store") as store:
        baseline, run = rich_runs(store, 400)
        calibrate(store, run.id, labels=str(rich_labels(baseline, run, folder, store)), score="correct")
        path.write_text(html_report(store, run, baseline=baseline), encoding="utf-8")
    return path


ELEMENTS = "document.getElementsByTagName('*').length"


def test_a_report_of_everything_stays_small_before_and_after_a_filter(browser: Browser, rich: Path) -> None:
    assert rich.stat().st_size < 5_000_000
    assert elements(re.sub(r"<(style|script)>.*?</\1>", "", rich.read_text(), flags=re.DOTALL)) < 1500
    browser.open(rich)
    browser.run(READY)
    assert browser.run(ELEMENTS) < 1500
    browser.run("document.querySelector('#search').value = 'refund'")
    browser.run("document.querySelector('#search').dispatchEvent(new Event('input'))")
    browser.run(DRAWN)
    assert browser.run("document.querySelectorAll('#drawn [data-chart]').length") >= 4
    assert browser.run(ELEMENTS) < 1500
    assert browser.complaints() == []


def test_what_is_folded_is_made_when_it_is_opened(browser: Browser, rich: Path) -> None:
    browser.open(rich)
    browser.run(READY)
    rows = "document.querySelectorAll('#slices tbody tr').length"
    before = browser.run(rows)
    browser.run("document.querySelector('#slices .folded summary').click()")
    browser.run(f"(async () => {{ while ({rows} === {before}) await new Promise(requestAnimationFrame); }})()")
    assert browser.run(rows) == browser.run(
        "Number(document.querySelector('#slices .count').textContent.match(/\\d+/)[0])"
    )
    drawn = "document.querySelector('#slices .folded .whisker .reach').getBoundingClientRect().width > 1"
    assert browser.run(drawn) is True


def test_a_bar_of_a_chart_lists_its_cases_by_pointer_and_by_keys(browser: Browser, rich: Path) -> None:
    browser.open(rich)
    browser.run(READY)
    failed = "[...document.querySelectorAll('[data-column] th button')].find((each) => each.textContent === 'failed')"
    browser.run(f"{failed}.click()")
    assert browser.run("document.querySelector('#picked').textContent") == "correct: failed ✕"
    assert browser.run("location.hash") == "#bar=0.1"
    ends = "[...document.querySelectorAll('.room .row .c:nth-child(4)')].map((each) => each.textContent.slice(0, 3))"
    assert set(browser.run(ends)) <= {"0/2", "1/2"}
    browser.run("document.querySelector('#picked').click()")
    assert browser.run("document.querySelector('#found').textContent") == ""
    browser.run("document.querySelector('[data-column] .histogram').focus()")
    for key in ("End", "ArrowLeft", "Enter"):
        browser.press(key)
    label = browser.run("document.querySelector('.histogram').getAttribute('aria-valuetext')")
    assert browser.run("document.querySelector('#picked').title") == f"grade: {label.partition(':')[0]}"
    listed = int(browser.run("document.querySelector('#found').textContent").split()[0])
    tries = int(label.partition(": ")[2].partition(",")[0])
    assert tries / 2 <= listed <= tries
    browser.press("Enter")
    assert browser.run("document.querySelector('#picked').hidden") is True


def test_a_correction_that_expired_since_the_page_was_written_is_taken_out(browser: Browser, rich: Path) -> None:
    said = "document.querySelector('tr.people').textContent"
    browser.open(rich)
    browser.run(READY)
    assert "counts until" in browser.run(said)
    late = rich.with_name("late.html")
    late.write_text(re.sub('data-expires="[^"]+"', 'data-expires="2020-01-01"', rich.read_text()))
    browser.open(late)
    browser.run(READY)
    assert "expired on 2020-01-01" in browser.run(said)
    assert "pt" not in browser.run(said).replace("people", "")


def test_dark_mode_follows_the_system_and_the_key(browser: Browser, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(page)
    light = browser.run(ground)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = browser.run(ground)
    assert dark != light
    browser.press("t")
    assert browser.run(ground) == light
    browser.call("Emulation.setEmulatedMedia", features=[])


DRAWN = "(async () => { while (!document.querySelector('#drawn svg')) await new Promise(requestAnimationFrame); })()"


def test_a_filter_draws_charts_of_the_cases_that_it_leaves(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(READY)
    assert browser.run("document.querySelector('#drawn').hidden") is True
    assert browser.run("typeof globalThis.Plot") == "undefined"  # the library waits until it is needed
    browser.run(
        "(() => { const box = document.querySelector('#search'); box.value = 'question 1'; "
        "box.dispatchEvent(new Event('input')); })()"
    )
    browser.run(DRAWN)
    assert browser.run("typeof globalThis.Plot.plot") == "function"
    assert browser.run("document.querySelector('#drawn').dataset.count") == "12"  # 1, 10 to 19, 21
    titles = "[...document.querySelectorAll('#drawn [data-chart]')].map((each) => each.dataset.chart)"
    assert browser.run(titles) == ["Difference", "right"]
    counts = "[...document.querySelectorAll('[data-chart=right] g:last-of-type text')].map((each) => each.textContent)"
    assert "12" in browser.run(counts)
    assert "a look, not a test" in browser.run("document.querySelector('#drawn').textContent")
    browser.run("document.querySelector('#search').value = ''")
    browser.run("document.querySelector('#search').dispatchEvent(new Event('input'))")
    assert browser.run("document.querySelector('#drawn').hidden") is True
    browser.run("document.querySelector('[data-show=failed]').click()")
    browser.run(DRAWN)
    assert "no interval is drawn" in browser.run("document.querySelector('#drawn').textContent")
    assert browser.run("document.getElementsByTagName('*').length") < 1500
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]


def test_the_baselines_trace_stands_beside_the_runs_in_the_same_view(browser: Browser, page: Path) -> None:
    browser.open(page, fragment="#case=c7&tab=tree")
    browser.run(OPENED)
    heads = "[...document.querySelectorAll('.trace h3')].map((each) => each.textContent)"
    assert browser.run(heads) == ["Baseline’s trace", "Trace"]
    assert browser.run("document.querySelectorAll('.trace [role=tree]').length") == 2
    assert browser.run("document.querySelectorAll('.trace [role=tablist]').length") == 1


def test_axe_finds_nothing_serious_on_any_screen(browser: Browser, page: Path, axe: str) -> None:
    found = (
        "axe.run(document, {resultTypes: ['violations']}).then((told) => told.violations"
        ".filter((each) => ['serious', 'critical'].includes(each.impact)).map((each) => [each.id, each.nodes[0].html]))"
    )
    for fragment, shown in (("", READY), ("#q=question+1", DRAWN), ("#case=c7&tab=waterfall", OPENED)):
        for theme in ("light", "dark"):
            browser.open(page, fragment=fragment)
            browser.run(shown)
            browser.run(f"document.documentElement.dataset.theme = '{theme}'")
            browser.run(axe + ";0")
            assert (fragment, theme, browser.run(found)) == (fragment, theme, [])


def test_hostile_content_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    attack = (
        "</pre></script></style><script>window.hacked = 1</script><img src=https://example.invalid/x "
        "onerror=window.hacked=1><svg onload=window.hacked=1><style>body{display:none}</style>"
        '"><iframe src=javascript:window.parent.hacked=1></iframe> \x1b[31m \u202e'
    )
    with Store.open(tmp_path / "store") as store:
        common = {
            "trace_id": f"{1:032x}",
            "kind": "internal",
            "status": "error",
            "error_type": attack,
            "start_ns": 10**18,
        }
        store.append(
            "spans",
            [{**common, "span_id": "1" * 16, "name": attack, "step": attack[:40], "input": attack, "output": attack}],
        )
        run = store.catalog.runs.create(attack[:200], kind="eval")
        row = {"run_id": run.id, "score_id": "1", "trace_id": f"{1:032x}", "case_id": attack, "name": attack}
        row |= {"value_type": "label", "label": attack, "status": "scored", "explanation": attack, "judge": attack}
        scored = {**row, "value_type": "bool", "value": 1.0, "label": None, "name": f"right {attack}"}
        others = [{**scored, "score_id": f"2{case}", "case_id": f"calm {case}", "trace_id": None} for case in range(30)]
        store.append("scores", [row, {**scored, "score_id": "3"}, *others])
        target = tmp_path / "hostile.html"
        target.write_text(html_report(store, store.catalog.runs.find(run.id)), encoding="utf-8")
    browser.open(target)
    browser.run(READY)
    browser.run("document.querySelector('.room .row').click()")
    browser.run(OPENED)
    for tab in browser.run("[...document.querySelectorAll('[role=tab]')].map((each) => each.dataset.tab)"):
        browser.run(f"document.querySelector('[data-tab={tab}]').click()")
        browser.run("document.querySelector('[role=treeitem]')?.click()")
    browser.press("Escape")
    browser.run("document.querySelector('#search').value = 'script'")
    browser.run("document.querySelector('#search').dispatchEvent(new Event('input'))")
    browser.run(DRAWN)
    assert "window.hacked = 1" in browser.run("document.querySelector('#drawn').textContent")
    assert browser.complaints() == []
    assert browser.run("String(window.hacked)") == "undefined"
    assert [url for url in browser.requests() if not url.startswith("data:")] == [target.as_uri()]
    assert browser.run("getComputedStyle(document.body).display") == "block"
