"""How a pass in a forked child ended, as a parcel for the parent.

Value and exception travel by pickle, which is safe here, for both sides are one program: whoever
could plant a parcel could have planted the code. What cannot be pickled is replaced and named.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_loopsafe._report.report import PassOutcome
from pytest_loopsafe._words.findings import Origin


class ForkedPassError(RuntimeError):
    """What a forked child ended with, where that itself cannot be had: it died, or no pickle."""


@dataclass(frozen=True)
class ChildPass:
    """A pass as its own process knows it.

    Attributes:
        outcome: how it ended.
        expired: whether its time was up.
        ends_run: whether its error is one that ends the whole run: KeyboardInterrupt, a skip.
    """

    outcome: PassOutcome
    expired: bool = False
    ends_run: bool = False


@dataclass(frozen=True)
class Parcel:
    """What a child says at its end; value and error are pickles of their own.

    Attributes:
        value: what the pass returned; None where that cannot be pickled.
        error: what left it, likewise.
        error_text: the error's type and text; None where there was no error.
        error_trace: its traceback, which no pickle has.
        expired: see `ChildPass`.
        ends_run: see `ChildPass`.
        notes: what could not be seen, and what stays behind.
        printed: what the streams that are kept in memory (``capsys``) were given.
    """

    value: bytes | None
    error: bytes | None
    error_text: str | None
    error_trace: str | None
    expired: bool
    ends_run: bool
    notes: tuple[str, ...]
    printed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def pack(cls, ended: ChildPass, parallel: bool, notes: Iterable[str]) -> Parcel:
        """Pack the end of a pass.

        Args:
            ended: how it ended.
            parallel: whether its value is a list of several calls' values and exceptions.
            notes: what could not be seen.
        """
        outcome, error = ended.outcome, ended.outcome.error
        lost: dict[str, None] = {}
        value = outcome.value
        if parallel and isinstance(value, list):
            # Of several calls one may return what cannot travel; the others' values are kept.
            value = [_carried(one, outcome.number, lost) for one in value]
        return cls(
            value=_pickled(_carried(value, outcome.number, lost))[0],
            error=_pickled(error)[0] if error is not None else None,
            error_text=_text(error) if error is not None else None,
            error_trace=_trace(error) if error is not None else None,
            expired=ended.expired,
            ends_run=ended.ends_run,
            notes=(*notes, *lost),
        )

    def write(self, path: Path) -> None:
        """Put it down where the parent looks, whole or not at all."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(pickle.dumps(self))
        os.replace(unfinished, path)

    @classmethod
    def read(cls, path: Path) -> Parcel | None:
        """What a child has put there; None where it has not come to that."""
        try:
            found = pickle.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        assert isinstance(found, cls)
        return found

    def unpack(self, number: int, origin: Origin) -> ChildPass:
        """How the pass ended, for the parent."""
        value = None
        if self.value is not None:
            with contextlib.suppress(Exception):  # it could be read in the child
                value = _loaded(self.value)
        error = self._error(origin) if self.error_text is not None else None
        return ChildPass(PassOutcome(number, value, error, origin), self.expired, self.ends_run)

    def _error(self, origin: Origin) -> BaseException:
        error: BaseException = ForkedPassError(self.error_text)
        if self.error is not None:
            with contextlib.suppress(Exception):  # its module cannot be imported here, say
                error = _loaded(self.error)
        with contextlib.suppress(Exception):  # a class of the user's may refuse it
            error.add_note(f"in the {origin}:\n{self.error_trace}")
        return error


def _carried(value: Any, number: int, lost: dict[str, None]) -> Any:
    """A value, or what stands for it."""
    _, reason = _pickled(value)
    if reason is None:
        return value
    if isinstance(value, BaseException):
        stand_in = ForkedPassError(_text(value))
        stand_in.add_note(_trace(value))
        return stand_in
    lost[
        f"the value of pass {number} cannot be pickled, and did not come back from its forked "
        f"child: None stands for it ({type(reason).__name__}: {reason})"
    ] = None
    return None


def _pickled(thing: Any) -> tuple[bytes | None, Exception | None]:
    """A pickle that can be read again; or why there is none."""
    try:
        with io.BytesIO() as buffer:
            _Pickler(buffer).dump(thing)
            data = buffer.getvalue()
        _loaded(data)  # an exception with an __init__ of its own fails here, if at all
    except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything
        return None, error
    return data, None


def _text(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__
    return f"{name if kind.__module__ == 'builtins' else f'{kind.__module__}.{name}'}: {error}"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


# -- exceptions that no import finds -----------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Pickles exceptions whose class is not where it says that it is.

    pytest's outcomes claim to be builtins, and a test may define a class of its own in a function.
    What existed at the fork exists in the parent too, and is found by its name there.
    """

    def persistent_id(self, thing: Any) -> tuple[str, str] | None:
        """The name of such a class; None for all else, which is pickled as ever."""
        if not (isinstance(thing, type) and issubclass(thing, BaseException)):
            return None
        found: Any = sys.modules.get(thing.__module__)
        for name in thing.__qualname__.split("."):
            found = getattr(found, name, None)
        return None if found is thing else (thing.__module__, thing.__qualname__)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> type[BaseException]:
        """The class of that name, if there is exactly one."""
        named = {
            one for one in _subclasses(BaseException) if (one.__module__, one.__qualname__) == pid
        }
        if len(named) != 1:
            raise pickle.UnpicklingError(f"{len(named)} classes are called {'.'.join(pid)}")
        return named.pop()


def _loaded(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


def _subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in type.__subclasses__(kind):
        yield one
        yield from _subclasses(one)
