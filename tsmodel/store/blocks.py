"""Blocks: how the embedded store keeps records. No engine, no files.

Rules kept here:

* A block holds records of one cid in GET form, sorted by mid, moid, cap, acq: it can be sent as it is.
* A block holds up to 2,000 records and about 1 MiB, but at least one record, whatever its size.
* A block knows the least and greatest value of each key component. It also carries a checksum, so that damage is found
  before anybody reads wrong values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KEY_DTYPE, KEY_FIELDS, KeyRange
from tsmodel.wire.records import GET_FORM, octets_of

__all__ = ["BLOCK_BYTES", "BLOCK_RECORDS", "Block", "Bounds", "checksum", "merged", "sorted_blocks"]

BLOCK_RECORDS: Final = 2000
BLOCK_BYTES: Final = 2**20

Bounds: TypeAlias = tuple[int, ...]
"""cid, then least and greatest mid, moid, cap, acq; both ends inclusive."""

Keys: TypeAlias = npt.NDArray[Any]
"""Structured array of keys, shape (n,), dtype KEY_DTYPE or one that holds its fields."""

_HEADER = GET_FORM.header.itemsize
_SORTED_BY = KEY_FIELDS[1:]
_WORD = np.dtype("<u8")


@attrs.frozen
class Block:
    """Some records of one cid.

    Attributes:
        bounds: what the keys lie between.
        count: how many records there are.
        record_size: bytes of each one; 0 when they differ.
        data: the records in GET form.
        offsets: where each record starts, as little-endian uint32; empty when all have the same size.
        checksum: of data and offsets.
    """

    bounds: Bounds
    count: int
    record_size: int
    data: memoryview
    offsets: bytes
    checksum: int

    def verify(self) -> None:
        """Makes sure that the block is what was once stored.

        Raises:
            StoreCorruptError: when it is not.
        """
        if self.record_size and self.count * self.record_size != len(self.data):
            raise StoreCorruptError(
                f"a block of {self.count} records of {self.record_size} bytes has {len(self.data)} bytes"
            )
        found = checksum(self.data, self.offsets)
        if found != self.checksum:
            raise StoreCorruptError(f"a block of {self.count} records has checksum {found}, not {self.checksum}")

    def starts(self) -> npt.NDArray[np.int64]:
        """Where each record starts, shape (count,)."""
        if self.record_size:
            return np.arange(0, len(self.data), self.record_size, dtype=np.int64)
        return np.frombuffer(self.offsets, "<u4").astype(np.int64)

    def keys(self) -> Keys:
        """The records' keys, shape (count,)."""
        if self.record_size:
            return np.frombuffer(self.data, GET_FORM.dtype(self.record_size - _HEADER))
        return _headers(self.data, self.starts())

    def inside(self, box: KeyRange) -> bool:
        """Whether the box holds every record of the block."""
        cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max = self.bounds
        low, high = box.min, box.max
        # Written out: every block of a scan passes here.
        return (
            low.cid <= cid < high.cid
            and low.mid <= mid_min
            and mid_max < high.mid
            and low.moid <= moid_min
            and moid_max < high.moid
            and low.cap <= cap_min
            and cap_max < high.cap
            and low.acq <= acq_min
            and acq_max < high.acq
        )

    def select(self, box: KeyRange) -> memoryview:
        """The records inside `box`, possibly none, in GET form."""
        if self.inside(box):
            return self.data
        keys = self.keys()
        first, last = self._within_mid(keys, box)
        mask = self._mask(keys[first:last], box)
        if self.record_size:
            if mask is None:
                return self.data[first * self.record_size : last * self.record_size]
            return octets_of(keys[first:last].compress(mask))
        starts = self.starts()
        ends = np.append(starts[1:], len(self.data))
        picked = slice(first, last) if mask is None else first + np.flatnonzero(mask)
        return memoryview(
            b"".join([self.data[a:b] for a, b in zip(starts[picked].tolist(), ends[picked].tolist(), strict=True)])
        )

    def _within_mid(self, keys: Keys, box: KeyRange) -> tuple[int, int]:
        """Where the records whose mid is inside begin and end: they are sorted by it."""
        least, greatest = self.bounds[1:3]
        if box.min.mid <= least and greatest < box.max.mid:
            return 0, self.count
        first, last = np.searchsorted(keys["mid"], (box.min.mid, box.max.mid)).tolist()
        return first, max(first, last)

    def _mask(self, keys: Keys, box: KeyRange) -> npt.NDArray[np.bool_] | None:
        """Which of the keys are inside, mid aside; None for all."""
        mask = None
        pairs = self.bounds[3:]
        for at, (name, (low, high)) in enumerate(zip(_SORTED_BY[1:], list(box.intervals())[2:], strict=True)):
            if low > pairs[2 * at]:
                above = keys[name] >= low
                mask = above if mask is None else mask & above
            if high <= pairs[2 * at + 1]:
                below = keys[name] < high
                mask = below if mask is None else mask & below
        return mask


