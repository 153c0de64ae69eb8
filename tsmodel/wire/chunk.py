"""`Chunk`: whole records between a socket or file and objects, columns, or another socket.

Rules kept here:

* A chunk is immutable. Its maker knows the number and sizes of its records; nobody computes them again.
* It stores either rows or columns, and provides both. Columns are decoded, and rows assembled, only on request.
* Rows are in GET form: `int32 n | key (32 bytes) | payload`, little-endian, one record after another.
* A chunk that is not `lasting` lies in a buffer that will be reused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.keys import KEY_DTYPE, KEY_FIELDS, Key, unpack_key
from tsmodel.wire.records import GET_FORM, bytes_of

__all__ = [
    "Batch",
    "Chunk",
    "ColumnChunk",
    "ColumnRecords",
    "Columns",
    "RowChunk",
    "gathered",
    "joined",
    "keys_of",
    "parsed",
]

Array: TypeAlias = npt.NDArray[Any]
Places: TypeAlias = npt.NDArray[np.int64]
Picked: TypeAlias = "slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]"
"""A selection of records: a slice with a step of 1, a mask of shape (n,), or positions in any order."""

_HEADER: Final = GET_FORM.header.itemsize
_KEYS: Final[dict[str, Any]] = dict(GET_FORM.header.fields or {})
_SLICE: Final = 4096
"""Records whose rows are assembled together."""
_LONG: Final = 256
"""Average payload size from which moving payloads one by one is faster than with a mask over all bytes."""


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Records of one cid in PUT or PUTA form: a part of a put.

    Attributes:
        cid: client id of all records, 0 to 2**31 - 2.
        records: whole records, without gaps.
        count: number of records.
        record_size: bytes of each record, including its size field; 0 if they differ.
        offsets: start of each record, shape (count,), if sizes differ and the starts are known.
        payload: dtype of every payload, if known; a store then keeps each field as a column.
    """

    cid: int
    records: memoryview
    count: int
    record_size: int = 0
    offsets: Places | None = None
    payload: np.dtype[Any] | None = None


class Chunk:
    """Whole records; `RowChunk` or `ColumnChunk`.

    Attributes:
        record_size: bytes of each record as a row, including its size field; 0 if they differ or there are none.
        lasting: whether the chunk stays valid when the next chunk of its scan is requested.
    """

    __slots__ = ("_count", "lasting", "record_size")

    record_size: int
    lasting: bool
    _count: int

    def __len__(self) -> int:
        """Number of records."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all records as rows."""
        return self._count * self.record_size if self.record_size else len(self.rows())

    def rows(self) -> memoryview:
        """The records in GET form. A chunk of columns assembles them once."""
        raise NotImplementedError

    def offsets(self) -> Places:
        """Start of each record in `rows()`, shape (n,)."""
        raise NotImplementedError

    def sizes(self) -> Places:
        """Bytes of each record as a row, shape (n,)."""
        if self.record_size:
            return np.full(self._count, self.record_size, np.int64)
        return np.diff(self.offsets(), append=self.nbytes)

    def ends(self) -> Places:
        """End of each record in `rows()`, shape (n,)."""
        return self.offsets() + self.sizes()

    def key(self, name: str) -> Array:
        """A key component as a column, shape (n,)."""
        raise NotImplementedError

    def keys(self) -> Any:
        """The n keys, indexed by the name of a component, a slice or a mask. `np.asarray` converts them to a structured
        array, shape (n,), dtype KEY_DTYPE."""
        raise NotImplementedError

    def column(self, offset: int, dtype: np.dtype[Any]) -> Array:
        """The values at an offset in each payload, shape (n, ...). Every payload must be long enough."""
        raise NotImplementedError

    def records(self, dtype: np.dtype[Any]) -> Any:
        """The records as a dtype, indexed by a field's name, a slice or a mask: a structured array that is a view of rows,
        or `ColumnRecords`.

        Args:
            dtype: dtype of a whole record, including size field and key; its size is `record_size`.
        """
        raise NotImplementedError

    def take(self, picked: Picked) -> Chunk:
        """A selection of the records. A slice of rows is a view; other selections copy. Columns are selected lazily."""
        raise NotImplementedError

    def kept(self) -> Chunk:
        """The same records, in a chunk that stays valid and keeps little more memory alive than they need."""
        raise NotImplementedError

    def pairs(self) -> Iterator[tuple[Key, bytes]]:
        """Yields the key and payload of each record."""
        rows, edges = self.rows(), [*self.offsets().tolist(), self.nbytes]
        for start, end in pairwise(edges):
            yield unpack_key(rows, start + 4), bytes(rows[start + _HEADER : end])


