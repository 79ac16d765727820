"""Who holds an object: the shortest paths to it from globals, classes, closures, threads.

One question is asked again and again, from the object outwards, level by level: which objects
refer to these (`pytest_loopsafe._graph.referrers`)? It leads to what lives of itself: a module's
globals, a class, the context of a thread. The first arrival at each is the shortest path from
there.

What holds an object only while the test runs is no answer: frames, tracebacks, pytest's objects,
our own.

It is first asked what the user's own globals hold, which one walk tells for all questions of a
moment. Only for what they do not hold the whole heap is read (some 60 ms for a million objects),
level by level. Both are bounded by counts: a busy machine gives the same answer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import cache
from types import (
    AsyncGeneratorType,
    CoroutineType,
    FrameType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

from pytest_loopsafe._cpython import namespace_of
from pytest_loopsafe._graph import links
from pytest_loopsafe._graph.kinds import is_a, is_future, module_of
from pytest_loopsafe._graph.referrers import Referrers
from pytest_loopsafe._graph.roots import (
    NOT_OWNERS,
    Root,
    Roots,
    is_for_the_test,
    is_users,
    users_roots,
)
from pytest_loopsafe._graph.threads import by_thread_name, held_by_threads, thread_locals
from pytest_loopsafe._words.findings import without_entry
from pytest_loopsafe._words.stacks import is_library, is_own, local_variables, module_file

_MAX_OWNERS = 8
_MAX_NODES = 50_000
_LONGEST_PATH = 300
_CONTEXT_DEPTH = 6
"""A context reaches its values over at most so many of its own nodes."""


@dataclass(frozen=True)
class Owner:
    """One way in which something that lives of itself holds an object.

    For the moment only: `chain` refers to live objects, so an owner is not to be kept.

    Attributes:
        path: Python that leads to the object, ``app.db.client._pool[0]._loop``.
        start: where the path is written from, ``app.db``.
        root: where the path begins: the name in the user's code, ``app.db.client``.
        own: whether it begins in the user's own code, not in a library.
        subject: whether it begins in the function under test itself (its closure, an argument).
        hidden: whether it begins in something that only C code holds.
        chain: the objects on the path, the one looked for last.
    """

    path: str
    start: str
    root: str
    own: bool
    subject: bool
    hidden: bool
    chain: tuple[Any, ...]

    @property
    def place(self) -> str:
        """The path without what differs from loop to loop: keys and indexes."""
        return self.root if links.UNNAMED in self.path else without_entry(self.path)


@dataclass(frozen=True)
class Owners:
    """All owners found, the user's code first; `stopped` tells why the search ended early."""

    found: tuple[Owner, ...]
    stopped: str | None = None


