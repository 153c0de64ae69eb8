"""Blocks: the unit in which the embedded store keeps records. No engine, no files.

Rules kept here:

* A block holds records of one cid, sorted by mid, moid, cap, acq: at least one, at most 8,000 and about 1 MiB.
* A run is a sequence of sorted blocks that do not overlap. Many records of few series become several runs, one per time
  window.
* A block returns its records as rows in GET form, or column by column. A column is decoded when it is first used. For a few
  records of a block, only the part of the column that they need is decoded; a cached block that is used again decodes and
  keeps whole columns.
* Scans join blocks into larger chunks, whose columns are decoded together.
* Payloads of one size are split into pieces according to their layout, one per field of the model; a payload without a
  layout is one piece. For payloads of several sizes, all bytes are kept together, and the lengths are a column.
* A record that was put with its own acq is marked with the number of its put, because neither its key nor its acq tells it
  from records of other puts. Marks are stored beside the records and follow them. Other records have mark 0; a block
  without marked records stores no marks.
* A stored block holds rows if it has few records, and parts otherwise. Its first byte says which; other values are reserved
  for later versions. Callers know the number and size of the records from the directory of the run, and have verified the
  checksum of the block.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KEY_DTYPE, KEY_FIELDS, KeyRange
from tsmodel.store.parts import (
    Codec,
    Part,
    decode_bytes,
    decode_integers,
    decode_items,
    decode_many_integers,
    decode_many_items,
    encode_bytes,
    encode_integers,
    encode_items,
    end_of_part,
    find_integers,
    moved_integers,
    read_parts,
)
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk, joined
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD
from tsmodel.wire.sorting import order_of

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_RECORDS",
    "MOST_BYTES",
    "MOST_RECORDS",
    "NO_BASE",
    "Base",
    "Block",
    "Bounds",
    "EncodedBlock",
    "Layout",
    "Piece",
    "chunks_of",
    "cut_after",
    "layout_of",
    "merged_runs",
    "sorted_runs",
    "uses_codec",
]

BLOCK_RECORDS: Final = 8000
BLOCK_BYTES: Final = 2**20
MOST_RECORDS: Final = 2**16
"""Blocks with more records are refused."""
MOST_BYTES: Final = 2 * MAX_PAYLOAD
"""Blocks with more bytes are refused."""

Bounds: TypeAlias = tuple[int, ...]
"""cid, then least and greatest mid, moid, cap, and acq; both ends inclusive."""


class Base(NamedTuple):
    """Offsets to add to the stored values of a block, which may be encoded before its acqs and marks are known.

    Attributes:
        acq: added to each acq.
        mark: added to each mark that is not 0.
    """

    acq: int = 0
    mark: int = 0


NO_BASE: Final = Base()


class Piece(NamedTuple):
    """Bytes of each payload that form a column.

    Attributes:
        width: number of bytes.
        is_integer: whether they are a little-endian integer.
    """

    width: int
    is_integer: bool = False


Layout: TypeAlias = tuple[Piece, ...]
"""The pieces of payloads of one size, without gaps."""

Places: TypeAlias = "slice | npt.NDArray[np.intp]"
"""Some of the records of a block: a slice with a step of 1, or ascending places."""

_HEADER = GET_FORM.header.itemsize
_SORTED_BY = KEY_FIELDS[1:]
_KEYS = len(_SORTED_BY)
_ACQ: Final = _SORTED_BY.index("acq")
_ACQ_AT: Final = int(GET_FORM.header.fields["acq"][1]) if GET_FORM.header.fields else 0
_DTYPES = [KEY_DTYPE[name] for name in _SORTED_BY]

_SIGNED: Final = {width: np.dtype(f"<i{width}") for width in (2, 4, 8)}

_ROWS: Final = 1
_PARTS: Final = 2
_MARKED: Final = 1
"""Flag of a stored block whose last part holds the marks."""
_FEW: Final = 24
"""Blocks with fewer records are stored as rows: parts would be larger and slower to encode."""
_SOME: Final = 500
"""Up to this many records are merged as rows: splitting so few into columns does not pay off."""
_MOST_PIECES: Final = 256

_WINDOWED: Final = 16
"""Fewer blocks are not split into time windows."""
_WINDOWS: Final = 64
"""Maximum number of windows: reading a whole series needs a block of each."""
_SERIES: Final = 32
"""Windows are not narrowed further once a block holds this many series."""
_SAMPLED: Final = 4096
"""Number of capture times to sample to find the bounds of windows."""

_SHARE: Final = 4
"""Up to this fraction (1/n) of a block's records is decoded without the rest."""

_FIRST: Final = 1
_MOST_JOINED: Final = 16
"""Maximum number of blocks in the first chunk of a scan, and in later ones, or where few records of each are wanted."""
_GROUP_BYTES: Final = 3 * 2**20
"""Maximum size of a chunk of several blocks, in bytes."""

_GET_HEADER = struct.Struct("<iiqiqq")
_START = struct.Struct("<BBH")
_PIECE = struct.Struct("<I")
_INTEGER = 1 << 31


