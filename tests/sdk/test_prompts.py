"""Prompts in a program: what rendering takes and gives, and which spans it is linked to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

import tracekit
from tracekit import Prompt
from tracekit._delivery import Relay
from tracekit.agent_version import describe
from tracekit.errors import NotFoundError, UsageError
from tracekit.prompts import checked_content
from tracekit.testing import Recorder

ANSWER = Prompt("support/answer", 3, "Answer {{question}} in {{ language }}.")
CHAT = Prompt("chat", 1, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}])
NAME, VERSION = "gen_ai.prompt.name", "gen_ai.prompt.version"


def linked(recorder: Recorder) -> dict[str, tuple[object, object]]:
    """Prompt and number by span, of those that have one."""
    return {
        each.name: (each.attributes.get(NAME), each.attributes.get(VERSION))
        for each in recorder.spans
        if NAME in each.attributes
    }


@tracekit.llm(name="model")
def ask(messages: object) -> str:
    return "because"


class TestRendering:
    def test_a_text_gets_a_value_for_each_variable(self) -> None:
        assert ANSWER.variables == ("question", "language")
        assert ANSWER.render(question="Why?", language="English") == "Answer Why? in English."

    def test_messages_keep_their_roles(self) -> None:
        assert CHAT.is_chat
        assert CHAT.render(question="{{role}}") == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "{{role}}"},
        ]

    def test_parts_of_a_message_are_rendered_and_the_prompt_stays_as_it_is(self) -> None:
        parts = Prompt("p", 1, [{"role": "user", "name": "{{a}}", "content": [{"type": "text", "text": "Hi {{a}}"}]}])
        assert parts.variables == ("a",)
        assert parts.render(a="Ada")[0] == {
            "role": "user",
            "name": "{{a}}",
            "content": [{"type": "text", "text": "Hi Ada"}],
        }
        assert parts.variables == ("a",)

    def test_a_value_is_not_looked_through_for_variables(self) -> None:
        assert ANSWER.render(question="{{language}}", language=r"\{{question}}\1") == (
            r"Answer {{language}} in \{{question}}\1."
        )

    def test_two_braces_can_be_meant(self) -> None:
        literal = Prompt("p", 1, r"\{{name}} is {{name}}, {single}")
        assert (literal.variables, literal.render(name="x")) == (("name",), "{{name}} is x, {single}")

    def test_numbers_and_booleans_are_written_out(self) -> None:
        assert Prompt("p", 1, "{{a}} {{b}}").render(a=1.5, b=True) == "1.5 True"

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"question": "q"}, "support/answer@3 needs a value for language"),
            ({"question": "q", "language": "l", "tone": "t"}, "has no variable tone; it takes question, language"),
            ({"question": None, "language": "l"}, "question for the prompt support/answer@3 is a NoneType"),
            ({"question": ["a"], "language": "l"}, "is a list; make a text of it"),
        ],
    )
    def test_wrong_values_are_named(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            ANSWER.render(**values)

    @given(st.lists(st.tuples(st.booleans(), st.text())), st.dictionaries(st.sampled_from("abc"), st.text()))
    def test_rendering_is_putting_texts_one_after_the_other(
        self, parts: list[tuple[bool, str]], values: dict[str, str]
    ) -> None:
        known = {"a": "", "b": "", "c": "", **values}
        pieces = [
            ("abc"[len(text) % 3], True) if is_name else (text.replace("{", "").replace("\\", ""), False)
            for is_name, text in parts
        ]
        template = "".join(f"{{{{{text}}}}}" if is_name else text for text, is_name in pieces)
        wanted = "".join(known[text] if is_name else text for text, is_name in pieces)
        prompt = Prompt("p", 1, template)
        assert prompt.render(**{name: known[name] for name in prompt.variables}) == wanted


class TestContent:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", "must not be empty"),
            (7, "is a text, or a list of messages"),
            ([], "is a text, or a list of messages"),
            ([{"content": "x"}], "message 1 of the prompt has no role"),
            ([{"role": "user", "content": "x"}, {"role": "user"}], "message 2 of the prompt needs a text"),
            ([{"role": "user", "content": "x", "at": {1, 2}}], "holds a set, which JSON cannot"),
            ("{{#if a}}x{{/if}}", r"\{\{#if a\}\} names no variable"),
            ("{{user.name}}", r"write \\\{\{ where two braces are meant"),
            ("a\0b", "cannot hold a NUL"),
            ("x" * (1 << 20 | 1), "at most 1048576 characters"),
        ],
    )
    def test_what_is_no_prompt_is_refused(self, content: object, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            checked_content(content, strict=True)

    def test_a_prompt_is_the_same_on_every_system(self) -> None:
        assert checked_content("a\r\nb") == "a\nb"
        assert Prompt("p", 1, "a").digest == Prompt("q", 2, "a").digest != Prompt("p", 1, "b").digest


class TestLinks:
    def test_a_prompt_belongs_to_its_step_and_to_the_model_calls_after_it(self, recorder: Recorder) -> None:
        @tracekit.tool
        def search() -> str:
            return "found"

        @tracekit.agent
        def bot() -> str:
            ask("before")
            text = ANSWER.render(question="q", language="l")
            search()
            with tracekit.span("inside", step="chain"):
                ask(text)
            return ask(text)

        bot()
        assert [each.attributes.get(VERSION) for each in recorder.spans if each.name == "chat model"] == [
            None,
            "3",
            "3",
        ]
        assert linked(recorder)["invoke_agent bot"] == ("support/answer", "3")
        assert "execute_tool search" not in linked(recorder)
        assert "inside" not in linked(recorder)

    def test_the_prompt_rendered_last_counts_and_none_outlives_its_step(self, recorder: Recorder) -> None:
        with tracekit.span("one"):
            ANSWER.render(question="q", language="l")
            ask("a")
            CHAT.render(question="q")
            with tracekit.span("by hand", step="llm"):
                pass
        with tracekit.span("two"):
            ask("b")
        names = [(each.name, each.attributes.get(NAME)) for each in recorder.spans]
        assert sorted(names, key=str) == [
            ("chat by hand", "chat"),
            ("chat model", "support/answer"),
            ("chat model", None),
            ("one", "chat"),
            ("two", None),
        ]

    def test_outside_of_any_step_the_next_model_call_has_it_alone(self, recorder: Recorder) -> None:
        CHAT.render(question="q")
        ask("a")
        ask("b")
        assert [each.attributes.get(NAME) for each in recorder.spans] == ["chat", None]

    def test_a_call_that_begins_after_a_yield_has_it_too(self, recorder: Recorder) -> None:
        @tracekit.agent
        def bot() -> Any:
            messages = CHAT.render(question="q")
            yield "thinking"
            yield ask(messages)

        assert list(bot()) == ["thinking", "because"]
        assert linked(recorder) == {"invoke_agent bot": ("chat", "1"), "chat model": ("chat", "1")}

    def test_tasks_that_run_at_once_do_not_mix(self, recorder: Recorder) -> None:
        @tracekit.agent
        async def bot(prompt: Prompt) -> None:
            prompt.render(question="q")
            await asyncio.sleep(0)
            ask("x")

        async def both() -> None:
            await asyncio.gather(*(bot(Prompt(f"p{each}", 1, "{{question}}")) for each in range(5)))

        asyncio.run(both())
        parents = {each.span_id: each.attributes[NAME] for each in recorder.spans if each.name == "invoke_agent bot"}
        calls = [each for each in recorder.spans if each.name == "chat model"]
        assert [each.attributes[NAME] for each in calls] == [parents[each.parent_id] for each in calls]
        assert sorted(parents.values()) == ["p0", "p1", "p2", "p3", "p4"]

    def test_what_a_call_says_itself_wins(self, recorder: Recorder) -> None:
        with tracekit.span("one"):
            CHAT.render(question="q")
            with tracekit.span("ask", step="llm") as step:
                step.set(prompt_name="mine", prompt_version="7")
        assert linked(recorder)["chat ask"] == ("mine", "7")

    def test_another_instrumentations_model_call_has_it(self) -> None:
        relay = Relay()
        relay.active = True
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(relay)
        tracer = provider.get_tracer("other")
        with tracer.start_as_current_span("outer"):
            CHAT.render(question="q")
            for operation, wanted in (("chat", "chat"), ("execute_tool", None)):
                with tracer.start_as_current_span("x", attributes={"gen_ai.operation.name": operation}) as span:
                    assert span.attributes.get(NAME) == wanted


@pytest.mark.usefixtures("fresh")
class TestLookingUp:
    def test_without_a_catalog_the_fallback_is_used(self) -> None:
        found = tracekit.prompt("support/answer@production", fallback="Answer {{question}}.")
        assert (found.name, found.version, found.is_fallback, found.variables) == (
            "support/answer", None, True, ("question",)
        )  # fmt: skip
        assert found.render(question="why") == "Answer why."
        assert tracekit.prompt("chat", fallback=[{"role": "user", "content": "hi"}]).is_chat

    def test_without_a_fallback_that_is_an_error(self) -> None:
        with pytest.raises(NotFoundError, match="there is no catalog at"):
            tracekit.prompt("support/answer@production")

    @pytest.mark.parametrize("ref", ["", "@production", "a@", "a@b@c", "../x", "a b", "x" * 201])
    def test_what_names_no_prompt_is_refused(self, ref: str) -> None:
        with pytest.raises(UsageError, match="names no prompt"):
            tracekit.prompt(ref, fallback="x")

    def test_an_endpoint_that_is_down_costs_the_fallback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRACEKIT_ENDPOINT", "http://127.0.0.1:9")
        assert tracekit.prompt("a@b", fallback="x", timeout=1).content == "x"

    def test_a_link_without_a_number_has_the_name_alone(self, recorder: Recorder) -> None:
        with tracekit.span("one"):
            tracekit.prompt("support/answer@production", fallback="hello").render()
            ask("x")
        assert linked(recorder)["chat model"] == ("support/answer", None)


def test_an_agent_version_keeps_the_number_of_a_registered_prompt() -> None:
    found = describe("bot", code={}, dependencies={}, prompts={"answer": ANSWER, "plain": "Hi"})
    assert found.prompts == {
        "answer": {"ref": "support/answer@3", "digest": ANSWER.digest, "content": ANSWER.content},
        "plain": "Hi",
    }
