"""Checks of what msgspec can encode in a message, and what JSON can express."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import inspect

from tsmodel.types.field_faults import FieldFault

__all__ = ["may_not_be_finite", "not_finite", "parts_of", "unencodable"]


def unencodable(kind: Any, module: Any) -> str | None:
    """Returns why a message cannot hold values of a type, in words; None if it can.

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
    """Returns a type and all types that its values may contain, as msgspec sees them."""
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
    """Whether JSON may contain a non-finite float, which becomes null, or the text nan or inf as a key."""
    return b"null" in raw or b"nan" in raw or b"inf" in raw


def not_finite(value: object) -> FieldFault | None:
    """Returns the fault of a value that contains a non-finite float, for JSON; None if there is none."""
    try:
        found = _within(value if isinstance(value, float) else msgspec.to_builtins(value), "")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None  # msgspec rejects it anyway
    if found is None:
        return None
    path, number = found
    return FieldFault(f"{number!r} cannot be stored as JSON, which has numbers only for finite floats", field=path)


def _within(data: Any, path: str) -> tuple[str, float] | None:
    """Returns the first non-finite float, and the dotted path to it."""
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
