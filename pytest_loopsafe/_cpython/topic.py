"""What a topic is: something private of asyncio, its canary, and who cannot judge without it.

A name that an interpreter does not have must not end in an ImportError or an AttributeError, in the
middle of somebody's tests. What is looked for here and not found has a stand-in that nothing is an
instance of, so its users see nothing; and the topic's canary says which rules are blind.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TRIAL = "loopsafe-trial"
"""The name of a canary's task: with one of its own it takes no number from asyncio's counter, which
the code under test sees (``Task-2``)."""


@dataclass(frozen=True)
class Topic:
    """One thing that this package reads of asyncio, past its documentation.

    Attributes:
        name: what cannot be seen without it, as a report says it.
        blinds: the codes of the rules that may miss something then; empty where it serves the
            words of a report alone.
        check: the canary: a real piece of asyncio, and whether it is seen as it is.
    """

    name: str
    blinds: tuple[str, ...]
    check: Callable[[], bool]

    def is_seen(self) -> bool:
        """Whether this interpreter is as the topic says."""
        try:
            return self.check()
        except Exception:  # noqa: BLE001 - whatever another interpreter does instead
            return False


class Absent:
    """In the place of a class that this interpreter does not have: nothing is one."""


def find(module: str, name: str, default: Any = Absent) -> Any:
    """A name of one of asyncio's modules; the default where this interpreter has none."""
    try:
        return getattr(importlib.import_module(f"asyncio.{module}"), name, default)
    except ImportError:  # another platform's, or another version's
        return default
