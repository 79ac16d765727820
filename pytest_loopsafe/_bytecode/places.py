"""A function gone through once, for what it asks of places and does to them."""

from __future__ import annotations

import dis
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

from pytest_loopsafe._bytecode.body import Body
from pytest_loopsafe._bytecode.kept import for_each_code
from pytest_loopsafe._bytecode.reader import Reader, callee

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
class _Somewhere(Place):
    """An attribute of nobody knows what: of such a place nothing but the name counts."""


@dataclass(frozen=True)
class Asked:
    """What was asked of a place, and is on the stack.

    Attributes:
        place: where.
        how: ``truth``, ``in``, ``among`` (of constants), ``is``, a comparison, also of its length
            (``len<``); ``[]`` or a method's name for its result; ``=`` for what was computed from
            what is there.
        argument: the constant that it was asked with, a key or another side; or UNKNOWN.
        negated: whether it is the opposite that is on the stack.
        other: the place of the other side, where that is none of constants: ``State.READY``.
        entry: of an entry (``[]``, ``get``), how it was compared, and with which constant.
    """

    place: Place
    how: str = "truth"
    argument: Any = UNKNOWN
    negated: bool = False
    other: Place | None = None
    entry: tuple[str, Any] | None = None


class Places(Reader[Any]):
    """What a function does with places: a value is one, or what was asked of one, or a constant.

    Attributes:
        tests: what the jumps ask, by their index, and which answer jumps.
        lookups: the entries that were looked up, by the index.
        used: the places whose content is used.
        filled: the places into which something is put.
        stored: the places that are written to, or to an entry of what is there.
        grown: those among them where a method adds to what is there.
        changed: the places that a method was called of which changes what is there.
        given: what each call is given, by its index.
        returned: what each of its ends gives.
        changes: which place is written to, or changed by a method, by the index.
        calls: the places whose content is called, by the index.
    """

    def __init__(self, body: Body) -> None:
        super().__init__(body, UNKNOWN)
        self.tests: dict[int, tuple[Asked | None, bool]] = {}
        self.lookups: dict[int, Asked] = {}
        self.used: set[Place] = set()
        self.filled: set[Place] = set()
        self.stored: set[Place] = set()
        self.grown: set[Place] = set()
        self.changed: set[Any] = set()
        self.given: dict[int, list[Any]] = {}
        self.returned: list[Any] = []
        self.changes: dict[int, Place] = {}
        self.calls: dict[int, Place] = {}
        self._at = 0
        self._names: dict[str, Any] = {}

    def value(self, index: int, one: dis.Instruction, given: list[Any]) -> Any:
        """What comes of an instruction."""
        name, self._at = one.opname, index
        if "JUMP_IF_" in name:
            self._test(index, name, given[-1])
        elif name in _SCOPES:
            place = Place(_SCOPES[name], one.argval)
            return self._names.get(one.argval, place) if name == "LOAD_FAST" else place
        elif name == "LOAD_CONST":
            return one.argval
        elif name == "LOAD_ATTR":
            return _attribute(given[0], one.argval)
        elif name in ("STORE_ATTR", "STORE_DEREF", "STORE_FAST", "STORE_GLOBAL"):
            self._store(one, given)
        elif name == "BINARY_SUBSCR" and type(given[0]) is Place:
            self._use(given[1])
            self.lookups[index] = asked = Asked(given[0], "[]", _constant(given[1]))
            return asked
        elif name in ("DELETE_SUBSCR", "STORE_SLICE", "STORE_SUBSCR"):
            container = given.pop(0 if name == "DELETE_SUBSCR" else 1)
            self._use(*given)
            if type(container) is Place:
                self.filled.add(container)
            self._stored_in(container)
        elif name in _COMPARES:
            return self._compared(one, *given)
        elif name in ("TO_BOOL", "UNARY_NOT"):
            asked = Asked(given[0]) if type(given[0]) is Place else given[0]
            if name == "UNARY_NOT" and type(asked) is Asked:
                return replace(asked, negated=not asked.negated)
            return given[0] if name == "TO_BOOL" else UNKNOWN
        elif name == "BINARY_OP":
            self._use(given[1])
            place = given[0].place if type(given[0]) is Asked else given[0]
            return Asked(place, "=") if type(place) is Place else UNKNOWN
        elif name in ("CALL", "CALL_KW"):
            called, self.given[index] = callee(one, given, UNKNOWN)
            return self._called(called, self.given[index])
        elif name == "POP_TOP" and type(given[0]) is Asked and given[0].how in _MARKS:
            self.filled.add(given[0].place)  # ``started.add(key)``, ``event.set()``
        elif name == "RETURN_VALUE":
            self.returned += given
            self._use(*given)
        elif name != "POP_TOP" or (type(given[0]) is Asked and given[0].how != "[]"):
            self._use(*given)
        return UNKNOWN

    def _use(self, *values: Any) -> None:
        """Something is done with what is in a place."""
        for value in values:
            if type(value) is Place:
                self.used.add(value)
            elif type(value) is Asked and value.how not in _TESTS:
                self.used.add(value.place)

    def _test(self, index: int, name: str, value: Any) -> None:
        tested = Asked(value) if type(value) is Place else value if type(value) is Asked else None
        if tested is not None and tested.how == "len":
            tested = replace(tested, how="truth")
        if tested is not None and name.endswith("NONE"):
            tested = Asked(tested.place, "is" if type(value) is Place else "=", None)
        self.tests[index] = tested, "_IF_TRUE" in name or name.endswith("_IF_NONE")

    def _store(self, one: dis.Instruction, given: list[Any]) -> None:
        value, owner = given[0], given[-1]
        if one.opname == "STORE_FAST":
            if isinstance(value, Place | Asked):
                self._names[one.argval] = value  # another name for what is there
            return
        is_attribute = one.opname == "STORE_ATTR"
        scope = "cell" if one.opname == "STORE_DEREF" else "global"
        place = _attribute(owner, one.argval) if is_attribute else Place(scope, one.argval)
        self._stored_in(place)
        if not (type(value) is Asked and value.place == place):  # not `count += 1`
            self._use(value)

    def _compared(self, one: dis.Instruction, left: Any, right: Any) -> Any:
        how = "is" if one.opname == "IS_OP" else "in"
        negated = bool(one.arg)
        if one.opname == "COMPARE_OP":
            how = str(one.argval).removeprefix("bool(").removesuffix(")")
            how, negated = ("==", True) if how == "!=" else (how, False)
        if how == "in":
            if type(right) in (tuple, frozenset) and type(left) is Place:
                return Asked(left, "among", right, negated)
            self._use(left)
            left, right = right, left
        if type(left) not in (Place, Asked) and type(right) in (Place, Asked) and how != "in":
            left, right, how = right, left, _MIRRORED.get(how, how)
        if type(left) is Place:
            other = right if type(right) is Place and how != "in" else None
            return Asked(left, how, _constant(right), negated, other)
        if how != "in" and type(left) is Asked and _constant(right) == 0 and how in ("==", ">"):
            return replace(left, negated=negated != (how == "=="))  # `len(tasks) == 0`
        if type(left) is Asked and left.how in _ENTRIES and _constant(right) is not UNKNOWN:
            return replace(left, entry=(how, right), negated=negated)
        if type(left) is Asked and left.how == "len" and type(right) is int:
            return Asked(left.place, f"len{how}", right, negated)
        asked = next((value for value in (left, right) if type(value) is Asked), None)
        return Asked(asked.place, "compare", UNKNOWN, negated) if asked and how != "in" else UNKNOWN

    def _called(self, called: Any, given: list[Any]) -> Any:
        first = given[0] if given else UNKNOWN
        place = called if type(called) is Place else None
        if place is not None:
            self.calls[self._at] = place
        if place is not None and type(first) is Place and place.scope == "global":
            if place.name in ("getattr", "hasattr") and not place.attributes and len(given) > 1:
                return first.attribute(given[1]) if type(given[1]) is str else UNKNOWN
            if place.name in ("bool", "len") and not place.attributes:
                return Asked(first, "len" if place.name == "len" else "truth")
            if place.name == "setattr" and len(given) > 1 and type(given[1]) is str:
                self._stored_in(first.attribute(given[1]))
        self._use(*given)
        if not isinstance(called, Place) or not called.attributes:
            return UNKNOWN
        bearer, method = replace(called, attributes=called.attributes[:-1]), called.attributes[-1]
        if method in FILLS:
            self._stored_in(bearer)
            self.grown.add(bearer)
        if method in _CHANGES:
            self.changed.add(bearer)
            self._changes(bearer)
        return Asked(bearer, method, _constant(first)) if type(bearer) is Place else UNKNOWN

    def _stored_in(self, container: Any) -> None:
        place = container.place if type(container) is Asked else container
        self._changes(place)
        if isinstance(place, Place) and (place.attributes or place.scope in ("global", "cell")):
            self.stored.add(place)

    def _changes(self, place: Any) -> None:
        if type(place) is Place:
            self.changes[self._at] = place


