"""What a worker keeps of the test process: is it still what a new one would get?"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MethodType
from typing import Any

from pytest_loopsafe._workers.patched import Patched

_ATOMS = (str, int, float, bool, bytes, type(None))
_PLAIN = (list, tuple, set, frozenset)


@dataclass(frozen=True)
class Inherited:
    """The environment, an app's settings, and what a test has patched.

    Attributes:
        environ: without what pytest writes there for each test.
        settings: values by name; what is not plain data counts as the same object or another.
        patches: whatever is another where the test's ``monkeypatch`` has patched something.
        patched: what is in modules and classes, where other means may have patched something.
    """

    environ: dict[str, str]
    settings: object
    patches: object
    patched: Patched

    @classmethod
    def of(cls, app: Any, patches: object = ()) -> Inherited:
        """What a worker of this app that started now would have."""
        environ = {name: one for name, one in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        _ = app.conf["timezone"]  # they are read when one is first asked for
        # By the names that Celery knows: a module that settings come from has much else.
        names = {**app.conf.maps[-1], **app.conf.changes}
        return cls(
            environ, _frozen({name: app.conf[name] for name in names}), patches, Patched.now()
        )


class _Same:
    """Equal to itself, whatever the thing's own class says."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


def _frozen(value: object) -> object:
    """A value to compare with, once what it was made of has changed."""
    kind = type(value)
    if kind in _ATOMS:
        return kind, value
    if isinstance(value, dict) and kind is dict:
        return kind, tuple((_frozen(key), _frozen(one)) for key, one in value.items())
    if isinstance(value, _PLAIN) and kind in _PLAIN:
        return kind, tuple(map(_frozen, value))
    if isinstance(value, MethodType):  # of an object with settings: made anew for each look
        return _Same(value.__func__), _Same(value.__self__)
    return _Same(value)
