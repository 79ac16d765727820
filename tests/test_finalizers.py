"""Whether code runs in a finalizer: entered by what lets things go, not called by hand."""

import asyncio
import contextlib
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._words.finalizers import in_finalizer
from pytest_loopsafe._words.stacks import live_frames

seen: list[bool] = []


def look(*_: Any) -> None:
    seen.append(in_finalizer(live_frames()))


class Thing:
    """Something that can be referred to weakly."""


def deleted() -> Any:
    class Deleted:
        def __del__(self) -> None:
            look()

    return Deleted()


def closed_by_its_deletion() -> Any:
    class Closed:
        def close(self) -> None:
            look()

        __del__ = close

    return Closed()


def deleted_with_its_base() -> Any:
    class Base:
        def __del__(self) -> None:
            look()

    class Derived(Base):
        def __del__(self) -> None:
            super().__del__()

    return Derived()


def finalized() -> Any:
    thing = Thing()
    weakref.finalize(thing, look)
    return thing


def finalizing_by_hand_in_the_end() -> Any:
    class Client:
        def __init__(self) -> None:
            self.close = weakref.finalize(self, look)

        def __del__(self) -> None:
            self.close()

    return Client()


def called_back() -> Any:
    def gone(reference: Any) -> None:
        look()

    thing: Any = Thing()
    references.append(weakref.ref(thing, gone))
    return thing


def called_back_as_method() -> Any:
    class Pool:
        def forget(self, reference: Any) -> None:
            look()

    thing: Any = Thing()
    references.append(weakref.ref(thing, Pool().forget))
    return thing


def generating() -> Any:
    def generate() -> Iterator[int]:
        try:
            yield 1
        finally:
            look()

    generator = generate()
    next(generator)
    return generator


def suspended() -> Any:
    async def inner() -> None:
        try:
            await Stop()
        finally:
            with contextlib.suppress(KeyError):
                raise KeyError  # not the only error in the air
            look()

    async def outer() -> None:
        await inner()

    coroutine = outer()
    coroutine.send(None)
    return coroutine


class Stop:
    def __await__(self) -> Iterator[None]:
        yield


references: list[Any] = []
MADE = [
    deleted,
    closed_by_its_deletion,
    deleted_with_its_base,
    finalized,
    finalizing_by_hand_in_the_end,
    called_back,
    called_back_as_method,
    generating,
    suspended,
]


def by_deletion(make: Callable[[], Any]) -> None:
    thing = make()
    del thing


def by_assignment(make: Callable[[], Any]) -> None:
    thing = make()
    thing = None  # noqa: F841


def by_attribute(make: Callable[[], Any]) -> None:
    holder: Any = Thing()
    holder.thing = make()
    holder.thing = None


def by_item(make: Callable[[], Any]) -> None:
    holder = {"thing": make()}
    holder["thing"] = None


def by_clearing(make: Callable[[], Any]) -> None:
    [make()].clear()


def by_return(make: Callable[[], Any]) -> None:
    def hold() -> None:
        thing = make()  # noqa: F841

    hold()


def by_expression(make: Callable[[], Any]) -> None:
    make()


def by_collection(make: Callable[[], Any]) -> None:
    holder: Any = Thing()
    holder.itself, holder.thing = holder, make()
    del holder
    gc.collect()


def by_error(make: Callable[[], Any]) -> None:
    def hold() -> None:
        thing = make()  # noqa: F841
        raise KeyError

    with contextlib.suppress(KeyError):
        hold()


def by_the_end_of_a_task(make: Callable[[], Any]) -> None:
    async def hold() -> None:
        thing = make()  # noqa: F841
        await asyncio.sleep(0)

    asyncio.run(hold())


LET_GO = [
    by_deletion,
    by_assignment,
    by_attribute,
    by_item,
    by_clearing,
    by_return,
    by_expression,
    by_collection,
    by_error,
    by_the_end_of_a_task,
]


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    yield
    kept.clear()
    seen.clear()
    references.clear()


@pytest.mark.parametrize("let_go", LET_GO, ids=lambda way: way.__name__)
@pytest.mark.parametrize("make", MADE, ids=lambda way: way.__name__)
def test_what_is_let_go_of_enters_a_finalizer(
    make: Callable[[], Any], let_go: Callable[[Callable[[], Any]], None]
) -> None:
    let_go(make)
    assert seen == [True]


def dead() -> Any:
    return weakref.ref(Thing())


