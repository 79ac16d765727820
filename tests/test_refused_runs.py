"""LS109: a run that is refused because a loop runs here, and what became of its coroutine."""

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import os
import queue
import subprocess
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe

pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine '.*' was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)
logging.getLogger("asyncio").addHandler(logging.NullHandler())

saved: list[Any] = []
kept: list[Any] = []


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    saved.clear()
    yield
    kept.clear()


async def save(value: Any = 1) -> Any:
    await asyncio.sleep(0)
    saved.append(value)
    return value


def saving(value: Any) -> Any:
    return value


def keep_for(later: list[Any], value: Any) -> None:
    try:
        asyncio.run(save(value))
    except RuntimeError:
        later.append(value)


def in_thread(main: Coroutine[Any, Any, Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, main).result()


# -- lost: the coroutine never ran, and nobody is told ---------------------------------------------


def caught_by_a_net() -> None:
    try:
        asyncio.run(save())
    except Exception as error:
        logging.getLogger("app").warning("not saved: %s", error)


def caught_by_name() -> Any:
    try:
        return asyncio.run(save())
    except RuntimeError:
        return None


def suppressed() -> None:
    with contextlib.suppress(RuntimeError):
        asyncio.run(save())


def by_a_runner() -> str:
    with asyncio.Runner() as runner:
        try:
            return str(runner.run(save()))
        except Exception as error:
            return f"Error: {error}"


def by_a_loop_of_its_own() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(save())
    except Exception:
        pass
    finally:
        loop.close()


def by_the_running_loop() -> None:
    try:
        asyncio.get_event_loop().run_until_complete(save())
    except Exception:
        pass


def as_a_task() -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(loop.create_task(save()))
    except Exception:
        pass
    finally:
        loop.close()


def run_forever() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(save())
    task.add_done_callback(lambda task: loop.stop())
    try:
        loop.run_forever()
    except Exception:
        pass
    finally:
        asyncio._set_running_loop(kept.pop())  # on 3.13 the refusal takes the mark away
        loop.close()


def the_error_is_kept() -> None:
    main = save()
    try:
        asyncio.run(main)
    except Exception as error:
        kept.append(error)


def given_to_a_wrapper() -> None:
    try:
        asyncio.run(asyncio.wait_for(save(), 5))
    except Exception:
        pass


def tried_three_times() -> None:
    for _ in range(3):
        try:
            asyncio.run(save())
        except Exception:
            pass


class Store:
    def _run(self, main: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(main)

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            self._run(save(value))
        except Exception:
            kept.append(key)


def deep_in_an_object() -> None:
    Store()["a"] = 1


def made_sync(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        try:
            return asyncio.run(function(*args))
        except RuntimeError as error:
            if "running event loop" in str(error):
                return None
            raise

    return wrapper


by_a_decorator = made_sync(save)


class Bridge:
    runner: asyncio.Runner | None = None

    @property
    def data(self) -> Any:
        if Bridge.runner is None:
            Bridge.runner = asyncio.Runner()
        try:
            return Bridge.runner.run(save())
        except Exception:
            return {}


def by_the_runner_of_a_class() -> None:
    assert Bridge().data == {}
    assert Bridge.runner is not None
    Bridge.runner.close()
    Bridge.runner = None


def raised_in_an_exit() -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(Exception))
        stack.callback(lambda: asyncio.run(save()))


def the_first_of_two() -> None:
    with contextlib.suppress(Exception):
        list(map(asyncio.run, [save(), save()]))


async def by_a_thread_with_a_loop_of_its_own() -> None:
    async def inner() -> None:
        caught_by_a_net()

    await asyncio.to_thread(lambda: asyncio.run(inner()))


async def by_a_task_nobody_asks() -> None:
    async def background() -> None:
        asyncio.run(save())

    task = asyncio.create_task(background())
    await asyncio.wait([task])


async def by_a_callback() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    asyncio.get_running_loop().call_soon(lambda: asyncio.run(save()))
    await asyncio.sleep(0.001)


async def gathered() -> None:
    async def step() -> None:
        asyncio.run(save())

    await asyncio.gather(step(), return_exceptions=True)


def raised_as_another() -> None:
    try:
        try:
            asyncio.run(save())
        except RuntimeError as error:
            raise ConnectionError("not saved") from error
    except ConnectionError:
        pass


def mentioned_in_the_log() -> None:
    try:
        asyncio.run(save())
    except RuntimeError:
        logging.getLogger("app").warning("%s did not run", save.__name__)


async def then_run_by_others() -> None:
    caught_by_a_net()
    await asyncio.create_task(save(2))


async def refused_twice_and_run_once() -> None:
    later: list[Any] = []
    for _ in range(2):
        keep_for(later, 1)
    await asyncio.gather(save(later.pop()))


def told_the_user(value: Any = 1) -> None:
    try:
        asyncio.run(save(value))
    except RuntimeError:
        print("not saved:", value)


def reported(value: Any = 1) -> None:
    def report(value: Any, error: BaseException) -> None:
        logging.getLogger("app").warning("%s was not saved: %s", value, error)

    try:
        asyncio.run(save(value))
    except RuntimeError as error:
        report(value, error)


def counted(value: Any = 1) -> None:
    try:
        asyncio.run(save(value))
    except RuntimeError:
        pass
    saved.append(saving(value))


def saved_beside_a_net(value: Any = 1) -> None:
    try:
        asyncio.run(save(value))
    except Exception:
        saving(value)


async def then_run_for_another() -> None:
    caught_by_a_net()
    await save(2)


SEES = sys.version_info >= (3, 12)
"""Whether it is seen that a function begins."""


LOST: tuple[Callable[[], Any], ...] = (
    caught_by_a_net,
    caught_by_name,
    suppressed,
    by_a_runner,
    by_a_loop_of_its_own,
    by_the_running_loop,
    as_a_task,
    run_forever,
    the_error_is_kept,
    given_to_a_wrapper,
    tried_three_times,
    deep_in_an_object,
    by_a_decorator,
    by_the_runner_of_a_class,
    raised_in_an_exit,
    the_first_of_two,
    by_a_thread_with_a_loop_of_its_own,
    by_a_task_nobody_asks,
    by_a_callback,
    gathered,
    raised_as_another,
    mentioned_in_the_log,
    then_run_by_others,
    refused_twice_and_run_once,
    told_the_user,
    reported,
    counted,
    saved_beside_a_net,
    *((then_run_for_another,) if SEES else ()),
)

# -- prepared ------------------------------------------------------------------------------------


def the_same_in_a_thread() -> Any:
    main = save()
    try:
        return asyncio.run(main)
    except RuntimeError:
        return in_thread(main)


def another_in_a_thread() -> Any:
    try:
        return asyncio.run(save())
    except Exception:
        return in_thread(save())


def another_by_a_function_that_a_thread_calls() -> None:
    def target() -> None:
        asyncio.run(save())

    try:
        asyncio.run(save())
    except RuntimeError:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()


def by_another_loops_thread() -> Any:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    main = save()
    try:
        return asyncio.run(main)
    except RuntimeError:
        return asyncio.run_coroutine_threadsafe(main, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def closed() -> str:
    main = save()
    try:
        return str(asyncio.run(main))
    except RuntimeError:
        main.close()
        return "not here"


def closed_on_every_way_out() -> None:
    with contextlib.closing(save()) as main, contextlib.suppress(RuntimeError):
        asyncio.run(main)


def closed_with_what_it_was_given() -> None:
    inner = save()
    main = asyncio.wait_for(inner, 5)
    try:
        asyncio.run(main)
    except RuntimeError:
        main.close()
        inner.close()


def the_same_as_a_task() -> Any:
    main = save()
    try:
        return asyncio.run(main)
    except RuntimeError:
        return asyncio.ensure_future(main)


def another_as_a_task() -> Any:
    try:
        return asyncio.run(save())
    except RuntimeError:
        return asyncio.ensure_future(save())


def many_others_as_tasks() -> Any:
    return asyncio.gather(*(another_as_a_task() for _ in range(30)))


def another_through_a_helper() -> Any:
    def schedule(value: Any) -> Any:
        return asyncio.get_running_loop().create_task(save(value))

    try:
        return asyncio.run(save(3))
    except RuntimeError:
        return schedule(3)


def the_same_to_be_awaited() -> Any:
    main = save()
    try:
        return asyncio.run(main)
    except RuntimeError:
        return main


def another_to_be_awaited() -> Any:
    try:
        return asyncio.run(save())
    except RuntimeError:
        return save()


def a_method_to_be_awaited() -> Any:
    class Client:
        async def _fetch(self) -> None:
            await asyncio.sleep(0)

        def fetch(self) -> Any:
            try:
                return asyncio.run(self._fetch())
            except RuntimeError:
                pass
            return self._fetch()

    return Client().fetch()


def another_by_a_decorator() -> Any:
    def dual(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            try:
                return asyncio.run(function(*args))
            except RuntimeError:
                return function(*args)

        return wrapper

    return dual(save)(1)


def another_by_a_partial() -> Any:
    make = functools.partial(save, 3)
    main = make()
    try:
        return asyncio.run(main)
    except RuntimeError:
        return make()


def many_others_through_a_helper() -> Any:
    return asyncio.gather(*(another_through_a_helper() for _ in range(30)))


def by_a_worker_that_waits() -> None:
    work: queue.Queue[Any] = queue.Queue()

    def worker() -> None:
        while (main := work.get()) is not None:
            asyncio.run(main)

    thread = threading.Thread(target=worker)
    thread.start()
    main = save()
    try:
        asyncio.run(main)
    except RuntimeError:
        work.put(main)
    work.put(None)
    thread.join()


def stepped_by_hand() -> None:
    async def answer() -> int:
        return 5

    main = answer()
    try:
        asyncio.run(main)
    except RuntimeError:
        with contextlib.suppress(StopIteration):
            main.send(None)


def with_its_parts() -> Any:
    parts = [save(1), save(2)]

    async def all_of_them() -> Any:
        return await asyncio.gather(*parts)

    try:
        return asyncio.run(all_of_them())
    except RuntimeError:
        return asyncio.gather(*parts)


def the_same_in_another_wrapper() -> Any:
    main = save()
    try:
        return asyncio.run(asyncio.wait_for(main, 5))
    except RuntimeError:
        return in_thread(asyncio.wait_for(main, 5))


async def kept_for_later() -> None:
    while kept:
        await kept.pop()
    main = save()
    try:
        asyncio.run(main)
    except RuntimeError:
        kept.append(main)


def by_the_outer_loops_next_run() -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(save())
    try:
        loop.run_until_complete(task)
    except RuntimeError:
        thread = threading.Thread(target=loop.run_until_complete, args=(task,))
        thread.start()
        thread.join()
    loop.close()


def asked_first() -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(save())
    return save()


def expected_by_a_test() -> None:
    with pytest.raises(RuntimeError, match="running event loop"):
        asyncio.run(save())


def expected_as_another() -> None:
    with pytest.raises(ValueError, match="no"):
        try:
            asyncio.run(save())
        except RuntimeError as error:
            raise ValueError("no") from error


def expected_by_a_test_case() -> None:
    with unittest.TestCase().assertRaises(RuntimeError):
        asyncio.run(save())


def cleaned_up_by_a_finalizer() -> None:
    class Client:
        def __del__(self) -> None:
            try:
                asyncio.run(save())
            except RuntimeError:
                pass

    Client()


async def retried_by_the_caller() -> None:
    later: list[Any] = []
    keep_for(later, 1)
    while later:
        await save(later.pop())


async def retried_for_each() -> None:
    later: list[Any] = []
    for value in ("a", "b", ["c"], {"d": (1,)}, Sink()):
        keep_for(later, value)
    while later:
        await save(later.pop())


async def awaited_anew_by_the_caller() -> None:
    if caught_by_name() is None:
        await save()


async def as_a_part_of_more() -> None:
    if caught_by_name() is None:
        await asyncio.gather(save())


class Job:
    ran = 0
    needs_await = False

    async def run(self) -> None:
        self.ran += 1

    def start(self) -> None:
        try:
            asyncio.run(self.run())
        except RuntimeError:
            self.needs_await = True


async def awaited_by_who_asks_the_object() -> None:
    job = Job()
    job.start()
    if job.needs_await:
        await job.run()
    assert job.ran == 1


async def in_a_task_that_a_callback_makes() -> None:
    tasks: list[asyncio.Task[Any]] = []

    def later(value: Any) -> None:
        tasks.append(asyncio.get_running_loop().create_task(save(value)))

    try:
        asyncio.run(save(3))
    except RuntimeError:
        asyncio.get_running_loop().call_soon(later, 3)
    await asyncio.sleep(0)
    await tasks.pop()


async def all_of(values: Any) -> None:
    for value in values:
        await save(value)


def each_instead_of_all() -> Any:
    values = [1, 2]
    try:
        return asyncio.run(all_of(values))
    except RuntimeError:
        return asyncio.gather(*[asyncio.ensure_future(save(one)) for one in values])


def by_a_sync_function(value: Any = 1) -> None:
    try:
        asyncio.run(save(value))
    except RuntimeError:
        saving(value)


class Sink:
    def put(self, value: Any) -> None:
        try:
            asyncio.run(self._put(value))
        except RuntimeError:
            self._put_now(value)

    async def _put(self, value: Any) -> None:
        await save(value)

    def _put_now(self, value: Any) -> None:
        saved.append(value)


def by_a_sync_method() -> None:
    Sink().put(1)


def its_own_error() -> None:
    async def fails() -> None:
        raise RuntimeError("of its own")

    with contextlib.suppress(RuntimeError):
        in_thread(fails())


class Proud(type):
    """Its classes are compared with nothing, and are no keys."""

    def __eq__(cls, other: object) -> bool:
        raise TypeError

    def __hash__(cls) -> int:
        raise TypeError


class Row(metaclass=Proud):
    pass


async def save_row(row: Row) -> None:
    await asyncio.sleep(0)


async def given_what_is_not_compared() -> None:
    row = Row()
    try:
        asyncio.run(save_row(row))
    except RuntimeError:
        kept.append(row)
    await save_row(kept.pop())


PREPARED: tuple[Callable[[], Any], ...] = (
    the_same_in_a_thread,
    another_in_a_thread,
    another_by_a_function_that_a_thread_calls,
    by_another_loops_thread,
    closed,
    closed_on_every_way_out,
    closed_with_what_it_was_given,
    the_same_as_a_task,
    another_as_a_task,
    many_others_as_tasks,
    another_through_a_helper,
    the_same_to_be_awaited,
    another_to_be_awaited,
    a_method_to_be_awaited,
    another_by_a_decorator,
    another_by_a_partial,
    many_others_through_a_helper,
    by_a_worker_that_waits,
    stepped_by_hand,
    with_its_parts,
    the_same_in_another_wrapper,
    kept_for_later,
    by_the_outer_loops_next_run,
    asked_first,
    expected_by_a_test,
    expected_as_another,
    expected_by_a_test_case,
    cleaned_up_by_a_finalizer,
    retried_by_the_caller,
    retried_for_each,
    awaited_anew_by_the_caller,
    as_a_part_of_more,
    awaited_by_who_asks_the_object,
    in_a_task_that_a_callback_makes,
    each_instead_of_all,
    by_a_sync_function,
    by_a_sync_method,
    its_own_error,
)


def within_a_loop(function: Callable[[], Any]) -> Callable[[], Any]:
    async def main() -> None:
        if function is run_forever:
            kept.append(asyncio.get_running_loop())
        result = function()
        if inspect.isawaitable(result):
            await result

    return main


def found(function: Callable[[], Any], **options: Any) -> list[pytest_loopsafe.Finding]:
    report = pytest_loopsafe.run(within_a_loop(function), check=False, **options)
    gc.collect()
    assert not [note for note in report.notes if "failed" in note]
    return [one for one in report.findings if one.code == "LS109"]


SCHEDULES = ["consecutive", "recycled", "persistent", "threads", "concurrent"]


def test_what_it_is_given_is_not_compared() -> None:
    """The refusal comes to who made the call, whatever a metaclass says of its arguments."""
    report = pytest_loopsafe.run(given_what_is_not_compared)
    assert (report.findings, [one.error for one in report.passes]) == ((), [None] * 3)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("function", LOST, ids=lambda function: function.__name__)
def test_what_was_lost_is_found(function: Callable[[], Any], schedule: str) -> None:
    (finding,) = found(function, loops=2, schedule=schedule)
    assert finding.is_error
    assert finding.swallowed
    assert finding.count == (6 if function is tried_three_times else 2)
    if function is not by_a_thread_with_a_loop_of_its_own:  # such a thread is of the latest pass
        assert finding.passes == (1, 2)
    assert "save() never ran" in finding.message


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("function", PREPARED, ids=lambda function: function.__name__)
def test_code_that_is_prepared_is_not(function: Callable[[], Any], schedule: str) -> None:
    assert found(function, loops=3, schedule=schedule) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("function", "count"), [(caught_by_a_net, 1), (the_same_in_a_thread, 0), (closed, 0)]
)
def test_in_forked_passes(function: Callable[[], Any], count: int) -> None:
    assert len(found(function, loops=2, schedule="fork")) == count


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (caught_by_a_net, 1),
        (by_a_runner, 1),
        (by_a_loop_of_its_own, 1),
        (the_same_in_a_thread, 0),
        (by_the_running_loop, 0),  # uvloop raises, and the running loop has the coroutine
    ],
)
def test_under_uvloop(function: Callable[[], Any], count: int) -> None:
    uvloop = pytest.importorskip("uvloop")
    findings = found(function, loops=2, loop_factory=uvloop.new_event_loop)
    assert len(findings) == count
    assert all("which runs in this thread" in one.message for one in findings)


# -- a refusal that comes out ----------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refusal_that_leaves_the_pass_is_no_secret(wrapped: bool) -> None:
    def main() -> None:
        try:
            asyncio.run(save())
        except RuntimeError as error:
            if wrapped:
                raise ValueError("call it elsewhere") from error
            raise

    report = pytest_loopsafe.run(within_a_loop(main), loops=2, check=False)
    assert not report.findings
    assert all(one.error is not None for one in report.passes)


def test_of_two_at_one_place_the_one_that_was_swallowed_is_found() -> None:
    passes: list[int] = []

    def main() -> None:
        try:
            asyncio.run(save())
        except RuntimeError:
            if len(passes) == 1:
                raise
        finally:
            passes.append(1)

    report = pytest_loopsafe.run(within_a_loop(main), loops=3, check=False)
    (finding,) = report.findings
    assert (finding.count, finding.passes) == (2, (1, 3))


def test_more_than_a_thousand_say_no_more() -> None:
    def main() -> None:
        for _ in range(1001):
            caught_by_name()

    (finding,) = found(main, loops=1)
    assert finding.count == 1000


def test_the_same_code_in_a_later_pass_answers_nothing() -> None:
    async def main() -> None:
        if saved:
            await save()
        else:
            saved.append(0)
            caught_by_a_net()

    report = pytest_loopsafe.run(main, loops=3, check=False)
    assert [(one.code, one.passes) for one in report.findings] == [("LS109", (1,))]


def test_the_handler_and_the_log_are_named() -> None:
    (finding,) = found(caught_by_a_net)
    assert finding.swallowed_at is not None
    assert finding.swallowed_at.function == "caught_by_a_net"
    assert [line.message for line in finding.logged] == [
        "not saved: asyncio.run() cannot be called from a running event loop"
    ]
    assert finding.site is not None
    assert finding.site.code == "asyncio.run(save())"


def test_the_loop_that_was_to_run_is_named() -> None:
    (finding,) = found(by_a_loop_of_its_own, loops=1)
    assert (finding.loop.number, finding.home_loop.number) == (1, 2)
    assert finding.home_state == "paused"
    (finding,) = found(by_the_running_loop, loops=1)
    assert (finding.loop.number, finding.home_loop) == (1, None)


# -- the code under test sees nothing of it --------------------------------------------------------


def test_the_warning_still_names_the_line_that_let_go() -> None:
    async def main() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            save()
            line = sys._getframe().f_lineno - 1
        assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]
        return len(caught)

    assert pytest_loopsafe.run(main, loops=1).results == (1,)


