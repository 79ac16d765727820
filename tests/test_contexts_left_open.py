"""LS308: a context that was entered in one loop, and never left or left in another."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe import LoopReport, Severity


class Session:
    """An object of the user's that has to be entered, and asks nothing of a loop itself."""

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[int]:
    yield 1


class App:
    """What a module's global is; a new one for each test."""

    context: Any = None
    stack: contextlib.AsyncExitStack | None = None


@pytest.fixture
def app() -> App:
    return App()


def of_contexts(report: LoopReport) -> list[tuple[str, Severity, str | None]]:
    return [
        (finding.code, finding.severity, finding.owner)
        for finding in report.findings
        if finding.code == "LS308"
    ]


def run(body: Callable[..., Any], *args: Any, **settings: Any) -> LoopReport:
    return pytest_loopsafe.run(body, *args, check=False, **settings)


# -- never left ---------------------------------------------------------------------------------


async def enters_a_generator(app: App) -> None:
    if app.context is None:
        app.context = lifespan()
        await app.context.__aenter__()


async def enters_into_a_stack(app: App) -> None:
    if app.stack is None:
        app.stack = contextlib.AsyncExitStack()
        await app.stack.enter_async_context(Session())


async def enters_a_stack_by_hand(app: App) -> None:
    if app.stack is None:
        app.stack = await contextlib.AsyncExitStack().__aenter__()
        await app.stack.enter_async_context(lifespan())


async def hands_a_stack_on(app: App) -> None:
    if app.stack is None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(Session())
            app.stack = stack.pop_all()


async def pushes_an_exit(app: App) -> None:
    if app.stack is None:
        app.stack = contextlib.AsyncExitStack()
        app.stack.push_async_exit(await Session().__aenter__())


async def enters_a_task_group(app: App) -> None:
    if app.context is None:
        app.context = asyncio.TaskGroup()
        await app.context.__aenter__()


async def enters_a_task_group_of_anyio(app: App) -> None:
    anyio = pytest.importorskip("anyio")
    if app.context is None:
        app.context = anyio.create_task_group()
        await app.context.__aenter__()


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize(
    "body",
    [
        enters_a_task_group_of_anyio,
        enters_a_generator,
        enters_into_a_stack,
        enters_a_stack_by_hand,
        hands_a_stack_on,
        pushes_an_exit,
        enters_a_task_group,
    ],
)
def test_entered_and_never_left(body: Any, schedule: str, app: App) -> None:
    report = run(body, app, schedule=schedule)
    [(_, severity, owner)] = of_contexts(report)
    assert [one.count for one in report.findings if one.code == "LS308"] == [1]
    assert severity is Severity.WARNING
    assert owner is not None
    assert owner.endswith((".context", ".stack"))


def test_entered_by_a_run_of_its_own(app: App) -> None:
    def body() -> None:
        if app.context is None:
            app.context = lifespan()
            asyncio.run(app.context.__aenter__())
        asyncio.run(asyncio.sleep(0))

    assert len(of_contexts(run(body))) == 1


# -- left in another loop -----------------------------------------------------------------------


async def leaves_what_the_last_loop_entered(app: App) -> None:
    if app.context is not None:
        await app.context.__aexit__(None, None, None)
    app.context = lifespan()
    await app.context.__aenter__()


async def closes_the_stack_of_the_last_loop(app: App) -> None:
    if app.stack is not None:
        await app.stack.aclose()
    app.stack = contextlib.AsyncExitStack()
    await app.stack.enter_async_context(Session())


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads"])
@pytest.mark.parametrize(
    "body", [leaves_what_the_last_loop_entered, closes_the_stack_of_the_last_loop]
)
def test_left_in_another_loop(body: Any, schedule: str, app: App) -> None:
    found = of_contexts(run(body, app, schedule=schedule))
    assert Severity.ERROR in [severity for _, severity, _ in found]


def test_entered_and_left_by_runs_of_their_own(app: App) -> None:
    """A CLI's start-up and its shutdown: ``asyncio.run()`` for each."""

    def body() -> None:
        context = lifespan()
        asyncio.run(context.__aenter__())
        asyncio.run(context.__aexit__(None, None, None))

    assert [severity for _, severity, _ in of_contexts(run(body))] == [Severity.ERROR]


# -- what is in order ---------------------------------------------------------------------------


async def with_it() -> None:
    async with lifespan(), Session(), contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(lifespan())
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))


async def by_hand_and_back(app: App) -> None:
    stack = contextlib.AsyncExitStack()
    await stack.enter_async_context(lifespan())
    app.stack = stack.pop_all()
    await stack.aclose()
    await app.stack.aclose()
    context = lifespan()
    await context.__aenter__()
    await context.__aexit__(None, None, None)


async def of_sync_contexts(app: App) -> None:
    """Nothing in it is bound to a loop."""
    if app.stack is None:
        stack = contextlib.AsyncExitStack()
        stack.enter_context(contextlib.nullcontext())
        stack.callback(int)
        app.stack = stack.pop_all()
    else:
        await app.stack.aclose()


@contextlib.asynccontextmanager
async def decorated() -> AsyncIterator[None]:
    yield


@decorated()
async def under_a_decorator() -> None:
    await asyncio.sleep(0)


async def handed_on_with_nothing_async(app: App) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(int)
        handed_on = stack.pop_all()
    if app.stack is None:
        app.stack = handed_on


