"""Row codecs: rows to batches, chunks to rows, mismatches, and errors that name the record."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.batches import rows_in
from support.wiring import get_record

from tsmodel.backend import Batch
from tsmodel.errors import EncodeError, RemoteProtocolError
from tsmodel.keys import LIMITS, Key
from tsmodel.layout import RowCodec, packed, row_codec
from tsmodel.types.scalars import SCALARS, ByteOrder, Scalar
from tsmodel.wire.chunk import RowChunk, parsed


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
    return row_codec(packed(fields, byte_order), Row, fixed)


def row(**values: object) -> Row:
    return Row(**{"cid": 1, "mid": 2, "moid": 3, "cap": 4, "acq": 5, "number": 6, "level": 0.5, "good": True, **values})


def chunk_of(*payloads: bytes) -> RowChunk:
    return RowChunk.of([get_record(payload, 1, at, 3, 4, 5) for at, payload in enumerate(payloads)])


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


def test_one_batch_per_cid_in_row_order() -> None:
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


def test_payload_without_fields() -> None:
    empty: RowCodec[tuple[int, ...]] = row_codec(packed([]), lambda *values: values)
    fit = empty.fit(chunk_of(b"", b"x", b""))
    assert list(empty.rows(fit.records)) == [(1, 0, 3, 4, 5), (1, 2, 3, 4, 5)]
    assert [mismatch.payload for mismatch in fit.mismatches] == [b"x"]


@pytest.mark.parametrize(
    ("name", "value", "wording"),
    [
        ("number", 2**15, "32768 (int) is not an int from -32768 to 32767"),
        ("number", 1.0, "1.0 (float) is not an int from -32768 to 32767"),
        ("number", None, "None (NoneType) is not an int"),
        ("level", "high", "'high' (str) is not a float (64-bit)"),
        ("good", 1, "1 (int) is not True or False"),
        ("mid", 2**63, "9223372036854775808 (int) is not an int from"),
        ("cap", "now", "'now' (str) is not an int of ns since 2001; to_ns()"),
    ],
)
def test_invalid_value_names_the_record(name: str, value: object, wording: str) -> None:
    rows = [row(), row(), row(**{name: value}), row(**{name: value})]
    with pytest.raises(EncodeError) as caught:
        codec().encode(rows, first=100)
    assert str(caught.value).startswith(f"record 102: Row.{name}: {wording}")
    assert (caught.value.record, caught.value.field, caught.value.value) == (102, name, value)


@pytest.mark.parametrize("name", ["cid", "mid", "moid", "cap"])
def test_key_component_out_of_range(name: str) -> None:
    limits = LIMITS[name]
    codec().encode([row(**{name: limits.least}), row(**{name: limits.bound - 1})])
    with pytest.raises(
        EncodeError, match=f"record 1: Row.{name} is {limits.bound}; it must be {limits.least} to"
    ) as caught:
        codec().encode([row(), row(**{name: limits.bound})])
    assert (caught.value.record, caught.value.field, caught.value.value) == (1, name, limits.bound)


def test_acq_is_checked_only_when_sent() -> None:
    greatest = row(acq=LIMITS["acq"].bound)
    assert codec().encode([greatest])
    with pytest.raises(EncodeError, match="acq is"):
        codec().encode([greatest], with_acq=True)


def test_unset_cid_error_explains_itself() -> None:
    with pytest.raises(EncodeError, match=r"cid is -1 \(-1 means that the component was never set\)"):
        codec().encode([row(cid=-1)])


def test_invalid_value_in_single_payload() -> None:
    with pytest.raises(EncodeError, match=r"Row.level: 'x' \(str\) is not a float"):
        codec().payload_of(row(level="x"))


def test_payloads_of_wrong_size_are_mismatches() -> None:
    good = struct.pack("<hd?", 6, 0.5, True)
    fit = codec().fit(chunk_of(good, b"short", good, b"", good + b"!"))
    assert [row.mid for row in codec().rows(fit.records)] == [0, 2]
    assert [(mismatch.key, mismatch.payload) for mismatch in fit.mismatches] == [
        (Key(1, 1, 3, 4, 5), b"short"),
        (Key(1, 3, 3, 4, 5), b""),
        (Key(1, 4, 3, 4, 5), good + b"!"),
    ]


def test_matching_records_are_not_copied() -> None:
    chunk = chunk_of(*[bytes(11)] * 3)
    assert np.shares_memory(codec().fit(chunk).records, np.frombuffer(chunk.rows(), np.uint8))


def test_truncated_chunk_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="at byte 47"):
        parsed(chunk_of(bytes(11), bytes(11)).rows()[:-1])


def test_round_trip() -> None:
    rows = [row(mid=at, number=at, good=at % 2 == 0) for at in range(100)]
    (batch,) = codec().encode(rows)
    size = batch.record_size
    pieces = [batch.records[at : at + size] for at in range(0, len(batch.records), size)]
    chunk = RowChunk.of([get_record(bytes(piece[24:]), 1, *struct.unpack_from("<qiq", piece, 4), 5) for piece in pieces])
    assert len(list(rows_in(chunk))) == 100
    assert list(codec().rows(codec().fit(chunk).records)) == rows


WRONG_KINDS: dict[str, tuple[object, ...]] = {
    "int": (1.0, "1", None, b"\1", [1]),
    "time": (1.0, "2026-01-31T00:00:00Z", None, np.datetime64(0, "ns")),
    "float": ("1.5", None, b"\0" * 8, 1j, [0.5]),
    "bool": (0, 1, None, "True", 1.0),
}


def single(scalar: Scalar, byte_order: ByteOrder = "little") -> RowCodec[Single]:
    return row_codec(packed([("value", scalar)], byte_order), Single)


class Single(NamedTuple):
    cid: int
    mid: int
    moid: int
    cap: int
    acq: int
    value: Any


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("scalar", [each for each in SCALARS.values() if each.limits], ids=lambda each: each.name)
def test_integer_limits(scalar: Scalar, byte_order: ByteOrder) -> None:
    assert scalar.limits is not None
    made = single(scalar, byte_order)
    (batch,) = made.encode([Single(1, 2, 3, 4, 5, value) for value in scalar.limits])
    payloads = [bytes(batch.records[at + 24 : at + batch.record_size]) for at in (0, batch.record_size)]
    assert [int.from_bytes(each, byte_order, signed=scalar.limits[0] < 0) for each in payloads] == list(scalar.limits)
    for value in (scalar.limits[0] - 1, scalar.limits[1] + 1):
        with pytest.raises(EncodeError) as caught:
            made.encode([Single(1, 2, 3, 4, 5, scalar.limits[0]), Single(1, 2, 3, 4, 5, value)])
        expected = f"record 1: Single.value: {value} (int) is not an int from {scalar.limits[0]} to {scalar.limits[1]}"
        assert str(caught.value) == expected
        assert (caught.value.record, caught.value.field, caught.value.value) == (1, "value", value)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [(scalar, value) for scalar in SCALARS.values() for value in WRONG_KINDS[scalar.kind]],
    ids=lambda each: each.name if isinstance(each, Scalar) else type(each).__name__,
)
def test_value_of_wrong_type(scalar: Scalar, value: object) -> None:
    made = single(scalar)
    wrong = Single(1, 2, 3, 4, 5, value)
    for attempt in (lambda: made.encode([wrong]), lambda: made.payload_of(wrong)):
        with pytest.raises(EncodeError) as caught:
            attempt()
        wanted = (
            "an int of ns since 2001; to_ns()"
            if scalar.kind == "time" and isinstance(value, (str, np.datetime64))
            else scalar.accepts
        )
        assert f"Single.value: {value!r} ({type(value).__name__}) is not {wanted}" in str(caught.value)
        assert (caught.value.field, caught.value.value) == ("value", value)


def test_value_too_large_for_float32() -> None:
    with pytest.raises(
        EncodeError, match=r"record 0: Single.value: 1e\+39 is too large for a Float32, which holds up to 3.4"
    ):
        single(SCALARS["Float32"]).encode([Single(1, 2, 3, 4, 5, 1e39)])


def test_int_too_long_to_print() -> None:
    with pytest.raises(EncodeError, match="Single.value"):
        single(SCALARS["Int64"]).encode([Single(1, 2, 3, 4, 5, 10**5000)])


@pytest.mark.parametrize("at", [0, 1, 510, 511, 512, 513, 1023, 1024, 1299])
@pytest.mark.parametrize(("name", "value"), [("number", "six"), ("good", 1), ("cap", None), ("mid", 2**63 - 1)])
def test_invalid_record_among_many_is_located(at: int, name: str, value: object) -> None:
    rows = [row(mid=number) for number in range(1300)]
    rows[at] = row(**{name: value})
    rows += [row(**{name: value})]
    with pytest.raises(EncodeError, match=f"^record {at + 7}: Row.{name}") as caught:
        codec().encode(rows, first=7)
    assert caught.value.record == at + 7


@pytest.mark.parametrize("count", [1, 511, 512, 513, 1025])
def test_batch_size_boundaries(count: int) -> None:
    (batch,) = codec().encode([row(mid=at, number=at % 100) for at in range(count)])
    assert (batch.count, len(batch.records)) == (count, 35 * count)
    assert mids(batch) == list(range(count))


def test_neighbouring_and_extreme_cids() -> None:
    cids = [2**31 - 2, 0, 1, 2**31 - 2, 0]
    batches = codec().encode([row(cid=cid, mid=at) for at, cid in enumerate(cids)])
    assert [(batch.cid, mids(batch)) for batch in batches] == [(0, [1, 4]), (1, [2]), (2**31 - 2, [0, 3])]


@pytest.mark.parametrize("name", ["mid", "moid", "cap", "acq"])
def test_minus_one_is_valid_except_as_cid(name: str) -> None:
    assert codec().encode([row(**{name: -1})], with_acq=True)


def test_fixed_components() -> None:
    made = codec(cid=1, mid=2, moid=3)
    assert made.encode([row()])
    for name in ("cid", "mid", "moid"):
        with pytest.raises(
            EncodeError, match=f"record 1: Row.{name} is 9; it must be [123], which the class fixes"
        ) as caught:
            made.encode([row(), row(**{name: 9})])
        assert (caught.value.record, caught.value.field, caught.value.value) == (1, name, 9)


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_rows_of_a_selection(byte_order: ByteOrder) -> None:
    made = codec(byte_order)
    payload = made.payload_of(row())
    records = made.fit(chunk_of(*[payload] * 6)).records
    assert [each.mid for each in made.rows(records[records["mid"] > 3])] == [4, 5]
    assert [each.mid for each in made.rows(records[1::2])] == [1, 3, 5]
    assert [each.mid for each in made.rows(records[::-1])] == [5, 4, 3, 2, 1, 0]
    assert list(made.rows(records[:0])) == []
    assert next(made.rows(records)) == row(mid=0)


def test_no_record_matches() -> None:
    for payloads in ([b"x", b"y"], [b"x", b""]):
        fit = codec().fit(chunk_of(*payloads))
        assert list(codec().rows(fit.records)) == []
        assert [mismatch.payload for mismatch in fit.mismatches] == payloads


def test_numpy_scalars_are_accepted() -> None:
    made = codec()
    plain = row(cid=1, number=-7, level=0.5, good=True)
    typed = row(cid=np.int32(1), number=np.int16(-7), level=np.float32(0.5), good=np.True_)
    assert made.payload_of(typed) == made.payload_of(plain)
    assert bytes(made.encode([typed])[0].records) == bytes(made.encode([plain])[0].records)
