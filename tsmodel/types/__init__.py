"""Field types. Each has one module that holds everything about it; `tsmodel.types.codec` defines the interface.

A line here registers a field type. No code outside this package checks which field type it has.
"""

from __future__ import annotations

from typing import Any, Final

from tsmodel.types.array import Array
from tsmodel.types.bits import Bits
from tsmodel.types.blob import Blob
from tsmodel.types.boolean import Bool
from tsmodel.types.codec import FieldCodec, FixedCodec
from tsmodel.types.declaring import (
    SCHEMA,
    Acq,
    Cap,
    Cid,
    Declaration,
    FieldType,
    KeyComponent,
    Mid,
    Moid,
    Options,
    Padding,
    PaddingBytes,
    declaration_of,
    did_you_mean,
)
from tsmodel.types.duration import Duration
from tsmodel.types.enums import Enumerated, Flags
from tsmodel.types.field_faults import UNSUITABLE, FieldFault
from tsmodel.types.floats import Float16, Float32, Float64
from tsmodel.types.integers import Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64
from tsmodel.types.ip_address import IpAddress
from tsmodel.types.nested import Nested
from tsmodel.types.nullable import Nullable
from tsmodel.types.numbers import ScalarCodec, ScalarType
from tsmodel.types.packed import Packed
from tsmodel.types.scalars import KEY_SCALARS, SCALARS, ByteOrder, Scalar
from tsmodel.types.scaled import Scaled
from tsmodel.types.text import Char, Text
from tsmodel.types.times import Date, DateTime, Timestamp, UnixTime
from tsmodel.types.uuid import Uuid

__all__ = [
    "FIELD_TYPES",
    "KEY_SCALARS",
    "SCALARS",
    "SCHEMA",
    "UNSUITABLE",
    "Acq",
    "Array",
    "Bits",
    "Blob",
    "Bool",
    "ByteOrder",
    "Cap",
    "Char",
    "Cid",
    "Date",
    "DateTime",
    "Declaration",
    "Duration",
    "Enumerated",
    "FieldCodec",
    "FieldFault",
    "FieldType",
    "FixedCodec",
    "Flags",
    "Float16",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "IpAddress",
    "KeyComponent",
    "Mid",
    "Moid",
    "Nested",
    "Nullable",
    "Options",
    "Packed",
    "Padding",
    "PaddingBytes",
    "Scalar",
    "Scaled",
    "Text",
    "Timestamp",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UnixTime",
    "Uuid",
    "declaration_of",
    "did_you_mean",
    "scalar_codec",
]

_BASES: Final = (FieldType, KeyComponent, ScalarType)

FIELD_TYPES: Final[dict[str, type[FieldType[Any]]]] = {
    name: kind
    for name, kind in sorted(globals().items())
    if isinstance(kind, type) and issubclass(kind, FieldType) and kind not in _BASES
}
"""All field types by name."""


def scalar_codec(scalar: Scalar, byte_order: ByteOrder = "little") -> ScalarCodec:
    """Returns the codec of the field type with the name of the scalar."""
    kind = FIELD_TYPES[scalar.name]
    assert issubclass(kind, ScalarType)
    return kind.stored_by(kind.scalar, byte_order)
