"""An async generator that outlives its loop: one that a global still has is stale."""

import asyncio
import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pytest_loopsafe

ended: list[int] = []


async def events() -> AsyncIterator[int]:
    """Its ``finally`` has something to do, as that of a subscription does."""
    number = 0
    try:
        while True:
            yield number
            number += 1
            await asyncio.sleep(0)
    finally:
        ended.append(number)


stream: Any = None


async def first_of(iterator: Any) -> int | None:
    async for one in iterator:
        return int(one)
    return None


def test_a_global_has_one_that_its_loop_has_closed() -> None:
    global stream
    stream = events()

    async def body() -> int | None:
        return await first_of(stream)

    report = pytest_loopsafe.run(body, check=False)

    assert report.results == (0, None, None)
    (stale,) = report.errors
    assert stale.code == "LS201"
    assert stale.owner == f"{__name__}.stream"


def test_a_new_one_in_each_loop() -> None:
    async def body() -> int | None:
        global stream
        async with contextlib.aclosing(events()) as stream:
            return await first_of(stream)

    report = pytest_loopsafe.run(body)
    assert (report.results, report.findings) == ((0, 0, 0), ())


def test_one_that_is_left_and_replaced_is_only_left() -> None:
    async def body() -> int | None:
        global stream
        stream = events()
        return await first_of(stream)

    report = pytest_loopsafe.run(body)
    assert [finding.code for finding in report.findings] == ["LS302"]


def test_an_entry_for_its_loop_that_has_something_else_in_it_keeps_nothing() -> None:
    seen: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    async def body() -> int | None:
        global stream
        seen[asyncio.get_running_loop()] = "seen"
        stream = events()
        return await first_of(stream)

    report = pytest_loopsafe.run(body)
    assert [finding.code for finding in report.findings] == ["LS302"]


def in_the_loop(generator: Any) -> Any:
    async def step() -> Any:
        return await anext(generator)

    return step()


def or_nothing(generator: Any) -> Any:
    return anext(generator, None)


def sent(generator: Any) -> Any:
    return generator.asend(None)


@pytest.mark.parametrize("step", [in_the_loop, anext, or_nothing, sent])
@pytest.mark.parametrize("closes", [True, False])
def test_a_loop_that_is_closed_by_hand_has_to_close_it(
    step: Callable[[Any], Any], closes: bool
) -> None:
    """``run_until_complete(anext(generator))`` begins it where no loop runs: none knows of it."""

    def call() -> Any:
        kept = events()
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(step(kept))
        finally:
            if closes:
                loop.run_until_complete(kept.aclose())
            loop.close()
            left.append(kept)

    left: list[Any] = []
    report = pytest_loopsafe.run(call)

    assert report.results == (0, 0, 0)
    found = [(one.code, one.message.partition("; ")[2]) for one in report.findings]
    assert [one for one in found if one[0] != "LS206"] == [
        ("LS302", "loop 1 was closed without it")
    ] * (not closes)


DIES_AFTER_ITS_LOOP = """
import asyncio, gc, pytest_loopsafe

async def events():
    try:
        yield 1
    finally:
        print(end="")

def call():
    kept = aiter(events())

    async def step():
        return await anext(kept)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(loop.create_task(step()))
    loop.close()
    del kept, loop
    step.itself = step  # only the collector finds it
    del step
    gc.collect()

report = pytest_loopsafe.run(call)
gc.collect()
print({one.code for one in report.findings})
"""


def test_one_that_dies_after_its_loop_is_not_referred_to_again() -> None:
    """Nobody brings it back to life: a weak reference made in its finalizer ends in a crash."""
    ran = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_ITS_LOOP],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "{'LS302'}\n"), ran.stderr


