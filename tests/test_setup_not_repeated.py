"""LS209: what was set up on a loop that is gone, and is taken for done, is found.

In each case two thirds of the loops run without it. Their twins set it up again, or were never
meant to.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import enum
import functools
import itertools
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import pytest_loopsafe

Body = Callable[[], Any]


def owners_of(body: Body, **settings: Any) -> list[str | None]:
    report = pytest_loopsafe.run(body, check=False, **settings)
    assert [one.error for one in report.passes if one.error is not None] == []
    assert not [note for note in report.notes if "failed" in note]
    return [one.owner for one in report.findings if one.code == "LS209"]


# -- what can be set up --------------------------------------------------------------------------


def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
    return asyncio.Task(coro, loop=loop, **kwargs)


def handle(*_: Any) -> None: ...


def task_factory(loop: Any) -> None:
    loop.set_task_factory(factory)


def exception_handler(loop: Any) -> None:
    loop.set_exception_handler(lambda *_: None)


def signal_handler(loop: Any) -> None:
    loop.add_signal_handler(signal.SIGUSR1, handle)


def partial_as_reader(loop: Any) -> None:
    loop.add_reader(mine.fileno(), functools.partial(handle, 1))


def writer(loop: Any) -> None:
    loop.add_writer(mine, handle)


def default_executor(loop: Any) -> None:
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor())


mine: socket.socket
is_done = False


@pytest.fixture(autouse=True, scope="module")
def connected() -> Iterator[None]:
    global mine
    mine, theirs = socket.socketpair()
    with mine, theirs:
        yield


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    global is_done, installed, first, state, holder, kept_executor
    is_done, installed, first, state, holder, kept_executor = False, False, True, "", None, None
    places.clear()
    names.clear()
    event.clear()
    app.up = slots.up = False
    cached.cache_clear()
    Monitor.instance = None


@pytest.mark.parametrize(
    "put",
    [
        task_factory,
        exception_handler,
        signal_handler,
        partial_as_reader,
        writer,
        default_executor,
    ],
)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
def test_each_kind_is_found(put: Callable[[Any], None], schedule: str) -> None:
    async def body() -> None:
        global is_done
        if not is_done:
            is_done = True
            put(asyncio.get_running_loop())

    assert owners_of(body, schedule=schedule) == [f"{__name__}.is_done"]


# -- what remembers that it is done ----------------------------------------------------------------

installed, state, first = False, "", True
places: dict[str, Any] = {}
names: set[str] = set()
event = threading.Event()
app = SimpleNamespace(up=False, embedded=False)


def put() -> None:
    asyncio.get_running_loop().set_exception_handler(handle)


def flag_after_an_early_return() -> None:
    global installed
    if installed:
        return
    put()
    installed = True


def text() -> None:
    global state
    if state != "ready":
        put()
        state = "ready"


def falling_flag() -> None:
    global first
    if first:
        first = False
        put()


def entry() -> None:
    if "handler" not in places:
        put()
        places["handler"] = True


def member() -> None:
    if "handler" not in names:
        names.add("handler")
        put()


def set_event() -> None:
    if not event.is_set():
        put()
        event.set()


def attribute() -> None:
    if not app.up:
        app.up = True
        put()


@functools.cache
def cached() -> None:
    put()


def once(function: Callable[[], None]) -> Callable[[], None]:
    done = False

    @functools.wraps(function)
    def wrapper() -> None:
        nonlocal done
        if not done:
            done = True
            function()

    return wrapper


class Stage(enum.Enum):
    NEW = 1
    READY = 2


class Plugin:
    """What it looks at is behind a property, a method, an enumeration."""

    def __init__(self) -> None:
        self.stage = Stage.NEW
        self._handler: Any = None

    @property
    def is_up(self) -> bool:
        return self._handler is not None

    def has_begun(self) -> bool:
        return bool(self._handler)

    def by_property(self) -> None:
        if not self.is_up:
            self.set_up()

    def by_method(self) -> None:
        if self.has_begun():
            return
        self.set_up()

    def by_stage(self) -> None:
        if self.stage is Stage.NEW:
            self.set_up()

    def set_up(self) -> None:
        self.stage, self._handler = Stage.READY, lambda *_: None
        asyncio.get_running_loop().set_exception_handler(self._handler)


@dataclasses.dataclass(slots=True)
class Slots:
    """It has no weak references."""

    up: bool = False

    def ensure(self) -> None:
        if not self.up:
            self.up = True
            put()


slots = Slots()


def in_slots() -> None:
    slots.ensure()


plugins = [Plugin(), Plugin(), Plugin()]
with_property, with_method, with_stage = plugins


def behind_a_property() -> None:
    with_property.by_property()


def behind_a_method() -> None:
    with_method.by_method()


def stage_of_an_enumeration() -> None:
    with_stage.by_stage()


class OnlyOne(type):
    instances: ClassVar[dict[type, Any]] = {}

    def __call__(cls, *args: Any) -> Any:
        if cls not in cls.instances:
            cls.instances[cls] = super().__call__(*args)
        return cls.instances[cls]


class Tracer(metaclass=OnlyOne):
    def __init__(self) -> None:
        asyncio.get_running_loop().set_task_factory(self.make)

    def make(self, loop: Any, coro: Any, **kwargs: Any) -> Any:
        return asyncio.Task(coro, loop=loop, **kwargs)


class Monitor:
    """A holder: who made the set-up is what is looked for before another is made."""

    instance: "Monitor | None" = None

    def __init__(self) -> None:
        asyncio.get_running_loop().set_exception_handler(self.on_error)

    def on_error(self, loop: Any, context: Any) -> None: ...

    @classmethod
    def get(cls) -> "Monitor":
        if cls.instance is None:
            cls.instance = cls()
        return cls.instance


holder: Monitor | None = None


def lazy_holder() -> Monitor:
    global holder
    if holder is None:
        holder = Monitor()
    return holder


def class_holder() -> None:
    Monitor.get()


kept_executor: Any = None


def lazy_executor() -> Any:
    global kept_executor
    if kept_executor is None:
        kept_executor = concurrent.futures.ThreadPoolExecutor()
        asyncio.get_running_loop().set_default_executor(kept_executor)
    return kept_executor


class Service:
    def __init__(self) -> None:
        self.ready = False
        self.handlers: dict[int, Any] = {}

    def set_up(self) -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        self.ready = True

    def ensure(self) -> None:
        if not self.ready:
            self.set_up()

    def on(self, number: int, callback: Any) -> None:
        if number not in self.handlers:
            asyncio.get_running_loop().add_signal_handler(number, callback)
        self.handlers[number] = callback

    @functools.cached_property
    def watched(self) -> bool:
        put()
        return True


ready, listening, watching = Service(), Service(), Service()


def set_up_by_its_own_method() -> None:
    ready.ensure()


def handler_in_a_dictionary() -> None:
    listening.on(signal.SIGUSR2, handle)


def cached_property() -> None:
    assert watching.watched


def module_that_was_imported() -> None:
    import set_up_when_imported  # type: ignore[import-not-found]

    assert set_up_when_imported


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import asyncio\nasyncio.get_running_loop().set_exception_handler(print)\n"
    (tmp_path / "set_up_when_imported.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "set_up_when_imported", raising=False)


REMEMBERS: dict[Callable[[], Any], str] = {
    flag_after_an_early_return: "installed",
    text: "state",
    falling_flag: "first",
    entry: "places",
    member: "names",
    set_event: "event",
    attribute: "app.up",
    cached: "cached",
    once(put): "done",
    lazy_holder: "holder",
    class_holder: "Monitor.instance",
    lazy_executor: "kept_executor",
    behind_a_property: "with_property._handler",
    behind_a_method: "with_method._handler",
    stage_of_an_enumeration: "with_stage.stage",
    in_slots: "slots.up",
    Tracer: "Tracer.instances",
    set_up_by_its_own_method: "ready.ready",
    handler_in_a_dictionary: "listening.handlers",
    cached_property: "watching.watched",
    module_that_was_imported: "sys.modules['set_up_when_imported']",
}


@pytest.mark.usefixtures("thawed", "modules")  # functions are found by their code, on the heap
@pytest.mark.parametrize(
    ("set_up", "what"), REMEMBERS.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_says_that_it_is_done_is_named(set_up: Callable[[], Any], what: str) -> None:
    async def body() -> None:
        set_up()
        await asyncio.sleep(0)

    (owner,) = owners_of(body)
    assert owner is not None
    assert what in owner


# -- how the loops follow one another ------------------------------------------------------------


def by_asyncio_run() -> Iterator[Body]:
    async def main() -> None:
        attribute()

    yield lambda: asyncio.run(main())


def by_hand() -> Iterator[Body]:
    async def main() -> None:
        attribute()

    def body() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    yield body


def prepared_from_outside() -> Iterator[Body]:
    def body() -> None:
        loop = asyncio.new_event_loop()
        if not app.up:
            app.up = True
            loop.set_task_factory(factory)
        with contextlib.closing(loop):
            loop.run_until_complete(asyncio.sleep(0))

    yield body


def by_runner() -> Iterator[Body]:
    def body() -> None:
        with asyncio.Runner() as runner:
            if not app.up:
                app.up = True
                runner.get_loop().set_exception_handler(handle)
            runner.run(asyncio.sleep(0))

    yield body


def in_a_child_task() -> Iterator[Body]:
    async def child() -> None:
        attribute()

    async def body() -> None:
        await asyncio.create_task(child())

    yield body


def in_a_callback() -> Iterator[Body]:
    async def body() -> None:
        asyncio.get_running_loop().call_soon(attribute)
        await asyncio.sleep(0)

    yield body


WAYS = [by_asyncio_run, by_hand, prepared_from_outside, by_runner, in_a_child_task, in_a_callback]


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
def test_it_is_found_however_the_loop_is_run(way: Any, schedule: str) -> None:
    (body,) = way()
    assert owners_of(body, schedule=schedule) == [f"{__name__}.app.up"]


def test_it_is_found_within_one_stretch_of_code() -> None:
    async def first_program() -> None:
        attribute()

    async def second_program() -> None:
        attribute()

    with pytest_loopsafe.watch() as report:
        asyncio.run(first_program())
        asyncio.run(second_program())
    found = [one for one in report.findings if one.code == "LS209"]
    known = sys.version_info >= (3, 12)  # what ran again: else only a program as a whole
    assert [one.loop.number for one in found if one.loop] == ([2] if known else [])


def test_it_is_found_under_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def body() -> None:
        if not app.up:
            app.up = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)
            asyncio.get_running_loop().set_task_factory(factory)

    owners = owners_of(body, loop_factory=uvloop.new_event_loop)
    assert owners == [f"{__name__}.app.up"] * 2


def test_it_is_found_where_the_later_loop_takes_down_what_it_has_not() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        if not app.up:
            app.up = True
            loop.add_signal_handler(signal.SIGUSR1, handle)
        try:
            await asyncio.sleep(0)
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    assert owners_of(body) == [f"{__name__}.app.up"]


def test_it_is_found_below_a_factory_that_each_loop_has() -> None:
    def wrap(loop: Any) -> None:
        inner = loop.get_task_factory()
        loop.set_task_factory(lambda loop, coro, **kwargs: inner(loop, coro, **kwargs))

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(factory)
        return loop

    async def body() -> None:
        if not app.up:
            app.up = True
            wrap(asyncio.get_running_loop())

    assert owners_of(body, loop_factory=new_loop) == [f"{__name__}.app.up"]


# -- what is in order ----------------------------------------------------------------------------


def for_each_loop() -> Body:
    async def body() -> None:
        put()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)

    return body


def remembered_by_loop() -> Body:
    done: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if loop not in done:
            done[loop] = True
            put()

    return body


def remembered_as_the_last_loop() -> Body:
    last: Any = None

    async def body() -> None:
        nonlocal last
        loop = asyncio.get_running_loop()
        if last is None or last() is not loop:
            last = weakref.ref(loop)
            put()

    return body


def asked_of_the_loop() -> Body:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        if loop.get_exception_handler() is None:
            loop.set_exception_handler(handle)

    return body


def taken_back_at_the_end() -> Body:
    """Another program ran first."""
    passes = itertools.count()

    async def migrate() -> None:
        loop = asyncio.get_running_loop()
        app.up = True
        loop.add_signal_handler(signal.SIGUSR1, handle)
        await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)

    async def body() -> None:
        if next(passes) == 0 and not app.up:
            await migrate()

    return body


def for_one_step_only() -> Body:
    """The reader has done what it was for, and the result is kept."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if not app.up:
            app.up = True
            loop.add_writer(mine, handle)
            await asyncio.sleep(0)
            loop.remove_writer(mine)

    return body


