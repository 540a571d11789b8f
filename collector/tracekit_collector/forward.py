"""Forwarding: what a collector takes goes on to other OTLP backends, through a queue on the disk.

The queue is a folder of segments as the inbox has them, shared by all targets; beside it stands, for each target, how
far that target has come. A request is in the queue before its sender is told that it was taken, so a killed collector
loses none: it sends again what it is not sure of, at least once, in order. A target that is away makes nobody else
wait. Beyond the queue's limit the oldest segment goes, and each target counts what it had not got of it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import logging
import os
import random
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, get_args

from tracekit._locks import try_lock
from tracekit._sender import Answer, Sender
from tracekit.errors import SettingError, StoreError
from tracekit.inbox import HEAD, MAGIC, SIGNALS, Damage, Record, SegmentWriter, Signal, read_segment, segments

if TYPE_CHECKING:
    from typing_extensions import Self

LIMIT_BYTES = 1 << 30

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_LONGEST_WISH = 300.0
_DOUBTFUL_TRIES = 5
_LOOK_SECONDS = 0.5
_SYNC_SECONDS = 1.0
_TIME_LETTERS = 10  # of a ULID
_SEGMENTS = 16  # the queue's limit in segments: the finer, the less is dropped at once
_LARGEST_SEGMENT = 16 << 20
_STOP_SECONDS = 12.0
# What a body is refused for, whoever sends it. Any other refusal is about the target's settings, and worth waiting for.
_FOR_GOOD = ("400", "413", "415", "422")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """Where requests go on to.

    Args:
        url: The base URL; `/v1/traces`, `/v1/logs` or `/v1/metrics` is added.
        headers: What is sent with each request.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The URL without user, password, headers: for logs and figures."""
        parts = urllib.parse.urlsplit(self.url)
        return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))

    @property
    def key(self) -> str:
        """A short name for files; other headers are another target, since they may mean another tenant."""
        said = "\n".join([self.url, *(f"{name}: {value}" for name, value in sorted(self.headers.items()))])
        return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target as it is written in settings: a URL, its headers after `#`.

        Args:
            text: `https://otlp.example.com#authorization=Bearer%20key&x-tenant=a`.

        Raises:
            SettingError: It is no URL of HTTP or HTTPS.

        Example:
            >>> Target.parse("https://example.com/otlp#x-tenant=a").headers
            {'x-tenant': 'a'}
        """
        base, _, fragment = text.strip().partition("#")
        parts = urllib.parse.urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingError("a target of forwarding is a URL such as https://otlp.example.com#x-api-key=KEY")
        pairs = urllib.parse.parse_qsl(fragment.replace("+", "%2B"), keep_blank_values=True)
        for key, value in pairs:
            if not key.isascii() or any(ord(letter) < 32 for letter in key + value):
                raise SettingError(f"the header {key!r} of the target {parts.hostname} cannot be sent")
        return cls(base.rstrip("/"), {key.lower(): value for key, value in pairs})


