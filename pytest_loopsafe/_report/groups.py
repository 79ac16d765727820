"""The findings of one root, told together: one headline, what was seen, what to do.

A client that outlives its loop is awaited, closed, found stale and replaced: four rules, and one
thing to mend. Findings whose object is held at one place are one group. What was seen of an object
that nobody holds any more (a connection that its client has replaced meanwhile) belongs to the
group that tells of the same line and the same loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_loopsafe._words.findings import MOST_LOOPS, Finding, without_entry
from pytest_loopsafe._words.loops import LoopInfo

_USES = "LS1"
"""The family of rules that see a use in a loop other than the object's own."""
_CAUSES = frozenset({"LS203", "LS204", "LS205", "LS208"})
"""How the user's code came to an object of another loop, or to none: others see what follows."""
_LOOPS_NAMED = 4


@dataclass(frozen=True)
class Group:
    """Findings of one root, in the order in which they were first seen."""

    findings: tuple[Finding, ...]

    @property
    def key(self) -> str:
        """What names the group: where the object is held, or rule and place."""
        return self.lead.group

    @property
    def owner(self) -> str | None:
        """Where the object is held; the shortest path where there are several."""
        return min((one.owner for one in self.findings if one.owner), key=len, default=None)

    @property
    def owner_type(self) -> str | None:
        """The class of what is there."""
        owner = self.owner
        return next((one.owner_type for one in self.findings if one.owner == owner), None)

    @property
    def lead(self) -> Finding:
        """The finding that tells most.

        An error before a warning, the cause before what follows from it, a use before what is left.
        """
        return min(
            self.findings,
            key=lambda one: (
                not one.is_error,
                one.code not in _CAUSES,
                one.owner != self.owner,
                one.code[:3],
            ),
        )

    @property
    def codes(self) -> tuple[str, ...]:
        """The rules, that of the lead first."""
        return tuple(dict.fromkeys((self.lead.code, *(one.code for one in self.findings))))

    @property
    def remedy(self) -> str:
        """What to do: what fits the library where that is known, else what the rule advises."""
        lead = self.lead
        return lead.remedy if lead.code in _CAUSES else lead.advice or lead.remedy

    @property
    def headline(self) -> str:
        """What is wrong in one sentence, with whose it is."""
        owner, lead = self.owner, self.lead
        if owner is None:
            return lead.message
        kind = f" ({_short(self.owner_type)})" if self.owner_type else ""
        home, users = self._home, self._users
        if lead.code.startswith(_USES) and home is not None and users:
            if self.owner_type == home.kind:
                return f"{owner} is {home}, and is used in {_in_words(users)}"
            return f"{owner}{kind} belongs to {home} and is used in {_in_words(users)}"
        if without_entry(owner) in lead.message:
            return lead.message
        return f"{owner}: {lead.message}"

    @property
    def _home(self) -> LoopInfo | None:
        """The first loop that the object belonged to."""
        homes = [one.home_loop for one in self.findings if one.home_loop is not None]
        return min(homes, key=lambda info: info.number, default=None)

    @property
    def _users(self) -> list[int]:
        """The other loops in which it was used, in order."""
        home = self._home.number if self._home is not None else None
        used = {
            number
            for one in self.findings
            if one.code.startswith(_USES)
            for number in (one.loops or ((one.loop.number,) if one.loop is not None else ()))
        }
        return sorted(used - {home})


def _short(kind: str | None) -> str:
    """``redis.asyncio.client.Redis`` as ``redis Redis``, ``asyncio.locks.Lock`` as ``Lock``."""
    module, _, name = (kind or "").rpartition(".")
    package = module.partition(".")[0].removeprefix("_")
    return name if package in ("asyncio", "builtins", "", "_main__") else f"{package} {name}"


