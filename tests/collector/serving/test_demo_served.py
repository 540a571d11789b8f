"""The demo's agent, packaged and served: OpenAI's client, streaming clients, and what is kept of each request."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tracekit.cli import main

Serving = Callable[..., contextlib.AbstractContextManager[Any]]

QUESTION = "How do I pad a number with leading zeros?"
CHAT: Any = [{"role": "user", "content": QUESTION}]


@pytest.mark.slow
def test_the_demo_s_agent_is_served_to_every_client_and_each_request_is_found(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "tracekit_evaluators.demo"
    words = ["--entry-point", f"{place}.agent:keyword_version()", "--source-module", place, "--label", "1.0"]
    more = ["--example", json.dumps(QUESTION), "--alias", "production"]
    store = ["--store", str(tmp_path / "store")]
    assert main(["agents", "package", "stdlib-helper", *words, *more, "--format", "json", *store]) == 0
    expected = json.loads(capsys.readouterr().out)["example"]["output"]
    assert expected.startswith("Use `")
    cache = {"TRACEKIT_ENVIRONMENTS": str(tmp_path / "environments")}
    with serving(tmp_path, "stdlib-helper@production", "--workers", "1", **cache) as served:
        traces = _asked(served.url, expected)
        for trace in traces:
            said = {"trace_id": trace, "name": "helpful", "value": True}
            assert httpx.post(f"{served.url}/feedback", json=said).status_code == 200
        served.stop()
        found = served.rows(
            "SELECT i.trace_id, i.endpoint, i.status_code, i.agent_version, t.input, t.output, s.value, "
            "count(p.span_id) AS spans FROM inferences i JOIN traces t USING (trace_id) JOIN scores s USING (trace_id) "
            "JOIN spans p USING (trace_id) GROUP BY ALL"
        )
    shown = {row["trace_id"]: tuple(row.values())[1:] for row in found}
    assert set(shown) == set(traces)
    chat, responses, plain = "/v1/chat/completions", "/v1/responses", "/invocations"
    # The request, the agent, its search and its answer: four spans.
    assert [shown[trace] for trace in traces] == [
        (endpoint, 200, "1.0", QUESTION, expected, 1.0, 4)
        for endpoint in (chat, chat, responses, responses, plain, chat, plain)
    ]


def _asked(url: str, expected: str) -> list[str]:
    """Ask in every way; gives the traces."""
    traces: list[str] = []
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="stdlib-helper", messages=CHAT)
        assert raw.parse().choices[0].message.content == expected
        traces.append(raw.headers["x-trace-id"])
        stream = client.chat.completions.create(model="stdlib-helper@1", messages=CHAT, stream=True)
        traces.append(stream.response.headers["x-trace-id"])
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected
        answer = client.responses.with_raw_response.create(model="stdlib-helper", input=QUESTION)
        assert answer.parse().output_text == expected
        traces.append(answer.headers["x-trace-id"])
        events = client.responses.create(model="stdlib-helper", input=QUESTION, stream=True)
        traces.append(events.response.headers["x-trace-id"])
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == expected
    for path, body in (
        ("/invocations", {"input": QUESTION, "stream": True}),
        ("/v1/chat/completions", {"messages": CHAT, "stream": True}),
    ):
        with httpx.stream("POST", url + path, json=body, timeout=20) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            traces.append(response.headers["x-trace-id"])
            data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
        if path == "/invocations":
            assert json.loads(data[0]) == expected
        else:
            assert data.pop() == "[DONE]"
            deltas = [json.loads(each)["choices"][0]["delta"].get("content") or "" for each in data]
            assert "".join(deltas) == expected
    shell = ["curl", "--silent", "--show-error", "--fail-with-body", "-D", "-", "-d", json.dumps(QUESTION)]
    said = subprocess.run([*shell, f"{url}/invocations"], capture_output=True, text=True, check=True, timeout=20).stdout
    head, _, body = said.replace("\r\n", "\n").partition("\n\n")
    assert json.loads(body) == expected
    traces.append(dict(line.split(": ", 1) for line in head.splitlines()[1:])["x-trace-id"])
    return traces
