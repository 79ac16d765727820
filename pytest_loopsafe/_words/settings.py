"""What a run is asked to do, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pytest_loopsafe._words.rules import Ignore

if TYPE_CHECKING:
    import asyncio

SCHEDULES: dict[str, str] = {
    "consecutive": "asyncio.run() after asyncio.run()",
    "recycled": "as consecutive, and each loop takes its predecessor's id()",
    "persistent": "one loop, run_until_complete() for each pass",
    "threads": "as consecutive, each pass in a new thread",
    "concurrent": "all passes at once, each with a loop in a thread of its own",
    "fork": "as consecutive, each pass in a forked child of its own, from the same state",
}
"""The schedules by name, each with what it means."""

FIXTURES = ("shared", "fresh")

LoopFactory: TypeAlias = "Callable[[], asyncio.AbstractEventLoop]"


class SettingsError(ValueError):
    """A setting has a value that is not allowed; the message names it and what is."""


@dataclass(frozen=True)
class Settings:
    """How a function is to be run across loops.

    Attributes:
        loops: how many passes, at least 1.
        schedule: how the loops follow one another, one of `SCHEDULES`.
        concurrency: how many calls are gathered in each pass, at least 1.
        timeout: seconds that one pass may take.
        strict: count warnings as errors.
        ignore: rules to leave out.
        loop_factory: makes each loop; None for asyncio's own.
        fixtures: which function-scoped sync fixtures of a test are made anew for each pass: none,
            as they are ``shared``, or all, where they are to be ``fresh``.
        ok_without_loops: whether a test may make fewer loops of its own than it was to run over.
        recycle: whether each loop takes its predecessor's ``id()``, in whichever thread; no user
            sets it, for that is the schedule ``recycled``.
    """

    loops: int = 3
    schedule: str = "consecutive"
    concurrency: int = 1
    timeout: float = 30.0
    strict: bool = False
    ignore: tuple[Ignore, ...] = ()
    loop_factory: LoopFactory | None = None
    fixtures: str = "shared"
    ok_without_loops: bool = False
    recycle: bool = False

    @classmethod
    def checked(
        cls,
        *,
        loops: Any = 3,
        schedule: Any = "consecutive",
        concurrency: Any = 1,
        timeout: Any = 30.0,
        strict: Any = False,
        ignore: Any = (),
        loop_factory: Any = None,
        fixtures: Any = "shared",
        ok_without_loops: Any = False,
    ) -> Settings:
        """Check each value.

        Raises:
            SettingsError: for the first value that is not allowed.
        """
        return cls(
            _count("loops", loops),
            _one_of("schedule", schedule, SCHEDULES),
            _count("concurrency", concurrency),
            _seconds(timeout),
            _flag("strict", strict),
            parse_ignores(ignore),
            _factory(loop_factory),
            _one_of("fixtures", fixtures, FIXTURES),
            _flag("ok_without_loops", ok_without_loops),
        )


def parse_ignores(ignore: Any, *, tests: bool = False) -> tuple[Ignore, ...]:
    """Read ``ignore=``: one rule or several.

    Args:
        ignore: what was given.
        tests: whether an entry may say in which tests it holds, as in a project's settings.

    Raises:
        SettingsError: when one is not a code, a family, or either with an owner glob.
    """
    if isinstance(ignore, str):
        ignore = (ignore,)
    if not isinstance(ignore, Iterable):
        raise SettingsError(f"ignore={ignore!r} is not allowed: give a rule code or several")
    found: list[Ignore] = []
    for entry in ignore:
        if not isinstance(entry, str):
            raise SettingsError(f"ignore={entry!r} is not allowed: give rule codes as text")
        try:
            found.append(Ignore.parse(entry))
        except ValueError as error:
            raise SettingsError(str(error)) from None
        if found[-1].tests is not None and not tests:
            raise SettingsError(
                f"{entry!r} is not allowed here: @{found[-1].tests} names tests, which only the "
                "ini option loopsafe_ignore can"
            )
    return tuple(found)


def parse_own(own: Any) -> tuple[str, ...]:
    """Read ``own=``: one entry or several.

    Raises:
        SettingsError: for what is no text, or says nothing.
    """
    if isinstance(own, str):
        own = (own,)
    if not isinstance(own, Iterable):
        raise SettingsError(f"own={own!r} is not allowed: give a package or a path, or several")
    found: list[str] = []
    for entry in own:
        if not isinstance(entry, str) or not entry.strip().lstrip("! "):
            raise SettingsError(
                f"own={entry!r} is not allowed: give packages and paths as text, shopapp or "
                "libs/shop, or !shopapp for what is not yours"
            )
        found.append(entry.strip())
    return tuple(found)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name}={value!r} is not allowed: give a whole number, 1 or more")
    return value


def _one_of(name: str, value: Any, known: Iterable[str]) -> str:
    if isinstance(value, str) and value in known:
        return value
    import difflib  # loading it is not free, and needed only for this hint

    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    allowed = ", ".join(map(repr, known))
    raise SettingsError(f"{name}={value!r} is not known{hint}: give one of {allowed}")


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise SettingsError(f"timeout={value!r} is not allowed: give seconds, more than 0")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{name}={value!r} is not allowed: give True or False")
    return value


def _factory(value: Any) -> LoopFactory | None:
    if value is not None and not callable(value):
        raise SettingsError(
            f"loop_factory={value!r} is not allowed: give a function that returns a new event "
            "loop, such as uvloop.new_event_loop"
        )
    return cast("LoopFactory | None", value)
