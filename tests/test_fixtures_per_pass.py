"""Which fixtures of a ``multi_loop`` test are made for each pass, in which loop, and which once.

The programs inside ask for themselves: each test that runs over loops is followed by one that
checks what was written down meanwhile. One run inside has all kinds of fixtures, for each plugin
and mode that can own async ones.
"""

import json

import pytest


@pytest.fixture
def with_anyio() -> bool:
    return True


MODES = {
    "asyncio strict": (
        "import pytest_asyncio",
        "pytest_asyncio.fixture",
        "pytest.mark.asyncio",
        "-p no:anyio --asyncio-mode=strict",
    ),
    "asyncio auto": (
        "import pytest_asyncio",
        "pytest.fixture",
        "pytest.mark.filterwarnings('default')",
        "-p no:anyio --asyncio-mode=auto",
    ),
    "anyio": (
        "anyio_backend = pytest.fixture(lambda: 'asyncio', scope='module', name='anyio_backend')",
        "pytest.fixture",
        "pytest.mark.anyio",
        "-p no:asyncio",
    ),
    "nobody": ("", "pytest.fixture", "pytest.mark.filterwarnings('default')", "-p no:asyncio"),
}

HEAD = """
    import asyncio
    import contextvars
    import pytest
    {extra}

    fixture, mark = {fixture}, {mark}
    loops, seen, made = [], [], []
    variable = contextvars.ContextVar("variable", default="nothing")

    def number():
        loop = asyncio.get_running_loop()
        if loop not in loops:
            loops.append(loop)
        return loops.index(loop)

    def after(test):
        '''The checks that follow a test, in a test of their own.'''
        def check():
            try:
                test()
            finally:
                del seen[:], made[:]
        return check
"""


def written(pytester: pytest.Pytester, mode: str, source: str) -> list[str]:
    """Write a program for a mode, and give the options for it."""
    if "asyncio" in mode:
        pytest.importorskip("pytest_asyncio")
    extra, fixture, mark, options = MODES[mode]
    head = HEAD.format(extra=extra, fixture=fixture, mark=mark)
    pytester.makepyfile(test_shop=head + source)
    return options.split()


