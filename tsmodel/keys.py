"""Record keys and half-open key ranges.

Rules kept here (source: the TStorage protocol as its official clients speak it):

* A key is (cid, mid, moid, cap, acq): int32, int64, int32, int64, int64; 32 bytes little-endian, no padding.
* A component that is not set is -1. A type's greatest value can be neither stored nor read, because ranges are half-open.
* A key range is a box, not a lexicographic range: a record is inside when `min.x <= key.x < max.x` for every component.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from tsmodel.errors import KeyRangeError

__all__ = [
    "KEY_DTYPE",
    "KEY_FIELDS",
    "KEY_SIZE",
    "LIMITS",
    "Key",
    "KeyLimits",
    "KeyRange",
    "pose_as_dataclass",
    "unpack_key",
]


class KeyLimits(msgspec.Struct, frozen=True):
    """The values that a key component can have: `least <= value < bound`. `bound`, the type's maximum, only ends ranges.

    Attributes:
        least: smallest value that can be stored.
        bound: the type's maximum value: first value that cannot be stored.
        dtype: NumPy name of the component's type.
    """

    least: int
    bound: int
    dtype: str


LIMITS: Final[dict[str, KeyLimits]] = {
    "cid": KeyLimits(0, 2**31 - 1, "<i4"),
    "mid": KeyLimits(-(2**63), 2**63 - 1, "<i8"),
    "moid": KeyLimits(-(2**31), 2**31 - 1, "<i4"),
    "cap": KeyLimits(-(2**63), 2**63 - 1, "<i8"),
    "acq": KeyLimits(-(2**63), 2**63 - 1, "<i8"),
}
"""Limits of each key component, in wire order."""

KEY_FIELDS: Final[tuple[str, ...]] = tuple(LIMITS)
KEY_DTYPE: Final = np.dtype([(name, limits.dtype) for name, limits in LIMITS.items()])
KEY_SIZE: Final = KEY_DTYPE.itemsize

_FULL = struct.Struct("<iqiqq")
_FORMATS = {
    (True, True): _FULL,
    (True, False): struct.Struct("<iqiq"),
    (False, True): struct.Struct("<qiqq"),
    (False, False): struct.Struct("<qiq"),
}


def pose_as_dataclass(struct_class: type[msgspec.Struct]) -> None:
    """Lets a frozen, ordered struct pass for a dataclass: `dataclasses.replace`, `asdict` and `fields` accept it."""
    fields: list[tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(struct_class):
        default = dataclasses.MISSING if each.default is msgspec.NODEFAULT else each.default
        fields.append((each.name, each.type, dataclasses.field(default=default)))
    made: Any = dataclasses.make_dataclass(struct_class.__name__, fields, frozen=True, order=True)
    target: Any = struct_class
    target.__dataclass_fields__ = made.__dataclass_fields__
    target.__dataclass_params__ = made.__dataclass_params__


class Key(msgspec.Struct, frozen=True, order=True, gc=False):
    """Identifies a record. Keys are ordered by cid, mid, moid, cap, acq; a component that is not set is -1.

    Functions of `dataclasses` accept a key: `dataclasses.replace(Key.max(), cid=0)`.

    Attributes:
        cid: client id, 0 to 2**31 - 2.
        mid: meter id, -2**63 to 2**63 - 2.
        moid: meter object id, -2**31 to 2**31 - 2.
        cap: capture time, ns since 2001-01-01T00:00:00Z.
        acq: acquisition time, ns since 2001-01-01T00:00:00Z; assigned by the database unless written explicitly.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    cid: int = -1
    mid: int = -1
    moid: int = -1
    cap: int = -1
    acq: int = -1

    @classmethod
    def min(cls) -> Key:
        """The least key that can be stored."""
        return cls(*[limits.least for limits in LIMITS.values()])

    @classmethod
    def max(cls) -> Key:
        """The greatest key. As the end of a range it means "no limit"; it can never be stored."""
        return cls(*[limits.bound for limits in LIMITS.values()])

    def valid(self) -> bool:
        """Whether the cid is not negative. See `is_storable` for whether a record with this key can be stored."""
        return self.cid >= 0

    def is_storable(self, *, with_acq: bool = True) -> bool:
        """Whether a record with this key can be stored, and so lie in a range. `with_acq=False` ignores the acq."""
        names = KEY_FIELDS if with_acq else KEY_FIELDS[:-1]
        return all(LIMITS[name].least <= getattr(self, name) < LIMITS[name].bound for name in names)

    def astuple(self) -> tuple[int, int, int, int, int]:
        """The components in wire order."""
        return self.cid, self.mid, self.moid, self.cap, self.acq

    def to_bytes(self, *, with_cid: bool = True, with_acq: bool = True) -> bytes:
        """The key in wire form: 32 bytes; 4 fewer without cid, 8 fewer without acq.

        Raises:
            KeyRangeError: when a component does not fit its integer type.
        """
        values = self.astuple()[0 if with_cid else 1 : 5 if with_acq else 4]
        try:
            return _FORMATS[with_cid, with_acq].pack(*values)
        except struct.error as error:
            raise KeyRangeError(f"{self} does not fit the wire: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, offset: int = 0) -> Key | None:
        """The key whose wire form starts at `offset`; None if there are fewer than 32 bytes, or its cid is negative."""
        try:
            key = cls(*_FULL.unpack_from(data, offset))
        except struct.error:
            return None
        return key if key.valid() else None

    @classmethod
    def bytes_count(cls) -> int:
        """The size of a key's wire form in bytes: 32."""
        return KEY_SIZE


pose_as_dataclass(Key)


def unpack_key(data: bytes | bytearray | memoryview, offset: int = 0) -> Key:
    """The key whose wire form starts at `offset`, valid or not.

    Raises:
        KeyRangeError: when there are fewer than 32 bytes.
    """
    if len(data) - offset < KEY_SIZE:
        raise KeyRangeError(f"a key takes {KEY_SIZE} bytes, not {len(data) - offset}")
    return Key(*_FULL.unpack_from(data, offset))


def _check(key: Key, end: str) -> None:
    for name, limits in LIMITS.items():
        value = getattr(key, name)
        if type(value) is not int:
            raise KeyRangeError(f"{end}.{name} must be an int, not {value!r} ({type(value).__name__})", field=name)
        if not limits.least <= value <= limits.bound:
            hint = "; -1 stands for a component that is not set" if value == -1 else ""
            raise KeyRangeError(
                f"{end}.{name} is {value}; a range takes {limits.least} to {limits.bound}{hint}", field=name
            )


class KeyRange(msgspec.Struct, frozen=True):
    """A half-open box of keys: contains a key when `min.x <= key.x < max.x` for each of the five components.

    Args:
        min: lower ends, inclusive. Default: the least key.
        max: upper ends, exclusive; a component's greatest value means "no limit". Default: the greatest key.

    Raises:
        KeyRangeError: when an end is not an int, or its component cannot have that value (for example a negative cid).
    """

    min: Key = msgspec.field(default_factory=Key.min)
    max: Key = msgspec.field(default_factory=Key.max)

    def __post_init__(self) -> None:
        _check(self.min, "min")
        _check(self.max, "max")

    @classmethod
    def of(cls, **intervals: tuple[int, int]) -> KeyRange:
        """The box with the given half-open `(least, end)` intervals; other components are unbounded.

        >>> KeyRange.of(cid=(1, 2), cap=(0, 1000)).max.cap
        1000
        """
        low, high = {}, {}
        for name, interval in intervals.items():
            if name not in LIMITS:
                raise KeyRangeError(f"{name!r} is not a key component ({', '.join(KEY_FIELDS)})", field=name)
            if not isinstance(interval, (tuple, list)) or len(interval) != 2:
                raise KeyRangeError(f"{name} takes a half-open interval, (least, end), not {interval!r}", field=name)
            low[name], high[name] = interval
        return cls(msgspec.structs.replace(Key.min(), **low), msgspec.structs.replace(Key.max(), **high))

    @property
    def is_empty(self) -> bool:
        """Whether no key can be inside, because an interval is empty or reversed."""
        return any(low >= high for low, high in self.intervals())

    def intervals(self) -> Iterator[tuple[int, int]]:
        """The five half-open intervals, in wire order."""
        return zip(self.min.astuple(), self.max.astuple(), strict=True)

    def contains(self, key: Key) -> bool:
        """Whether `key` is inside."""
        return all(low <= x < high for x, (low, high) in zip(key.astuple(), self.intervals(), strict=True))

    __contains__ = contains

    def covers(self, other: KeyRange) -> bool:
        """Whether every key of `other` is inside this range."""
        return other.is_empty or self.intersect(other) == other

    def intersect(self, other: KeyRange) -> KeyRange:
        """The keys inside both; possibly an empty range."""
        low = Key(*map(max, self.min.astuple(), other.min.astuple()))
        high = Key(*map(min, self.max.astuple(), other.max.astuple()))
        return KeyRange(low, high)

    def hull(self, other: KeyRange) -> KeyRange:
        """The smallest range that covers both; an empty one adds nothing."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        low = Key(*map(min, self.min.astuple(), other.min.astuple()))
        high = Key(*map(max, self.max.astuple(), other.max.astuple()))
        return KeyRange(low, high)

    def subtract(self, other: KeyRange) -> list[KeyRange]:
        """The keys inside this range and outside `other`, as at most ten disjoint, non-empty ranges."""
        common = self.intersect(other)
        if self.is_empty:
            return []
        if common.is_empty:
            return [self]
        pieces: list[KeyRange] = []
        rest = self
        for name in KEY_FIELDS:
            low, high = getattr(common.min, name), getattr(common.max, name)
            below = msgspec.structs.replace(rest, max=msgspec.structs.replace(rest.max, **{name: low}))
            above = msgspec.structs.replace(rest, min=msgspec.structs.replace(rest.min, **{name: high}))
            pieces += [piece for piece in (below, above) if not piece.is_empty]
            rest = KeyRange(
                msgspec.structs.replace(rest.min, **{name: low}), msgspec.structs.replace(rest.max, **{name: high})
            )
        return pieces

    def __str__(self) -> str:
        limited = [
            f"{name} {low}" if high == low + 1 else f"{name} [{_end(low, name)}, {_end(high, name)})"
            for name, (low, high) in zip(KEY_FIELDS, self.intervals(), strict=True)
            if (low, high) != (LIMITS[name].least, LIMITS[name].bound)
        ]
        return ", ".join(limited) or "all keys"


def _end(value: int, name: str) -> str:
    if value == LIMITS[name].least:
        return "min"
    return "max" if value == LIMITS[name].bound else str(value)
