"""Judges that compare meanings by vectors, alone or together with a model's word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tracekit.errors import UsageError
from tracekit_evaluators.asked import Asked, Lists, Prompt
from tracekit_evaluators.asked.forms import ItemList, Reading
from tracekit_evaluators.embeddings import Embedder, cosine
from tracekit_evaluators.embeddings import resolve as resolve_embedder
from tracekit_evaluators.judge import Call, judge
from tracekit_evaluators.models import Request, resolve
from tracekit_evaluators.packs.pack import files, prompt_of
from tracekit_evaluators.score import MissingInput, Score
from tracekit_evaluators.subject import Subject, as_text

_QUESTIONS = """Write {count} different questions to which the output, as it stands, would be a direct answer.
Take them from the output alone: the user's own words are not shown. The verdict on each is "committal" where the
output really answers that question, and "noncommittal" where it evades it ("I don't know", "that depends")."""


@judge(needs=("output", "expected.output"), values="[-1,1]")
def embedding_similarity(
    *, embedder: object = None, expected: str | None = None, at_least: float | None = None
) -> Call:
    """How near the output is in meaning to the expected one: the cosine of their vectors.

    Args:
        embedder: `minilm` (the extra `embeddings`), a function from texts to vectors, or `package.module:function`.
        expected: What to compare with; the case's `output` or `answer` when not given.
        at_least: The lowest cosine that passes; no line is drawn when not given.

    Raises:
        UsageError: The extra is not installed.
    """
    return _Similarity(resolve_embedder(embedder), expected, at_least)


@judge(source="llm", needs=("input", "output"), values="[0,1]")
def answer_relevancy(
    *,
    model: object = None,
    embedder: object = None,
    questions: int = 3,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 2000,
    sample: int = 0,
) -> Call:
    """How near the questions that the output answers are to the one that was asked, by their vectors.

    A model writes questions from the output alone; the value is their mean cosine with the input (0 at the lowest),
    times the share of them that the output does not evade.

    Args:
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        embedder: `minilm` (the extra `embeddings`), a function from texts to vectors, or `package.module:function`.
        questions: How many questions to write.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the output the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The extra is not installed, or no question is to be written.
    """
    if questions < 1:
        raise UsageError(f"answer_relevancy writes at least one question, not {questions}")
    client = resolve(model, base_url=base_url, timeout=timeout)
    verdicts = {"committal": "The output answers it.", "noncommittal": "The output evades it."}
    one = ItemList("questions", "one item for each question", verdicts, {"committal": 1.0, "noncommittal": 0.0})
    prompt = Prompt(_QUESTIONS.format(count=questions), Lists((one,)), show=("output",))
    asked = Asked("answer_relevancy", prompt, client, max_chars=max_chars, max_tokens=max_tokens, sample=sample)
    return _Relevancy(asked, resolve_embedder(embedder))


@judge(source="llm", needs=("output", "expected.output"), values="[0,1]")
def answer_correctness(
    *,
    model: object = None,
    embedder: object = None,
    weight: float = 0.75,
    beta: float = 1.0,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 4000,
    sample: int = 0,
) -> Call:
    """How far the output's claims and the expected ones agree, together with how near both are in meaning.

    The value is weight·F + (1 - weight)·cosine (0 at the lowest); `answer_correctness.f` is F-beta of the claims alone,
    as the model sees them, and `answer_correctness.similarity` the cosine.

    Args:
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        embedder: `minilm` (the extra `embeddings`), a function from texts to vectors, or `package.module:function`.
            Needed only where the weight is below 1.
        weight: How much the claims count, from 0 to 1.
        beta: How much recall of the expected claims weighs against precision.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.

    Raises:
        UsageError: The weight is not from 0 to 1, or the extra is not installed.
    """
    if not 0 <= weight <= 1:
        raise UsageError(f"weight={weight:g} is no share; it is from 0 to 1")
    client = resolve(model, base_url=base_url, timeout=timeout)
    options: dict[str, object] = {"mode": "f1", "beta": beta}
    prompt = prompt_of(files()["factual_correctness"])
    asked = Asked("answer_correctness", prompt, client, max_chars, max_tokens, sample, options)
    return _Correctness(asked, resolve_embedder(embedder) if weight < 1 else None, weight)


@judge(source="llm", needs=("output", "documents"), values="[0,1]")
def rag_triad(
    *,
    model: object = None,
    base_url: str | None = None,
    timeout: float | None = None,
    max_chars: int = 60_000,
    max_tokens: int = 4000,
    sample: int = 0,
) -> Call:
    """The least of three: documents that fit the question, an answer that fits them, one that fits the question.

    `rag_triad.context_relevance`, `.groundedness` and `.answer_relevance` are the shares that the judges
    `context_relevance`, `faithfulness` and `relevance_judge` give.

    Args:
        model: A model's name, spec, function or `ChatModel`; the setting `judge_model` when not given.
        base_url: The server, where it is not the setting `openai_base_url`.
        timeout: Seconds that one attempt may take.
        max_chars: How much of the trace the model is shown, in characters.
        max_tokens: The longest answer, in tokens.
        sample: Which of several independent verdicts this is, from 0.
    """
    client = resolve(model, base_url=base_url, timeout=timeout)
    return _Triad(
        tuple(
            Asked(name, prompt_of(files()[pack]), client, max_chars, max_tokens, sample)
            for name, pack in _TRIAD.items()
        )
    )


_TRIAD = {
    "context_relevance": "context_relevance",
    "groundedness": "faithfulness",
    "answer_relevance": "relevance_judge",
}


@dataclass(frozen=True)
class _Similarity:
    embedder: Embedder
    expected: str | None
    at_least: float | None

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The embedder."""
        return self.embedder.fingerprint

    def __call__(self, subject: Subject) -> Score:
        """The cosine of the output and the expected one."""
        wanted = as_text(subject.expect("output", "answer")) if self.expected is None else self.expected
        vectors = self.embedder.embed([subject.output_text, wanted])
        value = cosine(vectors[0], vectors[1])
        return Score(value, passed=None if self.at_least is None else value >= self.at_least)


