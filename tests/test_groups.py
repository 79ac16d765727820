"""Findings of one root are one group: by where the object is held, else by what tells of it."""

import pytest

from pytest_loopsafe._report.groups import Group, groups_of
from pytest_loopsafe._rules import rules
from pytest_loopsafe._words.findings import MOST_LOOPS, Finding
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.stacks import Frame, Stack

RULES = {rule.code: rule for rule in rules()}


def loop(number: int) -> LoopInfo:
    return LoopInfo(number, "asyncio.unix_events._UnixSelectorEventLoop", (), "MainThread", 1)


def found(
    code: str, line: int = 1, owner: str | None = None, home: int = 1, used: int = 2, **more: object
) -> Finding:
    """What a rule has seen at a line of ``app.connect()``."""
    rule = RULES[code]
    frames = (Frame("/app.py", line, "connect", library=False),)
    stacks = (Stack("here", frames),)
    return Finding(
        rule,
        f"{code} at {line}",
        loop(used),
        loop(home),
        stacks,
        rule.remedy,
        owner=owner,
        severity=rule.severity,
        **more,  # type: ignore[arg-type]
    )


def codes(*findings: Finding) -> list[set[str]]:
    return [{one.code for one in group.findings} for group in groups_of(findings)]


A = found("LS101", owner="app.db")
TOGETHER = {
    "one place that holds it": (A, found("LS201", 9, owner="app.db")),
    "another key of one dictionary": (
        found("LS101", owner="app.db['a']"),
        found("LS201", 9, owner="app.db['b']"),
    ),
    "the same line in the same loop, of what nobody holds": (A, found("LS303", 1)),
    "the loser of a race in this function": (
        found("LS203", 1, owner="app.db"),
        found("LS303", 9),
    ),
    "what this function keeps for the other loop": (
        found("LS201", 1, owner="app.db"),
        found("LS103", 2),
    ),
    "what a pass left that did not end": (found("LS106", 1), found("LS301", 9)),
    "the same task at the same await": (
        found("LS207", 1, owner="app.started"),
        found("LS301", 1, owner="app.tasks"),
    ),
    "parts of a client, with its remedy": (
        found("LS201", 1, owner="app.db", advice="Close it."),
        found("LS207", 2, owner="app.db._monitor._task", advice="Close it."),
        found("LS301", 2, owner="app.db"),
    ),
    "a part of an entry": (
        found("LS201", 1, owner="app.all['a.b']", advice="Close it."),
        found("LS102", 9, owner="app.all['a.b']._lock", advice="Close it."),
    ),
}
APART = {
    "a part that is mended in another way": (
        found("LS201", 1, owner="app.db", advice="Close it."),
        found("LS102", 9, owner="app.db.lock"),
    ),
    "a client whose name begins alike": (
        found("LS201", 1, owner="app.db", advice="Close it."),
        found("LS102", 9, owner="app.db2", advice="Close it."),
    ),
    "two that hold each their own, at one line": (A, found("LS201", owner="app.cache")),
    "a warning of another's, in the same function": (A, found("LS303", 9, owner="app.cache")),
    "another line of the function": (A, found("LS303", 9)),
    "the same line in other loops": (A, found("LS303", 1, home=3, used=4)),
    "what it keeps for another": (
        found("LS201", owner="app.db"),
        found("LS103", 2, home=2, used=3),
    ),
    "what is left, beside what it keeps": (found("LS201", owner="app.db"), found("LS303", 2)),
    "what a pass left in another loop": (found("LS106", 1), found("LS301", 9, used=3)),
    "another task": (found("LS207", 1, owner="app.started"), found("LS301", 2, owner="app.tasks")),
}


@pytest.mark.parametrize("findings", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("turned", [False, True])
def test_these_are_one_group(findings: tuple[Finding, ...], turned: bool) -> None:
    """In whichever order they were seen."""
    assert codes(*findings[:: -1 if turned else 1]) == [{one.code for one in findings}]


@pytest.mark.parametrize("findings", APART.values(), ids=APART)
def test_these_are_two(findings: tuple[Finding, ...]) -> None:
    assert codes(*findings) == [{one.code} for one in findings]


@pytest.mark.parametrize(
    ("findings", "lead"),
    [
        ((found("LS303", owner="app.db"), A), "LS101"),
        ((A, found("LS204", owner="app.db")), "LS204"),
        ((found("LS201", owner="app.db"), A), "LS101"),
        (
            (
                found("LS207", 9, owner="app.db._task", advice="Close it."),
                found("LS201", owner="app.db", advice="Close it."),
            ),
            "LS201",
        ),
    ],
)
def test_an_error_leads_the_cause_before_what_follows(
    findings: tuple[Finding, ...], lead: str
) -> None:
    (group,) = groups_of(findings)
    assert group.lead.code == group.codes[0] == lead


@pytest.mark.parametrize(
    ("loops", "says"),
    [
        ((2,), "is used in loop 2"),
        ((1, 2, 3), "is used in loops 2 and 3"),
        ((2, 3, 4, 5), "is used in loops 2, 3, 4 and 5"),
        (tuple(range(2, 9)), "is used in loops 2, 3, 4 and 4 more"),
        (tuple(range(2, MOST_LOOPS + 2)), "is used in loops 2, 3, 4 and many more"),
    ],
)
def test_the_headline_says_whose_it_is_and_in_which_loops(
    loops: tuple[int, ...], says: str
) -> None:
    used = found("LS101", owner="app.db", owner_type="redis.asyncio.client.Redis", loops=loops)
    headline = Group((used,)).headline
    assert headline == f"app.db (redis Redis) belongs to loop 1 and {says}"


def test_what_nobody_holds_is_told_by_its_own_sentence() -> None:
    assert Group((found("LS303", 3),)).headline == "LS303 at 3"


def test_the_librarys_remedy_is_the_one_but_for_a_cause() -> None:
    advised = found("LS101", owner="app.db", advice="Make it anew.")
    assert Group((advised,)).remedy == "Make it anew."
    raced = found("LS203", owner="app.db", advice="Make it anew.")
    assert Group((raced,)).remedy == raced.remedy
