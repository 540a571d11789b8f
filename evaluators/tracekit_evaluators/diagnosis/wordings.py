"""How errors are worded: our own words, which detectors may be tuned on, and those of real libraries, kept apart.

`DRAFTED` was written together with the detectors. `real()` reads `wordings.json`: errors as clients, databases, models'
servers and tools word them (`from` names the library). Those were gathered after the rules of `errors` had been
written, and the rules were not changed for them since; ids and addresses in them are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Wording:
    """One error.

    Args:
        code: What it means.
        message: What it says; may be empty.
        type: The exception's class; `None` where none was told.
        source: The library that words it so.
    """

    code: str
    message: str
    type: str | None = None
    source: str = "tracekit"


_DRAFTED: dict[str, tuple[tuple[str | None, str], ...]] = {
    "authentication": (
        ("AuthenticationError", "the API key is invalid"),
        (None, "HTTP 401: the session token has expired"),
        ("HTTPError", "401 Unauthorized"),
        ("LoginError", "wrong password for user agent"),
    ),
    "permission_denied": (
        ("PermissionError", "not allowed to write to /srv/reports"),
        (None, "HTTP 403: this account may not read invoices"),
        ("Forbidden", "access denied: the role lacks the scope tickets.write"),
    ),
    "rate_limit": (
        ("RateLimitError", "too many requests, retry in 12 s"),
        (None, "HTTP 429: slow down"),
        ("ThrottlingException", "rate exceeded for GetItem"),
    ),
    "timeout": (
        ("TimeoutError", "no answer within 30 s"),
        ("ReadTimeout", ""),
        (None, "the request timed out after 10 seconds"),
        ("DeadlineExceeded", "deadline of 5 s passed"),
    ),
    "not_found": (
        ("NotFoundError", "no order with id 8812"),
        ("FileNotFoundError", "no such file: reports/q3.csv"),
        (None, "HTTP 404: the page does not exist"),
    ),
    "connection": (
        ("ConnectionError", "connection refused by 10.0.0.7:5432"),
        ("ConnectError", "could not resolve host search.internal"),
        ("RemoteProtocolError", "peer closed the connection"),
    ),
    "service_error": (
        ("ServiceUnavailableError", "the search service is down for maintenance"),
        (None, "HTTP 500: internal error"),
        ("HTTPError", "502 Bad Gateway"),
        ("OverloadedError", "the model is overloaded"),
    ),
    "resource_exhaustion": (
        ("MemoryError", "cannot allocate 9 GB"),
        ("OSError", "no space left on device"),
        ("QuotaError", "insufficient_quota: your credit balance is used up"),
    ),
    "environment_setup": (
        ("ModuleNotFoundError", "No module named 'numpy'"),
        (None, "sh: jq: command not found"),
        ("SettingError", "the environment variable SEARCH_KEY is not set"),
    ),
    "tool_definition": (
        ("BadRequestError", "Invalid schema for function 'lookup': type is missing"),
        ("BadRequestError", "tools.1: tool names must be unique"),
    ),
    "tool_arguments": (
        ("ValidationError", "limit: Input should be an integer"),
        ("TypeError", "lookup() got an unexpected keyword argument 'ident'"),
        (None, "invalid arguments: 'city' is a required property"),
    ),
    "content_filter": (("BadRequestError", "content_filter: the request was blocked by the safety system"),),
    "context_overflow": (("BadRequestError", "the prompt is longer than the maximum context length of 32768 tokens"),),
    "formatting_error": (("JSONDecodeError", "Expecting value: line 1 column 1 (char 0)"),),
    "step_limit": (("RecursionLimitError", "the maximum number of iterations was reached"),),
}
DRAFTED: tuple[Wording, ...] = tuple(
    Wording(code, message, kind) for code, told in _DRAFTED.items() for kind, message in told
)


@cache
def real() -> tuple[Wording, ...]:
    """Errors as real libraries word them, which no detector was tuned on."""
    text = (files(__package__) / "wordings.json").read_text(encoding="utf-8")
    return tuple(Wording(each["code"], each["message"], each["type"], each["from"]) for each in json.loads(text))
