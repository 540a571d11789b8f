"""Runs in notebooks: tables, what a cell shows, the report's charts; and all of it in a real Jupyter kernel."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import tracekit
import tracekit_collector
import tracekit_evaluators
from tracekit.errors import MissingExtraError, NotFoundError
from tracekit_collector.store import Store
from tracekit_evaluators import Run

sys.path.insert(0, str(Path(__file__).parent))
from _reports import hostile_run, kept, score, span, two_runs

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests" / "venvs"
KERNEL = ("nbclient>=0.10,<1", "ipykernel>=7,<8", "pandas")


class Fragment(HTMLParser):
    """Elements, attributes and words of what a cell shows."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.said += f"{data} "


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def test_a_run_shows_its_numbers_and_a_forest_plot_without_script(store: Store) -> None:
    two_runs(store)
    page = Fragment(Run.find(store, "after")._repr_html_())
    assert "after: correct 60.0 % over 5 cases (95 % interval 23.1 to 88.2 %)" in page.said
    assert {tag for tag, _ in page.tags} == {"div", "p", "b", "br", "table", "tr", "th", "td", "img"}
    [picture] = [given["src"] or "" for tag, given in page.tags if tag == "img"]
    assert picture.startswith("data:image/svg+xml;base64,")
    drawn = ElementTree.fromstring(base64.b64decode(picture.partition(",")[2]))
    assert "correct" in "".join(drawn.itertext())


def test_a_run_against_another_shows_the_verdict_and_what_would_settle_it(store: Store) -> None:
    two_runs(store)
    compared = Run.find(store, "after").against("before")
    said = re.sub(r"\s+", " ", Fragment(compared._repr_html_()).said)
    assert "≈ no clear difference. No clear difference between after and before on correct (−20.0 pt" in said
    assert "≈ no clear difference (too few cases to show any difference)" in said
    assert compared._repr_html_() == Run.find(store, "after").against(Run.find(store, "before"))._repr_html_()
    with pytest.raises(NotFoundError, match="there is no run 'nothing'"):
        Run.find(store, "after").against("nothing")


def test_the_scores_come_as_an_arrow_table_and_a_data_frame(store: Store) -> None:
    two_runs(store)
    run = Run.find(store, "after")
    table = run.to_arrow()
    assert table.select(["name", "case_id", "value"]).slice(0, 2).to_pylist() == [
        {"name": "correct", "case_id": None, "value": 0.0},
        {"name": "correct", "case_id": None, "value": 1.0},
    ]
    pandas = pytest.importorskip("pandas", reason="pandas is the reader's own")
    frame = run.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["value"].tolist() == [0.0, 1.0, 0.0, 1.0, 1.0]


def test_without_pandas_the_error_says_what_to_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    two_runs(store)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"a data frame needs pandas: pip install pandas; to_arrow\(\) needs"):
        Run.find(store, "after").to_pandas()


def test_every_chart_is_svg_that_stands_alone_and_can_be_kept(store: Store, tmp_path: Path) -> None:
    spans = [
        span(n, case_id=str(n // 10), repeat=n % 10, step="llm", cost_usd=0.01 * n) for n in (10, 11, 20, 21, 30, 31)
    ]
    kept(store, "run", spans, [score(n, float(n % 2)) for n in (10, 11, 20, 21, 30, 31)])
    plot = Run.find(store, "run").plot
    drawn = {"forest": plot.forest(), "pass_k": plot.pass_k("correct"), "spread": plot.distribution()}
    drawn["time"] = plot.time_and_cost()
    for name, drawing in drawn.items():
        root = ElementTree.fromstring(drawing._repr_svg_())
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert "script" not in drawing.svg
        assert Fragment(drawing._repr_html_()).tags[0][0] == "img"
        assert drawing.save(tmp_path / f"{name}.svg").read_text(encoding="utf-8") == drawing.svg
    with pytest.raises(NotFoundError, match="no score 'other' has values; these do: correct"):
        plot.distribution("other")
    with pytest.raises(NotFoundError, match="fewer than two versions"):
        plot.frontier()


def test_a_chart_is_kept_as_a_picture(store: Store, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    two_runs(store)
    kept_at = Run.find(store, "after").plot.forest().save(tmp_path / "forest.PNG")
    assert kept_at.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_hostile_content_is_only_text_in_a_cell(store: Store) -> None:
    page = Fragment(Run(store, hostile_run(store))._repr_html_())
    assert {tag for tag, _ in page.tags} <= {"div", "p", "b", "br", "table", "tr", "th", "td", "img"}
    assert not [name for _, given in page.tags for name in given if name.startswith("on")]
    assert all((given.get("src") or "data:image/svg").startswith("data:image/svg") for _, given in page.tags)
    assert "window.hacked = 1" in page.said
    assert "\u202e" not in page.said


@pytest.fixture(scope="module")
def jupyter() -> Path:
    """The interpreter of an environment with a Jupyter kernel, made once and kept."""
    folder = CACHE / f"jupyter-{sys.version_info[0]}.{sys.version_info[1]}-1"
    CACHE.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with (CACHE / ".lock-jupyter").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            venv.create(folder, with_pip=True, clear=True)
            words = [
                str(python),
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--retries",
                "1",
                *KERNEL,
            ]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"a Jupyter kernel cannot be installed here: {done.stderr[-300:]}")
            (folder / "complete").touch()
    return python


@pytest.mark.slow
def test_a_jupyter_kernel_shows_a_run_its_charts_and_its_table(jupyter: Path, store: Store, tmp_path: Path) -> None:
    two_runs(store)
    cells = [
        (
            "from tracekit_collector.store import Store\nfrom tracekit_evaluators import Run\n"
            f"store = Store.open({str(store.location)!r})\nrun = Run.find(store, 'after')\nrun"
        ),
        "run.plot.forest()",
        "run.against('before')",
        "run.to_pandas()[['name', 'value']].head(2)",
    ]
    script = tmp_path / "notebook.py"
    script.write_text(
        "import json, sys, nbformat\nfrom nbclient import NotebookClient\n"
        f"cells = [nbformat.v4.new_code_cell(source) for source in {cells!r}]\n"
        "notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120).execute()\n"
        "print(json.dumps([[list(each.data) for each in cell.outputs] for cell in notebook.cells]))\n"
        "print(json.dumps([cell.outputs[0].data.get('text/html', '') for cell in notebook.cells]))\n"
    )
    packages = [tracekit, tracekit_collector, tracekit_evaluators]
    homes = [str(Path(str(package.__file__)).parent.parent) for package in packages]
    path = os.pathsep.join([*homes, sysconfig.get_path("purelib")])
    home = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": path}
    done = subprocess.run(
        [jupyter, script], capture_output=True, text=True, check=False, env={**os.environ, **home}, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kinds, shown = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert [sorted(each[0]) for each in kinds] == [
        ["text/html", "text/plain"],
        ["image/svg+xml", "text/html", "text/plain"],
        ["text/html", "text/plain"],
        ["text/html", "text/plain"],
    ]
    assert "after: correct 60.0 %" in shown[0]
    assert "No clear difference between after and before" in shown[2]
