"""Finding traces gives what the view `traces` gives, while it reads less."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.errors import StoreError, UsageError
from tracekit_collector import trace_search, views
from tracekit_collector.conditions import needed, needed_of, told_by
from tracekit_collector.lake import to_arrow
from tracekit_collector.store import Store

DAY = 86_400 * 10**9
FIRST = 1_763_942_400 * 10**9


def span(trace: int, number: int, at: int, **columns: object) -> dict[str, object]:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=at // 1000)
    fixed = {"trace_id": f"{trace:032x}", "span_id": f"{trace:08x}{number:08x}", "start_ns": at, "start_time": moment}
    plain = {"name": "step", "step": "span", "status": "unset", "duration_ns": 1_000_000, "kind": "internal"}
    return {**fixed, **plain, **columns}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Sixty days of 3,000 traces: with roots and without, some that last hours, some that failed."""
    rng = random.Random(5)
    rows: list[dict[str, object]] = []
    for trace in range(3_000):
        begun = FIRST + trace * 60 * DAY // 3_000 + rng.randrange(10**9)
        lasts = 3 * 3600 * 10**9 if trace % 97 == 0 else 10**9
        rooted = trace % 11 != 0
        whose = {"session_id": f"s-{trace // 4}", "user_id": f"u-{trace % 7}", "agent_name": f"bot-{trace % 3}"}
        for number in range(8):
            parent = None if rooted and number == 0 else f"{trace:08x}{0:08x}"
            failed = trace % 13 == 0 and number == 0
            at = begun + lasts * number // 8
            told = {"parent_span_id": parent, "status": "error" if failed else "unset"}
            step = {"step": "llm", "input_tokens": number} if number in (2, 4) else {}
            rows.append(span(trace, number, at, **told, **whose, **step))
    rng.shuffle(rows)
    with Store.open(tmp_path_factory.mktemp("search") / "S") as opened:
        for start in range(0, len(rows), 8_000):
            opened.append("spans", rows[start : start + 8_000])
        yield opened


def viewed(store: Store, condition: str, limit: int, offset: int = 0) -> list[tuple[object, ...]]:
    query = "SELECT trace_id, start_ns, status, spans, session_id, input_tokens FROM traces WHERE "
    return store.sql(f"{query}{condition} ORDER BY start_ns DESC, trace_id LIMIT {limit} OFFSET {offset}").fetchall()


COLUMNS = "trace_id, start_ns, status, spans, session_id, input_tokens"


@pytest.mark.parametrize("limit", [3, 400])
@pytest.mark.parametrize(
    "where",
    [
        "true",
        "session_id = 's-700'",
        "agent_name = 'bot-1' AND status = 'error'",
        "agent_name = 'bot-1' OR status = 'error'",
        "user_id IN ('u-1', 'u-2') AND spans > 3",
        "duration_ms > 1000",
        "duration_ms > 10000000",
        "duration_ms >= 9450001 AND errors >= 1",
        "spans >= 9",
        "input_tokens > 6",
        "spans = 8 AND tool_calls > 0",
        "model_calls > 2 OR duration_ms > 10000000",
        "start_ns < 1763942400000000000",
        "agent_name = 'bot-1' AND start_time < TIMESTAMP '2025-11-25'",
        "name = 'no such'",
        "start_time < TIMESTAMP '2025-12-01' -- early ones",
    ],
)
def test_a_condition_finds_what_the_view_has(store: Store, where: str, limit: int) -> None:
    found = store.find(where=where, limit=limit, columns=COLUMNS).fetchall()
    assert found == viewed(store, f"({where}\n)", limit)


@pytest.mark.parametrize(
    ("where", "few"),
    [
        ("duration_ms > 9450000", True),  # three hours but for the last eighth
        ("spans >= 8 AND errors > 0 AND agent_name = 'bot-1'", True),
        ("input_tokens > 7 OR spans > 9", True),
        ("cost_usd > 0", True),
        ("start_time < TIMESTAMP '2025-11-26' AND user_id = 'u-3'", True),
        ("name LIKE 'no such%' OR (user_id = 'u-3' AND lower(agent_name) IN ('bot-1'))", True),
        ("repeat IS NULL AND spans + 1 = 9", False),
    ],
)
def test_only_traces_that_can_be_meant_are_put_together(
    store: Store, monkeypatch: pytest.MonkeyPatch, where: str, few: bool
) -> None:
    monkeypatch.setattr(trace_search, "_FIRST_ROWS", 100)
    told: list[bool] = []
    ask = trace_search.TraceSearch._meant

    def noted(*given: object) -> dict[str, int] | None:
        found = ask(*given)
        told.append(found is not None)
        return found

    monkeypatch.setattr(trace_search.TraceSearch, "_meant", noted)
    assert store.find(where=where, limit=300, columns=COLUMNS).fetchall() == viewed(store, where, 300)
    assert set(told) == {few}


