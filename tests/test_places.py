"""What a function asks of places and does to them is read from its bytecode: a table of sources.

It says the same on every version. A test is written as what holds where the code goes on behind it;
``unless`` stands before what makes it jump.
"""

import textwrap
from typing import Any

import pytest

from pytest_loopsafe._bytecode import Body
from pytest_loopsafe._bytecode.places import UNKNOWN, Asked, Place, Places

ASKED = {
    # truth
    "if ready: use()": "ready",
    "if not ready: use()": "unless ready",
    "if bool(ready): use()": "ready",
    "assert ready": "unless ready",
    "x = not ready\nif x: use()": "not ready",
    "x = self.pool\nif x: use()": "self.pool",
    "if state and key: use()": "state; key",
    # identity
    "if ready is None: use()": "ready is None",
    "if ready is not None: use()": "unless ready is None",
    "if None is ready: use()": "ready is None",
    "if state is State.READY: use()": "state is State.READY",
    "if self.task is None or self.task.done(): use()": "unless self.task is None; self.task done",
    # comparisons
    "if state == 'open': use()": "state == 'open'",
    "if state != 'open': use()": "not state == 'open'",
    "if 'open' == state: use()": "state == 'open'",
    "if state in ('a', 'b'): use()": "state among ('a', 'b')",
    "if ready == other: use()": "ready == other",
    "if ready > other: use()": "ready > other",
    "if count < 3: use()": "count < 3",
    "if 3 > count: use()": "count < 3",
    "if 3 <= count: use()": "count >= 3",
    "if count + 1 > 3: use()": "count compare",
    "if use() == ready: use()": "ready ==",
    # containers
    "if key in table: use()": "table in",
    "if key not in table: use()": "not table in",
    "if 'x' in table: use()": "table in 'x'",
    "if use() in table: use()": "table in",
    "if table['k'] is None: use()": "table = None",
    "x = table.get('k')\nif x is None: use()": "table = None",
    "if table['k'] == 'x': use()": "table [] 'k' == 'x'",
    "if table.get(key) != 'x': use()": "not table get == 'x'",
    "if table['k'] is True: use()": "table [] 'k' is True",
    "if table.get('k', 1) < 3: use()": "table get 'k' < 3",
    "if len(tasks): use()": "tasks",
    "if len(tasks) == 0: use()": "not tasks",
    "if 0 < len(tasks): use()": "tasks",
    "if len(tasks) > 2: use()": "tasks len> 2",
    "if 2 >= len(tasks): use()": "tasks len<= 2",
    "if not len(tasks) > 2: use()": "unless tasks len> 2",
    # calls
    "if task.done(): use()": "task done",
    "if not task.done(): use()": "unless task done",
    "x = getattr(self, 'name')\nif x: use()": "self.name",
    "if hasattr(self, 'name'): use()": "self.name",
    # of nobody knows what
    "if make().attribute: use()": "?",
    "if f(ready) == 1: use()": "?",
}

DONE = {
    # written to
    "ready = True": {"stored": "ready"},
    "cell = 1": {"stored": "cell"},
    "count += 1": {"stored": "count"},
    "self.a.b = make()": {"stored": "self.a.b"},
    "make().attribute = 1": {"stored": ".attribute"},
    "setattr(self, 'name', 1)": {"stored": "self.name", "used": "self"},
    "ready = other": {"stored": "ready", "used": "other"},
    "a = self.x": {},
    # filled
    "table['k'] = 1": {"stored": "table", "filled": "table"},
    "table[key] = make()": {"stored": "table", "filled": "table", "used": "key"},
    "del table['k']": {"stored": "table", "filled": "table"},
    "self.xs[1:2] = []": {"stored": "self.xs", "filled": "self.xs"},
    "table.setdefault('k', make())": {"stored": "table", "filled": "table", "changed": "table"},
    "seen.add('k')": {"stored": "seen", "filled": "seen", "changed": "seen"},
    "queue.put_nowait(1)": {"stored": "queue", "used": "queue"},
    # changed
    "event.set()": {"filled": "event", "changed": "event"},
    "x = seen.pop()": {"changed": "seen"},
    "return seen.pop()": {"changed": "seen", "used": "seen", "returned": "seen pop"},
    "sem.release()": {"changed": "sem", "used": "sem"},
    # used, or merely asked
    "use(ready)": {"used": "ready"},
    "ready.run()": {"used": "ready"},
    "ready()": {},
    "x = event.is_set()": {},
    "len(tasks)": {},
    "for t in tasks: use(t)": {"used": "t tasks"},
    "with self.lock: use()": {"used": "self.lock"},
    "x = table['k']": {"looked_up": "table [] 'k'"},
    "x = table[key]": {"looked_up": "table []", "used": "key"},
    # given back
    "return ready": {"used": "ready", "returned": "ready"},
    "x = ready\nreturn x": {"used": "ready", "returned": "ready"},
    "return len(tasks)": {"returned": "tasks len"},
    "return bool(tasks)": {"returned": "tasks"},
    "return state == 'x'": {"returned": "state == 'x'"},
}


def read(source: str) -> Places:
    """A method of these lines, with a variable of the function around it and global ones."""
    names: dict[str, Any] = {}
    lines = ["def around(cell=None):", " def f(self=None, key=None):", "  nonlocal cell"]
    lines += ["  global count, ready", textwrap.indent(source, "  "), " return f"]
    exec("\n".join(lines), names)
    places = Places(Body.read(names["around"]().__code__))
    places.read()
    return places


def written(value: Any) -> str:
    """A place as Python has it; what was asked of one with how, and with what."""
    if type(value) is Asked:
        parts = ["not"] * value.negated + [written(value.place)]
        parts += [value.how] * (value.how != "truth")
        parts += [repr(value.argument)] * (value.argument is not UNKNOWN)
        parts += [f"{how} {constant!r}" for how, constant in filter(None, [value.entry])]
        parts += [written(value.other)] if value.other is not None else []
        return " ".join(parts)
    return ".".join((value.name, *value.attributes)) if isinstance(value, Place) else "?"


@pytest.mark.parametrize(("source", "asked"), ASKED.items())
def test_what_a_jump_asks(source: str, asked: str) -> None:
    tests = read(source).tests.values()
    assert "; ".join("unless " * jumps + written(test) for test, jumps in tests) == asked


@pytest.mark.parametrize(("source", "done"), DONE.items())
def test_what_becomes_of_a_place(source: str, done: dict[str, str]) -> None:
    places = read(source)
    given_back = [one for one in places.returned if isinstance(one, Place | Asked)]
    found = {
        "stored": map(written, places.stored),
        "filled": map(written, places.filled),
        "changed": map(written, places.changed),
        "used": map(written, places.used),
        "looked_up": map(written, places.lookups.values()),
        "returned": map(written, given_back),
    }
    told = {key: " ".join(sorted(values)) for key, values in found.items()}
    assert {key: text for key, text in told.items() if text} == done
