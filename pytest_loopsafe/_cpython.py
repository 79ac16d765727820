"""All that is private of asyncio, in one place.

Everything that this package knows of asyncio beyond its documentation is here and is checked by
the canary each time the detectors arm, on the very interpreter they run on. Read from the sources
of CPython 3.11 to 3.13.

A task that yields a future of another loop
    ``task_step_handle_result_impl`` in ``Modules/_asynciomodule.c`` makes the RuntimeError and
    schedules ``loop.call_soon(TaskStepMethWrapper(task, exc))``. The wrapper is the only C object
    of that moment which we can see: ``__self__`` is the task, and its referents hold the
    exception. A normal step's wrapper refers to the task alone (3.12 and later: and to its own
    type, a heap type). The pure-Python Task passes the exception as the callback's argument.

The future itself
    is reached through the suspended coroutine: the last link of its await chain is the future's C
    iterator, and the iterator refers to the future.
"""

from __future__ import annotations

import asyncio
import gc
import os
from asyncio import base_events, events, futures, locks, mixins, queues, tasks
from asyncio import sslproto as _sslproto
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any

get_running_loop: Callable[[], asyncio.AbstractEventLoop | None] = events._get_running_loop
set_running_loop: Callable[[asyncio.AbstractEventLoop | None], None] = events._set_running_loop

BaseEventLoop = base_events.BaseEventLoop
LoopBoundMixin: type[Any] = mixins._LoopBoundMixin
ContextManagerMixin: type[Any] = locks._ContextManagerMixin
_get_loop: Callable[[Any], asyncio.AbstractEventLoop] = vars(futures)["_get_loop"]
INTERNALS = tuple(vars(module) for module in (locks, queues))
"""The globals of the modules that use primitives inside primitives."""

ENSURE_FUTURE: tuple[tuple[Any, str], ...] = (
    ((tasks, "_ensure_future"),)
    if hasattr(tasks, "_ensure_future")  # 3.11; later versions have one function under two names
    else ((tasks, "ensure_future"), (asyncio, "ensure_future"))
)
"""Where the function lives that refuses a future of another loop with a ValueError."""

WAIT = (tasks, "_wait")
"""What ``asyncio.wait`` calls through its module, and so also for ``from asyncio import wait``."""

QUEUE_ITEMS = "_queue"  # the attribute of a Queue that has what is in it

STREAM_READ = (asyncio.StreamReader, "_maybe_resume_transport")
"""What every read of a stream calls once it has data, whether it had to wait or not."""

HAND_OVERS: tuple[Any, ...] = (asyncio, tasks)
"""Where ``run_coroutine_threadsafe`` is looked up."""

LOOP_SETTERS: tuple[Any, ...] = (asyncio, events)
"""Where ``set_event_loop`` is looked up; a Runner calls it through the second."""


def namespace_of(module: Any) -> dict[str, Any]:
    """A module's variables, without loading one that is still to be loaded (LazyLoader's)."""
    if not issubclass(type(module), ModuleType):
        return {}
    names: dict[str, Any] = _NAMESPACE.__get__(module)
    return names


_NAMESPACE: Any = vars(ModuleType)["__dict__"]


def forget_loops_of_parent() -> None:
    """Have a forked child know of no running loop and of none that was installed.

    Python does so itself from 3.12 on (``asyncio.events.on_fork``). Before that, a child takes
    over the loop that a plugin or an async test of the parent has installed, and a worker that is
    started by hand has none.
    """
    events._set_running_loop(None)
    policy: Any = getattr(events, "_event_loop_policy", None)
    if policy is not None and hasattr(policy, "_local"):
        policy._local = type(policy._local)()


def step_type() -> tuple[type, int]:
    """The type of a C task's step callback, and how many objects a normal one refers to.

    Asked of the C task itself, for nest_asyncio puts the pure-Python one under all of asyncio's
    names for it. Where there is no C task, no callback has this type.
    """
    try:
        from _asyncio import Task
    except ImportError:
        return type(None), 0
    loop: Any = base_events.BaseEventLoop()
    try:

        async def nothing() -> None:
            return None

        task = Task(nothing(), loop=loop)
        handle = loop._ready.popleft()
        found = type(handle._callback), len(gc.get_referents(handle._callback))
        previous = get_running_loop()
        set_running_loop(loop)
        try:
            handle._run()
        finally:
            set_running_loop(previous)
        task.result()
        return found
    finally:
        loop.close()


def step_error(callback: Any) -> BaseException | None:
    """The exception that a task step is about to throw into its coroutine."""
    for referent in gc.get_referents(callback):
        if isinstance(referent, BaseException):
            return referent
    return None


def run_ready(loop: Any) -> None:
    """Run what is scheduled on a loop that has no selector, once, as ``_run_once`` would."""
    previous = get_running_loop()
    set_running_loop(loop)
    try:
        for _ in range(len(loop._ready)):
            loop._ready.popleft()._run()
    finally:
        set_running_loop(previous)