def test_a_librarys_own_is_its_own_business_until_the_user_iterates_it(tmp_path: Any) -> None:
    source = (
        "async def rows():\n"
        "    try:\n"
        "        while True:\n"
        "            yield 0\n"
        "    finally:\n"
        "        print()\n"
        "async def first():\n"
        "    async for row in rows():\n"
        "        return row\n"
    )
    names: dict[str, Any] = {}
    exec(compile(source, str(tmp_path / "site-packages" / "driver.py"), "exec"), names)

    async def by_the_library() -> None:
        await names["first"]()

    async def by_the_user() -> None:
        await first_of(names["rows"]())

    assert pytest_loopsafe.run(by_the_library).findings == ()
    (found,) = pytest_loopsafe.run(by_the_user).findings
    assert found.code == "LS302"


async def in_a_loop() -> AsyncIterator[int]:
    async for one in events():
        yield one


async def in_a_try() -> AsyncIterator[int]:
    try:
        await asyncio.sleep(0)
        yield 0
    finally:
        ended.append(0)


async def in_a_with() -> AsyncIterator[int]:
    with contextlib.nullcontext():
        yield 0


class Gone(Exception):
    pass


TO_RETRY = (ConnectionError, Gone)
AT_THE_END = (OSError, GeneratorExit)
everything = BaseException


class Ours:
    """Of which only a run would tell what there is."""

    @property
    def error(self) -> type[BaseException]:
        raise AssertionError


ours = Ours()


async def until_gone() -> AsyncIterator[int]:
    try:
        await asyncio.sleep(0)
        yield 0
    except Gone:
        return


async def tried_again() -> AsyncIterator[int]:
    while True:
        try:
            yield 0
        except (OSError, asyncio.CancelledError) as error:
            ended.append(len(error.args))
        except TO_RETRY:
            continue
        else:
            return


async def logged() -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield number
    except Exception:
        ended.append(0)
        raise


async def one_in_another() -> AsyncIterator[int]:
    with contextlib.suppress(Gone, ConnectionError):
        for number in range(3):
            try:
                yield number
            except ValueError as error:
                ended.append(len(error.args))


async def suppresses_two() -> AsyncIterator[int]:
    with contextlib.suppress(Gone), contextlib.suppress(asyncio.TimeoutError):
        yield 0


async def at_last_in_another() -> AsyncIterator[int]:
    try:
        with contextlib.suppress(Gone):
            try:
                yield 0
            except ValueError:
                ended.append(0)
    finally:
        ended.append(1)


async def last_of_several() -> AsyncIterator[int]:
    try:
        yield 0
    except Gone:
        ended.append(0)
    except BaseException:
        ended.append(1)
        raise


async def with_a_finally() -> AsyncIterator[int]:
    try:
        yield 0
    except Gone:
        ended.append(0)
    finally:
        ended.append(1)


async def of_a_tuple() -> AsyncIterator[int]:
    try:
        yield 0
    except AT_THE_END:
        ended.append(0)


async def by_another_name() -> AsyncIterator[int]:
    try:
        yield 0
    except (Gone, everything):
        ended.append(0)


async def of_a_variable(error: type[BaseException] = Gone) -> AsyncIterator[int]:
    try:
        yield 0
    except error:
        ended.append(0)


async def of_a_property() -> AsyncIterator[int]:
    try:
        yield 0
    except ours.error:
        ended.append(0)


async def bare() -> AsyncIterator[int]:
    try:
        yield 0
    except:  # noqa: E722
        ended.append(0)


async def suppresses_its_end() -> AsyncIterator[int]:
    with contextlib.suppress(GeneratorExit):
        yield 0


async def suppresses_one_or_all(which: bool = True) -> AsyncIterator[int]:
    with contextlib.suppress(Gone if which else everything):
        yield 0


async def suppresses_and_holds() -> AsyncIterator[int]:
    with contextlib.suppress(Gone), contextlib.nullcontext():
        yield 0


async def suppresses_a_list() -> AsyncIterator[int]:
    with contextlib.suppress(*TO_RETRY):
        yield 0


async def behind_a_try() -> AsyncIterator[int]:
    try:
        await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
    yield 0


