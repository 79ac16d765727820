"""What loopsafe costs, as ratios measured side by side in one run: ``make bench``.

Each pair is run in turn (A B A B ...), and the median of the pairs' ratios is printed, so that a
machine which is busy for a while spoils a pair and not the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest_loopsafe

LOOPS = 3


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def worked(action: Callable[[], object]) -> float:
    """Seconds of this process's own work, without what it waits for."""
    start = time.process_time()
    action()
    return time.process_time() - start


def side_by_side(
    bare: Callable[[], object],
    watched: Callable[[], object],
    rounds: int,
    timed: Callable[[Callable[[], object]], float] = timed,
) -> tuple[float, float, float]:
    """Median seconds of both, and the median ratio watched/bare of the pairs."""
    bare(), watched()
    pairs = []
    for _ in range(rounds):
        gc.collect()
        first = timed(bare)
        gc.collect()
        pairs.append((first, timed(watched)))
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(b / a for a, b in pairs),
    )


def by_hand(body: Callable[[], object], loops: int = LOOPS) -> None:
    for _ in range(loops):
        asyncio.run(body())


def compare(name: str, body: Callable[[], object], limit: float, rounds: int) -> bool:
    bare, watched, ratio = side_by_side(
        lambda: by_hand(body), lambda: pytest_loopsafe.run(body, loops=LOOPS), rounds
    )
    return verdict(name, f"{bare * 1e3:9.2f} ms {watched * 1e3:9.2f} ms", ratio, limit, "x")


def own_work(body: Callable[[], object], rounds: int) -> None:
    """The same without the waiting: how long that is depends on how two processes take turns."""
    bare, watched, ratio = side_by_side(
        lambda: by_hand(body), lambda: pytest_loopsafe.run(body, loops=LOOPS), rounds, worked
    )
    figures = f"{bare * 1e3:9.2f} ms {watched * 1e3:9.2f} ms"
    print(f"{'  the CPU of the client alone':<50} {figures:>26}   {ratio:6.3f} x", flush=True)


def verdict(name: str, figures: str, value: float, limit: float, unit: str) -> bool:
    met = value <= limit
    print(
        f"{name:<50} {figures:>26}   {value:6.3f} {unit:<5} (at most {limit:g}) "
        f"{'ok' if met else 'NOT MET'}",
        flush=True,
    )
    return met


async def sleeps() -> None:
    for _ in range(10_000):
        await asyncio.sleep(0)


async def nothing() -> None:
    return None


