"""Blocks: how the embedded store keeps records. No engine, no files.

Rules kept here:

* A block holds records of one cid in GET form, sorted by mid, moid, cap, acq: it can be sent as it is.
* A block holds up to 2,000 records and about 1 MiB, but at least one record, whatever its size.
* A block knows the least and greatest value of each key component. It also carries a checksum, so that damage is found
  before anybody reads wrong values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KEY_FIELDS, KeyRange
from tsmodel.wire.chunk import Chunk, RowChunk, joined
from tsmodel.wire.sorting import order_of

__all__ = ["BLOCK_BYTES", "BLOCK_RECORDS", "Block", "Bounds", "checksum", "merged", "sorted_blocks"]

BLOCK_RECORDS: Final = 2000
BLOCK_BYTES: Final = 2**20

Bounds: TypeAlias = tuple[int, ...]
"""cid, then least and greatest mid, moid, cap, acq; both ends inclusive."""

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

    @property
    def chunk(self) -> RowChunk:
        """The records."""
        starts = None if self.record_size else np.frombuffer(self.offsets, "<u4").astype(np.int64)
        return RowChunk(self.data, self.count, self.record_size, starts, lasting=True)

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

    def select(self, box: KeyRange) -> RowChunk:
        """The records inside `box`, possibly none."""
        chunk = self.chunk
        if self.inside(box):
            return chunk
        chunk = chunk.take(self._within_mid(chunk, box))
        mask = self._mask(chunk, box)
        return chunk if mask is None else chunk.take(mask)

    def _within_mid(self, chunk: RowChunk, box: KeyRange) -> slice:
        """Where the records whose mid is inside lie: they are sorted by it."""
        least, greatest = self.bounds[1:3]
        if box.min.mid <= least and greatest < box.max.mid:
            return slice(None)
        first, last = np.searchsorted(chunk.key("mid"), (box.min.mid, box.max.mid)).tolist()
        return slice(first, max(first, last))

    def _mask(self, chunk: RowChunk, box: KeyRange) -> npt.NDArray[np.bool_] | None:
        """Which of the records are inside, mid aside; None for all."""
        mask = None
        pairs = self.bounds[3:]
        for at, (name, (low, high)) in enumerate(zip(_SORTED_BY[1:], list(box.intervals())[2:], strict=True)):
            if low > pairs[2 * at]:
                above = chunk.key(name) >= low
                mask = above if mask is None else mask & above
            if high <= pairs[2 * at + 1]:
                below = chunk.key(name) < high
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


def sorted_blocks(chunk: Chunk) -> Iterator[Block]:
    """Records of one cid, in any order, as sorted blocks."""
    if not len(chunk):
        return
    order = order_of([chunk.key(name) for name in _SORTED_BY])
    if order is not None:
        chunk = chunk.take(order)
    cuts = list(_cuts(chunk))
    for (first, last), bounds in zip(cuts, _bounds(chunk, [first for first, _ in cuts]), strict=True):
        part = chunk.take(slice(first, last))
        offsets = b"" if part.record_size else part.offsets().astype("<u4").tobytes()
        yield Block(bounds, len(part), part.record_size, part.rows(), offsets, checksum(part.rows(), offsets))


def merged(blocks: Iterable[Block]) -> Iterator[Block]:
    """The records of several blocks of one cid as sorted blocks that do not overlap."""
    return sorted_blocks(joined([block.chunk for block in blocks]))


def _cuts(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """Where blocks begin and end: at most BLOCK_RECORDS records, and BLOCK_BYTES unless it is a single record."""
    count, size = len(chunk), chunk.record_size
    starts = None if size else chunk.offsets()
    first = 0
    while first < count:
        if starts is None:
            fitting = first + BLOCK_BYTES // size
        else:
            fitting = int(np.searchsorted(starts, starts[first] + BLOCK_BYTES, side="right")) - 1
            if chunk.nbytes - starts[first] <= BLOCK_BYTES:
                fitting = count
        last = max(first + 1, min(first + BLOCK_RECORDS, fitting, count))
        yield first, last
        first = last


def _bounds(chunk: Chunk, starts: Sequence[int]) -> list[Bounds]:
    """What sorted keys lie between from each of the starts to the next."""
    cid, mids = int(chunk.key("cid")[0]), chunk.key("mid")
    ends: list[list[int]] = [mids[starts].tolist(), mids[[*(start - 1 for start in starts[1:]), -1]].tolist()]
    for name in _SORTED_BY[1:]:
        column = np.ascontiguousarray(chunk.key(name))
        ends += [np.minimum.reduceat(column, starts).tolist(), np.maximum.reduceat(column, starts).tolist()]
    return [(cid, *each) for each in zip(*ends, strict=True)]
