"""The plots of the documentation's page on costs: `make plots`.

What is drawn is measured first, each figure beside the same code without the plugin, as
`make bench` does; the figures are printed, too.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

import bench
import pytest_loopsafe

PICTURE = Path(__file__).parent.parent / "docs" / "_static" / "costs.svg"
ROUNDS = 7
GREY, BARE, WATCHED = "#808080", "#8a8f98", "#d9622b"  # to be read on white and on black

LOOPS = (1, 3, 10, 30, 100, 300)
OBJECTS = (0, 1_000, 10_000, 100_000, 1_000_000)
MICROSECONDS = (0, 1, 3, 10, 30, 100)
_SECONDS = 0.25
"""Of one run: what is paid once in it is not to be seen."""

Points = dict[str, list[float]]


def by_loops() -> Points:
    """Milliseconds of a whole run, by how many loops it has."""
    points: Points = {"without": [], "over loops": []}
    for loops in LOOPS:
        bare, watched, _ = bench.side_by_side(
            lambda: bench.by_hand(bench.nothing, loops),  # noqa: B023 - called within this turn
            lambda: pytest_loopsafe.run(bench.nothing, loops=loops),  # noqa: B023
            ROUNDS,
        )
        points["without"].append(bare * 1e3)
        points["over loops"].append(watched * 1e3)
    return points


def by_objects() -> Points:
    """Milliseconds that one loop more costs, by how many objects are alive."""
    costs = []
    for objects in OBJECTS:
        heap = [{} for _ in range(objects)]
        more = []
        for loops in (bench.LOOPS, 10 * bench.LOOPS):
            bare, watched, _ = bench.side_by_side(
                lambda: bench.by_hand(bench.nothing, loops),  # noqa: B023
                lambda: pytest_loopsafe.run(bench.nothing, loops=loops),  # noqa: B023
                ROUNDS,
            )
            more.append((watched - bare) * 1e3)
        costs.append((more[1] - more[0]) / (9 * bench.LOOPS))
        heap.clear()
        gc.collect()
    return {"over loops": costs}


def by_work() -> Points:
    """How many times as long it takes, by how long the code works between two awaits."""
    ratios = []
    for microseconds in MICROSECONDS:
        body = _working(microseconds / 1e6)
        _, _, ratio = bench.side_by_side(
            lambda: bench.by_hand(body, 1),  # noqa: B023
            lambda: pytest_loopsafe.run(body, loops=1),  # noqa: B023
            ROUNDS,
        )
        ratios.append(ratio)
    return {"over loops": ratios}


def _working(seconds: float) -> Callable[[], object]:
    steps = int(_SECONDS / (seconds + 6e-6))

    async def body() -> None:
        for _ in range(steps):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    return body


PANELS = (
    ("A run, in milliseconds", "loops", LOOPS, by_loops, ("log", "log")),
    ("One loop more, in milliseconds", "objects alive", OBJECTS, by_objects, ("symlog", "linear")),
    ("Times as long", "µs of work between two awaits", MICROSECONDS, by_work, ("symlog", "linear")),
)


def main() -> int:
    plt.rcParams.update({"svg.hashsalt": "costs", "font.size": 9, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 3), layout="constrained")
    figure.patch.set_alpha(0)
    for axis, (title, label, across, measure, scales) in zip(axes, PANELS, strict=True):
        points = measure()
        print(f"{title}, by {label}:")
        for name, values in points.items():
            print(f"  {name:11}", _row(across, values))
            axis.plot(
                across, values, "o-", color=BARE if name == "without" else WATCHED, label=name
            )
        _dress(axis, title, label, across, scales)
        if scales[1] == "linear":
            axis.set_ylim(0, 1.15 * max(max(values) for values in points.values()))
        if len(points) > 1:
            axis.legend(frameon=False, labelcolor=GREY)
    figure.savefig(PICTURE, metadata={"Date": None})
    print(PICTURE)
    return 0


def _row(across: Iterable[float], values: Iterable[float]) -> str:
    return ", ".join(f"{x:,}: {y:.2f}" for x, y in zip(across, values, strict=True))


def _dress(
    axis: plt.Axes, title: str, label: str, across: tuple[int, ...], scales: tuple[str, str]
) -> None:
    axis.set_xscale(scales[0], **({"linthresh": across[1]} if scales[0] == "symlog" else {}))
    axis.set_yscale(scales[1])
    axis.set_xticks(across, [f"{x:,}" if x < 10_000 else f"{x // 1000:,}k" for x in across])
    axis.minorticks_off()
    axis.set_title(title, color=GREY, fontsize=9)
    axis.set_xlabel(label, color=GREY)
    axis.tick_params(colors=GREY)
    axis.patch.set_alpha(0)
    axis.grid(color=GREY, alpha=0.25)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)


if __name__ == "__main__":
    sys.exit(main())
