"""Shows one twin of one case to one tool, and prints whether the tool objected.

``python corpus_probe.py TOOL FILE TWIN``; `corpus.py` runs it once for each cell of its table. The
last line printed is ``objected`` and to what, ``silent``, or for loopsafe the codes that it found.

For each tool but loopsafe, objecting is: an exception left a pass. That is what fails a test, and
it is generous, since it counts what the tool does not explain. All tools get the same passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import cases
from cases import Case

PYTEST_FILE = """
import inspect
import pytest
from corpus_probe import one_pass, opened

case, twin, _kept = opened({path!r}, {twin!r})
each_pass = pytest.mark.parametrize("number", range(case.run.get("loops", 3)))

if inspect.iscoroutinefunction(twin):
    @each_pass
    @pytest.mark.asyncio(loop_scope={scope!r})
    async def test_twin(number):
        await one_pass(case, twin)
else:
    @each_pass
    def test_twin(number):
        twin()
"""


# -- passes --------------------------------------------------------------------------------------


def opened(path: str, name: str) -> tuple[Case, Callable[[], Any], contextlib.ExitStack]:
    """A case, its twin ready to be called, and what has to be kept alive meanwhile."""
    case = cases.read(Path(path))
    urls = {server: os.environ[f"LOOPSAFE_{server.upper()}_URL"] for server in case.servers}
    kept = contextlib.ExitStack()
    return case, kept.enter_context(cases.fresh_twin(case, name, urls)), kept


async def one_pass(case: Case, twin: Callable[[], Awaitable[Any]]) -> None:
    """The calls of an async twin that run in one loop."""
    await asyncio.gather(*(twin() for _ in range(case.run.get("concurrency", 1))))


def all_passes(case: Case, body: Callable[[], Any]) -> None:
    """As by hand: a plain ``for`` loop."""
    times = range(case.run.get("loops", 3))
    if not inspect.iscoroutinefunction(body):
        for _ in times:
            body()
    elif case.run.get("schedule") == "persistent":
        with asyncio.Runner() as runner:
            for _ in times:
                runner.run(body())
    else:
        for _ in times:
            asyncio.run(body())


# -- tools: each says whether it objects ---------------------------------------------------------


def loopsafe(path: str, name: str) -> str:
    import pytest_loopsafe

    case, twin, _ = opened(path, name)
    report = pytest_loopsafe.run(twin, check=False, **case.run)
    codes = sorted({finding.code for finding in report.findings})
    raised = [one.error for one in report.passes if one.error is not None]
    return " ".join(codes) or ("objected" if raised and name == "fixed" else "silent")


def plain(path: str, name: str) -> str:
    """Three times ``asyncio.run``; in debug mode when PYTHONASYNCIODEBUG says so."""
    case, twin, _ = opened(path, name)
    return objections(case, twin, lambda: one_pass(case, twin))


def pyleak(path: str, name: str) -> str:
    """Its detectors around each pass; for sync code it has one, of threads."""
    from pyleak import no_event_loop_blocking, no_task_leaks, no_thread_leaks

    case, twin, _ = opened(path, name)

    async def watched() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(no_task_leaks(action="raise"))
            await stack.enter_async_context(no_event_loop_blocking(action="raise"))
            await one_pass(case, twin)

    @no_thread_leaks(action="raise")
    def watched_sync() -> None:
        twin()

    return objections(case, twin if inspect.iscoroutinefunction(twin) else watched_sync, watched)


def objections(case: Case, twin: Callable[[], Any], in_loop: Callable[[], Any]) -> str:
    """Run all passes of an async twin with `in_loop`, or of a sync one as it is."""
    if inspect.iscoroutinefunction(twin):

        async def body() -> None:
            await in_loop()
    else:
        body = twin
    try:
        all_passes(case, body)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it says
        return f"objected: {' '.join(repr(error).split())[:300]}"
    return "silent"


def pytest_asyncio(path: str, name: str) -> str:
    """The same body as parametrised tests in a run of pytest with its defaults."""
    import pytest

    scope = "function"
    if cases.read(Path(path)).run.get("schedule") == "persistent":
        scope = "module"
    with temporary_test(PYTEST_FILE.format(path=path, twin=name, scope=scope)) as file:
        options = ["-q", "-c", os.devnull, "--rootdir", str(file.parent), "-p", "no:cacheprovider"]
        code = pytest.main([*options, "-p", "pytest_asyncio.plugin", str(file)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}")
    return "objected" if code else "silent"


@contextlib.contextmanager
def temporary_test(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="loopsafe-corpus-") as folder:
        file = Path(folder) / "test_twin.py"
        file.write_text(text)
        yield file


TOOLS = {
    "loopsafe": loopsafe,
    "plain": plain,
    "debug": plain,
    "pytest-asyncio": pytest_asyncio,
    "pyleak": pyleak,
}

if __name__ == "__main__":
    verdict = TOOLS[sys.argv[1]](*sys.argv[2:])
    print(f"\n{verdict}", flush=True)
    os._exit(0)  # a broken twin's threads are not waited for
