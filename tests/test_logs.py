"""What the code under test logs is kept as text, and is the evidence of what it swallows."""

import asyncio
import gc
import logging
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe._probes import logs
from pytest_loopsafe._probes.instrumentation import PROCESS
from pytest_loopsafe._watch.watch import Watch

structlog = pytest.importorskip("structlog")
BASE = structlog._base.BoundLoggerBase

log = logging.Logger("app.notifier")
"""In nobody's tree: pytest's handlers would keep its records and format them."""

shared = logging.getLogger(log.name)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Whatever a test does to logging and to structlog is undone."""
    root = logging.getLogger()
    before = list(root.handlers), root.level, root.manager.disable
    for one in (log, shared):
        one.setLevel(logging.DEBUG)
        one.handlers[:] = [logging.NullHandler()]
    yield
    shared.handlers.clear()
    shared.propagate = True
    shared.setLevel(logging.NOTSET)
    root.handlers[:], root.level, root.manager.disable = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Stale:
    """A future of the first loop that runs."""

    def __init__(self) -> None:
        self.future: Any = None

    async def use(self) -> None:
        if self.future is None:
            self.future = asyncio.get_running_loop().create_future()
        else:
            await self.future


def run(body: Callable[[], Any], loops: int = 1) -> pytest_loopsafe.LoopReport:
    return pytest_loopsafe.run(body, loops=loops, check=False)


def logged(action: Callable[[], Any]) -> list[tuple[str, str, str, str | None]]:
    """What one pass that does this has logged."""

    async def body() -> None:
        action()

    return [(one.logger, one.level, one.message, one.error) for one in run(body).logs]


def boom() -> None:
    try:
        raise KeyError("stock")
    except KeyError:
        log.exception("lookup_failed")


def boom_wrapped() -> None:
    try:
        raise KeyError("stock")
    except KeyError as error:
        log.error("lookup_failed", exc_info=ValueError(str(error)))


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


# -- which lines are seen --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (lambda: log.info("sent"), ("INFO", "sent", None)),
        (lambda: log.warning("sent %d of %d", 1, 2), ("WARNING", "sent 1 of 2", None)),
        (lambda: log.log(35, "odd"), ("Level 35", "odd", None)),
        (boom, ("ERROR", "lookup_failed", "KeyError: 'stock'")),
        (boom_wrapped, ("ERROR", "lookup_failed", "ValueError: 'stock'")),
        (lambda: log.error("none", exc_info=True), ("ERROR", "none", None)),
        (lambda: log.error("%d", "no number"), ("ERROR", "%d", None)),
        (lambda: log.error("%s", Unprintable()), ("ERROR", "%s", None)),
        (lambda: log.error(Unprintable()), ("ERROR", "<Unprintable>", None)),
        (lambda: log.error({"event": "sent"}), ("ERROR", "{'event': 'sent'}", None)),
        (lambda: log.error("e", exc_info=_unprintable()), ("ERROR", "e", "Odd: <Odd>")),
    ],
)
def test_a_record_is_a_line(
    action: Callable[[], Any], line: tuple[str, str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert logged(action) == [("app.notifier", *line)]


def _unprintable() -> Exception:
    class Odd(Exception):
        __str__ = Unprintable.__str__

    return Odd()


def no_propagation() -> None:
    shared.propagate = False
    shared.error("seen")


def no_root_handlers() -> None:
    logging.getLogger().handlers.clear()
    shared.error("seen")


def configured_anew() -> None:
    logging.basicConfig(force=True, handlers=[logging.NullHandler()])
    shared.error("seen")


def filtered() -> None:
    refuse = lambda record: False  # noqa: E731
    log.addFilter(refuse)
    try:
        log.error("seen")
    finally:
        log.removeFilter(refuse)


def in_a_thread() -> None:
    thread = threading.Thread(target=log.error, args=("seen",))
    thread.start()
    thread.join(10)


@pytest.mark.parametrize(
    "action", [no_propagation, no_root_handlers, configured_anew, filtered, in_a_thread]
)
def test_a_line_is_seen_whatever_becomes_of_it(action: Callable[[], None]) -> None:
    assert [message for _, _, message, _ in logged(action)] == ["seen"]


def below_level() -> None:
    shared.setLevel(logging.ERROR)
    shared.warning("unseen")


def disabled() -> None:
    logging.disable(logging.CRITICAL)
    shared.error("unseen")


def filtered_structlog() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    structlog.get_logger().warning("unseen")


def dropped_by_a_processor() -> None:
    def drop(logger: Any, method: str, event: Any) -> Any:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    structlog.get_logger().error("unseen")


def structlog_below_the_level_of_logging() -> None:
    over_stdlib()
    shared.setLevel(logging.ERROR)
    structlog.get_logger("app.notifier").info("unseen")


@pytest.mark.parametrize(
    "action",
    [
        below_level,
        disabled,
        filtered_structlog,
        dropped_by_a_processor,
        structlog_below_the_level_of_logging,
    ],
)
def test_what_nobody_logs_is_no_line(action: Callable[[], None]) -> None:
    assert logged(action) == []


def test_each_line_has_the_number_of_its_pass() -> None:
    async def body() -> None:
        log.info("begun")
        log.info("done")

    assert [(one.pass_number, one.message) for one in run(body, loops=3).logs] == [
        (number, message) for number in (1, 2, 3) for message in ("begun", "done")
    ]


def test_a_watch_is_live() -> None:
    with pytest_loopsafe.watch() as report:
        assert report.logs == ()
        log.info("first")
        assert [one.message for one in report.logs] == ["first"]
        with pytest_loopsafe.watch() as inner:
            log.info("second")
    assert [one.message for one in report.logs] == ["first", "second"]
    assert [one.message for one in inner.logs] == ["second"]


# -- structlog -------------------------------------------------------------------------------


def over_stdlib(*processors: Any) -> None:
    structlog.configure(
        processors=[*(processors or (structlog.processors.JSONRenderer(),))],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def structlog_boom(**given: Any) -> None:
    try:
        raise KeyError("stock")
    except KeyError:
        structlog.get_logger().exception("lookup_failed", **given)


def generic(*processors: Any) -> Any:
    return structlog.wrap_logger(
        structlog.PrintLogger(), wrapper_class=structlog.BoundLogger, processors=processors
    )


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (lambda: structlog.get_logger().info("sent"), ("INFO", "sent", None)),
        (
            lambda: structlog.get_logger().bind(user=3).warning("sent", to="a b"),
            ("WARNING", "sent user=3 to=a b", None),
        ),
        (lambda: structlog.get_logger().info("sent %d", 3), ("INFO", "sent 3", None)),
        (lambda: structlog.get_logger().fatal("over"), ("CRITICAL", "over", None)),
        (structlog_boom, ("ERROR", "lookup_failed", "KeyError: 'stock'")),
        (lambda: structlog_boom(key=1), ("ERROR", "lookup_failed key=1", "KeyError: 'stock'")),
        (
            lambda: structlog.get_logger().error("failed", exc_info=KeyError("mine")),
            ("ERROR", "failed", "KeyError: 'mine'"),
        ),
        (
            lambda: generic(structlog.processors.KeyValueRenderer()).warn("odd", key=1),
            ("WARNING", "odd key=1", None),
        ),
        (lambda: structlog.get_logger().info("a", logger="own"), ("INFO", "a logger=own", None)),
    ],
)
def test_an_event_is_a_line(
    action: Callable[[], Any], line: tuple[str, str, str | None], capsys: Any
) -> None:
    ((logger, *rest),) = logged(action)
    assert tuple(rest) == line
    assert logger == ("own" if "logger=own" in line[1] else "structlog")


@pytest.mark.parametrize("how", ["json", "formatter", "recreated", "positional", "adapter"])
def test_an_event_rendered_into_logging_is_one_line(how: str, capsys: Any) -> None:
    if how == "recreated":
        structlog.stdlib.recreate_defaults(log_level=None)
    elif how == "formatter":
        over_stdlib(structlog.stdlib.ProcessorFormatter.wrap_for_formatter)
    elif how == "positional":
        over_stdlib(
            structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.JSONRenderer()
        )
    elif how == "adapter":
        over_stdlib()
        adapter = logging.LoggerAdapter(log, {})
        structlog.configure(logger_factory=lambda *args: adapter)
    else:
        over_stdlib()

    def action() -> None:
        given = ("%s lost",) if how == "positional" else ("all lost",)
        args = ("all",) if how == "positional" else ()
        structlog.get_logger("app.notifier").error(*given, *args, user=3)

    assert logged(action) == [("app.notifier", "ERROR", "all lost user=3", None)]


def test_what_a_processor_logs_by_itself_is_a_line_of_its_own() -> None:
    def talk(logger: Any, method: str, event: Any) -> Any:
        log.debug("processing")
        return event

    def action() -> None:
        over_stdlib(talk, structlog.processors.JSONRenderer())
        structlog.get_logger("app.notifier").error("failed")

    assert [message for _, _, message, _ in logged(action)] == ["processing", "failed"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["native", "stdlib", "AsyncBoundLogger"])
def test_the_async_methods_are_seen(how: str, capsys: Any) -> None:
    if how != "native":
        over_stdlib()
    if how == "AsyncBoundLogger":
        structlog.configure(wrapper_class=structlog.stdlib.AsyncBoundLogger)

    async def body() -> None:
        logger = structlog.get_logger("app.notifier")
        try:
            raise KeyError("stock")
        except KeyError:
            if how == "AsyncBoundLogger":
                await logger.exception("lookup_failed", user=3)
            else:
                await logger.aexception("lookup_failed", user=3)

    ((line),) = run(body).logs
    assert (line.level, line.message) == ("ERROR", "lookup_failed user=3")
    assert line.error == "KeyError: 'stock'"


def test_structlog_finds_the_caller_that_it_finds_without_us(capsys: Any) -> None:
    found: list[Any] = []

    def keep(logger: Any, method: str, event: Any) -> Any:
        found.append((event["func_name"], event["module"]))
        return event

    structlog.configure(
        processors=[
            structlog.processors.CallsiteParameterAdder(),
            keep,
            structlog.processors.KeyValueRenderer(),
        ]
    )

    def caller() -> None:
        structlog.get_logger().info("sent")

    logged(caller)
    assert found == [("caller", "test_logs")]


@pytest.mark.parametrize("imported", ["between two passes", "between two loops"])
def test_structlog_may_be_imported_late(imported: str) -> None:
    code = {
        "between two passes": (
            "async def body():\n"
            "    import structlog\n"
            "    structlog.get_logger().error('late')\n"
            "report = pytest_loopsafe.run(body, loops=2)\n"
        ),
        "between two loops": (
            "async def body(): sys.modules['structlog'].get_logger().error('late')\n"
            "with pytest_loopsafe.watch() as report:\n"
            "    import structlog\n"
            "    asyncio.run(body())\n"
        ),
    }[imported]
    script = (
        f"import asyncio, sys, pytest_loopsafe\nassert 'structlog' not in sys.modules\n{code}"
        "report.assert_not_logged('early')\n"
        "(line,) = report.logs\n"
        "from structlog._base import BoundLoggerBase\n"
        "print(line.message, BoundLoggerBase._proxy_to_logger.__module__)\n"
        "print(BoundLoggerBase._proxy_to_logger.__code__.co_filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "late structlog._base" in done.stdout
    assert done.stdout.endswith("/structlog/_base.py\n")  # its own again


# -- evidence --------------------------------------------------------------------------------


def by_exception(error: Exception) -> None:
    log.exception("publish_failed")


def by_exception_from(error: Exception) -> None:
    try:
        raise ConnectionError("lost") from error
    except ConnectionError:
        log.exception("publish_failed")


def by_group(error: Exception) -> None:
    log.error("publish_failed", exc_info=ExceptionGroup("several", [KeyError(1), error]))


def by_text(error: Exception) -> None:
    log.error("publish_failed: %s", error)


def by_text_of_another(error: Exception) -> None:
    log.error("publish_failed", exc_info=ConnectionError(str(error)))


def by_structlog(error: Exception) -> None:
    structlog.get_logger().exception("publish_failed", user=3)


def by_structlog_text(error: Exception) -> None:
    structlog.get_logger().error("publish_failed", error=str(error))


def by_structlog_over_stdlib(error: Exception) -> None:
    over_stdlib(structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
    structlog.get_logger("app.notifier").exception("publish_failed")


WAYS = [
    by_exception,
    by_exception_from,
    by_group,
    by_text,
    by_text_of_another,
    by_structlog,
    by_structlog_text,
    by_structlog_over_stdlib,
]


def swallowing(
    how: Callable[[Exception], None], *, loud: bool = False
) -> tuple[pytest_loopsafe.LoopReport, pytest_loopsafe.Finding]:
    stale = Stale()

    async def body() -> None:
        try:
            await stale.use()
        except Exception as error:
            how(error)
            if loud:
                raise

    report = run(body, loops=2)
    (found,) = report.findings
    assert found.code == "LS101"
    return report, found


@pytest.mark.parametrize("how", WAYS, ids=lambda how: how.__name__)
def test_a_line_that_tells_of_an_error_is_the_evidence_of_its_finding(
    how: Callable[[Exception], None], capsys: Any
) -> None:
    report, found = swallowing(how)

    assert found.swallowed
    (line,) = found.logged
    assert line in report.logs
    assert line.message.startswith("publish_failed")
    assert (line.level, line.pass_number, line.suspect) == ("ERROR", 2, False)
    shown = [text for text in str(report).splitlines() if text.startswith("  logged:    ")]
    assert len(shown) == 1
    assert f"{line.logger} ERROR publish_failed" in shown[0]
    if how not in (by_exception_from, by_group):  # whose own text says nothing of a loop
        assert "attached to a different loop" in shown[0]


def test_evidence_comes_after_who_swallowed_it() -> None:
    report, _ = swallowing(by_exception)
    heads = [line.split()[0] for line in str(report).splitlines() if line.strip()]
    assert heads.index("logged:") == heads.index("swallowed:") + 1


def test_it_is_in_the_json_of_the_finding() -> None:
    _, found = swallowing(by_exception)
    (line,) = found.to_json()["logged"]
    assert line.pop("error").startswith("RuntimeError: Task <Task pending")
    assert line == {
        "logger": "app.notifier",
        "level": "ERROR",
        "message": "publish_failed",
        "pass": 2,
    }


def test_an_error_that_is_logged_and_leaves_the_pass_is_not_swallowed() -> None:
    _, found = swallowing(by_exception, loud=True)
    assert not found.swallowed
    assert [line.message for line in found.logged] == ["publish_failed"]


@pytest.mark.parametrize(
    "how",
    [
        lambda error: log.error("publish_failed"),
        lambda error: log.error("publish_failed", exc_info=ConnectionError("refused")),
        lambda error: log.error("publish_failed: %s", str(error)[:100]),
    ],
)
def test_a_line_that_only_comes_at_the_same_time_is_none(how: Callable[[Exception], None]) -> None:
    report, found = swallowing(how)
    assert found.logged == ()
    assert len([line for line in report.logs if line.logger == "app.notifier"]) == 1


def test_at_most_three_lines_are_kept_each_message_once() -> None:
    def how(error: Exception) -> None:
        for message in ("a", "b", "a", "c", "d"):
            log.error(message, exc_info=error)

    report, found = swallowing(how)
    assert [line.message for line in found.logged] == ["a", "b", "c"]
    assert not any(line.suspect for line in report.logs)


@pytest.mark.parametrize(
    ("text", "suspect"),
    [
        ("got Future <Future pending> attached to a different loop", True),
        ("<Queue at 0x1> is bound to a different event loop", True),
        ("Event loop is closed", True),
        ("await wasn't used with future", True),
        ("The future belongs to a different loop than the one specified", True),
        ("the loop ended", False),
    ],
)
def test_text_alone_makes_no_finding_and_marks_the_line(text: str, suspect: bool) -> None:
    async def body() -> None:
        log.error(text)
        log.error("failed", exc_info=RuntimeError(text))

    report = run(body)
    assert report.findings == ()
    assert [line.suspect for line in report.logs] == [suspect, suspect]


def test_a_task_whose_error_only_its_finalizer_logs_is_evidence() -> None:
    stale = Stale()

    async def body() -> None:
        task = asyncio.ensure_future(stale.use())
        await asyncio.wait([task])
        del task
        gc.collect()

    report = run(body, loops=2)
    (found,) = report.findings
    assert [line.logger for line in found.logged] == ["asyncio"]
    assert found.logged[0].message.startswith("Task exception was never retrieved")


# -- assert_not_logged -----------------------------------------------------------------------


async def publish() -> None:
    log.warning("notification_publish_failed: %s", "refused", exc_info=KeyError("stock"))


@pytest.mark.parametrize(
    "text", ["published", re.compile("^publish"), "publish_failed: %s", re.compile("lost", re.I)]
)
def test_what_was_not_logged_passes(text: Any) -> None:
    assert run(publish).assert_not_logged(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "notification_publish_failed",
        "failed: refused",
        "KeyError: 'stock'",
        re.compile("publish_.*refused"),
        re.compile("^KeyError"),
        re.compile("PUBLISH", re.IGNORECASE),
    ],
)
def test_what_was_logged_fails_and_is_shown(text: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        run(publish).assert_not_logged(text)
    wanted = text if isinstance(text, str) else text.pattern
    assert str(caught.value).splitlines() == [
        f"{wanted!r} was logged 1 time:",
        "  pass 1, app.notifier WARNING: notification_publish_failed: refused (KeyError: 'stock')",
    ]


def test_at_most_five_lines_are_shown() -> None:
    with pytest.raises(AssertionError) as caught:
        run(publish, loops=8).assert_not_logged("failed")
    first, *lines, last = str(caught.value).splitlines()
    assert first == "'failed' was logged 8 times:"
    assert [line.split(",")[0] for line in lines] == [f"  pass {number}" for number in range(1, 6)]
    assert last == "  and 3 more"


def test_the_finding_that_a_line_tells_of_is_named() -> None:
    report, _ = swallowing(by_exception)
    with pytest.raises(AssertionError, match=r"tells of LS101 cross-loop-await at .*test_logs.py"):
        report.assert_not_logged("publish_failed")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ValueError, "empty"),
        (None, TypeError, r"None cannot be looked for .* str"),
        (b"failed", TypeError, r"b'failed' .* re\.compile"),
        (re.compile(b"failed"), TypeError, r"re\.compile\(b'failed'\) cannot"),
        (["failed"], TypeError, r"\['failed'\] cannot"),
        (callable, TypeError, "callable"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(
    text: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(publish).assert_not_logged(text)


# -- what it leaves behind -------------------------------------------------------------------


def test_beyond_the_limit_lines_are_counted_and_nothing_is_called_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = logs.LogBook.__init__.__defaults__ or ()
    assert first == 10_000
    monkeypatch.setattr(logs.LogBook.__init__, "__defaults__", (3, *others))
    report = run(publish, loops=5)
    assert len(report.logs) == 3
    assert "2 more log lines were not kept" in report.notes
    with pytest.raises(AssertionError, match=r"'published' is not in .* 2 more log lines were not"):
        report.assert_not_logged("published")
    assert "1 more log line was not kept" in run(publish, loops=4).notes
    assert run(publish, loops=3).notes == ()


class Thing:
    pass


@pytest.mark.parametrize("how", ["args", "extra", "exception", "structlog", "str subclass"])
def test_nothing_that_is_logged_is_kept_alive(how: str, capsys: Any) -> None:
    class Text(str):
        pass

    refs: list[Any] = []

    async def body() -> None:
        thing: Any = Thing()
        if how == "args":
            log.error("%s", thing)
        elif how == "extra":
            log.error("it", extra={"thing": thing})
        elif how == "structlog":
            structlog.get_logger().bind(bound=thing).error("it", thing=thing)
        elif how == "str subclass":
            thing = Text("it")
            log.error(thing)
        else:
            try:
                raise KeyError(thing)
            except KeyError:
                log.exception("it")
        refs.append(weakref.ref(thing))

    with pytest_loopsafe.watch() as report:
        asyncio.run(body())
        gc.collect()
        assert refs[0]() is None
    assert len(report.logs) == 1


class Counting:
    """What counts how often it is asked for its text, and does something each time."""

    def __init__(self, does: Callable[[], Any] = lambda: None) -> None:
        self.asked = 0
        self.does = does

    def __str__(self) -> str:
        self.asked += 1
        self.does()
        return "asked"

    __repr__ = __str__


class Failing(Exception):
    def __init__(self) -> None:
        self.counting = Counting()

    def __str__(self) -> str:
        return str(self.counting)


class Rendering(logging.Handler):
    """A handler that makes text of what it is given, as most do."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


