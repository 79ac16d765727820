"""A function's bytecode gone through once, for what it asks of places and does to them.

The instructions are taken in their order, not as they would run, with a stack of what each leaves
there: places, constants, and what was asked of a place. Where two branches leave something, what is
looked for is on top all the same. Instructions are known by name; of one that is not known only
its effect on the stack counts, so a new CPython's are no danger: they are merely not understood.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

UNKNOWN: Any = type("Unknown", (), {"__repr__": lambda _: "UNKNOWN"})()
"""What only a run could tell: another variable's value, what a call returns."""


@dataclass(frozen=True)
class Place:
    """A variable, or an attribute of what is in one. `scope`: ``global``, ``cell`` or ``local``."""

    scope: str
    name: str
    attributes: tuple[str, ...] = ()

    def is_in(self, other: Place) -> bool:
        """Whether it is another place, or a part of what is there."""
        same = (self.scope, self.name) == (other.scope, other.name)
        return same and self.attributes[: len(other.attributes)] == other.attributes

    def attribute(self, name: str) -> Place:
        """The place of an attribute of what is here."""
        return replace(self, attributes=(*self.attributes, name))


@dataclass(frozen=True)
class Asked:
    """What was asked of a place, and is on the stack.

    Attributes:
        place: where.
        how: ``truth``, ``in``, ``among`` (of constants), ``is``, a comparison; ``[]`` or a method's
            name for its result; ``=`` for what was computed from what is there.
        argument: the constant that it was asked with, a key or another side; or UNKNOWN.
        negated: whether it is the opposite that is on the stack.
    """

    place: Place
    how: str = "truth"
    argument: Any = UNKNOWN
    negated: bool = False


@dataclass(frozen=True)
class Jump:
    """A test and where it leads: to `target` where the answer is `if_true`, else to `beyond`."""

    offset: int
    target: int
    beyond: int
    tested: Asked | None
    if_true: bool


