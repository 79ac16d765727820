"""Whose code a file is: the user's, a library's, the interpreter's, or ours.

A library is what an installed distribution owns. A distribution is the user's where it was
installed from a folder (``pip install .``, ``-e .``), or where it is the project that the run is
in: tox and nox build an archive of that first. What no distribution owns is the user's wherever it
lies: a Dockerfile has copied it there, say. ``loopsafe_own`` has the last word.

That a path has ``site-packages`` in it proves nothing, and is asked only of files in folders that
were not read: of another environment, or put on ``sys.path`` in the middle of a pass. For all that
is on the disk is read when a watch arms, never in a hook.
"""

from __future__ import annotations

import enum
import functools
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import CodeType
from typing import Any

from pytest_loopsafe._words.installed import (
    SITE_NAMES,
    Distribution,
    Folder,
    comparable,
    interpreter,
    is_windows_path,
    normal_name,
    project_names,
    read_folder,
    slashed,
)

_OURS = str(Path(__file__).parent.parent) + os.sep
_LAUNCHER, *_HOOKS = (
    os.path.join(_OURS, *one.split("/"))
    for one in ("_run/runner.py", "_run/schedules.py", "_run/addresses.py", "_probes/")
)
_PYTEST = f"{os.sep}_pytest{os.sep}"
_PLUGGY = f"{os.sep}pluggy{os.sep}"
_ASYNCIO = f"{os.sep}asyncio{os.sep}"
_RECIPES = f"{os.sep}recipes.py"
_OUR_NAME = "pytest-loopsafe"
_IN_SITE = tuple(f"/{name}/" for name in SITE_NAMES)


class Whose(enum.Enum):
    """Whose a frame is, by its file: what a walk over a stack has to know of each."""

    USER = enum.auto()
    LIBRARY = enum.auto()
    STDLIB = enum.auto()
    ASYNCIO = enum.auto()
    PYTEST = enum.auto()
    PLUGGY = enum.auto()
    LAUNCHER = enum.auto()
    """Ours, and calls the code under test."""
    HOOK = enum.auto()
    """Ours, and may lie between the user's code and asyncio's."""
    OURS = enum.auto()

    __hash__ = object.__hash__  # Enum's own is in Python, and asks for the name's: 5 times as long


SCAFFOLDING = frozenset({Whose.PYTEST, Whose.PLUGGY, Whose.LAUNCHER, Whose.HOOK, Whose.OURS})
"""Who called the test is no part of what went wrong."""


class _Files(dict[str, Whose]):
    """Whose each file is, found out at the first question: a stack is walked at every hook."""

    def __init__(self, find: Callable[[str], Whose]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, file: str) -> Whose:
        if len(self) >= _MANY:  # code may be compiled under a new name each time
            self.clear()
        found = self[file] = self._find(file)
        return found


_MANY = 4096


@dataclass(frozen=True)
class Claim:
    """What somebody says is their own code.

    Attributes:
        root: the folder that the run is in: its project is the user's, and relative paths begin
            there.
        entries: see `Entry`; of those that fit the last one counts.
    """

    root: str
    entries: tuple[str, ...] = ()

    @functools.cached_property
    def parsed(self) -> tuple[Entry, ...]:
        """The entries, to be asked."""
        return tuple(Entry(text, self.root) for text in self.entries)


class Entry:
    """One entry of ``loopsafe_own``.

    ``shopapp`` or ``acme.*`` names an import package or a distribution; what has a slash in it is
    a path, ``libs/shop`` or ``*/plugins/*.py``, and all below it. A ``!`` before it says that it is
    not the user's.

    Args:
        text: the entry.
        root: where a relative path begins.
    """

    def __init__(self, text: str, root: str) -> None:
        self.is_own = not text.startswith("!")
        self._text = text.removeprefix("!").strip().replace("\\", "/")
        self._is_path = "/" in self._text
        if self._is_path:
            self._text = self._anchored(root)

    def _anchored(self, root: str) -> str:
        path = os.path.expanduser(self._text)
        if not path.startswith(("/", "*")) and not is_windows_path(path):
            path = f"{glob.escape(root) if glob.has_magic(path) else root}/{path}"
        return comparable(path).lower() if is_windows_path(root) else comparable(path)

    def fits(self, path: str, module: str | None) -> bool:
        """Whether a file is meant.

        Args:
            path: the file, as `comparable` has it.
            module: its name as a module, where it is one.
        """
        if self._is_path:
            return _below(path, self._text, "/")
        return module is not None and _below(module.lower(), self._text.lower(), ".")

    def fits_distribution(self, name: str) -> bool:
        """Whether a distribution is meant, by its normal name."""
        return not self._is_path and fnmatchcase(name, normal_name(self._text))


