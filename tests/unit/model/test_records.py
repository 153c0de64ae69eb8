"""Models as payload types and as client records, and how a payload that does not fit reads."""

from __future__ import annotations

import struct

import pytest

from tsmodel import Bool, Float32, Int32, TSModel
from tsmodel.client.payload_type import PayloadType
from tsmodel.client.record import Key, Record
from tsmodel.errors import DecodeError, EncodeError


class Reading(TSModel):
    counter: Int32
    volts: Float32
    valid: Bool


class Other(TSModel):
    counter: Int32


KEY = Key(1, 2, 3, 4, 5)
PAYLOAD = struct.pack("<if?", 7, 1.5, True)
ROW = Reading(cid=1, mid=2, moid=3, cap=4, acq=5, counter=7, volts=1.5, valid=True)


def test_payload_type() -> None:
    payload_type = Reading.payload_type
    assert isinstance(payload_type, PayloadType)
    assert payload_type.to_bytes(ROW) == PAYLOAD
    for buffer in (PAYLOAD, memoryview(PAYLOAD)):
        row = payload_type.from_bytes(buffer)  # type: ignore[arg-type]
        assert row is not None
        assert row.key == Key()
        assert (row.counter, row.volts, row.valid) == (7, 1.5, True)


@pytest.mark.parametrize("buffer", [b"", PAYLOAD[:-1], PAYLOAD + b"!"])
def test_bytes_that_do_not_fit(buffer: bytes) -> None:
    assert Reading.payload_type.from_bytes(buffer) is None


def test_a_value_that_does_not_fit() -> None:
    broken = Reading(cid=1, mid=2, moid=3, cap=4, counter=2**31, volts=1.5, valid=True)
    with pytest.raises(EncodeError, match=r"Reading.counter: 2147483648 \(int\) is not an int") as caught:
        Reading.payload_type.to_bytes(broken)
    assert (caught.value.field, caught.value.value) == ("counter", 2**31)


def test_to_and_from_record() -> None:
    record = ROW.to_record()
    assert (record.key, record.value) == (KEY, ROW)
    assert Reading.from_record(record) == ROW
    assert Reading.from_record(Record(KEY, PAYLOAD)) == ROW
    keyless = Reading.payload_type.from_bytes(PAYLOAD)
    assert keyless is not None
    assert Reading.from_record(Record(KEY, keyless)) == ROW
    assert keyless.key == Key()


def test_a_record_whose_payload_does_not_fit() -> None:
    payload = bytes(range(60, 80))
    with pytest.raises(DecodeError) as caught:
        Reading.from_record(Record(KEY, payload))
    assert str(caught.value) == (
        "the payload of record cid 1, mid 2, moid 3, cap 4, acq 5 has 20 bytes; Reading takes 9\n"
        "  0000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK\n"
        "  0010  4c 4d 4e 4f                                      LMNO"
    )
    assert (caught.value.key, caught.value.payload, caught.value.offset) == (KEY, payload, 9)


def test_a_long_payload_is_shown_in_part() -> None:
    with pytest.raises(DecodeError, match="… 872 more bytes"):
        Reading.from_record(Record(KEY, bytes(1000)))


def test_a_record_of_another_model() -> None:
    with pytest.raises(DecodeError, match="holds Other; expected bytes or Reading") as caught:
        Reading.from_record(Record(KEY, Other(cid=1, mid=2, moid=3, cap=4, counter=1)))  # type: ignore[arg-type]
    assert caught.value.key == KEY


def test_the_layout() -> None:
    assert str(Reading.layout).splitlines()[-1] == "9 bytes, little-endian, packed"
    assert Reading.struct_format == "<if?"
    assert Reading.dtype.itemsize == 9
    assert ROW.layout == Reading.layout
