"""LS204 by experiment: what is born in loops with new ids, and not in those with reused ones.

Each program is one pass of code that looks at a loop's ``id()``. It keeps what it makes in a state,
as applications do in globals. Nothing in these programs is read: it is told by what they keep.
"""

import asyncio
import collections
import datetime as dt
import functools
import gc
import importlib.util
import itertools
import queue
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

import pytest_loopsafe
from pytest_loopsafe._graph.threads import ThreadClocks
from pytest_loopsafe._graph.view import Graph, all_loops

Run = dict[str, Any]

THREE: Run = {"loops": 3}
FOUR: Run = {"loops": 4}
SEVEN: Run = {"loops": 7}
RECYCLED: Run = {"loops": 3, "schedule": "recycled"}
RECYCLED_FOUR: Run = {"loops": 4, "schedule": "recycled"}
ALL = (THREE, FOUR, SEVEN, RECYCLED, RECYCLED_FOUR)


class Client:
    """It knows its loop, and does not keep it alive: a loop that is kept gives its id to nobody."""

    def __init__(self) -> None:
        self.loop = weakref.ref(asyncio.get_running_loop())


class State:
    """What the program's globals are; empty at first."""

    def __init__(self) -> None:
        self.client: Any = None
        self.home: Any = None
        self.clients: dict[Any, Any] = {}
        self.seen: set[int] = set()
        self.kept: list[Any] = []
        self.calls = 0


def here() -> int:
    return id(asyncio.get_running_loop())


def codes(program: Callable[[State], Any], **run: Any) -> tuple[set[str], Any]:
    """What is found when a program runs over loops.

    Where no loop could get its predecessor's id(), since other things of this process took the
    memory, the experiment was not made: then it is made again.
    """
    for _ in range(20):
        report, ids = _report(program, run)
        if not any("could not take the id()" in note for note in report.notes) and any(
            one == other for one, other in itertools.pairwise(ids)
        ):
            break
    assert not [note for note in report.notes if "failed" in note]
    return {finding.code for finding in report.findings}, report


def _report(program: Callable[[State], Any], run: Run) -> tuple[Any, list[int]]:
    state, ids = State(), []

    async def body() -> None:
        await asyncio.sleep(0)
        ids.append(here())
        program(state)

    return pytest_loopsafe.run(body, check=False, **run), ids


# -- what takes a loop for another -----------------------------------------------------------------


def a_number_beside_it(state: State) -> None:
    if state.home != here():
        state.client, state.home = Client(), here()


def a_number_in_a_tuple(state: State) -> None:
    if state.home is None or state.home[0] != here():
        state.client, state.home = Client(), (here(), "redis://")


def a_text_beside_it(state: State) -> None:
    if state.home != f"loop-{here()}":
        state.client, state.home = Client(), f"loop-{here()}"


def a_number_in_another_container(state: State) -> None:
    if state.clients.get("home") != here():
        state.client = Client()
        state.clients["home"] = here()


def a_key(state: State) -> None:
    if here() not in state.clients:
        state.clients[here()] = Client()


def a_key_of_two(state: State) -> None:
    state.clients.setdefault(("redis://", here()), Client())


def a_text_as_key(state: State) -> None:
    try:
        state.clients[f"client-{here()}"]
    except KeyError:
        state.clients[f"client-{here()}"] = Client()


def a_key_in_hexadecimal(state: State) -> None:
    if hex(here()) not in state.clients:
        state.clients[hex(here())] = Client()


def a_hash_as_key(state: State) -> None:
    if hash(asyncio.get_running_loop()) not in state.clients:
        state.clients[hash(asyncio.get_running_loop())] = Client()


def a_table_for_each(state: State) -> None:
    table = state.clients.setdefault(here(), {})
    if "redis" not in table:
        table["redis"] = Client()


def an_attribute_for_each(state: State) -> None:
    if not hasattr(state, f"client_{here()}"):
        setattr(state, f"client_{here()}", Client())


def a_cached_function(state: State) -> None:
    state.home = state.home or functools.lru_cache(lambda number: Client())
    state.home(here())


def a_cached_function_with_names(state: State) -> None:
    state.home = state.home or functools.lru_cache(None)(lambda url, *, number: Client())
    state.home("redis://", number=here())


def a_lock_for_each(state: State) -> None:
    state.clients.setdefault(here(), asyncio.Lock())