def _below(place: str, wanted: str, separator: str) -> bool:
    if not glob.has_magic(wanted):
        return place == wanted or place.startswith(wanted + separator)
    return fnmatchcase(place, wanted) or fnmatchcase(place, f"{wanted}{separator}*")


class View:
    """An answer for each file, from what is installed and what is claimed. It never changes.

    Args:
        searched: what is on ``sys.path``.
        claims: of those who watch.
        known: what was found in folders before, which is not read again.
    """

    def __init__(
        self,
        searched: tuple[str, ...] = (),
        claims: tuple[Claim, ...] = (),
        known: Mapping[str, Folder | None] | None = None,
    ) -> None:
        self.key = (searched, claims)
        self._stdlib = interpreter("stdlib", "platstdlib")
        self._sites = interpreter("purelib", "platlib")
        known = known or {}
        paths = tuple(map(os.path.abspath, searched))
        self.folders = {path: known[path] if path in known else read_folder(path) for path in paths}
        self._searched = _longest_first(paths)
        self._entries = tuple(entry for claim in claims for entry in claim.parsed)
        projects = {name for claim in claims for name in project_names(claim.root)}
        self._users: list[str] = []
        self._installed: dict[str, Folder] = {}
        self._library_tops: set[str] = set()
        self._user_tops: set[str] = set()
        self._user_files: set[str] = set()
        for folder in self.folders.values():
            if folder is not None:
                self._take(folder, projects)
        self._by_length = _longest_first(self._installed)
        self.is_library = functools.lru_cache(maxsize=_MANY)(self._is_library)
        self.is_stdlib = functools.lru_cache(maxsize=_MANY)(self._is_stdlib)
        self.whose = _Files(self._whose)
        self.lines: dict[tuple[int, int | None], tuple[CodeType, Any]] = {}
        """What was made of a line of code under this view; see `pytest_loopsafe._words.stacks`."""
        self.libraries: set[str] = set()
        """Names of modules that are not the user's; see `pytest_loopsafe._graph.roots`."""

    def _take(self, folder: Folder, projects: set[str]) -> None:
        self._installed[f"{comparable(folder.path)}/"] = folder
        for one in folder.distributions:
            tops = {comparable(f"{folder.path}/{top}") for top in one.tops}
            if not self._is_users(one, projects):
                self._library_tops |= tops
                continue
            self._users.append(one.name)
            self._user_tops |= tops
            self._user_files.update(comparable(f"{folder.path}/{file}") for file in one.files())

    def _is_users(self, one: Distribution, projects: set[str]) -> bool:
        if one.name == _OUR_NAME:
            return False
        for entry in reversed(self._entries):
            if entry.fits_distribution(one.name):
                return entry.is_own
        return one.is_local or one.name in projects

    # -- answers -----------------------------------------------------------------------------------

    def _whose(self, file: str) -> Whose:
        if _PYTEST in file:
            return Whose.PYTEST
        if is_own(file):
            if file.startswith(tuple(_HOOKS)):
                return Whose.HOOK
            return Whose.LAUNCHER if file == _LAUNCHER else Whose.OURS
        if self.is_stdlib(file):
            return Whose.ASYNCIO if _ASYNCIO in file else Whose.STDLIB
        if not self.is_library(file):
            return Whose.USER
        return Whose.PLUGGY if _PLUGGY in file else Whose.LIBRARY

    def _is_stdlib(self, file: str) -> bool:
        if file.startswith(("<frozen", _OURS)):
            return True
        path = comparable(file)
        inside = path.startswith(self._stdlib)
        return inside and self._site(path) is None

    def _is_library(self, file: str) -> bool:
        if self.is_stdlib(file):
            return True
        path = comparable(file)
        module = self._module(path) if self._entries else None
        for entry in reversed(self._entries):
            if entry.fits(path, module):
                return not entry.is_own
        folder = next((one for one in self._by_length if path.startswith(one)), None)
        if folder is not None:
            top = folder + path[len(folder) :].partition("/")[0]
            if path in self._user_files:
                return False
            if top in self._library_tops:
                return True
            if top in self._user_tops:
                return False
            if self._installed[folder].is_site:
                return not self._installed[folder].is_complete
        return self._site(path) is not None

    def below_site(self, file: str) -> str | None:
        """The path of an installed file as its package has it: ``redis/asyncio/client.py``."""
        site = self._site(comparable(file))
        return slashed(file)[site:] if site is not None else None

    def describe(self) -> str:
        """What counts as the user's code, in one line."""
        users = f", and {', '.join(dict.fromkeys(self._users))}" if self._users else ""
        claimed = [text for claim in self.key[1] for text in claim.entries]
        entries = f"; loopsafe_own: {', '.join(claimed)}" if claimed else ""
        return f"your code is what no distribution has installed{users}{entries}"

    def _module(self, path: str) -> str | None:
        """The name of a file as a module, from the folder on ``sys.path`` that it is in."""
        folder = next((one for one in self._searched if path.startswith(one)), None)
        start = len(folder) if folder is not None else self._site(path)
        if start is None:
            return None
        return path[start:].removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def _site(self, path: str) -> int | None:
        """Where in a path the part begins that is below a folder for what is installed."""
        for folder in self._by_length:
            if path.startswith(folder) and self._installed[folder].is_site:
                return len(folder)
        for folder in self._sites:
            if path.startswith(folder):
                return len(folder)
        ends = [path.rfind(part) + len(part) for part in _IN_SITE if part in path]
        return max(ends, default=None)


