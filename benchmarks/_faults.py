"""A store's work, with the process killed or the disk full at any of the things that it does to the disk.

`_faults.c` counts writes, fsyncs, renames, links, removals and new files below one folder. `Faults` starts one Python
with it and everything imported; each trial is a fork of that, so that hundreds take minutes. Needs Linux and a C
compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_HERE = Path(__file__).parent
_COMPILER = shutil.which("cc") or shutil.which("gcc")
_STATE = struct.Struct("<qqqq4096s64s4096s32s")
_PHASE_BYTES = 32  # the last of the state
_KILL, _FULL = 1, 2
_RULE = "kept = 4traces"
_DAY = 86_400 * 10**9
_RETAINING = "retaining"  # said in the log of what was acknowledged

AVAILABLE = sys.platform == "linux" and _COMPILER is not None


class Disk:
    """A disk that is full when told to be, for programs that are started with its environment.

    Args:
        folder: An empty folder for what it needs.
    """

    def __init__(self, folder: Path) -> None:
        assert _COMPILER is not None
        library, state = folder / "faults.so", folder / "state"
        words = [_COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(_HERE / "_faults.c"), "-ldl"]
        subprocess.run(words, check=True)
        state.write_bytes(bytes(_STATE.size))
        with state.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _STATE.size)
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_STATE": str(state)}

    def set(self, place: Path, at: int, mode: int, until: int) -> None:
        """From the next of the events below a path on that is the `at`-th: kill, or be full until another."""
        self._memory[:] = _STATE.pack(0, at, mode, until, os.fsencode(place.resolve()), b"", b"", b"")

    def fill(self, place: Path) -> None:
        """Leave no space for what is below a path."""
        self.set(place, 1, _FULL, 1 << 60)

    def free(self) -> None:
        """Have space again."""
        self._memory[:] = bytes(_STATE.size)

    def state(self) -> tuple[int, int, int, int, bytes, bytes, bytes, bytes]:
        """What was set, how many events there were, and at what it happened."""
        return _STATE.unpack(self._memory[:])  # type: ignore[return-value]  # as the format says

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()


class Faults:
    """Runs trials.

    Args:
        folder: An empty folder for what it needs.
    """

    def __init__(self, folder: Path) -> None:
        self._disk = Disk(folder)
        self._journal = folder / "journal"
        environment = {**os.environ, **self._disk.environment, "FAULTS_JOURNAL": str(self._journal)}
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def events(self, store: Path, seed: int) -> list[str]:
        """The things that the work does to the disk when nothing happens, in order: what each is a step of."""
        self._journal.write_bytes(b"")
        self._trial(store, seed, 0, 0, 0)
        root = str(store.resolve())
        lines = [line.split("\t") for line in self._journal.read_text(encoding="utf-8").splitlines()]
        return [_step(phase, call, path.removeprefix(root)) for phase, call, path in lines]

    def kill(self, store: Path, seed: int, at: int) -> bool:
        """Do the work and SIGKILL it at one of its events, a write after half of its bytes; whether it was killed."""
        return self._trial(store, seed, at, _KILL, 0) == -9

    def fill(self, store: Path, seed: int, at: int, until: int) -> int:
        """Do the work, with the disk full from one event until another; how it ended."""
        return self._trial(store, seed, at, _FULL, until)

    def _trial(self, store: Path, seed: int, at: int, mode: int, until: int) -> int:
        self._disk.set(store, at, mode, until)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(store), seed]) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def step(self) -> str:
        """What the last trial was doing when it was killed or the disk was full."""
        *_, root, what, where, _ = self._disk.state()
        said, path, store = (os.fsdecode(each.partition(b"\0")[0]) for each in (what, where, root))
        phase, _, call = said.partition("\t")
        return _step(phase, call, path.removeprefix(store)) if call else "none"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
        self._disk.close()


def _step(phase: str, call: str, path: str) -> str:
    """A name for a call and what it was made on, relative to the store."""
    return f"{phase}: {_thing(call, path)}"


def _thing(call: str, path: str) -> str:
    done = {"fsync": "fsync", "fdatasync": "fsync", "unlink": "removal", "unlinkat": "removal"}.get(call, "write")
    if path.startswith("/inbox/settle"):
        return f"settle plan, {done}"
    if path.startswith("/inbox"):
        return f"inbox, {done}"
    if "/_delta_log" in path:
        return f"Delta log, {done}"
    if path.startswith("/lake") and path.endswith((".parquet", ".new")):
        kind = "joined" if "joined-" in path else "kept" if "-kept-" in path else "settled"
        return f"{kind} rows, {done}"
    return (
        f"lake, {done}" if path.startswith("/lake") else f"catalog, {done}" if "catalog" in path else f"store, {done}"
    )


def spans(seed: int, number: int) -> tuple[bytes, list[str]]:
    """A request of the work, and the ids of its spans; the second of every four is the first one over again."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    rng = random.Random(seed * 1000 + (number - (number % 4 == 1)))
    message = ExportTraceServiceRequest()
    resource = message.resource_spans.add()
    resource.resource.attributes.add(key="tracekit.project").value.string_value = "kept"
    trace_id = rng.randbytes(16)
    ids = []
    for place in range(5):
        # Two dates, so that more than one partition is written.
        begun = 1_763_942_400 * 10**9 + (place % 2) * _DAY + number
        span = resource.scope_spans.add().spans.add(name=f"step {place}", start_time_unix_nano=begun)
        span.trace_id, span.span_id, span.end_time_unix_nano = trace_id, rng.randbytes(8), begun + 10
        span.attributes.add(key="input.value").value.string_value = rng.randbytes(100).hex()
        ids.append(f"{trace_id.hex()}/{span.span_id.hex()}")
    return message.SerializeToString(), ids


