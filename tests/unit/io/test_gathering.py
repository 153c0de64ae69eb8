"""Gathered chunks keep all records in order, and large chunks are not copied."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tsmodel.io.fetching import Gathering
from tsmodel.wire.chunk import Chunk, RowChunk

MIB = 2**20
RECORD = 45


def chunk_of(data: bytes) -> RowChunk:
    return RowChunk(memoryview(data), len(data) // RECORD, RECORD)


def pushed(chunks: list[Chunk]) -> list[Chunk]:
    gathering = Gathering()
    given_out = [ready.kept() for chunk in chunks for ready in gathering.push(chunk)]
    return given_out + [ready.kept() for ready in gathering.rest()]


@given(st.lists(st.sampled_from([1, 2, 2000, 2912, 11650, 11651, 23301, 23302]), max_size=12))
def test_records_and_their_order_are_kept(counts: list[int]) -> None:
    chunks = [bytes([at + 1]) * (RECORD * count) for at, count in enumerate(counts)]
    given_out = pushed([chunk_of(chunk) for chunk in chunks])
    assert b"".join(chunk.rows() for chunk in given_out) == b"".join(chunks)
    assert sum(map(len, given_out)) == sum(counts)
    assert {chunk.record_size for chunk in given_out} <= {RECORD}


def test_small_chunks_are_joined() -> None:
    given_out = pushed([chunk_of(b"x" * 90_000)] * 100)
    assert len(given_out) < 20
    assert max(chunk.nbytes for chunk in given_out) <= MIB


def test_large_chunks_are_not_copied() -> None:
    gathering = Gathering()
    chunk = chunk_of(b"x" * (RECORD * 23_301))  # size of one receive, smaller than the buffer
    for _ in range(5):  # from here on, the buffer has its full size
        list(gathering.push(chunk))
    assert [ready is chunk for ready in gathering.push(chunk)] == [True]
    small = chunk_of(b"y" * RECORD)
    assert list(gathering.push(small)) == []
    assert [bytes(ready.rows()[:1]) for ready in gathering.push(chunk)] == [b"y", b"x"]