def layout_of(dtype: np.dtype[Any]) -> Layout:
    """The pieces of a payload of this dtype: one per field, and one per gap between fields."""
    if not dtype.itemsize:
        return ()
    pieces: list[Piece] = []
    end = 0
    for offset, leaf in sorted(_leaves(dtype, 0), key=lambda found: found[0]):
        if offset < end:
            return (Piece(dtype.itemsize),)
        if offset > end:
            pieces.append(Piece(offset - end))
        pieces.append(Piece(leaf.itemsize, leaf.kind in "iumM" and leaf.itemsize > 1 and leaf.newbyteorder("<") == leaf))
        end = offset + leaf.itemsize
    if end < dtype.itemsize:
        pieces.append(Piece(dtype.itemsize - end))
    return tuple(pieces) if len(pieces) <= _MOST_PIECES else (Piece(dtype.itemsize),)


def _leaves(dtype: np.dtype[Any], offset: int) -> Iterator[tuple[int, np.dtype[Any]]]:
    """The innermost fields and their offsets. An array counts as one field; fields without bytes are omitted."""
    if dtype.fields is None:
        if dtype.itemsize:
            yield offset, dtype
        return
    for name in dtype.names or ():
        kind, at = dtype.fields[name][:2]
        yield from _leaves(kind, offset + at)


