"""What loopsafe costs, as ratios measured side by side in one run: ``make bench``.

Each pair is run in turn (A B A B ...), and the median of the pairs' ratios is printed, so that a
machine which is busy for a while spoils a pair and not the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest_loopsafe
from pytest_loopsafe._graph.owners import OwnerSearch

LOOPS = 3


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def side_by_side(
    bare: Callable[[], object], watched: Callable[[], object], rounds: int
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


def verdict(name: str, figures: str, value: float, limit: float, unit: str) -> bool:
    met = value <= limit
    print(
        f"{name:<44} {figures:>26}   {value:6.3f} {unit:<5} (at most {limit:g}) "
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


def search(objects: int) -> bool:
    """What one search for owners takes that finds something: a pool's connection of a dead loop."""
    data = [{} for _ in range(objects)]
    held: dict[str, object] = {}

    async def keep() -> None:
        if not held:
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            streams = await asyncio.open_connection(*server.sockets[0].getsockname())
            deep: object = streams
            for _ in range(15):
                deep = {"inner": deep}
            held["pool"] = deep

    seconds: list[float] = []
    original = OwnerSearch.owners

    def timed_search(self: OwnerSearch, *targets: object, **options: object) -> object:
        start = time.perf_counter()
        try:
            return original(self, *targets, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    OwnerSearch.owners = timed_search
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = pytest_loopsafe.run(keep, loops=LOOPS, check=False)
            held.clear()
            gc.collect()
    finally:
        OwnerSearch.owners = original
    codes = {finding.code for finding in report.findings}
    stopped = ", ".join(note for note in report.notes if "stopped" in note) or "none stopped early"
    figures = f"{len(seconds)} searches, {stopped}"
    met = verdict(f"the longest search, {len(data):,} objects alive", figures, max(seconds), 1, "s")
    return met and "LS201" in codes


def suite(rounds: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        lines = "\n".join(f"def test_{n}():\n    assert True\n" for n in range(2_000))
        (path / "test_trivial.py").write_text(lines)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            str(path),
        ]
        without = [*command, "-p", "no:loopsafe"]

        def call(arguments: list[str]) -> None:
            subprocess.run(arguments, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        bare, watched, ratio = side_by_side(lambda: call(without), lambda: call(command), rounds)
    figures = f"{bare * 1e3:9.0f} ms {watched * 1e3:9.0f} ms"
    return verdict("2,000 trivial tests, against -p no:loopsafe", figures, ratio, 1.01, "x")


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
    print(f"{'':<44} {'by hand':>12} {'loopsafe':>12}")
    results = [compare("10,000 sleep(0) in each loop", sleeps, 1.25, rounds)]
    with redis_elsewhere() as url:
        body = redis_commands(url)
        results.append(compare("500 Redis commands over a socket", body, 1.05, rounds))
    results.append(per_loop(rounds * 3, 0))
    results.append(per_loop(rounds * 3, 1_000_000))
    results.append(search(1_000_000))
    results.append(suite(max(5, rounds // 2)))
    results.append(loading(rounds))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
