r"""Formulas as people and models write them, read to be worked out at a point: `2x + 1`, `\frac{1}{2}`, `sin(x)^2`.

Two formulas that are equal at several points chosen by chance are equal everywhere but for an unlikely accident, if
they are made of the usual functions (Schwartz 1980); that needs no computer algebra.
"""

from __future__ import annotations

import cmath
import math
import random
import re
from collections.abc import Callable, Mapping

_LONGEST = 2_000
_POINTS = 24
_ENOUGH = 6
_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<name>[A-Za-zα-ωπ]+(?:_\w)?)|(?P<sign>[-+*/^()%]))")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_ROOT = re.compile(r"\\sqrt\s*\{([^{}]*)\}")
_PLAIN = (
    (re.compile(r"\\(?:left|right|,|;|!|quad|displaystyle)\b|\\[,;!]|\$|\\[()\[\]]"), " "),
    (re.compile(r"\\(?:cdot|times)\b|[·×∗]"), "*"),
    (re.compile(r"\\div\b|÷"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"²"), "^2"),
    (re.compile(r"³"), "^3"),
    (re.compile(r"√\s*(\w+)"), r"sqrt(\1)"),
    (re.compile(r"\\([A-Za-z]+)"), r" \1 "),
    (re.compile(r"(?<=\d),(?=\d{3}\b)"), ""),
)
_FUNCTIONS: Mapping[str, Callable[[complex], complex]] = {
    "sqrt": cmath.sqrt,
    "exp": cmath.exp,
    "ln": cmath.log,
    "log": cmath.log,
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "asin": cmath.asin,
    "acos": cmath.acos,
    "atan": cmath.atan,
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "abs": lambda value: complex(abs(value)),
}
_CONSTANTS: Mapping[str, complex] = {"pi": complex(math.pi), "π": complex(math.pi), "e": complex(math.e)}


def equal(a: str, b: str) -> bool:
    r"""Whether two formulas say the same for any values of their variables.

    Args:
        a: A formula: numbers, letters, `+ - * / ^ %`, brackets, the usual functions, or simple LaTeX. What stands side
            by side is multiplied, from the left: `1/2x` is half of x. `log` is the natural logarithm.
        b: The other one.

    Raises:
        ValueError: One of the two is no formula, or has a value nowhere.

    Example:
        >>> equal("(x + 1)^2", "x^2 + 2x + 1"), equal(r"\frac{1}{3}", "0.333")
        (True, False)
    """
    first, second = tokens(a), tokens(b)
    names = sorted({text for kind, text in [*first, *second] if kind == "variable"})
    chance = random.Random(17)  # noqa: S311 - nobody is kept from guessing it
    seen = 0
    for _ in range(_POINTS):
        point = {name: complex(chance.uniform(0.3, 2.7)) for name in names}
        values = [_Reader(each, point).value() for each in (first, second)]
        if values[0] is None and values[1] is None:
            continue
        if values[0] is None or values[1] is None:
            return False
        if abs(values[0] - values[1]) > 1e-9 * max(1.0, abs(values[0]), abs(values[1])):
            return False
        seen += 1
        if seen >= (_ENOUGH if names else 1):
            return True
    raise ValueError("it has a value nowhere")


def tokens(text: str) -> list[tuple[str, str]]:
    """The parts of a formula, as their kind and their text.

    Raises:
        ValueError: It is no formula.

    Example:
        >>> tokens("2x")
        [('number', '2'), ('variable', 'x')]
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST} characters")
    for _ in range(8):  # a fraction in a fraction is read from the inside
        text, changes = _FRACTION.subn(r"((\1)/(\2))", text)
        text, more = _ROOT.subn(r"sqrt(\1)", text)
        if not changes + more:
            break
    for pattern, plain in _PLAIN:
        text = pattern.sub(plain, text)
    text = text.replace("{", "(").replace("}", ")").strip().rstrip(".")
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"{text[place : place + 20]!r} cannot be read")
        kind, said = str(match.lastgroup), match[0].strip()
        found += _named(said) if kind == "name" else [(kind, said)]
        place = match.end()
    if not found:
        raise ValueError("it is empty")
    _Reader(found, {said: complex(1.3) for kind, said in found if kind == "variable"}).value()
    return found


def _named(said: str) -> list[tuple[str, str]]:
    if said.lower() in _FUNCTIONS:
        return [("function", said.lower())]
    if said.lower() in ("pi", "π") or said == "e":
        return [("constant", said.lower())]
    if "_" in said:
        return [("variable", said)]
    if len(said) > 3:
        raise ValueError(f"{said!r} is neither a function nor a product of letters")
    return [("constant" if letter in _CONSTANTS else "variable", letter) for letter in said]


class _Reader:
    """Works a formula out by descending into it."""

    def __init__(self, parts: list[tuple[str, str]], point: Mapping[str, complex]) -> None:
        self._parts = parts
        self._point = point
        self._place = 0

    def value(self) -> complex | None:
        """The value at the point; `None` where there is none."""
        try:
            found = self._sum()
        except (ArithmeticError, RecursionError):
            return None
        except ValueError as error:
            if "math domain" in str(error):
                return None
            raise
        if self._place < len(self._parts):
            raise ValueError(f"{self._parts[self._place][1]!r} stands where nothing can")
        return found if cmath.isfinite(found) else None

    def _next(self) -> tuple[str, str]:
        return self._parts[self._place] if self._place < len(self._parts) else ("end", "its end")

    def _take(self, *signs: str) -> str | None:
        kind, said = self._next()
        if kind == "sign" and said in signs:
            self._place += 1
            return said
        return None

    def _sum(self) -> complex:
        total = self._product()
        while sign := self._take("+", "-"):
            other = self._product()
            total = total + other if sign == "+" else total - other
        return total

    def _product(self) -> complex:
        total = self._signed()
        while True:
            sign = self._take("*", "/")
            if sign is None and (self._next()[0] in ("end", "sign") and self._next()[1] != "("):
                return total
            other = self._signed() if sign else self._power()
            total = total / other if sign == "/" else total * other

    def _signed(self) -> complex:
        sign = self._take("+", "-")
        if sign is None:
            return self._power()
        value = self._signed()
        return -value if sign == "-" else value

    def _power(self) -> complex:
        value = self._atom()
        if self._take("^"):
            value = value ** self._signed()
        while self._take("%"):
            value = value / 100
        return value

    def _atom(self) -> complex:
        kind, said = self._next()
        self._place += 1
        if kind == "number":
            return complex(float(said))
        if kind == "constant":
            return _CONSTANTS[said]
        if kind == "variable":
            return self._point[said]
        if kind == "function":
            power = self._signed() if self._take("^") else None
            # In `sin(x)^2` the power is of the sine, in `sin x^2` of x.
            value = _FUNCTIONS[said](self._atom() if self._next() == ("sign", "(") else self._power())
            return value if power is None else value**power
        if (kind, said) == ("sign", "("):
            value = self._sum()
            if not self._take(")"):
                raise ValueError("a bracket is not closed")
            return value
        raise ValueError(f"{said!r} stands where a value should")
