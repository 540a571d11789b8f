"""`tracekit collect`: take OTLP over HTTP into a store until told to stop."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import sys
import threading

from tracekit.command import Command, add_store_option
from tracekit.errors import SettingError
from tracekit.settings import setting

_LOOK_SECONDS = 0.2


def command() -> Command:
    """The command `collect`."""
    return Command(
        help="receive traces and logs by OTLP over HTTP into a store, until stopped",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit collect",
            "tracekit collect --port 0 --store /var/lib/tracekit",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python service.py",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument(
        "--host", default=None, help="the address to listen on (default: TRACEKIT_HOST, else 127.0.0.1)"
    )
    parser.add_argument(
        "--port", default=None, help="the port to listen on, 0 for a free one (default: TRACEKIT_PORT, else 4318)"
    )
    parser.add_argument(
        "--settle-every",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="how often what arrived is moved to where queries see it (default: 0.5)",
    )
    parser.add_argument(
        "--max-body",
        type=float,
        default=64,
        metavar="MB",
        help="the largest request, decompressed, in MiB (default: 64)",
    )


def _run(arguments: argparse.Namespace) -> int:
    host = setting("host", arguments.host) or "127.0.0.1"
    port = _port(setting("port", arguments.port) or "4318")
    if not 0 < arguments.settle_every <= 3600:
        raise SettingError(f"--settle-every must be more than 0 and at most 3600, not {arguments.settle_every}")
    if not 0 < arguments.max_body <= 1024:
        raise SettingError(f"--max-body must be more than 0 and at most 1024 MiB, not {arguments.max_body}")
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.default_int_handler)  # a second one does not wait for the orderly end
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")

    from tracekit_collector.door import Limits
    from tracekit_collector.service import Collector
    from tracekit_collector.store import Store

    with Store.open(arguments.store) as store:
        collector = Collector(
            store,
            host=host,
            port=port,
            settle_every=arguments.settle_every,
            limits=Limits(max_body=int(arguments.max_body * (1 << 20))),
        )
        with collector:
            print(f"collecting on {collector.url}", file=sys.stderr)
            print(f"store: {store.location.resolve()}", file=sys.stderr, flush=True)
            if not _is_loopback(host):
                reach = "can be reached from other machines, and whoever reaches it can write to this store"
                print(f"warning: {host} {reach}", file=sys.stderr, flush=True)
            # A signal that the system hands to another thread does not wake a main thread that waits without an end.
            while not stopping.wait(_LOOK_SECONDS):
                pass
            print("stopping: settling what is left", file=sys.stderr, flush=True)
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise SettingError(f"the port must be a number from 0 to 65535, not {text!r}")
    return int(text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
