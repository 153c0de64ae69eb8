"""Blocks: how the embedded store keeps records. No engine, no files.

Rules kept here:

* A block holds records of one cid, sorted by mid, moid, cap, acq: up to 8,000, and about 1 MiB, but at least one. Large
  runs are cut into windows of time first.
* A block gives its records as rows in GET form or column by column. What is stored is decoded only when it is asked for,
  one column at a time, and never twice.
* Payloads of one size are split into pieces as their layout says, one for each field of the model; a payload without a
  layout is one piece. Payloads of several sizes keep their bytes together, and their lengths as a column.
* A stored block of few records holds rows, of more it holds parts. Its first byte says which; other values are kept for
  later versions. Whoever decodes knows the number and the size of the records from the directory of the run, and has
  checked the block's checksum.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
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
    encode_bytes,
    encode_integers,
    encode_items,
    end_of_part,
    move_integers,
    read_parts,
)
from tsmodel.wire.chunk import Chunk, ColumnChunk, RowChunk
from tsmodel.wire.records import GET_FORM, MAX_PAYLOAD, octets_of
from tsmodel.wire.sorting import order_of

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_RECORDS",
    "MOST_BYTES",
    "MOST_RECORDS",
    "Block",
    "Bounds",
    "EncodedBlock",
    "Layout",
    "Piece",
    "layout_of",
    "merged",
    "sorted_blocks",
    "uses_codec",
]

BLOCK_RECORDS: Final = 8000
BLOCK_BYTES: Final = 2**20
MOST_RECORDS: Final = 2**16
"""A block of more records is refused."""
MOST_BYTES: Final = 2 * MAX_PAYLOAD
"""A block of more bytes is refused."""

Bounds: TypeAlias = tuple[int, ...]
"""cid, then least and greatest mid, moid, cap, acq; both ends inclusive."""

Keys: TypeAlias = npt.NDArray[Any]
"""Structured array of keys, shape (n,), dtype KEY_DTYPE or one that holds its fields."""


class Piece(NamedTuple):
    """Some bytes of each payload that are compressed together.

    Attributes:
        width: how many bytes.
        is_integer: whether they are one little-endian integer.
    """

    width: int
    is_integer: bool = False


Layout: TypeAlias = tuple[Piece, ...]
"""The pieces of which payloads of one size consist, without gaps."""

_HEADER = GET_FORM.header.itemsize
_SORTED_BY = KEY_FIELDS[1:]
_KEYS = len(_SORTED_BY)
_OFFSETS = [int(GET_FORM.header.fields[name][1]) for name in _SORTED_BY] if GET_FORM.header.fields else []
_DTYPES = [KEY_DTYPE[name] for name in _SORTED_BY]

_SIGNED: Final = {width: np.dtype(f"<i{width}") for width in (2, 4, 8)}

_ROWS: Final = 1
_PARTS: Final = 2
_FEW: Final = 24
"""A block of fewer records is stored as rows: parts would be larger, and slower to make."""
_MOST_PIECES: Final = 256
_LONG: Final = 256
"""Average payload from which moving payloads one by one is faster than by a mask over all bytes."""

_WINDOWED: Final = 16
"""Records of fewer blocks are not cut into windows of time."""
_WINDOWS: Final = 8
"""Most windows: a series that is read whole needs a block of each."""
_SERIES: Final = 32
"""Series that a block may hold before windows of time are made no smaller."""
_SAMPLED: Final = 4096
"""About how many times say where windows begin."""

_START = struct.Struct("<BBH")
_GET_HEADER = struct.Struct("<iiqiqq")
_PIECE = struct.Struct("<I")
_INTEGER = 1 << 31


def layout_of(dtype: np.dtype[Any]) -> Layout:
    """The pieces of a payload of this dtype: one for each field, and one for each gap between fields."""
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
    """Fields within fields; arrays count as one field. Those without bytes are left out."""
    if dtype.fields is None:
        if dtype.itemsize:
            yield offset, dtype
        return
    for name in dtype.names or ():
        kind, at = dtype.fields[name][:2]
        yield from _leaves(kind, offset + at)


class Block:
    """Some records of one cid, sorted. May be used from several threads.

    Attributes:
        bounds: what the keys lie between.
        count: how many records there are.
        record_size: bytes of each one in GET form; 0 when they differ.
        size: bytes of all of them in GET form.
    """

    __slots__ = ("_columns", "_layout", "_parts", "_rows", "bounds", "count", "record_size", "size")

    def __init__(
        self,
        bounds: Bounds,
        count: int,
        record_size: int,
        size: int,
        layout: Layout,
        *,
        rows: memoryview | None = None,
        columns: list[npt.NDArray[Any] | None] | None = None,
        stored: list[Part] | None = None,
    ) -> None:
        self.bounds = bounds
        self.count = count
        self.record_size = record_size
        self.size = size
        self._layout = layout
        self._rows = rows
        self._parts = stored
        self._columns: list[npt.NDArray[Any] | None] = columns or [None] * (_KEYS + (len(layout) if record_size else 2))

    @property
    def layout(self) -> Layout:
        """The pieces of each payload; nothing where payloads differ in size."""
        return self._layout

    def key(self, name: str) -> npt.NDArray[Any]:
        """A component of the keys, shape (count,)."""
        if name == "cid":
            return np.full(self.count, self.bounds[0], KEY_DTYPE["cid"])
        return self._column(_SORTED_BY.index(name))

    def piece(self, at: int) -> npt.NDArray[Any]:
        """A piece of the payloads: shape (count,) for an integer, else bytes of shape (count, width)."""
        return self._column(_KEYS + at)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each payload, shape (count,)."""
        if self.record_size:
            return np.full(self.count, self.record_size - _HEADER, np.int64)
        return self._column(_KEYS)

    def payloads(self) -> npt.NDArray[np.uint8]:
        """The bytes of all payloads, one after another."""
        if not self.record_size:
            return self._column(_KEYS + 1)
        pieces = [_as_bytes(self.piece(at)) for at in range(len(self._layout))]
        return np.concatenate(pieces, axis=1).reshape(-1) if pieces else np.empty(0, np.uint8)

    def rows(self) -> memoryview:
        """The records in GET form. From then on they are what the block keeps, and columns are views of them."""
        rows = self._rows
        if rows is None:
            rows = self._rows = _assembled(self, [self._column(at) for at in range(len(self._columns))])
            # In this order, for others may be asking for a column.
            self._parts = None
            self._columns = [None] * len(self._columns)
        return rows

    def starts(self) -> npt.NDArray[np.int64]:
        """Where each record starts in `rows()`, shape (count,)."""
        if self.record_size:
            return np.arange(0, self.size, self.record_size, dtype=np.int64)
        sizes = self.lengths() + _HEADER
        return np.cumsum(sizes) - sizes

    def meets(self, box: KeyRange) -> bool:
        """Whether the box may hold some record of the block, going by bounds."""
        cid, mid_min, mid_max, moid_min, moid_max, cap_min, cap_max, acq_min, acq_max = self.bounds
        low, high = box.min, box.max
        # Written out, as below: every block of a store in memory passes here.
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

    def places(self, box: KeyRange) -> slice | npt.NDArray[np.intp]:
        """Which records are inside `box`, possibly none."""
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
        """The records: as rows where they lie as rows, otherwise as columns, which are decoded when they are asked for."""
        if self._rows is None:
            return ColumnChunk(_Columns(self))
        return RowChunk(self._rows, self.count, self.record_size, None if self.record_size else self.starts(), lasting=True)

    def select(self, box: KeyRange) -> Chunk:
        """The records inside `box`, possibly none."""
        chunk = self.chunk()
        return chunk if self.inside(box) else chunk.take(self.places(box))

    def encoded(self, codec: Codec, *, as_parts: bool = False) -> bytes:
        """What is stored of the block; also when it is small `as_parts`."""
        if self.count < _FEW and not as_parts:
            rows = encode_bytes(np.frombuffer(self.rows(), np.uint8), codec)
            return _START.pack(_ROWS, 0, len(self._layout)) + _layout_bytes(self._layout) + rows
        columns = [self._column(at) for at in range(len(self._columns))]
        stored = [encode_integers(column, codec) for column in columns[:_KEYS]]
        if self.record_size:
            for piece, column in zip(self._layout, columns[_KEYS:], strict=True):
                encode = encode_integers if piece.is_integer else encode_items
                stored.append(encode(column, codec))
        else:
            stored += [encode_integers(columns[_KEYS], codec), encode_bytes(columns[_KEYS + 1], codec)]
        return b"".join([_START.pack(_PARTS, 0, len(self._layout)), _layout_bytes(self._layout), *stored])

    @classmethod
    def of_rows(cls, bounds: Bounds, rows: memoryview, count: int, record_size: int, layout: Layout) -> Block:
        """Sorted records in GET form, as they lie there."""
        return cls(bounds, count, record_size, len(rows), layout, rows=rows)

    @classmethod
    def decoded(cls, data: memoryview, bounds: Bounds, count: int, record_size: int, size: int) -> Block:
        """A stored block, whose columns are decoded when they are asked for.

        Args:
            data: what `encoded` gave.
            bounds: what the keys lie between.
            count: how many records.
            record_size: bytes of each one in GET form; 0 when they differ.
            size: bytes of all of them in GET form.

        Raises:
            StoreCorruptError: when it cannot be such a block. Damage within a column is found when it is decoded.
        """
        if not 1 <= count <= MOST_RECORDS or not count * _HEADER <= size <= MOST_BYTES:
            raise StoreCorruptError(f"a block says {count} records of {size} bytes together")
        if record_size and (record_size < _HEADER or count * record_size != size):
            raise StoreCorruptError(f"a block says {count} records of {record_size} bytes, {size} bytes together")
        if len(data) < _START.size:
            raise StoreCorruptError(f"a block has {len(data)} bytes")
        form, _, pieces = _START.unpack_from(data)
        at = _START.size + pieces * _PIECE.size
        if pieces > _MOST_PIECES or at > len(data):
            raise StoreCorruptError(f"a block of {len(data)} bytes says {pieces} pieces")
        layout = _layout_from(bytes(data[_START.size : at]))
        if sum(piece.width for piece in layout) != (record_size - _HEADER if record_size else 0):
            raise StoreCorruptError(f"a block's layout does not have {record_size - _HEADER} bytes")
        listed = list(read_parts(data[at:]))
        if form == _ROWS and len(listed) == 1:
            rows = _view(decode_bytes(listed[0], size))
            _check_rows(rows, count, record_size)
            return cls(bounds, count, record_size, size, layout, rows=rows)
        if form != _PARTS:
            raise StoreCorruptError(f"a block has form {form}, which this version does not know")
        if len(listed) != _KEYS + (len(layout) if record_size else 2):
            raise StoreCorruptError(f"a block has {len(listed)} parts")
        return cls(bounds, count, record_size, size, layout, stored=listed)

    def _column(self, at: int) -> npt.NDArray[Any]:
        found = self._columns[at]
        if found is None:
            parts = self._parts
            found = self._from_rows(at) if parts is None else self._from_part(parts[at], at)
            self._columns[at] = found
        return found

    def _from_part(self, part: Part, at: int) -> npt.NDArray[Any]:
        count = self.count
        values: npt.NDArray[Any]
        if at < _KEYS:
            values = decode_integers(part, count, _DTYPES[at])
            return values
        if not self.record_size:
            total = self.size - count * _HEADER
            if at > _KEYS:
                return decode_bytes(part, total)
            lengths = decode_integers(part, count)
            if lengths.min() < 0 or lengths.max() > total or int(lengths.sum()) != total:
                raise StoreCorruptError(f"lengths of payloads do not add up to {total} bytes")
            return lengths
        piece = self._layout[at - _KEYS]
        if piece.is_integer:
            values = decode_integers(part, count, _SIGNED[piece.width])
            return values
        return decode_items(part, count, piece.width)

    def _from_rows(self, at: int) -> npt.NDArray[Any]:
        """A column as a view of rows, which a copy is made of only where payloads differ in size."""
        rows: Any = self._rows
        if not self.record_size:
            return self._from_mixed_rows(at)
        step, view = self.record_size, np.ndarray
        column: npt.NDArray[Any]
        if at < _KEYS:
            column = view(self.count, _DTYPES[at], rows, _OFFSETS[at], (step,))
            return column
        piece = self._layout[at - _KEYS]
        offset = _HEADER + sum(each.width for each in self._layout[: at - _KEYS])
        if piece.is_integer:
            column = view(self.count, f"<i{piece.width}", rows, offset, (step,))
        else:
            column = view((self.count, piece.width), np.uint8, rows, offset, (step, 1))
        return column

    def _from_mixed_rows(self, at: int) -> npt.NDArray[Any]:
        rows = self._rows
        assert rows is not None
        starts = GET_FORM.offsets(rows)
        if at < _KEYS:
            return np.ascontiguousarray(_headers(rows, starts)[_SORTED_BY[at]])
        lengths: npt.NDArray[np.int64] = np.diff(starts, append=len(rows)) - _HEADER
        if at == _KEYS:
            return lengths
        payloads: npt.NDArray[np.uint8] = _gathered(np.frombuffer(rows, np.uint8), starts + _HEADER, lengths)
        return payloads

    def _within_mid(self, box: KeyRange) -> tuple[int, int]:
        """Where the records whose mid is inside begin and end: they are sorted by it."""
        least, greatest = self.bounds[1:3]
        if box.min.mid <= least and greatest < box.max.mid:
            return 0, self.count
        mids: Any = self._column(0)  # may be a view of rows, which NumPy would copy to search in it
        first = bisect_left(mids, box.min.mid)
        return first, bisect_left(mids, max(box.min.mid, box.max.mid), first)

    def _mask(self, first: int, last: int, box: KeyRange) -> npt.NDArray[np.bool_] | None:
        """Which of the records between are inside, mid aside; None for all."""
        mask = None
        pairs = self.bounds[3:]
        for at, (low, high) in enumerate(list(box.intervals())[2:]):
            if low > pairs[2 * at]:
                above = self._column(1 + at)[first:last] >= low
                mask = above if mask is None else mask & above
            if high <= pairs[2 * at + 1]:
                below = self._column(1 + at)[first:last] < high
                mask = below if mask is None else mask & below
        return mask