class Block:
    """Sorted records of one cid. Thread-safe.

    Attributes:
        bounds: the bounds of the keys.
        count: number of records.
        record_size: size of each record in GET form, in bytes; 0 if they differ.
        size: size of all records in GET form, in bytes.
        layout: the pieces of each payload; empty if payloads differ in size.
        base: the offsets to add to stored acqs and marks.
        origin: the store it was read from and its id there, for errors; None for a block made in this process.
        is_cached: whether it is in a cache, and so keeps decoded columns.
    """

    def __init__(
        self,
        bounds: Bounds,
        count: int,
        record_size: int,
        size: int,
        layout: Layout,
        *,
        rows: RowChunk | None = None,
        columns: list[npt.NDArray[Any] | None] | None = None,
        stored: list[Part] | None = None,
        marks: npt.NDArray[np.int64] | Part | None = None,
        base: Base = NO_BASE,
    ) -> None:
        self.base = base
        self.origin: tuple[str, int] | None = None
        self.is_cached = False
        self.bounds = bounds
        self.count = count
        self.record_size = record_size
        self.size = size
        self.layout = layout
        self._series = self._asked = 0
        self._encoded: bytes | None = None
        self._rows = rows
        self._parts = stored
        self._marks = marks
        self._columns: list[npt.NDArray[Any] | None] = columns or [None] * (_KEYS + (len(layout) if record_size else 2))

    @property
    def marks(self) -> npt.NDArray[np.int64] | None:
        """The mark of each record, shape (count,); None if all are 0."""
        marks = self._marks
        if isinstance(marks, Part):
            marks = decode_integers(marks, self.count)
            if self.base.mark:
                marks = np.where(marks > 0, marks + self.base.mark, marks)
            self._marks = marks
        return marks

    @property
    def series(self) -> int:
        """Number of series."""
        if not self._series:
            self._series = _series_of(self._column(0), self._column(1)) if self.count > 1 else 1
        return self._series

    def key(self, name: str) -> npt.NDArray[Any]:
        """A key component of each record, shape (count,)."""
        if name == "cid":
            return np.full(self.count, self.bounds[0], KEY_DTYPE["cid"])
        return self._column(_SORTED_BY.index(name))

    def keys(self) -> list[npt.NDArray[Any]]:
        """mid, moid, cap, and acq, each of shape (count,)."""
        return [self._column(at) for at in range(_KEYS)]

    def ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The first and the last key, without cid."""
        keys = self.keys()
        return tuple(int(key[0]) for key in keys), tuple(int(key[-1]) for key in keys)

    def columns(self) -> list[npt.NDArray[Any]]:
        """mid, moid, cap, acq, then the pieces; or lengths and payload bytes, if payloads differ in size."""
        return [self._column(at) for at in range(len(self._columns))]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Size of each payload in bytes, shape (count,)."""
        if self.record_size:
            return np.full(self.count, self.record_size - _HEADER, np.int64)
        return self._column(_KEYS)

    def payloads(self) -> npt.NDArray[np.uint8]:
        """The bytes of all payloads, concatenated."""
        if not self.record_size:
            return self._column(_KEYS + 1)
        pieces = [_as_bytes(self._column(_KEYS + at)) for at in range(len(self.layout))]
        return np.concatenate(pieces, axis=1).reshape(-1) if pieces else np.empty(0, np.uint8)

    def rows(self) -> memoryview:
        """The records in GET form."""
        return self.row_chunk().rows()

    def row_chunk(self) -> RowChunk:
        """The records as rows. They are assembled once and kept; from then on, columns are views of them."""
        if self._rows is None:
            columns = ColumnChunk(_Columns(self))
            offsets = None if self.record_size else columns.offsets()
            self._rows = RowChunk(columns.rows(), self.count, self.record_size, offsets, lasting=True)
            if self.record_size:
                self._columns = [None] * len(self._columns)
        return self._rows

    def meets(self, box: KeyRange) -> bool:
        """Whether the bounds overlap the box, so that records of the block may lie inside."""
        cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max = self.bounds
        low, high = box.min, box.max
        # Written out for speed, as below: a scan of a store in memory checks every block.
        return (
            mid_min < high.mid
            and low.mid <= mid_max
            and low.cid <= cid < high.cid
            and cap_min < high.cap
            and low.cap <= cap_max
            and moid_min < high.moid
            and low.moid <= moid_max
            and acq_min < high.acq
            and low.acq <= acq_max
        )

    def inside(self, box: KeyRange) -> bool:
        """Whether all records of the block lie inside the box."""
        cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max = self.bounds
        low, high = box.min, box.max
        # Written out for speed: a scan checks every block.
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

    def places(self, box: KeyRange) -> Places:
        """The places of the records inside `box`; may be empty. Decodes nothing if all records are inside."""
        if self.inside(box):
            return slice(0, self.count)
        self._asked += 1
        first, last = self._within_mid(box)
        mask = self._mask(first, last, box)
        if mask is None:
            return slice(first, last)
        found = np.flatnonzero(mask)
        if not len(found):
            return slice(0, 0)
        if found[-1] - found[0] + 1 == len(found):
            return slice(first + int(found[0]), first + int(found[-1]) + 1)
        return found + first

    def chunk(self) -> Chunk:
        """A chunk of all records: rows if they are assembled, else columns that are decoded on demand."""
        return _Decoded(self) if self._rows is None else self._rows

    def take(self, places: Places) -> Chunk:
        """A chunk of some of the records."""
        if isinstance(places, slice) and self._are_few(places):
            return ColumnChunk(_Columns(self, places))
        return self.chunk().take(places)

    def select(self, box: KeyRange) -> Chunk:
        """A chunk of the records inside `box`; may be empty."""
        return self.take(self.places(box))

    def without(self, chosen: npt.NDArray[np.bool_]) -> Block:
        """A block without the chosen records, given as a mask of shape (count,); some must be left."""
        kept = ~chosen
        marks = None if self.marks is None else _present(self.marks[kept])
        count = int(np.count_nonzero(kept))
        bounds = _bounds(self.bounds[0], [self.key(name)[kept] for name in _SORTED_BY], [0])[0]
        if self.record_size:
            columns: list[npt.NDArray[Any] | None] = [self._column(at)[kept] for at in range(len(self._columns))]
            size = count * self.record_size
            return Block(bounds, count, self.record_size, size, self.layout, columns=columns, marks=marks)
        rows = self.row_chunk().take(kept)
        return Block.of_rows(bounds, rows, _opaque(rows.record_size), marks)

    def encoded(self, codec: Codec, base: Base = NO_BASE, *, as_parts: bool = False) -> bytes:
        """Encodes the block for storage. Subtracts `base` from its acqs and marks, since a reader adds it. A small block is
        stored as rows, unless `as_parts`."""
        if self._encoded is not None and base == NO_BASE:
            return self._encoded
        found = self.marks
        if found is not None and base.mark:
            found = np.where(found > 0, found - base.mark, found)
        marks = [] if found is None else [encode_integers(found, codec)]
        flags = _MARKED if marks else 0
        if self.count < _FEW and not as_parts:
            chunk = self.row_chunk()
            rows = encode_bytes(np.frombuffer(_shifted(chunk, -base.acq).rows(), np.uint8), codec)
            start = _START.pack(_ROWS, flags, len(self.layout))
            return b"".join([start, _layout_bytes(self.layout), rows, *marks])
        columns = self.columns()
        if base.acq:
            columns[_ACQ] = columns[_ACQ] - base.acq
        stored = [encode_integers(column, codec) for column in columns[:_KEYS]]
        if self.record_size:
            for piece, column in zip(self.layout, columns[_KEYS:], strict=True):
                encode = encode_integers if piece.is_integer else encode_items
                stored.append(encode(column, codec))
        else:
            stored += [encode_integers(columns[_KEYS], codec), encode_bytes(columns[_KEYS + 1], codec)]
        return b"".join([_START.pack(_PARTS, flags, len(self.layout)), _layout_bytes(self.layout), *stored, *marks])

    def is_encoded_as(self, data: bytes, series: int) -> None:
        """Says that the block is stored as these bytes, and how many series it has."""
        self._encoded, self._series = data, series

    @classmethod
    def of_rows(cls, bounds: Bounds, rows: RowChunk, layout: Layout, marks: npt.NDArray[np.int64] | None = None) -> Block:
        """A block of sorted rows, without copying them."""
        return cls(bounds, len(rows), rows.record_size, rows.nbytes, layout, rows=rows, marks=marks)

    @classmethod
    def decoded(
        cls, data: memoryview, bounds: Bounds, count: int, record_size: int, size: int, base: Base = NO_BASE
    ) -> Block:
        """A block from its stored bytes, with the attributes that its directory holds. Columns are decoded on demand.

        Raises:
            StoreCorruptError: if the bytes cannot be such a block. A damaged column is detected when it is decoded.
        """
        if not 1 <= count <= MOST_RECORDS or not count * _HEADER <= size <= MOST_BYTES:
            raise StoreCorruptError(f"a block claims {count} records of {size} bytes in total")
        if record_size and (record_size < _HEADER or count * record_size != size):
            raise StoreCorruptError(f"a block claims {count} records of {record_size} bytes, {size} bytes in total")
        if len(data) < _START.size:
            raise StoreCorruptError(f"a block has {len(data)} bytes")
        form, flags, pieces = _START.unpack_from(data)
        at = _START.size + pieces * _PIECE.size
        if pieces > _MOST_PIECES or at > len(data):
            raise StoreCorruptError(f"a block of {len(data)} bytes claims {pieces} pieces")
        layout = _layout_from(bytes(data[_START.size : at]))
        if sum(piece.width for piece in layout) != (record_size - _HEADER if record_size else 0):
            raise StoreCorruptError(f"a block's layout does not have {record_size - _HEADER} bytes")
        listed = list(read_parts(data[at:]))
        if flags & ~_MARKED or (flags and len(listed) < 2):
            raise StoreCorruptError(f"a block of {len(listed)} parts has flags {flags}, which this version does not know")
        marks = listed.pop() if flags else None
        if form == _ROWS and len(listed) == 1:
            rows = _shifted(_checked_rows(decode_bytes(listed[0], size), count, record_size), base.acq)
            return cls(bounds, count, record_size, size, layout, rows=rows, marks=marks, base=base)
        if form != _PARTS:
            raise StoreCorruptError(f"a block has form {form}, which this version does not know")
        if len(listed) != _KEYS + (len(layout) if record_size else 2):
            raise StoreCorruptError(f"a block has {len(listed)} parts")
        return cls(bounds, count, record_size, size, layout, stored=listed, marks=marks, base=base)

    def _column(self, at: int) -> npt.NDArray[Any]:
        found = self._columns[at]
        if found is None:
            if self._parts is None or (self._rows is not None and self.record_size):
                assert self._rows is not None
                found = self._from_rows(self._rows, at)
            else:
                found = self._from_part(self._parts[at], at)
            self._columns[at] = found
        return found

    def _are_few(self, places: slice) -> bool:
        """Whether to decode only these records, not whole columns."""
        count = places.stop - places.start
        is_stored = self._parts is not None and self._rows is None and self.record_size > 0
        return is_stored and self._asked == 1 and 0 < count * _SHARE <= self.count

    def some(self, at: int, places: slice) -> npt.NDArray[Any]:
        """A column of some of the records, shape (n,) or (n, width)."""
        if self._columns[at] is None and self._parts is not None and self._are_few(places):
            return self._from_part(self._parts[at], at, places)
        return self._column(at)[places]

    @property
    def is_packed(self) -> bool:
        """Whether the columns are stored as parts, and the records have one size."""
        return self._parts is not None and self._rows is None and self.record_size > 0

    def has(self, at: int, places: slice) -> bool:
        """Whether a column is decoded, or should be decoded whole because parts of a cached block are read repeatedly."""
        if self._columns[at] is not None or not self.is_packed:
            return True
        return self.is_cached and self._asked > 1 and places.stop - places.start < self.count

    def part_of(self, at: int) -> Part:
        """The stored form of a column; the block must be packed."""
        assert self._parts is not None
        return self._parts[at]

    def keep(self, at: int, column: npt.NDArray[Any]) -> None:
        """Keeps a decoded column, if the block is cached."""
        if self.is_cached and self._columns[at] is None:
            self._columns[at] = column.copy()

    def _from_part(self, part: Part, at: int, within: slice | None = None) -> npt.NDArray[Any]:
        try:
            return self._decoded(part, at, within)
        except StoreCorruptError as error:
            if self.origin is None:
                raise
            path, number = self.origin
            raise StoreCorruptError(f"{path} is damaged: block {number}: {error}; restore a backup", path=path) from error

    def _decoded(self, part: Part, at: int, within: slice | None) -> npt.NDArray[Any]:
        count = self.count
        values: npt.NDArray[Any]
        if at < _KEYS:
            values = decode_integers(part, count, _DTYPES[at], within)
            return values + self.base.acq if at == _ACQ and self.base.acq else values
        if not self.record_size:
            total = self.size - count * _HEADER
            if at > _KEYS:
                return decode_bytes(part, total)
            lengths = decode_integers(part, count)
            if lengths.min() < 0 or lengths.max() > total or int(lengths.sum()) != total:
                raise StoreCorruptError(f"lengths of payloads do not add up to {total} bytes")
            return lengths
        piece = self.layout[at - _KEYS]
        if piece.is_integer:
            values = decode_integers(part, count, _SIGNED[piece.width], within)
            return values
        return decode_items(part, count, piece.width, within)

    def _from_rows(self, rows: RowChunk, at: int) -> npt.NDArray[Any]:
        """A column as a view of rows; a copy if payloads differ in size."""
        if at < _KEYS:
            column = rows.key(_SORTED_BY[at])
            return column if self.record_size else np.ascontiguousarray(column)
        if not self.record_size:
            if at == _KEYS:
                return rows.sizes() - _HEADER
            data, starts, ends = rows.rows(), rows.offsets() + _HEADER, rows.ends()
            return np.frombuffer(b"".join(map(data.__getitem__, map(slice, starts.tolist(), ends.tolist()))), np.uint8)
        piece = self.layout[at - _KEYS]
        offset = sum(each.width for each in self.layout[: at - _KEYS])
        return rows.column(offset, _piece_dtype(piece))

    def _within_mid(self, box: KeyRange) -> tuple[int, int]:
        """Start and stop of the records whose mid lies inside the box."""
        least, greatest = self.bounds[1:3]
        if box.min.mid <= least and greatest < box.max.mid:
            return 0, self.count
        if self._columns[0] is None and self._parts is not None and self._rows is None and self._asked == 1:
            ends = (box.min.mid, max(box.min.mid, box.max.mid))
            return find_integers(self._parts[0], self.count, _DTYPES[0], ends)
        mids: Any = self._column(0)  # may be a view of rows, which NumPy would copy to search it
        first = bisect_left(mids, box.min.mid)
        return first, bisect_left(mids, max(box.min.mid, box.max.mid), first)

    def _mask(self, first: int, last: int, box: KeyRange) -> npt.NDArray[np.bool_] | None:
        """Mask of the records from `first` to `last` inside the box, ignoring mid; None if all are."""
        mask = None
        pairs = self.bounds[3:]
        for at, (low, high) in enumerate(list(box.intervals())[2:]):
            if low > pairs[2 * at]:
                above = self.some(1 + at, slice(first, last)) >= low
                mask = above if mask is None else mask & above
            if high <= pairs[2 * at + 1]:
                below = self.some(1 + at, slice(first, last)) < high
                mask = below if mask is None else mask & below
        return mask