def plain(reference: Any) -> None:
    look()


class Caller:
    def use(self, reference: Any) -> None:
        look()

    @property
    def home(self) -> None:
        look()

    @home.setter
    def home(self, reference: Any) -> None:
        look()

    def __setitem__(self, key: Any, reference: Any) -> None:
        look()


def by_hand_del() -> None:
    thing = deleted()
    thing.__del__()
    kept.append(thing)


def by_hand_finalize() -> None:
    close = weakref.finalize(Caller, look)
    close()


def by_hand_close() -> None:
    coroutine = suspended()
    coroutine.close()


def by_hand_throw() -> None:
    generator = generating()
    with contextlib.suppress(GeneratorExit):
        generator.throw(GeneratorExit())


def by_closing() -> None:
    with contextlib.closing(generating()):
        pass


def by_awaiting() -> None:
    async def close_of(reference: Any) -> None:
        look()

    async def main() -> None:
        await close_of(dead())

    asyncio.run(main())


def by_the_loop() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(plain, dead())
        await asyncio.sleep(0)

    asyncio.run(main())


def by_an_async_generator() -> None:
    async def generate() -> Any:
        try:
            yield 1
        finally:
            look()

    async def main() -> None:
        generator = generate()
        await anext(generator)
        await generator.aclose()

    asyncio.run(main())


def by_name() -> None:
    plain(dead())


def by_method() -> None:
    Caller().use(dead())


def by_setter() -> None:
    Caller().home = dead()


def by_item_of_its_own() -> None:
    Caller()[0] = dead()


def by_property() -> None:
    Caller().home


def by_partial() -> None:
    functools.partial(look, 1)()


def after_a_generator_was_closed() -> None:
    generating().close()
    seen.clear()
    look()


kept: list[Any] = []
BY_HAND = [
    by_hand_del,
    by_hand_finalize,
    by_hand_close,
    by_hand_throw,
    by_closing,
    by_awaiting,
    by_the_loop,
    by_an_async_generator,
    by_name,
    by_method,
    by_setter,
    by_item_of_its_own,
    by_property,
    by_partial,
    after_a_generator_was_closed,
]


@pytest.mark.parametrize("call", BY_HAND, ids=lambda way: way.__name__)
def test_what_is_called_by_hand_is_none(call: Callable[[], None]) -> None:
    call()
    assert seen[:1] == [False]


def test_looking_changes_no_variables_that_the_code_has_asked_for() -> None:
    shown: list[Any] = []

    def gone(reference: Any) -> None:
        shown.append(dict(before := locals()))
        later = 1
        look()
        shown.append(dict(before))

    thing: Any = Thing()
    references.append(weakref.ref(thing, gone))
    [thing].clear()
    del thing
    assert shown[0] == shown[1]


def through_a_dead_reference(gone: bool) -> pytest_loopsafe.LoopReport:
    loops: list[asyncio.AbstractEventLoop] = []
    argument = dead() if gone else weakref.ref(Thing)

    def call(reference: Any) -> None:
        loops[0].call_soon(print)

    async def body() -> None:
        if loops:
            with contextlib.suppress(Exception):
                call(argument)
        loops.append(asyncio.get_running_loop())

    return pytest_loopsafe.run(body, loops=2, check=False)


@pytest.mark.parametrize("gone", [False, True])
def test_a_dead_reference_as_argument_hides_nothing(gone: bool) -> None:
    assert [one.code for one in through_a_dead_reference(gone).findings] == ["LS103"]


class Client:
    """Closes itself through its loop."""

    def __init__(self) -> None:
        self.close = weakref.finalize(self, asyncio.get_running_loop().call_soon, print)
        self.close.atexit = False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("by_hand", "code"), [(True, "LS103"), (False, "LS303")])
def test_a_finalizer_is_one_when_the_collector_calls_it(by_hand: bool, code: str) -> None:
    clients: list[Client] = []

    async def body() -> None:
        if clients:
            client = clients.pop()
            with contextlib.suppress(Exception):
                if by_hand:
                    client.close()
            del client
        else:
            clients.append(Client())

    report = pytest_loopsafe.run(body, loops=2, check=False)
    assert [one.code for one in report.findings] == [code]


def test_a_thread_that_looks_is_no_finalizer() -> None:
    thread = threading.Thread(target=plain, args=(dead(),))
    thread.start()
    thread.join()
    assert len(seen) == 1
