"""Where a function makes room for what it puts in: what goes for that goes on purpose."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from types import CodeType

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.places import Asked, Place, Places


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


def _calls(places: Places, methods: Collection[str]) -> Iterator[tuple[int, Place]]:
    """The calls of these methods, each with the place whose content has it."""
    for index, place in places.calls.items():
        if place.attributes and place.attributes[-1] in methods:
            yield index, replace(place, attributes=place.attributes[:-1])


def _is_taken(given: list[object], queue: Place) -> bool:
    return any(type(one) is Asked and one.place == queue for one in given)


_SUSPENDS = ("SEND", "YIELD_VALUE")
