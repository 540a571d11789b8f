"""Scorers of other packages as judges, and judges as theirs.

The packages are made up here, in the shape of the real ones; `adapters_real.py` holds what the real ones are asked,
in an environment of their own.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import types
import venv
from pathlib import Path

import pytest

from tracekit.cli import main
from tracekit.errors import UsageError
from tracekit_evaluators import Budget, Score, evaluate, load_judge
from tracekit_evaluators.adapters.foreign import meaning
from tracekit_evaluators.adapters.subjects import scores_now, subject_of
from tracekit_evaluators.asking import Desk, desk
from tracekit_evaluators.score import unscored

HERE = Path(__file__).parent
PACKAGES = {
    "autoevals": "autoevals",
    "phoenix": "arize-phoenix-evals",
    "openevals": "openevals",
    "deepeval": "deepeval",
    "ragas": "ragas",
    "mlflow": "mlflow",
}


def scored(spec, subject) -> dict[str, Score] | Score:
    """All scores of a judge by name, or the one that stands for its failure."""
    judge = load_judge(spec)

    async def go() -> dict[str, Score]:
        verdict = judge(subject)
        return judge.scores(await verdict if inspect.isawaitable(verdict) else verdict)

    try:
        return asyncio.run(go())
    except Exception as error:
        return unscored(error)


@pytest.fixture
def package(monkeypatch):
    """Puts made-up modules in the place of a package's."""

    def put(**modules: dict[str, object]) -> None:
        for name, members in modules.items():
            module = types.ModuleType(name.replace("__", "."))
            module.__version__ = "9.9"
            module.__path__ = []
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


@pytest.mark.parametrize("use", sorted(PACKAGES))
def test_a_package_that_is_not_installed_says_what_to_install(use: str, monkeypatch) -> None:
    top = "phoenix" if use == "phoenix" else use
    for loaded in [key for key in sys.modules if key.partition(".")[0] == top]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, top, None)
    with pytest.raises(UsageError, match=rf"pip install 'tracekit\[{PACKAGES[use]}\]'"):
        load_judge(f"{use}/Anything")


def test_the_command_line_says_in_one_line_what_to_install(store, record, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ragas", None)
    record("one")
    assert main(["eval", "--judge", "ragas/Faithfulness", "--store", str(store.location)]) == 2
    said = "tracekit: the package ragas is not installed; pip install 'tracekit[ragas]'\n"
    assert capsys.readouterr().err == said


def test_judges_for_packages_that_are_not_installed_say_what_to_install(monkeypatch) -> None:
    for module in ("pydantic_evals", "mlflow_scorers"):
        name = "mlflow" if module == "mlflow_scorers" else module
        for loaded in [key for key in sys.modules if key.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match="pip install 'tracekit"):
            __import__(f"tracekit_evaluators.adapters.{module}", fromlist=["x"])


class OpenAIScorer:
    """As autoevals' base of scorers that ask a model."""


def autoevals(package, **scorers: object) -> None:
    package(autoevals=scorers, autoevals__llm={"OpenAIScorer": OpenAIScorer})


class Result:
    def __init__(self, **told: object) -> None:
        self.__dict__.update(told)


def test_a_scorer_of_autoevals_is_given_texts_and_gives_a_number(package, subject) -> None:
    class Same:
        def __init__(self, weight: float = 1.0) -> None:
            self.weight = weight

        def eval(self, output, expected=None, **more):
            return Result(score=self.weight * (output == expected), metadata={"rationale": "compared"}, error=None)

    autoevals(package, Same=Same)
    found = scored('autoevals/Same?parameters={"weight": 0.5}', subject("yes", expected={"output": "yes"}))
    assert found["autoevals.Same"].value == 0.5
    assert found["autoevals.Same"].explanation == "compared"
    lacking = scored("autoevals/Same", subject("yes"))
    assert (lacking.status, lacking.value) == ("missing_input", None)
    with pytest.raises(UsageError, match="did you mean Same"):
        load_judge("autoevals/Samee")
    with pytest.raises(UsageError, match="Same cannot be made: TypeError"):
        load_judge('autoevals/Same?parameters={"height": 1}')
    with pytest.raises(UsageError, match="would be kept with every run"):
        load_judge('autoevals/Same?parameters={"api_key": "k"}')
    with pytest.raises(UsageError, match="api_key would be kept with every run"):
        load_judge('autoevals/Same?parameters={"client": {"use": "json:loads", "api_key": "k"}}')


def test_the_digest_knows_the_packages_version_and_the_parameters(package, subject) -> None:
    class Same:
        def __init__(self, weight: float = 1.0) -> None:
            self.weight = weight

    autoevals(package, Same=Same)
    first = load_judge("autoevals/Same")
    assert first.spec == "autoevals?scorer=Same"
    assert first.fingerprint["package_version"] == "9.9"
    assert load_judge(first.spec).digest == first.digest
    assert load_judge('autoevals/Same?parameters={"weight": 2}').digest != first.digest
    assert (
        load_judge({"use": "autoevals", "scorer": Same(2.0)}).digest
        != load_judge({"use": "autoevals", "scorer": Same(3.0)}).digest
    )
    assert (
        load_judge({"use": "autoevals", "scorer": Same(2.0)}).digest
        == load_judge({"use": "autoevals", "scorer": Same(2.0)}).digest
    )
    sys.modules["autoevals"].__version__ = "9.10"
    assert load_judge("autoevals/Same").digest != first.digest


def test_what_a_prompt_names_has_to_be_there_and_a_skipped_score_is_no_zero(package, subject) -> None:
    class Asks(OpenAIScorer):
        messages = ({"role": "user", "content": "{{input}} {{output}} {{criteria}} {{mood}}"},)
        render_args = types.MappingProxyType({"mood": "calm"})

        async def eval_async(self, **given):
            return Result(score=None if given["criteria"] == "skip" else 1, metadata={}, error=None)

    autoevals(package, Asks=Asks)
    assert load_judge("autoevals/Asks").declared.source == "llm"
    assert scored("autoevals/Asks", subject()).explanation == (
        "autoevals.Asks needs criteria, which the subject does not have"
    )
    assert scored('autoevals/Asks?arguments={"criteria": "short"}', subject())["autoevals.Asks"].value == 1.0
    assert scored('autoevals/Asks?arguments={"criteria": "skip"}', subject()).status == "not_applicable"


class JSONParseError(Exception):
    pass


class RequestTimeoutError(Exception):
    pass


class ContentFilterFinishReasonError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (JSONParseError("x"), "parse_error"),
        (ValueError("Evaluation LLM outputted an invalid JSON."), "parse_error"),
        (RequestTimeoutError("x"), "timeout"),
        (ContentFilterFinishReasonError("x"), "refused"),
        (ValueError("Faithfulness requires context value"), "missing_input"),
        (RuntimeError("boom"), "judge_error"),
    ],
)
def test_what_another_package_raises_is_told_apart_and_never_a_zero(error: Exception, status: str) -> None:
    score = unscored(meaning(error, "theirs"))
    assert (score.status, score.value) == (status, None)


