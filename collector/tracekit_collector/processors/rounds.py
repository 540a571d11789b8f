"""The rounds of processors that work on what is stored already, such as tail sampling."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING

from tracekit.errors import StoreBusyError, TracekitError
from tracekit_collector.processors import Pipeline
from tracekit_collector.processors.tail_sampling import Sampled

if TYPE_CHECKING:
    from typing_extensions import Self

    from tracekit_collector.store import Store

_SECONDS = 10.0

logger = logging.getLogger(__name__)


class Rounds:
    """Calls `apply(store)` of every processor that has it, again and again, on a thread of its own.

    Without such a processor there is no thread. A failure is logged once for each cause, and tried again.

    Args:
        store: The store.
        pipeline: The processors.
        every: Seconds from one round to the next.
    """

    def __init__(self, store: Store, pipeline: Pipeline, *, every: float = _SECONDS) -> None:
        self._store = store
        self._appliers = [processor for processor in pipeline.processors if callable(getattr(processor, "apply", None))]
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracekit-rounds", daemon=True)
        self._logged = ""
        self.counts: Counter[str] = Counter()

    def start(self) -> None:
        """Begin, with a round at once."""
        if self._appliers:
            self._thread.start()

    def stop(self) -> None:
        """Finish the round that is under way, and end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def gauges(self) -> dict[str, float | None]:
        """What came of the rounds, for `/metrics`."""
        return {f'sampled_traces_total{{verdict="{name}"}}': count for name, count in sorted(self.counts.items())}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for processor in self._appliers:
                self._round(processor)
            self._stopping.wait(self._every)

    def _round(self, processor: object) -> None:
        try:
            done = processor.apply(self._store)  # type: ignore[attr-defined]  # it was picked for having it
        except StoreBusyError:
            return  # settling takes long just now; the next round finds the same
        except Exception as error:  # noqa: BLE001 - a plugin's fault must not end the rounds
            told = str(error) if isinstance(error, TracekitError) else f"{type(error).__name__}: {error}"
            if told != self._logged:
                logger.warning("%s failed and will be tried again: %s", type(processor).__name__, told)
                self._logged = told
            return
        self._logged = ""
        if isinstance(done, Sampled):
            self.counts.update(done.kept)
            self.counts.update({"dropped": done.dropped, "late": done.late} if done.dropped or done.late else {})
