"""LS209: a context variable that was set in an earlier run, is taken for set, and is asked in vain.

Each ``asyncio.run()`` has a context of its own. It is seen from CPython 3.12 on.
"""

import asyncio
import functools
import itertools
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._graph.variables import codes_with_variables
from pytest_loopsafe._words.whose import TERRITORY, Claim

connection: ContextVar[str] = ContextVar("connection")
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

is_ready = False
once: set[str] = set()


class Connected:
    """What is computed once stays, and what it set by the way does not."""

    @functools.cached_property
    def connection(self) -> bool:
        connection.set("open")
        return True

    @functools.cached_property
    def name(self) -> str:
        return "one that sets nothing"


connected = Connected()


@functools.cache
def connect_once() -> bool:
    connection.set("open")
    return True


def connecting() -> Callable[[str], None]:
    def connect_as(name: str) -> None:
        global is_ready
        if not is_ready:
            is_ready = True
            connection.set(name)

    return connect_as


connect_by_name = functools.partial(connecting(), "open")


class Database:
    """The ORM: its state is a context variable, and a flag of its own."""

    current: ContextVar["Database"] = ContextVar("current")

    def __init__(self) -> None:
        self.is_up = False

    async def init(self) -> None:
        if self.is_up:
            return
        self.is_up = True
        Database.current.set(self)

    @classmethod
    def get(cls) -> "Database | None":
        return cls.current.get(None)


database = Database()


@pytest.fixture(autouse=True)
def not_ready() -> None:
    global is_ready
    is_ready = database.is_up = False
    once.clear()
    connect_once.cache_clear()
    vars(connected).clear()


def connect() -> None:
    global is_ready
    if not is_ready:
        is_ready = True
        connection.set("open")


def query() -> str | None:
    try:
        return connection.get()
    except LookupError:
        return None


def found_in(body: Callable[[], Any], **settings: Any) -> list[str | None]:
    report = pytest_loopsafe.run(body, check=False, **settings)
    assert [one.error for one in report.passes if one.error is not None] == []
    assert not [note for note in report.notes if "failed" in note]
    return [one.owner for one in report.findings if one.code == "LS209"]


async def set_once_and_asked() -> None:
    connect()
    query()


async def set_by_a_caller_that_asks_a_set() -> None:
    if "tenant" not in once:
        once.add("tenant")
        set_tenant()
    assert read_tenant()


def set_tenant() -> None:
    tenant.set("first")


def read_tenant() -> str:
    return tenant.get()


async def state_of_an_orm() -> None:
    await database.init()
    await asyncio.create_task(ask_orm())


async def ask_orm() -> None:
    Database.get()


async def set_by_a_cached_property() -> None:
    assert connected.connection
    query()


async def set_by_a_cached_function() -> None:
    connect_once()
    query()


async def set_by_a_partial() -> None:
    connect_by_name()
    query()


async def set_by_a_cached_function_and_each_time() -> None:
    connect_once()
    connection.set("open")
    assert query() and connected.name


def runs_by_itself() -> None:
    asyncio.run(set_once_and_asked())


LOST = [
    (set_once_and_asked, f"{__name__}.is_ready"),
    (set_by_a_caller_that_asks_a_set, f"{__name__}.once"),
    (state_of_an_orm, f"{__name__}.database.is_up"),
    (runs_by_itself, f"{__name__}.is_ready"),
    (set_by_a_cached_property, f"{__name__}.connected.connection"),
    (set_by_a_cached_function, f"the cache of {__name__}.connect_once()"),
    (set_by_a_partial, f"{__name__}.is_ready"),
]

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no tools")


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize(("body", "what"), LOST, ids=lambda one: getattr(one, "__name__", ""))
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
def test_it_is_found(body: Callable[[], Any], what: str, schedule: str) -> None:
    assert found_in(body, schedule=schedule) == [what]


# -- what is in order ----------------------------------------------------------------------------


async def set_in_each_run() -> None:
    connection.set("open")
    query()


async def nobody_asks() -> None:
    connect()


async def reset_in_order() -> None:
    global is_ready
    query()
    if not is_ready:
        is_ready = True
        token = connection.set("for this step")
        query()
        connection.reset(token)


async def set_for_one_task() -> None:
    await asyncio.create_task(set_once_and_asked())


passes = itertools.count()


async def of_the_first_run() -> None:
    if next(passes) == 0:
        connection.set("warming up")
    query()


async def asked_before_it_is_set() -> None:
    if query() is None:
        connection.set("open")


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize(
    "body",
    [
        set_in_each_run,
        nobody_asks,
        reset_in_order,
        set_for_one_task,
        of_the_first_run,
        asked_before_it_is_set,
        set_by_a_cached_function_and_each_time,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
def test_what_is_in_order_is_not_found(body: Callable[[], Any], schedule: str) -> None:
    assert found_in(body, schedule=schedule) == []


def test_what_is_set_outside_of_all_runs_is_there_in_each() -> None:
    async def asks() -> None:
        query()

    def outside() -> None:
        connect()
        asyncio.run(asks())

    assert copy_context().run(found_in, outside) == []


def test_the_tool_is_given_back() -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    before = [name for name in map(monitoring.get_tool, range(6)) if name]
    pytest_loopsafe.run(set_in_each_run)
    assert [name for name in map(monitoring.get_tool, range(6)) if name] == before


def test_what_counts_as_the_users_code_may_change_between_two_runs() -> None:
    here = f"*/{__name__}.py"
    with TERRITORY.claimed(Claim(os.getcwd(), (f"!{here}",))):
        without = codes_with_variables()
    with TERRITORY.claimed(Claim(os.getcwd(), (here,))):
        assert set(codes_with_variables()) > set(without)
