"""The pytest plugin: the fixture `spans`, and `--update-golden`.

pytest finds it by entry point wherever tracekit is installed, so it does nothing until a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tracekit.testing import Recorder

_VARIABLE = "TRACEKIT_UPDATE_GOLDEN"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`."""
    parser.getgroup("tracekit").addoption(
        "--update-golden",
        action="store_true",
        default=False,
        help="write the golden files of tracekit.testing.golden anew instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell `golden`, in this process and in those that it starts, whether to write."""
    if config.getoption("--update-golden", default=False):
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = "1"
        config.add_cleanup(lambda: _restore(before))


@pytest.fixture
def spans() -> Iterator[Recorder]:
    """What the test traces, in memory: ids count, the clock ticks, and nothing is written or sent.

    It starts empty for each test. `spans.find(step="tool", name="search")` is the one span that fits,
    `spans.tree()` an outline of all, `tracekit.testing.golden(spans, path)` compares with a file.
    """
    from tracekit.testing import recorded  # noqa: PLC0415 - brings the SDK, which only a test that traces needs

    with recorded() as recorder:
        yield recorder


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = before
