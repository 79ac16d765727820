"""A report as JSON-able data, as ``--loopsafe-json`` has it: the schema is beside this file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_loopsafe._report.groups import groups_of
from pytest_loopsafe._words.findings import Finding, frame_data
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.secrets import masked_data

VERSION = 2


def report_data(
    findings: Iterable[Finding], loops: Iterable[LoopInfo], notes: Iterable[str]
) -> dict[str, Any]:
    """What was seen in one run: ``{"loops", "findings", "groups", "lanes", "notes"}``."""
    findings, loops = tuple(findings), tuple(loops)
    data = [one.to_json() for one in findings]
    groups = []
    places = {id(one): at for at, one in enumerate(findings)}
    for group in groups_of(findings):
        members = [places[id(one)] for one in group.findings]
        for at in members:
            data[at]["group"] = group.key
        groups.append(
            {
                "key": group.key,
                "headline": group.headline,
                "severity": str(group.lead.severity),
                "owner": group.owner,
                "owner_type": group.owner_type,
                "codes": list(group.codes),
                "remedy": group.remedy,
                "findings": members,
                "lead": places[id(group.lead)],
            }
        )
    return {
        "loops": len(loops),
        "findings": data,
        "groups": groups,
        "lanes": _lanes(findings, loops) if findings else [],
        "notes": list(notes),
    }


def _lanes(findings: tuple[Finding, ...], loops: tuple[LoopInfo, ...]) -> list[dict[str, Any]]:
    """The loops of a run that has findings, and those from before it that they are about."""
    of_findings = [info for one in findings for info in (one.home_loop, one.loop) if info]
    lanes = {(one.pid, one.number): one for one in (*of_findings, *loops)}
    return [_lane(lanes[key]) for key in sorted(lanes)]


def _lane(info: LoopInfo) -> dict[str, Any]:
    site = next((frame for frame in reversed(info.created) if not frame.library), None)
    return {
        "loop": info.number,
        "name": str(info),
        "kind": info.kind,
        "thread": info.thread,
        "pid": info.pid,
        "pass": info.pass_number,
        "closed": info.closed,
        "inherited": info.inherited,
        "made_by": info.maker,
        "made_at": frame_data(site) if site is not None else None,
    }


def merged(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one test as one: loops are numbered anew in each, so all says which run it is of.

    Args:
        runs: of `report_data`, in order.
    """
    whole: dict[str, Any] = {"loops": 0, "findings": [], "groups": [], "lanes": [], "notes": []}
    for number, run in enumerate(runs, start=1):
        before = len(whole["findings"])
        whole["loops"] += run["loops"]
        whole["notes"] += run["notes"]
        whole["findings"] += [{**one, "run": number} for one in run["findings"]]
        whole["lanes"] += [{**one, "run": number} for one in run["lanes"]]
        whole["groups"] += [
            {
                **one,
                "run": number,
                "findings": [at + before for at in one["findings"]],
                "lead": one["lead"] + before,
            }
            for one in run["groups"]
        ]
    return whole


def whole(tests: list[dict[str, Any]], audit: dict[str, Any] | None = None) -> dict[str, Any]:
    """All of the file: what was found in each test, and what an audit has covered."""
    return {
        "version": VERSION,
        "tests": tests,
        **({"audit": audit} if audit is not None else {}),
    }


def encodable(value: Any) -> Any:
    """JSON-able data in which each text can be encoded, and no text has a secret.

    Half of a surrogate pair, as a name that the code made up may have it, is refused by most that
    read JSON, and by pytest-xdist, whose worker would be gone with all that it found.
    """
    return _encodable(masked_data(value))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _encodable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_encodable(one) for one in value]
    return value
