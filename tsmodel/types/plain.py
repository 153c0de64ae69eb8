"""What msgspec can put into a message, and JSON into a text."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import inspect

from tsmodel.types.field_faults import FieldFault

__all__ = ["may_not_be_finite", "not_finite", "parts_of", "unencodable"]


def unencodable(kind: Any, module: Any) -> str | None:
    """Why no message can hold values of a type, in words; None when one can.

    Args:
        kind: the type.
        module: `msgspec.msgpack` or `msgspec.json`.
    """
    try:
        module.Decoder(kind)
        parts = parts_of(kind)
    except (TypeError, ValueError) as error:
        return str(error)
    own = [each.cls for each in parts if isinstance(each, inspect.CustomType)]
    return f"msgspec does not encode {getattr(own[0], '__name__', own[0])}" if own else None


def parts_of(kind: Any) -> list[inspect.Type]:
    """A type, and all that its values may hold, as msgspec sees them."""
    known: list[Any] = []
    waiting: list[Any] = [inspect.type_info(kind)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (list, tuple)):
            waiting += each
        elif isinstance(each, (inspect.Type, inspect.Field)) and not any(each is one for one in known):
            known.append(each)
            waiting += [getattr(each, name) for name in each.__struct_fields__]
    return known


def may_not_be_finite(raw: bytes) -> bool:
    """Whether a float that is not finite may have gone into JSON: it becomes null, and the text nan or inf as a key."""
    return b"null" in raw or b"nan" in raw or b"inf" in raw


def not_finite(value: object) -> FieldFault | None:
    """What is wrong with a value for JSON: a float in it is not finite."""
    try:
        found = _within(value if isinstance(value, float) else msgspec.to_builtins(value), "")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None  # msgspec does not take it at all
    if found is None:
        return None
    path, number = found
    return FieldFault(f"{number!r} cannot be stored as JSON, which has numbers only for finite floats", field=path)


def _within(data: Any, path: str) -> tuple[str, float] | None:
    """The first float that is not finite, and the path to it, with dots."""
    if isinstance(data, float):
        return None if math.isfinite(data) else (path, data)
    if isinstance(data, dict):
        members = [(each, name) for name in data for each in (name, data[name])]
    elif isinstance(data, (list, tuple, set, frozenset)):
        members = [(each, at) for at, each in enumerate(data)]
    else:
        return None
    for each, name in members:
        if found := _within(each, f"{path}.{name}" if path else str(name)):
            return found
    return None