class EncodedBlock:
    """A block that is encoded before its acqs or marks are known: acqs count from 0, and marks are 1. Immutable."""

    __slots__ = ("_acqs", "_data", "_described", "_marks")

    def __init__(self, block: Block, codec: Codec) -> None:
        self._data = block.encoded(codec, as_parts=True)
        self._described = (block.bounds, block.count, block.record_size, block.size, block.series)
        at = _START.size + len(block.layout) * _PIECE.size
        for _ in range(_KEYS - 1):
            at = end_of_part(self._data, at)
        self._acqs = at
        if block.marks is not None:
            for _ in range(1 + (len(block.layout) if block.record_size else 2)):
                at = end_of_part(self._data, at)
        self._marks = at

    @property
    def nbytes(self) -> int:
        """Size of the stored bytes."""
        return len(self._data)

    def placed(self, first_acq: int, mark: int) -> Block:
        """The block with `first_acq` added to each acq, and this mark on each record if the block has marks."""
        data = bytearray(self._data)
        bounds, count, record_size, size, series = self._described
        if first_acq:
            moved_integers(data, self._acqs, first_acq)
            bounds = (*bounds[:-2], bounds[-2] + first_acq, bounds[-1] + first_acq)
        if self._marks != self._acqs:
            moved_integers(data, self._marks, mark - 1)
        stored = bytes(data)
        block = Block.decoded(memoryview(stored), bounds, count, record_size, size)
        block.is_encoded_as(stored, series)
        return block