class OwnerSearch:
    """Searches the heap for holders, at one moment: nothing else is to run between its searches.

    Args:
        name_loop: names loops, and numbers that are ``id()`` of loops, where they are keys.
        subjects: functions whose closures and arguments count as owners, each with its name.
    """

    def __init__(
        self,
        name_loop: links.NameLoop = lambda thing: None,
        subjects: Iterable[tuple[Any, str]] = (),
    ) -> None:
        self._name_loop = name_loop
        subjects = tuple(subjects)
        self._roots = Roots(subjects)
        is_users_module = cache(is_users)
        self._referrers = Referrers(
            (one for one, _ in users_roots(subjects)),
            lambda kind: not is_for_the_test(kind),
            lambda kind: is_users_module(module_of(kind)),
        )

    def owners(self, *targets: Any, ignore: Iterable[object] = (), thorough: bool = True) -> Owners:
        """Find who holds any of `targets`; from each owner the path to the nearest of them.

        Args:
            *targets: objects that the collector tracks.
            ignore: containers of the caller's that refer to them.
            thorough: whether to read the whole heap where the user's own globals hold none.
        """
        own = self._search(targets, ignore, read=False)
        if own.found or not thorough:
            return own
        return self._search(targets, ignore, read=True)

    def referrers(self, thing: Any, *, read: bool) -> list[Any]:
        """What refers to an object; those that the walk has met, or with `read` all there are."""
        things = [thing]
        found = self._referrers.of(things, [0], {id(things)}, read=read)
        return [one for one, _ in found]

    def _search(self, targets: tuple[Any, ...], ignore: Iterable[object], *, read: bool) -> Owners:
        nodes: list[Any] = list(targets)  # the objects reached, and for each the one it leads to
        towards: list[int] = [-1] * len(nodes)
        ignored = {id(nodes), id(targets), *map(id, ignore)}
        seen = {id(target) for target in targets}
        found: list[Owner] = []
        level = range(len(nodes))
        stopped = None
        while level and stopped is None and len(found) < _MAX_OWNERS:
            begin = len(nodes)
            found += self._ascend(nodes, towards, level, seen, ignored, read=read)
            level = range(begin, len(nodes))
            if read and self._referrers.exhausted and level:
                stopped = f"the search for owners stopped after {self._referrers.reads} readings"
            elif len(nodes) > _MAX_NODES:
                stopped = f"the search for owners stopped after {_MAX_NODES} objects"
        found.sort(key=lambda owner: not owner.own)
        if self._referrers.cut_short and not found:
            stopped = stopped or "the user's globals hold more than a search for owners looks at"
        return Owners(tuple(found[:_MAX_OWNERS]), stopped)

    def _ascend(
        self,
        nodes: list[Any],
        towards: list[int],
        level: range,
        seen: set[int],
        ignored: set[int],
        *,
        read: bool,
    ) -> list[Owner]:
        """Go on by one level: add what holds its nodes; return the owners among that."""
        found: list[Owner] = []
        arrived: set[tuple[int, int]] = set()
        held: set[int] = set()
        holders = self._holders(nodes, level, ignored, read=read)
        # In which order the heap is read differs; what is in a tuple, the key of a dictionary, is
        # better reached by the value that has it too.
        for referrer, index in sorted(holders, key=lambda one: type(one[0]) is tuple):
            held.add(index)
            root = self._roots.get(id(referrer)) or _class_root(referrer)
            if root is not None:
                # What lives of itself: an owner by each of its names, and not gone beyond.
                if root.text and (id(referrer), index) not in arrived:
                    arrived.add((id(referrer), index))
                    chain = (referrer, *_chain(nodes, towards, index))
                    found.append(self._owner(root, chain))
            elif id(referrer) not in seen and not _is_passing(referrer):
                seen.add(id(referrer))
                nodes.append(referrer)
                towards.append(index)
        if read and not self._referrers.exhausted:  # else not all has been asked for
            for index in level:
                if index not in held:
                    found += self._hidden(nodes, towards, index)
        return found

    def _holders(
        self, nodes: list[Any], level: range, ignored: set[int], *, read: bool
    ) -> list[tuple[Any, int]]:
        """What refers to the nodes of a level: (referrer, index of the node)."""
        found = self._referrers.of(nodes, level, ignored, read=read)
        # A thread-local's dictionary is held by the thread's state, in C, and by nothing else.
        held = {index for _, index in found}
        bare = [index for index in level if type(nodes[index]) is dict and index not in held]
        if bare and read:
            found += thread_locals({id(nodes[index]): index for index in bare})
        return found

    def _hidden(self, nodes: list[Any], towards: list[int], index: int) -> list[Owner]:
        """Owners that no object stands for: a thread's context or running code, C code."""
        node, chain = nodes[index], _chain(nodes, towards, index)
        if is_a(node, Context):
            for var, value in node.items():
                for position, one in enumerate(chain[1:_CONTEXT_DEPTH], start=1):
                    if value is one:
                        root = Root(f"{_name_of(var)}.get()", own=True)
                        return [self._owner(root, chain[position:])]
        for name, frame, variable in held_by_threads(node, NOT_OWNERS):
            code = frame.f_code
            text = f"<thread {name!r}, in {code.co_qualname}()>.{variable}"
            return [self._owner(Root(text, not is_library(code.co_filename)), chain)]
        if len(chain) > 1 and _held_by_c(node):
            text = f"<C code: a {type(node).__qualname__}>"
            return [self._owner(Root(text, own=False, hidden=True), chain)]
        return []

    def _owner(self, root: Root, chain: tuple[Any, ...]) -> Owner:
        path = links.write(chain, root.text, self._name_loop)
        begin = root.text
        if not root.subject and is_a(chain[0], dict | type):  # a module or a class: its name
            position = 2 if type(chain[0]) is dict else 3
            begin = links.write(chain[:position], root.text, self._name_loop)
        return Owner(_shortened(path), root.text, begin, root.own, root.subject, root.hidden, chain)


