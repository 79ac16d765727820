"""A session is forgotten by a timer of the loop in which it was put, and each use has its own loop.

The timer goes with its loop. Whoever asks finds the session, so none is ever made again: after a
logout, a change of rights or a year it is still there. The right fix: write down when it expires,
and ask the clock.
"""

import asyncio
import time

SOURCE = "https://github.com/aio-libs/aiocache/issues/929"
FINDS = ("LS207",)

sessions = {}
dated = {}


async def session_of(user):
    if user in sessions:
        return sessions[user]
    session = sessions[user] = f"session of {user}"
    asyncio.get_running_loop().call_later(60, sessions.pop, user, None)
    return session


async def dated_session_of(user):
    session, end = dated.get(user, ("", 0))
    if time.monotonic() >= end:
        session = f"session of {user}"
        dated[user] = session, time.monotonic() + 60
    return session


async def broken():
    return await session_of("peter")


async def fixed():
    return await dated_session_of("peter")
