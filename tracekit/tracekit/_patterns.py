"""The patterns that redaction knows: keys of well-known providers, and personal data with its checksums.

Every expression runs in linear time on any text: what may be long is never followed by something that can fail, or
begins only where a run begins.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """Something that is known by how it looks.

    Args:
        name: What it is, for the mark: `[redacted: NAME]`.
        regex: Finds it. A group called `value`, where there is one, is what is redacted; else the whole match.
        hints: Texts in lower case of which a text that holds a match holds one; none if there are no such texts.
        measure: How many of the found characters are it, from the first on: 0 where it only looks like it.

    Example:
        >>> order = Pattern("order", re.compile(r"ORD-[0-9]{6}"))
    """

    name: str
    regex: re.Pattern[str]
    hints: tuple[str, ...] = ()
    measure: Callable[[str], int] | None = None


def _has_digit(text: str) -> int:
    return len(text) if any(character.isdigit() for character in text) else 0


def _is_basic(text: str) -> int:
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return 0
    return len(text) if b":" in decoded else 0


def _is_email(text: str) -> int:
    """Whole labels, a top-level domain of letters; a full stop at the end belongs to the sentence."""
    top = text.rpartition(".")[2]
    return len(text) if len(top) >= 2 and top.isalpha() else 0


def _is_card(text: str) -> int:
    """An issuer's prefix and length, and the Luhn checksum (ISO/IEC 7812-1)."""
    digits = re.sub("[ -]", "", text)
    if not _ISSUED.fullmatch(digits):
        return 0
    odd, even = digits[-1::-2], digits[-2::-2]
    total = sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)
    return len(text) if total % 10 == 0 else 0


def _is_iban(text: str) -> int:
    """The longest beginning whose remainder by 97 is 1 (ISO 13616), so that a word behind it does not hide it."""
    end = len(text)
    while end > 0:
        compact = text[:end].replace(" ", "")
        if len(compact) < _SHORTEST_IBAN:
            return 0
        moved = compact[4:] + compact[:4]
        if int("".join(str(int(character, 36)) for character in moved)) % 97 == 1:
            return end
        end = text.rfind(" ", 0, end)
        if end < 0:
            return 0
    return 0


def _is_phone(text: str) -> int:
    return len(text) if 8 <= sum(character.isdigit() for character in text) <= 15 else 0


_SHORTEST_IBAN = 15
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|"
    r"(?:6011|64[4-9]\d|65\d\d|35\d\d)\d{12}|(?:62|50|5[6-9]|6[37])\d{14,17}"
)


def _known(name: str, regex: str, *hints: str, measure: Callable[[str], int] | None = None) -> Pattern:
    return Pattern(name, re.compile(regex), hints, measure)


_GITHUB = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_")
_START = "(?<![A-Za-z0-9])"
_GIVEN = r"(?P<value>(?!\[redacted: )"

SECRETS: tuple[Pattern, ...] = (
    _known(
        "private key",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.)*?(?:-----END [A-Z ]{0,40}-----|\Z)",
        "-----begin",
    ),
    _known("anthropic key", _START + r"sk-ant-[A-Za-z0-9_-]{16,}", "sk-ant-"),
    _known("api key", _START + r"sk-[A-Za-z0-9_-]{16,}", "sk-", measure=_has_digit),
    _known("github token", _START + r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})", *_GITHUB),
    _known("gitlab token", _START + r"glpat-[A-Za-z0-9_-]{20,}", "glpat-"),
    _known("aws key", _START + r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])", "akia", "asia"),
    _known("slack token", _START + r"(?:xox[abeoprs]-|xapp-)[A-Za-z0-9-]{10,}", "xox", "xapp-", measure=_has_digit),
    _known("google key", _START + r"(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,})", "aiza", "ya29."),
    _known("stripe key", _START + r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}", "k_live_", "k_test_"),
    _known("hugging face token", _START + r"hf_[A-Za-z0-9]{30,}", "hf_"),
    _known("groq key", _START + r"gsk_[A-Za-z0-9]{40,}", "gsk_"),
    _known("package index token", _START + r"(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,})", "npm_", "pypi-"),
    _known("sendgrid key", _START + r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}", "sg."),
    _known(
        "jwt",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        "eyj",
    ),
    _known("bearer token", rf"(?i:\bbearer)\s{{1,4}}{_GIVEN}[A-Za-z0-9._~+/=-]{{12,}})", "bearer", measure=_has_digit),
    _known(
        "basic credentials",
        rf"(?i:\bbasic)\s{{1,4}}{_GIVEN}[A-Za-z0-9+/]{{8,4096}}={{0,2}})",
        "basic",
        measure=_is_basic,
    ),
    _known("url password", rf"://[^/\s:@]{{0,256}}:{_GIVEN}[^/\s@]{{1,256}})@", "://"),
    _known(
        "url key",
        rf"(?i:[?&](?:[a-z-]{{0,20}}[_-])?(?:key|apikey|token|secret|password|sig|signature))={_GIVEN}"
        r"[^&\s\"'#<>\\]+)",
        "key=",
        "token=",
        "secret=",
        "password=",
        "sig=",
        "signature=",
    ),
)
"""Keys, tokens and credentials, by the shape that their issuers give them."""

PERSONAL: tuple[Pattern, ...] = (
    _known(
        "email",
        r"(?<![\w.%+-])[\w.%+-]{1,64}@\w[\w-]{0,62}(?:\.\w[\w-]{0,62}){1,8}",
        "@",
        measure=_is_email,
    ),
    _known("card", r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?!\w)", measure=_is_card),
    _known(
        "iban",
        r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
        measure=_is_iban,
    ),
    _known(
        "phone",
        r"(?<![\w.+-])(?:\+\d(?:[ .()/-]{0,3}\d){7,14}(?!\d)|(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}(?![\w-]))",
        measure=_is_phone,
    ),
)
"""What tells of a person: email addresses, payment cards, bank accounts, phone numbers."""
