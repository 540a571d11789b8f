"""Structured output: whether it can be read, what differs from what was expected, and how many fields are right."""

from __future__ import annotations

import ast
import html.parser
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject

_FENCED = re.compile(r"\A\s*```[\w+-]*\s*\n(.*?)\n?```\s*\Z", re.DOTALL)
_ENTITY = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_SHOWN = 5


@judge(needs=("output",), values="{0,1}")
def parses(*, format: str = "json", fenced: bool = True) -> Call:  # noqa: A002 - the word of a spec
    """Whether the output can be read as JSON, JSON lines, XML, HTML, Python, CSV or YAML.

    Args:
        format: `json`, `jsonl`, `xml`, `html`, `python`, `csv`, or `yaml`, where it must be an object or a list.
        fenced: Whether the output may stand between code fences.

    Raises:
        UsageError: The format is unknown.

    Example:
        >>> parses(format="xml").parameters["format"]
        'xml'
    """
    if format not in _READERS:
        raise UsageError(f"parses reads {', '.join(_READERS)}, not {format!r}")
    read = _READERS[format]

    def call(subject: Subject) -> Score:
        text = subject.output_text
        inside = _FENCED.match(text) if fenced else None
        try:
            read(inside[1] if inside else text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, ElementTree.ParseError) as error:
            return Score(value=False, explanation=f"this is no {format}: {error}")
        return Score(value=True)

    return call


@judge(needs=("output",), values="{0,1}")
def contains_json() -> Call:
    """Whether the output holds a JSON object or list anywhere."""

    def call(subject: Subject) -> Score:
        return Score(value=_first_json(subject.output_text) is not None)

    return call


@judge(needs=("output", "expected.output"), values="[0,1]")
def json_diff(
    *,
    expected: object = None,
    weights: Mapping[str, float] | None = None,
    ignore: list[str] | None = None,
    ordered: bool = True,
    tolerance: float = 1e-9,
) -> Call:
    """How much of the expected JSON the output holds, key by key.

    An object's value is the weighted mean over all keys of either side, a list's the mean over its longer side
    (unordered: over the best assignment), a number's 1 within the tolerance, anything else 1 when equal.

    Args:
        expected: What is expected of every case; the case's `output` when not given.
        weights: How much top-level keys count; 1 where not named.
        ignore: Keys that are left out, at any depth.
        ordered: Whether the order of lists counts.
        tolerance: How far numbers may be apart, as a share of the greater one.
    """
    left_out = frozenset(ignore or ())
    weigh = dict(weights or {})

    def call(subject: Subject) -> Score:
        wanted = _decoded(subject.expect("output") if expected is None else expected)
        try:
            said = json.loads(unfenced(subject.output_text))
        except (ValueError, RecursionError) as error:
            return Score(0.0, explanation=f"the output is not JSON: {error}")
        faults: list[str] = []
        value = _Likeness(left_out, weigh, ordered, tolerance, faults).of(said, wanted, "$")
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        return Score(value, explanation="; ".join([*faults[:_SHOWN], *more]) or None)

    return call


@judge(needs=("output", "expected.output"), values="[0,1] each")
def fields(*, expected: object = None, ignore: list[str] | None = None) -> Call:
    """Precision, recall and F1 of the fields of a JSON output, as extraction tasks are counted.

    A field is a path to a value that is no object; places in lists do not count. Without any field on either side
    all three are 1.

    Args:
        expected: What is expected of every case; the case's `output` when not given.
        ignore: Keys that are left out, at any depth.
    """
    left_out = frozenset(ignore or ())

    def call(subject: Subject) -> dict[str, float]:
        wanted = list(_leaves(_decoded(subject.expect("output") if expected is None else expected), "", left_out))
        try:
            said = list(_leaves(json.loads(unfenced(subject.output_text)), "", left_out))
        except (ValueError, RecursionError):
            said = []
        free = list(wanted)
        right = 0
        for leaf in said:
            if leaf in free:
                free.remove(leaf)
                right += 1
        if not said and not wanted:
            return {"fields.precision": 1.0, "fields.recall": 1.0, "fields.f1": 1.0}
        return {
            "fields.precision": right / len(said) if said else 0.0,
            "fields.recall": right / len(wanted) if wanted else 0.0,
            "fields.f1": 2 * right / (len(said) + len(wanted)),
        }

    return call


