"""What the commands that listen share: an orderly end, certificates, and doors that somebody has chosen to open."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tracekit.errors import SettingError
from tracekit.settings import switch

_LOOK_SECONDS = 0.2


def told_to_stop() -> threading.Event:
    """What is set by the first SIGTERM or SIGINT; a second one does not wait for the orderly end.

    Warnings of the program go to standard error from now on.
    """
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    return stopping


def wait(stopping: threading.Event, *, running: Callable[[], bool] = lambda: True) -> None:
    """Wait until the program is told to stop, or does not run any more."""
    # A signal that the system hands to another thread does not wake a main thread that waits without an end.
    while not stopping.wait(_LOOK_SECONDS) and running():
        pass


def certificate(chain: str | None, key: str | None) -> tuple[Path, Path] | None:
    """The files of a certificate and its key, as they were given.

    Raises:
        SettingError: One of them is missing.
    """
    if bool(chain) != bool(key):
        raise SettingError(f"TLS needs a certificate and its key; give {'--tls-key' if chain else '--tls-cert'} too")
    return (Path(chain), Path(key)) if chain and key else None


def check_reach(
    host: str, arguments: argparse.Namespace, *, tokens: bool, encrypted: bool, could: str, can: str
) -> None:
    """Leave no door open to other machines that nobody has said to leave open.

    Args:
        host: The address to listen on.
        arguments: The command's, which have `insecure`.
        tokens: Whether requests need a token.
        encrypted: Whether the door speaks TLS.
        could: What anybody could do there.
        can: The same, once it is so.

    Raises:
        SettingError: Other machines reach the address, and nothing is asked of them.
    """
    from tracekit_collector.access import is_loopback

    if is_loopback(host):
        return
    if not tokens:
        if not (arguments.insecure or switch("insecure")):
            raise SettingError(
                f"{host} can be reached from other machines, and whoever reaches it {could}; make a "
                f"token for them with `tracekit tokens create NAME`, or say --insecure"
            )
        _warn(f"{host} can be reached from other machines, and whoever reaches it {can}")
    elif not encrypted:
        _warn(
            f"{host} can be reached from other machines, and tokens go there in clear text; "
            f"give --tls-cert and --tls-key"
        )


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
