"""Under which locks another is always taken: nobody can have to wait for such a one.

A lock that each task takes under one and the same other lock is never found taken: whoever could
find it so waits for the outer one. This is the lockset of Eraser (Savage et al., 1997): at each
taking of the inner lock the set of those that the task holds is intersected with what has remained
of it so far. One taking outside of the guard empties it for good.

What a task holds is what it has asked for and not given back, and only its giving back shows that
it was given it: where it was not (it gave up waiting, somebody else gave it back, its loop ended),
what was taken meanwhile was not taken under that lock. Nor is an inner lock guarded that is still
held when the outer one is given back.

Guards are locks that only one task can hold: not a semaphore of which more than one permit was seen
free. A lock that nobody but one task can ever come to guards nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from pytest_loopsafe._cpython import primitives as private
from pytest_loopsafe._probes.steps import Steps


class Claim:
    """A lock that a task has asked for, and not given back.

    Attributes:
        gate: what is known of the lock.
        task: refers to the task.
        relies: the locksets that count on it, each with the inner lock, by their ``id()``; None
            while there are none.
    """

    __slots__ = ("gate", "relies", "task")

    def __init__(self, gate: Any, task: weakref.ref[Any]) -> None:
        self.gate = gate
        self.task = task
        self.relies: dict[int, tuple[Lockset, Any]] | None = None


class _Guard:
    """A lock under which another was taken each time so far.

    `unproved` counts the claims that were not, or not yet, shown to have been held all the time;
    `shared` says that another task than the holder takes part, or could come to it.
    """

    __slots__ = ("gate", "shared", "unproved")

    def __init__(self, gate: Any) -> None:
        self.gate = gate
        self.unproved = 0
        self.shared = False


class Lockset:
    """The locks under which one was taken each time, in one loop."""

    __slots__ = ("_first", "guards")

    def __init__(self) -> None:
        self.guards: dict[int, _Guard] | None = None
        self._first: Any = None

    def meet(self, task: Any, claims: dict[int, Claim], inner: Any) -> None:
        """It is taken by a task with these claims."""
        if self.guards is None:
            outer = [one.gate for one in list(claims.values()) if one.gate is not inner]
            self.guards = {id(gate): _Guard(gate) for gate in outer}
            self._first = weakref.ref(task)
        for key, guard in list(self.guards.items()):
            claim = claims.get(key)
            if claim is None:
                self.guards.pop(key, None)
                continue
            guard.shared = guard.shared or self._first() is not task
            if claim.relies is None:
                claim.relies = {}
                guard.gate.relied[id(task)] = claim
            if id(self) not in claim.relies:
                guard.unproved += 1
                claim.relies[id(self)] = self, inner

    def empty(self) -> None:
        """It is guarded by nothing."""
        self.guards = {}

    def prove(self, outer: Any) -> None:
        """Once it was taken, and given back, while this one really was held."""
        guard = (self.guards or {}).get(id(outer))
        if guard is not None:
            guard.unproved -= 1

    def share(self, is_private: Callable[[Any], bool]) -> None:
        """Its holder is suspended: see which guards others can come to."""
        for guard in list((self.guards or {}).values()):
            guard.shared = guard.shared or not is_private(guard.gate)

    def is_guarded(self) -> bool:
        """Whether there is such a lock, as far as is known now."""
        return any(one.shared and not one.unproved for one in (self.guards or {}).values())


class Locksets:
    """What tasks hold, by their ``id()``; it is told of all that is taken and given back.

    A claim that is forgotten proves nothing, so whatever relies on it is unguarded.
    """

    def __init__(self, steps: Steps) -> None:
        self._claims: dict[int, tuple[weakref.ref[Any], dict[int, Claim]]] = {}
        self._steps = steps
        self._limit = _FEW

    def clear(self) -> None:
        """Begin anew."""
        self._claims.clear()

    def takes(self, gate: Any, primitive: Any, task: Any) -> None:
        """A task asks for a lock, and will have it when it goes on from there."""
        if gate.is_semaphore:
            self._counts_permits(gate, primitive, task)
        if gate.relied and not private.would_wait(primitive, "acquire"):
            for one in list(gate.relied.values()):  # it can be had, so they do not hold it
                if one.task() is not task:
                    self._forget(one)
        if gate.is_multiple or task is None:
            self.forget_all(gate)
            gate.lockset.empty()
            gate.is_bare = True
            return
        if not gate.is_bare:
            for held in self._steps.held_by(task):
                self.keeps(held, task)
            gate.lockset.meet(task, self._of(task), gate)
            gate.is_bare = not gate.lockset.guards
        self._claim(gate, task)

    def keeps(self, gate: Any, task: Any) -> None:
        """A task holds what it took around plain statements, while more happens."""
        if not gate.is_multiple and not _has(gate, task):
            self._claim(gate, task)

    def gives(self, gate: Any, task: Any) -> None:
        """It is given back by a task, or by none."""
        own = gate.claims.get(id(task))
        if own is None or task is None or own.task() is not task:
            gate.is_multiple |= gate.is_semaphore  # there may be more permits from now on
            for one in list(gate.relied.values()):
                self._forget(one)
            return
        self._forget(own)
        if own.relies is not None:
            for lockset, inner in own.relies.values():
                if not _has(inner, task):  # it was given back before
                    lockset.prove(gate)

    def forget_all(self, gate: Any) -> None:
        """It is used in another loop from now on, or by many at once."""
        for one in list(gate.claims.values()):
            self._forget(one)

    def _counts_permits(self, gate: Any, primitive: Any, task: Any) -> None:
        free = private.free_permits(primitive)
        held = any(one.task() is not task for one in list(gate.claims.values()))
        is_free = held and free > 0 and not private.would_wait(primitive, "acquire")
        gate.is_multiple = gate.is_multiple or free > 1 or is_free

    def _of(self, task: Any) -> dict[int, Claim]:
        held = self._claims.get(id(task))
        return held[1] if held is not None and held[0]() is task else {}

    def _claim(self, gate: Any, task: Any) -> None:
        key, claim = id(task), Claim(gate, weakref.ref(task))
        if key in gate.claims:  # it was never given to it, or to one that is gone
            self._forget(gate.claims[key])
        gate.claims[key] = claim
        if len(gate.claims) > gate.most_claims:
            for other, one in list(gate.claims.items()):
                if one.task() is None:
                    gate.claims.pop(other, None)
            gate.most_claims = _FEW + 2 * len(gate.claims)
        held = self._claims.get(key)
        if held is not None and held[0]() is task:
            held[1][id(gate)] = claim
            return
        self._claims[key] = claim.task, {id(gate): claim}
        if len(self._claims) > self._limit:
            for other, (ref, _) in list(self._claims.items()):
                if ref() is None:
                    self._claims.pop(other, None)
            self._limit = _FEW + 2 * len(self._claims)

    def _forget(self, claim: Claim) -> None:
        gate, task = claim.gate, claim.task()
        if task is None:  # it went, and left this behind
            for key, one in list(gate.claims.items()):
                if one is claim:
                    gate.claims.pop(key, None)
                    gate.relied.pop(key, None)
            return
        gate.claims.pop(id(task), None)
        gate.relied.pop(id(task), None)
        held = self._claims.get(id(task))
        if held is not None and held[0]() is task:
            held[1].pop(id(gate), None)
            if not held[1]:
                self._claims.pop(id(task), None)


def _has(gate: Any, task: Any) -> bool:
    claim = gate.claims.get(id(task))
    return claim is not None and claim.task() is task


_FEW = 256
