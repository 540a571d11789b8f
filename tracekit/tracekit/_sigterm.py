"""SIGTERM, for programs that ask: deliver what there is, then end as the signal would have ended the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from tracekit import _guard


def handle(stop: Callable[[float], object], timeout: float) -> None:
    """Call `stop` when SIGTERM comes, then let the signal do what it does by default.

    A handler that is there already is the program's own and stays. Outside of the main thread, nothing can be set.

    Args:
        stop: Delivers what there is, within the seconds that it is given.
        timeout: Those seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        _guard.note("SIGTERM", "SIGTERM can be handled only where init is called in the main thread; it is not handled")
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def deliver(number: int, _frame: Any) -> None:
        # In a thread, because the code that the signal has interrupted may hold what delivery needs.
        thread = threading.Thread(target=stop, args=(timeout,), name="tracekit-end", daemon=True)
        try:
            thread.start()
            thread.join(timeout + 1.0)
        except RuntimeError:
            pass  # the interpreter is ending already, and delivers at its exit
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, deliver)
