"""Models made from existing `struct` formats and dtypes place fields where those do."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsmodel import TSModel
from tsmodel.client.payload_type import TuplePayloadType
from tsmodel.errors import SchemaError

CODES = st.sampled_from([*"bBhHiIqQefd?x", "3s", "2h", "0q", "c", "l", "5x"])
MARKS = st.sampled_from(["", "<", ">", "=", "!", "@"])


@given(MARKS, st.lists(CODES, min_size=1, max_size=8), st.data())
def test_any_format(mark: str, codes: list[str], data: st.DataObject) -> None:
    format_ = mark + "".join(codes)
    model = TSModel.from_format(format_)
    size = struct.calcsize(format_)
    assert model.layout.size == size
    payload = data.draw(st.binary(min_size=size, max_size=size).map(lambda data: bytes(byte & 1 for byte in data)))
    value = model.payload_type.from_bytes(payload)
    assert value is not None
    read = tuple(getattr(value, name) for name in model.layout.names)
    assert repr(read) == repr(struct.unpack(format_, payload))
    assert struct.unpack(format_, model.payload_type.to_bytes(value)) == struct.unpack(format_, payload)


def test_official_client_formats() -> None:
    model = TSModel.from_format("id", names=["counter", "level"])
    payload = TuplePayloadType("id").to_bytes((3, 0.5))
    assert len(payload) == model.layout.size == 16
    value = model.payload_type.from_bytes(payload)
    assert (value.counter, value.level) == (3, 0.5)
    assert TSModel.from_dtype("i4,f8").layout.size == 12
    assert TSModel.from_dtype(np.dtype("i4,f8", align=True)).layout.size == 16


@pytest.mark.parametrize("align", [False, True])
def test_any_dtype(align: bool) -> None:
    inner = np.dtype([("a", "<u1"), ("b", ">f4")], align=align)
    dtype = np.dtype(
        [("flag", "?"), ("count", ">i8"), ("name", "S5"), ("levels", "<f4", (3,)), ("at", inner), ("last", "<i2")],
        align=align,
    )
    model = TSModel.from_dtype(dtype, name="Old")
    assert model.__name__ == "Old"
    assert model.layout.size == dtype.itemsize
    record = np.zeros(1, dtype)
    record["flag"], record["count"], record["name"], record["levels"] = True, -5, b"abc", [1, 2, 3]
    record["at"]["b"], record["last"] = 2.5, 7
    value = model.payload_type.from_bytes(record.tobytes())
    assert value is not None
    assert (value.flag, value.count, value.name, value.levels) == (True, -5, b"abc\0\0", [1.0, 2.0, 3.0])
    assert (value.at.a, value.at.b, value.last) == (0, 2.5, 7)
    assert model.payload_type.to_bytes(value) == record.tobytes()


@pytest.mark.parametrize(
    ("make", "wording"),
    [
        (lambda: TSModel.from_format("zz"), "'zz' is not a struct format"),
        (lambda: TSModel.from_format("if", names=["a"]), "the format has 2 fields, but 1 names are given"),
        (lambda: TSModel.from_format("i", names=["a", "b"]), "the format has 1 fields, but 2 names are given"),
        (lambda: TSModel.from_format("ii", names=["a", "a"]), "Existing.a occurs twice"),
        (lambda: TSModel.from_format("i", [5]), "a name of a field is text, not 5 (int)"),  # type: ignore[list-item]
        (lambda: TSModel.from_format("i", 5), "takes names of fields, not 5 (int)"),  # type: ignore[arg-type]
        (lambda: TSModel.from_format(5), "takes a struct format, not 5 (int)"),  # type: ignore[arg-type]
        (lambda: TSModel.from_dtype([("a", "i4"), ("a", "i4")]), "is not a dtype: field 'a' occurs more than once"),
        (lambda: TSModel.from_format("P"), "'P' of the format has no field type"),
        (lambda: TSModel.from_format("i", names=["cid"]), "Existing.cid: every model has this key component"),
        (lambda: TSModel.from_dtype("i4"), "int32 has no fields; give a structured dtype"),
        (lambda: TSModel.from_dtype("nonsense"), "'nonsense' is not a dtype"),
        (lambda: TSModel.from_dtype([("c", "c16")]), "Existing.c: complex128 has no field type"),
        (lambda: TSModel.from_dtype([("t", "M8[ns]")]), "has no field type"),
        (lambda: TSModel.from_dtype([("m", "f4", (2, 2))]), "only one-dimensional arrays"),
        (
            lambda: TSModel.from_dtype(
                np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2], "itemsize": 8})
            ),
            "fields overlap at byte 2",
        ),
    ],
)
def test_unsupported_formats_are_refused(make: object, wording: str) -> None:
    with pytest.raises(SchemaError) as caught:
        make()  # type: ignore[operator]
    assert wording in str(caught.value)
