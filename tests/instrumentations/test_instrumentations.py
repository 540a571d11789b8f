"""Other people's instrumentations, as they come from PyPI, and our decorators make one trace between them.

Each agent is a program of its own, in an environment of its own, against a model server that answers from a script: it
calls the tool, then says what the tool said.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the first run on a machine installs packages

AGENTS = Path(__file__).parent / "agents"
_UNMARKED = """
    SELECT name FROM spans WHERE session_id IS DISTINCT FROM 'chat-1' OR user_id IS DISTINCT FROM 'ada'
"""
ANSWER = "On sundays: sunday: 10 to 16"


class Desk:
    """Runs an agent, and reads its one trace."""

    def __init__(self, python: Path, ours: Path, models: Any, folder: Path) -> None:
        self._python = python
        self._models = models
        self.folder = folder
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))},
            "PYTHONPATH": str(ours),
            "MODELS": models.url.removesuffix("/v1"),
            "OPENAI_BASE_URL": models.url,
            "OPENAI_API_KEY": "unused",
        }

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._python, *words],
            cwd=self.folder,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def trace(self, *words: str, **environment: str) -> tuple[Any, set[str]]:
        """The one trace of a run that answers as it should, and the names of the scopes of its spans."""
        from tracekit_collector.store import Store

        done = self.run(*words, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{ANSWER}\n", done.stderr
        with Store.open(self.folder / ".tracekit") as store:
            found = store.trace_ids()
            assert len(found) == 1, store.sql("SELECT trace_id, parent_span_id, name, scope FROM spans").dicts()
            scopes = [json.loads(row["scope"])["name"] for row in store.sql("SELECT scope FROM spans").dicts()]
            unmarked = store.sql(_UNMARKED).dicts()
            assert unmarked == []  # session and user are on the spans of others too
            return store.trace(found[0]), set(scopes)


@pytest.fixture
def desk(python: Path, ours: Path, models: Any, tmp_path: Path) -> Desk:
    return Desk(python, ours, models, tmp_path)


@pytest.fixture
def clients_desk(clients_python: Path, ours: Path, models: Any, tmp_path: Path) -> Desk:
    """A desk in the environment of clients, where OpenLLMetry's instrumentations are the only ones."""
    return Desk(clients_python, ours, models, tmp_path)


def check(trace: Any, models: Any) -> None:
    """What holds of each agent's trace, whoever recorded the parts that are not ours."""
    check_tree(trace)
    assert len(models.requests) == 2
    assert len(trace.model_calls) == 2
    assert {call.model for call in trace.model_calls} == {"scripted-1"}
    assert [(call.input_tokens, call.output_tokens) for call in trace.model_calls] == [(21, 8), (21, 8)]
    assert (trace.usage.input_tokens, trace.usage.output_tokens) == (42, 16)
    assert "10 to 16" in json.dumps(trace.model_calls[-1].output_messages)

    assert [(call.name, call.arguments) for call in trace.tool_calls] == [("opening_hours", {"day": "sunday"})]
    assert "10 to 16" in str(trace.tool_calls[0].result)


def check_tree(trace: Any) -> None:
    """One tree, below our agent's span."""
    spans = {span.span_id: span for span in trace.spans}
    roots = [span for span in trace.spans if span.parent_span_id not in spans]
    assert [span.name for span in roots] == ["invoke_agent desk"]
    assert (trace.agent_name, trace.session_id, trace.user_id, trace.status) == ("desk", "chat-1", "ada", "ok")
    assert trace.input == '{"question": "When does the library open on sunday?"}'
    assert "10 to 16" in trace.output


@pytest.mark.parametrize(
    ("agent", "scope"),
    [
        ("openai_official.py", "opentelemetry.util.genai.handler"),
        ("langgraph_react.py", "openinference.instrumentation.langchain"),
        ("pydantic_desk.py", "pydantic-ai"),
        ("openai_agents_desk.py", "openinference.instrumentation.openai_agents"),
    ],
)
def test_an_agent_with_our_decorators_and_an_instrumentation_is_one_trace(desk, models, agent: str, scope: str) -> None:
    trace, scopes = desk.trace(str(AGENTS / agent))
    check(trace, models)
    assert scope in scopes
    assert "tracekit" in scopes


def test_a_program_that_is_run_traced_needs_no_change(desk, models) -> None:
    trace, scopes = desk.trace("-m", "tracekit", "run", "--project", "library", str(AGENTS / "openai_loop.py"))
    check(trace, models)
    assert trace.project == "library"
    assert scopes == {"tracekit", "openinference.instrumentation.openai"}  # of two for one library, one


def test_no_content_goes_into_spans_where_that_is_the_setting(desk, models) -> None:
    trace, scopes = desk.trace("-m", "tracekit", "run", str(AGENTS / "openai_loop.py"), TRACEKIT_CAPTURE_CONTENT="0")
    assert scopes == {"tracekit", "openinference.instrumentation.openai"}
    assert len(trace.model_calls) == 2
    assert "10 to 16" not in json.dumps(trace.to_dict())


