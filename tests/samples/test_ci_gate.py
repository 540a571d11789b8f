"""The sample of a gate for pull requests says PASS, FAIL and INCONCLUSIVE where it should."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def step(tmp_path: Path, candidate: str) -> tuple[int, str, str]:
    """Run the workflow's own step as GitHub does; returns exit code, output and the job's summary."""
    workflow = yaml.safe_load((ROOT / "samples/ci_gate/workflow.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["gate"]
    script = next(each["run"] for each in job["steps"] if each.get("name") == "gate")
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    summary = tmp_path / "summary.md"
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    told = {"PATH": path, "GITHUB_STEP_SUMMARY": str(summary), "TRACEKIT_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **told, **job["env"], "CANDIDATE": candidate},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert summary.exists(), done.stderr
    return done.returncode, done.stdout, summary.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("candidate", "code", "word", "annotation"),
    [
        ("refactored", 0, "✅ tracekit gate: PASS", "::notice title=tracekit gate PASS::"),
        ("careless", 1, "❌ tracekit gate: FAIL", "::error title=tracekit gate FAIL::"),
        ("simpler", 0, "❔ tracekit gate: INCONCLUSIVE", "::warning title=tracekit gate::too few cases to tell"),
    ],
)
def test_a_pull_request_passes_fails_or_is_let_through_with_a_warning(
    tmp_path: Path, candidate: str, code: int, word: str, annotation: str
) -> None:
    found, out, summary = step(tmp_path, candidate)
    assert (found, annotation in out, word in summary) == (code, True, True)
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == (str(int(code == 1)), str(int(candidate == "simpler")))
