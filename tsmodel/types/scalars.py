"""The fixed-width scalars a payload field can be stored as.

Rules kept here:

* Each scalar has one description: its struct code, NumPy kind and limits. Rows, columns and documentation all use it.
* `struct` checks values, strictly: an int field rejects floats, a float field rejects text. Only Bool needs its own check,
  because `struct` would store the truth value of any object.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, Literal

import msgspec
import numpy as np

ByteOrder = Literal["little", "big"]
Kind = Literal["int", "float", "bool", "time"]

BOOLS: Final[frozenset[type]] = frozenset({bool, np.bool_})
"""Types of the values that a Bool accepts."""

_MESSAGE: Final = msgspec.msgpack.Encoder()

_MOST_SHOWN: Final = 200


class Scalar(msgspec.Struct, frozen=True):
    """A fixed-width value.

    Attributes:
        name: name of the field type, such as `Int32`.
        code: `struct` code, also valid after `<` and `>`.
        numpy: NumPy type without byte order, such as `i4`.
        kind: how values behave: `int`, `float`, `bool`, or `time` (int ns since 2001, given as any time).
    """

    name: str
    code: str
    numpy: str
    kind: Kind

    @property
    def size(self) -> int:
        """Bytes."""
        return struct.calcsize(f"<{self.code}")

    @property
    def limits(self) -> tuple[int, int] | None:
        """Least and greatest value of an integer, both inclusive; None for floats and bools."""
        return _limits(self.numpy) if self.kind in ("int", "time") else None

    @property
    def accepts(self) -> str:
        """What a value may be, in words."""
        if self.limits:
            return int_within(*self.limits)
        return "True or False" if self.kind == "bool" else f"a float ({self.size * 8}-bit)"

    def dtype(self, byte_order: ByteOrder = "little") -> np.dtype[Any]:
        """NumPy dtype in the given byte order."""
        return np.dtype(("<" if byte_order == "little" else ">") + self.numpy)

    def pack(self, values: Sequence[object]) -> bytes:
        """Packs all values, little-endian, one after another.

        Raises:
            struct.error, OverflowError, TypeError: if a value does not fit; `fault` explains a single value.
        """
        if self.kind == "bool" and not are_bools(values):
            raise TypeError("not a bool")
        return struct.pack(f"<{len(values)}{self.code}", *values)

    def fault(self, value: object) -> str | None:
        """Returns what is wrong with `value`; None if it can be stored."""
        try:
            self.pack((value,))
            if self.kind == "float" and becomes_infinite(value):
                raise OverflowError
        except (struct.error, OverflowError, TypeError, ValueError) as error:
            if self.kind == "float" and (isinstance(error, OverflowError) or type(value) is int):
                most = f"{float(np.finfo(self.numpy).max):.5g}"
                wider = "" if self.name == "Float64" else "; Float64 holds more"
                return f"{shown(value)} is too large for a {self.name}, which holds up to {most}{wider}"
            if self.kind == "time" and isinstance(value, (str, dt.date, np.datetime64)):
                return f"{shown(value)} ({type(value).__name__}) is not an int of ns since 2001; {_to_time(value)}"
            return f"{shown(value)} ({type(value).__name__}) is not {self.accepts}"
        return None


def _to_time(value: object) -> str:
    """How a time becomes ns since 2001."""
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        return (
            "it is naive: write to_ns(value.replace(tzinfo=datetime.timezone.utc)) if it is in UTC, or "
            "to_ns(value.astimezone()) if it is in this machine's local time"
        )
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return 'a date needs a time of day and an offset, such as to_ns("2026-01-31T00:00:00Z")'
    return "to_ns() converts a time"


def int_within(least: int, greatest: int) -> str:
    """What an int may be, in words."""
    return f"an int from {least} to {greatest}"


@cache
def _limits(numpy: str) -> tuple[int, int]:
    info = np.iinfo(numpy)
    return int(info.min), int(info.max)


def are_bools(values: Sequence[object]) -> bool:
    """Whether all values of a list or tuple are of `BOOLS`."""
    # MessagePack encodes exactly Python bools as these bytes; this takes half the time of checking types.
    with suppress(TypeError, ValueError, OverflowError, RecursionError):
        raw = _MESSAGE.encode(values)
        count = len(values)
        if len(raw) == count + (1 if count < 16 else 3 if count < 2**16 else 5):
            return not raw[-count:].strip(b"\xc2\xc3") if count else True
    return BOOLS.issuperset(map(type, values))


def becomes_infinite(value: Any) -> bool:
    """Whether a finite number becomes infinite as a float, without an error: `Decimal("1E+400")`, for one."""
    return type(value) is not float and math.isinf(value) and value not in (math.inf, -math.inf)


def shown(value: object) -> str:
    """Returns the value as text for a message, shortened if it is long."""
    try:
        text = repr(value)
        return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    except ValueError:  # an int with more digits than Python prints
        return f"an int of {value.bit_length()} bits" if isinstance(value, int) else "a value that cannot be shown"


SCALARS: Final[dict[str, Scalar]] = {
    scalar.name: scalar
    for scalar in (
        Scalar("Int8", "b", "i1", "int"),
        Scalar("Int16", "h", "i2", "int"),
        Scalar("Int32", "i", "i4", "int"),
        Scalar("Int64", "q", "i8", "int"),
        Scalar("UInt8", "B", "u1", "int"),
        Scalar("UInt16", "H", "u2", "int"),
        Scalar("UInt32", "I", "u4", "int"),
        Scalar("UInt64", "Q", "u8", "int"),
        Scalar("Float16", "e", "f2", "float"),
        Scalar("Float32", "f", "f4", "float"),
        Scalar("Float64", "d", "f8", "float"),
        Scalar("Bool", "?", "?", "bool"),
        Scalar("Timestamp", "q", "i8", "time"),
    )
}
"""All scalars by the name of their field type."""

INT32: Final = SCALARS["Int32"]
INT64: Final = SCALARS["Int64"]
FLOAT32: Final = SCALARS["Float32"]
FLOAT64: Final = SCALARS["Float64"]
BOOL: Final = SCALARS["Bool"]
TIMESTAMP: Final = SCALARS["Timestamp"]

KEY_SCALARS: Final[dict[str, Scalar]] = {"cid": INT32, "mid": INT64, "moid": INT32, "cap": TIMESTAMP, "acq": TIMESTAMP}
"""How each key component is stored."""
