"""The file of ``--loopsafe-baseline``: what a project lives with, so that the new stands out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_loopsafe._report.identity import Entry

if TYPE_CHECKING:
    from pytest_loopsafe._words.findings import Finding


def without_repeats(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests, without the findings of a run that came again when the test was run again."""
    seen: set[Entry] = set()
    told: list[dict[str, Any]] = []
    for test in reversed(tests):
        entries = [(Entry.of(test["nodeid"], one), one) for one in test["findings"]]
        again = seen.copy() if test["outcome"] == "rerun" else ()
        told.append({**test, "findings": [one for entry, one in entries if entry not in again]})
        seen.update(entry for entry, _ in entries)
    return told[::-1]


class BaselineError(ValueError):
    """The file cannot be read; the message says what is wrong with it."""


class Baseline:
    """The known findings, and what became of them in this session.

    Args:
        path: the file.
        root: what the paths in tests' names are relative to.
        update: take everything for known, and write it down at the end.

    Raises:
        BaselineError: there is no such file, or it is none of ours.
    """

    def __init__(self, path: Path, root: Path, *, update: bool) -> None:
        self._path = path.absolute()
        self._root = root
        self._update = update
        self._entries = frozenset() if update and not path.exists() else _read(path)

    def knows(self, test: str, finding: Finding) -> bool:
        """Whether a test's finding fails nothing."""
        return self._update or Entry.of(test, finding.to_json()) in self._entries

    def _came(self, tests: Iterable[dict[str, Any]]) -> frozenset[Entry]:
        return frozenset(Entry.of(one["nodeid"], known) for one in tests for known in one["known"])

    def _gone(self, tests: list[dict[str, Any]]) -> frozenset[Entry]:
        """The entries that are shown not to occur: their test has passed without them.

        One that was not run, or did not come to its end, shows nothing.
        """
        passed = {one["nodeid"] for one in tests if one["outcome"] == "passed"}
        return frozenset(
            one
            for one in self._entries - self._came(tests)
            if one.test in passed or not (self._root / one.test.partition("::")[0]).exists()
        )

    def told(self, tests: list[dict[str, Any]]) -> list[str]:
        """What there is to say at the end, in lines; the first tells all where there is no room."""
        came, gone = self._came(tests), sorted(self._gone(tests))
        if self._update:
            new, total = len(came - self._entries), len((self._entries | came).difference(gone))
            return [f"{self._path.name}: {total} known, {new} new, {len(gone)} taken out"]
        lines = [f"{self._path.name}: {len(came)} known"] if came or gone else []
        if gone:
            more = f", {len(gone)} no longer found (--loopsafe-update-baseline takes them out)"
            lines = [lines[0] + more, *(f"  {one}" for one in gone)]
        return lines

    def write(self, tests: list[dict[str, Any]]) -> str | None:
        """Write the file where that is asked for; what is wrong, where that cannot be done.

        An entry a line, in order, so that a version control shows what has changed.
        """
        if not self._update:
            return None
        entries = (self._entries | self._came(tests)) - self._gone(tests)
        lines = ",\n".join(f"  {json.dumps(one._asdict())}" for one in sorted(entries))
        text = f'{{\n "version": 1,\n "findings": [\n{lines}\n ]\n}}\n'
        from pytest_loopsafe._report import files  # only when used

        fault = files.write(self._path, text)
        return f"--loopsafe-baseline={self._path}: not written: {fault}" if fault else None


def _read(path: Path) -> frozenset[Entry]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaselineError("there is no such file; --loopsafe-update-baseline makes it") from None
    except OSError as error:
        raise BaselineError(f"it cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise BaselineError(f"it is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("version") != 1:
        raise BaselineError("it is no baseline of this version: it has no version 1")
    try:
        return frozenset(map(_entry, data["findings"]))
    except (KeyError, TypeError) as error:
        raise BaselineError(f"an entry is not as it was written ({error!r})") from None


def _entry(data: dict[str, Any]) -> Entry:
    entry = Entry(data["test"], data["code"], data["owner"], tuple(data["functions"]))
    if not all(isinstance(one, str) for one in (*entry[:3], *entry.functions)):
        raise TypeError(f"no text: {data}")
    return entry
