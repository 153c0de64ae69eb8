"""The three forms in which records travel, and finding whole records in bytes.

Rules kept here:

* A record is `int32 n | key fields of its form | payload`; n does not count itself. Little-endian, no padding.
* Size fields are never trusted: one outside the bounds of its form ends the walk, and none causes an allocation.
* Runs of records of one size are walked by NumPy over a strided view of their size fields; others cost a Python step each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import RemoteProtocolError
from tsmodel.keys import LIMITS

__all__ = ["GET_FORM", "MAX_PAYLOAD", "PUTA_FORM", "PUT_FORM", "RecordForm", "WholeRecords", "bytes_of", "consecutive"]

MAX_PAYLOAD: Final = 32 * 2**20
"""Most bytes a payload may have."""

_SIZE = struct.Struct("<i")
_FIRST_WINDOW = 512
_ALIKE = 8
"""Consecutive records of one size from which a search for a longer run pays off."""
_STEPS = 1024
"""Records to walk one by one before searching for runs again."""


class WholeRecords(msgspec.Struct, frozen=True, eq=False):
    """Whole records found at the front of a buffer.

    Attributes:
        end: offset just after the last whole record.
        count: number of records.
        record_size: bytes of each record, including the size field; 0 if they differ or there are none.
        offsets: start of each record, shape (count,); None if they have one size, or it is unknown.
    """

    end: int
    count: int
    record_size: int
    offsets: npt.NDArray[np.int64] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WholeRecords):
            return NotImplemented
        return (self.end, self.count, self.record_size) == (other.end, other.count, other.record_size)

    def __hash__(self) -> int:
        return hash((self.end, self.count, self.record_size))


def consecutive(parts: Sequence[WholeRecords]) -> WholeRecords:
    """Joins walks that each began where the one before ended."""
    if len(parts) == 1:
        return parts[0]
    end, count = sum(part.end for part in parts), sum(part.count for part in parts)
    sizes = {part.record_size for part in parts if part.count}
    if len(sizes) == 1 and (size := sizes.pop()):
        return WholeRecords(end, count, size)
    offsets: list[npt.NDArray[np.int64]] = []
    start = 0
    for part in parts:
        own = part.offsets
        if own is None:
            own = np.arange(part.count, dtype=np.int64) * part.record_size
        offsets.append(own + start)
        start += part.end
    return WholeRecords(end, count, 0, np.concatenate(offsets) if offsets else np.empty(0, np.int64))


class RecordForm:
    """One of the forms in which a record travels.

    Attributes:
        name: the request it belongs to.
        key_fields: the key components it carries, in order.
        header: NumPy dtype of what precedes the payload: `n`, then the key fields.
        least: value of n for an empty payload.
        most: greatest valid value of n.
    """

    def __init__(self, name: str, key_fields: tuple[str, ...]) -> None:
        self.name: Final = name
        self.key_fields: Final = key_fields
        self.header: Final[np.dtype[Any]] = np.dtype([("n", "<i4"), *((each, LIMITS[each].dtype) for each in key_fields)])
        self.least: Final = self.header.itemsize - _SIZE.size
        self.most: Final = self.least + MAX_PAYLOAD

    def whole_records(self, buffer: memoryview | bytes | bytearray) -> WholeRecords:
        """The whole records at the front of `buffer`; the walk ends at a partial one or at a size out of bounds."""
        pieces: list[range | npt.NDArray[np.int64]] = []
        sizes: set[int] = set()
        at, last = 0, len(buffer) - _SIZE.size
        while at <= last:
            (n,) = _SIZE.unpack_from(buffer, at)
            size = _SIZE.size + n
            if not self.least <= n <= self.most or at + size > len(buffer):
                break
            run = _count_equal(buffer, at, n, min(_ALIKE, (len(buffer) - at) // size))
            if run == _ALIKE:
                run = _count_equal(buffer, at, n, (len(buffer) - at) // size)
                pieces.append(range(at, at + run * size, size))
                sizes.add(size)
                at += run * size
                continue
            starts, at = self._one_by_one(buffer, at, sizes)
            pieces.append(starts)
        if len(sizes) == 1:
            return WholeRecords(at, sum(map(len, pieces)), sizes.pop())
        offsets = [np.arange(p.start, p.stop, p.step) if isinstance(p, range) else p for p in pieces]
        return WholeRecords(at, sum(map(len, pieces)), 0, np.concatenate(offsets) if offsets else np.empty(0, np.int64))

    def offsets(self, buffer: memoryview | bytes | bytearray) -> npt.NDArray[np.int64]:
        """The start of each record of `buffer`, shape (count,).

        Raises:
            RemoteProtocolError: if `buffer` does not consist of whole records, with the offset of the first fault.
        """
        found = self.whole_records(buffer)
        if found.end != len(buffer):
            raise self.fault(buffer, found.end)
        if found.offsets is not None:
            return found.offsets
        return np.arange(found.count, dtype=np.int64) * found.record_size

    def headers(self, buffer: memoryview | bytes, starts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Sizes and keys of the records at these offsets (shape (n,)): a structured array of dtype `header`, shape (n,)."""
        places = starts[:, None] + np.arange(self.header.itemsize)
        headers: npt.NDArray[Any] = np.frombuffer(buffer, np.uint8)[places].view(self.header).reshape(-1)
        return headers

    def fault(self, buffer: memoryview | bytes | bytearray, offset: int) -> RemoteProtocolError:
        """The error for `buffer` at `offset`, where the walk over its records ended."""
        rest = len(buffer) - offset
        if rest < _SIZE.size:
            return RemoteProtocolError(f"{self.name} records end inside a size field, at byte {offset}", offset=offset)
        (n,) = _SIZE.unpack_from(buffer, offset)
        if self.least <= n <= self.most:
            return RemoteProtocolError(
                f"{self.name} record at byte {offset} says {n} bytes, but only {rest - _SIZE.size} follow",
                offset=offset,
            )
        return RemoteProtocolError(
            f"{self.name} record at byte {offset} says {n} bytes; valid are {self.least} to {self.most}", offset=offset
        )

    def dtype(self, payload: npt.DTypeLike | int) -> np.dtype[Any]:
        """Structured dtype of a whole record with the given payload: its dtype, or its size in bytes.

        Fields: `n`, the key fields, `payload` (absent when it has no bytes).
        """
        if isinstance(payload, int):
            return _sized(self, payload)
        kind = np.dtype(payload)
        fields = [(name, self.header[name]) for name in self.header.names or ()]
        return np.dtype([*fields, ("payload", kind)] if kind.itemsize else fields)

    def _one_by_one(
        self, buffer: memoryview | bytes | bytearray, at: int, sizes: set[int]
    ) -> tuple[npt.NDArray[np.int64], int]:
        """Offsets of some whole records from `at` on, and where the last of them ends; notes their sizes."""
        unpack, least, most, end = _SIZE.unpack_from, self.least, self.most, len(buffer)
        last = end - _SIZE.size
        starts: list[int] = []
        add = starts.append
        for _ in range(_STEPS):
            if at > last:
                break
            (n,) = unpack(buffer, at)
            after = at + 4 + n
            if not least <= n <= most or after > end:
                break
            add(at)
            sizes.add(4 + n)
            at = after
        return np.array(starts, np.int64), at


