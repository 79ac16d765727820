"""The evidence for LS207: whether something still relies on work that went down with its loop.

What nobody asked for again is not missed. So a later loop of the same pass key must have run, and
what counts in it is, the best first:

1.  Something was handed to the dead work: an item in a queue that nobody else reads, an event that
    nobody else waits for.
2.  The function that had started it ran again and started nothing: exact from CPython 3.12 on
    (`pytest_loopsafe._probes.reruns`). Of the functions that ran one within the other it is the
    innermost one which ran again that had the choice. What it looks at before it comes to the
    call, and bars the way now, stands for the dead work, if it is a flag (only asked, and written)
    or has to do with the work; an entry of a cache, which is read, stands for itself.
3.  The work itself had set a status that it did not come to set back, and the same code, or that
    which had started it, leaves early for that when it is called again.
4.  A global of the user's refers to the dead work itself.

Where only a function further out ran again, which had reasons of its own (``if first:``), it is not
decidable: a warning, and nothing where the function that starts the task asks the kept one first
(``task.done()``), for it would have started another. On 3.11 it is not known what ran again: there
what any of the functions looks at counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NamedTuple

from pytest_loopsafe._graph import guards
from pytest_loopsafe._graph.owners import Owner
from pytest_loopsafe._graph.reliance import Surroundings, is_linked, takes_back
from pytest_loopsafe._graph.starters import Bearers, Starter
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._probes.reruns import Reruns
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Frame, is_library
from pytest_loopsafe._words.weak import Ref, nowhere

_MAX_SEARCHES = 5
"""For each code: a search costs milliseconds, and a server may have a task for each connection."""


@dataclass(frozen=True)
class Lost:
    """What went down with its loop.

    Attributes:
        who: what it is called in a report.
        code: what it ran.
        loop: its loop.
        frames: where it was, or where it was started.
        chain: the user's functions that were running when it was started, the innermost first.
        task: itself.
        bearer: the object that it worked for.
        around: what it had to do with.
        within: the user's functions that were suspended in it, the innermost first.
        kind: ``pending``, ``cancelled`` by the code itself, a ``timer`` that sets itself again, or
            one that is to go off ``once``.
        calls_thing: whether it is a timer that calls what is not the user's code: `code` is then
            the function that has set it.
    """

    who: str
    code: CodeType
    loop: LoopInfo
    frames: tuple[Frame, ...]
    chain: tuple[Starter, ...]
    task: Ref = nowhere
    bearer: Ref = nowhere
    around: Surroundings = field(default_factory=Surroundings)
    within: tuple[Starter, ...] = ()
    kind: str = "pending"
    calls_thing: bool = False


class Verdict(NamedTuple):
    """What it is worth, what still stands for the work, and the loop that handed it something.

    `barred` is the function of the work itself that was called again, and left early.
    """

    severity: Severity
    owner: str | None = None
    handed: LoopInfo | None = None
    barred: str | None = None


class Evidence:
    """Judges what is lost, at one moment when all rests.

    Args:
        graph: who holds what.
        reruns: what ran again.
    """

    def __init__(self, graph: Graph, reruns: Reruns) -> None:
        self._graph = graph
        self._reruns = reruns
        self._searches: Counter[int] = Counter()
        self._objects = Bearers(graph.is_kept)

    def of(self, lost: Lost) -> Verdict | None:
        """Where nothing like it was started again; None where nobody has asked for it."""
        task = lost.task()
        chain, ran = lost.chain, self._ran_again(lost)
        if chain and ran == len(chain):
            return None
        if ran is None and self._would_restart(chain[:1], task):
            return None
        choosing = chain if ran is None else chain[ran : ran + 1]
        if lost.kind == "cancelled":  # ended in order: missed where the one who chose looks at it
            return self._of_kept(choosing[:1], task, lost) if not ran else None
        skipped = chain if ran is None else chain[:ran]
        cache = guards.cache_of(skipped)
        if cache is not None and lost.kind != "once":
            return Verdict(Severity.ERROR, cache)
        owners = self._owners(task, lost)
        is_barred = False
        for starter in choosing:
            for guard in self._guards(starter, lost):
                if lost.kind == "once":  # many are left behind, and are not missed
                    is_missed = takes_back(guard, chain, lost.around.codes)
                else:
                    its = guard.is_flag or is_linked(guard, starter, lost.around, owners)
                    is_missed = guard.is_set and its
                if is_missed:
                    return Verdict(Severity.ERROR, guard.path)
                is_barred = True  # by what stands for itself, or by nothing to do
        is_timer = lost.kind in ("timer", "once")
        if is_timer or (is_library(lost.code.co_filename) and not owners):
            return None
        tested = self._tested(choosing, task, owners, lost)
        if tested is not None:
            return Verdict(Severity.ERROR, tested)
        if is_barred:
            return Verdict(Severity.WARNING)
        return self._of_owners(lost, ran, skipped, owners)

    def of_status(self, lost: Lost, *, started: bool) -> Verdict | None:
        """Where what the work would have set back bars the way to who calls the same code again.

        The work's own, or that of those who had started it.

        Args:
            lost: the work.
            started: whether a later loop was given the like, for where nobody saw what ran again.
        """
        kept, statuses = self._kept, set[str]()
        for starter in lost.within:
            statuses |= guards.set_back_by(starter, self._bearers(starter), kept)
        for starter in (*lost.within, *lost.chain) if statuses else ():
            last = self._reruns.last(starter.code, lost.loop.pass_key)
            if not (started if last is None else last > lost.loop.number):
                continue
            bearers = self._bearers(starter) if self._ran_for(starter, lost) else ()
            for guard in guards.guards_of(starter, bearers, kept):
                if guard.path in statuses:
                    severity = Severity.ERROR if guard.is_certain else Severity.WARNING
                    return Verdict(severity, guard.path, barred=starter.code.co_qualname)
        return None

    def _kept(self, thing: Any) -> str | None:
        """How a global reaches an object, be it an entry among others."""
        return self._graph.single_path(thing) or self._graph.path((thing,))

    def of_its_object(self, lost: Lost) -> Verdict | None:
        """Where the like was started for others: what keeps it from coming back for its object."""
        bearer = lost.bearer()
        if bearer is None or not lost.chain:
            return None
        starter, task = lost.chain[0], lost.task()
        ran = self._reruns.last_of(starter.code, bearer, lost.loop.pass_key)
        if ran is not None and ran <= lost.loop.number:
            return None
        if ran is None and guards.asks(starter, task, (bearer,)):
            return None
        keeper = self._keeper(starter, lost)
        for guard in guards.guards_of(starter, (bearer,), keeper):
            if guard.is_set and guard.place.scope == "local":
                return Verdict(Severity.ERROR, keeper(bearer))
        return None

    def _bearers(self, starter: Starter) -> tuple[Any, ...]:
        bearer = self._objects.of(starter)
        return () if bearer is None else (bearer,)

    def _ran_again(self, lost: Lost) -> int | None:
        """Which function ran again, the innermost; their number for none, None if nobody saw."""
        for index, starter in enumerate(lost.chain):
            last = self._reruns.last(starter.code, lost.loop.pass_key)
            if last is None:
                return None
            if last > lost.loop.number:
                return index
        return len(lost.chain)

    def _ran_for(self, starter: Starter, lost: Lost) -> bool:
        """Whether it may be for the same object that a function ran again."""
        last = self._last_for(starter, lost)
        return last is None or last > lost.loop.number

    def _last_for(self, starter: Starter, lost: Lost) -> int | None:
        """The last loop in which a function ran for its object; None where nobody saw, or has."""
        bearer = self._objects.of(starter)
        if bearer is None:
            return None
        return self._reruns.last_of(starter.code, bearer, lost.loop.pass_key)

    def _keeper(self, starter: Starter, lost: Lost) -> guards.Keeper:
        """How a global has to reach the function's object.

        An entry among others may be a record of what was, unless this very one was called again.
        """
        last = self._last_for(starter, lost)
        return self._graph.single_path if last is None else self._kept

    def _guards(self, starter: Starter, lost: Lost) -> list[guards.Guard]:
        bearers = self._bearers(starter) if self._ran_for(starter, lost) else ()
        return list(guards.guards_of(starter, bearers, self._keeper(starter, lost)))

    def _would_restart(self, chain: Sequence[Starter], task: Any) -> bool:
        """Whether one of these asks the task itself before it starts another."""
        return task is not None and any(
            guards.asks(starter, task, self._bearers(starter)) for starter in chain
        )

    def _tested(
        self, choosing: Sequence[Starter], task: Any, owners: list[Owner], lost: Lost
    ) -> str | None:
        """Where the dead task is that a function looked at, together with other things."""
        if task is None or self._would_restart(choosing, task):
            return None
        holders = [thing for owner in owners for thing in owner.chain[:-1]]
        for starter in choosing:
            bearers = self._bearers(starter) if self._ran_for(starter, lost) else ()
            path = guards.tested_in(starter, bearers, self._graph.single_path, holders, task)
            if path is not None:
                return path
        return None

    def _of_kept(self, choosing: Sequence[Starter], task: Any, lost: Lost) -> Verdict | None:
        """A variable has the cancelled task, and its starter takes that for a living one."""
        for starter in choosing:
            if guards.ends(starter, task, self._bearers(starter)):
                return None
            for guard in self._guards(starter, lost):
                if guard.value is task:
                    return Verdict(Severity.ERROR, guard.path)
        return None

    def _of_owners(
        self, lost: Lost, ran: int | None, skipped: Sequence[Starter], owners: list[Owner]
    ) -> Verdict | None:
        """What barred the way is not known, and a global may still refer to the work."""
        owner = next((one.path for one in owners if not _is_record(one.path)), None)
        chain = lost.chain
        is_on_demand = bool(chain) and guards.is_on_demand(chain[0])
        if ran is None:  # where the others come to their calls, the first ran again
            is_certain = not is_on_demand and all(map(guards.is_unconditional, chain[1:]))
        elif ran:
            if self._would_restart(skipped, lost.task()):
                return None
            is_certain = guards.is_unconditional(chain[ran])
        else:
            is_certain = not chain or (not is_on_demand and self._ran_for(chain[0], lost))
        is_error = is_certain and owner is not None
        return Verdict(Severity.ERROR if is_error else Severity.WARNING, owner)

    def _owners(self, task: Any, lost: Lost) -> list[Owner]:
        """How globals of the user's reach the task itself."""
        self._searches[id(lost.code)] += 1
        if task is None or self._searches[id(lost.code)] > _MAX_SEARCHES:
            return []
        return [one for one in self._graph.owners(task) if one.own and not one.hidden]


def _is_record(path: str) -> bool:
    """Whether what is there is an entry among others: a list of all that was started."""
    return path.endswith(("]", ">"))
