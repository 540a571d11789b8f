"""The JSON API: what it answers, what it refuses and how, and that its description is true."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tracekit_collector.access import AccessError
from tracekit_collector.api import document, routes
from tracekit_collector.store import Store

FIRST = 1_763_942_400 * 10**9


def span(trace: int, number: int, **columns: object) -> dict[str, object]:
    at = FIRST + trace * 10**9 + number
    moment = datetime.datetime(2025, 11, 24) + datetime.timedelta(seconds=trace)
    fixed = {"trace_id": f"{trace:032x}", "span_id": f"{trace:08x}{number:08x}", "start_ns": at, "start_time": moment}
    plain = {"name": "step", "step": "span", "status": "unset", "duration_ns": 1_000_000, "kind": "internal"}
    parent = {"parent_span_id": None if number == 0 else f"{trace:08x}{0:08x}"}
    whose = {"project": f"p{trace % 2}", "session_id": f"s{trace // 5}", "attributes": f'{{"n":"{number}"}}'}
    return {**fixed, **plain, **parent, **whose, **columns}


def authorise(header: str | None) -> str | None:
    if header == "Bearer wrong":
        raise AccessError("the token is not known", status=401)
    return header.removeprefix("Bearer ") if header else None


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Ten traces of three spans; `Bearer p0` is a token for the project p0 alone."""
    with Store.open(tmp_path_factory.mktemp("api") / "S") as store:
        rows = [span(trace, number) for trace in range(10) for number in range(3)]
        rows[6]["status"] = "error"
        store.append("spans", rows)
        with TestClient(Starlette(routes=routes(store, authorise)), base_url="http://test") as client:
            yield client


def ids(answer: object) -> list[int]:
    assert isinstance(answer, dict)
    return [int(row["trace_id"], 16) for row in answer["traces"]]


def test_traces_come_newest_first_page_by_page(api: TestClient) -> None:
    first = api.get("/api/v1/traces?limit=4").json()
    second = api.get(f"/api/v1/traces?limit=4&cursor={first['next']}").json()
    third = api.get(f"/api/v1/traces?limit=4&cursor={second['next']}").json()
    assert (ids(first), ids(second), ids(third)) == ([9, 8, 7, 6], [5, 4, 3, 2], [1, 0])
    assert third["next"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("errors=true", [2]),
        ("session=s1", [9, 8, 7, 6, 5]),
        ("project=p1&limit=2", [9, 7]),
        ("since=2025-11-24T00:00:08Z", [9, 8]),
        ("until=2025-11-24T00:00:01", [1, 0]),
        ("since=2025-11-24T01:00:03%2B01:00&until=2025-11-24T00:00:04Z", [4, 3]),
        ("where=spans%20%3D%203%20AND%20session_id%20%3D%20's0'&limit=1", [4]),
        ("name=nothing", []),
    ],
)
def test_conditions_pick_traces(api: TestClient, query: str, expected: list[int]) -> None:
    assert ids(api.get(f"/api/v1/traces?{query}").json()) == expected


def test_one_trace_by_its_id_or_the_beginning_of_it(api: TestClient) -> None:
    whole = api.get(f"/api/v1/traces/{3:032x}").json()
    assert (whole["trace_id"], len(whole["spans"])) == (f"{3:032x}", 3)
    assert api.get(f"/api/v1/traces/{'f' * 32}").status_code == 404


def test_spans_by_attribute_and_by_page(api: TestClient) -> None:
    found = api.get("/api/v1/spans?attribute=n%3D2&limit=3").json()
    assert [each["span_id"] for each in found["spans"]] == [f"{trace:08x}{2:08x}" for trace in (9, 8, 7)]
    more = api.get(f"/api/v1/spans?attribute=n%3D2&limit=3&cursor={found['next']}").json()
    assert [each["span_id"] for each in more["spans"]] == [f"{trace:08x}{2:08x}" for trace in (6, 5, 4)]


def test_sessions_add_up_their_traces_and_leave_unknown_sums_null(api: TestClient) -> None:
    newest, oldest = api.get("/api/v1/sessions").json()["sessions"]
    assert (newest["session_id"], newest["traces"], newest["errors"]) == ("s1", 5, 0)
    assert (oldest["session_id"], oldest["traces"], oldest["errors"], oldest["cost_usd"]) == ("s0", 5, 1, None)


def test_a_query_gives_columns_and_rows_and_says_when_there_are_more(api: TestClient) -> None:
    asked = {"query": "SELECT ? AS a, count(*) AS n FROM spans", "parameters": ["x"]}
    told = api.post("/api/v1/sql", json=asked).json()
    assert told == {"columns": ["a", "n"], "rows": [["x", 30]], "truncated": False}
    many = api.post("/api/v1/sql", json={"query": "SELECT * FROM range(9)", "limit": 2}).json()
    assert (many["rows"], many["truncated"]) == ([[0], [1]], True)