def put_back() -> Body:
    def loud(*_: Any) -> None: ...

    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handle)
        if not app.up:
            app.up = True
            before = loop.get_exception_handler()
            loop.set_exception_handler(loud)
            await asyncio.sleep(0)
            loop.set_exception_handler(before)

    return body


def another_one_for_the_first_loop() -> Body:
    def loud(*_: Any) -> None: ...

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if not app.up:
            app.up = True
            loop.set_exception_handler(loud)
        else:
            loop.set_exception_handler(handle)

    return body


def by_a_count() -> Body:
    passes = itertools.count()

    async def body() -> None:
        if next(passes) == 0:
            put()

    return body


def by_an_argument() -> Body:
    passes = itertools.count()

    async def main(handles_signals: bool) -> None:
        if handles_signals:
            put()

    def body() -> None:
        asyncio.run(main(handles_signals=next(passes) == 0))

    return body


def by_a_setting() -> Body:
    passes = itertools.count()

    async def main() -> None:
        if not app.up:
            put()

    def body() -> None:
        app.up = next(passes) > 0  # embedded, from the second on
        asyncio.run(main())

    return body


def prepared_once_in_a_loop_of_its_own() -> Body:
    async def prepare() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)

    async def work() -> None:
        await asyncio.sleep(0)

    def body() -> None:
        if not app.up:
            app.up = True
            asyncio.run(prepare())
        asyncio.run(work())

    return body


