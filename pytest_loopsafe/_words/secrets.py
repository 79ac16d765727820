"""Secrets are taken out of each text that is written down or shown, at the very edge.

A log line, an exception, an owner path or a line of source may have a password in it, and a report
goes to CI's logs, to artifacts and into issues. What stays in the process, such as the lines that
``report.assert_not_logged`` looks through, is left as it is.

Values are masked, and never words: "AuthError: token expired" tells what is wrong. Where that
cannot be told apart, a value goes. Rejected: to mask what the environment or the settings hold,
which would be exact; they are the code's own, and whatever is in them (``"dev"``, ``"1"``) stands
in other words.
"""

from __future__ import annotations

from typing import Any

_ROUNDS = 4
"""A mask may join what it stands between; so it is looked again, until nothing changes."""
_HINTS = (
    "://", "passw", "passp", "passc", "pwd", "secret", "token", "credential", "cookie", "auth",
    "key", "session", "bearer", "basic", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "glpat-", "xox", "sk-", "sk_", "rk_", "akia", "asia", "aiza", "npm_", "pypi-", "hf_", "eyj",
)  # fmt: skip
"""Each text that has anything to mask has one of these: most need no more than this look."""


def masked(text: str, *, source: bool = False) -> str:
    """A text with no secrets in it; to mask it again changes nothing.

    Args:
        text: whatever is about to be written.
        source: it is a line of Python, which has to stay one: ``Client(token=token)`` tells
            something, and a value is what is in quotes.
    """
    hints = text.lower()
    if not any(hint in hints for hint in _HINTS):
        return text
    from pytest_loopsafe._words.secret_values import without  # its patterns take 20 ms to compile

    for _ in range(_ROUNDS):
        before, text = text, without(text, source=source)
        if text == before:
            break
    return text


def masked_data(value: Any) -> Any:
    """JSON-able data with no secrets in any of its texts; the ``code`` of a frame stays Python."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {
            key: masked(one, source=True)
            if key == "code" and isinstance(one, str)
            else masked_data(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [masked_data(one) for one in value]
    return value
