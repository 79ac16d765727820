"""``loopsafe_redis``: behind a socket, and empty for each test; nothing of a user's is flushed."""

import socket
import threading
from collections.abc import Iterator

import pytest

fakeredis = pytest.importorskip("fakeredis")
redis = pytest.importorskip("redis")


@pytest.fixture
def users_redis() -> Iterator[str]:
    """The URL of a Redis server that stands for the user's own."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host, port = server.server_address[:2]
    yield f"redis://{host}:{port}/0"
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def users_client(users_redis: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(users_redis) as client:
        yield client


# -- the embedded server -----------------------------------------------------------------------


def test_it_is_empty_for_each_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        import redis

        @pytest.mark.parametrize("time", [1, 2])
        def test_writes(loopsafe_redis, time):
            with redis.Redis.from_url(loopsafe_redis) as client:
                assert client.dbsize() == 0
                client.set("order", time)
                assert client.dbsize() == 1
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_global_client_that_outlives_its_loop_is_found(pytester: pytest.Pytester) -> None:
    """The in-memory fake lets it pass; a socket does not, and neither does production."""
    pytester.makepyfile(
        test_shop="""
        import pytest
        import redis.asyncio

        @pytest.fixture(scope="module")
        def clients():
            return {}

        @pytest.mark.multi_loop(schedule="consecutive")
        async def test_global_client(loopsafe_redis, clients):
            client = clients.setdefault("only", redis.asyncio.from_url(loopsafe_redis))
            try:
                await client.publish("orders", "one")
            except Exception:
                pass

        @pytest.mark.multi_loop
        async def test_a_client_for_each_loop(loopsafe_redis):
            async with redis.asyncio.from_url(loopsafe_redis) as client:
                await client.publish("orders", "one")
        """
    )

    result = pytester.runpytest_inprocess("-v", "-W", "ignore::ResourceWarning")

    result.stdout.fnmatch_lines(
        ["*test_global_client LOOP UNSAFE*", "*test_a_client_for_each_loop PASSED*"]
    )


def test_it_works_for_the_runner_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import redis.asyncio

        async def publish(url):
            async with redis.asyncio.from_url(url) as client:
                await client.incr("orders")
                return await client.get("orders")

        def test_order(loopsafe_runner, loopsafe_redis):
            report = loopsafe_runner.run(publish, loopsafe_redis)
            assert report.results == (b"1", b"2", b"3")
            assert not report.findings
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_it_stops_with_the_test_and_leaves_no_thread(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import socket
        import threading
        from urllib.parse import urlsplit

        import pytest
        import redis

        before = set(threading.enumerate())
        addresses = []

        def test_uses_it(loopsafe_redis):
            url = urlsplit(loopsafe_redis)
            addresses.append((url.hostname, url.port))
            with redis.Redis.from_url(loopsafe_redis) as client:
                assert client.ping()
            assert set(threading.enumerate()) - before

        def test_it_has_stopped():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(addresses[0], timeout=30)
            for thread in set(threading.enumerate()) - before:
                thread.join(30)  # the server's side of a closed connection ends by itself
                assert not thread.is_alive()
        """
    )

    pytester.runpytest_inprocess("-W", "error").assert_outcomes(passed=2)