class EncodedBlock:
    """A block as it will be stored, whose acqs are not known yet: they can be moved.

    Args:
        block: whose acqs count from 0, or are those that are stored.
        codec: what compresses it.

    Attributes:
        data: what is stored.
        bounds, count, record_size, size: see `Block`.
    """

    __slots__ = ("_acq", "_moved", "bounds", "count", "data", "record_size", "size")

    def __init__(self, block: Block, codec: Codec) -> None:
        self.bounds = block.bounds
        self.count = block.count
        self.record_size = block.record_size
        self.size = block.size
        self.data = bytearray(block.encoded(codec, as_parts=True))
        self._moved = 0
        self._acq = _START.size + len(block.layout) * _PIECE.size
        for _ in range(_KEYS - 1):
            self._acq = end_of_part(self.data, self._acq)

    def move(self, by: int) -> None:
        """Makes acqs that counted from 0 count from `by`; it may be done again."""
        further, self._moved = by - self._moved, by
        move_integers(self.data, self._acq, further)
        self.bounds = (*self.bounds[:-2], self.bounds[-2] + further, self.bounds[-1] + further)


class _Columns:
    """The columns of a block, for a chunk."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self.dtype = _payload_dtype(block.layout) if block.record_size else None

    def __len__(self) -> int:
        return self._block.count

    def rows(self) -> memoryview:
        return self._block.rows()

    def key(self, name: str) -> npt.NDArray[Any]:
        return self._block.key(name)

    def field(self, at: int) -> npt.NDArray[Any]:
        column = self._block.piece(at)
        if column.ndim == 1:
            return column
        return np.ascontiguousarray(column).view(f"V{column.shape[1]}").reshape(-1)

    def payloads(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        return self._block.payloads(), np.cumsum(self._block.lengths())


@lru_cache(maxsize=256)
def _payload_dtype(layout: Layout) -> np.dtype[Any]:
    return np.dtype(
        [(f"piece {at}", f"<i{each.width}" if each.is_integer else f"V{each.width}") for at, each in enumerate(layout)]
    )


def uses_codec(data: memoryview, codec: Codec) -> bool:
    """Whether a stored block, whose checksum was compared, has a part that is compressed by `codec`."""
    _, _, pieces = _START.unpack_from(data)
    return any(part.codec == codec for part in read_parts(data[_START.size + pieces * _PIECE.size :]))


def sorted_blocks(data: memoryview, record_size: int, layout: Layout | None = None) -> list[Block]:
    """Records of one cid in GET form, in any order, as sorted blocks.

    Args:
        data: whole records.
        record_size: bytes of each one; 0 when they differ.
        layout: the pieces of their payloads; None for one piece.
    """
    if not record_size:
        return _mixed(data, GET_FORM.offsets(data))
    if len(data) == record_size:
        _, cid, *key = _GET_HEADER.unpack_from(data)
        bounds = (cid, *(edge for value in key for edge in (value, value)))
        return [Block.of_rows(bounds, data, 1, record_size, layout or _opaque(record_size))]
    records = np.frombuffer(data, GET_FORM.dtype(record_size - _HEADER))
    order, starts = _arranged([records[name] for name in _SORTED_BY], _length(record_size))
    if order is not None:
        records = records.view(f"V{record_size}").take(order).view(records.dtype)
    rows = octets_of(records)
    edges = _bounds(int(records["cid"][0]), [records[name] for name in _SORTED_BY], starts)
    laid = layout or _opaque(record_size)
    return [
        Block.of_rows(each, rows[start * record_size : stop * record_size], stop - start, record_size, laid)
        for each, (start, stop) in zip(edges, pairwise([*starts, len(records)]), strict=True)
    ]


def merged(blocks: Iterable[Block]) -> list[Block]:
    """The records of several blocks of one cid as sorted blocks that do not overlap."""
    listed = list(blocks)
    sizes = {block.record_size for block in listed}
    if len(sizes) > 1 or not listed[0].record_size:
        return sorted_blocks(memoryview(b"".join([block.rows() for block in listed])), 0)
    record_size = sizes.pop()
    layouts = {block.layout for block in listed}
    layout = layouts.pop() if len(layouts) == 1 else max(listed, key=lambda block: len(block.layout)).layout
    if len({block.layout for block in listed}) > 1:
        listed = [block if block.layout == layout else _laid_out(block, layout) for block in listed]
    columns = [np.concatenate([block._column(at) for block in listed]) for at in range(_KEYS + len(layout))]
    order, starts = _arranged(columns[:_KEYS], _length(record_size))
    if order is not None:
        columns = [_taken(column, order) for column in columns]
    made = []
    edges = pairwise([*starts, len(columns[0])])
    for (start, stop), bounds in zip(edges, _bounds(listed[0].bounds[0], columns[:_KEYS], starts), strict=True):
        part: list[npt.NDArray[Any] | None] = [column[start:stop] for column in columns]
        count = stop - start
        made.append(Block(bounds, count, record_size, count * record_size, layout, columns=part))
    return made


def _arranged(columns: Sequence[npt.NDArray[Any]], length: int) -> tuple[npt.NDArray[np.intp] | None, list[int]]:
    """How to sort records and where to cut them into blocks of up to `length`.

    Many records of few series are cut into windows of time first, and are sorted within each: otherwise a block would hold
    all the time of a few series, and whoever wants an hour of all series would read every block.

    Args:
        columns: mid, moid, cap and acq.
        length: most records of a block.

    Returns:
        The order, or None when they are sorted; and the places in it where blocks begin.
    """
    order, count = order_of(columns), len(columns[0])
    if count < _WINDOWED * length:
        return order, list(range(0, count, length))
    mid, moid, cap = (column if order is None else column.take(order) for column in columns[:3])
    series = 1 + np.count_nonzero((mid[1:] != mid[:-1]) | (moid[1:] != moid[:-1]))
    windows = min(_WINDOWS, _SERIES * count // series // length, count // length)
    if windows < 2 or series * length * _WINDOWS <= count:
        return order, list(range(0, count, length))
    sample = np.sort(cap[:: max(1, count // _SAMPLED)])
    edges = sample[[len(sample) * at // windows for at in range(1, windows)]]
    window = np.searchsorted(edges, cap, side="right").astype(np.uint8)
    within = np.argsort(window, kind="stable")
    order = within if order is None else order.take(within)
    starts, at = [], 0
    for held in np.bincount(window, minlength=windows).tolist():
        blocks = -(-held // length)
        starts += [at + held * block // blocks for block in range(blocks)]
        at += held
    return order, starts


def _taken(column: npt.NDArray[Any], order: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    if column.ndim == 1:
        return column.take(order)
    width = column.shape[1]  # items are moved as a whole
    return np.ascontiguousarray(column).view(f"V{width}").reshape(-1).take(order).view(np.uint8).reshape(-1, width)


def _laid_out(block: Block, layout: Layout) -> Block:
    return Block.of_rows(block.bounds, block.rows(), block.count, block.record_size, layout)


def _opaque(record_size: int) -> Layout:
    return (Piece(record_size - _HEADER),) if record_size > _HEADER else ()


def _length(record_size: int) -> int:
    """How many records of one size a block takes."""
    return max(1, min(BLOCK_RECORDS, BLOCK_BYTES // record_size))


def _mixed(data: memoryview, starts: npt.NDArray[np.int64]) -> list[Block]:
    keys = _headers(data, starts)
    ends = np.append(starts[1:], len(data))
    order = order_of([keys[name] for name in _SORTED_BY])
    if order is not None:
        keys, starts, ends = np.take(keys, order), starts[order], ends[order]
    sizes = ends - starts
    rows = _view(_gathered(np.frombuffer(data, np.uint8), starts, sizes)) if order is not None else data
    at = np.append(0, np.cumsum(sizes)).tolist()
    cuts = list(_cuts(sizes))
    made = []
    bounds = _bounds(int(keys["cid"][0]), [keys[name] for name in _SORTED_BY], [first for first, _ in cuts])
    for (first, last), each in zip(cuts, bounds, strict=True):
        same = bool((sizes[first:last] == sizes[first]).all())
        size = int(sizes[first]) if same else 0
        layout = _opaque(size) if same else ()
        made.append(Block.of_rows(each, rows[at[first] : at[last]], last - first, size, layout))
    return made


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


def _bounds(cid: int, columns: Sequence[npt.NDArray[Any]], starts: Sequence[int]) -> list[Bounds]:
    """What sorted keys lie between from each of the starts to the next."""
    mids = columns[0]
    ends: list[list[int]] = [mids[starts].tolist(), mids[[*(start - 1 for start in starts[1:]), -1]].tolist()]
    for column in columns[1:]:
        values = np.ascontiguousarray(column)
        ends += [np.minimum.reduceat(values, starts).tolist(), np.maximum.reduceat(values, starts).tolist()]
    return [(cid, *each) for each in zip(*ends, strict=True)]


def _assembled(block: Block, columns: Sequence[npt.NDArray[Any]]) -> memoryview:
    """Columns as rows in GET form."""
    if not block.record_size:
        return _assembled_mixed(block, columns)
    rows = np.empty(block.count, _row_dtype(block.layout))
    rows["n"] = block.record_size - 4
    rows["cid"] = block.bounds[0]
    for name, column in zip(_SORTED_BY, columns[:_KEYS], strict=True):
        rows[name] = column
    for at, (piece, column) in enumerate(zip(block.layout, columns[_KEYS:], strict=True)):
        if piece.is_integer:
            rows[f"piece{at}"] = column
        else:
            kind = rows.dtype[f"piece{at}"]
            whole = column[:1] if column.strides[0] == 0 else column
            rows[f"piece{at}"] = np.ascontiguousarray(whole).view(kind).reshape(-1)
    return octets_of(rows)


@lru_cache(maxsize=256)
def _row_dtype(layout: Layout) -> np.dtype[Any]:
    fields = [(name, GET_FORM.header[name]) for name in GET_FORM.header.names or ()]
    for at, (width, is_integer) in enumerate(layout):
        plain = "i" if is_integer else "u" if width in (1, 2, 4, 8) else "V"
        fields.append((f"piece{at}", np.dtype(f"<{plain}{width}" if plain != "V" else f"V{width}")))
    return np.dtype(fields)


def _assembled_mixed(block: Block, columns: Sequence[npt.NDArray[Any]]) -> memoryview:
    *keys, lengths, payloads = columns
    headers = np.empty(block.count, GET_FORM.header)
    headers["n"] = lengths + (_HEADER - 4)
    headers["cid"] = block.bounds[0]
    for name, column in zip(_SORTED_BY, keys, strict=True):
        headers[name] = column
    if block.size > block.count * _LONG:
        written, data, at = octets_of(headers), _view(payloads), 0
        pieces: list[memoryview] = []
        for number, length in enumerate(lengths.tolist()):
            pieces += (written[number * _HEADER : (number + 1) * _HEADER], data[at : at + length])
            at += length
        return memoryview(b"".join(pieces))
    sizes = lengths + _HEADER
    places = (np.cumsum(sizes) - sizes)[:, None] + np.arange(_HEADER)
    rows, is_payload = np.empty(block.size, np.uint8), np.ones(block.size, np.bool_)
    rows[places] = headers.view(np.uint8).reshape(-1, _HEADER)
    is_payload[places] = False
    rows[is_payload] = payloads
    return _view(rows)


def _gathered(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Any:
    """Slices of `data`, one after another, as an array of bytes."""
    total = int(sizes.sum())
    if total > len(sizes) * _LONG:
        view = _view(data)
        pairs = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        return np.frombuffer(b"".join([view[a:b] for a, b in pairs]), np.uint8)
    shift = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return data[shift + np.arange(total)]


def _view(data: Any) -> memoryview:
    """The bytes of an array, not copied. Arrays are buffers, and do not say so before Python 3.12."""
    return memoryview(data)


def _as_bytes(column: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if column.ndim == 2:
        return column
    return np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)


def _check_rows(rows: memoryview, count: int, record_size: int) -> None:
    """Makes sure that stored rows are whole records: their readers rely on it."""
    found = GET_FORM.whole_records(rows)
    different = found.record_size != record_size if record_size else False
    if found.end != len(rows) or found.count != count or different:
        raise StoreCorruptError(f"a block does not consist of {count} whole records")


def _headers(data: memoryview, starts: npt.NDArray[np.int64]) -> Keys:
    octets = np.frombuffer(data, np.uint8)
    key = octets[starts[:, None] + np.arange(4, 4 + KEY_DTYPE.itemsize)]
    keys: Keys = key.view(KEY_DTYPE).reshape(-1)
    return keys


def _layout_bytes(layout: Layout) -> bytes:
    return b"".join([_PIECE.pack(piece.width | (_INTEGER if piece.is_integer else 0)) for piece in layout])


@lru_cache(maxsize=256)
def _layout_from(data: bytes) -> Layout:
    pieces = [Piece(word & ~_INTEGER, bool(word & _INTEGER)) for (word,) in _PIECE.iter_unpack(data)]
    for piece in pieces:
        if piece.width not in (2, 4, 8) if piece.is_integer else not piece.width:
            raise StoreCorruptError(f"a payload has a piece of {piece.width} bytes")
    return tuple(pieces)
