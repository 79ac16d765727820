"""A report as text that a tired person acts on: one block for each thing to mend.

A block says what is wrong in a sentence, under which rules it was seen, where, who hid it and what
to do, in at most a dozen lines; all stacks in full are for who asks for them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_loopsafe._report.groups import Group, groups_of
from pytest_loopsafe._report.places import brief_lines, full_lines, place, site_of
from pytest_loopsafe._report.text import Span, Text, count, printable, shortened
from pytest_loopsafe._words.findings import Finding, LogLine
from pytest_loopsafe._words.rules import Severity
from pytest_loopsafe._words.stacks import Stack

if TYPE_CHECKING:
    from pytest_loopsafe._report.report import LoopReport  # a report shows itself with what is here

_MOST_LINES = 12
_RULES_SHOWN = 3
_LINES_SHOWN = 5


class Detail(enum.IntEnum):
    """How much of each group is told."""

    LINE = -1
    BLOCK = 0
    ALL = 1


def render_report(report: LoopReport, detail: Detail = Detail.BLOCK) -> Text:
    """All of a report, ending in one line that sums it up."""
    text = Text()
    for line in report.verdict:
        text.add(Span(line, ("bold",) if not line.startswith(" ") else ()))
    if report.verdict:
        text.add()
    groups = groups_of(report.findings)
    for group in groups:
        if detail is Detail.LINE:
            _render_line(group, text)
        else:
            _render_group(group, report, text, whole=detail is Detail.ALL)
            text.add()
    for note in report.notes:
        text.add(f"note: {note}")
    if detail is not Detail.LINE:
        _render_ways_out(groups, text)
        text.add(Span(summary_line(report), ("bold",)))
    return text


def summary_line(report: LoopReport) -> str:
    """``LS101 app/cache.py:41 (swallowed), LS107 app/locks.py:9 in 3 loops``."""
    loops = count(len(report.loops), "loop")
    if not report.findings:
        return f"loopsafe: nothing found over {loops}"
    return "loopsafe: " + "; ".join(headline(finding) for finding in report.findings)


def headline(finding: Finding) -> str:
    """One finding in one short phrase: rule, place, how often.

    The place is the user's line; where there is none, the object's owner.
    """
    site = site_of(finding)
    where = f" at {place(site)}" if site else ""
    if finding.owner and (site is None or site.library):
        where = f" of {finding.owner}"
    swallowed = ", swallowed" if finding.swallowed else ""
    times = f", {finding.count} times" if finding.count > 1 else ""
    return printable(f"{finding.code} {finding.slug}{where}{swallowed}{times}")


def _render_line(group: Group, text: Text) -> None:
    colour = "red" if group.lead.is_error else "yellow"
    where = site_of(group.lead)
    at = f" at {place(where)}" if where is not None else ""
    text.add(Span(group.headline, (colour, "bold")), f"   {', '.join(group.codes)}{at}")


def _render_group(group: Group, report: LoopReport, text: Text, *, whole: bool) -> None:
    """One thing to mend: what it is, how it was seen, where, who hid it, what to do."""
    lead, begins = group.lead, len(text.lines)
    text.add(Span(group.headline, ("red" if lead.is_error else "yellow", "bold")))
    members = [lead, *(one for one in group.findings if one is not lead)]
    shown = members if whole else members[:_RULES_SHOWN]
    told: set[Stack] = set()
    for finding in shown:
        _render_seen(finding, report, text, told=finding.message in group.headline)
        for stack in finding.stacks if whole else ():
            if stack not in told:
                told.add(stack)
                for line in full_lines(stack):
                    text.add(*line)
    if len(members) > len(shown):
        more = ", ".join(dict.fromkeys(one.code for one in members[len(shown) :]))
        text.add(f"  and {count(len(members) - len(shown), 'more finding')}: {more} (-v)")
    ends = Text()
    for spans in _ends(group):
        ends.add(*spans)
    if not whole:
        room = _MOST_LINES - (len(text.lines) - begins) - len(ends.lines)
        _render_stacks(lead, text, room)
    text.lines += ends.lines


def _render_seen(finding: Finding, report: LoopReport, text: Text, *, told: bool) -> None:
    """The rule, how often, and the sentence, unless that is the headline."""
    colour = "red" if finding.severity is Severity.ERROR else "yellow"
    hidden = " (swallowed)" if finding.swallowed else ""
    passes = _in_passes(finding, report) if finding.passes and report.passes else ""
    times = f"seen {finding.count} times" if finding.count > 1 else ""
    name = Span(f"{finding.code} {finding.slug}{hidden}", (colour,))
    often = "".join(f", {one}" for one in (passes, times) if one)
    text.add("  ", name, f"{often}" if told else f"{often}: {finding.message}")


def _render_stacks(finding: Finding, text: Text, room: int) -> None:
    """As many stacks as there is room for; the first, where it happened, in any case."""
    for number, stack in enumerate(finding.stacks):
        lines = list(brief_lines(stack, lead=number == 0))
        if number and len(lines) > room:
            break
        room -= len(lines)
        for line in lines:
            text.add(*line)


def _ends(group: Group) -> Iterator[tuple[Span | str, ...]]:
    """What follows the stacks: in which process, who hid it, what was logged, what to do."""
    lead = group.lead
    if lead.origin:
        yield (f"  seen in:   {lead.origin}",)
    hidden = next((one for one in (lead, *group.findings) if one.swallowed), None)
    if hidden is not None:
        yield "  swallowed: ", *_hidden_by(hidden)
    logged = dict.fromkeys(line for one in (lead, *group.findings) for line in one.logged)
    for line in list(logged)[: 1 if lead.origin or hidden else 2]:
        yield (f"  logged:    {line.logger} {line.level} {_logged(line)}",)
    yield Span("  remedy:    ", ("green",)), group.remedy


def _render_ways_out(groups: Sequence[Group], text: Text) -> None:
    """Once for all: how to read on, and how to ignore what one has to live with."""
    codes = list(dict.fromkeys(code for group in groups for code in group.codes))
    if codes:
        text.add(
            f"what it means: python -m pytest_loopsafe explain {codes[0]}   "
            f"to ignore: ignore={codes}"
        )


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
    error = f" ({shortened(line.error)})" if line.error else ""
    return f"{shortened(line.message)}{error}"


def _hidden_by(finding: Finding) -> Iterator[Span]:
    handler = finding.swallowed_at
    if handler is None:
        yield Span("no error left the pass (a task's result nobody read, or return_exceptions)")
        return
    likely = " (likely: read from the bytecode)" if finding.swallowed_likely else ""
    yield Span(f"at {place(handler)} in {handler.function}{likely}")
    if handler.code:
        yield Span(f"   {handler.code}", source=True)


def _in_passes(finding: Finding, report: LoopReport) -> str:
    # One that somebody else has broken off, such as pytest-timeout, has no outcome.
    total = max((*finding.passes, *(one.number for one in report.passes)), default=0)
    if total <= 1:
        return ""
    numbers = ", ".join(str(number) for number in finding.passes)
    return f"in pass {numbers} of {total}" if len(finding.passes) == 1 else f"in passes {numbers}"
