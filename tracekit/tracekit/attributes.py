"""The names of the attributes and events that tracekit's own spans and records carry.

Where OpenTelemetry's GenAI conventions have a name, that name is used; `tracekit.*` says the rest.
"""

from __future__ import annotations

from typing import Literal, get_args

StepKind = Literal[
    "agent", "llm", "tool", "retriever", "embedding", "reranker", "guardrail", "evaluator", "chain", "task", "span"
]
STEP_KINDS: tuple[str, ...] = get_args(StepKind)

# What a step is, and what every step carries.
STEP = "tracekit.step"
INPUT = "input.value"
INPUT_MIME = "input.mime_type"
OUTPUT = "output.value"
OUTPUT_MIME = "output.mime_type"
METADATA_PREFIX = "tracekit.metadata."
TAGS = "tracekit.tags"

# Identity. PROJECT, SERVICE and ENVIRONMENT are resource attributes.
PROJECT = "tracekit.project"
SERVICE = "service.name"
ENVIRONMENT = "deployment.environment.name"
SESSION = "session.id"
CONVERSATION = "gen_ai.conversation.id"
USER = "user.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
CASE = "tracekit.case.id"
REPEAT = "tracekit.case.repeat"
RUN = "tracekit.run.id"

# OpenTelemetry GenAI (the newest names).
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
COST_USD = "gen_ai.usage.cost"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_DESCRIPTION = "gen_ai.tool.description"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
RETRIEVAL_QUERY = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS = "gen_ai.retrieval.documents"
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
ERROR_TYPE = "error.type"

# How a step ended that neither returned nor failed.
CANCELLED = "tracekit.cancelled"  # true: its task was cancelled, which is no error
PARTIAL = "tracekit.output.partial"  # true: its consumer stopped early, so the output is what had come so far

# Sampling. On a trace's root, the word that counts.
SAMPLE_PROBABILITY = "tracekit.sample.probability"  # how probable it was that this trace is delivered
SAMPLE_REASON = "tracekit.sample.reason"  # keep | error: why it was delivered in any case
SAMPLE_TAIL = "tracekit.sample.tail"  # keep | error | scored | slow | share: why a collector's tail sampling kept it

# A score is OpenTelemetry's evaluation event, as a log record on the trace it judges.
SCORE_EVENT = "gen_ai.evaluation.result"
SCORE_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
SCORE_EXPLANATION = "gen_ai.evaluation.explanation"
SCORE_TARGET = "tracekit.score.target"  # trace | span
SCORE_SOURCE = "tracekit.score.source"  # code | llm | human | environment | user
SCORE_TYPE = "tracekit.score.type"  # number | bool | label
SCORE_ANNOTATOR = "tracekit.score.annotator"
SCORE_DIRECTION = "tracekit.score.direction"
SCORE_METADATA = "tracekit.score.metadata"

# An agent version that a process registers is a log record too, so that it travels as spans do. AGENT_NAME and
# AGENT_VERSION say which; the rest are JSON texts.
VERSION_EVENT = "tracekit.agent.version"
VERSION_DIGEST = "tracekit.agent.digest"
VERSION_CODE = "tracekit.agent.code"
VERSION_PARAMETERS = "tracekit.agent.parameters"
VERSION_PROMPTS = "tracekit.agent.prompts"
VERSION_DEPENDENCIES = "tracekit.agent.dependencies"
VERSION_ENTRY_POINT = "tracekit.agent.entry_point"  # a text, as VERSION_PYTHON; these five only where they were given
VERSION_TOOLS = "tracekit.agent.tools"
VERSION_MODELS = "tracekit.agent.models"
VERSION_PYTHON = "tracekit.agent.python"
VERSION_SIGNATURE = "tracekit.agent.signature"
VERSION_ALIAS = "tracekit.agent.alias"  # a movable name that is to point at the version
PRINCIPAL = "tracekit.principal"  # who sent it, as a collector's door knows them; never taken from a sender

# One request and response of a served agent, as a log record; SESSION, USER, AGENT_NAME and AGENT_VERSION say whose.
INFERENCE_EVENT = "tracekit.inference"
INFERENCE_REQUEST_ID = "tracekit.inference.request_id"
INFERENCE_ENDPOINT = "tracekit.inference.endpoint"  # the route's template where it is known, else the path
INFERENCE_STATUS_CODE = "tracekit.inference.status_code"
INFERENCE_LATENCY_MS = "tracekit.inference.latency_ms"
INFERENCE_TTFT_MS = "tracekit.inference.ttft_ms"  # until the response's first byte
INFERENCE_REQUEST = "tracekit.inference.request"
INFERENCE_RESPONSE = "tracekit.inference.response"
INFERENCE_METADATA = "tracekit.inference.metadata"  # a JSON text: method, path, sizes, how it ended

# A tracked run, as log records that travel as spans do: each says what is new of the run that RUN names. Points and the
# content of artifacts are in the records' bodies (see `tracekit.tracking.points`).
RUN_EVENT = "tracekit.run"
RUN_NAME = "tracekit.run.name"
RUN_PARENT = "tracekit.run.parent"
RUN_PARAMETERS = "tracekit.run.parameters"
RUN_TAGS = "tracekit.run.tags"
RUN_CODE = "tracekit.run.code"
RUN_ENVIRONMENT = "tracekit.run.environment"
RUN_COMMAND = "tracekit.run.command"
RUN_SEED = "tracekit.run.seed"
RUN_ERROR = "tracekit.run.error"
RUN_ARTIFACTS = "tracekit.run.artifacts"
RUN_WRITER = "tracekit.run.writer"  # which process says it, and whether its part of the run is open still
RUN_POINTS_EVENT = "tracekit.run.points"
RUN_POINTS_NAMES = "tracekit.run.points.names"
RUN_CONTENT_EVENT = "tracekit.run.content"
RUN_CONTENT_DIGEST = "tracekit.run.content.sha256"
RUN_CONTENT_PART = "tracekit.run.content.part"
RUN_CONTENT_PARTS = "tracekit.run.content.parts"

# The server's span around such a request (OpenTelemetry's HTTP conventions).
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS_CODE = "http.response.status_code"
URL_PATH = "url.path"

OPERATION_OF_STEP: dict[str, str] = {
    "agent": "invoke_agent",
    "llm": "chat",
    "tool": "execute_tool",
    "retriever": "retrieval",
    "embedding": "embeddings",
}
