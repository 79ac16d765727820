"""The rules' pages, to be read without a network: ``python -m pytest_loopsafe explain LS203``."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_loopsafe._words.rules import codes

_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (
    _PACKAGE / "_rules" / "pages",  # as it is installed
    _PACKAGE.parent / "docs" / "reference" / "rules",  # as it is checked out
)
_LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")


class UnknownRuleError(ValueError):
    """There is no such rule; the message names those that there are."""


def page_of(code: str) -> str:
    """The page of a rule, as plain text: what it means, a bad example, a good one.

    Args:
        code: ``LS203``, in capitals or not.

    Raises:
        UnknownRuleError: there is no such rule.
    """
    wanted = code.upper()
    if wanted not in codes():
        raise UnknownRuleError(f"{code!r} is no rule. There are {', '.join(sorted(codes()))}.")
    for folder in _FOLDERS:
        page = folder / f"{wanted}.md"
        if page.is_file():
            return _LINK.sub(r"\1", page.read_text(encoding="utf-8")).strip()
    raise UnknownRuleError(f"the page of {wanted} was not installed with this package")
