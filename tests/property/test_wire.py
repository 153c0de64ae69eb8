"""Messages cut anywhere give the same events; garbage gives events or a `RemoteProtocolError`, and nothing else."""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch, rows_in
from support.wiring import cut, fed, get_answer, get_record

from tsmodel.errors import RemoteProtocolError
from tsmodel.keys import Key
from tsmodel.wire import PUT_FORM
from tsmodel.wire.client_role import GetAcqAnswerReader, GetAnswerReader, PutAnswerReader, get_request, put_request
from tsmodel.wire.events import GetRequest, PutAnswer, PutBegin, PutEnd, PutRecords, RangeEnd, Refusal
from tsmodel.wire.reader import Reader
from tsmodel.wire.server_role import RequestReader, get_begin, get_end, put_answer

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
def test_any_put_cut_anywhere(
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
def test_garbage_is_a_remote_error(make: type[Reader[object]], data: bytes, seed: int) -> None:
    rng = random.Random(seed)
    pieces = cut(data, rng.sample(range(len(data) + 1), min(3, len(data))))
    offset = fault_in(make(), pieces)
    assert 0 <= offset <= len(data)


answers = sizes.map(
    lambda sizes: get_answer(*(get_record(bytes([at]) * size, 1, at, 0, 0, 0) for at, size in enumerate(sizes[:6])))
)
puts = st.tuples(sizes, st.booleans()).map(
    lambda put: b"".join(
        put_request(
            [batch(1, [(at, 0, 0, *(7,) * put[1], bytes(size)) for at, size in enumerate(put[0][:6])], with_acq=put[1])],
            with_acq=put[1],
        )
    )
)
damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3)


@pytest.mark.parametrize(("make", "messages"), [(GetAnswerReader, answers), (RequestReader, puts)])
@settings(deadline=None)
@given(data=st.data(), damage=damage, edges=st.lists(st.floats(0, 1), max_size=5))
def test_damaged_messages_end_alike_wherever_cut(
    make: type[Reader[object]],
    messages: st.SearchStrategy[bytes],
    data: st.DataObject,
    damage: list[tuple[float, int]],
    edges: list[float],
) -> None:
    message = bytearray(data.draw(messages))
    for place, mask in damage:
        message[int(place * len(message))] ^= mask
    ends = {
        ending(make(buffer_size), cut(bytes(message), places))
        for buffer_size in (128, 2**16)
        for places in ([], [int(edge * len(message)) for edge in edges])
    }
    assert len(ends) == 1


def ending(reader: Reader[object], pieces: list[bytes]) -> str:
    """How a message ends: the refusal if one came, the error, or the type of the last event."""
    last: object = None
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                last = event
                if isinstance(event, Refusal):
                    return str(event)
    except RemoteProtocolError as error:
        return str(error) if "follow" not in str(error) else "more behind the message"
    return type(last).__name__ if reader.done else f"waits, {reader.at_rest}"


records_to_keep = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5), st.integers(0, 9), st.binary(max_size=40)
    ),
    max_size=20,
)


@settings(deadline=None)
@given(records_to_keep, st.integers(1, 300), st.lists(st.integers(0, 1500), max_size=8), buffer_sizes)
def test_client_and_server_roles_round_trip(
    rows: list[tuple[int, int, int, int, bytes]], most: int, edges: list[int], buffer_size: int
) -> None:
    """Each role reads exactly what the other writes."""
    server = RequestReader(buffer_size)
    kept: list[bytes] = []

    def serve(request: bytes) -> bytes:
        """Answers like a server that keeps every record, acquired at 100, 101, …"""
        answer = b""
        for event in (event for piece in cut(request, inside(request)) for event in server.feed(piece)):
            if isinstance(event, PutRecords):
                starts = [*PUT_FORM.offsets(event.records).tolist(), len(event.records)]
                for start, end in pairwise(starts):
                    mid, moid, cap = struct.unpack_from("<qiq", event.records, start + 4)
                    kept.append(
                        get_record(bytes(event.records[start + 24 : end]), event.cid, mid, moid, cap, 100 + len(kept))
                    )
            elif isinstance(event, PutEnd):
                answer += b"".join(put_answer(100, 99 + len(kept)))
            elif isinstance(event, GetRequest):
                answer += b"".join([*get_begin(), *kept, *get_end(event.key_max.acq)])
        return answer

    def inside(data: bytes) -> list[int]:
        return [edge for edge in edges if edge < len(data)]

    sent = [batch(cid, [(mid, moid, cap, payload)]) for cid, mid, moid, cap, payload in rows]
    answer = serve(b"".join(put_request(sent, with_acq=False, max_batch_size=most)))
    assert fed(PutAnswerReader(), cut(answer, inside(answer))) == [PutAnswer(100, 99 + len(rows))]
    answer = serve(b"".join(get_request(Key.min(), Key.max())))
    *chunks, end = fed(GetAnswerReader(buffer_size), cut(answer, inside(answer)))
    assert end == RangeEnd(2**63 - 1)
    found = [row for chunk in chunks for row in rows_in(chunk)]  # type: ignore[arg-type]
    assert [row[4] for row in found] == [100 + at for at in range(len(rows))]
    by_cid = itemgetter(0)  # order is kept only within a cid
    assert sorted([(*row[:4], row[5]) for row in found], key=by_cid) == sorted(rows, key=by_cid)


def fault_in(reader: Reader[object], pieces: list[bytes]) -> int:
    """The offset of the peer's error, or 0 without one."""
    try:
        fed(reader, pieces)
    except RemoteProtocolError as error:
        return -1 if error.offset is None else error.offset
    return 0
