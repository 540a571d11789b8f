"""What is captured of a call: chosen parameters, hooks, limits, and values that are told by digest."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracekit
from tracekit import _capture, _content, _guard
from tracekit._attachments import LARGE
from tracekit._capture import plain, to_json
from tracekit._runtime import runtime
from tracekit.errors import UsageError
from tracekit.testing import Recorder

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
DIGEST = hashlib.sha256(PNG).hexdigest()
BLOB = {"type": "blob", "mime_type": "image/png", "sha256": DIGEST, "bytes": len(PNG)}


@pytest.fixture
def artifacts(recorder: Recorder, tmp_path: Path) -> Path:
    """The artifacts of a local store, as if the process recorded to one."""
    runtime.artifacts = tmp_path / "artifacts"
    return tmp_path / "artifacts"


@pytest.mark.parametrize(
    ("capture", "input_value", "output_value"),
    [
        ({"input": ["a"]}, '{"a": 1}', "3"),
        ({"input": "a", "output": False}, '{"a": 1}', None),
        ({"drop": ["secret"]}, '{"a": 1}', "3"),
        ({"drop": "secret", "output": False}, '{"a": 1}', None),
        ({"input": False}, None, "3"),
        ({"input": []}, None, "3"),
        ({}, '{"a": 1, "secret": 2}', "3"),
    ],
)
def test_a_mapping_says_what_is_kept(
    recorder: Recorder, capture: Any, input_value: object, output_value: object
) -> None:
    @tracekit.tool(capture=capture)
    def add(a: int, secret: int) -> int:
        return a + secret

    add(1, 2)
    assert (recorder.spans[0].input, recorder.spans[0].output) == (input_value, output_value)


@pytest.mark.parametrize(
    ("capture", "message"),
    [
        ({"inputs": True}, "capture has inputs, which it does not know; it knows input, drop, output"),
        ({"drop": ["passwort"]}, "capture names passwort, which is no parameter; there are: password"),
        ({"output": ["x"]}, "capture's output is True or False"),
        ({"drop": True}, "its drop is a list of names"),
    ],
)
def test_a_wrong_mapping_is_told_when_the_function_is_decorated(capture: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):

        @tracekit.tool(capture=capture)
        def login(password: str) -> None: ...


def test_hooks_make_what_is_recorded_and_change_nothing_else(recorder: Recorder) -> None:
    @tracekit.llm(
        process_input=lambda values: {**values, "prompt": values["prompt"].upper()},
        process_output=lambda answer: answer["text"],
    )
    def ask(prompt: str) -> dict[str, str]:
        return {"text": prompt + "!", "secret": "x"}

    assert ask("why") == {"text": "why!", "secret": "x"}
    attributes = recorder.spans[0].attributes
    assert attributes["input.value"] == '{"prompt": "WHY"}'
    assert attributes["output.value"] == "why!"
    assert attributes["gen_ai.input.messages"] == '[{"role": "user", "parts": [{"type": "text", "content": "WHY"}]}]'
    assert attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "why!"}]}]'
    )


def test_a_hook_that_raises_hides_what_it_was_to_hide(recorder: Recorder) -> None:
    def broken(_: object) -> object:
        raise RuntimeError("no")

    @tracekit.tool(process_input=broken, process_output=broken)
    def work(secret: str) -> str:
        return secret

    assert work("hush") == "hush"
    assert recorder.spans[0].input == "…[process_input raised RuntimeError]"
    assert recorder.spans[0].output == "…[process_output raised RuntimeError]"
    assert "hush" not in json.dumps(recorder.spans[0].attributes)
    assert _guard.faults == {"calling process_input": 1, "calling process_output": 1}


def test_a_hook_sees_the_joined_output_of_a_stream(recorder: Recorder) -> None:
    @tracekit.llm(process_output=str.upper)
    def ask() -> Any:
        return iter(["a", "b"])

    assert list(ask()) == ["a", "b"]
    assert recorder.spans[0].output == "AB"


def test_a_span_is_limited_as_a_whole(recorder: Recorder) -> None:
    with tracekit.span("x") as span:
        for number in range(20):
            span.set(**{f"key{number}": "y" * 60_000, f"list{number}": ["z" * 1_000] * 50})
    sizes = [len(value) for value in recorder.spans[0].attributes.values() if isinstance(value, str)]
    assert 200_000 < sum(sizes) <= _content.SPAN_LIMIT + 128 * _content._SMALL
    assert json.loads(recorder.spans[0].attributes["tracekit.metadata.list19"]).endswith("the span is full]")
    assert "the span is full" in recorder.spans[0].attributes["tracekit.metadata.key19"]


def test_what_was_json_is_json_when_the_span_is_full(recorder: Recorder) -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "w " * 20_000}]}]
    with tracekit.span("x", step="llm") as span:
        for name in ("a", "b", "c", "d", "e"):
            span.set(**{name: "v" * 45_000})
        span.set(input_messages=messages)
        span.output = ["u " * 10_000]
    attributes = recorder.spans[0].attributes
    assert json.loads(attributes["gen_ai.input.messages"])[0]["role"] == "user"
    assert "truncated" in attributes["gen_ai.input.messages"]
    assert "truncated" in json.dumps(json.loads(attributes["output.value"]), ensure_ascii=False)


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(plain_values, st.integers(0, 40))
def test_the_text_is_the_same_with_and_without_orjson(value: object, copies: int) -> None:
    pytest.importorskip("orjson", reason="orjson comes with the collector")
    large = [value] * copies + ["padding"] * 300
    with_it = to_json(large)
    _capture._orjson_dumps.cache_clear()
    original = _capture._orjson_dumps
    try:
        _capture._orjson_dumps = lambda: None  # type: ignore[assignment]
        assert to_json(large) == with_it
    finally:
        _capture._orjson_dumps = original
    assert with_it == to_json(large)


def test_large_plain_values_have_no_blanks() -> None:
    assert to_json([1, {"a": 2}]) == '[1, {"a": 2}]'
    assert to_json([1.5] * 1_000) == "[" + ",".join(["1.5"] * 1_000) + "]"
    assert to_json([1e-7, *[0] * 1_000]).startswith("[1e-07,0,0")


def test_binary_values_are_told_by_digest_and_kept_in_the_store(recorder: Recorder, artifacts: Path) -> None:
    @tracekit.tool
    def look(image: bytes, small: bytes) -> bytearray:
        return bytearray(image)

    look(PNG, b"abc")
    expected = {"image": BLOB, "small": {"type": "bytes", "size": 3, "base64": "YWJj"}}
    assert json.loads(recorder.spans[0].input or "") == expected
    assert json.loads(recorder.spans[0].output or "") == BLOB
    assert [path.name for path in artifacts.iterdir()] == [DIGEST]
    assert (artifacts / DIGEST).read_bytes() == PNG


def test_without_a_local_store_only_the_description_goes_out(recorder: Recorder, tmp_path: Path) -> None:
    @tracekit.tool
    def look(image: bytes) -> None: ...

    look(PNG)
    assert json.loads(recorder.spans[0].input or "") == {"image": BLOB}
    assert list(tmp_path.iterdir()) == []


def test_an_attachment_is_told_by_digest_however_small(recorder: Recorder, artifacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("hello", encoding="utf-8")
    digest = hashlib.sha256(b"hello").hexdigest()
    with tracekit.span("x") as span:
        span.set(
            file=tracekit.Attachment(path),
            data=tracekit.Attachment(b"hello", mime_type="text/plain", name="greeting"),
            missing=tracekit.Attachment(tmp_path / "none"),
        )
    attributes = recorder.spans[0].attributes
    assert json.loads(attributes["tracekit.metadata.file"]) == {
        "type": "file",
        "mime_type": "text/plain",
        "sha256": digest,
        "bytes": 5,
        "name": "note.txt",
    }
    assert json.loads(attributes["tracekit.metadata.data"]) == {
        "type": "blob",
        "mime_type": "text/plain",
        "sha256": digest,
        "bytes": 5,
        "name": "greeting",
    }
    assert json.loads(attributes["tracekit.metadata.missing"]) == {
        "type": "file",
        "name": "none",
        "error": "cannot be read: FileNotFoundError",
    }
    assert (artifacts / digest).read_bytes() == b"hello"


def test_pictures_in_messages_are_told_by_digest(recorder: Recorder, artifacts: Path) -> None:
    encoded = base64.b64encode(PNG).decode()
    url = f"data:image/png;base64,{encoded}"

    @tracekit.llm
    def ask(messages: list[dict[str, object]]) -> str:
        return "a cat"

    ask(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}},
                    {"type": "input_audio", "input_audio": {"format": "wav", "data": "UklGRg=="}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
                ],
            }
        ]
    )
    attributes = recorder.spans[0].attributes
    (message,) = json.loads(attributes["gen_ai.input.messages"])
    assert message["parts"] == [
        {"modality": "image", **BLOB},
        {"modality": "image", **BLOB},
        {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "UklGRg=="},
        {"type": "uri", "modality": "image", "uri": "https://example.org/cat.png"},
    ]
    content = json.loads(attributes["input.value"])["messages"][0]["content"]
    assert content[0]["image_url"]["url"] == BLOB
    assert content[1]["source"] == {"type": "base64", "media_type": "image/png", "data": BLOB}
    assert [path.name for path in artifacts.iterdir()] == [DIGEST]


def test_an_image_is_kept_as_png(recorder: Recorder, artifacts: Path) -> None:
    class Image:
        """As Pillow's."""

        size = (2, 3)
        mode = "RGB"

        def save(self, file: Any, form: str) -> None:
            assert form == "PNG"
            file.write(PNG)

    Image.__module__ = "PIL.Image"
    assert json.loads(to_json(Image())) == {**BLOB, "width": 2, "height": 3}


