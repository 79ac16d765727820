"""Seeing each loop when it is made, so that it gets its number and the place it came from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe._cpython import BaseEventLoop
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting


@dataclass(frozen=True)
class LoopBorn(Sighting):
    """A loop has just been made."""

    loop: asyncio.AbstractEventLoop


class BirthProbe:
    """Sees the constructors of all loop classes, asyncio's and others'."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the base class of asyncio's loops, and each class that has another base."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                original(self, *args, **kwargs)
                emit(LoopBorn(self))

            return __init__

        patches.replace(BaseEventLoop, "__init__", build)
        patches.on_loop_classes("__init__", build, inherited=True, foreign_only=True)
