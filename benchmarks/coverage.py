"""How often every default interval holds the truth, over the whole grid, with its Monte Carlo error.

    python benchmarks/coverage.py [--rounds 4000] [--only TEXT] [--format table|json|csv|markdown]

`_coverage.py` says what is drawn. The seeds are the cells' names.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

from _coverage import cells

from tracekit_collector.terminal import print_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--format", choices=("table", "json", "csv", "markdown"), default="table")
    arguments = parser.parse_args()
    rows = []
    for cell in cells():
        if arguments.only not in cell.name:
            continue
        began = time.process_time()
        inside, told = cell.held(arguments.rounds)
        share = inside / told if told else math.nan
        error = math.sqrt(share * (1 - share) / told) if told else math.nan
        rows.append(
            {
                "family": cell.family,
                "what": cell.detail,
                "n": cell.n,
                "coverage": f"{100 * share:.2f}",
                "error": f"{100 * error:.2f}",
                "intervals": told,
                "out": "" if 0.93 <= share <= 0.97 else "OUT",
                "seconds": f"{time.process_time() - began:.2f}",
            }
        )
    columns = ["family", "what", "n", "coverage", "error", "intervals", "out", "seconds"]
    print_rows(rows, columns, format=arguments.format)
    outside = sum(1 for row in rows if row["out"])
    print(f"{len(rows)} cells, {outside} outside of 93 to 97 %", file=sys.stderr)


if __name__ == "__main__":
    main()