def prepared_once_in_a_hand_made_loop() -> Body:
    async def prepare() -> None:
        await asyncio.sleep(0)

    def body() -> None:
        if not app.up:
            app.up = True
            loop = asyncio.new_event_loop()
            loop.set_task_factory(factory)
            with contextlib.closing(loop):
                loop.run_until_complete(prepare())
        asyncio.run(asyncio.sleep(0))

    return body


def refused_elsewhere() -> Body:
    """In another thread there are no signals: it was tried."""
    passes = itertools.count()

    async def main() -> None:
        with contextlib.suppress(RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)

    def body() -> None:
        if next(passes) == 0:
            asyncio.run(main())
        else:
            thread = threading.Thread(target=lambda: asyncio.run(main()))
            thread.start()
            thread.join()

    return body


def beside_an_entry_of_a_cache() -> Body:
    answers: dict[str, int] = {}

    async def body() -> int:
        if "key" not in answers:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)
            answers["key"] = 1
        return answers["key"]

    return body


def its_object_is_another() -> Body:
    async def body() -> None:
        own = Service()
        own.ensure()

    return body


def its_object_in_slots_is_another() -> Body:
    async def body() -> None:
        own = Slots()
        own.ensure()

    return body


def its_object_in_slots_is_another_than_the_first() -> Body:
    """The first one is done, and is asked no more; the next ones have nothing to do."""
    first = [True]

    async def body() -> None:
        own = slots if first else Slots(up=True)
        own.ensure()
        first.clear()

    return body


