"""What an error means: one code from its type, its status number and its words; and whether a text is an error at all.

Names of exception classes are read as words (`RateLimitError` says "rate limit error"). Rules go from what is said most
exactly to what is said most loosely; the first that fits counts, and the words that it found are the evidence.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tracekit_evaluators.diagnosis.taxonomy import BY_ERROR_TYPE

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_STATUS = re.compile(
    r"(?:status[ _]?code|status|error[ _]?code|http(?:/\d(?:\.\d)?)?(?: status)?(?: error)?|code|response|returned|failed)"
    r"[\"']?[\s:=(<\[]{1,4}[\"']?(?P<n>[45]\d\d)\b"
    r"|^\W{0,2}(?P<first>[45]\d\d)\b(?![.,]?\d)|\b(?P<named>[45]\d\d) (?:client|server) error"
    r"|\((?P<paren>[45]\d\d)\)",
    re.IGNORECASE,
)
_STATUS_CODES = {401: "authentication", 402: "resource_exhaustion", 403: "permission_denied", 404: "not_found"}
_STATUS_CODES |= {407: "authentication", 408: "timeout", 410: "not_found", 413: "context_overflow"}
_STATUS_CODES |= {422: "tool_arguments", 429: "rate_limit", 504: "timeout", 507: "resource_exhaustion", 524: "timeout"}

_RULES: tuple[tuple[str, str], ...] = (
    (
        "context_overflow",
        r"context[ _](?:length|window|size)|maximum (?:context|input|prompt)|prompt is too long|input is too long"
        r"|too many (?:input |prompt )?tokens|reduce the (?:length|number of tokens|size of the)"
        r"|tokens? (?:count )?exceeds? |exceeds? the (?:maximum|model'?s?|limit of|allowed)[^.]{0,60}tokens"
        r"|input token count|(?:input|prompt)[^.]{0,40}longer than the (?:model|context|maximum)|token limit",
    ),
    (
        "content_filter",
        r"content[ _-](?:filter|policy|management)|responsible ?ai|safety (?:system|filter|setting|policy)"
        r"|(?:blocked|flagged|rejected|stopped)[^.]{0,40}(?:safety|moderation|policy|guardrail|recitation|prohibited)"
        r"|guardrail (?:intervened|tripwire)|moderation",
    ),
    (
        "step_limit",
        r"recursion[ _]limit|max(?:imum)?[ _](?:number of )?(?:iterations?|turns?|steps|rounds|tool calls)"
        r"|(?:iteration|step|turn)s? limit|(?:stopped|ended|terminated) due to (?:the )?(?:max|iteration)"
        r"|(?:reached|exceeded|hit) (?:the |its )?(?:max|limit of \d+ (?:steps|turns|iterations))"
        r"|(?:request|tool calls?)_limit of|graph recursion error",
    ),
    (
        "resource_exhaustion",
        r"insufficient[ _](?:quota|funds|balance|credits?|memory|disk)|exceeded your (?:current|monthly|daily) quota"
        r"|quota (?:was |has been )?(?:exceeded|exhausted|used up)|credit balance|out of (?:credits|memory|disk)|billing"
        r"|payment required|memory ?error|oom[- ]?kill|cannot allocate|unable to allocate|no space left|disk (?:is )?full"
        r"|too many open files|too many (?:clients|connections)|connection slots|pool (?:is )?exhausted"
        r"|queuepool limit|heap (?:space|limit|out)|exit(?:ed with)?(?: status| code)? 137|memory limit|disk quota"
        r"|not enough (?:memory|space)|usage limit|spending limit",
    ),
    (
        "rate_limit",
        r"rate[ _-]?limit|too many requests|throttl|(?:requests?|tokens?|calls) per (?:second|minute|hour|day)"
        r"|slow ?down|rate exceeded|rate of requests|request limit (?:reached|exceeded)|too frequent|\b[rt]p[md]\b",
    ),
    (
        "tool_definition",
        r"invalid (?:json )?schema for|invalid ['\"]?(?:tools?|functions?)\W{0,3}\d|tools?\W{1,2}\d+\W"
        r"|tool names? (?:must be unique|must match|already)|duplicate (?:tool|function)"
        r"|(?:input|tool|function|json)[ _]schema (?:is |must |does |isn|has|was|could)"
        r"|schema must (?:be|have)|(?:tool|function) definition",
    ),
    (
        "unknown_tool",
        r"unknown (?:tool|function|action)|(?:no|not a valid|invalid) (?:tool|function|action)(?: named| called| with name)"
        r"|\w+ is not a valid tool|(?:tool|function|action) (?:name )?['\"`]?[\w.\-]+['\"`]?"
        r" (?:was |is |could |does )?(?:not|n't) (?:be )?(?:found|exist|registered|available|recognized|offered)"
        r"|(?:tool|function) not (?:found|available|registered)|no such (?:tool|function)|-32601|method not found"
        r"|called (?:an )?(?:unknown|undefined|nonexistent) (?:tool|function)",
    ),
    (
        "environment_setup",
        r"no module named|module ?not ?found|cannot import name|import ?error|command not found"
        r"|not recognized as an internal|executable (?:file )?(?:not found|doesn't exist|needs to be in)"
        r"|environment variable|\benv(?:ironment)? var|(?:must|needs to|has to) be (?:set|configured|installed)"
        r"|(?:is|are) not (?:set|installed|configured)\b|(?:please|pip|npm|apt(?:-get)?) install"
        r"|cannot open shared object|dll load failed|docker daemon|library not loaded|glibc|unsupported python version"
        r"|cannot find module|could not find (?:a version|driver|browser|chrome)|missing (?:dependency|dependencies)"
        r"|is required to use|no such file or directory: ['\"][\w\-]+['\"]",
    ),
    (
        "formatting_error",
        r"expecting (?:value|property|',' delimiter|':' delimiter)|unterminated string|extra data: line"
        r"|json ?decode|(?:invalid|malformed|broken|not valid|bad) (?:json|xml|yaml|markdown|sql|code block)"
        r"|(?:could ?n[o']t|unable to|failed to|cannot|error) (?:be )?pars(?:e|ed|ing)|parse error|parsing error"
        r"|output ?pars(?:er|ing)|unexpected (?:token|end of (?:json|input|data|file)|eof)|syntax ?error"
        r"|code block|regex pattern.{0,60}not found in|control character|invalid (?:\\?escape|literal for)",
    ),
    (
        "tool_arguments",
        r"validation errors?|missing \d+ required|missing (?:a )?required|unexpected keyword|field required"
        r"|is a required property|required (?:property|parameter|argument|field)|is not of type|is not one of \["
        r"|input should be|(?:invalid|bad|wrong|illegal) (?:params|parameters?|arguments?|input)|invalid_(?:type|argument)"
        r"|-32602|unprocessable|additional properties are not allowed|does not match the (?:schema|tool|expected)"
        r"|(?:got|received) an unexpected|takes \d+ positional|value is not a valid|unrecognized_keys|not a valid (?:enum|uuid)"
        r"|(?:parameter|argument) ['\"`]?\w+['\"`]? (?:is (?:missing|required|invalid)|must be)",
    ),
)
_LOOSE: tuple[tuple[str, str], ...] = (
    (
        "authentication",
        r"unauthori[sz]ed|unauthenticated|authenticat|(?:invalid|incorrect|wrong|bad|missing|expired|revoked|no)"
        r" (?:\w+ )?(?:\w+-)*(?:api[ _-]?key|key|token|credentials?|password|login|signature|x-api-key)\b"
        r"|(?:token|key|session|credentials?|certificate) (?:is |has |was |have |are )?(?:been )?"
        r"(?:expired|invalid|revoked|missing|rejected)"
        r"|api[ _-]?key (?:not|is|was|provided)|unable to locate credentials|could not validate credentials"
        r"|log ?in (?:required|failed|again)|(?:sign|log) in to|password authentication|signature ?does ?not ?match"
        r"|invalid_(?:grant|client|token|api_key)|access token",
    ),
    (
        "permission_denied",
        r"permission|forbidden|access (?:is |was )?(?:denied|refused|restricted)|access ?denied|not (?:authori[sz]ed|allowed)"
        r" (?:to|for|by)|insufficient (?:scope|privilege|right|access)|must be (?:the )?owner|operation not permitted"
        r"|(?:do|does) not have (?:access|the right)|read-only|\beacces\b|\beperm\b|lacks? (?:the )?(?:scope|role|right)",
    ),
    (
        "timeout",
        r"tim(?:e|ed)[ _-]?out|deadline|etimedout|took (?:too long|longer|more than)|gave up (?:waiting|after)"
        r"|no (?:response|answer|reply) (?:within|after|in)|did not (?:respond|answer|finish|complete) (?:within|in|after)"
        r"|statement timeout|lock timeout|not finish(?:ed)? in time",
    ),
    (
        "connection",
        r"connection|connect (?:call|error|to)|econn\w+|getaddrinfo|name resolution|name or service not known|nodename"
        r"|could not resolve|enotfound|\bdns\b|\bssl|\btls\b|certificate|disconnected|unreachable|no route to host"
        r"|peer closed|broken pipe|socket|max retries exceeded|proxy error|eof occurred|network (?:is|error|failure)",
    ),
    (
        "not_found",
        r"not found|no such|(?:does|do|did) ?n[o']t exist|not exist|no longer (?:exists|available)|cannot find|could ?n[o']t"
        r" (?:be )?(?:find|found|locate)|\benoent\b|unknown (?:host|column|table|database|model|id|record|user|resource)"
        r"|no (?:record|row|result|entry|item|object|user|customer|page|file|document|order|match)s? (?:\w+ )?"
        r"(?:found|exists?|with|for|at|matching|named)|missing (?:file|page|table)|has been (?:deleted|removed)"
        r"|is gone\b|nosuch",
    ),
    (
        "service_error",
        r"internal (?:server )?error|server error|bad gateway|service (?:is )?(?:currently |temporarily )?(?:un|not )available"
        r"|(?:temporarily|currently) unavailable|unavailable|overloaded|over ?capacity|at capacity|upstream"
        r"|server (?:had|encountered|experienced|failed)|maintenance|try again later|api ?(?:status )?error|backend"
        r"|\boutage|system error|unexpected error occurred|(?:server|service) (?:is )?(?:down|busy)",
    ),
)
_EXACT = [(code, re.compile(pattern, re.IGNORECASE)) for code, pattern in _RULES]
_WORDS = [(code, re.compile(pattern, re.IGNORECASE)) for code, pattern in _LOOSE]

_LEADS = re.compile(
    r"""^[\s>*\[("'{#❌⚠️!-]{0,6}(?:
        (?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Timeout|Warning|Fault|Exceeded|NotFound|Refused|Denied)\b\s*[:(\[]
      | (?:[\w .\-/'"`]{0,40}\b)?(?:error|exception|failure|fehler)s?\b(?:\s+(?:executing|running|calling|in|while|when|from|during)
          \s[^:\n]{0,80}|\s*\(?\w{0,20}\)?)?\]?\s*[:!]
      | error\b\s+(?:code|executing|calling|invoking|running|occurred|while|when|from|\d{3})
      | (?:tool|command|request|call|query|operation|execution|fetch|lookup|script|process|function|step)
          (?:\s(?:execution|call|run))?\s(?:has\s|was\s)?(?:failed|errored|timed\sout|aborted|rejected|denied|refused|crashed)
      | (?:failed|unable)\sto\s\w+ | (?:cannot|can't|couldn't|could\snot)\s\w+
      | traceback\s\(most\srecent
      | (?:HTTP(?:/\d(?:\.\d)?)?\s?(?:error\s|status\s)?)?[45]\d\d\s(?:client|server|error|bad|unauthorized|forbidden|not\sfound
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
_SAYS = ("message", "detail", "details", "msg", "reason", "description", "error_description", "error", "text", "content")


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

    A result counts as an error by its form, never by its words alone: a JSON object with an `error`, `isError`, a status
    of 400 or more; or a short text that begins the way errors begin.

    Example:
        >>> error_in("Timeouts are best handled by retries.") is None
        True
        >>> error_in('{"isError": true, "content": "no access"}')
        (0, 41, None)
    """
    stripped = text.strip()
    if not stripped or len(stripped) > 20_000:
        return None
    if stripped[0] in "{[\"":
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
    flagged = flagged or (low.get("success") is False or low.get("ok") is False) and any(key in low for key in _SAYS)
    flagged = flagged or str(low.get("status")).lower() in ("error", "failed", "failure")
    number = next((low[key] for key in ("status", "status_code", "statuscode", "code") if _is_fault(low.get(key))), None)
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
