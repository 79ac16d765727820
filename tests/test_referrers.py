"""Who refers to an object: the answer is the collector's, and the whole heap is read seldom."""

import functools
import gc
import types
from collections.abc import Callable
from typing import Any

import pytest

from pytest_loopsafe._graph.referrers import Referrers


class Target:
    pass


class Box:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Counting(Referrers):
    """Counts how often the whole heap was read."""

    readings = 0

    def _read_heap(self, *args: Any) -> None:
        self.readings += 1
        super()._read_heap(*args)


def holders(index: Referrers, target: Any) -> list[Any]:
    things = [target]
    found = index.of(things, [0], {id(things)}, read=True)
    return [one for one, _ in found if not isinstance(one, types.FrameType)]


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "attribute": Box,
    "slot": Slotted,
    "list": lambda target: [target],
    "twice": lambda target: [target, target],
    "tuple": lambda target: (0, target),
    "dict": lambda target: {"a": target},
    "key": lambda target: {target: 1},
    "set": lambda target: {target},
    "closure": lambda target: lambda: target,
    "partial": lambda target: functools.partial(print, target),
    "method": lambda target: types.MethodType(print, target),
    "generator": lambda target: (one for one in [target]),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_what_is_reached_from_the_roots_is_found_without_reading_the_heap(
    hold: Callable[[Any], Any],
) -> None:
    root: dict[str, Any] = {"kept": hold(Target())}
    (weak,) = [one for one in gc.get_objects() if type(one) is Target]
    found_by_collector = {id(one) for one in gc.get_referrers(weak)}
    things = [weak]
    del weak
    index = Counting([root])

    found = index.of(things, [0], {id(things)}, read=True)

    assert index.readings == 0
    assert found
    assert {id(one) for one, _ in found} <= found_by_collector


def test_a_holder_elsewhere_is_found_too() -> None:
    """Reference counts tell that the walk has not met all of them."""
    target = Target()
    root, elsewhere = {"kept": [target]}, Slotted(target)
    index = Counting([root])

    found = holders(index, target)

    assert index.readings == 1
    assert any(one is elsewhere for one in found)
    assert any(one is root["kept"] for one in found)


def test_what_was_read_once_is_known() -> None:
    target = Target()
    elsewhere = Slotted(target)
    index = Counting()
    for _ in range(3):
        assert any(one is elsewhere for one in holders(index, target))
    assert index.readings == 1


def test_a_mass_of_data_is_not_walked_and_loses_nothing() -> None:
    target = Target()
    mass: list[Any] = [{} for _ in range(20_000)]
    mass.append(target)
    index = Counting([{"mass": mass}])

    assert any(one is mass for one in holders(index, target))
    assert index.readings == 1


def test_a_long_chain_takes_no_reading_at_all() -> None:
    target = Target()
    chain: Any = target
    for _ in range(30):
        chain = Box(chain)
    del target
    index = Counting([{"app": chain}])
    del chain
    (found,) = [one for one in gc.get_objects() if type(one) is Target]
    things: list[Any] = [found]
    del found
    for _ in range(30):
        (holder,) = {
            id(one): one
            for one, _ in index.of(things, [0], {id(things)}, read=True)
            if type(one) is Box or type(one) is dict
        }.values()
        things = [holder]
        del holder
    assert index.readings == 0


def test_what_the_walk_has_not_met_is_left_out_where_the_heap_is_not_to_be_read() -> None:
    target = Target()
    root, elsewhere = {"kept": [target]}, Slotted(target)
    index = Counting([root])
    things = [target]

    found = index.of(things, [0], {id(things)}, read=False)

    assert index.readings == 0
    assert [one for one, _ in found] == [root["kept"]]
    del elsewhere


def test_it_keeps_nothing_alive_afterwards() -> None:
    kept = [Target()]
    index = Referrers([{"kept": kept}])
    holders(index, kept[0])
    del index
    (alive,) = [one for one in gc.get_objects() if type(one) is Target]
    assert alive is kept.pop()
    del alive
    assert not [one for one in gc.get_objects() if type(one) is Target]
