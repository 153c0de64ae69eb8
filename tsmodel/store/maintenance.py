"""Maintenance of a store: info, verify, backup, recover, compact.

Rules kept here:

* `info`, `verify` and `recover` never write to the file they read. `verify` and `recover` accept damaged files and continue
  after each fault.
* A new file is written under a temporary name, synced and verified before it is renamed. Its path holds a complete store or
  nothing.
* Memory use does not grow with the records: one block at a time is in memory, or about 100 MiB of blocks during a merge.
  Directories grow with the file, by 104 bytes per block.
* `progress(done, total)` counts stored bytes of blocks. In the last call, both are equal. An exception from it stops the
  operation, and no new file is left behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from heapq import heappop, heappush
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from tsmodel.errors import StoreCorruptError, StoreError, UnsupportedError
from tsmodel.keys import LIMITS
from tsmodel.store.blocks import Block, uses_codec
from tsmodel.store.directory import Directory, Level, State, Table, checked_block, entries_of
from tsmodel.store.interface import SupersededError
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.parts import Codec
from tsmodel.store.sqlite import SQLiteEngine, SQLiteTables, check_schema, examined, new_file, read_state
from tsmodel.store.tables import PUTS, REMOVALS, Kind, Snapshot, TableEngine
from tsmodel.timestamps import now_ns
from tsmodel.wire.sorting import is_sorted

if TYPE_CHECKING:
    from tsmodel.store.store import EmbeddedStore

__all__ = [
    "CidInfo",
    "Compacted",
    "Fault",
    "Info",
    "OnProgress",
    "Recovered",
    "Verified",
    "backup",
    "compact",
    "info",
    "info_of",
    "recover",
    "verify",
    "verify_store",
]

OnProgress: TypeAlias = Callable[[int, int], object]
"""Called with the bytes of blocks done so far, and the bytes of all blocks."""

PathLike: TypeAlias = "str | os.PathLike[str]"
_Ends: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""First and last key, without cid."""

_NO_ACQ: Final = "it says that no acq was ever assigned, but there are records: readers may miss later ones"
_MOST_MESSAGES: Final = 100
"""Most faults in SQLite's own structure that are reported."""
_BEHIND: Final = 2**17
"""How many numbers after the last readable one are tried when the state of the file is lost."""
_FRUITLESS: Final = 10_000
"""How many reads may fail before a table counts as unreadable."""
_STEP: Final = 32 * 2**20
"""Bytes of records merged in one transaction."""
_WINDOW: Final = 8 * 2**20
"""Bytes of records from which a time window is merged on its own, if each series has enough records in it."""
_DENSE: Final = 256
"""Records per series that are enough."""
_FAN: Final = 16
"""How many chains of runs are merged at once. One block per chain is read ahead, which is less than half of a step."""
_MOST_TOGETHER: Final = 64
"""Most small cids that are merged in one transaction. More would hardly be faster, and writers would wait longer."""
_HIDING: Final = ("schema", "journal", "pages", "runs", "blocks", "run")
"""Places of faults that may hide an unknown number of records."""


@attrs.frozen
class Fault:
    """Something wrong with a file.

    Attributes:
        where: `header`, `schema`, `journal`, `pages`, `state`, `runs`, `blocks`, `puts`, `removals`, `run 3`, `block 17`,
            `put 5` or `removal 2`.
        what: what is wrong there.
        records: how many records are unreadable because of it; 0 if none, or if the number is unknown.
    """

    where: str
    what: str
    records: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@attrs.frozen
class Verified:
    """What `verify` found.

    Attributes:
        path: the file.
        records: number of readable records.
        bytes: their size as rows in GET form.
        stored: bytes of their blocks in the file.
        runs: number of runs with a readable directory.
        blocks: number of intact blocks.
        ahead: number of records with an acq above the last assigned one: a PUTA stored them with an acq in the future.
        faults: everything that is wrong.
    """

    path: str
    records: int
    bytes: int
    stored: int
    runs: int
    blocks: int
    ahead: int
    faults: tuple[Fault, ...]

    @property
    def is_whole(self) -> bool:
        """Whether there are no faults."""
        return not self.faults

    def __str__(self) -> str:
        blocks, runs = _counted(self.blocks, "block"), _counted(self.runs, "run")
        lines = [f"{self.path}: {_counted(self.records, 'record')} in {blocks} of {runs}"]
        lines += [f"  {fault}" for fault in self.faults] or ["  no faults"]
        return "\n".join(lines)


@attrs.frozen
class Recovered:
    """What `recover` saved.

    Attributes:
        path: the new file.
        records: number of records in it.
        blocks: number of blocks in it.
        faults: what is wrong with the old file. `records` of a fault is the number of records lost, where it is known.
    """

    path: str
    records: int
    blocks: int
    faults: tuple[Fault, ...]

    @property
    def lost(self) -> int:
        """Number of records known to be lost."""
        return sum(fault.records for fault in self.faults)

    @property
    def may_have_lost_more(self) -> bool:
        """Whether a fault may hide records that cannot be counted: a missing journal, an unreadable table or directory."""
        return any(fault.where.partition(" ")[0] in _HIDING and not fault.records for fault in self.faults)

    def __str__(self) -> str:
        found = [f"{_counted(self.records, 'record')} recovered"]
        if self.lost or not self.may_have_lost_more:
            found.append(f"{self.lost} known to be lost")
        if self.may_have_lost_more:
            found.append("there may be more" if self.lost else "how many were lost is not known")
        lines = [f"{self.path}: {', '.join(found)}"]
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])


