"""Redaction: what must not leave the process is replaced by a mark that says why, `[redacted: email]`.

Three kinds of rules: by key (`password`, `authorization`, …, however it is written and however deep in JSON), by
pattern (keys of well-known providers, personal data), and by a function of yours. JSON stays JSON. Nothing here raises:
a rule that fails costs the text that it was given. Pure and light, so that a collector can apply the same rules at its
door.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracekit import _guard
from tracekit._patterns import PERSONAL, SECRETS, Pattern
from tracekit._sensitive import SENSITIVE, gates, key_hints, shortest, words
from tracekit.errors import SettingError

if TYPE_CHECKING:
    from tracekit._exporter import RedactingExporter

__all__ = [
    "DEFAULT",
    "Keys",
    "Pattern",
    "RedactingExporter",
    "Redactor",
    "redact_attributes",
    "redact_text",
    "redactor",
]

DEFAULT = "keys,secrets"
"""What is redacted unless told otherwise. Personal data is not: an agent's traces are often about people, and a mark in
place of each address would make them unreadable for those who did not ask for it."""

Function = Callable[[str, str], "str | None"]

_QUOTED = re.compile(r'"([^"\\]{1,256})\\{0,8}"\s{0,4}:')
_SHORT = 64
_REMEMBERED = 10_000
# Where a text is no JSON, a key is known by what follows it: a quote and a colon, or an equals sign.
_ASSIGNED = re.compile(
    r"(?i:(?P<key>passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|token|authorization|"
    r"cookie)s?)(?:\\{0,4}[\"']\s{0,4}[:=]|\s{0,2}=(?!=))\s{0,4}(?P<quote>\\{0,4}[\"'])?"
    r"(?!\[redacted: |None\b|null\b|True\b|true\b|False\b|false\b)"
    r"(?P<value>(?<=\")(?:[^\"\\\r\n]|\\[^\"])+|(?<=')(?:[^'\\\r\n]|\\[^'])+|(?<![\"'])[^\s\"',;&<>()\[\]{}\\]+)"
)
_ASSIGNED_NUMBER = re.compile(r"\d{1,9}")
_CONTAINERS = frozenset('{["-0123456789')
_CARD_SIZE = 10**12


@dataclass(frozen=True)
class Keys:
    """Keys whose values are redacted; case, separators and what stands before do not count.

    Args:
        names: The keys: `patient_name` also stands for `patientName` and `X-Patient-Name`.

    Example:
        >>> Redactor([Keys(("patient_name",))]).attributes({"PatientName": "Ada", "age": 7})
        {'PatientName': '[redacted: key patient name]', 'age': 7}
    """

    names: tuple[str, ...]


class Redactor:
    """Applies rules to texts and attributes.

    Args:
        rules: `Keys`, `Pattern`s, and functions that are given the key (with its path in JSON) and a text, and return
            the text to keep, or `None` to redact it whole. Functions come last.

    Example:
        >>> rules = Redactor([Keys(("password",)), *PERSONAL])
        >>> rules.text('{"user": {"Password": "hunter2", "mail": "ada@example.org"}}')
        '{"user": {"Password": "[redacted: key password]", "mail": "[redacted: email]"}}'
    """

    def __init__(self, rules: Iterable[Keys | Pattern | Function]) -> None:
        listed = list(rules)
        self._patterns = [rule for rule in listed if isinstance(rule, Pattern)]
        self._functions: list[Function] = [rule for rule in listed if not isinstance(rule, (Keys, Pattern))]
        names = [words(name) for rule in listed if isinstance(rule, Keys) for name in rule.names]
        self._names = frozenset(name for name in names if name)
        self._longest = max(map(len, self._names), default=0)
        self._key_hints = shortest(key_hints(self._names))
        self._gates = gates(shortest(hint for rule in self._patterns for hint in rule.hints))
        self._clean: set[str] = set()
        self._assigned = bool(self._names & _BUILT_IN)
        self._judged: dict[str, str | None] = {}
        self._always = bool(self._functions) or any(not rule.hints for rule in self._patterns)

    @property
    def known(self) -> tuple[Mapping[str, str | None], Collection[str]]:
        """What has been judged already: the sensitive name, or none, of keys, and short texts that hold nothing."""
        return self._judged, self._clean

    @property
    def pure(self) -> bool:
        """Whether the same text under the same key is always redacted alike: a function of the user's may not do so."""
        return not self._functions

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes as they may be seen; unchanged values are the very same.

        Args:
            attributes: Keys and values; values may be lists and mappings of values.
        """
        return {key: self.value(key, value) for key, value in attributes.items()}

    def value(self, key: str, value: Any) -> Any:
        """One attribute's value as it may be seen."""
        try:
            return self._value(key, value)
        except Exception:  # noqa: BLE001 - what cannot be judged (too deep, a strange type) must not leave either
            _guard.fault("redacting a value")
            return _mark("unreadable")

    def text(self, text: str, key: str = "") -> str:
        """A text as it may be seen; a JSON text stays one.

        Args:
            text: Any text.
            key: What it is called, for functions among the rules.
        """
        try:
            return self._text(key, text)
        except Exception:  # noqa: BLE001 - as above
            _guard.fault("redacting a text")
            return _mark("unreadable")

    def key(self, key: str) -> str | None:
        """The name by which a key is sensitive; `None` where it is not."""
        try:
            return self._judged[key]
        except KeyError:
            found = self._judge(key)
            if len(self._judged) < _REMEMBERED:  # keys may come from hostile content
                self._judged[key] = found
            return found

    def _judge(self, key: str) -> str | None:
        said = words(key)
        for length in range(min(self._longest, len(said)), 0, -1):
            if said[-length:] in self._names:
                return " ".join(said[-length:])
        return None

    def _value(self, key: str, value: Any, sibling: Mapping[str, Any] | None = None) -> Any:
        kind = type(value)
        if kind is bool or value is None:
            return value
        name = self.key(key.rpartition(".")[2] if sibling is not None else key) if self._names else None
        if name is not None and not _is_no_secret(name, value, sibling):
            return value if kind is str and value.startswith("[redacted: ") else _mark(f"key {name}")
        if isinstance(value, str):
            return self._text(key, value)
        if kind is int:
            return self._number(value)
        if isinstance(value, Mapping):
            return {self._key_text(inner): self._value(f"{key}.{inner}", item, value) for inner, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return [self._value(key, item) for item in value] if value else value
        return value

    def _key_text(self, key: Any) -> Any:
        """A key is shown too, so patterns hold for it as well."""
        return self._by_patterns(key, key.lower()) if isinstance(key, str) and len(key) > 7 else key

    def _number(self, value: int) -> Any:
        if -_CARD_SIZE < value < _CARD_SIZE or value >= 10**20:
            return value
        text = str(value)
        seen = self._by_patterns(text, text)
        return value if seen == text else seen

    def _text(self, key: str, text: str) -> str:
        if not text or not self._may_hold(text):
            return text
        start = text.lstrip()[:1]
        if start not in _CONTAINERS:
            return self._plain(key, text)
        try:
            said = json.loads(text)
        except json.JSONDecodeError:
            return self._plain(key, text)
        except (ValueError, RecursionError):  # JSON perhaps, but of a depth or with numbers that Python does not read
            plain = self._plain(key, text)
            return text if plain == text else json.dumps(_mark("unreadable"))
        seen = self._text(key, said) if isinstance(said, str) else self._value(key, said, {})
        if seen == said and type(seen) is type(said):
            return text
        dumped = json.dumps(seen, ensure_ascii=False)
        try:
            dumped.encode()
        except UnicodeEncodeError:
            return json.dumps(seen)
        return dumped

    def _plain(self, key: str, text: str) -> str:
        seen = self._by_patterns(text, text.lower())
        if self._assigned:
            seen = _ASSIGNED.sub(_unassigned, seen)
        for function in self._functions:
            try:
                kept = function(key, seen)
                seen = _mark(_name_of(function)) if kept is None else str(kept)
            except Exception:  # noqa: BLE001 - a rule that fails must not let through what it was to hide
                _guard.fault(f"the redaction rule {_name_of(function)}")
                return _mark(f"{_name_of(function)} failed")
        return seen

    def _by_patterns(self, text: str, lowered: str) -> str:
        for pattern in self._patterns:
            if pattern.hints and not any(hint in lowered for hint in pattern.hints):
                continue
            try:
                text = _replaced(pattern, text)
            except Exception:  # noqa: BLE001 - as above
                _guard.fault(f"the redaction rule {pattern.name}")
                return _mark(f"{pattern.name} failed")
        return text

    def _may_hold(self, text: str) -> bool:
        """Whether there may be something to redact: quick, as nearly all texts hold nothing."""
        if self._always:
            return True
        if text in self._clean:
            return False
        if len(text) < 8:
            self._remember(text)
            return False
        lowered = text.lower()
        if self._names and self._may_hold_a_key(text, lowered):
            return True
        for gate, hints in self._gates:
            if gate in text:
                for hint in hints:
                    if hint in lowered:
                        return True
        if len(text) < _SHORT:
            self._remember(text)
        return False

    def _remember(self, text: str) -> None:
        if len(self._clean) < _REMEMBERED:
            self._clean.add(text)  # most attributes say the same on every span

    def _may_hold_a_key(self, text: str, lowered: str) -> bool:
        if '"' in text:
            for key in _QUOTED.findall(text):
                if self.key(key) is not None:
                    return True
            if "\\u00" in text:  # a letter of a key may hide in an escape
                return True
        if "=" in text or "'" in text:
            for hint in self._key_hints:
                if hint in lowered:
                    return True
        return False


_BUILT_IN = frozenset(words(name) for name in SENSITIVE)
_KEYS = Keys(SENSITIVE)
_RULES: dict[str, tuple[Keys | Pattern, ...]] = {
    "keys": (_KEYS,),
    "secrets": SECRETS,
    "personal": PERSONAL,
    "patterns": (*SECRETS, *PERSONAL),
    **{pattern.name: (pattern,) for pattern in PERSONAL},
}
_OFF = frozenset({"", "0", "off", "no", "false", "none"})
_ON = frozenset({"1", "on", "yes", "true", "all"})


def redactor(given: Any = DEFAULT) -> Redactor | None:
    """The redactor for what was asked for.

    Args:
        given: Names of rules, separated by commas (`keys`, `secrets`, `personal`, `patterns` for the last two, `email`,
            `card`, `iban`, `phone`); a list of names, `Keys`, `Pattern`s, compiled expressions and functions; one
            function, which comes after the default rules; `True` for everything known, `False` or `off` for nothing.

    Returns:
        The redactor; `None` where nothing is redacted.

    Raises:
        SettingError: There is no such rule.

    Example:
        >>> redactor("keys,email").text("write to ada@example.org")
        'write to [redacted: email]'
    """
    if given is None or given is False:
        return None
    if given is True:
        given = "keys,patterns"
    if isinstance(given, str):
        asked = given.strip().lower()
        if asked in _OFF:
            return None
        given = ["keys", "patterns"] if asked in _ON else [part.strip() for part in asked.split(",") if part.strip()]
    elif callable(given):
        given = [*DEFAULT.split(","), given]
    elif isinstance(given, (Keys, Pattern, re.Pattern)):
        given = [given]
    rules: list[Any] = []
    for item in given:
        rules.extend(_rules(item))
    return Redactor(dict.fromkeys(rules)) if rules else None


def redact_text(text: str, rules: Any = DEFAULT) -> str:
    """A text as it may be seen; a JSON text stays one.

    Args:
        text: Any text.
        rules: As for `redactor`.

    Example:
        >>> redact_text('{"api_key": "abc", "city": "Rome"}')
        '{"api_key": "[redacted: key api key]", "city": "Rome"}'
    """
    found = _made(rules)
    return text if found is None else found.text(text)


def redact_attributes(attributes: Mapping[str, Any], rules: Any = DEFAULT) -> dict[str, Any]:
    """Attributes as they may be seen.

    Args:
        attributes: Keys and values.
        rules: As for `redactor`.

    Example:
        >>> redact_attributes({"http.request.header.authorization": "Bearer x", "size": 3})
        {'http.request.header.authorization': '[redacted: key authorization]', 'size': 3}
    """
    found = _made(rules)
    return dict(attributes) if found is None else found.attributes(attributes)


def _made(rules: Any) -> Redactor | None:
    if isinstance(rules, Redactor):
        return rules
    return _default if isinstance(rules, str) and rules == DEFAULT else redactor(rules)


def _rules(item: Any) -> Sequence[Any]:
    if isinstance(item, str):
        found = _RULES.get(item.strip().lower())
        if found is None:
            raise SettingError(f"there is no redaction rule {item!r}; known: {', '.join(_RULES)}, off")
        return found
    if isinstance(item, re.Pattern):
        return [Pattern("pattern", item)]
    if isinstance(item, (Keys, Pattern)) or callable(item):
        return [item]
    raise SettingError(f"{item!r} is no redaction rule; give a name, Keys, a Pattern, an expression or a function")


def _mark(why: str) -> str:
    return f"[redacted: {why}]"


def _name_of(function: object) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    return re.sub(r"[^\w.-]", "", str(name)) or "function"


def _is_no_secret(name: str, value: object, sibling: Mapping[str, Any] | None) -> bool:
    """A token may also be a piece of text of a model's, or a number of them."""
    if not name.endswith("token"):
        return False
    return isinstance(value, (int, float)) or (sibling is not None and "logprob" in sibling)


def _replaced(pattern: Pattern, text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        group = "value" if "value" in pattern.regex.groupindex else 0
        found = match[group]
        if not found:
            return match[0]
        size = len(found) if pattern.measure is None else pattern.measure(found)
        if size == 0:
            return match[0]
        start = match.start(group) - match.start()
        return f"{match[0][:start]}{_mark(pattern.name)}{match[0][start + size :]}"

    return pattern.regex.sub(replace, text)


def _unassigned(match: re.Match[str]) -> str:
    name = " ".join(words(match["key"]))
    if name == "token" and _ASSIGNED_NUMBER.fullmatch(match["value"]):
        return match[0]
    start, end = (place - match.start() for place in match.span("value"))
    return f"{match[0][:start]}{_mark(f'key {name}')}{match[0][end:]}"


_default = redactor(DEFAULT)


def __getattr__(name: str) -> Any:
    if name == "RedactingExporter":  # it needs OpenTelemetry's SDK, and these rules do not
        from tracekit._exporter import RedactingExporter  # noqa: PLC0415 - as said

        return RedactingExporter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
