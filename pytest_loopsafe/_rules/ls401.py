"""LS401: a forked child ran, scheduled on or awaited through a loop made in its parent.

A fork copies objects, and shares what the operating system keeps: an inherited loop has the
parent's selector. Evidence: the loop was there when the child began, and it was run or given work
in the child: by the user's own code, and not only to stop or cancel something. What is seen under a
rule for one process (LS101, LS102, ...) is told under this one by
`pytest_loopsafe._rules.inherited`.

So is a pool of threads, which a loop gives its work to: none of its threads came along, and it
makes no new one as long as it believes that an inherited one is idle. Evidence: it has taken work,
and has threads of which none is there.

And so is what the kernel has of a loop. Evidence: a method of the selector of an open loop of the
parent's was called, one that the kernel shares (epoll); ``close()`` of a transport or of the loop
comes to that. Not a finalizer's: to drop what was inherited is nobody's call. And a signal that
the child got, and for which nothing but the handler of the parent's loop was there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.bindings import is_transport
from pytest_loopsafe._probes.executors import ExecutorProbe, JobStranded
from pytest_loopsafe._probes.inherited import (
    GivenWork,
    InheritanceProbe,
    SelectorTouched,
    SignalTaken,
)
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopRan
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls105 import HandedOver, HandOverProbe
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import state_of
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.rules import Rule, Severity
from pytest_loopsafe._words.stacks import (
    Stack,
    is_library,
    is_stdlib,
    live_frames,
    stack_here,
    users_here,
)

INHERITED_LOOP = Rule(
    "LS401",
    "fork-inherited-loop",
    Severity.ERROR,
    "a forked child ran, scheduled on or awaited through a loop made in its parent",
    "Make it after the fork: inside the task, or in worker_process_init (Celery), "
    "post_fork (gunicorn), os.register_at_fork(after_in_child=...). Parent and child would share "
    "one selector.",
)


_LET_GO = (
    "A child lets go of what it inherited by closing its copies of the sockets, sock.close(), or "
    "by ending with os._exit(); close(), abort() and remove_reader() also take them out of the "
    "selector, for both. What the child needs, it makes anew."
)
_OWN_SIGNALS = (
    "First of all in the child: signal.set_wakeup_fd(-1), and signal.signal() for each signal that "
    "its parent's loop handles; or have it started anew (multiprocessing's spawn or forkserver)."
)
_TOUCHES = (
    ("select", "waited with it: the loop was run in both"),
    (("unregister", "remove"), "took a descriptor out of it: its parent no longer hears of that"),
    (("register", "add"), "put a descriptor into it: its parent is woken for it"),
    ("modify", "changed what it waits for: its parent waits for something else"),
)


class InheritedLoop(Detector):
    """LS401 for a loop, or a pool of threads, that is run or given work."""

    rules = (INHERITED_LOOP,)
    probes = (LifeProbe(), HandOverProbe(), ExecutorProbe(), InheritanceProbe())
    judges = (LoopRan, HandedOver, GivenWork, JobStranded, SelectorTouched, SignalTaken)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._run_here: set[int] = set()  # their numbers: what they do then is of this one cause

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Report a loop or a pool of the parent's that is used here."""
        if isinstance(sighting, JobStranded):
            yield self._stranded(sighting)
            return
        if isinstance(sighting, SignalTaken):
            yield self._got_signal(sighting)
            return
        if isinstance(sighting, SelectorTouched):
            yield from self._touched(sighting)
            return
        assert isinstance(sighting, LoopRan | HandedOver | GivenWork)
        home = self.loops.of(sighting.loop)
        if not home.inherited or sighting.loop.is_closed():
            return
        done = "was handed a coroutine by"
        if isinstance(sighting, LoopRan):
            done = "was run in"
            self._run_here.add(home.number)
        elif isinstance(sighting, GivenWork):
            method = _asked_for(sighting)
            if method is None or home.number in self._run_here:
                return
            done = f"was given work ({method}()) by"
        state = state_of(sighting.loop)
        yield Observation(
            Finding(
                INHERITED_LOOP,
                f"{name_loop(home, state)}, made in process {home.pid}, {done} a forked child",
                None,
                home,
                (Stack("used in the child", stack_here()), *loop_births(home)),
                INHERITED_LOOP.remedy,
                home_state=state,
            ),
            about=(sighting.loop,),
        )

    def _touched(self, sighting: SelectorTouched) -> Iterator[Observation]:
        home = self.loops.of(sighting.loop)
        if not home.inherited or home.number in self._run_here or in_finalizer(live_frames()):
            return
        if sighting.method == "select":
            self._run_here.add(home.number)
        running = _cpython.get_running_loop()
        done = next(text for names, text in _TOUCHES if sighting.method.startswith(names))
        users = [one for one in users_here() if is_transport(type(one))]
        yield Observation(
            Finding(
                INHERITED_LOOP,
                f"{name_loop(home, state_of(sighting.loop))}, made in process {home.pid}, shares "
                f"its selector with a forked child, which {done}",
                self.loops.of(running) if running not in (None, sighting.loop) else None,
                home,
                (Stack("touched in the child", stack_here()), *loop_births(home)),
                _LET_GO,
                home_state=state_of(sighting.loop),
            ),
            about=(*users[:1], sighting.loop),
        )

    def _got_signal(self, sighting: SignalTaken) -> Observation:
        home = self.loops.of(sighting.loop) if sighting.loop is not None else None
        whose = str(home) if home is not None else "a loop of the parent"
        became = (
            "it went to the parent, which has the same wake-up descriptor, and what the parent "
            "does about it is done there"
            if sighting.reaches
            else "in the child nobody runs that loop, so nothing came of it"
        )
        return Observation(
            Finding(
                INHERITED_LOOP,
                f"a forked child got {signal.Signals(sighting.number).name} and had nothing but "
                f"the handler of {whose} for it: {became}",
                None,
                home,
                (Stack("where the child was", stack_here()), *loop_births(home)),
                _OWN_SIGNALS,
                home_state=state_of(sighting.loop) if sighting.loop is not None else None,
            ),
            about=(sighting.loop,) if sighting.loop is not None else (),
            users=(),
            identity=(sighting.number, home),
        )

    def _stranded(self, sighting: JobStranded) -> Observation:
        running = _cpython.get_running_loop()
        return Observation(
            Finding(
                INHERITED_LOOP,
                "a forked child gave work to a thread pool of its parent's: the pool's threads did "
                "not come along, and nobody does the work",
                self.loops.of(running) if running is not None else None,
                None,
                (Stack("used in the child", stack_here()),),
                INHERITED_LOOP.remedy.partition(" Parent and child")[0],
            ),
            about=(sighting.pool,),
        )


def _asked_for(sighting: GivenWork) -> str | None:
    """Which of asyncio's functions the user's own code has called; None where it was no such.

    What asyncio and libraries schedule by themselves may be their way to close; and what runs a
    loop, or hands over a coroutine, is told as that.
    """
    frames = live_frames()
    method = sighting.method
    while frames and is_stdlib(frames[-1].f_code.co_filename):
        code = frames.pop().f_code
        method = code.co_name if _cpython.gives_work(code) else ""
    if not method or not frames or is_library(frames[-1].f_code.co_filename):
        return None
    return None if in_finalizer(live_frames()) else method
