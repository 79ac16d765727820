"""``python lesser_platforms.py PLATFORM ARGS...``: pytest and the plugin where there is less.

What a platform does not have is taken away before the plugin is loaded. CPython's own modules are
loaded before that: on the real platform they are others. ``os.name`` stays, `pathlib` goes by it.
The last line that is printed is JSON: each test's outcome, and what was said of it.
"""

import asyncio
import builtins
import errno
import io
import json
import logging.handlers
import multiprocessing.connection
import os
import platform
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

import pytest

LOADED = (logging.handlers, multiprocessing.connection, ssl, subprocess)
platform.uname(), sysconfig.get_config_vars()  # asked once, and kept


def take_away(owner: Any, *names: str) -> None:
    for name in names:
        for one in [one for one in dir(owner) if one == name or name.endswith("*")]:
            if one == name or one.startswith(name[:-1]):
                delattr(owner, one)


def no_fork() -> None:
    take_away(os, "fork", "forkpty", "register_at_fork", "posix_spawn", "posix_spawnp")


def no_alarm() -> None:
    take_away(signal, "SIGALRM", "SIGVTALRM", "SIGPROF", "alarm", "setitimer", "getitimer")


def without(*folders: str) -> None:
    """Have it as if these folders were not there, for those who ask Python."""

    def asking(original: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folders):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return original(path, *args, **kwargs)

        return ask

    for owner, name in ((os, "listdir"), (os, "scandir"), (os, "stat"), (io, "open")):
        setattr(owner, name, asking(getattr(owner, name)))
    builtins.open = io.open


def no_proc() -> None:
    without("/proc", "/dev/fd")


def no_modules() -> None:
    for name in ("fcntl", "resource", "termios", "grp", "pwd", "syslog"):
        sys.modules[name] = None  # type: ignore[assignment]


def no_affinity() -> None:
    """Nor asks anybody for it."""
    take_away(os, "sched_getaffinity")
    if hasattr(os, "process_cpu_count"):  # from 3.13 on, which was made to ask for it
        os.process_cpu_count = os.cpu_count


def darwin() -> None:
    """It forks and has alarms; its descriptors are in /dev/fd, and it has no epoll."""
    without("/proc")
    take_away(signal, "SIGRTMIN", "SIGRTMAX", "SIGPOLL", "SIGPWR", "SIGSTKFLT", "pidfd_send_signal")
    take_away(socket, "TCP_INFO", "SO_PEERCRED", "AF_NETLINK", "AF_PACKET", "TCP_QUICKACK")
    take_away(os, "pidfd_open", "memfd_create", "eventfd", "O_TMPFILE")
    no_affinity()
    take_away(time, "pthread_getcpuclockid", "CLOCK_BOOTTIME")
    take_away(selectors, "EpollSelector")
    selectors.DefaultSelector = selectors.PollSelector  # type: ignore[misc]
    sys.platform = "darwin"


def win32() -> None:
    from proactor_loop import ProactorEventLoop

    no_fork()
    no_alarm()
    no_modules()
    without("/proc", "/dev/fd", "/dev/tty")
    take_away(os, "WNOHANG", "WUNTRACED", "WCONTINUED", "WIF*", "WEXITSTATUS", "wait3", "wait4")
    take_away(os, "killpg", "setpgid", "getpgid", "setsid", "getsid", "nice", "pidfd_open")
    take_away(os, "getuid", "geteuid", "getgid", "getegid", "chown", "lchown", "fchown")
    take_away(os, "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "ctermid", "uname")
    take_away(os, "mkfifo", "statvfs", "pread", "pwrite", "readv", "writev", "sched_*", "openpty")
    no_affinity()
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    if sys.version_info < (3, 13):
        take_away(os, "fchmod")
    take_away(signal, "SIGRT*", "SIGKILL", "SIGCHLD", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGHUP")
    take_away(signal, "SIGSTOP", "SIGCONT", "SIGWINCH", "SIGPIPE", "pthread_*", "siginterrupt")
    take_away(signal, "sigwait*", "sigtimedwait", "sigpending", "pause", "pidfd_send_signal")
    take_away(time, "clock_gettime*", "clock_settime*", "clock_getres", "pthread_getcpuclockid")
    take_away(selectors, "EpollSelector", "PollSelector")
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc]
    family, pair = socket.AF_UNIX, socket.socketpair
    socket.socketpair = lambda *_: pair(family)  # type: ignore[assignment]
    take_away(socket, "AF_UNIX", "TCP_INFO", "SO_PEERCRED", "CMSG_*", "SCM_*")
    if asyncio.unix_events is not None:
        asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = ProactorEventLoop
        if hasattr(asyncio.events, "_init_event_loop_policy"):  # from 3.14 on; later it asks for
            asyncio.events._init_event_loop_policy()  # the platform
    sys.modules["asyncio.unix_events"] = None  # type: ignore[assignment]
    take_away(asyncio, "unix_events", "_Unix*")
    for name in ("ProactorEventLoop", "EventLoop"):
        setattr(asyncio, name, ProactorEventLoop)
    asyncio.SelectorEventLoop = asyncio.selector_events.BaseSelectorEventLoop
    sys.platform = "win32"


PLATFORMS = {one.__name__: one for one in (no_fork, no_alarm, no_proc, no_modules, darwin, win32)}


class Outcomes:
    """What became of each test, and what was said of it."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        before = self.of.get(name, ("passed", ""))
        if report.outcome != "passed" or report.when == "call":
            outcome = report.outcome if before[0] == "passed" else before[0]
            found = [str(value) for key, value in report.user_properties if key == "loopsafe"]
            self.of[name] = outcome, "\n".join([before[1], report.longreprtext, *found])


def main(name: str, *arguments: str) -> int:
    PLATFORMS[name]()
    outcomes = Outcomes()
    options = ["-p", "pytest_loopsafe.plugin", "-p", "no:cacheprovider", "--capture=sys", "-q"]
    status = pytest.main([*options, *arguments], plugins=[outcomes])
    print(json.dumps(outcomes.of), flush=True)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
