"""Microsoft's Semantic Kernel, Agent Framework and AutoGen."""

from __future__ import annotations

from collections.abc import Mapping

from tracekit_collector.dialects import Dialect, Key, Lift, RawSpan, marks, named, ranked

_KERNEL = marks(scopes=("semantic_kernel",))
_FRAMEWORK = marks("workflow.id", "executor.id", scopes=("agent_framework",))
_AUTOGEN = marks("recipient_agent_type", scopes=("autogen",))


def _no_repr(value: object) -> object:
    return value if isinstance(value, str) and value not in ("", "None") else None


def dialect() -> Dialect:
    """Semantic Kernel, Agent Framework and AutoGen."""
    return Dialect(
        name="microsoft",
        rank=38,
        recognises=marks("recipient_agent_type", scopes=("semantic_kernel", "agent_framework", "autogen")),
        keys={
            "tool_name": (Key("tool_name", 40, _no_repr),),
            "input": ranked(45, "message"),
            "agent_name": ranked(60, "recipient_agent_type"),
        },
        lifts=(
            named(
                28,
                _KERNEL,
                {
                    "AutoFunctionInvocationLoop": "chain",
                    "execute_tool*": "tool",
                    "invoke_agent*": "agent",
                    "create_agent*": "agent",
                    "chat.completions*": "llm",
                    "chat *": "llm",
                    "text.completions*": "llm",
                },
            ),
            named(
                28,
                _FRAMEWORK,
                {
                    "workflow.run*": "chain",
                    "workflow.build*": "chain",
                    "executor.process*": "chain",
                    "message.send*": "span",
                    "edge_group.process*": "span",
                },
            ),
            named(
                28,
                _AUTOGEN,
                {
                    "autogen *": "span",
                    "create_agent*": "agent",
                    "invoke_agent*": "agent",
                    "execute_tool*": "tool",
                },
            ),
            Lift(60, _KERNEL, _kernel_tool),
        ),
    )


def _kernel_tool(span: RawSpan) -> Mapping[str, object]:
    """A function of a plugin is called `Plugin-function`."""
    if span.name.startswith("execute_tool "):
        return {"tool_name": span.name.removeprefix("execute_tool ")}
    return {}
