"""LS201: a socket that went down with the loop that it was given to (``sock=``).

A loop takes such a socket for its own: it is closed with the server or transport that has it, and
under uvloop with the loop at the latest. Evidence: the socket was given to a loop and was closed
when that had stopped, or was closed by the finalizer of that loop's transport; and after that it
was given to another loop, or used by hand outside of its own, and refused. What is refused counts
whether or not the code keeps the error to itself; not where a handler for just this error kept it,
and the code has let the socket go since: it made another.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from pytest_loopsafe import _cpython
from pytest_loopsafe._probes.connections import ConnectionDropped, ConnectionProbe
from pytest_loopsafe._probes.instrumentation import Sighting
from pytest_loopsafe._probes.lives import LifeProbe, LoopClosed, LoopRested
from pytest_loopsafe._probes.sockets import ASKS, LendingProbe, SocketLent, SocketRefused, is_closed
from pytest_loopsafe._rules.base import Detector, loop_births
from pytest_loopsafe._rules.ls201 import STALE
from pytest_loopsafe._words.findings import Finding, Observation
from pytest_loopsafe._words.loops import LoopInfo
from pytest_loopsafe._words.naming import name_loop
from pytest_loopsafe._words.stacks import Stack, live_frames, stack_here
from pytest_loopsafe._words.ways import Fate, way_here
from pytest_loopsafe._words.weak import Ref

_REMEDY = (
    "A loop closes a socket that it was given (sock=), with the server or transport that has it: "
    "make a socket for each run, or give each run a copy, sock.dup()."
)


@dataclass
class _Loan:
    """A socket that a loop was given; `gone` once it was closed, `ended` once the loop was."""

    sock: Ref
    home: LoopInfo
    gone: bool = False
    ended: bool = False


class SocketOfOtherLoop(Detector):
    """LS201 for what a loop was given as ``sock=``."""

    rules = (STALE,)
    probes = (LendingProbe(), LifeProbe(), ConnectionProbe())
    judges = (SocketLent, LoopRested, LoopClosed, ConnectionDropped, SocketRefused)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._loans: dict[int, _Loan] = {}  # by the socket's id()

    def follow(self, elder: Self) -> None:
        """Know what loops were given that are still open."""
        self._loans = elder._loans

    def observe(self, sighting: Sighting) -> Iterator[Observation]:
        """Note who has a socket, and that it went down with them; report what comes later."""
        if isinstance(sighting, SocketLent):
            self._lent(sighting.sock, self.loops.of(sighting.loop))
        elif isinstance(sighting, LoopRested | LoopClosed):
            home = self.loops.of(sighting.loop)
            for loan in tuple(self._loans.values()):
                sock = loan.sock()
                if loan.home is home and sock is not None:
                    loan.gone |= is_closed(sock)
                    loan.ended |= isinstance(sighting, LoopClosed)
        elif isinstance(sighting, ConnectionDropped):
            lost = self._loan(_cpython.descriptor_of(sighting.thing))
            if lost is not None:
                lost.gone = True
        elif isinstance(sighting, SocketRefused):
            yield from self._refused(sighting)

    def _lent(self, sock: Any, home: LoopInfo) -> None:
        loan = self._loan(sock)
        if loan is not None and loan.gone:
            return
        key = id(sock)

        def forget(ref: object) -> None:
            known = self._loans.get(key)
            if known is not None and known.sock is ref:
                del self._loans[key]

        self._loans[key] = _Loan(weakref.ref(sock, forget), home)

    def _loan(self, sock: Any) -> _Loan | None:
        loan = self._loans.get(id(sock))
        return loan if loan is not None and loan.sock() is sock else None

    def _refused(self, sighting: SocketRefused) -> Iterator[Observation]:
        loan = self._loan(sighting.sock)
        running = _cpython.get_running_loop()
        here = self.loops.of(running) if running is not None else None
        if loan is None or not loan.gone or loan.home is here:
            return
        home, where = loan.home, f"in {here}" if here is not None else "outside any loop"
        state = "closed" if loan.ended else "paused"
        way = way_here(live_frames(), type(sighting.error), sighting.let_go)
        yield Observation(
            Finding(
                STALE,
                f"a socket was given to {name_loop(home, state)}, which has closed it, and "
                f"later {sighting.method}() was called with it {where}",
                here,
                home,
                (Stack("it was used here", stack_here()), *loop_births(home, here)),
                _REMEDY,
                home_state=state,
            ),
            sighting.error,
            way,
            functools.partial(_is_asked if sighting.method in ASKS else _is_replaced, loan),
            about=(sighting.sock,),
        )


def _is_asked(loan: _Loan, fate: Fate) -> bool:
    """Whether that it is closed is an answer to whoever asked, and not an error."""
    return fate.stayed_in is not None and (fate.narrow is not False or loan.sock() is None)


def _is_replaced(loan: _Loan, fate: Fate) -> bool:
    """Whether a handler for just this error kept it, and the code has let the socket go since."""
    return fate.stayed_in is not None and fate.narrow is not False and loan.sock() is None
