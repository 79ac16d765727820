"""An interpreter that changes what is private of asyncio is told which rules are blind on it."""

import ast
import asyncio
import asyncio.proactor_events  # Windows' own; its canaries sing where it is loaded
import gc
import json
import platform
import subprocess
import sys
from asyncio import selector_events, tasks
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import private_names
import pytest

import pytest_loopsafe
from pytest_loopsafe import _cpython
from pytest_loopsafe import _rules as rules
from pytest_loopsafe._cpython import steps
from pytest_loopsafe._cpython.topic import Absent
from pytest_loopsafe._watch import canary

ROOM = Path(_cpython.__file__).parent
TOOLS = {"trial.py"}
"""What the canaries make things with, and no rule needs."""

CONNECTION_MADE = "LS202 LS203 LS303"
CONNECTION_OPEN = "LS201 LS202 LS203 LS303"
CONNECTION_DRIVEN = "LS103 LS104 LS105 LS402"
PRIMITIVE_BOUND = "LS102 LS107 LS201"

PRIMITIVE_HELD = "LS102 LS107 LS201 LS208"

BLIND_WITHOUT: dict[str, str] = {
    "_AbstractEventLoopPolicy": "LS305",
    "_BarrierState": PRIMITIVE_HELD,
    "_ContextManagerMixin": "LS102 LS105 LS107",
    "_GatheringFuture": "",
    "_LoopBoundMixin": f"{PRIMITIVE_HELD} LS106",
    "_ProactorBasePipeTransport": CONNECTION_MADE,
    "_ProactorBaseWritePipeTransport": CONNECTION_DRIVEN,
    "_ProactorDatagramTransport": CONNECTION_DRIVEN,
    "_SSLProtocolTransport": CONNECTION_DRIVEN,
    "_SelectorDatagramTransport": CONNECTION_DRIVEN,
    "_SelectorSocketTransport": CONNECTION_DRIVEN,
    "_SelectorTransport": CONNECTION_MADE,
    "_UnixReadPipeTransport": CONNECTION_MADE,
    "_UnixWritePipeTransport": f"{CONNECTION_MADE} {CONNECTION_DRIVEN}",
    "_abort": "LS401 LS402",
    "_all_tasks": "LS207",
    "_asyncgen_finalizer_hook": "LS201 LS302",
    "_asyncgen_firstiter_hook": "LS201 LS302",
    "_asyncgens": "LS201 LS302",
    "_asyncio_future_blocking": "LS101 LS106 LS108 LS201",
    "_args": "LS307",
    "_callback": "LS101 LS105 LS106 LS201 LS207 LS307",
    "_callbacks": "LS203 LS307",
    "_check_closed": "LS103 LS303",
    "_closed": "LS103 LS204 LS303",
    "_context": "LS209",
    "_cond": PRIMITIVE_BOUND,
    "_count": PRIMITIVE_HELD,
    "_debug": "",
    "_ensure_future": "LS101",
    "_finished": PRIMITIVE_BOUND,
    "_force_close": "LS401 LS402",
    "_fut_waiter": "LS307",
    "_get_loop": "LS102",
    "_get_running_loop": (
        "LS101 LS102 LS103 LS104 LS105 LS106 LS107 LS108 LS109 LS208 LS301 LS307"
    ),
    "_getters": "LS201 LS208",
    "_lock": PRIMITIVE_HELD,
    "_locked": "LS102 LS106 LS107 LS208",
    "_loop": f"{PRIMITIVE_BOUND} {CONNECTION_OPEN} {CONNECTION_DRIVEN} LS207 LS301 LS306",
    "_maxsize": "LS102 LS107",
    "_maybe_resume_transport": "LS104 LS105 LS402",
    "_parties": "LS102 LS107",
    "_pipe": CONNECTION_OPEN,
    "_putters": "LS201 LS208",
    "_queue": "LS102 LS107 LS207 LS306",
    "_ready": "LS101 LS105 LS106 LS203 LS307",
    "_result": "",
    "_run": "LS101 LS106 LS203 LS307",
    "_scheduled": "LS105 LS201 LS207",
    "_selector": "LS106 LS401 LS402",
    "_set_running_loop": "LS101 LS102 LS103 LS104 LS105 LS106 LS108 LS109",
    "_sighandler_noop": "LS401 LS402",
    "_signal_handlers": "LS401 LS402",
    "_sock": CONNECTION_OPEN,
    "_source_traceback": "",
    "_ssl_protocol": CONNECTION_OPEN,
    "_thread_id": "LS105 LS106",
    "_threads": "LS201 LS401",
    "_state": PRIMITIVE_HELD,
    "_transport": CONNECTION_OPEN,
    "_unfinished_tasks": "LS102 LS107",
    "_value": f"{PRIMITIVE_HELD} LS106",
    "_wait": "LS108",
    "_waiters": PRIMITIVE_HELD,
}
"""The private names that the room reads, and who is blind where asyncio calls them otherwise."""