def _chain(nodes: list[Any], towards: list[int], index: int) -> tuple[Any, ...]:
    chain = []
    while index >= 0:
        chain.append(nodes[index])
        index = towards[index]
    return tuple(chain)


def _class_root(node: Any) -> Root | None:
    """A class that is where its name says lives as long as its module, and holds its attributes.

    Any other is what somebody made, as a mock makes a class for itself alone: it lives only as long
    as that, and is in a circle with itself that only the collector ends.
    """
    if not is_a(node, type):
        return None
    module = module_of(node)
    if module.partition(".")[0] in NOT_OWNERS:
        return Root("", own=False)
    if not _is_at_its_name(node, module):
        return None
    return Root(f"{module}.{node.__qualname__}", own=not is_library(module_file(module)))


def _is_at_its_name(kind: type, module: str) -> bool:
    found: Any = sys.modules.get(module)
    for name in kind.__qualname__.split("."):
        found = (vars(found) if is_a(found, type) else namespace_of(found)).get(name)
    return found is kind


_SUSPENDED = ((CoroutineType, "cr"), (GeneratorType, "gi"), (AsyncGeneratorType, "ag"))


def _is_passing(node: Any) -> bool:
    """Whether a holder lives for the test's sake only, or for a traceback's."""
    kind = type(node)  # never is_a(): it asks proxies, which are somebody's code
    if issubclass(kind, FrameType | TracebackType | asyncio.AbstractEventLoop):
        return True  # a loop holds what it runs: that is work in progress, and no answer either
    if issubclass(kind, GeneratorType) and is_own(node.gi_code.co_filename):
        return True
    for suspended, prefix in _SUSPENDED:
        if kind is suspended and getattr(node, f"{prefix}_running"):
            return True  # its variables are those of code that runs now
    return not issubclass(kind, type | ModuleType) and is_for_the_test(kind)


def _held_by_c(node: Any) -> bool:
    """Whether nothing but C code can be what keeps an object alive.

    A running function keeps what is in its variables, and on its stack of half-done work: a bound
    method that a ``with`` will call, an iterator, a coroutine. Those are left out.
    """
    if is_a(node, MethodType | CoroutineType | GeneratorType | AsyncGeneratorType | Context):
        return False
    if type(node).__name__.endswith("iterator") or is_future(node):
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if any(value is node for value in local_variables(frame).values()) and not (
            is_own(frame.f_code.co_filename)
        ):
            return False
        frame = frame.f_back
    return True


def _name_of(var: ContextVar[Any]) -> str:
    for name, module in tuple(sys.modules.items()):
        for key, value in tuple(namespace_of(module).items()):
            if value is var:
                return f"{name}.{key}"
    return f"<ContextVar {var.name!r}>"


def _shortened(path: str) -> str:
    if len(path) > _LONGEST_PATH:
        path = f"{path[: _LONGEST_PATH * 2 // 3]} … {path[-_LONGEST_PATH // 3 :]}"
    return by_thread_name(path)