@pytest.mark.parametrize("schedule", ["consecutive", "recycled", "threads", "persistent"])
@pytest.mark.parametrize("body", [by_hand_and_back, of_sync_contexts, handed_on_with_nothing_async])
def test_what_is_left_where_it_was_entered(body: Any, schedule: str, app: App) -> None:
    assert run(body, app, schedule=schedule).findings == ()


@pytest.mark.parametrize("body", [with_it, under_a_decorator])
def test_what_async_with_leaves(body: Any) -> None:
    assert run(body, loops=4).findings == ()


def test_entered_and_left_by_one_kept_loop(app: App) -> None:
    def body() -> None:
        with asyncio.Runner() as runner:
            runner.run(enters_a_generator(app))
            runner.run(asyncio.sleep(0))
            runner.run(app.context.__aexit__(None, None, None))
            app.context = None

    assert run(body).findings == ()


@contextlib.asynccontextmanager
async def refused() -> AsyncIterator[None]:
    raise ConnectionRefusedError
    yield


async def enters_what_fails(app: App) -> None:
    if app.context is None:
        app.context = refused()
        with contextlib.suppress(ConnectionRefusedError):
            await app.context.__aenter__()


async def enters_what_fails_into_a_stack(app: App) -> None:
    if app.stack is None:
        app.stack = contextlib.AsyncExitStack()
        with contextlib.suppress(ConnectionRefusedError):
            await app.stack.enter_async_context(cm=refused())


@pytest.mark.parametrize("body", [enters_what_fails, enters_what_fails_into_a_stack])
def test_what_failed_was_not_entered(body: Any, app: App) -> None:
    report = run(body, app)
    assert [one.error for one in report.passes] == [None, None, None]
    assert report.findings == ()


def test_one_for_each_loop_in_a_mapping() -> None:
    """It is closed with its loop, and that is how it is meant."""
    contexts: dict[asyncio.AbstractEventLoop, Any] = {}

    async def body() -> None:
        loop = asyncio.get_running_loop()
        if loop not in contexts:
            contexts[loop] = lifespan()
            await contexts[loop].__aenter__()

    assert of_contexts(run(body)) == []


async def in_a_stack() -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(Session())
        await asyncio.sleep(60)


async def in_what_follows_a_stack_handed_on() -> None:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(Session())
        await stack.pop_all().aclose()
        await stack.enter_async_context(Session())
        await asyncio.sleep(60)


async def in_a_group() -> None:
    async with asyncio.TaskGroup():
        await asyncio.sleep(60)


@pytest.mark.parametrize("stand", [in_a_stack, in_what_follows_a_stack_handed_on, in_a_group])
def test_in_a_task_that_stands_for_ever(stand: Callable[[], Any]) -> None:
    """``async with`` would leave it, if anything ran the task again: that is LS301's."""
    kept: list[asyncio.Task[None]] = []

    async def start() -> None:
        kept.append(asyncio.create_task(stand()))
        await asyncio.sleep(0.001)

    def body() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(start())
        loop.close()

    assert {one.code for one in run(body, loops=1).findings} == {"LS301"}
    with contextlib.suppress(BaseException):  # a TaskGroup cannot be left without its loop
        kept[0].get_coro().close()  # type: ignore[union-attr]


def test_in_an_audit_it_is_told_of_the_test_that_left_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        import contextlib

        class App:
            stack = contextlib.AsyncExitStack()

        @contextlib.asynccontextmanager
        async def lifespan():
            yield

        def test_leaves_it():
            asyncio.run(App.stack.enter_async_context(lifespan()))

        def test_does_something_else():
            asyncio.run(asyncio.sleep(0))
    """)
    result = pytester.runpytest("--loopsafe", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*LS308*1 warning in 1 test*"])


def test_in_an_audit_a_later_test_may_leave_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        import contextlib
        import pytest

        @contextlib.asynccontextmanager
        async def lifespan():
            yield 1

        context = lifespan()

        @pytest.fixture(scope="module")
        def runner():
            with asyncio.Runner() as runner:
                runner.run(context.__aenter__())
                yield runner
                runner.run(context.__aexit__(None, None, None))

        @pytest.mark.parametrize("number", range(3))
        def test_uses_it(runner, number):
            runner.run(asyncio.sleep(0))
    """)
    result = pytester.runpytest(
        "--loopsafe", "-o", "loopsafe_strict=true", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*LS308*")


def test_a_loop_that_goes_on(app: App) -> None:
    """It may yet be left there."""
    loop = asyncio.new_event_loop()
    try:
        with pytest_loopsafe.watch() as report:
            loop.run_until_complete(enters_a_generator(app))
        assert of_contexts(report) == []
    finally:
        loop.run_until_complete(app.context.__aexit__(None, None, None))
        loop.close()


def test_nothing_is_kept_alive() -> None:
    import weakref

    refs: list[weakref.ref[Any]] = []

    async def body() -> None:
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(Session())
        refs.append(weakref.ref(stack))
        del stack
        gc.collect()
        assert refs[-1]() is None

    assert of_contexts(run(body)) == []


def test_what_is_patched_is_put_back() -> None:
    before = [contextlib.AsyncExitStack.__aexit__, type(lifespan()).__aenter__]
    run(with_it)
    assert [contextlib.AsyncExitStack.__aexit__, type(lifespan()).__aenter__] == before
