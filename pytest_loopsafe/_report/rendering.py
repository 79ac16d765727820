"""Findings as text that a tired person understands: what, where, whose, what to do."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_loopsafe._report.groups import Group, groups_of
from pytest_loopsafe._words.findings import Finding, LogLine
from pytest_loopsafe._words.installed import slashed
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Frame, Stack
from pytest_loopsafe._words.whose import TERRITORY

if TYPE_CHECKING:
    from pytest_loopsafe._report.report import LoopReport  # a report shows itself with what is here

_STACKS_SHOWN = 6
_LINES_SHOWN = 5
_LINE_WIDTH = 120
_GOES_ON = "      "


@dataclass(frozen=True)
class Span:
    """A piece of a line, and how to show it: names of pytest's terminal markup."""

    text: str
    markup: tuple[str, ...] = ()


@dataclass
class Text:
    """Lines of spans; plain text and coloured text come from the same source."""

    lines: list[tuple[Span, ...]] = field(default_factory=list)

    def add(self, *spans: Span | str) -> None:
        """Append a line; text that has several goes on in further ones, indented.

        Here text becomes lines, whoever has made it. What would steer a terminal, or hide in the
        line, is shown as an escape.
        """
        line: list[Span] = []
        for one in spans:
            span = Span(one) if isinstance(one, str) else one
            first, *more = span.text.replace("\r\n", "\n").split("\n")
            line.append(replace(span, text=printable(first)))
            for text in more:
                self.lines.append(tuple(line))
                line = [replace(span, text=_GOES_ON + printable(text))]
        self.lines.append(tuple(line))

    def plain(self) -> str:
        """The text without markup."""
        return "\n".join("".join(span.text for span in line) for line in self.lines)

    def to_json(self) -> list[list[tuple[str, tuple[str, ...]]]]:
        """The text with its markup, as JSON-able data."""
        return [[(span.text, span.markup) for span in line] for line in self.lines]


def printable(text: str) -> str:
    r"""A text in one line, with nothing in it that is not seen: ``\x1b`` for ESC.

    Messages, names and paths come from the code under test, and from spools that anybody may have
    written. They must not steer the terminal, turn the line round, or look like another line.
    """
    if text.isprintable():
        return text
    return "".join(one if _is_seen(one) else _escaped(one) for one in text.expandtabs(4))


