"""What requests to the JSON API may ask, said once: the checks and the OpenAPI document both come of it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tracekit.errors import UsageError

Kind = Literal["integer", "string", "boolean", "time"]
Values = dict[str, object]

_NO_NUL = r"[^\x00]+"
_TRUE = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a request.

    Args:
        name: As it is written in the address.
        about: What it does, for people.
        kind: What it takes; a `time` is ISO 8601, UTC where no zone is given, and becomes nanoseconds since 1970.
        least: The least integer.
        most: The greatest integer.
        default: What holds where it is left out.
        pattern: What a string must match, whole.
        among: The strings that it takes.
        longest: The longest string.
        in_path: Whether it is part of the path.
        required: Whether it must be there; what is part of the path must anyway.
    """

    name: str
    about: str
    kind: Kind = "string"
    least: int = 0
    most: int = 2**31
    default: object = None
    pattern: str | None = None
    among: tuple[str, ...] = ()
    longest: int = 1_000
    in_path: bool = False
    required: bool = False

    def read(self, text: str) -> object:
        """The value.

        Raises:
            UsageError: It is no such value.
        """
        if self.kind == "integer":
            if not re.fullmatch(r"[0-9]{1,10}", text) or not self.least <= int(text) <= self.most:
                raise UsageError(f"{self.name} must be an integer from {self.least} to {self.most}, not {text[:40]!r}")
            return int(text)
        if self.kind == "boolean":
            if text not in _TRUE:
                raise UsageError(f"{self.name} must be true or false, not {text[:40]!r}")
            return _TRUE[text]
        if self.kind == "time":
            return _nanoseconds(self.name, text)
        if not text or len(text) > self.longest or "\x00" in text:
            raise UsageError(f"{self.name} must have 1 to {self.longest} characters, none of them NUL")
        if self.among and text not in self.among:
            raise UsageError(f"{self.name} must be one of {', '.join(self.among)}, not {text[:40]!r}")
        if self.pattern is not None and not re.fullmatch(self.pattern, text):
            raise UsageError(f"{self.name} must match {self.pattern}, and {text[:80]!r} does not")
        return text

    def described(self) -> dict[str, object]:
        """It, as OpenAPI has it."""
        schema: dict[str, object] = {"type": "string" if self.kind == "time" else self.kind}
        if self.kind == "integer":
            schema |= {"minimum": self.least, "maximum": self.most}
        elif self.kind == "time":
            schema["format"] = "date-time"
        elif self.kind == "string":
            schema |= {"enum": list(self.among)} if self.among else {"minLength": 1, "maxLength": self.longest}
            schema |= {} if self.among else {"pattern": f"^{self.pattern or _NO_NUL}$"}
        if self.default is not None:
            schema["default"] = self.default
        where = "path" if self.in_path else "query"
        needed = self.in_path or self.required
        return {"name": self.name, "in": where, "required": needed, "description": self.about, "schema": schema}


def read(known: Sequence[Parameter], query: Iterable[tuple[str, str]], path: Mapping[str, str]) -> Values:
    """The values of a request's parameters, the defaults where one is left out.

    Args:
        known: The parameters that it may have.
        query: Names and texts of its query.
        path: Names and texts of its path.

    Raises:
        UsageError: One is not known, is there twice, or has a wrong value.
    """
    by_name = {parameter.name: parameter for parameter in known}
    values: Values = {parameter.name: parameter.default for parameter in known}
    seen = set()
    for name, text in (*query, *path.items()):
        if name not in by_name or by_name[name].in_path != (name in path):
            takes = ", ".join(sorted(each.name for each in known if not each.in_path)) or "none"
            raise UsageError(f"there is no parameter {name[:80]!r} here; it takes {takes}")
        if name in seen:
            raise UsageError(f"the parameter {name} is there twice")
        seen.add(name)
        values[name] = by_name[name].read(text)
    for parameter in known:
        if parameter.required and parameter.name not in seen:
            raise UsageError(f"the parameter {parameter.name} is missing")
    return values


def _nanoseconds(name: str, text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.replace(" ", "+")))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        microseconds = since // datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise UsageError(f"{name} must be a time such as 2026-11-23T10:00:00Z, not {text[:40]!r}") from None
    return max(-(2**62), min(microseconds * 1_000, 2**62))