def future_loop(future: Any) -> asyncio.AbstractEventLoop | None:
    """The loop a future belongs to, without raising."""
    try:
        loop: asyncio.AbstractEventLoop | None = _get_loop(future)
    except Exception:  # noqa: BLE001 - a duck-typed future may do anything
        return None
    return loop


def awaited_future(last_link: object) -> Any:
    """The future behind the last link of an await chain, or None."""
    if asyncio.isfuture(last_link):
        return last_link
    for referent in gc.get_referents(last_link):
        if not isinstance(referent, type) and asyncio.isfuture(referent):
            return referent
    return None


def keeps_debug_traceback(method: Any) -> bool:
    """Whether a method belongs to asyncio's own loops, whose handles remember where they were made.

    True in debug mode only, which such loops keep in ``_debug``.
    """
    return getattr(method, "__globals__", None) is vars(base_events)


def forget_hook(handle: Any) -> None:
    """Take our frame off the place where a handle was made, as asyncio takes its own off."""
    made = getattr(handle, "_source_traceback", None)
    if made and made[-1].filename.startswith(os.path.dirname(__file__)):
        del made[-1]


def current_task() -> Any:
    """The task that runs in this thread, or None."""
    loop = get_running_loop()
    return asyncio.current_task(loop) if loop is not None else None


def awaiter_of(task: Any) -> Any:
    """The task that waits for this one, directly or through ``gather`` and ``shield``; or None.

    A waiter registers a callback. A task's own is bound to the task; those of ``gather``,
    ``shield`` (closures) and ``wait_for`` (a ``partial``, 3.11) have a future that leads on.
    """
    pending: list[Any] = [task]
    seen: set[int] = set()
    while pending and len(seen) < 20:
        future = pending.pop(0)
        seen.add(id(future))
        for callback, _ in getattr(future, "_callbacks", None) or ():
            waiter = getattr(callback, "__self__", None)
            if isinstance(waiter, asyncio.Task) and waiter is not task:
                return waiter
            cells = getattr(callback, "__closure__", None) or ()
            for content in (*map(_content, cells), *getattr(callback, "args", ())):
                if asyncio.isfuture(content) and id(content) not in seen:
                    pending.append(content)
    return None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def source_traceback(thing: Any) -> Any:
    """Where a future, task or loop was made, when asyncio's debug mode recorded it."""
    return getattr(thing, "_source_traceback", None)


