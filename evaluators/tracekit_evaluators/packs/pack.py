"""A pack's file as a judge: what a file may say, and the factory that it becomes.

A file is TOML. `about`, `direction`, `values`, `needs`, `subject`, `version` are what any judge declares; `criteria` is
the prompt's text, `show` the parts of the subject that the model sees, `only_if` what the case must expect. `form` is
`scale` (with `levels`, and `values_of`, `good`, `also` where they are not pass/fail or evenly spaced), `labels`, or
`lists` (with `[[lists]]` and a `measure`). `[parameters.NAME]` are the judge's own: `text` goes into the criteria where
they say `{NAME}`, `option` to the measure.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Form, Lists, Prompt, Scale
from tracekit_evaluators.asked.constraints import checked
from tracekit_evaluators.asked.forms import ItemList
from tracekit_evaluators.judge import Call, Declaration, JudgeFactory, Level
from tracekit_evaluators.judges._material import EVERYTHING
from tracekit_evaluators.models import resolve
from tracekit_evaluators.score import Direction

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).parent
_MENDS = {"constraints": checked}
_COMMON: dict[str, object] = {
    "model": None,
    "base_url": None,
    "timeout": None,
    "at_least": None,
    "at_most": None,
    "max_chars": 60_000,
    "max_tokens": 4000,
    "sample": 0,
}
_ABOUT_COMMON = """    model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
    base_url: The server, where it is not the setting `openai_base_url`.
    timeout: Seconds that one attempt may take.
    at_least: The lowest value that passes; no line is drawn when not given.
    at_most: The highest value that passes; no line is drawn when not given.
    max_chars: How much of the subject the model is shown, in characters; long parts are cut in the middle.
    max_tokens: The longest answer, in tokens.
    sample: Which of several independent verdicts this is, from 0."""
_TWO = {"fail": False, "pass": True}


@cache
def files() -> dict[str, Path]:
    """The packs' files by the name of their judge."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*/*.toml"))}


def prompt_of(path: Path, given: Mapping[str, object] | None = None) -> Prompt:
    """The prompt that a file holds.

    Args:
        path: The file.
        given: The judge's own parameters.

    Raises:
        UsageError: A parameter of the judge is missing, or is no text or list of texts.
    """
    said = tomllib.loads(path.read_text("utf-8"))
    texts = {
        name: _text(path.stem, name, (given or {}).get(name, each.get("default")))
        for name, each in said.get("parameters", {}).items()
        if each.get("into") != "option"
    }
    criteria = said["criteria"].strip()
    for name, text in texts.items():
        criteria = criteria.replace("{" + name + "}", text)
    return Prompt(
        criteria,
        _form(said),
        show=tuple(said.get("show", EVERYTHING)),
        needs=tuple(said.get("needs", ())),
        only_if=said.get("only_if", {}),
    )


def factory(path: Path) -> JudgeFactory[Any]:
    """The factory of the judge in a file."""
    said = tomllib.loads(path.read_text("utf-8"))
    name, own = path.stem, said.get("parameters", {})

    def build(**given: object) -> Call:
        everything = {**_COMMON, **given}
        client = resolve(everything["model"], base_url=everything["base_url"], timeout=everything["timeout"])
        options = {
            key: given.get(key, each.get("default")) for key, each in own.items() if each.get("into") == "option"
        }
        chars, tokens, sample = (cast("int", everything[key]) for key in ("max_chars", "max_tokens", "sample"))
        low, high = _number(name, everything["at_least"]), _number(name, everything["at_most"])
        mend = _MENDS.get(said.get("mend", ""))
        asked = Asked(name, prompt_of(path, given), client, chars, tokens, sample, options=options, mend=mend)
        if low is not None or high is not None:
            asked = replace(asked, passes=lambda value: _within(value, low, high))
        return asked

    build.__doc__ = _doc(said, own)
    build.__name__ = build.__qualname__ = name
    build.__module__ = __name__.rpartition(".")[0]
    build.__signature__ = _signature(own)  # type: ignore[attr-defined]  # read by inspect.signature
    declared = Declaration(
        name=name,
        version=str(said.get("version", "1")),
        direction=cast("Direction", said.get("direction", "maximize")),
        source="llm",
        needs=tuple(said.get("needs", ())),
        values=said["values"],
        about=said["about"],
        subject=cast("Level", said.get("subject", "trace")),
    )
    return JudgeFactory(declared, build)


def _form(said: Mapping[str, Any]) -> Form:
    if said["form"] == "lists":
        return Lists(tuple(_list(each) for each in said["lists"]), said.get("measure", "share"))
    levels: Mapping[str, str] = said["levels"]
    good = said.get("good")
    passing = None if good is None else tuple(good)
    if said["form"] == "labels":
        return Scale(levels, {}, good=passing, also=said.get("also", {}))
    values = said.get("values_of") or (_TWO if set(levels) == set(_TWO) else _even(levels))
    return Scale(levels, values, good=passing, also=said.get("also", {}))


def _list(said: Mapping[str, Any]) -> ItemList:
    return ItemList(said["name"], said["of"], said["verdicts"], said["worth"], said.get("over"), said.get("kinds", {}))


def _even(levels: Mapping[str, str]) -> dict[str, float]:
    return {level: place / (len(levels) - 1) for place, level in enumerate(levels)}


def _signature(own: Mapping[str, Mapping[str, Any]]) -> inspect.Signature:
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.get("default", inspect.Parameter.empty),
        )
        for name, each in own.items()
    ]
    common = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=each) for key, each in _COMMON.items()]
    return inspect.Signature([*parameters, *common])


def _doc(said: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"    {name}: {each['about']}" for name, each in own.items()]
    return "\n".join([said["about"], "", "Args:", *lines, _ABOUT_COMMON])


def _text(judge: str, name: str, given: object) -> str:
    if isinstance(given, str) and given.strip():
        return given.strip()
    if isinstance(given, Sequence) and given and all(isinstance(each, str) and each.strip() for each in given):
        return "\n".join(f"{place}. {each.strip()}" for place, each in enumerate(given, start=1))
    raise UsageError(f"{judge} needs {name}: a text or a list of texts, not {given!r:.80}")


def _number(judge: str, given: object) -> float | None:
    if given is None or (isinstance(given, (int, float)) and not isinstance(given, bool)):
        return given
    raise UsageError(f"{judge} takes a number to pass at, not {given!r:.80}")


def _within(value: object, low: float | None, high: float | None) -> bool:
    number = float(value) if isinstance(value, (bool, int, float)) else None
    if number is None:
        return False
    return (low is None or number >= low) and (high is None or number <= high)
