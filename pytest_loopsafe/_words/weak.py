"""References that keep nothing alive, and lead nowhere where there is nothing to lead to."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

Ref = Callable[[], Any]
"""Gives the object, or None once it is gone."""


def nowhere() -> None:
    """Stands for the reference to what is not there."""


def weak(thing: Any) -> Ref:
    """A reference to an object; to nothing for None, and where its class has no weak references."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return nowhere
