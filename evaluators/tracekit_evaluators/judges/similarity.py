"""How like the expected output the output is: measures of texts as judges, one name each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracekit.errors import UsageError
from tracekit_evaluators.judge import Call, JudgeFactory, judge
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject, as_text
from tracekit_evaluators.texts import edits, overlap

Measure = Callable[[str, Sequence[str]], float]
Factory = JudgeFactory[...]


def _judge(name: str, about: str, measure: Measure, *, values: str = "[0,1]", minimize: bool = False) -> Factory:
    """A factory of judges by one measure."""

    def build(*, expected: str | None = None, at_least: float | None = None, ignore_case: bool = False) -> Call:
        if at_least is not None and not isinstance(at_least, (int, float)):
            raise UsageError(f"{name} needs a number in at_least, not {at_least!r}")

        def call(subject: Subject) -> Score:
            said, wanted = subject.output_text, _wanted(subject, expected)
            if ignore_case:
                said, wanted = said.casefold(), [text.casefold() for text in wanted]
            value = measure(said, wanted)
            good = None if at_least is None else (value <= at_least if minimize else value >= at_least)
            return Score(value, passed=good)

        return call

    build.__doc__ = (
        f"{about}\n\n    Args:\n"
        "        expected: What is expected of every case; the case's `output`, else its `outputs`, when not given.\n"
        f"        at_least: The {'greatest' if minimize else 'least'} value that passes; none does when not given.\n"
        "        ignore_case: Whether letters count as equal whatever their case.\n"
    )
    build.__name__ = build.__qualname__ = name
    decorate = judge(
        name=name,
        needs=("output", "expected.output"),
        values=values,
        direction="minimize" if minimize else "maximize",
        version=f"1 {measure.__name__}",
    )
    return decorate(build)


def _wanted(subject: Subject, given: str | None) -> list[str]:
    if given is not None:
        return [as_text(given)]
    wanted = subject.expect("output", "outputs")
    several = (subject.expected or {}).get("output") is None
    texts = [as_text(each) for each in wanted] if several and isinstance(wanted, list) else [as_text(wanted)]
    if not texts:
        raise MissingInput("the case expects one of no outputs")
    return texts


def _best(measure: Callable[[str, str], float], name: str) -> Measure:
    def best(said: str, wanted: Sequence[str]) -> float:
        return max(measure(said, text) for text in wanted)

    best.__name__ = name
    return best


def _least_errors(said: Sequence[str], wanted: Sequence[Sequence[str]]) -> float:
    wanted = [each for each in wanted if each]
    if not wanted:
        raise MissingInput("the expected output is empty, so nothing can be counted against it")
    return min(edits.error_rate(said, each) for each in wanted)


def _word_errors(said: str, wanted: Sequence[str]) -> float:
    return _least_errors(overlap.words(said), [overlap.words(text) for text in wanted])


def _letter_errors(said: str, wanted: Sequence[str]) -> float:
    return _least_errors(said, wanted)


levenshtein = _judge(
    "levenshtein",
    "1 minus the fewest changes of letters between output and expected output, over the longer one.",
    _best(edits.ratio, "ratio"),
)
jaro_winkler = _judge(
    "jaro_winkler",
    "Jaro-Winkler similarity of output and expected output, for names and other short texts.",
    _best(edits.jaro_winkler, "jaro_winkler"),
)
lcs = _judge(
    "lcs",
    "Twice the longest common subsequence of letters over both lengths.",
    _best(edits.common_ratio, "common_ratio"),
)
token_jaccard = _judge(
    "token_jaccard", "Words in both output and expected output over words in either.", _best(overlap.jaccard, "jaccard")
)
token_f1 = _judge(
    "token_f1",
    "F1 of the words of output and expected output, as SQuAD counts them.",
    _best(overlap.token_f1, "token_f1"),
)
bleu = _judge("bleu", "Sentence BLEU of the output, as sacrebleu counts it.", overlap.bleu)
gleu = _judge("gleu", "Google's BLEU: the lesser of precision and recall of runs of 1 to 4 words.", overlap.gleu)
chrf = _judge("chrf", "chrF2 of the output: F of runs of 1 to 6 letters, as sacrebleu counts it.", overlap.chrf)
meteor = _judge("meteor", "METEOR of the output with exact matches of words.", _best(overlap.meteor, "meteor"))
rouge_1 = _judge(
    "rouge_1",
    "ROUGE-1: F1 of the words of output and expected output.",
    _best(lambda a, b: overlap.rouge_n(a, b, size=1), "rouge_1"),
)
rouge_2 = _judge(
    "rouge_2", "ROUGE-2: F1 of pairs of words.", _best(lambda a, b: overlap.rouge_n(a, b, size=2), "rouge_2")
)
rouge_l = _judge(
    "rouge_l", "ROUGE-L: F1 of the longest common subsequence of words.", _best(overlap.rouge_l, "rouge_l")
)
word_error_rate = _judge(
    "word_error_rate",
    "Changes of words that lead from the expected output to the output, over its words (WER).",
    _word_errors,
    values="≥ 0",
    minimize=True,
)
character_error_rate = _judge(
    "character_error_rate",
    "Changes of letters that lead from the expected output to the output, over its letters (CER).",
    _letter_errors,
    values="≥ 0",
    minimize=True,
)
