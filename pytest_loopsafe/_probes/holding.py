"""Seeing locks, semaphores and conditions: who holds one, and whether another task runs meanwhile.

That is what counts, for only then can anybody find one taken. It is told when the holder is
scheduled anew before it has given it back (so it was suspended), when somebody else takes it or
gives it back, or when the loop ends and takes the holder with it.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable
from types import FrameType, FunctionType, MethodType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._cpython import primitives as private
from pytest_loopsafe._probes.instrumentation import Emit, Patches
from pytest_loopsafe._probes.locksets import Claim, Lockset, Locksets
from pytest_loopsafe._probes.steps import Steps
from pytest_loopsafe._probes.uses import (
    Build,
    CouldWait,
    Original,
    PrimitiveUsed,
    Record,
    Uses,
)
from pytest_loopsafe._words.answers import Place
from pytest_loopsafe._words.stacks import is_own, suspended_chain
from pytest_loopsafe._words.ways import entered_generators
from pytest_loopsafe._words.weak import nowhere


class Gate(Record):
    """A lock or semaphore in one loop. It counts where it was held while another task ran.

    Attributes:
        face: refers to the condition around a lock.
        holder: refers to the task that holds it and is still in the step in which it took it.
        permits: how many the holder has.
        taken: where it took the first.
        free: how many there were before.
        held: what was to be shown has been seen: it was held while another task ran.
        quiet: it was taken here often enough to be known, and never held so.
        claims: of the tasks that have asked for it, and not given it back; by their ``id()``.
        relied: those of them under which another was taken.
        most_claims: beyond so many it is looked who of them is gone.
        lockset: the locks under which it was taken here each time.
        is_bare: there are none.
        is_semaphore: it is no lock.
        is_multiple: several tasks can hold it at the same time.
    """

    __slots__ = (
        *("face", "free", "held", "holder", "permits", "quiet", "table", "taken"),
        *("claims", "relied", "most_claims", "lockset", "is_bare", "is_semaphore", "is_multiple"),
    )

    def __init__(self, primitive: weakref.ref[Any], table: Gates) -> None:
        self.claims: dict[int, Claim] = {}
        self.relied: dict[int, Claim] = {}
        self.most_claims = 256
        super().__init__(primitive)
        self.face: Any = nowhere
        self.table = table
        self.is_semaphore = issubclass(type(primitive()), asyncio.Semaphore)
        self.is_multiple = False

    def begin(self, loop: Any) -> None:
        """It is used in another loop than before."""
        super().begin(loop)
        self.holder: Any = None
        self.permits = self.free = 0
        self.taken: Place | None = None
        self.held = self.quiet = self.is_bare = False
        self.lockset = Lockset()

    def is_of(self, task: Any) -> bool:
        """Whether it is the only thing to be known of a task's step: that it is held."""
        return self.holder is not None and self.holder() is task

    def is_over(self) -> bool:
        """Whether that task is gone."""
        return self.holder is None or self.holder() is None

    def end(self) -> None:
        """That step is over."""
        if self.holder is not None:
            self.spans(self.holder())

    def end_with(self, loop: Any) -> None:
        """That loop has ended: nobody will give it back."""
        if self.holder is not None and self.loop() is loop:
            self.spans(self.holder())

    def spans(self, task: Any) -> None:
        """Its holder was suspended, or has ended, or somebody else is at it: the use counts."""
        primitive, self.holder = self.primitive(), None
        if primitive is None or private.free_permits(primitive) >= self.free:
            return  # it was called, and not awaited yet; or given back where nobody could see it
        self.held, self.quiet = True, False
        if task is not None:
            self.table.locksets.keeps(self, task)
        if self.asked or self.plainly:
            del primitive  # it would be counted
            alone = task is not None and is_all_of(task, self.primitive, self.face)
            if task is not None:
                self.lockset.share(lambda one: is_all_of(task, one.primitive, one.face))
            primitive = self.primitive()
            self.table.tell(self, primitive, holder=task, taken=self.taken, alone=alone)


