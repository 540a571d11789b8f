"""Which tools were called, against those that were expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.score import MissingInput, NotApplicable, Score, unscored
from tracekit_evaluators.subject import Subject

Names = Sequence[str]


def _in_order(actual: Names, expected: Names) -> bool:
    rest = iter(actual)
    return all(name in rest for name in expected)


def _within(part: Names, whole: Names) -> bool:
    return not Counter(part) - Counter(whole)


MODES: dict[str, Callable[[Names, Names], bool]] = {
    "exact": lambda actual, expected: list(actual) == list(expected),
    "unordered": lambda actual, expected: Counter(actual) == Counter(expected),
    "in_order": _in_order,
    "any_order": lambda actual, expected: _within(expected, actual),
    "superset": lambda actual, expected: _within(expected, actual),
    "subset": _within,
}


@judge(needs=("expected.tool_names",), values="{0,1}")
def tool_names(
    *,
    expected: list[str] | None = None,
    mode: str = "unordered",
    only: list[str] | str | None = None,
    ignore: list[str] | str | None = None,
) -> Call:
    """Whether the tools that were called are the expected ones.

    Besides `tool_names` it says `tool_names.precision`, `.recall` and `.f1`: with the names as multisets, matches over
    calls, matches over expected, and 2·matches / (calls + expected). Where both are empty, F1 is 1; a share of
    nothing is not applicable.

    Args:
        expected: Names that every case should call; the case's `expected_actions`, `tool_names` or `tools` when not
            given. A case's entries may be names or objects with a `name`.
        mode: `exact`: the same names in the same order. `unordered`: the same names, each as often. `in_order`: the
            expected ones in their order, others between them. `any_order` (or `superset`): the expected ones are
            among the called ones. `subset`: nothing was called that is not expected.
        only: Names or patterns (`book_*`) of the tools that count; all when not given.
        ignore: Names or patterns of tools that do not count, such as those that only read.

    Raises:
        UsageError: There is no such mode.

    Example:
        >>> tool_names(mode="in_order", ignore=["get_*", "think"]).parameters["mode"]
        'in_order'
    """
    if mode not in MODES:
        raise UsageError(f"tool_names has no mode {mode!r}; one of {', '.join(MODES)}")
    counted, left_out = _patterns(only), _patterns(ignore)

    def counts(name: str) -> bool:
        wanted = not counted or any(fnmatchcase(name, pattern) for pattern in counted)
        return wanted and not any(fnmatchcase(name, pattern) for pattern in left_out)

    def call(subject: Subject) -> dict[str, Score]:
        stated = subject.expect("expected_actions", "tool_names", "tools") if expected is None else expected
        wanted = [name for name in _names(stated) if counts(name)]
        actual = [each.name for each in subject.tool_calls if each.name and counts(each.name)]
        missing, extra = Counter(wanted) - Counter(actual), Counter(actual) - Counter(wanted)
        words = [f"missing: {_listed(missing)}"] if missing else []
        words += [f"not expected: {_listed(extra)}"] if extra else []
        matches = len(wanted) - missing.total()
        both = len(wanted) + len(actual)
        return {
            "tool_names": Score(
                MODES[mode](actual, wanted),
                explanation="; ".join(words) or ("in another order" if list(actual) != wanted else None),
                metadata={"expected": wanted, "actual": actual},
            ),
            "tool_names.precision": _share(matches, len(actual), "no tool was called"),
            "tool_names.recall": _share(matches, len(wanted), "no tool is expected"),
            "tool_names.f1": Score(2 * matches / both if both else 1.0),
        }

    return call


def _names(stated: object) -> list[str]:
    items = stated if isinstance(stated, (list, tuple)) else [stated]
    names = [item.get("name") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(name, str) for name in names):
        raise MissingInput(f"the expected tools are no list of names: {stated!r:.200}")
    return [name for name in names if isinstance(name, str)]


def _patterns(given: list[str] | str | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _share(part: int, whole: int, empty: str) -> Score:
    return Score(part / whole) if whole else unscored(NotApplicable(empty))


def _listed(names: Counter[str]) -> str:
    return ", ".join(name if n == 1 else f"{name} ×{n}" for name, n in sorted(names.items()))
