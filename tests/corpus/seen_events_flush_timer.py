"""Seen events are written by a timer of the loop, and a flag keeps it from being set twice.

The loop ends before the timer goes off, and only the timer takes the flag back: from then on events
are kept in memory and never written, whatever loop records them. Right: write what is left before
the loop ends, and forget the timer with it.
"""

import asyncio

SOURCE = "https://github.com/bytedance/deer-flow/pull/5103"
FINDS = ("LS207",)


class SeenEvents:
    def __init__(self):
        self.dirty, self.written = [], []
        self.flush_requested = False

    def record(self, event):
        self.dirty.append(event)
        if not self.flush_requested:
            self.flush_requested = True
            asyncio.get_running_loop().call_later(0.5, self.flush)

    def flush(self):
        self.flush_requested = False
        self.written += self.dirty
        self.dirty.clear()


seen = SeenEvents()


async def broken():
    seen.record("relayed")


async def fixed():
    own = SeenEvents()
    own.record("relayed")
    own.flush()
