"""A row of the table: one fault, made so many times, each time with processes of its own."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import Ended

_FAULTS_SHOWN = 5
_AT_A_TIME = 4


class SkippedError(Exception):
    """This machine cannot make the fault; the message says why."""


class Trial:
    """One time that a row's fault is made.

    Attributes:
        random: where its random moments come from: the seed, the row and the number of the trial.
        folder: its own, empty.
        is_short: whether this is the form for CI.
        says: what was measured, for the table.
        faults: what falls short.
        skipped: why the fault could not be made here.
        seconds: how long it took.
    """

    def __init__(self, seed: int, row: str, number: int, *, is_short: bool) -> None:
        self.random = random.Random(f"{seed} {row} {number}")
        self.folder = Path(tempfile.mkdtemp(prefix="soak-"))
        self.is_short = is_short
        self.says: list[str] = []
        self.faults: list[str] = []
        self.skipped: str | None = None
        self.seconds = 0.0

    def file(self, name: str, text: str) -> None:
        """Write a file of the project under test."""
        (self.folder / name).write_text(textwrap.dedent(text))

    def check(self, is_so: object, otherwise: str) -> bool:
        """Note what falls short."""
        if not is_so:
            self.faults.append(otherwise)
        return bool(is_so)

    def ended_well(self, ended: Ended, *codes: int) -> None:
        """It has not hung, has such an exit code, and has left nothing running."""
        self.check(ended.code is not None, f"it hung, and was killed after {ended.seconds:.0f} s")
        wrong = ended.code is not None and codes and ended.code not in codes
        self.check(not wrong, f"exit code {ended.code}, and not {' or '.join(map(str, codes))}")
        self.check(not ended.left, f"left running: {'; '.join(ended.left)}")

    def tests(self, name: str = "report.json") -> dict[str, dict[str, Any]]:
        """The JSON file: what it says of each test, by the test's name."""
        path = self.folder / name
        if not path.exists():
            return {}
        try:
            tests = json.loads(path.read_text())["tests"]
        except (ValueError, KeyError) as error:
            self.check(False, f"{name} is not whole: {error!r}")
            return {}
        return {one["nodeid"].rpartition("::")[2]: one for one in tests}

    def has(self, test: str, code: str, *, where: dict[str, dict[str, Any]] | None = None) -> bool:
        """Whether the JSON file has a finding of that rule for that test; noted where not."""
        tests = self.tests() if where is None else where
        return self.check(code in codes_of(tests, test), f"{code} of {test} is not in the JSON")


def codes_of(tests: dict[str, dict[str, Any]], test: str) -> list[str]:
    """The rules under which something was found in a test."""
    return [one["code"] for one in tests.get(test, {}).get("findings", ())]


def notes_of(tests: dict[str, dict[str, Any]], test: str) -> str:
    """What the JSON file says could not be seen in a test."""
    return "\n".join(tests.get(test, {}).get("notes", ()))


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: what is done.
        checked: what has to be so after it.
        times: how often, in full and in short.
        make: does it once.
    """

    name: str
    checked: str
    times: tuple[int, int]
    make: Callable[[Trial], None]


@dataclass
class Result:
    """What became of a row; its seconds are those of all trials together."""

    row: Row
    times: int
    seconds: float
    faults: list[str] = field(default_factory=list)
    skipped: str | None = None
    says: list[str] = field(default_factory=list)

    @property
    def word(self) -> str:
        """For the table."""
        if self.skipped is not None:
            return "skipped"
        return f"{len(self.faults)} short" if self.faults else "ok"

    def lines(self) -> list[str]:
        """What there is to say beside the word."""
        said = [f"skipped: {self.skipped}"] if self.skipped is not None else []
        more = [f"and {len(self.faults) - _FAULTS_SHOWN} more"] * (len(self.faults) > _FAULTS_SHOWN)
        return [*self.says, *said, *self.faults[:_FAULTS_SHOWN], *more]


def perform(rows: Sequence[Row], seed: int, *, is_short: bool, seconds: float) -> Iterator[Result]:
    """Make all rows' faults, several at a time, for most of a trial is waiting.

    Args:
        rows: in the order in which they are told. Each is made once before any is made again.
        seed: of the random moments.
        is_short: whether this is the form for CI.
        seconds: when they are over none is made again; a busy machine makes fewer.
    """
    deadline = time.monotonic() + seconds
    rounds = range(1, max((row.times[is_short] for row in rows), default=0) + 1)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        trials: dict[str, list[Future[Trial | None]]] = {row.name: [] for row in rows}
        for number in rounds:
            for row in rows:
                if number <= row.times[is_short]:
                    trial = pool.submit(_once, row, seed, number, deadline, is_short=is_short)
                    trials[row.name].append(trial)
        for row in rows:
            yield _judged(row, [one.result() for one in trials[row.name]])


def _once(row: Row, seed: int, number: int, deadline: float, *, is_short: bool) -> Trial | None:
    if number > 1 and time.monotonic() > deadline:
        return None
    trial = Trial(seed, row.name, number, is_short=is_short)
    began = time.monotonic()
    try:
        row.make(trial)
    except SkippedError as error:
        trial.skipped = str(error)
    except Exception:  # noqa: BLE001 - of the bench itself: it is a row's failure, not the end
        trial.faults.append(traceback.format_exc())
    trial.seconds = time.monotonic() - began
    return trial


def _judged(row: Row, wanted: list[Trial | None]) -> Result:
    trials = [one for one in wanted if one is not None]
    result = Result(row, len(trials), sum(one.seconds for one in trials))
    if len(trials) < len(wanted):
        result.says.append(f"its time was up after {len(trials)} of {len(wanted)} trials")
    for number, trial in enumerate(trials, 1):
        result.says += trial.says
        result.skipped = trial.skipped or result.skipped
        if trial.faults:
            kept = f"trial {number}, kept in {trial.folder}"
            result.faults.append(f"{kept}: {'; '.join(trial.faults)}")
        else:
            shutil.rmtree(trial.folder, ignore_errors=True)
    return result