def evaluator_of_phoenix(results, *, kind="code", direction="minimize", needs=("output",)):
    field = types.SimpleNamespace(is_required=lambda: True)
    schema = types.SimpleNamespace(model_fields=dict.fromkeys(needs, field))

    given_before: list[dict[str, object]] = []

    class One:
        input_schema = schema
        name = "one"
        seen = given_before

        def evaluate(self, given):
            self.seen.append(given)
            return results

        async def async_evaluate(self, given):
            return self.evaluate(given)

    One.kind, One.direction = kind, direction
    return One


def result_of_phoenix(name, score, label=None):
    return Result(name=name, score=score, label=label, explanation="why", metadata={})


def test_an_evaluator_of_phoenix_is_given_fields_and_says_its_direction(package, subject) -> None:
    one = evaluator_of_phoenix([result_of_phoenix("one", 0.25, "bad")], needs=("context", "tool_selection"))
    package(phoenix={}, phoenix__evals={}, phoenix__evals__metrics={"One": one})
    full = subject(tools=[("find", {"q": 1}, None)], documents=[{"id": "d", "content": "text"}])
    score = scored("phoenix/One", full)["phoenix.One"]
    assert (score.value, score.direction, score.explanation) == (0.25, "minimize", "why")
    assert score.metadata == {"label": "bad"}
    assert one.seen[0]["context"] == "text"
    assert json.loads(one.seen[0]["tool_selection"]) == [{"name": "find", "arguments": {"q": 1}}]
    assert scored("phoenix/One", subject()).status == "missing_input"


def test_several_scores_of_one_scorer_keep_their_names(package, subject) -> None:
    results = [result_of_phoenix("a", 1), result_of_phoenix("b", None, "fine"), result_of_phoenix("a", 0)]
    package(phoenix={}, phoenix__evals={}, phoenix__evals__metrics={"Many": evaluator_of_phoenix(results, kind="llm")})
    found = scored("phoenix/Many", subject())
    assert {name: score.value for name, score in found.items()} == {
        "phoenix.Many.a": 1.0,
        "phoenix.Many.b": "fine",
        "phoenix.Many.a.3": 0.0,
    }


