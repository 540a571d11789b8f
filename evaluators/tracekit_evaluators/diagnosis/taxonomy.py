"""What can go wrong in an agent's work: one list of stable codes, with maps to TRAIL, MAST and OpenTelemetry.

TRAIL is the taxonomy of arXiv 2505.08638, MAST that of arXiv 2503.13657; `error_types` are values of OpenTelemetry's
`error.type` that mean a code, names of exception classes among them, in lower case. A code is never renamed and never
given another meaning: scores, findings and exports keep it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Group = Literal["reasoning", "planning", "execution", "safety"]
Severity = Literal["low", "medium", "high"]
GROUPS: tuple[str, ...] = get_args(Group)
SEVERITIES: tuple[str, ...] = get_args(Severity)


@dataclass(frozen=True)
class Code:
    """One way to go wrong.

    Args:
        id: The stable code.
        group: Which part of the work failed: reasoning, planning and coordination, system execution, or safety.
        about: What it means.
        severity: How bad it is where nothing says otherwise.
        found_by: `code` where a detector finds it without a model, `model` where only a model does.
        trail: TRAIL's category; `None` where it has none.
        mast: MAST's failure mode; `None` where it has none.
        error_types: OpenTelemetry's `error.type` values that mean it, in lower case.
    """

    id: str
    group: Group
    about: str
    severity: Severity = "medium"
    found_by: Literal["code", "model"] = "code"
    trail: str | None = None
    mast: str | None = None
    error_types: tuple[str, ...] = ()


CODES: tuple[Code, ...] = (
    # What the world around the agent refused, lacked or broke.
    Code(
        "authentication",
        "execution",
        "A service did not accept who asked: a key, token or password is missing, wrong or expired.",
        "high",
        trail="Authentication Errors",
        error_types=("401", "authenticationerror", "unauthenticated", "unauthorized", "unauthorizederror"),
    ),
    Code(
        "permission_denied",
        "execution",
        "A service or the system knew who asked, and did not allow it.",
        "high",
        trail="Authentication Errors",
        error_types=(
            "403",
            "accessdenied",
            "accessdeniedexception",
            "forbidden",
            "permissiondeniederror",
            "permission_denied",
            "permissionerror",
            "insufficientprivilege",
        ),
    ),
    Code(
        "rate_limit",
        "execution",
        "A service refused because it was asked too often or for too much at once.",
        trail="Rate Limiting",
        error_types=("429", "ratelimiterror", "ratelimitexceeded", "throttlingexception", "toomanyrequests"),
    ),
    Code(
        "timeout",
        "execution",
        "No answer came in the time allowed.",
        trail="Timeout Issues",
        error_types=(
            "408",
            "504",
            "apitimeouterror",
            "connecttimeout",
            "deadline_exceeded",
            "deadlineexceeded",
            "pooltimeout",
            "querycanceled",
            "readtimeout",
            "timeout",
            "timeouterror",
            "timeoutexpired",
            "writetimeout",
            "timeoutexception",
            "connecttimeouterror",
            "readtimeouterror",
            "serverselectiontimeouterror",
        ),
    ),
    Code(
        "not_found",
        "execution",
        "What was asked for is not there: a page, file, table, record or model.",
        trail="Resource Not Found",
        error_types=(
            "404",
            "410",
            "filenotfounderror",
            "not_found",
            "notfounderror",
            "nosuchkey",
            "undefinedtable",
            "resourcenotfoundexception",
        ),
    ),
    Code(
        "connection",
        "execution",
        "A service could not be reached, or the connection to it broke.",
        trail="Service Errors",
        error_types=(
            "apiconnectionerror",
            "brokenpipeerror",
            "connecterror",
            "connectionabortederror",
            "connectionerror",
            "connectionrefusederror",
            "connectionreseterror",
            "gaierror",
            "remoteprotocolerror",
            "readerror",
            "remotedisconnected",
            "serverdisconnectederror",
            "sslerror",
            "clientconnectorerror",
        ),
    ),
    Code(
        "service_error",
        "execution",
        "A service failed on its own side, or said that it was overloaded.",
        "high",
        trail="Service Errors",
        error_types=(
            "500",
            "502",
            "503",
            "520",
            "522",
            "529",
            "internalservererror",
            "overloadederror",
            "unavailable",
            "serviceunavailableerror",
            "serviceunavailable",
            "serviceunavailableexception",
            "internal",
        ),
    ),
    Code(
        "resource_exhaustion",
        "execution",
        "Memory, disk, handles, connections, a quota or the money for it ran out.",
        "high",
        trail="Resource Exhaustion",
        error_types=(
            "402",
            "507",
            "insufficientquota",
            "memoryerror",
            "outofmemoryerror",
            "toomanyconnections",
            "diskfull",
            "resource_exhausted",
            "resourceexhausted",
        ),
    ),
    Code(
        "environment_setup",
        "execution",
        "The place that the agent runs in lacks a package, program, library or setting.",
        "high",
        trail="Environment Setup Errors",
        error_types=("importerror", "modulenotfounderror"),
    ),
    Code(
        "tool_definition",
        "execution",
        "A tool is defined so that it cannot be used: a broken schema, a bad or doubled name.",
        "high",
        trail="Tool Definition Issues",
    ),
    Code(
        "tool_arguments",
        "execution",
        "A tool was called with arguments that its definition does not allow.",
        trail="Tool Definition Issues",
        error_types=("422", "validationerror", "toolinputparsingexception", "invalid_argument", "invalidargument"),
    ),
    Code(
        "content_filter",
        "execution",
        "A provider's filter stopped a request or an answer.",
        error_types=("content_filter", "contentfilterfinishreasonerror", "contentpolicyviolationerror"),
    ),
    Code(
        "step_failed",
        "execution",
        "A step broke on an error that no other code describes, mostly of its own program or its own rules.",
        error_types=("attributeerror", "indexerror", "keyerror", "typeerror", "valueerror", "zerodivisionerror"),
    ),
    # What the model got wrong by itself.
    Code(
        "unknown_tool",
        "reasoning",
        "A tool was called that was not offered.",
        trail="Tool Selection Errors",
        error_types=("toolnotfounderror", "unknowntoolerror"),
    ),
    Code(
        "formatting_error",
        "reasoning",
        "What was written does not have the form that its reader needs: JSON, code, a given schema.",
        trail="Formatting Errors",
        error_types=(
            "jsondecodeerror",
            "outputparserexception",
            "syntaxerror",
            "unexpectedmodelbehavior",
            "agentparsingerror",
        ),
    ),
    Code(
        "ungrounded_argument",
        "reasoning",
        "A call names an id, number or address that stands nowhere in what came before.",
        "high",
        trail="Tool-related",
    ),
    Code(
        "claimed_action",
        "reasoning",
        "The answer says that something was done for which no call succeeded.",
        "high",
        trail="Tool-related",
        mast="FM-2.6 Reasoning-action mismatch",
    ),
    Code(
        "empty_answer",
        "reasoning",
        "The agent answered with nothing.",
        "high",
        trail="Instruction Non-compliance",
        mast="FM-3.1 Premature termination",
    ),
    Code(
        "truncated_answer", "reasoning", "A model's answer was cut off by its length limit.", trail="Formatting Errors"
    ),
    Code(
        "poor_retrieval",
        "reasoning",
        "A search found nothing, or not what the task needs.",
        trail="Poor Information Retrieval",
    ),
    Code(
        "hallucination",
        "reasoning",
        "A statement is made up: neither the material nor common knowledge holds it.",
        "high",
        "model",
        trail="Language-only",
    ),
    Code(
        "misread_output",
        "reasoning",
        "What a tool or a source returned was misunderstood.",
        "high",
        "model",
        trail="Tool Output Misinterpretation",
    ),
    Code(
        "wrong_problem",
        "reasoning",
        "The task was misunderstood.",
        "high",
        "model",
        trail="Incorrect Problem Identification",
    ),
    Code(
        "wrong_tool",
        "reasoning",
        "A tool was chosen that does not serve the step.",
        found_by="model",
        trail="Tool Selection Errors",
    ),
    Code(
        "instruction_violation",
        "reasoning",
        "An instruction of the user or the system was not followed.",
        found_by="model",
        trail="Instruction Non-compliance",
        mast="FM-1.1 Disobey task specification",
    ),
    Code(
        "reasoning_action_mismatch",
        "reasoning",
        "What was done is not what was just decided.",
        found_by="model",
        mast="FM-2.6 Reasoning-action mismatch",
    ),
    Code(
        "no_verification",
        "reasoning",
        "A result was taken for right that nobody checked, or only in part.",
        found_by="model",
        mast="FM-3.2 No or incomplete verification",
    ),
    Code(
        "wrong_verification",
        "reasoning",
        "A check passed what is wrong.",
        found_by="model",
        mast="FM-3.3 Incorrect verification",
    ),
    # How the work was planned, and how several agents worked together.
    Code(
        "repetition",
        "planning",
        "The same step was taken again and again, with the same outcome.",
        trail="Resource Abuse",
        mast="FM-1.3 Step repetition",
    ),
    Code(
        "step_limit",
        "planning",
        "The work was stopped by a limit on its steps or turns before it was done.",
        "high",
        trail="Resource Abuse",
        mast="FM-1.5 Unaware of termination conditions",
        error_types=("graphrecursionerror", "maxturnsexceeded", "usagelimitexceeded", "recursionerror"),
    ),
    Code(
        "context_overflow",
        "planning",
        "More was put before a model than it can take.",
        "high",
        trail="Context Handling Failures",
        mast="FM-1.4 Loss of conversation history",
        error_types=("413", "context_length_exceeded", "contextwindowexceedederror"),
    ),
    Code(
        "ignored_tool_error",
        "planning",
        "A tool failed, and the agent went on to its answer as if it had not.",
        "high",
        trail="Tool Output Misinterpretation",
        mast="FM-2.5 Ignored other agent's input",
    ),
    Code(
        "ping_pong",
        "planning",
        "Agents handed the work to and fro without anything done between.",
        trail="Task Orchestration",
        mast="FM-1.3 Step repetition",
    ),
    Code(
        "context_loss",
        "planning",
        "Something that was said or found earlier was forgotten.",
        found_by="model",
        trail="Context Handling Failures",
        mast="FM-1.4 Loss of conversation history",
    ),
    Code(
        "goal_deviation",
        "planning",
        "The work went after something else than the goal.",
        found_by="model",
        trail="Goal Deviation",
        mast="FM-2.3 Task derailment",
    ),
    Code(
        "orchestration",
        "planning",
        "Steps were done in a wrong order, by the wrong agent, or not at all.",
        found_by="model",
        trail="Task Orchestration",
    ),
    Code(
        "role_violation",
        "planning",
        "An agent did what is another one's to do.",
        found_by="model",
        mast="FM-1.2 Disobey role specification",
    ),
    Code(
        "conversation_reset",
        "planning",
        "The conversation began anew without a reason.",
        found_by="model",
        mast="FM-2.1 Conversation reset",
    ),
    Code(
        "no_clarification",
        "planning",
        "The task was unclear, and nobody asked.",
        found_by="model",
        mast="FM-2.2 Fail to ask for clarification",
    ),
    Code(
        "withheld_information",
        "planning",
        "An agent knew what another one needed, and did not pass it on.",
        found_by="model",
        mast="FM-2.4 Information withholding",
    ),
    Code(
        "ignored_input",
        "planning",
        "What another agent or the user said was not taken up.",
        found_by="model",
        mast="FM-2.5 Ignored other agent's input",
    ),
    Code(
        "premature_end",
        "planning",
        "The work ended before the task was done.",
        "high",
        "model",
        mast="FM-3.1 Premature termination",
    ),
    # What must not happen at all.
    Code(
        "secret_exposed", "safety", "The answer shows a key, a token or a password that the user did not give.", "high"
    ),
    Code(
        "injection_followed",
        "safety",
        "Instructions that stood in a tool's output or a document were followed.",
        "high",
        "model",
    ),
    Code("unapproved_action", "safety", "A risky act was done without the leave that it needs.", "high", "model"),
    Code("harmful_content", "safety", "The answer can do harm.", "high", "model"),
)
_BY_ID = {code.id: code for code in CODES}
BY_ERROR_TYPE: Mapping[str, str] = {name: code.id for code in CODES for name in code.error_types}
"""The code that an `error.type` means, by its last part in lower case."""
TRAIL_CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(code.trail for code in CODES if code.trail is not None))


def code_of(name: str) -> Code:
    """The code with this id.

    Raises:
        KeyError: There is none.

    Example:
        >>> code_of("rate_limit").trail
        'Rate Limiting'
    """
    return _BY_ID[name]


def known(name: object) -> bool:
    """Whether this is the id of a code."""
    return isinstance(name, str) and name in _BY_ID


def table() -> str:
    """The taxonomy as the Markdown table that the docs show."""
    heads = ("code", "group", "means", "severity", "found by", "TRAIL", "MAST", "`error.type`")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for code in CODES:
        types = ", ".join(f"`{name}`" for name in code.error_types)
        cells = [f"`{code.id}`", code.group, code.about, code.severity, code.found_by, code.trail, code.mast, types]
        lines.append("| " + " | ".join(cell or "–" for cell in cells) + " |")
    return "\n".join(lines) + "\n"