def test_instrumentations_that_are_not_used_say_nothing(desk) -> None:
    code = "import tracekit; tracekit.init(instrument=True)\nwith tracekit.span('x'): print('done')"
    done = desk.run("-c", code)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_the_doctor_tells_which_instrumentations_would_be_active(desk) -> None:
    done = desk.run("-m", "tracekit", "doctor", "--format", "json", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="langchain")
    assert done.returncode == 0, done.stdout
    found = {
        item["distribution"]: (item["name"], item["state"]) for item in json.loads(done.stdout)["instrumentations"]
    }
    assert found == {
        "openinference-instrumentation-langchain": ("langchain", "disabled"),
        "openinference-instrumentation-openai": ("openai", "chosen"),
        "opentelemetry-instrumentation-openai-v2": ("openai", "passed over"),
        "openinference-instrumentation-openai-agents": ("openai_agents", "chosen"),
        "pydantic-ai-slim": ("pydantic_ai", "chosen"),
    }


@pytest.mark.parametrize(
    ("agent", "scope"),
    [
        ("openai_loop.py", "opentelemetry.instrumentation.openai.v1"),
        ("anthropic_loop.py", "opentelemetry.instrumentation.anthropic"),
    ],
)
def test_openllmetrys_instrumentations_make_one_trace_with_our_decorators(
    clients_desk: Desk, models: Any, agent: str, scope: str
) -> None:
    trace, scopes = clients_desk.trace("-m", "tracekit", "run", str(AGENTS / agent))
    check(trace, models)
    assert {"tracekit", scope} <= scopes


def test_openllmetrys_langchain_makes_one_tree_with_our_decorators(clients_desk: Desk, models: Any) -> None:
    trace, scopes = clients_desk.trace("-m", "tracekit", "run", str(AGENTS / "langgraph_react.py"))
    check_tree(trace)
    assert len(models.requests) == 2
    assert {call.name for call in trace.tool_calls} == {"opening_hours"}
    assert {json.dumps(call.arguments) for call in trace.tool_calls} == {'{"day": "sunday"}'}
    assert {"tracekit", "opentelemetry.instrumentation.langchain"} <= scopes


ITSELF = {
    "openai": "ChatCompletion",
    "openai stream": "Stream",
    "openai async stream": "AsyncStream",
    "anthropic": "Message",
    "anthropic stream": "Stream",
    "anthropic helper stream": "MessageStream",
    "anthropic async stream": "AsyncStream",
    "gemini": "GenerateContentResponse",
    "langchain": "AIMessage",
}
ANOTHER = {"gemini stream": "generator", "gemini async stream": "async_generator", "langchain stream": "generator"}


def test_the_responses_of_real_clients_fill_the_spans_of_model_calls(clients_desk: Desk, models: Any) -> None:
    from tracekit_collector.store import Store

    done = clients_desk.run(str(AGENTS / "clients.py"))
    assert (done.returncode, done.stderr) == (0, "")
    told = {name: (kind, whose) for name, kind, whose in (line.split("|") for line in done.stdout.splitlines())}
    assert {name: told[name] for name in ITSELF} == {name: (kind, "itself") for name, kind in ITSELF.items()}
    assert {name: told[name] for name in ANOTHER} == {name: (kind, "another") for name, kind in ANOTHER.items()}

    with Store.open(clients_desk.folder / ".tracekit") as store:
        rows = store.sql("SELECT name, scope FROM spans").dicts()  # Anthropic's client makes spans of its own too
        names = [row["name"] for row in rows if json.loads(row["scope"])["name"] == "tracekit"]
        traces = [store.trace(trace_id) for trace_id in store.trace_ids()]
    assert len(traces) == len(models.requests) == len(told) == 24
    assert sorted(names) == sorted(f"chat {name}" for name in told)
    for trace in traces:
        (call,) = trace.model_calls
        name = trace.name.removeprefix("chat ")
        assert (call.model, call.input_tokens, call.output_tokens) == ("scripted-1", 21, 8), name
        assert call.provider == _provider(name), name
        (said,) = call.output_messages
        if "tool" in name:
            (asked,) = said["parts"]
            assert (asked["type"], asked["name"], asked["arguments"]) == (
                "tool_call",
                "opening_hours",
                {"day": "sunday"},
            ), name
        else:
            assert said["parts"] == [{"type": "text", "content": "On sundays: unknown"}], name
        assert (call.ttft_ms is not None) == ("stream" in name), name
        assert len(call.finish_reasons) == 1, name
        if "langchain" not in name or "stream" not in name:
            assert call.response_id, name


def _provider(name: str) -> str:
    if name.startswith("gemini"):
        return "google (gemini)"
    return "anthropic" if "anthropic" in name else "openai"
