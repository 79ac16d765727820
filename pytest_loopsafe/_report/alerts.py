"""What other tools show beside a line of code: one alert for each cause and place.

Whoever reads code in a review wants to know what is wrong with this line, and not in how many tests
that came up. So groups of findings of several tests that are about one place are one alert, with
the names of the tests: 200 tests that share one client would else be 200 alerts at one line.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote

from pytest_loopsafe._report.identity import Entry

_MOST_RELATED = 20
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True)
class Place:
    """A line of a file.

    Attributes:
        path: relative to the root, with forward slashes; absolute where it is outside.
        line: from 1; None for the file as a whole.
        inside: whether it is below the root.
        code: the line's text; empty where that is not known.
        says: what is there.
    """

    path: str
    line: int | None
    inside: bool
    code: str = ""
    says: str = ""

    @property
    def uri(self) -> str:
        """The path as a URI: a reference relative to the root, or of the scheme ``file``."""
        path = quote(self.path, safe="/")
        if self.inside:
            return path
        return (
            f"file://{path}" if path.startswith("/") else f"file:///{path.replace('%3A', ':', 1)}"
        )


@dataclass
class Alert:
    """Groups of one cause and place.

    Attributes:
        code: the rule of the finding that tells most.
        slug: the same in words.
        url: the rule's page.
        severity: ``error`` or ``warning``: the worst of the groups.
        headline: what is wrong, in a sentence.
        remedy: what to do.
        owner: where the object is held; None where nobody holds it.
        place: where it was used; None where no line of anybody's is known.
        related: where it was made, and where else it was found.
        stacks: of the finding that tells most: a title and the user's own frames.
        codes: the rules of all its findings.
        tests: in which it was found, in order.
        count: how many groups these are.
        fingerprint: by which it is known again when lines have moved.
    """

    code: str
    slug: str
    url: str
    severity: str
    headline: str
    remedy: str
    owner: str | None
    place: Place | None
    related: list[Place]
    stacks: list[tuple[str, list[Place]]]
    codes: list[str]
    tests: list[str] = field(default_factory=list)
    count: int = 0
    fingerprint: str = ""


def alerts_of(document: dict[str, Any], root: Path) -> list[Alert]:
    """The alerts of a document of ``--loopsafe-json``: errors first, then by place.

    Args:
        document: the data; secrets are masked in it already.
        root: what the tests' names are relative to. Places are relative to `root_of_sources`.
    """
    paths = _Paths(root)
    found: dict[tuple[Any, ...], Alert] = {}
    for test in document["tests"]:
        for group in test["groups"]:
            lead = test["findings"][group["lead"]]
            alert = _alert(test, group, lead, paths)
            entry = Entry.of("", lead)
            path, line = (alert.place.path, alert.place.line) if alert.place else (None, None)
            identity = (entry.code, entry.owner, path, entry.functions[-1:])
            one = found.setdefault((*identity, line), alert)
            one.fingerprint = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
            one.count += 1
            if alert.severity == "error":
                one.severity = "error"
            if test["nodeid"] and test["nodeid"] not in one.tests:
                one.tests.append(test["nodeid"])
    told = sorted(found.values(), key=_in_order)
    _number(told)
    return told


def _in_order(alert: Alert) -> tuple[Any, ...]:
    place = alert.place
    return (
        alert.severity != "error",
        place is None or not place.inside,
        place.path if place else "",
        (place.line or 0) if place else 0,
        alert.code,
    )


def _number(alerts: list[Alert]) -> None:
    """Tell apart what has one rule, owner and function, by its order: no line is in the number."""
    seen: dict[str, int] = {}
    for alert in alerts:
        number = seen[alert.fingerprint] = seen.get(alert.fingerprint, 0) + 1
        alert.fingerprint = f"{alert.fingerprint}:{number}"


def _alert(
    test: dict[str, Any], group: dict[str, Any], lead: dict[str, Any], paths: _Paths
) -> Alert:
    members = [lead, *(test["findings"][at] for at in group["findings"] if at != group["lead"])]
    seen = list(_places(test, lead, members, paths))
    place = next(iter(seen), None)
    if place is None and test["nodeid"]:
        place = paths.of({"file": test["nodeid"].partition("::")[0], "line": None, "code": ""}, "")
    others: dict[tuple[str, int | None], Place] = {}
    for one in seen:
        if place is None or (one.path, one.line) != (place.path, place.line):
            others.setdefault((one.path, one.line), one)
    return Alert(
        code=lead["code"],
        slug=lead["slug"],
        url=lead["url"],
        severity=group["severity"],
        headline=group["headline"],
        remedy=group["remedy"],
        owner=group["owner"],
        place=place,
        related=list(others.values())[:_MOST_RELATED],
        stacks=[
            (stack["title"], list(_own(stack["frames"], stack["title"], paths)))
            for stack in lead["stacks"]
        ],
        codes=list(group["codes"]),
    )


def _places(
    test: dict[str, Any], lead: dict[str, Any], members: list[dict[str, Any]], paths: _Paths
) -> Iterator[Place]:
    """The lines that it is about, the user's own, with that where it was used first."""
    for stack in lead["stacks"]:
        yield from _innermost(stack["frames"], stack["title"], paths)
    if lead["swallowed_at"] is not None:
        yield from _innermost([lead["swallowed_at"]], "the error was swallowed", paths)
    for one in members[1:]:
        if one["stacks"]:
            title = f"{one['code']} {one['slug']}"
            yield from _innermost(one["stacks"][0]["frames"], title, paths)
    homes = {one["home_loop"] for one in members}
    for lane in test["lanes"]:
        is_home = lane["loop"] in homes and lane.get("run") == lead.get("run")
        if is_home and lane["made_at"] is not None:
            yield from _innermost([lane["made_at"]], f"{lane['name']} was made", paths)


