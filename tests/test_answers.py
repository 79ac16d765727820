"""What a test of the code would answer now, told without running a line of the user's."""

import asyncio
import threading
from collections import deque
from enum import Enum
from typing import Any

import pytest

from pytest_loopsafe._bytecode.places import UNKNOWN, Asked, Place
from pytest_loopsafe._graph.asking import answer_to, is_set

PLACE = Place("global", "kept")


class State(Enum):
    READY = 1
    GONE = 2


class Hostile:
    """Whatever is called of it fails the test."""

    def _called(self, *_: Any) -> Any:
        raise AssertionError("nobody is to call it")

    __bool__ = __len__ = __eq__ = __lt__ = __contains__ = __iter__ = __getitem__ = _called
    is_set = locked = get = _called
    __hash__ = None  # type: ignore[assignment]


class HostileDict(dict[Any, Any]):
    __bool__ = __len__ = __contains__ = __iter__ = __getitem__ = get = Hostile._called  # type: ignore[assignment]


class HostileEvent(asyncio.Event):
    is_set = Hostile._called


HOSTILE = Hostile()


def event(kind: Any, *, done: bool) -> Any:
    made = kind()
    if done:
        made.set()
    return made


ANSWERS: list[tuple[str, Any, Any, bool | None]] = [
    # its truth
    ("truth", UNKNOWN, 0, False),
    ("truth", UNKNOWN, "text", True),
    ("truth", UNKNOWN, None, False),
    ("truth", UNKNOWN, [], False),
    ("truth", UNKNOWN, deque([0]), True),
    ("truth", UNKNOWN, HOSTILE, True),
    ("truth", UNKNOWN, HostileDict(), False),
    ("truth", UNKNOWN, HostileDict(key=1), True),
    # what it is
    ("is", None, None, True),
    ("is", None, HOSTILE, False),
    ("is", UNKNOWN, None, None),
    # how it compares
    ("==", 1, 1, True),
    ("==", "running", "idle", False),
    ("<", 3, 2, True),
    (">=", 3, 2, False),
    ("<", 3, "text", None),
    ("==", None, HOSTILE, False),
    ("==", 1, HOSTILE, None),
    ("==", State.READY, State.READY, True),
    ("==", State.READY, State.GONE, False),
    ("==", State.READY, HOSTILE, None),
    ("==", UNKNOWN, 1, None),
    ("among", ("idle", "running"), "running", True),
    ("among", (1, 2), True, False),
    ("among", ("idle",), HOSTILE, None),
    # how long it is; one more may be in it by then
    ("len<", 3, [1], True),
    ("len<", 2, [1], None),
    ("len>=", 1, {}, None),
    ("len==", 5, {1, 2}, False),
    ("len<", 3, HostileDict(key=1), True),
    ("len<", 3, HOSTILE, None),
    # what is in it
    ("in", "key", {"key": 0}, True),
    ("in", "key", {}, False),
    ("in", 1, [True], False),
    ("in", "key", HostileDict(key=0), True),
    ("in", UNKNOWN, {"other": 0}, True),
    ("in", "key", HOSTILE, None),
    ("get", "key", {"key": 0}, False),
    ("get", "key", {"key": 1}, True),
    ("[]", "key", {"key": HOSTILE}, True),
    ("=", UNKNOWN, {"key": 1}, False),
    ("=", UNKNOWN, {}, True),
    # what it says of itself
    ("is_set", UNKNOWN, event(asyncio.Event, done=True), True),
    ("is_set", UNKNOWN, event(threading.Event, done=False), False),
    ("is_set", UNKNOWN, HOSTILE, None),
    ("is_set", UNKNOWN, HostileEvent(), None),
    ("locked", UNKNOWN, asyncio.Lock(), False),
    ("locked", UNKNOWN, asyncio.Semaphore(0), True),
    ("locked", UNKNOWN, HOSTILE, None),
]


@pytest.mark.parametrize(("how", "argument", "value", "answer"), ANSWERS)
def test_what_a_test_would_give(how: str, argument: Any, value: Any, answer: bool | None) -> None:
    assert answer_to(Asked(PLACE, how, argument), value) is answer


ENTRIES: list[tuple[str, Any, tuple[str, Any], Any, bool | None]] = [
    ("[]", "sync", ("==", "running"), {"sync": "running"}, True),
    ("[]", "sync", ("==", "running"), {"sync": "idle"}, False),
    ("[]", "sync", ("==", "running"), {}, None),
    ("get", "sync", ("==", "running"), {}, False),
    ("get", UNKNOWN, ("==", "running"), {"a": "idle", "b": "running"}, True),
    ("get", UNKNOWN, ("==", "running"), {"a": "idle"}, False),
    ("get", UNKNOWN, ("==", "running"), {"a": "idle", "b": HOSTILE}, None),
    ("get", "sync", ("==", "running"), ["running"], None),
]


@pytest.mark.parametrize(("how", "key", "entry", "value", "answer"), ENTRIES)
def test_what_a_test_of_an_entry_would_give(
    how: str, key: Any, entry: tuple[str, Any], value: Any, answer: bool | None
) -> None:
    assert answer_to(Asked(PLACE, how, key, entry=entry), value) is answer


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (event(asyncio.Event, done=True), True),
        (event(threading.Event, done=False), False),
        (HostileEvent(), True),
        (HOSTILE, True),
        ("", False),
        ({}, False),
    ],
)
def test_what_says_that_something_was_done(value: Any, answer: bool) -> None:
    assert is_set(value) is answer
