"""Text for a terminal: lines of spans, plain and coloured from the same source."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pytest_loopsafe._words.secrets import masked

_GOES_ON = "      "

Piece = tuple[str, tuple[str, ...]]
"""Some of a line's text, and its markup."""


@dataclass(frozen=True)
class Span:
    """A piece of a line, and how to show it.

    Attributes:
        text: what it says.
        markup: names of pytest's terminal markup.
        source: it is a line of Python.
    """

    text: str
    markup: tuple[str, ...] = ()
    source: bool = False


@dataclass
class Text:
    """Lines of spans; plain text and coloured text come from the same source."""

    lines: list[tuple[Span, ...]] = field(default_factory=list)

    def add(self, *spans: Span | str) -> None:
        """Append a line; text that has several goes on in further ones, indented.

        Here text becomes lines, whoever has made it. What would steer a terminal, or hide in the
        line, is shown as an escape, and secrets are masked: before the lines are parted, for a
        private key has many.
        """
        line: list[Span] = []
        for one in spans:
            span = Span(one) if isinstance(one, str) else one
            safe = masked(span.text, source=span.source)
            first, *more = safe.replace("\r\n", "\n").split("\n")
            line.append(replace(span, text=_visible(first)))
            for text in more:
                self.lines.append(tuple(line))
                line = [replace(span, text=_GOES_ON + _visible(text))]
        self.lines.append(tuple(line))

    def plain(self) -> str:
        """The text without markup."""
        return "\n".join("".join(span.text for span in line) for line in self.lines)

    def to_json(self) -> list[list[Piece]]:
        """The text with its markup, as JSON-able data."""
        return [[(span.text, span.markup) for span in line] for line in self.lines]


def wrapped(line: Sequence[Piece], width: int) -> Iterator[list[Piece]]:
    """A line of `Text.to_json` as the rows that a terminal of that width has of it, indented.

    Only for a terminal: in a file, or a log of a CI, whole lines can be searched and folded.
    """
    whole = "".join(text for text, _ in line)
    indent = " " * min(len(whole) - len(whole.lstrip()) + 2, width // 4)
    row: list[Piece] = []
    used = 0
    for text, markup in line:
        for word in _WORD.findall(text):
            if used + len(word) > width and used > len(indent):
                yield row
                row, used, word = [(indent, ())], len(indent), word.lstrip()
            used += len(word)
            if row and tuple(row[-1][1]) == tuple(markup):
                row[-1] = (row[-1][0] + word, markup)
            else:
                row.append((word, markup))
    yield row


_WORD = re.compile(r" *[^ ]+ *$| *[^ ]+| +")


def printable(text: str) -> str:
    r"""A text in one line, with nothing in it that is not seen, ``\x1b`` for ESC, and no secret.

    Messages, names and paths come from the code under test, and from spools that anybody may have
    written. They must not steer the terminal, turn the line round, or look like another line.
    """
    return _visible(masked(text))


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if _is_seen(one) else _escaped(one) for one in text.expandtabs(4))


def _is_seen(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shortened(text: str, width: int = 120) -> str:
    """In one line; the middle goes first, for what asyncio has to say it says at the end.

    Of a secret that is cut in two, nobody knows any more that it is one: it is masked before that.
    """
    text = " ".join(masked(text).split())
    half = width // 2
    return text if len(text) <= width else f"{text[:half]} … {text[-half:]}"


def count(number: int, noun: str) -> str:
    """``1 loop``, ``3 loops``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
