"""What people are asked about a trace: a question, the answers it takes, and which way is better.

A rubric is immutable by its digest: another question or another scale is another version, and labels say which one they
were given by.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tracekit.errors import UsageError
from tracekit_evaluators.score import DIRECTIONS, Direction
from tracekit_evaluators.subject import canonical

KINDS = ("bool", "choice", "number", "text")
_KEYS = {"name", "version", "question", "kind", "choices", "low", "high", "direction", "guide"}


@dataclass(frozen=True)
class Rubric:
    """One question, as people are asked it.

    Args:
        name: What the scores are called.
        question: What is asked.
        kind: `bool`, `choice` (a label), `number` or `text`.
        choices: For `choice`: the labels, each with what it means.
        low: For `number`: the least.
        high: For `number`: the most.
        direction: Which way is better.
        version: Its author's word for this state of it.
        guide: More that helps to decide.
    """

    name: str
    question: str = ""
    kind: str = "bool"
    choices: Mapping[str, str] = field(default_factory=dict)
    low: float = -math.inf
    high: float = math.inf
    direction: Direction = "maximize"
    version: str = "1"
    guide: str = ""

    @property
    def digest(self) -> str:
        """SHA-256, in hex, over all that decides an answer."""
        scale = [self.kind, dict(self.choices), str(self.low), str(self.high), self.direction]
        text = canonical([self.name, self.question, *scale, self.version, self.guide])
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()

    def keys(self) -> dict[str, object]:
        """The keys that answer at once, and what each stands for; empty where the answer is typed.

        Example:
            >>> Rubric("good").keys()
            {'y': True, 'n': False}
        """
        if self.kind == "bool":
            return {"y": True, "n": False}
        if self.kind == "choice" and len(self.choices) <= 9:
            return {str(place): label for place, label in enumerate(self.choices, start=1)}
        whole = float(self.low).is_integer() and float(self.high).is_integer()
        if self.kind == "number" and whole and self.low >= 0 and self.high <= 9:
            return {str(number): float(number) for number in range(int(self.low), int(self.high) + 1)}
        return {}

    def read(self, text: str) -> bool | float | str:
        """An answer as it was typed.

        Raises:
            UsageError: It is none.
        """
        said = text.strip()
        keys = self.keys()
        if said.lower() in keys:
            return cast("bool | float | str", keys[said.lower()])
        if self.kind == "bool" and said.lower() in ("yes", "no", "true", "false"):
            return said.lower() in ("yes", "true")
        if self.kind == "choice" and said in self.choices:
            return said
        if self.kind == "text" and said:
            return said
        if self.kind == "number":
            try:
                value = float(said)
            except ValueError:
                value = math.nan
            if self.low <= value <= self.high and math.isfinite(value):
                return value
        raise UsageError(f"{said!r:.40} is no answer; {self.words()}")

    def words(self) -> str:
        """What can be answered, in words."""
        if self.kind == "bool":
            return "y for yes, n for no"
        if self.kind == "choice":
            named = {key: str(label) for key, label in self.keys().items()} or dict.fromkeys(self.choices, "")
            means = {key: self.choices[label or key] for key, label in named.items()}
            told = [
                f"{key} {label}".strip() + (f" ({means[key]})" if means[key] else "") for key, label in named.items()
            ]
            return ", ".join(told)
        if self.kind == "number":
            bounds = [f"from {self.low:g}"] * math.isfinite(self.low) + [f"to {self.high:g}"] * math.isfinite(self.high)
            return " ".join(["a number", *bounds])
        return "a text"


def parse_rubric(name: str, values: str | None, *, question: str = "", direction: str = "maximize") -> Rubric:
    """A rubric said in a few words.

    Args:
        name: What the scores are called.
        values: `yes,no` (the default), `1-5`, `number`, `text`, or labels separated by commas.
        question: What is asked.
        direction: Which way is better.

    Raises:
        UsageError: The values are none of these.

    Example:
        >>> parse_rubric("stars", "1-5").read("4")
        4.0
    """
    said = (values or "yes,no").strip()
    told: dict[str, object] = {"name": name, "question": question, "direction": direction}
    if said == "yes,no":
        return rubric_of({**told, "kind": "bool"})
    if said in ("text", "number"):
        return rubric_of({**told, "kind": said, **({"direction": "neutral"} if said == "text" else {})})
    low, dash, high = said.partition("-")
    if dash and low.strip().isdigit() and high.strip().isdigit():
        return rubric_of({**told, "kind": "number", "low": int(low), "high": int(high)})
    return rubric_of({**told, "kind": "choice", "choices": [each.strip() for each in said.split(",")]})


def read_rubric(path: str | os.PathLike[str]) -> Rubric:
    """A rubric from a YAML or JSON file.

    Raises:
        UsageError: The file cannot be read, or holds no rubric.
    """
    import yaml  # noqa: PLC0415 - only such files need it

    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the rubric {os.fspath(path)}: {error}") from error
    if not isinstance(value, Mapping):
        raise UsageError(f"{os.fspath(path)} is no rubric: it must be a mapping with name, question, kind …")
    return rubric_of(value)


def rubric_of(value: Mapping[str, object]) -> Rubric:
    """A rubric from a mapping.

    Raises:
        UsageError: A key is unknown, or its value cannot be.
    """
    unknown = sorted(str(key) for key in value if key not in _KEYS)
    name = str(value.get("name") or "").strip()
    kind, direction = str(value.get("kind", "bool")), str(value.get("direction", "maximize"))
    given = value.get("choices") or {}
    choices = _choices(given)
    faults = [
        *([f"unknown: {', '.join(unknown)}"] if unknown else []),
        *(["name is missing"] if not name else []),
        *([f"kind must be one of {', '.join(KINDS)}, not {kind!r}"] if kind not in KINDS else []),
        *([f"direction must be one of {', '.join(DIRECTIONS)}"] if direction not in DIRECTIONS else []),
        *(["a choice needs two labels or more"] if kind == "choice" and len(choices) < 2 else []),
    ]
    low, high = _bound(value.get("low"), -math.inf), _bound(value.get("high"), math.inf)
    if low is None or high is None or low >= high:
        faults.append("low must be a number below high")
    if faults:
        raise UsageError(f"this is no rubric: {'; '.join(faults)}")
    return Rubric(
        name=name,
        question=str(value.get("question") or ""),
        kind=kind,
        choices=choices,
        low=cast("float", low),
        high=cast("float", high),
        direction=cast("Direction", direction),
        version=str(value.get("version", "1")),
        guide=str(value.get("guide") or ""),
    )


def rubric_record(rubric: Rubric) -> dict[str, object]:
    """A rubric as a run keeps it, as `rubric_of` reads it."""
    bounds = {key: value for key, value in (("low", rubric.low), ("high", rubric.high)) if math.isfinite(value)}
    told = {key: getattr(rubric, key) for key in ("name", "version", "question", "kind", "direction", "guide")}
    found: dict[str, object] = json.loads(json.dumps({**told, **bounds, "choices": dict(rubric.choices)}))
    return found


def _choices(given: object) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {str(key): "" if item is None else str(item) for key, item in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return {str(each): "" for each in given if str(each).strip()}
    return {}


def _bound(value: object, otherwise: float) -> float | None:
    if value is None:
        return otherwise
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