def in_a_factory_of_loops() -> Body:
    def new_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(factory)
        return loop

    def body() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.sleep(0))

    return body


def one_loop_for_all() -> Body:
    kept: list[Any] = []

    def body() -> None:
        if not kept:
            kept.append(asyncio.new_event_loop())
            kept[0].set_task_factory(factory)
        kept[0].run_until_complete(asyncio.sleep(0))
        if len(kept) == 3:
            kept[0].close()
        kept.append(None)

    return body


def by_a_context_manager() -> Body:
    @contextlib.contextmanager
    def handling() -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, handle)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    async def body() -> None:
        with handling():
            await asyncio.sleep(0)

    return body


def beside_a_loop_that_goes_on() -> Body:
    """There is one loop for signals, in the main thread; others run beside it."""

    async def main() -> None:
        if not app.up:
            app.up = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)
            asyncio.get_running_loop().set_exception_handler(handle)
        await asyncio.sleep(0)

    async def body() -> None:
        await main()
        await asyncio.to_thread(lambda: asyncio.run(main()))
        app.up = False

    return body


def signals_of_the_first_thread() -> Body:
    passes = itertools.count()

    async def main() -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and not app.up:
            app.up = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handle)

    def body() -> None:
        if next(passes) == 0:
            asyncio.run(main())
        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()

    return body


def switched_off() -> Body:
    passes = itertools.count()

    async def main() -> None:
        if app.embedded:
            return
        if not app.up:
            app.up = True
            put()

    def body() -> None:
        app.embedded = next(passes) > 0
        asyncio.run(main())

    return body


class Feed:
    """Reads while somebody wants it to."""

    def __init__(self) -> None:
        self.is_reading = False

    def resume(self) -> None:
        if not self.is_reading:
            self.is_reading = True
            asyncio.get_running_loop().add_reader(mine, self.read)

    def pause(self) -> None:
        self.is_reading = False
        asyncio.get_running_loop().remove_reader(mine)

    def read(self) -> None: ...


feed = Feed()


def paused_and_resumed() -> Body:
    async def body() -> None:
        feed.resume()
        await asyncio.sleep(0)
        feed.pause()

    return body


