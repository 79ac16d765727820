"""Seeing the clients that adapters know: when one is made, and when somebody closes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_loopsafe import _cpython
from pytest_loopsafe._adapters import Adapters
from pytest_loopsafe._probes.instrumentation import Emit, Patches, Sighting
from pytest_loopsafe._probes.slots import Making


@dataclass(frozen=True)
class ResourceMade(Making):
    """A library's client has just been made, in a running loop."""

    resource: Any
    loop: asyncio.AbstractEventLoop
    task: Any


@dataclass(frozen=True)
class ResourceClosed(Sighting):
    """Somebody called what closes it."""

    resource: Any


class ResourceProbe:
    """Sees the constructors and closing methods of the classes that adapters name.

    Only of libraries that were imported before the probes were installed; one that the code under
    test imports itself is seen from the next watch on.
    """

    def install(self, patches: Patches, emit: Emit) -> None:
        """Hook each class's own methods: told once, by the outermost of a chain of bases."""
        making = threading.local()

        def build_init(original: Callable[..., Any]) -> Callable[..., Any]:
            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                outermost = getattr(making, "what", None) is not self
                making.what = self
                try:
                    original(self, *args, **kwargs)
                finally:
                    if outermost:
                        making.what = None
                loop = _cpython.get_running_loop()
                if loop is not None and outermost:
                    emit(ResourceMade(self, loop, _cpython.current_task()))

            return __init__

        def build_close(original: Callable[..., Any]) -> Callable[..., Any]:
            def close(self: Any, *args: Any, **kwargs: Any) -> Any:
                emit(ResourceClosed(self))
                return original(self, *args, **kwargs)

            return close

        for cls, adapter in Adapters().classes():
            if adapter.closers and "__init__" in vars(cls):
                patches.replace(cls, "__init__", build_init)
                # `async with` need not go through the method of that name: httpx' does not.
                for name in (*adapter.closers, "__aexit__"):
                    if callable(vars(cls).get(name)):
                        patches.replace(cls, name, build_close)
