"""Clean traces that are hard: they talk of errors, or look like one, and are none; each function makes one."""

from __future__ import annotations

import json
from collections.abc import Callable

from tracekit_evaluators.diagnosis._faults import _answer, _id, _int, _replace_result
from tracekit_evaluators.diagnosis._shapes import MS, Clean


def plain(made: Clean) -> bool:
    """Nothing at all."""
    return bool(made.models)


def talks_of_errors(made: Clean) -> bool:
    """A page about errors, as a tool returns it."""
    if not made.tools:
        return False
    text = (
        "Timeouts and how to live with them. When a server answers 429 Too Many Requests, wait; a "
        "401 Unauthorized means "
        "that the API key is wrong, and a connection refused that nobody listens. Rate limits are per minute."
    )
    _replace_result(made, made.tools[0], text)
    return True


def logs_of_others(made: Clean) -> bool:
    """Records of errors that a tool was asked for: rows of a log, not an error of the tool."""
    if not made.tools:
        return False
    rows = [{"level": "error", "text": "connection refused"}, {"level": "warn", "text": "rate limit near"}]
    _replace_result(made, made.tools[0], json.dumps({"rows": rows, "errors_total": 2, "error": None}))
    return True


def no_error_field(made: Clean) -> bool:
    """A result that says that there is no error."""
    if not made.tools:
        return False
    _replace_result(
        made, made.tools[-1], json.dumps({"error": "", "errors": [], "status": 200, "success": True, "n": 404})
    )
    return True


def polls(made: Clean) -> bool:
    """A job is asked for three times, and each time has come further."""
    if not made.tools or made.root["name"] == "lead":
        return False
    span = made.tools[-1]
    place = made.draft.rows.index(span) + 1
    for turn in (1, 2):
        told = json.dumps({"state": "running", "done": turn * 40})
        twin = {**span, "span_id": f"b{turn}" + _id(span)[2:], "tool_call_id": f"poll_{turn}", "tool_result": told}
        twin |= {"output": told, "start_ns": _int(span["start_ns"]) + turn * MS // 8}
        made.draft.rows.insert(place + turn - 1, twin)
    return True


def user_says_error(made: Clean) -> bool:
    """The user asks about an error, and the answer explains it."""
    made.root["input"] = "Why do I get TimeoutError: timed out after 30 s?"
    _answer(made, "The error TimeoutError means that no answer came in time. It is raised by the client.")
    return True


def says_what_others_did(made: Clean) -> bool:
    """The answer tells of acts that were done before."""
    if not made.tools:
        return False
    _answer(
        made, "The order shows that it was cancelled on 3 May, and that your refund has already been sent by the shop."
    )
    return True


def offers_to_act(made: Clean) -> bool:
    """The answer offers an act."""
    if not made.tools:
        return False
    _answer(made, "I can cancel the order if you like. Once I have booked the table, I will let you know.")
    return True


def computed(made: Clean) -> bool:
    """An argument that stands in a result before, written in another way."""
    spans = [span for span in made.tools if span["tool_name"] == "get_order"]
    if not spans:
        return False
    arguments = json.loads(str(spans[0]["tool_arguments"]))
    spans[0]["tool_arguments"] = json.dumps({"order_id": arguments["order_id"].replace("-", " ").lower()})
    return True


NEGATIVES: dict[str, Callable[[Clean], bool]] = {
    "plain": plain,
    "talks_of_errors": talks_of_errors,
    "logs_of_others": logs_of_others,
    "no_error_field": no_error_field,
    "polls": polls,
    "user_says_error": user_says_error,
    "says_what_others_did": says_what_others_did,
    "offers_to_act": offers_to_act,
    "computed": computed,
}