def _longest_first(folders: Iterable[str]) -> tuple[str, ...]:
    """So that the innermost of several is met first."""
    ends = {f"{comparable(folder).rstrip('/')}/" for folder in folders}
    return tuple(sorted(ends, key=len, reverse=True))


class Territory:
    """The view that is in force, and the claims that it is made of.

    One for the process, as the modules are whose files it is about: a hook is entered in any
    thread, and from code of which nobody can say whose watch it belongs to. Watches that overlap
    see each other's loops, and so they count each other's claims. No lock: a fork could inherit it
    held. Who makes a view looks afterwards whether it is still what is wanted.
    """

    def __init__(self) -> None:
        self.view = View()
        self._claims: list[Claim] = []

    def prepare(self) -> None:
        """Read what has to be read; where nothing is new, this costs a microsecond or two."""
        while self.view.key != (wanted := self._wanted()):
            self.view = View(*wanted, self.view.folders)

    def claim(self, claim: Claim) -> None:
        """Let a claim count from now on."""
        self._claims.append(claim)
        self.prepare()

    def release(self, claim: Claim) -> None:
        """Let it count no more."""
        self._claims.remove(claim)
        self.prepare()

    @contextmanager
    def claimed(self, claim: Claim) -> Iterator[View]:
        """Let a claim count for the length of a ``with`` block."""
        self.claim(claim)
        try:
            yield self.view
        finally:
            self.release(claim)

    def _wanted(self) -> tuple[tuple[str, ...], tuple[Claim, ...]]:
        claims = tuple(self._claims)
        if not claims:
            with suppress(OSError):  # the working directory is gone
                claims = (Claim(os.getcwd()),)
        return tuple(one for one in sys.path if type(one) is str), claims


TERRITORY = Territory()


@functools.lru_cache(maxsize=2048)
def is_own(file: str) -> bool:
    """Whether a file belongs to this package; recipes are the user's, who may as well copy them."""
    return file.startswith(_OURS) and not file.endswith(_RECIPES)


def is_stdlib(file: str) -> bool:
    """Whether a file belongs to the interpreter itself, or is ours."""
    return TERRITORY.view.is_stdlib(file)


def is_library(file: str) -> bool:
    """Whether a file belongs to the interpreter or to a library that is installed."""
    return TERRITORY.view.is_library(file)