class RowChunk(Chunk):
    """Records as rows.

    Args:
        rows: whole records in GET form, without gaps.
        count: number of records.
        record_size: bytes of each record; 0 if they differ or there are none.
        offsets: start of each record, shape (count,); required if sizes differ.
        lasting: whether `rows` is never overwritten.
    """

    __slots__ = ("_keys", "_offsets", "_rows")

    def __init__(
        self, rows: memoryview, count: int, record_size: int, offsets: Places | None = None, *, lasting: bool = False
    ) -> None:
        self._rows = rows
        self._count = count
        self.record_size = record_size
        self._offsets = offsets
        self.lasting = lasting
        self._keys: Array | None = None

    @classmethod
    def of(cls, records: Sequence[bytes | memoryview]) -> RowChunk:
        """A chunk of single records in GET form."""
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        same = _same(sizes)
        offsets = None if same else np.cumsum(sizes) - sizes
        return cls(memoryview(b"".join(records)), len(records), same, offsets, lasting=True)

    @property
    def nbytes(self) -> int:
        """See `Chunk.nbytes`."""
        return len(self._rows)

    def rows(self) -> memoryview:
        """See `Chunk.rows`."""
        return self._rows

    def offsets(self) -> Places:
        """See `Chunk.offsets`."""
        if self._offsets is None:
            self._offsets = np.arange(self._count, dtype=np.int64) * self.record_size
        return self._offsets

    def key(self, name: str) -> Array:
        """See `Chunk.key`."""
        if not self.record_size:
            column: Array = self.keys()[name]
            return column
        kind, offset, *_ = _KEYS[name]
        strided: Array = np.ndarray(self._count, kind, self._rows, offset, (self.record_size,))
        return strided

    def keys(self) -> Array:
        """See `Chunk.keys`."""
        if self._keys is None:
            if self.record_size:
                self._keys = np.ndarray(self._count, KEY_DTYPE, self._rows, 4, (self.record_size,))
            elif not self._count:
                self._keys = np.empty(0, KEY_DTYPE)
            else:
                headers: Any = GET_FORM.headers(self._rows, self.offsets())
                self._keys = np.ndarray(self._count, KEY_DTYPE, headers, 4, (_HEADER,))
        return self._keys

    def column(self, offset: int, dtype: np.dtype[Any]) -> Array:
        """See `Chunk.column`."""
        if not self._count:
            return np.empty((0, *dtype.shape), dtype.base)
        if self.record_size:
            placed = _placed(_HEADER + offset, dtype, self.record_size)
            return np.frombuffer(self._rows, placed)["column"]
        return gathered(self._rows, self.offsets() + (_HEADER + offset), dtype)

    def records(self, dtype: np.dtype[Any]) -> Array:
        """See `Chunk.records`."""
        return np.frombuffer(self._rows, dtype) if self._count else np.empty(0, dtype)

    def take(self, picked: Picked) -> RowChunk:
        """See `Chunk.take`."""
        if isinstance(picked, slice):
            return self._part(*picked.indices(self._count))
        if picked.dtype == np.bool_:
            if picked.all():
                return self
            picked = np.flatnonzero(picked)
        if self.record_size:
            taken = np.frombuffer(self._rows, _opaque(self.record_size)).take(picked)
            return RowChunk(bytes_of(taken), len(taken), self.record_size if len(taken) else 0, lasting=True)
        starts, sizes = self.offsets()[picked], self.sizes()[picked]
        if same := _same(sizes):
            return RowChunk(bytes_of(gathered(self._rows, starts, _opaque(same))), len(sizes), same, lasting=True)
        return RowChunk.of(list(map(self._rows.__getitem__, map(slice, starts.tolist(), (starts + sizes).tolist()))))

    def kept(self) -> RowChunk:
        """See `Chunk.kept`."""
        held: Any = self._rows.obj
        if self.lasting and isinstance(held, bytes) and len(held) == len(self._rows):
            return self
        return RowChunk(memoryview(bytes(self._rows)), self._count, self.record_size, self._offsets, lasting=True)

    def moved(self, rows: memoryview) -> RowChunk:
        """The same records at the place they were copied to, in memory that will be reused."""
        return RowChunk(rows, self._count, self.record_size, self._offsets)

    def _part(self, start: int, stop: int, _step: int) -> RowChunk:
        count = max(stop - start, 0)
        if count == self._count:
            return self
        if not count:
            return RowChunk(memoryview(b""), 0, 0, lasting=True)
        if size := self.record_size:
            return RowChunk(self._rows[start * size : stop * size], count, size, lasting=self.lasting)
        starts = self.offsets()
        first, end = int(starts[start]), len(self._rows) if stop == self._count else int(starts[stop])
        starts = starts[start:stop] - first
        same = _same(np.diff(starts, append=end - first))
        return RowChunk(self._rows[first:end], count, same, None if same else starts, lasting=self.lasting)


