"""What a model or user wrote, made fit to be shown: hostile characters named, long texts cut with an honest mark."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# C0 and C1 controls but tab and line feed, what turns the reading direction, what cannot be seen, lone surrogates.
# U+200C and U+200D stay: Persian and emoji need them.
_HOSTILE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]"
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Text:
    """A text for the report.

    Args:
        body: What is shown; every character of it can be seen and is only text.
        left_out: How many characters were cut off at its end.
    """

    body: str
    left_out: int = 0


def shown(text: str) -> str:
    r"""Text with every hostile character replaced by its name.

    Example:
        >>> shown("a\x1b[31mb\u202ec")
        'a␛[31mb⟨U+202E⟩c'
    """
    return _HOSTILE.sub(_named, text.replace("\r\n", "\n"))


def text(value: object, *, longest: int) -> Text | None:
    """A value of a trace as text: JSON indented, words as they are; `None` where there is no value.

    Args:
        value: Decoded JSON, or text; text that is a JSON object or list is indented too.
        longest: How many characters to keep.
    """
    if value is None:
        return None
    whole = _whole(value)
    # Cut before cleaning: a hostile megabyte must not cost a megabyte of work.
    return Text(shown(whole[:longest]), max(0, len(whole) - longest))


def line(value: object, *, longest: int) -> str:
    """A value in one line, cut with an ellipsis; empty where there is none."""
    if value is None:
        return ""
    words = value if isinstance(value, str) else _json(value, indent=None)
    flat = _SPACE.sub(" ", words[: longest * 4]).strip()
    cut = len(flat) > longest or len(words) > longest * 4
    return shown(flat[: longest - 1] + "…" if cut else flat)


def decoded(value: object) -> object:
    """A JSON object or list for a text that is one; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            found: object = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return found
    return value


def unwrapped(value: object) -> object:
    """The one text in a mapping of one key, which reads better than its JSON; anything else as it is.

    Example:
        >>> unwrapped('{"question": "why?"}')
        'why?'
    """
    found = decoded(value)
    if isinstance(found, dict) and len(found) == 1:
        only = next(iter(found.values()))
        if isinstance(only, str):
            return only
    return found


def _whole(value: object) -> str:
    found = decoded(value)
    return found if isinstance(found, str) else _json(found, indent=2)


def _json(value: object, *, indent: int | None) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    except (ValueError, RecursionError):
        return str(value)


def _named(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
