"""Seeing locks, semaphores and conditions being made, and where the code around puts them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.slots import Maker, Place, running, surroundings
from pytest_loopsafe._words.stacks import Frame, first_argument, is_library, stack_here


@dataclass(frozen=True)
class GateMade(Sighting):
    """The user's code has made a gate, and may put it into one of these places.

    `makers` are the functions that were running then, the innermost first.
    """

    gate: Any
    permits: int | None
    places: tuple[Place, ...]
    frames: tuple[Frame, ...]
    makers: tuple[Maker, ...]


class GateProbe:
    """Sees the constructors of gates, called by the user's own code."""

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook the constructors."""

        def build(original: Callable[..., Any]) -> Callable[..., Any]:
            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                original(self, *args, **kwargs)
                frame: FrameType | None = sys._getframe(1)
                while frame is not None and frame.f_code.co_name == "__init__":
                    if first_argument(frame) is not self:  # else it is of a class made of this
                        break
                    frame = frame.f_back
                if frame is not None and not is_library(frame.f_code.co_filename):
                    places, makers = surroundings(running(frame))
                    permits = _cpython.permits_of(self)
                    emit(GateMade(self, permits, places, stack_here(), makers))

            return __init__

        for owner in (asyncio.Lock, asyncio.Semaphore, asyncio.Condition):
            patches.replace(owner, "__init__", build)
