"""Blocks: sorted, limited in size, selected correctly and protected by checksums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Row, rows_in
from support.budget import examples

from tsmodel import Float32, Int32, TSModel
from tsmodel.errors import StoreCorruptError
from tsmodel.keys import LIMITS, Key, KeyRange
from tsmodel.model.model import codec_of
from tsmodel.store.blocks import (
    BLOCK_BYTES,
    BLOCK_RECORDS,
    MOST_BYTES,
    Base,
    Block,
    EncodedBlock,
    Layout,
    Piece,
    chunks_of,
    layout_of,
    merged_runs,
    sorted_runs,
)
from tsmodel.store.directory import Directory, checked_block, entries_of
from tsmodel.store.parts import Codec
from tsmodel.wire.chunk import RowChunk, parsed
from tsmodel.wire.records import GET_FORM

small = st.integers(-2, 2)
rows_of_one_size = st.lists(st.tuples(small, small, small, small, st.binary(min_size=3, max_size=3)), min_size=1)
rows_of_any_size = st.lists(st.tuples(small, small, small, small, st.binary(max_size=5)), min_size=1)


def sorted_blocks(chunk: RowChunk, layout: Layout | None = None, marks: Any = None) -> list[Block]:
    return sorted_runs(chunk, layout, marks, windows=False)[0]


def merged(blocks: list[Block]) -> list[Block]:
    return merged_runs(blocks, windows=False)[0]


def in_get_form(cid: int, rows: list[Row]) -> RowChunk:
    return RowChunk.of(
        [(32 + len(payload)).to_bytes(4, "little") + Key(cid, *key).to_bytes() + payload for *key, payload in rows]
    )


def blocks_of(rows: list[Row], cid: int = 7) -> list[Block]:
    return sorted_blocks(in_get_form(cid, rows))


def rows_of(blocks: list[Block]) -> list[Row]:
    return [row for block in blocks for row in rows_in(block.rows())]


@settings(max_examples=examples(100), deadline=None)
@given(
    rows_of_one_size | rows_of_any_size,
    st.integers(1, 60),
    st.sampled_from([0, 1, 2**62]),
    st.sampled_from([0, 1, 77]),
    st.sampled_from(Codec),
)
def test_early_encoding_gives_the_same_block(rows: list[Row], times: int, acq: int, mark: int, codec: Codec) -> None:
    rows = [(*row[:3], abs(row[3]) + at, row[4]) for at, row in enumerate(rows * times)]
    marks = np.full(len(rows), mark, np.int64) if mark else None
    (late,) = sorted_blocks(in_get_form(7, [(*row[:3], row[3] + acq, row[4]) for row in rows]), marks=marks)
    early = EncodedBlock(sorted_blocks(in_get_form(7, rows), marks=None if marks is None else marks * 0 + 1)[0], codec)
    for _ in range(2):  # placing it again is possible
        placed = early.placed(acq, mark)
        described = (placed.bounds, placed.count, placed.record_size, placed.size, placed.series, placed.layout)
        assert described == (late.bounds, late.count, late.record_size, late.size, late.series, late.layout)
        stored = placed.encoded(codec)
        assert len(stored) == early.nbytes
        again = Block.decoded(memoryview(stored), *described[:4])
        for block in (placed, again):
            assert rows_of([block]) == rows_of([late])
            found = block.marks
            assert (found is None) == (marks is None)
            assert found is None or (found == mark).all()


@settings(max_examples=examples(200), deadline=None)
@given(rows_of_one_size | rows_of_any_size, st.tuples(small, small), st.tuples(small, small), st.tuples(small, small))
def test_blocks_sort_and_select_records(
    rows: list[Row], mids: tuple[int, int], caps: tuple[int, int], acqs: tuple[int, int]
) -> None:
    blocks = blocks_of(rows)
    got = rows_of(blocks)
    assert sorted(got) == sorted((7, *row) for row in rows)
    assert [row[:5] for row in got] == sorted(row[:5] for row in got)
    box = KeyRange.of(mid=mids, cap=caps, acq=acqs)
    for block in blocks:
        assert block.count == len(list(rows_in(block.rows())))
        columns = list(zip(*(row[1:5] for row in rows_in(block.rows())), strict=True))
        assert block.bounds == (7, *(edge for column in columns for edge in (min(column), max(column))))
        inside = [row for row in rows_in(block.rows()) if Key(*row[:5]) in box]
        assert list(rows_in(block.select(box).rows())) == inside
        if block.inside(box):
            assert len(inside) == block.count


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(rows_of_one_size | rows_of_any_size, min_size=1, max_size=4))
def test_merged_blocks_hold_all_records(groups: list[list[Row]]) -> None:
    went_in = [block for rows in groups for block in blocks_of(rows)]
    came_out = list(merged(went_in))
    assert sorted(rows_of(came_out)) == sorted(rows_of(went_in))
    assert [row[:5] for row in rows_of(came_out)] == sorted(row[:5] for row in rows_of(went_in))


def test_blocks_are_limited_by_records() -> None:
    blocks = blocks_of([(n, 0, 0, 0, b"") for n in range(2 * BLOCK_RECORDS + 1)])
    assert [block.count for block in blocks] == [BLOCK_RECORDS, BLOCK_RECORDS, 1]
    mixed = blocks_of([(n, 0, 0, 0, bytes(n % 2)) for n in range(2 * BLOCK_RECORDS + 1)])
    assert [block.count for block in mixed] == [BLOCK_RECORDS, BLOCK_RECORDS, 1]


@pytest.mark.parametrize("spread", [1, 2], ids=["of one size", "of two sizes"])
def test_each_block_has_the_bounds_of_its_own_keys(spread: int) -> None:
    count = 2 * BLOCK_RECORDS + 1
    blocks = blocks_of([(n // 50, -n % 3, n * 7919 % count, count - n, bytes(n % spread)) for n in range(count)])
    assert len(blocks) == 3
    for block in blocks:
        columns = list(zip(*(row[1:5] for row in rows_in(block.rows())), strict=True))
        assert block.bounds == (7, *(edge for column in columns for edge in (min(column), max(column))))


@pytest.mark.parametrize("sizes", [[100_000] * 30, [100_000 + n for n in range(30)], [BLOCK_BYTES + 1, 0, BLOCK_BYTES]])
def test_blocks_are_limited_by_bytes(sizes: list[int]) -> None:
    blocks = blocks_of([(n, 0, 0, 0, bytes(size)) for n, size in enumerate(sizes)])
    assert len(blocks) > 1
    assert all(block.size <= BLOCK_BYTES or block.count == 1 for block in blocks)
    assert sum(block.count for block in blocks) == len(sizes)


def stored(block: Block, codec: Codec = Codec.LZ4) -> Block:
    """Encodes a block and decodes it again."""
    data = memoryview(block.encoded(codec))
    return Block.decoded(data, block.bounds, block.count, block.record_size, block.size)


keys = st.tuples(*(st.integers(LIMITS[name].least, LIMITS[name].bound) for name in ("mid", "moid", "cap", "acq")))
fields = st.sampled_from(["<i2", "<i4", "<i8", "<u4", "<u8", ">i4", "<f4", "<f8", "u1", "?", "S3", "V5", "<M8[ns]", "V0"])
nested = st.recursive(
    fields.map(np.dtype)
    | st.tuples(fields.filter(lambda code: code != "V0"), st.integers(1, 3)).map(
        lambda pair: np.dtype((pair[0], (pair[1],)))
    ),
    lambda inner: st.tuples(st.lists(inner, min_size=1, max_size=4), st.booleans()).map(
        lambda pair: np.dtype([(f"f{at}", kind) for at, kind in enumerate(pair[0])], align=pair[1])
    ),
    max_leaves=6,
)


@settings(max_examples=examples(300), deadline=None)
@given(nested, st.lists(keys, min_size=1, max_size=60), st.sampled_from(Codec), st.integers(0, 2**32), st.integers(1, 256))
def test_payloads_of_any_dtype_round_trip(
    dtype: np.dtype[np.void], given_keys: list[tuple[int, int, int, int]], codec: Codec, seed: int, kinds: int
) -> None:
    size = dtype.itemsize
    layout = layout_of(dtype)
    assert sum(piece.width for piece in layout) == size
    random = np.random.default_rng(seed)
    rows = [(*key, random.integers(0, kinds, size, np.uint8).tobytes()) for key in given_keys]
    blocks = sorted_blocks(in_get_form(3, rows), layout)
    back = [stored(block, codec) for block in blocks]
    assert rows_of(back) == rows_of(blocks)
    assert sorted(rows_of(back)) == sorted((3, *row) for row in rows)
    again = rows_of([stored(block, codec) for block in merged([stored(block, codec) for block in blocks + blocks[:1]])])
    assert sorted(again) == sorted(rows_of(blocks) + rows_of(blocks[:1]))
    assert [row[:5] for row in again] == sorted(row[:5] for row in again)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.tuples(keys, st.binary(max_size=3) | st.integers(0, 3000).map(bytes)), min_size=1, max_size=60),
    st.sampled_from(Codec),
)
def test_payloads_of_any_size_round_trip(given_rows: list[tuple[tuple[int, ...], bytes]], codec: Codec) -> None:
    blocks = blocks_of([(*key, payload) for key, payload in given_rows])
    for block in blocks:
        back = stored(block, codec)
        assert back.rows() == block.rows()
        columns = stored(block, codec)
        assert columns.lengths().tolist() == [len(row[-1]) for row in rows_in(block.rows())]
        assert columns.payloads().tobytes() == b"".join(row[-1] for row in rows_in(block.rows()))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(small, small, small, small), min_size=24, max_size=60),
    st.sampled_from([1, 2]),
    st.tuples(small, small),
    st.tuples(small, small),
    st.tuples(small, small),
)
def test_stored_blocks_select_records(
    given_keys: list[tuple[int, int, int, int]],
    spread: int,
    mids: tuple[int, int],
    caps: tuple[int, int],
    acqs: tuple[int, int],
) -> None:
    (block,) = blocks_of([(*key, bytes([at]) * (at % spread + 1)) for at, key in enumerate(given_keys)])
    box = KeyRange.of(mid=mids, cap=caps, acq=acqs)
    inside = [row for row in rows_in(block.rows()) if Key(*row[:5]) in box]
    assert list(rows_in(stored(block).select(box).rows())) == inside
    back = stored(block)
    back.rows()
    assert list(rows_in(back.select(box).rows())) == inside


@pytest.mark.parametrize("size", [0, 9, None])
@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize(
    "box", [KeyRange(), KeyRange.of(mid=(40, 43)), KeyRange.of(mid=(7, 400), cap=(3, 9)), KeyRange.of(acq=(100, 3000))]
)
def test_joined_blocks_equal_single_blocks(size: int | None, is_cached: bool, box: KeyRange) -> None:
    payload = np.random.default_rng(1).integers(0, 256, 40_000, np.uint8).tobytes()
    rows, back = [], []
    for cid in (1, 2):
        some = [
            (n // 20 + 1000 * cid - 1000, n % 20 // 10, n % 10, n, payload[n : n + (n % 7 if size is None else size)])
            for n in range(4000)
        ]
        rows += [(cid, *row) for row in some]
        back += [stored(*blocks_of(some[first : first + 300], cid)) for first in range(0, 4000, 300)]
    expected = [row for row in rows if Key(*row[:5]) in box]
    for block in back:
        block.is_cached = is_cached
    for _ in range(3):  # some columns are decoded later
        found = list(chunks_of(back, box))
        assert [row for chunk in found for row in rows_in(chunk.rows())] == expected
        if size is not None:
            assert [acq for chunk in found for acq in chunk.key("acq").tolist()] == [row[4] for row in expected]
            assert is_cached or len(found) <= 6
    again = [acq for chunk in chunks_of(back, box) for acq in chunk.key("acq").tolist()]
    assert again == [row[4] for row in expected]


def test_damage_in_joined_blocks_names_the_block() -> None:
    back = [stored(*blocks_of([(0, 0, n, n, b"") for n in range(first, first + 300)])) for first in (0, 300, 600)]
    for number, block in enumerate(back):
        block.origin = ("there.tsdb", number)
    back[1]._parts[2] = back[1]._parts[2]._replace(stored=7)  # type: ignore[index]
    with pytest.raises(StoreCorruptError, match="there.tsdb is damaged: block 1: "):
        [chunk.key("cap") for chunk in chunks_of(back, KeyRange())]


@pytest.mark.parametrize("sizes", [[2**20], [2**20] * 2, [2**20 + n for n in range(3)], [0] * 100, [32 * 2**20]])
@pytest.mark.parametrize("codec", list(Codec))
def test_payloads_of_extreme_sizes(sizes: list[int], codec: Codec) -> None:
    for block in blocks_of([(n, 0, 0, 0, bytes([n]) * size) for n, size in enumerate(sizes)]):
        assert stored(block, codec).rows() == block.rows()


def test_only_requested_columns_are_decoded() -> None:
    (block,) = blocks_of([(n // 10, 0, n, n, b"%08d" % n) for n in range(100)])
    back = stored(block)
    assert back.key("cap").tolist() == list(range(100))
    assert [column is not None for column in back._columns] == [False, False, True, False, False]


def test_payload_pieces() -> None:
    assert layout_of(np.dtype([("a", "<i4"), ("b", "<f4"), ("c", "?")])) == (Piece(4, True), Piece(4), Piece(1))
    assert layout_of(np.dtype([("a", "u1"), ("b", "<i8")], align=True)) == (Piece(1), Piece(7), Piece(8, True))
    assert layout_of(np.dtype([("a", [("x", "<u2"), ("y", ">u2")]), ("b", "<f8", (3,))])) == (
        Piece(2, True),
        Piece(2),
        Piece(24),
    )
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i4"], "offsets": [0, 2]})
    assert layout_of(overlapping) == (Piece(6),)
    assert layout_of(np.dtype("V0")) == ()


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("count", [3, 200])
@pytest.mark.parametrize("spread", [1, 3])
def test_damage_missed_by_checksums_is_refused_or_keeps_sizes(codec: Codec, count: int, spread: int) -> None:
    (block,) = blocks_of([(n // 50, 0, n * n, n, b"%06d" % (n % 7) * (n % spread + 1)) for n in range(count)])
    original, random = block.encoded(codec), np.random.default_rng(count)
    refused, rounds = 0, examples(3000)
    for _ in range(rounds):
        data = bytearray(original)
        for at in random.integers(0, len(data), random.integers(1, 4)).tolist():
            data[at] = int(random.integers(256))
        try:
            back = Block.decoded(memoryview(bytes(data)), block.bounds, block.count, block.record_size, block.size)
            assert len(back.rows()) == block.size
            assert len(list(rows_in(back.rows()))) == block.count
        except StoreCorruptError:
            refused += 1
    assert refused > rounds / 15


@pytest.mark.parametrize(
    ("count", "record_size", "size"),
    [(0, 0, 0), (2**16 + 1, 40, 40 * (2**16 + 1)), (9, 40, 361), (9, 35, 315), (9, 0, MOST_BYTES + 1), (9, 0, 300)],
)
def test_impossible_sizes_are_refused(count: int, record_size: int, size: int) -> None:
    (block,) = blocks_of([(n, 0, 0, 0, b"1234") for n in range(9)])
    with pytest.raises(StoreCorruptError):
        Block.decoded(memoryview(block.encoded(Codec.LZ4)), block.bounds, count, record_size, size)


def test_model_payloads_are_stored_by_field() -> None:
    class Reading(TSModel):
        counter: Int32
        volts: Float32

    (batch,) = codec_of(Reading).encode([Reading(cid=1, mid=1, moid=1, cap=0, counter=1, volts=2.0)])
    assert batch.payload is not None
    assert layout_of(batch.payload) == (Piece(4, is_integer=True), Piece(4))


@pytest.mark.parametrize("series", [20, pytest.param(50, marks=pytest.mark.long), 100])
def test_large_runs_are_cut_by_time(series: int) -> None:
    count = 24 * BLOCK_RECORDS
    records = np.zeros(count, GET_FORM.dtype(4))
    at = np.arange(count)
    records["n"], records["cid"] = records.dtype.itemsize - 4, 1
    records["mid"], records["moid"] = at % series, 7
    records["cap"], records["acq"] = at // series, at
    records["payload"] = at.astype("<u4").view("V4")
    data = parsed(memoryview(np.random.default_rng(1).permutation(records).tobytes()))
    runs = sorted_runs(data)
    for cut in (runs, merged_runs([block for blocks in runs for block in blocks])):
        found = []
        for blocks in cut:
            keys = [np.stack([block.key(name) for name in ("mid", "moid", "cap", "acq")], axis=1) for block in blocks]
            for block, of_block in zip(blocks, keys, strict=True):
                assert block.count <= BLOCK_RECORDS
                assert block.series == len(np.unique(of_block[:, 0]))
                least, greatest = of_block.min(axis=0).tolist(), of_block.max(axis=0).tolist()
                assert list(block.bounds[1:]) == [each for pair in zip(least, greatest, strict=True) for each in pair]
            of_run = np.concatenate(keys).tolist()
            assert of_run == sorted(of_run)
            found += of_run
        assert sorted(acq for *_, acq in found) == at.tolist()
        middle = count // series // 2
        blocks = [block for blocks in cut for block in blocks]
        reading = [block for block in blocks if block.bounds[5] <= middle <= block.bounds[6]]
        assert len(reading) <= len(blocks) // 2


@settings(max_examples=examples(100), deadline=None)
@given(
    rows_of_one_size | rows_of_any_size,
    st.sampled_from([1, 23, 40]),
    st.integers(-(2**40), 2**60),
    st.integers(0, 2**40),
    st.sampled_from(list(Codec)),
    st.tuples(small, small),
)
def test_acqs_and_marks_encoded_before_they_are_known(
    rows: list[Row], times: int, acq: int, mark: int, codec: Codec, acqs: tuple[int, int]
) -> None:
    rows = rows * times
    marks = np.arange(len(rows)) % 3
    (block,) = sorted_blocks(in_get_form(7, rows), marks=marks if mark else None)
    stored = block.encoded(codec)
    entries = entries_of([block], [stored])
    for name in ("acq_min", "acq_max"):
        entries[name] += acq
    directory = Directory.of_entries(1, 7, 1, entries, base=Base(acq, mark))
    read = Directory.from_bytes(directory.to_bytes(), 1, 7, directory.digest)
    assert read.base == Base(acq, mark)
    expected = sorted((*row[:4], row[4] + acq, row[5]) for row in rows_of([block]))
    assert sorted(rows_of([checked_block(read, 0, stored)])) == expected
    found = checked_block(read, 0, stored)
    box = KeyRange.of(acq=(acqs[0] + acq, acqs[1] + acq))
    chosen = [] if box.is_empty else rows_in(found.select(box))
    assert sorted(chosen) == sorted(row for row in expected if box.min.acq <= row[4] < box.max.acq)
    wanted = None if block.marks is None or not mark else [each + mark if each else 0 for each in block.marks.tolist()]
    assert (None if found.marks is None else found.marks.tolist()) == wanted
    assert found.encoded(codec, read.base) == block.encoded(codec)


@pytest.mark.parametrize("size", [4, 40, 400, 4000])
def test_rows_with_payloads_of_several_sizes_round_trip(size: int) -> None:
    given = [(n // 10, 0, n, n, bytes([n]) * (size + n % 3)) for n in range(40)]
    for block in blocks_of(given):
        assert [row[1:] for row in rows_in(stored(block).rows())] == given
        assert [row[1:] for row in rows_in(block.rows())] == given
