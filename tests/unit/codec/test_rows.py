"""Rows into batches and chunks into rows: what fits, what does not, and who is told."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.batches import rows_in
from support.wiring import get_record

from tsmodel.backend import Batch
from tsmodel.codec import SCALARS, ByteOrder, Layout, RowCodec
from tsmodel.errors import EncodeError, RemoteProtocolError
from tsmodel.keys import LIMITS, Key


class Row(NamedTuple):
    cid: Any
    mid: Any
    moid: Any
    cap: Any
    acq: Any
    number: Any
    level: Any
    good: Any


def codec(byte_order: ByteOrder = "little", **fixed: int) -> RowCodec[Row]:
    fields = [("number", SCALARS["Int16"]), ("level", SCALARS["Float64"]), ("good", SCALARS["Bool"])]
    return RowCodec(Layout.packed(fields, byte_order), Row, fixed)


def row(**values: object) -> Row:
    return Row(**{"cid": 1, "mid": 2, "moid": 3, "cap": 4, "acq": 5, "number": 6, "level": 0.5, "good": True, **values})


def chunk_of(*payloads: bytes) -> memoryview:
    return memoryview(b"".join(get_record(payload, 1, at, 3, 4, 5) for at, payload in enumerate(payloads)))


def test_a_layout_is_packed_and_prints_as_a_table() -> None:
    layout = codec().layout
    assert [(field.name, field.offset, field.size) for field in layout.fields] == [
        ("number", 0, 2),
        ("level", 2, 8),
        ("good", 10, 1),
    ]
    assert layout.size == struct.calcsize(layout.struct_format) == layout.dtype.itemsize == 11
    assert str(layout) == (
        "offset  size  type     field\n"
        "     0     2  Int16    number\n"
        "     2     8  Float64  level\n"
        "    10     1  Bool     good\n"
        "11 bytes, little-endian, packed"
    )


@pytest.mark.parametrize(("byte_order", "mark"), [("little", "<"), ("big", ">")])
def test_byte_order(byte_order: ByteOrder, mark: str) -> None:
    made = codec(byte_order)
    assert made.layout.struct_format == f"{mark}hd?"
    payload = struct.pack(f"{mark}hd?", 6, 0.5, True)
    assert made.payload_of(row()) == payload
    (batch,) = made.encode([row()])
    assert bytes(batch.records) == struct.pack("<iqiq", 20 + 11, 2, 3, 4) + payload
    fit = made.fit(chunk_of(payload, payload))
    assert fit.records["number"].tolist() == [6, 6]
    assert list(made.rows(fit.records)) == [row(mid=0), row(mid=1)]


def test_one_batch_for_each_cid_in_the_order_of_rows() -> None:
    rows = [row(cid=at % 3, mid=at) for at in range(10)]
    batches = codec().encode(rows)
    assert [(batch.cid, batch.count, batch.record_size) for batch in batches] == [(0, 4, 35), (1, 3, 35), (2, 3, 35)]
    assert [mids(batch) for batch in batches] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def mids(batch: Batch) -> list[int]:
    return [struct.unpack_from("<q", batch.records, at + 4)[0] for at in range(0, len(batch.records), batch.record_size)]


def test_with_acq() -> None:
    (batch,) = codec().encode([row(acq=77)], with_acq=True)
    assert bytes(batch.records[:32]) == struct.pack("<iqiqq", 28 + 11, 2, 3, 4, 77)


def test_no_rows() -> None:
    assert codec().encode([]) == []


def test_a_payload_without_fields() -> None:
    empty: RowCodec[tuple[int, ...]] = RowCodec(Layout.packed([]), lambda *values: values)
    fit = empty.fit(chunk_of(b"", b"x", b""))
    assert list(empty.rows(fit.records)) == [(1, 0, 3, 4, 5), (1, 2, 3, 4, 5)]
    assert [misfit.payload for misfit in fit.misfits] == [b"x"]


@pytest.mark.parametrize(
    ("name", "value", "wording"),
    [
        ("number", 2**15, "32768 (int) is not an int from -32768 to 32767"),
        ("number", 1.0, "1.0 (float) is not an int from -32768 to 32767"),
        ("number", None, "None (NoneType) is not an int"),
        ("level", "high", "'high' (str) is not a float (64-bit)"),
        ("good", 1, "1 (int) is not True or False"),
        ("mid", 2**63, "9223372036854775808 (int) is not an int from"),
        ("cap", "now", "'now' (str) is not an int from"),
    ],
)
def test_a_value_that_its_field_cannot_hold(name: str, value: object, wording: str) -> None:
    rows = [row(), row(), row(**{name: value}), row(**{name: value})]
    with pytest.raises(EncodeError) as caught:
        codec().encode(rows, first=100)
    assert str(caught.value).startswith(f"record 102: Row.{name}: {wording}")
    assert (caught.value.record, caught.value.field, caught.value.value) == (102, name, value)


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap"])
def test_a_key_component_that_cannot_be_stored(name: str) -> None:
    limits = LIMITS[name]
    codec().encode([row(**{name: limits.least}), row(**{name: limits.bound - 1})])
    with pytest.raises(
        EncodeError, match=f"record 1: Row.{name} is {limits.bound}; it must be {limits.least} to"
    ) as caught:
        codec().encode([row(), row(**{name: limits.bound})])
    assert (caught.value.record, caught.value.field, caught.value.value) == (1, name, limits.bound)


def test_an_acq_that_cannot_be_stored_matters_only_when_it_is_sent() -> None:
    greatest = row(acq=LIMITS["acq"].bound)
    assert codec().encode([greatest])
    with pytest.raises(EncodeError, match="acq is"):
        codec().encode([greatest], with_acq=True)


def test_a_cid_that_was_never_set_is_explained() -> None:
    with pytest.raises(EncodeError, match=r"cid is -1 \(-1 stands for a component that was never set\)"):
        codec().encode([row(cid=-1)])


def test_a_fixed_component() -> None:
    assert codec(moid=3).encode([row()])
    with pytest.raises(EncodeError, match="record 1: Row.moid is 4; it must be 3, which the class fixes"):
        codec(moid=3).encode([row(), row(moid=4)])


def test_a_single_payload_that_cannot_be() -> None:
    with pytest.raises(EncodeError, match=r"Row.level: 'x' \(str\) is not a float"):
        codec().payload_of(row(level="x"))


def test_payloads_of_other_sizes_are_set_apart() -> None:
    good = struct.pack("<hd?", 6, 0.5, True)
    fit = codec().fit(chunk_of(good, b"short", good, b"", good + b"!"))
    assert [row.mid for row in codec().rows(fit.records)] == [0, 2]
    assert [(misfit.key, misfit.payload) for misfit in fit.misfits] == [
        (Key(1, 1, 3, 4, 5), b"short"),
        (Key(1, 3, 3, 4, 5), b""),
        (Key(1, 4, 3, 4, 5), good + b"!"),
    ]


def test_records_that_fit_are_not_copied() -> None:
    chunk = chunk_of(*[bytes(11)] * 3)
    assert np.shares_memory(codec().fit(chunk).records, np.frombuffer(chunk, np.uint8))


def test_a_chunk_that_is_not_whole() -> None:
    with pytest.raises(RemoteProtocolError, match="at byte 47"):
        codec().fit(chunk_of(bytes(11), bytes(11))[:-1])


def test_what_is_encoded_is_what_is_read_back() -> None:
    rows = [row(mid=at, number=at, good=at % 2 == 0) for at in range(100)]
    (batch,) = codec().encode(rows)
    size = batch.record_size
    pieces = [batch.records[at : at + size] for at in range(0, len(batch.records), size)]
    chunk = memoryview(
        b"".join(get_record(bytes(piece[24:]), 1, *struct.unpack_from("<qiq", piece, 4), 5) for piece in pieces)
    )
    assert len(list(rows_in(chunk))) == 100
    assert list(codec().rows(codec().fit(chunk).records)) == rows
