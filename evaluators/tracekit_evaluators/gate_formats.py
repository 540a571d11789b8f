"""A gate's verdict as JSON, as JUnit XML, as Markdown for a pull request, and as GitHub's annotations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from tracekit.errors import TracekitError, UsageError
from tracekit_evaluators.gate_result import FAIL, INCONCLUSIVE, PASS, Check, GateResult

_MARKS = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔"}
_LEVELS = {PASS: "notice", FAIL: "error", INCONCLUSIVE: "warning"}
_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MOST_CASES = 10


def as_json(result: GateResult) -> str:
    """The verdict with every figure."""
    return json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def as_junit(result: GateResult) -> str:
    """The verdict as a test suite: what fails is a failure, what is inconclusive is skipped.

    CI systems show a skipped test without failing the build; the exit code tells it apart.
    """
    counts = {verdict: sum(check.verdict == verdict for check in result.checks) for verdict in _MARKS}
    told = {"tests": str(len(result.checks)), "failures": str(counts[FAIL]), "skipped": str(counts[INCONCLUSIVE])}
    suites = ElementTree.Element("testsuites", told)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "tracekit gate", "errors": "0", **told})
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("verdict", result.verdict), ("policy", result.policy), ("candidate", result.candidate.name)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": _xml(value)})
    for check in result.checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": f"gate.{check.kind}", "name": _xml(check.name), "time": "0"}
        )
        if check.verdict != PASS:
            tag = "failure" if check.verdict == FAIL else "skipped"
            fault = ElementTree.SubElement(case, tag, {"message": _xml(check.said)})
            fault.text = _xml("\n".join(check.cases))
        ElementTree.SubElement(case, "system-out").text = _xml(check.said)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def as_markdown(result: GateResult) -> str:
    """The verdict as a comment on a pull request."""
    lines = [
        f"## {_MARKS[result.verdict]} tracekit gate: {result.verdict}",
        "",
        _markdown(result.sentence.removeprefix(f"{result.verdict}: ")),
        "",
    ]
    lines += ["| | check | found |", "|---|---|---|"]
    lines += [f"| {_MARKS[each.verdict]} | {_markdown(each.name)} | {_markdown(each.said)} |" for each in result.checks]
    for check in result.checks:
        if check.cases and check.verdict != PASS:
            lines += ["", f"<details><summary>{_markdown(check.name)}: {len(check.cases)} cases</summary>", ""]
            lines += [f"- {_markdown(case)}" for case in check.cases[:_MOST_CASES]]
            left = len(check.cases) - _MOST_CASES
            lines += [f"- … and {left} more"] if left > 0 else []
            lines += ["", "</details>"]
    if result.sequential is not None:
        told = result.sequential
        lines += ["", f"Judged {told['judged']} of {told['cases']} cases (seed {told['seed']})."]
    return "\n".join(lines) + "\n"


def as_github(result: GateResult) -> str:
    """The verdict as workflow commands, which GitHub Actions shows as annotations."""
    told = [_annotation(check) for check in result.checks if check.verdict != PASS]
    whole = f"::{_LEVELS[result.verdict]} title=tracekit gate {result.verdict}::{_command(result.sentence)}"
    return "\n".join([whole, *told]) + "\n"


def as_text(result: GateResult) -> str:
    """The verdict for a terminal."""
    widest = max((len(check.name) for check in result.checks), default=0)
    lines = [result.sentence, ""]
    lines += [f"  {check.verdict:<12}  {check.name:<{widest}}  {check.said}" for check in result.checks]
    if result.sequential is not None:
        told = result.sequential
        lines += ["", f"Judged {told['judged']} of {told['cases']} cases (seed {told['seed']})."]
    warned = {str(check.figures["warning"]) for check in result.checks if check.figures.get("warning")}
    lines += [f"Note: {each}." for each in sorted(warned)]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[GateResult], str]] = {
    "table": as_text,
    "json": as_json,
    "junit": as_junit,
    "markdown": as_markdown,
    "github": as_github,
}
_SUFFIXES = {".json": "json", ".xml": "junit", ".md": "markdown", ".txt": "table"}


def check_output(path: str) -> None:
    """Raise where a file's name does not say which format is wanted."""
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: name it .json, .xml (JUnit), .md or .txt, so that its format is known")


def write(result: GateResult, path: str) -> None:
    """Write the verdict to a file, in the format that its name says.

    Raises:
        TracekitError: The file cannot be written.
    """
    text = FORMATS[_SUFFIXES[Path(path).suffix.lower()]](result)
    try:
        Path(path).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise TracekitError(f"cannot write {path}: {error.strerror or error}") from error


def _annotation(check: Check) -> str:
    title = _command(check.name).replace(":", "%3A").replace(",", "%2C")
    return f"::{_LEVELS[check.verdict]} title={title}::{_command(check.said)}"


def _command(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return _CONTROLS.sub(" ", escaped)


def _markdown(text: str) -> str:
    plain = _CONTROLS.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # What a case is called must not become a link, an image, a mention or a cell.
    return re.sub(r"([\\`*_\[\]|#!@])", r"\\\1", plain)


def _xml(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