class Lazy:
    """Its state is plain data; what it opens it opens within its methods."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def get(self) -> str:
        return self.url


class LazyStream:
    __slots__ = ("url",)

    def __init__(self, url: str) -> None:
        self.url = url

    def __aiter__(self) -> Any:
        return self


class Decorated:
    def __init__(self) -> None:
        self.calls = 0

    @functools.lru_cache  # as a library's decorator, which keeps the function within
    async def get(self) -> int:
        return self.calls


class Wrapper:
    def __init__(self, wrapped: Any) -> None:
        self.parts = {"first": [wrapped]}


def a_lazy_client_for_each(state: State) -> None:
    state.clients.setdefault(here(), Lazy("redis://"))


def a_lazy_stream_for_each(state: State) -> None:
    state.clients.setdefault(here(), LazyStream("redis://"))


def a_decorated_method_for_each(state: State) -> None:
    state.clients.setdefault(here(), Decorated())


def a_lock_within_an_object_for_each(state: State) -> None:
    state.clients.setdefault(here(), Wrapper(asyncio.Lock()))


def a_lazy_client_within_an_object_for_each(state: State) -> None:
    state.clients.setdefault(here(), Wrapper(Wrapper(Lazy("redis://"))))


def a_bound_function_for_each(state: State) -> None:
    if here() not in state.clients:
        client = Client()
        state.clients[here()] = lambda: client


FOUND_BY_KEY = (
    a_key,
    a_key_of_two,
    a_text_as_key,
    a_key_in_hexadecimal,
    a_hash_as_key,
    a_table_for_each,
    an_attribute_for_each,
    a_cached_function,
    a_cached_function_with_names,
    a_lock_for_each,
    a_lazy_client_for_each,
    a_lazy_stream_for_each,
    a_decorated_method_for_each,
    a_lock_within_an_object_for_each,
    a_lazy_client_within_an_object_for_each,
    a_bound_function_for_each,
)
FOUND_BESIDE = (
    a_number_beside_it,
    a_number_in_a_tuple,
    a_text_beside_it,
    a_number_in_another_container,
)


@pytest.mark.parametrize("run", ALL, ids=lambda run: "-".join(map(str, run.values())))
@pytest.mark.parametrize("program", (*FOUND_BESIDE, *FOUND_BY_KEY), ids=lambda one: one.__name__)
def test_what_takes_a_loop_for_an_earlier_one_is_found(
    program: Callable[[State], Any], run: Run
) -> None:
    found, report = codes(program, **run)
    assert found == {"LS204"}, str(report)
    assert all(finding.is_error for finding in report.findings)


def a_number_that_is_always_written(state: State) -> None:
    before, state.home = state.home, here()
    if before != here():
        state.client = Client()


def a_set(state: State) -> None:
    if here() not in state.seen:
        state.client = Client()
        state.seen.add(here())


def a_part_of_a_number(state: State) -> None:
    if here() // 16 % 1_000_003 not in state.clients:
        state.clients[here() // 16 % 1_000_003] = Client()


@pytest.mark.parametrize(
    ("program", "runs"),
    [
        (a_number_that_is_always_written, (FOUR, SEVEN, RECYCLED_FOUR)),
        (a_set, (THREE, FOUR, SEVEN, RECYCLED_FOUR)),
        (a_part_of_a_number, (SEVEN,)),
    ],
)
def test_some_need_a_fourth_loop_or_a_new_id(
    program: Callable[[State], Any], runs: tuple[Run, ...]
) -> None:
    for run in runs:
        for _ in range(5):  # now and then a loop cannot take its predecessor's place, by luck
            found, report = codes(program, **run)
            if found:
                break
        assert found == {"LS204"}, (run, str(report))


@pytest.mark.parametrize(
    ("program", "run"),
    [
        (a_number_that_is_always_written, THREE),
        (a_part_of_a_number, THREE),
        (a_part_of_a_number, FOUR),
        (a_part_of_a_number, RECYCLED_FOUR),
        (a_set, RECYCLED),
    ],
)
def test_where_more_loops_would_tell_a_note_says_so(
    program: Callable[[State], Any], run: Run
) -> None:
    found, report = codes(program, **run)
    assert not found
    (note,) = [one for one in report.notes if "would tell" in one]
    assert "state.client" in note or ".client" in note


# -- what only looks like it -----------------------------------------------------------------------


@dataclass
class Totals:
    calls: int = 0
    names: tuple[str, ...] = ()


class Tally:
    """No record by its declaration: a plain class, as most are."""

    def __init__(self) -> None:
        self.calls = 0
        self.whole: Tally | None = None
        self.by_name: dict[str, int] = collections.Counter()

    def add(self, name: str) -> None:
        self.calls += 1
        self.by_name[name] += 1

    @property
    def total(self) -> int:
        return self.calls


class SmallTally(Tally):
    __slots__ = ("key", "lock", "number", "parts", "since")

    def __init__(self, key: int = 0) -> None:
        super().__init__()
        self.key = f"loop {key}"
        self.parts = [Tally()]
        self.parts[0].whole = self
        self.lock = threading.Lock()
        self.since = dt.datetime.now(dt.UTC)
        self.number = uuid.uuid4()


def one_for_each_two_calls(state: State) -> None:
    """Of three calls the first and the third make one, as loops with new ids would."""
    state.clients.setdefault(f"batch {len(state.kept) // 2}", Lazy("redis://"))
    state.kept.append(here() > 0)


def compared_with_the_loop(state: State) -> None:
    client = state.clients.get(here())
    if client is None or client.loop() is not asyncio.get_running_loop():
        state.clients[here()] = Client()


def taken_out_at_its_end(state: State) -> None:
    if here() not in state.clients:
        state.clients[here()] = Client()
        weakref.finalize(asyncio.get_running_loop(), state.clients.pop, here(), None)


def keyed_weakly(state: State) -> None:
    state.home = state.home or weakref.WeakKeyDictionary()
    state.home.setdefault(asyncio.get_running_loop(), Client())
    state.seen.add(here())


def counted(state: State) -> None:
    state.clients[here()] = state.clients.get(here(), 0) + 1


def counted_in_a_list(state: State) -> None:
    state.clients.setdefault(here(), []).append(1.5)


def counted_in_a_record(state: State) -> None:
    state.clients.setdefault(here(), Totals()).calls += 1


def counted_in_an_object(state: State) -> None:
    state.clients.setdefault(here(), Tally()).add("get")


def counted_in_an_object_of_objects(state: State) -> None:
    state.home = state.home or functools.lru_cache(SmallTally)
    state.home(here()).parts[0].add("get")


def counted_in_a_set(state: State) -> None:
    state.seen.add(here())
    state.calls = len(state.seen)


def counted_beside_a_client_of_all_loops(state: State) -> None:
    state.client = state.client or Client()
    state.clients[here()] = state.clients.get(here(), 0) + 1


def logged(state: State) -> None:
    state.home = here()


def logged_where_it_changes(state: State) -> None:
    if state.home != here():
        state.home, state.kept = here(), ["a new loop"]


def logged_once(state: State) -> None:
    state.home = state.home or here()


def a_label(state: State) -> None:
    state.home = state.home or functools.lru_cache(lambda number: f"loop {number}")
    state.home(here())


def noted_with_its_thread(state: State) -> None:
    state.clients.setdefault(here(), threading.current_thread())


def set_up_once(state: State) -> None:
    state.home = here()
    state.client = state.client or Client()


def set_up_in_two_passes(state: State) -> None:
    state.home, state.calls = here(), state.calls + 1
    if state.calls < 3:
        state.kept.append(Client())


def made_anew_after_it_broke(state: State) -> None:
    state.home = here()
    if state.client is None:
        state.client = Client()
    elif state.client.loop() is not asyncio.get_running_loop():
        state.client = None  # it failed in this pass; the next makes another


def made_in_each_second_pass(state: State) -> None:
    state.home, state.calls = here(), state.calls + 1
    if state.calls % 2:
        state.client = Client()


def one_for_each_user(state: State) -> None:
    user = ("ann", "bob", "ann", "cy")[state.calls % 4]
    state.calls += 1
    if user not in state.clients:
        state.clients[user] = Client()
    str(here())


def good_for_three_calls(state: State) -> None:
    if state.calls % 3 == 0:
        state.client = Client()
    state.calls += 1
    str(here())


def made_in_each(state: State) -> None:
    state.client, state.home = Client(), here()


HARMLESS = (
    one_for_each_two_calls,
    compared_with_the_loop,
    taken_out_at_its_end,
    keyed_weakly,
    counted,
    counted_in_a_list,
    counted_in_a_record,
    counted_in_an_object,
    counted_in_an_object_of_objects,
    counted_in_a_set,
    counted_beside_a_client_of_all_loops,
    logged,
    logged_where_it_changes,
    logged_once,
    a_label,
    noted_with_its_thread,
    set_up_once,
    set_up_in_two_passes,
    made_anew_after_it_broke,
    made_in_each_second_pass,
    one_for_each_user,
    good_for_three_calls,
    made_in_each,
)


@pytest.mark.parametrize("run", ALL, ids=lambda run: "-".join(map(str, run.values())))
@pytest.mark.parametrize("program", HARMLESS, ids=lambda one: one.__name__)
def test_nothing_is_found_where_no_loop_is_taken_for_another(
    program: Callable[[State], Any], run: Run
) -> None:
    found, report = codes(program, **run)
    assert not found, str(report)


def noted_when_first_used(state: State) -> None:
    state.home = state.home or here()
    state.client = state.client or Client()


@pytest.mark.parametrize("run", [THREE, FOUR, SEVEN, RECYCLED_FOUR])
def test_a_new_id_tells_who_notes_a_loop_from_who_decides_by_it(run: Run) -> None:
    """Under `recycled` with three loops the two are the same: nothing but new ids tells."""
    assert codes(noted_when_first_used, **run)[0] == set()


# -- where things are kept -------------------------------------------------------------------------

registry: dict[Any, Any] = {}
module_client: Any = None
module_home: Any = None
of_thread = threading.local()


def in_globals() -> None:
    global module_client, module_home
    if module_home != here():
        module_client, module_home = Client(), here()


class Service:
    by_loop: ClassVar[dict[int, Client]] = {}
    client: Any = None
    home = 0


def on_a_class() -> None:
    if Service.home != here():
        Service.client, Service.home = Client(), here()


def in_a_classes_dictionary() -> None:
    if here() not in Service.by_loop:
        Service.by_loop[here()] = Client()


def on_a_function() -> None:
    if getattr(on_a_function, "home", None) != here():
        on_a_function.client, on_a_function.home = Client(), here()  # type: ignore[attr-defined]


def in_a_default(clients: dict[int, Client] = {}) -> None:
    if here() not in clients:
        clients[here()] = Client()


def in_a_thread_local() -> None:
    if getattr(of_thread, "home", None) != here():
        of_thread.client, of_thread.home = Client(), here()


class Slotted:
    __slots__ = ("client", "home")

    def __init__(self) -> None:
        self.client: Any = None
        self.home = 0


slotted = Slotted()


def in_slots() -> None:
    if slotted.home != here():
        slotted.client, slotted.home = Client(), here()


PLACES: list[tuple[Callable[[], None], str]] = [
    (in_globals, "module_home"),
    (on_a_class, "Service.home"),
    (in_a_classes_dictionary, "Service.by_loop[<id of loop"),
    (on_a_function, "on_a_function.home"),
    (in_a_default, "in_a_default.__defaults__[0][<id of loop"),
    (in_a_thread_local, "of_thread.home"),
    (in_slots, "slotted.home"),
]


@pytest.mark.parametrize("run", [THREE, FOUR, RECYCLED])
@pytest.mark.parametrize(("program", "owner"), PLACES, ids=lambda one: getattr(one, "__name__", ""))
def test_it_is_found_wherever_it_is_kept(program: Callable[[], None], owner: str, run: Run) -> None:
    async def body() -> None:
        program()

    report = pytest_loopsafe.run(body, check=False, **run)
    assert len(report.findings) == 1, str(report)
    (finding,) = report.findings
    assert finding.code == "LS204"
    assert owner in str(finding.owner)


def test_variables_of_a_closure_are_a_namespace_too() -> None:
    client, home = None, 0

    async def body() -> None:
        nonlocal client, home
        if home != here():
            client, home = Client(), here()

    (finding,) = pytest_loopsafe.run(body, check=False).findings
    assert finding.code == "LS204"


@pytest.mark.parametrize("program", [a_key, a_number_beside_it])
def test_sync_code_makes_its_own_loops(program: Callable[[State], Any]) -> None:
    state = State()
    ids: list[int] = []

    async def once() -> None:
        ids.append(here())
        program(state)

    for run in (THREE, FOUR, RECYCLED):
        for _ in range(20):  # until a loop has got its predecessor's id(), as in `codes`
            vars(state).update(vars(State()))
            ids.clear()
            report = pytest_loopsafe.run(lambda: asyncio.run(once()), check=False, **run)
            if any(one == other for one, other in itertools.pairwise(ids)):
                break
        assert {finding.code for finding in report.findings} == {"LS204"}, str(report)


@pytest.mark.parametrize("program", HARMLESS, ids=lambda one: one.__name__)
def test_sync_code_that_makes_several_loops_in_each_pass(program: Callable[[State], Any]) -> None:
    state = State()

    async def once() -> None:
        program(state)

    def body() -> None:
        asyncio.run(once())
        asyncio.run(once())

    for run in (THREE, FOUR, RECYCLED):
        vars(state).update(vars(State()))
        report = pytest_loopsafe.run(body, check=False, **run)
        assert not report.findings, str(report)


# -- what is said ----------------------------------------------------------------------------------


def test_the_report_says_which_loop_had_whose_id_and_what_was_not_made() -> None:
    found, report = codes(a_number_beside_it, **FOUR)
    assert found == {"LS204"}
    (finding,) = report.findings
    assert finding.message.startswith(
        "loop 3 has the id() of loop 2, which is gone, and was taken for it: "
    )
    for words in (
        "Client) was made in loop 1, loop 2 and loop 4, whose ids were new, and not in loop 3",
        ".home was left as it was",
    ):
        assert words in finding.message
    assert finding.owner.endswith(".home")
    assert [finding.loop.number, finding.home_loop.number] == [3, 2]
    assert finding.home_state == "gone"


def test_things_with_one_root_are_one_finding() -> None:
    def program(state: State) -> None:
        if state.home != here():
            state.client, state.home = Client(), here()
            state.kept = [Client(), asyncio.Lock()]

    _, report = codes(program, **FOUR)
    assert [finding.code for finding in report.findings] == ["LS204"]


# -- what is beside it -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", [FOUR, RECYCLED])
def test_a_large_table_beside_it_hides_nothing(run: Run) -> None:
    def program(state: State) -> None:
        a_number_beside_it(state)

    table = {letter: {n: [n] for n in range(4_000)} for letter in "abcdef"}

    def with_table(state: State) -> None:
        assert table
        program(state)

    assert codes(with_table, **run)[0] == {"LS204"}


def test_where_there_is_more_than_is_looked_at_a_note_says_so() -> None:
    tables = [[[[n]] for n in range(9_000)] for _ in range(6)]

    def with_tables(state: State) -> None:
        assert tables
        a_number_beside_it(state)

    found, report = codes(with_tables, **FOUR)
    assert found == {"LS204"} or any("more than is looked at" in note for note in report.notes)
    assert any("more than is looked at" in note for note in report.notes)


def test_what_an_earlier_test_left_is_no_evidence() -> None:
    """The loops of this run get addresses that others had, and a number may be left of those."""
    state = State()

    async def remember() -> None:
        state.home = here()

    async def set_up() -> None:
        await asyncio.sleep(0)
        state.client = state.client or Client()

    for _ in range(5):
        state.client = None
        pytest_loopsafe.run(remember, schedule="recycled", check=False)
        assert not pytest_loopsafe.run(set_up, schedule="recycled", check=False).findings


class Unbound:
    """As a proxy outside of what it stands for: it raises, whatever it is asked."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("working outside of a request")

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        raise RuntimeError("working outside of a request")


