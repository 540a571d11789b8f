"""The gate that a promotion asks: a version's run against a policy, and against the version that the alias stands for.

It is the plugin `policy` of the group `tracekit.gates`; the registry of agents knows it by that name alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from tracekit_collector.catalog import AgentVersion, RunRecord
    from tracekit_collector.store import Store
    from tracekit_evaluators.gate_policy import Policy


def policy() -> PolicyGate:
    """The gate by policies as `tracekit gate` reads them."""
    return PolicyGate()


class PolicyGate:
    """Judges an agent version by the run that scored it."""

    def read(self, path: str) -> tuple[dict[str, object], str]:
        """A policy's plain values and its digest.

        Args:
            path: A YAML file.

        Raises:
            UsageError: It cannot be read or is no policy.
        """
        import yaml  # noqa: PLC0415 - heavy, and only who reads a file needs it

        from tracekit_evaluators.gate_policy import read_policy  # noqa: PLC0415 - as above

        found = read_policy(path)
        values: dict[str, object] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return values, found.digest

    def judge(
        self,
        store: Store,
        version: AgentVersion,
        policy: Mapping[str, object],
        *,
        run: str | None = None,
        baseline: str | None = None,
        standing: AgentVersion | None = None,
    ) -> dict[str, object]:
        """The evidence for or against a version.

        Args:
            store: Where its runs are.
            version: The version.
            policy: The policy's plain values.
            run: The run that speaks for it; its newest finished evaluation when not given.
            baseline: What to compare with; the policy's word, else `standing`, when not given.
            standing: The version that the alias stands for now.

        Returns:
            `verdict`, `exit_code`, `sentence`, `policy` (its digest), `run` and `baseline` (id, name, agent_version),
            and `checks` (name, kind, verdict, said).

        Raises:
            NotFoundError: The version has no finished run.
            UsageError: The run is not this version's, is not finished, or there is nothing to compare with.
        """
        from tracekit_evaluators.gate import baseline_of, gate  # noqa: PLC0415 - heavy, and only who judges needs it
        from tracekit_evaluators.gate_policy import policy_of  # noqa: PLC0415 - as above

        read = policy_of(policy)
        candidate = _run(store, version, run)
        ref = baseline or read.baseline
        if ref is None and standing is not None and standing.id != version.id and _compares(read):
            ref = standing.ref
        before = None if ref is None else baseline_of(store, candidate, ref)
        found = gate(store, candidate, policy=read, baseline=before).to_dict()
        checks: Any = found["checks"]
        return {
            "gate": "policy",
            **{key: found[key] for key in ("verdict", "exit_code", "sentence", "policy", "baseline")},
            "run": found["candidate"],
            "checks": [{key: each[key] for key in ("name", "kind", "verdict", "said")} for each in checks],
        }


def _run(store: Store, version: AgentVersion, ref: str | None) -> RunRecord:
    if ref is None:
        for each in store.catalog.runs.list():
            held = each.agent_version
            if held is not None and held.id == version.id and each.kind == "eval" and each.status == "finished":
                return each
        raise NotFoundError(
            f"{version.ref} has no finished evaluation; `tracekit eval --agent {version.ref}` makes one"
        )
    found = store.catalog.runs.find(ref)
    if found.agent_version is None or found.agent_version.id != version.id:
        whose = "no agent version" if found.agent_version is None else found.agent_version.ref
        raise UsageError(f"the run {found.name} is of {whose}, so it says nothing of {version.ref}")
    if found.status != "finished":
        raise UsageError(f"the run {found.name} is {found.status}, not finished; it cannot speak for {version.ref}")
    return found


def _compares(policy: Policy) -> bool:
    return any(rule.relative for rule in policy.scores) or any("increase" in each for each in policy.budgets.values())