def counted_in_and_out() -> Body:
    users = 0

    async def body() -> None:
        nonlocal users
        if users == 0:
            put()
        users += 1
        await asyncio.sleep(0)
        users -= 1

    return body


def nothing_left_to_do() -> Body:
    todo = [handle]

    async def body() -> None:
        while todo:
            asyncio.get_running_loop().set_exception_handler(todo.pop())

    return body


def as_libraries_do() -> Body:
    async def body() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(left, b"x")
            if not app.up:
                app.up = True
                await loop.sock_recv(right, 1)
                await (await asyncio.create_subprocess_exec("true")).wait()

    return body


SAFE = [
    for_each_loop,
    remembered_by_loop,
    remembered_as_the_last_loop,
    asked_of_the_loop,
    taken_back_at_the_end,
    for_one_step_only,
    put_back,
    another_one_for_the_first_loop,
    by_a_count,
    by_an_argument,
    by_a_setting,
    prepared_once_in_a_loop_of_its_own,
    prepared_once_in_a_hand_made_loop,
    refused_elsewhere,
    beside_an_entry_of_a_cache,
    its_object_is_another,
    its_object_in_slots_is_another,
    pytest.param(
        its_object_in_slots_is_another_than_the_first,
        marks=pytest.mark.skipif(
            sys.version_info < (3, 12), reason="only sys.monitoring tells what ran again"
        ),
    ),
    in_a_factory_of_loops,
    one_loop_for_all,
    by_a_context_manager,
    beside_a_loop_that_goes_on,
    signals_of_the_first_thread,
    switched_off,
    paused_and_resumed,
    counted_in_and_out,
    nothing_left_to_do,
    as_libraries_do,
]


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("make", SAFE, ids=lambda one: getattr(one, "__name__", None))
@pytest.mark.parametrize("schedule", ["consecutive", "recycled"])
def test_what_is_in_order_is_not_found(make: Callable[[], Body], schedule: str) -> None:
    assert owners_of(make(), schedule=schedule) == []


# -- what the process handles itself ---------------------------------------------------------------


class Process:
    """Handles SIGUSR1 without a loop, from before the first pass."""

    def __init__(self) -> None:
        self.set_up()

    def set_up(self) -> None:
        signal.signal(signal.SIGUSR1, self.reload)

    def reload(self, number: int, frame: Any) -> None:
        return


@pytest.fixture
def process() -> Iterator[Process]:
    before = signal.getsignal(signal.SIGUSR1)
    yield Process()
    signal.signal(signal.SIGUSR1, before)


def stop() -> None:
    return


def lost_to_a_run(process: Process) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop)

    asyncio.run(main())


def lost_to_a_loop_that_goes_on(process: Process) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)

    asyncio.run(main())


def set_up_twice_on_a_loop(process: Process) -> None:
    async def main() -> None:
        for handler in (stop, print):
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handler)

    asyncio.run(main())


def put_back_by_itself(process: Process) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    lost_to_a_run(process)
    signal.signal(signal.SIGUSR1, before)


def set_up_again_afterwards(process: Process) -> None:
    lost_to_a_run(process)
    process.set_up()


def for_the_time_before_the_loop(process: Process) -> None:
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    lost_to_a_run(process)


def never_a_functions(process: Process) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    lost_to_a_run(process)


def of_another_signal(process: Process) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, stop)

    asyncio.run(main())


@pytest.mark.parametrize(
    "body", [lost_to_a_run, lost_to_a_loop_that_goes_on, set_up_twice_on_a_loop]
)
def test_the_process_loses_its_own_handler(
    body: Callable[[Process], None], process: Process
) -> None:
    report = pytest_loopsafe.run(body, process, loops=3)
    (finding,) = report.findings
    assert (finding.code, str(finding.severity), finding.passes) == ("LS209", "warning", (1,))
    assert "Process.reload() handled SIGUSR1 in this process before loop 1" in finding.message


@pytest.mark.parametrize(
    "body",
    [
        put_back_by_itself,
        set_up_again_afterwards,
        for_the_time_before_the_loop,
        never_a_functions,
        of_another_signal,
    ],
)
def test_it_has_its_own_handler_or_needs_none(
    body: Callable[[Process], None], process: Process
) -> None:
    assert pytest_loopsafe.run(body, process, loops=3).findings == ()


def test_what_asyncio_does_with_sigint_is_its_own() -> None:
    async def body() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)

    assert pytest_loopsafe.run(body, loops=3).findings == ()
