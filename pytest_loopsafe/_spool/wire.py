"""What travels between processes: the frozen dataclasses of findings, as JSON and back.

Not pickle: a spool may come from another machine and another version, and reading it must not run
code. What a newer version has added is left out by an older one. What is there has to be of the
type that it says, for whatever reads it later relies on that.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, TypeVar

from pytest_loopsafe._words.stacks import Frame

_T = TypeVar("_T")
_TOO_LARGE = 1 << 63
"""Such a number can be neither added to others nor printed without end."""


def encode(value: Any) -> Any:
    """A dataclass, or a tuple of them, as JSON-able data."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: encode(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.metadata.get("travels", True)
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [encode(one) for one in value]
    return value


def decode(kind: type[_T], data: Any) -> _T:
    """What `encode` gave, as the dataclass it was.

    Raises:
        KeyError, TypeError, ValueError: the data is not of that shape.
    """
    return typing.cast("_T", _decode(kind, data))


def _decode(kind: Any, data: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is types.UnionType or origin is typing.Union:
        (inner,) = [one for one in typing.get_args(kind) if one is not type(None)]
        return None if data is None else _decode(inner, data)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_decode(inner, one) for one in _checked(data, list))
    if hasattr(kind, "__dataclass_fields__"):
        return _dataclass(kind, _checked(data, dict))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    return _checked(data, kind)


def _dataclass(kind: Any, data: dict[str, Any]) -> Any:
    hints = _hints(kind)
    values = {
        field.name: _decode(hints[field.name], data[field.name])
        for field in dataclasses.fields(kind)
        if field.name in data and field.metadata.get("travels", True)
    }
    return kind(**values, told=True) if kind is Frame else kind(**values)


def _checked(data: Any, kind: Any) -> Any:
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise TypeError(f"a {type(data).__name__} is not a {kind.__name__}")
    if kind is int and abs(data) >= _TOO_LARGE:
        raise ValueError("no number of ours is so large")
    return data


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
