"""`tracekit collect`: take OTLP over HTTP and gRPC into a store until told to stop."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.command import Command, add_store_option
from tracekit.errors import SettingError
from tracekit.settings import origin, setting

if TYPE_CHECKING:
    from tracekit_collector.service import Collector
    from tracekit_collector.store import Store


def command() -> Command:
    """The command `collect`."""
    return Command(
        help="receive traces, logs and metrics by OTLP over HTTP and gRPC into a store, until stopped",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit collect",
            "tracekit collect --port 0 --store /var/lib/tracekit",
            "tracekit collect --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 python service.py",
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_store_option(parser)
    parser.add_argument(
        "--host", default=None, help="the address to listen on (default: TRACEKIT_HOST, else 127.0.0.1)"
    )
    parser.add_argument(
        "--port",
        default=None,
        help="the port for HTTP, 0 for a free one (default: TRACEKIT_PORT, else 4318)",
    )
    parser.add_argument(
        "--grpc-port",
        default=None,
        help="the port for gRPC, 0 for a free one, off for none (default: TRACEKIT_GRPC_PORT, else 4317, or 0 where "
        "--port is 0)",
    )
    parser.add_argument(
        "--tls-cert",
        default=None,
        metavar="FILE",
        help="certificate chain, PEM: both doors speak TLS only (default: TRACEKIT_TLS_CERT)",
    )
    parser.add_argument(
        "--tls-key", default=None, metavar="FILE", help="the certificate's private key (default: TRACEKIT_TLS_KEY)"
    )
    parser.add_argument(
        "--cors-origins",
        default=None,
        metavar="ORIGINS",
        help="web pages that may send, as https://app.example.com, with commas between, beside those of this machine "
        "(default: TRACEKIT_CORS_ORIGINS)",
    )
    parser.add_argument(
        "--processor",
        action="append",
        metavar="SPEC",
        help="what happens to requests before they are kept, such as redaction or drop?rules=codex; repeat for more, "
        "in order (default: TRACEKIT_PROCESSORS)",
    )
    parser.add_argument(
        "--forward",
        action="append",
        metavar="URL",
        help="an OTLP endpoint that gets a copy, its headers after #; repeat for more (default: TRACEKIT_FORWARD)",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="let other machines in although no token was ever made (default: TRACEKIT_INSECURE)",
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
    parser.add_argument(
        "--max-backlog",
        type=float,
        default=256,
        metavar="MB",
        help="at how many MiB that wait to be settled requests are put off (default: 256)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands._doors import told_to_stop, wait

    stopping = told_to_stop()
    _check(arguments)

    from tracekit_collector._heap import keep_small, spared

    keep_small()
    from tracekit_collector.store import Store

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(arguments.store))
        _check_access(store, arguments)
        collector = stack.enter_context(_collector(store, arguments, stack))
        print(f"collecting on {collector.url}", file=sys.stderr)
        if collector.grpc_target is not None:
            print(f"gRPC on {collector.grpc_target}", file=sys.stderr)
        print(f"store: {store.location.resolve()}", file=sys.stderr, flush=True)
        stack.enter_context(spared())
        wait(stopping)
        print("stopping: settling what is left", file=sys.stderr, flush=True)
    return 0


def _collector(store: Store, arguments: argparse.Namespace, stack: ExitStack) -> Collector:
    from tracekit_collector.access import Access
    from tracekit_collector.admission import Limits
    from tracekit_collector.forward import Forwarder, Target, queue_folder
    from tracekit_collector.processors import Pipeline
    from tracekit_collector.processors.rounds import Rounds
    from tracekit_collector.service import Collector

    port = _port(setting("port", arguments.port) or "4318")
    pipeline = Pipeline.load(_words("processors", arguments.processor))
    targets = [Target.parse(each) for each in _words("forward", arguments.forward)]
    forwarder = Forwarder(queue_folder(store.location), targets, limit_bytes=_forward_bytes())
    rounds = Rounds(store, pipeline)
    collector = Collector(
        store,
        host=setting("host", arguments.host) or "127.0.0.1",
        port=port,
        grpc_port=_grpc_port(arguments.grpc_port, port),
        settle_every=arguments.settle_every,
        limits=Limits(max_body=int(arguments.max_body * (1 << 20)), backlog=int(arguments.max_backlog * (1 << 20))),
        certificate=_certificate(arguments.tls_cert, arguments.tls_key),
        origins=_origins(setting("cors_origins", arguments.cors_origins) or ""),
        authorise=Access(store.catalog).admit,
        pipeline=pipeline if len(pipeline) else None,
        forwarders=[forwarder] if targets else [],
    )
    if targets:
        stack.enter_context(forwarder)
    stack.enter_context(rounds)
    for gauges in (pipeline.gauges, forwarder.gauges, rounds.gauges):
        collector.meter.watch(gauges)
    return collector


def _check_access(store: Store, arguments: argparse.Namespace) -> None:
    from tracekit_collector.access import Access
    from tracekit_collector.commands._doors import check_reach

    check_reach(
        setting("host", arguments.host) or "127.0.0.1",
        arguments,
        tokens=Access(store.catalog).required,
        encrypted=bool(setting("tls_cert", arguments.tls_cert)),
        could="could write to this store",
        can="can write to this store",
    )


def _words(name: str, given: list[str] | None) -> list[str]:
    return (setting(name) or "").split() if given is None else given


def _forward_bytes() -> int:
    text = setting("forward_mb") or "1024"
    try:
        size = int(float(text) * (1 << 20))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise SettingError(f"forward_mb must be a number of MiB above 0, not {text!r}")
    return size


def _check(arguments: argparse.Namespace) -> None:
    _port(setting("port", arguments.port) or "4318")
    _grpc_port(arguments.grpc_port, 0)
    _certificate(arguments.tls_cert, arguments.tls_key)
    _origins(setting("cors_origins", arguments.cors_origins) or "")
    if not 0 < arguments.settle_every <= 3600:
        raise SettingError(f"--settle-every must be more than 0 and at most 3600, not {arguments.settle_every}")
    if not 0 < arguments.max_body <= 1024:
        raise SettingError(f"--max-body must be more than 0 and at most 1024 MiB, not {arguments.max_body}")
    if not 0 < arguments.max_backlog <= 1 << 20:
        raise SettingError(f"--max-backlog must be more than 0 and at most 1048576 MiB, not {arguments.max_backlog}")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise SettingError(f"the port must be a number from 0 to 65535, not {text!r}")
    return int(text)


def _grpc_port(given: str | None, http_port: int) -> int | None:
    text = setting("grpc_port", given) or "4317"
    if text.strip().lower() == "off":
        return None
    if given is None and origin("grpc_port") == "default" and http_port == 0:
        return 0  # who asks for any port must not meet a door that is taken
    return _port(text)


def _certificate(given_chain: str | None, given_key: str | None) -> tuple[Path, Path] | None:
    from tracekit_collector.commands._doors import certificate

    return certificate(setting("tls_cert", given_chain), setting("tls_key", given_key))


def _origins(text: str) -> list[str]:
    found = [each.strip().rstrip("/") for each in text.split(",") if each.strip()]
    for each in found:
        if each != "*" and not each.startswith(("http://", "https://")):
            raise SettingError(f"an origin is like https://app.example.com, not {each!r}")
    return found
