"""Every installed judge with what it says of itself."""

from __future__ import annotations

import difflib
import inspect

from tracekit import plugins
from tracekit.errors import NotFoundError
from tracekit_evaluators.judge import GROUP, Declaration, Judge, takes_subject

LISTED = ("name", "says", "values", "direction", "needs", "kind", "subject", "parameters")


def judge_rows() -> list[dict[str, object]]:
    """One row for each installed judge, by name; one that cannot be loaded says why."""
    rows: list[dict[str, object]] = []
    for point in plugins.points(GROUP):
        try:
            found: object = point.load()
        except Exception as error:  # noqa: BLE001 - one broken plugin must not hide the others
            rows.append({"name": point.name, "says": f"cannot be loaded: {type(error).__name__}: {error}"})
            continue
        declared = getattr(found, "declared", None)
        if not isinstance(declared, Declaration):
            declared = Declaration(point.name, about=(inspect.getdoc(found) or "").partition("\n")[0])
        rows.append(
            {
                "name": point.name,
                "says": declared.about,
                "values": declared.values,
                "direction": declared.direction,
                "needs": ", ".join(declared.needs),
                "kind": declared.source,
                "subject": declared.subject,
                "parameters": _parameters(found),
            }
        )
    return rows


def judge_facts(name: str) -> dict[str, object]:
    """All that an installed judge says of itself: its row, its version, its documentation and where it is.

    Args:
        name: Its name, as `tracekit judges list` shows it, or `package.module:function`.

    Raises:
        NotFoundError: There is no such judge.
        PluginError: It cannot be loaded.
    """
    if ":" not in name and name not in {point.name for point in plugins.points(GROUP)}:
        near = difflib.get_close_matches(name, [point.name for point in plugins.points(GROUP)], 3)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise NotFoundError(f"there is no judge called {name!r}{meant} `tracekit judges list` shows all")
    found = plugins.find(GROUP, name)
    declared = getattr(found, "declared", None)
    if not isinstance(declared, Declaration):
        declared = Declaration(name, about=(inspect.getdoc(found) or "").partition("\n")[0])
    documented = found.call if isinstance(found, Judge) else found
    return {
        "name": name,
        "says": declared.about,
        "values": declared.values,
        "direction": declared.direction,
        "needs": list(declared.needs),
        "kind": declared.source,
        "subject": declared.subject,
        "steps": list(declared.steps),
        "version": declared.version,
        "parameters": _parameters(found),
        "module": getattr(documented, "__module__", None),
        "documentation": inspect.getdoc(documented),
    }


def _parameters(found: object) -> str:
    function = found.call if isinstance(found, Judge) else found
    if not callable(function):
        return ""
    parameters = list(inspect.signature(function).parameters.values())
    if isinstance(found, Judge) or takes_subject(function):
        parameters = parameters[1:]  # the first one is the subject
    return ", ".join(
        each.name if each.default is each.empty else f"{each.name}={each.default!r}" for each in parameters
    )
