"""Where the platform has less, a feature does without it or says what it needs.

The platforms are stood in for by processes from which is taken what they do not have
(`lesser_platforms`); Windows' event loop by asyncio's own over `proactor_loop`.
"""

import ast
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._report import files
from pytest_loopsafe._spool.reader import SpoolReader
from pytest_loopsafe._spool.writer import SpoolWriter
from pytest_loopsafe._words import descriptors

PACKAGE = Path(pytest_loopsafe.__file__).parent
HERE = Path(__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stands in for the others")


# -- the table -------------------------------------------------------------------------------------

TESTS = """
import asyncio, os, socket, time
import pytest

PARENT = os.getpid()
kept = {}
lock = asyncio.Lock()
queue = asyncio.Queue()


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.multi_loop
async def test_safe(port):
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"ping")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.mark.multi_loop(schedule="recycled")
async def test_safe_recycled():
    async with asyncio.Lock():
        await asyncio.to_thread(lambda: None)


@pytest.mark.multi_loop(schedule="threads")
def test_safe_in_threads():
    asyncio.run(asyncio.sleep(0))


@pytest.mark.multi_loop
async def test_queue():
    try:
        async with asyncio.timeout(0.001):
            await queue.get()
    except TimeoutError:
        pass


@pytest.mark.multi_loop
async def test_connection(port):
    if "writer" not in kept:
        _, kept["writer"] = await asyncio.open_connection("127.0.0.1", port)
    try:
        kept["writer"].write(b"ping")
    except Exception:
        pass


@pytest.mark.multi_loop
async def test_replaced(port):
    _, kept["replaced"] = await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.multi_loop
async def test_listener():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    server.close()


@pytest.mark.multi_loop(timeout=0.2)
async def test_hang():
    await asyncio.Event().wait()


@pytest.mark.multi_loop(timeout=0.2)
def test_hang_outside_of_loops():
    while True:
        time.sleep(0.001)


def test_audited():
    async def holds():
        async with lock:
            await asyncio.sleep(0)

    async def two():
        await asyncio.gather(holds(), holds())

    asyncio.run(two())
    asyncio.run(two())


@pytest.mark.multi_loop(schedule="fork", loops=2)
async def test_fork():
    assert os.getpid() != PARENT


def test_celery(loopsafe_celery):
    from celery import Celery

    app = Celery("it")

    @app.task
    def add(a, b):
        return a + b

    assert loopsafe_celery.run(add, 1, 2, times=1).results == (3,)
"""

WORKS = ""
BROKEN = {
    "test_queue": "LS102",
    "test_connection": "LS103",
    "test_replaced": "LS202",
    "test_hang": "LS106",
    "test_hang_outside_of_loops": "LS106",
    "test_audited": "LS102",
}
SAFE = dict.fromkeys(
    ("test_safe", "test_safe_recycled", "test_safe_in_threads", "test_listener"), WORKS
)
ANYWHERE = BROKEN | SAFE

NO_FORK = (
    "schedule='fork' is not possible on {}: it runs each pass in a forked child, and there is no "
    "os.fork() here; skip the test there, or use 'consecutive'"
)
NO_WORKER = (
    "the fixture loopsafe_celery is not possible on {}: its worker is a fork of the test process, "
    "and there is no os.fork() here; skip the test there, or run the task's function with "
    "loopsafe_runner"
)
NO_FCNTL = (
    "the fixture loopsafe_celery is not possible here: Celery needs the module fcntl, which this "
    "Python does not have; run the task's function with loopsafe_runner"
)
NOT_WATCHED = (
    "pytest-loopsafe: on {} the children of a prefork pool are started anew, and these are not "
    "watched: start the worker with --pool=solo or --pool=threads."
)

PLATFORMS: dict[str, dict[str, str]] = {
    "no_fork": {"test_fork": NO_FORK.format("linux"), "test_celery": NO_WORKER.format("linux")},
    "no_alarm": {"test_fork": WORKS, "test_celery": WORKS},
    "no_proc": {"test_fork": WORKS, "test_celery": WORKS},
    "no_modules": {"test_fork": WORKS, "test_celery": NO_FCNTL},
    "darwin": {"test_fork": WORKS, "test_celery": WORKS},
    "win32": {"test_fork": NO_FORK.format("win32"), "test_celery": NO_WORKER.format("win32")},
}
"""What is said of each test, beside what is the same anywhere."""


Run = tuple[Path, "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """One process for each platform, all at once: most of their time is Python's own start."""
    begun: dict[str, Run] = {}
    for platform in PLATFORMS:
        folder = tmp_path_factory.mktemp(platform)
        (folder / "test_it.py").write_text(TESTS, encoding="utf-8")
        begun[platform] = (
            folder,
            subprocess.Popen(
                [sys.executable, HERE / "lesser_platforms.py", platform, "--loopsafe"]
                + [
                    "-o",
                    "loopsafe_own=!proactor_loop",
                    "--loopsafe-json=report.json",
                    "test_it.py",
                ],
                cwd=folder,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ),
        )
    yield begun
    for _, process in begun.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_feature_works_or_says_what_it_needs(platform: str, runs: dict[str, Run]) -> None:
    folder, process = runs[platform]
    output, _ = process.communicate(timeout=120)
    for word in ("Traceback", "AttributeError", "ImportError", "ModuleNotFound", "INTERNALERROR"):
        assert word not in output
    assert "LoopsafeWarning" not in output  # a detector that was switched off
    outcomes: dict[str, tuple[str, str]] = json.loads(output.splitlines()[-1])
    expected = ANYWHERE | PLATFORMS[platform]
    assert {name: outcome for name, (outcome, _) in outcomes.items()} == {
        name: "failed" if said else "passed" for name, said in expected.items()
    }, output
    for name, said in expected.items():
        assert said in outcomes[name][1], name
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    notes = [note for test in report["tests"] for note in test["notes"]]
    assert not [note for note in notes if "cannot see" in note]


def _environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(PACKAGE.parent), str(HERE)])
    left_out = ("PYTEST", "PYTHONDONTWRITEBYTECODE")  # to compile it all takes half of the time
    given = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return given | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | more


