"""The demo's agent in four versions, and the cases that they are judged by: `python agent.py VERSION cases.jsonl`."""

import json
import sys
from pathlib import Path

import tracekit
from tracekit_evaluators.demo.agent import NAME, Helper, helper
from tracekit_evaluators.demo.corpus import corpus
from tracekit_evaluators.demo.judging import dataset
from tracekit_evaluators.demo.questions import QUESTIONS
from tracekit_evaluators.demo.ranking import bm25

BM25 = {"ranking": "bm25", "k1": 1.5, "b": 0.75, "documents": 5}


def careless() -> Helper:
    """A slip of a sign: the documents that fit worst come first."""
    ranking = bm25(corpus(), k1=1.5, b=0.75)
    return Helper(corpus(), lambda question: [-score for score in ranking(question)], most=5)


VERSIONS = {
    "main": lambda: helper(BM25),
    "refactored": lambda: helper(BM25),
    "simpler": lambda: helper({"ranking": "overlap", "documents": 5}),
    "careless": careless,
}

version, cases = sys.argv[1], Path(sys.argv[2])
cases.write_text("".join(json.dumps(case) + "\n" for case in dataset()), encoding="utf-8")
tracekit.init(project="ci-gate", agent=NAME, agent_version=version)
tracekit.register_agent(NAME, version=version)
agent = VERSIONS[version]()
for question in QUESTIONS:
    with tracekit.case(question.case):
        agent.ask(question.text)
tracekit.shutdown()
