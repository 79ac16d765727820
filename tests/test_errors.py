"""An error is recognised without its text and without being kept; text is made of what is plain."""

import gc
import weakref
from pathlib import PurePath
from typing import Any

import pytest

from pytest_loopsafe._words.errors import KnownErrors, error_chain
from pytest_loopsafe._words.texts import filled_in, full_type_name, plain_text, shown


class Touched(Exception):
    """Whoever calls anything of it is told on."""

    def fail(self, *_: Any) -> Any:
        raise AssertionError("the code's own was called")

    __str__ = __repr__ = __eq__ = __bool__ = __getattr__ = fail  # type: ignore[assignment]
    __hash__ = fail  # type: ignore[assignment]
    args = __cause__ = __context__ = __class__ = property(fail)  # type: ignore[assignment]


class Plain(ConnectionError):
    """One that leaves its text to the interpreter."""


def raised(error: BaseException, *, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def beside(error: BaseException, context: BaseException) -> BaseException:
    error.__context__ = context
    return error


CLOSED = "Event loop is closed"


@pytest.mark.parametrize(
    ("behind", "carried"),
    [
        (lambda error: error, True),
        (lambda error: raised(KeyError(), cause=error), True),
        (lambda error: raised(KeyError(), cause=raised(ValueError(), cause=error)), True),
        (lambda error: ExceptionGroup("g", [KeyError(), ExceptionGroup("h", [error])]), True),
        (lambda error: beside(KeyError(), error), False),
        (lambda error: RuntimeError(*error.args), None),
        (lambda error: RuntimeError(CLOSED), None),
        (lambda error: KeyError(), None),
    ],
)
def test_what_stands_behind_an_error(behind: Any, carried: bool | None) -> None:
    known = KnownErrors()
    error = RuntimeError(CLOSED)
    key = known.note(error)
    outer = behind(error)
    assert known.behind(outer) == (frozenset() if carried is None else {key})
    assert known.behind(outer, beside=False) == ({key} if carried else frozenset())


def test_nothing_of_the_codes_is_called() -> None:
    known = KnownErrors()
    error = Touched("x")
    key = known.note(error)
    assert known.note(error) == known.key_of(error) == key
    assert [id(one) for one in error_chain(error)] == [id(error)]
    assert known.behind(ExceptionGroup("g", [error])) == {key}


def test_an_address_that_another_error_takes_is_told_apart() -> None:
    known = KnownErrors()
    seen: dict[int, Any] = {}
    for _ in range(200):
        error = RuntimeError(CLOSED)
        before = seen.get(id(error))
        assert before is None or known.key_of(error) is None or known.key_of(error) != before
        seen[id(error)] = known.note(error)
        del error
    assert len(set(seen.values())) == len(seen)
    assert len(seen) < 200  # some of them did


@pytest.mark.parametrize(
    "change",
    [
        lambda error: (*error.args, "while publishing"),
        lambda error: ("while publishing", *error.args),
        lambda error: (f"{error.args[0]}, while publishing",),
    ],
)
def test_an_error_that_was_given_more_text_is_still_the_same(change: Any) -> None:
    known = KnownErrors()
    error = RuntimeError(CLOSED)
    key = known.note(error)
    error.args = change(error)
    assert known.key_of(error) == key


def test_nothing_is_kept_alive() -> None:
    class Thing(RuntimeError):
        pass

    known = KnownErrors()
    error = Thing(PurePath())
    ref = weakref.ref(error)
    known.note(error)
    del error
    gc.collect()
    assert ref() is None


def test_those_noted_longest_ago_are_forgotten_first() -> None:
    known = KnownErrors()
    errors = [RuntimeError(str(number)) for number in range(1500)]
    keys = [known.note(error) for error in errors]
    assert [known.key_of(error) for error in errors] == [None] * 500 + keys[500:]
    known.forget()
    assert known.key_of(errors[-1]) is None


@pytest.mark.parametrize(
    "thing",
    [
        "text",
        3,
        None,
        b"bytes",
        ("a", [1, {"b": {2.5}}]),
        RuntimeError("text"),
        RuntimeError(),
        RuntimeError("text", 3),
        KeyError("key"),
        Plain("lost"),
        OSError(2, "no such file", "name"),
        ExceptionGroup("several", [KeyError(1)]),
    ],
)
def test_what_is_plain_has_the_text_that_it_has(thing: Any) -> None:
    assert plain_text(thing) == shown(thing) == str(thing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Touched("x"),
        lambda: [Touched("x")],
        lambda: {"a": (Touched("x"),)},
        lambda: RuntimeError(Touched("x")),
        lambda: KeyError(Touched("x")),
        lambda: OSError(2, "no such file", PurePath("name")),
        lambda: ExceptionGroup("several", [Touched("x")]),
        lambda: 10**5000,
    ],
)
def test_what_is_not_plain_is_called_by_its_type(make: Any) -> None:
    thing = make()
    assert plain_text(thing) is None
    assert shown(thing) == f"<{type(thing).__name__}>"


def test_text_of_a_class_of_its_own_is_its_characters() -> None:
    class Text(str):
        def __str__(self) -> str:
            raise AssertionError

    assert plain_text(Text("a")) is None
    assert type(shown(Text("a"))) is str
    assert shown(Text("a")) == "a"


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("%s of %d", ("a", 3), "a of 3"),
        ("%(a)s", {"a": 1}, "1"),
        ("100%", (), "100%"),
        ("%s", (RuntimeError("x"),), "x"),
        ("%s", (PurePath("x"),), None),
        ("%d", ("x",), None),
        ("%s %s", ("x",), None),
        ("%s", None, None),
        ("%s", ["x"], None),
        (3, ("x",), None),
    ],
)
def test_a_message_is_filled_in_with_what_is_plain(text: Any, values: Any, filled: Any) -> None:
    assert filled_in(text, values) == filled


def test_a_type_is_named_as_in_a_traceback() -> None:
    assert full_type_name(KeyError()) == "KeyError"
    assert full_type_name(Plain()) == f"{__name__}.Plain"
