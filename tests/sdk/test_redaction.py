"""Redaction: what is secret does not leave, what is not stays as it is, and JSON stays JSON."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

import tracekit
from tracekit import _guard
from tracekit.errors import SettingError
from tracekit.inbox import segments
from tracekit.redaction import Keys, Pattern, Redactor, redact_attributes, redact_text, redactor

ANTHROPIC = "sk-ant-api03-" + "a1B2c3D4e5F6g7H8"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"key {ANTHROPIC}!", "key [redacted: anthropic key]!"),
        ("sk-proj-abcdefgh12345678ABCD", "[redacted: api key]"),
        ("ghp_" + "a1" * 18, "[redacted: github token]"),
        ("github_pat_" + "A1b2" * 10, "[redacted: github token]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted: aws key]"),
        ("xoxb-123456789012-abcdef", "[redacted: slack token]"),
        ("AIza" + "Sy_-1" * 7, "[redacted: google key]"),
        (f"({JWT})", "([redacted: jwt])"),
        (f"a\n{PEM}\nb", "a\n[redacted: private key]\nb"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted: bearer token]"),
        ("Basic dXNlcjpodW50ZXIy", "Basic [redacted: basic credentials]"),
        ("postgresql://ada:hunter2@db/x", "postgresql://ada:[redacted: url password]@db/x"),
        ("https://x.example/?api_key=abc&page=2", "https://x.example/?api_key=[redacted: url key]&page=2"),
        ("call(password='hunter2', n=1)", "call(password='[redacted: key password]', n=1)"),
        ("{'api_key': \"it's\", 'a': 1}", "{'api_key': \"[redacted: key api key]\", 'a': 1}"),
    ],
)
def test_credentials_are_found_by_default(text: str, seen: str) -> None:
    assert redact_text(text) == seen
    assert redact_text(seen) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("mail ada@example.org.", "mail [redacted: email]."),
        ("4111 1111 1111 1111", "[redacted: card]"),
        ("5500-0000-0000-0004 ok", "[redacted: card] ok"),
        ("DE89 3704 0044 0532 0130 00", "[redacted: iban]"),
        ("BE68 5390 0754 7034 PAID", "[redacted: iban] PAID"),
        ("ring +49 30 1234567", "ring [redacted: phone]"),
        ("ring (555) 123-4567", "ring [redacted: phone]"),
    ],
)
def test_personal_data_is_found_where_it_is_asked_for(text: str, seen: str) -> None:
    assert redact_text(text) == text
    assert redact_text(text, "personal") == seen


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the checksum does not hold
        "1700000000000000000",  # nanoseconds
        "0.4111111111111111",
        "DE00 3704 0044 0532 0130 00",
        "GB29 NOT AN ACCOUNT",
        "bot@production",
        "release 2026-01-02 10:11:12",
        "550e8400-e29b-41d4-a716-446655440000",
        "a risk-averse, task-oriented disk-sk-",
        "bearer of bad news",
        "basic understanding responsibilities",
        '{"input_tokens": 5, "max_tokens": 10, "token_count": 3}',
        '{"token": "the", "logprob": -0.1}',
        '{"password": null, "secret": true}',
        "tokens=5 token=7 the key to it",
        "sk-learn-is-a-library-for-python",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redact_text(text, True) == text


def test_keys_hide_their_values_however_they_are_written_and_however_deep() -> None:
    said = {
        "http.request.header.authorization": "Basic x",
        "http.response.header.set_cookie": ["a=b"],
        "app.accessToken": "abc",
        "X-API-Key2": 17,
        "input.value": json.dumps({"user": {"Password": "x", "tokens": 5}, "arguments": '{"clientSecret": "y"}'}),
        "gen_ai.usage.input_tokens": 7,
        "nested": {"private_key": {"d": 1}, "city": "Rome"},
    }
    assert redact_attributes(said) == {
        "http.request.header.authorization": "[redacted: key authorization]",
        "http.response.header.set_cookie": "[redacted: key cookie]",
        "app.accessToken": "[redacted: key token]",
        "X-API-Key2": "[redacted: key api key]",
        "input.value": json.dumps(
            {
                "user": {"Password": "[redacted: key password]", "tokens": 5},
                "arguments": '{"clientSecret": "[redacted: key secret]"}',
            }
        ),
        "gen_ai.usage.input_tokens": 7,
        "nested": {"private_key": "[redacted: key private key]", "city": "Rome"},
    }


def test_a_letter_of_a_key_hidden_in_an_escape_helps_nobody() -> None:
    assert json.loads(redact_text('{"pass\\u0077ord": "x"}')) == {"password": "[redacted: key password]"}


def test_a_number_in_json_becomes_a_text_and_the_rest_stays_to_the_byte() -> None:
    assert redact_text('{"n":4111111111111111,"x":1.0}', "card") == '{"n": "[redacted: card]", "x": 1.0}'
    clean = '{"n":4111111111111112,  "x":1.0}'
    assert redact_text(clean, "card") is clean
    assert redact_text("4111111111111111", "card") == '"[redacted: card]"'


def test_own_rules_names_patterns_expressions_and_functions() -> None:
    rules = redactor([Keys(("patient_name",)), Pattern("order", re.compile(r"ORD-\d+")), re.compile("zebra"), "email"])
    assert rules is not None
    said = {"PatientName": "Ada", "x": "ORD-12 zebra a@b.de", "password": "stays"}
    assert rules.attributes(said) == {
        "PatientName": "[redacted: key patient name]",
        "x": "[redacted: order] [redacted: pattern] [redacted: email]",
        "password": "stays",
    }


def test_a_function_sees_each_text_with_its_path_after_the_default_rules() -> None:
    seen: list[tuple[str, str]] = []

    def shout(key: str, text: str) -> str | None:
        seen.append((key, text))
        return None if text == "hide" else text.upper()

    said = {"a": '{"b": [{"c": "x"}], "password": "y"}', "d": "hide", "n": 3}
    assert redact_attributes(said, shout) == {
        "a": '{"b": [{"c": "X"}], "password": "[redacted: key password]"}',
        "d": "[redacted: shout]",
        "n": 3,
    }
    assert seen == [("a.b.c", "x"), ("d", "hide")]


def test_a_rule_that_raises_hides_the_text_and_is_noted() -> None:
    def broken(key: str, text: str) -> str:
        raise RuntimeError(text)

    assert redact_attributes({"a": '{"b": "x"}', "n": 1}, [broken]) == {
        "a": '{"b": "[redacted: broken failed]"}',
        "n": 1,
    }
    assert _guard.faults == {"the redaction rule broken": 1}


@pytest.mark.parametrize("rules", ["nothing", ["keys", "mails"], [3]])
def test_an_unknown_rule_is_told(rules: object) -> None:
    with pytest.raises(SettingError, match=r"(is|there is) no redaction rule"):
        redactor(rules)


@pytest.mark.parametrize("rules", [False, None, "off", "0", ""])
def test_off_is_off(rules: object) -> None:
    assert redactor(rules) is None


ODD = [
    "password",
    "api_key",
    "token",
    ANTHROPIC,
    "ada@example.org",
    "4111111111111111",
    '{"pwd": "x"}',
    "\ud800",
    "a=b",
]
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(ODD))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_json_stays_json_and_nothing_is_redacted_twice(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    seen = redact_text(text, True)
    json.loads(seen)
    assert ANTHROPIC not in seen
    assert redact_text(seen, True) == seen


@given(st.one_of(TEXTS, st.lists(TEXTS, max_size=6).map("".join)))
def test_any_text_is_redacted_without_raising_and_once(text: str) -> None:
    seen = redact_text(text, True)
    assert redact_text(seen, True) == seen
    assert not _guard.faults


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_attributes_keep_their_keys_and_what_is_clean_is_the_same(attributes: dict[str, object]) -> None:
    seen = redact_attributes(attributes, "keys")
    assert list(seen) == list(attributes)


HOSTILE = [
    "a" * 1_000_000,
    "a@" * 500_000,
    "a.a@" + "a." * 500_000,
    "password='" * 100_000,
    'password="' + "\\" * 1_000_000,
    'token\\"' * 140_000,
    "eyJaaaa-" * 125_000,
    "eyJaaaaaaaa." * 80_000,
    "1 " * 500_000,
    "+1 " * 333_000,
    "DE89 " * 200_000,
    "-----BEGIN PRIVATE KEY-----" * 37_000,
    "://a:" * 200_000,
    "?a-b_" * 200_000,
    "SG.aaaaaaaaaaaaaaaa." * 50_000,
    "[" * 1_000_000,
    '{"password":' * 80_000,
    '"' * 1_000_000,
    '{"secret": ' + "9" * 1_000_000 + "}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_a_megabyte_of_hostile_text_takes_linear_time(text: str) -> None:
    begun = time.perf_counter()
    redact_text(text, True)
    assert time.perf_counter() - begun < 10  # a quadratic expression takes hours


def test_deep_json_is_not_let_through(tmp_path: Path) -> None:
    text = '{"a":' * 5_000 + '{"password": "hunter2"}' + "}" * 5_000
    assert "hunter2" not in redact_text(text)


def everything_stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in segments(folder / "inbox"))


def test_nothing_secret_reaches_the_store_wherever_it_is_said(fresh, stored, tmp_path: Path) -> None:
    """Attributes, resource, events, links, status, names, exceptions, scores; ours and other instrumentations'."""
    provider = TracerProvider(
        resource=Resource({"service.name": "x", "app.password": "hunter2"}), shutdown_on_exit=False
    )
    tracekit.init(tracer_provider=provider)

    @tracekit.tool
    def call(api_key: str) -> None:
        raise ValueError(f"refused {ANTHROPIC} password=hunter2")

    with tracekit.span("work"):
        with pytest.raises(ValueError, match="refused"):
            call("hunter2")
        tracekit.score("ok", True, explanation=f"with {ANTHROPIC}", metadata={"password": "hunter2"})
    link = Link(SpanContext(1, 2, is_remote=True), {"token": "hunter2"})
    theirs = provider.get_tracer("theirs").start_span(f"GET {ANTHROPIC}", links=[link])
    theirs.set_attribute("http.request.header.cookie", ("hunter2",))
    theirs.add_event("sent", {"secret": "hunter2"})
    theirs.set_status(Status(StatusCode.ERROR, f"bad key {ANTHROPIC}"))
    theirs.end()
    assert tracekit.flush()
    written = everything_stored(tmp_path / ".tracekit")
    assert b"hunter2" not in written
    assert ANTHROPIC.encode() not in written
    by_name = {span.name: span for span in stored.spans(tmp_path / ".tracekit")}
    assert stored.attributes(by_name["execute_tool call"])["input.value"] == '{"api_key": "[redacted: key api key]"}'
    assert by_name["GET [redacted: anthropic key]"].status.message == "bad key [redacted: anthropic key]"
    said = stored.attributes(stored.records(tmp_path / ".tracekit")[0])
    assert said["gen_ai.evaluation.explanation"] == "with [redacted: anthropic key]"


