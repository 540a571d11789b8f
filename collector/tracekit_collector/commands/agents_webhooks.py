"""`tracekit agents webhooks`: telling others of changes of the registry."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from tracekit.command import add_format_option, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.store import Store

_PATIENCE = 2.0
_HOOKS = ["id", "url", "events", "secret_env", "created_at"]
_DELIVERIES = ["id", "webhook", "event", "status", "attempts", "answer", "created_at", "due_at", "delivered_at"]


def configure(actions: Any) -> None:
    """Add the action to `tracekit agents`."""
    webhooks = actions.add_parser("webhooks", help="tell a URL of changes, signed")
    parts = webhooks.add_subparsers(metavar="ACTION", required=True)
    add = parts.add_parser("add", help="tell a URL from now on")
    add.add_argument("url", metavar="URL", help="an http or https URL")
    add.add_argument("--events", metavar="EVENT,EVENT", help="which events, separated by commas (default: all)")
    add.add_argument(
        "--secret-env", metavar="NAME", help="the environment variable with the secret (whsec_… or any text)"
    )
    add.set_defaults(action=_add)
    listed = parts.add_parser("list", help="the webhooks")
    listed.set_defaults(action=_list)
    deliveries = parts.add_parser("deliveries", help="the newest messages, and what became of them")
    deliveries.add_argument("webhook", metavar="WEBHOOK", nargs="?", help="only of this one: its id or URL")
    deliveries.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)")
    deliveries.set_defaults(action=_deliveries)
    deliver = parts.add_parser("deliver", help="send what is due now")
    deliver.set_defaults(action=_deliver)
    remove = parts.add_parser("remove", help="tell it nothing more")
    remove.set_defaults(action=_remove)
    test = parts.add_parser("test", help="send it a message of the event webhook.test, once")
    test.set_defaults(action=_test)
    for each in (remove, test):
        each.add_argument("webhook", metavar="WEBHOOK", help="its id or URL")
    for each in (add, listed, deliveries):
        add_format_option(each)
    for each in (add, listed, deliveries, deliver, remove, test):
        add_store_option(each)


def tell(store: Store) -> None:
    """Send what this command's changes have to tell; who does not answer soon is left to a collector."""
    waiting = store.catalog.webhooks.deliver(patience=_PATIENCE)
    if waiting:
        print(_left(waiting), file=sys.stderr)


def _left(waiting: int) -> str:
    messages = "1 webhook message waits" if waiting == 1 else f"{waiting} webhook messages wait"
    return f"{messages}; a collector sends them again, as does `tracekit agents webhooks deliver`"


def _add(arguments: argparse.Namespace) -> int:
    from tracekit_collector.catalog.webhooks import EVENTS
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    given = arguments.events
    events = EVENTS if given is None else tuple(each.strip() for each in given.split(",") if each.strip())
    with Store.open(arguments.store) as store:
        hook = store.catalog.webhooks.add(arguments.url, events=events, secret_env=arguments.secret_env)
    print_rows([vars(hook)], _HOOKS, format=arguments.format)
    if hook.secret_env is None:
        print("its messages are not signed; --secret-env names the variable with a secret", file=sys.stderr)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        print_rows([vars(hook) for hook in store.catalog.webhooks.list()], _HOOKS, format=arguments.format)
    return 0


def _deliveries(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import print_rows

    with Store.open(arguments.store, create=False) as store:
        hooks = store.catalog.webhooks
        wanted = None if arguments.webhook is None else hooks.find(arguments.webhook).id
        rows = [vars(each) for each in hooks.deliveries(webhook=wanted, limit=arguments.limit)]
    print_rows(rows, _DELIVERIES, format=arguments.format)
    return 0


def _deliver(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        waiting = store.catalog.webhooks.deliver()
    print(_left(waiting) if waiting else "nothing waits")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    with Store.open(arguments.store, create=False) as store:
        hook = store.catalog.webhooks.remove(arguments.webhook)
    print(f"{hook.id} is told nothing more")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store
    from tracekit_collector.terminal import visible

    with Store.open(arguments.store, create=False) as store:
        delivery = store.catalog.webhooks.test(arguments.webhook)
    print(visible(f"{delivery.status}: {delivery.answer}"))
    return 0 if delivery.status == "delivered" else 1
