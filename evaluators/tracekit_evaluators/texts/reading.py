"""How easy a text is to read, and which language it is in."""

from __future__ import annotations

import re
from collections import Counter

_SENTENCE = re.compile(r"[.!?…。！？]+(?:\s|$)")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")

# The commonest words of a language, which tell it from its neighbours with the same letters.
_COMMON_WORDS = {
    "en": "the of and to in is that it was for on are with as be this have from or by not you your",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es",
    "fr": "le la les de des et en un une est que qui dans pour pas sur au ce il vous nous avec",
    "es": "el la los las de que y en un una es por con para no se su al lo como más pero sus",
    "it": "il la di che e un una in è per non con sono del della si da come anche più ma gli",
    "pt": "o a os as de que e do da em um uma para é com não por mais se no na como mas foi",
    "nl": "de het een en van ik te dat die in is niet zijn op aan met als voor er maar om ook",
    "sv": "och att det i en jag som på är av för med till den har de inte om ett men var",
    "pl": "i w nie na się z do jest to że o jak ale za co po tak od czy przez być dla",
    "tr": "ve bir bu da de için ile çok ne ben o mi daha var gibi ama sen kadar olarak",
}
_COMMON = {code: frozenset(listed.split()) for code, listed in _COMMON_WORDS.items()}
_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("ja", "[\u3040-\u30ff]"),
    ("ko", "[\uac00-\ud7af]"),
    ("zh", "[\u4e00-\u9fff]"),
    ("ar", "[\u0600-\u06ff]"),
    ("he", "[\u0590-\u05ff]"),
    ("hi", "[\u0900-\u097f]"),
    ("th", "[\u0e00-\u0e7f]"),
    ("el", "[\u0370-\u03ff]"),
    ("ru", "[\u0400-\u04ff]"),
)
_SCRIPT_PATTERNS = tuple((code, re.compile(letters)) for code, letters in _SCRIPTS)


def flesch(text: str) -> float | None:
    """Flesch's reading ease of an English text: about 100 is very easy, 30 and less very hard (Flesch 1948).

    206.835 - 1.015 × words a sentence - 84.6 × syllables a word; syllables are counted as groups of vowels, a silent
    final e left out.

    Args:
        text: Any text.

    Returns:
        The ease; `None` where there are no words.

    Example:
        >>> round(flesch("The cat sat on the mat."), 2)
        116.15
    """
    found = _WORD.findall(text.lower())
    if not found:
        return None
    sentences = max(1, sum(1 for part in _SENTENCE.split(text) if _WORD.search(part)))
    return 206.835 - 1.015 * len(found) / sentences - 84.6 * sum(map(_syllables, found)) / len(found)


def language(text: str) -> str | None:
    """The language of a text, as its ISO 639-1 code, by its script and its commonest words; `None` where unsure.

    Args:
        text: Any text; a sentence or more is needed to be sure.

    Example:
        >>> language("Das ist nicht der Plan, den ich für den Kunden gesucht habe.")
        'de'
    """
    letters = sum(map(str.isalpha, text))
    if not letters:
        return None
    for code, pattern in _SCRIPT_PATTERNS:
        share = len(pattern.findall(text)) / letters
        if share > (0.1 if code == "ja" else 0.3):  # Japanese mixes its syllables with Chinese characters
            return code
    said = _WORD.findall(text.lower())
    counted = Counter({code: sum(word in common for word in said) for code, common in _COMMON.items()})
    (best, most), (_, second) = counted.most_common(2)
    sure = most >= 2 and most >= 0.08 * len(said) and most > second
    return best if sure else None


def _syllables(word: str) -> int:
    count = len(_VOWELS.findall(word))
    if count > 1 and word.endswith("e") and not word.endswith(("le", "ee")):
        count -= 1
    return max(1, count)
