"""Text of the code's own things, made without calling anything of the code's.

``str(thing)`` runs whatever its class says: it may raise, connect to a server, or count how often
it was called. So text is made only of what the interpreter alone knows how to show: exact built-in
types, containers of such, and exceptions whose classes leave the showing to the interpreter.
"""

from __future__ import annotations

from typing import Any

_ATOMS = (str, int, float, bool, complex, bytes, type(None))
_SEQUENCES = (tuple, list, set, frozenset)
_MOST_PARTS = 200
"""Beyond so many parts a container is not looked through; it stands there by its type."""

_ARGUMENTS: Any = vars(BaseException)["args"]
_MRO: Any = vars(type)["__mro__"]
_NAMESPACE: Any = vars(type)["__dict__"]
_NAME: Any = vars(type)["__name__"]
_QUALIFIED: Any = vars(type)["__qualname__"]
_MODULE: Any = vars(type)["__module__"]
_OF_GROUP: Any = vars(BaseExceptionGroup)["message"]
_OF_OS_ERROR = tuple(vars(OSError)[name] for name in ("filename", "filename2"))


def type_name(thing: object) -> str:
    """The name of a thing's type, whatever a metaclass says."""
    name: str = _NAME.__get__(type(thing))
    return name


def full_type_name(thing: object) -> str:
    """The name by which a traceback calls a thing's type."""
    kind = type(thing)
    module, name = _MODULE.__get__(kind), _QUALIFIED.__get__(kind)
    return f"{module}.{name}" if type(module) is str and module not in _UNNAMED else str(name)


_UNNAMED = ("builtins", "__main__")


def bases_of(kind: type) -> tuple[type, ...]:
    """A class and all that it is made of, whatever a metaclass says."""
    found: tuple[type, ...] = _MRO.__get__(kind)
    return found


def arguments(error: BaseException) -> tuple[Any, ...]:
    """What an exception was made with: the very tuple, past any property of its class."""
    found: tuple[Any, ...] = _ARGUMENTS.__get__(error)
    return found


def plain_text(thing: object) -> str | None:
    """What ``str(thing)`` would give, where only the interpreter's own code makes it; else None."""
    try:
        return str(thing) if _is_plain(thing, [_MOST_PARTS]) else None
    except (ValueError, RuntimeError, RecursionError):  # an int of 5,000 digits; changed meanwhile
        return None


def shown(thing: object) -> str:
    """A thing as text; where it is not plain, the name of its type in brackets."""
    text = plain_text(thing)
    if text is not None:
        return text
    if issubclass(type(thing), str):  # its characters; no subclass, which may refer to anything
        return str.__str__(thing)
    return f"<{type_name(thing)}>"


def filled_in(text: object, values: object) -> str | None:
    """``text % values`` where both are plain; None where they are not, or do not fit."""
    if type(text) is not str or type(values) not in (tuple, dict):
        return None
    if not values:
        return text
    try:
        return text % values if _is_plain(values, [_MOST_PARTS]) else None
    except Exception:  # noqa: BLE001 - too few values, a number wanted: whatever % can say
        return None


def _is_plain(thing: object, left: list[int]) -> bool:
    kind = type(thing)
    left[0] -= 1
    if kind in _ATOMS:
        return True
    if left[0] < 0:
        return False
    if kind in _SEQUENCES:
        return all(_is_plain(one, left) for one in list(thing))  # type: ignore[call-overload]
    if kind is dict:
        pairs: Any = list(thing.items())  # type: ignore[attr-defined]
        return all(_is_plain(one, left) for pair in pairs for one in pair)
    return issubclass(kind, BaseException) and _shows_itself(thing, kind, left)


def _shows_itself(error: Any, kind: type, left: list[int]) -> bool:
    """Whether the text of an exception is the interpreter's own work, from its arguments."""
    for cls in _MRO.__get__(kind):
        namespace = _NAMESPACE.__get__(cls)
        if cls in _TOLD_BY:
            details = [descriptor.__get__(error) for descriptor in _TOLD_BY[cls]]
            return all(_is_plain(one, left) for one in (*details, *arguments(error)))
        if "__str__" in namespace or "__repr__" in namespace:
            return False
    return False


_TOLD_BY: dict[type, tuple[Any, ...]] = {
    BaseException: (),
    KeyError: (),
    ImportError: (),
    OSError: _OF_OS_ERROR,
    BaseExceptionGroup: (_OF_GROUP,),
}
"""The built-in classes that say how their exceptions are shown, with what they show of them beside
the arguments."""