class Copying(logging.Handler):
    """A handler that hands a copy to another place."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.makeLogRecord(record.__dict__).getMessage()


@pytest.mark.parametrize(
    ("handlers", "message", "asked"),
    [
        ([], "sent %s", 0),
        ([Rendering], "sent asked", 1),
        ([Copying], "sent asked", 1),
        ([Rendering, Copying], "sent asked", 2),
    ],
    ids=["nobody", "rendered", "copied", "twice"],
)
def test_an_argument_is_asked_for_its_text_as_often_as_without_us(
    handlers: list[type[logging.Handler]], message: str, asked: int
) -> None:
    log.handlers[:] = [logging.NullHandler(), *(kind() for kind in handlers)]
    counting = Counting()
    lines = logged(lambda: log.error("sent %s", counting))
    assert [text for _, _, text, _ in lines] == [message]
    assert counting.asked == asked


@pytest.mark.parametrize("rendered", [False, True])
def test_so_is_an_exception(rendered: bool) -> None:
    log.handlers[:] = [Rendering() if rendered else logging.NullHandler()]
    error = Failing()
    lines = logged(lambda: log.error("failed", exc_info=error))
    assert [text for _, _, _, text in lines] == [
        "Failing: asked" if rendered else "Failing: <Failing>"
    ]
    assert error.counting.asked == int(rendered)


def test_so_is_what_structlog_is_given(capsys: Any) -> None:
    counting = Counting()

    def drop_it(logger: Any, method: str, event: Any) -> str:
        return "rendered"

    def action() -> None:
        structlog.configure(processors=[drop_it])
        structlog.get_logger().info("sent", to=counting)

    assert [text for _, _, text, _ in logged(action)] == ["sent to=<Counting>"]
    assert counting.asked == 0


def test_the_str_of_an_argument_that_logs_or_uses_a_loop_does_no_harm() -> None:
    def busy() -> None:
        log.debug("within")
        asyncio.new_event_loop().close()

    log.handlers[:] = [Rendering()]

    async def body() -> None:
        log.error("%s", Counting(busy))

    report = run(body)
    assert [line.message for line in report.logs] == ["within", "asked"]
    assert len(report.loops) == 2


def test_what_a_handler_raises_is_the_codes_to_see() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyError(record.getMessage())

    log.handlers[:] = [Broken()]

    def action() -> None:
        with pytest.raises(KeyError):
            log.error("sent %d", 1)

    assert [text for _, _, text, _ in logged(action)] == ["sent 1"]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (logging.Logger, "handle"),
        (logging.LogRecord, "getMessage"),
        (BASE, "_proxy_to_logger"),
        (BASE, "_process_event"),
    ],
)
def test_what_is_patched_is_put_back(owner: Any, name: str) -> None:
    before = vars(owner)[name]
    seen: list[bool] = []

    async def body() -> None:
        seen.append(vars(owner)[name] is not before)
        raise KeyError

    run(body)
    assert seen == [True]
    assert vars(owner)[name] is before


def test_a_patch_of_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    original = logging.Logger.handle

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        original(self, record)

    monkeypatch.setattr(logging.Logger, "handle", handle)
    assert logged(lambda: log.info("before")) == [("app.notifier", "INFO", "before", None)]
    assert logging.Logger.handle is handle

    inner = logging.Logger.handle

    def patched_inside(self: logging.Logger, record: logging.LogRecord) -> None:
        inner(self, record)

    async def body() -> None:
        logging.Logger.handle = patched_inside  # type: ignore[method-assign]

    run(body)
    assert logging.Logger.handle is patched_inside
    log.info("after")
    assert seen == ["before", "after"]


def test_lines_of_many_threads_are_all_kept() -> None:
    watch = Watch()

    def work() -> None:
        for number in range(200):
            log.debug("%d", number)

    with watch.armed():
        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        PROCESS.look_again()
    assert len(watch.logs.lines()) == 1000
