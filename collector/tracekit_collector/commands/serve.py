"""`tracekit serve`: answer requests with an agent version over HTTP, in an environment of its own, until stopped."""

from __future__ import annotations

import argparse
import math
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.command import Command, add_store_option
from tracekit.errors import SettingError, UsageError
from tracekit.settings import setting

if TYPE_CHECKING:
    from tracekit_collector.serving.pool import Limits
    from tracekit_collector.serving.target import Source
    from tracekit_collector.store import Store

_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(\))?")
_CANARY = re.compile(r"(?P<ref>.+)=(?P<share>[0-9.]+)\s*%")


def command() -> Command:
    """The command `serve`."""
    return Command(
        help="answer requests with an agent version over HTTP, until stopped",
        run=_run,
        configure=_configure,
        examples=(
            "tracekit serve bot@production --port 8000",
            "tracekit serve bot@production --canary bot@5=10% --workers 4 --tokens",
            "tracekit serve agents.bot:answer --agent bot",
            'curl -d \'{"input": "Who wrote it?"}\' http://127.0.0.1:8000/invocations',
        ),
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="AGENT", help="a packaged version such as bot@production, or module:callable of this folder"
    )
    add_store_option(parser)
    parser.add_argument("--agent", default=None, help="what to call the agent, where module:callable is served")
    parser.add_argument(
        "--agent-version", default=None, help="what to call its version (default: dev- and a digest of its file)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the port, 0 for a free one (default: 8000)")
    parser.add_argument(
        "--tls-cert", default=None, metavar="FILE", help="certificate chain, PEM: the door speaks TLS only"
    )
    parser.add_argument("--tls-key", default=None, metavar="FILE", help="the certificate's private key")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes for each version (default: 2)")
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="requests that a worker answers at once (default: 16)"
    )
    parser.add_argument(
        "--queue", type=int, default=256, metavar="N", help="requests that may wait; more get a 503 (default: 256)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long a request may take, waiting included; longer ones get a 504 (default: 300)",
    )
    parser.add_argument(
        "--max-body", type=float, default=8, metavar="MB", help="the largest request, in MiB (default: 8)"
    )
    parser.add_argument(
        "--canary",
        default=None,
        metavar="AGENT=SHARE",
        help="another version and the share of requests, or sessions, that it gets, such as bot@5=10%%",
    )
    parser.add_argument(
        "--reload-every",
        type=float,
        default=2,
        metavar="SECONDS",
        help="how often to look whether the alias has moved, 0 for never (default: 2)",
    )
    parser.add_argument("--tokens", action="store_true", help="demand a token also where none was ever made")
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="let other machines in although no token was ever made (default: TRACEKIT_INSECURE)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from tracekit_collector.commands._doors import certificate, check_reach, told_to_stop, wait

    stopping = told_to_stop()
    limits = _limits(arguments)
    canary = _canary(arguments.canary)
    files = certificate(arguments.tls_cert, arguments.tls_key)

    import tracekit
    from tracekit_collector.access import Access
    from tracekit_collector.service import listening
    from tracekit_collector.serving.door import Entrance
    from tracekit_collector.serving.server import Server
    from tracekit_collector.serving.target import worker_variables
    from tracekit_collector.store import Store

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(arguments.store))
        access = Access(store.catalog)
        check_reach(
            arguments.host,
            arguments,
            tokens=access.required or arguments.tokens,
            encrypted=files is not None,
            could="could ask this agent",
            can="can ask this agent",
        )
        endpoint = setting("endpoint") if arguments.store is None else None
        variables = worker_variables(store.location, endpoint=endpoint)
        source = _source(arguments, arguments.what, store, variables)
        other = None if canary is None else (_source(arguments, canary[0], store, variables), canary[1])
        entrance = Entrance(access.authorise, project=setting("project"), demanded=arguments.tokens)
        tracekit.init(endpoint=endpoint) if endpoint else tracekit.init(store=store.location)
        stack.callback(tracekit.shutdown)
        listener = stack.enter_context(listening(arguments.host, arguments.port))
        server = Server(
            listener,
            source,
            entrance,
            limits=limits,
            canary=other,
            reload_every=arguments.reload_every,
            certificate=files,
        )
        print(f"making {arguments.what} ready", file=sys.stderr, flush=True)
        server.start()
        stack.callback(server.stop)
        refs = ", ".join(each.target.ref for each in server.split.all())
        scheme = "http" if files is None else "https"
        address = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print(f"serving {refs} on {scheme}://{address}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        wait(stopping, running=lambda: server.running)
        print("stopping: answering what is left", file=sys.stderr, flush=True)
    return 0


def _source(arguments: argparse.Namespace, what: str, store: Store, variables: dict[str, str]) -> Source:
    from tracekit_collector.serving.target import Code, Registered

    if _CODE.fullmatch(what):
        if not arguments.agent:
            raise UsageError(f"{what} is code without a name: say --agent NAME")
        return Code(what, Path.cwd(), arguments.agent, variables, version=arguments.agent_version)
    if arguments.agent or arguments.agent_version:
        raise UsageError(f"{what} is a registered version with a name; --agent is for module:callable")
    return Registered(store, what, variables, progress=lambda said: print(said, file=sys.stderr, flush=True))


def _limits(arguments: argparse.Namespace) -> Limits:
    from tracekit_collector.serving.pool import Limits

    for name, least in (("workers", 1), ("concurrency", 1), ("queue", 0)):
        if not least <= getattr(arguments, name) <= 100_000:
            raise SettingError(f"--{name} must be from {least} to 100000, not {getattr(arguments, name)}")
    for name in ("timeout", "max_body"):
        value = getattr(arguments, name)
        if not math.isfinite(value) or not 0 < value <= 1_000_000:
            raise SettingError(f"--{name.replace('_', '-')} must be more than 0 and at most 1000000, not {value:g}")
    if not math.isfinite(arguments.reload_every) or not (
        arguments.reload_every == 0 or 0.1 <= arguments.reload_every <= 86_400
    ):
        raise SettingError(f"--reload-every must be 0, or from 0.1 to 86400, not {arguments.reload_every:g}")
    return Limits(
        workers=arguments.workers,
        concurrency=arguments.concurrency,
        queue=arguments.queue,
        timeout=arguments.timeout,
        max_body=int(arguments.max_body * (1 << 20)),
    )


def _canary(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    found = _CANARY.fullmatch(text)
    try:
        share = -1.0 if found is None else float(found["share"]) / 100
    except ValueError:
        share = -1.0
    if found is None or not 0 < share < 1:
        raise SettingError(
            f"--canary={text!r}: give a version and its share, more than 0 % and less than 100 %: bot@5=10%"
        )
    return found["ref"], share
