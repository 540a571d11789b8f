"""The examples in the docstrings of the SDK are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tracekit
from tracekit.testing import recorded

FOUND = [found.name for found in pkgutil.walk_packages(tracekit.__path__, "tracekit.")]
MODULES = ["tracekit", *(name for name in FOUND if not name.endswith("__main__"))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    with recorded():
        done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert done.failed == 0