def _in_words(numbers: list[int]) -> str:
    """``loop 2``, ``loops 2 and 3``, ``loops 2, 3, 4 and 9 more``; not of 0 and less.

    Of so many that not all were remembered: ``loops 2, 3, 4 and many more``.
    """
    names = [str(number) for number in numbers]
    if numbers[0] < 1:
        return "another loop" if len(numbers) == 1 else f"{len(numbers)} other loops"
    if len(names) > _LOOPS_NAMED:
        more = "many" if len(names) >= MOST_LOOPS - 1 else len(names) - _LOOPS_NAMED + 1
        names = [*names[: _LOOPS_NAMED - 1], f"{more} more"]
    if len(names) == 1:
        return f"loop {names[0]}"
    return f"loops {', '.join(names[:-1])} and {names[-1]}"


def groups_of(findings: Iterable[Finding]) -> list[Group]:
    """The groups, each where its first finding was."""
    findings = tuple(findings)
    clients = {(one.origin, one.owner, one.advice): one.group for one in findings if one.advice}
    keys = [
        next((clients[whole] for whole in _wholes(one) if whole in clients), one.group)
        for one in findings
    ]
    roots: dict[tuple[object, ...], str] = {}
    for finding, key in zip(findings, keys, strict=True):
        if finding.owner is not None or finding.code == _HANG:
            for mark in _explains(finding):
                roots.setdefault(mark, key)
    grouped: dict[str, list[Finding]] = {}
    for finding, key in zip(findings, keys, strict=True):
        root = next((roots[mark] for mark in _follows(finding) if mark in roots), key)
        grouped.setdefault(root, []).append(finding)
    return [Group(tuple(members)) for members in grouped.values()]


def _wholes(finding: Finding) -> Iterator[tuple[object, ...]]:
    """What the object may be a part of: a client has tasks and connections, and one remedy."""
    for match in re.finditer(r"[.\[]", finding.owner or ""):
        yield finding.origin, match.string[: match.start()], finding.advice


def _explains(finding: Finding) -> Iterator[tuple[object, ...]]:
    """By which it is known what is a part of what this finding tells: see `_follows`."""
    yield from _lines(finding)
    if finding.code == _RACE:
        yield from _functions(finding)
    if finding.code == _STALE:
        yield from _pair(finding)
    if finding.code == _HANG and finding.loop is not None:
        yield "hang", finding.origin, finding.loop.number
    if finding.code == _LOST_WORK and finding.stacks:
        yield "task", finding.origin, finding.stacks[0].frames


def _follows(finding: Finding) -> Iterator[tuple[object, ...]]:
    """By which another finding is known to explain this one.

    Where nobody knows whose it is: the same line of the user's, in the same loop; the race in this
    function, whose loser nobody closes; what this function keeps from the one loop to the other,
    where something of the one was used in the other. Of a task that was left: the pass that did not
    end, in that loop; the same await, of which more is said elsewhere. Rejected: the same function
    in any case. It may open two clients.
    """
    if finding.owner is None:
        yield from _lines(finding)
        if finding.code == _LEFT_OPEN:
            yield from _functions(finding)
        if finding.code.startswith(_USES):
            yield from _pair(finding)
    if finding.code == _LEFT_PENDING and finding.loop is not None:
        yield "hang", finding.origin, finding.loop.number
        yield "task", finding.origin, finding.stacks[0].frames


def _lines(finding: Finding) -> Iterator[tuple[object, ...]]:
    site = finding.site
    if site is not None and not site.library:
        yield from (("line", finding.origin, site, loop) for loop in _loops_of(finding))


def _functions(finding: Finding) -> Iterator[tuple[object, ...]]:
    site = finding.site
    if site is not None and not site.library:
        where = site.file, site.function
        yield from (("function", finding.origin, where, loop) for loop in _loops_of(finding))


def _pair(finding: Finding) -> Iterator[tuple[object, ...]]:
    site, home, loop = finding.site, finding.home_loop, finding.loop
    if site is not None and not site.library and home is not None and loop is not None:
        where = site.file, site.function
        yield "pair", finding.origin, where, home.number, loop.number


def _loops_of(finding: Finding) -> list[int]:
    return [one.number for one in (finding.home_loop, finding.loop) if one is not None]


_RACE, _STALE, _HANG, _LOST_WORK = "LS203", "LS201", "LS106", "LS207"
_LEFT_OPEN, _LEFT_PENDING = "LS303", "LS301"