def test_values_that_json_lacks_become_the_nearest_that_it_has(api: TestClient) -> None:
    values = "'nan'::DOUBLE, 1.5::DECIMAL(5, 2), '\\xFF'::BLOB, TIMESTAMP '2025-01-01', "
    values += "170141183460469231731687303715884105727"
    query = f"SELECT {values}"
    (row,) = api.post("/api/v1/sql", json={"query": query}).json()["rows"]
    assert row[:4] == [None, 1.5, "ff", "2025-01-01T00:00:00Z"]
    assert float(row[4]) == pytest.approx(1.7e38, rel=0.01)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/traces?limit=0", 400, "from 1 to 1000"),
        ("/traces?limit=1&limit=2", 400, "twice"),
        ("/traces?colour=red", 400, "it takes agent"),
        ("/traces?since=yesterday", 400, "must be a time"),
        ("/traces?cursor=x", 400, "must match"),
        ("/traces?name=%00", 400, "NUL"),
        ("/traces?where=1%3D", 400, "the query is wrong"),
        ("/traces/xyz", 400, "must match"),
        ("/runs/none", 404, "no run"),
        ("/colours", 404, "openapi.json"),
        ("/stats?x=1", 400, "it takes none"),
    ],
)
def test_what_is_wrong_is_said_as_a_problem(api: TestClient, path: str, status: int, says: str) -> None:
    answer = api.get(f"/api/v1{path}")
    told = answer.json()
    assert (answer.status_code, told["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in told["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b'{"query":""}', 400),
        (b'{"query":"SELECT 1","more":1}', 400),
        (b'{"query":"SELECT 1","limit":true}', 400),
        (b'{"query":"SELECT 1","parameters":[{}]}', 400),
        (b'{"query":"DROP VIEW traces"}', 400),
        (b'{"query":"SELECT * FROM read_text(\'/etc/passwd\')"}', 400),
        (b" " * ((1 << 20) + 1), 413),
    ],
)
def test_a_wrong_query_is_refused(api: TestClient, body: bytes, status: int) -> None:
    assert api.post("/api/v1/sql", content=body, headers={"content-type": "application/json"}).status_code == status


def test_a_token_for_one_project_sees_that_project_alone(api: TestClient) -> None:
    own = {"Authorization": "Bearer p0"}
    assert ids(api.get("/api/v1/traces", headers=own).json()) == [8, 6, 4, 2, 0]
    assert ids(api.get("/api/v1/traces?project=p1", headers=own).json()) == []
    assert api.get(f"/api/v1/traces/{3:032x}", headers=own).status_code == 404
    assert api.get(f"/api/v1/traces/{4:032x}", headers=own).status_code == 200
    assert {each["project"] for each in api.get("/api/v1/spans", headers=own).json()["spans"]} == {"p0"}
    assert [each["traces"] for each in api.get("/api/v1/sessions", headers=own).json()["sessions"]] == [2, 3]
    for path in ("/agents", "/runs", "/stats"):
        assert api.get(f"/api/v1{path}", headers=own).status_code == 403
    assert api.get("/api/v1/traces?where=true", headers=own).status_code == 400
    assert api.post("/api/v1/sql", json={"query": "SELECT 1"}, headers=own).status_code == 403
    assert api.get("/api/v1/traces", headers={"Authorization": "Bearer wrong"}).headers["www-authenticate"] == "Bearer"


def test_an_answer_that_is_known_is_not_sent_again_and_a_long_one_is_gzipped(api: TestClient) -> None:
    first = api.get("/api/v1/spans", headers={"Accept-Encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    again = api.get("/api/v1/spans", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-encoding" not in api.get("/api/v1/spans", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_the_description_names_every_address_and_its_answers(api: TestClient) -> None:
    described = api.get("/api/v1/openapi.json").json()
    assert described == json.loads(json.dumps(document()))
    asked = {"{trace_id}": f"{3:032x}", "{run_id}": "none"}
    for path, operations in described["paths"].items():
        address = path.replace("{trace_id}", asked["{trace_id}"]).replace("{run_id}", "none")
        for method, told in operations.items():
            body = {"json": {"query": "SELECT 1"}} if method == "post" else {}
            answer = api.request(method, f"/api/v1{address}", **body)
            shape = told["responses"][str(answer.status_code)]["content"]
            (media,) = shape
            assert answer.headers["content-type"] == media
            if answer.status_code == 200:
                assert set(shape[media]["schema"]["required"]) <= answer.json().keys()