def checksum(data: memoryview, offsets: bytes) -> int:
    """A signed 64-bit sum of the bytes as little-endian words; a few per cent of a scan, where a CRC would be most of it.

    It finds flipped bits, zeroed pages and truncation.
    """
    total = len(data) + _sum(data) + (_sum(memoryview(offsets)) if offsets else 0)
    return (total & (2**64 - 1)) - 2**63


def _sum(part: memoryview) -> int:
    words = len(part) // 8
    rest = int.from_bytes(part[words * 8 :], "little")
    return rest + int(np.add.reduce(np.frombuffer(part, _WORD, words))) if words else rest


def sorted_blocks(data: memoryview, record_size: int) -> Iterator[Block]:
    """Records of one cid in GET form, in any order, as sorted blocks.

    Args:
        data: whole records.
        record_size: bytes of each one; 0 when they differ.
    """
    if record_size:
        return _uniform(np.frombuffer(data, GET_FORM.dtype(record_size - _HEADER)))
    return _mixed(data, GET_FORM.offsets(data))


def merged(blocks: Iterable[Block]) -> Iterator[Block]:
    """The records of several blocks of one cid as sorted blocks that do not overlap."""
    listed = list(blocks)
    sizes = {block.record_size for block in listed}
    data = memoryview(b"".join([block.data for block in listed]))
    return sorted_blocks(data, sizes.pop() if len(sizes) == 1 else 0)


def _uniform(records: npt.NDArray[Any]) -> Iterator[Block]:
    order = _order(records)
    if order is not None:
        records = np.take(records, order)
    record_size = records.dtype.itemsize
    length = max(1, min(BLOCK_RECORDS, BLOCK_BYTES // record_size))
    starts = range(0, len(records), length)
    for start, bounds in zip(starts, _bounds(records, starts), strict=True):
        part = records[start : start + length]
        yield _block(bounds, len(part), record_size, octets_of(part), b"")


def _mixed(data: memoryview, starts: npt.NDArray[np.int64]) -> Iterator[Block]:
    keys = _headers(data, starts)
    ends = np.append(starts[1:], len(data))
    order = _order(keys)
    if order is not None:
        keys, starts, ends = np.take(keys, order), starts[order], ends[order]
    cuts = list(_cuts(ends - starts))
    for (first, last), bounds in zip(cuts, _bounds(keys, [first for first, _ in cuts]), strict=True):
        pieces = [data[a:b] for a, b in zip(starts[first:last].tolist(), ends[first:last].tolist(), strict=True)]
        sizes = ends[first:last] - starts[first:last]
        same = bool((sizes == sizes[0]).all())
        offsets = b"" if same else (np.cumsum(sizes) - sizes).astype("<u4").tobytes()
        block_data = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
        yield _block(bounds, last - first, int(sizes[0]) if same else 0, block_data, offsets)


def _cuts(sizes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where blocks begin and end: at most BLOCK_RECORDS records, and BLOCK_BYTES unless it is a single record."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = int(total[first - 1]) if first else 0
        fitting = int(np.searchsorted(total, before + BLOCK_BYTES, side="right"))
        last = max(first + 1, min(first + BLOCK_RECORDS, fitting))
        yield first, last
        first = last


def _bounds(keys: Keys, starts: Sequence[int]) -> list[Bounds]:
    """What sorted keys lie between from each of the starts to the next."""
    if not len(starts):
        return []
    cid, mids = int(keys["cid"][0]), keys["mid"]
    ends: list[list[int]] = [mids[starts].tolist(), mids[[*(start - 1 for start in starts[1:]), -1]].tolist()]
    for name in _SORTED_BY[1:]:
        column = np.ascontiguousarray(keys[name])
        ends += [np.minimum.reduceat(column, starts).tolist(), np.maximum.reduceat(column, starts).tolist()]
    return [(cid, *each) for each in zip(*ends, strict=True)]


def _block(bounds: Bounds, count: int, record_size: int, data: memoryview, offsets: bytes) -> Block:
    return Block(bounds, count, record_size, data, offsets, checksum(data, offsets))


def _order(keys: Keys) -> npt.NDArray[np.intp] | None:
    """The permutation that sorts the keys, or None when they are sorted."""
    columns = [column for name in _SORTED_BY if (column := keys[name]).size and (column != column[0]).any()]
    if not columns or _is_sorted(columns):
        return None
    return np.lexsort(columns[::-1])


def _is_sorted(columns: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether rows of the columns ascend lexicographically."""
    tied = np.ones(len(columns[0]) - 1, np.bool_)
    for column in columns:
        before, after = column[:-1][tied], column[1:][tied]
        if (before > after).any():
            return False
        tied[tied] = before == after
        if not tied.any():
            return True
    return True


def _headers(data: memoryview, starts: npt.NDArray[np.int64]) -> Keys:
    octets = np.frombuffer(data, np.uint8)
    key = octets[starts[:, None] + np.arange(4, 4 + KEY_DTYPE.itemsize)]
    keys: Keys = key.view(KEY_DTYPE).reshape(-1)
    return keys
