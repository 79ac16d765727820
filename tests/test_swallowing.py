"""Whether an error was swallowed, and by which frame."""

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe

# On 3.11 there is nothing to do it with; on 3.15 not where greenlet is loaded, as in all tests.
WITNESSED = (3, 12) <= sys.version_info < (3, 15)


class Stale:
    """A future of the first loop that runs."""

    def __init__(self) -> None:
        self.future: Any = None

    async def use(self) -> None:
        if self.future is None:
            self.future = asyncio.get_running_loop().create_future()
        else:
            await self.future


def finding(body: Callable[[], Awaitable[Any]], **options: Any) -> pytest_loopsafe.Finding:
    report = pytest_loopsafe.run(body, loops=2, check=False, **options)
    (found,) = report.findings
    return found


def test_broad_except_is_named() -> None:
    stale = Stale()

    async def notify() -> None:
        try:
            await stale.use()
        except Exception:  # the keeper
            logging.getLogger("test").debug("failed")

    found = finding(notify)
    assert found.swallowed
    assert found.swallowed_at is not None
    assert "the keeper" in found.swallowed_at.code
    assert found.swallowed_likely is not WITNESSED


def test_an_except_that_raises_again_is_not_the_keeper() -> None:
    stale = Stale()

    async def inner() -> None:
        try:
            await stale.use()
        except Exception:
            raise

    async def outer() -> None:
        try:
            await inner()
        except RuntimeError:  # the keeper
            pass

    found = finding(outer)
    assert "the keeper" in found.swallowed_at.code


def test_an_except_for_other_errors_is_not_the_keeper() -> None:
    stale = Stale()

    async def inner() -> None:
        try:
            await stale.use()
        except (KeyError, ConnectionError):
            pass

    async def outer() -> None:
        try:
            await inner()
        except Exception:  # the keeper
            pass

    assert "the keeper" in finding(outer).swallowed_at.code


def test_suppress_is_named() -> None:
    stale = Stale()

    async def body() -> None:
        with contextlib.suppress(RuntimeError):
            await stale.use()

    found = finding(body)
    assert found.swallowed
    assert found.swallowed_at is not None


def test_the_line_of_a_context_manager_is_named() -> None:
    stale = Stale()

    @contextlib.contextmanager
    def own() -> Iterator[None]:
        try:
            yield
        except RuntimeError:  # the keeper in it
            pass

    async def body() -> None:
        with own():  # the keeper
            await stale.use()

    found = finding(body)
    assert found.swallowed
    assert "the keeper" in found.swallowed_at.code


@pytest.mark.parametrize("how", ["caught within", "left the handler"])
@pytest.mark.skipif(not WITNESSED, reason="another error is not followed here")
def test_an_error_that_comes_up_in_the_handler(how: str) -> None:
    stale = Stale()

    def forget() -> None:
        try:
            {}["missing"]
        except KeyError:
            if how == "left the handler":
                raise

    async def inner() -> None:
        try:
            await stale.use()
        except RuntimeError:  # caught within
            forget()

    async def outer() -> None:
        try:
            await inner()
        except KeyError:  # left the handler
            pass

    assert how in finding(outer).swallowed_at.code


def test_an_error_that_is_kept_and_raised_anew_was_kept_last_by_another() -> None:
    stale = Stale()

    async def body() -> None:
        kept = []
        try:
            await stale.use()
        except RuntimeError as error:
            kept.append(error)
        try:
            for error in kept:
                raise error
        except RuntimeError:  # the keeper
            pass

    found = finding(body)
    if WITNESSED:
        assert "the keeper" in found.swallowed_at.code


def test_an_error_that_is_given_more_text_and_leaves_is_not_swallowed() -> None:
    stale = Stale()

    async def body() -> None:
        try:
            await stale.use()
        except RuntimeError as error:
            error.args = (f"while publishing: {error}",)
            raise

    assert not finding(body).swallowed


class Untouched(Exception):
    """Its text is nobody's business."""

    def __str__(self) -> str:
        raise AssertionError("str() was called")


