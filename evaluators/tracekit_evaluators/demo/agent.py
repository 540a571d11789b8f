"""The demo's agent: looks a question up in the standard library's docstrings and answers from what it found.

It is a program of its own, as an agent is: `python -m tracekit_evaluators.demo.agent bm25` answers all
questions, and where its traces go is for tracekit's settings to say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

import tracekit
from tracekit.errors import TracekitError
from tracekit_evaluators.demo.corpus import Document, corpus, summary
from tracekit_evaluators.demo.questions import QUESTIONS
from tracekit_evaluators.demo.ranking import Ranking, best, bm25, overlap

NAME = "stdlib-helper"
VERSIONS: Mapping[str, Mapping[str, object]] = {
    "keyword": {"ranking": "overlap", "documents": 5},
    "bm25": {"ranking": "bm25", "k1": 1.5, "b": 0.75, "documents": 5},
}

Found = Mapping[str, object]
Answer = Callable[[str, Sequence[Found]], str]


def quote(_question: str, found: Sequence[Found]) -> str:
    """An answer without a model: the best document's symbol, and what it says first."""
    if not found:
        return "I found nothing about that in the standard library."
    symbol, text = str(found[0]["id"]), str(found[0]["content"])
    return f"Use `{symbol}`: {summary(symbol, text)}"


class Helper:
    """Answers questions about the standard library.

    Args:
        documents: What it can look things up in.
        ranking: Says how well each document fits a question.
        most: How many documents it reads.
        answer: Turns a question and documents into an answer.
    """

    def __init__(self, documents: Sequence[Document], ranking: Ranking, *, most: int, answer: Answer = quote) -> None:
        self._documents = documents
        self._ranking = ranking
        self._most = most
        self._answer = answer

    @tracekit.agent(name=NAME)
    def ask(self, question: str) -> str:
        """The answer to a question."""
        return self.answer(question, self.search(question))

    @tracekit.retriever(name="search_docstrings")
    def search(self, query: str) -> list[Found]:
        """The documents that fit a query best, best first."""
        found = best(self._ranking, query, self._documents, self._most)
        return [
            {"id": document.symbol, "content": document.text, "score": round(score, 4)} for document, score in found
        ]

    @tracekit.step(name="answer", kind="task")
    def answer(self, question: str, found: list[Found]) -> str:
        """An answer from what was found."""
        return self._answer(question, found)


def helper(parameters: Mapping[str, object], *, answer: Answer = quote) -> Helper:
    """The agent that the parameters of one of `VERSIONS` describe.

    Example:
        >>> helper(VERSIONS["bm25"]).ask("How do I pad a number with leading zeros?")[:16]
        'Use `str.zfill`:'
    """
    documents = corpus()
    if parameters["ranking"] == "bm25":
        ranking = bm25(documents, k1=float(str(parameters["k1"])), b=float(str(parameters["b"])))
    else:
        ranking = overlap(documents)
    return Helper(documents, ranking, most=int(str(parameters["documents"])), answer=answer)


def keyword_version() -> Callable[[str], str]:
    """The version `keyword` as one function, which is how it is packaged and served."""
    return helper(VERSIONS["keyword"]).ask


def bm25_version() -> Callable[[str], str]:
    """The version `bm25` as one function, which is how it is packaged and served."""
    return helper(VERSIONS["bm25"]).ask


def main(argv: Sequence[str] | None = None) -> int:
    """Answer all questions as one version of the agent, traced.

    Args:
        argv: Command-line words; the process's own when not given.
    """
    parser = argparse.ArgumentParser(description="Answer the demo's questions as one version of its agent.")
    parser.add_argument("version", choices=VERSIONS)
    parser.add_argument("--session", default=None, help="the session that the traces belong to")
    parser.add_argument("--model", help="a model that answers from the documents, asked at OPENAI_BASE_URL")
    arguments = parser.parse_args(argv)
    label = arguments.version if arguments.model is None else f"{arguments.version}-{arguments.model}"
    parameters = {**VERSIONS[arguments.version], "model": arguments.model}
    try:
        answer = quote if arguments.model is None else _asking(arguments.model)
        tracekit.init(project="tracekit-demo", agent=NAME, agent_version=label)
        tracekit.register_agent(NAME, version=label, parameters=parameters)
        _ask_all(helper(parameters, answer=answer), arguments.session)
    except TracekitError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this module is a program
        return error.exit_code
    finally:
        tracekit.shutdown()
    return 0


def _asking(model: str) -> Answer:
    from tracekit_evaluators.demo.model import asking  # noqa: PLC0415 - without a model no HTTP client is needed

    return asking(model)


def _ask_all(agent: Helper, session: str | None) -> None:
    failed = 0
    with tracekit.session(session):
        for question in QUESTIONS:
            with tracekit.case(question.case):
                try:
                    agent.ask(question.text)
                except TracekitError:
                    # One answer that a model owes is an error in its trace; three in a row are a server that is gone.
                    failed += 1
                    if failed == 3:
                        raise
                else:
                    failed = 0


if __name__ == "__main__":
    raise SystemExit(main())
