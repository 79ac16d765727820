"""What a finding can be an instance of: a code, a slug, a severity, and the words that explain it.

A rule is declared by the detector that sees it, in the detector's own file, so that adding one
edits nothing else. Codes are never reused.
"""

from __future__ import annotations

import enum
import fnmatch
import functools
import os
import re
from dataclasses import dataclass

DOCS_URL = "https://pytest-loopsafe.readthedocs.io/en/stable/reference/rules/"

_PATTERN = re.compile(r"LS[0-9]{0,3}\Z")


class Severity(enum.StrEnum):
    """How much a finding weighs: an error fails the test, a warning is reported."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Rule:
    """One kind of hazard.

    Attributes:
        code: ``LS101``; the first digit is the family.
        slug: the code in words, ``cross-loop-await``.
        severity: what it is by default; ``strict`` makes a warning an error.
        title: what was seen, in a few words that fit a headline.
        remedy: what to do, where the finding has no better advice of its own.
    """

    code: str
    slug: str
    severity: Severity
    title: str
    remedy: str

    @property
    def url(self) -> str:
        """The rule's page in the documentation."""
        return f"{DOCS_URL}{self.code}.html"


@functools.cache
def codes() -> frozenset[str]:
    """The codes of all rules, by the names of their files: to load these is not free."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_rules")
    names = (name.partition(".")[0].upper() for name in os.listdir(folder))
    return frozenset(name for name in names if re.fullmatch(r"LS[0-9]{3}", name))


@dataclass(frozen=True)
class Ignore:
    """A rule that the user does not want to hear of: ``LS206``, ``LS3``, ``LS101:thirdparty.*``.

    For a whole project also ``LS206@tests/legacy``: not in these tests.
    """

    prefix: str
    owner: str | None = None
    tests: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read ``CODE``, ``CODE:owner-glob``, and either with ``@test-glob`` at its end.

        CODE may be shortened to a family.

        Raises:
            ValueError: when the text is not of that form, or there is no such rule; the message
                says what is.
        """
        rule, at, tests = text.strip().partition("@")
        prefix, colon, owner = rule.partition(":")
        if not _PATTERN.match(prefix) or (colon and not owner) or (at and not tests):
            raise ValueError(
                f"{text!r} is not a rule to ignore: write a code (LS101), a family (LS3), "
                "or either with an owner glob (LS206:thirdparty.*)"
            )
        if not any(code.startswith(prefix) for code in codes()):
            raise ValueError(
                f"{text!r}: there is no rule {prefix}: give one of {', '.join(sorted(codes()))}, "
                "or a family (LS3)"
            )
        return cls(prefix, owner or None, tests.rstrip("/") or None)

    def __str__(self) -> str:
        owner = f":{self.owner}" if self.owner is not None else ""
        return f"{self.prefix}{owner}{f'@{self.tests}' if self.tests is not None else ''}"

    def is_for(self, test: str) -> bool:
        """Whether a test is meant, by its id: itself, its class, its file or a folder above."""
        if self.tests is None:
            return True
        above = (test[: found.start()] for found in re.finditer(r"/|::|\[", test))
        return any(fnmatch.fnmatchcase(one, self.tests) for one in (test, *above))

    def matches(self, code: str, owner: str | None) -> bool:
        """Whether a finding of this code, held at this owner path, is to be left out."""
        if not code.startswith(self.prefix):
            return False
        return self.owner is None or (owner is not None and fnmatch.fnmatchcase(owner, self.owner))