def test_nothing_is_kept_alive() -> None:
    class Thing:
        pass

    gone: list[bool] = []

    async def main() -> None:
        import weakref

        thing = Thing()
        ref = weakref.ref(thing)
        with contextlib.suppress(RuntimeError):
            asyncio.run(save(thing))
        del thing
        gone.append(ref() is None)

    pytest_loopsafe.run(main, loops=2, check=False)
    assert gone == [True, True]


NESTED = """
import asyncio, nest_asyncio, pytest_loopsafe

ran = []

async def save():
    await asyncio.sleep(0)
    ran.append(1)

def save_sync():
    main = save()
    try:
        return asyncio.run(main)
    except RuntimeError:
        nest_asyncio.apply()
        return asyncio.get_event_loop().run_until_complete(main)

async def main():
    save_sync()

report = pytest_loopsafe.run(main, loops=2, check=False)
print([one.code for one in report.findings if one.code == "LS109"], report.results, len(ran))
"""


def test_a_loop_that_is_made_to_nest_has_lost_nothing(tmp_path: Path) -> None:
    pytest.importorskip("nest_asyncio")
    path = tmp_path / "nested.py"
    path.write_text(NESTED)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[] (None, None) 2\n", done.stderr


# -- a loop that a greenlet has left running -------------------------------------------------------


