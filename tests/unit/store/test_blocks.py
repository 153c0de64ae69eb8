"""Blocks: sorted, bounded, cut where they should be, selected from as brute force says, and protected by a checksum."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Row, rows_in

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import Key, KeyRange
from tsmodel.store.blocks import BLOCK_BYTES, BLOCK_RECORDS, Block, merged, sorted_blocks
from tsmodel.wire.chunk import RowChunk

small = st.integers(-2, 2)
rows_of_one_size = st.lists(st.tuples(small, small, small, small, st.binary(min_size=3, max_size=3)), min_size=1)
rows_of_any_size = st.lists(st.tuples(small, small, small, small, st.binary(max_size=5)), min_size=1)


def blocks_of(rows: list[Row], cid: int = 7) -> list[Block]:
    records = [(32 + len(payload)).to_bytes(4, "little") + Key(cid, *key).to_bytes() + payload for *key, payload in rows]
    return list(sorted_blocks(RowChunk.of(records)))


def rows_of(blocks: list[Block]) -> list[Row]:
    return [row for block in blocks for row in rows_in(block.data)]


@settings(max_examples=200, deadline=None)
@given(rows_of_one_size | rows_of_any_size, st.tuples(small, small), st.tuples(small, small), st.tuples(small, small))
def test_blocks_hold_all_records_sorted_and_select_the_right_ones(
    rows: list[Row], mids: tuple[int, int], caps: tuple[int, int], acqs: tuple[int, int]
) -> None:
    blocks = blocks_of(rows)
    got = rows_of(blocks)
    assert sorted(got) == sorted((7, *row) for row in rows)
    assert [row[:5] for row in got] == sorted(row[:5] for row in got)
    box = KeyRange.of(mid=mids, cap=caps, acq=acqs)
    for block in blocks:
        block.verify()
        assert block.count == len(list(rows_in(block.data)))
        columns = list(zip(*(row[1:5] for row in rows_in(block.data)), strict=True))
        assert block.bounds == (7, *(edge for column in columns for edge in (min(column), max(column))))
        inside = [row for row in rows_in(block.data) if Key(*row[:5]) in box]
        assert list(rows_in(block.select(box))) == inside
        if block.inside(box):
            assert len(inside) == block.count


@settings(max_examples=50, deadline=None)
@given(st.lists(rows_of_one_size | rows_of_any_size, min_size=1, max_size=4))
def test_merged_blocks_hold_what_went_in(groups: list[list[Row]]) -> None:
    went_in = [block for rows in groups for block in blocks_of(rows)]
    came_out = list(merged(went_in))
    assert sorted(rows_of(came_out)) == sorted(rows_of(went_in))
    assert [row[:5] for row in rows_of(came_out)] == sorted(row[:5] for row in rows_of(went_in))


def test_a_block_is_full_at_a_number_of_records() -> None:
    blocks = blocks_of([(n, 0, 0, 0, b"") for n in range(2 * BLOCK_RECORDS + 1)])
    assert [block.count for block in blocks] == [BLOCK_RECORDS, BLOCK_RECORDS, 1]
    mixed = blocks_of([(n, 0, 0, 0, bytes(n % 2)) for n in range(2 * BLOCK_RECORDS + 1)])
    assert [block.count for block in mixed] == [BLOCK_RECORDS, BLOCK_RECORDS, 1]


@pytest.mark.parametrize("spread", [1, 2], ids=["of one size", "of two sizes"])
def test_each_of_several_blocks_knows_what_its_own_keys_lie_between(spread: int) -> None:
    count = 2 * BLOCK_RECORDS + 1
    blocks = blocks_of([(n // 50, -n % 3, n * 7919 % count, count - n, bytes(n % spread)) for n in range(count)])
    assert len(blocks) == 3
    for block in blocks:
        columns = list(zip(*(row[1:5] for row in rows_in(block.data)), strict=True))
        assert block.bounds == (7, *(edge for column in columns for edge in (min(column), max(column))))


@pytest.mark.parametrize("sizes", [[100_000] * 30, [100_000 + n for n in range(30)], [BLOCK_BYTES + 1, 0, BLOCK_BYTES]])
def test_a_block_is_full_at_a_number_of_bytes(sizes: list[int]) -> None:
    blocks = blocks_of([(n, 0, 0, 0, bytes(size)) for n, size in enumerate(sizes)])
    assert len(blocks) > 1
    assert all(len(block.data) <= BLOCK_BYTES or block.count == 1 for block in blocks)
    assert sum(block.count for block in blocks) == len(sizes)


@pytest.mark.parametrize(
    "rows", [[(n, 0, 0, 0, b"%04d" % n) for n in range(9)], [(n, 0, 0, 0, bytes(n)) for n in range(9)]]
)
def test_any_flipped_bit_is_found(rows: list[Row]) -> None:
    (block,) = blocks_of(rows)
    for at in range(len(block.data)):
        damaged = bytearray(block.data)
        damaged[at] ^= 1 << (at % 8)
        with pytest.raises(StoreCorruptError, match="checksum"):
            attrs.evolve(block, data=memoryview(bytes(damaged))).verify()
    for at in range(len(block.offsets)):
        damaged = bytearray(block.offsets)
        damaged[at] ^= 128
        with pytest.raises(StoreCorruptError):
            attrs.evolve(block, offsets=bytes(damaged)).verify()


def test_a_block_cut_short_is_found() -> None:
    (block,) = blocks_of([(n, 0, 0, 0, b"") for n in range(9)])
    with pytest.raises(StoreCorruptError, match="has 323 bytes"):
        attrs.evolve(block, data=block.data[:-1]).verify()
