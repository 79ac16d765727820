"""The corpus under other schedules than its own: ``make schedules`` prints what differs.

Each case whose schedule is not given runs with its loops' ids recycled, and with each loop in
another thread: the fixed twin is to be silent there too, and the broken one found. Some bugs are
none under `threads`: a client for each thread is one for each loop there, and signals are the main
thread's.
"""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import cases
import servers

import pytest_loopsafe

START = {
    "redis": servers.redis_server,
    "postgres": servers.postgres_server,
    "nats": servers.nats_server,
}
SCHEDULES = ("recycled", "threads")
NONE_IN_THREADS = {
    "redis_pool_in_thread_local": "each loop has a thread, and so a client, of its own",
    "signal_to_forked_child": "only the main thread gets signals",
    "sync_wrapper_keeps_loop": "the thread in which a loop was left installed is gone",
}


def otherwise(case: cases.Case, schedule: str, urls: Mapping[str, str]) -> Iterator[str]:
    """What comes out otherwise than under the case's own schedule, in lines."""
    for twin in ("fixed", "broken"):
        with cases.fresh_twin(case, twin, urls) as body:
            run = {**case.run, "schedule": schedule}
            report = pytest_loopsafe.run(body, check=False, **run)
        found = {one.code for one in report.findings}
        errors = [one.error for one in report.passes if one.error is not None]
        if twin == "fixed" and (found or errors):
            yield f"ACCUSED under {schedule}: {', '.join(sorted(found)) or repr(errors[0])}"
        if twin == "broken" and not found >= set(case.finds):
            yield f"MISSED under {schedule}: {', '.join(sorted(set(case.finds) - found))}"
        del report, errors
        gc.collect()


def main() -> int:
    """Print the cases that come out otherwise; 1 where one does that should not."""
    warnings.simplefilter("ignore")  # a broken twin leaves things open: that is what it is for
    logging.disable(logging.CRITICAL)
    wrong = runs = 0
    with ExitStack() as stack:
        urls = {name: stack.enter_context(start()) for name, start in START.items()}
        for case in map(cases.read, cases.paths()):
            if "schedule" in case.run:
                continue
            needs = {name: urls[name] for name in case.servers}
            for schedule in SCHEDULES:
                runs += 2
                known = NONE_IN_THREADS.get(case.path.stem) if schedule == "threads" else None
                for line in otherwise(case, schedule, needs):
                    print(f"{case.path.stem}: {line}" + (f" (as expected: {known})" * bool(known)))
                    wrong += known is None
    print(f"{runs} runs: {wrong} otherwise than under the case's own schedule")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
