"""Clean traces of agents of several shapes, as rows of the lake, for faults to be planted in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

MS = 1_000_000
START = 1_770_000_000_000 * MS

_STRING = {"type": "string"}


def _tool(name: str, **properties: str) -> dict[str, object]:
    shape = {key: {"type": kind} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": shape, "required": list(shape), "additionalProperties": False}
    return {"type": "function", "name": name, "parameters": parameters}


TOOLS: dict[str, dict[str, object]] = {
    "get_order": _tool("get_order", order_id="string"),
    "search_docs": _tool("search_docs", text="string", limit="integer"),
    "get_weather": _tool("get_weather", city="string", days="integer"),
    "query_table": _tool("query_table", table="string", column="string"),
    "read_page": _tool("read_page", page="string"),
    "check_stock": _tool("check_stock", product="string", shop="string"),
}
_CITIES = ("Lisbon", "Oslo", "Quito", "Hanoi", "Tartu", "Cusco")
_GOODS = ("lamp", "kettle", "desk", "tent", "drill", "mirror")
_PEOPLE = ("Ada", "Bo", "Chen", "Dara", "Emre", "Fen")


def arguments_of(tool: str, dice: random.Random) -> tuple[dict[str, object], str, str]:
    """Arguments for a tool, the words of a user that ask for them, and a result that fits."""
    city, good, number = dice.choice(_CITIES), dice.choice(_GOODS), dice.randrange(10_000, 99_999)
    if tool == "get_order":
        told = json.dumps({"order": f"A-{number}", "status": "shipped", "items": [good]})
        return {"order_id": f"A-{number}"}, f"Where is my order A-{number}?", told
    if tool == "search_docs":
        return (
            {"text": f"{good} warranty", "limit": 3},
            f"How long is the warranty of the {good}?",
            (
                f"The warranty of the {good} is {dice.randrange(1, 6)} years. It does not cover errors in use, such as "
                "timeouts of the pump."
            ),
        )
    if tool == "get_weather":
        return {"city": city, "days": 2}, f"What is the weather in {city}?", json.dumps({"city": city, "sky": "clear"})
    if tool == "query_table":
        return {"table": "sales", "column": good}, f"How many of {good} were sold?", f"[[{dice.randrange(900)}]]"
    if tool == "read_page":
        return {"page": f"{good}s"}, f"Sum up the page on {good}s.", f"A page about {good}s, with {number} words."
    told = json.dumps({"product": good, "shop": city, "left": dice.randrange(1, 40)})
    return {"product": good, "shop": city}, f"Is the {good} in stock in {city}?", told


@dataclass
class Draft:
    """A trace in the making.

    Args:
        trace_id: Its id.
        dice: All chance in it.
        rows: Its spans' rows.
        clock: The time, in nanoseconds.
    """

    trace_id: str
    dice: random.Random
    rows: list[dict[str, object]] = field(default_factory=list)
    clock: int = START
    offered: list[str] = field(default_factory=list)

    def span(self, step: str, name: str, parent: str | None = None, **columns: object) -> dict[str, object]:
        """A span that begins now and ends some time later."""
        span_id = f"{len(self.rows) + 1:02x}" + self.dice.randbytes(7).hex()
        size = self.dice.randrange(20, 900) * MS
        row: dict[str, object] = {
            "trace_id": self.trace_id,
            "span_id": span_id,
            "parent_span_id": parent,
            "name": name,
            "step": step,
        }
        row |= {"kind": "internal", "status": "ok", "start_ns": self.clock, "duration_ns": size, **columns}
        self.rows.append(row)
        self.clock += size + MS
        return row

    def model(self, parent: str | None, given: Sequence[Mapping[str, object]], said: str | None) -> dict[str, object]:
        """A model call that answers in words."""
        parts = [] if said is None else [{"type": "text", "content": said}]
        answer = [{"role": "assistant", "parts": parts, "finish_reason": "stop"}]
        return self._asked(parent, given, answer, ["stop"])

    def asking(
        self, parent: str | None, given: Sequence[Mapping[str, object]], tool: str, call_id: str, arguments: object
    ) -> dict[str, object]:
        """A model call that asks for a tool."""
        part = {"type": "tool_call", "id": call_id, "name": tool, "arguments": arguments}
        answer = [{"role": "assistant", "parts": [part], "finish_reason": "tool_call"}]
        return self._asked(parent, given, answer, ["tool_call"])

    def _asked(self, parent: str | None, given: object, answer: object, reasons: list[str]) -> dict[str, object]:
        columns: dict[str, object] = {"provider": "openai", "model": "model-1", "input_messages": json.dumps(given)}
        columns |= {"output_messages": json.dumps(answer), "finish_reasons": reasons}
        columns |= {"input_tokens": self.dice.randrange(50, 900), "output_tokens": self.dice.randrange(5, 90)}
        columns["tool_definitions"] = json.dumps([TOOLS[name] for name in self.offered]) if self.offered else None
        return self.span("llm", "chat model-1", parent, **columns)

    def tool(self, parent: str | None, name: str, call_id: str, arguments: object, result: str) -> dict[str, object]:
        """A tool call that went well."""
        told = {"tool_name": name, "tool_call_id": call_id, "tool_arguments": json.dumps(arguments)}
        return self.span("tool", name, parent, **told, tool_result=result, output=result)

    def close(self, root: dict[str, object], output: str | None) -> None:
        """End the root with an answer."""
        root["output"] = output
        root["duration_ns"] = self.clock - int(str(root["start_ns"]))


@dataclass
class Clean:
    """A trace without a fault, and where faults can be planted.

    Args:
        draft: The trace.
        root: The span at the top.
        tools: The spans of tool calls.
        models: The spans of model calls, in order; the last one answers.
        retrievers: The spans of searches.
    """

    draft: Draft
    root: dict[str, object]
    tools: list[dict[str, object]] = field(default_factory=list)
    models: list[dict[str, object]] = field(default_factory=list)
    retrievers: list[dict[str, object]] = field(default_factory=list)


def user(text: str) -> dict[str, object]:
    """A user's message."""
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


