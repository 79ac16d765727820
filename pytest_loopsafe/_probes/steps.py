"""What a task does within one step: what it takes, and what it asks before it takes it.

A step is one run of a task between two suspensions. Whatever resumes a task is scheduled first, so
a step has ended once the task is scheduled again, and `call_soon` is where that is seen
(`pytest_loopsafe._probes.scheduling`). It is exact on asyncio's loops and uvloop, for tasks of C
and of Python, and for eager ones. Rejected: to count the rounds of a loop (uvloop has none that
could be seen), or whatever is scheduled (most of it suspends nobody).

Tasks are known by their ``id()`` and a weak reference; nothing is kept alive by being watched.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from pytest_loopsafe._words.answers import Place, guards, places


@dataclass(frozen=True)
class Asked:
    """A use of something that was asked about before, in the same step.

    `questions` and `use` are where the code was, as `pytest_loopsafe._words.answers` reads it.
    """

    questions: tuple[tuple[Place, ...], ...]
    use: tuple[Place, ...]

    @property
    def key(self) -> object:
        """The same for the same places. Codes go by their ``id()``: to hash one reads all of it."""
        return tuple(
            (id(code), at) for code, at in (*(one[0] for one in self.questions), *self.use)
        )

    def is_guarded(self) -> bool:
        """Whether it would not have been used, had the answer been another. To be asked at rest."""
        return any(guards(question, self.use) for question in self.questions)


class Held(Protocol):
    """Something that a task holds. Where that is all there is to know, it stands for the step."""

    def is_of(self, task: Any) -> bool:
        """Whether this task holds it."""

    def is_over(self) -> bool:
        """Whether the task that holds it is gone."""

    def end(self) -> None:
        """The task that holds it has been suspended, or is gone."""

    def end_with(self, loop: Any) -> None:
        """A loop has ended; if the task that holds it is of this one, it ends too."""


class _Question:
    """One answer, and for how many uses by which method it promises that they need not wait."""

    __slots__ = ("about", "left", "places")

    def __init__(
        self, about: weakref.ref[Any], left: dict[str, int], places: tuple[Place, ...]
    ) -> None:
        self.about = about
        self.left = left
        self.places = places


class _Step:
    """The step that a task is in."""

    __slots__ = ("asked", "held", "task")

    def __init__(self, task: Any) -> None:
        self.task = weakref.ref(task)
        self.held: list[Held] = []
        self.asked: dict[int, list[_Question]] = {}

    def is_of(self, task: Any) -> bool:
        return self.task() is task

    def is_over(self) -> bool:
        return self.task() is None

    def end(self) -> None:
        for held in self.held:
            held.end()

    def end_with(self, loop: Any) -> None:
        for held in self.held:
            held.end_with(loop)


_MAX_QUESTIONS = 8
"""So many are remembered of one thing in one step; the latest ones."""

_ASKED_DEPTH, _USED_DEPTH = 4, 8
"""So many frames outwards the function is looked for that asks in one call, and uses in another."""


class Steps:
    """The steps that tasks are in, of those that take or ask for something.

    Args:
        table: by the ``id()`` of the task. Whoever sees that a task is scheduled takes its step out
            and ends it; most often the table is empty.
    """

    def __init__(self, table: dict[int, Any]) -> None:
        self.table = table
        self._limit = _FEW

    def clear(self) -> None:
        """Begin anew."""
        self.table.clear()

    def end_with(self, loop: Any) -> None:
        """A loop has ended, and with it the tasks that are still in a step of theirs."""
        for step in list(self.table.values()):
            step.end_with(loop)

    def holds(self, task: Any, held: Held) -> None:
        """A task takes something."""
        if id(task) in self.table:
            self._of(task).held.append(held)
        else:
            self._put(task, held)

    def gives_back(self, task: Any, held: Held) -> None:
        """A task no longer has it."""
        step = self.table.get(id(task))
        if step is held:
            self.table.pop(id(task), None)
        elif type(step) is _Step and held in step.held:
            step.held.remove(held)
            if not step.held and not step.asked:
                self.table.pop(id(task), None)

    def asks(self, task: Any, about: Any, left: dict[str, int], frame: FrameType) -> None:
        """A task is told that so many uses by these methods need not wait."""
        questions = self._of(task).asked.setdefault(id(about), [])
        if len(questions) >= _MAX_QUESTIONS:
            del questions[0]
        questions.append(_Question(weakref.ref(about), left, places(frame, _ASKED_DEPTH)))

    def answered(self, task: Any, about: Any, method: str, frame: FrameType) -> Asked | None:
        """What was asked about something that is used now, if anything; it serves for this use."""
        step = self.table.get(id(task))
        if type(step) is not _Step or not step.asked or not step.is_of(task):
            return None
        found = []
        for question in step.asked.get(id(about), ()):
            if question.about() is about and question.left.get(method, 0) > 0:
                question.left[method] -= 1
                found.append(question.places)
        return Asked(tuple(found), places(frame, _USED_DEPTH)) if found else None

    def _of(self, task: Any) -> _Step:
        known = self.table.get(id(task))
        if type(known) is _Step and known.is_of(task):
            return known
        step = _Step(task)
        if known is not None and known.is_of(task):
            step.held.append(known)
        elif known is not None:  # of a task that is gone, whose address this one has
            known.end()
        self._put(task, step)
        return step

    def _put(self, task: Any, step: Any) -> None:
        """Keep a step. The last ones of tasks that are gone are never ended: forget them."""
        self.table[id(task)] = step
        if len(self.table) > self._limit:
            for key, one in list(self.table.items()):
                if one.is_over():
                    self.table.pop(key, None)
            self._limit = _FEW + 2 * len(self.table)


_FEW = 256
