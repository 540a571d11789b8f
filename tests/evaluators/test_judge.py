"""Functions become judges: with names, parameters, digests, and specs that build them again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tracekit.errors import PluginError, UsageError
from tracekit_evaluators import Judge, JudgeFactory, Score, Subject, judge, load_judge

LIMIT = 3


@judge
def plain(subject: Subject) -> bool:
    """Whether it is plain."""
    return len(subject.output or "") < LIMIT


@judge(direction="minimize", version="2", needs=("output",), values="{0,1}")
def at_most(*, words: int = 10):
    """Whether there are few words."""

    def call(subject: Subject) -> Score:
        return Score(len(subject.output_text.split()) <= words)

    return call


def helper(text: str) -> str:
    return text.strip()


def test_a_function_of_a_subject_is_a_judge(subject) -> None:
    assert isinstance(plain, Judge)
    assert (plain.name, plain.declared.direction, plain.declared.about) == ("plain", "maximize", "Whether it is plain.")
    assert plain(subject("ab")) is True


def test_a_function_of_keywords_is_a_factory(subject) -> None:
    assert isinstance(at_most, JudgeFactory)
    built = at_most(words=2)
    assert built.parameters == {"words": 2}
    assert built(subject("one two three")).value is False
    assert at_most().parameters == {"words": 10}
    assert at_most.__doc__ == "Whether there are few words."


def test_async_functions_are_judges_too() -> None:
    @judge
    async def later(subject: Subject) -> bool:
        return True

    assert later.name == "later"


def test_equal_code_and_parameters_have_one_digest_and_others_another() -> None:
    assert at_most(words=10).digest == at_most().digest
    assert len({at_most(words=n).digest for n in (1, 2, 3)}) == 3
    assert at_most(words=1).digest != plain.digest


def test_the_digest_follows_what_the_function_uses(tmp_path: Path, monkeypatch) -> None:
    """A changed helper, constant or body changes the digest; a changed function beside it does not."""
    source = (
        "import re\nN = {n}\nP = re.compile({p!r})\ndef near(text):\n    return {near}\ndef far():\n    return {far}\n"
    )
    source += "def mine(subject):\n    return bool(near(subject.output)) and N and P\n"
    monkeypatch.syspath_prepend(tmp_path)

    def digest(name: str, **changes: object) -> str:
        values = {"n": 1, "p": "a", "near": "text", "far": 1, **changes}
        (tmp_path / f"{name}.py").write_text(source.format(**values))
        return load_judge(f"{name}:mine").digest

    first = digest("judges_a")
    assert digest("judges_b", far=2) == first
    changed = [digest("judges_c", n=2), digest("judges_d", p="b"), digest("judges_e", near="text + text")]
    assert len({first, *changed}) == 4
    for name in [name for name in sys.modules if name.startswith("judges_")]:
        del sys.modules[name]


def test_a_spec_builds_the_judge_again() -> None:
    built = load_judge("latency?max=2.5&name=fast")
    assert (built.name, built.spec, built.parameters) == ("fast", "latency?max=2.5&name=fast", {"max": 2.5})
    assert load_judge(built.spec).digest == built.digest
    assert load_judge({"use": "latency", "max": 2.5}).digest == built.digest


def test_any_function_can_be_named_by_its_module() -> None:
    assert load_judge("tracekit_evaluators.judges.error:error").name == "error"
    assert load_judge("os.path:basename").name == "basename"


def test_a_function_with_parameters_takes_them_from_the_spec(tmp_path: Path, monkeypatch, subject) -> None:
    (tmp_path / "my_judges.py").write_text(
        "def short(subject, *, chars=100):\n    return len(subject.output) <= chars\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_judge("my_judges:short")(subject("x" * 50)) is True
    assert load_judge("my_judges:short?chars=10")(subject("x" * 50)) is False
    assert load_judge("my_judges:short?chars=10").digest != load_judge("my_judges:short").digest
    with pytest.raises(PluginError, match="unexpected keyword argument 'words'"):
        load_judge("my_judges:short?words=1")
    del sys.modules["my_judges"]


def test_renaming_a_judge_renames_all_of_its_scores() -> None:
    found = load_judge("tool_names?name=tools").scores({"tool_names": True, "tool_names.f1": 1.0, "other": 0.5})
    assert list(found) == ["tools", "tools.f1", "other"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_judge", "there is no judge called 'no_such_judge'; installed: "),
        ("latency?maximum=2", "unexpected keyword argument 'maximum'"),
        ("latency?max=soon", "latency needs a number as max, not 'soon'"),
        ("regex", "missing a required argument: 'pattern'"),
        ("regex?pattern=(", "cannot be compiled"),
        ("loop?times=1", "whole number of at least 2"),
        ("retrieved?k=0", "whole number of at least 1"),
        ("tokens?kind=all", "tokens has no kind 'all'; one of total"),
        ("steps?kind=tools", "steps has no kind 'tools'; one of agent"),
        ("tool_names?mode=sorted", "tool_names has no mode 'sorted'; one of exact"),
        ("contains?any=[]", "contains needs texts in any"),
        ("json_schema?schema=/nowhere.json", "cannot read a schema"),
        ('json_schema?schema={"type":"nothing"}', "this is no JSON Schema"),
        ("rubric?criteria=x", "give model=NAME or set TRACEKIT_JUDGE_MODEL"),
        ("rubric?criteria=x&model=m", "set OPENAI_BASE_URL"),
        ("rubric?criteria=x&model=m&base_url=localhost:1", "begins with http"),
        ('rubric?criteria=x&model=m&levels=["one"]', "2 to 5 levels"),
        ("rubric?criteria=%20&model=m", "rubric needs criteria"),
        ("latency?name=", "empty name"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(spec: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_judge(spec)
    assert words in str(caught.value)


def test_what_is_no_judge_is_refused() -> None:
    with pytest.raises(UsageError, match="not a int"):
        load_judge(3)
    with pytest.raises(UsageError, match="no direction"):
        judge(direction="up")