def returned(call_id: str, result: str) -> dict[str, object]:
    """A tool's message."""
    return {"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": result}]}


def loop(draft: Draft) -> Clean:
    """An agent that calls tools in turns until it answers."""
    names = draft.dice.sample(sorted(TOOLS), draft.dice.randrange(2, 4))
    draft.offered = names
    asks = [arguments_of(name, draft.dice) for name in names]
    question = " ".join(words for _, words, _ in asks)
    root = draft.span("agent", "helper", input=question, agent_name="helper")
    made = Clean(draft, root)
    said: list[Mapping[str, object]] = [user(question)]
    for place, (name, (arguments, _, result)) in enumerate(zip(names, asks, strict=True)):
        call_id = f"call_{place}_{draft.dice.randrange(1000)}"
        made.models.append(draft.asking(str(root["span_id"]), said, name, call_id, arguments))
        made.tools.append(draft.tool(str(root["span_id"]), name, call_id, arguments, result))
        said = [*said, returned(call_id, result)]
    answer = f"Here is what I found, {draft.dice.choice(_PEOPLE)}: all of it is above, and the details are attached."
    made.models.append(draft.model(str(root["span_id"]), said, answer))
    draft.close(root, answer)
    return made


def retrieval(draft: Draft) -> Clean:
    """A chain that searches documents and answers from them."""
    good = draft.dice.choice(_GOODS)
    question = f"What does the manual say on the {good}?"
    root = draft.span("chain", "answer", input=question)
    made = Clean(draft, root)
    texts = [
        f"Chapter {place}. The {good} is handled so: when a request times out, or a page is not found, the error is "
        f"logged with code {draft.dice.choice((404, 429, 500))} and shown."
        for place in range(1, 4)
    ]
    found = json.dumps([{"id": f"doc-{place}", "content": text, "score": 0.9} for place, text in enumerate(texts)])
    made.retrievers.append(draft.span("retriever", "search", str(root["span_id"]), input=question, documents=found))
    given = [user(question + "\n\n" + "\n".join(texts))]
    answer = f"The manual has three chapters on the {good}; chapter 1 tells how errors are shown."
    made.models.append(draft.model(str(root["span_id"]), given, answer))
    draft.close(root, answer)
    return made


def team(draft: Draft) -> Clean:
    """A lead that hands parts of the work to two agents, each with a tool."""
    names = draft.dice.sample(sorted(TOOLS), 2)
    draft.offered = names
    asks = [arguments_of(name, draft.dice) for name in names]
    question = " ".join(words for _, words, _ in asks)
    root = draft.span("agent", "lead", input=question, agent_name="lead")
    made = Clean(draft, root)
    reports: list[Mapping[str, object]] = [user(question)]
    for worker, name, (arguments, words, result) in zip(("reader", "clerk"), names, asks, strict=True):
        agent = draft.span("agent", worker, str(root["span_id"]), input=words, agent_name=worker)
        begun, call_id = int(str(agent["start_ns"])), f"call_{worker}"
        draft.clock = begun + MS
        above = str(agent["span_id"])
        made.models.append(draft.asking(above, [user(words)], name, call_id, arguments))
        made.tools.append(draft.tool(above, name, call_id, arguments, result))
        done = f"{worker} has looked: {result[:60]}"
        made.models.append(draft.model(above, [user(words), returned(call_id, result)], done))
        agent["output"], agent["duration_ns"] = done, draft.clock - begun
        reports = [*reports, {"role": "assistant", "parts": [{"type": "text", "content": done}]}]
    answer = "Both parts are looked up; the first is as expected, the second too."
    made.models.append(draft.model(str(root["span_id"]), reports, answer))
    draft.close(root, answer)
    return made


def bare(draft: Draft) -> Clean:
    """Steps side by side under a plain span, as instrumentations write them without an agent."""
    made = loop(draft)
    made.root.update(step="span", name="POST /chat", agent_name=None, kind="server")
    return made


SHAPES: Mapping[str, Callable[[Draft], Clean]] = {"loop": loop, "retrieval": retrieval, "team": team, "bare": bare}