def work(store: Path, seed: int, enter: Callable[[str], None]) -> int:
    """Receive, settle, compact, retain and vacuum, as a collector does; write down what was acknowledged.

    Args:
        store: The store's folder.
        seed: Of the content.
        enter: Is told what comes next.

    Returns:
        0, or 3 where something could not be done and said so.
    """
    from tracekit.errors import StoreError

    try:
        return _work(store, seed, enter)
    except StoreError:
        return 3


def _work(store: Path, seed: int, enter: Callable[[str], None]) -> int:
    from tracekit.errors import StoreError
    from tracekit.inbox import SegmentWriter
    from tracekit_collector.house import House
    from tracekit_collector.retention import rules_from
    from tracekit_collector.store import Store

    failed = 0

    @contextlib.contextmanager
    def tolerant() -> Iterator[None]:
        nonlocal failed
        try:
            yield
        except StoreError:
            failed = 3

    enter("open")
    with (store.parent / f"acknowledged-{store.name}").open("a", encoding="ascii") as told, Store.open(store) as opened:
        writer = SegmentWriter(opened.inbox, "traces", segment_bytes=3_000)
        for number in range(12):
            enter("receive")
            with tolerant():
                body, ids = spans(seed, number)
                writer.append(body)
                told.write("\n".join(ids) + "\n")
                told.flush()
            if number % 3 == 2:
                enter("settle")
                with tolerant():
                    opened.settle()
        writer.close()
        enter("settle")
        with tolerant():
            opened.settle()
        enter("compact")
        with tolerant():
            House(opened).compact()
        enter("retain")
        told.write(f"{_RETAINING}\n")
        told.flush()
        with tolerant():
            House(opened).retain(rules_from(_RULE))
        enter("vacuum")
        with tolerant():
            House(opened).vacuum(hours=0)
    return failed


def verdict(store: Path, seed: int) -> dict[str, int]:
    """What a store has after a trial: spans lost, doubled and foreign; it is opened, settled and tended for that.

    Once retention has begun, only the four newest traces must be there, and after it has run again no others may.
    """
    from tracekit_collector.house import House
    from tracekit_collector.retention import rules_from
    from tracekit_collector.store import Store

    log = store.parent / f"acknowledged-{store.name}"
    must = set(log.read_text(encoding="ascii").split()) if log.exists() else set()
    acknowledged = len(must - {_RETAINING})
    sent = {each for number in range(12) for each in spans(seed, number)[1]}
    with Store.open(store) as opened:
        rows = opened.sql("SELECT trace_id, span_id FROM spans").fetchall()
        if _RETAINING in must:
            House(opened).retain(rules_from(_RULE))
            # One that was refused may be there all the same, when its fsync failed after the write.
            known = must | {f"{trace_id}/{span_id}" for trace_id, span_id in rows}
            numbers = sorted({number - (number % 4 == 1) for number in range(12)})
            newest = [ids for ids in (set(spans(seed, number)[1]) for number in numbers) if ids & known][-4:]
            must &= set().union(*newest)
            rows = opened.sql("SELECT trace_id, span_id FROM spans").fetchall()
        House(opened).compact()
        after = opened.sql("SELECT trace_id, span_id FROM spans").fetchall()
    found = Counter(f"{trace_id}/{span_id}" for trace_id, span_id in rows)
    return {
        "acknowledged": acknowledged,
        "lost": sum(each not in found for each in must),
        "doubled": sum(count > 1 for count in found.values()),
        "foreign": sum(each not in sent for each in found),
        "changed": int(sorted(after) != sorted(rows)),
    }


def trial(faults: Faults, folder: Path, *, seed: int, at: int, until: int | None = None) -> dict[str, int]:
    """One trial in a new store, and its verdict; `killed` or `refused` say whether the fault was met.

    Args:
        faults: Runs it.
        folder: Where the store may be made, and is removed again.
        seed: Of the content.
        at: The event.
        until: The event at which there is room on the disk again; killed where not given.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = Path(place) / "S"
        if until is None:
            met = {"killed": int(faults.kill(store, seed, at)), "refused": 0, "crashed": 0}
        else:
            code = faults.fill(store, seed, at, until)
            met = {"killed": 0, "refused": int(code == 3), "crashed": int(code not in (0, 3))}
        return {**met, **verdict(store, seed)}


def _serve() -> None:
    """Fork a child for each line, and say how it ended."""
    import tracekit_collector.house
    import tracekit_collector.retention
    import tracekit_collector.store  # noqa: F401 - imported once, for all children

    with Path(os.environ["FAULTS_STATE"]).open("r+b") as file:
        state = mmap.mmap(file.fileno(), _STATE.size)

    def enter(phase: str) -> None:
        state[-_PHASE_BYTES:] = phase.encode().ljust(_PHASE_BYTES, b"\0")

    for line in sys.stdin:
        store, seed = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 5
            try:
                os.setsid()  # the shim kills the group
                ctypes.CDLL(None).prctl(1, 9)  # not to outlive the server
                code = work(Path(store), int(seed), enter)
            except OSError as error:
                print(f"the work let an error through: {error}", file=sys.stderr)
            except Exception as error:  # noqa: BLE001 - said to the one who asked
                print(f"the work let an error through: {type(error).__name__}: {error}", file=sys.stderr)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
