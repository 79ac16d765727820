"""What a function looks at before it comes to a call is read from its bytecode: the same on every
version, in whichever shape it is written."""

import asyncio
import dis
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pytest_loopsafe._bytecode.places import UNKNOWN, Place
from pytest_loopsafe._graph.looks import Look, Looks, looks

flag, count, state, table = False, 0, "", {"a": 1}
seen: list[Looks] = []


def call() -> None:
    frame = sys._getframe(1)
    seen.append(looks(frame.f_code, frame.f_lasti))


def around() -> None:
    if not flag:
        call()


def before() -> None:
    if flag:
        return
    call()


def none() -> None:
    if flag is None:
        return
    call()


def constant() -> None:
    if count == 0:
        call()


def other_constant() -> None:
    if state != "running":
        call()


def member() -> None:
    if "x" not in table:
        call()


def member_of_constants() -> None:
    if state in ("up", "running"):
        return
    call()


def entry() -> None:
    if table.get("x") is None:
        call()


def walrus() -> None:
    if (found := table.get("x")) is None:
        call()
    del found


def how_many() -> None:
    if len(table) > 1:
        return
    call()


def by_name(key: str = "x") -> None:
    if not getattr(by_name, "up", False):
        call()


def lookup() -> None:
    try:
        table["x"]
    except KeyError:
        call()


def lookup_and_return() -> Any:
    try:
        return table["x"]
    except KeyError:
        pass
    return call()


def in_the_handler() -> Any:
    if flag:
        return None
    try:
        raise KeyError
    except ValueError:
        return None
    except KeyError:
        return call()


def where_it_raises() -> Any:
    try:
        if flag:
            return None
        raise KeyError
    except KeyError:
        if "x" not in table:
            call()


def handler_without_a_look() -> Any:
    try:
        raise KeyError
    except KeyError:
        return call()


def loop() -> None:
    for _ in range(1):
        if flag:
            continue
        call()


def both() -> None:
    if not flag and "x" not in table:
        call()


def either_way() -> None:
    if flag:
        len(state)
    call()


def opaque() -> None:
    if next(iter([0])) == 0:
        call()


async def awaited() -> None:
    if not flag:
        await inner()


async def inner() -> None:
    frame = sys._getframe(1)
    seen.append(looks(frame.f_code, frame.f_lasti))


class Service:
    up, task = False, None

    def start(self) -> None:
        if not self.up:
            call()

    def ensure(self) -> None:
        if self.task is None or self.task.done():
            call()


def closure() -> None:
    up = False

    def start() -> None:
        nonlocal up
        if not up:
            up = True
            call()

    start()


FLAG, COUNT, STATE, TABLE = (Place("global", name) for name in ("flag", "count", "state", "table"))

SHAPES: dict[Callable[[], Any], list[tuple[Any, ...]]] = {
    around: [(FLAG, "truth", UNKNOWN, True)],
    before: [(FLAG, "truth", UNKNOWN, True)],
    none: [(FLAG, "is", None, True)],
    constant: [(COUNT, "==", 0, False)],
    other_constant: [(STATE, "==", "running", True)],
    member: [(TABLE, "in", "x", True)],
    member_of_constants: [(STATE, "among", ("up", "running"), True)],
    entry: [(TABLE, "=", None, False)],
    walrus: [(TABLE, "=", None, False)],
    how_many: [(TABLE, "len>", 1, True)],
    by_name: [(Place("global", "by_name", ("up",)), "truth", UNKNOWN, True)],
    lookup: [(TABLE, "in", "x", True)],
    lookup_and_return: [(TABLE, "in", "x", True)],
    in_the_handler: [(FLAG, "truth", UNKNOWN, True)],
    where_it_raises: [(FLAG, "truth", UNKNOWN, True), (TABLE, "in", "x", True)],
    handler_without_a_look: [],
    loop: [(FLAG, "truth", UNKNOWN, True)],
    both: [(FLAG, "truth", UNKNOWN, True), (TABLE, "in", "x", True)],
    either_way: [],
    awaited: [(FLAG, "truth", UNKNOWN, True)],
    Service().start: [(Place("local", "self", ("up",)), "truth", UNKNOWN, True)],
    Service().ensure: [(Place("local", "self", ("task",)), "done", UNKNOWN, False)],
    closure: [(Place("cell", "up"), "truth", UNKNOWN, True)],
}


def looked_at(function: Callable[[], Any]) -> Looks:
    """What is told of the call of a function that runs, or of its last one."""
    seen.clear()
    outcome = function()
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)
    return seen[0] if seen else at_last_call(function)


def at_last_call(function: Callable[..., Any]) -> Looks:
    code = function.__code__
    calls = [one.offset for one in dis.get_instructions(code) if one.opname == "CALL"]
    return looks(code, calls[-1])


@pytest.mark.parametrize(
    ("function", "expected"), SHAPES.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_bars_the_way(function: Callable[[], Any], expected: list[tuple[Any, ...]]) -> None:
    found = at_last_call(function) if function.__name__ == "ensure" else looked_at(function)
    told = [(one.asked, one.bars) for one in found.before if one.asked is not None]
    assert [(one.place, one.how, one.argument, bars) for one, bars in told] == expected


@pytest.mark.parametrize(
    ("function", "by_error"),
    [(around, False), (both, False), (lookup, True), (handler_without_a_look, True)],
)
def test_what_only_an_error_leads_to_is_told(function: Callable[[], Any], by_error: bool) -> None:
    assert at_last_call(function).by_error is by_error


def test_what_cannot_be_told_is_said_to_be_there() -> None:
    assert looked_at(opaque).before == (Look(None, bars=False),)


def is_read() -> Any:
    if "x" not in table:
        call()
        table["x"] = 1
    return table["x"]


def is_handed_on() -> None:
    if "x" not in table:
        call()
    print(table, end="")


def is_used() -> None:
    if not table:
        call()
    table.keys()


def is_marked() -> None:
    if "y" not in table:
        call()
        table["y"] = 2
    table.update(z=3)


@pytest.mark.parametrize(
    ("function", "reads", "fills"),
    [
        (is_read, True, True),
        (is_handed_on, True, False),
        (is_used, True, False),
        (is_marked, False, True),
    ],
)
def test_a_flag_is_only_asked_and_a_cache_is_read(
    function: Callable[[], Any], reads: bool, fills: bool
) -> None:
    found = at_last_call(function)
    assert (TABLE in found.read, TABLE in found.filled) == (reads, fills)
