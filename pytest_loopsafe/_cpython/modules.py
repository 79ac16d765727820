"""Modules that are still to be loaded: ``importlib.util._LazyModule`` loads at any attribute."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def namespace_of(module: Any) -> dict[str, Any]:
    """A module's variables, without loading one that is still to be loaded (LazyLoader's)."""
    if not issubclass(type(module), ModuleType):
        return {}
    names: dict[str, Any] = _NAMESPACE.__get__(module)
    return names


_NAMESPACE: Any = vars(ModuleType)["__dict__"]
