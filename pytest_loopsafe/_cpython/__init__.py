"""All that is private of asyncio, in one room, by topic.

Everything that this package knows of asyncio beyond its documentation is here. Read from the
sources of CPython 3.11 to 3.15; each file names the functions it was read from. Each topic has a
canary, a small piece of real asyncio, tried once in each process on the very interpreter that it
runs on: where one is not as it should be, `blind` says so, and each report names the rules that may
miss something.
"""

from __future__ import annotations

from pytest_loopsafe._cpython import (
    asyncgens,
    coroutines,
    debug,
    executors,
    forks,
    futures,
    handles,
    loops,
    memory,
    primitives,
    queues,
    runners,
    servers,
    steps,
    streams,
    tasks,
    transports,
)
from pytest_loopsafe._cpython.asyncgens import FINALIZER, FIRST_ITERATION, open_asyncgens
from pytest_loopsafe._cpython.coroutines import UNAWAITED, has_begun, unseen_by_warnings
from pytest_loopsafe._cpython.debug import (
    forget_hook,
    in_debug,
    keeps_debug_traceback,
    source_traceback,
)
from pytest_loopsafe._cpython.executors import followers, is_deserted, is_shut
from pytest_loopsafe._cpython.forks import (
    SELECTOR_BASE,
    SIGNAL_HANDLER,
    gives_work,
    handled_signals,
    shared_selector,
)
from pytest_loopsafe._cpython.futures import (
    FUTURE_MARK,
    awaited_by,
    awaiter_of,
    callbacks_of,
    future_loop,
    future_parts,
    is_gathering,
    shielded_by,
)
from pytest_loopsafe._cpython.handles import (
    due_timers,
    is_due,
    is_in_future,
    is_stop,
    is_told_to_others,
    is_waiting,
    timer_callback,
    timer_loop,
    told_of,
)
from pytest_loopsafe._cpython.loops import (
    CLOSED_CHECK,
    CLOSED_MARK,
    BaseEventLoop,
    forget_loops_of_parent,
    get_running_loop,
    loop_thread,
    run_ready,
    running,
    set_running_loop,
    shows_connections,
    shows_kind,
    watched_descriptors,
)
from pytest_loopsafe._cpython.memory import Footprint, footprint
from pytest_loopsafe._cpython.modules import namespace_of
from pytest_loopsafe._cpython.monitoring import error_monitoring
from pytest_loopsafe._cpython.primitives import (
    BINDING,
    INTERNALS,
    QUEUE_ITEMS,
    LoopBoundMixin,
    bind,
    bound_loop,
    free_permits,
    in_use,
    is_awaited,
    may_bind,
    permits_of,
    queued,
    room_in,
)
from pytest_loopsafe._cpython.runners import (
    LOOP_SETTERS,
    as_of_asyncio,
    installed_loop,
    policies,
    runner_context,
    runner_loop,
)
from pytest_loopsafe._cpython.scheduling import quick_call_soon, runs_plainly
from pytest_loopsafe._cpython.servers import Server
from pytest_loopsafe._cpython.steps import (
    CALLBACK_BEGINS,
    awaited_future,
    goes_on_by,
    step_error,
    step_type,
)
from pytest_loopsafe._cpython.streams import STREAM_READ
from pytest_loopsafe._cpython.tasks import (
    ENSURE_FUTURE,
    FORGETS_DONE,
    HAND_OVERS,
    WAIT,
    all_tasks,
    cancelled_tasks,
    coroutine_code,
    coroutine_of,
    current_task,
    is_loops_own,
    marked_async,
    note_task,
    task_in,
)
from pytest_loopsafe._cpython.topic import Topic
from pytest_loopsafe._cpython.transports import (
    OF_CONNECTIONS,
    closes_transport,
    descriptor_of,
    holds_open,
    transport_classes,
    transport_loop,
    transport_of,
    transport_writers,
)

__all__ = [
    "BINDING",
    "CALLBACK_BEGINS",
    "CLOSED_CHECK",
    "CLOSED_MARK",
    "ENSURE_FUTURE",
    "FINALIZER",
    "FIRST_ITERATION",
    "FORGETS_DONE",
    "FUTURE_MARK",
    "HAND_OVERS",
    "INTERNALS",
    "LOOP_SETTERS",
    "OF_CONNECTIONS",
    "QUEUE_ITEMS",
    "SELECTOR_BASE",
    "SIGNAL_HANDLER",
    "STREAM_READ",
    "TOPICS",
    "UNAWAITED",
    "WAIT",
    "BaseEventLoop",
    "Footprint",
    "LoopBoundMixin",
    "Server",
    "Topic",
    "all_tasks",
    "as_of_asyncio",
    "awaited_by",
    "awaited_future",
    "awaiter_of",
    "bind",
    "blind",
    "bound_loop",
    "callbacks_of",
    "cancelled_tasks",
    "closes_transport",
    "coroutine_code",
    "coroutine_of",
    "current_task",
    "descriptor_of",
    "due_timers",
    "error_monitoring",
    "followers",
    "footprint",
    "forget_hook",
    "forget_loops_of_parent",
    "free_permits",
    "future_loop",
    "future_parts",
    "get_running_loop",
    "gives_work",
    "goes_on_by",
    "handled_signals",
    "has_begun",
    "holds_open",
    "in_debug",
    "in_use",
    "installed_loop",
    "is_awaited",
    "is_deserted",
    "is_due",
    "is_gathering",
    "is_in_future",
    "is_loops_own",
    "is_shut",
    "is_stop",
    "is_told_to_others",
    "is_waiting",
    "keeps_debug_traceback",
    "loop_thread",
    "marked_async",
    "may_bind",
    "namespace_of",
    "note_task",
    "open_asyncgens",
    "permits_of",
    "policies",
    "queued",
    "quick_call_soon",
    "room_in",
    "run_ready",
    "runner_context",
    "runner_loop",
    "running",
    "runs_plainly",
    "set_running_loop",
    "shared_selector",
    "shielded_by",
    "shows_connections",
    "shows_kind",
    "source_traceback",
    "step_error",
    "step_type",
    "task_in",
    "timer_callback",
    "timer_loop",
    "told_of",
    "transport_classes",
    "transport_loop",
    "transport_of",
    "transport_writers",
    "unseen_by_warnings",
    "watched_descriptors",
]

TOPICS: tuple[Topic, ...] = (
    *loops.TOPICS,
    *memory.TOPICS,
    *steps.TOPICS,
    *futures.TOPICS,
    *tasks.TOPICS,
    *executors.TOPICS,
    *coroutines.TOPICS,
    *forks.TOPICS,
    *handles.TOPICS,
    *primitives.TOPICS,
    *queues.TOPICS,
    *transports.TOPICS,
    *streams.TOPICS,
    *servers.TOPICS,
    *asyncgens.TOPICS,
    *runners.TOPICS,
    *debug.TOPICS,
)


def blind() -> tuple[Topic, ...]:
    """The topics that are not on this interpreter what they should be."""
    return tuple(topic for topic in TOPICS if not topic.is_seen())
