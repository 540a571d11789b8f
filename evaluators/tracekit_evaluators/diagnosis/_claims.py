"""A detector of acts that the answer claims and that no successful call did."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracekit_evaluators.diagnosis._failures import went_well
from tracekit_evaluators.diagnosis._flow import final_answer
from tracekit_evaluators.diagnosis.finding import Finding, found
from tracekit_evaluators.diagnosis.material import Material
from tracekit_evaluators.subject import as_text

# What is said to be done, and what the tools are called that do it.
_ACTS: tuple[tuple[str, str], ...] = (
    (
        "sent|e-?mailed|messaged|notified|forwarded|replied",
        "send|mail|messag|notif|sms|slack|reply|forward|post|whatsapp",
    ),
    ("booked|reserved", "book|reserv|ticket|order|schedul|creat"),
    ("cancel+ed", "cancel|delet|remov|void|stop|end|updat|unsubscri"),
    ("deleted|removed|erased", "delet|remov|eras|drop|clear|purge|rm|cancel|updat"),
    ("refunded|credited|reimbursed", "refund|credit|reimburs|pay|transact|cancel|return"),
    ("scheduled|rescheduled|postponed", "schedul|calendar|event|meeting|appoint|book|creat|updat|modif|remind|add"),
    (
        "updated|changed|modified|edited|adjusted|corrected",
        "updat|chang|modif|edit|set|adjust|patch|put|write|save|replac|correct",
    ),
    ("ordered|purchased|bought", "order|purchas|buy|checkout|cart|pay|book"),
    ("paid|transferred|wired", "pay|transfer|wire|transact|charg|invoice|send"),
    ("uploaded|published|posted|shared", "upload|publish|post|shar|push|write|save|send|creat"),
    (
        "created|opened|filed|submitted|registered|logged|raised",
        "creat|open|fil|submit|regist|log|rais|add|new|insert|post",
    ),
    ("saved|stored|written|recorded", "sav|stor|writ|record|creat|insert|put|add|note|memor|log|upload"),
    ("deployed|restarted|rebooted|rolled back", "deploy|restart|reboot|rollback|roll_back|release|run|exec"),
    ("exchanged|returned", "exchang|return|refund|modif|order"),
    ("upgraded|downgraded", "upgrad|downgrad|updat|chang|modif|book|set"),
)
_WRITES = {"created": "write|sav|draft|book|schedul|generat|plot|chart", "opened": "get|read|fetch|brows|navigat|goto"}
_NAMES = "|".join(verbs for verbs, _ in _ACTS)
_DONE = re.compile(
    rf"(?:\b(?:I|we)(?:['’]ve| have|)(?: now| also| just| already| successfully| gone ahead and)* (?P<by>{_NAMES})\b"
    rf"|\b(?:has|have)(?: now| also| just| already)? been(?: now| successfully)? (?P<been>{_NAMES})\b"
    rf"|\b(?:is|are)(?: now)? successfully (?P<now>{_NAMES})\b|\bsuccessfully (?P<well>{_NAMES})\b"
    rf"|(?:^|[.!\n][ \t]*)(?:Done|All set|Done deal)\b[^.\n]{{0,60}}\b(?P<set>{_NAMES})\b)",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:not|n't|if|once|when|unless|after|before|until|could|should|would|will|can|may|might|whether|which|that|who|already"
    r"|according|shows?|says?|your (?:earlier|previous)|previously|yesterday|last (?:week|month|year)"
    r"|on \w+ \d+|draft|because)\b",
    re.IGNORECASE,
)
# These do anything, so that their success may be the act.
_ANYTHING = re.compile(
    r"run|exec|bash|shell|terminal|python|code|sql|http|request|api|brows|click|computer|mcp|agent|delegat|handoff|transfer_to"
    r"|task|invoke|call_|playwright|action|workflow|command|operate|perform|process|handle|manage|apply",
    re.IGNORECASE,
)
_READS = re.compile(
    r"^(?:\w+__)?(?:get|read|list|search|find|check|look_?up|fetch|query|show|view|retrieve|count)(?![a-z])",
    re.IGNORECASE,
)


def claimed_action(material: Material) -> Iterator[Finding]:
    """An answer that says that something was done, where no call that could have done it succeeded."""
    trace = material.trace
    if not trace.tool_calls and not material.offered:
        return
    where = final_answer(material)
    if where is None:
        return
    span_id, field, text = where
    claims = list(_DONE.finditer(text))
    calls = [call for call in trace.tool_calls if went_well(call, material)] if claims else []
    calls = [call for call in calls if not _READS.match(call.name or "")]
    names = [call.name or "" for call in calls]
    done = [*names, *(as_text(call.arguments)[:500] for call in calls)]
    if any(_ANYTHING.search(name) for name in names):
        return
    for match in claims:
        verb = next(filter(None, match.groups())).lower()
        begin, end = _sentence(text, match)
        if _HEDGED.search(text[begin : match.end()]):
            continue
        tools = next(tools for verbs, tools in _ACTS if re.fullmatch(verbs, verb))
        tools += "|" + _WRITES[verb] if verb in _WRITES else ""
        if not any(re.search(tools, name, re.IGNORECASE) for name in done):
            why = (
                f"no successful call could have {verb} anything" if names else f"nothing was {verb}: no call succeeded"
            )
            yield found("claimed_action", material, span_id, (field, begin, end), explanation=why, confidence=0.8)
            return


def _sentence(text: str, match: re.Match[str]) -> tuple[int, int]:
    begin = max(text.rfind(mark, 0, match.start() + 1) for mark in (". ", "! ", "? ", "\n")) + 1
    while begin < match.start() and text[begin].isspace():
        begin += 1
    ends = [place for mark in (". ", "! ", "\n") if (place := text.find(mark, match.end())) >= 0]
    return begin, min(ends, default=len(text) - 1) + 1
