"""The libraries that people hold globally, one file each. Importing them imports no library."""

from __future__ import annotations

import functools
import pkgutil
import sys
import weakref
from collections.abc import Iterable, Iterator
from importlib import import_module, metadata
from typing import Any

from pytest_loopsafe._adapters.base import Adapter
from pytest_loopsafe._cpython import namespace_of

GROUP = "pytest_loopsafe.adapters"
"""The entry point group; a name there is the package whose objects the adapter knows."""


@functools.cache
def built_in() -> tuple[Adapter, ...]:
    """An instance of each adapter of this package."""
    found: list[Adapter] = []
    for module in pkgutil.iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Adapter) and value.types:
                found.append(value())
    return tuple(found)


@functools.cache
def _entry_points() -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=GROUP))


def installed() -> Iterator[Adapter]:
    """The adapters of other packages, for libraries that have been imported."""
    for entry in _entry_points():
        if entry.name.partition(".")[0] in sys.modules:
            loaded = entry.load()
            yield loaded() if isinstance(loaded, type) else loaded


_MODULE: Any = vars(type)["__module__"]
_NAME: Any = vars(type)["__qualname__"]
"""Read past any metaclass, whose properties are somebody's code."""

_MANY = 2_000


class Adapters:
    """All adapters in force: the user's before other packages', before ours.

    Args:
        given: the user's own.
    """

    def __init__(self, given: Iterable[Adapter] = ()) -> None:
        self._by_name: dict[str, Adapter] = {}
        self._known: dict[int, tuple[weakref.ref[type], Adapter | None]] = {}
        for adapter in (*given, *installed(), *built_in()):
            for name in adapter.types:
                self._by_name.setdefault(name, adapter)

    def of(self, thing: Any) -> Adapter | None:
        """The adapter for an object, by its class or the nearest base that one names."""
        kind = type(thing)
        ref, adapter = self._known.get(id(kind), (None, None))
        if ref is None or ref() is not kind:  # by address: a metaclass may define the hash
            adapter = self._of_class(kind)
            if len(self._known) >= _MANY:
                self._known.clear()
            self._known[id(kind)] = weakref.ref(kind), adapter
        return adapter

    def _of_class(self, kind: type) -> Adapter | None:
        names = (f"{_MODULE.__get__(base)}.{_NAME.__get__(base)}" for base in type.mro(kind))
        return next((found for name in names if (found := self._by_name.get(name))), None)

    def is_closed(self, thing: Any) -> bool | None:
        """What the adapter says; None where there is none."""
        adapter = self.of(thing)
        return adapter.is_closed(thing) if adapter is not None else None

    def classes(self) -> Iterator[tuple[type, Adapter]]:
        """The classes named by adapters that have been imported."""
        for name, adapter in self._by_name.items():
            module, _, attribute = name.rpartition(".")
            found = namespace_of(sys.modules.get(module)).get(attribute)
            if isinstance(found, type):
                yield found, adapter
