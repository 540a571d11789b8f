"""`tracekit agents policy` and `promote`: an alias that only moves to what passes a gate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from tracekit.command import add_format_option, add_store_option
from tracekit.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion
    from tracekit_collector.catalog.promotions import AliasPolicy, Gate

_GATE = "policy"


def configure(actions: Any) -> None:
    """Add the actions to `tracekit agents`."""
    policy = actions.add_parser("policy", help="say what must hold before an alias moves; without --gate, show it")
    policy.add_argument("name", metavar="NAME", help="the agent's name")
    policy.add_argument("alias", metavar="ALIAS", help="such as production")
    policy.add_argument("--gate", metavar="FILE", help="a policy as `tracekit gate` reads it, kept from now on")
    policy.add_argument("--drop", action="store_true", help="let the alias move freely again; needs --why")
    policy.add_argument("--why", metavar="TEXT", help="the reason, kept in the audit log")
    policy.set_defaults(action=_needing_a_gate(_policy))
    promote = actions.add_parser(
        "promote", help="move an alias to a version if a gate says PASS (0), not FAIL (1) or INCONCLUSIVE (3)"
    )
    promote.add_argument("ref", metavar="REF", help="the version, such as bot@4")
    promote.add_argument("alias", metavar="ALIAS", help="such as production")
    promote.add_argument("--gate", metavar="FILE", help="the policy (default: the alias's own)")
    promote.add_argument("--run", metavar="RUN", help="the run that speaks for it (default: its newest evaluation)")
    promote.add_argument(
        "--baseline",
        metavar="REF",
        help="what to compare with (default: the policy's, else what the alias stands for)",
    )
    promote.add_argument("--why", metavar="TEXT", help="the reason, kept in the alias's history")
    promote.set_defaults(action=_needing_a_gate(_promote))
    for each in (policy, promote):
        add_store_option(each)
        add_format_option(each, formats=("table", "json"))


def _policy(arguments: argparse.Namespace) -> int:
    from tracekit_collector.store import Store

    if arguments.gate and arguments.drop:
        raise UsageError("--gate sets a policy and --drop takes it away; give one of them")
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        promotions = store.catalog.agents.promotions
        if arguments.drop:
            promotions.drop_policy(arguments.name, arguments.alias, why=arguments.why or "")
            print(f"{arguments.name}@{arguments.alias} moves freely again")
            return 0
        if arguments.gate:
            values, digest = _gate(_GATE).read(arguments.gate)
            held = promotions.set_policy(arguments.name, arguments.alias, values, digest=digest, gate=_GATE)
        else:
            known = promotions.policies(arguments.name)
            if arguments.alias not in known:
                raise UsageError(f"{arguments.name}@{arguments.alias} has no policy; --gate FILE sets one")
            held = known[arguments.alias]
        return _print_policy(held, arguments.format)


def _print_policy(held: AliasPolicy, format_: str) -> int:
    from tracekit_collector.terminal import json_text, print_json, visible

    facts = {"agent": held.agent, "alias": held.alias, "gate": held.gate, "digest": held.digest, "at": held.at}
    if format_ == "json":
        print_json({**facts, "by": held.by, "policy": held.policy})
        return 0
    print(f"{visible(f'{held.agent}@{held.alias}')} moves where this policy ({held.digest[:12]}) is met:")
    print(json_text(held.policy, indent=2))
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from tracekit_collector.catalog.promotions import check_alias
    from tracekit_collector.commands.agents_webhooks import tell
    from tracekit_collector.store import Store

    alias = arguments.alias
    check_alias(alias)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        promotions = store.catalog.agents.promotions
        version = store.catalog.agents.resolve(arguments.ref)
        standing = promotions.aliases(version.agent).get(alias)
        gate, policy = _asked(version, alias, promotions.policies(version.agent).get(alias), arguments.gate)
        evidence = gate.judge(store, version, policy, run=arguments.run, baseline=arguments.baseline, standing=standing)
        passed = evidence["verdict"] == "PASS"
        if passed:
            promotions.move(alias, version, why=arguments.why, evidence=evidence)
        else:
            promotions.refuse(alias, version, evidence)
        _print_promotion(version, alias, standing, evidence, moved=passed, format_=arguments.format)
        tell(store)
    return int(str(evidence["exit_code"]))


def _asked(
    version: AgentVersion, alias: str, held: AliasPolicy | None, file: str | None
) -> tuple[Gate, dict[str, object]]:
    """Who judges, and by which policy: the alias's own, which a file may only repeat."""
    if held is None and file is None:
        raise UsageError(
            f"{version.agent}@{alias} has no policy; name one with --gate FILE, or keep one: "
            f"`tracekit agents policy {version.agent} {alias} --gate FILE`"
        )
    gate = _gate(_GATE if held is None else held.gate)
    if file is None:
        return gate, {} if held is None else held.policy
    values, digest = gate.read(file)
    if held is not None and held.digest != digest:
        raise UsageError(
            f"{version.agent}@{alias} has a policy, and {file} is another one; leave out --gate, or set it with "
            f"`tracekit agents policy {version.agent} {alias} --gate {file}`"
        )
    return gate, values


def _print_promotion(
    version: AgentVersion,
    alias: str,
    standing: AgentVersion | None,
    evidence: dict[str, object],
    *,
    moved: bool,
    format_: str,
) -> None:
    from tracekit_collector.terminal import print_json, visible

    before = None if standing is None else standing.ref
    if format_ == "json":
        print_json({"moved": moved, "alias": alias, "version": version.ref, "previous": before, **evidence})
        return
    print(visible(str(evidence["sentence"])))
    for check in cast("list[dict[str, object]]", evidence.get("checks") or []):
        print(visible(f"  {check['verdict']!s:12} {check['name']}: {check['said']}"))
    name = visible(f"{version.agent}@{alias}")
    if moved:
        print(f"{name} is {version.ref} now" + (f", and was {before}" if before not in (None, version.ref) else ""))
    else:
        print(f"{name} stays " + ("where it was: nowhere" if before is None else f"at {before}"))


def _gate(name: str) -> Gate:
    from tracekit import plugins

    return cast("Gate", plugins.load("tracekit.gates", name))


def _needing_a_gate(action: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The action, saying which extra is missing where its gate's libraries are."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return action(arguments)
        except ModuleNotFoundError as error:
            if error.name not in ("yaml", "jsonschema", "numpy", "scipy", "httpx", "jinja2"):
                raise
            told = f"a gate needs the extra 'evaluators' ({error.name} is not installed); run: pip install"
            raise MissingExtraError(f"{told} 'tracekit[evaluators]'") from error

    return run
