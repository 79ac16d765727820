"""Where a function makes room for what it puts in: what goes for that goes on purpose."""

from __future__ import annotations

import dis
from collections.abc import Collection, Iterator
from dataclasses import replace
from types import CodeType
from typing import Any

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.kept import for_each_code
from pytest_loopsafe._bytecode.places import FILLS, Asked, Place, Places


def drops_oldest(code: CodeType) -> bool:
    """Whether a function takes an item out of a queue only to put another in, in one step.

    ``if events.full(): events.get_nowait()`` and then ``events.put_nowait(event)``. Not so where it
    puts in again what it has taken, or waits for something in between.
    """
    if "get_nowait" not in code.co_names:
        return False
    places = Places(Body.of(code))
    places.read()
    body = places.body
    waits = [n for n, one in enumerate(body.instructions) if one.opname in _SUSPENDS]
    for take, queue in _calls(places, ("get_nowait",)):
        puts = {put for put, one in _calls(places, ("put_nowait", "put")) if one == queue}
        others = {put for put in puts if not _is_taken(places.given[put], queue)}
        is_needed = not body.reaches(0, puts, {take})
        if not is_needed and body.reaches(take, others, waits):
            return True
    return False


@for_each_code
def limited_by(code: CodeType) -> frozenset[tuple[Place, int | Place]]:
    """The places of what a function puts something into, and takes something out when it is long.

    ``while len(jobs) > 10: jobs.popitem()``: each with the number that is its limit, or its place.
    """
    names = code.co_names
    if "len" not in names:
        return frozenset()
    places = _Measured(Body.read(code))
    places.read()
    return frozenset(
        (place, limit)
        for compare, (place, limit, is_long) in places.measured.items()
        if place in _filled(places) and _is_cut(places, place, compare, is_long=is_long)
    )


class _Measured(Places):
    """Which lengths are compared, with what, and whether what holds then is that it is long."""

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self.measured: dict[int, tuple[Place, int | Place, bool]] = {}

    def value(self, index: int, one: dis.Instruction, given: list[Any]) -> Any:
        """What comes of an instruction."""
        if one.opname == "COMPARE_OP":
            how = str(one.argval).removeprefix("bool(").removesuffix(")")
            for value, other, long in zip(
                given, reversed(given), ("> >= ==", "< <= =="), strict=True
            ):
                is_limit = type(other) is Place or (type(other) is int and other > 0)
                if type(value) is Asked and value.how == "len" and is_limit:
                    self.measured[index] = value.place, other, how in long.split()
        return super().value(index, one, given)


def _filled(places: Places) -> set[Place]:
    stored = {
        place
        for index, place in places.changes.items()
        if places.body.instructions[index].opname == "STORE_SUBSCR"
    }
    return stored.union(place for _, place in _calls(places, FILLS))


def _is_cut(places: Places, place: Place, compare: int, *, is_long: bool) -> bool:
    """Whether something is taken out where a comparison says that it is long, and only there."""
    body = places.body
    jump = compare + 1
    while body.instructions[jump].opname in ("NOP", "TO_BOOL"):
        jump += 1
    if "JUMP_IF_" not in body.instructions[jump].opname:
        return False
    target, goes_on = body.after(jump)
    jumps_if_long = is_long == ("_IF_TRUE" in body.instructions[jump].opname)
    long, other = (target, goes_on) if jumps_if_long else (goes_on, target)
    taken = {index for index, one in _calls(places, _TAKES_OUT) if one == place}
    taken.update(
        index
        for index, one in places.changes.items()
        if one == place and body.instructions[index].opname == "DELETE_SUBSCR"
    )
    # Where a loop begins again, it is asked again.
    again = {jump, *body.copies(jump)}
    return body.reaches(long, taken, again) and not body.reaches(other, taken, again)


def _calls(places: Places, methods: Collection[str]) -> Iterator[tuple[int, Place]]:
    """The calls of these methods, each with the place whose content has it."""
    for index, place in places.calls.items():
        if place.attributes and place.attributes[-1] in methods:
            yield index, replace(place, attributes=place.attributes[:-1])


def _is_taken(given: list[object], queue: Place) -> bool:
    return any(type(one) is Asked and one.place == queue for one in given)


_TAKES_OUT = ("clear", "discard", "pop", "popitem", "popleft", "remove")
_SUSPENDS = ("SEND", "YIELD_VALUE")