def chunks_of(blocks: Iterable[Block], box: KeyRange) -> Iterator[Chunk]:
    """Yields the records of blocks that lie inside `box`.

    A chunk takes a few hundred operations, however many records it has, so packed blocks are joined: few at first, for
    readers that need only the first records.
    """
    group: list[tuple[Block, Any]] = []
    size, most = 0, _FIRST
    for block in blocks:
        places = block.places(box)
        if isinstance(places, slice) and places.start == places.stop:
            continue
        if not block.is_packed:
            yield from _joined(group)
            group, size = [], 0
            yield block.take(places)
            continue
        size += block.size
        if isinstance(places, slice) and (places.stop - places.start) * _SHARE <= block.count:
            most = _MOST_JOINED
        first, some = group[0] if group else (block, places)
        is_alike = first.layout == block.layout and type(some) is type(places)
        if group and (len(group) >= most or size > _GROUP_BYTES or not is_alike):
            yield from _joined(group)
            group, size, most = [], block.size, _MOST_JOINED
        group.append((block, places))
    yield from _joined(group)


def _joined(group: list[tuple[Block, Any]]) -> Iterator[Chunk]:
    if len(group) == 1:
        yield group[0][0].take(group[0][1])
    elif group:
        if isinstance(group[0][1], slice):
            yield _Joined(_JoinedColumns(group))
            return
        chunk = ColumnChunk(_JoinedColumns([(block, slice(0, block.count)) for block, _ in group]))
        before = accumulate((block.count for block, _ in group), initial=0)
        yield chunk.take(np.concatenate([places + first for (_, places), first in zip(group, before, strict=False)]))


class _Joined(ColumnChunk):
    """Records of several blocks."""

    __slots__ = ("_blocks",)

    def __init__(self, columns: _JoinedColumns) -> None:
        super().__init__(columns)
        self._blocks = columns.picked

    def rows(self) -> memoryview:
        """See `Chunk.rows`; cached blocks keep theirs."""
        if self._assembled is None and all(block.is_cached for block, _ in self._blocks):
            size = self.record_size
            found = [block.rows()[places.start * size : places.stop * size] for block, places in self._blocks]
            self._assembled = memoryview(b"".join(found))
        return super().rows()


