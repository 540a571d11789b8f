"""What irrCAC and ppi-python say of fixed data, as `agreement_oracles.json` keeps it.

Neither fits beside our own dependencies (irrCAC pins scipy 1.12, ppi-python brings numba), so their answers were
recorded once, by

    python3.11 -m venv oracle
    oracle/bin/pip install irrCAC==0.4.4 ppi-python==0.2.3 && oracle/bin/pip uninstall coverage
    oracle/bin/python tests/evaluators/agreement_oracles.py > tests/evaluators/agreement_oracles.json
"""

from __future__ import annotations

import json
from collections.abc import Iterator

TABLES = {"two labels": (2, 40, 0.7), "rare label": (2, 200, 0.9), "three labels": (3, 80, 0.6), "five": (5, 150, 0.5)}
SAMPLES = {"40 of 500": (40, 500), "100 of 2000": (100, 2000), "400 of 1000": (400, 1000)}
WEIGHTS = ("identity", "linear", "quadratic")


def uniform(seed: int) -> Iterator[float]:
    """Numbers in [0, 1) that are the same everywhere: D. H. Lehmer's generator with Park and Miller's numbers."""
    state = seed
    while True:
        state = state * 48271 % 2147483647
        yield (state - 1) / 2147483646


def table(name: str) -> tuple[list[int], list[int]]:
    """What two raters said of the same items."""
    labels, n, alike = TABLES[name]
    draw = uniform(len(name) * 7919)
    one, two = [], []
    for _ in range(n):
        value = int(next(draw) ** (8 if name == "rare label" else 1) * labels)
        one.append(value)
        two.append(value if next(draw) < alike else int(next(draw) * labels))
    return one, two


def sample(name: str, *, yes_no: bool) -> tuple[list[float], list[float], list[float]]:
    """People's labels, the judge's on the same, and the judge's on the rest."""
    labelled, n = SAMPLES[name]
    draw = uniform(labelled * 104729 + n)
    human, judged = [], []
    for _ in range(n):
        truth, noise = next(draw), next(draw)
        human.append(float(truth < 0.7) if yes_no else truth)
        right = float(noise < (0.92 if truth < 0.7 else 0.25))
        judged.append(right if yes_no else 0.8 * truth + 0.2 * noise)
    return human[:labelled], judged[:labelled], judged[labelled:]


def main() -> None:
    """Print what the two packages say."""
    import numpy
    import pandas
    from irrCAC.raw import CAC
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    found: dict[str, dict[str, object]] = {"agreement": {}, "ppi": {}}
    for name in TABLES:
        one, two = table(name)
        frame = pandas.DataFrame({"a": one, "b": two})
        said = {}
        for weights in WEIGHTS:
            rated = CAC(frame, weights=weights, digits=15)
            for what in ("gwet", "conger", "krippendorff", "bp"):
                said[f"{what} {weights}"] = float(getattr(rated, what)()["est"]["coefficient_value"])
        found["agreement"][name] = said
    for name in SAMPLES:
        for kind in ("yes or no", "numbers"):
            human, judged, rest = (numpy.array(each) for each in sample(name, yes_no=kind == "yes or no"))
            value = ppi_mean_pointestimate(human, judged, rest)
            low, high = ppi_mean_ci(human, judged, rest, alpha=0.05)
            found["ppi"][f"{name}, {kind}"] = [float(numpy.ravel(each)[0]) for each in (value, low, high)]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
