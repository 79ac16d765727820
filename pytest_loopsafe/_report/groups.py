"""The findings of one root, told together: one headline, what was seen, what to do.

A client that outlives its loop is awaited, closed, found stale and replaced: four rules, and one
thing to mend. Findings whose object is held at one place are one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_loopsafe._words.findings import Finding


@dataclass(frozen=True)
class Group:
    """Findings of one root, in the order in which they were first seen."""

    findings: tuple[Finding, ...]

    @property
    def owner(self) -> str | None:
        """Where the object is held; the shortest path where there are several."""
        return min((one.owner for one in self.findings if one.owner), key=len, default=None)

    @property
    def lead(self) -> Finding:
        """The finding that tells most: an error before a warning, a use before what is left."""
        return min(self.findings, key=lambda one: (not one.is_error, one.code[:3]))


def groups_of(findings: Iterable[Finding]) -> list[Group]:
    """The groups, each where its first finding was."""
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.group, []).append(finding)
    return [Group(tuple(members)) for members in grouped.values()]
