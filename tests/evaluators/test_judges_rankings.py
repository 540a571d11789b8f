"""Rankings, distributions, formulas and tables in the output, against what is expected and against scipy."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit_evaluators import Score, Subject, load_judge
from tracekit_evaluators.judges.rankings import earth_mover, jensen_shannon, kendall, spearman, total_variation
from tracekit_evaluators.judges.tables import rows_of
from tracekit_evaluators.score import MissingInput, NotApplicable
from tracekit_evaluators.texts import formulas

rankings = st.integers(2, 9).flatmap(lambda n: st.permutations(range(n)))
weights = st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda each: sum(each) > 0.01)


def scores(spec: str | dict[str, object], subject: Subject) -> dict[str, Score]:
    built = load_judge(spec)
    return built.scores(built.call(subject))


def value(spec: str | dict[str, object], subject: Subject) -> object:
    return next(iter(scores(spec, subject).values())).value


@settings(deadline=None)
@given(rankings)
def test_correlations_are_scipys(places: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    right = list(range(len(places)))
    assert spearman(places) == pytest.approx(stats.spearmanr(right, places).statistic)
    assert kendall(places) == pytest.approx(stats.kendalltau(right, places).statistic)
    assert spearman(sorted(places)) == kendall(sorted(places)) == 1.0
    assert spearman(sorted(places)[::-1]) == pytest.approx(-1.0)


@settings(deadline=None)
@given(weights, st.randoms(use_true_random=False))
def test_distances_are_scipys(given_weights: list[float], chance) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    stats = pytest.importorskip("scipy.stats")
    p = [each / sum(given_weights) for each in given_weights]
    q = list(p)
    chance.shuffle(q)
    places = range(len(p))
    assert jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q, 2), abs=1e-7)
    assert earth_mover(p, q) == pytest.approx(stats.wasserstein_distance(places, places, p, q), abs=1e-9)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))
    assert total_variation(p, q) <= math.sqrt(2 * math.log(2)) * jensen_shannon(p, q) + 1e-9  # Pinsker's bound
    assert [each(p, p) for each in (jensen_shannon, total_variation, earth_mover)] == [0, 0, 0]


def test_a_ranking_in_the_output_is_compared_by_what_both_hold(subject) -> None:
    found = scores("rank_correlation", subject('["b", "a", "x", "c"]', expected={"ranking": ["a", "b", "c", "d"]}))
    assert found["rank_correlation"].value == pytest.approx(0.5)
    assert found["rank_correlation.coverage"].value == 0.75
    listed = subject("1. a\n2. c\n3. b", expected={"ranking": ["a", "b", "c"]})
    assert value("rank_correlation?method=kendall", listed) == pytest.approx(1 / 3)
    with pytest.raises(NotApplicable, match="1 of the 2"):
        value("rank_correlation", subject('["a"]', expected={"ranking": ["a", "b"]}))


def test_documents_are_a_ranking(subject) -> None:
    told = subject("x", documents=[{"id": "b"}, {"id": "a"}], expected={"ranking": ["a", "b"]})
    assert value("rank_correlation?of=documents", told) == -1.0


def test_a_distribution_is_compared_by_shares(subject) -> None:
    told = subject('```json\n{"yes": 3, "no": 1}\n```', expected={"distribution": {"yes": 0.25, "no": 0.75}})
    assert value("distribution_distance?method=total_variation", told) == 0.5
    assert value("distribution_distance?method=earth_mover", told) == 0.5
    assert value("distribution_distance", told) == pytest.approx(0.4344, abs=1e-4)
    found = scores("distribution_distance?method=total_variation&max=0.4", told)
    assert found["distribution_distance"].passed is False


@pytest.mark.parametrize("output", ["none", "{}", '{"a": -1}', '{"a": true}', '{"a": 0}', "[1]", '{"a": NaN}'])
def test_what_is_no_distribution_has_no_distance(output: str, subject) -> None:
    with pytest.raises(NotApplicable):
        value("distribution_distance", subject(output, expected={"distribution": {"a": 1}}))
    with pytest.raises(MissingInput):
        value("distribution_distance", subject('{"a": 1}', expected={"distribution": output}))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("(x+1)^2", "x^2 + 2x + 1", True),
        ("(x+1)^2", "x^2 + 2x + 2", False),
        (r"\frac{1}{2}", "0.5", True),
        (r"\frac{\sqrt{4}}{2x}", "1/x", True),
        ("1/3", "0.333", False),
        ("sin(x)^2 + cos^2(x)", "1", True),
        ("2(x+y)", "2x + 2y", True),
        ("x y", "y x", True),
        ("50%", "1/2", True),
        ("-2^2", "-4", True),
        ("2^3^2", "512", True),
        ("e^{i}", "e^i", True),
        ("ln(e^x)", "x", True),
        (r"\sqrt{x^2}", "x", True),
        ("3 \\cdot 4", "12", True),
        ("1,000", "1000", True),
        ("x_1 + x_2", "x_2 + x_1", True),
        ("x_1", "x_2", False),
        ("2 \\pi r", "6.283185307179586 r", True),
    ],
)
def test_formulas_are_equal_however_they_are_written(a: str, b: str, same: bool) -> None:
    assert formulas.equal(a, b) is same
    assert formulas.equal(b, a) is same
    assert formulas.equal(a, a)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["+", "-", "*"])
    return st.tuples(inner, signs, inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})")


made = st.recursive(st.sampled_from(["x", "y", "2", "3", "0.5"]), _grown, max_leaves=6)


def _exactly(formula: str, x: int, y: int) -> Fraction:
    return eval(formula.replace("0.5", "half"), {"x": x, "y": y, "half": Fraction(1, 2)})


@settings(deadline=None)
@given(made, made)
def test_polynomials_are_equal_when_they_are_on_a_grid_finer_than_their_degree(a: str, b: str) -> None:
    grid = [(x, y) for x in range(7) for y in range(7)]
    assert formulas.equal(a, b) is all(_exactly(a, x, y) == _exactly(b, x, y) for x, y in grid)


@given(st.text(alphabet="x12+-*/^()%. {}\\frac$sqrt", max_size=25))
def test_any_text_is_a_formula_or_says_why_not(text: str) -> None:
    try:
        equal = formulas.equal(text, text)
    except ValueError:
        return
    assert equal


@pytest.mark.parametrize("text", ["", "the answer", "1 +", "(1", "2)", "9" * 3000, "x = y = z"])
def test_what_is_no_formula_is_no_match(text: str, subject) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        formulas.equal(text, "1")
    assert value("math_equivalent?expected=1", subject(text)) is False


def test_the_formula_is_found_in_the_output(subject) -> None:
    expected = {"output": "x^2+2x+1"}
    assert value("math_equivalent", subject(r"So it is \boxed{(x+1)^{2}}.", expected=expected)) is True
    assert value("math_equivalent", subject("First $x$, then $(1+x)(x+1)$ follows", expected=expected)) is True
    assert value("math_equivalent?take=first", subject("First $x$, then $(1+x)^2$", expected=expected)) is False
    assert value("math_equivalent", subject("y = (1+x)^2", expected=expected)) is True
    with pytest.raises(MissingInput, match="no formula"):
        value("math_equivalent", subject("1", expected={"output": "some words here"}))


def test_a_huge_power_costs_no_time(subject) -> None:
    assert value("math_equivalent?expected=1", subject("9^9^9^9^9")) is False
    assert value("math_equivalent?expected=1", subject("((" * 600)) is False
    assert value("math_equivalent?expected=1", subject("1/0")) is False


TABLE = "id,name,n\n1,Ada,3\n2,Ben,4\n"


def test_a_table_equals_itself_in_any_form_and_order(subject) -> None:
    markdown = "| id | name | n |\n|---|:--|--:|\n| 2 | Ben | 4.0 |\n| 1 | Ada | 3 |\n"
    listed = json.dumps([{"id": 2, "name": "Ben", "n": 4}, {"id": 1, "name": "Ada", "n": 3}])
    for said in (TABLE, markdown, listed, f"```csv\n{TABLE}```"):
        for spec in ("table_diff", "table_diff?keys=id"):
            found = scores(spec, subject(said, expected={"output": TABLE}))
            assert [each.value for each in found.values()] == [1.0, 1.0, 1.0], (said, spec)


def test_wrong_missing_and_additional_cells_count(subject) -> None:
    said = "id,name,n\n1,Ada,9\n3,Cem,1\n"
    found = scores("table_diff?keys=id", subject(said, expected={"output": TABLE}))
    # Of three rows one is there with one of its two cells right.
    assert found["table_diff"].value == pytest.approx(0.5 / 3)
    assert (found["table_diff.precision"].value, found["table_diff.recall"].value) == (0.0, 0.0)
    assert found["table_diff"].explanation.startswith("id=1: n is '9', not '3'")
    whole = scores("table_diff", subject("id,name,n\n1,Ada,3\n", expected={"output": TABLE}))
    assert [each.value for each in whole.values()] == [0.5, 1.0, 0.5]
    assert value('table_diff?keys=id&columns=["name"]', subject(said, expected={"output": TABLE})) == pytest.approx(
        1 / 3
    )


def test_what_is_no_table_is_worth_nothing_and_an_expected_one_is_a_missing_input(subject) -> None:
    found = scores("table_diff", subject("no table", expected={"output": TABLE}))
    assert [each.value for each in found.values()] == [0.0, 0.0, 0.0]
    with pytest.raises(MissingInput, match="no table"):
        value("table_diff", subject(TABLE, expected={"output": "no table"}))
    with pytest.raises(ValueError, match="different numbers"):
        rows_of("a,b\n1\n")
    with pytest.raises(UsageError):
        load_judge("table_diff?tolerance=-1")


cells = st.sampled_from(["1", "2", "x", ""])
tables = st.lists(st.fixed_dictionaries({"a": cells, "b": cells}), max_size=5)


@given(tables, tables, st.randoms(use_true_random=False))
def test_the_order_of_rows_says_nothing_and_one_row_more_never_raises_precision(said, wanted, chance) -> None:
    assume(wanted)
    judge = load_judge({"use": "table_diff", "expected": wanted})

    def shares(rows: list[dict[str, str]]) -> list[float]:
        from types import SimpleNamespace

        return [each.value for each in judge.scores(judge.call(SimpleNamespace(output_text=json.dumps(rows)))).values()]

    before = shares(said)
    mixed = list(said)
    chance.shuffle(mixed)
    assert shares(mixed) == pytest.approx(before)
    after = shares([*said, {"a": "no such", "b": "row"}])
    assert after[0] <= before[0] + 1e-12
    assert after[1] <= before[1]
    assert after[2] == before[2]


@pytest.mark.parametrize(
    ("text", "fine"), [("a: 1\nb: [2]", True), ("- x", True), ("just text", False), ("a: [", False), ("", False)]
)
def test_yaml_is_read_and_never_built(text: str, fine: bool, subject) -> None:
    assert value("parses?format=yaml", subject(text)) is fine
    assert value("parses?format=yaml", subject("a: !!python/object/apply:os.system ['touch never']")) is True
