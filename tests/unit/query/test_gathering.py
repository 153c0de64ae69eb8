"""Chunks that are put together keep their bytes and their order, and large ones are not copied."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tsmodel.query.gathering import Gathering

MIB = 2**20


def pushed(chunks: list[bytes]) -> list[bytes]:
    gathering = Gathering()
    given_out = [bytes(ready) for chunk in chunks for ready in gathering.push(memoryview(chunk))]
    return given_out + [bytes(ready) for ready in gathering.rest()]


@given(st.lists(st.sampled_from([1, 45, 90_000, 2**17, 2**19, 2**19 + 1, MIB - 45, MIB, MIB + 1]), max_size=12))
def test_nothing_is_lost_or_changes_places(sizes: list[int]) -> None:
    chunks = [bytes([at + 1]) * size for at, size in enumerate(sizes)]
    assert b"".join(pushed(chunks)) == b"".join(chunks)


def test_small_chunks_become_large_ones() -> None:
    given_out = pushed([b"x" * 90_000] * 100)
    assert len(given_out) < 20
    assert max(map(len, given_out)) <= MIB


def test_large_chunks_are_not_copied() -> None:
    gathering = Gathering()
    chunk = memoryview(b"x" * (MIB - 45))  # what one call receives, less than what the buffer has room for
    for _ in range(5):  # the buffer has its full size then
        list(gathering.push(chunk))
    assert [ready.obj is chunk.obj for ready in gathering.push(chunk)] == [True]
    small = memoryview(b"y" * 100)
    assert list(gathering.push(small)) == []
    assert [bytes(ready[:1]) for ready in gathering.push(chunk)] == [b"y", b"x"]
