"""What an error means: one code from its type, its status number and its words; and whether a text is an error at all.

Names of exception classes are read as words (`RateLimitError` says "rate limit error"). Rules go from what is said most
exactly to what is said most loosely; the first that fits counts, and the words that it found are the evidence.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tracekit_evaluators.diagnosis._words import EXACT, LOOSE
from tracekit_evaluators.diagnosis.taxonomy import BY_ERROR_TYPE

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_STATUS = re.compile(
    r"(?:status[ _]?code|status|error[ _]?code|http(?:/\d(?:\.\d)?)?(?: status)?(?: error)?|code"
    r"|response|returned|failed)"
    r"[\"']?[\s:=(<\[]{1,4}[\"']?(?P<n>[45]\d\d)\b"
    r"|^\W{0,2}(?P<first>[45]\d\d)\b(?![.,]?\d)|\b(?P<named>[45]\d\d) (?:client|server) error"
    r"|\((?P<paren>[45]\d\d)\)",
    re.IGNORECASE,
)
_STATUS_CODES = {401: "authentication", 402: "resource_exhaustion", 403: "permission_denied", 404: "not_found"}
_STATUS_CODES |= {407: "authentication", 408: "timeout", 410: "not_found", 413: "context_overflow"}
_STATUS_CODES |= {422: "tool_arguments", 429: "rate_limit", 504: "timeout", 507: "resource_exhaustion", 524: "timeout"}


_EXACT = [(code, re.compile(pattern, re.IGNORECASE)) for code, pattern in EXACT.items()]
_WORDS = [(code, re.compile(pattern, re.IGNORECASE)) for code, pattern in LOOSE.items()]

_LEADS = re.compile(
    r"""^[\s>*\[("'{#❌⚠️!-]{0,6}(?:
        (?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Timeout|Warning|Fault|Exceeded|NotFound|Refused|Denied)\b\s*[:(\[]
      | (?:[\w
      .\-/'"`]{0,40}\b)?(?:error|exception|failure|fehler)s?\b(?:\s+(?:executing|running|calling|in|while|when|from|during)
          \s[^:\n]{0,80}|\s*\(?\w{0,20}\)?)?\]?\s*[:!]
      | error\b\s+(?:code|executing|calling|invoking|running|occurred|while|when|from|\d{3})
      | (?:tool|command|request|call|query|operation|execution|fetch|lookup|script|process|function|step)
          (?:\s(?:execution|call|run))?\s(?:has\s|was\s)?(?:failed|errored|timed\sout|aborted|rejected|denied|refused|crashed)
      | (?:failed|unable)\sto\s\w+ | (?:cannot|can't|couldn't|could\snot)\s\w+
      | traceback\s\(most\srecent
      |
      (?:HTTP(?:/\d(?:\.\d)?)?\s?(?:error\s|status\s)?)?[45]\d\d\s(?:client|server|error|bad|unauthorized|forbidden|not\sfound
          |too\smany|internal|service|gateway|request|payment|unprocessable|conflict|gone)
      | HTTP(?:/\d(?:\.\d)?)?\s?(?:error\s|status\s)?[45]\d\d
      | (?:access|permission)\s(?:is\s|was\s)?denied
      | (?:bash|sh|zsh|/bin/\w+):\s
      | fatal\b\s*:
      | npm\sERR! | panic: | E:\s
      | (?:ssh|curl|git|psql|docker|wget|cat|ls|rm|cp)\s?:\s
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_LONGEST = 4_000
_FAULT_KEYS = ("error", "errors", "exception", "error_message", "errormessage")
_SAYS = (
    "message",
    "detail",
    "details",
    "msg",
    "reason",
    "description",
    "error_description",
    "error",
    "text",
    "content",
)


@dataclass(frozen=True)
class Meaning:
    """What an error means.

    Args:
        code: The taxonomy's code.
        begin: Where in the text the words begin that say so.
        end: Where they end; the whole text where the type alone says it.
        sure: How sure that is, in [0,1].
    """

    code: str
    begin: int
    end: int
    sure: float


def meaning(text: str, error_type: str | None = None) -> Meaning:
    """The code of an error.

    Args:
        text: What was said of it; may be empty.
        error_type: The exception's class or OpenTelemetry's `error.type`.

    Example:
        >>> meaning("Please slow down", "openai.RateLimitError").code
        'rate_limit'
        >>> meaning("[Errno 28] No space left on device", "OSError").code
        'resource_exhaustion'
    """
    text = text[:_LONGEST]
    whole = (0, len(text))
    kind = (error_type or "").rpartition(".")[2].strip()
    for code, pattern in _EXACT:
        match = pattern.search(text)
        if match is not None:
            return Meaning(code, *_line(text, match), 0.95)
    typed = BY_ERROR_TYPE.get(kind.lower())
    if typed is not None and typed != "step_failed":
        return Meaning(typed, *whole, 0.95)
    for code, pattern in _EXACT:
        if pattern.search(_CAMEL.sub(" ", kind)):
            return Meaning(code, *whole, 0.9)
    match = _STATUS.search(text)
    if match is not None:
        number = int(next(filter(None, match.groups())))
        by_number = _STATUS_CODES.get(number, "service_error" if number >= 500 else None)
        if by_number is not None:
            return Meaning(by_number, *_line(text, match), 0.9)
    return _loosely(text, _CAMEL.sub(" ", kind))


def _loosely(text: str, kind: str) -> Meaning:
    for code, pattern in _WORDS:
        match = pattern.search(text)
        if match is not None:
            return Meaning(code, *_line(text, match), 0.8)
    # The words may be split by capitals in the text as well: "ReadTimeout", "AccessDenied".
    spread = f"{kind} {_CAMEL.sub(' ', text)}"
    for code, pattern in (*_EXACT, *_WORDS):
        if pattern.search(spread):
            return Meaning(code, 0, len(text), 0.7)
    return Meaning("step_failed", 0, len(text), 0.6)


def _line(text: str, match: re.Match[str]) -> tuple[int, int]:
    """The line that the words stand in."""
    begin = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    end = len(text) if end < 0 else end
    return (begin, end) if match.end() - begin <= 250 else (match.start(), end)


def error_in(text: str) -> tuple[int, int, str | None] | None:
    """Where a tool's result is an error, though its span does not say so: begin, end and type of the error's words.

    A result counts as an error by its form, never by its words alone: a JSON object with an `error`, `isError`, a
    status of 400 or more; or a short text that begins the way errors begin.

    Example:
        >>> error_in("Timeouts are best handled by retries.") is None
        True
        >>> error_in('{"isError": true, "content": "no access"}')
        (0, 41, None)
    """
    stripped = text.strip()
    if not stripped or len(stripped) > 20_000:
        return None
    if stripped[0] in '{["':
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, str):
            return (0, len(text), None) if _begins_as_error(value) else None
        if value is not None:
            return _json_error(value, text)
    return (0, len(text), None) if _begins_as_error(stripped) else None


def _begins_as_error(text: str) -> bool:
    if len(text) > _LONGEST and not text.startswith("Traceback (most recent call last)"):
        return False
    return _LEADS.match(text) is not None or "Traceback (most recent call last):\n" in text[:500]


def _json_error(value: object, text: str) -> tuple[int, int, str | None] | None:
    item = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(item, dict) and item.get("type") == "text" and isinstance(item.get("text"), str):
        return (0, len(text), None) if _begins_as_error(item["text"]) else None
    if not isinstance(item, dict):
        return None
    low = {str(key).lower(): each for key, each in item.items()}
    told = next((low[key] for key in _FAULT_KEYS if low.get(key) not in (None, "", False, 0, [], {})), None)
    flagged = low.get("iserror") is True or low.get("is_error") is True
    flagged = flagged or ((low.get("success") is False or low.get("ok") is False) and any(key in low for key in _SAYS))
    flagged = flagged or str(low.get("status")).lower() in ("error", "failed", "failure")
    number = next(
        (low[key] for key in ("status", "status_code", "statuscode", "code") if _is_fault(low.get(key))), None
    )
    if told is None and not flagged and number is None:
        return None
    kind = None
    inner = told if isinstance(told, dict) else low
    for key in ("type", "code", "error_type", "name"):
        if isinstance(inner.get(key), str):
            kind = str(inner[key])
            break
    return 0, len(text), kind or (None if number is None else str(number))


def _is_fault(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600
