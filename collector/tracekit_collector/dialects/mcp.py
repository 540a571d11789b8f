"""The Model Context Protocol: clients, transports and servers (fastmcp, mcp-python-sdk and others)."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector import messages
from tracekit_collector.dialects import Dialect, Lift, RawSpan, marks, ranked

METHOD = "mcp.method.name"
_RESULTS = ("gen_ai.tool.call.result", "mcp.response.value")


def dialect() -> Dialect:
    """MCP; only `tools/call` is a call of a tool, and a session of MCP is no conversation."""
    return Dialect(
        name="mcp",
        rank=42,
        recognises=marks(METHOD, scopes=("fastmcp", "mcp-python-sdk")),
        keys={"tool_name": ranked(60, "mcp.tool.name"), "prompt_name": ranked(60, "mcp.prompt.name")},
        steps={(METHOD, 30): {"tools/call": "tool", "*": "span"}},
        lifts=(Lift(9, marks(METHOD), _named), Lift(50, marks(METHOD), _fault)),
    )


def _named(span: RawSpan) -> Mapping[str, object]:
    """A transport's span names the tool in its own name only."""
    found: dict[str, object] = {}
    if span.attributes[METHOD] == "tools/call" and not span.attributes.get("gen_ai.tool.name"):
        _, called, tool = span.name.partition("tools/call ")
        found["tool_name"] = tool if called else None
    return found


def _fault(span: RawSpan) -> Mapping[str, object]:
    for key in _RESULTS:
        said = span.attributes.get(key)
        if said is None or (isinstance(said, str) and '"isError"' not in said):
            continue
        read = messages.decoded(said)
        if isinstance(read, dict) and read.get("isError") is True:
            return {"error_type": "tool_error"}
    return {}