def test_an_evaluator_of_openevals_is_made_with_a_prompt_of_the_package(package, subject) -> None:
    def create_llm_as_judge(*, prompt, model):
        def judge(*, inputs, outputs, reference_outputs):
            return {"key": "score", "score": outputs == reference_outputs, "comment": f"{prompt} {model}"}

        return judge

    def exact_match(*, outputs, reference_outputs, **more):
        return {"key": "exact_match", "score": outputs == reference_outputs, "comment": None}

    made = {"create_llm_as_judge": create_llm_as_judge, "exact_match": exact_match}
    package(openevals=made, openevals__prompts={"SOME_PROMPT": "{inputs} {outputs} {reference_outputs}"})
    spec = {"use": "openevals/create_llm_as_judge", "parameters": {"prompt": "SOME_PROMPT", "model": "m"}}
    score = scored(spec, subject("a", expected={"output": "b"}))["openevals.llm_as_judge"]
    assert (score.value, score.explanation) == (False, "{inputs} {outputs} {reference_outputs} m")
    assert scored(spec, subject("a")).status == "missing_input"
    assert scored("openevals/exact_match", subject("a", expected={"output": "a"}))["openevals.exact_match"].passed


class Metric:
    """As a metric of deepeval: it keeps its verdict in itself."""

    def __init__(self, threshold: float = 0.5, model: object = None) -> None:
        self.threshold, self.model = threshold, model
        self.score = self.reason = self.score_breakdown = None
        self.evaluation_cost, self.input_tokens, self.output_tokens = 0.25, 10, 2

    async def a_measure(self, case, _show_indicator):
        if case.actual_output == "broken":
            raise JSONParseError("not JSON")
        self.score, self.reason = len(case.tools_called) / 2, f"{case.input}; {case.retrieval_context}"

    def is_successful(self) -> bool:
        return self.score >= self.threshold


def deepeval(package) -> None:
    kinds = {"LLMTestCase": types.SimpleNamespace, "ToolCall": types.SimpleNamespace}
    package(deepeval={}, deepeval__metrics={"Metric": Metric}, deepeval__test_case=kinds)


def test_a_metric_of_deepeval_is_given_a_test_case_and_tells_what_it_cost(package, subject) -> None:
    deepeval(package)
    spec = 'deepeval/Metric?parameters={"threshold": 0.4, "model": "m"}'
    full = subject(tools=[("find", {"q": 1}, None)], documents=[{"id": "d", "content": "text"}])
    budget = Budget(usd=0.5)
    with desk(Desk(budget=budget)):
        score = scored(spec, full)["deepeval.Metric"]
        assert (score.value, score.passed, score.explanation) == (0.5, True, "a question; ['text']")
        assert (score.cost_usd, score.input_tokens, score.output_tokens) == (0.25, 10, 2)
        assert scored(spec, subject("broken")).status == "parse_error"
        assert budget.spent_usd == 0.25
        assert scored(spec, subject())["deepeval.Metric"].value == 0.0
        assert scored(spec, subject()).status == "budget_exceeded"
    assert scored(spec, subject(input=None)).status == "missing_input"


def test_a_scorer_that_asks_a_model_may_not_take_for_ever(package, subject) -> None:
    class Slow(Metric):
        async def a_measure(self, case, _show_indicator):
            await asyncio.Event().wait()

    deepeval(package)
    sys.modules["deepeval.metrics"].Slow = Slow
    spec = {"use": "deepeval/Slow", "timeout": 0.01, "parameters": {"model": "m"}}
    assert scored(spec, subject()).status == "timeout"


def test_a_metric_of_ragas_is_called_with_what_it_takes(package, subject) -> None:
    class Overlap:
        async def ascore(self, response: str, retrieved_contexts: list, reference: str = "none"):
            return Result(value=float("nan") if response == "?" else len(retrieved_contexts), reason=reference)

    package(ragas={}, ragas__metrics={}, ragas__metrics__collections={"Overlap": Overlap})
    documents = [{"id": "d", "content": "text"}]
    score = scored("ragas/Overlap", subject(documents=documents, expected={"output": "it"}))["ragas.Overlap"]
    assert (score.value, score.explanation) == (1.0, "it")
    assert scored("ragas/Overlap", subject(documents=documents))["ragas.Overlap"].explanation == "none"
    assert scored("ragas/Overlap", subject()).status == "missing_input"
    assert scored("ragas/Overlap", subject("?", documents=documents)).status == "parse_error"


class ScorerOfMlflow:
    name = "theirs"

    def __call__(self, *, inputs=None, outputs=None, expectations=None, trace=None):
        return None

    def run(self, *, inputs, outputs, expectations):
        if expectations is None:
            error = Result(error_code="NO", error_message="nothing expected")
            return Result(name="theirs", value=None, error=error, rationale=None, source=None, metadata=None)
        value = "yes" if outputs == expectations["expected_response"] else "no"
        return Result(name="theirs", value=value, error=None, rationale=str(inputs), source=None, metadata=None)


class NeedsTrace(ScorerOfMlflow):
    def __call__(self, *, trace):
        return None