def bound_loop(primitive: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a primitive is bound to; None while it has never had a waiter.

    Some rest on others: a Barrier on a Condition, that on a Lock, a Queue's join on an Event.
    """
    for name in ("_loop", "_cond", "_lock", "_finished"):
        part = getattr(primitive, name, None)
        if isinstance(part, LoopBoundMixin):
            part = bound_loop(part)
        if part is not None:
            loop: asyncio.AbstractEventLoop = part
            return loop
    return None


def runner_loop(runner: Any) -> asyncio.AbstractEventLoop | None:
    """The loop of a Runner, without making one."""
    loop: asyncio.AbstractEventLoop | None = getattr(runner, "_loop", None)
    return loop


def coroutine_code(awaitable: Any) -> CodeType | None:
    """The code of a coroutine, or of the one that a task runs; None for anything else."""
    coroutine = awaitable.get_coro() if isinstance(awaitable, asyncio.Task) else awaitable
    code = getattr(coroutine, "cr_code", None)
    return code if isinstance(code, CodeType) else None


def shows_connections(loop: object) -> bool:
    """Whether a loop's transports can be seen when they are made; uvloop's are compiled."""
    return isinstance(loop, BaseEventLoop)


def shows_kind(kind: str) -> bool:
    """The same, of a loop that is gone, by the qualified name of its class."""
    return not kind.startswith("uvloop.")


def transport_loop(transport: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that drives a transport."""
    loop: asyncio.AbstractEventLoop | None = getattr(transport, "_loop", None)
    return loop


def timer_loop(handle: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that a timer was set in."""
    loop: asyncio.AbstractEventLoop | None = getattr(handle, "_loop", None)
    return loop


def is_due(handle: Any) -> bool:
    """Whether a timer has still to ring; one that its loop took with it, never will."""
    return bool(getattr(handle, "_scheduled", False)) and not handle.cancelled()


def cancelled_tasks(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """The cancelled tasks of a loop that somebody still has; none where they are not listed.

    ``all_tasks()`` reads the same weak set and leaves out what is done. From 3.14 on C code keeps
    a list of its own, without what is done.
    """
    known = vars(tasks).get("_scheduled_tasks", vars(tasks).get("_all_tasks", ()))
    try:
        return [one for one in list(known) if one.cancelled() and future_loop(one) is loop]
    except RuntimeError:  # another thread's tasks came and went meanwhile
        return []


def due_timers(loop: Any) -> list[Any]:
    """The timers of a loop that have still to ring; none where a loop does not show them."""
    return [handle for handle in tuple(getattr(loop, "_scheduled", ())) if is_due(handle)]


def is_waiting(handle: Any, loop: Any) -> bool:
    """Whether what was scheduled on a loop has still to run."""
    waiting = (*tuple(getattr(loop, "_ready", ())), *tuple(getattr(loop, "_scheduled", ())))
    return not handle.cancelled() and any(one is handle for one in waiting)


def is_in_future(handle: Any, loop: Any) -> bool:
    """Whether a timer is not due yet."""
    return isinstance(handle, asyncio.TimerHandle) and handle.when() > loop.time()


def is_stop(handle: Any, loop: Any) -> bool:
    """Whether what was scheduled is to stop the loop."""
    callback: Any = getattr(handle, "_callback", None)
    return getattr(callback, "__self__", None) is loop and callback.__name__ == "stop"


def timer_callback(handle: Any) -> Any:
    """What a timer is to call."""
    return getattr(handle, "_callback", None)


def loop_thread(loop: Any) -> int | None:
    """The identifier of the thread that runs a loop now; None where that cannot be told."""
    ident: int | None = getattr(loop, "_thread_id", None)
    return ident


def free_permits(primitive: Any) -> int:
    """How many more may enter a lock (1 or 0) or a semaphore."""
    if isinstance(primitive, asyncio.Lock):
        return 0 if primitive.locked() else 1
    permits: int = getattr(primitive, "_value", 0)
    return permits


def permits_of(gate: Any) -> int | None:
    """How many permits a semaphore has while nobody is in it; None for a lock or a condition."""
    permits = getattr(gate, "_value", None) if isinstance(gate, asyncio.Semaphore) else None
    return permits if type(permits) is int else None


def in_use(primitive: Any) -> bool:
    """Whether a lock, semaphore or condition is held or waited on."""
    if isinstance(primitive, asyncio.Condition):
        return primitive.locked() or bool(getattr(primitive, "_waiters", ()))
    waiters = getattr(primitive, "_waiters", None)
    return bool(waiters) or bool(primitive.locked())


def is_awaited(primitive: Any) -> bool:
    """Whether a primitive is held, or has a waiter that has not been served."""
    if isinstance(primitive, asyncio.Barrier):
        return primitive.n_waiting > 0
    if isinstance(primitive, asyncio.Queue):
        waiters = (*getattr(primitive, "_getters", ()), *getattr(primitive, "_putters", ()))
        return any(not one.done() for one in waiters)
    if isinstance(primitive, asyncio.Event):
        return any(not one.done() for one in getattr(primitive, "_waiters", ()))
    return in_use(primitive)


def would_wait(primitive: Any, method: str) -> bool:
    """Whether a blocking method of a primitive would have to make a waiter now, and so bind."""
    if method == "acquire" or (method == "__aenter__" and hasattr(primitive, "locked")):
        return bool(primitive.locked())
    if isinstance(primitive, asyncio.Barrier):
        return primitive.n_waiting + 1 < primitive.parties
    if isinstance(primitive, asyncio.Event):
        return not primitive.is_set()
    if isinstance(primitive, asyncio.Queue):
        if method == "get":
            return primitive.empty()
        if method == "put":
            return primitive.full()
        return bool(getattr(primitive, "_unfinished_tasks", 0))
    return method == "wait"


def transport_classes() -> list[type]:
    """Asyncio's own classes of transports that hold a socket or a pipe."""
    from asyncio import selector_events  # not on every platform's start-up path

    found: list[Any] = [getattr(selector_events, "_SelectorTransport", None)]
    try:
        from asyncio import unix_events
    except ImportError:  # Windows
        pass
    else:
        found += [
            getattr(unix_events, name, None)
            for name in ("_UnixReadPipeTransport", "_UnixWritePipeTransport")
        ]
    return [cls for cls in found if cls is not None]


Server: type[Any] = base_events.Server


def transport_writers() -> list[tuple[type, str]]:
    """The methods by which asyncio's own transports send data, as (class, name)."""
    from asyncio import selector_events  # not on every platform's start-up path

    found: list[tuple[type, str]] = []
    candidates: list[Any] = [
        getattr(selector_events, "_SelectorSocketTransport", None),
        getattr(selector_events, "_SelectorDatagramTransport", None),
        getattr(_sslproto, "_SSLProtocolTransport", None),
    ]
    try:
        from asyncio import unix_events
    except ImportError:  # Windows
        pass
    else:
        candidates.append(getattr(unix_events, "_UnixWritePipeTransport", None))
    for cls in candidates:
        for name in ("write", "writelines", "sendto"):
            if cls is not None and name in vars(cls):
                found.append((cls, name))
    return found
