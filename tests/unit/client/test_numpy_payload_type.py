"""NumPy payload types: structured arrays, recarrays and dicts of columns, and the checks on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tsmodel.client.channel import Channel
from tsmodel.client.payload_type import BytesPayloadType, NumpyPayloadType
from tsmodel.client.record import Key, Record
from tsmodel.client.response import ResponseAcq, ResponseStatus
from tsmodel.errors import DecodeError, EncodeError
from tsmodel.server import serve_in_thread
from tsmodel.wire.reader import ReceiveBuffer

COUNT = 1000


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with serve_in_thread() as address:
        yield address


def columns() -> dict[str, Any]:
    n = np.arange(COUNT)
    return {"cid": n % 3, "mid": -n, "moid": 7, "cap": n * 10, "f0": n - 500, "f1": n / 4}


def structured() -> np.ndarray[Any, Any]:
    made = np.zeros(COUNT, "i4,f8,i4,i8,i4,i8")
    made.dtype.names = ("f0", "f1", "cid", "mid", "moid", "cap")
    for name, column in columns().items():
        made[name] = column
    return made


INPUTS = {
    "dict": columns,
    "lists": lambda: {name: np.asarray(column).tolist() for name, column in columns().items()},
    "structured": structured,
    "recarray": lambda: structured().view(np.recarray),
    "big-endian": lambda: structured().astype(structured().dtype.newbyteorder(">")),
    "every other": lambda: np.repeat(structured(), 2)[::2],
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_columns_round_trip(address: tuple[str, int], make: Any) -> None:
    data = make()
    before = copy.deepcopy(data)
    payload_type = NumpyPayloadType("i4,f8")
    with Channel(*address, payload_type, timeout=20) as channel:
        put = channel.put(data)
        got = channel.get(Key.min(), Key.max())
    assert put.is_ok(), put
    assert put.count == COUNT
    (records,) = got.data
    assert records.dtype == payload_type.parsing_dtype
    assert records.dtype.names == ("_size", "cid", "mid", "moid", "cap", "acq", "f0", "f1")
    ordered = np.sort(records, order="cap")
    for name, column in columns().items():
        assert (ordered[name] == column).all()
    assert set(ordered["_size"].tolist()) == {32 + 12}
    assert len(set(ordered["acq"].tolist())) == COUNT
    if isinstance(data, dict):
        assert sorted(data) == sorted(before)
    else:
        assert data.dtype == before.dtype
        assert (data == before).all()


def test_read_arrays_can_be_put(address: tuple[str, int]) -> None:
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        channel.put(columns())
        (first,) = channel.get(Key.min(), Key.max()).data
        assert channel.puta(first).is_ok()
        (both,) = channel.get(Key.min(), Key.max()).data
    assert (np.sort(both, order=["cap"])[::2] == np.sort(first, order="cap")).all()


def test_streams_and_iterators(address: tuple[str, int]) -> None:
    batches: list[list[np.ndarray[Any, Any]]] = []
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        channel.put(columns())
        assert channel.get_stream(Key.min(), Key.max(), batches.append, recv_buffer_size=4096).is_ok()
        *arrays, last = channel.get_iter(Key.min(), Key.max(), recv_buffer_size=4096)
    assert len(batches) > 5
    assert (
        sorted(np.concatenate([array for batch in batches for array in batch])["cap"].tolist())
        == (np.arange(COUNT) * 10).tolist()
    )
    assert len(arrays) > 5
    assert sorted(np.concatenate(arrays)["cap"].tolist()) == (np.arange(COUNT) * 10).tolist()
    assert isinstance(last, ResponseAcq)


def test_records_of_another_size_are_refused(address: tuple[str, int]) -> None:
    with Channel(*address, BytesPayloadType(), timeout=20) as channel:
        channel.put([Record(Key(1, 1, 1, cap), bytes(11 if cap == 5 else 12)) for cap in range(10)])
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        got = channel.get(Key.min(), Key.max())
    assert got.status is ResponseStatus.UNPARSEABLE_ENTITY
    assert got.failed_key is not None
    assert got.failed_key.cap == 5
    assert isinstance(got.error, DecodeError)
    assert got.data[0]["cap"].tolist() == [0, 1, 2, 3, 4]


def test_memory_limit(address: tuple[str, int]) -> None:
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20, memory_limit=48 * 10 + 1) as channel:
        channel.put(columns())
        got = channel.get(Key.min(), Key.max())
    assert got.status is ResponseStatus.NO_MEMORY
    assert [len(array) for array in got.data] == [10]


@pytest.mark.parametrize(
    ("dtype", "fields"),
    [
        (None, ()),
        ("f8", ("v0",)),
        (np.int32, ("v0",)),
        (("<f4", 3), ("v0",)),
        ([("volts", "<f4"), ("phases", "<i2", 3)], ("volts", "phases")),
        (np.dtype("i1,f8", align=True), ("f0", "f1")),
        (">i4,>f8", ("f0", "f1")),
        ([], ()),
    ],
)
def test_dtypes_of_every_kind(address: tuple[str, int], dtype: Any, fields: tuple[str, ...]) -> None:
    payload_type = NumpyPayloadType(dtype)
    assert payload_type.dtype.names == fields
    data = np.zeros(5, payload_type.parsing_dtype)
    data["cid"], data["cap"] = 1, range(5)
    for name in fields:
        data[name] = np.arange(data[name].size).reshape(data[name].shape)
    with Channel(*address, payload_type, timeout=20) as channel:
        assert channel.put(data).is_ok()
        got = np.sort(channel.get(Key.min(), Key.max()).data[0], order="cap")
    for name in fields:
        assert (got[name] == data[name]).all()


KEY = [("cid", "<i4"), ("mid", "<i8"), ("moid", "<i4"), ("cap", "<i8"), ("acq", "<i8")]


@pytest.mark.parametrize(
    ("dtype", "payload"),
    [
        (None, []),
        ([("count", np.uint16), ("phases", "<f4", 3)], [("count", "<u2"), ("phases", "<f4", 3)]),
        (np.int32, [("v0", "<i4")]),
        ("i,i,d", [("f0", "<i4"), ("f1", "<i4"), ("f2", "<f8")]),
        (np.dtype("i1,f8", align=True), [("f0", "<i1"), ("f1", "<f8")]),
    ],
)
def test_whole_record_dtypes(dtype: Any, payload: list[Any]) -> None:
    payload_type = NumpyPayloadType(dtype)
    size = [("_size", "<i4")]
    assert payload_type.parsing_dtype == np.dtype(size + KEY + payload)
    assert payload_type.record_dtype == np.dtype(KEY + payload)
    assert payload_type.serializer_dtype_with_acq == np.dtype(size + KEY[1:] + payload)
    assert payload_type.serializer_dtype_no_acq == np.dtype(size + KEY[1:-1] + payload)


def test_returned_arrays_belong_to_the_caller(address: tuple[str, int]) -> None:
    streamed: list[list[np.ndarray[Any, Any]]] = []
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        channel.put(columns())
        (got,) = channel.get(Key.min(), Key.max()).data
        assert channel.get_stream(Key.min(), Key.max(), streamed.append)
        *iterated, _ = channel.get_iter(Key.min(), Key.max())
    for array in (got, *streamed[0], *iterated):
        array["_size"] = 0
        assert not array["_size"].any()


@pytest.mark.parametrize("limit", [48, 95, 96, 480, 481, 48 * 999, 48 * 1000])
def test_streams_within_a_memory_limit(address: tuple[str, int], limit: int) -> None:
    batches: list[list[np.ndarray[Any, Any]]] = []
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20, memory_limit=limit) as channel:
        channel.put(columns())
        assert channel.get_stream(Key.min(), Key.max(), batches.append).is_ok()
    full, rest = divmod(COUNT, limit // 48)
    assert [len(array) for (array,) in batches] == [limit // 48] * full + [rest] * bool(rest)
    assert sorted(cap for (array,) in batches for cap in array["cap"].tolist()) == list(range(0, 10 * COUNT, 10))


def test_single_values() -> None:
    payload_type = NumpyPayloadType("i4,f8")
    payload = payload_type.to_bytes((5, 0.5))
    assert payload_type.from_bytes(payload).item() == (5, 0.5)
    assert payload_type.from_bytes(payload[:-1]) is None


def test_records_are_accepted(address: tuple[str, int]) -> None:
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        assert channel.put([Record(Key(1, 1, 1, cap), (cap, 0.5)) for cap in range(3)]).is_ok()
        assert channel.get(Key.min(), Key.max()).data[0]["f0"].tolist() == [0, 1, 2]


def broken(**changes: Any) -> dict[str, Any]:
    return {name: column for name, column in {**columns(), **changes}.items() if column is not None}


def with_value(name: str, at: int, value: Any) -> dict[str, Any]:
    column = np.broadcast_to(np.asarray(columns()[name]), COUNT).astype(np.asarray(value).dtype)
    column[at] = value
    return broken(**{name: column})


@pytest.mark.parametrize(
    ("data", "record", "field", "wording"),
    [
        (broken(cid=None), None, "cid", "missing columns: cid; required are cid, mid, moid, cap, f0, f1"),
        (broken(f1=np.zeros(3)), None, "f1", "column f1 has 3 values, others have 1000"),
        (broken(f0=np.zeros(COUNT)), None, "f0", "column f0 holds float64, which cannot become int32"),
        (broken(f1=np.array(["x"] * COUNT)), None, "f1", "column f1 holds <U1, which cannot become float64"),
        (with_value("cid", 17, -1), 17, "cid", "record 17: cid is -1; it must be 0 to 2147483646"),
        (with_value("cid", 17, 2**31 - 1), 17, "cid", "it must be 0 to"),
        (with_value("mid", 999, 2**63 - 1), 999, "mid", "record 999: mid is 9223372036854775807"),
        (with_value("moid", 0, -(2**40)), 0, "moid", "record 0: moid is -1099511627776"),
        (with_value("f0", 5, 2**31), 5, "f0", "record 5: f0 is 2147483648; it must be -2147483648 to 2147483647"),
        (broken(f0=np.array([0] * 5 + [2**63] + [0] * 994, np.uint64)), 5, "f0", "record 5: f0 is 9223372036854775808"),
    ],
)
def test_invalid_values_are_refused(data: dict[str, Any], record: int | None, field: str, wording: str) -> None:
    with serve_in_thread() as address, Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        refused = channel.put(data)
        assert refused.status is ResponseStatus.BAD_REQUEST
        assert isinstance(refused.error, EncodeError)
        assert (refused.error.record, refused.error.field) == (record, field)
        assert wording in str(refused.error)
        assert channel.get(Key.min(), Key.max()).data == []
        if record is not None:
            lenient = channel.put(data, skip_invalid=True)
            assert (lenient.is_ok(), lenient.count, lenient.skipped) == (True, COUNT - 1, 1)
            assert record * 10 not in channel.get(Key.min(), Key.max()).data[0]["cap"]


def test_double_out_of_single_range() -> None:
    payload_type = NumpyPayloadType([("volts", "f4")])
    data = {"cid": 1, "mid": 1, "moid": 1, "cap": [1, 2, 3], "volts": [1.5, 1e39, np.inf]}
    with pytest.raises(EncodeError, match="record 1: volts is 1e\\+39"):
        payload_type.encode(data, with_acq=False)
    assert payload_type.encode(data, with_acq=False, skip_invalid=True).count == 2


@pytest.mark.parametrize(
    ("dtype", "wording"), [([("cid", "i4")], "cannot be called cid"), ("O", "plain values"), (f"V{2**25 + 1}", "at most")]
)
def test_invalid_payload_dtypes(dtype: Any, wording: str) -> None:
    with pytest.raises(ValueError, match=wording):
        NumpyPayloadType(dtype)


def test_empty_puts(address: tuple[str, int]) -> None:
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        put = channel.put(structured()[:0])
        assert (put.is_ok(), put.count) == (True, 0)
        got = channel.get(Key.min(), Key.max())
    assert got.is_ok()
    assert got.data == []


def test_answer_grows_its_memory(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsmodel.wire.reader._HELD_SIZE", 2**21)
    payload_type = NumpyPayloadType([("number", "<i4"), ("rest", "V1000000")])
    data = np.zeros(40, payload_type.parsing_dtype)
    data["cid"], data["number"] = 1, np.arange(40)
    with Channel(*address, payload_type, timeout=60) as channel:
        assert channel.put(data).is_ok()
        got = channel.get(Key.min(), Key.max())
    assert got.data[0]["number"].tolist() == list(range(40))


def test_answer_too_large_for_memory(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_buffer: ReceiveBuffer) -> None:
        raise MemoryError

    monkeypatch.setattr(ReceiveBuffer, "_grow", no_memory)
    monkeypatch.setattr("tsmodel.client.channel_base.DEFAULT_BUFFER_SIZE", 4096)
    payload_type = NumpyPayloadType("i4,f8")
    with Channel(*address, payload_type, timeout=20) as channel:
        assert channel.put(columns())
        got = channel.get(Key.min(), Key.max(), recv_buffer_size=4096)
        after = channel.get_acq(Key.min(), Key.max())
    assert got.status is ResponseStatus.NO_MEMORY
    assert isinstance(got.error, MemoryError)
    assert 0 < len(got.data[0]) < COUNT
    assert after.status is ResponseStatus.DISCONNECTED


def test_cids_that_first_differ_late(address: tuple[str, int]) -> None:
    count = 40_000
    data = {"cid": np.zeros(count, np.int64), "mid": np.arange(count), "moid": 0, "cap": 0, "f0": 1, "f1": 0.5}
    data["cid"][-1] = 5
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        assert channel.put(data).count == count
        got = channel.get(Key(5, 0, 0, 0, 0), Key.max())
        data["cid"][-2] = -1
        refused = channel.put(data)
        skipped = channel.put(data, skip_invalid=True)
    assert got.data[0]["mid"].tolist() == [count - 1]
    assert refused.status is ResponseStatus.BAD_REQUEST
    assert isinstance(refused.error, EncodeError)
    assert (refused.error.record, refused.error.field) == (count - 2, "cid")
    assert (skipped.count, skipped.skipped) == (count - 1, 1)


def test_single_invalid_cid(address: tuple[str, int]) -> None:
    data = columns() | {"cid": -7}
    with Channel(*address, NumpyPayloadType("i4,f8"), timeout=20) as channel:
        refused = channel.put(data)
        skipped = channel.put(data, skip_invalid=True)
        got = channel.get(Key.min(), Key.max())
    assert isinstance(refused.error, EncodeError)
    assert refused.error.field == "cid"
    assert (skipped.count, skipped.skipped, len(got.data)) == (0, COUNT, 0)


def test_disconnected_channel() -> None:
    payload_type = NumpyPayloadType("i4")
    got = Channel("localhost", 1, payload_type).get(Key.min(), Key.max())
    assert got.status is ResponseStatus.DISCONNECTED
    assert got.data == []
