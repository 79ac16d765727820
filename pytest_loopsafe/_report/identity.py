"""By what a finding is known again in a later run: the same in a baseline and in an alert.

Its test, its rule, where its object is held and the functions that led to it. Line numbers, keys
and indexes are left out: it survives what moves code about.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pytest_loopsafe._words.secrets import masked


class Entry(NamedTuple):
    """What is remembered of a finding."""

    test: str
    code: str
    owner: str
    functions: tuple[str, ...]

    @classmethod
    def of(cls, test: str, finding: dict[str, Any]) -> Entry:
        """The entry of a finding, as JSON-able data, of a test.

        Without secrets, as it is written, also where it is made of what is not written yet.
        """
        frames = finding["stacks"][0]["frames"] if finding["stacks"] else ()
        functions = tuple(masked(frame["function"]) for frame in frames if not frame["library"])
        owner = masked((finding["owner"] or "").partition("[")[0])
        return cls(masked(test), finding["code"], owner, functions)

    def __str__(self) -> str:
        where = f" in {self.functions[-1]}" if self.functions else ""
        return f"{self.test}: {self.code}{where}{f' ({self.owner})' if self.owner else ''}"