class Gates(Uses):
    """Locks and semaphores, and conditions by the lock under them."""

    def __init__(self, emit: Emit, steps: Steps) -> None:
        super().__init__(emit, steps)
        self.locksets = Locksets(steps)

    def clear(self) -> None:
        """Begin anew."""
        super().clear()
        self.locksets.clear()

    def _record(self, primitive: weakref.ref[Any]) -> Any:
        return Gate(primitive, self)

    def acquire(self, primitive: Any, loop: Any, user: FrameType, face: Any = None) -> None:
        """It is taken. `face` is the condition that is entered, where it is that."""
        gate: Gate = self.of(primitive)
        task = _cpython.task_in(loop)
        if gate.holder is not None and gate.holder() is not task:
            self._met(gate)
        if gate.loop() is not loop:
            # A holder in a loop that runs at the same time is as good as one in this.
            alongside = _cpython.loop_thread(gate.loop()) is not None
            is_held = gate.held and alongside
            self.locksets.forget_all(gate)
            before = gate.lockset
            gate.begin(weakref.ref(loop))
            gate.held = is_held
            if alongside:  # no guard of one loop keeps the other's tasks away
                before.empty()
                gate.lockset.empty()
        if face is not None:
            gate.face = weakref.ref(face)
        if not gate.used:
            gate.used = True
            self.emit(PrimitiveUsed(gate.face() or primitive, "acquire", loop))
        self.locksets.takes(gate, primitive, task)
        if private.would_wait(primitive, "acquire"):
            gate.lockset.empty()
            self.tell(gate, primitive, waits=True)
            return
        asked = self.steps.answered(task, primitive, "acquire", user)
        news = True
        if asked is None:
            gate.plainly = True
        else:
            news = gate.notes(asked)
        if gate.held:
            if news:
                self.tell(gate, primitive)
        elif gate.holder is not None:
            gate.permits += not isinstance(primitive, asyncio.Lock)
        elif task is not None:
            gate.holder, gate.permits = weakref.ref(task), 1
            gate.taken = (user.f_code, user.f_lasti)
            gate.free = private.free_permits(primitive)
            gate.quiet = gate.plainly and type(primitive) is asyncio.Lock
            self.steps.holds(task, gate)

    def release(self, gate: Gate) -> None:
        """It is given back: within the step, if it was taken in it."""
        loop = _cpython.get_running_loop()
        task = _cpython.task_in(loop) if loop is not None else None
        self.locksets.gives(gate, task)
        if gate.holder is None:
            return
        if task is None or gate.holder() is not task:
            self._met(gate)
        elif gate.permits > 1:
            gate.permits -= 1
        else:
            gate.holder = None
            self.steps.gives_back(task, gate)

    def _met(self, gate: Gate) -> None:
        """It is held by a task that does not run: somebody else does."""
        holder = gate.holder()
        if holder is not None:
            self.steps.gives_back(holder, gate)
        gate.spans(holder)

    def tell(
        self,
        gate: Gate,
        primitive: Any,
        *,
        waits: bool = False,
        holder: Any = None,
        taken: Place | None = None,
        alone: bool = False,
    ) -> None:
        """Tell that it could have been found taken."""
        gate.settled = gate.plainly = gate.plainly or waits
        asked = () if gate.plainly else tuple(gate.asked.values())
        loop = gate.loop()
        if loop is not None:
            face = gate.face() or primitive
            under = gate.lockset if gate.lockset.guards else None
            self.emit(CouldWait(face, loop, waits, holder, taken, asked, alone, under))


def is_all_of(task: Any, lock: Any, face: Any) -> bool:
    """Whether only the functions of one suspended task refer to a lock, or the condition around it.

    Then nobody else can ever come to it. A variable that a closure shares is somebody else's, and
    so is what a weak dictionary or set has. Given by references: nobody may hold it for us.
    """
    thing = face() if face is not nowhere else lock()
    met = 0
    for link in suspended_chain(task.get_coro()):
        for within in (link, *entered_generators(link)):
            for one in gc.get_referents(within):
                met += one is thing or (type(one) is MethodType and one.__self__ is thing)
    if sys.getrefcount(thing) - _OURS > met:
        return False
    return all(type(one) is weakref.ref and _is_ours(one) for one in weakref.getweakrefs(thing))


def _is_ours(ref: weakref.ref[Any]) -> bool:
    callback = ref.__callback__
    return callback is None or (
        type(callback) is FunctionType and is_own(callback.__code__.co_filename)
    )