def _count_equal(buffer: memoryview | bytes | bytearray, position: int, n: int, room: int) -> int:
    """The number of consecutive records of size `n` from `position` on, at most `room`; searches in growing windows."""
    record_size = n + _SIZE.size
    run, window = 1, _FIRST_WINDOW
    while run < room:
        look = min(window, room - run)
        sizes: npt.NDArray[np.int32] = np.ndarray(look, "<i4", buffer, position + run * record_size, (record_size,))
        differs = sizes != n
        first = int(differs.argmax())
        if differs[first]:
            return run + first
        run += look
        window *= 8
    return run


def bytes_of(records: npt.NDArray[Any]) -> memoryview:
    """The bytes of a structured array of records, shape (n,); not copied when it is contiguous."""
    if not len(records):
        return memoryview(b"")
    raw: Any = np.ascontiguousarray(records).view(np.uint8)
    return memoryview(raw)


@lru_cache(maxsize=256)
def _sized(form: RecordForm, payload_size: int) -> np.dtype[Any]:
    """Cached: creating a dtype takes as long as reading a small block."""
    return form.dtype(np.dtype(f"V{payload_size}"))


GET_FORM: Final = RecordForm("GET", ("cid", "mid", "moid", "cap", "acq"))
"""Form of records in a GET answer, and of chunks."""

PUT_FORM: Final = RecordForm("PUT", ("mid", "moid", "cap"))
"""Form of records in a PUT request; the server assigns the acq."""

PUTA_FORM: Final = RecordForm("PUTA", ("mid", "moid", "cap", "acq"))
"""Form of records in a PUTA request."""