def test_the_setting_and_the_argument(fresh, stored, monkeypatch, tmp_path: Path) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setenv("TRACEKIT_REDACT", "email")
    for redact, store in ((None, "one"), (False, "two"), (lambda key, text: text.replace("Rome", "R."), "three")):
        tracekit.init(store=store, redact=redact, tracer_provider=provider)
        with tracekit.span("x", input="a@b.de of Rome, sk-ant-0123456789abcdef0123"):
            pass
        tracekit.flush()
    inputs = [stored.attributes(stored.spans(Path(store))[0])["input.value"] for store in ("one", "two", "three")]
    assert inputs == [
        "[redacted: email] of Rome, sk-ant-0123456789abcdef0123",
        "a@b.de of Rome, sk-ant-0123456789abcdef0123",
        "a@b.de of R., [redacted: anthropic key]",
    ]


def test_a_redactor_takes_protobufs_values_of_any_kind() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracekit._redacted import redact_request

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="x")
    for key, kind, value in (("pwd", "int_value", 5), ("pwd", "bool_value", True), ("ok", "double_value", 0.5)):
        setattr(span.attributes.add(key=key).value, kind, value)
    nested = span.attributes.add(key="map").value.kvlist_value.values.add(key="inner").value.array_value.values.add()
    nested.string_value = ANTHROPIC
    span.attributes.add(key="cookies").value.array_value.values.add().string_value = "a=b"
    rules = redactor()
    assert isinstance(rules, Redactor)
    redact_request(request, rules)
    assert span.attributes[0].value.string_value == "[redacted: key pwd]"
    assert span.attributes[1].value.bool_value is True
    assert span.attributes[2].value.double_value == 0.5
    assert nested.string_value == "[redacted: anthropic key]"
    assert span.attributes[4].value.string_value == "[redacted: key cookies]"
