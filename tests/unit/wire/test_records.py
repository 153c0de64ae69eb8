"""Finding whole records at the front of a buffer: one size, mixed sizes, and false sizes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support.wiring import get_record, put_record

from tsmodel.errors import RemoteProtocolError
from tsmodel.wire import GET_FORM, MAX_PAYLOAD, PUT_FORM, PUTA_FORM, RecordForm, WholeRecords
from tsmodel.wire.records import bytes_of


def records(*sizes: int) -> bytes:
    return b"".join(get_record(bytes(size), 1, 2, 3, 4, 5) for size in sizes)


@pytest.mark.parametrize(("form", "least"), [(GET_FORM, 32), (PUT_FORM, 20), (PUTA_FORM, 28)])
def test_forms(form: RecordForm, least: int) -> None:
    assert form.least == least
    assert form.most == least + MAX_PAYLOAD
    assert form.header.itemsize == least + 4


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 66, 600, 5000])
def test_records_of_one_size(count: int) -> None:
    data = records(*[9] * count)
    assert GET_FORM.whole_records(data) == WholeRecords(45 * count, count, 45 if count else 0)
    assert GET_FORM.offsets(data).tolist() == list(range(0, 45 * count, 45))


@pytest.mark.parametrize("at", [0, 1, 2, 63, 64, 65, 100, 599])
def test_one_record_of_a_different_size(at: int) -> None:
    sizes = [9] * 600
    sizes[at] = 10
    data = records(*sizes)
    assert GET_FORM.whole_records(data) == WholeRecords(len(data), 600, 0)
    assert GET_FORM.offsets(data).tolist() == np.cumsum([0, *(36 + size for size in sizes[:-1])]).tolist()


def test_walk_stops_at_a_partial_record() -> None:
    data = records(9, 9, 1, 9)
    ends = [45, 90, 127, 172]
    for length in range(len(data)):
        found = GET_FORM.whole_records(data[:length])
        assert found.end == max([end for end in ends if end <= length], default=0)
        assert found.count == sum(end <= length for end in ends)


@pytest.mark.parametrize("n", [0, -1, 31, -(2**31), 32 + MAX_PAYLOAD + 1, 2**31 - 1])
def test_walk_stops_at_a_size_out_of_bounds(n: int) -> None:
    data = records(9, 9) + struct.pack("<i", n) + bytes(100)
    assert GET_FORM.whole_records(data) == WholeRecords(90, 2, 45)
    with pytest.raises(RemoteProtocolError, match=f"byte 90 says {n} bytes; valid are 32 to") as caught:
        GET_FORM.offsets(data)
    assert caught.value.offset == 90


def test_errors_of_partial_records() -> None:
    with pytest.raises(RemoteProtocolError, match="inside a size field, at byte 45"):
        GET_FORM.offsets(records(9) + b"\0\0\0")
    with pytest.raises(RemoteProtocolError, match="at byte 45 says 41 bytes, but only 40 follow"):
        GET_FORM.offsets(records(9, 9)[:-1])


def test_largest_payload() -> None:
    data = get_record(bytes(MAX_PAYLOAD), 1, 2, 3, 4, 5)
    assert GET_FORM.whole_records(data).count == 1
    assert GET_FORM.whole_records(data[:-1]).count == 0


def test_other_forms() -> None:
    assert PUT_FORM.whole_records(put_record(b"abc", 1, 2, 3) * 3) == WholeRecords(81, 3, 27)
    assert PUTA_FORM.whole_records(put_record(b"abc", 1, 2, 3, 4) * 3) == WholeRecords(105, 3, 35)


def test_dtypes_see_records() -> None:
    seen = np.frombuffer(get_record(struct.pack("<d", 1.5), 1, 2, 3, 4, 5) * 2, GET_FORM.dtype("<f8"))
    assert seen.tolist() == [(40, 1, 2, 3, 4, 5, 1.5)] * 2
    assert GET_FORM.dtype(0).names == ("n", "cid", "mid", "moid", "cap", "acq")
    assert GET_FORM.dtype(9).itemsize == 45


def test_bytes_of_records() -> None:
    seen = np.frombuffer(bytearray(records(9, 9, 9)), GET_FORM.dtype(9))
    assert bytes_of(seen).tobytes() == records(9, 9, 9)
    assert bytes_of(seen[::2]).tobytes() == records(9, 9)
    assert bytes_of(seen[:0]).tobytes() == b""