class Browser:
    """As a sync browser driver works: its loop runs in a greenlet, which is left while it runs."""

    def __init__(self) -> None:
        greenlet = pytest.importorskip("greenlet")
        self.loop = asyncio.new_event_loop()
        self._caller = greenlet.getcurrent()
        self._stopped = False
        self._greenlet = greenlet.greenlet(self._run)
        self._greenlet.switch()

    def _run(self) -> None:
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        while not self._stopped:
            self._caller.switch()
            await asyncio.sleep(0)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._greenlet.switch()


def beside_a_browser(after: Callable[[], Any]) -> Callable[[], Any]:
    def main() -> None:
        with Browser():
            after()

    return main


def test_whoever_occupies_the_thread_is_named() -> None:
    report = pytest_loopsafe.run(beside_a_browser(caught_by_a_net), loops=2, check=False)
    (finding,) = report.findings
    assert "from a greenlet that was switched away from" in finding.message
    titles = {stack.title: stack for stack in finding.stacks}
    assert titles["loop 1 is run here"].site.function == "Browser._run"
    assert titles["loop 1 was made"].site.function == "Browser.__init__"
    assert "sync_playwright" in finding.remedy


def test_also_where_the_refusal_comes_out() -> None:
    report = pytest_loopsafe.run(
        beside_a_browser(lambda: asyncio.run(save())), loops=2, check=False
    )
    assert not report.findings
    (note,) = report.notes
    assert "asyncio.run() was refused at" in note
    assert "in Browser._run in a greenlet that was switched away from" in note