def test_a_store_that_cannot_be_written_costs_the_content_only(
    recorder: Recorder, artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifacts.write_text("in the way", encoding="utf-8")
    assert json.loads(to_json(PNG)) == BLOB
    assert json.loads(to_json(PNG)) == BLOB
    assert len(caplog.records) == 1
    assert "cannot keep an attachment in" in caplog.text


def test_no_content_means_no_attachment(artifacts: Path) -> None:
    runtime.capture = False

    @tracekit.tool
    def look(image: bytes) -> bytes:
        return image

    look(PNG)
    with tracekit.span("x", step="llm", input=PNG) as span:
        span.output = PNG
        span.set(input_messages=[{"role": "user", "content": PNG}], tool_result=PNG)
    assert not artifacts.exists()


def test_a_digest_of_a_value_keeps_nothing(artifacts: Path) -> None:
    assert plain({"image": PNG}, limit=None) == {"image": BLOB}
    assert not artifacts.exists()


def test_a_process_that_records_to_its_store_keeps_attachments_there(script: Any, tmp_path: Path, stored: Any) -> None:
    script(
        """
        import tracekit
        tracekit.init(store="s")

        @tracekit.tool
        def look(data: bytes) -> int:
            return len(data)

        look(b"x" * 10_000)
        """
    )
    digest = hashlib.sha256(b"x" * 10_000).hexdigest()
    (span,) = stored.spans(tmp_path / "s")
    assert json.loads(stored.attributes(span)["input.value"])["data"]["sha256"] == digest
    assert (tmp_path / "s" / "artifacts" / digest).stat().st_size == 10_000


@given(st.binary(max_size=LARGE * 2), st.text())
def test_any_bytes_and_any_text_that_looks_like_some_are_captured(content: bytes, text: str) -> None:
    for value in (content, f"data:{text};base64,{text}" + "A" * LARGE, {"data": text + "A" * LARGE, "mime_type": text}):
        json.loads(to_json(value))
