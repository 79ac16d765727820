"""The workflow as a LangGraph graph of two nodes, `outline` and `write`.

Each node tells the notifier when it is done, and a checkpointer keeps the state in SQLite.
A real one would ask a language model; this one makes up its lessons.
"""

from typing import TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from roadmap import settings
from roadmap.notifier import Notifier


class Roadmap(TypedDict, total=False):
    """The state that the nodes hand on."""

    topic: str
    chapters: list[str]
    lessons: list[str]


async def run_workflow(notifier: Notifier, roadmap_id: str, topic: str) -> list[str]:
    """Make the lessons for a topic and publish each step.

    The checkpointer shows how to do it right: it is opened, used and closed inside one loop.
    """

    async def outline(state: Roadmap) -> Roadmap:
        chapters = [f"{part} of {state['topic']}" for part in ("Basics", "Practice")]
        await notifier.publish(roadmap_id, "outlined")
        return {"chapters": chapters}

    async def write(state: Roadmap) -> Roadmap:
        lessons = [f"{chapter}, lesson {n}" for chapter in state["chapters"] for n in (1, 2)]
        await notifier.publish(roadmap_id, "written")
        return {"lessons": lessons}

    graph = StateGraph(Roadmap)
    graph.add_node("outline", outline)
    graph.add_node("write", write)
    graph.add_edge(START, "outline")
    graph.add_edge("outline", "write")
    graph.add_edge("write", END)

    path = settings.checkpoint_path(roadmap_id)
    async with AsyncSqliteSaver.from_conn_string(path) as checkpointer:
        final = await graph.compile(checkpointer).ainvoke(
            {"topic": topic}, {"configurable": {"thread_id": roadmap_id}}
        )
    lessons: list[str] = final["lessons"]
    return lessons
