"""Who holds an object: the path is Python that a reader could type, and it leads there."""

import asyncio
import contextvars
import functools
import gc
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock

import pytest

import pytest_loopsafe
from pytest_loopsafe._graph import referrers
from pytest_loopsafe._graph.owners import OwnerSearch
from pytest_loopsafe._graph.view import Graph
from pytest_loopsafe._words.loops import LoopRegistry

current = contextvars.ContextVar("current", default=None)


class Target:
    """What is looked for; a plain object of the test's own."""


class Box:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Slotted:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


@pytest.fixture
def app() -> Iterator[types.ModuleType]:
    """A module of the user's, loaded."""
    module = types.ModuleType("some_app")
    module.__file__ = __file__
    sys.modules["some_app"] = module
    yield module
    del sys.modules["some_app"]


def owners(target: Any) -> list[str]:
    gc.collect()
    return [owner.path for owner in OwnerSearch().owners(target).found]


def closure(target: Any) -> Callable[[], Any]:
    return lambda: target


def default(target: Any) -> Callable[[], Any]:
    def get(inner: Any = target) -> Any:
        return inner

    return get


def cached(target: Any, *key: Any, maxsize: int | None = None) -> Any:
    kept = weakref.ref(target)

    @functools.lru_cache(maxsize=maxsize)
    def get(*args: Any) -> Any:
        return kept()

    get(*key)
    return get


def suspended(target: Any) -> Iterator[Any]:
    def run(inner: Any) -> Iterator[Any]:
        yield 1
        yield inner

    generator = run(target)
    next(generator)
    return generator


def weakly_keyed(target: Any) -> Any:
    key = Box(None)
    cycle: Any = weakref.WeakKeyDictionary({key: [target]})
    cycle.key = key
    return cycle


def thread_local(target: Any) -> Any:
    local = threading.local()
    local.inner = target
    return local


PATHS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a global": (lambda target: target, "some_app.x"),
    "an attribute": (lambda target: Box(Box(target)), "some_app.x.inner.inner"),
    "a slot": (Slotted, "some_app.x.inner"),
    "containers": (lambda target: {"a": [0, (target,)]}, "some_app.x['a'][1][0]"),
    "a closure": (closure, "some_app.x.__closure__[0].cell_contents"),
    "a default": (default, "some_app.x.__defaults__[0]"),
    "a partial": (lambda target: functools.partial(print, target), "some_app.x.args[0]"),
    "a bound method": (lambda target: Box(target).__init__, "some_app.x.__self__.inner"),
    "a cache": (cached, "some_app.x()"),
    "a cache with a limit": (
        lambda target: cached(target, "redis://", maxsize=8),
        "some_app.x('redis://')",
    ),
    "a generator": (suspended, "some_app.x.gi_frame.f_locals['inner']"),
    "a weak dictionary": (weakly_keyed, "some_app.x[<Box>][0]"),
    "a thread-local": (thread_local, "some_app.x.inner"),
}


@pytest.mark.parametrize(("hold", "path"), PATHS.values(), ids=PATHS)
def test_the_path_is_python(app: types.ModuleType, hold: Callable[[Any], Any], path: str) -> None:
    target = Target()
    app.x = hold(target)  # type: ignore[attr-defined]
    assert owners(target) == [path]
    if "<" not in path and "gi_frame" not in path:
        assert eval(path, {"some_app": app}) is target


def test_a_key_that_is_somebodys_own_is_named_by_its_class(app: types.ModuleType) -> None:
    class Key:
        def __repr__(self) -> str:
            raise AssertionError("nobody is to ask for it")

    target = Target()
    app.one, app.two = {Key(): target}, {("a", Key()): target}
    named = Key.__qualname__
    assert sorted(owners(target)) == [f"some_app.one[<{named}>]", f"some_app.two[('a', <{named}>)]"]


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("thorough", [True, False])
def test_what_is_frozen_may_hold_what_no_owner_is_found_of(thorough: bool) -> None:
    """The collector shows nothing of it; globals are walked, frozen or not."""
    graph = Graph(LoopRegistry(threading.RLock()))
    target = Target()
    gc.freeze()
    try:
        assert graph.owners(target, thorough=thorough) == ()
    finally:
        gc.unfreeze()
    assert ["gc.freeze()" in note for note in graph.notes] == [True] * thorough


