"""Any records, cut anywhere, give the same events; any garbage gives events or an error of the peer, and nothing else."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch
from support.wiring import cut, fed, get_answer, get_record

from tsmodel.errors import RemoteProtocolError
from tsmodel.wire.answers import GetAcqAnswerReader, GetAnswerReader, PutAnswerReader
from tsmodel.wire.messages import PutBegin, PutEnd, RangeEnd
from tsmodel.wire.reading import Reader
from tsmodel.wire.requests import put_request
from tsmodel.wire.serving import RequestReader

sizes = st.lists(st.sampled_from([0, 1, 9, 9, 9, 200]) | st.integers(0, 3000), max_size=30)
buffer_sizes = st.sampled_from([1, 128, 1000, 2**16])


@settings(deadline=None)
@given(sizes, st.lists(st.integers(0, 20_000), max_size=20), buffer_sizes)
def test_any_answer_cut_anywhere(sizes: list[int], edges: list[int], buffer_size: int) -> None:
    records = [get_record(bytes([at % 256]) * size, 1, at, 0, 0, 0) for at, size in enumerate(sizes)]
    answer = get_answer(*records)
    pieces = cut(answer, [edge for edge in edges if edge < len(answer)])
    expected = ([b"".join(records)] if records else []) + [RangeEnd(99)]
    assert fed(GetAnswerReader(buffer_size), pieces) == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), sizes), max_size=4),
    st.booleans(),
    st.integers(1, 5000),
    st.lists(st.integers(0, 20_000), max_size=20),
    buffer_sizes,
)
def test_any_put_goes_from_client_to_server(
    batches: list[tuple[int, list[int]]], with_acq: bool, most: int, edges: list[int], buffer_size: int
) -> None:
    acq = (7,) if with_acq else ()
    sent = [
        batch(cid, [(at, 0, 0, *acq, bytes([at]) * size) for at, size in enumerate(sizes)], with_acq=with_acq)
        for cid, sizes in batches
    ]
    request = b"".join(put_request(sent, with_acq=with_acq, max_batch_size=most))
    begin, *arrived, end = fed(RequestReader(buffer_size), cut(request, [edge for edge in edges if edge < len(request)]))
    assert (begin, end) == (PutBegin(with_acq), PutEnd())
    by_cid = {cid: b"" for cid, _ in batches}
    for cid, records, _ in arrived:  # type: ignore[misc]
        by_cid[cid] += records
    assert by_cid == {cid: b"".join(bytes(each.records) for each in sent if each.cid == cid) for cid in by_cid}


starts = st.sampled_from(
    [b"", struct.pack("<iQ", 0, 0), *(struct.pack("<iQ", command, 0) for command in (1, 5, 6, 7)), struct.pack("<iQ", 0, 8)]
)
garbage = st.builds(lambda start, rest: start + rest, starts, st.binary(max_size=300))


@pytest.mark.parametrize("make", [GetAnswerReader, GetAcqAnswerReader, PutAnswerReader, RequestReader])
@settings(deadline=None)
@given(data=garbage, seed=st.integers(0, 10))
def test_garbage_is_the_fault_of_the_peer(make: type[Reader[object]], data: bytes, seed: int) -> None:
    rng = random.Random(seed)
    pieces = cut(data, rng.sample(range(len(data) + 1), min(3, len(data))))
    offset = fault_in(make(), pieces)
    assert 0 <= offset <= len(data)


def fault_in(reader: Reader[object], pieces: list[bytes]) -> int:
    """Where the peer went wrong; 0 when it did not."""
    try:
        fed(reader, pieces)
    except RemoteProtocolError as error:
        return -1 if error.offset is None else error.offset
    return 0