class WithProxies:
    request = Unbound()
    __slots__ = ("proxies",)


@pytest.mark.parametrize("run", [THREE, FOUR, RECYCLED])
def test_proxies_are_not_asked(run: Run) -> None:
    holder = WithProxies()
    holder.proxies = [Unbound(), {Unbound(): Unbound()}, (weakref.proxy(State()),)]

    def program(state: State) -> None:
        assert type(holder) is WithProxies
        state.kept.append(Unbound())
        a_key(state)

    assert codes(program, **run)[0] == {"LS204"}


def test_lazy_modules_are_not_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_app.py").write_text("raise SystemError('it needs a GPU')\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.find_spec("lazy_app")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lazy_app", module)
    spec.loader.exec_module(module)

    assert codes(a_key, **FOUR)[0] == {"LS204"}


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("run", [FOUR, RECYCLED, RECYCLED_FOUR])
def test_what_holds_a_place_for_a_loop_is_taken_for_none(run: Run) -> None:
    """Placeholders are of a loop's class: a fork, which counts the loops there are, meets none."""
    seen: list[int] = []

    async def once() -> None:
        seen.append(len([loop for loop in all_loops() if loop.is_running()]))

    def body() -> None:
        asyncio.run(once())
        asyncio.run(once())

    report = pytest_loopsafe.run(body, check=False, **run)
    assert set(seen) == {1}
    there = [one for one in gc.get_objects() if issubclass(type(one), asyncio.AbstractEventLoop)]
    assert len(there) == len(all_loops()), report


