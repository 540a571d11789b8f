"""How many changes lead from one text to another."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The Levenshtein distance: the fewest insertions, deletions and substitutions of single items.

    Source: Levenshtein 1966; computed bit-parallel (Myers 1999, in Hyyrö's form), so that two texts of a thousand
    letters take a millisecond.

    Args:
        a: A text, or a sequence of words.
        b: Another.

    Example:
        >>> distance("kitten", "sitting")
        3
    """
    if len(a) < len(b):
        a, b = b, a
    if not b:
        return len(a)
    places: dict[Hashable, int] = {}
    for place, item in enumerate(b):
        places[item] = places.get(item, 0) | 1 << place
    last, ones = 1 << (len(b) - 1), (1 << len(b)) - 1
    up, down, score = ones, 0, len(b)
    for item in a:
        match = places.get(item, 0)
        across = (((match & up) + up) ^ up) | match | down
        rise, fall = down | ~(across | up), up & across
        score += 1 if rise & last else -1 if fall & last else 0
        rise, fall = rise << 1 | 1, fall << 1
        across_down = match | down
        up = (fall | ~(across_down | rise)) & ones
        down = rise & across_down & ones
    return score


def ratio(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """1 minus the Levenshtein distance over the greater length; 1 for two empty ones.

    Example:
        >>> round(ratio("kitten", "sitting"), 4)
        0.5714
    """
    longest = max(len(a), len(b))
    return 1.0 if longest == 0 else 1.0 - distance(a, b) / longest


def common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence, bit-parallel (Hyyrö 2004).

    Example:
        >>> common("the cat sat".split(), "the dog sat".split())
        2
    """
    places: dict[Hashable, int] = {}
    for place, item in enumerate(b):
        places[item] = places.get(item, 0) | 1 << place
    ones = (1 << len(b)) - 1
    state = ones
    for item in a:
        match = places.get(item, 0)
        both = state & match
        state = (state + both | state - both) & ones
    return len(b) - state.bit_count()


def common_ratio(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Twice the longest common subsequence over both lengths; 1 for two empty ones."""
    both = len(a) + len(b)
    return 1.0 if both == 0 else 2 * common(a, b) / both


def jaro_winkler(a: str, b: str, *, prefix_weight: float = 0.1) -> float:
    """Jaro's similarity, raised for a common beginning of up to four letters where it is above 0.7 (Winkler 1990).

    Args:
        a: A text.
        b: Another.
        prefix_weight: How much each letter of the common beginning counts, 0 to 0.25.

    Example:
        >>> round(jaro_winkler("MARTHA", "MARHTA"), 4)
        0.9611
    """
    similarity = _jaro(a, b)
    if similarity <= 0.7:
        return similarity
    same = next(
        (place for place, (x, y) in enumerate(zip(a[:4], b[:4], strict=False)) if x != y), min(4, len(a), len(b))
    )
    return similarity + same * prefix_weight * (1 - similarity)


def _jaro(a: str, b: str) -> float:
    if not a or not b:
        return float(a == b)
    reach = max(0, max(len(a), len(b)) // 2 - 1)
    taken = [False] * len(b)
    matched: list[str] = []
    for place, letter in enumerate(a):
        for other in range(max(0, place - reach), min(len(b), place + reach + 1)):
            if not taken[other] and b[other] == letter:
                taken[other] = True
                matched.append(letter)
                break
    if not matched:
        return 0.0
    theirs = [letter for letter, was in zip(b, taken, strict=True) if was]
    swaps = sum(x != y for x, y in zip(matched, theirs, strict=True)) // 2
    m = len(matched)
    return (m / len(a) + m / len(b) + (m - swaps) / m) / 3


def error_rate(said: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    """Changes that lead from what was wanted to what was said, over the length of what was wanted (WER, CER).

    Args:
        said: Words or letters as they came.
        wanted: As they should have been; at least one.

    Raises:
        ZeroDivisionError: Nothing was wanted.

    Example:
        >>> error_rate("a b d".split(), "a b c".split())
        0.3333333333333333
    """
    return distance(said, wanted) / len(wanted)
