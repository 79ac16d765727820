"""The projects that faults are made in: something is found for certain, and then there is time."""

from __future__ import annotations

from rows import Trial

APP = """
    import asyncio, os, threading, time
    from pathlib import Path

    kept = None
    parents_loop = None
    if "SOAK_FSIZE" in os.environ:
        import resource

        limit = int(os.environ["SOAK_FSIZE"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


    async def publish():
        '''Await, hiding the error, what an earlier loop has left, and leave something in turn.'''
        global kept
        try:
            if kept is not None:
                await kept
        except RuntimeError:
            pass
        kept = asyncio.get_running_loop().create_future()


    def publish_twice():
        '''LS101, for certain and at once.'''
        for _ in range(2):
            asyncio.run(publish())


    def tell(name, text=""):
        '''Write a file in one step, for who watches from outside.'''
        path = Path(os.environ["SOAK_FOLDER"], name)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(text or str(os.getpid()))
        unfinished.replace(path)


    async def work(seconds):
        '''What an application does: loops, tasks, connections, threads.'''
        deadline, eaten = time.monotonic() + seconds, []
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            while time.monotonic() < deadline:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(reader.read(), asyncio.sleep(0.001))
                writer.close()
                await writer.wait_closed()
                await asyncio.get_running_loop().run_in_executor(None, int)
                if "SOAK_EATS" in os.environ:
                    eaten.append(bytearray(1 << 20))


    def use_parents_loop():
        '''LS401, in a forked child.'''
        parents_loop.run_until_complete(asyncio.sleep(0))


    def may_end(name):
        '''End this process from another thread, wherever it is by then, if that is asked for.'''
        def end():
            time.sleep(float(os.environ[name]))
            os._exit(9)

        if name in os.environ:
            threading.Thread(target=end, daemon=True).start()
"""

TESTS = """
    import asyncio, os
    import pytest
    import app


    @pytest.mark.multi_loop
    async def test_before():
        await app.publish()


    @pytest.mark.multi_loop(4)
    def test_now():
        app.publish_twice()
        app.tell("now")
        app.may_end("SOAK_EXIT_TEST")
        asyncio.run(app.work(float(os.environ.get("SOAK_SECONDS", "0.1"))))


    @pytest.fixture
    def parents_loop():
        app.parents_loop = asyncio.new_event_loop()
        yield
        app.parents_loop.close()


    @pytest.mark.multi_loop(2, schedule="fork")
    def test_forked(parents_loop):
        app.use_parents_loop()
        app.tell("forked")
        app.may_end("SOAK_EXIT_FORK")
        asyncio.run(app.work(float(os.environ.get("SOAK_SECONDS", "0.1"))))


    @pytest.mark.multi_loop
    def test_after():
        app.publish_twice()
"""

CELERY = """
    import asyncio, os, time
    from celery import Celery
    import app as shop

    app = Celery("soak", broker="redis://127.0.0.1:1/0", set_as_current=False)


    @app.task
    def task():
        '''LS101 for certain in each child, and then time for what is to come.'''
        shop.publish_twice()
        shop.tell("now", f"{os.getpid()} {os.getppid()}")
        shop.may_end("SOAK_EXIT_TASK")
        asyncio.run(shop.work(float(os.environ["SOAK_SECONDS"])))


    def test_task(loopsafe_celery):
        loopsafe_celery.run(task, times=2, timeout=float(os.environ["SOAK_TIMEOUT"]))


    def test_after(loopsafe_celery):
        '''There is a worker again, and nothing of before is in its way.'''
        os.environ["SOAK_SECONDS"] = "0"
        os.environ.pop("SOAK_EXIT_TASK", None)
        os.environ.pop("SOAK_EATS", None)
        report = loopsafe_celery.run(task, times=2, check=False)
        assert [one.error for one in report.passes] == [None, None]
        assert "LS101" in [one.code for one in report.findings]
"""


def plain(trial: Trial) -> None:
    """A project with async tests, one of which forks."""
    trial.file("app.py", APP)
    trial.file("test_shop.py", TESTS)


def celery(trial: Trial) -> None:
    """A project with a Celery task."""
    trial.file("app.py", APP)
    trial.file("test_shop.py", CELERY)
