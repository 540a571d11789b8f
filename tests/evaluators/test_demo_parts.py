"""The demo's corpus, questions and rankings: the same on every machine, and fair."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit_evaluators.demo.corpus import MODULES, Document, corpus, summary
from tracekit_evaluators.demo.questions import QUESTIONS
from tracekit_evaluators.demo.ranking import best, bm25, overlap, words

BOOKS = (
    Document("bread", "Knead the dough; let the dough rest."),
    Document("soup", "Boil water with salt."),
    Document("encyclopedia", "Water, salt, bread, dough, oven, fish, onion, rice, tea and everything else there is."),
)


def test_sixty_questions_each_with_a_symbol_of_its_own() -> None:
    assert len(QUESTIONS) == 60
    assert len({question.case for question in QUESTIONS}) == 60
    assert len({question.symbol for question in QUESTIONS}) == 60


def test_every_question_can_be_answered_on_this_interpreter() -> None:
    known = {document.symbol for document in corpus()}
    assert [question.symbol for question in QUESTIONS if question.symbol not in known] == []


def test_no_question_gives_the_symbol_away() -> None:
    assert [question.case for question in QUESTIONS if question.symbol in question.text] == []


def test_symbols_are_unique_and_texts_are_there() -> None:
    documents = corpus()
    assert len(documents) > 2000
    assert len({document.symbol for document in documents}) == len(documents)
    assert all(document.text.strip() == document.text != "" for document in documents)


def test_a_thing_with_two_names_is_told_once_under_the_shorter() -> None:
    symbols = {document.symbol for document in corpus()}
    assert {"random.choice", "os.path.join", "str.zfill", "functools.lru_cache"} <= symbols
    assert not {"random.Random.choice", "posixpath.join", "builtins.str.zfill"} & symbols


def test_the_corpus_is_the_same_in_every_process_and_loads_quietly() -> None:
    code = "from tracekit_evaluators.demo.corpus import corpus; print(*(each.symbol for each in corpus()), sep='\\n')"
    lines = [sys.executable, "-W", "error", "-c", code]
    first, second = (
        subprocess.run(lines, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}) for seed in "17"
    )
    assert first.stderr == ""
    assert first.stdout == second.stdout
    assert first.stdout.startswith("ArithmeticError\n")


def test_modules_that_do_something_on_import_are_left_out() -> None:
    assert not {"antigravity", "this", "idlelib", "turtle", "tkinter"} & set(MODULES)


def test_without_docstrings_it_says_what_to_do() -> None:
    code = "from tracekit_evaluators.demo.corpus import corpus; corpus()"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert "run it without -OO" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("One\n  line.\n\nMore.", "One line."),
        ("cut(x) -> y\n\nCuts x.", "Cuts x."),
        ("cut(x) -> y", "cut(x) -> y"),
        ("", ""),
    ],
)
def test_a_summary_is_what_a_docstring_says_first(text: str, said: str) -> None:
    assert summary("tool.cut", text) == said


def test_names_come_apart_and_stop_words_go() -> None:
    assert words("How do I use a csv.DictReader, not copy_tree()?") == ["csv", "dict", "reader", "not", "copy", "tree"]


def test_overlap_counts_words_once_each_and_likes_long_texts() -> None:
    assert list(overlap(BOOKS)("dough dough salt water")) == [1.0, 2.0, 3.0]


def test_bm25_prefers_the_text_that_is_about_it() -> None:
    ranking = bm25(BOOKS, k1=1.5, b=0.75)
    assert [document.symbol for document, _ in best(ranking, "How do I boil water?", BOOKS, 3)] == [
        "soup",
        "encyclopedia",
    ]


def test_equals_keep_the_order_of_the_corpus_and_nothing_comes_of_nothing() -> None:
    ranking = overlap(BOOKS)
    assert [document.symbol for document, _ in best(ranking, "salt", BOOKS, 3)] == ["soup", "encyclopedia"]
    assert best(ranking, "zeppelin", BOOKS, 3) == []


@pytest.mark.parametrize("make", [overlap, lambda books: bm25(books, k1=1.5, b=0.75)], ids=["overlap", "bm25"])
@given(question=st.text(max_size=60))
def test_any_question_gets_at_most_k_documents_best_first(make, question: str) -> None:
    found = best(make(BOOKS), question, BOOKS, 2)
    scores = [score for _, score in found]
    assert len(found) <= 2
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
