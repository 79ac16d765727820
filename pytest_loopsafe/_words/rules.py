"""What a finding can be an instance of: a code, a slug, a severity, and the words that explain it.

A rule is declared by the detector that sees it, in the detector's own file, so that adding one
edits nothing else. Codes are never reused.
"""

from __future__ import annotations

import enum
import fnmatch
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


@dataclass(frozen=True)
class Ignore:
    """A rule that the user does not want to hear of: ``LS206``, ``LS3``, ``LS101:thirdparty.*``."""

    prefix: str
    owner: str | None = None

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Read ``CODE`` or ``CODE:owner-glob``, where CODE may be shortened to a family.

        Raises:
            ValueError: when the text is not of that form; the message says what is.
        """
        prefix, colon, owner = text.strip().partition(":")
        if not _PATTERN.match(prefix) or (colon and not owner):
            raise ValueError(
                f"{text!r} is not a rule to ignore: write a code (LS101), a family (LS3), "
                "or either with an owner glob (LS206:thirdparty.*)"
            )
        return cls(prefix, owner or None)

    def __str__(self) -> str:
        return f"{self.prefix}:{self.owner}" if self.owner is not None else self.prefix

    def matches(self, code: str, owner: str | None) -> bool:
        """Whether a finding of this code, held at this owner path, is to be left out."""
        if not code.startswith(self.prefix):
            return False
        return self.owner is None or (owner is not None and fnmatch.fnmatchcase(owner, self.owner))
