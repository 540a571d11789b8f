"""How agents decline and claim to have done something, in several languages: `wordings.toml`, read once."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tracekit_evaluators.texts.reading import language

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILE = Path(__file__).with_suffix(".toml")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")


@dataclass(frozen=True)
class Wording:
    """The words of one language.

    Args:
        refusals: Finds a sentence that declines.
        claims: Finds what claims an action; the group `verb` is its participle's stem. `None` where it has none.
        unreal: What, before a claim, makes it none.
        verbs: The English participle of each stem.
    """

    refusals: re.Pattern[str]
    claims: re.Pattern[str] | None
    unreal: re.Pattern[str] | None
    verbs: Mapping[str, str]


@cache
def wordings() -> Mapping[str, Wording]:
    """The wordings by the language's ISO 639-1 code."""
    return {code: _wording(said) for code, said in tomllib.loads(_FILE.read_text("utf-8")).items()}


def _wording(said: Mapping[str, object]) -> Wording:
    def pattern(key: str, verb: str = "") -> re.Pattern[str] | None:
        given = said.get(key)
        parts = given if isinstance(given, list) else [given] if given else []
        named = [str(part).replace("VERB", f"(?P<verb{place}>{verb})") for place, part in enumerate(parts)]
        return re.compile("(?i)" + "|".join(named)) if named else None

    verbs = said.get("verbs")
    stems = {str(stem): str(english) for stem, english in verbs.items()} if isinstance(verbs, Mapping) else {}
    longest = "|".join(map(re.escape, sorted(stems, key=len, reverse=True)))
    refusals = pattern("refusals")
    if refusals is None:
        raise ValueError(f"{_FILE.name}: a language without refusals")
    return Wording(refusals, pattern("claims", longest), pattern("unreal"), stems)


def refusals(text: str) -> Iterator[str]:
    """The sentences of a text that decline, in any of the languages.

    Example:
        >>> list(refusals("Das geht. Ich kann Ihnen dabei leider nicht helfen."))
        ['Ich kann Ihnen dabei leider nicht helfen.']
    """
    for match in _SENTENCE.finditer(text):
        if any(each.refusals.search(match[0]) for each in wordings().values()):
            yield match[0].strip()


def claim(sentence: str) -> str | None:
    """The English participle of what a sentence in another language claims to be done; `None` where it claims nothing.

    Example:
        >>> claim("Ihre Buchung wurde storniert."), claim("Ihre Buchung wurde nicht storniert.")
        ('cancelled', None)
    """
    for wording in wordings().values():
        found = wording.claims.search(sentence) if wording.claims is not None else None
        if found is None:
            continue
        if wording.unreal is not None and wording.unreal.search(sentence[: found.end()]):
            return None
        return wording.verbs[next(each for each in found.groups() if each).lower()]
    return None


def uncovered(text: str) -> str | None:
    """The language of a text that has no wordings here; `None` where it has, or where it cannot be told."""
    told = language(text)
    return None if told is None or told in wordings() else told
