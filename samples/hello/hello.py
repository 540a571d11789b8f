"""Two decorators, and every call is on record."""

import tracekit


@tracekit.tool
def shout(text: str) -> str:
    return text.upper() + "!"


@tracekit.agent
def greet(name: str) -> str:
    return shout(f"hello, {name}")


print(greet("world"))
