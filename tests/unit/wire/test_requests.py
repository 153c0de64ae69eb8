"""Requests as buffers: exact bytes, batches split between records, and no copies."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import batch
from support.wiring import fed, put_of, put_record

from tsmodel.backend import Batch
from tsmodel.errors import LocalProtocolError, RemoteProtocolError
from tsmodel.keys import Key
from tsmodel.wire.client_role import (
    MAX_BATCH_SIZE,
    coalesced,
    get_acq_request,
    get_request,
    portions,
    put_request,
    unsent,
)
from tsmodel.wire.events import PutBegin, PutEnd
from tsmodel.wire.server_role import RequestReader


def requested(batches: list[Batch], **options: Any) -> list[bytes | memoryview]:
    """Returns all buffers of a put, which are normally made while sending."""
    return list(put_request(batches, **options))


def test_get_and_get_acq() -> None:
    keys = Key(1, 2, 3, 4, 5), Key(6, 7, 8, 9, 10)
    body = struct.pack("<iqiqqiqiqq", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert b"".join(get_request(*keys)) == struct.pack("<iQ", 1, 64) + body
    assert b"".join(get_acq_request(*keys)) == struct.pack("<iQ", 7, 64) + body


@pytest.mark.parametrize("with_acq", [False, True])
def test_put_bytes(with_acq: bool) -> None:
    acq = (9,) if with_acq else ()
    sent = [batch(1, [(1, 2, 3, *acq, b"ab"), (1, 2, 4, *acq, b"")], with_acq=with_acq)]
    sent.append(batch(0, [(-1, -2, -3, *acq, b"c")], with_acq=with_acq))
    expected = put_of(
        (1, [put_record(b"ab", 1, 2, 3, *acq), put_record(b"", 1, 2, 4, *acq)]),
        (0, [put_record(b"c", -1, -2, -3, *acq)]),
        command=6 if with_acq else 5,
    )
    assert b"".join(requested(sent, with_acq=with_acq)) == expected


def test_empty_put() -> None:
    assert b"".join(requested([], with_acq=False)) == put_of()
    assert b"".join(requested([batch(1, [])], with_acq=False)) == put_of()


def test_records_are_not_copied() -> None:
    sent = batch(1, [(1, 2, 3, bytes(1000))] * 100)
    views = [buffer for buffer in requested([sent], with_acq=False) if isinstance(buffer, memoryview)]
    assert [view.obj for view in views] == [sent.records.obj]


@pytest.mark.parametrize("sizes", [[5] * 20, [0, 3, 100, 1, 1, 1, 250, 0], [500]])
@pytest.mark.parametrize("most", [1, 29, 30, 58, 60, 100, 10_000])
def test_batches_are_split_between_records(sizes: list[int], most: int) -> None:
    sent = batch(7, [(at, 0, 0, bytes(size)) for at, size in enumerate(sizes)])
    request = requested([sent], with_acq=False, max_batch_size=most)
    begin, (cid, records, count), end = fed(RequestReader(), map(bytes, request))
    assert (begin, end) == (PutBegin(False), PutEnd())
    assert (cid, records, count) == (7, bytes(sent.records), len(sizes))
    pieces = [len(buffer) for buffer in request if isinstance(buffer, memoryview)]
    assert all(size <= most or size in [24 + each for each in sizes] for size in pieces)


def test_batches_are_filled() -> None:
    sent = batch(1, [(at, 0, 0, bytes(size)) for at, size in enumerate([0, 16, 6, 0, 0, 0])])
    request = requested([sent], with_acq=False, max_batch_size=64)
    assert [len(buffer) for buffer in request if isinstance(buffer, memoryview)] == [64, 54, 48]


def test_batch_larger_than_its_size_field() -> None:
    records = memoryview(np.zeros(2**31 + 2000, np.uint8))  # never touched, so it takes no memory
    count = len(records) // 1216
    request = requested([Batch(1, records[: count * 1216], count, 1216)], with_acq=False)
    sizes = [len(buffer) for buffer in request if isinstance(buffer, memoryview)]
    assert len(sizes) == 2
    assert sum(sizes) == count * 1216
    assert all(size <= MAX_BATCH_SIZE and size % 1216 == 0 for size in sizes)
    announced = [struct.unpack("<ii", buffer) for buffer in request[1:-1:2]]
    assert announced == [(1, size) for size in sizes]


@pytest.mark.parametrize("most", [0, -1, 2**31])
def test_invalid_batch_sizes(most: int) -> None:
    with pytest.raises(LocalProtocolError, match="max_batch_size"):
        requested([], with_acq=False, max_batch_size=most)


@pytest.mark.parametrize("cid", [-1, -5])
def test_cid_that_marks_the_end_of_a_put_is_refused(cid: int) -> None:
    with pytest.raises(LocalProtocolError, match="would end the put"):
        requested([batch(cid, [(1, 1, 1, b"")])], with_acq=False)


def test_cid_out_of_int32_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="cid 2147483648"):
        requested([batch(2**31, [(1, 1, 1, b"")])], with_acq=False)


def test_cid_that_servers_skip_does_not_end_the_put() -> None:
    sent = [batch(2**31 - 1, [(1, 1, 1, b"")]), batch(1, [(1, 1, 1, b"")])]
    events = fed(RequestReader(), map(bytes, requested(sent, with_acq=False)))
    assert [event[0] for event in events[1:-1]] == [2**31 - 1, 1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("sizes", "joined"),
    [
        ([], []),
        ([3, 4, 5], [12]),
        ([2**14 - 1, 1, 1], [2**14, 1]),
        ([3, 20_000, 4, 5], [3, 20_000, 9]),
        ([20_000, 20_000], [20_000, 20_000]),
        ([3, 0, 20_000], [3, 20_000]),
    ],
)
def test_small_buffers_are_joined_and_large_ones_are_not_copied(sizes: list[int], joined: list[int]) -> None:
    buffers = [memoryview(bytes([at]) * size) for at, size in enumerate(sizes)]
    found = list(coalesced(buffers))
    assert b"".join(found) == b"".join(buffers)
    assert [len(buffer) for buffer in found] == joined
    large = [id(buffer) for buffer in buffers if len(buffer) == 20_000]
    assert [id(buffer) for buffer in found if len(buffer) == 20_000] == large


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([0], [1]),
        ([4] * 1000, [512, 488]),
        ([2**19], [1]),
        ([2**18] * 5, [2, 2, 1]),
        ([8, 2**19 + 1, 8], [2, 1]),
    ],
)
def test_portions_are_half_a_mib_or_one_sendmsg_call(sizes: list[int], counts: list[int]) -> None:
    buffers = [bytes([at % 256]) * size for at, size in enumerate(sizes)]
    found = list(portions(iter(buffers)))
    assert [len(portion) for portion in found] == counts
    assert b"".join(buffer for portion in found for buffer in portion) == b"".join(buffers)


def test_portions_are_made_lazily() -> None:
    asked = []

    def made() -> Iterator[bytes]:
        for number in range(10):
            asked.append(number)
            yield bytes(2**18)

    next(portions(made()))
    assert asked == [0, 1]


@given(st.lists(st.binary(max_size=5), max_size=6), st.data())
def test_unsent_bytes_remain(buffers: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(buffers)
    sent = data.draw(st.integers(0, len(whole)))
    left = unsent([memoryview(buffer) for buffer in buffers], sent)
    assert b"".join(left) == whole[sent:]
    if sent == len(whole):
        assert not left


def test_incomplete_batch_is_refused() -> None:
    broken = Batch(1, batch(1, [(1, 1, 1, bytes(50)), (1, 1, 1, b"")]).records[:-1], 2)
    with pytest.raises(RemoteProtocolError):
        requested([broken], with_acq=False, max_batch_size=10)