@pytest.mark.parametrize("function", [the_same_in_a_thread, another_in_a_thread, closed])
def test_who_is_prepared_for_it_is_prepared(function: Callable[[], Any]) -> None:
    report = pytest_loopsafe.run(beside_a_browser(function), loops=2, check=False)
    assert not report.findings
    assert not report.notes


def test_a_browser_that_has_ended_occupies_nothing() -> None:
    def main() -> Any:
        with Browser():
            pass
        return asyncio.run(save())

    assert pytest_loopsafe.run(main, loops=2).results == (1, 1)


def test_a_loop_that_is_left_running_by_other_means() -> None:
    def main() -> None:
        loop = asyncio.new_event_loop()
        asyncio._set_running_loop(loop)  # as a toolkit does that turns the loop itself
        try:
            caught_by_a_net()
        finally:
            asyncio._set_running_loop(None)
            loop.close()

    report = pytest_loopsafe.run(main, loops=2, check=False)
    (finding,) = report.findings
    assert "loop 1 occupies this thread, though nothing that is at work here runs it" in (
        finding.message
    )


# -- in an audit -----------------------------------------------------------------------------------

AUDITED = """
import asyncio
import pytest

async def save():
    await asyncio.sleep(0)

def save_sync():
    try:
        return asyncio.run(save())
    except Exception:
        return None

def test_lost():
    async def main():
        save_sync()
    asyncio.run(main())

def test_expected():
    async def main():
        with pytest.raises(RuntimeError):
            asyncio.run(save())
    asyncio.run(main())

def test_comes_out():
    async def main():
        asyncio.run(save())
    asyncio.run(main())

@pytest.fixture
def broken():
    async def main():
        asyncio.run(save())
    asyncio.run(main())

def test_comes_out_of_a_fixture(broken):
    pass

def test_outside():
    save_sync()
"""