@dataclass(frozen=True)
class _Relevancy:
    asked: Asked
    embedder: Embedder

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompt, the model and the embedder."""
        return {**self.asked.fingerprint, **self.embedder.fingerprint}

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked."""
        return self.asked.requests(subject)

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.asked.aclose()

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """The questions' mean cosine with the input, times the share that is not evaded."""
        if subject.input is None:
            raise MissingInput("nobody recorded what the agent was asked")
        outcome = await self.asked.outcome(subject)
        score = self.asked.scored(outcome, subject)
        if not isinstance(score, Score) or score.status != "scored" or not isinstance(outcome.reading, Reading):
            return score
        texts = [item.text for item in outcome.reading.lists["questions"]]
        vectors = await asyncio.to_thread(self.embedder.embed, [subject.input, *texts])
        near = sum(max(0.0, cosine(vectors[0], each)) for each in vectors[1:]) / len(texts)
        committal = float(score.value or 0.0)
        told = {**score.metadata, "similarity": near, "committal": committal}
        return replace(score, value=near * committal, metadata=told)


@dataclass(frozen=True)
class _Correctness:
    asked: Asked
    embedder: Embedder | None
    weight: float

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompt, the model and the embedder."""
        return {**self.asked.fingerprint, **({} if self.embedder is None else self.embedder.fingerprint)}

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked."""
        return self.asked.requests(subject)

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.asked.aclose()

    async def __call__(self, subject: Subject) -> Score | dict[str, Score]:
        """The weighted sum of F and the cosine, with both beside it."""
        verdict = await self.asked(subject)
        if not isinstance(verdict, dict):
            return verdict
        whole = verdict["answer_correctness"]
        f = float(whole.value or 0.0)
        found = {"answer_correctness": whole, "answer_correctness.f": Score(f)}
        if self.embedder is not None:
            texts = [subject.output_text, as_text(subject.expect("output", "answer", "facts"))]
            vectors = await asyncio.to_thread(self.embedder.embed, texts)
            near = max(0.0, cosine(vectors[0], vectors[1]))
            found["answer_correctness"] = replace(whole, value=self.weight * f + (1 - self.weight) * near)
            found["answer_correctness.similarity"] = Score(near)
        return found


@dataclass(frozen=True)
class _Triad:
    parts: tuple[Asked, ...]

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """The prompts and the model."""
        digests = {part.name: part.prompt.digest for part in self.parts}
        return {"prompt_digests": digests, "model": dict(self.parts[0].model.fingerprint)}

    def requests(self, subject: Subject) -> list[Request]:
        """What the model would be asked: three times."""
        return [request for part in self.parts for request in part.requests(subject)]

    async def aclose(self) -> None:
        """Free the model's connections."""
        await self.parts[0].aclose()

    async def __call__(self, subject: Subject) -> dict[str, Score]:
        """The three shares, and the least of them where all three are known."""
        verdicts = await asyncio.gather(*(part(subject) for part in self.parts))
        found = {
            part.name: verdict[part.name] if isinstance(verdict, dict) else verdict
            for part, verdict in zip(self.parts, verdicts, strict=True)
        }
        unknown = next((score for score in found.values() if score.status != "scored"), None)
        if unknown is not None:
            whole = Score(status=unknown.status, explanation=unknown.explanation)
        else:
            least = min(found, key=lambda name: float(found[name].value or 0.0))
            whole = Score(float(found[least].value or 0.0), explanation=f"the least is {least}")
        return {"rag_triad": whole, **{f"rag_triad.{name}": score for name, score in found.items()}}
