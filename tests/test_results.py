"""What a function does with what a call gives it is read from its bytecode: a table of sources.

It says the same on every version. Each source calls ``make()``.
"""

import contextlib
import sys
import textwrap
from typing import Any

import pytest

from pytest_loopsafe._bytecode.results import fate_of

FATES = {
    "make()": "",
    "lock = make()": "kept",
    # entered
    "async with make(): pass": "entered",
    "lock = make()\nasync with lock: pass": "entered kept",
    "lock = make()\nawait lock.acquire()": "entered kept",
    "lock = make()\nasync with lock: pass\nasync with lock: pass": "entered entered_again kept",
    "lock = make()\nfor _ in key:\n  async with lock: pass": "entered entered_again kept",
    "for _ in key:\n  async with make(): pass": "entered",
    # given back
    "return make()": "returned",
    "lock = make()\nreturn lock": "kept returned",
    "lock = make()\nif key: return None\nreturn lock": "kept returned",
    "if key: return other\nreturn make()": "",
    "return key or make()": "handed",
    "return make() if key else None": "returned",
    # put where others look it up
    "self.lock = make()": "stored",
    "setattr(self, 'lock', make())": "stored",
    "lock = self.lock = make()": "kept stored",
    "global_lock = make()": "stored",
    "cell = make()": "stored",
    "table['lock'] = make()": "stored",
    "table[key] = make()": "handed",
    "table.setdefault('lock', make())": "offered",
    # handed to somebody
    "use(make())": "handed",
    "use(lock=make())": "handed",
    "lock = make()\nuse(lock)": "handed kept",
    "lock = key\nif not lock: lock = make()\nuse(lock)": "handed",
    "lock = key\nif not lock: lock = make()\nasync with lock: pass": "handed",
    "return [make()]": "handed",
    # merely asked
    "lock = make()\nif lock.locked(): use()": "kept",
    "lock = make()\nif lock is None: use()": "kept",
    "lock = make()\nif not lock: use()": "kept",
    "lock = make()\ndel lock": "kept",
    "key = make()\nreturn key": "handed",  # an argument may be another one
}


def fate_in(source: str) -> set[str]:
    """What becomes of the result of ``make()`` in a method of these lines."""
    offsets: list[int] = []

    def make() -> "Lock":
        offsets.append(sys._getframe(1).f_lasti)
        return Lock()

    names: dict[str, Any] = {"make": make, "use": lambda *_, **__: None, "table": {}, "other": 1}
    lines = ["def around(cell=None):", " async def f(self, key=()):", "  nonlocal cell"]
    lines += ["  global global_lock", textwrap.indent(source, "  "), " return f"]
    exec("\n".join(lines), names)
    function = names["around"]()
    for key in ((), (1,)):  # one of them comes to the call
        with contextlib.suppress(StopIteration, TypeError):  # (1,) is no lock
            function(Lock(), key).send(None)
    fate = vars(fate_of(function.__code__, offsets[0]))
    return {way for way, holds in fate.items() if holds}


class Lock:
    async def acquire(self) -> None:
        pass

    __aenter__ = acquire

    async def __aexit__(self, *_: object) -> None:
        pass

    def locked(self) -> bool:
        return False


@pytest.mark.parametrize(("source", "fate"), FATES.items())
def test_what_becomes_of_a_result(source: str, fate: str) -> None:
    assert fate_in(source) == set(fate.split())
