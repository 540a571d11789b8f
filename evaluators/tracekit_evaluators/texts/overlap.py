"""How much of one text is in another: words, and runs of words or letters."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

from tracekit_evaluators.texts.edits import common

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]")
_ROUGE = re.compile(r"[^a-z0-9]+")
_WORD = re.compile(r"\w+", re.UNICODE)
# The tokenizer `13a` of mteval, which BLEU is usually counted with.
_13A = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
Grams = Counter[tuple[Hashable, ...]]


def words(text: str) -> list[str]:
    """The words of a text, in lower case.

    Example:
        >>> words("It's 30 days.")
        ['it', 's', '30', 'days']
    """
    return _WORD.findall(text.lower())


def answer_words(text: str) -> list[str]:
    """The words of an answer as SQuAD compares them: lower case, no punctuation, no articles (Rajpurkar 2016).

    Example:
        >>> answer_words("The Pro plan: 30 days!")
        ['pro', 'plan', '30', 'days']
    """
    return _ARTICLE.sub(" ", _PUNCTUATION.sub("", text.lower())).split()


def token_f1(said: str, wanted: str) -> float:
    """The harmonic mean of precision and recall of words, as SQuAD counts them; two empty answers are alike.

    Example:
        >>> token_f1("the refund window is 30 days", "30 days")
        0.5714285714285714
    """
    ours, theirs = answer_words(said), answer_words(wanted)
    if not ours or not theirs:
        return float(ours == theirs)
    return _f1(sum((Counter(ours) & Counter(theirs)).values()), len(ours), len(theirs))


def jaccard(a: str, b: str) -> float:
    """Words in both texts over words in either; 1 for two texts without words.

    Example:
        >>> jaccard("a b c", "b c d")
        0.5
    """
    ours, theirs = set(words(a)), set(words(b))
    return len(ours & theirs) / len(ours | theirs) if ours or theirs else 1.0


def bleu(said: str, wanted: Sequence[str], *, most: int = 4) -> float:
    """Sentence BLEU, 0 to 1, with 13a tokens, exponential smoothing and effective order.

    Source: Papineni et al. 2002; smoothing and order as in sacrebleu's `sentence_bleu` (Post 2018).

    Args:
        said: What was said.
        wanted: One or several texts that it should be like.
        most: The longest runs of words that count.

    Example:
        >>> round(bleu("the cat sat on the mat", ["the cat sat on the mat"]), 6)
        1.0
    """
    ours, theirs = _tokens_13a(said), [_tokens_13a(text) for text in wanted]
    if not ours or not any(theirs):
        return 0.0
    logs, order, smooth = 0.0, 0, 1.0
    for size in range(1, most + 1):
        total = len(ours) - size + 1
        if total <= 0:
            break
        counted = grams(ours, size)
        allowed: Grams = Counter()
        for text in theirs:
            allowed |= grams(text, size)
        right = sum((counted & allowed).values())
        order = size
        if right == 0:
            smooth *= 2
        if size == 1 and right == 0:
            return 0.0
        logs += math.log(right / total if right else 1 / (smooth * total))
    closest = min((abs(len(text) - len(ours)), len(text)) for text in theirs)[1]
    brevity = 1.0 if len(ours) >= closest else math.exp(1 - closest / len(ours))
    return brevity * math.exp(logs / order)


def gleu(said: str, wanted: Sequence[str], *, most: int = 4) -> float:
    """Google's BLEU: the lesser of precision and recall of all runs of 1 to 4 words; the best of several texts.

    Source: Wu et al. 2016, arXiv 1609.08144 §4.

    Example:
        >>> gleu("a b c", ["a b d"])
        0.5
    """
    ours = _all_grams(said.split(), most)
    best = 0.0
    for text in wanted:
        theirs = _all_grams(text.split(), most)
        longest = max(ours.total(), theirs.total())
        best = max(best, sum((ours & theirs).values()) / longest if longest else 0.0)
    return best


def chrf(said: str, wanted: Sequence[str], *, most: int = 6, beta: float = 2.0) -> float:
    """chrF2, 0 to 1: F of runs of 1 to 6 letters, recall counting twice; the best of several texts.

    Source: Popović 2015; averaged over the effective orders as in sacrebleu.

    Example:
        >>> chrf("abc", ["abc"])
        1.0
    """
    return max((_chrf("".join(said.split()), "".join(text.split()), most, beta) for text in wanted), default=0.0)


def rouge_n(said: str, wanted: str, *, size: int) -> float:
    """ROUGE-N: F1 of runs of `size` words, in lower case, letters a-z and digits only (Lin 2004).

    Example:
        >>> rouge_n("the cat sat", "the cat", size=1)
        0.8
    """
    ours, theirs = grams(_rouge_tokens(said), size), grams(_rouge_tokens(wanted), size)
    return _f1(sum((ours & theirs).values()), ours.total(), theirs.total())


def rouge_l(said: str, wanted: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of words (Lin 2004).

    Example:
        >>> rouge_l("the cat sat", "the dog sat")
        0.6666666666666666
    """
    ours, theirs = _rouge_tokens(said), _rouge_tokens(wanted)
    return _f1(common(ours, theirs), len(ours), len(theirs))


