"""What an audit has covered: how many tests it watched, and ran over loops, and why not all."""

from __future__ import annotations

from typing import Any


def counted(tests: list[dict[str, Any]], loops: int) -> dict[str, Any] | None:
    """The counts of an audit, as plain data; None where there was none.

    Args:
        tests: what was told of each test.
        loops: how many loops were asked for.
    """
    watched = {test["nodeid"]: test for test in tests if "runs" in test}  # of a rerun the last
    if not watched:
        return None
    groups: dict[str, list[str]] = {}
    for nodeid, test in watched.items():
        if loops > 1 and test["not_over_loops"] is not None:
            groups.setdefault(test["not_over_loops"], []).append(nodeid)
    return {
        "watched": len(watched),
        "loops": loops,
        "over_loops": len(watched) - sum(map(len, groups.values())) if loops > 1 else 0,
        "not_over_loops": [
            {"reason": reason, "tests": len(nodeids), "example": nodeids[0]}
            for reason, nodeids in sorted(groups.items(), key=lambda one: -len(one[1]))
        ],
    }


def lines_of(counts: dict[str, Any] | None) -> list[str]:
    """The counts, for people."""
    from pytest_loopsafe._report.text import count  # only when it is used

    if counts is None:
        return []
    first = f"watched {count(counts['watched'], 'test')}"
    if counts["loops"] > 1:
        first += f", {counts['over_loops']} of them over {counts['loops']} loops"
    return [
        first,
        *(
            f"  not over loops: {count(one['tests'], 'test')} ({one['reason']}), "
            f"such as {one['example']}"
            for one in counts["not_over_loops"]
        ),
    ]
