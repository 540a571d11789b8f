"""Constraints that a model found in a request, checked by code where code can: numbers of words, forms, words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from tracekit_evaluators.asked.forms import Reading
from tracekit_evaluators.asked.measures import Item
from tracekit_evaluators.subject import Subject

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE = re.compile(r"[^.!?…]*\w[^.!?…]*(?:[.!?…]+|$)")


def checked(reading: Reading, subject: Subject) -> Reading:
    """A reading whose constraints of known kinds carry code's verdict in place of the model's.

    Args:
        reading: What the model answered; the list `constraints` is looked at.
        subject: Whose output has to meet them.
    """
    output = subject.output_text
    items = tuple(_checked(item, output) for item in reading.lists.get("constraints", ()))
    return replace(reading, lists={**reading.lists, "constraints": items})


def _checked(item: Item, output: str) -> Item:
    check = _CHECKS.get(item.kind)
    if check is None:
        return item
    try:
        return replace(item, verdict="met" if check(output, item.value) else "broken")
    except ValueError:
        return item  # its value is no number: the model's word has to do


def _is_json(output: str, _: str) -> bool:
    try:
        json.loads(output)
    except ValueError:
        return False
    return True


_CHECKS: dict[str, Callable[[str, str], bool]] = {
    "max_words": lambda output, value: len(_WORD.findall(output)) <= int(value),
    "min_words": lambda output, value: len(_WORD.findall(output)) >= int(value),
    "max_sentences": lambda output, value: len(_SENTENCE.findall(output)) <= int(value),
    "max_characters": lambda output, value: len(output) <= int(value),
    "is_json": _is_json,
    "contains": lambda output, value: value.lower() in output.lower(),
    "not_contains": lambda output, value: value.lower() not in output.lower(),
}
