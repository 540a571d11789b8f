"""Lineage as people read it: a tree of lines; and as programs do: JSON."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracekit_collector.terminal import print_json, visible

_MOST = 20
_HEADS = ("version", "run", "dataset", "trace")
Lines = list[tuple[str, "Lines"]]


def print_lineage(lineage: Mapping[str, Any], format_: str) -> None:
    """Print a lineage to stdout.

    Args:
        lineage: As `tracekit_collector.lineage` gives it.
        format_: `table` for the tree, or `json`.
    """
    if format_ == "json":
        print_json(lineage)
    else:
        print("\n".join(tree_lines(lineage)))  # noqa: T201 - what the command prints


def tree_lines(lineage: Mapping[str, Any]) -> list[str]:
    r"""A lineage as the lines of a tree; of long lists, the first twenty.

    Example:
        >>> print("\n".join(tree_lines({"run": {"name": "nightly", "status": "finished"}, "from": {"parent": "01K"}})))
        nightly (finished)
        └─ from
           └─ parent: 01K
    """
    head = next(name for name in _HEADS if name in lineage)
    found = [visible(_head(head, lineage[head]))]
    sections: Lines = []
    for name, word in (("from", "from"), ("to", "to")):
        parts = _parts(lineage.get(name, {}))
        if parts:
            sections.append((word, parts))
    found += _drawn(sections, "")
    return found


def _drawn(lines: Lines, indent: str) -> list[str]:
    found = []
    for place, (text, inside) in enumerate(lines):
        last = place == len(lines) - 1
        found.append(f"{indent}{'└─' if last else '├─'} {visible(text)}")
        found += _drawn(inside, indent + ("   " if last else "│  "))
    return found


def _head(kind: str, facts: Mapping[str, Any]) -> str:
    if kind == "trace":
        return f"trace {facts['trace_id']} ({facts['spans']} spans, {_when(facts['first'])})"
    if kind == "run":
        told = [str(facts[name]) for name in ("kind", "status", "id") if facts.get(name)]
        return f"{facts['name']} ({', '.join(told)})"
    if kind == "dataset":
        return f"{facts['ref']} ({facts['cases']} cases, {str(facts['digest'])[:12]})"
    more = [facts["label"], str(facts["digest"])[:12] if facts["digest"] else facts["source"]]
    gone = [f"deleted {_when(facts['deleted_at'])}"] if facts["deleted_at"] else []
    return f"{facts['ref']} ({', '.join([each for each in more if each] + gone)})"


def _parts(section: Mapping[str, Any]) -> Lines:
    found: Lines = []
    for name, value in section.items():
        word = name.replace("_", " ")
        if name in _LISTS and isinstance(value, list):
            shown: Lines = [(_LISTS[name](each), []) for each in value[:_MOST]]
            more = len(value) - _MOST
            if value:
                found.append((f"{word} ({len(value)})", [*shown, *([(f"and {more} more", [])] if more > 0 else [])]))
        elif name in ("traces", "sessions"):
            if value["count"]:
                found.append((_counted(word, value), []))
        elif name == "dependencies":
            found.append((f"dependencies: {len(value)} distributions", []))
        elif name == "package":
            if value is not None:
                found.append((f"package {value['digest'][:12]}", []))
        elif isinstance(value, Mapping):
            told = [(key, item) for key, item in value.items() if item is not None]
            if told:
                found.append((word, [(f"{key}: {_plain(item)}", []) for key, item in told[:_MOST]]))
        elif value not in (None, [], ""):
            found.append((f"{word}: {_plain(value)}", []))
    return found


def _counted(word: str, value: Mapping[str, Any]) -> str:
    if "first" not in value:
        return f"{word}: {value['count']}"
    return f"{word}: {value['count']}, from {_when(value['first'])} to {_when(value['last'])}"


def _run(each: Mapping[str, Any]) -> str:
    traces = f", {_many(each['traces'], 'trace')}" if each.get("traces") else ""
    gone = ", deleted" if each.get("deleted_at") else ""
    told = each.get("status")
    return f"{each['name']} ({each['kind']}, {told}, {each['id']}{traces}{gone})" if "kind" in each else _plain(each)


def _score(each: Mapping[str, Any]) -> str:
    mean = "" if each["mean"] is None else f", mean {each['mean']:.4g}"
    judge = each["judge"] or each["source"] or "unknown"
    digest = f" {str(each['judge_digest'])[:12]}" if each["judge_digest"] else ""
    return f"{each['name']}: {each['count']} by {judge}{digest}{mean}"


def _judge(each: Mapping[str, Any]) -> str:
    digest = f" {str(each['digest'])[:12]}" if each["digest"] else ""
    return f"{each['spec'] or each['name']}{digest}, {_many(len(each['runs']), 'run')}"


def _dataset(each: Mapping[str, Any]) -> str:
    version = "" if each["version"] is None else f"@{each['version']}"
    return f"{each['name']}{version} {str(each['digest'] or '')[:12]}, {_many(len(each['runs']), 'run')}"


def _standing(each: Mapping[str, Any]) -> str:
    until = "now" if each["until"] is None else _when(each["until"])
    return f"{each['alias']}: from {_when(each['from'])} to {until}" + _said(each)


def _promotion(each: Mapping[str, Any]) -> str:
    done = "removed" if each["removed"] else f"moved to {each['version']}"
    evidence = each["evidence"] or {}
    verdict = f", {evidence['verdict']} from run {_named(evidence.get('run'))}" if "verdict" in evidence else ""
    return f"{each['alias']}: {done} {_when(each['at'])}{verdict}" + _said(each)


def _refusal(each: Mapping[str, Any]) -> str:
    return f"{each['alias']}: {each.get('verdict')} {_when(each['at'])}, run {_named(each.get('run'))}"


def _named(run: object) -> str:
    return f"{run.get('name')} ({run.get('id')})" if isinstance(run, Mapping) else str(run)


def _verification(each: Mapping[str, Any]) -> str:
    return f"{'passed' if each['passed'] else 'failed'} {_when(each['at'])}"


def _prompt(each: Mapping[str, Any]) -> str:
    digest = f" {each['digest'][:12]}" if each["digest"] else ""
    return f"{each['name']}: {each['ref'] or 'not registered'}{digest}"


def _used(each: Mapping[str, Any]) -> str:
    version = "" if each["version"] is None else f"@{each['version']}"
    return f"{each['name']}{version}: {_many(each['traces'], 'trace')}"


def _served(each: Mapping[str, Any]) -> str:
    return f"{each['endpoint'] or 'unknown'}: {each['count']}, {each['failed']} failed, last {_when(each['last'])}"


def _version(each: Mapping[str, Any]) -> str:
    counted = [_many(each[name], name.removesuffix("s")) for name in ("traces", "runs") if name in each]
    return ", ".join([each["ref"], *counted])


def _said(each: Mapping[str, Any]) -> str:
    return (f", by {each['by']}" if each.get("by") else "") + (f": {each['why']}" if each.get("why") else "")


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _when(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime.datetime) else "unknown"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)


_LISTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "runs": _run,
    "judged_by": _run,
    "children": lambda each: f"{each['name']} ({each['status']}, {each['id']})",
    "datasets": _dataset,
    "judges": _judge,
    "scores": _score,
    "aliases": _standing,
    "promotions": _promotion,
    "refusals": _refusal,
    "verifications": _verification,
    "prompts": _prompt,
    "prompts_used": _used,
    "inferences": _served,
    "versions": _version,
}