BEFORE_3_12 = {"_event_loop_policy": "LS401", "_is_coroutine": "", "_local": "LS401"}
"""What a forked child forgets by itself from then on, and what `inspect` marks."""
BEFORE_3_14 = {"_local": "", "_scheduled_tasks": "LS207"}
"""What there is a public way to from then on, and what no longer lists all tasks."""

MISSED_BY_NOBODY = {
    "_PyTask",  # where there is none, all tasks are of one class
    "_call_soon",  # told apart in a canary itself
    "_cancelled",  # of a Handle: where they are others, the original call_soon is asked each time
    "_repr",
    "_check_callback",  # so it is for these
    "_check_thread",
    "_swap_current_task",  # without it the canary cannot run within a task, and says so
}

for beyond, names in (((3, 14), BEFORE_3_14), ((3, 12), BEFORE_3_12)):
    if sys.version_info < beyond:
        BLIND_WITHOUT |= names
    else:
        MISSED_BY_NOBODY |= names.keys()

if sys.version_info >= (3, 14):
    # A task's step is refused where its loop is not the one that runs.
    BLIND_WITHOUT["_set_running_loop"] += " LS307"
    BLIND_WITHOUT |= dict.fromkeys(("_py_current_task", "_py_all_tasks"), "LS107 LS208 LS301 LS307")
    if sys.version_info >= (3, 15):
        # Its `__dict__` descriptor reads that of any object: where a lock's state is, is seen.
        BLIND_WITHOUT["_LoopBoundMixin"] = PRIMITIVE_HELD
else:
    MISSED_BY_NOBODY |= {"_py_current_task", "_py_all_tasks"}


def in_room() -> set[str]:
    return {
        name
        for path in ROOM.glob("*.py")
        if path.name not in TOOLS
        for name, _ in private_names.used_in(path)
    }


