"""Requests as a server reads them, several per connection, and answers as it writes them."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from itertools import accumulate

import pytest
from support.wiring import cut, fed, get_record, put_of, put_record

from tsmodel.errors import RemoteProtocolError
from tsmodel.keys import Key
from tsmodel.wire.client_role import GetAcqAnswerReader, GetAnswerReader, PutAnswerReader, get_acq_request, get_request
from tsmodel.wire.events import (
    AcqAnswer,
    GetAcqRequest,
    GetRequest,
    PutAnswer,
    PutBegin,
    PutEnd,
    RangeEnd,
    Refusal,
)
from tsmodel.wire.server_role import RequestReader, acq_answer, get_begin, get_break, get_end, put_answer, refusal

KEYS = Key(1, 2, 3, 4, 5), Key(6, 7, 8, 9, 10)
PUT = [put_record(bytes(n), 1, 2, n) for n in range(5)]
PUTA = [put_record(b"xyz", 1, 2, 3, n) for n in range(5)]

REQUESTS = [
    b"".join(get_request(*KEYS)),
    put_of((1, PUT), (2, PUT[:1]), (1, PUT[1:2])),
    put_of(),
    put_of((0, []), (5, PUTA), command=6),
    struct.pack("<iQ", 1, 70) + b"excess" + KEYS[0].to_bytes() + KEYS[1].to_bytes(),
    struct.pack("<iQ", 5, 3) + b"abc" + put_of((9, PUT[:1]))[12:],
    b"".join(get_acq_request(*KEYS)),
]
DIALOGUE = b"".join(REQUESTS)
BETWEEN = {0, *accumulate(map(len, REQUESTS))}
EVENTS = [
    GetRequest(*KEYS),
    PutBegin(False),
    (1, b"".join(PUT), 5),
    (2, PUT[0], 1),
    (1, PUT[1], 1),
    PutEnd(),
    PutBegin(False),
    PutEnd(),
    PutBegin(True),
    (5, b"".join(PUTA), 5),
    PutEnd(),
    GetRequest(*KEYS),
    PutBegin(False),
    (9, PUT[0], 1),
    PutEnd(),
    GetAcqRequest(*KEYS),
]


def test_dialogue_whole_and_byte_by_byte() -> None:
    assert fed(RequestReader(), [DIALOGUE]) == EVENTS
    assert fed(RequestReader(), cut(DIALOGUE, range(len(DIALOGUE)))) == EVENTS


def test_dialogue_split_at_every_byte() -> None:
    for edge in range(1, len(DIALOGUE)):
        assert fed(RequestReader(128), cut(DIALOGUE, [edge])) == EVENTS


def test_connection_may_end_only_between_requests() -> None:
    for end in range(len(DIALOGUE) + 1):
        reader = RequestReader()
        fed(reader, [DIALOGUE[:end]] if end else [])
        if end in BETWEEN:
            assert list(reader.received(0)) == []
        else:
            with pytest.raises(RemoteProtocolError, match=f"ended in the middle of a request, at byte {end}$"):
                reader.received(0)


@pytest.mark.parametrize(
    ("request_bytes", "wording"),
    [
        (struct.pack("<iQ", 2, 0), "unknown command 2"),
        (struct.pack("<iQ", -1, 0), "unknown command -1"),
        (struct.pack("<iQ", 1, 63) + bytes(63), "has 63 bytes; two keys take 64"),
        (struct.pack("<iQ", 7, 0), "has 0 bytes; two keys take 64"),
        (struct.pack("<iQi", 5, 0, -2), "has cid -2"),
        (struct.pack("<iQii", 5, 0, 1, -1), "says -1 bytes"),
        (put_of((1, [struct.pack("<i", -4) + bytes(40)])), "says -4 bytes; valid are 20 to"),
        (put_of((1, [struct.pack("<i", 19) + bytes(19)])), "says 19 bytes"),
        (put_of((1, [struct.pack("<i", 21 + 2**25)]), (1, [])), "valid are"),
        (struct.pack("<iQiii", 5, 0, 1, 2**31 - 1, 2**31 - 1), "at byte 20 says 2147483647 bytes; valid are 20 to"),
        (struct.pack("<iQiii", 6, 0, 1, 2**31 - 1, -(2**31)), "at byte 20 says -2147483648 bytes; valid are 28 to"),
        (struct.pack("<iQii", 5, 0, -(2**31), 0), "at byte 12 has cid -2147483648"),
        (put_of() + struct.pack("<iQ", 0, 0), "unknown command 0 at byte 16"),
        (put_of((1, [PUT[0][:-1]])), "does not fit"),
        (put_of((1, [PUT[0], bytes(4)])), "does not fit"),
        (put_of((1, [PUT[0], bytes(3)])), "does not fit"),
        (put_of((1, [PUT[0], PUT[1][:-1]])), "does not fit"),
        (put_of((1, PUT), command=6), "valid are 28 to"),
    ],
)
def test_invalid_requests(request_bytes: bytes, wording: str) -> None:
    for pieces in ([request_bytes], cut(request_bytes, range(len(request_bytes)))):
        with pytest.raises(RemoteProtocolError, match=wording):
            fed(RequestReader(), pieces)


def test_requests_before_an_invalid_one_are_read() -> None:
    data = DIALOGUE + struct.pack("<iQ", 99, 0)
    for pieces in ([data], cut(data, range(len(data)))):
        reader = RequestReader()
        events: list[object] = []
        with pytest.raises(RemoteProtocolError, match=f"unknown command 99 at byte {len(DIALOGUE)}$"):
            fed(reader, pieces, events)
        assert events == EVENTS


@pytest.mark.parametrize("command", [1, 5, 6, 7])
def test_false_size_allocates_no_memory(command: int) -> None:
    reader = RequestReader()
    tracemalloc.start()
    fed(reader, [struct.pack("<iQ", command, 2**64 - 1)])
    for _ in range(200):
        fed(reader, [bytes(2**16)])
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_buffer_grows_as_a_large_record_arrives() -> None:
    reader = RequestReader(4096)
    size = 24 + 2**25
    fed(reader, [struct.pack("<iQiii", 5, 0, 1, size, size - 4)])
    assert len(reader.get_buffer()) <= 4096
    fed(reader, [bytes(100_000)])
    assert len(reader.get_buffer()) <= 4 * 100_000


def test_record_larger_than_the_buffer_limit() -> None:
    reader = RequestReader(1000, 1000)
    with pytest.raises(MemoryError, match="larger than the 1000 bytes"):
        fed(reader, [put_of((1, [put_record(bytes(2000), 1, 2, 3)]))])


def test_put_that_breaks_off_never_completes() -> None:
    for end in range(len(REQUESTS[1])):
        assert PutEnd() not in fed(RequestReader(), [REQUESTS[1][:end]] if end else [])


def test_large_put_needs_little_memory() -> None:
    reader = RequestReader(2**16)
    record = put_record(bytes(1000), 1, 2, 3)
    count = 2**31 // len(record) - 1
    fed(reader, [struct.pack("<iQii", 5, 0, 1, count * len(record))])
    piece = record * 100
    tracemalloc.start()
    for _ in range(300):
        for event in reader.feed(piece):
            assert event.found.count  # type: ignore[union-attr]
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_client_reads_the_answers() -> None:
    record = get_record(b"abc", 1, 2, 3, 4, 5)
    answer = [*get_begin(), record, *get_end(-7)]
    assert fed(GetAnswerReader(), map(bytes, answer)) == [record, RangeEnd(-7)]
    broken = [*get_begin(), record, *get_break(), *refusal(-5)]
    assert fed(GetAnswerReader(), map(bytes, broken)) == [record, Refusal(-5)]
    assert fed(GetAcqAnswerReader(), map(bytes, acq_answer(5))) == [AcqAnswer(5)]
    assert fed(PutAnswerReader(), map(bytes, put_answer(5, 6))) == [PutAnswer(5, 6)]
    assert fed(PutAnswerReader(), map(bytes, refusal(-7))) == [Refusal(-7)]


def test_answer_bytes() -> None:
    assert b"".join([*get_begin(), *get_end(7)]) == struct.pack("<iQiiQq", 0, 0, 0, 0, 8, 7)
    assert b"".join([*get_begin(), *get_break(), *refusal(-1)]) == struct.pack("<iQiiQ", 0, 0, 0, -1, 0)
    assert b"".join(acq_answer(7)) == struct.pack("<iQq", 0, 8, 7)
    assert b"".join(put_answer(7, 8)) == struct.pack("<iQqq", 0, 16, 7, 8)
    assert b"".join(refusal(-1)) == struct.pack("<iQ", -1, 0)


@pytest.mark.parametrize("length", [lambda n: 9, lambda n: n * 7 % 13, lambda n: 9 if n % 50 else 4000])
def test_many_small_batches_are_read_together(length: Callable[[int], int]) -> None:
    records = [(n % 7, put_record(b"x" * length(n), n, 1, n)) for n in range(5000)]
    data = put_of(*((cid, [record]) for cid, record in records))
    reader = RequestReader(len(data))
    begin, *events, end = fed(reader, [data])
    assert (begin, end) == (PutBegin(False), PutEnd())
    assert len(events) <= 8  # not 5,000: each batch costs as much as many records
    for number in range(7):
        found = b"".join(event[1] for event in events if event[0] == number)
        assert found == b"".join(record for cid, record in records if cid == number)
    assert sum(event[2] for event in events) == 5000
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    assert len(fed(RequestReader(), pieces)) < 9 * len(pieces)


@pytest.mark.parametrize("at", [0, 5, 20, 99])
@pytest.mark.parametrize(
    "wrong", [struct.pack("<ii", -7, 29), struct.pack("<iii", 1, 29, 19), struct.pack("<iii", 1, 30, 27)]
)
def test_fault_among_small_batches_is_located(at: int, wrong: bytes) -> None:
    one = put_of((1, [put_record(b"x", 1, 2, 3)]))[12:-4]
    data = struct.pack("<iQ", 5, 0) + at * one + wrong + one[len(wrong) :] + 50 * one
    with pytest.raises(RemoteProtocolError) as caught:
        fed(RequestReader(), [data])
    faulty = 12 + at * len(one)
    assert faulty <= (caught.value.offset or 0) <= faulty + len(one)