KINDS = """
    @fixture
    async def coroutine():
        made.append("coroutine")
        return number()

    @fixture
    async def generator():
        made.append("generator up")
        token = variable.set("by generator")
        yield number()
        variable.reset(token)
        made.append(("generator down", number()))

    @pytest.fixture
    def plain():
        made.append("plain up")
        yield []
        made.append("plain down")

    @pytest.fixture
    def plain_on_async(generator, plain):
        made.append("plain_on_async up")
        yield generator
        made.append("plain_on_async down")

    @fixture
    async def async_on_plain(plain):
        plain.append(number())
        return plain

    @fixture(params=["a", "b"])
    async def parametrised(request):
        return request.param, number()

    @pytest.fixture
    def asks(request, generator):
        return request.getfixturevalue("coroutine")

    @pytest.fixture(scope="module")
    def wide():
        made.append("wide")
        return object()

    @mark
    @pytest.mark.multi_loop(3)
    async def test_kinds(coroutine, plain_on_async, generator, async_on_plain, plain, wide):
        here = number()
        assert here == coroutine == generator == plain_on_async == plain[-1]
        assert async_on_plain is plain
        assert variable.get() == "by generator"
        seen.append(here)

    @after
    def test_kinds_were_made_in_each_loop_and_plain_ones_once():
        assert len(set(seen)) == 3
        for name in ("coroutine", "generator up", "plain_on_async up", "plain_on_async down"):
            assert made.count(name) == 3, made
        assert [one[1] for one in made if type(one) is tuple] == seen
        assert made.index("plain_on_async up") > made.index("generator up")
        assert made.index("plain_on_async down") < made.index(("generator down", seen[0]))
        assert [made.count(name) for name in ("plain up", "plain down", "wide")] == [1, 1, 1]

    @mark
    @pytest.mark.multi_loop(2)
    async def test_parameters(parametrised):
        assert parametrised[1] == number()
        seen.append(parametrised[0])

    @mark
    @pytest.mark.multi_loop(2)
    async def test_asks(asks, request):
        assert asks == number()
        assert request.getfixturevalue("plain") == []

    @after
    def test_parameters_were_run_each():
        assert sorted(seen) == ["a", "a", "b", "b"]
        assert made.count("plain up") == made.count("plain down") == 1
        assert made.count("coroutine") == 2

    @mark
    @pytest.mark.multi_loop(3, fixtures="fresh")
    async def test_fresh(plain, plain_on_async, wide, tmp_path, caplog, capsys, monkeypatch):
        assert plain_on_async == number() and plain == []
        plain.append(1)
        (tmp_path / "file").mkdir()
        monkeypatch.setitem(globals(), "patched", number())
        print("said")
        assert capsys.readouterr().out == "said\\n"
        import logging
        logging.getLogger().warning("logged")
        assert len(caplog.records) == 1

    @after
    def test_fresh_ones_were_made_in_each_pass_and_wide_ones_were_not():
        assert made.count("plain up") == made.count("plain down") == 3
        assert "wide" not in made
        assert "patched" not in globals()

    @mark
    @pytest.mark.multi_loop(2, concurrency=3)
    async def test_calls(coroutine, generator):
        assert coroutine == generator == number()
        seen.append(number())

    @after
    def test_calls_of_one_pass_shared_the_passes_fixtures():
        assert len(seen) == 6 and len(set(seen)) == 2
        assert made.count("coroutine") == made.count("generator up") == 2

    class TestMethods:
        @fixture(autouse=True)
        async def unnamed(self):
            self.here = number()
            yield
            made.append(("unnamed down", number()))

        @fixture
        async def own(self):
            return self

        @mark
        @pytest.mark.multi_loop(2)
        async def test_method(self, own):
            assert own is self and self.here == number()
            seen.append(number())

        @mark
        @pytest.mark.multi_loop(2, fixtures="fresh")
        async def test_fresh_instances(self, own):
            assert own is self and not hasattr(self, "used")
            self.used = True

    @after
    def test_methods_had_the_fixture_that_nobody_named():
        assert [one[1] for one in made][:2] == seen and len(made) == 4

    class TestOverridden:
        @pytest.fixture
        def coroutine(self):
            return "plain"

        @fixture
        async def generator(self, generator):
            yield generator, number()

        @mark
        @pytest.mark.multi_loop(2)
        async def test_overridden(self, coroutine, generator):
            assert coroutine == "plain" and generator == (number(), number())

    @pytest.fixture
    def asks_too_late(request):
        return request.getfixturevalue("coroutine")

    @mark
    @pytest.mark.multi_loop
    async def test_shared_asks_for_per_pass(asks_too_late):
        raise AssertionError("never called")

    @mark
    @pytest.mark.multi_loop
    async def test_asks_while_the_loop_runs(request):
        request.getfixturevalue("coroutine")

    @pytest.mark.multi_loop
    def test_plain_asks_in_its_body(request):
        request.getfixturevalue("coroutine")
"""


@pytest.mark.parametrize("mode", MODES)
def test_each_kind_of_fixture(pytester: pytest.Pytester, mode: str) -> None:
    options = written(pytester, mode, KINDS)

    result = pytester.runpytest_inprocess(*options, "-o", "console_output_style=classic")

    told = result.stdout.str()
    result.assert_outcomes(passed=14, failed=2, errors=1)
    assert "'asks_too_late', which is made once and shared by all passes, asks for" in told
    assert "Name 'coroutine' among the arguments of 'asks_too_late'" in told
    assert told.count("the test asks for the fixture 'coroutine'") == 2
    assert "pytest_loopsafe/" not in told


