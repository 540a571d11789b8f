"""The OpenAPI document of a served agent, with the schemas of its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tracekit import __version__
from tracekit_collector.serving.deployment import Deployment

_ANSWERS = {
    "400": "The body is no JSON, or not of the endpoint's shape",
    "401": "A token is needed",
    "403": "The token does not allow this",
    "413": "The body is too large",
    "422": "The input does not fit the agent's signature",
    "500": "The agent failed",
    "502": "The process that was answering ended",
    "503": "The queue is full, or no worker is alive; come again after Retry-After seconds",
    "504": "The agent took too long",
}
_MESSAGES = {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"]}}
_EVENTS = {"schema": {"type": "string", "description": "server-sent events"}}


def document(deployment: Deployment) -> dict[str, Any]:
    """The document for the version that most requests go to.

    Args:
        deployment: That version.
    """
    given = _moved(deployment.input_schema, "Input")
    output = _moved(deployment.output_schema, "Output")
    target = deployment.target
    chat = {"type": "object", "required": ["messages"], "properties": {**_asking(), "messages": _MESSAGES}}
    either: dict[str, Any] = {"anyOf": [{"type": "string"}, _MESSAGES]}
    responses = {"type": "object", "required": ["input"], "properties": {**_asking(), "input": either}}
    envelope = {
        "type": "object",
        "required": ["input"],
        "additionalProperties": False,
        "properties": {"input": {"$ref": "#/components/schemas/Input"}, "stream": {"type": "boolean"}},
    }
    bare = {"$ref": "#/components/schemas/Input"}
    return {
        "openapi": "3.1.0",
        "info": {"title": target.agent, "version": target.version, "x-tracekit": __version__},
        "paths": {
            "/invocations": {
                "post": _post("Ask the agent", {"anyOf": [envelope, bare]}, {"$ref": "#/components/schemas/Output"})
            },
            "/v1/chat/completions": {"post": _post("Ask the agent as OpenAI's chat completions", chat, {})},
            "/v1/responses": {"post": _post("Ask the agent as OpenAI's responses", responses, {})},
            "/v1/models": {"get": _get("The versions that are served, as OpenAI's models")},
            "/feedback": {"post": _feedback()},
            "/health": {"get": _get("Whether requests can be answered", {"503": "Not now"})},
            "/version": {"get": _get("The versions that are served")},
            "/metrics": {"get": _get("Counts for Prometheus")},
        },
        "components": {
            "schemas": {"Input": given, "Output": output},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _post(summary: str, given: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": output}, "text/event-stream": _EVENTS}
    headers = {
        "X-Trace-Id": {"schema": {"type": "string"}},
        "X-Agent-Version": {"schema": {"type": "string"}},
    }
    answered = {"description": "The agent's output", "content": content, "headers": headers}
    return {
        "summary": summary,
        "parameters": [
            {"name": name, "in": "header", "schema": {"type": "string"}} for name in ("X-Session-Id", "X-User-Id")
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": given}}},
        "responses": {"200": answered, **{status: {"description": said} for status, said in _ANSWERS.items()}},
    }


def _feedback() -> dict[str, Any]:
    properties = {
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "name": {"type": "string", "minLength": 1},
        "value": {"type": ["boolean", "number", "string"]},
        "comment": {"type": "string"},
    }
    schema = {
        "type": "object",
        "required": ["trace_id", "name", "value"],
        "additionalProperties": False,
        "properties": properties,
    }
    return {
        "summary": "Score an answer",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "It is kept"}, "422": {"description": "It is no feedback"}},
    }


def _get(summary: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    others = {status: {"description": said} for status, said in (more or {}).items()}
    return {"summary": summary, "responses": {"200": {"description": "Here it is"}, **others}}


def _asking() -> dict[str, Any]:
    return {"model": {"type": "string"}, "stream": {"type": "boolean"}, "user": {"type": "string"}}


def _moved(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A schema as a component: what it refers to within itself is below that now."""
    text = json.dumps(schema).replace('"$ref": "#/', f'"$ref": "#/components/schemas/{name}/')
    found: dict[str, Any] = json.loads(text)
    return found
