"""A layout says where each field lies; its `struct` format, its dtype and its printed table say the same."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tsmodel.layout import packed
from tsmodel.types.scalars import SCALARS, ByteOrder

ORDERS = pytest.mark.parametrize(("byte_order", "mark"), [("little", "<"), ("big", ">")])

FIELDS = [(f"of_{name}", scalar) for name, scalar in SCALARS.items()]


@ORDERS
def test_fields_follow_one_another_without_gaps(byte_order: ByteOrder, mark: str) -> None:
    layout = packed(FIELDS, byte_order)
    end = 0
    for field, (name, scalar) in zip(layout.fields, FIELDS, strict=True):
        assert (field.name, field.codec.number, field.offset, field.size) == (name, scalar, end, scalar.size)
        end += field.size
    assert layout.size == end == 53
    assert layout.byte_order == byte_order
    assert layout.struct_format == f"{mark}bhiqBHIQefd?q"


@ORDERS
def test_struct_and_dtype_place_fields_alike(byte_order: ByteOrder, mark: str) -> None:
    layout = packed(FIELDS, byte_order)
    values = (-2, -300, -70_000, -(2**40), 200, 60_000, 2**31, 2**63, 0.25, 0.5, 1e300, True, -5)
    payload = struct.pack(layout.struct_format, *values)
    assert len(payload) == layout.size == layout.dtype.itemsize
    (record,) = np.frombuffer(payload, layout.dtype)
    assert tuple(record.tolist()) == values
    assert layout.dtype.names == tuple(name for name, _ in FIELDS)
    for field in layout.fields:
        kind, offset = layout.dtype.fields[field.name][:2]  # type: ignore[index]
        assert offset == field.offset
        assert kind == np.dtype(mark + field.codec.number.numpy)
        alone = struct.unpack_from(mark + field.codec.number.code, payload, field.offset)
        assert alone == (record[field.name],)


def test_little_endian_unless_told() -> None:
    assert packed(FIELDS) == packed(FIELDS, "little")
    assert packed(FIELDS) != packed(FIELDS, "big")


def test_no_fields() -> None:
    layout = packed([])
    assert (layout.size, layout.struct_format, layout.dtype.itemsize) == (0, "<", 0)
    assert str(layout) == "offset  size  type  field\n0 bytes, little-endian, packed"


def test_printed_as_a_table_whose_columns_line_up() -> None:
    fields = [("when", SCALARS["Timestamp"]), *((f"n{at}", SCALARS["Int64"]) for at in range(13)), ("on", SCALARS["Bool"])]
    lines = str(packed(fields, "big")).splitlines()
    assert lines[0] == "offset  size  type       field"
    assert lines[1] == "     0     8  Timestamp  when"
    assert lines[2] == "     8     8  Int64      n0"
    assert lines[14] == "   104     8  Int64      n12"
    assert lines[15] == "   112     1  Bool       on"
    assert lines[16] == "113 bytes, big-endian, packed"


def test_a_layout_is_a_value() -> None:
    layout = packed(FIELDS)
    assert hash(layout) == hash(packed(FIELDS))
    with pytest.raises(AttributeError, match="immutable"):
        layout.size = 3  # type: ignore[misc]