@attrs.frozen
class Compacted:
    """What `compact` did.

    Attributes:
        bytes_before: size of the file before, with its WAL checkpointed.
        bytes_after: size of the file after. While a reader holds an older snapshot, the file shrinks only with a later put.
        runs_before: number of runs before.
        runs_after: number of runs after.
    """

    bytes_before: int
    bytes_after: int
    runs_before: int
    runs_after: int


@attrs.frozen
class CidInfo:
    """The contents of a file for one cid; attributes as in `Info`."""

    records: int
    series: int
    runs: int
    blocks: int
    stored: int
    cap: tuple[int, int]
    acq: tuple[int, int]


@attrs.frozen
class Info:
    """The contents of a file. Times are ns since 2001; spans include both ends.

    Attributes:
        path: the file.
        file_bytes: its size, with its WAL checkpointed.
        free_bytes: how much of that is free for later puts.
        records: number of records.
        series: number of distinct (cid, mid, moid).
        runs: number of runs.
        blocks: number of blocks.
        bytes: size of the records as rows in GET form.
        stored: bytes of their blocks.
        cap: least and greatest capture time; None without records.
        acq: least and greatest acquisition time; None without records.
        last_acq: the greatest acq assigned or promised.
        cids: the same numbers for each cid.
        puts: number of logged puts; `session.puts()` lists them.
        removals: number of logged removals; `session.removals()` lists them.
    """

    path: str
    file_bytes: int
    free_bytes: int
    records: int
    series: int
    runs: int
    blocks: int
    bytes: int
    stored: int
    cap: tuple[int, int] | None
    acq: tuple[int, int] | None
    last_acq: int
    cids: dict[int, CidInfo]
    puts: int
    removals: int

    @property
    def bytes_per_record(self) -> float:
        """Stored bytes per record; 0 without records."""
        return self.stored / self.records if self.records else 0.0


def info(path: PathLike) -> Info:
    """Describes the contents of a file. Decodes no payloads, and of the keys only mid and moid, to count series.

    Raises:
        StoreFormatError: if it is not a store, or has another format.
        StoreCorruptError: if it is damaged; `verify` lists every fault.
        StoreError: if it cannot be read.
    """
    name = os.fspath(path)
    with closing(SQLiteEngine(name, 0, read_only=True)) as engine, engine.reading() as snapshot:
        return _info(name, snapshot)


def info_of(store: EmbeddedStore) -> Info:
    """Like `info`, for an open store in a file or in PostgreSQL.

    Raises:
        UnsupportedError: for a store in memory.
        StoreCorruptError: if it is damaged.
        StoreError: if it cannot be read.
    """
    engine = _tabular(store, "info", "query it instead")
    with engine.reading() as snapshot:
        return _info(engine.path, snapshot)


def _info(name: str, snapshot: Snapshot) -> Info:
    cids = {}
    table = snapshot.table
    for cid in table.cids:
        runs = table.of_cid(cid)
        entries = np.concatenate([run.entries for run in runs])
        cids[cid] = CidInfo(
            records=sum(run.count for run in runs),
            series=len({one for run in runs for at in range(len(run.entries)) for one in _series(snapshot, run, at)}),
            runs=len(runs),
            blocks=len(entries),
            stored=sum(run.length for run in runs),
            cap=(int(entries["cap_min"].min()), int(entries["cap_max"].max())),
            acq=(int(entries["acq_min"].min()), int(entries["acq_max"].max())),
        )
    found = list(cids.values())
    file_bytes, free_bytes = snapshot.sizes()
    return Info(
        path=name,
        file_bytes=file_bytes,
        free_bytes=free_bytes,
        records=sum(each.records for each in found),
        series=sum(each.series for each in found),
        runs=len(table.runs),
        blocks=sum(each.blocks for each in found),
        bytes=sum(run.size for run in table.runs.values()),
        stored=sum(each.stored for each in found),
        cap=_span([each.cap for each in found]),
        acq=_span([each.acq for each in found]),
        last_acq=snapshot.last_acq(),
        cids=cids,
        puts=sum(1 for _ in snapshot.puts()),
        removals=sum(1 for _ in snapshot.removals()),
    )


def verify(path: PathLike, progress: OnProgress | None = None) -> Verified:
    """Reads a whole file and reports every fault. Writers may continue meanwhile.

    Checks the header, tables, WAL, SQLite's pages, state, directories, and the log of puts and removals. For each block,
    checks the checksum, the columns, and that its records are sorted, lie within its bounds and follow those of the block
    before. Checks acqs against the promise of `last_acq`.

    Never writes to the file. If a process died and left a WAL, or the first page is damaged, works on a temporary copy.

    Args:
        path: the file.
        progress: called with the bytes of blocks read so far, and of all blocks.

    Returns:
        The faults and counts; `is_whole` is true if there are no faults.

    Raises:
        StoreFormatError: if it is not a store, or has another format.
        StoreError: if it cannot be read.

    >>> verify("readings.tsdb").is_whole  # doctest: +SKIP
    True
    """
    faults: list[Fault] = []
    with examined(Path(path), lambda where, what: faults.append(Fault(where, what))) as connection:
        contents = _Contents(connection, faults)
        contents.check_pages()
        return _verified(os.fspath(path), contents, faults, progress)


