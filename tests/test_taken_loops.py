"""LS305: a loop that was installed, and that the end of a run takes away before somebody asks."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

held: list[asyncio.AbstractEventLoop] = []


@pytest.fixture(autouse=True)
def none_installed() -> Iterator[None]:
    asyncio.set_event_loop(None)
    yield
    asyncio.set_event_loop(None)
    while held:
        held.pop().close()


async def work() -> str:
    await asyncio.sleep(0)
    return "done"


@contextlib.contextmanager
def installed() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# -- lost ------------------------------------------------------------------------------------------


def swallowed() -> None:
    with installed():
        asyncio.run(work())
        try:
            asyncio.get_event_loop().run_until_complete(work())
        except Exception as error:
            logging.getLogger("app").warning("not done: %s", error)


def comes_out() -> None:
    with installed():
        asyncio.run(work())
        asyncio.get_event_loop().run_until_complete(work())


def taken_by_a_runner() -> None:
    with installed():
        with asyncio.Runner() as runner:
            runner.run(work())
        try:
            loop = asyncio.get_event_loop()
            loop.run_until_complete(work())
        except Exception:
            pass


def kept_by_nobody() -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    asyncio.run(work())
    try:
        loop = asyncio.get_event_loop()
        loop.run_until_complete(work())
    except Exception:
        pass


def asked_for_by_a_library() -> None:
    with installed():
        asyncio.run(work())
        try:
            future: asyncio.Future[int] = asyncio.Future()
            future.set_result(1)
        except Exception:
            pass


def in_a_function_of_its_own() -> None:
    def current() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_event_loop()
        assert not loop.is_closed()
        return loop

    with installed():
        asyncio.run(work())
        try:
            current().run_until_complete(work())
        except RuntimeError:
            pass


def installed_at_the_policy() -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        asyncio.get_event_loop_policy().set_event_loop(loop)
        asyncio.run(work())
        try:
            asyncio.get_event_loop().run_until_complete(work())
        except Exception:
            pass


LOST = (
    swallowed,
    comes_out,
    taken_by_a_runner,
    kept_by_nobody,
    asked_for_by_a_library,
    in_a_function_of_its_own,
    installed_at_the_policy,
)

# -- in order --------------------------------------------------------------------------------------


def made_by_who_is_prepared() -> None:
    with installed():
        asyncio.run(work())
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
        with contextlib.closing(loop):
            loop.run_until_complete(work())


def made_in_a_net() -> None:
    with installed():
        asyncio.run(work())
        try:
            loop = asyncio.get_event_loop()
            loop.run_until_complete(work())
        except Exception:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(work())
            loop.close()


def asked_whether_there_is_one() -> None:
    asyncio.run(work())
    try:
        loop: Any = asyncio.get_event_loop()
    except Exception:
        loop = None
    assert loop is None


def closed_by_its_owner() -> None:
    with installed() as loop:
        loop.run_until_complete(work())
        loop.close()
        asyncio.run(work())
        try:
            asyncio.get_event_loop().run_until_complete(work())
        except Exception:
            pass


def kept_by_its_owner() -> None:
    with installed() as loop:
        asyncio.run(work())
        loop.run_until_complete(work())


def installed_again() -> None:
    with installed() as loop:
        asyncio.run(work())
        asyncio.set_event_loop(loop)
        asyncio.get_event_loop().run_until_complete(work())


def taken_in_another_thread() -> None:
    with installed():
        thread = threading.Thread(target=asyncio.run, args=(work(),))
        thread.start()
        thread.join()
        asyncio.get_event_loop().run_until_complete(work())


def run_by_a_loop_of_ones_own() -> None:
    with installed():
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(work())
        asyncio.get_event_loop().run_until_complete(work())


def taken_back_by_its_owner() -> None:
    with installed():
        pass
    try:
        asyncio.get_event_loop().run_until_complete(work())
    except Exception:
        pass


def expected_by_a_test() -> None:
    with installed():
        asyncio.run(work())
        with pytest.raises(RuntimeError):
            asyncio.get_event_loop()


def asked_by_a_finalizer() -> None:
    class Client:
        def __del__(self) -> None:
            try:
                asyncio.get_event_loop().call_soon(print)
            except Exception:
                pass

    with installed():
        asyncio.run(work())
        Client()


IN_ORDER = (
    made_by_who_is_prepared,
    made_in_a_net,
    asked_whether_there_is_one,
    closed_by_its_owner,
    kept_by_its_owner,
    installed_again,
    taken_in_another_thread,
    run_by_a_loop_of_ones_own,
    taken_back_by_its_owner,
    expected_by_a_test,
    asked_by_a_finalizer,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    POLICY: Any = type(asyncio.get_event_loop_policy())


class Policy(POLICY):  # type: ignore[misc]
    def set_event_loop(self, loop: Any) -> None:
        super().set_event_loop(loop)


# -- left ------------------------------------------------------------------------------------------


def set_it(loop: Any) -> None:
    asyncio.set_event_loop(loop)


def set_at_the_policy(loop: Any) -> None:
    asyncio.get_event_loop_policy().set_event_loop(loop)


def set_at_another_policy(loop: Any) -> None:
    Policy().set_event_loop(loop)


SCHEDULES = ["consecutive", "recycled", "persistent", "threads", "concurrent"]


def found(function: Callable[[], None], **options: Any) -> list[pytest_loopsafe.Finding]:
    report = pytest_loopsafe.run(function, check=False, **options)
    assert not [note for note in report.notes if "failed" in note]
    return [one for one in report.findings if one.code == "LS305"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("function", LOST, ids=lambda function: function.__name__)
def test_who_asks_for_what_was_taken_away_is_told(
    function: Callable[[], None], schedule: str
) -> None:
    (finding,) = found(function, loops=2, schedule=schedule)
    assert finding.severity == "warning"
    assert finding.count == 2
    assert finding.swallowed is (function is not comes_out)
    assert "was taken away by a run that ended" in finding.message


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("function", IN_ORDER, ids=lambda function: function.__name__)
def test_who_is_prepared_is_not(function: Callable[[], None], schedule: str) -> None:
    assert found(function, loops=3, schedule=schedule) == []


SETTERS = {
    set_it: "asyncio.set_event_loop()",
    set_at_the_policy: "the policy's set_event_loop()",
    set_at_another_policy: "the policy's set_event_loop()",
}


@pytest.mark.parametrize("setter", SETTERS, ids=lambda setter: setter.__name__)
@pytest.mark.parametrize("taken_back", [False, True])
def test_who_leaves_a_loop_installed_is_told_once(
    setter: Callable[[Any], None], taken_back: bool
) -> None:
    def main() -> None:
        loop = asyncio.new_event_loop()
        setter(loop)
        loop.run_until_complete(work())
        if taken_back:
            setter(None)
        loop.close()

    report = found(main, loops=2)
    assert [one.count for one in report] == [] if taken_back else [1]
    for finding in report:
        assert finding.message == f"loop 2 was installed with {SETTERS[setter]} and left installed"
        assert finding.stacks[0].site is not None
        assert finding.stacks[0].site.function == setter.__name__


@pytest.mark.parametrize(("function", "count"), [(swallowed, 1), (made_in_a_net, 0)])
def test_in_forked_passes(function: Callable[[], None], count: int) -> None:
    assert len(found(function, loops=2, schedule="fork")) == count


def test_who_installed_it_and_which_run_it_was() -> None:
    (finding,) = found(swallowed, loops=1)
    titles = {stack.title: stack.site for stack in finding.stacks}
    assert titles["asyncio.get_event_loop() failed"].function == "swallowed"
    assert titles["loop 1 was installed here"].function == "installed"
    assert titles["the run that took it away ended here"].code == "asyncio.run(work())"
    assert [line.message.partition(":")[0] for line in finding.logged] == ["not done"]


def bare() -> None:
    asyncio.run(work())
    try:
        asyncio.get_event_loop().run_until_complete(work())
    except Exception:
        pass


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="no policy makes one any more")
def test_the_main_thread_would_have_had_one() -> None:
    (finding,) = found(bare, loops=2)
    assert "a run that had ended has left none to the main thread" in finding.message
    assert found(bare, loops=2, schedule="threads") == []


def test_a_run_of_ours_is_none_of_the_codes() -> None:
    late: list[Any] = []

    class Late:
        def __call__(self) -> None:
            try:
                asyncio.get_event_loop().call_soon(print)
            except Exception:
                pass

    async def main() -> None:
        if late:
            await asyncio.to_thread(late.pop())
        late.append(Late())

    assert found(main, loops=3) == []  # type: ignore[arg-type]

    with pytest_loopsafe.watch() as report:
        pytest_loopsafe.run(work, loops=1)
        Late()()
    assert [one.code for one in report.findings] == []


MAKING = """
import asyncio
import pytest_loopsafe