class Columns(Protocol):
    """The source of the columns of a `ColumnChunk`. Each column is requested at most once.

    Attributes:
        dtype: dtype of a payload: a structured one whose fields are columns, or `V<size>`, which is one opaque column; None
            if payloads differ in size. Bytes between its fields are 0.
    """

    dtype: np.dtype[Any] | None

    def __len__(self) -> int:
        """Number of records."""
        ...

    def key(self, name: str) -> Array:
        """A key component as a column, shape (n,)."""
        ...

    def field(self, at: int) -> Array:
        """The field of `dtype` with this index, shape (n, ...), in any byte order; the payloads if it is `V<size>`."""
        ...

    def payloads(self) -> tuple[npt.NDArray[np.uint8], Places]:
        """All payloads, one after another, and the end of each, shape (n,). Called only if they differ in size."""
        ...


class ColumnChunk(Chunk):
    """Records as columns. Each column is decoded once, on request.

    Args:
        columns: decodes the columns. The arrays it returns must not change.
        held: bytes of memory that `columns` keeps alive; None if about what the records need.
    """

    __slots__ = ("_assembled", "_columns", "_decoded", "_held", "_offsets")

    def __init__(self, columns: Columns, held: int | None = None) -> None:
        self._columns = columns
        self._count = len(columns)
        self.record_size = _HEADER + columns.dtype.itemsize if columns.dtype is not None and self._count else 0
        self.lasting = True
        self._decoded: dict[str | int, Array] = {}
        self._assembled: memoryview | None = None
        self._offsets: Places | None = None
        self._held = held

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """See `Columns.dtype`."""
        return self._columns.dtype

    @property
    def held(self) -> int:
        """Bytes of memory that the chunk keeps alive."""
        return self.nbytes if self._held is None else self._held

    @property
    def nbytes(self) -> int:
        """See `Chunk.nbytes`."""
        if self.record_size or not self._count:
            return self._count * self.record_size
        return self._count * _HEADER + int(self.payloads()[1][-1])

    def rows(self) -> memoryview:
        """See `Chunk.rows`."""
        if self._assembled is None:
            self._assembled = bytes_of(self._whole()) if self.record_size else self._mixed()
        return self._assembled

    def offsets(self) -> Places:
        """See `Chunk.offsets`."""
        if self._offsets is None:
            if self.record_size or not self._count:
                self._offsets = np.arange(self._count, dtype=np.int64) * self.record_size
            else:
                ends = self.payloads()[1]
                self._offsets = np.arange(self._count, dtype=np.int64) * _HEADER
                self._offsets[1:] += ends[:-1]
        return self._offsets

    def key(self, name: str) -> Array:
        """See `Chunk.key`."""
        return self._once(name, self._columns.key, name)

    def keys(self) -> ColumnRecords:
        """See `Chunk.keys`."""
        return ColumnRecords(self, KEY_DTYPE)

    def field(self, at: int) -> Array:
        """See `Columns.field`."""
        return self._once(at, self._decoded_field, at)

    def payloads(self) -> tuple[npt.NDArray[np.uint8], Places]:
        """See `Columns.payloads`."""
        if "payloads" not in self._decoded:
            self._decoded["payloads"], self._decoded["ends"] = self._columns.payloads()
        return self._decoded["payloads"], self._decoded["ends"]

    def column(self, offset: int, dtype: np.dtype[Any]) -> Array:
        """See `Chunk.column`. If no field has this offset and size, the column is cut out of the payloads."""
        if not self._count:
            return np.empty((0, *dtype.shape), dtype.base)
        if self.dtype is None:
            payloads, ends = self.payloads()
            starts = np.concatenate([[0], ends[:-1]])
            return gathered(payloads.data, starts + offset, dtype)
        found = _lookup(self.dtype, offset, dtype.itemsize)
        if found is None:
            return self._packed(offset, dtype)
        at, size, within = found
        column = self.field(at)
        if size == dtype.itemsize and column.dtype == dtype.base and column.shape[1:] == dtype.shape:
            return column
        cut: Array = np.frombuffer(bytes_of(column), _placed(within, dtype, size))["column"]
        return cut

    def records(self, dtype: np.dtype[Any]) -> ColumnRecords:
        """See `Chunk.records`."""
        return ColumnRecords(self, dtype)

    def take(self, picked: Picked) -> ColumnChunk:
        """See `Chunk.take`."""
        if isinstance(picked, slice):
            if picked.indices(self._count)[:2] == (0, self._count):
                return self
        elif picked.dtype == np.bool_:
            if picked.all():
                return self
            picked = np.flatnonzero(picked)
        return ColumnChunk(_Taken(self, picked), self.held)

    def kept(self) -> ColumnChunk:
        """See `Chunk.kept`."""
        return self if self.held <= 2 * self.nbytes else ColumnChunk(_Copied(self))

    def _decoded_field(self, at: int) -> Array:
        assert self.dtype is not None
        column = self._columns.field(at)
        kind = _fields(self.dtype)[at][1][0].base
        return column if column.dtype == kind else column.astype(kind)

    def _once(self, name: str | int, decode: Callable[..., Array], asked: object) -> Array:
        found = self._decoded.get(name)
        if found is None:
            found = self._decoded[name] = decode(asked)
        return found

    def _whole(self) -> Array:
        """The records as a structured array, shape (n,), with payload fields `field 0` and so on."""
        assert self.dtype is not None
        dtype = _whole(self.dtype)
        whole: Array = np.zeros(self._count, dtype)
        whole["n"] = dtype.itemsize - 4
        columns = {name: self.key(name) for name in KEY_FIELDS}
        columns |= {f"field {at}": self.field(at) for at in range(len(dtype.names or ()) - 1 - len(KEY_FIELDS))}
        for start in range(0, self._count, _SLICE):  # which stays in the processor's cache
            some = slice(start, start + _SLICE)
            for name, column in columns.items():
                whole[name][some] = column[some]
        return whole

    def _mixed(self) -> memoryview:
        if not self._count:
            return memoryview(b"")
        payloads, ends = self.payloads()
        headers = np.empty(self._count, GET_FORM.header)
        headers["n"] = np.diff(ends, prepend=0) + GET_FORM.least
        for name in KEY_FIELDS:
            headers[name] = self.key(name)
        if len(payloads) > self._count * _LONG:
            written, edges = bytes_of(headers), [0, *ends.tolist()]
            pieces: list[memoryview] = []
            for at, (start, end) in enumerate(pairwise(edges)):
                pieces += (written[at * _HEADER : (at + 1) * _HEADER], payloads.data[start:end])
            return memoryview(b"".join(pieces))
        rows = np.empty(self.nbytes, np.uint8)
        starts = self.offsets()
        is_payload = np.ones(len(rows), np.bool_)
        places = (starts[:, None] + np.arange(_HEADER)).reshape(-1)
        is_payload[places] = False
        rows[places] = np.frombuffer(bytes_of(headers), np.uint8)
        rows[is_payload] = payloads
        return bytes_of(rows)

    def _packed(self, offset: int, dtype: np.dtype[Any]) -> Array:
        """A column that spans several fields, cut out of the payloads. Decodes only the fields it needs."""
        assert self.dtype is not None
        whole: Array = np.zeros(self._count, self.dtype)
        for at, (name, (kind, start, *_)) in enumerate(_fields(self.dtype)):
            if start < offset + dtype.itemsize and offset < start + kind.itemsize:
                whole[name] = self.field(at)
        return np.frombuffer(bytes_of(whole), _placed(offset, dtype, self.dtype.itemsize))["column"]


