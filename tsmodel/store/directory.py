"""Directories: what a file knows about its blocks, and the state that knows about all directories. No engine, no files.

Rules kept here:

* A run has one directory: an array with an entry for each block, checked as a whole. It holds the checksum of each block:
  a block that is damaged, lost or exchanged for another one is found.
* The state holds a digest of the set of directories: the sum of their checksums. It is kept up when a run comes or goes: a
  directory that is damaged, lost, or belongs to another state of the file is found.
* Nothing is used before its checksum was compared. Later versions may add what follows the fields known here, never change
  them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.store.blocks import Block, Bounds, EncodedBlock

__all__ = ["ENTRY", "Directory", "State", "Table", "checked_block", "entries_of"]

_BOUND_NAMES = [f"{name}_{end}" for name in KEY_FIELDS[1:] for end in ("min", "max")]

ENTRY: Final = np.dtype(
    [
        ("checksum", "<u8"),
        ("size", "<u8"),
        ("length", "<u4"),
        ("count", "<u4"),
        ("record_size", "<u4"),
        ("reserved", "<u4"),
        *((name, "<i8") for name in _BOUND_NAMES),
    ]
)
"""What a directory says of a block: XXH3 of what is stored; bytes of its records in GET form; bytes that are stored; how
many records; bytes of each, 0 when they differ; least and greatest value of each key component."""

_DIRECTORY = struct.Struct("<HHIqqI4x")
_DIRECTORY_VERSION: Final = 1
_STATE = struct.Struct("<HHIqqqqQQ")
_STATE_VERSION: Final = 1
_CHECKSUM = struct.Struct("<Q")
_DIGEST: Final = 2**128
_HALF: Final = 2**64


def entries_of(blocks: Sequence[Block | EncodedBlock], stored: Sequence[bytes | bytearray]) -> npt.NDArray[Any]:
    """What a directory says of blocks, dtype ENTRY."""
    entries = np.zeros(len(blocks), ENTRY)
    entries["checksum"] = [xxh3_64_intdigest(data) for data in stored]
    entries["length"] = [len(data) for data in stored]
    for name in ("size", "count", "record_size"):
        entries[name] = [getattr(block, name) for block in blocks]
    bounds = np.array([block.bounds[1:] for block in blocks], np.int64)
    for at, name in enumerate(_BOUND_NAMES):
        entries[name] = bounds[:, at]
    return entries


@attrs.frozen(eq=False)
class Directory:
    """The blocks of one run.

    Attributes:
        number: the run's number, which is never given again.
        cid: client id of all its records.
        first: id of its first block; the others follow.
        entries: one for each block, dtype ENTRY.
        digest: the directory's checksum, 128 bits.
    """

    number: int
    cid: int
    first: int
    entries: npt.NDArray[Any]
    digest: int

    @classmethod
    def of(
        cls, number: int, cid: int, first: int, blocks: Sequence[Block | EncodedBlock], stored: Sequence[bytes | bytearray]
    ) -> Directory:
        """The directory of blocks that are stored under ids from `first` on."""
        return cls.of_entries(number, cid, first, entries_of(blocks, stored))

    @classmethod
    def of_entries(cls, number: int, cid: int, first: int, entries: npt.NDArray[Any]) -> Directory:
        """The directory that has these entries."""
        made = cls(number, cid, first, entries, 0)
        return cls(number, cid, first, entries, xxh3_128_intdigest(made.to_bytes()))

    @classmethod
    def doubtful(cls, data: bytes, number: int, cid: int) -> Directory | None:
        """What a directory without its checksum says; None when it says another cid than its row, or nothing. Each entry
        is to be believed only as far as its block proves it."""
        if len(data) < _DIRECTORY.size + ENTRY.itemsize:
            return None
        _, _, _, _, first, said_cid = _DIRECTORY.unpack_from(data)
        if said_cid != cid or not 0 < first < 2**62 or not LIMITS["cid"].least <= cid < LIMITS["cid"].bound:
            return None
        count = (len(data) - _DIRECTORY.size) // ENTRY.itemsize
        return cls(number, cid, first, np.frombuffer(data, ENTRY, count, _DIRECTORY.size), 0)

    def to_bytes(self) -> bytes:
        """What is stored."""
        head = _DIRECTORY.pack(_DIRECTORY_VERSION, ENTRY.itemsize, len(self.entries), self.number, self.first, self.cid)
        return head + self.entries.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, number: int, cid: int, digest: int) -> Directory:
        """The directory of a run.

        Raises:
            StoreCorruptError: when it is not the one that has this digest, or of another run.
        """
        if xxh3_128_intdigest(data) != digest:
            raise StoreCorruptError(f"the directory of run {number} does not have its checksum")
        if len(data) < _DIRECTORY.size:
            raise StoreCorruptError(f"the directory of run {number} has {len(data)} bytes")
        version, size, count, said, first, said_cid = _DIRECTORY.unpack_from(data)
        if version != _DIRECTORY_VERSION or size != ENTRY.itemsize or len(data) < _DIRECTORY.size + count * size:
            raise StoreCorruptError(
                f"the directory of run {number} has version {version}, which this version does not know"
            )
        if (said, said_cid) != (number, cid):
            raise StoreCorruptError(f"the directory of run {number} of cid {cid} is that of run {said} of cid {said_cid}")
        return cls(number, cid, first, np.frombuffer(data, ENTRY, count, _DIRECTORY.size), digest)

    @property
    def size(self) -> int:
        """Bytes of all records in GET form."""
        if len(self.entries) == 1:  # most runs are small, and a sum takes long to begin
            return int(self.entries["size"][0])
        return int(self.entries["size"].sum())

    def picked(self, box: KeyRange) -> npt.NDArray[np.intp]:
        """Which blocks may hold records inside `box`, its cid aside."""
        mask = np.ones(len(self.entries), np.bool_)
        for name, (low, high) in zip(KEY_FIELDS[1:], list(box.intervals())[1:], strict=True):
            limits = LIMITS[name]
            if low > limits.least:
                mask &= self.entries[f"{name}_max"] >= low
            if high < limits.bound:
                mask &= self.entries[f"{name}_min"] < high
        return np.flatnonzero(mask)

    def bounds(self, at: int) -> Bounds:
        """What the keys of a block lie between."""
        return (self.cid, *self.entries[at].item()[-len(_BOUND_NAMES) :])


def checked_block(directory: Directory, at: int, data: bytes) -> Block:
    """The block of a run that `data` is what was stored of.

    Raises:
        StoreCorruptError: when it is not.
    """
    checksum, size, length, count, record_size, _, *bounds = directory.entries[at].item()
    if len(data) != length or xxh3_64_intdigest(data) != checksum:
        raise StoreCorruptError(f"block {directory.first + at}, of {count} records, does not have its checksum")
    return Block.decoded(memoryview(data), (directory.cid, *bounds), count, record_size, size)


@attrs.frozen
class State:
    """What the file as a whole says.

    Attributes:
        last_acq: the greatest acq that was given or promised.
        generation: grows by one with each transaction.
        next_run: number of the next run.
        next_block: id of the next block.
        runs: how many runs there are.
        digest: sum of their directories' checksums, 128 bits.
        is_open: whether a process may be writing: set until all have closed the file.
    """

    last_acq: int = LIMITS["acq"].least
    generation: int = 0
    next_run: int = 1
    next_block: int = 1
    runs: int = 0
    digest: int = 0
    is_open: bool = False

    def to_bytes(self) -> bytes:
        """What is stored."""
        high, low = divmod(self.digest, _HALF)
        numbers = (self.last_acq, self.generation, self.next_run, self.next_block)
        data = _STATE.pack(_STATE_VERSION, self.is_open, self.runs, *numbers, low, high)
        return data + _CHECKSUM.pack(xxh3_64_intdigest(data))

    @classmethod
    def from_bytes(cls, data: object) -> State:
        """The state that was stored.

        Raises:
            StoreCorruptError: when it is not what was stored.
        """
        if not isinstance(data, bytes) or len(data) < _STATE.size + _CHECKSUM.size:
            raise StoreCorruptError("the state of the file is no state")
        if xxh3_64_intdigest(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0]:
            raise StoreCorruptError("the state of the file does not have its checksum")
        version, is_open, runs, last_acq, generation, next_run, next_block, low, high = _STATE.unpack_from(data)
        if version != _STATE_VERSION:
            raise StoreCorruptError(f"the state of the file has version {version}, which this version does not know")
        return cls(last_acq, generation, next_run, next_block, runs, high * _HALF + low, bool(is_open))


class Table:
    """All directories of a state of the file. Never changes; may be used from several threads.

    Args:
        runs: by their number.
    """

    def __init__(self, runs: dict[int, Directory]) -> None:
        self.runs = runs
        self.digest = sum(run.digest for run in runs.values()) % _DIGEST
        self._by_cid: dict[int, list[Directory]] = {}
        for run in runs.values():
            self._by_cid.setdefault(run.cid, []).append(run)

    def of_cid(self, cid: int) -> list[Directory]:
        """The runs of a cid."""
        return self._by_cid.get(cid, [])

    def within(self, box: KeyRange) -> list[Directory]:
        """The runs whose cid the box holds."""
        low, high = box.min.cid, box.max.cid
        if high == low + 1:
            return self.of_cid(low)
        return [run for cid in sorted(self._by_cid) if low <= cid < high for run in self._by_cid[cid]]

    def changed(self, removed: set[int], added: Sequence[Directory]) -> Table:
        """The table without some runs and with others."""
        runs = {number: run for number, run in self.runs.items() if number not in removed}
        return Table(runs | {run.number: run for run in added})

    def matches(self, state: State) -> bool:
        """Whether these are the runs of that state."""
        return self.digest == state.digest and len(self.runs) == state.runs
