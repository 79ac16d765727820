"""A handler is told to all loops that there were; for a while another one, which is then put back.

A closed loop takes it without a word, and nothing is lost by that: the loop that runs has it too.
"""

import asyncio
import collections

loops = collections.deque(maxlen=2)
undone = []


def report(loop, context):
    raise AssertionError(context["message"])


def report_aside(loop, context):
    pass


def make_task(loop, coro, **options):
    return asyncio.Task(coro, loop=loop, **options)


def tell_all():
    for loop in tuple(loops):
        loop.set_exception_handler(report)


def set_aside(loop):
    before = loop.get_exception_handler()
    loop.set_exception_handler(report_aside)
    undone.append((loop, before))


async def main():
    loop = asyncio.get_running_loop()
    loops.append(loop)
    tell_all()
    while undone:
        other, handler = undone.pop()
        other.set_exception_handler(handler)
    set_aside(loop)
    loop.set_task_factory(make_task)
    await asyncio.sleep(0)
    loop.set_task_factory(None)