SCHEDULES = """
    @fixture
    async def generator():
        made.append(("up", number()))
        yield number()
        made.append(("down", number()))

    @mark
    @pytest.mark.parametrize("schedule", [
        pytest.param(name, marks=pytest.mark.multi_loop(3, schedule=name))
        for name in ("consecutive", "recycled", "persistent", "threads", "fork")
    ])
    async def test_schedule(schedule, generator):
        assert generator == number()
        assert [what for what, _ in made] == ["up", "down"] * len(seen) + ["up"]
        seen.append((schedule, number()))

    @after
    def test_schedules_made_their_fixtures_in_their_loops():
        assert [made[2 * n] for n in range(len(seen))] == [("up", loop) for _, loop in seen]
        assert [made[2 * n + 1] for n in range(len(seen))] == [("down", loop) for _, loop in seen]
        for schedule, number in dict(consecutive=3, recycled=3, persistent=1, threads=3).items():
            assert len({loop for name, loop in seen if name == schedule}) == number
        assert "fork" not in dict(seen)  # that was another process

    @fixture(scope="module")
    async def wide():
        made.append("wide up")
        yield number()
        made.append("wide down")

    @mark
    @pytest.mark.multi_loop(3)
    async def test_wide(wide, generator):
        assert generator == number() != wide
        seen.append(number())

    @after
    def test_wide_has_a_loop_of_its_own_that_goes_on():
        assert made.count("wide up") == 1 and "wide down" not in made and len(set(seen)) == 3

    @pytest.mark.multi_loop(3)
    def test_plain(generator):
        assert isinstance(generator, int)

    @mark
    @pytest.mark.multi_loop(schedule="concurrent")
    async def test_concurrent(generator):
        raise AssertionError("never called")
"""


@pytest.mark.parametrize("mode", ["asyncio auto", "anyio"])
def test_on_every_schedule_and_beside_a_wider_loop(pytester: pytest.Pytester, mode: str) -> None:
    options = written(pytester, mode, SCHEDULES)
    pytester.makeini("[pytest]\nloopsafe_ignore = LS206")
    wider = "asyncio_default_fixture_loop_scope=module"  # for those that are no pass's

    result = pytester.runpytest_inprocess(*options, "-o", wider)

    result.assert_outcomes(passed=9, failed=1)
    result.stdout.fnmatch_lines(["*schedule='concurrent' cannot be used with*(generator)*"])


ENDS = """
    @fixture
    async def base():
        made.append("up")
        yield
        made.append(("down", number()))

    def ended(*names):
        '''How often the fixture was set up and torn down, in as many loops.'''
        downs = {one[1] for one in made if type(one) is tuple}
        return made.count("up") == len(downs) == 3

    @fixture
    async def fails_at_setup(base):
        raise KeyError("at setup")

    @mark
    @pytest.mark.multi_loop(3)
    async def test_setup(fails_at_setup):
        raise AssertionError("never called")

    @after
    def test_after_setup():
        assert ended()

    @fixture
    async def fails_at_teardown(base):
        yield
        raise KeyError("at teardown")

    @mark
    @pytest.mark.multi_loop(3)
    async def test_teardown(fails_at_teardown):
        pass

    @after
    def test_after_teardown():
        assert ended()

    @mark
    @pytest.mark.multi_loop(3)
    @pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
    async def test_both(fails_at_teardown):
        1 / 0

    @fixture
    async def yields_twice():
        yield 1
        yield 2

    @mark
    @pytest.mark.multi_loop(2)
    async def test_two_yields(yields_twice):
        pass

    @after
    def test_after_both():
        assert ended()

    @mark
    @pytest.mark.multi_loop(3)
    async def test_skips(base):
        pytest.skip("here")

    @after
    def test_after_skip():
        assert made.count("up") == 1 and len(made) == 2

    @fixture
    async def hangs(base):
        await asyncio.Event().wait()

    @mark
    @pytest.mark.multi_loop(3, timeout=0.3)
    async def test_hangs(hangs):
        raise AssertionError("never called")

    @after
    def test_after_hang():
        assert made[0] == "up" and made[1][0] == "down" and len(made) == 2

    queue = []

    @fixture
    async def hides_a_hazard():
        if not queue:
            queue.append(asyncio.Queue())
        try:
            await asyncio.wait_for(queue[0].get(), 0.001)
        except (TimeoutError, RuntimeError):
            pass

    @mark
    @pytest.mark.multi_loop(2)
    async def test_hazard(hides_a_hazard):
        pass

    @fixture
    async def leaves_a_task():
        return asyncio.create_task(asyncio.sleep(60))

    @mark
    @pytest.mark.multi_loop(2)
    async def test_task(leaves_a_task):
        pass
"""