class ColumnRecords:
    """The records of a `ColumnChunk` as a dtype, indexed by a field's name, a slice or a mask like a structured array.
    Columns are decoded on request. `np.asarray` converts them to a structured array.

    Attributes:
        chunk: the records.
        dtype: dtype of a whole record, or of its key.
    """

    __slots__ = ("chunk", "dtype")

    def __init__(self, chunk: ColumnChunk, dtype: np.dtype[Any]) -> None:
        self.chunk = chunk
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.chunk)

    def __getitem__(self, asked: Any) -> Any:
        """A column, shape (n, ...), or a selection of the records."""
        if not isinstance(asked, str):
            return ColumnRecords(self.chunk.take(asked), self.dtype)
        if asked in KEY_FIELDS:
            return self.chunk.key(asked)
        assert self.dtype.fields is not None
        kind, offset, *_ = self.dtype.fields[asked]
        if offset < _HEADER:
            return np.full(len(self), self.dtype.itemsize - 4, kind)
        return self.chunk.column(offset - _HEADER, kind)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.dtype is KEY_DTYPE:
            records = keys_of(self)
        else:
            records = np.frombuffer(self.chunk.rows(), self.dtype) if len(self) else np.empty(0, self.dtype)
        return np.array(records, dtype, copy=True) if copy else np.asarray(records, dtype)


