"""Lineage as OpenLineage's run events (https://openlineage.io/spec/2-0-2/OpenLineage.json), and sending these.

The registration of a version, each run and each promotion is a run of a job, of which an event says how it began and
another how it ended. Versions, prompts and datasets are datasets, with their numbers as versions. A run's id, a ULID,
is a UUID in another spelling; other ids are UUIDs made of names, so that the same lineage gives the same events.
"""

from __future__ import annotations

import datetime
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import __version__
from tracekit.errors import TracekitError, UsageError
from tracekit_collector.terminal import json_text

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = f"https://pypi.org/project/tracekit/{__version__}"
NAMESPACE = "tracekit"

_FACETS = "https://openlineage.io/spec/facets/"
_OWN = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NAMES = uuid.UUID("5e0c3c1e-8f7b-5d0a-9b53-0d3ad1a7d0c4")
_SECONDS = 10.0

Event = dict[str, Any]


def events(lineage: Mapping[str, Any]) -> list[Event]:
    """The events of a version's lineage, oldest first.

    Args:
        lineage: What `version_lineage` gave.
    """
    version, made, became = lineage["version"], lineage["from"], lineage["to"]
    agent = _agent(version)
    job = _job(f"register {version['agent']}", "REGISTRATION", made["code"])
    key = _uuid("register", version["ref"], str(version["digest"]))
    prompts = [_prompt(each) for each in {each["ref"]: each for each in made["prompts"] if each["ref"]}.values()]
    found = _pair(key, job, version["created_at"], version["created_at"], "COMPLETE", prompts, [agent])
    for run in became["runs"]:
        found += _of_run(run, lineage, agent)
    for move in became["promotions"]:
        if not move["removed"]:
            key = _uuid("promote", version["ref"], move["alias"], _time(move["at"]))
            facets = {"tracekit_promotion": _own("RunFacet", alias=move["alias"], by=move["by"], why=move["why"])}
            facets["tracekit_promotion"]["evidence"] = move["evidence"]
            job = _job(f"promote {version['agent']}@{move['alias']}", "PROMOTION", {})
            output = {**agent, "name": f"agents/{version['agent']}@{move['alias']}"}
            found += _pair(key, job, move["at"], move["at"], "COMPLETE", [agent], [output], facets)
    return sorted(found, key=lambda each: str(each["eventTime"]))