@contextmanager
def redis_elsewhere() -> Iterator[str]:
    """The server in a process of its own, so that its work is not counted as the client's."""
    script = (
        "import sys\n"
        "from pytest_loopsafe._plugin.fixtures.redis import embedded\n"
        "with embedded() as url:\n"
        "    print(url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def redis_commands(url: str) -> Callable[[], object]:
    import redis.asyncio

    async def body() -> None:
        async with redis.asyncio.from_url(url) as client:
            for number in range(250):
                await client.set("key", number)
                await client.get("key")

    return body


def per_loop(rounds: int, objects: int) -> bool:
    """What one loop more costs, from runs of few and of many; the rest is paid once a run."""
    heap = [{} for _ in range(objects)]
    more: dict[int, float] = {}
    for loops in (LOOPS, 10 * LOOPS):
        bare, watched, _ = side_by_side(
            lambda: by_hand(nothing, loops),  # noqa: B023 - called within this turn
            lambda: pytest_loopsafe.run(nothing, loops=loops),  # noqa: B023
            rounds,
        )
        more[loops] = (watched - bare) * 1e3
    each = (more[10 * LOOPS] - more[LOOPS]) / (9 * LOOPS)
    figures = f"and {more[LOOPS] - LOOPS * each:.2f} ms once a run"
    met = verdict(f"more per loop, {len(heap):,} objects alive", figures, each, 0.5, "ms")
    heap.clear()
    return met


def failing(rounds: int, objects: int) -> tuple[bool, bool]:
    """What findings cost the code that is running, and a failing run in all."""
    heap = [{} for _ in range(objects)]
    kept: dict[int, asyncio.Future[None]] = {}
    spent: list[float] = []
    lines = "\n".join(
        f"    try:\n        await kept[{n}]\n    except RuntimeError:\n        pass"
        for n in range(_FINDINGS)
    )
    scope: dict[str, object] = {"kept": kept}
    exec(f"async def awaits():\n{lines}\n", scope)

    async def body() -> None:
        if not kept:
            kept.update((n, asyncio.get_running_loop().create_future()) for n in range(_FINDINGS))
            return
        start = time.perf_counter()
        await scope["awaits"]()  # type: ignore[operator]
        spent.append((time.perf_counter() - start) / _FINDINGS)

    def bare() -> None:
        kept.clear()
        by_hand(body, 2)

    def watched() -> None:
        kept.clear()
        found = pytest_loopsafe.run(body, loops=2, check=False).findings
        assert len(found) >= _FINDINGS, found

    plain, whole, _ = side_by_side(bare, watched, rounds)
    each = statistics.median(spent[1::2]) - statistics.median(spent[::2])
    alive = f"{len(heap):,} objects alive"
    first = verdict(
        f"a finding, to the running code, {alive}",
        f"{_FINDINGS} in one pass",
        each * 1e3,
        0.2,
        "ms",
    )
    figures = f"{plain * 1e3:9.2f} ms {whole * 1e3:9.2f} ms"
    second = verdict(f"a failing run of {_FINDINGS} findings, {alive}", figures, whole, 0.5, "s")
    heap.clear()
    return first, second


_FINDINGS = 10


def growth(rounds: int) -> bool:
    """Whether many clients in one loop cost more each than few do."""
    import httpx

    async def serve(number: int) -> None:
        for _ in range(number):
            await httpx.AsyncClient(transport=httpx.MockTransport(str)).aclose()

    def watched(number: int) -> Callable[[], object]:
        return lambda: pytest_loopsafe.run(lambda: asyncio.run(serve(number)), loops=1)

    few, many, ratio = side_by_side(watched(1_000), watched(4_000), rounds)
    figures = f"1,000: {few * 1e3:.0f} ms, 4,000: {many * 1e3:.0f} ms"
    return verdict("4,000 clients in one loop, by 4 x 1,000", figures, ratio / 4, 1.2, "x")


_AUDITED = {
    "without loops": ("def test_{n}():\n    assert True\n", 0.2),
    "of one asyncio.run()": ("def test_{n}():\n    asyncio.run(nothing())\n", 2.0),
    "that leaves a task pending": ("def test_{n}():\n    asyncio.run(leave())\n", 5.0),
}


def audits(rounds: int) -> list[bool]:
    """What ``--loopsafe`` costs a test, by what the test does: from runs of few and of many."""
    results = []
    for name, (test, limit) in _AUDITED.items():
        head = (
            "import asyncio\n\nasync def nothing():\n    pass\n\nasync def leave():\n"
            "    asyncio.create_task(asyncio.sleep(60))\n    await asyncio.sleep(0)\n\n"
        )
        more = []
        for tests in (_FEW, _FEW + _TESTS):
            with tempfile.TemporaryDirectory() as folder:
                text = head + "\n".join(test.format(n=n) for n in range(tests))
                (Path(folder) / "test_audited.py").write_text(text)
                bare, watched, _ = side_by_side(
                    lambda: in_pytest(folder),
                    lambda: in_pytest(folder, "-p", "loopsafe", "--loopsafe"),
                    rounds,
                )
            more.append((watched - bare) * 1e3)
        each = (more[1] - more[0]) / _TESTS
        figures = f"and {more[0] - _FEW * each:.0f} ms once a session"
        results.append(verdict(f"an audited test {name}", figures, each, limit, "ms"))
    return results


_FEW, _TESTS = 50, 500


def in_pytest(folder: str, *options: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, folder]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=folder, env=alone, check=True, stdout=subprocess.DEVNULL)


def suite(rounds: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        lines = "\n".join(f"def test_{n}():\n    assert True\n" for n in range(2_000))
        (Path(folder) / "test_trivial.py").write_text(lines)
        bare, watched, ratio = side_by_side(
            lambda: in_pytest(folder), lambda: in_pytest(folder, "-p", "loopsafe"), rounds
        )
    figures = f"{bare * 1e3:9.0f} ms {watched * 1e3:9.0f} ms"
    return verdict("2,000 trivial tests, against none of it", figures, ratio, 1.01, "x")


def loading(rounds: int) -> bool:
    script = (
        "import sys, time, pytest; before = set(sys.modules); start = time.perf_counter(); "
        "import pytest_loopsafe.plugin; spent = time.perf_counter() - start; "
        "new = set(sys.modules) - before; "
        "print(spent * 1e3, *sorted({'asyncio', 'celery', 'redis', 'fakeredis'} & new))"
    )
    times, loaded = [], set()
    for _ in range(rounds):
        out = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout.split()
        times.append(float(out[0]))
        loaded.update(out[1:])
    heavy = ", ".join(sorted(loaded)) or "nothing heavy"
    met = verdict("loading the plugin", f"imports {heavy}", statistics.median(times), 10.0, "ms")
    return met and not loaded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pairs for each figure")
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}; each figure: median of {rounds} pairs, 3 loops a run")
    print(f"{'':<50} {'by hand':>12} {'loopsafe':>12}")
    results = [compare("10,000 sleep(0) in each loop", sleeps, 1.12, rounds)]
    with redis_elsewhere() as url:
        body = redis_commands(url)
        results.append(compare("500 Redis commands over a socket", body, 1.05, rounds))
        own_work(body, rounds)
    results.append(per_loop(rounds * 3, 0))
    results.append(per_loop(rounds * 3, 1_000_000))
    results += failing(rounds, 1_000_000)
    results.append(growth(max(3, rounds // 3)))
    results.append(suite(max(5, rounds // 2)))
    results += audits(max(3, rounds // 3))
    results.append(loading(rounds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