class _Taken:
    """A selection of a chunk's records."""

    def __init__(self, chunk: ColumnChunk, picked: Any) -> None:
        self._chunk = chunk
        self._picked = picked
        self.dtype = chunk.dtype
        self._count = len(range(len(chunk))[picked]) if isinstance(picked, slice) else len(picked)

    def __len__(self) -> int:
        return self._count

    def key(self, name: str) -> Array:
        return self._chunk.key(name)[self._picked]  # type: ignore[no-any-return]

    def field(self, at: int) -> Array:
        return self._chunk.field(at)[self._picked]  # type: ignore[no-any-return]

    def payloads(self) -> tuple[npt.NDArray[np.uint8], Places]:
        payloads, ends = self._chunk.payloads()
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[self._picked]
        ends = ends[self._picked]
        pieces = map(payloads.data.__getitem__, map(slice, starts.tolist(), ends.tolist()))
        return np.frombuffer(b"".join(pieces), np.uint8), np.cumsum(ends - starts)


class _Joined:
    """The records of several chunks with the same payload dtype."""

    def __init__(self, chunks: Sequence[ColumnChunk]) -> None:
        self._chunks = chunks
        self.dtype = chunks[0].dtype
        self._count = sum(map(len, chunks))

    def __len__(self) -> int:
        return self._count

    def key(self, name: str) -> Array:
        return np.concatenate([chunk.key(name) for chunk in self._chunks])

    def field(self, at: int) -> Array:
        parts = [chunk.field(at) for chunk in self._chunks]
        return np.concatenate(parts, dtype=parts[0].dtype)  # NumPy would give the machine's byte order

    def payloads(self) -> tuple[npt.NDArray[np.uint8], Places]:
        parts = [chunk.payloads() for chunk in self._chunks]
        befores = np.cumsum([0, *(len(payloads) for payloads, _ in parts)]).tolist()
        ends = [ends + before for (_, ends), before in zip(parts, befores, strict=False)]
        return np.concatenate([payloads for payloads, _ in parts]), np.concatenate(ends)


class _Copied:
    """All columns of a chunk, decoded, without the source they were selected from."""

    def __init__(self, chunk: ColumnChunk) -> None:
        self.dtype = chunk.dtype
        self._count = len(chunk)
        self._keys = {name: np.array(chunk.key(name)) for name in KEY_FIELDS}
        self._payloads = chunk.payloads() if self.dtype is None else None
        self._fields = [] if self.dtype is None else [np.array(chunk.field(at)) for at in range(len(_fields(self.dtype)))]

    def __len__(self) -> int:
        return self._count

    def key(self, name: str) -> Array:
        return self._keys[name]

    def field(self, at: int) -> Array:
        return self._fields[at]

    def payloads(self) -> tuple[npt.NDArray[np.uint8], Places]:
        assert self._payloads is not None
        return self._payloads


def parsed(rows: memoryview, *, lasting: bool = True) -> RowChunk:
    """Finds the records in rows.

    Raises:
        RemoteProtocolError: if the rows are not whole records in GET form, with the offset of the first fault.
    """
    found = GET_FORM.whole_records(rows)
    if found.end != len(rows):
        raise GET_FORM.fault(rows, found.end)
    return RowChunk(rows, found.count, found.record_size, found.offsets, lasting=lasting)