def test_other_threads_may_change_what_is_looked_at() -> None:
    """In a worker's pool of threads one pass rests while others go on."""
    shared = State()
    done = threading.Event()

    def change() -> None:
        for number in itertools.cycle(range(50)):
            shared.kept = [State() for _ in range(number)]
            for one in shared.kept:
                one.kept.append(State())
            shared.clients = {number: [State()]}
            if done.is_set():
                return

    thread = threading.Thread(target=change)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(5):
            assert not codes(lambda state: state.kept.append(shared), **THREE)[0]
    finally:
        sys.setswitchinterval(before)
        done.set()
        thread.join()


def _come_to_rest() -> None:
    """Wait until no other thread runs: one that has given its result is on its way to wait."""
    still = 0
    while still < 5:
        before = ThreadClocks.read()
        time.sleep(0.01)
        still = still + 1 if ThreadClocks.read().is_as(before) else 0


def test_a_thread_that_only_waits_can_have_made_nothing() -> None:
    """An executor's, say: many programs never end it."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        _come_to_rest()
        found, report = codes(a_set, **SEVEN)
    assert found == {"LS204"}, str(report)


def test_beside_a_thread_that_works_a_note_says_what_would_tell() -> None:
    done, turn = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        while not done.is_set():
            turn.acquire()

    def body(state: State) -> None:
        a_set(state)
        turn.release()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(work)
        try:
            found, report = codes(body, **FOUR)
        finally:
            done.set()
            turn.release()
    assert not found
    assert [one for one in report.notes if "beside threads that work" in one]


@pytest.mark.parametrize("run", [THREE, FOUR], ids=["three", "four"])
def test_what_a_thread_keeps_in_some_passes_is_nobodys_answer_to_an_id(run: Run) -> None:
    """A registry is filled in the first pass and in the last, which have new ids, by a thread."""
    wanted: queue.Queue[State | None] = queue.Queue()
    filled = threading.Event()

    def fill() -> None:
        while (state := wanted.get()) is not None:
            state.clients[f"job {len(state.clients)}"] = Lazy("redis://")
            filled.set()

    def body(state: State) -> None:
        state.kept.append(1)
        if len(state.kept) in {3: (1, 3), 4: (1, 2, 4)}[run["loops"]]:
            filled.clear()
            wanted.put(state)
            assert filled.wait(10)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        found, _ = codes(body, **run)
    finally:
        wanted.put(None)
        thread.join()
    assert not found


# -- what it costs ---------------------------------------------------------------------------------


def test_where_no_code_asks_for_ids_nothing_is_looked_at(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = itertools.count()
    original = Graph.inventory
    asked = []
    monkeypatch.setattr(Graph, "inventory", lambda graph: (next(looks), original(graph))[1])
    monkeypatch.setattr(Graph, "numbers_are_asked_for", lambda graph: bool(asked))

    codes(a_key, **FOUR)
    assert next(looks) == 0
    asked.append(True)
    codes(a_key, **FOUR)
    assert next(looks) == 1 + 5  # before the first pass, and after each


def test_a_watch_that_lives_for_days_stops_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = collections.Counter[str]()
    original = Graph.inventory

    def inventory(graph: Graph) -> Any:
        looks["all"] += 1
        return original(graph)

    monkeypatch.setattr(Graph, "inventory", inventory)
    assert codes(a_key, loops=30)[0] == {"LS204"}
    assert looks["all"] < 20


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("home = id(loop)", True),
        ("home = hash (loop)", True),
        ("numbers = map(id, loops)", True),
        ("number_of = id\n", True),
        ("key = sorted(loops, key=id)", True),
        ("import builtins", True),
        ("key = loop.__hash__()", True),
        ("user.id(3)", False),
        ("class User:\n    id: int\n", False),
        ("uid(3), rehash(4)", False),
        ("User(id=3)", False),
    ],
)
def test_which_sources_may_ask_for_ids(tmp_path: Any, source: str, asks: bool) -> None:
    from pytest_loopsafe._graph.numbers import are_asked_for_in

    file = tmp_path / "app.py"
    file.write_text(source)
    assert are_asked_for_in(str(file)) is asks


def test_a_file_that_cannot_be_read_may_ask() -> None:
    from pytest_loopsafe._graph.numbers import are_asked_for_in

    assert are_asked_for_in("/nowhere/app.py")
    assert are_asked_for_in("<string>")