RENAMING = r"""
import asyncio.proactor_events  # Windows' own; its canaries sing where it is loaded
import importlib, json, pathlib, re, sys
room, folder, *names = sys.argv[1:]
sys.path.insert(0, folder)
answers = {}
for number, name in enumerate(names):
    package = pathlib.Path(folder, f"renamed{number}")
    package.mkdir()
    for file in pathlib.Path(room).glob("*.py"):
        text = file.read_text(encoding="utf-8").replace("pytest_loopsafe._cpython", package.name)
        if file.name != "trial.py":
            text = re.sub(rf"(?<!\w){name}\b", f"{name}_of_old", text)
        (package / file.name).write_text(text, encoding="utf-8")
    answers[name] = {one.name: one.blinds for one in importlib.import_module(package.name).blind()}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def blind_without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[str]]]:
    """For each name the topics that are blind where it is another than the room believes.

    The name is changed in a copy of the room, which is the same as changing it in asyncio.
    """
    done = subprocess.run(
        [sys.executable, "-c", RENAMING, str(ROOM)]
        + [str(tmp_path_factory.mktemp("renamed")), *sorted(in_room())],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return answers


def test_every_topic_is_seen_on_this_interpreter() -> None:
    assert {topic.name for topic in _cpython.blind()} == set()


def test_every_private_name_of_the_room_has_a_canary() -> None:
    assert in_room() <= BLIND_WITHOUT.keys() | MISSED_BY_NOBODY
    assert BLIND_WITHOUT.keys() & private_names.of_asyncio() <= in_room()


@pytest.mark.parametrize("name", sorted(BLIND_WITHOUT.keys() & private_names.of_asyncio()))
def test_another_name_blinds_its_rules_and_no_others(
    name: str, blind_without: dict[str, dict[str, list[str]]]
) -> None:
    topics = blind_without[name]
    blinded = {code for blinds in topics.values() for code in blinds}
    assert blinded == set(BLIND_WITHOUT[name].split())
    assert topics


def test_topics_name_rules_that_there_are() -> None:
    known = {rule.code for rule in rules.rules()}
    assert {code for topic in _cpython.TOPICS for code in topic.blinds} <= known
    names = [topic.name for topic in _cpython.TOPICS]
    assert len(set(names)) == len(names)


def test_a_rule_that_asks_a_topic_is_blind_without_it() -> None:
    topic_of = {
        name: module.TOPICS
        for module in vars(_cpython).values()
        if hasattr(module, "TOPICS")
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", module.__name__) == module.__name__
    }
    for detector in rules.discover():
        path = Path(sys.modules[detector.__module__].__file__ or "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_cpython"
            if asks and node.attr not in OF_ALL:
                blinded = {code for topic in topic_of[node.attr] for code in topic.blinds}
                mine = {rule.code for rule in detector.rules}
                assert mine & blinded, f"{path.name}: {node.attr}"


OF_ALL = {
    "all_tasks",
    "BaseEventLoop",
    "coroutine_code",
    "coroutine_of",
    "current_task",
    "get_running_loop",
    "task_in",
}
"""What needs nothing private, or what nobody can do without."""


# -- what a run says -----------------------------------------------------------------------


@pytest.fixture
def sung_anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The canary of a process in which it has not been sung yet."""
    monkeypatch.setattr(canary, "_blind", _cpython.blind)


async def nothing() -> None:
    return None


def notes_of_run() -> list[str]:
    return [note for note in pytest_loopsafe.run(nothing).notes if "cannot see" in note]


@pytest.mark.usefixtures("sung_anew")
def test_the_patches_of_a_watch_are_not_in_the_way() -> None:
    assert notes_of_run() == []


@pytest.mark.usefixtures("sung_anew")
@pytest.mark.parametrize(
    ("owner", "name", "says"),
    [
        (tasks, "_wait", "LS108"),
        (asyncio.StreamReader, "_maybe_resume_transport", "LS104, LS105, LS402"),
        (selector_events, "_SelectorTransport", "LS202, LS203, LS303"),
    ],
)
def test_a_run_goes_on_and_says_who_is_blind(
    owner: Any, name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, f"{name}_of_new", getattr(owner, name), raising=False)
    monkeypatch.delattr(owner, name)
    (note,) = [note for note in notes_of_run() if f": {says} may miss hazards" in note]
    assert f"{platform.python_implementation()} {platform.python_version()}" in note


@pytest.mark.usefixtures("sung_anew")
@pytest.mark.parametrize(
    ("owner", "name", "instead", "missing"),
    [
        (steps, "gc", SimpleNamespace(get_referents=lambda *_: []), "LS101"),
        (_cpython, "LoopBoundMixin", Absent, "LS102"),
    ],
)
def test_without_the_three_on_which_all_rests_nothing_is_judged(
    owner: Any, name: str, instead: Any, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, instead)
    with pytest.raises(pytest_loopsafe.BlindError, match=missing):
        pytest_loopsafe.run(nothing)


def test_a_watch_can_begin_inside_a_running_task() -> None:
    # From 3.14 on a thread has one current task, and the canary runs some of its own.
    async def body() -> Any:
        task = asyncio.current_task()
        with pytest_loopsafe.watch() as report:
            assert asyncio.current_task() is task
            await asyncio.sleep(0)
        return report

    assert not asyncio.run(body()).findings


def test_the_canaries_leave_nothing_behind(capfd: pytest.CaptureFixture[str]) -> None:
    assert _cpython.blind() is not None
    gc.collect()
    assert capfd.readouterr() == ("", "")