def _is_seen(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def render_report(report: LoopReport, *, verbose: bool = False) -> Text:
    """All of a report, ending in one line that sums it up."""
    text = Text()
    for line in report.verdict:
        text.add(Span(line, ("bold",) if not line.startswith(" ") else ()))
    if report.verdict:
        text.add()
    for group in groups_of(report.findings):
        if len(group.findings) == 1:
            render_finding(group.lead, report, text, verbose=verbose)
        else:
            _render_group(group, report, text, verbose=verbose)
        text.add()
    for note in report.notes:
        text.add(f"note: {note}")
    text.add(Span(summary_line(report), ("bold",)))
    return text


def summary_line(report: LoopReport) -> str:
    """``LS101 app/cache.py:41 (swallowed), LS107 app/locks.py:9 in 3 loops``."""
    loops = count(len(report.loops), "loop")
    if not report.findings:
        return f"loopsafe: nothing found over {loops}"
    return "loopsafe: " + "; ".join(headline(finding) for finding in report.findings)


def headline(finding: Finding) -> str:
    """One finding in one short phrase: rule, place, how often."""
    where = f" at {place(finding.site)}" if finding.site else ""
    swallowed = ", swallowed" if finding.swallowed else ""
    times = f", {finding.count} times" if finding.count > 1 else ""
    return printable(f"{finding.code} {finding.slug}{where}{swallowed}{times}")


def render_finding(
    finding: Finding, report: LoopReport, text: Text, *, verbose: bool = False
) -> None:
    """One finding: headline, sentence, stacks, who hid it, what to do."""
    _render_seen(finding, report, text, "")
    _render_stacks(finding, text, verbose=verbose)
    if finding.owner:
        text.add(f"  owner:     {finding.owner}")
    text.add(Span("  remedy:    ", ("green",)), finding.remedy)
    text.add(f"  rule:      {finding.rule.url}   to ignore it: ignore=['{finding.code}']")


def _render_group(group: Group, report: LoopReport, text: Text, *, verbose: bool) -> None:
    """Several findings of one root: whose it is, what was seen, where, what to do."""
    lead = group.lead
    colour = "red" if lead.is_error else "yellow"
    number = count(len(group.findings), "finding")
    text.add(Span(f"{group.owner}: {number}, one cause", (colour, "bold")))
    for finding in group.findings:
        _render_seen(finding, report, text, "  ")
    _render_stacks(lead, text, verbose=verbose)
    if verbose:
        for finding in group.findings:
            if finding is not lead:
                _render_stacks(finding, text, verbose=True)
    text.add(f"  owner:     {group.owner}")
    text.add(Span("  remedy:    ", ("green",)), lead.remedy)
    codes = list(dict.fromkeys(finding.code for finding in group.findings))
    text.add(f"  rule:      {lead.rule.url}   to ignore them: ignore={codes}")


def _render_seen(finding: Finding, report: LoopReport, text: Text, indent: str) -> None:
    """The rule, how often, and the sentence."""
    colour = "red" if finding.severity is Severity.ERROR else "yellow"
    times = f"   seen {finding.count} times" if finding.count > 1 else ""
    passes = f"   {_in_passes(finding, report)}" if finding.passes and report.passes else ""
    hidden = " (swallowed)" if finding.swallowed else ""
    name = Span(f"{finding.code} {finding.slug}{hidden}", (colour, "bold"))
    text.add(indent, name, Span(passes + times))
    text.add(f"{indent}  {finding.message}.")


def _render_stacks(finding: Finding, text: Text, *, verbose: bool) -> None:
    """Where it happened, in which process, and who hid it."""
    stacks = finding.stacks if verbose else finding.stacks[:_STACKS_SHOWN]
    births = [stack for stack in stacks if stack.title.endswith(" was made")]
    for stack in stacks:
        if stack not in births:
            text.add(Span(f"  {stack.title}:", ("bold",)))
            for line in _stack_lines(stack, verbose=verbose):
                text.add(*line)
    for stack in births:
        if stack.site is not None and not stack.site.library:
            text.add(f"  {stack.title}: {place(stack.site)} in {stack.site.function}")
    if finding.origin:
        text.add(f"  seen in:   {finding.origin}")
    if finding.swallowed:
        text.add(f"  swallowed: {_hidden_by(finding)}")
    for logged in finding.logged:
        text.add(f"  logged:    {logged.logger} {logged.level} {_logged(logged)}")


def render_lines(wanted: str, lines: Sequence[LogLine], findings: Iterable[Finding]) -> Text:
    """The lines of a log that should not be there, and the findings that they tell of."""
    text = Text()
    text.add(f"{wanted} was logged {count(len(lines), 'time')}:")
    told = [(line, finding) for finding in findings for line in finding.logged]
    for line in lines[:_LINES_SHOWN]:
        text.add(f"  pass {line.pass_number}, {line.logger} {line.level}: {_logged(line)}")
        for one, finding in told:
            if one == line:
                text.add(f"    tells of {headline(finding)}")
    if len(lines) > _LINES_SHOWN:
        text.add(f"  and {len(lines) - _LINES_SHOWN} more")
    return text


def _logged(line: LogLine) -> str:
    error = f" ({_shortened(line.error)})" if line.error else ""
    return f"{_shortened(line.message)}{error}"


def _shortened(text: str) -> str:
    """In one line; the middle goes first, for what asyncio has to say it says at the end."""
    text = " ".join(text.split())
    half = _LINE_WIDTH // 2
    return text if len(text) <= _LINE_WIDTH else f"{text[:half]} … {text[-half:]}"


def _hidden_by(finding: Finding) -> str:
    handler = finding.swallowed_at
    if handler is None:
        return "no error left the pass (a task's result nobody read, or return_exceptions)"
    code = f"   {handler.code}" if handler.code else ""
    likely = " (likely: read from the bytecode)" if finding.swallowed_likely else ""
    return f"at {place(handler)} in {handler.function}{likely}{code}"


def _in_passes(finding: Finding, report: LoopReport) -> str:
    # One that somebody else has broken off, such as pytest-timeout, has no outcome.
    total = max((*finding.passes, *(one.number for one in report.passes)), default=0)
    if total <= 1:
        return ""
    numbers = ", ".join(str(number) for number in finding.passes)
    return f"in pass {numbers} of {total}" if len(finding.passes) == 1 else f"in passes {numbers}"


def _stack_lines(stack: Stack, *, verbose: bool) -> Iterator[tuple[Span, ...]]:
    """The user's frames, innermost first; runs of library frames folded into a line."""
    frames = tuple(reversed(stack.frames))
    own = any(not frame.library for frame in frames)
    folded: list[Frame] = []
    for index, frame in enumerate(frames):
        innermost = index == 0
        if own and frame.library and not verbose and not innermost:
            folded.append(frame)
            continue
        yield from _folded(folded)
        folded = []
        style = () if not frame.library else ("light",)
        yield (Span(f"    {place(frame)} in {frame.function}", style),)
        if frame.code:
            yield (Span(f"      {frame.code}", ("cyan",)),)
    if verbose or not own:
        yield from _folded(folded)


def _folded(frames: list[Frame]) -> Iterator[tuple[Span, ...]]:
    if frames:
        packages = ", ".join(dict.fromkeys(_package(frame) for frame in frames))
        yield (Span(f"    … {count(len(frames), 'frame')} of {packages}", ("light",)),)


def _package(frame: Frame) -> str:
    installed = TERRITORY.view.below_site(frame.file)
    if installed is not None:
        return installed.partition("/")[0].removesuffix(".py")
    parts = slashed(frame.file).split("/")
    return parts[-2] if len(parts) > 1 and not parts[-2].startswith("python") else frame.function


def place(frame: Frame | None) -> str:
    """``app/cache.py:41``, relative to where the user stands; installed files by package."""
    if frame is None:
        return "?"
    file = TERRITORY.view.below_site(frame.file)
    if file is None and frame.library:
        file = "/".join(slashed(frame.file).split("/")[-2:])
    return f"{file or _relative(frame.file)}:{frame.line}"


def _relative(file: str) -> str:
    try:
        relative = os.path.relpath(file)
    except (ValueError, OSError):  # on another drive; from a folder that is gone
        return file
    return file if relative.startswith("..") else relative


def count(number: int, noun: str) -> str:
    """``1 loop``, ``3 loops``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tally(findings: Iterable[Finding]) -> list[tuple[str, int, int]]:
    """For each rule met: its code and slug, how many findings, how many sightings."""
    seen: dict[str, list[int]] = {}
    for finding in findings:
        entry = seen.setdefault(f"{finding.code} {finding.slug}", [0, 0])
        entry[0] += 1
        entry[1] += finding.count
    return [(name, *numbers) for name, numbers in sorted(seen.items())]  # type: ignore[misc]