async def counting() -> AsyncIterator[int]:
    await asyncio.sleep(0)
    for number in range(9):
        yield number


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("generator", "left"),
    [
        (in_a_try, {"in_a_try"}),
        (in_a_with, {"in_a_with"}),
        (in_a_loop, {"events"}),  # which it has left
        (behind_a_try, set()),
        (counting, set()),
        (until_gone, set()),
        (tried_again, set()),
        (logged, set()),
        (one_in_another, set()),
        (suppresses_two, set()),
        (at_last_in_another, {"at_last_in_another"}),
        (last_of_several, {"last_of_several"}),
        (with_a_finally, {"with_a_finally"}),
        (of_a_tuple, {"of_a_tuple"}),
        (by_another_name, {"by_another_name"}),
        (of_a_variable, {"of_a_variable"}),  # which nobody knows
        (of_a_property, {"of_a_property"}),
        (bare, {"bare"}),
        (suppresses_its_end, {"suppresses_its_end"}),
        (suppresses_one_or_all, {"suppresses_one_or_all"}),
        (suppresses_and_holds, {"suppresses_and_holds"}),
        (suppresses_a_list, {"suppresses_a_list"}),
    ],
)
def test_what_has_nothing_left_to_do_may_be_left(
    generator: Callable[[], AsyncIterator[int]], left: set[str], *, kept: bool
) -> None:
    async def body() -> int | None:
        made.append(generator())
        return await first_of(made[-1] if kept else made.pop())

    made: list[AsyncIterator[int]] = []
    report = pytest_loopsafe.run(body)
    found = [one.message for one in report.findings if one.code == "LS302"]
    assert {one.split()[3].rstrip("()") for one in found} == left


class Slots:
    """What is there for each loop, and goes with it."""

    def __init__(self) -> None:
        self.by_loop: dict[Any, Any] = {}

    async def lifetime(self, key: Any) -> AsyncIterator[int]:
        try:
            yield 0
        finally:
            self.by_loop.pop(key)
            ended.append(0)

    def forget(self, key: Any) -> None:
        del self.by_loop[key]


slots = Slots()
by_loop: dict[Any, Any] = slots.by_loop


async def takes_itself_out(key: Any) -> AsyncIterator[int]:
    async with contextlib.AsyncExitStack():
        try:
            yield 0
        finally:
            by_loop.pop(key)


async def is_taken_out(key: Any) -> AsyncIterator[int]:
    try:
        yield 0
    finally:
        slots.forget(key)


async def calls_who_takes_it_out(key: Any) -> AsyncIterator[int]:
    try:
        yield 0
    finally:
        take_out(key)


def take_out(key: Any) -> None:
    del by_loop[key]


def of_loop() -> Any:
    return asyncio.get_running_loop()


def of_loop_by_name() -> Any:
    return "name", weakref.ref(asyncio.get_running_loop())


def of_no_loop() -> Any:
    return "name"


def alone(generator: Any) -> Any:
    return generator


def with_its_value(generator: Any) -> Any:
    return generator, 0


def beside_it(generator: Any) -> Any:
    some.append(generator)
    return "opened"


some: list[Any] = []


@pytest.mark.parametrize(
    "generator", [slots.lifetime, takes_itself_out, is_taken_out, calls_who_takes_it_out]
)
@pytest.mark.parametrize(
    ("key", "entry", "codes"),
    [
        (of_loop, alone, []),
        (of_loop, with_its_value, []),
        (of_loop_by_name, with_its_value, []),
        (of_no_loop, with_its_value, ["LS302"]),
        (of_loop, beside_it, ["LS302"]),
    ],
)
def test_an_entry_for_its_loop_may_be_taken_out_by_what_it_keeps(
    generator: Any, key: Any, entry: Any, codes: list[str]
) -> None:
    async def body() -> int:
        own = key()
        kept = generator(own)
        slots.by_loop[own] = entry(kept)
        del some[:-1]
        return int(await anext(kept))

    report = pytest_loopsafe.run(body, check=False)
    some.clear()
    assert by_loop == {}
    found = {one.code for one in report.findings} - {"LS201"}  # what is beside its slot is kept
    assert sorted(found) == codes