def post(made: Sequence[Event], url: str) -> int:
    """Send events to an OpenLineage endpoint, one after the other; returns how many it took.

    Args:
        made: The events.
        url: Where it takes them, such as `http://127.0.0.1:5000/api/v1/lineage`; without a path, `/api/v1/lineage`.

    Raises:
        UsageError: That is no http or https URL.
        TracekitError: It did not take one.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"{url!r} is no http or https URL; write it like http://127.0.0.1:5000/api/v1/lineage")
    if parts.path in ("", "/"):
        url = urllib.parse.urlunsplit(parts._replace(path="/api/v1/lineage"))
    for place, each in enumerate(made):
        body = json_text(each).encode()
        headers = {"content-type": "application/json", "user-agent": f"tracekit/{__version__}"}
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked above
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
                answer.read(1 << 16)
        except (OSError, ValueError) as error:
            told = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else str(error)
            raise TracekitError(f"{url} took {place} of {len(made)} events, and then: {told}") from error
    return len(made)


def run_uuid(run_id: str) -> str:
    """A run's id as a UUID: a ULID has the same 128 bits.

    Example:
        >>> run_uuid("01ARZ3NDEKTSV4RRFFQ69G5FAV")
        '01563e3a-b5d3-d676-4c61-efb99302bd5b'
    """
    if len(run_id) != 26 or run_id[0] > "7" or any(digit not in _DIGITS for digit in run_id):
        return _uuid("run", run_id)
    number = 0
    for digit in run_id:
        number = number << 5 | _DIGITS.index(digit)
    return str(uuid.UUID(int=number))


def _of_run(run: Mapping[str, Any], lineage: Mapping[str, Any], agent: Event) -> list[Event]:
    became = lineage["to"]
    job = _job(f"{run['kind']} {run['name']}", run["kind"].upper(), {})
    inputs = [agent, *(_dataset(each) for each in became["datasets"] if run["id"] in each["runs"])]
    facets: dict[str, Any] = {}
    if run["parent_id"]:
        parent = {"run": {"runId": run_uuid(run["parent_id"])}, "job": {"namespace": NAMESPACE, "name": "run"}}
        facets["parent"] = _facet("1-0-1", "ParentRunFacet", **parent)
    judges = [
        {name: each[name] for name in ("name", "version", "digest", "spec")}
        for each in became["judges"]
        if run["id"] in each["runs"]
    ]
    if judges:
        facets["tracekit_judges"] = _own("RunFacet", judges=judges)
    output: Event = {"namespace": NAMESPACE, "name": f"runs/{run['id']}"}
    if run["traces"]:
        output["outputFacets"] = {
            "outputStatistics": _facet("1-0-2", "OutputStatisticsOutputDatasetFacet", rowCount=run["traces"])
        }
    ended = {"finished": "COMPLETE", "failed": "FAIL"}.get(run["status"])
    until = run["finished_at"] or run["created_at"]
    return _pair(run_uuid(run["id"]), job, run["created_at"], until, ended, inputs, [output], facets)


def _pair(
    key: str,
    job: Event,
    since: datetime.datetime,
    until: datetime.datetime,
    ended: str | None,
    inputs: Sequence[Event],
    outputs: Sequence[Event],
    facets: Mapping[str, Any] | None = None,
) -> list[Event]:
    """How a run began, and how it ended unless it goes on."""
    same = {"run": {"runId": key, "facets": dict(facets or {})}, "job": job, "inputs": list(inputs)}
    more = {"outputs": list(outputs), "producer": PRODUCER, "schemaURL": SCHEMA}
    began: Event = {"eventType": "START", "eventTime": _time(since), **same, **more}
    return [began] if ended is None else [began, {**began, "eventType": ended, "eventTime": _time(until)}]


def _job(name: str, kind: str, code: Mapping[str, Any]) -> Event:
    facets: dict[str, Any] = {
        "jobType": _facet("2-0-3", "JobTypeJobFacet", processingType="BATCH", integration="TRACEKIT", jobType=kind)
    }
    if code:
        facets["tracekit_code"] = _own("JobFacet", **{key: value for key, value in code.items() if key[:1] != "_"})
    return {"namespace": NAMESPACE, "name": name, "facets": facets}


def _agent(version: Mapping[str, Any]) -> Event:
    facets = _versioned(version["number"])
    names = ("ref", "label", "digest", "source")
    facets["tracekit_agent"] = _own("DatasetFacet", **{name: version[name] for name in names})
    return {"namespace": NAMESPACE, "name": f"agents/{version['agent']}", "facets": facets}


def _prompt(each: Mapping[str, Any]) -> Event:
    name, _, number = each["ref"].partition("@")
    return {"namespace": NAMESPACE, "name": f"prompts/{name}", "facets": _versioned(number or each["digest"])}


def _dataset(each: Mapping[str, Any]) -> Event:
    version = each["digest"] if each["version"] is None else each["version"]
    return {"namespace": NAMESPACE, "name": f"datasets/{each['name']}", "facets": _versioned(version)}


def _versioned(version: object) -> dict[str, Any]:
    return {"version": _facet("1-0-1", "DatasetVersionDatasetFacet", datasetVersion=str(version))}


def _facet(revision: str, name: str, **facts: object) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}{revision}/{name}.json#/$defs/{name}", **facts}


def _own(kind: str, **facts: object) -> dict[str, Any]:
    """A facet of our own, of which OpenLineage knows only what it is of."""
    return {"_producer": PRODUCER, "_schemaURL": f"{_OWN}{kind}", **json.loads(json_text(facts))}


def _uuid(*words: str) -> str:
    return str(uuid.uuid5(_NAMES, "\0".join(words)))


def _time(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="microseconds") + "Z"
