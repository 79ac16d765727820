"""What GitHub's runner reads: annotations beside the code, and a table for the run's summary."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_loopsafe._report.alerts import Alert
from pytest_loopsafe._report.text import count, printable

_MOST_ANNOTATIONS = 10
"""Of each severity: the runner takes no more in one step."""
_MOST_ROWS = 20
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#|~!@-])")


def annotated(alerts: list[Alert]) -> Iterator[str]:
    """Lines that the runner turns into annotations, and one for those that it would not take."""
    more = []
    for severity in ("error", "warning"):
        told = [one for one in alerts if one.severity == severity]
        yield from map(_annotation, told[:_MOST_ANNOTATIONS])
        if len(told) > _MOST_ANNOTATIONS:
            more.append(count(len(told) - _MOST_ANNOTATIONS, f"more {severity}"))
    if more:
        yield f"loopsafe: {' and '.join(more)} without an annotation: GitHub takes 10 of each"


def _annotation(alert: Alert) -> str:
    place = alert.place
    properties = {"title": f"{alert.code} {alert.slug}"}
    text = f"{printable(alert.headline)}\n{printable(alert.remedy)}"
    if place is not None and place.inside:
        line = {"line": str(place.line)} if place.line is not None else {}
        properties = {"file": place.path, **line, **properties}
    elif place is not None:
        text = f"{printable(place.path)}:{place.line}: {text}"
    told = ",".join(f"{key}={_property(printable(value))}" for key, value in properties.items())
    return f"::{alert.severity} {told}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(alerts: list[Alert], tests: int, loops: int) -> str:
    """Markdown for the run's summary.

    Args:
        alerts: what was found.
        tests: how many were watched.
        loops: how many loops they made.
    """
    over = f"{count(tests, 'test')} over {count(loops, 'loop')}"
    if not alerts:
        return f"### loopsafe: nothing found in {over}\n\n"
    errors = sum(one.severity == "error" for one in alerts)
    warnings = len(alerts) - errors
    lines = [
        f"### loopsafe: {count(errors, 'error')} and {count(warnings, 'warning')} in {over}",
        "",
        "| | rule | what | where | tests |",
        "| --- | --- | --- | --- | ---: |",
        *(_row(one) for one in alerts[:_MOST_ROWS]),
    ]
    if len(alerts) > _MOST_ROWS:
        lines += ["", f"And {len(alerts) - _MOST_ROWS} more."]
    return "\n".join(lines) + "\n\n"


def _row(alert: Alert) -> str:
    place = alert.place
    where = f"{place.path}:{place.line or 1}" if place is not None else ""
    rule = f"[{alert.code}]({alert.url}) {_markdown(alert.slug)}"
    what, tests = _markdown(alert.headline), len(alert.tests)
    return f"| {alert.severity} | {rule} | {what} | {_markdown(where)} | {tests} |"


def _markdown(text: str) -> str:
    """Text that is nothing but text in Markdown, whatever is in it."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)