class _JoinedColumns:
    """The columns of records of several packed blocks of one layout.

    Attributes:
        picked: the blocks, and which of their records.
    """

    def __init__(self, picked: Sequence[tuple[Block, slice]]) -> None:
        self.picked = picked
        self._layout = picked[0][0].layout
        self.dtype: np.dtype[Any] | None = _payload_dtype(self._layout)
        self._count: int = sum(places.stop - places.start for _, places in picked)

    def __len__(self) -> int:
        return self._count

    def key(self, name: str) -> npt.NDArray[Any]:
        cid = self.picked[0][0].bounds[0]
        if name == "cid" and all(block.bounds[0] == cid for block, _ in self.picked):
            return np.full(self._count, cid, KEY_DTYPE[name])
        if name == "cid":
            counts = [places.stop - places.start for _, places in self.picked]
            return np.array([block.bounds[0] for block, _ in self.picked], KEY_DTYPE[name]).repeat(counts)
        at = _SORTED_BY.index(name)
        out = np.empty(self._count, _DTYPES[at])
        self._decode(at, out)
        return out

    def field(self, at: int) -> npt.NDArray[Any]:
        piece = self._layout[at]
        out = np.empty(self._count if piece.is_integer else (self._count, piece.width), _piece_dtype(piece).base)
        self._decode(_KEYS + at, out)
        return _as_field(out)

    def payloads(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        raise NotImplementedError

    def _decode(self, at: int, out: npt.NDArray[Any]) -> None:
        start = 0
        for is_decoded, some in groupby(self.picked, key=lambda each: each[0].has(at, each[1])):
            picked = list(some)
            stop = start + sum(places.stop - places.start for _, places in picked)
            if is_decoded:
                np.concatenate([block.some(at, places) for block, places in picked], out=out[start:stop])
            else:
                _decode_together(picked, at, out[start:stop])
            start = stop


def _decode_together(picked: Sequence[tuple[Block, slice]], at: int, out: npt.NDArray[Any]) -> None:
    """Decodes a column of packed blocks that have not decoded it."""
    blocks = [block for block, _ in picked]
    parts, counts = [block.part_of(at) for block in blocks], [block.count for block in blocks]
    is_whole = len(out) == sum(counts)
    within = None if is_whole else [places for _, places in picked]
    try:
        if out.ndim == 1:
            plus = [block.base.acq for block in blocks] if at == _ACQ else None
            decode_many_integers(parts, counts, out, within, plus)
        else:
            decode_many_items(parts, counts, out, within)
    except StoreCorruptError:
        for block, places in picked:  # raises the error of the block that is damaged
            block.some(at, places)
        raise
    if is_whole:
        for block, stop in zip(blocks, accumulate(counts), strict=True):
            block.keep(at, out[stop - block.count : stop])


class _Decoded(ColumnChunk):
    """The records of a block as a chunk of columns."""

    __slots__ = ("_block",)

    def __init__(self, block: Block) -> None:
        super().__init__(_Columns(block))
        self._block = block

    def rows(self) -> memoryview:
        """See `Chunk.rows`; the block keeps them."""
        return self._block.rows()


class _Columns:
    """The columns of a block, or of a slice of its records if all payloads have one size."""

    def __init__(self, block: Block, places: slice | None = None) -> None:
        self._block = block
        self._places = slice(0, block.count) if places is None else places
        self.dtype = _payload_dtype(block.layout) if block.record_size else None

    def __len__(self) -> int:
        return int(self._places.stop - self._places.start)

    def key(self, name: str) -> npt.NDArray[Any]:
        if name == "cid":
            return np.full(len(self), self._block.bounds[0], KEY_DTYPE["cid"])
        return self._block.some(_SORTED_BY.index(name), self._places)

    def field(self, at: int) -> npt.NDArray[Any]:
        return _as_field(self._block.some(_KEYS + at, self._places))

    def payloads(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return self._block.payloads(), np.cumsum(self._block.lengths())


@lru_cache(maxsize=256)
def _piece_dtype(piece: Piece) -> np.dtype[Any]:
    return np.dtype(f"<i{piece.width}" if piece.is_integer else f"({piece.width},)u1")


def _as_field(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A piece as a column of values."""
    if column.ndim == 1:
        return column
    return np.ascontiguousarray(column).view(_plain(column.shape[1])).reshape(-1)


@lru_cache(maxsize=256)
def _payload_dtype(layout: Layout) -> np.dtype[Any]:
    kinds = (f"<i{each.width}" if each.is_integer else _plain(each.width) for each in layout)
    return np.dtype([(f"piece {at}", kind) for at, kind in enumerate(kinds)])


def _plain(width: int) -> str:
    """A dtype for opaque bytes: an integer where one has that width, because integers are copied faster."""
    return f"<u{width}" if width in (1, 2, 4, 8) else f"V{width}"


def uses_codec(data: memoryview, codec: Codec) -> bool:
    """Whether a stored block, whose checksum was verified, has a part that is compressed with `codec`."""
    _, _, pieces = _START.unpack_from(data)
    return any(part.codec == codec for part in read_parts(data[_START.size + pieces * _PIECE.size :]))


def cut_after(blocks: list[Block], key: tuple[int, ...] | None) -> tuple[list[Block], list[Block]]:
    """Splits the sorted blocks of a run after a key; cuts the block that contains it. With None, nothing comes after."""
    if key is None:
        return blocks, []
    known: list[Block] = []
    for at, block in enumerate(blocks):
        first, last = block.ends()
        if last <= key:
            known.append(block)
            continue
        if first > key:
            return known, blocks[at:]
        keys = block.keys()
        count = bisect_right(range(block.count), key, key=lambda place: tuple(int(each[place]) for each in keys))
        is_beyond = np.arange(block.count) >= count
        return [*known, block.without(is_beyond)], [block.without(~is_beyond), *blocks[at + 1 :]]
    return known, []


def sorted_runs(
    chunk: RowChunk,
    layout: Layout | None = None,
    marks: npt.NDArray[np.int64] | None = None,
    *,
    windows: bool = True,
) -> list[list[Block]]:
    """Sorts records of one cid into the blocks of one run, or of several runs if splitting by time pays off.

    Args:
        chunk: the records, at least one, in any order.
        layout: the pieces of their payloads; None for one piece.
        marks: the mark of each record; None if all are 0.
        windows: whether several runs are allowed.
    """
    size = chunk.record_size
    if len(chunk) == 1 and size:  # the most frequent small put; NumPy takes ten times as long
        _, cid, *key = _GET_HEADER.unpack_from(chunk.rows())
        edges = (cid, *(edge for value in key for edge in (value, value)))
        return [[Block.of_rows(edges, chunk, layout or _opaque(size), None if marks is None else _present(marks))]]
    keys = [chunk.key(name) for name in _SORTED_BY]
    runs: _Runs = []
    if size:
        order, runs = _arranged(keys, _length(size), windows=windows)
    else:
        order = order_of(keys)
    if order is not None:
        chunk = chunk.take(order)
        keys = [chunk.key(name) for name in _SORTED_BY]
        marks = None if marks is None else marks.take(order)
    runs = runs or [(list(_cuts(chunk.sizes())), len(chunk))]
    cid = int(chunk.key("cid")[0])

    def made(start: int, stop: int, bounds: Bounds) -> Block:
        part = chunk.take(slice(start, stop))
        kept = None if marks is None else _present(marks[start:stop])
        return Block.of_rows(bounds, part, layout if size and layout else _opaque(part.record_size), kept)

    return [[made(*each) for each in _cut_at(cid, keys, starts, end)] for starts, end in runs]


def merged_runs(listed: Sequence[Block], *, windows: bool = True) -> list[list[Block]]:
    """Merges blocks of one cid into the sorted blocks of one run, or of several, as `sorted_runs` does."""
    sizes = {block.record_size for block in listed}
    marks = _joined_marks(listed)
    if len(sizes) > 1 or not listed[0].record_size:
        whole = joined([block.row_chunk() for block in listed])
        assert isinstance(whole, RowChunk)
        return sorted_runs(whole, marks=marks, windows=False)
    record_size = sizes.pop()
    layout = max((block.layout for block in listed), key=len)
    if sum(block.count for block in listed) <= _SOME:
        whole = joined([block.row_chunk() for block in listed])
        assert isinstance(whole, RowChunk)
        return sorted_runs(whole, layout, marks, windows=False)
    listed = [
        block if block.layout == layout else Block.of_rows(block.bounds, block.row_chunk(), layout, block.marks)
        for block in listed
    ]
    columns = [np.concatenate(parts) for parts in zip(*(block.columns() for block in listed), strict=True)]
    order, runs = _arranged(columns[:_KEYS], _length(record_size), windows=windows)
    if order is not None:
        columns = [_taken(column, order) for column in columns]
        marks = None if marks is None else marks.take(order)
    cid, made = listed[0].bounds[0], []
    for starts, end in runs:
        run = []
        for start, stop, bounds in _cut_at(cid, columns[:_KEYS], starts, end):
            part: list[npt.NDArray[Any] | None] = [column[start:stop] for column in columns]
            count = stop - start
            kept = None if marks is None else _present(marks[start:stop])
            run.append(Block(bounds, count, record_size, count * record_size, layout, columns=part, marks=kept))
        made.append(run)
    return made


def _cut_at(
    cid: int, columns: Sequence[npt.NDArray[Any]], starts: list[int], end: int
) -> Iterator[tuple[int, int, Bounds]]:
    """Start, stop, and bounds of each block of a run."""
    first = starts[0]
    bounds = _bounds(cid, [column[first:end] for column in columns], [start - first for start in starts])
    for (start, stop), each in zip(pairwise([*starts, end]), bounds, strict=True):
        yield start, stop, each


_Runs: TypeAlias = list[tuple[list[int], int]]
"""For each run: the starts of its blocks, and the end of the last one."""


def _arranged(
    columns: Sequence[npt.NDArray[Any]], length: int, *, windows: bool
) -> tuple[npt.NDArray[np.intp] | None, _Runs]:
    """Finds the order of records, None if they are sorted, and cuts them into blocks of up to `length`.

    Many records of few series are first split into runs by time, if `windows` are allowed. Otherwise, each block would span
    the whole time of a few series, and reading an hour of all series would read every block.
    """
    order, count = order_of(columns), len(columns[0])
    if not windows or count < _WINDOWED * length:
        return order, [(list(range(0, count, length)), count)]
    mid, moid, cap = (column if order is None else column.take(order) for column in columns[:3])
    series = _series_of(mid, moid)
    number = min(_WINDOWS, _SERIES * count // series // length, count // length)
    if number < 2 or 8 * series * length <= count:
        return order, [(list(range(0, count, length)), count)]
    sample = np.sort(cap[:: max(1, count // _SAMPLED)])
    edges = sample[[len(sample) * at // number for at in range(1, number)]]
    window = np.searchsorted(edges, cap, side="right").astype(np.uint8)
    within = np.argsort(window, kind="stable")
    order = within if order is None else order.take(within)
    runs, at = [], 0
    for held in np.bincount(window, minlength=number).tolist():
        blocks = -(-held // length)
        if blocks:
            runs.append(([at + held * block // blocks for block in range(blocks)], at + held))
        at += held
    return order, runs


def _series_of(mid: npt.NDArray[Any], moid: npt.NDArray[Any]) -> int:
    """Number of series in sorted records."""
    return 1 + int(np.count_nonzero((mid[1:] != mid[:-1]) | (moid[1:] != moid[:-1])))


def _taken(column: npt.NDArray[Any], order: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    if column.ndim == 1:
        return column.take(order)
    width = column.shape[1]  # moves whole items
    return np.ascontiguousarray(column).view(f"V{width}").reshape(-1).take(order).view(np.uint8).reshape(-1, width)


def _joined_marks(blocks: Sequence[Block]) -> npt.NDArray[np.int64] | None:
    if all(block.marks is None for block in blocks):
        return None
    return np.concatenate(
        [np.zeros(block.count, np.int64) if block.marks is None else block.marks for block in blocks], dtype=np.int64
    )


def _present(marks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    return marks if marks.any() else None


def _opaque(record_size: int) -> Layout:
    return (Piece(record_size - _HEADER),) if record_size > _HEADER else ()


def _length(record_size: int) -> int:
    """Maximum number of records of one size in a block."""
    return max(1, min(BLOCK_RECORDS, BLOCK_BYTES // record_size))


def _cuts(sizes: npt.NDArray[np.int64]) -> Iterator[int]:
    """The starts of blocks of at most BLOCK_RECORDS records, and at most BLOCK_BYTES unless it is a single record."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = int(total[first - 1]) if first else 0
        fitting = int(np.searchsorted(total, before + BLOCK_BYTES, side="right"))
        yield first
        first = max(first + 1, min(first + BLOCK_RECORDS, fitting))


def _bounds(cid: int, columns: Sequence[npt.NDArray[Any]], starts: Sequence[int]) -> list[Bounds]:
    """The bounds of sorted keys, from each start to the next."""
    mids = columns[0]
    ends: list[list[int]] = [mids[starts].tolist(), mids[[*(start - 1 for start in starts[1:]), -1]].tolist()]
    for column in columns[1:]:
        values = np.ascontiguousarray(column)
        ends += [np.minimum.reduceat(values, starts).tolist(), np.maximum.reduceat(values, starts).tolist()]
    return [(cid, *each) for each in zip(*ends, strict=True)]


def _as_bytes(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if column.ndim == 2:
        return column
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)


def _checked_rows(data: npt.NDArray[np.uint8], count: int, record_size: int) -> RowChunk:
    """Stored rows as a chunk, after checking that they are whole records, as readers rely on it."""
    rows: Any = data  # the types of NumPy do not say that arrays are buffers before Python 3.12
    if count == 1 and record_size == len(data) and _PIECE.unpack_from(rows) == (record_size - _PIECE.size,):
        return RowChunk(memoryview(rows), 1, record_size, lasting=True)
    found = GET_FORM.whole_records(memoryview(rows))
    different = found.record_size != record_size if record_size else False
    if found.end != len(data) or found.count != count or different:
        raise StoreCorruptError(f"a block does not consist of {count} whole records")
    offsets = None if record_size else GET_FORM.offsets(rows) if found.offsets is None else found.offsets
    return RowChunk(memoryview(rows), count, record_size, offsets, lasting=True)


def _shifted(rows: RowChunk, by: int) -> RowChunk:
    """The records with `by` added to each acq; the same chunk if `by` is 0."""
    if not by:
        return rows
    data = np.frombuffer(rows.rows(), np.uint8).copy()
    places = rows.offsets()[:, None] + np.arange(_ACQ_AT, _ACQ_AT + 8)
    acqs = data[places].view("<i8") + by
    data[places] = acqs.view(np.uint8)
    offsets = None if rows.record_size else rows.offsets()
    made: Any = data  # the types of NumPy do not say that arrays are buffers before Python 3.12
    return RowChunk(memoryview(made), len(rows), rows.record_size, offsets, lasting=True)


def _layout_bytes(layout: Layout) -> bytes:
    return b"".join([_PIECE.pack(piece.width | (_INTEGER if piece.is_integer else 0)) for piece in layout])


@lru_cache(maxsize=256)
def _layout_from(data: bytes) -> Layout:
    pieces = [Piece(word & ~_INTEGER, bool(word & _INTEGER)) for (word,) in _PIECE.iter_unpack(data)]
    for piece in pieces:
        if piece.width not in (2, 4, 8) if piece.is_integer else not piece.width:
            raise StoreCorruptError(f"a payload has a piece of {piece.width} bytes")
    return tuple(pieces)