@pytest.mark.parametrize("how", ["handled", "from it", "leaves", "its own"])
def test_the_text_of_the_codes_own_errors_is_not_asked_for(how: str) -> None:
    stale = Stale()

    async def body() -> str:
        if how == "its own":
            raise Untouched
        try:
            await stale.use()
        except RuntimeError as error:
            try:
                raise Untouched from (error if how == "from it" else None)
            except Untouched:
                if how == "leaves":
                    raise
        return "done"

    report = pytest_loopsafe.run(body, loops=2, check=False)
    assert report.passes[0].value == (None if how == "its own" else "done")
    ending = report.passes[1]
    if how in ("leaves", "its own"):
        assert type(ending.error) is Untouched
    else:
        assert ending.value == "done"


@pytest.mark.skipif(not WITNESSED, reason="a wrapped error is not followed here")
def test_the_keeper_of_a_wrapped_error_is_named() -> None:
    stale = Stale()

    async def inner() -> None:
        try:
            await stale.use()
        except RuntimeError as error:
            raise ConnectionError("lost") from error

    async def outer() -> None:
        try:
            await inner()
        except ConnectionError:  # the keeper
            pass

    found = finding(outer)
    assert found.swallowed
    assert "the keeper" in found.swallowed_at.code


@pytest.mark.parametrize("how", ["bare", "wrapped", "group", "finally"])
def test_an_error_that_leaves_the_pass_in_any_shape_is_not_swallowed(how: str) -> None:
    stale = Stale()

    async def body() -> None:
        if how == "wrapped":
            try:
                await stale.use()
            except Exception as error:
                raise ConnectionError("lost") from error
        elif how == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(stale.use())
        elif how == "finally":
            try:
                await stale.use()
            finally:
                await asyncio.sleep(0)
        else:
            await stale.use()

    assert not finding(body).swallowed


def test_an_unrelated_error_does_not_make_it_seen() -> None:
    stale = Stale()
    received: list[int] = []

    async def body() -> None:
        with contextlib.suppress(RuntimeError):
            await stale.use()
            received.append(1)
        assert len(received) < 2
        if stale.future is not None and len(received) == 1 and not calls:
            calls.append(1)
            return
        raise AssertionError("a message was lost")

    calls: list[int] = []
    assert finding(body).swallowed


def test_no_tool_id_free_falls_back_to_the_bytecode() -> None:
    if not WITNESSED:
        pytest.skip("3.11 always reads the bytecode")
    taken = []
    for tool in (3, 4):
        sys.monitoring.use_tool_id(tool, "somebody else")
        taken.append(tool)
    try:
        stale = Stale()

        async def body() -> None:
            try:
                await stale.use()
            except Exception:  # the keeper
                pass

        found = finding(body)
        assert "the keeper" in found.swallowed_at.code
        assert found.swallowed_likely
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)


def test_the_tool_id_is_given_back() -> None:
    if not WITNESSED:
        pytest.skip("3.11 has no tool ids")
    stale = Stale()

    async def body() -> None:
        with contextlib.suppress(RuntimeError):
            await stale.use()

    finding(body)
    assert [sys.monitoring.get_tool(tool) for tool in (3, 4)] == [None, None]


def test_one_hazard_is_one_finding_with_a_count() -> None:
    stale = [Stale() for _ in range(10)]

    async def body() -> None:
        for one in stale:
            with contextlib.suppress(RuntimeError):
                await one.use()

    found = finding(body)
    assert found.count == 10
    assert found.passes == (2,)


SUSPENDED_MEANWHILE = """
import asyncio
import greenlet
import pytest_loopsafe

futures = []

def inner():
    try:
        greenlet.getcurrent().parent.switch()
    except ValueError:
        pass
    raise KeyError

async def body():
    one = greenlet.greenlet(inner)
    one.switch()
    try:
        await asyncio.wait_for(futures[0], 0.01) if futures else None
    except RuntimeError:
        pass  # here it is switched on that errors are followed
    futures.append(asyncio.get_running_loop().create_future())
    try:
        one.throw(ValueError)
    except KeyError:
        pass

report = pytest_loopsafe.run(body, check=False)
print("LS101" in {one.code for one in report.findings})
"""


def test_a_greenlet_that_is_suspended_meanwhile_goes_on() -> None:
    """CPython 3.15 would crash where it is followed."""
    pytest.importorskip("greenlet")
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SUSPENDED_MEANWHILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr
