"""What a function looks at before it comes to a call: read from its bytecode.

``if not self.up: self.up = True; create_task(...)`` has one *look*: the attribute ``up`` of its
first argument, asked for its truth, and where that is true the call is not reached. A look can be
asked again later, of the same place, without running any code of the function's.

It is also told what a function *reads* of a place beyond asking (``return cache[key]``): a flag is
only asked and written, a cache is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import CodeType

from pytest_loopsafe._bytecode import Body
from pytest_loopsafe._bytecode.places import Asked, Place, Places


@dataclass(frozen=True)
class Look:
    """A test on which it depends whether a call is reached; `bars`: the answer that bars the way.

    `asked` is None where it cannot be told what is tested.
    """

    asked: Asked | None
    bars: bool


@dataclass(frozen=True)
class Looks:
    """What a function does before, and apart from, one of its calls.

    Attributes:
        before: the tests on which the call depends, in their order.
        tested: the places that are tested on the way, also where the call is reached either way:
            one condition among others.
        read: the places whose content it uses: it returns that, hands it on, calls its methods.
        filled: the places into which it puts something.
        given: the places that the call itself is given, or the methods of what is there.
        by_error: whether nothing but an error leads to it, in an ``except`` clause.
    """

    before: tuple[Look, ...]
    tested: frozenset[Place]
    read: frozenset[Place]
    filled: frozenset[Place]
    given: frozenset[Place]
    by_error: bool


def looks(code: CodeType, offset: int) -> Looks:
    """What a function looks at before it comes to an instruction.

    Args:
        code: the function's.
        offset: a frame's ``f_lasti``.
    """
    body = Body.of(code)
    places, call = Places(body), body.at(offset)
    places.read()
    before = (*_in_the_way(places, call), *_behind_an_error(places, call))
    tested = {one.place for jump, (one, _) in places.tests.items() if jump < call and one}
    given = (one for one in places.given.get(call, ()) if type(one) is Place)
    used, filled = frozenset(places.used), frozenset(places.filled)
    by_error = not body.reaches(0, {call})
    return Looks(before, frozenset(tested), used, filled, frozenset(given), by_error)


def only_looks(code: CodeType) -> Asked | None:
    """What a function gives that does nothing but look at one place; None for any other.

    ``return self._task is not None``, in a property or a method without further arguments.
    """
    if code.co_argcount != 1 or code.co_flags & _SUSPENDS:
        return None
    places = Places(Body.of(code))
    places.read()
    given = places.returned[0] if len(places.returned) == 1 and not places.tests else None
    asked = Asked(given) if type(given) is Place else given
    own = ("local", code.co_varnames[0])
    is_its = type(asked) is Asked and (asked.place.scope, asked.place.name) == own
    return asked if is_its else None


_SUSPENDS = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR


@dataclass(frozen=True)
class Doings:
    """What a function does on one side of an instruction, if no error comes between.

    Attributes:
        changed: the places that it writes to, or marks something in.
        called: the places whose content it calls.
    """

    changed: frozenset[Place]
    called: frozenset[Place]


def doings(code: CodeType, offset: int | None = None) -> tuple[Doings, Doings]:
    """What a function does before an instruction, and what after it.

    Args:
        code: the function's.
        offset: a frame's ``f_lasti``; None for what it does at all, twice.
    """
    places = Places(Body.of(code))
    places.read()

    def those(is_there: Callable[[int], bool]) -> Doings:
        changed, called = (
            frozenset(place for index, place in one.items() if is_there(index))
            for one in (places.changes, places.calls)
        )
        return Doings(changed, called)

    if offset is None:
        return those(lambda _: True), those(lambda _: True)
    call, reaches = places.body.at(offset), places.body.reaches
    return (
        those(lambda index: index < call and reaches(index, {call})),
        those(lambda index: index != call and reaches(call, {index})),
    )


def ended_by(code: CodeType, offset: int) -> frozenset[Place]:
    """The places whose content a function cancels after a call, where it does so for that alone.

    ``task = create_task(...)`` and then ``task.cancel()``, in the same branch: without the call it
    would not come there.
    """
    places = Places(Body.of(code))
    places.read()
    call, reaches = places.body.at(offset), places.body.reaches
    return frozenset(
        replace(place, attributes=place.attributes[:-1])
        for index, place in places.calls.items()
        if place.attributes[-1:] == ("cancel",)
        and reaches(call, {index})
        and not reaches(0, {index}, {call})
    )


def _in_the_way(places: Places, call: int) -> Iterator[Look]:
    """Of which only one side leads to the call, going forward; or to the error that leads there."""
    goals = places.body.ways_to(call)
    for jump, (tested, if_true) in places.tests.items():
        if jump < call and places.body.instructions[jump - 1].opname not in _WHICH_ERROR:
            sides = places.body.sides(jump, goals, range(jump + 1))
            if len(sides) == 1:
                bars = if_true if sides[0] == jump + 1 else not if_true
                yield Look(tested, bars != (tested is not None and tested.negated))


_WHICH_ERROR = ("CHECK_EXC_MATCH", "CHECK_EG_MATCH")


def _behind_an_error(places: Places, call: int) -> Iterator[Look]:
    """``try: return cache[key]``, ``except KeyError:`` and then the call: what was looked up."""
    body = places.body
    for entry in body.handlers if not body.reaches(0, {call}) else ():
        if body.reaches(body.at(entry.target), {call}):
            for where, asked in places.lookups.items():
                if entry.start <= body.instructions[where].offset < entry.end:
                    yield Look(Asked(asked.place, "in", asked.argument), bars=True)
