"""The common part of engines that use tables: snapshots and transactions on top of a few statements.

Rules kept here:

* An engine implements the statements (`Tables`), loads the directories of a state, and begins and commits transactions.
  This module does the rest: it stores blocks, runs and directories, and updates the state.
* Everything read is checked against its checksum; see `store.directory`.
* A run is *staged* before it is kept: its blocks are written, but no directory refers to them yet. Staged acqs and marks
  may be relative to a base, which is known only when the run is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from heapq import merge
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from tsmodel.backend import PutInfo, Removal
from tsmodel.errors import StoreCorruptError
from tsmodel.keys import KeyRange
from tsmodel.store.blocks import NO_BASE, Base, Block, cut_after, merged_runs, uses_codec
from tsmodel.store.cache import BlockCache
from tsmodel.store.directory import Directory, Level, State, Table, checked_block, entries_of
from tsmodel.store.interface import Change, Run, Skip
from tsmodel.store.parts import Codec

__all__ = [
    "PUTS",
    "READ_AHEAD",
    "REMOVALS",
    "Kind",
    "Place",
    "Snapshot",
    "TableEngine",
    "Tables",
    "Transaction",
    "cached_blocks",
    "completed",
    "picked_by_run",
]

Place: TypeAlias = tuple[Directory, int]
"""Where a block is: its run, and its position in the run."""

T = TypeVar("T", PutInfo, Removal)

_READ_FIRST: Final = 2**19
READ_AHEAD: Final = 4 * 2**20
"""Bytes of stored blocks to fetch at once: for the first fetch of a scan, and for later ones."""
_CHECKSUM = struct.Struct("<Q")
_SALT = struct.Struct("<q")
_SUM: Final = 2**64


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A kind of log entry.

    Attributes:
        table: name of the table that holds them.
        one: name of a single entry, for messages.
        type: the class of the entries.
    """

    table: str
    one: str
    type: type[T]

    def to_bytes(self, entry: T) -> bytes:
        """Encodes an entry."""
        data = msgspec.msgpack.encode(entry)
        return data + _CHECKSUM.pack(self._checksum(data, entry.number))

    def from_bytes(self, data: object, number: object) -> T:
        """Decodes the entry stored under a number.

        Raises:
            StoreCorruptError: if it is damaged.
        """
        if not isinstance(data, bytes) or not isinstance(number, int) or len(data) < _CHECKSUM.size:
            raise StoreCorruptError(f"{self.one} {number} has no valid data")
        if self._checksum(data[: -_CHECKSUM.size], number) != self.checksum(data):
            raise StoreCorruptError(f"{self.one} {number} has a wrong checksum")
        try:
            entry = msgspec.msgpack.decode(data[: -_CHECKSUM.size], type=self.type)
        except msgspec.DecodeError as error:
            raise StoreCorruptError(f"{self.one} {number} cannot be decoded by this version of tsmodel: {error}") from error
        if entry.number != number:
            raise StoreCorruptError(f"{self.one} {number} is stored with the number {entry.number}")
        return entry

    def read(self, rows: Iterable[Any], digest: int) -> Iterator[T]:
        """Decodes the entries of a whole table: rows of number and stored bytes, ascending.

        Raises:
            StoreCorruptError: if an entry is damaged; after the last one, if the entries do not match `digest`.
        """
        total = 0
        for number, data in rows:
            entry = self.from_bytes(data, number)
            total += self.checksum(data)
            yield entry
        if total % _SUM != digest:
            raise StoreCorruptError(f"the table of {self.table} does not match the state of the file")

    @staticmethod
    def checksum(data: bytes) -> int:
        """The checksum of a stored entry."""
        return int(_CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)[0])

    def changed(self, digest: int, added: bytes, removed: bytes | None = None) -> int:
        """The sum after an entry is added, optionally replacing another."""
        return (digest + self.checksum(added) - (0 if removed is None else self.checksum(removed))) % _SUM

    def following(self, state: State) -> int:
        """The number of the next entry, according to a state."""
        return int(getattr(state, f"next_{self.one}"))

    def digest(self, state: State) -> int:
        """The sum of the checksums of all entries, according to a state."""
        return int(getattr(state, f"{self.table}_digest"))

    def _checksum(self, data: bytes, number: int) -> int:
        return xxh3_64_intdigest(self.table.encode() + _SALT.pack(number) + data)


