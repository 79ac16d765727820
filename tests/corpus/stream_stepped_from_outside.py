"""A sync caller takes the parts of an answer out of an async generator, step by step.

Each step is a run_until_complete() of a loop of its own; once the caller has enough, it closes the
loop. The generator was begun where no loop ran, so no loop knows of it, and it is never closed:
what it would give back in the end (a response, a connection) stays taken. Right: close it first.
"""

import asyncio

SOURCE = "https://github.com/streamlit/streamlit/issues/12076"
FINDS = ("LS302",)

taken = []


async def answer():
    taken.append("response")
    try:
        for part in ("Event ", "loops", "."):
            await asyncio.sleep(0)
            yield part
    finally:
        await asyncio.sleep(0)
        taken.remove("response")


def first_part(*, close):
    parts = answer()
    loop = asyncio.new_event_loop()
    try:
        part = loop.run_until_complete(anext(parts))
        if close:
            loop.run_until_complete(parts.aclose())
        return part
    finally:
        loop.close()


def broken():
    return first_part(close=False)


def fixed():
    return first_part(close=True)
