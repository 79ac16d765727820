"""Who keeps an error: as read from the bytecode before it is raised, and as it then turns out."""

import asyncio
import builtins
import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress as ignoring
from types import FrameType
from typing import Any

import pytest

from pytest_loopsafe._probes import handlers
from pytest_loopsafe._words.ways import way_here, way_of_suspended

ALIAS = RuntimeError
SEVERAL = (ValueError, RuntimeError)
read: list[Any] = []


def boom() -> None:
    """Reads who will keep the error, and raises it."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not outcome.__code__:
        frames.insert(0, frame)
        frame = frame.f_back
    read.append(way_here(frames, RuntimeError))
    raise RuntimeError("boom")


def outcome(function: Callable[[], Any]) -> bool:
    """Whether a function keeps the error."""
    try:
        function()
    except (RuntimeError, ConnectionError, BaseExceptionGroup):
        return False
    return True


@contextlib.contextmanager
def own() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        pass


@contextlib.contextmanager
def passing() -> Iterator[None]:
    try:
        yield
    finally:
        read.__len__()


class Any_:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> bool:
        return True


def by_name() -> None:
    try:
        boom()
    except RuntimeError:
        pass


def by_base() -> None:
    try:
        boom()
    except Exception:
        pass


def by_alias() -> None:
    try:
        boom()
    except ALIAS:
        pass


def by_tuple() -> None:
    try:
        boom()
    except SEVERAL:
        pass


def by_attribute() -> None:
    try:
        boom()
    except (TimeoutError, builtins.RuntimeError):
        pass


def by_second() -> None:
    try:
        boom()
    except ValueError:
        pass
    except RuntimeError as error:
        for _ in range(2):
            str(error)


def bare() -> None:
    try:
        boom()
    except:  # noqa: E722
        pass


def by_return() -> bool:
    try:
        boom()
    finally:
        return True


def by_loop() -> None:
    for _ in range(2):
        try:
            boom()
        except RuntimeError:
            continue


def by_caller() -> None:
    by_name_of_another_in_a_helper()


def by_name_of_another_in_a_helper() -> None:
    try:
        by_name_of_another()
    except RuntimeError:
        pass


def by_suppress() -> None:
    with ignoring(ValueError), contextlib.suppress(ALIAS):
        boom()


def by_own() -> None:
    with own():
        boom()


def by_generator() -> None:
    def generate() -> Iterator[None]:
        try:
            boom()
            yield
        except RuntimeError:
            yield

    next(generate())


def by_coroutine() -> None:
    async def inner() -> None:
        boom()

    async def outer() -> None:
        try:
            await inner()
        except RuntimeError:
            pass

    with ignoring(StopIteration):
        outer().send(None)


KEPT = [
    by_name,
    by_base,
    by_alias,
    by_tuple,
    by_attribute,
    by_second,
    bare,
    by_return,
    by_loop,
    by_caller,
    by_suppress,
    by_own,
    by_generator,
    by_coroutine,
]


def nobody() -> None:
    boom()


def by_name_of_another() -> None:
    try:
        boom()
    except ValueError:
        pass


def raised_again() -> None:
    try:
        boom()
    except RuntimeError:
        raise


def raised_again_from_within() -> None:
    try:
        try:
            boom()
        except RuntimeError as error:
            raise error
    finally:
        read.__len__()


def after_finally() -> None:
    try:
        boom()
    finally:
        if read:
            read.__len__()


def in_else() -> None:
    try:
        pass
    except RuntimeError:
        pass
    else:
        boom()


def by_suppress_of_another() -> None:
    with contextlib.suppress(ValueError):
        boom()


def by_passing() -> None:
    with passing():
        boom()


LEFT = [
    nobody,
    by_name_of_another,
    raised_again,
    raised_again_from_within,
    after_finally,
    in_else,
    by_suppress_of_another,
    by_passing,
]


def condition() -> None:
    try:
        boom()
    except RuntimeError as error:
        if "other" in str(error):
            raise


def variable(kind: Any = RuntimeError) -> None:
    try:
        boom()
    except kind:
        pass


def manager_of_its_own() -> None:
    with Any_():
        boom()


def stack() -> None:
    with contextlib.ExitStack() as entered:
        entered.enter_context(ignoring(RuntimeError))
        boom()


def star() -> None:
    try:
        boom()
    except* RuntimeError:
        pass


def another() -> None:
    try:
        try:
            boom()
        except RuntimeError as error:
            raise ConnectionError from error
    except ConnectionError:
        pass


OPEN = [condition, variable, manager_of_its_own, stack, star, another]


@pytest.fixture(autouse=True)
def _nothing_read() -> Iterator[None]:
    yield
    read.clear()


@pytest.mark.parametrize("function", [*KEPT, *LEFT, *OPEN], ids=lambda one: one.__name__)
def test_what_is_read_is_never_wrong(function: Callable[[], Any]) -> None:
    kept = outcome(function)
    keeper = handlers.keeper(read[0])
    if function in OPEN:
        assert keeper is None
    else:
        assert (keeper is not None) is kept
        assert kept is (function in KEPT)


@pytest.mark.parametrize(
    ("function", "narrow"),
    [
        (by_name, True),
        (by_alias, True),
        (by_tuple, True),
        (by_attribute, True),
        (by_suppress, True),
        (by_own, True),
        (by_base, False),
        (bare, False),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_decision_is_told_from_a_net(function: Any, narrow: bool) -> None:
    outcome(function)
    keeper = handlers.keeper(read[0])
    assert keeper is not None
    assert keeper.narrow is narrow
    assert keeper.frame.function == function.__name__


class Stop:
    def __await__(self) -> Iterator[None]:
        yield


async def stop() -> None:
    await Stop()


@contextlib.asynccontextmanager
async def own_async() -> Any:
    try:
        yield
    except RuntimeError:
        pass


async def suspended_try() -> None:
    try:
        await stop()
    except RuntimeError:
        pass


async def suspended_suppress() -> None:
    kinds: Any = RuntimeError
    with contextlib.suppress(kinds), contextlib.suppress(KeyError):
        await stop()


async def suspended_own() -> None:
    with own():
        await stop()


async def suspended_own_async() -> None:
    async with own_async():
        await stop()


async def suspended_stack() -> None:
    with contextlib.ExitStack() as entered:
        entered.enter_context(ignoring(RuntimeError))
        entered.callback(read.__len__)
        await stop()


async def suspended_further_out() -> None:
    with contextlib.suppress(RuntimeError):
        await suspended_passing()


async def suspended_passing() -> None:
    with passing():
        await stop()


async def suspended_lock() -> None:
    async with asyncio.Lock():
        await stop()


async def suspended_bystander() -> None:
    bystander: Any = contextlib.suppress(RuntimeError).__exit__
    with contextlib.suppress(ValueError):
        await stop()
    bystander(None, None, None)


async def suspended_unknown() -> None:
    with Any_():
        await stop()


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (suspended_try, True),
        (suspended_suppress, True),
        (suspended_own, True),
        (suspended_own_async, True),
        (suspended_stack, True),
        (suspended_further_out, True),
        (suspended_passing, False),
        (suspended_lock, False),
        (suspended_bystander, False),
        (suspended_unknown, None),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_of_what_is_suspended_the_context_managers_are_known(function: Any, kept: Any) -> None:
    coroutine = function()
    coroutine.send(None)
    way = way_of_suspended(coroutine, RuntimeError)
    keeper = handlers.keeper(way)
    assert (keeper is not None) is bool(kept)
    try:
        coroutine.throw(RuntimeError("boom"))
    except StopIteration:
        assert kept is not False
    except RuntimeError:
        assert kept is False


def test_nothing_of_the_code_is_asked() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        __bool__ = __eq__ = __call__ = __getattr__  # type: ignore[assignment]

    globals()["LAZY"] = Lazy()

    def function() -> None:
        try:
            boom()
        except ValueError:
            pass
        except LAZY.Closed:  # type: ignore[name-defined]  # noqa: F821
            pass

    with pytest.raises(AssertionError, match="Closed"):
        function()
    assert handlers.keeper(read[0]) is None
