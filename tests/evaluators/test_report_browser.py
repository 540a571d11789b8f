"""The report in a real browser: no request, no complaint, keys and filters work, and it reads without JavaScript."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit_collector.store import Store
from tracekit_evaluators.report import html_report

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on PATH (Debian: chromium)"),
    pytest.mark.slow,
]


class Browser:
    """A headless Chromium, spoken to by its debugging pipe."""

    def __init__(self, folder: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        wrapped = f'exec "$0" "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", wrapped, str(CHROMIUM), *QUIET, f"--user-data-dir={folder}"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]
            self.events.append(found)

    def load(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def open(self, path: Path, *, fragment: str = "") -> None:
        self.load("about:blank")  # from one fragment of a page to another is no load
        self.load(path.as_uri() + fragment)
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        code = 13 if key == "Enter" else 0
        text = "\r" if key == "Enter" else key
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    def complaints(self) -> list[dict[str, Any]]:
        """Console messages, log entries (the policy's violations among them) and uncaught exceptions."""
        wanted = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event["method"] in wanted]

    def requests(self) -> list[str]:
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 16)
            assert part, "the browser went away"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


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


def test_it_opens_without_a_request_or_a_complaint(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title") == "new against old · tracekit"
    assert browser.run("getComputedStyle(document.querySelector('.tile')).borderTopWidth") == "1px"
    assert browser.run("document.querySelector('.case').dataset.case") == "c7"


def test_filters_sorting_search_and_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "[...document.querySelectorAll('.case:not([hidden])')].map((item) => item.dataset.case).join(' ')"
    browser.run("document.querySelector('[data-show=regressed]').click()")
    assert browser.run(shown) == "c7"
    browser.run("document.querySelector('[data-show=improved]').click()")
    assert browser.run(shown) == "c8"
    browser.run("document.querySelector('[data-show=all]').click()")
    browser.run("document.querySelector('#sort').value = 'case'")
    browser.run("document.querySelector('#sort').dispatchEvent(new Event('change'))")
    assert browser.run(shown).split()[:3] == ["c1", "c2", "c3"]
    browser.press("/")
    assert browser.run("document.activeElement.id") == "search"
    browser.call("Input.insertText", text="question 29")
    assert browser.run(shown) == "c29"
    browser.run("document.activeElement.blur()")
    browser.press("j")
    assert browser.run("document.activeElement.closest('.case').dataset.case") == "c29"
    browser.press("Enter")
    assert browser.run("document.querySelector('#case-c29').open") is True
    assert browser.complaints() == []


def test_a_link_to_a_case_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page, fragment="#case-c12")
    assert browser.run("document.querySelector('#case-c12').open") is True
    assert browser.run("[...document.querySelectorAll('.case')].filter((item) => item.open).length") == 1


def test_it_reads_without_javascript(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.load(page.as_uri())
        root = browser.call("DOM.getDocument")["root"]["nodeId"]
        found = browser.call("DOM.querySelectorAll", nodeId=root, selector=".case .waterfall rect")
        assert len(found["nodeIds"]) == 60
        tools = browser.call("DOM.querySelector", nodeId=root, selector=".tools[hidden]")
        assert tools["nodeId"] != 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


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
        store.append("scores", [row])
        target = tmp_path / "hostile.html"
        target.write_text(html_report(store, store.catalog.runs.find(run.id)), encoding="utf-8")
    browser.open(target)
    browser.run("for (const item of document.querySelectorAll('details')) item.open = true")
    assert browser.complaints() == []
    assert browser.run("String(window.hacked)") == "undefined"
    assert [url for url in browser.requests() if not url.startswith("data:")] == [target.as_uri()]
    assert browser.run("getComputedStyle(document.body).display") == "block"