@pytest.mark.parametrize("mode", ["asyncio strict", "anyio"])
def test_however_a_pass_ends_its_fixtures_end_in_its_loop(
    pytester: pytest.Pytester, mode: str
) -> None:
    options = written(pytester, mode, ENDS)
    pytester.makeini("[pytest]\nloopsafe_ignore = LS206")

    result = pytester.runpytest_inprocess(*options, "-rfs")

    told = result.stdout.str()
    result.assert_outcomes(passed=6, failed=5, skipped=1, xfailed=1)
    for line in (
        "*test_setup - KeyError: 'at setup'",
        "*test_teardown - KeyError: 'at teardown'",
        "the async fixture 'yields_twice' has more than one yield",
        "*in loop 1: task * of hangs() waits for an Event",
        "SKIPPED*test_shop.py:*: here",
        "*test_hangs - LS106*",
        "*test_hazard - LS102 foreign-primitive*",
        "*test_task: LS301: *",
        "*raised in each of 3 passes*",
    ):
        result.stdout.fnmatch_lines([line])
    assert "pytest_loopsafe/" not in told


KEPT = """
    class Client:
        def __init__(self):
            self.loop = asyncio.get_running_loop()
            self.queue = asyncio.Queue()
            self.closed = self.loop.create_future()

        async def use(self):
            try:
                await asyncio.wait_for(self.queue.get(), 0.001)
            except TimeoutError:
                pass

    @fixture
    async def client():
        client = Client()
        await client.use()
        yield client
        await client.use()

    @fixture
    async def logged_in(client):
        await client.use()
        return client

    @mark
    @pytest.mark.multi_loop(4, schedule="recycled", strict=True)
    async def test_client(logged_in):
        await logged_in.use()

    @fixture(scope="module")
    async def pool():
        pool = Client()
        await pool.use()
        return pool

    @fixture
    async def connection(pool):
        try:
            await pool.use()
        except RuntimeError:
            pass

    @mark
    @pytest.mark.multi_loop(2)
    async def test_pool(connection):
        pass
"""


@pytest.mark.parametrize(
    ("mode", "whose"),
    [("asyncio auto", "pytest-asyncio keeps with loop_scope='module'"), ("anyio", "anyio keeps")],
)
def test_what_lives_as_long_as_a_pass_is_safe_and_what_lives_longer_is_named(
    pytester: pytest.Pytester, mode: str, whose: str
) -> None:
    options = written(pytester, mode, KEPT)
    wider = "asyncio_default_fixture_loop_scope=module"

    result = pytester.runpytest_inprocess(*options, "-o", wider, "--loopsafe-json=found")

    result.assert_outcomes(passed=1, failed=1)
    assert json.loads((pytester.path / "found").read_text())["tests"][0]["notes"] == []
    result.stdout.fnmatch_lines(
        [
            "*<fixture 'pool'>.queue (Queue) belongs to a loop made before * and is used in loop*",
            "  LS102 foreign-primitive (swallowed)*",
            f"*The fixture 'pool' (scope 'module') was made in the loop that {whose}*",
        ]
    )
