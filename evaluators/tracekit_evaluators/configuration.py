"""`tracekit eval FILE`: an evaluation described in YAML or JSON, checked against its JSON Schema.

Each fault is told with its file, line and key. The schema is `eval.schema.json` beside this module.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.errors import UsageError

if TYPE_CHECKING:
    import yaml
    from jsonschema.exceptions import ValidationError

Place = tuple[str | int, ...]
_MOST_FAULTS = 10
_MOST_NODES = 200_000  # aliases of aliases can say more than any memory holds
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_TYPES = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_TYPES |= {"array": "a list", "object": "a mapping"}


@dataclass(frozen=True)
class Configuration:
    """What a file says that is to be evaluated.

    Args:
        path: The file.
        values: Its content, as the schema has it.
    """

    path: Path
    values: Mapping[str, object]

    @property
    def store(self) -> str | None:
        """The store's folder, if it names one."""
        named = self.values.get("store")
        return None if named is None else str(self.path.parent / str(named))

    def arguments(self) -> dict[str, object]:
        """Keyword arguments for `evaluate`, without budget."""
        select = self.values.get("select")
        chosen = select if isinstance(select, Mapping) else {}
        found = {key: self.values.get(key) for key in _AS_THEY_ARE if key in self.values}
        found.update({key: chosen[key] for key in ("where", "agent", "limit") if key in chosen})
        if "judge_traces" in self.values:
            found["trace_judges"] = self.values["judge_traces"]
        if "dataset" in self.values:
            found["dataset"] = self._dataset(self.values["dataset"])
        return found

    def budget(self) -> tuple[float | None, int | None]:
        """The most US dollars and the most tokens."""
        said = self.values.get("budget")
        told = said if isinstance(said, Mapping) else {}
        return told.get("usd"), told.get("tokens")

    def _dataset(self, said: object) -> object:
        if not isinstance(said, str):
            return said
        beside = self.path.parent / said
        return os.fspath(beside) if beside.is_file() else said


_AS_THEY_ARE = (
    "name",
    "task",
    "repeats",
    "timeout",
    "agent",
    "limit",
    "split",
    "expected_from",
    "against",
    "judges",
    "samples",
    "concurrency",
    "cache",
    "only_unscored",
)


@lru_cache(1)
def schema_text() -> str:
    """The JSON Schema of such a file."""
    return resources.files("tracekit_evaluators").joinpath("eval.schema.json").read_text(encoding="utf-8")


def read_configuration(path: str | os.PathLike[str]) -> Configuration:
    """An evaluation as a file describes it.

    Args:
        path: YAML or JSON.

    Raises:
        UsageError: The file cannot be read, or is faulty; the message names line and key of each fault.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    value, lines = _parsed(text, file)
    faults = [*_faults(value, lines), *_together(value, lines)]
    if faults:
        told = [f"{file}:{line}: {words}" for line, words in sorted(faults)[:_MOST_FAULTS]]
        more = f"\n  and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise UsageError("this describes no evaluation:\n  " + "\n  ".join(told) + more)
    return Configuration(file, value if isinstance(value, Mapping) else {})


def _together(value: object, lines: Mapping[Place, int]) -> Iterator[tuple[int, str]]:
    """What a schema does not say well: keys that exclude each other."""
    if not isinstance(value, Mapping):
        return
    select = value.get("select")
    chosen = select if isinstance(select, Mapping) else {}
    for key in ("agent", "limit"):
        if key in chosen and key in value:
            yield _line(lines, (key,)), f"{key}: is said under select already"
    if "task" in value:
        for place in (("select",), ("expected_from",)):
            if place[0] in value:
                yield _line(lines, place), f"{place[0]}: chooses stored traces, and a task makes its own"


def _faults(value: object, lines: Mapping[Place, int]) -> Iterator[tuple[int, str]]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only configurations need it

    for error in Draft202012Validator(json.loads(schema_text())).iter_errors(value):
        yield from _told(error, lines)


def _told(error: ValidationError, lines: Mapping[Place, int]) -> Iterator[tuple[int, str]]:
    place: Place = tuple(error.absolute_path)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        known = sorted(schema["properties"])
        for key in sorted(str(each) for each in instance if each not in known):
            near = difflib.get_close_matches(key, known, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            yield _line(lines, (*place, key)), f"{_key((*place, key))}: there is no such key; {meant}"
        return
    if error.validator == "anyOf" and error.context:
        deeper = [each for each in error.context if each.path]
        if deeper:  # of the right kind, with a fault inside
            for each in deeper:
                yield from _told(each, lines)
            return
        yield _line(lines, place), f"{_key(place)}: must be {schema['description']}, not {instance!r:.80}"
        return
    yield _line(lines, place), f"{_key(place)}: {_words(error)}"


def _words(error: ValidationError) -> str:
    said, given = error.validator, f"{error.instance!r:.80}"
    wanted: Any = error.validator_value
    instance: Any = error.instance
    if said == "required":
        missing = [key for key in wanted if key not in instance]
        return f"{', '.join(missing)} is missing"
    if said == "dependentRequired":
        lacking = next(
            (key, need) for key, needs in wanted.items() if key in instance for need in needs if need not in instance
        )
        return f"{lacking[0]} needs {lacking[1]}"
    if said == "type":
        kinds = [wanted] if isinstance(wanted, str) else wanted
        return f"must be {' or '.join(_TYPES[kind] for kind in kinds)}, not {given}"
    if said in ("minLength", "minItems"):
        return "must not be empty"
    if said in ("minimum", "exclusiveMinimum"):
        return f"must be {'at least' if said == 'minimum' else 'above'} {wanted}, not {given}"
    if said == "pattern":
        return f"must be package.module:function, not {given}"
    return error.message[:300]


def _key(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _line(lines: Mapping[Place, int], place: Place) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _parsed(text: str, file: Path) -> tuple[object, dict[Place, int]]:
    """What a YAML text says, and on which line each part of it stands."""
    import yaml  # noqa: PLC0415 - only configurations need it

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise UsageError(f"{file} is empty; `tracekit eval --schema` says what it takes")
        reading = _Reading(loader, file)
        return reading.value(node, ()), reading.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise UsageError(f"{file}:{line}: this is no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{file} is no YAML: {error}") from error
    finally:
        loader.dispose()


class _Reading:
    def __init__(self, loader: yaml.SafeLoader, file: Path) -> None:
        self._loader = loader
        self._file = file
        self._count = 0
        self.lines: dict[Place, int] = {}

    def value(self, node: yaml.Node, place: Place) -> object:
        """What a node says; texts that look like times stay texts."""
        import yaml  # noqa: PLC0415 - as above

        self._count += 1
        line = node.start_mark.line + 1
        if self._count > _MOST_NODES:
            raise UsageError(f"{self._file}:{line}: more than {_MOST_NODES} values; aliases may repeat too much")
        self.lines.setdefault(place, line)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            raise UsageError(f"{self._file}:{line}: this is no YAML that is read here: the tag {node.tag} is not known")
        if isinstance(node, yaml.MappingNode):
            self._loader.flatten_mapping(node)
            return self._mapping(node.value, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, index)) for index, each in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value
        found: object = self._loader.construct_object(node)
        return found

    def _mapping(self, pairs: Sequence[tuple[yaml.Node, yaml.Node]], place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in pairs:
            key = str(self.value(key_node, (*place, "?")))
            line = key_node.start_mark.line + 1
            if key in found:
                raise UsageError(f"{self._file}:{line}: {_key((*place, key))} is there twice")
            at = (*place, key)
            self.lines[at] = line
            found[key] = self.value(value_node, at)
        return found