def test_a_scorer_of_mlflow_says_yes_or_no_and_its_error_is_one(package, subject) -> None:
    scorers = {"Theirs": ScorerOfMlflow, "NeedsTrace": NeedsTrace}
    package(mlflow={}, mlflow__genai={}, mlflow__genai__scorers=scorers, mlflow__genai__judges={"Judge": Metric})
    score = scored("mlflow/Theirs", subject("a", expected={"output": "a"}))["mlflow.Theirs"]
    assert (score.value, score.explanation) == (True, "{'question': 'a question'}")
    assert scored("mlflow/Theirs", subject("a", expected={"output": "b"}))["mlflow.Theirs"].passed is False
    lost = scored("mlflow/Theirs", subject("a"))
    assert (lost.status, lost.value, lost.explanation) == ("judge_error", None, "mlflow.Theirs: NO: nothing expected")
    assert scored("mlflow/NeedsTrace", subject("a")).status == "missing_input"


def test_a_parameter_may_be_made_by_a_call(package, subject) -> None:
    class Names:
        input_schema, kind, direction = None, "code", "maximize"

        def __init__(self, llm: dict[str, object]) -> None:
            self.llm = llm

        def evaluate(self, given):
            return [result_of_phoenix("names", self.llm["model"])]

    package(phoenix={}, phoenix__evals={"LLM": dict}, phoenix__evals__metrics={"Names": Names})
    spec = {"use": "phoenix/Names", "parameters": {"llm": {"use": "phoenix.evals:LLM", "model": 0.75}}}
    assert scored(spec, subject())["phoenix.Names"].value == 0.75
    again = load_judge(load_judge(spec).spec)
    assert again.digest == load_judge(spec).digest


def test_a_subject_is_made_of_what_another_framework_tells() -> None:
    made = subject_of({"q": 1}, "42", expected={"contains": "42"}, case_id="one", seconds=2.0)
    assert (made.input, made.output, made.case.id) == ('{"q": 1}', "42", "one")
    assert made.trace.duration_ns == 2_000_000_000
    assert scores_now(load_judge("contains"), made)["contains"].value is True


def test_a_judge_answers_within_an_event_loop_that_cannot_wait() -> None:
    async def later(subject) -> bool:
        await asyncio.sleep(0)
        return "42" in subject.output_text

    async def go() -> dict[str, Score]:
        return scores_now(load_judge(later), subject_of("q", "42"))

    assert asyncio.run(go())["later"].value is True


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_real_packages(tmp_path: Path) -> None:
    """Those that are light, in an environment of their own that lacks nothing of this one."""
    python = _environment()
    dev = [sysconfig.get_path("purelib"), str(HERE)]
    code = (
        f"import site, sys; [site.addsitedir(each) for each in {dev!r}]; import pytest; sys.exit(pytest.main({_WORDS}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, "8 passed" in done.stdout) == (0, True), done.stdout[-3000:] + done.stderr[-2000:]


_WORDS = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", os.devnull, str(HERE / "adapters_real.py")]


def _environment() -> Path:
    requirements = HERE / "requirements-adapters.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tracekit-tests" / "venvs"
    version = "{}.{}".format(*sys.version_info)
    folder = cache / f"adapters-{version}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock-adapters").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for old in cache.glob(f"adapters-{version}-*"):
                shutil.rmtree(old)
            venv.create(folder, with_pip=True)
            words = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", "--retries", "1"]
            python = folder / "bin" / "python"
            done = subprocess.run(
                [python, *words, "-r", str(requirements)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                shutil.rmtree(folder)
                if os.environ.get("CI"):
                    pytest.fail(f"the environment for other evaluation packages cannot be made:\n{done.stderr}")
                pytest.skip(f"needs packages that cannot be installed here: {done.stderr[-300:]}")
            (folder / "complete").touch()
    return folder / "bin" / "python"


def test_what_another_packages_scorer_asks_is_a_span_of_unknown_cost_linked_to_what_is_judged(
    package, store, record
) -> None:
    judged = record("a", output="fine")
    made = evaluator_of_phoenix([result_of_phoenix("one", 1)], kind="llm")
    package(phoenix={}, phoenix__evals={}, phoenix__evals__metrics={"One": made})
    run = evaluate(store, judges=["phoenix/One"], progress=False)
    (found,) = store.sql("SELECT trace_id, links FROM spans WHERE step = 'evaluator'").fetchall()
    assert judged in str(found[1])
    trace = store.trace(str(found[0]))
    assert [(span.name, span.step) for span in trace.spans] == [
        ("judge phoenix.One", "evaluator"),
        ("ask phoenix.One", "llm"),
    ]
    (call,) = trace.model_calls
    assert (call.cost_usd, call.input_tokens, call.model) == (None, None, None)
    assert run.summary["judge_cost_usd"] is None