def joined(chunks: Sequence[Chunk], rows: memoryview | None = None) -> Chunk:
    """Concatenates chunks. Columns stay columns if all payloads have the same dtype.

    Args:
        chunks: at least one chunk.
        rows: the rows of all chunks, if they lie one after another already; this memory may be reused.
    """
    if len(chunks) == 1:
        return chunks[0]
    columns = [chunk for chunk in chunks if isinstance(chunk, ColumnChunk)]
    if len(columns) == len(chunks) and all(chunk.dtype == columns[0].dtype for chunk in columns):
        return ColumnChunk(_Joined(columns), sum(chunk.held for chunk in columns))
    lasting = rows is None
    if rows is None:
        rows = memoryview(b"".join([chunk.rows() for chunk in chunks]))
    count = sum(map(len, chunks))
    sizes = {chunk.record_size for chunk in chunks if len(chunk)}
    if len(sizes) == 1 and (same := sizes.pop()):
        return RowChunk(rows, count, same, lasting=lasting)
    befores = np.cumsum([0, *(chunk.nbytes for chunk in chunks)]).tolist()
    offsets = [chunk.offsets() + before for chunk, before in zip(chunks, befores, strict=False)]
    return RowChunk(rows, count, 0, np.concatenate(offsets), lasting=lasting)


def keys_of(records: Any) -> Array:
    """The keys of records that can be indexed by the name of a key component; structured array, shape (n,), KEY_DTYPE."""
    keys: Array = np.empty(len(records), KEY_DTYPE)
    for name in KEY_FIELDS:
        keys[name] = records[name]
    return keys


def gathered(data: memoryview | bytes, at: Places, dtype: np.dtype[Any]) -> Array:
    """The values at arbitrary offsets of some bytes, shape (n,) plus the shape of the dtype."""
    if not len(at):
        return np.empty((0, *dtype.shape), dtype.base)
    everywhere: Array = np.ndarray(len(data) - dtype.itemsize + 1, _opaque(dtype.itemsize), data, 0, (1,))
    found = everywhere[at]
    if dtype.kind == "V" and dtype.names is None and dtype.subdtype is None:
        return found
    return found.view(dtype.base).reshape(len(at), *dtype.shape) if dtype.shape else found.view(dtype)


def _same(sizes: Places) -> int:
    """The common size; 0 if sizes differ or there are none."""
    return int(sizes[0]) if len(sizes) and (sizes == sizes[0]).all() else 0


@lru_cache(maxsize=256)
def _opaque(size: int) -> np.dtype[Any]:
    return np.dtype((np.void, size))


@lru_cache(maxsize=1024)
def _placed(offset: int, dtype: np.dtype[Any], itemsize: int) -> np.dtype[Any]:
    return np.dtype({"names": ["column"], "formats": [dtype], "offsets": [offset], "itemsize": itemsize})


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, Any]]:
    """Name, and dtype and offset, of each field of a payload dtype."""
    if dtype.fields is None:
        return [("", (dtype, 0))] if dtype.itemsize else []
    return [(name, dtype.fields[name]) for name in dtype.names or ()]


@lru_cache(maxsize=1024)
def _lookup(payload: np.dtype[Any], offset: int, size: int) -> tuple[int, int, int] | None:
    """The field that contains `size` bytes at an offset: its index, its size, and the offset within it."""
    for at, (_, (kind, start, *_)) in enumerate(_fields(payload)):
        if start <= offset and offset + size <= start + kind.itemsize:
            return at, kind.itemsize, offset - start
    return None


@lru_cache(maxsize=256)
def _whole(payload: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a whole record in GET form: `n`, the key, `field 0` and so on."""
    fields = _fields(payload)
    places = [_HEADER + start for _, (_, start, *_) in fields]
    return np.dtype(
        {
            "names": [*_KEYS, *(f"field {at}" for at in range(len(fields)))],
            "formats": [*(kind for kind, *_ in _KEYS.values()), *(kind for _, (kind, *_) in fields)],
            "offsets": [*(start for _, start, *_ in _KEYS.values()), *places],
            "itemsize": _HEADER + payload.itemsize,
        }
    )
