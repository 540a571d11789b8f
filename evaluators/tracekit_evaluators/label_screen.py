"""The queue of labels in a terminal: one trace at a time, one key for an answer.

Where stdin is a terminal a key answers at once; else an answer is a line, so that it can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from tracekit.errors import UsageError
from tracekit_collector.terminal import visible
from tracekit_evaluators.labels import Answer, Queue, answer
from tracekit_evaluators.subject import as_text

if TYPE_CHECKING:
    from tracekit_collector.store import Store
    from tracekit_collector.trace import Trace

_SHORT = 1_500  # characters of a text that are shown at first
_STEPS = 12
_COMMANDS = {"s": "skip", "b": "back", "c": "comment", "m": "more", "q": "quit"}


class Ask(Protocol):
    """Gets a key or a line from a person."""

    def __call__(self, prompt: str, *, single: bool) -> str:
        """What was said, empty at the end; one key is enough where `single`."""


@dataclass
class Screen:
    """Goes through a queue with one annotator.

    Args:
        store: Where the traces are.
        queue: What is to be answered.
        ask: Gets a key or a line from the annotator.
        say: Shows a line.
        clock: The time in seconds.
    """

    store: Store
    queue: Queue
    ask: Ask
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _place: int = field(default=0, init=False)

    def run(self) -> int:
        """Ask about each trace that is left, until the end or until the annotator quits; returns how many answers."""
        left = self.queue.left()
        count = 0
        if self.queue.rubric.guide:
            self.say(self.queue.rubric.guide)
        while self._place < len(left):
            drawn = left[self._place]
            trace = next(iter(self.store.traces([drawn.trace_id])), None)
            if trace is None:
                self.say(f"the trace {drawn.trace_id} is not in the store any more")
                self._place += 1
                continue
            self.say(f"\n[{self._place + 1} of {len(left)}] trace {trace.trace_id}")
            self.say(excerpt(trace))
            said = self._said(trace)
            if said == "quit":
                break
            if said == "back":
                self._place = max(0, self._place - 1)
                continue
            if isinstance(said, Answer):
                answer(self.store, self.queue, drawn, trace, said)
                count += 1
            self._place += 1
        return count

    def _said(self, trace: Trace) -> Answer | str:
        rubric, began, comment = self.queue.rubric, self.clock(), None
        single = bool(rubric.keys())
        mark = "" if single else ":"  # an answer that is typed could be such a letter itself
        helped = ", ".join(f"{mark}{key} {word}" for key, word in _COMMANDS.items())
        question = rubric.question or rubric.name
        while True:
            said = self.ask(f"{visible(question)} ({rubric.words()}; {helped}): ", single=single)
            word = said.strip().removeprefix(mark) if said.strip().startswith(mark) else ""
            if not said or word == "q":
                return "quit"
            if word == "b":
                return "back"
            if word == "s":
                return Answer(None, self.clock() - began, comment)
            if word == "m":
                self.say(excerpt(trace, whole=True))
            elif word == "c":
                comment = self.ask("comment: ", single=False).strip() or comment
            else:
                try:
                    return Answer(rubric.read(said), self.clock() - began, comment)
                except UsageError as error:
                    self.say(str(error))


def excerpt(trace: Trace, *, whole: bool = False) -> str:
    """What an annotator sees of a trace: input, steps, output, error; shortened unless `whole`."""
    longest = sys.maxsize if whole else _SHORT
    lines = [f"input:  {_cut(trace.input, longest)}"]
    calls = trace.tool_calls if whole else trace.tool_calls[:_STEPS]
    for call in calls:
        ended = "error" if call.status == "error" else "ok"
        told = (call.error or {}).get("message") if call.result is None else call.result
        lines.append(f"  tool {call.name}({_cut(as_text(call.arguments), 200 if not whole else longest)}): {ended}")
        if told is not None:
            lines.append(f"    {_cut(as_text(told), 300 if not whole else longest)}")
    if len(trace.tool_calls) > len(calls):
        lines.append(f"  … and {len(trace.tool_calls) - len(calls)} more tool calls (m shows them)")
    lines.append(f"output: {_cut(trace.output, longest)}")
    if trace.error is not None:
        lines.append(f"error:  {_cut(trace.error.get('message') or trace.error.get('type'), longest)}")
    return "\n".join(lines)


def _cut(value: object, longest: int) -> str:
    if value is None:
        return "–"
    text = str(value)
    shown = "\n".join(visible(line) for line in text[:longest].split("\n"))
    return shown + (" […]" if len(text) > longest else "")


@contextmanager
def keyboard(stdin: TextIO, out: TextIO) -> Iterator[Ask]:
    """Asks the terminal for keys, or any other input for lines."""
    if not stdin.isatty():

        def line(prompt: str, *, single: bool) -> str:
            del single
            out.write(prompt)
            out.flush()
            return stdin.readline()

        yield line
        return
    import termios  # noqa: PLC0415 - not on every platform
    import tty  # noqa: PLC0415

    before = termios.tcgetattr(stdin)

    def key(prompt: str, *, single: bool) -> str:
        if not single:
            out.write(prompt)
            out.flush()
            return stdin.readline()
        try:
            tty.setcbreak(stdin, termios.TCSANOW)  # before the prompt, and without dropping what was typed ahead
            out.write(prompt)
            out.flush()
            found = stdin.read(1)
        finally:
            termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        out.write(f"{visible(found)}\n")
        return "" if found == "\x04" else found  # Ctrl-D

    try:
        yield key
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
