"""Time that goes on, also where a test has stopped it.

freezegun replaces ``time.monotonic()``, and the names that any loaded module has for it. A deadline
of ours would never come then, and what should end after seconds would hang. It leaves alone what is
not that function itself, so a partial of it goes on; ``time.clock_gettime()`` would too, but is not
on every platform. The plugin loads this before the first test.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

now: Callable[[], float] = functools.partial(time.monotonic)
"""Seconds, from a point that means nothing."""