_COMPARES = ("COMPARE_OP", "CONTAINS_OP", "IS_OP")
_ENTRIES = ("[]", "get")
_ORDER = ("==", "<", "<=", ">", ">=")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TESTS = frozenset({"truth", "in", "among", "is", "compare", "len", *_ORDER})
_TESTS |= {f"len{how}" for how in _ORDER}
_MARKS = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "remove", "set"}
    | {"setdefault", "update"}
)
"""Methods by which code marks something in a container, or sets an event, where it does not look at
what they give. Any other method is a use of what is there."""

_CHANGES = _MARKS | {"popitem", "popleft", "release"}
FILLS = frozenset({"add", "append", "appendleft", "insert", "put", "put_nowait", "setdefault"})
_SCOPES = {
    "LOAD_GLOBAL": "global",
    "LOAD_NAME": "global",
    "LOAD_DEREF": "cell",
    "LOAD_FAST": "local",
}


def _attribute(owner: Any, name: str) -> Place:
    return owner.attribute(name) if isinstance(owner, Place) else _Somewhere("", "", (name,))


def _constant(value: Any) -> Any:
    """What is on the stack, where it is a constant."""
    return UNKNOWN if isinstance(value, Place | Asked) else value


def name_of(place: Place) -> tuple[str, bool]:
    """What another function may call it: the name, and whether that is an attribute's."""
    return (place.name, *place.attributes)[-1], bool(place.attributes)