def _reference_of_a_variable() -> int:
    thing = object()
    return sys.getrefcount(thing)


_OURS = _reference_of_a_variable()


def hook(patches: Patches, gates: Gates) -> None:
    """Hook the methods by which they are taken and given back."""
    for kind in (asyncio.Lock, asyncio.Semaphore):
        patches.replace(kind, "acquire", _acquire(gates))
        patches.replace(kind, "release", _release(gates))
    # A condition has its lock's methods from when it was made, which may be before all hooks.
    patches.replace(asyncio.Condition, "__aenter__", _enter(gates))
    patches.replace(asyncio.Condition, "__aexit__", _leave(gates))
    patches.on_loop_classes("close", _close(gates.steps), inherited=True)


def _acquire(gates: Gates) -> Build:
    def build(original: Original) -> Original:
        running, known = _cpython.get_running_loop, gates.records.get
        steps, task_of, ref = gates.steps.table, _cpython.task_in, weakref.ref
        lock_state, idle = private.lock_state, private.UNCONTENDED
        takes = gates.locksets.takes

        def acquire(self: Any) -> Any:
            gate, loop = known(id(self)), running()
            if gate is None or gate.loop() is not loop:
                pass
            elif gate.settled:
                if not gate.is_multiple:
                    takes(gate, self, task_of(loop))
                return original(self)
            elif gate.quiet and gate.is_bare and gate.holder is None and lock_state(self) == idle:
                # A pool takes its lock for each command, around plain statements: this has to be
                # quick. All else is as in `Gates.acquire`.
                task = task_of(loop)
                if task is not None and id(task) not in steps:
                    frame = sys._getframe(1)
                    if frame.f_code is private.ENTER:
                        frame = frame.f_back or frame
                    gate.taken = frame.f_code, frame.f_lasti
                    gate.holder = ref(task)
                    steps[id(task)] = gate
                    return original(self)
            if loop is not None:
                caller = sys._getframe(1)
                user = private.calling_user(caller)
                if user is not None and (user is caller or not _is_entered(gate, caller, self)):
                    gates.acquire(self, loop, user)
            return original(self)

        return acquire

    return build


def _is_entered(gate: Any, caller: FrameType, lock: Any) -> bool:
    """Whether a lock is taken by ``async with condition``, which has told so itself."""
    return gate is not None and gate.face is not nowhere and caller.f_locals.get("self") is not lock


def _release(gates: Gates) -> Build:
    def build(original: Original) -> Original:
        running, known = _cpython.get_running_loop, gates.records.get
        steps, task_of = gates.steps.table, _cpython.task_in
        step_of: Callable[[int], Any] = steps.get

        def release(self: Any) -> Any:
            gate = known(id(self))
            if gate is None or (gate.holder is None and not gate.claims):
                return original(self)
            if gate.holder is None:
                gates.release(gate)
                return original(self)
            loop, task = running(), gate.holder()
            here = loop is not None and task is not None and task_of(loop) is task
            if here and gate.quiet and not gate.claims and step_of(id(task)) is gate:
                gate.holder = None
                del steps[id(task)]
            else:
                gates.release(gate)
            return original(self)

        return release

    return build


def _close(steps: Steps) -> Build:
    """A loop takes its tasks with it, and they what they hold."""

    def build(original: Original) -> Original:
        def close(self: Any) -> Any:
            __tracebackhide__ = True
            steps.end_with(self)
            return original(self)

        return close

    return build


def _enter(gates: Gates) -> Build:
    def build(original: Original) -> Original:
        def __aenter__(self: Any) -> Any:  # noqa: N807
            loop, lock = _cpython.get_running_loop(), private.lock_of(self)
            user = private.calling_user(sys._getframe(1))
            if loop is not None and lock is not None and user is not None:
                gates.acquire(lock, loop, user, self)
            return original(self)

        return __aenter__

    return build


def _leave(gates: Gates) -> Build:
    def build(original: Original) -> Original:
        def __aexit__(self: Any, *args: Any) -> Any:  # noqa: N807
            lock = private.lock_of(self)
            gate = gates.records.get(id(lock)) if lock is not None else None
            if gate is not None and (gate.holder is not None or gate.claims):
                gates.release(gate)
            return original(self, *args)

        return __aexit__

    return build