@dataclass
class Walk:
    """A function gone through.

    Attributes:
        code: the function's.
        stack: what its instructions have left there.
        known: local variables that are other names for what is at a place.
        jumps: the tests that were met.
        lookups: the entries that were looked up, each with the offset.
        read: the places whose content is used.
        filled: the places into which something is put.
    """

    code: CodeType
    stack: list[Any] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    jumps: list[Jump] = field(default_factory=list)
    lookups: list[tuple[int, Asked]] = field(default_factory=list)
    read: set[Place] = field(default_factory=set)
    filled: set[Place] = field(default_factory=set)

    @classmethod
    def through(cls, code: CodeType, instructions: list[dis.Instruction]) -> Walk:
        """Go through a function."""
        walk = cls(code)
        for one, following in zip(instructions, [*instructions[1:], None], strict=True):
            walk.step(one, following.offset if following is not None else one.offset)
        return walk

    def pop(self) -> Any:
        return self.stack.pop() if self.stack else UNKNOWN

    def use(self, value: Any) -> None:
        """Something is done with what is in a place."""
        if type(value) is Place:
            self.read.add(value)
        elif type(value) is Asked and value.how not in _TESTS:
            self.read.add(value.place)

    def step(self, one: dis.Instruction, beyond: int) -> None:
        """Do to the stack what an instruction does."""
        name = one.opname
        if "JUMP" in name and "_IF_" in name:
            self._jump(one, beyond)
        elif name in _IGNORED:
            return
        elif name in _LOADS:
            self._load(one)
        elif name in _STORES:
            self._store(one)
        elif (handler := _HANDLERS.get(name)) is not None:
            handler(self, one)
        else:
            self._other(one)

    def _jump(self, one: dis.Instruction, beyond: int) -> None:
        value = self.pop()
        tested = Asked(value) if type(value) is Place else value if type(value) is Asked else None
        name = one.opname
        if tested is not None and name.endswith("NONE"):
            tested = Asked(tested.place, "is" if type(value) is Place else "=", None)
        if_true = "_IF_TRUE" in name or name.endswith("_IF_NONE")
        self.jumps.append(Jump(one.offset, int(one.argval), beyond, tested, if_true))

    def _load(self, one: dis.Instruction) -> None:
        name = one.opname
        if name == "LOAD_GLOBAL" and (one.arg or 0) & 1:
            self.stack.append(UNKNOWN)
        for variable in one.argval if type(one.argval) is tuple else (one.argval,):
            place = Place(_LOADS[name], variable)
            self.stack.append(self.known.get(variable, place) if "FAST" in name else place)

    def _store(self, one: dis.Instruction) -> None:
        name, variables = one.opname, one.argval if type(one.argval) is tuple else (one.argval,)
        value = self.pop()
        if "FAST" in name:
            if type(value) in (Place, Asked):
                self.known[variables[0]] = value  # another name for what is there
            if name == "STORE_FAST_LOAD_FAST":
                place = Place("local", variables[1])
                self.stack.append(self.known.get(variables[1], place))
            elif name == "STORE_FAST_STORE_FAST":
                self.use(self.pop())
            return
        place = Place(_STORES[name], variables[0])
        if not (type(value) is Asked and value.place == place):  # not `count += 1`
            self.use(value)

    def load_attribute(self, one: dis.Instruction) -> None:
        value, is_method = self.pop(), one.opname == "LOAD_METHOD"
        if one.opname == "LOAD_ATTR" and type(one.arg) is int:
            is_method = one.argrepr.startswith("NULL|self") or one.argrepr.endswith("NULL|self")
        if type(value) is Asked:
            self.use(value)
        self.stack.append(value.attribute(one.argval) if type(value) is Place else UNKNOWN)
        if is_method:
            self.stack.append(UNKNOWN)
            if type(value) is Place:
                self.stack[-2:] = [UNKNOWN, value.attribute(one.argval)]

    def store_attribute(self, one: dis.Instruction) -> None:
        owner, value = self.pop(), self.pop()
        place = owner.attribute(one.argval) if type(owner) is Place else None
        if not (type(value) is Asked and value.place == place):
            self.use(value)

    def subscript(self, one: dis.Instruction) -> None:
        key, container = self.pop(), self.pop()
        self.use(key)
        asked = Asked(container, "[]", _constant(key)) if type(container) is Place else UNKNOWN
        if type(asked) is Asked:
            self.lookups.append((one.offset, asked))
        self.stack.append(asked)

    def store_subscript(self, one: dis.Instruction) -> None:
        key, container = self.pop(), self.pop()
        if one.opname == "STORE_SUBSCR":
            self.use(self.pop())
        self.use(key)
        if type(container) is Place:
            self.filled.add(container)

    def contains(self, one: dis.Instruction) -> None:
        container, key = self.pop(), self.pop()
        if type(container) in (tuple, frozenset) and type(key) is Place:
            self._ask(key, "among", container, negated=bool(one.arg))
            return
        self.use(key)
        self._ask(container, "in", _constant(key), negated=bool(one.arg))

    def identity(self, one: dis.Instruction) -> None:
        self._compare("is", negated=bool(one.arg))

    def compare(self, one: dis.Instruction) -> None:
        how = str(one.argval).removeprefix("bool(").removesuffix(")")
        self._compare("==" if how == "!=" else how, negated=how == "!=")

    def _compare(self, how: str, *, negated: bool) -> None:
        right, left = self.pop(), self.pop()
        if type(left) is Place:
            self._ask(left, how, _constant(right), negated=negated)
        elif type(right) is Place and how in ("is", "=="):
            self._ask(right, how, _constant(left), negated=negated)
        else:
            asked = next((one for one in (left, right) if type(one) is Asked), None)
            if asked is left and asked is not None and _constant(right) == 0 and how in ("==", ">"):
                of_none = how == "=="  # `len(tasks) == 0`
                self._ask(asked.place, asked.how, asked.argument, negated=negated != of_none)
            else:
                self._ask(asked and asked.place, "compare", UNKNOWN, negated=negated)

    def _ask(self, place: Any, how: str, argument: Any, *, negated: bool) -> None:
        if type(place) is Place:
            self.stack.append(Asked(place, how, argument, negated))
        else:
            self.stack.append(UNKNOWN)

    def negate(self, one: dis.Instruction) -> None:
        value = self.pop()
        if type(value) is Place:
            value = Asked(value)
        negated = replace(value, negated=not value.negated) if type(value) is Asked else UNKNOWN
        self.stack.append(negated)

    def compute(self, one: dis.Instruction) -> None:
        if one.argrepr.startswith("["):  # 3.14: container[key] is one of these
            self.subscript(one)
            return
        right, left = self.pop(), self.pop()
        self.use(right)
        place = left.place if type(left) is Asked else left
        self.stack.append(Asked(place, "=") if type(place) is Place else UNKNOWN)

    def call(self, one: dis.Instruction) -> None:
        if one.opname == "CALL_KW":
            self.pop()
        given = [self.pop() for _ in range(one.arg or 0)][::-1]
        called = [self.pop(), self.pop()]
        callee = next((value for value in called if type(value) is Place), None)
        self.stack.append(self._result(callee, given))

    def _result(self, callee: Place | None, given: list[Any]) -> Any:
        first = given[0] if given else UNKNOWN
        if callee is not None and callee.scope == "global" and not callee.attributes:
            if callee.name in ("getattr", "hasattr") and type(first) is Place and len(given) > 1:
                return first.attribute(given[1]) if type(given[1]) is str else UNKNOWN
            if callee.name in ("bool", "len") and type(first) is Place:
                return Asked(first)
        for value in given:
            self.use(value)
        if callee is None or not callee.attributes:
            return UNKNOWN
        place = replace(callee, attributes=callee.attributes[:-1])
        return Asked(place, callee.attributes[-1], _constant(first))

    def discard(self, one: dis.Instruction) -> None:
        """What a method gave is not wanted: ``started.add(key)``, ``event.set()``."""
        value = self.pop()
        if type(value) is Asked and value.how in _MARKS:
            self.filled.add(value.place)
        elif type(value) is Asked and value.how != "[]":
            self.use(value)

    def copy(self, one: dis.Instruction) -> None:
        depth = one.arg or 1
        self.stack.append(self.stack[-depth] if len(self.stack) >= depth else UNKNOWN)

    def swap(self, one: dis.Instruction) -> None:
        depth = one.arg or 2
        if len(self.stack) >= depth:
            self.stack[-1], self.stack[-depth] = self.stack[-depth], self.stack[-1]

    def constant(self, one: dis.Instruction) -> None:
        self.stack.append(one.argval)
        if one.opname == "RETURN_CONST":
            self.stack.clear()

    def give(self, one: dis.Instruction) -> None:
        """Hand the top of the stack on: return it, wait for it, go through it."""
        self.use(self.pop())
        if one.opname != "RETURN_VALUE":
            self.stack.append(UNKNOWN)

    def _other(self, one: dis.Instruction) -> None:
        try:
            effect = dis.stack_effect(one.opcode, one.arg, jump=False)
        except ValueError:  # no instruction of the compiler's
            return
        takes = (one.arg or 0) if one.opname.startswith("BUILD_") else max(1 - effect, 0)
        for _ in range(takes):
            self.use(self.pop())
        self.stack.extend([UNKNOWN] * (takes + effect))


