"""The findings as SARIF 2.1.0, which code scanning of GitHub and others, and editors, can show.

Each alert is one result: a cause and a place, with how often it came up. GitHub shows one alert for
a rule and a line anyway, and at most 5,000. The results have a fingerprint of their own, under
``loopsafe/v1``. GitHub's, ``primaryLocationLineHash``, is left to its upload action, which makes it
of the line's text and warns of any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_loopsafe._report.alerts import Alert, Place, alerts_of, root_of_sources
from pytest_loopsafe._words.rules import DOCS_URL, Rule

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT = "SRCROOT"
_MOST_TESTS = 50
_MOST_NOTES = 100
_MOST_LINKS = 5


def sarif_text(document: dict[str, Any], root: Path, rules: Iterable[Rule], version: str) -> str:
    """The text of a SARIF file.

    Args:
        document: the data of ``--loopsafe-json``; secrets are masked in it already.
        root: what the tests' names are relative to.
        rules: all that there are. They are told also where they were not met, for that says what
            was looked for; each result says by a number which of them it is of.
        version: of this package.
    """
    alerts, sources = alerts_of(document, root), root_of_sources(root.absolute())
    descriptors = {rule.code: _descriptor(rule) for rule in rules}
    for alert in alerts:  # of a newer version, in a spool
        descriptors.setdefault(alert.code, _told(alert))
    codes = list(descriptors)
    driver = {
        "name": "pytest-loopsafe",
        "version": version,
        "informationUri": DOCS_URL.partition("reference/")[0],
        "rules": list(descriptors.values()),
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {_ROOT: {"uri": f"{sources.as_uri().rstrip('/')}/"}},
        "invocations": [_invocation(document)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(alert, codes.index(alert.code)) for alert in alerts],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _descriptor(rule: Rule) -> dict[str, Any]:
    title = rule.title[:1].upper() + rule.title[1:]
    return {
        "id": rule.code,
        "name": rule.slug,
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": f"{title}. {rule.remedy}"},
        "help": {
            "text": f"{rule.remedy}\n{rule.url}",
            "markdown": f"{rule.remedy}\n\n[{rule.code} {rule.slug}]({rule.url})",
        },
        "helpUri": rule.url,
        "defaultConfiguration": {"level": str(rule.severity)},
        "properties": {
            "tags": ["asyncio", "event-loop", "concurrency", f"LS{rule.code[2]}xx"],
            "problem.severity": str(rule.severity),
            "precision": "high",
        },
    }


def _told(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.code,
        "name": alert.slug,
        "shortDescription": {"text": alert.slug},
        "helpUri": alert.url,
        "defaultConfiguration": {"level": alert.severity},
    }


def _invocation(document: dict[str, Any]) -> dict[str, Any]:
    tests = document["tests"]
    notes = dict.fromkeys(note for test in tests for note in test["notes"])
    return {
        "executionSuccessful": all(test["outcome"] != "interrupted" for test in tests),
        "toolExecutionNotifications": [
            {"level": "note", "message": {"text": _plain(note)}}
            for note in list(notes)[:_MOST_NOTES]
        ],
    }


def _result(alert: Alert, rule: int) -> dict[str, Any]:
    links = [
        f"[{_in_brackets(one.says)}]({number})"
        for number, one in enumerate(alert.related[:_MOST_LINKS], start=1)
    ]
    see = f"\nSee {', '.join(links)}." if links else ""
    end = "" if alert.headline.endswith(".") else "."
    text = f"{_plain(alert.headline)}{end}\n{_plain(alert.remedy)}{see}"
    result: dict[str, Any] = {
        "ruleId": alert.code,
        "ruleIndex": rule,
        "level": alert.severity,
        "kind": "fail",
        "message": {"text": text},
        "locations": [_location(alert.place, alert.owner)] if alert.place else [],
        "relatedLocations": [
            {"id": number, **_location(one), "message": {"text": _plain(one.says)}}
            for number, one in enumerate(alert.related, start=1)
        ],
        "stacks": [
            {
                "message": {"text": _plain(title)},
                "frames": [{"location": _location(one)} for one in reversed(frames)],
            }
            for title, frames in alert.stacks
            if frames
        ],
        "occurrenceCount": alert.count,
        "partialFingerprints": {"loopsafe/v1": alert.fingerprint},
        "properties": {
            "codes": alert.codes,
            "owner": alert.owner,
            "tests": alert.tests[:_MOST_TESTS],
            "testCount": len(alert.tests),
        },
    }
    return {key: value for key, value in result.items() if value not in ([], None)}


def _location(place: Place, owner: str | None = None) -> dict[str, Any]:
    artifact = {"uri": place.uri, **({"uriBaseId": _ROOT} if place.inside else {})}
    physical: dict[str, Any] = {"artifactLocation": artifact}
    if place.line is not None:
        snippet = {"snippet": {"text": place.code}} if place.code else {}
        physical["region"] = {"startLine": place.line, **snippet}
    logical = {"logicalLocations": [{"fullyQualifiedName": owner}]} if owner else {}
    return {"physicalLocation": physical, **logical}


def _plain(text: str) -> str:
    """Text of which nothing is taken for a link, ``[text](target)``."""
    return text.replace("](", "] (")


def _in_brackets(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
