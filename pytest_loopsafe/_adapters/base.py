"""What an adapter says about a library's objects."""

from __future__ import annotations

from typing import Any, ClassVar


class NoProbeError(TypeError):
    """Nobody knows how to use this object once; the message says what to give instead."""


class Adapter:
    """What "use it once" and "closed" mean for the clients of one library.

    Subclass it, name the classes, and register an instance: from ``conftest.py`` with the hook
    ``pytest_loopsafe_adapters``, from a package with the entry point group
    ``pytest_loopsafe.adapters``. An adapter imports nothing of its library: classes are known by
    name, and looked for only among what the user has imported.

    Attributes:
        types: qualified names of the classes, ``redis.asyncio.client.Redis``; a subclass counts.
        closers: the methods that close such an object.
        remedy: what to do where such an object is bound to the wrong loop, in a sentence of its own
            words; a report adds it to the rule's.
    """

    types: ClassVar[tuple[str, ...]] = ()
    closers: ClassVar[tuple[str, ...]] = ("aclose", "close")
    remedy: ClassVar[str] = ""

    async def probe(self, resource: Any) -> None:
        """Use `resource` once, in the cheapest way that needs its connection.

        Raises:
            NoProbeError: when there is no such way; the default.
        """
        raise NoProbeError(
            f"there is no default probe for a {type(resource).__module__}."
            f"{type(resource).__qualname__}: pass probe=, an async function that uses it once"
        )

    def is_closed(self, resource: Any) -> bool | None:
        """Whether it is closed; None where that cannot be told. Must have no side effects."""
        return None