def verify_store(store: EmbeddedStore, progress: OnProgress | None = None) -> Verified:
    """Like `verify`, for an open store in a file or in PostgreSQL.

    In PostgreSQL, reads one snapshot and checks everything except PostgreSQL's own pages and indexes; `pg_amcheck` checks
    those.

    Args:
        store: the store.
        progress: called with the bytes of blocks read so far, and of all blocks.

    Raises:
        UnsupportedError: for a store in memory.
        StoreError: if it cannot be read.
    """
    engine = _tabular(store, "verify", "it has no stored bytes to check")
    faults: list[Fault] = []
    if isinstance(engine, SQLiteEngine):
        return verify(engine.path, progress)
    with engine.reading() as snapshot:
        return _verified(engine.path, _TableContents(snapshot, faults), faults, progress)


def _verified(name: str, contents: _Contents, faults: list[Fault], progress: OnProgress | None) -> Verified:
    state = contents.state
    runs = [run for run in contents.runs() if run.is_sure]
    contents.check_table([run.directory for run in runs])
    contents.check_history()
    records = size = stored = blocks = ahead = 0
    steps = _Steps(progress, sum(run.directory.length for run in runs))
    for run in runs:
        directory, last = run.directory, None
        for at, data, block in contents.blocks(run, steps):
            first, end = block.ends()
            if last is not None and first < last:
                contents.report(
                    f"block {directory.id_of(at)}",
                    f"it starts before the end of the previous block of run {directory.number}",
                )
            last = end
            blocks += 1
            records += block.count
            size += block.size
            stored += len(data)
            if state is not None and block.bounds[8] > state.last_acq:
                ahead += int((block.key("acq") > state.last_acq).sum())
    if state is not None and ahead and state.last_acq <= LIMITS["acq"].least:
        contents.report("state", _NO_ACQ)
    steps.end()
    return Verified(name, records, size, stored, len(runs), blocks, ahead, tuple(faults))


def recover(old: PathLike, new: PathLike, progress: OnProgress | None = None) -> Recovered:
    """Copies every intact block of a damaged file to a new one. The old file is only read.

    The cid and checksum of a block are in the directory of its run, so a block whose directory is lost cannot be recovered.
    From a damaged directory, `recover` takes only blocks that match the checksum and the record count in it and whose cid
    is certain. A lost state costs no records; the new file then promises that no later acq lies before the present. If the
    state says that no acq was ever assigned, but there are records, the new file promises that no later acq lies below
    those of its records, up to the present.

    Args:
        old: the damaged file.
        new: the file to create. If the first page of the old file is damaged, a temporary copy is made next to it.
        progress: called with the bytes of blocks read so far, and of all blocks.

    Returns:
        The number of recovered records, and every fault of the old file.

    Raises:
        StoreFormatError: if the old file is not a store, or has another format.
        StoreError: if the new file exists, or one of the files cannot be used.
    """
    target = _absent(new)
    faults: list[Fault] = []
    with examined(Path(old), lambda where, what: faults.append(Fault(where, what)), target.parent) as connection:
        contents = _Contents(connection, faults)
        runs = list(contents.runs())
        contents.check_table([run.directory for run in runs if run.is_sure])
        steps = _Steps(progress, sum(run.directory.length for run in runs))
        try:
            with new_file(target) as (made, filled):
                filling = _Filling(filled)
                for run in runs:
                    filling.add(run.directory.cid, contents.blocks(run, steps))
                last = filling.take_history(contents)
                # Readers were never promised more than the clock showed, apart from what the state and the puts say.
                if contents.state is None:
                    last = max(last, now_ns())
                elif contents.state.last_acq > LIMITS["acq"].least:
                    last = contents.state.last_acq
                else:
                    last = max(last, min(filling.acq, now_ns()))
                    if filling.acq > LIMITS["acq"].least:
                        contents.report("state", _NO_ACQ)
                filling.finish(last)
                filled.close()
                _check_made(made)
        except FileExistsError as error:
            raise _exists(target) from error
    steps.end()
    return Recovered(str(target), filling.records, filling.blocks, tuple(faults))


def backup(store: EmbeddedStore, path: PathLike, progress: OnProgress | None = None) -> Verified:
    """Copies a snapshot of an embedded file to a new file; readers and writers continue meanwhile. The copy is a closed
    store with the same blocks and the same `last_acq`.

    Checks every block against its checksum, and verifies the copy before renaming it to `path`. If the process dies,
    nothing is at `path`; a file ending in `.new` may be left next to it and can be deleted. The WAL grows by what others
    write meanwhile, because it cannot be checkpointed beyond the snapshot.

    Args:
        store: the store.
        path: the file to create.
        progress: called with the bytes of blocks copied so far, and of all blocks.

    Returns:
        The result of `verify` for the copy.

    Raises:
        UnsupportedError: if the store is not an embedded file.
        StoreCorruptError: if the store is damaged; `recover` saves the intact blocks.
        StoreError: if `path` exists or cannot be written.
    """
    engine = _engine(store, "backup", "copy its records to a file with session.copy(KeyRange(), to=other)")
    target = _absent(path)
    try:
        with engine.reading() as snapshot, new_file(target) as (made, connection):
            runs = sorted(snapshot.table.runs.values(), key=lambda run: run.number)
            steps = _Steps(progress, sum(run.length for run in runs))
            filling = _Filling(connection)
            for run in runs:
                for at in range(len(run.entries)):
                    try:
                        data = snapshot.stored(run, at)
                    except sqlite3.Error as error:  # from reading the store, not from writing the copy
                        raise StoreCorruptError(f"block {run.id_of(at)} cannot be read: {error}") from error
                    if len(data) != run.entries["length"][at] or xxh3_64_intdigest(data) != run.entries["checksum"][at]:
                        raise StoreCorruptError(f"block {run.id_of(at)} has a wrong checksum")
                    filling.write(run.id_of(at), data)
                    steps.add(len(data))
                filling.keep(run)
            for kind in (PUTS, REMOVALS):
                filling.remember(kind, snapshot.history(kind))  # the copy is verified
            filling.finish_as(msgspec.structs.replace(snapshot.state, is_open=False))
            connection.close()
            report = _check_made(made)
    except FileExistsError as error:
        raise _exists(target) from error
    steps.end()
    return attrs.evolve(report, path=str(target))


