"""What a parent left: seen under a rule for one process, told under LS401 or LS402.

The same hazards within one process have rules of their own. What comes from the parent is told by
one name, however it shows, since the remedy is another: make it after the fork. To close what was
inherited is how a child lets go of it, and no use of it.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from pytest_loopsafe import _cpython
from pytest_loopsafe._graph.kinds import is_a
from pytest_loopsafe._rules.ls401 import INHERITED_LOOP
from pytest_loopsafe._rules.ls402 import SHARED_CONNECTION
from pytest_loopsafe._words.findings import Finding, Observation

_CONNECTIONS = (asyncio.BaseTransport, asyncio.StreamWriter, asyncio.StreamReader)
_IN_ONE_PROCESS = frozenset({"LS101", "LS102", "LS103", "LS104", "LS105", "LS108"})
_LEFT_BEHIND = ("LS107", "LS2", "LS3")
"""What the parent is to be told of, if anybody: the child has copies, and leaves them alone."""


def as_inherited(observation: Observation) -> Observation | None:
    """An observation about something of the parent's, under the rule that is meant for it.

    None where the hazard is none in a child: a lock that the parent used without a waiter is not
    bound, and the child has a copy of its own; nor has it to clean up after its parent.
    """
    finding = observation.finding
    home = finding.home_loop or finding.loop
    # A rule may know it from before the fork, when it was nobody's.
    if home is None or not (home.inherited or home.pid != os.getpid()):
        return observation
    if finding.code.startswith(_LEFT_BEHIND):
        return None
    if finding.code not in _IN_ONE_PROCESS:
        return observation
    if finding.code in ("LS103", "LS105") and _only_closes(finding):
        return None
    shared = any(
        is_a(one, _CONNECTIONS) for one in (*observation.about, *(observation.users or ()))
    )
    rule = SHARED_CONNECTION if shared else INHERITED_LOOP
    return replace(
        observation,
        finding=replace(
            finding,
            rule=rule,
            message=f"{finding.message} (made in the parent process, {home.pid})",
            remedy=rule.remedy,
        ),
    )


def _only_closes(finding: Finding) -> bool:
    """Whether the parent's loop was called by a transport that was closed."""
    stack = finding.stacks[0].frames if finding.stacks else ()
    return any(
        frame.library and _cpython.closes_transport(frame.file, frame.function) for frame in stack
    )