def meteor(said: str, wanted: str, *, alpha: float = 0.9, beta: float = 3.0, gamma: float = 0.5) -> float:
    """METEOR with exact matches of words: F weighted to recall, less a penalty for matches that are scattered.

    Source: Banerjee and Lavie 2005; parameters of Lavie and Agarwal 2007. Stems and synonyms are not matched, so it
    needs no language data; with them it can only be higher.

    Args:
        said: What was said.
        wanted: What it should be like.
        alpha: How much recall counts, 0 to 1.
        beta: How steeply the penalty grows with the share of pieces.
        gamma: The greatest penalty.

    Example:
        >>> round(meteor("on the mat sat the cat", "the cat sat on the mat"), 4)
        0.9375
    """
    ours, theirs = said.lower().split(), wanted.lower().split()
    pairs = _aligned(ours, theirs)
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(ours), len(pairs) / len(theirs)
    mean = precision * recall / (alpha * precision + (1 - alpha) * recall)
    pieces = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in pairwise(pairs))
    return mean * (1 - gamma * math.pow(pieces / len(pairs), beta))


def grams(items: Sequence[Hashable], size: int) -> Grams:
    """How often each run of `size` items occurs."""
    return Counter(tuple(items[place : place + size]) for place in range(len(items) - size + 1))


def _all_grams(items: Sequence[Hashable], most: int) -> Grams:
    found: Grams = Counter()
    for size in range(1, most + 1):
        found.update(grams(items, size))
    return found


def _aligned(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of equal words, each used once, in as few pieces as a greedy choice of the longest run finds."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(theirs):
        places.setdefault(word, []).append(place)
    free = set(range(len(theirs)))
    pairs: list[tuple[int, int]] = []
    start = 0
    while start < len(ours):
        best, length = -1, 0
        for place in places.get(ours[start], ()):
            run = 0
            while start + run < len(ours) and place + run in free and ours[start + run] == theirs[place + run]:
                run += 1
            if run > length:
                best, length = place, run
        pairs += [(start + step, best + step) for step in range(length)]
        free.difference_update(range(best, best + length))
        start += max(1, length)
    return pairs


def _chrf(said: str, wanted: str, most: int, beta: float) -> float:
    precision = recall = 0.0
    order = 0
    for size in range(1, most + 1):
        ours, theirs = grams(said, size), grams(wanted, size)
        if ours.total() and theirs.total():
            right = sum((ours & theirs).values())
            precision += right / ours.total()
            recall += right / theirs.total()
            order += 1
    if order == 0 or precision + recall == 0:
        return 0.0
    precision, recall = precision / order, recall / order
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _tokens_13a(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for old, new in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(old, new)
    text = f" {text} "
    for pattern, replacement in _13A:
        text = pattern.sub(replacement, text)
    return text.split()


def _rouge_tokens(text: str) -> list[str]:
    return [word for word in _ROUGE.split(text.lower()) if word]


def _f1(right: int, ours: int, theirs: int) -> float:
    return 2 * right / (ours + theirs) if right else 0.0
