"""The exit signal of a server of event streams is an anyio.Event kept on a class.

The first response makes it and waits for it; a response in the next loop waits for the same one:
"is bound to a different event loop", from test suites on and from threads with loops of their own.
The right fix: each application (hence each loop) has an event of its own.
"""

import anyio

SOURCE = "https://github.com/sysid/sse-starlette/issues/59"
FINDS = ("LS102",)


class AppStatus:
    should_exit_event = None

    @classmethod
    def exit_event(cls):
        if cls.should_exit_event is None:
            cls.should_exit_event = anyio.Event()
        return cls.should_exit_event


async def respond(exit_event):
    """Stream until all is sent, or until the server is told to exit."""
    async with anyio.create_task_group() as group:
        group.start_soon(exit_event.wait)
        for _ in range(3):
            await anyio.sleep(0)  # one chunk
        group.cancel_scope.cancel()


async def broken():
    await respond(AppStatus.exit_event())


async def fixed():
    await respond(anyio.Event())
