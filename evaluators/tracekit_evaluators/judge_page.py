"""The table of judges in docs/judges.md, and what of it is stale.

`python -m tracekit_evaluators.judge_page docs/judges.md` writes the table anew, between its two marks; the rest of the
page is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tracekit.errors import UsageError
from tracekit_evaluators.listing import judge_rows

COLUMNS = ("name", "subject", "needs", "range", "direction", "kind", "says")
BEGIN = "<!-- judges: made by `python -m tracekit_evaluators.judge_page docs/judges.md` -->"
END = "<!-- /judges -->"


def table(rows: Sequence[Mapping[str, object]] | None = None) -> list[str]:
    """The lines of the table, one for each installed judge, by name.

    Args:
        rows: What the judges say of themselves, as `judge_rows` tells it; of the installed ones when not given.
    """
    found = judge_rows() if rows is None else rows
    head = [_line({name: name for name in COLUMNS}), _line(dict.fromkeys(COLUMNS, "---"))]
    return [*head, *(_line({**row, "range": row.get("values"), "name": f"`{row['name']}`"}) for row in found)]


def stale(page: str, rows: Sequence[Mapping[str, object]] | None = None) -> list[str]:
    """The lines of a page's table that are not what the code says: `-` before one too many, `+` before a lacking one.

    Raises:
        UsageError: The page has no table.
    """
    there, wanted = _inside(page)[1], table(rows)
    gone = [f"- {line}" for line in there if line not in set(wanted)]
    new = [f"+ {line}" for line in wanted if line not in set(there)]
    return gone + new or ([] if there == wanted else ["the lines stand in another order"])


def renewed(page: str, rows: Sequence[Mapping[str, object]] | None = None) -> str:
    """The page with its table as the code says it."""
    before, _, after = _inside(page)
    return "\n".join([before, BEGIN, *table(rows), END, after])


def main(argv: Sequence[str] | None = None) -> int:
    """Write a page's table anew.

    Args:
        argv: The page; the process's own word when not given.
    """
    words = sys.argv[1:] if argv is None else argv
    if len(words) != 1:
        print("which page? python -m tracekit_evaluators.judge_page docs/judges.md", file=sys.stderr)  # noqa: T201 - a program
        return 2
    path = Path(words[0])
    page = path.read_text(encoding="utf-8")
    lines = stale(page)
    path.write_text(renewed(page), encoding="utf-8")
    print("\n".join(lines) or "nothing was stale")  # noqa: T201 - as above
    return 0


def _inside(page: str) -> tuple[str, list[str], str]:
    before, begin, rest = page.partition(f"\n{BEGIN}\n")
    inside, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise UsageError(f"the page has no table of judges, which stands between {BEGIN!r} and {END!r}")
    return before, inside.splitlines(), after


def _line(row: Mapping[str, object]) -> str:
    return f"| {' | '.join(_cell(row.get(name)) for name in COLUMNS)} |"


def _cell(value: object) -> str:
    text = " ".join(str(value or "").split())
    return text.replace("|", "\\|").replace("<", "&lt;") or " "


if __name__ == "__main__":
    raise SystemExit(main())