PUTS: Final = Kind("puts", "put", PutInfo)
REMOVALS: Final = Kind("removals", "removal", Removal)


class Tables(Protocol):
    """The tables of a store, within one transaction."""

    @property
    def at_once(self) -> int:
        """How many blocks to fetch at once."""
        ...

    def read_state(self) -> State:
        """The state."""
        ...

    def write_state(self, state: State) -> None:
        """Replaces the state."""
        ...

    def fetch_blocks(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The stored bytes of blocks by id; omits missing blocks."""
        ...

    def add_blocks(self, first: int, stored: Sequence[bytes]) -> None:
        """Stores blocks under consecutive ids from `first`."""
        ...

    def put_block(self, number: int, data: bytes) -> None:
        """Replaces the stored bytes of a block."""
        ...

    def drop_blocks(self, first: int, last: int) -> None:
        """Deletes the blocks with ids from `first` to `last`, inclusive."""
        ...

    def add_run(self, directory: Directory, generation: int) -> None:
        """Stores the directory of a run that is new in this generation of the state."""
        ...

    def put_run(self, directory: Directory, generation: int) -> None:
        """Replaces the directory of a run."""
        ...

    def drop_run(self, number: int, generation: int) -> None:
        """Deletes the directory of a run."""
        ...

    def entries(self, kind: Kind[Any]) -> Iterator[tuple[Any, Any]]:
        """The numbers of puts or removals, ascending, and their stored bytes."""
        ...

    def add_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        """Stores a put or removal."""
        ...

    def put_entry(self, kind: Kind[Any], number: int, data: bytes) -> None:
        """Replaces a stored put or removal."""
        ...

    def sizes(self) -> tuple[int, int]:
        """Size of the store in bytes, and how many of them are free."""
        ...


class TableEngine(Protocol):
    """An engine that stores blocks in tables."""

    @property
    def path(self) -> str:
        """The file or database."""
        ...

    @property
    def cache(self) -> BlockCache:
        """The cache of decoded blocks."""
        ...

    def table_of(self, tables: Any, state: State) -> Table:
        """The directories of a state, from memory or read and checked."""
        ...

    def reading(self) -> AbstractContextManager[Snapshot]:
        """See `Engine.reading`."""
        ...

    def preparing(self) -> AbstractContextManager[Transaction]:
        """Opens a transaction that may read and stage runs before it locks out other writers."""
        ...


class Snapshot:
    """The contents of the tables, as one transaction sees them. `tables` has the engine's statements in it."""

    def __init__(self, engine: TableEngine, tables: Any) -> None:
        self._engine = engine
        self._tables: Tables = tables
        self._state: State = self._tables.read_state()
        self._known: Table | None = None

    @property
    def tables(self) -> Any:
        """The engine's statements."""
        return self._tables

    @property
    def state(self) -> State:
        """The state of the store."""
        return self._state

    @property
    def table(self) -> Table:
        """The directories of all runs."""
        if self._known is None:
            self._known = self._engine.table_of(self._tables, self._state)
        return self._known

    def last_acq(self) -> int:
        return self._state.last_acq

    @property
    def next_put(self) -> int:
        return self._state.next_put

    @property
    def next_removal(self) -> int:
        return self._state.next_removal

    def puts(self) -> Iterator[PutInfo]:
        return PUTS.read(self.history(PUTS), self._state.puts_digest)

    def removals(self) -> Iterator[Removal]:
        return REMOVALS.read(self.history(REMOVALS), self._state.removals_digest)

    def history(self, kind: Kind[Any]) -> Iterator[tuple[Any, Any]]:
        """The numbers and stored bytes of puts or removals, unchecked."""
        return self._tables.entries(kind)

    def blocks(self, box: KeyRange, skip: Skip | None = None) -> Iterator[Block]:
        cache = self._engine.cache
        scan = cache.scan()
        picked = self.table.picked(box)
        if skip is not None:
            picked = ((run, at) for run, at in picked if not skip(run.bounds(at), int(run.entries["count"][at])))
        for places in self._together(picked):
            found, missing = cached_blocks(places, cache, scan)
            stored = self._tables.fetch_blocks(missing) if missing else {}
            yield from completed(places, found, stored, self._engine, scan)

    def _together(self, picked: Iterator[Place]) -> Iterator[list[Place]]:
        """Groups blocks to fetch together. The first group is small, for readers that need only a few records."""
        most = self._tables.at_once
        if most == 1:
            yield from ([place] for place in picked)
            return
        places: list[Place] = []
        size, enough = 0, _READ_FIRST
        for run, at in picked:
            places.append((run, at))
            size += int(run.entries["length"][at])
            if len(places) >= most or size >= enough:
                yield places
                places, size, enough = [], 0, READ_AHEAD
        if places:
            yield places

    def stored(self, run: Directory, at: int) -> bytes:
        """The stored bytes of a block, unchecked.

        Raises:
            StoreCorruptError: if the block is missing.
        """
        number = run.id_of(at)
        return _present(self._tables.fetch_blocks([number]).get(number), number)

    def sizes(self) -> tuple[int, int]:
        """Size of the store in bytes, and how many of them are free."""
        return self._tables.sizes()

    def read(self, run: Directory, at: int) -> Block:
        """A block of a run."""
        return checked_block(run, at, self.stored(run, at), self._engine.path)

    def changed_block(
        self, run: Directory, at: int, within: Sequence[KeyRange], change: Change
    ) -> tuple[bytes, npt.NDArray[Any]] | tuple[None, None] | None:
        """Applies `change` to a block. Returns the new stored bytes and directory entry, both None if the block is to be
        deleted. Returns None if it is unchanged."""
        data = self.stored(run, at)
        block = checked_block(run, at, data, self._engine.path)
        new = change(block, within)
        if new is block:
            return None
        if new is None:
            return None, None
        stored = new.encoded(Codec.LZ4 if uses_codec(memoryview(data), Codec.LZ4) else Codec.ZSTD, run.base)
        return stored, entries_of([new], [stored])[0]

    def runs(self, cid: int) -> list[Run]:
        return [run.described for run in self.table.of_cid(cid)]

    def load(self, run: Run) -> list[Block]:
        directory = self.table.runs[run.number]
        ids = directory.ids.tolist()
        stored = self._tables.fetch_blocks(ids)
        path = self._engine.path
        return [
            checked_block(directory, at, _present(stored.pop(number, None), number), path) for at, number in enumerate(ids)
        ]

    def beginning(
        self, chains: Sequence[Sequence[Directory]], most: int
    ) -> tuple[list[Block], list[Block], dict[int, int]]:
        """Reads and merges the start of some chains: runs in order that do not overlap. Stops reading at `most` bytes.

        Returns:
            The merged blocks up to the first key of an unread block; the blocks beyond that key; and the number of blocks
            read from each run, by run number.
        """
        taken: list[Block] = []
        counts: dict[int, int] = {}
        size, bound = 0, None
        for first, run, at, block in merge(*map(self._blocks_of, chains), key=itemgetter(0)):
            if size >= most:
                bound = first
                break
            taken.append(block)
            size += block.size
            counts[run.number] = at + 1
        if not taken:
            return [], [], {}
        return *cut_after(merged_runs(taken, windows=False)[0], bound), counts

    def _blocks_of(self, chain: Sequence[Directory]) -> Iterator[tuple[tuple[int, ...], Directory, int, Block]]:
        """The blocks of a chain, each with its first key and its place."""
        for run in chain:
            for at in range(len(run.entries)):
                block = self.read(run, at)
                yield block.ends()[0], run, at, block


class Transaction(Snapshot):
    """An exclusive write transaction."""

    def __init__(self, engine: TableEngine, tables: Any) -> None:
        super().__init__(engine, tables)
        self._begin()

    def _begin(self) -> None:
        self._removed: dict[int, Directory] = {}
        self._added: list[Directory] = []
        self._after = self._state
        """The state after this transaction, apart from its runs."""

    def _change(self, **values: int) -> None:
        self._after = msgspec.structs.replace(self._after, **values)

    def last_acq(self) -> int:
        return self._after.last_acq

    def set_last_acq(self, acq: int) -> None:
        self._change(last_acq=acq)

    @property
    def next_put(self) -> int:
        return self._after.next_put

    @property
    def next_removal(self) -> int:
        return self._after.next_removal

    @property
    def generation(self) -> int:
        """The generation of the state that this transaction writes."""
        return self._state.generation + 1

    def keep_put(self, put: PutInfo, replaced: PutInfo | None = None) -> None:
        data = PUTS.to_bytes(put)
        removed = None if replaced is None else PUTS.to_bytes(replaced)
        if removed is None:
            self._tables.add_entry(PUTS, put.number, data)
            self._change(next_put=put.number + 1)
        else:
            self._tables.put_entry(PUTS, put.number, data)
        self._change(puts_digest=PUTS.changed(self._after.puts_digest, data, removed))

    def keep_removal(self, removal: Removal) -> None:
        data = REMOVALS.to_bytes(removal)
        self._tables.add_entry(REMOVALS, removal.number, data)
        digest = REMOVALS.changed(self._after.removals_digest, data)
        self._change(next_removal=removal.number + 1, removals_digest=digest)

    @property
    def knows_table(self) -> bool:
        """Whether the directories of all runs are loaded."""
        return self._known is not None

    @property
    def view(self) -> Snapshot:
        """The snapshot that merges read from; `confirm` checks that the runs are still the same."""
        return self

    def rewrite(self, boxes: Sequence[KeyRange], change: Change) -> None:
        for run, places in picked_by_run(self.table, boxes):
            self._rewrite_run(run, places, change)

    def _rewrite_run(self, run: Directory, places: dict[int, list[KeyRange]], change: Change) -> None:
        changed: dict[int, npt.NDArray[Any] | None] = {}
        for at, within in places.items():
            if (new := self.changed_block(run, at, within, change)) is None:
                continue
            number, (stored, entry) = run.id_of(at), new
            if stored is None:
                self._tables.drop_blocks(number, number)
            else:
                self._tables.put_block(number, stored)
            changed[at] = entry
        if changed:
            self._replace(run, changed)

    def _replace(self, run: Directory, changed: dict[int, npt.NDArray[Any] | None]) -> None:
        """Replaces the directory of a run whose blocks were changed. See `Directory.replaced`."""
        new = run.replaced(changed)
        self._removed[run.number] = run
        if new is None:
            self._tables.drop_run(run.number, self.generation)
        else:
            self._tables.put_run(new, self.generation)
            self._added.append(new)

    def remove(self, run: Run) -> None:
        directory = self.table.runs[run.number]
        self.drop(directory, len(directory.entries))

    def drop(self, run: Directory, count: int, level: int | None = None) -> int | None:
        """Deletes the first `count` blocks of a run. Returns the number of a new run that holds the rest, with the same
        level unless one is given; None if nothing is left."""
        if count:
            self._tables.drop_blocks(run.first, run.id_of(count - 1))
        self._tables.drop_run(run.number, self.generation)
        self._removed[run.number] = run
        if count == len(run.entries):
            return None
        number, _ = self._new_run(0)
        self._add(run.behind(number, count, run.level if level is None else level))
        return number

    def spread(self, runs: Sequence[Run], most: int) -> None:
        view = self.view
        directories = [view.table.runs[run.number] for run in runs]
        cid = directories[0].cid
        known, beyond, counts = view.beginning([[run] for run in directories], most)
        staged = [self.stage(cid, known, level=Level.FINAL)]
        if beyond:
            staged.append(self.stage(cid, beyond, level=Level.BEGUN))
        self.confirm(directories)
        for run in directories:
            self.drop(run, counts.get(run.number, 0), Level.BEGUN)
        for each in staged:
            self.keep(each)

    def confirm(self, runs: Sequence[Directory]) -> None:
        """Checks that runs are unchanged since they were read, and locks them against changes.

        Raises:
            SupersededError: if another writer changed one.
        """

    def insert(self, cid: int, blocks: Sequence[Block], *, level: int = Level.PUT) -> None:
        self.keep(self.stage(cid, blocks, level=level))

    def stage(self, cid: int, blocks: Sequence[Block], *, level: int = Level.PUT, codec: Codec = Codec.LZ4) -> Directory:
        """Writes the blocks of a run; `keep` adds it to the store."""
        stored = [block.encoded(codec) for block in blocks]
        number, first = self._new_run(len(stored))
        self._tables.add_blocks(first, stored)
        return Directory.of_entries(number, cid, first, entries_of(blocks, stored), level)

    def keep(self, staged: Directory, base: Base = NO_BASE) -> None:
        """Adds a staged run to the store. Its acqs and marks are relative to `base`."""
        self._add(staged if base == NO_BASE else staged.on(base))

    def _new_run(self, count: int) -> tuple[int, int]:
        """The number of a new run, and the first of `count` new block ids."""
        number, first = self._after.next_run, self._after.next_block
        self._change(next_run=number + 1, next_block=first + count)
        return number, first

    def _add(self, directory: Directory) -> None:
        self._tables.add_run(directory, self.generation)
        self._added.append(directory)

    def finish(self) -> State:
        """Writes the new state."""
        state = self.changed_state()
        self._tables.write_state(state)
        return state

    def changed_state(self) -> State:
        """The state after this transaction."""
        gone, come = ([run.digest for run in runs] for runs in (self._removed.values(), self._added))
        return msgspec.structs.replace(
            self._after,
            generation=self.generation,
            runs=self._state.runs - len(gone) + len(come),
            digest=(self._state.digest - sum(gone) + sum(come)) % 2**128,
        )

    def changed_table(self, table: Table | None = None) -> Table:
        """The directories after this transaction; `table` has those before it if this transaction did not read them."""
        before = self.table if table is None else table
        return before.changed(set(self._removed), self._added) if self._removed or self._added else before


def picked_by_run(table: Table, boxes: Sequence[KeyRange]) -> Iterator[tuple[Directory, dict[int, list[KeyRange]]]]:
    """The blocks that may hold records inside some boxes: for each run, the boxes of each block by its position."""
    picked: dict[int, dict[int, list[KeyRange]]] = {}
    for box in boxes:
        for run, at in table.picked(box):
            picked.setdefault(run.number, {}).setdefault(at, []).append(box)
    for number, places in picked.items():
        yield table.runs[number], places


def cached_blocks(places: Sequence[Place], cache: BlockCache, scan: int) -> tuple[list[Block | None], list[int]]:
    """The cached block in each place, or None; and the ids of the blocks that are not cached."""
    # Identifies the contents of a block: the digest covers the run number and the checksums of its blocks.
    found = [cache.get((run.digest, at), scan) for run, at in places]
    return found, [run.id_of(at) for (run, at), block in zip(places, found, strict=True) if block is None]


def completed(
    places: Sequence[Place], found: Sequence[Block | None], stored: dict[int, bytes], engine: TableEngine, scan: int
) -> Iterator[Block]:
    """The block in each place: the one that was cached, or decoded from its stored bytes and added to the cache."""
    for (run, at), block in zip(places, found, strict=True):
        if block is None:
            data = _present(stored.pop(run.id_of(at), None), run.id_of(at))
            block = checked_block(run, at, data, engine.path)
            block.is_cached = engine.cache.keep((run.digest, at), block, scan)
        yield block


def _present(data: bytes | None, number: int) -> bytes:
    if data is None:
        raise StoreCorruptError(f"block {number} is missing")
    return data