def changed_by(code: CodeType) -> frozenset[tuple[str, bool]]:
    """What a function changes in any way, by such names."""
    places = Places(Body.read(code))
    places.read()
    return frozenset(map(name_of, places.stored | places.filled | places.changed))


@for_each_code
def may_store(code: CodeType) -> bool:
    """Whether a function has any instruction or call that writes to what is not its own alone.

    It reads nothing, and may be asked while code runs: two in three do not.
    """
    writes = not _STORES.isdisjoint(code.co_code[::2])
    return writes or not _CALLS_THAT_STORE.isdisjoint(code.co_names)


@dataclass(frozen=True)
class Stored:
    """What a function writes to.

    Attributes:
        places: what it gives a value to, and that to an entry of which it gives one.
        grown: those among them where a method adds to what is there, as ``append`` does.
    """

    places: frozenset[Place] = frozenset()
    grown: frozenset[Place] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Of these variables and attributes."""
        return frozenset(name for name, _ in map(name_of, self.places))


@for_each_code
def stored_by(code: CodeType) -> Stored:
    """What a function writes to, or to an entry of."""
    if not may_store(code):
        return Stored()
    places = Places(Body.read(code))
    places.read()
    return Stored(frozenset(places.stored), frozenset(places.grown))


_CALLS_THAT_STORE = FILLS | {"setattr"}
_STORES = frozenset(
    opcode
    for name, opcode in dis.opmap.items()
    if (name.startswith("STORE_") and not name.startswith("STORE_FAST")) or name == "DELETE_SUBSCR"
)