_TESTS = frozenset({"truth", "in", "among", "is", "compare", "==", "<", "<=", ">", ">="})
_MARKS = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "remove", "set"}
    | {"setdefault", "update"}
)
"""Methods by which code marks something in a container, or sets an event, where it does not look at
what they give. Any other method is a use of what is there."""

_LOADS = {
    "LOAD_GLOBAL": "global",
    "LOAD_NAME": "global",
    "LOAD_DEREF": "cell",
    **dict.fromkeys(
        ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW")
        + ("LOAD_FAST_BORROW_LOAD_FAST_BORROW",),
        "local",
    ),
}
_STORES = {
    "STORE_GLOBAL": "global",
    "STORE_NAME": "global",
    "STORE_DEREF": "cell",
    "STORE_FAST": "local",
    "STORE_FAST_LOAD_FAST": "local",
    "STORE_FAST_STORE_FAST": "local",
}
_IGNORED = frozenset({"CACHE", "EXTENDED_ARG", "KW_NAMES", "NOP", "PRECALL", "RESUME", "TO_BOOL"})
_HANDLERS: dict[str, Callable[[Walk, dis.Instruction], None]] = {
    "LOAD_ATTR": Walk.load_attribute,
    "LOAD_METHOD": Walk.load_attribute,
    "STORE_ATTR": Walk.store_attribute,
    "BINARY_SUBSCR": Walk.subscript,
    "STORE_SUBSCR": Walk.store_subscript,
    "DELETE_SUBSCR": Walk.store_subscript,
    "CONTAINS_OP": Walk.contains,
    "IS_OP": Walk.identity,
    "COMPARE_OP": Walk.compare,
    "UNARY_NOT": Walk.negate,
    "BINARY_OP": Walk.compute,
    "CALL": Walk.call,
    "CALL_KW": Walk.call,
    "POP_TOP": Walk.discard,
    "COPY": Walk.copy,
    "SWAP": Walk.swap,
    "LOAD_CONST": Walk.constant,
    "LOAD_SMALL_INT": Walk.constant,
    "RETURN_CONST": Walk.constant,
    **dict.fromkeys(("RETURN_VALUE", "GET_AWAITABLE", "GET_ITER", "YIELD_VALUE"), Walk.give),
}


def _constant(value: Any) -> Any:
    """What is on the stack, where it is a constant."""
    return UNKNOWN if type(value) in (Place, Asked) else value