@pytest.mark.parametrize(
    "where",
    [
        "name IS NULL",
        "coalesce(name, 'a') = 'a'",
        "NOT (name = 'a')",
        "'a' IN (name, 'a')",
        "'a' IN ('b', 'a') OR name = 'a'",
        "name = user_id",
        "status = 'ok'",
        "name BETWEEN 'a' AND 'b'",
        "name = 'a' OR repeat = 1",
        "name = 'a' -- or not",
        "name = e'\\\\x41'",
        "name",
        "length('a') > 0",
        "1 = 1",
        "name = (SELECT 'a')",
    ],
)
def test_what_may_be_true_of_a_trace_without_such_a_span_is_not_taken_for_a_sign(where: str) -> None:
    assert not needed_of(where)


_LEAVES = st.sampled_from(
    [
        *("name = 'n-1'", "name LIKE 'n-%'", "input ILIKE '%B%'", "user_id NOT LIKE 'u%'", "status = 'error'"),
        *("errors > 0", "spans >= 2", "duration_ms > 2", "contains(output, 'x')", "error_type <> 'E'", "input IS NULL"),
        *("agent_name IN ('a', 'b')", "starts_with(error_message, 'bad')", "input_tokens > 3", "tool_calls = 1"),
    ]
)
_CONDITIONS = st.recursive(
    _LEAVES, lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["AND", "OR"]), inner), max_leaves=5
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Two hundred small traces of all sorts: with roots and without, with texts and without."""
    rng = random.Random(9)
    rows = []
    for trace in range(200):
        for number in range(rng.randrange(1, 5)):
            told: dict[str, object] = {name: rng.choice([None, *some]) for name, some in _TOLD.items()}
            told |= {"name": f"n-{rng.randrange(3)}", "status": rng.choice(["unset", "ok", "error"])}
            told["step"] = rng.choice(["span", "agent", "llm", "tool"])
            parent = None if number == 0 and trace % 5 else f"{trace:08x}{0:08x}"
            rows.append(span(trace, number, FIRST + trace * 10**9 + number, parent_span_id=parent, **told))
    with Store.open(tmp_path_factory.mktemp("mixed") / "S") as opened:
        opened.append("spans", rows)
        yield opened


_TOLD: dict[str, tuple[object, ...]] = {
    "input": ("abc", "xyz"),
    "output": ("abc", "xyz"),
    "user_id": ("u-1", "v-1"),
    "agent_name": ("a", "c"),
    "error_type": ("E", "F"),
    "status_message": ("bad luck", "good"),
    "input_tokens": (1, 5),
    "duration_ns": (1_000_000, 5_000_000),
}


@given(_CONDITIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_condition_finds_what_the_view_has(mixed: Store, where: str) -> None:
    assert mixed.find(where=where, limit=7, columns=COLUMNS).fetchall() == viewed(mixed, where, 7)


def test_errors_and_a_session_find_what_the_view_has(store: Store) -> None:
    assert store.find(errors=True, limit=30, columns=COLUMNS).fetchall() == viewed(store, "status = 'error'", 30)
    equal = {"session_id": "s-520", "agent_name": "bot-2"}
    expected = viewed(store, "session_id = 's-520' AND agent_name = 'bot-2'", 50)
    assert store.find(equal=equal, columns=COLUMNS).fetchall() == expected
    assert len(expected) == 1


def test_a_trace_that_began_long_before_its_newest_span_is_listed_by_its_beginning(tmp_path: Path) -> None:
    hour = 3600 * 10**9
    long = [span(1, each, FIRST + each * hour, parent_span_id="0" * 16 if each else None) for each in range(5)]
    short = [span(each, 0, FIRST + 2 * 3600 * 10**9 + each) for each in range(2, 4)]
    crowd = [span(each, 0, FIRST - 40 * DAY + each * 10**9) for each in range(10, 30_010)]
    with Store.open(tmp_path / "S") as store:
        store.append("spans", [*long, *short, *crowd])
        found = store.find(limit=3, columns="trace_id, spans").fetchall()
    assert [(int(str(trace), 16), spans) for trace, spans in found] == [(3, 1), (2, 1), (1, 5)]


def test_pages_follow_one_another_and_repeat_nothing(store: Store) -> None:
    pages: list[tuple[object, ...]] = []
    before = None
    for _ in range(6):
        page = store.find(limit=70, before=before, columns=COLUMNS).fetchall()
        pages += page
        before = (int(str(page[-1][1])), str(page[-1][0]))
    assert pages == viewed(store, "true", 420)
    assert store.find(limit=10, offset=33, columns=COLUMNS).fetchall() == viewed(store, "true", 10, 33)


BRIEF = "trace_id, start_ns, start_time, spans, session_id, user_id, agent_name, agent_version, project, case_id"


@pytest.mark.parametrize("limit", [5, 400, None])
@pytest.mark.parametrize("which", ["store", "mixed"])
def test_what_spans_tell_without_their_calls_is_what_the_view_has(
    which: str, limit: int | None, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(which)
    where = "trace_id NOT IN (SELECT trace_id FROM spans WHERE step = 'llm' AND input_tokens = 3) AND spans > 1"
    found = store.find(where=where, limit=limit, columns=BRIEF).fetchall()
    tail = "" if limit is None else f" LIMIT {limit}"
    query = f"SELECT {BRIEF}, name, cost_usd FROM traces WHERE {where} ORDER BY start_ns DESC, trace_id{tail}"
    assert found == [row[:-2] for row in store.sql(query).fetchall()]
    assert found


def test_every_column_of_traces_is_known_to_take_calls_or_not(store: Store) -> None:
    columns = set(store.sql("SELECT * FROM traces LIMIT 0").columns)
    assert columns == {"trace_id"} | set(views._OF_SPANS) | (trace_search._OF_CALLS - {"columns"})


@pytest.mark.parametrize("where", [None, "status = 'error'"])
def test_stretches_of_time_follow_one_another_and_repeat_nothing(store: Store, where: str | None) -> None:
    cuts = [FIRST + day * DAY for day in (0, 7, 8, 40, 61)]
    pages = [
        store.find(where=where, limit=None, columns="trace_id", since=low, before=(high, "~")).fetchall()
        for low, high in pairwise(cuts)
    ]
    whole = store.find(where=where, limit=None, columns="trace_id").fetchall()
    assert [row for page in reversed(pages) for row in page] == whole
    assert all(pages)


def test_since_leaves_older_traces_out(store: Store) -> None:
    since = FIRST + 30 * DAY
    found = store.find(since=since, limit=None, columns=COLUMNS).fetchall()
    assert found == viewed(store, f"start_ns >= {since}", 10_000)


def test_a_wrong_condition_is_said(store: Store) -> None:
    with pytest.raises(UsageError, match="no_such_column"):
        store.find(where="no_such_column = 1")
    with pytest.raises(UsageError, match="cannot be found by 'colour'"):
        store.find(equal={"colour": "red"})


def test_a_query_that_takes_too_long_is_stopped(store: Store) -> None:
    with pytest.raises(UsageError, match=r"longer than 0\.2 s"):
        store.sql("SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 7", seconds=0.2)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{lake}/spans/date=2025-11-24/x.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/x.csv'",
        "SET threads = 1",
        "CREATE TABLE t (a INT)",
        "DROP VIEW traces",
        "SELECT 1; SELECT 2",
        "WITH new AS (INSERT INTO runs SELECT * FROM runs RETURNING *) SELECT * FROM new",
        "SELECT * FROM read_text('/etc/hostname')",
        "ATTACH '{lake}/x.db'",
    ],
)
def test_a_query_can_only_read_the_store(store: Store, query: str) -> None:
    with pytest.raises((UsageError, StoreError)):
        store.sql(query.format(lake=store.lake.folder))
    assert not list(store.lake.folder.rglob("x.*"))
    assert store.sql("SELECT count(*) FROM spans").fetchone() == (24_000,)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["session_id", "agent_name", "name", "duration_ms"]),
            st.sampled_from(["=", "<>"]),
            st.text("ab' \\-/=", max_size=5),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([" AND ", " OR "]),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_condition_tells_is_true_of_it(parts: list[tuple[str, str, str]], joined: str) -> None:
    literals = [(name, sign, "'" + text.replace("'", "''") + "'") for name, sign, text in parts]
    told = told_by(joined.join(f"{name} {sign} {text}" for name, sign, text in literals))
    certain = [(name, (text,)) for name, sign, text in parts if sign == "=" and name != "duration_ms"]
    assert needed("spans > 1 OR errors > 1") == needed("duration_ms > 5 -- no") == []
    assert set(told) <= (set(certain) if joined == " AND " or len(parts) == 1 else set())


@pytest.mark.parametrize(
    "wanted",
    [
        {"equal": {"session_id": "s-1"}},
        {"equal": {"user_id": "u-1"}},
        {"where": "user_id = 'u-1'"},
        {"errors": True},
        {"errors": True, "columns": "trace_id", "newest_first": False},
    ],
)
def test_traces_are_found_where_some_files_lack_a_column_that_came_later(
    tmp_path: Path, wanted: dict[str, object]
) -> None:
    failed = {"session_id": "s-1", "status": "error", "parent_span_id": None}
    older = to_arrow("spans", [{**span(2, 0, FIRST + DAY, **failed), "date": datetime.date(2025, 11, 25)}])
    with Store.open(tmp_path / "S") as store:
        store.lake.append("spans", older.drop_columns(["cost_source", "user_id"]))
        store.append("spans", [span(1, 0, FIRST, user_id="u-1", **failed)])  # comes first in the order of dates
    with Store.open(tmp_path / "S") as store:
        found = [str(row["trace_id"])[-1] for row in store.find(**wanted)]
    both = not ({"where", "equal"} & set(wanted)) or wanted.get("equal") == {"session_id": "s-1"}
    assert sorted(found) == (["1", "2"] if both else ["1"])
