"""What travels between processes: the frozen dataclasses of findings, as JSON and back.

Not pickle: a spool may come from another machine and another version, and reading it must not run
code. What a newer version has added is left out by an older one.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from typing import Any, TypeVar

_T = TypeVar("_T")


def encode(value: Any) -> Any:
    """A dataclass, or a tuple of them, as JSON-able data."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)
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
        return tuple(_decode(inner, one) for one in data)
    if hasattr(kind, "__dataclass_fields__"):
        hints = _hints(kind)
        known = {field.name for field in dataclasses.fields(kind)}
        return kind(
            **{
                name: _decode(hints[name], value)
                for name, value in dict(data).items()
                if name in known
            }
        )
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(data)
    if not isinstance(data, kind):
        raise TypeError(f"{data!r} is not a {kind.__name__}")
    return data


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