WORKER = """
import sys
import lesser_platforms

pool = sys.argv[1]
lesser_platforms.PLATFORMS["no_fork"]()
from celery import signals
import pytest_loopsafe.celery

class task:
    name = "shop.charge"


class worker:
    pool_cls = f"celery.concurrency.{pool}:TaskPool"


signals.worker_init.send(sender=worker)
signals.worker_ready.send(sender=worker)
signals.task_prerun.send(sender=task, task_id="1", task=task)
signals.task_postrun.send(sender=task, task_id="1", task=task, retval=None, state="SUCCESS")
signals.worker_shutdown.send(sender=None)
"""


@pytest.mark.parametrize(
    ("pool", "calls", "says"),
    [
        ("solo", 1, ""),
        (
            "prefork",
            0,
            f"{NOT_WATCHED.format('linux')}\n",
        ),
    ],
)
def test_a_worker_of_ones_own_without_fork(
    pool: str, calls: int, says: str, tmp_path: Path
) -> None:
    pytest.importorskip("celery")
    done = subprocess.run(
        [sys.executable, "-c", WORKER, pool],
        env=_environment(LOOPSAFE_SPOOL=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, says)
    reader = SpoolReader(tmp_path)
    reader.poll()
    assert [call.state for call in reader.invocations] == ["SUCCESS"] * calls


def test_the_documentation_has_these_words() -> None:
    page = PACKAGE.parent / "docs" / "reference" / "platforms.md"
    if not page.is_file():
        pytest.skip("an installed copy has no docs")
    text = " ".join(page.read_text(encoding="utf-8").split())
    for words in (NO_FORK.format("win32"), NO_WORKER.format("win32"), NOT_WATCHED.format("darwin")):
        assert words in text


# -- what is not asked there -----------------------------------------------------------------------


def test_no_process_is_sent_ctrl_c_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # os.kill(pid, 0) is GenerateConsoleCtrlEvent(CTRL_C_EVENT) there.
    writer = SpoolWriter(tmp_path, "worker")
    reader = SpoolReader(tmp_path)
    reader.poll()
    asked: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: asked.append(arguments))
    (process,) = reader.processes
    assert process.alive()
    assert asked == [(os.getpid(), 0)]
    monkeypatch.setattr(sys, "platform", "win32")
    assert process.alive()
    writer.write("exit")
    writer.close()
    reader.poll()
    assert not process.alive()
    assert len(asked) == 1


def test_a_report_is_written_again_where_files_have_no_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From 3.13 on Windows has an os.fchmod(), and still no os.fchown().
    monkeypatch.delattr(os, "fchown")
    for text in ("old", "new"):
        assert files.write(tmp_path / "report.json", text) is None
    assert (tmp_path / "report.json").read_text() == "new"


def test_a_socket_is_known_again_where_its_number_is_a_handle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        for platform in ("linux", "win32"):
            monkeypatch.setattr(sys, "platform", platform)
            known = descriptors.identity_of(sock.fileno())
            assert known is not None
            assert known == descriptors.identity_of(sock.fileno())
            with socket.socket() as other:
                assert known != descriptors.identity_of(other.fileno())
        number = sock.fileno()
    assert descriptors.identity_of(number) is None


