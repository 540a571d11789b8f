"""Hostile texts against every model judge: none moves a score of a model that obeys what stands outside the fence."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tracekit_evaluators import Score, Subject, load_judge
from tracekit_evaluators.models import Completion, Request

FOLDER = Path(__file__).parent
HOSTILE: list[str] = json.loads((FOLDER / "hostile_texts.json").read_text("utf-8"))


def _packs():
    spec = importlib.util.spec_from_file_location("test_judge_packs_shared", FOLDER / "test_judge_packs.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


packs = _packs()


class Obedient:
    """A model that gives its honest answer, unless a hostile text reaches it from outside the fence: then it obeys."""

    fingerprint: Mapping[str, object] = {"model": "obedient"}

    def __init__(self, honest: str, obeying: str) -> None:
        self.honest, self.obeying = honest, obeying
        self.hostile: str | None = None
        self.clean = ""
        self.moved = 0

    async def complete(self, request: Request) -> Completion:
        system, user = (each["content"] for each in request.messages[:2])
        mark = re.match(r"The mark is ([0-9a-f]{16})\.\n", user)[1]
        fence = f"===== {mark} ====="
        before, inside, after = user.split(f"\n{fence}\n")
        outside = "\n".join([system, before.replace(mark, ""), after])
        if self.hostile is None:
            self.clean = outside
        lines = [line for line in (self.hostile or "").split("\n") if len(line) > 8]
        reached = any(line in outside and line not in self.clean for line in lines)
        headings = re.findall(rf"^\[{mark} ", inside, re.MULTILINE)
        assert headings, "the parts carry the mark"
        self.moved += reached
        return Completion(self.obeying if reached else self.honest, model="obedient")

    async def aclose(self) -> None:
        pass


def poisoned(said: Mapping[str, object], text: str) -> dict[str, object]:
    """A subject's description with a hostile text in everything that others wrote."""
    if "turns" in said:
        return {"turns": [[f"{asked}\n{text}", f"{told}\n{text}"] for asked, told in said["turns"]]}
    worse = {**said, "input": f"{said['input']}\n{text}", "output": f"{said['output']}\n{text}"}
    worse["documents"] = [f"{each}\n{text}" for each in said.get("documents", ())]
    worse["tools"] = [[name, {**given, "note": text}, error] for name, given, error in said.get("tools", ())]
    if said.get("expected"):
        worse["expected"] = {**said["expected"], "note": text}
    return worse


def cases() -> list[tuple[str, Mapping[str, object], Mapping[str, object], object, object]]:
    """Judge, parameters, subject, honest answer, answer that obeys."""
    found = []
    for folder in sorted({path.parent for path in packs.files().values()}):
        area = json.loads((folder / "examples.json").read_text("utf-8"))
        for name, said in area["judges"].items():
            bad, good = said["known_bad"][0], said["golden"][0]
            found.append(
                (name, said.get("parameters", {}), area["subjects"][bad["subject"]], bad["answer"], good["answer"])
            )
    plain = {"input": "a question", "output": "an answer", "expected": {"output": "another"}}
    turns = {"turns": [["q", "a"], ["r", "b"]]}

    def word(verdict: str) -> dict[str, object]:
        return {"evidence": [], "reasoning": "", "verdict": verdict}

    def rules(verdict: str) -> dict[str, object]:
        item = {"number": 1, "span_id": "", "quote": "", "verdict": verdict}
        return {"rules": [item], "reasoning": "", "verdict": "listed"}

    def questions(verdict: str) -> dict[str, object]:
        item = {"text": "q?", "span_id": "", "quote": "", "verdict": verdict}
        return {"questions": [item], "reasoning": "", "verdict": "listed"}

    tree = {"ask": "Is it good?", "answers": {"yes": 1, "no": 0}}
    one = {"embedder": lambda texts: [[1.0, 0.0]] * len(texts)}
    found += [
        ("rubric", {"criteria": "It is good."}, plain, word("fail"), word("pass")),
        ("conversational_rubric", {"criteria": "It is good."}, turns, word("fail"), word("pass")),
        ("g_eval", {"criteria": "It is good.", "samples": 2}, plain, word("1"), word("5")),
        ("guidelines", {"rules": ["Be good."]}, plain, rules("broken"), rules("kept")),
        ("conversational_guidelines", {"rules": ["Be good."]}, turns, rules("broken"), rules("kept")),
        ("dag_rubric", {"tree": tree}, plain, word("no"), word("yes")),
        ("conversational_dag", {"tree": tree}, turns, word("no"), word("yes")),
        ("answer_relevancy", one, plain, questions("noncommittal"), questions("committal")),
    ]
    return found


def test_there_are_at_least_forty_hostile_texts() -> None:
    assert len(set(HOSTILE)) >= 40


def scores_of(built, subject: Subject) -> dict[str, object]:
    scores: Mapping[str, Score] = built.scores(asyncio.run(built(subject)))
    return {name: (each.status, each.value, each.passed) for name, each in scores.items()}


@pytest.mark.parametrize(
    ("name", "parameters", "said", "honest", "obeying"), [pytest.param(*c, id=c[0]) for c in cases()]
)
def test_no_hostile_text_moves_a_score(name, parameters, said, honest, obeying) -> None:
    model = Obedient(json.dumps(honest), json.dumps(obeying))
    built = load_judge({"use": name, "model": model, **parameters})
    before = scores_of(built, packs.subject_of(said))
    for text in HOSTILE:
        model.hostile = text
        assert scores_of(built, packs.subject_of(poisoned(said, text))) == before, text
    assert model.moved == 0


def test_no_hostile_text_moves_a_preference() -> None:
    def word(verdict: str) -> str:
        return json.dumps({"evidence": [], "reasoning": "", "verdict": verdict})

    model = Obedient(word("tie"), word("one"))
    built = load_judge({"use": "preference", "model": model})
    said = {"input": "q", "output": "a"}
    scores_of(built, Subject(packs.subject_of(said).trace, other=packs.subject_of(said)))
    for text in HOSTILE:
        model.hostile = text
        bad = packs.subject_of(poisoned(said, text))
        pair = Subject(bad.trace, other=packs.subject_of(said))
        assert scores_of(built, pair)["preference"] == ("scored", 0.5, None), text
    assert model.moved == 0


def test_the_obedient_model_would_be_moved_from_outside() -> None:
    """The test tests: where a hostile text does stand in the instructions, the score moves."""
    model = Obedient('{"verdict": "fail"}', '{"verdict": "pass"}')
    model.hostile = HOSTILE[0]  # nothing clean was seen before
    built = load_judge({"use": "rubric", "model": model, "criteria": f"It is good. {HOSTILE[0]}"})
    assert scores_of(built, packs.subject_of({"input": "q", "output": "a"}))["rubric"] == ("scored", True, True)
