"""Following errors with ``sys.monitoring``, where that can be done.

CPython 3.15 ends with a segmentation fault where events of the whole interpreter are switched while
a greenlet is suspended (3.15.2 with greenlet 3.5.6; twenty lines without anything of ours show it,
and on 3.12 to 3.14 they run). SQLAlchemy suspends one in each query. So there it is read as on 3.11
what became of an error. Events of single functions do no harm.
"""

from __future__ import annotations

import sys
from typing import Any


def error_monitoring() -> Any:
    """``sys.monitoring``; None where there is none, or where no error can be followed with it."""
    if sys.version_info >= (3, 15) and "greenlet" in sys.modules:
        return None
    return getattr(sys, "monitoring", None)
