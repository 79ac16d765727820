"""What bytecode says is the same on every version: what an instruction is given, and where a
function puts what it makes."""

import ast
import asyncio.base_events
import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

import pytest

from pytest_loopsafe._bytecode import Body, Reader
from pytest_loopsafe._bytecode.places import stored_by

made: Any = None
table: dict[str, Any] = {}


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


class Depths(Reader[str]):
    """Fails where two branches leave another number of values."""

    def value(self, index: int, one: Any, given: list[str]) -> str:
        return one.opname

    def _joined(self, here: list[str] | None, there: list[str] | None) -> list[str]:
        assert here is None or there is None or len(here) == len(there)
        return super()._joined(here, there)


@pytest.mark.parametrize("module", [asyncio.base_events, ast, contextlib, inspect])
def test_what_is_on_the_stack_is_what_the_compiler_put_there(module: Any) -> None:
    for code in codes(compile(inspect.getsource(module), module.__name__, "exec")):
        reader = Depths(Body.read(code), "")
        reader.read()
        reader.read()


def test_where_a_frame_calls_is_its_call_however_often_it_did() -> None:
    offsets: list[int] = []

    def called() -> Iterator[None]:
        offsets.append(sys._getframe(1).f_lasti)
        yield

    def calls() -> None:
        next(called())

    for _ in range(100):
        calls()
    body = Body.of(calls.__code__)
    assert {body.instructions[body.at(one)].opname for one in offsets} == {"CALL"}


class Holder:
    def attribute(self) -> None:
        self.made = object()

    def entry(self, key: str) -> None:
        self.by_key[key][key.lower()] = object()  # type: ignore[attr-defined]

    def method(self, key: str) -> None:
        self.by_key.setdefault(str(key), len(key))  # type: ignore[attr-defined]

    def of_its_class(self) -> None:
        known = type(self).by_key  # type: ignore[attr-defined]
        known[id(self)] = object()

    def of_another(self) -> None:
        self.holder.made = object()  # type: ignore[attr-defined]


holder: Any = None


def attribute_of_a_global() -> None:
    holder.made = object()


def variable() -> None:
    global made
    made = object()


def entry() -> None:
    table[str(len("x"))] = object()


def local() -> dict[str, object]:
    found = {}
    found["x"] = object()
    return found


@pytest.mark.parametrize(
    ("function", "stored"),
    [
        (Holder.attribute, {"self.made"}),
        (Holder.entry, {"self.by_key"}),
        (Holder.method, {"self.by_key+"}),
        (Holder.of_its_class, {".by_key"}),
        (Holder.of_another, {"self.holder.made"}),
        (variable, {"global made"}),
        (entry, {"global table"}),
        (attribute_of_a_global, {"global holder.made"}),
        (local, set()),
    ],
)
def test_where_a_function_puts_things(function: Callable[..., Any], stored: set[str]) -> None:
    found = stored_by(function.__code__)
    names = {
        "global " * (place.scope == "global")
        + ".".join((place.name, *place.attributes))
        + "+" * (place in found.grown)
        for place in found.places
    }
    assert names == stored