def test_in_an_audit(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(AUDITED)
    result = pytester.runpytest("--loopsafe", "-p", "no:asyncio", "-W", "ignore")
    outcomes = result.parseoutcomes()
    assert outcomes.pop("errors") == 1
    result.stdout.fnmatch_lines(["*LS109 nested-run-refused*"])
    text = result.stdout.str()
    assert "save() never ran" in text
    assert text.count("LS109 nested-run-refused (swallowed)") == 1


BROWSED = """
import asyncio
import greenlet
import pytest

async def save():
    await asyncio.sleep(0)

def run(loop, caller):
    async def serve():
        caller.switch()
    loop.run_until_complete(serve())

@pytest.fixture(scope="session")
def browser():
    loop = asyncio.new_event_loop()
    inner = greenlet.greenlet(run)
    inner.switch(loop, greenlet.getcurrent())
    yield
    inner.switch()
    loop.close()

def test_first(browser):
    pass

def test_second():
    try:
        asyncio.run(save())
    except Exception:
        pass
"""


def test_a_loop_that_an_earlier_tests_fixture_runs(pytester: pytest.Pytester) -> None:
    pytest.importorskip("greenlet")
    pytester.makepyfile(BROWSED)
    result = pytester.runpytest("--loopsafe", "-p", "no:asyncio", "-W", "ignore")
    result.stdout.fnmatch_lines(
        ["*from a greenlet that was switched away from*", "*is run here: * in run *"]
    )


def test_all_is_put_back() -> None:
    run, exits, warn = asyncio.run, pytest.RaisesExc.__exit__, vars(warnings)
    before = warn["_warn_unawaited_coroutine"]
    pytest_loopsafe.run(save, loops=1)
    assert (asyncio.run, pytest.RaisesExc.__exit__) == (run, exits)
    assert warn["_warn_unawaited_coroutine"] is before