def test_the_descriptors_are_found_where_nothing_lists_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = set(descriptors.numbers())
    numbers = os.pipe()
    monkeypatch.setattr(os, "listdir", _is_not_there)
    try:
        assert set(descriptors.numbers()) >= set(numbers)
        assert listed - set(descriptors.numbers()) <= {max(listed)}  # that of the list itself
    finally:
        for number in numbers:
            os.close(number)


def _is_not_there(*_: Any) -> Any:
    raise FileNotFoundError


# -- what the source may name ----------------------------------------------------------------------

NOT_ON_WINDOWS = {
    "os": (
        "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK WNOHANG chown ctermid fchmod fchown fork "
        "forkpty getegid geteuid getgid getpgid getsid getuid killpg lchown mkfifo nice openpty "
        "pidfd_open pread pwrite readv register_at_fork sched_getaffinity setpgid setsid statvfs "
        "sysconf uname wait wait3 wait4 writev"
    ),
    "signal": (
        "ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGPROF SIGRTMAX SIGRTMIN "
        "SIGSTOP SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH alarm getitimer pause pthread_kill "
        "pthread_sigmask setitimer siginterrupt sigpending sigwait sigtimedwait"
    ),
    "select": "devpoll epoll kqueue poll",
    "selectors": "DevpollSelector EpollSelector KqueueSelector PollSelector",
    "socket": "AF_UNIX CMSG_LEN SCM_RIGHTS SO_PEERCRED TCP_INFO",
    "time": "clock_gettime clock_gettime_ns clock_getres pthread_getcpuclockid",
}
"""Where CPython on Windows has not what it has elsewhere."""

BEHIND_A_BRANCH = {
    "_cpython/trial.py": ("socket.AF_UNIX", "where socket has it"),
    "_graph/threads.py": ("time.clock_gettime_ns", "where sys.platform is linux"),
    "_plugin/progress.py": ("os.ctermid", "where os has it"),
    "_probes/inherited.py": ("signal.siginterrupt", "in a forked child"),
    "_probes/instrumentation.py": ("os.register_at_fork", "where os has it"),
    "_report/files.py": ("os.fchmod os.fchown os.geteuid", "where os has them"),
    "_run/alarm.py": (
        "signal.SIGRTMAX signal.SIGRTMIN signal.pthread_sigmask",
        "where sys.platform is linux",
    ),
    "_run/forking.py": ("os.WNOHANG os.fork signal.SIGKILL", "after require_fork()"),
    "_workers/host.py": (
        "os.WNOHANG os.fork os.killpg os.setpgid signal.SIGKILL",
        "after the fixture has asked for a fork",
    ),
    "_workers/invocations.py": ("os.register_at_fork", "where os has it"),
}
"""By file: what it names of these, and where that is reached."""


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _names(path: Path) -> set[str]:
    return {
        f"{node.value.id}.{node.attr}"
        for node in _nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }


def test_what_windows_does_not_have_is_named_behind_a_branch_only() -> None:
    lacking = {f"{owner}.{one}" for owner, names in NOT_ON_WINDOWS.items() for one in names.split()}
    found = {path.relative_to(PACKAGE).as_posix(): _names(path) & lacking for path in FILES}
    assert {file: names for file, names in found.items() if names} == {
        file: set(names.split()) for file, (names, _) in BEHIND_A_BRANCH.items()
    }


def _calls(name: str) -> list[tuple[Path, ast.Call]]:
    return [
        (path, node)
        for path in FILES
        for node in _nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name)
    ]


def test_no_text_is_read_or_written_in_the_encoding_of_the_place() -> None:
    of_text = [*_calls("read_text"), *_calls("write_text")]
    assert of_text
    assert not [
        f"{path.name}:{node.lineno}"
        for path, node in of_text
        if "encoding" not in {keyword.arg for keyword in node.keywords}
    ]


def test_what_is_opened_by_its_descriptor_keeps_its_bytes() -> None:
    # Windows opens files as text: it would write two bytes for a newline, and end at Ctrl-Z.
    opened = {path for path, node in _calls("os.open") if ast.unparse(node.func) == "os.open"}
    assert opened
    assert not [path for path in opened if "O_BINARY" not in path.read_text(encoding="utf-8")]


def test_a_part_of_a_path_is_looked_for_with_the_systems_separator() -> None:
    assert not [
        f"{path.name}:{node.lineno}"
        for path in FILES
        for node in _nodes(path)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.In | ast.NotIn)
        and isinstance(node.left, ast.Constant)
        and isinstance(node.left.value, str)
        and len(node.left.value) > 2
        and node.left.value.startswith("/")
    ]