def compact(store: EmbeddedStore, progress: OnProgress | None = None) -> Compacted:
    """Merges the runs of each cid, compresses their blocks more strongly, and frees unused space. A file returns the
    space to the file system; PostgreSQL tables keep it for later puts.

    Merges large cids by time windows, so that a query for one hour of all series reads few blocks.

    Works in transactions of about 32 MiB of records, so other readers and writers continue; their new puts stay in separate
    runs. If the process dies, the file is intact, has the same records, and is partly merged. Only the last step, which
    shrinks a file, blocks writers for as long as copying the file takes.

    A file needs as much free space next to it as it uses, and the same again in SQLite's temporary directory (environment
    variable SQLITE_TMPDIR).

    Args:
        store: the store.
        progress: called with the bytes of blocks merged so far, and of all blocks.

    Raises:
        UnsupportedError: for a store in memory.
        StoreCorruptError: if the store is damaged; `recover` saves the intact blocks.
        StoreError: if there is too little free space, or the store is read-only.
    """
    engine = _tabular(store, "compact", "it has no file to shrink")
    with engine.reading() as snapshot:
        table = snapshot.table
        before, free = snapshot.sizes()
    if isinstance(engine, SQLiteEngine):
        _check_space(engine.path, before - free)
    runs_before = len(table.runs)
    groups = [(cid, group) for cid in table.cids for group in _by_time(table.of_cid(cid))]
    lengths = [sum(run.length for run in group) for _, group in groups]
    steps = _Steps(progress, sum(lengths))
    is_changed = False
    for some in _together(groups):
        mergings: list[_Merging] = []
        for (cid, group), length in zip(groups[some], lengths[some], strict=True):
            limit = (mergings[-1].limit if mergings else steps.done) + length
            mergings.append(_Merging(engine, cid, {run.number for run in group}, steps, limit))
        is_changed |= len(mergings) > 1 and _merge_together(engine, mergings)
        for merging in mergings:
            is_changed |= merging.all()
            steps.add(merging.limit - steps.done)
    if isinstance(engine, SQLiteEngine) and (is_changed or free):
        engine.shrink()
    steps.end()
    with engine.reading() as snapshot:
        after, runs = snapshot.sizes()[0], len(snapshot.table.runs)
    return Compacted(before, after, runs_before, runs)


def _by_time(runs: Sequence[Directory]) -> Iterator[list[Directory]]:
    """Groups the runs of one cid by time, for merging. Each group is large and has enough records of each series."""
    group: list[Directory] = []
    size = count = series = 0
    for run in sorted(runs, key=lambda run: (int(run.entries["cap_min"].min()), run.number)):
        group.append(run)
        size, count, series = size + run.size, count + run.count, max(series, run.series or run.count)
        if size >= _WINDOW and count >= _DENSE * series:
            yield group
            group, size, count, series = [], 0, 0, 0
    if group:
        yield group


