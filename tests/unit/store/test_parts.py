"""Column parts: every encoding round-trips, and damaged parts are refused without large allocations."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.budget import examples

from tsmodel.errors import StoreCorruptError
from tsmodel.store import parts
from tsmodel.store.parts import Codec, Part

LEAST, GREATEST = -(2**63), 2**63 - 1

any_integer = st.integers(LEAST, GREATEST) | st.sampled_from([LEAST, GREATEST, 0, -1]) | st.integers(-3, 3)
runs = st.lists(st.tuples(any_integer, st.integers(1, 60)), min_size=1, max_size=12).map(
    lambda pairs: np.repeat(np.array([value for value, _ in pairs]), [length for _, length in pairs])
)
slopes = st.lists(st.tuples(any_integer, any_integer, st.integers(1, 60)), min_size=1, max_size=12).map(
    lambda pieces: np.concatenate([start + step * np.arange(length) for start, step, length in pieces])
)
plain = st.lists(any_integer, min_size=1, max_size=80).map(lambda values: np.array(values, np.int64))
scaled = st.tuples(plain, st.sampled_from([3, 1000, 10**9])).map(lambda pair: pair[0] % 10**6 * pair[1])
columns = runs | slopes | plain | scaled
several = st.lists(runs, min_size=1, max_size=4) | st.lists(slopes, min_size=1, max_size=4) | st.lists(columns)
codecs = st.sampled_from(list(Codec))


def only(data: bytes) -> Part:
    (part,) = parts.read_parts(memoryview(data))
    return part


@settings(max_examples=examples(500), deadline=None)
@given(columns, codecs)
def test_integers_round_trip(values: npt.NDArray[np.int64], codec: Codec) -> None:
    part = only(parts.encode_integers(values, codec))
    assert np.array_equal(parts.decode_integers(part, len(values)), values)
    with pytest.raises(StoreCorruptError):
        parts.decode_integers(part, len(values) + 1)


@settings(max_examples=examples(300), deadline=None)
@given(columns, codecs, st.integers(0, 99))
def test_integers_are_shifted_without_decoding(values: npt.NDArray[np.int64], codec: Codec, before: int) -> None:
    least, greatest = int(values.min()), int(values.max())
    data = bytearray(before) + parts.encode_integers(values, codec)
    assert parts.end_of_part(data, before) == len(data)
    for by in {LEAST - min(least, 0), GREATEST - max(greatest, 0), 0, least % 7}:
        if not LEAST <= least + by <= greatest + by <= GREATEST:
            continue
        moved = bytearray(data)
        parts.moved_integers(moved, before, by)
        assert np.array_equal(parts.decode_integers(only(bytes(moved[before:])), len(values)), values + by)
        parts.moved_integers(moved, before, -by)
        assert moved == data


@settings(max_examples=examples(1000), deadline=None)
@given(columns, codecs, st.data())
def test_selected_integers_equal_those_of_a_full_decode(
    values: npt.NDArray[np.int64], codec: Codec, data: st.DataObject
) -> None:
    part = only(parts.encode_integers(values, codec))
    start = data.draw(st.integers(0, len(values) - 1))
    within = slice(start, data.draw(st.integers(start + 1, len(values))))
    assert np.array_equal(parts.decode_integers(part, len(values), within=within), values[within])
    with pytest.raises(StoreCorruptError):
        parts.decode_integers(part, len(values) + 1, within=within)


@settings(max_examples=examples(600), deadline=None)
@given(several, codecs, st.data())
def test_joint_decoding_equals_single_decoding(
    given_columns: list[npt.NDArray[np.int64]], codec: Codec, data: st.DataObject
) -> None:
    some = [values.astype(np.int64) for values in given_columns] or [np.arange(40)]
    found = [only(parts.encode_integers(values, codec)) for values in some]
    counts, plus = [len(values) for values in some], [data.draw(st.integers(-5, 5)) for _ in some]
    out = np.empty(sum(counts), np.int64)
    parts.decode_many_integers(found, counts, out, plus=plus)
    assert np.array_equal(out, np.concatenate([values + more for values, more in zip(some, plus, strict=True)]))
    starts = [data.draw(st.integers(0, count - 1)) for count in counts]
    within = [slice(start, data.draw(st.integers(start + 1, count))) for start, count in zip(starts, counts, strict=True)]
    expected = np.concatenate([values[each] for values, each in zip(some, within, strict=True)])
    parts.decode_many_integers(found, counts, out[: len(expected)], within)
    assert np.array_equal(out[: len(expected)], expected)
    wrong = data.draw(st.integers(0, len(counts) - 1))
    counts[wrong] += 1
    with pytest.raises(StoreCorruptError):
        parts.decode_many_integers(found, counts, np.empty(sum(counts), np.int64))


def test_runs_whose_lengths_match_only_in_total_are_refused() -> None:
    found = [only(parts.encode_integers(np.repeat(np.arange(4), length), Codec.NONE)) for length in (10, 12)]
    out = np.empty(88, np.int64)
    parts.decode_many_integers(found, [40, 48], out)
    with pytest.raises(StoreCorruptError, match="do not add up"):
        parts.decode_many_integers(found[::-1], [40, 48], out)


@settings(max_examples=examples(600), deadline=None)
@given(columns, codecs, any_integer, any_integer)
def test_ascending_integers_are_detected(values: npt.NDArray[np.int64], codec: Codec, low: int, high: int) -> None:
    values = np.sort(values)
    part = only(parts.encode_integers(values, codec))
    found = parts.find_integers(part, len(values), np.int64, (low, high))
    assert found == (np.count_nonzero(values < low), np.count_nonzero(values < high))


@settings(max_examples=examples(200), deadline=None)
@given(st.integers(1, 70), st.integers(1, 300), st.integers(0, 2**32), st.sampled_from([1, 2, 3, 256]), codecs)
def test_items_round_trip(count: int, width: int, seed: int, kinds: int, codec: Codec) -> None:
    items = np.random.default_rng(seed).integers(0, kinds, (count, width)).astype(np.uint8)
    part = only(parts.encode_items(items, codec))
    assert np.array_equal(parts.decode_items(part, count, width), items)
    within = slice(seed % count, seed % count + 1 + (count - seed % count) // 2)
    assert np.array_equal(parts.decode_items(part, count, width, within), items[within])
    for wrong in ((count + 1, width), (count, width + 1)):
        with pytest.raises(StoreCorruptError):
            parts.decode_items(part, *wrong)


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("size", [0, 1, 31, 32, 10_000, 2**20])
def test_bytes_round_trip(codec: Codec, size: int) -> None:
    data = (np.arange(size) // 7).astype(np.uint8)
    assert np.array_equal(parts.decode_bytes(only(parts.encode_bytes(data, codec)), size), data)


@pytest.mark.parametrize(
    ("values", "most"),
    [
        (np.full(8000, 5), 40),
        (np.repeat(np.arange(8), 1000), 200),
        (np.arange(8000) * 10**9, 120),
        (np.tile(np.arange(1000) * 10**9, 8), 300),
        (np.arange(8000) % 250 * 10**9, 1000),
    ],
    ids=["constant", "repeated", "ascending", "ascending in each of several series", "periodic"],
)
def test_regular_columns_are_small(values: npt.NDArray[Any], most: int) -> None:
    assert len(parts.encode_integers(values, Codec.LZ4)) <= most


def test_each_part_states_its_compression() -> None:
    random = np.random.default_rng(1).integers(0, 5, 8000)
    for codec in Codec:
        assert only(parts.encode_integers(random, codec)).codec == codec


@pytest.mark.parametrize("codec", list(Codec))
def test_damaged_part_is_refused_or_keeps_its_size(codec: Codec) -> None:
    rng = np.random.default_rng(3)
    originals = [
        parts.encode_integers(rng.integers(0, 1000, 500), codec),
        parts.encode_integers(np.repeat(np.arange(50), 10), codec),
        parts.encode_integers(np.cumsum(rng.integers(0, 3, 500)), codec),
        parts.encode_items(rng.integers(0, 3, (500, 3)).astype(np.uint8), codec),
        parts.encode_items(np.tile(np.arange(9, dtype=np.uint8), (500, 1)), codec),
    ]
    parts.decode_integers(only(parts.encode_integers(np.arange(500), codec)), 500)  # memory allocated from here on
    refused = 0
    tracemalloc.start()
    rounds = examples(6000)
    for _ in range(rounds):
        data = bytearray(originals[rng.integers(len(originals))])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(min(len(data), 100))) if rng.integers(2) else int(rng.integers(len(data)))
            data[at] = rng.integers(256)
        data = data[: len(data) - int(rng.integers(3)) * int(rng.integers(2))]
        for decode in (
            lambda part: parts.decode_integers(part, 500),
            lambda part: parts.decode_integers(part, 500, within=slice(490, 500)).repeat(50),
            lambda part: parts.decode_items(part, 500, 3).reshape(-1)[:500],
        ):
            try:
                for part in parts.read_parts(memoryview(bytes(data))):
                    assert decode(part).shape == (500,)
            except StoreCorruptError:
                refused += 1
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 1.5 * rounds
    assert most < 2**20


def test_zstd_frame_with_a_large_window_is_refused() -> None:
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + struct.pack("<I", 1) + bytes(10)
    with pytest.raises(StoreCorruptError, match="window of"):
        parts.decode_bytes(Part(2, Codec.ZSTD, 0, 1, 100, 0, 0, 1, memoryview(frame)), 100)


@pytest.mark.parametrize("form", [5, 9, 127])
def test_encoding_of_a_later_version_is_refused(form: int) -> None:
    part = only(parts.encode_integers(np.arange(5) ** 3, Codec.NONE))._replace(form=form)
    with pytest.raises(StoreCorruptError, match="does not know"):
        parts.decode_integers(part, 5)
    with pytest.raises(StoreCorruptError, match="does not know"):
        parts.decode_items(part._replace(width=1, data=memoryview(bytes(5))), 5, 1)
