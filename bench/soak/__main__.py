"""Endurance and faults, as a table: `make soak`, and `make soak-short` for CI.

Each row makes one fault with real processes, so many times and at random moments, and checks what
is left of it: what had been found is there, the verdict says what is incomplete, nothing hangs and
nothing is left running. The random moments come from a seed, which is printed; `--seed N` repeats
them. Arguments are parts of rows' names, to run some of them alone. Each is made once; after 13
minutes, in short after 90 seconds, none is made again. The exit code is 1 if a row falls short.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time

import broker
import bugs
import disk
import endurance
import kills
import signals
from rows import Result, perform

FAMILIES = (endurance, kills, broker, disk, signals, bugs)
_WIDTH = 46
_SECONDS, _SHORT_SECONDS = 13 * 60, 90
"""When these are over no row's fault is made again; what is under way takes a minute at most."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/soak", description=__doc__)
    parser.add_argument("names", nargs="*", help="run only rows with one of these in their name")
    parser.add_argument("--short", action="store_true", help="all rows, each only a few times")
    parser.add_argument("--seed", type=int, default=None, help="repeat the moments of this run")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    rows = [
        row
        for family in FAMILIES
        for row in family.ROWS
        if not options.names or any(name in row.name for name in options.names)
    ]
    print(f"{'short' if options.short else 'full'} form, --seed {seed}")
    print(f"{'what is done':<{_WIDTH}} {'times':>6}  {'result':<8} {'s':>4}  what was checked")
    began = time.monotonic()
    results = []
    seconds = _SHORT_SECONDS if options.short else _SECONDS
    for result in perform(rows, seed, is_short=options.short, seconds=seconds):
        results.append(result)
        _print(result)
    short = sum(bool(one.faults) for one in results)
    skipped = sum(one.skipped is not None for one in results)
    print(
        f"{len(results)} rows in {time.monotonic() - began:.0f} s: "
        f"{len(results) - short - skipped} ok, {short} fall short, {skipped} skipped"
    )
    return 1 if short else 0


def _print(result: Result) -> None:
    row = result.row
    line = f"{row.name:<{_WIDTH}} {result.times:>6}  {result.word:<8} {result.seconds:>4.0f}"
    print(f"{line}  {row.checked}", flush=True)
    for text in result.lines():
        print(f"    {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