def _innermost(frames: list[dict[str, Any]], says: str, paths: _Paths) -> Iterator[Place]:
    yield from list(_own(frames, says, paths))[-1:]


def _own(frames: list[dict[str, Any]], says: str, paths: _Paths) -> Iterator[Place]:
    for frame in frames:
        place = paths.of(frame, says) if not frame["library"] else None
        if place is not None:
            yield place


class _Paths:
    """Makes places of frames."""

    def __init__(self, folder: Path) -> None:
        root = root_of_sources(folder)
        self._folder = os.path.abspath(folder)
        self._root = os.path.abspath(root)
        self._real = os.path.realpath(root)
        self._known: dict[str, tuple[str, bool]] = {}

    def of(self, frame: dict[str, Any], says: str) -> Place | None:
        """The place; None for what is no file, ``<string>``."""
        file = frame["file"]
        if file.startswith("<") or not file:
            return None
        if file not in self._known:
            self._known[file] = self._path(file)
        path, inside = self._known[file]
        line = frame["line"]
        return Place(path, max(1, line) if line is not None else None, inside, frame["code"], says)

    def _path(self, file: str) -> tuple[str, bool]:
        if os.sep == "/" and _DRIVE.match(file):  # of a spool that was written elsewhere
            return PureWindowsPath(file).as_posix(), False
        whole = os.path.normpath(os.path.join(self._folder, file))
        for path, root in ((whole, self._root), (os.path.realpath(whole), self._real)):
            if path.startswith(root.rstrip(os.sep) + os.sep):
                return Path(os.path.relpath(path, root)).as_posix(), True
        return Path(whole).as_posix(), False


def root_of_sources(folder: Path) -> Path:
    """The root of the version control that a folder is in, else the folder itself.

    Code scanning and annotations have paths from there, also where pytest runs in a part of it.
    """
    for one in (folder, *folder.parents):
        try:
            if (one / ".git").exists():
                return one
        except OSError:
            break
    return folder