class Forwarder:
    """Sends requests on to targets, each in the order in which they came.

    Several processes may offer to the same queue; one of them sends.

    Args:
        folder: Where the queue is kept.
        targets: Where requests go.
        limit_bytes: How large the queue may become on the disk.

    Raises:
        SettingError: A target's certificates cannot be used.
    """

    def __init__(self, folder: Path, targets: Sequence[Target], *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit_bytes
        size = max(1 << 12, min(_LARGEST_SEGMENT, limit_bytes // _SEGMENTS))
        self._writers = {kind: SegmentWriter(folder, _signal(kind), segment_bytes=size) for kind in SIGNALS}
        self._lanes = [_Lane(folder, target) for target in targets]
        self._stopping = threading.Event()
        self._offered = threading.Condition()
        self._mutex = threading.Lock()
        self._since_trim = 0
        self._lost = 0
        self._said: set[str] = set()
        self._saying = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send; what an earlier process left in the queue goes first."""
        self._threads = [threading.Thread(target=self._run, name="tracekit-forwarding", daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        """Stop sending; what was not sent stays in the queue for the next start."""
        self._stopping.set()
        with self._offered:
            self._offered.notify_all()
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        for writer in self._writers.values():
            writer.close()

    def offer(self, kind: str, payload: bytes) -> bool:
        """Have a request sent on; quick, and never raises. On return it survives the death of this process.

        Args:
            kind: `traces`, `logs` or `metrics`.
            payload: The serialized request.

        Returns:
            Whether it is in the queue.
        """
        writer = self._writers.get(_signal(kind)) if kind in SIGNALS else None
        if writer is None or not self._lanes or not payload:
            return False
        try:
            self._make_room(len(payload))
            writer.append(payload, sync=False)
        except StoreError as error:
            with self._mutex:
                self._lost += 1
            self._say(f"a request is not forwarded, as it cannot be queued: {error}")
            return False
        with self._offered:
            self._offered.notify_all()
        return True

    def stats(self) -> dict[str, dict[str, object]]:
        """By target's name: requests `sent`, `refused`, `dropped` beyond the limit, `waiting_bytes`, and `failing`."""
        found = segments(self._folder)
        return {
            lane.target.name: {
                **{what: lane.counts[what] for what in ("sent", "refused", "damaged", "retries")},
                "dropped": lane.counts["dropped"] + self._lost,
                "waiting_bytes": lane.waiting(found),
                "failing": lane.failing,
            }
            for lane in self._lanes
        }

    def gauges(self) -> dict[str, float | None]:
        """The same for `/metrics`."""
        found: dict[str, float | None] = {}
        for name, told in self.stats().items():
            for what in ("sent", "refused", "damaged", "dropped", "retries"):
                found[f'forwarded_total{{target="{name}",what="{what}"}}'] = float(str(told[what]))
            found[f'forward_waiting_bytes{{target="{name}"}}'] = float(str(told["waiting_bytes"]))
            found[f'forward_failing{{target="{name}"}}'] = float(told["failing"] is not None)
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            with self._mine() as ours:
                if not ours:
                    return
                lanes = [
                    threading.Thread(target=self._send, args=(lane,), name="tracekit-forwarding-lane", daemon=True)
                    for lane in self._lanes
                ]
                for thread in lanes:
                    thread.start()
                while not self._stopping.wait(_SYNC_SECONDS):
                    self._keep_house()
                for thread in lanes:
                    thread.join(_STOP_SECONDS)
                self._keep_house()
        except Exception:  # a fault here must be seen, and must not take the collector along
            logger.exception("forwarding has stopped; what is queued is sent after the next start")

    @contextlib.contextmanager
    def _mine(self) -> Iterator[bool]:
        """Be the process that sends, waiting for that as long as it takes."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            ours = try_lock(descriptor)
            while not ours and not self._stopping.wait(_LOOK_SECONDS):
                ours = try_lock(descriptor)
            yield ours
        finally:
            os.close(descriptor)

    def _send(self, lane: _Lane) -> None:
        while not self._stopping.is_set():
            try:
                moved = self._send_what_there_is(lane)
            except (StoreError, OSError) as error:
                self._say(f"the queue of {lane.target.name} cannot be read: {error}")
                moved = False
            if not moved:
                with self._offered:
                    self._offered.wait(_LOOK_SECONDS)

    def _send_what_there_is(self, lane: _Lane) -> bool:
        moved = False
        for path in _in_order(self._folder):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size <= lane.offsets.get(path.name, 0):
                    continue
            if not path.exists():
                continue
            for item in read_segment(path, lane.offsets.get(path.name, 0)):
                if isinstance(item, Damage):
                    if item.torn and not _is_abandoned(path):
                        break
                    lane.counts["damaged"] += 1
                elif not self._deliver(lane, _signal(path.suffix[1:]), item):
                    return moved
                lane.move(path.name, item.end)
                moved = True
        return moved

    def _deliver(self, lane: _Lane, signal: Signal, record: Record) -> bool:
        """Send one request until it is taken or refused for good; false where the collector stops before."""
        body = gzip.compress(record.payload, 1, mtime=0)
        pause, doubtful = _FIRST_PAUSE, 0
        while not self._stopping.is_set():
            answer = lane.senders[signal].send(body)
            if answer.outcome == "taken":
                lane.counts["sent"] += 1
                lane.counts["refused"] += 1 if answer.rejected else 0
                self._well(lane)
                return True
            doubtful += answer.outcome == "doubtful"
            if _is_refused(answer) or doubtful >= _DOUBTFUL_TRIES:
                lane.counts["refused"] += 1
                self._say(f"{lane.target.name} does not take a request, which is left out: {answer.reason}")
                return True
            lane.counts["retries"] += 1
            lane.failing = answer.reason
            self._say(f"{lane.target.name} does not take what is forwarded, which waits: {answer.reason}")
            wish = answer.retry_after
            wait = pause * random.uniform(0.5, 1.0) if wish is None else min(wish, _LONGEST_WISH)  # noqa: S311 - no secret
            self._stopping.wait(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return False

    def _well(self, lane: _Lane) -> None:
        if lane.failing is not None:
            lane.failing = None
            logger.warning("%s takes what is forwarded again", lane.target.name)
            with self._saying:
                self._said = {said for said in self._said if lane.target.name not in said}

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest segments where the queue is beyond its limit."""
        with self._mutex:
            self._since_trim += wanted
            if self._since_trim < self._limit // (2 * _SEGMENTS):
                return
            self._since_trim = 0
            self._trim()

    def _trim(self) -> None:
        sizes = [(path, size) for path in _in_order(self._folder) if (size := _size(path)) is not None]
        total = sum(size for _, size in sizes)
        for path, size in sizes:
            if total <= self._limit or not _is_abandoned(path):
                break
            self._count_dropped(path)
            path.unlink(missing_ok=True)
            total -= size

    def _count_dropped(self, path: Path) -> None:
        for lane in self._lanes:
            with contextlib.suppress(StoreError):
                left = sum(isinstance(item, Record) for item in read_segment(path, lane.offsets.get(path.name, 0)))
                lane.counts["dropped"] += left
                if left:
                    mib = self._limit >> 20
                    self._say(f"the queue of {lane.target.name} holds as much as it may ({mib} MiB); the oldest goes")

    def _keep_house(self) -> None:
        """Bring the queue to the disk, and remove segments that every target has got."""
        for path in segments(self._folder):
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                if _is_abandoned(path) and all(lane.offsets.get(path.name, 0) >= size for lane in self._lanes):
                    path.unlink(missing_ok=True)
                    continue
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        left = {path.name for path in segments(self._folder)}
        for lane in self._lanes:
            lane.forget(left)

    def _say(self, message: str) -> None:
        with self._saying:
            if message in self._said or len(self._said) > 100:
                return
            self._said.add(message)
        logger.warning("%s", message)


class _Lane:
    """One target: how far it has come, and its figures."""

    def __init__(self, folder: Path, target: Target) -> None:
        self.target = target
        self.senders = {
            _signal(kind): Sender(f"{target.url}/v1/{kind}", _signal(kind), target.headers, inherit=False)
            for kind in SIGNALS
        }
        self.counts: Counter[str] = Counter()
        self.failing: str | None = None
        self._path = folder / f"{target.key}.json"
        self._mutex = threading.Lock()
        self.offsets: dict[str, int] = _read_offsets(self._path)

    def move(self, name: str, end: int) -> None:
        """Have come to `end` in a segment."""
        with self._mutex:
            self.offsets = {**self.offsets, name: end}
            self._write()

    def forget(self, left: set[str]) -> None:
        """Drop what is known of segments that are gone."""
        with self._mutex:
            if not self.offsets.keys() <= left:
                self.offsets = {name: at for name, at in self.offsets.items() if name in left}
                self._write()

    def waiting(self, paths: Sequence[Path]) -> int:
        """How many bytes of the queue the target has not got."""
        offsets = self.offsets
        return sum(max(0, (_size(path) or 0) - offsets.get(path.name, 0)) for path in paths)

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: at worst what was sent is sent again
            new.write_text(json.dumps({"target": self.target.name, "offsets": self.offsets}), encoding="utf-8")
            new.replace(self._path)


def _read_offsets(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(at) for name, at in found["offsets"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("cannot read %s (%s); all that is queued is sent again", path, error)
        return {}


def _is_refused(answer: Answer) -> bool:
    return answer.outcome == "refused" and answer.reason.startswith(_FOR_GOOD)


def _is_abandoned(path: Path) -> bool:
    """Whether no writer has the segment open."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def _in_order(folder: Path) -> list[Path]:
    """The segments as they were begun; names tell milliseconds, and several may be of one."""
    found = segments(folder)
    of_a_moment = Counter(path.name[:_TIME_LETTERS] for path in found)

    def began(path: Path) -> tuple[str, int]:
        moment = path.name[:_TIME_LETTERS]
        return moment, _first_received(path) if of_a_moment[moment] > 1 else 0

    return sorted(found, key=began)


def _first_received(path: Path) -> int:
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(len(MAGIC) + HEAD.size)[len(MAGIC) :]
        if len(head) == HEAD.size:
            return int(HEAD.unpack(head)[2])
    return 0


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _signal(kind: str) -> Signal:
    return next(signal for signal in get_args(Signal) if signal == kind)


def queue_folder(store: Path) -> Path:
    """Where a store keeps its queue."""
    return store / "forward"
