"""Calling judges on subjects: those that answer at once in place, those that wait side by side."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tracekit_evaluators.asking import current
from tracekit_evaluators.score import MissingInput, Score, unscored

if TYPE_CHECKING:
    from tracekit_evaluators._writer import ScoreWriter
    from tracekit_evaluators.judge import Judge
    from tracekit_evaluators.subject import Subject

_YOUNG = 10_000  # objects that there may be more, before garbage is looked for
_SHOW_EVERY = 0.1  # seconds between two movements of the progress bar


@dataclass
class Pace:
    """How many judges wait at once, and how far the work is.

    Args:
        concurrency: The most judges that wait for an answer at once.
        advance: Moves the progress bar on.
        samples: How many independent verdicts a judge that asks a model gives on each subject.
    """

    concurrency: int
    advance: Callable[[int], None]
    samples: int = 1
    _done: int = field(default=0, init=False)
    _shown: float = field(default=0.0, init=False)

    def step(self, n: int = 1) -> None:
        """Say that n more traces or sessions are judged."""
        self._done += n
        if time.monotonic() - self._shown >= _SHOW_EVERY:
            self.show()

    def show(self) -> None:
        """Move the bar to where the work is."""
        done, self._done, self._shown = self._done, 0, time.monotonic()
        self.advance(done)


Done = tuple[str, str, str, int]


async def judge_all(
    work: Iterable[tuple[Subject, Sequence[Judge]]],
    judges: Sequence[Judge],
    done: Container[Done],
    writer: ScoreWriter,
    pace: Pace,
) -> None:
    """Call every judge on every subject of its kind, and give the scores to the writer.

    Args:
        work: What is judged, and by whom; read as the work goes on.
        judges: All who judge.
        done: What is scored already: judge digest, target, the target's id, sample.
        writer: Takes the scores.
        pace: How many wait at once, how many samples, and the progress bar.
    """
    judging = _Judging(judges, writer, pace)
    seen = ""
    often = _collect_seldom()
    try:
        for subject, asked in work:
            for judge in asked:
                for sample in range(pace.samples if judge.declared.source == "llm" else 1):
                    if (judge.digest, subject.target, subject.target_id, sample) not in done:
                        await judging.begin(judge, subject if sample == 0 else replace(subject, sample=sample))
            name = subject.trace.trace_id if not subject.session else subject.target_id
            if name != seen:
                seen = name
                pace.step()
        await judging.rest()
    finally:
        gc.set_threshold(*often)
        await judging.stop()
        pace.show()


def _collect_seldom() -> tuple[int, int, int]:
    """Look for garbage less often, as traces are read and dropped by the hundred: a tenth of the time; what was set."""
    before = gc.get_threshold()
    if 0 < before[0] < _YOUNG:
        gc.set_threshold(_YOUNG, *before[1:])
    return before


class _Judging:
    def __init__(self, judges: Sequence[Judge], writer: ScoreWriter, pace: Pace) -> None:
        self._judges = judges
        self._writer = writer
        self._pace = pace
        self._waiting: set[asyncio.Task[None]] = set()
        self._room: asyncio.Future[None] | None = None  # of whoever waits for one that is done
        self._fault: BaseException | None = None
        self._owner = {judge.name: judge for judge in judges}

    async def begin(self, judge: Judge, subject: Subject) -> None:
        """Call a judge; where it has to wait, come back as soon as there is room for one more."""
        began = time.perf_counter()
        try:
            verdict = _asked(judge, subject)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a judge raises costs its score alone
            self._take(judge, subject, {judge.name: unscored(error)}, began)
            return
        if not inspect.isawaitable(verdict):
            self._settle(judge, subject, verdict, began)
            return
        task = asyncio.ensure_future(self._recorded(judge, subject, verdict, began))
        self._waiting.add(task)
        task.add_done_callback(self._done)
        while len(self._waiting) >= self._pace.concurrency:
            await self._one()

    async def rest(self) -> None:
        """Wait for all that are still out."""
        while self._waiting:
            await self._one()
        self._raise()

    async def stop(self) -> None:
        """Give up what is still out, and free what judges hold."""
        left = list(self._waiting)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._waiting.clear()
        for judge in self._judges:
            close = getattr(judge.call, "aclose", None)
            if close is not None:
                await close()

    async def _one(self) -> None:
        """Wait until another one is done: of many that wait, looking at each every time would take long."""
        self._room = asyncio.get_running_loop().create_future()
        await self._room
        self._room = None
        self._raise()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        self._fault = self._fault or (asyncio.CancelledError() if task.cancelled() else task.exception())
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _raise(self) -> None:
        if self._fault is not None:
            raise self._fault  # what a judge raised is a score by now; this is the writer's own failure

    async def _recorded(self, judge: Judge, subject: Subject, verdict: Awaitable[object], began: float) -> None:
        traces = current().traces
        if traces is None or judge.declared.source != "llm":
            await self._awaited(judge, subject, verdict, began)
            return
        with traces.judging(judge, subject):
            await self._awaited(judge, subject, verdict, began)

    async def _awaited(self, judge: Judge, subject: Subject, verdict: Awaitable[object], began: float) -> None:
        try:
            answer = await verdict
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a judge raises costs its score alone
            self._take(judge, subject, {judge.name: unscored(error)}, began)
        else:
            self._settle(judge, subject, answer, began)

    def _settle(self, judge: Judge, subject: Subject, verdict: object, began: float) -> None:
        try:
            scores = judge.scores(verdict)
            for name in scores:
                owner = self._owner.setdefault(name, judge)
                if owner is not judge:
                    words = f"the judges {owner.name} and {judge.name} both give {name}; rename one with `name=…`"
                    scores[name] = Score(status="judge_error", explanation=words)
        except Exception as error:  # noqa: BLE001 - a verdict that cannot be read costs its score alone
            scores = {judge.name: unscored(error)}
        self._take(judge, subject, scores, began)

    def _take(self, judge: Judge, subject: Subject, scores: dict[str, Score], began: float) -> None:
        self._writer.add(judge, subject, scores, (time.perf_counter() - began) * 1000)


def _asked(judge: Judge, subject: Subject) -> object:
    if judge.declared.subject == "pair" and subject.other is None:
        raise MissingInput("no other try at the same case is there to compare with")
    return judge.call(subject)