def test_a_class_attribute(app: types.ModuleType) -> None:
    target = Target()
    kind = type("Kind", (), {"shared": [target], "__module__": "some_app"})
    app.Kind = kind  # type: ignore[attr-defined]
    assert owners(target) == ["some_app.Kind.shared[0]"]


def test_a_class_that_is_not_where_its_name_says_is_held_as_all_else_is(
    app: types.ModuleType,
) -> None:
    target = Target()
    app.x = type("Kind", (Box,), {"shared": target, "__module__": "some_app"})(None)  # type: ignore[attr-defined]
    assert owners(target) == ["some_app.x.__class__.shared"]


def test_a_class_that_is_garbage_holds_nothing() -> None:
    """A mock makes a class for itself, of the name that its own class has."""
    target = Target()
    gc.collect()
    gc.disable()
    try:
        AsyncMock()(target).close()
        assert [owner.path for owner in OwnerSearch().owners(target).found] == []
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_what_only_a_mock_had_that_is_gone_is_a_leftover() -> None:
    """Its class is of the name of `AsyncMock`, and until the next collection it is there."""

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", 9)
        )
        mock = AsyncMock()
        await mock.send(transport)
        gc.collect()  # what is left by now only a collection of the whole heap ends

    report = pytest_loopsafe.run(main, check=False)
    assert {finding.code for finding in report.findings} <= {"LS303"}


def test_a_context_variable() -> None:
    target = Target()

    def look() -> list[str]:
        current.set(Box(target))  # type: ignore[arg-type]
        return owners(target)

    # In a context of its own, for the test's leaves nothing behind.
    found = contextvars.copy_context().run(look)
    assert found == [f"{__name__}.current.get().inner"]


def test_a_context_variables_default() -> None:
    target = Target()
    with_default = contextvars.ContextVar("with_default", default=target)
    Box.shared = with_default  # type: ignore[attr-defined]
    try:
        assert owners(target) == [f"{__name__}.Box.shared.get()"]
    finally:
        del Box.shared  # type: ignore[attr-defined]


def test_a_thread() -> None:
    target, started, end = Target(), threading.Event(), threading.Event()

    def work() -> None:
        kept = [weak()]
        started.set()
        end.wait()
        del kept

    weak = weakref.ref(target)
    thread = threading.Thread(target=work, name="worker", daemon=True)
    thread.start()
    started.wait()
    try:
        assert owners(target) == [
            f"<thread 'worker', in {work.__qualname__}()>.kept[0]",
        ]
    finally:
        end.set()
        thread.join()


def test_where_the_users_own_code_holds_it_nothing_else_is_asked(app: types.ModuleType) -> None:
    target = Target()
    library = sys.modules["asyncio.events"]
    app.b, app.a = [target], {"k": target}  # type: ignore[attr-defined]
    library.borrowed = target  # type: ignore[attr-defined]
    try:
        found = owners(target)
    finally:
        del library.borrowed  # type: ignore[attr-defined]
    assert sorted(found) == ["some_app.a['k']", "some_app.b[0]"]


def test_frames_tracebacks_and_running_code_are_no_answer() -> None:
    target = Target()
    boxes = [target]

    def fail() -> None:
        kept = boxes[0]
        raise ValueError(kept is None)

    with pytest.raises(ValueError) as caught:
        fail()
    assert caught.value.__traceback__ is not None
    assert owners(target) == []


def test_local_variables_are_left_as_they_are() -> None:
    """Before 3.13 reading a frame's variables keeps what they held for as long as it runs."""
    target = Target()
    gone = weakref.ref(target)
    OwnerSearch().owners(target)
    del target
    assert gone() is None


def test_a_search_is_bounded_by_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referrers, "_MAX_READS", 3)
    target: object = Target()
    chain = target
    for _ in range(10):
        chain = [chain]
    found = OwnerSearch().owners(target)
    assert found.stopped == "the search for owners stopped after 3 readings"
    del chain


def test_a_c_modules_state_is_not_asked_for_its_parts() -> None:
    """3.12's _asyncio would hand out freed objects; a search after an await must survive that."""

    async def main() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
            await asyncio.get_running_loop().run_in_executor(None, len, "")

    for _ in range(3):
        asyncio.run(main())
        OwnerSearch().owners(asyncio.tasks)
        OwnerSearch().owners(Target)