def _together(groups: Sequence[tuple[int, Sequence[Directory]]]) -> Iterator[slice]:
    """Splits groups into slices that one transaction can merge: a commit costs more than merging a small cid."""
    start = size = 0
    for at, (_, runs) in enumerate(groups):
        own = sum(run.size for run in runs)
        if at > start and (size + own > _STEP // 4 or at - start == _MOST_TOGETHER):
            yield slice(start, at)
            start, size = at, 0
        size += own
    if start < len(groups):
        yield slice(start, len(groups))


def _merge_together(engine: TableEngine, mergings: Iterable[_Merging]) -> bool:
    """Takes the first step of several mergings in one transaction; returns whether anything changed."""
    with engine.reading() as snapshot:
        waiting = [merging for merging in mergings if not merging.is_done(snapshot)]
    if not waiting:
        return False
    with suppress(SupersededError), engine.preparing() as transaction:
        steps = [merging.prepared(transaction) for merging in waiting]
        transaction.confirm([run for step in steps for run in step.runs.values()])
        for merging, step in zip(waiting, steps, strict=True):
            merging.taken(transaction, step)
    return True


class _Step(NamedTuple):
    """A step of a merging, whose new runs are staged.

    Attributes:
        runs: the runs that are merged, by number.
        cuts: how many blocks of each were merged.
        merged: the new runs of the merged blocks.
        beyond: the new runs of records that must be merged again.
    """

    runs: dict[int, Directory]
    cuts: dict[int, int]
    merged: list[Directory]
    beyond: list[Directory]


class _Merging:
    """Merges the `known` runs of one cid into runs that do not overlap, and leaves runs that are added meanwhile alone.

    Runs that do not overlap form a chain. A step merges the first blocks of several chains, up to the key beyond which
    unread blocks could hold records. It stores the result as one run, the records beyond that key as another, and removes
    the merged blocks from the chains. `limit` is the progress, in bytes, when everything is merged.
    """

    def __init__(self, engine: TableEngine, cid: int, known: set[int], steps: _Steps, limit: int) -> None:
        self._engine, self._cid, self._known = engine, cid, known
        self._steps, self.limit = steps, limit
        self._known_ends: dict[int, _Ends] = {}

    def is_done(self, snapshot: Any) -> bool:
        """Whether there is nothing left to merge."""
        return self._is_merged(snapshot, self._chains(snapshot, self._known))

    def _is_merged(self, snapshot: Any, chains: list[list[Directory]]) -> bool:
        return len(chains) <= 1 and all(self._is_tight(snapshot, chain) for chain in chains)

    def all(self) -> bool:
        """Merges everything; returns whether anything changed."""
        is_changed = False
        while True:
            with self._engine.reading() as snapshot:
                chains = self._chains(snapshot, self._known)
                if self._is_merged(snapshot, chains):
                    return is_changed
            is_changed = True
            is_last = len(chains) <= _FAN
            group = _smallest(chains)
            while group:
                group = self._step(group)
            if is_last:
                return True

    def _step(self, group: set[int]) -> set[int]:
        """Merges the start of a group of runs; returns the numbers of the remaining runs."""
        left = group
        with suppress(SupersededError), self._engine.preparing() as transaction:
            step = self.prepared(transaction, group)
            transaction.confirm(list(step.runs.values()))
            left = self.taken(transaction, step)
        if left is group:
            return group  # another writer changed these runs meanwhile
        done = sum(int(step.runs[number].entries["length"][:count].sum()) for number, count in step.cuts.items())
        self._steps.add(min(done, self.limit - self._steps.done))
        return left

    def prepared(self, transaction: Any, group: set[int] | None = None) -> _Step:
        """Stages the merged start of a group of runs, by default of those to begin with."""
        view = transaction.view
        present = {run.number for run in view.table.of_cid(self._cid)}
        self._known &= present  # another writer's put may have merged small runs
        if group is None:
            group = _smallest(self._chains(view, self._known))
        group &= present
        chains = self._chains(view, group)
        known, beyond, cuts = view.beginning(chains, _STEP)
        merged = []
        if known:
            is_large = sum(block.size for block in known) >= _STEP // 2
            level = Level.FINAL if is_large else Level.PUT
            merged.append(transaction.stage(self._cid, known, level=level, codec=Codec.ZSTD))
        rest = [transaction.stage(self._cid, beyond)] if beyond else []
        return _Step({run.number: run for chain in chains for run in chain}, cuts, merged, rest)

    def taken(self, transaction: Any, step: _Step) -> set[int]:
        """Replaces the merged runs by the new ones, once they are confirmed; returns the numbers of the remaining runs."""
        left = {number for number in step.runs if number not in step.cuts}
        for number, count in step.cuts.items():
            self._known.discard(number)
            if (rest := transaction.drop(step.runs[number], count)) is not None:
                left.add(rest)
                self._known.add(rest)
        for each in (*step.merged, *step.beyond):
            transaction.keep(each)
            self._known.add(each.number)
        return left | {each.number for each in step.beyond}

    def _chains(self, snapshot: Any, numbers: set[int]) -> list[list[Directory]]:
        """Groups the runs into as few chains as possible."""
        found = [run for run in snapshot.table.of_cid(self._cid) if run.number in numbers]
        chains: list[list[Directory]] = []
        free: list[tuple[tuple[int, ...], int]] = []
        for run in sorted(found, key=lambda run: self._ends(snapshot, run)):
            first, last = self._ends(snapshot, run)
            if free and free[0][0] <= first:
                _, at = heappop(free)
                chains[at].append(run)
            else:
                at = len(chains)
                chains.append([run])
            heappush(free, (last, at))
        return chains

    def _ends(self, snapshot: Any, run: Directory) -> _Ends:
        """The first and last key of a run."""
        if run.digest not in self._known_ends:
            first, last = snapshot.read(run, 0), snapshot.read(run, len(run.entries) - 1)
            self._known_ends[run.digest] = (first.ends()[0], last.ends()[1])
        return self._known_ends[run.digest]

    def _is_tight(self, snapshot: Any, chain: list[Directory]) -> bool:
        """Whether merging a chain would change nothing: only its last run is small, and no block is compressed fast."""
        if any(run.size < _STEP // 2 for run in chain[:-1]):
            return False
        for run in chain:
            for at in range(len(run.entries)):
                data = snapshot.stored(run, at)
                checked_block(run, at, data)
                if uses_codec(memoryview(data), Codec.LZ4):
                    return False
        return True


def _smallest(chains: list[list[Directory]]) -> set[int]:
    """The numbers of the runs in the smallest chains, as many as one merge takes."""
    chains.sort(key=lambda chain: sum(run.size for run in chain))
    return {run.number for chain in chains[:_FAN] for run in chain}


def _check_space(path: str, used: int) -> None:
    """Checks that there is enough disk space to compact a file that uses `used` bytes."""
    beside = Path(path).resolve().parent
    names = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    usual = ["/var/tmp", "/usr/tmp", "/tmp"] if os.name == "posix" else [tempfile.gettempdir()]  # noqa: S108 - where SQLite looks
    temporary = next((Path(name) for name in [*names, *usual] if name and Path(name).is_dir()), beside)
    is_one = temporary.stat().st_dev == beside.stat().st_dev
    for place, needed in ((beside, (2 if is_one else 1) * used + 4 * _STEP), (temporary, used)):
        if (free := shutil.disk_usage(place).free) < needed:
            raise StoreError(
                f"compacting {path} needs {needed:,} bytes of free space in {place}, which has {free:,}: free some space"
                + ("" if place == beside else ", or set SQLITE_TMPDIR to another directory"),
                path=path,
            )


class _Run(NamedTuple):
    """A run of a file that may be damaged. If the checksum of its directory does not match, the run is not `is_sure`: each
    block must then confirm what the directory says."""

    directory: Directory
    is_sure: bool


class _Contents:
    """Reads a snapshot of a file that may be damaged. Adds each fault to `faults` once."""

    _errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error, UnicodeDecodeError, StoreCorruptError, OverflowError)
    """Exceptions that damage may raise."""

    def __init__(self, connection: Any, faults: list[Fault]) -> None:
        self._connection = connection
        self._faults = faults
        self.state: State | None = None
        self._begin()

    def _begin(self) -> None:
        connection = self._connection
        try:
            check_schema(connection)
        except (sqlite3.Error, StoreCorruptError, UnicodeDecodeError) as error:
            if not any(fault.where == "schema" for fault in self._faults):
                self.report("schema", str(error))
        try:
            self.state = read_state(connection)
        except (sqlite3.Error, StoreCorruptError) as error:
            self.report("state", f"it cannot be read: {error}")

    def report(self, where: str, what: str, records: int = 0) -> None:
        """Adds a fault."""
        self._faults.append(Fault(where, what, records))

    def check_pages(self) -> None:
        """Runs SQLite's integrity check: pages that are lost, used twice, or wrongly linked."""
        is_mended = any(fault.where in ("header", "schema") for fault in self._faults)
        try:
            for (message,) in self._connection.execute(f"PRAGMA integrity_check({_MOST_MESSAGES})"):
                # A first page that had to be replaced no longer says which pages are free.
                if message != "ok" and not (is_mended and "never used" in str(message)):
                    self.report("pages", " ".join(str(message).split()))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.report("pages", str(error))

    def runs(self) -> Iterator[_Run]:
        """Yields the runs with a readable directory, damaged or not."""
        bound = None if self.state is None else self.state.next_run
        for number in self._numbers("runs", "number", bound):
            try:
                cid, digest, data = self._run(number)
            except self._errors as error:
                self.report(f"run {number}", f"its directory cannot be read: {error}; its blocks cannot be identified")
                continue
            if not (isinstance(cid, int) and isinstance(digest, bytes) and isinstance(data, bytes)):
                self.report(f"run {number}", "its columns have the wrong types; its blocks cannot be identified")
                continue
            try:
                yield _Run(Directory.from_bytes(data, number, cid, int.from_bytes(digest, "little")), is_sure=True)
            except StoreCorruptError as error:
                self.report(f"run {number}", str(error))
                if (doubtful := Directory.doubtful(data, number, cid)) is not None:
                    yield _Run(doubtful, is_sure=False)

    def check_table(self, runs: Sequence[Directory]) -> None:
        """Checks that the runs match the state and that each block belongs to exactly one run."""
        state = self.state
        if state is not None and not Table({run.number: run for run in runs}).matches(state):
            self.report("runs", f"found {len(runs)} intact runs, but the state of the file says {state.runs}")
        owned: dict[int, int] = {}
        for run in runs:
            ids = run.ids.tolist()
            if state is not None and (run.number >= state.next_run or ids[-1] >= state.next_block):
                self.report(f"run {run.number}", "it has numbers that were not assigned yet")
            for block in ids:
                if owned.setdefault(block, run.number) != run.number:
                    self.report(f"block {block}", f"run {owned[block]} and run {run.number} both claim it")
        bound = None if state is None else state.next_block
        orphans = [number for number in self._numbers("blocks", "id", bound) if number not in owned]
        for first, last in _spans(orphans):
            where = f"block {first}" if first == last else f"blocks {first} to {last}"
            self.report(where, "no intact directory refers to it")

    def check_history(self) -> None:
        """Checks the log of puts and removals."""
        state = self.state
        for kind in (PUTS, REMOVALS):
            digest = 0
            for number, data in self.history(kind):
                digest = kind.changed(digest, data)
                if state is not None and number >= kind.following(state):
                    self.report(f"{kind.one} {number}", "it has a number that was not assigned yet")
            if state is not None and digest != kind.digest(state):
                self.report(kind.table, f"the intact entries do not match the {kind.table} checksum of the file's state")

    def history(self, kind: Kind[Any]) -> Iterator[tuple[int, bytes]]:
        """Yields the intact puts or removals: number and stored bytes."""
        for number in self._numbers(kind.table, "number", None if self.state is None else kind.following(self.state)):
            try:
                data = self._entry(kind, number)
                kind.from_bytes(data, number)
            except self._errors as error:
                self.report(f"{kind.one} {number}", str(error))
            else:
                yield number, data

    def blocks(self, run: _Run, steps: _Steps) -> Iterator[tuple[int, bytes, Block]]:
        """Yields the intact blocks of a run: position, stored bytes, and block with the actual bounds of its keys."""
        for at, length in enumerate(run.directory.entries["length"].tolist()):
            steps.add(length)
            if (found := self.block(run, at)) is not None:
                yield at, *found

    def block(self, run: _Run, at: int) -> tuple[bytes, Block] | None:
        """See `blocks`; None if the block is damaged."""
        directory = run.directory
        number, count = directory.id_of(at), int(directory.entries["count"][at])
        try:
            data = self._block(number)
            if not isinstance(data, bytes):
                raise StoreCorruptError("it is missing")
            block = checked_block(directory, at, data)
            cids, keys = block.chunk().key("cid"), block.keys()
            block.payloads()
            if (marks := block.marks) is not None and (
                marks.min() < 0 or (self.state is not None and marks.max() >= self.state.next_put)
            ):
                raise StoreCorruptError("its records are marked with puts that do not exist")
            bounds = (directory.cid, *(int(end) for key in keys for end in (key.min(), key.max())))
            if (cids != directory.cid).any():
                raise StoreCorruptError(f"it holds records of a cid other than {directory.cid}")
            if not is_sorted(keys):
                raise StoreCorruptError("its records are not sorted")
            if run.is_sure and bounds != block.bounds:
                self.report(f"block {number}", f"its keys lie between {bounds}, but its directory says {block.bounds}")
        except self._errors as error:
            if run.is_sure:
                self.report(f"block {number}", f"{error}, of run {directory.number}, cid {directory.cid}", count)
            else:
                self.report(f"block {number}", f"{error}, according to the damaged directory of run {directory.number}")
            return None
        block.bounds = bounds
        return data, block

    def _run(self, number: int) -> Any:
        """The cid, digest and directory of a run."""
        query = "SELECT cid, digest, directory FROM runs WHERE number = ?"
        row = self._connection.execute(query, (number,)).fetchone()
        if row is None:
            raise StoreCorruptError("it is missing")
        return row

    def _entry(self, kind: Kind[Any], number: int) -> Any:
        """The stored bytes of a put or removal; None if it is missing."""
        row = self._connection.execute(f"SELECT data FROM {kind.table} WHERE number = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None else row[0]

    def _block(self, number: int) -> Any:
        """The stored bytes of a block; None if it is missing."""
        row = self._connection.execute("SELECT data FROM blocks WHERE id = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def _numbers(self, table: str, column: str, bound: int | None) -> list[int]:
        """The row numbers of a table; skips unreadable pages."""
        query = f"SELECT {column} FROM {table} WHERE {column} >= ? AND {column} < ? ORDER BY {column}"  # noqa: S608
        found: list[int] = []
        problem = ""
        failures = 0
        ranges = [(0, 2**62)]
        while ranges and (found or failures < _FRUITLESS):
            low, high = ranges.pop()
            following = low
            try:
                for (number,) in self._connection.execute(query, (low, high)):
                    if not isinstance(number, int) or not following <= number < high:
                        raise sqlite3.DatabaseError("its rows are not in order")
                    found.append(number)
                    following = number + 1
            except sqlite3.Error as error:
                problem = problem or str(error)
                failures += 1
                high = min(high, following + _BEHIND if bound is None else bound)
                if high - following > 1:
                    middle = (following + high) // 2
                    ranges += [(middle, high), (following, middle)]
        if problem:
            self.report(table, f"part of the table cannot be read: {problem}")
        return sorted(set(found))


class _TableContents(_Contents):
    """Reads tables that may be damaged, through an engine whose database can read all of its rows."""

    _errors: ClassVar[tuple[type[Exception], ...]] = (StoreCorruptError, OverflowError)
    _connection: Snapshot

    def _begin(self) -> None:
        self.state = self._connection.state
        self._entries = {kind.table: dict(self._connection.history(kind)) for kind in (PUTS, REMOVALS)}
        self._runs = self._connection.tables.run_rows()

    def _run(self, number: int) -> Any:
        return self._runs[number]

    def _entry(self, kind: Kind[Any], number: int) -> Any:
        return self._entries[kind.table].get(number)

    def _block(self, number: int) -> Any:
        return self._connection.tables.fetch_blocks([number]).get(number)

    def _numbers(self, table: str, column: str, bound: int | None) -> list[int]:  # noqa: ARG002 - every row is readable
        if table == "runs":
            return sorted(self._runs)
        return sorted(self._entries[table]) if table in self._entries else self._connection.tables.block_ids()


class _Filling:
    """Writes encoded blocks to a new file, which no other process sees before it is complete and synced."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF").fetchone()
        connection.execute("BEGIN")
        self._connection, self._tables = connection, SQLiteTables(connection)
        self.records = self.blocks = 0
        self._runs = self._digest = 0
        self._next_run = self._next_block = 1
        self.acq, self._mark = LIMITS["acq"].least, 0
        """The greatest acq and mark of the blocks that were added."""
        self._history: dict[str, int] = {}

    def write(self, number: int, data: bytes) -> None:
        """Writes a block."""
        self._tables.add_blocks(number, [data])
        self._next_block = max(self._next_block, number + 1)

    def keep(self, run: Directory) -> None:
        """Writes the directory of a run."""
        self._tables.add_run(run, 0)
        self._tables.flush()
        self._runs += 1
        self._digest = (self._digest + run.digest) % 2**128
        self._next_run = max(self._next_run, run.number + 1)
        self.blocks += len(run.entries)
        self.records += run.count

    def add(self, cid: int, blocks: Iterable[tuple[int, bytes, Block]]) -> None:
        """Writes blocks as a new run, or as several where they overlap."""
        entries: list[npt.NDArray[Any]] = []
        last: tuple[int, ...] | None = None
        for _, data, block in blocks:
            first, end = block.ends()
            if last is not None and first < last:
                self._add_run(cid, entries)
                entries = []
            entries.append(entries_of([block], [data]))
            last = end
            self.write(self._next_block, data)
            self.acq = max(self.acq, block.bounds[8])
            self._mark = max(self._mark, 0 if block.marks is None else int(block.marks.max()))
        if entries:
            self._add_run(cid, entries)

    def _add_run(self, cid: int, entries: list[npt.NDArray[Any]]) -> None:
        first = self._next_block - len(entries)
        self.keep(Directory.of_entries(self._next_run, cid, first, np.concatenate(entries)))

    def remember(self, kind: Kind[Any], rows: Iterable[tuple[int, bytes]]) -> tuple[int, int]:
        """Writes puts or removals; returns the last number and the sum of the checksums."""
        last = digest = 0
        for number, data in rows:
            self._tables.add_entry(kind, number, data)
            last, digest = number, kind.changed(digest, data)
        return last, digest

    def take_history(self, contents: _Contents) -> int:
        """Copies the intact puts and removals of a damaged file. Returns the greatest acq that a known PUT assigned."""
        greatest = LIMITS["acq"].least

        def puts() -> Iterator[tuple[int, bytes]]:
            nonlocal greatest
            for number, data in contents.history(PUTS):
                put = PUTS.from_bytes(data, number)
                greatest = greatest if put.keeps_acq else max(greatest, put.acq_max)
                yield number, data

        last_put, puts_digest = self.remember(PUTS, puts())
        last_removal, removals_digest = self.remember(REMOVALS, contents.history(REMOVALS))
        state = contents.state or State()
        self._history = {
            "next_put": max(last_put + 1, self._mark + 1, state.next_put),
            "next_removal": max(last_removal + 1, state.next_removal),
            "puts_digest": puts_digest,
            "removals_digest": removals_digest,
        }
        return greatest

    def finish(self, last_acq: int) -> None:
        """Writes a state for what was written."""
        counted = {"runs": self._runs, "digest": self._digest, "next_run": self._next_run, "next_block": self._next_block}
        self.finish_as(msgspec.structs.replace(State(last_acq), **counted, **self._history))

    def finish_as(self, state: State) -> None:
        """Writes a known state."""
        self._tables.write_state(state)
        self._connection.execute("COMMIT")


class _Steps:
    """Reports progress."""

    def __init__(self, progress: OnProgress | None, total: int) -> None:
        self._progress, self._total, self.done = progress, total, 0

    def add(self, done: int) -> None:
        self.done += done
        if self._progress is not None and done and self.done < self._total:
            self._progress(self.done, self._total)

    def end(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total)


def _check_made(path: Path) -> Verified:
    """Verifies a newly written file."""
    report = verify(path)
    if not report.is_whole:
        raise StoreError(f"{path} does not read back as it was written: {report.faults[0]}; check the disk", path=str(path))
    return report


def _engine(store: EmbeddedStore, what: str, instead: str) -> SQLiteEngine:
    engine = store.engine
    if not isinstance(engine, SQLiteEngine):
        where = "in memory" if engine.path is None else f"in {engine.path}"
        raise UnsupportedError(f"{what} works on embedded files only, and this store is {where}: {instead}")
    return engine


def _tabular(store: EmbeddedStore, what: str, instead: str) -> TableEngine:
    engine: Any = store.engine
    if isinstance(engine, MemoryEngine):
        raise UnsupportedError(
            f"{what} works on embedded files and PostgreSQL only, and this store is in memory: {instead}"
        )
    found: TableEngine = engine
    return found


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _absent(path: PathLike) -> Path:
    target = Path(path)
    if target.exists() or target.is_symlink():
        raise _exists(target)
    for end in ("-wal", "-journal"):
        if Path(f"{target}{end}").exists():
            raise StoreError(
                f"{target}{end} exists, and SQLite would read it as the journal of {target}; move it away, or choose "
                "another path",
                path=str(target),
            )
    if not target.parent.is_dir():
        raise StoreError(f"{target}: there is no directory {target.parent}; create it first", path=str(target))
    return target


def _exists(target: Path) -> StoreError:
    return StoreError(f"{target} exists; give the path of a new file", path=str(target))


def _series(snapshot: Snapshot, run: Directory, at: int) -> set[tuple[int, int]]:
    """The series of a block. The bounds of most blocks show that they hold just one."""
    mid_min, mid_max, moid_min, moid_max = run.bounds(at)[1:5]
    if mid_min == mid_max and moid_min == moid_max:
        return {(mid_min, moid_min)}
    block = checked_block(run, at, snapshot.stored(run, at))
    pairs = np.stack([block.key("mid"), block.key("moid").astype(np.int64)], axis=1)
    begins = np.append(True, (pairs[1:] != pairs[:-1]).any(axis=1))
    return set(map(tuple, pairs[begins].tolist()))


def _span(spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None


def _spans(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Groups ascending numbers into spans without gaps."""
    for _, group in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        span = [number for _, number in group]
        yield span[0], span[-1]
