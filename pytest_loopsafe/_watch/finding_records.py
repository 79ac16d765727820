"""What a log keeps of one hazard: how often it was seen, and the errors still to be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from pytest_loopsafe._words.errors import ErrorKey
from pytest_loopsafe._words.findings import MOST_LOOPS, Clue, Finding, LogLine
from pytest_loopsafe._words.ways import Fate, Way

_TEXT_THAT_TELLS = 15
"""So long an error's text must be to be recognised within a line of the log."""


class SeenError(NamedTuple):
    """An error that was raised for a hazard, and what is needed to judge it when all rests."""

    key: ErrorKey
    way: Way | None
    text: str
    excuse: Callable[[Fate], bool] | None
    pass_number: int
    loop: int | None
    at_rest: Callable[[], bool] | None = None
    expectable: bool = False

    def may_be_one(self, left: set[ErrorKey]) -> bool:
        """Whether it may be a hazard, as far as that is known without what became of the error."""
        return self.at_rest is None or self.key in left or self.at_rest()

    def is_told_by(self, line: LogLine) -> bool:
        """Whether a line has all of the error's text in it."""
        return len(self.text) >= _TEXT_THAT_TELLS and (
            self.text in line.message or (line.error is not None and self.text in line.error)
        )


class Record:
    """One hazard, as often as it was seen."""

    __slots__ = (
        "clue",
        "count",
        "finding",
        "ignored",
        "loops",
        "number",
        "owned",
        "passes",
        "pending",
        "raised",
        "settled",
        "unsaid",
    )

    def __init__(self, number: int, finding: Finding, clue: Clue | None) -> None:
        self.number = number
        self.finding = finding
        self.clue = clue
        self.owned = False
        self.count = 0
        self.ignored = False
        self.raised = False
        self.passes: Counter[int] = Counter()
        self.loops: Counter[int] = Counter()
        self.pending: list[SeenError] = []
        self.settled: list[SeenError] = []
        self.unsaid: Counter[tuple[int, int | None]] = Counter()
        """How often asyncio said nothing, by pass and loop."""

    @property
    def undecided(self) -> int:
        """How many of the sightings may be taken back."""
        return sum(one.excuse is not None and one.at_rest is None for one in self.pending)

    def told_as(self, other: Finding) -> Finding:
        """The finding as another sighting of the same hazard tells it."""
        return replace(
            self.finding,
            message=other.message,
            loop=other.loop,
            home_loop=other.home_loop,
            home_state=other.home_state,
            stacks=other.stacks,
        )

    def see(self, pass_number: int, loop: int | None, times: int) -> None:
        """Count a sighting; with -1 times, one that was none after all."""
        self.count += times
        self.passes[pass_number] += times
        if loop is not None and (loop in self.loops or len(self.loops) < MOST_LOOPS):
            self.loops[loop] += times
