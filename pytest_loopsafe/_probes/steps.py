"""What a task does within one step: what it takes, and what it asks before it takes it.

A step is one run of a task between two suspensions. Whatever resumes a task is scheduled first, so
a step has ended once the task is scheduled again, and `call_soon` is where that is seen
(`pytest_loopsafe._probes.scheduling`). It is exact on asyncio's loops and uvloop, for tasks of C
and of Python, and for eager ones. Rejected: to count the rounds of a loop (uvloop has none that
could be seen), or whatever is scheduled (most of it suspends nobody).

An answer is good for the step in which it was given: after that anybody may have changed what it
says. Who takes items out of a queue is seen, so one answer lasts: how many there are. As long as
nobody else takes one, they are there for the task that has counted them.

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
    """One answer, and for how many uses by which method it promises that they need not wait.

    `due` counts the uses that it has served for, and that have not taken their item yet.
    """

    __slots__ = ("about", "due", "left", "places")

    def __init__(
        self, about: weakref.ref[Any], left: dict[str, int], places: tuple[Place, ...]
    ) -> None:
        self.about = about
        self.left = left
        self.places = places
        self.due = 0

    def is_at(self, place: Place) -> bool:
        """Whether it was asked there."""
        code, offset = self.places[0]
        return code is place[0] and offset == place[1]

    def takes(self, *, own: bool, promised: bool) -> None:
        """An item was taken: by its task, by a use that it may have served for, or by another."""
        if promised and self.due > 0:
            self.due -= 1
        elif own and not promised:
            self.left["get"] -= 1
        else:
            self.left["get"] = 0


class _Counts:
    """What tasks have been told of the number of items in one queue, by the ``id()`` of the task.

    It outlives their steps. Of a task that asks again at the same place only that is kept.
    """

    __slots__ = ("limit", "of_tasks", "queue")

    def __init__(self, queue: weakref.ref[Any]) -> None:
        self.queue = queue
        self.of_tasks: dict[int, tuple[weakref.ref[Any], list[_Question]]] = {}
        self.limit = _FEW

    def of(self, task: Any) -> list[_Question]:
        """What a task has been told, and can still count on."""
        ref, questions = self.of_tasks.get(id(task), (None, []))
        return questions if ref is not None and ref() is task else []

    def told(self, task: Any, question: _Question) -> None:
        """A task has been told."""
        kept = [one for one in self.of(task) if not one.is_at(question.places[0])]
        kept.append(question)
        self.of_tasks[id(task)] = weakref.ref(task), kept[-_MAX_QUESTIONS:]
        if len(self.of_tasks) > self.limit:
            for key, (ref, _) in list(self.of_tasks.items()):
                if ref() is None:
                    self.of_tasks.pop(key, None)
            self.limit = _FEW + 2 * len(self.of_tasks)

    def takes(self, task: Any, *, promised: bool) -> None:
        """An item was taken."""
        for key, (ref, questions) in list(self.of_tasks.items()):
            own = task is not None and ref() is task
            for question in questions:
                question.takes(own=own, promised=promised)
            left = [one for one in questions if one.left["get"] > 0 or one.due > 0]
            if not left:
                self.of_tasks.pop(key, None)
            elif len(left) < len(questions):
                self.of_tasks[key] = ref, left


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
        self.counts: dict[int, _Counts] = {}
        self._limit = _FEW

    def clear(self) -> None:
        """Begin anew."""
        self.table.clear()
        self.counts.clear()

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

    def held_by(self, task: Any) -> list[Any]:
        """What a task has taken in its step, and still has."""
        step = self.table.get(id(task))
        if step is None or not step.is_of(task):
            return []
        return list(step.held) if type(step) is _Step else [step]

    def asks(self, task: Any, about: Any, left: dict[str, int], frame: FrameType) -> None:
        """A task is told that so many uses by these methods need not wait."""
        self._ask(task, about, _Question(weakref.ref(about), left, places(frame, _ASKED_DEPTH)))

    def counts_items(self, task: Any, queue: Any, left: dict[str, int], frame: FrameType) -> None:
        """A task is told how many items a queue has: they stay, as long as nobody takes one."""
        counts = self.counts.get(id(queue))
        if counts is None or counts.queue() is not queue:
            known, key = self.counts, id(queue)

            def forget(ref: object) -> None:
                known.pop(key, None)

            counts = known[key] = _Counts(weakref.ref(queue, forget))
        question = _Question(counts.queue, left, places(frame, _ASKED_DEPTH))
        self._ask(task, queue, question)
        if left["get"] > 0:
            counts.told(task, question)

    def takes_item(self, task: Any, queue: Any, *, promised: bool) -> None:
        """An item was taken out of a queue: by ``get``, to whose call it was `promised`, or not."""
        counts = self.counts.get(id(queue))
        if counts is not None and counts.queue() is queue:
            counts.takes(task, promised=promised)
            if not counts.of_tasks:
                self.counts.pop(id(queue), None)

    def answered(self, task: Any, about: Any, method: str, frame: FrameType) -> Asked | None:
        """What was asked about something that is used now, if anything; it serves for this use."""
        step = self.table.get(id(task))
        questions: list[_Question] = []
        if type(step) is _Step and step.asked and step.is_of(task):
            questions += step.asked.get(id(about), ())
        if method == "get" and id(about) in self.counts:
            kept = self.counts[id(about)].of(task)
            questions += [one for one in kept if not any(one is other for other in questions)]
        found = []
        for question in questions:
            if question.about() is about and question.left.get(method, 0) > 0:
                question.left[method] -= 1
                question.due += method == "get"
                found.append(question.places)
        return Asked(tuple(found), places(frame, _USED_DEPTH)) if found else None

    def _ask(self, task: Any, about: Any, question: _Question) -> None:
        questions = self._of(task).asked.setdefault(id(about), [])
        if len(questions) >= _MAX_QUESTIONS:
            del questions[0]
        questions.append(question)

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
