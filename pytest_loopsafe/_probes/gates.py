"""Seeing locks, semaphores and conditions being made, and where the code around puts them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.instrumentation import Emit, Patches
from pytest_loopsafe._probes.slots import Making, Running, running
from pytest_loopsafe._words.stacks import first_argument, is_library


@dataclass(frozen=True)
class GateMade(Making):
    """The user's code has made a gate; `makers` are the functions that run, the innermost first.

    The constructors of classes that are made of a gate's are none of them.
    """

    gate: Any
    permits: int | None
    makers: tuple[Running, ...]

    @cached_property
    def functions(self) -> tuple[Running, ...]:
        """The same."""
        return self.makers


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
                    emit(GateMade(self, _cpython.permits_of(self), running(frame)))

            return __init__

        for owner in (asyncio.Lock, asyncio.Semaphore, asyncio.Condition):
            patches.replace(owner, "__init__", build)