def test_a_client_that_is_left_open_does_not_keep_it_from_stopping(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import redis

        clients = []

        def test_leaves_a_client(loopsafe_redis):
            clients.append(redis.Redis.from_url(loopsafe_redis))
            clients[0].ping()

        def test_next(loopsafe_redis):
            with redis.Redis.from_url(loopsafe_redis) as client:
                assert client.ping()
            clients[0].close()
        """
    )

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(passed=2)
    assert result.duration < 10


def test_it_stops_when_the_test_fails_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import socket
        from urllib.parse import urlsplit

        import pytest

        addresses = []

        def test_fails(loopsafe_redis):
            url = urlsplit(loopsafe_redis)
            addresses.append((url.hostname, url.port))
            raise AssertionError

        def test_it_has_stopped():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(addresses[0], timeout=30)
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(failed=1, passed=1)


# -- a server of the user's --------------------------------------------------------------------

USES_IT = """
    import redis

    def test_order(loopsafe_redis):
        with redis.Redis.from_url(loopsafe_redis) as client:
            client.set("order", 1)
            client.rpush("queue", 1, 2)
            print("used", loopsafe_redis)
"""


def test_a_database_that_holds_anything_is_refused_and_left_alone(
    pytester: pytest.Pytester,
    users_redis: str,
    users_client: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", users_redis)
    users_client.set("mine", "precious")
    pytester.makepyfile(USES_IT)

    result = pytester.runpytest_inprocess()

    told = result.stdout.str()
    result.assert_outcomes(errors=1)
    assert f"LOOPSAFE_REDIS_URL={users_redis}" in told
    assert "holds 1 key" in told
    assert "Give an empty one" in told
    assert "Traceback" not in told
    assert users_client.keys() == [b"mine"]
    assert users_client.get("mine") == b"precious"


def test_an_empty_database_is_used_and_emptied_of_what_the_test_wrote(
    pytester: pytest.Pytester,
    users_redis: str,
    users_client: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", users_redis)
    pytester.makepyfile(USES_IT + USES_IT.replace("test_order", "test_again"))

    result = pytester.runpytest_inprocess("-s")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*used {users_redis}*"])
    assert users_client.keys() == []


def test_what_the_test_wrote_goes_when_it_fails_too(
    pytester: pytest.Pytester,
    users_redis: str,
    users_client: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", users_redis)
    pytester.makepyfile(
        """
        import redis

        def test_order(loopsafe_redis):
            with redis.Redis.from_url(loopsafe_redis) as client:
                client.set("order", 1)
            raise AssertionError
        """
    )

    pytester.runpytest_inprocess().assert_outcomes(failed=1)

    assert users_client.keys() == []


def test_other_databases_of_that_server_are_none_of_its_business(
    pytester: pytest.Pytester,
    users_redis: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", users_redis.removesuffix("/0") + "/1")
    pytester.makepyfile(USES_IT)

    with redis.Redis.from_url(users_redis) as users_client:
        users_client.set("mine", "precious")
        pytester.runpytest_inprocess().assert_outcomes(passed=1)

        assert users_client.get("mine") == b"precious"


def test_it_never_sends_a_flush(
    pytester: pytest.Pytester, users_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", users_redis)
    sent: list[str] = []
    execute = redis.Redis.execute_command

    def recorded(self: "redis.Redis", *args: object, **options: object) -> object:
        sent.append(str(args[0]))
        return execute(self, *args, **options)

    monkeypatch.setattr(redis.Redis, "execute_command", recorded)
    pytester.makepyfile(USES_IT)

    pytester.runpytest_inprocess().assert_outcomes(passed=1)

    assert "SET" in sent
    assert not [command for command in sent if command.startswith("FLUSH")]


def test_a_server_that_cannot_be_reached_is_a_clear_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers here
        taken.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        monkeypatch.setenv("LOOPSAFE_REDIS_URL", url)
        pytester.makepyfile(USES_IT)

        result = pytester.runpytest_inprocess()

    told = result.stdout.str()
    result.assert_outcomes(errors=1)
    assert f"LOOPSAFE_REDIS_URL={url}: " in told
    assert "Traceback" not in told


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:1/0"])
def test_a_url_that_is_none_of_redis_is_a_clear_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("LOOPSAFE_REDIS_URL", url)
    pytester.makepyfile(USES_IT)

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*LOOPSAFE_REDIS_URL={url}*"])
    result.stdout.no_fnmatch_line("*fixtures/redis.py*")


# -- without the optional packages -------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "url"),
    [
        (("fakeredis",), None),
        (("fakeredis", "redis"), None),
        (("redis",), "redis://127.0.0.1:1/0"),
    ],
    ids=["fakeredis", "both", "redis for the user's own server"],
)
def test_without_its_packages_it_says_what_to_install(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, ...],
    url: str | None,
) -> None:
    if url is not None:
        monkeypatch.setenv("LOOPSAFE_REDIS_URL", url)
    pytester.makeconftest(f"import sys\nfor name in {missing!r}: sys.modules[name] = None\n")
    pytester.makepyfile(
        """
        def test_order(loopsafe_redis):
            pass

        def test_plain():
            pass
        """
    )

    result = pytester.runpytest_subprocess()

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*loopsafe_redis needs *pip install 'pytest-loopsafe?redis?'*"])
    result.stdout.no_fnmatch_line("*fixtures/redis.py*")
