"""Requests as buffers: byte for byte, cut into batches between records, and never joined."""

from __future__ import annotations

import struct

import pytest
from support.batches import batch
from support.wiring import fed, put_of, put_record

from tsmodel.backend import Batch
from tsmodel.errors import LocalProtocolError, RemoteProtocolError
from tsmodel.keys import Key
from tsmodel.wire.messages import PutBegin, PutEnd
from tsmodel.wire.requests import get_acq_request, get_request, put_request
from tsmodel.wire.serving import RequestReader


def test_get_and_get_acq() -> None:
    keys = Key(1, 2, 3, 4, 5), Key(6, 7, 8, 9, 10)
    body = struct.pack("<iqiqqiqiqq", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert b"".join(get_request(*keys)) == struct.pack("<iQ", 1, 64) + body
    assert b"".join(get_acq_request(*keys)) == struct.pack("<iQ", 7, 64) + body


@pytest.mark.parametrize("with_acq", [False, True])
def test_a_put_byte_for_byte(with_acq: bool) -> None:
    acq = (9,) if with_acq else ()
    sent = [batch(1, [(1, 2, 3, *acq, b"ab"), (1, 2, 4, *acq, b"")], with_acq=with_acq)]
    sent.append(batch(0, [(-1, -2, -3, *acq, b"c")], with_acq=with_acq))
    expected = put_of(
        (1, [put_record(b"ab", 1, 2, 3, *acq), put_record(b"", 1, 2, 4, *acq)]),
        (0, [put_record(b"c", -1, -2, -3, *acq)]),
        command=6 if with_acq else 5,
    )
    assert b"".join(put_request(sent, with_acq=with_acq)) == expected


def test_a_put_of_nothing() -> None:
    assert b"".join(put_request([], with_acq=False)) == put_of()
    assert b"".join(put_request([batch(1, [])], with_acq=False)) == put_of()


def test_records_are_not_copied() -> None:
    sent = batch(1, [(1, 2, 3, bytes(1000))] * 100)
    views = [buffer for buffer in put_request([sent], with_acq=False) if isinstance(buffer, memoryview)]
    assert [view.obj for view in views] == [sent.records.obj]


@pytest.mark.parametrize("sizes", [[5] * 20, [0, 3, 100, 1, 1, 1, 250, 0], [500]])
@pytest.mark.parametrize("most", [1, 29, 30, 58, 60, 100, 10_000])
def test_batches_are_cut_between_records(sizes: list[int], most: int) -> None:
    sent = batch(7, [(at, 0, 0, bytes(size)) for at, size in enumerate(sizes)])
    request = put_request([sent], with_acq=False, max_batch_size=most)
    begin, (cid, records, count), end = fed(RequestReader(), map(bytes, request))
    assert (begin, end) == (PutBegin(False), PutEnd())
    assert (cid, records, count) == (7, bytes(sent.records), len(sizes))
    pieces = [len(buffer) for buffer in request if isinstance(buffer, memoryview)]
    longest = 24 + max(sizes)
    assert all(size <= max(most, longest) for size in pieces)
    assert len(pieces) <= 1 or max(pieces) <= max(most, longest)


@pytest.mark.parametrize("most", [0, -1, 2**31])
def test_a_batch_size_that_cannot_be(most: int) -> None:
    with pytest.raises(LocalProtocolError, match="max_batch_size"):
        put_request([], with_acq=False, max_batch_size=most)


@pytest.mark.parametrize("cid", [-1, -5])
def test_a_cid_that_would_end_the_put(cid: int) -> None:
    with pytest.raises(LocalProtocolError, match="end the put early"):
        put_request([batch(cid, [(1, 1, 1, b"")])], with_acq=False)


def test_a_batch_that_is_not_whole() -> None:
    broken = Batch(1, batch(1, [(1, 1, 1, bytes(50)), (1, 1, 1, b"")]).records[:-1], 2)
    with pytest.raises(RemoteProtocolError):
        put_request([broken], with_acq=False, max_batch_size=10)
