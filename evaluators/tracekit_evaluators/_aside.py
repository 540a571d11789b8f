"""What a run does while its judges wait for models, on another thread: what its traces share, the lake's upkeep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from tracekit.errors import TracekitError
from tracekit_evaluators import _lone
from tracekit_evaluators.clustering import Row, shared_by

if TYPE_CHECKING:
    from typing_extensions import Self

    from tracekit_collector.store import Store

_log = logging.getLogger("tracekit")
T = TypeVar("T")


class Aside:
    """Work beside judging, in a block at whose end all of it is done.

    Args:
        store: Where the traces are.
        ids: All traces of the run; `None` where it has others too, of which nothing is found out.
    """

    def __init__(self, store: Store, ids: Sequence[str] | None) -> None:
        self._store = store
        self._ids = ids if ids is not None and len(ids) <= _lone.MANY else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tracekit-aside")
        self._begun = False
        self._traces: Future[Mapping[str, Row]] | None = None

    @property
    def traces(self) -> Mapping[str, Row] | None:
        """What is known of the run's traces (see `clustering.Facts`); `None` where nobody asked."""
        return None if self._traces is None else self._traces.result()

    def beside(self, work: Iterable[T]) -> Iterator[T]:
        """The work as it is, with everything else begun behind its first piece, which nobody is to wait for."""
        for each in work:
            self._begin()
            yield each

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._ids is not None:
            self._traces = self._pool.submit(shared_by, self._store, list(self._ids))
        self._pool.submit(self._keep_house)

    def _keep_house(self) -> None:
        try:
            self._store.settler.keep_house()
        except (TracekitError, OSError) as error:  # the run is none the worse for it
            _log.warning("the store %s could not be tended: %s", self._store.location, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._begin()
        self._pool.shutdown()
