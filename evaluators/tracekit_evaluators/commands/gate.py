"""`tracekit gate`: may the new version be shipped?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from tracekit.command import Command, add_store_option

if TYPE_CHECKING:
    from tracekit_collector.catalog import RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.gate_policy import Policy
    from tracekit_evaluators.gate_result import GateResult


def command() -> Command:
    """The command `gate`."""
    return Command(
        help="judge a run by a policy: PASS (0), FAIL (1) or INCONCLUSIVE (3)",
        run=run,
        configure=configure,
        examples=(
            "tracekit gate --example > gate.yaml",
            "tracekit gate branch --baseline main --policy gate.yaml",
            "tracekit gate branch --baseline bot@production --policy gate.yaml -o gate.md -o gate.xml --format github",
            "tracekit gate branch --baseline main --policy gate.yaml --sequential --agent bot@5",
        ),
    )


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run to judge: its name or id")
    parser.add_argument(
        "--baseline",
        metavar="REF",
        help="what to compare with: a run, an agent version (bot@4), or an alias (production)",
    )
    parser.add_argument("--policy", metavar="FILE", default="gate.yaml", help="the policy (default: gate.yaml)")
    parser.add_argument("--example", action="store_true", help="print a policy to start with, and stop")
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="FILE",
        help=".json, .xml (JUnit), .md or .txt; repeatable",
    )
    formats = ("table", "json", "junit", "markdown", "github")
    parser.add_argument("--format", choices=formats, default="table", help="what to print (default: table)")
    group = parser.add_argument_group("judging until it is certain")
    group.add_argument(
        "--sequential", action="store_true", help="judge cases in random order and stop once the verdict is certain"
    )
    group.add_argument(
        "--judge", action="append", default=[], metavar="SPEC", help="judges of a new run (the baseline's)"
    )
    group.add_argument("--agent", metavar="REF", help="begin RUN, with the traces of this agent version")
    group.add_argument("--where", metavar="SQL", help="begin RUN, with the traces that meet a condition")
    group.add_argument("--dataset", metavar="FILE", help="the cases of a new run")
    group.add_argument("--expected-from", metavar="RUN", help="a run whose scores say what is expected in a new run")
    group.add_argument("--batch", type=int, default=20, metavar="N", help="cases between two looks (default: 20)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="decides the order (default: 0)")
    group.add_argument("--budget-usd", type=float, metavar="USD", help="spend at most so much on models")
    group.add_argument("--concurrency", type=int, default=8, metavar="N", help="judges that wait at once (default: 8)")
    add_store_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge, print, write, and say it by the exit code."""
    from tracekit.errors import UsageError
    from tracekit_collector.store import Store
    from tracekit_evaluators.gate_formats import FORMATS, check_output, write
    from tracekit_evaluators.gate_policy import EXAMPLE, read_policy

    if arguments.example:
        print(EXAMPLE, end="")
        return 0
    if arguments.run is None:
        raise UsageError("name the run to judge; `tracekit runs list` shows those that are there")
    for path in arguments.output:
        check_output(path)
    policy = read_policy(arguments.policy)
    with Store.open(arguments.store, create=False) as store:
        store.settle()
        found = _sequential(store, arguments, policy) if arguments.sequential else _once(store, arguments, policy)
    for path in arguments.output:
        write(found, path)
    text = FORMATS[arguments.format](found)
    if arguments.format == "table":
        from tracekit_collector.terminal import visible

        text = "\n".join(visible(line) for line in text.split("\n"))
    print(text, end="")
    return found.exit_code


def _once(store: Store, arguments: argparse.Namespace, policy: Policy) -> GateResult:
    from tracekit.errors import UsageError
    from tracekit_evaluators.gate import gate

    if arguments.judge or arguments.agent or arguments.where or arguments.dataset or arguments.expected_from:
        raise UsageError("--judge, --agent, --where, --dataset and --expected-from are for --sequential")
    record = store.catalog.runs.find(arguments.run)
    return gate(store, record, policy=policy, baseline=_baseline(store, record, arguments, policy))


def _sequential(store: Store, arguments: argparse.Namespace, policy: Policy) -> GateResult:
    from tracekit.errors import UsageError
    from tracekit_evaluators._plan import resumed
    from tracekit_evaluators.budget import Budget
    from tracekit_evaluators.gate_sequential import begin, sequential_gate
    from tracekit_evaluators.runner import judge_some

    if "" not in sys.path:
        sys.path.insert(0, "")  # a judge in the folder that one stands in is found, as with `python -m`
    beginning = arguments.agent or arguments.where or arguments.dataset or arguments.judge
    plan = None
    if beginning:
        ref = arguments.baseline or policy.baseline
        if ref is None:
            raise UsageError("a sequential gate compares; name a baseline")
        plan = begin(
            store,
            arguments.run,
            baseline=store.catalog.runs.find(ref),
            judges=arguments.judge,
            agent=arguments.agent,
            where=arguments.where,
            dataset=arguments.dataset,
            expected_from=arguments.expected_from,
        )
        record = plan.run
    else:
        record = store.catalog.runs.find(arguments.run)
        if record.kind == "eval":
            plan = resumed(store, record.id, [])
    baseline = _baseline(store, record, arguments, policy)
    if baseline is None:
        raise UsageError("a sequential gate compares; name a baseline")
    budget = Budget(arguments.budget_usd)

    def judge(ids: object) -> object:
        return judge_some(store, plan, ids, budget=budget, concurrency=arguments.concurrency)  # type: ignore[arg-type]  # only called with a plan

    return sequential_gate(
        store,
        record,
        policy=policy,
        baseline=baseline,
        plan=plan,
        judge_some=None if plan is None else judge,
        seed=arguments.seed,
        batch=arguments.batch,
    )


def _baseline(store: Store, record: RunRecord, arguments: argparse.Namespace, policy: Policy) -> RunRecord | None:
    from tracekit_evaluators.gate import baseline_of

    ref = arguments.baseline or policy.baseline
    return None if ref is None else baseline_of(store, record, ref)