class _Likeness:
    def __init__(
        self,
        ignore: frozenset[str],
        weights: Mapping[str, float],
        ordered: bool,  # noqa: FBT001 - inside
        tolerance: float,
        faults: list[str],
    ) -> None:
        self._ignore = ignore
        self._weights = weights
        self._ordered = ordered
        self._tolerance = tolerance
        self._faults = faults

    def of(self, said: object, wanted: object, path: str) -> float:
        if isinstance(said, Mapping) and isinstance(wanted, Mapping):
            return self._objects(said, wanted, path)
        if isinstance(said, list) and isinstance(wanted, list):
            return self._lists(said, wanted, path)
        if _same(said, wanted, self._tolerance):
            return 1.0
        self._faults.append(f"{path}: {_short(said)}, {_short(wanted)} was expected")
        return 0.0

    def _objects(self, said: Mapping[str, object], wanted: Mapping[str, object], path: str) -> float:
        keys = [key for key in dict.fromkeys([*wanted, *said]) if key not in self._ignore]
        total = value = 0.0
        for key in keys:
            weight = float(self._weights.get(key, 1.0)) if path == "$" else 1.0
            total += weight
            if key in said and key in wanted:
                value += weight * self.of(said[key], wanted[key], f"{path}.{key}")
            else:
                self._faults.append(f"{path}.{key}: {'missing' if key in wanted else 'not expected'}")
        return value / total if total else 1.0

    def _lists(self, said: list[object], wanted: list[object], path: str) -> float:
        longest = max(len(said), len(wanted))
        if longest == 0:
            return 1.0
        if not self._ordered:
            return self._assigned(said, wanted) / longest
        value = sum(self.of(a, b, f"{path}[{place}]") for place, (a, b) in enumerate(zip(said, wanted, strict=False)))
        if len(said) != len(wanted):
            self._faults.append(f"{path}: {len(said)} items, {len(wanted)} were expected")
        return value / longest

    def _assigned(self, said: list[object], wanted: list[object]) -> float:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - heavy, and rarely needed

        silent = _Likeness(self._ignore, self._weights, self._ordered, self._tolerance, [])
        gains = [[silent.of(a, b, "$[]") for b in wanted] for a in said]
        if not gains or not gains[0]:
            return 0.0
        rows, columns = linear_sum_assignment(gains, maximize=True)
        return math.fsum(gains[row][column] for row, column in zip(rows, columns, strict=True))


def _same(a: object, b: object, tolerance: float) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return a == b


def _leaves(value: object, path: str, ignore: frozenset[str]) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        found: list[tuple[str, str]] = []
        for key, item in value.items():
            if key not in ignore:
                found += _leaves(item, f"{path}.{key}", ignore)
        return found
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item, f"{path}[]", ignore)]
    return [(path, json.dumps(value))]


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise MissingInput(f"the expected output is not JSON: {error}") from None


def unfenced(text: str) -> str:
    """A text without the code fences around it, if it has any."""
    inside = _FENCED.match(text)
    return inside[1] if inside else text


def _first_json(text: str) -> object:
    decoder = json.JSONDecoder()
    for place, letter in enumerate(text):
        if letter in "{[":
            try:
                return decoder.raw_decode(text, place)[0]
            except (ValueError, RecursionError):
                continue
    return None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _xml(text: str) -> None:
    if _ENTITY.search(text):
        raise ValueError("it declares a document type or entities, which are not read")
    ElementTree.fromstring(text)  # noqa: S314 - without entities there is nothing to expand


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = False

    def handle_starttag(self, tag: str, attrs: Sequence[object]) -> None:
        del attrs
        self.seen = True
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing that is open")


def _html(text: str) -> None:
    tags = _Tags()
    tags.feed(text)
    tags.close()
    if tags.open or not tags.seen:
        raise ValueError(f"<{tags.open[-1]}> is not closed" if tags.open else "it holds no element")


def _csv(text: str) -> None:
    import csv  # noqa: PLC0415 - for this one

    rows = [row for row in csv.reader(text.splitlines(), strict=True) if row]
    widths = {len(row) for row in rows}
    if len(rows) < 2 or len(widths) != 1 or widths == {1}:
        raise ValueError("its rows have different numbers of columns" if len(widths) > 1 else "it is no table")


def _jsonl(text: str) -> None:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it holds no line")
    for line in lines:
        json.loads(line)


def _yaml(text: str) -> None:
    import yaml  # noqa: PLC0415 - for this one

    try:
        # Nothing is built: an alias of aliases stays a node, and a tag makes no object.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
    if root is None or isinstance(root, yaml.ScalarNode):
        raise ValueError("it is a single value, as any text is")


_READERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "jsonl": _jsonl,
    "xml": _xml,
    "html": _html,
    "python": ast.parse,
    "csv": _csv,
    "yaml": _yaml,
}
