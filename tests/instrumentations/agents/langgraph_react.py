"""A LangGraph agent within a decorated function, with a decorated tool."""

import warnings

from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent

import tracekit

warnings.simplefilter("ignore")
tracekit.init(instrument=True)


@tracekit.tool
def opening_hours(day: str) -> str:
    """When the library opens."""
    return f"{day}: 10 to 16"


@tracekit.agent(name="desk")
def answer(question: str) -> str:
    graph = create_react_agent(ChatOpenAI(model="scripted"), [opening_hours])
    return graph.invoke({"messages": [("user", question)]})["messages"][-1].content


with tracekit.session("chat-1", user="ada"):
    print(answer("When does the library open on sunday?"))
