"""LS103: a refusal that the code is prepared for, right where it calls the loop, is no hazard."""

import asyncio
import contextlib
import functools
import logging
import os
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import suppress as ignoring
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._probes.instrumentation import PROCESS
from pytest_loopsafe._rules.ls103 import ClosedLoopCall
from pytest_loopsafe._spool import wire
from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._spool.writer import SpoolWriter
from pytest_loopsafe._watch.watch import Watch

Loop = asyncio.AbstractEventLoop
CLOSED = (ConnectionError, RuntimeError)


class Guarded:
    """A context manager of one's own."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return kind is not None and issubclass(kind, RuntimeError)


class Keeping(Guarded):
    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self.error = error
        return True


class Passing(Keeping):
    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        self.error = error
        return False


@contextlib.contextmanager
def if_open() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        pass


@contextlib.contextmanager
def anything_logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        pass


@contextlib.contextmanager
def timed() -> Iterator[None]:
    try:
        yield
    finally:
        functools.partial(int)()


@contextlib.asynccontextmanager
async def if_open_async() -> Any:
    try:
        yield
    except RuntimeError:
        await asyncio.sleep(0)


def post(loop: Loop) -> None:
    loop.call_soon_threadsafe(print)


def tolerant(function: Callable[[Loop], None]) -> Callable[[Loop], None]:
    def wrapper(loop: Loop) -> None:
        try:
            function(loop)
        except RuntimeError:
            pass

    return wrapper


# -- prepared for it ---------------------------------------------------------------------------


def by_except(loop: Loop) -> None:
    try:
        loop.call_soon_threadsafe(print)
    except RuntimeError:
        pass


def by_a_tuple(loop: Loop) -> None:
    try:
        loop.call_soon(print)
    except CLOSED:
        pass


def by_the_second_clause(loop: Loop) -> None:
    try:
        loop.call_later(1, print)
    except ValueError:
        pass
    except RuntimeError as error:
        print(error)


def by_a_clause_that_looks(loop: Loop) -> None:
    try:
        loop.call_soon(print)
    except RuntimeError as error:
        if not loop.is_closed():
            raise ConnectionError from error


def by_suppress(loop: Loop) -> None:
    with contextlib.suppress(RuntimeError):
        loop.call_soon(print)


def by_another_name(loop: Loop) -> None:
    with ignoring(RuntimeError):
        loop.call_soon(print)


def by_an_exit_stack(loop: Loop) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(ignoring(RuntimeError))
        loop.call_soon(print)


def by_a_generator(loop: Loop) -> None:
    with if_open():
        loop.call_soon_threadsafe(print)


def by_a_generator_within_a_net(loop: Loop) -> None:
    try:
        with if_open():
            loop.call_soon_threadsafe(print)
    except Exception:
        pass


def by_a_class(loop: Loop) -> None:
    with Guarded():
        loop.call_soon_threadsafe(print)


def by_two_of_them(loop: Loop) -> None:
    with if_open(), timed(), ignoring(ValueError):
        loop.call_soon_threadsafe(print)


def by_a_decorated_helper(loop: Loop) -> None:
    tolerant(post)(loop)


def by_the_caller_of_a_helper(loop: Loop) -> None:
    try:
        post(loop)
    except RuntimeError:
        pass


def by_the_caller_of_a_lambda(loop: Loop) -> None:
    call = lambda: loop.call_soon_threadsafe(functools.partial(print, end=""))  # noqa: E731
    with ignoring(RuntimeError):
        call()


def by_whoever_hands_over(loop: Loop) -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()


def by_a_class_that_keeps_it(loop: Loop) -> None:
    with Keeping():
        loop.call_soon_threadsafe(print)


def by_pytest(loop: Loop) -> None:
    with pytest.raises(RuntimeError):
        loop.call_soon_threadsafe(print)


def by_a_class_that_is_left_again(loop: Loop) -> None:
    with ignoring(ValueError), Keeping():
        with Passing():
            loop.call_soon_threadsafe(print)


def by_a_list(loop: Loop) -> None:
    errors = []
    try:
        loop.call_soon_threadsafe(print)
    except RuntimeError as error:
        errors.append(error)


def by_a_class_in_a_variable(loop: Loop, closed: Any = RuntimeError) -> None:
    try:
        loop.call_soon_threadsafe(print)
    except closed:
        pass


def by_asking_the_loop_afterwards(loop: Loop) -> None:
    def told(loop: Loop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError:
            if loop.is_closed():
                raise LookupError from None
            raise

    with ignoring(LookupError):
        told(loop)


def by_asking_it_in_a_net(loop: Loop) -> None:
    try:
        work(loop)
    except Exception:
        if not loop.is_closed():
            raise


PREPARED = [
    by_except,
    by_a_tuple,
    by_the_second_clause,
    by_a_clause_that_looks,
    by_suppress,
    by_another_name,
    by_an_exit_stack,
    by_a_generator,
    by_a_generator_within_a_net,
    by_a_class,
    by_two_of_them,
    by_a_decorated_helper,
    by_the_caller_of_a_helper,
    by_the_caller_of_a_lambda,
    by_whoever_hands_over,
    by_a_class_that_keeps_it,
    by_a_class_that_is_left_again,
    by_pytest,
    by_a_list,
    by_a_class_in_a_variable,
    by_asking_the_loop_afterwards,
    by_asking_it_in_a_net,
]


# -- not prepared for it -----------------------------------------------------------------------


def by_a_net(loop: Loop) -> None:
    try:
        loop.call_soon_threadsafe(print)
    except Exception:
        pass


def by_a_bare_except(loop: Loop) -> None:
    try:
        loop.call_soon_threadsafe(print)
    except:  # noqa: E722
        pass


def by_suppressing_all(loop: Loop) -> None:
    with contextlib.suppress(Exception):
        loop.call_soon_threadsafe(print)


def by_a_generator_that_logs_all(loop: Loop) -> None:
    with anything_logged():
        loop.call_soon_threadsafe(print)


def by_a_net_around_a_manager(loop: Loop) -> None:
    try:
        with timed():
            loop.call_soon_threadsafe(print)
    except Exception:
        pass


def work(loop: Loop) -> None:
    functools.partial(int)()
    loop.call_soon_threadsafe(print)


def by_the_caller_of_more(loop: Loop) -> None:
    try:
        work(loop)
    except RuntimeError:
        pass


def by_the_manager_of_more(loop: Loop) -> None:
    with ignoring(RuntimeError):
        work(loop)


def by_one_further_out(loop: Loop) -> None:
    def again(loop: Loop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError:
            raise

    with ignoring(Exception):
        again(loop)


def by_a_manager_that_only_looks(loop: Loop) -> None:
    def looks(loop: Loop) -> None:
        with Passing():
            loop.call_soon_threadsafe(print)

    by_a_net_around(looks, loop)


def by_an_except_for_others(loop: Loop) -> None:
    def other(loop: Loop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except ValueError:
            pass

    by_a_net_around(other, loop)


def by_a_net_around(function: Callable[[Loop], None], loop: Loop) -> None:
    try:
        functools.partial(int)()
        function(loop)
    except Exception:
        pass


def by_one_that_asks_and_lets_it_go_on(loop: Loop) -> None:
    def asks(loop: Loop) -> None:
        try:
            work(loop)
        finally:
            loop.is_closed()

    by_a_net_around(asks, loop)


def by_asking_another_loop(loop: Loop) -> None:
    other = asyncio.new_event_loop()
    other.close()
    try:
        loop.call_soon_threadsafe(print)
    except Exception:
        assert other.is_closed()


UNPREPARED = [
    by_a_net,
    by_a_bare_except,
    by_suppressing_all,
    by_a_generator_that_logs_all,
    by_a_net_around_a_manager,
    by_the_caller_of_more,
    by_the_manager_of_more,
    by_one_further_out,
    by_an_except_for_others,
    by_a_manager_that_only_looks,
    by_one_that_asks_and_lets_it_go_on,
    by_asking_another_loop,
]


async def here(call: Callable[[Loop], None], loop: Loop) -> None:
    call(loop)


async def in_a_thread(call: Callable[[Loop], None], loop: Loop) -> None:
    thread = threading.Thread(target=call, args=(loop,))
    thread.start()
    await asyncio.to_thread(thread.join)


def found(
    where: Callable[[Callable[[Loop], None], Loop], Any], call: Callable[[Loop], None]
) -> pytest_loopsafe.LoopReport:
    loops: list[Loop] = []

    async def body() -> None:
        if loops:
            await where(call, loops[0])
        else:
            loops.append(asyncio.get_running_loop())

    return pytest_loopsafe.run(body, loops=3, check=False)


@pytest.mark.parametrize("where", [here, in_a_thread], ids=lambda one: one.__name__)
@pytest.mark.parametrize("call", PREPARED, ids=lambda one: one.__name__)
def test_who_is_prepared_for_the_refusal_is_in_order(where: Any, call: Any) -> None:
    report = found(where, call)
    assert report.findings == ()


@pytest.mark.parametrize("where", [here, in_a_thread], ids=lambda one: one.__name__)
@pytest.mark.parametrize("call", UNPREPARED, ids=lambda one: one.__name__)
def test_who_is_not_has_a_hazard(where: Any, call: Any) -> None:
    (finding,) = found(where, call).findings
    assert (finding.code, finding.swallowed) == ("LS103", True)
    assert (finding.count, finding.passes) == (2, (2, 3))


@contextlib.asynccontextmanager
async def entered(stack: contextlib.AsyncExitStack) -> Any:
    async with stack:
        yield


@pytest.mark.parametrize("how", ["manager", "stack"])
def test_an_async_context_manager_is_one_too(how: str) -> None:
    loops: list[Loop] = []

    async def body() -> None:
        if not loops:
            loops.append(asyncio.get_running_loop())
        elif how == "manager":
            async with if_open_async():
                loops[0].call_soon(print)
        else:
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(if_open_async())
                loops[0].call_soon(print)

    assert pytest_loopsafe.run(body, loops=3, check=False).findings == ()


def test_one_place_with_two_callers_is_judged_for_each() -> None:
    def both(loop: Loop) -> None:
        by_the_caller_of_a_helper(loop)
        by_a_net_around(post, loop)

    (finding,) = found(here, both).findings
    assert (finding.code, finding.count, finding.passes) == ("LS103", 2, (2, 3))


def test_a_refusal_that_leaves_the_pass_is_no_decision() -> None:
    report = found(here, post)
    (finding,) = report.findings
    assert (finding.code, finding.swallowed) == ("LS103", False)
    assert isinstance(report.passes[1].error, RuntimeError)


def test_what_is_logged_of_an_expected_refusal_is_not_suspect() -> None:
    log = logging.Logger("app")
    log.addHandler(logging.NullHandler())

    def call(loop: Loop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            log.info("dropped: %s", error)

    report = found(here, call)
    assert report.findings == ()
    told = [(line.message, line.suspect) for line in report.logs if line.logger == "app"]
    assert told == [("dropped: Event loop is closed", False)] * 2


def test_a_thread_that_is_refused_at_the_very_end_is_nobodys() -> None:
    """The thread stands at its call when all is judged: what comes of it is after the run."""
    refused, judged = threading.Event(), threading.Event()

    class Slow:
        """Takes its time, after all is seen and before the refusal goes on."""

        def observe(self, sighting: Any) -> None:
            if isinstance(sighting, ClosedLoopCall):
                refused.set()
                judged.wait(10)

        def before_fork(self) -> None: ...

        def forked(self, parent: int) -> bool:
            return False

    async def body() -> None:
        loop = asyncio.get_running_loop()
        threads.append(threading.Thread(target=wait_and_post, args=(loop,)))
        threads[0].start()

    def wait_and_post(loop: Loop) -> None:
        while not loop.is_closed():
            pass
        post(loop)

    threads: list[threading.Thread] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda args: None)
        with contextlib.ExitStack() as slow:
            with pytest_loopsafe.watch() as report:
                slow.enter_context(PROCESS.armed((), Slow(), lambda probes: None))
                asyncio.run(body())
                assert refused.wait(10)
            judged.set()
        threads[0].join(10)
    assert report.findings == ()


def in_a_child(call: Callable[[Loop], None], how: str) -> pytest_loopsafe.LoopReport:
    async def first() -> Loop:
        return asyncio.get_running_loop()

    def work() -> None:
        call(asyncio.run(first()))

    def by_os_fork() -> None:
        pid = os.fork()
        if not pid:
            try:
                work()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    if how == "schedule":
        return pytest_loopsafe.run(work, loops=2, schedule="fork", check=False)
    return pytest_loopsafe.run(by_os_fork, loops=1, check=False)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["schedule", "os.fork"])
@pytest.mark.parametrize(
    ("call", "codes"),
    [(by_except, []), (by_the_caller_of_a_helper, []), (by_a_generator, []), (by_a_net, ["LS103"])],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_so_it_is_in_a_forked_child(call: Any, codes: list[str], how: str) -> None:
    assert [one.code for one in in_a_child(call, how).findings] == codes


def test_what_is_taken_back_is_taken_out_of_the_spool(tmp_path: Path) -> None:
    written: list[int] = []
    writer = SpoolWriter(tmp_path, "worker child")

    def found(number: int, finding: pytest_loopsafe.Finding) -> None:
        written.append(number)
        writer.write("finding", run="r", key=number, finding=wire.encode(finding))

    def taken_back(number: int) -> None:
        written.remove(number)
        writer.write("taken_back", run="r", key=number)

    watch = Watch(found=found, taken_back=taken_back)
    reader = SpoolReader(tmp_path)

    async def first() -> Loop:
        return asyncio.get_running_loop()

    with watch.armed():
        for number, call in enumerate((by_except, by_a_net, by_except), 1):
            watch.begin_pass(number)
            call(asyncio.run(first()))
            reader.poll()
            assert len(reader.findings("r")) == len(written)
            watch.end_pass()
        watch.end_run()
    reader.poll()
    (finding,) = reader.findings("r")
    assert finding.site is not None
    assert finding.site.function == "by_a_net"


# -- refused, as a test expects --------------------------------------------------------------------


async def held_by_two(lock: asyncio.Lock) -> None:
    async def hold() -> None:
        async with lock:
            await asyncio.sleep(0)

    await asyncio.gather(hold(), hold())


def use_a_foreign_lock() -> None:
    lock = asyncio.Lock()
    asyncio.run(held_by_two(lock))
    asyncio.run(held_by_two(lock))


def await_a_foreign_future() -> None:
    async def wait(future: Any) -> None:
        await future

    loop = asyncio.new_event_loop()
    try:
        asyncio.run(wait(loop.create_future()))
    finally:
        loop.close()


Refused = Callable[[], None]
CASE = unittest.TestCase()


class Refusal(RuntimeError):
    """A library's own kind."""