class Policy(asyncio.DefaultEventLoopPolicy):
    def get_event_loop(self):
        if self._local._loop is None:
            self.set_event_loop(self.new_event_loop())
        return self._local._loop

async def work():
    await asyncio.sleep(0)

def main():
    loop = asyncio.get_event_loop()
    asyncio.run(work())
    asyncio.get_event_loop().run_until_complete(work())

asyncio.set_event_loop_policy(Policy())
for one in pytest_loopsafe.run(main, loops=1).findings:
    if one.code == "LS305":
        print(one.message)
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="policies are deprecated")
def test_another_loop_that_a_policy_makes_instead(tmp_path: Path) -> None:
    path = tmp_path / "making.py"
    path.write_text(MAKING)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == (
        "asyncio.get_event_loop() made loop 3: loop 1, installed by the policy, was taken away by a"
        " run that ended\n"
    )


WARNED = """
import asyncio, sys, warnings
import pytest_loopsafe

def main():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop = asyncio.get_event_loop(); line = sys._getframe().f_lineno
    loop.close()
    asyncio.set_event_loop(None)
    return [(one.filename, one.lineno - line) for one in caught]

report = pytest_loopsafe.run(main, loops=1)
print(report.results[0] == [(__file__, 0)] * (sys.version_info >= (3, 12)))
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="nothing is warned of any more")
def test_the_policys_own_warning_names_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "warned.py"
    path.write_text(WARNED)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "True\n", done.stderr


def test_all_is_put_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind: Any = type(asyncio.get_event_loop_policy())
    before = kind.get_event_loop
    pytest_loopsafe.run(work, loops=1)
    assert kind.get_event_loop is before
