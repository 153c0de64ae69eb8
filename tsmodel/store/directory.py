"""Directories, which describe the blocks of a run, and the state, which describes all directories. No engine, no files.

Rules kept here:

* Each run has one directory: an array with one entry per block, with one checksum over all of it. An entry holds the
  checksum of its block, which reveals a damaged, lost or swapped block.
* The state holds a digest of the set of directories: the sum of their checksums, updated with every run added or removed.
  It reveals a directory that is damaged, lost, or belongs to another state of the file.
* Nothing is used before its checksum is verified. Later versions may append fields, but never change the fields defined
  here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, Final

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KEY_FIELDS, LIMITS, KeyRange
from tsmodel.store.blocks import NO_BASE, Base, Block, Bounds
from tsmodel.store.interface import Run

__all__ = ["ENTRY", "Directory", "Level", "State", "Table", "checked_block", "entries_of"]

_BOUND_NAMES = [f"{name}_{end}" for name in KEY_FIELDS[1:] for end in ("min", "max")]

ENTRY: Final = np.dtype(
    [
        ("checksum", "<u8"),
        ("size", "<u8"),
        ("length", "<u4"),
        ("count", "<u4"),
        ("record_size", "<u4"),
        ("series", "<u4"),
        ("skipped", "<u4"),
        ("reserved", "<u4"),
        *((name, "<i8") for name in _BOUND_NAMES),
    ]
)
"""The directory entry of a block: XXH3 of the stored bytes; bytes of its records in GET form; number of stored bytes;
number of records; bytes of each record, 0 if they differ; number of series, 0 if unknown; number of removed blocks before
it in the run, by which its id is larger; least and greatest value of each key component."""

_ENTRY = struct.Struct("<QQIIIIII8q")
_DIRECTORY = struct.Struct("<HHIqqIII4x")
_DIRECTORY_VERSION: Final = 1
_BASED_VERSION: Final = 2
"""Version of a directory with a base after its entries."""
_BASE = struct.Struct("<qq")
_STATE = struct.Struct("<HHIqqqq16s")
_STATE_VERSION: Final = 1
_HISTORY = struct.Struct("<qqQQ")
_CHECKSUM = struct.Struct("<Q")
_DIGEST: Final = 2**128
_MOST: Final = 2**62
"""Consecutive numbers never get this large."""


def entries_of(blocks: Sequence[Block], stored: Sequence[bytes]) -> npt.NDArray[Any]:
    """The directory entries of blocks, dtype ENTRY."""
    packed = bytearray()  # NumPy is several times slower for a single block, and most runs have one
    for block, data in zip(blocks, stored, strict=True):
        sizes = (block.size, len(data), block.count, block.record_size, block.series)
        packed += _ENTRY.pack(xxh3_64_intdigest(data), *sizes, 0, 0, *block.bounds[1:])
    return np.frombuffer(packed, ENTRY)


class Level(IntEnum):
    """Which merges a run still takes part in."""

    PUT = 0
    """From a put, or merged from small runs: may be merged."""
    BEGUN = 1
    """The rest of a large run whose start was merged with other large runs: merged further step by step."""
    FINAL = 2
    """Covers a time window, or a part of the series: never merged again."""


@attrs.frozen(eq=False)
class Directory:
    """The blocks of one run.

    Attributes:
        number: the number of the run, never reused.
        cid: client id of all its records.
        first: id of its first block; the others follow, with gaps where blocks were removed.
        entries: one per block, dtype ENTRY.
        digest: the directory's checksum, 128 bits.
        level: see `Level`.
        was: size of its records in KiB before the first removal; 0 if none were removed.
        base: added to the stored acqs and marks of its blocks; stored after the entries.
    """

    number: int
    cid: int
    first: int
    entries: npt.NDArray[Any]
    digest: int
    level: int = Level.PUT
    was: int = 0
    base: Base = NO_BASE

    @classmethod
    def of_entries(
        cls,
        number: int,
        cid: int,
        first: int,
        entries: npt.NDArray[Any],
        level: int = Level.PUT,
        was: int = 0,
        base: Base = NO_BASE,
    ) -> Directory:
        """The directory with these entries."""
        made = cls(number, cid, first, entries, 0, level, was, base)
        return attrs.evolve(made, digest=xxh3_128_intdigest(made.to_bytes()))

    @classmethod
    def doubtful(cls, data: bytes, number: int, cid: int) -> Directory | None:
        """Reads a directory whose checksum does not match; None if its cid differs from that of its row, or nothing is
        readable. An entry is valid only if its block confirms it."""
        if len(data) < _DIRECTORY.size + ENTRY.itemsize:
            return None
        _, _, _, _, first, said_cid, *_ = _DIRECTORY.unpack_from(data)
        if said_cid != cid or not 0 < first < _MOST or not LIMITS["cid"].least <= cid < LIMITS["cid"].bound:
            return None
        count = (len(data) - _DIRECTORY.size) // ENTRY.itemsize
        return cls(number, cid, first, np.frombuffer(data, ENTRY, count, _DIRECTORY.size), 0)

    def to_bytes(self) -> bytes:
        """Encodes the directory."""
        version, end = (_DIRECTORY_VERSION, b"") if self.base == NO_BASE else (_BASED_VERSION, _BASE.pack(*self.base))
        numbers = (len(self.entries), self.number, self.first, self.cid, self.level, self.was)
        return _DIRECTORY.pack(version, ENTRY.itemsize, *numbers) + self.entries.tobytes() + end

    @classmethod
    def from_bytes(cls, data: bytes, number: int, cid: int, digest: int) -> Directory:
        """Decodes the directory of a run.

        Raises:
            StoreCorruptError: if it does not match the digest, or belongs to another run.
        """
        if xxh3_128_intdigest(data) != digest:
            raise StoreCorruptError(f"the directory of run {number} has a wrong checksum")
        if len(data) < _DIRECTORY.size:
            raise StoreCorruptError(f"the directory of run {number} has {len(data)} bytes")
        version, size, count, said, first, said_cid, level, was = _DIRECTORY.unpack_from(data)
        is_based = version == _BASED_VERSION
        end = _DIRECTORY.size + count * size
        is_known = (version == _DIRECTORY_VERSION or is_based) and size == ENTRY.itemsize
        if not is_known or len(data) < end + is_based * _BASE.size:
            raise StoreCorruptError(
                f"the directory of run {number} has version {version}, which this version does not know"
            )
        if (said, said_cid) != (number, cid):
            raise StoreCorruptError(f"the directory of run {number} of cid {cid} is that of run {said} of cid {said_cid}")
        if not count or not 0 < first < _MOST:
            raise StoreCorruptError(f"the directory of run {number} says {count} blocks from number {first} on")
        if not LIMITS["cid"].least <= cid < LIMITS["cid"].bound:
            raise StoreCorruptError(f"run {number} says that its records have cid {cid}")
        entries = np.frombuffer(data, ENTRY, count, _DIRECTORY.size)
        base = Base(*_BASE.unpack_from(data, end)) if is_based else NO_BASE
        return cls(number, cid, first, entries, digest, level, was, base)

    @cached_property
    def size(self) -> int:
        """Bytes of all records in GET form."""
        return sum(self.entries["size"].tolist())

    @cached_property
    def length(self) -> int:
        """Bytes of all blocks as stored."""
        return sum(self.entries["length"].tolist())

    @cached_property
    def count(self) -> int:
        """Number of records."""
        return sum(self.entries["count"].tolist())

    @cached_property
    def series(self) -> int:
        """Number of series; 0 if unknown. A series in several blocks counts more than once."""
        series = self.entries["series"].tolist()
        return sum(series) if all(series) else 0

    @property
    def rank(self) -> int:
        """The size that merging uses: the original size, until half of the records are removed. Otherwise, removing a few
        records from many runs would cause all of them to be merged."""
        size, was = self.size, self.was * 1024
        return was if size < was <= 2 * size else size

    @cached_property
    def described(self) -> Run:
        """The `Run`, as the store sees it."""
        return Run(self.cid, self.number, self.rank, self.count, self.series, self.level)

    def id_of(self, at: int) -> int:
        """The id of a block."""
        return self.first + at + int(self.entries["skipped"][at])

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The ids of all blocks, ascending."""
        ids: npt.NDArray[np.int64] = self.first + np.arange(len(self.entries), dtype=np.int64) + self.entries["skipped"]
        return ids

    def replaced(self, changed: dict[int, npt.NDArray[Any] | None]) -> Directory | None:
        """The directory after blocks were removed or rewritten under the same ids; None if no blocks are left.

        Args:
            changed: the new entry of each changed block, by position; None for a removed block.
        """
        entries, kept = self.entries.copy(), np.ones(len(self.entries), np.bool_)
        for at, entry in changed.items():
            if entry is None:
                kept[at] = False
            else:
                entries[at] = entry
        entries, ids = entries[kept], self.ids[kept]
        if not len(entries):
            return None
        entries["skipped"] = ids - self.first - np.arange(len(entries))
        was = -(-self.rank // 1024)
        return Directory.of_entries(self.number, self.cid, self.first, entries, self.level, was, self.base)

    def behind(self, number: int, count: int, level: int) -> Directory:
        """The directory of a new run with all blocks except the first `count`."""
        entries = self.entries[count:].copy()
        entries["skipped"] += count
        return Directory.of_entries(number, self.cid, self.first, entries, level, base=self.base)

    def on(self, base: Base) -> Directory:
        """The directory of the same blocks, whose acqs and marks are relative to a base."""
        entries = self.entries.copy()
        for name in ("acq_min", "acq_max"):
            entries[name] += base.acq
        return Directory.of_entries(self.number, self.cid, self.first, entries, self.level, base=base)

    def bounds(self, at: int) -> Bounds:
        """The bounds of the keys of a block."""
        return (self.cid, *self.entries[at].item()[-len(_BOUND_NAMES) :])


def checked_block(directory: Directory, at: int, data: bytes, path: str | None = None) -> Block:
    """Decodes the block at a position of a run from its stored bytes.

    Args:
        path: the store, for errors while decoding a column; None if the caller names it.

    Raises:
        StoreCorruptError: if the bytes do not match the directory.
    """
    checksum, size, length, count, record_size, _, _, _, *bounds = directory.entries[at].item()
    if len(data) != length or xxh3_64_intdigest(data) != checksum:
        raise StoreCorruptError(f"block {directory.id_of(at)}, of {count} records, has a wrong checksum")
    block = Block.decoded(memoryview(data), (directory.cid, *bounds), count, record_size, size, directory.base)
    if path is not None:
        block.origin = (path, directory.id_of(at))
    return block


class State(msgspec.Struct, frozen=True):
    """The state of a store.

    Attributes:
        last_acq: the greatest acq assigned or promised.
        generation: grows by one with each transaction.
        next_run: number of the next run.
        next_block: id of the next block.
        runs: number of runs.
        digest: sum of their directories' checksums, 128 bits.
        is_open: whether a process may be writing to the file.
        next_put: number of the next put.
        next_removal: number of the next removal.
        puts_digest: sum of the checksums of the logged puts, 64 bits.
        removals_digest: the same for removals.
    """

    last_acq: int = LIMITS["acq"].least
    generation: int = 0
    next_run: int = 1
    next_block: int = 1
    runs: int = 0
    digest: int = 0
    is_open: bool = False
    next_put: int = 1
    next_removal: int = 1
    puts_digest: int = 0
    removals_digest: int = 0

    def to_bytes(self) -> bytes:
        """Encodes the state."""
        numbers = (self.last_acq, self.generation, self.next_run, self.next_block)
        data = _STATE.pack(_STATE_VERSION, self.is_open, self.runs, *numbers, self.digest.to_bytes(16, "little"))
        data += _HISTORY.pack(self.next_put, self.next_removal, self.puts_digest, self.removals_digest)
        return data + _CHECKSUM.pack(xxh3_64_intdigest(data))

    @classmethod
    def from_bytes(cls, data: object) -> State:
        """Decodes a state.

        Raises:
            StoreCorruptError: if it is damaged.
        """
        if not isinstance(data, bytes) or len(data) < _STATE.size + _CHECKSUM.size:
            raise StoreCorruptError("the state of the file is no state")
        if xxh3_64_intdigest(data[: -_CHECKSUM.size]) != _CHECKSUM.unpack(data[-_CHECKSUM.size :])[0]:
            raise StoreCorruptError("the state of the file has a wrong checksum")
        version, is_open, runs, last_acq, generation, next_run, next_block, digest = _STATE.unpack_from(data)
        if version != _STATE_VERSION:
            raise StoreCorruptError(f"the state of the file has version {version}, which this version does not know")
        counted = (generation, next_run, next_block)
        has_history = len(data) >= _STATE.size + _HISTORY.size + _CHECKSUM.size
        history = _HISTORY.unpack_from(data, _STATE.size) if has_history else ()
        if not all(0 <= each < _MOST for each in (*counted, *history[:2])) or last_acq >= LIMITS["acq"].bound:
            raise StoreCorruptError("the state of the file says numbers that it cannot have come to")
        digest = int.from_bytes(digest, "little")
        return cls(last_acq, generation, next_run, next_block, runs, digest, bool(is_open), *history)


class _Index:
    """The bounds of all blocks of a cid, to select blocks in one step."""

    def __init__(self, runs: Sequence[Directory]) -> None:
        self._runs = runs
        entries = np.concatenate([run.entries for run in runs])
        self._run = np.repeat(np.arange(len(runs)), [len(run.entries) for run in runs])
        self._at = np.concatenate([np.arange(len(run.entries)) for run in runs])
        self._bounds = {name: np.ascontiguousarray(entries[name]) for name in _BOUND_NAMES}

    def picked(self, box: KeyRange) -> Iterator[tuple[Directory, int]]:
        """The blocks that may hold records inside `box`, ignoring its cid: run, and position in the run."""
        mask: Any = None
        for name, (low, high) in zip(KEY_FIELDS[1:], list(box.intervals())[1:], strict=True):
            limits = LIMITS[name]
            if low > limits.least:
                above = self._bounds[f"{name}_max"] >= low
                mask = above if mask is None else mask & above
            if high < limits.bound:
                below = self._bounds[f"{name}_min"] < high
                mask = below if mask is None else mask & below
        found = slice(None) if mask is None else np.flatnonzero(mask)
        for run, at in zip(self._run[found].tolist(), self._at[found].tolist(), strict=True):
            yield self._runs[run], at


class Table:
    """All directories of a state. Immutable and thread-safe.

    Args:
        runs: the directories, by run number.
    """

    def __init__(self, runs: dict[int, Directory]) -> None:
        self.runs = runs
        self.digest = sum(run.digest for run in runs.values()) % _DIGEST
        self._by_cid: dict[int, list[Directory]] = {}
        for run in runs.values():
            self._by_cid.setdefault(run.cid, []).append(run)
        self._indexes: dict[int, _Index] = {}

    @property
    def cids(self) -> list[int]:
        """The client ids of all runs, ascending."""
        return sorted(self._by_cid)

    def of_cid(self, cid: int) -> list[Directory]:
        """The runs of a cid."""
        return self._by_cid.get(cid, [])

    def picked(self, box: KeyRange) -> Iterator[tuple[Directory, int]]:
        """The blocks that may hold records inside `box`, by cid: run, and position in the run."""
        low, high = box.min.cid, box.max.cid
        cids = [low] if high == low + 1 else sorted(cid for cid in self._by_cid if low <= cid < high)
        for cid in cids:
            if runs := self.of_cid(cid):
                index = self._indexes.get(cid)
                if index is None:
                    index = self._indexes[cid] = _Index(runs)
                yield from index.picked(box)

    def changed(self, removed: set[int], added: Sequence[Directory]) -> Table:
        """The table with some runs removed and others added; shares the rest."""
        table = Table({})
        table.runs = dict(self.runs)
        gone = [table.runs.pop(number) for number in removed]
        table.runs |= {run.number: run for run in added}
        table.digest = (self.digest - sum(run.digest for run in gone) + sum(run.digest for run in added)) % _DIGEST
        table._by_cid, table._indexes = dict(self._by_cid), dict(self._indexes)
        new: dict[int, list[Directory]] = {}
        for run in added:
            new.setdefault(run.cid, []).append(run)
        for cid in {*new, *(run.cid for run in gone)}:
            left = [run for run in self.of_cid(cid) if run.number not in removed] + new.get(cid, [])
            table._indexes.pop(cid, None)
            table._by_cid.pop(cid, None)
            if left:
                table._by_cid[cid] = left
        return table

    def renewed(
        self, rows: Iterable[Any], state: State, stored: Callable[[Sequence[int]], Mapping[int, object]], holder: str
    ) -> Table:
        """The table of a state, with the number, cid and digest of each run in `rows`. Takes over the directories of this
        table that did not change, and reads the others by `stored`.

        Raises:
            StoreCorruptError: if the runs do not match the state of the `holder`.
        """
        runs: dict[int, Directory] = {}
        missing: dict[int, tuple[int, int]] = {}
        for number, cid, digest in rows:
            if not (isinstance(number, int) and isinstance(cid, int) and isinstance(digest, bytes)):
                raise StoreCorruptError("the table of runs has a row that is not a run")
            run, wanted = self.runs.get(number), int.from_bytes(digest, "little")
            if run is not None and (run.digest, run.cid) == (wanted, cid):
                runs[number] = run
            else:
                missing[number] = cid, wanted
        found = stored(list(missing))
        for number, (cid, wanted) in missing.items():
            if not isinstance(data := found.get(number), bytes):
                raise StoreCorruptError(f"run {number} has no directory")
            runs[number] = Directory.from_bytes(data, number, cid, wanted)
        table = Table(runs)
        if not table.matches(state):
            raise StoreCorruptError(f"found {len(runs)} runs, but the state of the {holder} says {state.runs}")
        return table

    def matches(self, state: State) -> bool:
        """Whether these are the runs of a state."""
        return self.digest == state.digest and len(self.runs) == state.runs
