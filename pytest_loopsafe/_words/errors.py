"""Errors: what one was raised from, and how one is recognised again without being kept.

Keeping an exception would keep its traceback, hence frames, clients and loops: the code under test
would run in another world than in production. Its text is no identity (every closed loop says the
same), and asking for it calls the code's own ``__str__``. asyncio's exceptions have no weak
references either. But they are made of plain strings: the *tuple* of these can be kept, it refers
to nothing else, and as long as it is kept no other tuple has its address.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, NewType

from pytest_loopsafe._words.texts import arguments

ErrorKey = NewType("ErrorKey", int)
"""Stands for an error that was noted. It is never given twice."""

_CAUSE: Any = vars(BaseException)["__cause__"]
_CONTEXT: Any = vars(BaseException)["__context__"]
_MEMBERS: Any = vars(BaseExceptionGroup)["exceptions"]

_MOST_KNOWN = 1000


def error_chain(error: BaseException, *, beside: bool = True) -> Iterator[BaseException]:
    """An exception and all that it was raised from, groups' members included.

    Args:
        error: where to begin.
        beside: also those in whose handling another one came up, which need not be its causes.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending.append(_CAUSE.__get__(current))
        if beside:
            pending.append(_CONTEXT.__get__(current))
        if issubclass(type(current), BaseExceptionGroup):
            pending += _MEMBERS.__get__(current)


class _Known(NamedTuple):
    key: ErrorKey
    kind: type[BaseException]
    arguments: int
    told: tuple[str, ...] | None
    """The exception's own arguments where they are plain strings, which nobody else then has."""

    def is_(self, error: BaseException) -> bool:
        """Whether this is that exception, of all that ever had its address.

        Code may give it other arguments on its way (``error.args = (f"{error}, twice",)``). Then
        the text that it had is still somewhere in them. Where they are the same and yet another
        tuple, it is another error.
        """
        if type(error) is not self.kind:
            return False
        now = arguments(error)
        if now is self.told or self.told is None:
            return True
        texts = tuple(one for one in now if type(one) is str)
        same = len(now) == len(self.told) and texts == self.told
        return bool(self.told) and not same and any(self.told[0] in one for one in texts)


class KnownErrors:
    """The errors that were noted, recognised as long as they exist.

    Whoever is noted at the address of another proves that the other is gone. Nothing here takes a
    lock: each step is a single operation of a dictionary.
    """

    def __init__(self) -> None:
        self._at: dict[int, _Known] = {}
        self._numbers = itertools.count(1)

    def note(self, error: BaseException) -> ErrorKey:
        """The key of an exception that is to be recognised from now on."""
        known = self._at.get(id(error))
        told = arguments(error)
        if known is not None and (known.kind, known.arguments) == (type(error), id(told)):
            return known.key
        key = ErrorKey(next(self._numbers))
        plain = all(type(one) is str for one in told)
        self._at.pop(id(error), None)
        self._at[id(error)] = _Known(key, type(error), id(told), told if plain else None)
        if len(self._at) > _MOST_KNOWN:  # the one noted longest ago is most likely gone
            self._at.pop(next(iter(self._at)), None)
        return key

    def key_of(self, error: BaseException) -> ErrorKey | None:
        """The key of an exception that was noted; None for any other."""
        known = self._at.get(id(error))
        return known.key if known is not None and known.is_(error) else None

    def behind(self, error: BaseException, *, beside: bool = True) -> frozenset[ErrorKey]:
        """The keys of all noted ones in an exception's chain."""
        if not self._at:
            return frozenset()
        keys = (self.key_of(link) for link in error_chain(error, beside=beside))
        return frozenset(key for key in keys if key is not None)

    def forget(self) -> None:
        """Recognise none of them any more; the keys that were given stay valid."""
        self._at.clear()
