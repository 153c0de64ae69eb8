"""Answers as a client reads them: whole, split or cut off at every byte, with trailing data, and with false sizes."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest
from support.wiring import OK, cut, fed, get_answer, get_record

from tsmodel.errors import LocalProtocolError, RemoteProtocolError
from tsmodel.wire import Status, describe
from tsmodel.wire.client_role import GetAcqAnswerReader, GetAnswerReader, PutAnswerReader
from tsmodel.wire.events import AcqAnswer, PutAnswer, RangeEnd, Refusal
from tsmodel.wire.reader import Reader

RECORDS = [get_record(bytes([n]) * (n % 4), 1, n, 3, 4, 5) for n in range(10)]
Make = Callable[[], Reader[object]]

ANSWERS: dict[str, tuple[Make, bytes, list[object]]] = {
    "records": (GetAnswerReader, get_answer(*RECORDS), [b"".join(RECORDS), RangeEnd(99)]),
    "gathered records": (lambda: GetAnswerReader(gathers=True), get_answer(*RECORDS), [b"".join(RECORDS), RangeEnd(99)]),
    "no records": (GetAnswerReader, get_answer(acq=-5), [RangeEnd(-5)]),
    "more in the headers": (
        GetAnswerReader,
        struct.pack("<iQ", 0, 3) + b"abc" + RECORDS[0] + struct.pack("<iiQq", 0, 0, 20, 7) + bytes(12),
        [RECORDS[0], RangeEnd(7)],
    ),
    "refused at once": (GetAnswerReader, struct.pack("<iQ", -7, 0), [Refusal(-7, before_records=True)]),
    "refused at the end": (GetAnswerReader, OK + RECORDS[0] + struct.pack("<iiQ", 0, -5, 0), [RECORDS[0], Refusal(-5)]),
    "acq": (GetAcqAnswerReader, struct.pack("<iQq", 0, 8, 5), [AcqAnswer(5)]),
    "acq and more": (GetAcqAnswerReader, struct.pack("<iQqi", 0, 12, 5, 1), [AcqAnswer(5)]),
    "acq refused": (GetAcqAnswerReader, struct.pack("<iQ", -2, 0), [Refusal(-2)]),
    "put": (PutAnswerReader, struct.pack("<iQqq", 0, 16, 5, 6), [PutAnswer(5, 6)]),
    "put refused": (PutAnswerReader, struct.pack("<iQ", -6, 0), [Refusal(-6)]),
}


@pytest.fixture(params=ANSWERS)
def case(request: pytest.FixtureRequest) -> tuple[Make, bytes, list[object]]:
    return ANSWERS[request.param]


def test_whole_and_byte_by_byte(case: tuple[Make, bytes, list[object]]) -> None:
    make, answer, events = case
    for pieces in ([answer], cut(answer, range(len(answer)))):
        reader = make()
        assert fed(reader, pieces) == events
        assert reader.done


def test_split_at_every_byte(case: tuple[Make, bytes, list[object]]) -> None:
    make, answer, events = case
    for edge in range(1, len(answer)):
        assert fed(make(), cut(answer, [edge])) == events


def test_cut_off_at_every_byte(case: tuple[Make, bytes, list[object]]) -> None:
    make, answer, _ = case
    for end in range(len(answer)):
        reader = make()
        fed(reader, [answer[:end]] if end else [])
        assert not reader.done
        with pytest.raises(
            RemoteProtocolError, match=rf"ended in the middle of the answer to a \w+, at byte {end}"
        ) as caught:
            reader.received(0)
        assert caught.value.offset == end


@pytest.mark.parametrize("is_split", [False, True])
def test_trailing_data(case: tuple[Make, bytes, list[object]], is_split: bool) -> None:
    make, answer, events = case
    pieces = [answer, b"more"] if is_split else [answer + b"more"]
    if isinstance(events[-1], Refusal):
        assert fed(make(), pieces) == events
    else:
        with pytest.raises(RemoteProtocolError, match=f"4 bytes follow the answer to a .*, from byte {len(answer)}"):
            fed(make(), pieces)


REFUSED = [name for name, (_, _, events) in ANSWERS.items() if isinstance(events[-1], Refusal)]


@pytest.mark.parametrize("name", REFUSED)
def test_data_after_a_refusal_is_ignored_wherever_it_is_split(name: str) -> None:
    make, answer, events = ANSWERS[name]
    whatever = b"\xff" * 20
    for edge in range(1, len(answer + whatever)):
        assert fed(make(), cut(answer + whatever, [edge])) == events


def test_end_of_stream_after_the_answer(case: tuple[Make, bytes, list[object]]) -> None:
    make, answer, _ = case
    reader = make()
    fed(reader, [answer])
    assert list(reader.received(0)) == []


def test_statuses_are_described() -> None:
    assert describe(-7) == "NOPERM (-7): not permitted"
    assert describe(-10) == "status -10, which this client does not know"
    assert describe(7) == "status 7, which this client does not know"
    assert "not a TStorage server" in describe(int.from_bytes(b"SSH-", "little"))
    assert all(f"{status.name} ({status.value}): " in describe(status) for status in Status if status)


@pytest.mark.parametrize("n", [-1, 31, -(2**31), 2**31 - 1, 32 + 2**25 + 1])
def test_false_record_size(n: int) -> None:
    with pytest.raises(RemoteProtocolError, match=rf"at byte 48 says {n} bytes") as caught:
        fed(GetAnswerReader(), [OK + RECORDS[0] + struct.pack("<i", n)])
    assert caught.value.offset == 48


@pytest.mark.parametrize(
    ("make", "answer"),
    [
        (GetAnswerReader, OK + struct.pack("<iiQ", 0, 0, 7)),
        (GetAcqAnswerReader, struct.pack("<iQ", 0, 0)),
        (PutAnswerReader, struct.pack("<iQ", 0, 15)),
    ],
)
def test_header_that_is_too_short(make: Make, answer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="are needed"):
        fed(make(), [answer])


@pytest.mark.parametrize("make", [GetAnswerReader, GetAcqAnswerReader, PutAnswerReader])
def test_false_header_size_allocates_no_memory(make: Make) -> None:
    reader = make()
    tracemalloc.start()
    for start in (struct.pack("<iQ", 0, 2**64 - 1), *[bytes(2**16)] * 200):
        fed(reader, [start])
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_buffer_grows_as_a_large_record_arrives() -> None:
    reader = GetAnswerReader(4096)
    announced = struct.pack("<i", 32 + 2**25)
    fed(reader, [OK + announced])
    assert len(reader.get_buffer()) <= 4096
    fed(reader, [bytes(100_000)])
    assert len(reader.get_buffer()) <= 4 * 100_000
    rest = 32 + 2**25 - 100_000
    events = fed(reader, [bytes(rest) + struct.pack("<iiQq", 0, 0, 8, 1)])
    assert len(events[0]) == 36 + 2**25  # type: ignore[arg-type]
    assert events[1] == RangeEnd(1)


def test_record_larger_than_the_buffer_limit() -> None:
    reader = GetAnswerReader(1000, 1000)
    with pytest.raises(MemoryError, match="larger than the 1000 bytes"):
        fed(reader, [OK + get_record(bytes(2000), 1, 2, 3, 4, 5)])


def test_views_stay_valid_until_the_next_buffer() -> None:
    reader = GetAnswerReader(4096)
    answer = get_answer(*RECORDS)
    reader.get_buffer()[: len(answer)] = answer
    chunk, end = reader.received(len(answer))
    assert end == RangeEnd(99)
    assert bytes(chunk.rows()) == b"".join(RECORDS)  # type: ignore[union-attr]


def test_received_count_larger_than_the_buffer_is_refused() -> None:
    reader = GetAnswerReader(128)
    with pytest.raises(LocalProtocolError):
        reader.received(len(reader.get_buffer()) + 1)
