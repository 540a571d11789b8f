"""The demo's corpus: what the interpreter's standard library says about itself, one document a symbol."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from tracekit.errors import UsageError

# Modules that every build of CPython has and that do nothing when they are imported, without those about the
# language itself (ast, types, typing). The order decides which name a symbol goes by where several offer it.
_LISTED = """
    builtins argparse array base64 bisect calendar collections colorsys configparser contextlib copy
    csv dataclasses datetime decimal difflib enum filecmp fileinput fnmatch fractions functools
    getpass glob graphlib hashlib heapq hmac html inspect io ipaddress itertools json logging math
    mimetypes operator os.path os pathlib pickle platform pprint queue random re sched secrets
    shelve shlex shutil signal statistics string struct subprocess sys tempfile textwrap threading
    time timeit traceback unicodedata urllib.parse uuid warnings weakref zipfile zoneinfo
    concurrent.futures asyncio
"""
MODULES = tuple(_LISTED.split())


@dataclass(frozen=True)
class Document:
    """What the standard library says about one of its symbols.

    Args:
        symbol: Its full name, as in `itertools.chain.from_iterable`; builtins without their module.
        text: Its docstring, without the indentation.
    """

    symbol: str
    text: str


def summary(symbol: str, text: str) -> str:
    r"""What a docstring says first, in one line; a signature that stands before it is left out.

    Example:
        >>> summary("string.capwords", "capwords(s [,sep]) -> string\n\nSplit the argument\n  into words.")
        'Split the argument into words.'
    """
    name = symbol.rpartition(".")[2]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    telling = [part for part in paragraphs if not part.startswith(f"{name}(")]
    return (telling or paragraphs or [""])[0]


@lru_cache(maxsize=1)
def corpus() -> tuple[Document, ...]:
    """The documents about all public symbols of `MODULES`, in one order that only the interpreter decides.

    Returns:
        Documents whose symbols are unique.

    Raises:
        UsageError: The interpreter runs without docstrings (`-OO`).

    Example:
        >>> any(document.symbol == "itertools.chain.from_iterable" for document in corpus())
        True
    """
    if importlib.import_module(__name__).__doc__ is None:
        raise UsageError("Python runs without docstrings, which are what the demo reads; run it without -OO")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a module that says it is deprecated is still a document
        modules = [(name, importlib.import_module(name)) for name in MODULES]
        exports = [list(_exported(name, module)) for name, module in modules]
        classes = {thing for export in exports for _, thing in export if isinstance(thing, type)}
        things: list[tuple[str, object]] = []
        for export in exports:
            things += export  # before the methods: `random.choice` is not called `random.Random.choice`
            things += [pair for symbol, thing in export for pair in _members(symbol, thing, classes)]
    return tuple(_documents(things))


def _exported(name: str, module: ModuleType) -> Iterator[tuple[str, object]]:
    listed = getattr(module, "__all__", None)
    prefix = "" if name == "builtins" else f"{name}."
    for word in sorted(set(listed if listed is not None else vars(module))):
        thing = getattr(module, word, None)
        own = listed is not None or getattr(thing, "__module__", None) in {name, f"_{name}"}
        if own and callable(thing) and not word.startswith("_"):
            yield prefix + word, thing


def _members(symbol: str, thing: object, classes: set[type]) -> Iterator[tuple[str, object]]:
    if not isinstance(thing, type):
        return
    for word in sorted(dir(thing)):
        owner = next((base for base in thing.__mro__ if word in vars(base)), None)
        # What a class inherits from another public class is told there.
        if word.startswith("_") or owner is None or (owner is not thing and owner in classes):
            continue
        member = getattr(thing, word, None)
        if inspect.isroutine(member) or isinstance(vars(owner)[word], property):
            yield f"{symbol}.{word}", member if inspect.isroutine(member) else vars(owner)[word]


def _documents(things: Iterable[tuple[str, object]]) -> Iterator[Document]:
    told: set[tuple[str, str]] = set()  # last names and texts: one thing that goes by two names is told once
    symbols: set[str] = set()
    for symbol, thing in things:
        text = getattr(thing, "__doc__", None)
        if not isinstance(text, str) or not text.strip() or symbol in symbols:
            continue
        text = inspect.cleandoc(text).strip()
        key = (symbol.rpartition(".")[2], text)
        if key not in told:
            told.add(key)
            symbols.add(symbol)
            yield Document(symbol, text)