def raised_for_it(refused: Refused) -> None:
    try:
        refused()
    except RuntimeError as error:
        raise Refusal from error


def raised_beside_it(refused: Refused) -> None:
    try:
        refused()
    except RuntimeError:
        raise Refusal from None


def expects_it(refused: Refused) -> None:
    with pytest.raises(RuntimeError, match="different"):
        refused()


def expects_either(refused: Refused) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        refused()


def expects_it_in_a_case(refused: Refused) -> None:
    with CASE.assertRaisesRegex(RuntimeError, "different"):
        refused()


def expects_what_it_causes(refused: Refused) -> None:
    with CASE.assertRaises(Refusal):
        raised_for_it(refused)


def expects_whatever_fails(refused: Refused) -> None:
    with pytest.raises(Exception, match="different"):
        refused()


def expects_it_or_whatever_fails(refused: Refused) -> None:
    with CASE.assertRaises((RuntimeError, Exception)):
        refused()


def expects_another(refused: Refused) -> None:
    with CASE.assertRaises(Refusal):
        raised_beside_it(refused)


def expects_one_that_comes_later(refused: Refused) -> None:
    with ignoring(RuntimeError):
        refused()
    with pytest.raises(RuntimeError, match="another"):
        raise RuntimeError("another")


@pytest.mark.parametrize(
    ("refused", "code"), [(use_a_foreign_lock, "LS102"), (await_a_foreign_future, "LS101")]
)
@pytest.mark.parametrize(
    ("expects", "is_safe"),
    [
        (expects_it, True),
        (expects_either, True),
        (expects_it_in_a_case, True),
        (expects_what_it_causes, True),
        (expects_whatever_fails, False),
        (expects_it_or_whatever_fails, False),
        (expects_another, False),
        (expects_one_that_comes_later, False),
    ],
)
def test_a_refusal_that_a_test_expects_by_its_kind_is_in_order(
    refused: Refused, code: str, expects: Callable[[Refused], None], *, is_safe: bool
) -> None:
    with pytest_loopsafe.watch() as report:
        expects(refused)
    assert {finding.code for finding in report.findings} == (set() if is_safe else {code})


def test_so_it_is_in_an_audit(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def hold(lock):
            async with lock:
                await asyncio.sleep(0)

        async def both(lock):
            await asyncio.gather(hold(lock), hold(lock))

        @pytest.mark.parametrize("kind", [RuntimeError, Exception])
        def test_it(kind):
            lock = asyncio.Lock()
            asyncio.run(both(lock))
            with pytest.raises(kind, match="different event loop"):
                asyncio.run(both(lock))
        """
    )
    result = pytester.runpytest("--loopsafe", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["LOOP UNSAFE*::test_it?Exception? - LS102*"])
