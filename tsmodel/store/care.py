"""Looking after a file: what is in it, whether it is whole, copying it, saving what is left of it, making it smaller.

Rules kept here:

* `info`, `verify` and `recover` only read the file they are given. `verify` and `recover` take damaged files, and go on
  behind each fault.
* What makes a new file fills it under a name of its own, syncs it, reads all of it again, and only then gives it its name:
  at that path there is a whole store or nothing.
* Memory does not grow with the file: blocks are held one at a time, or some 100 MiB of them while they are merged. What
  grows with it are the directories, 104 bytes a block.
* `progress(done, total)` counts bytes of blocks as they are stored; the last call has both equal. What it raises ends the
  work, which then leaves no new file.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, suppress
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeAlias

import attrs
import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from tsmodel.errors import StoreCorruptError, StoreError, UnsupportedError
from tsmodel.keys import LIMITS
from tsmodel.store.blocks import Block, uses_codec
from tsmodel.store.directory import Directory, Level, State, Table, checked_block, entries_of
from tsmodel.store.engine import SupersededError
from tsmodel.store.history import PUTS, REMOVALS, Kind
from tsmodel.store.memory import MemoryEngine
from tsmodel.store.parts import Codec
from tsmodel.store.sqlite import SQLiteEngine, check_schema, examined, new_file, read_state, write_state
from tsmodel.store.store import EmbeddedStore
from tsmodel.store.tables import Snapshot, Transaction
from tsmodel.timestamps import now_ns
from tsmodel.wire.sorting import is_sorted

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
"""Called with the bytes of blocks that are done, and of all blocks."""

PathLike: TypeAlias = "str | os.PathLike[str]"
_Ends: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""First and last key, without cid."""

_NO_ACQ: Final = "it says that no acq was ever given, and there are records: readers may miss later ones"
_MOST_MESSAGES: Final = 100
"""Faults of SQLite's own structure that are told."""
_BEHIND: Final = 2**17
"""How many numbers behind the last one that could be read are tried when the file's state is lost."""
_FRUITLESS: Final = 10_000
"""How many numbers are tried when none of a table can be read."""
_STEP: Final = 32 * 2**20
"""Bytes of records that are merged in one transaction."""
_WINDOW: Final = 8 * 2**20
"""Bytes of records that are merged by themselves when they are of some time, and have enough records of each series."""
_DENSE: Final = 256
"""Records of each series that are enough."""
_FAN: Final = 16
"""How many chains of runs are merged at once: of each a block is read ahead, so they are less than half of a step."""
_AT_ONCE: Final = 16 * 2**20
"""Bytes of blocks that a new file is given in one transaction."""


@attrs.frozen
class Fault:
    """Something wrong with a file.

    Attributes:
        where: `header`, `schema`, `journal`, `pages`, `state`, `runs`, `blocks`, `puts`, `removals`, `run 3`, `block 17`,
            `put 5` or `removal 2`.
        what: what is wrong there.
        records: how many records cannot be read because of it; 0 when none, or when nothing says how many.
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
        records: how many records can be read.
        bytes: their size as rows in GET form.
        stored: bytes of their blocks in the file.
        runs: how many runs have a directory that can be read.
        blocks: how many blocks are whole.
        ahead: records with an acq above the last one given: put with an acq of their own that lay in the future.
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
        """Whether nothing is wrong."""
        return not self.faults

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.records} records in {self.blocks} blocks of {self.runs} runs"]
        lines += [f"  {fault}" for fault in self.faults] or ["  no faults"]
        return "\n".join(lines)


@attrs.frozen
class Recovered:
    """What `recover` saved.

    Attributes:
        path: the new file.
        records: how many records are in it.
        blocks: how many blocks.
        faults: what is wrong with the old file. `records` of a fault says how many were lost where the file tells.
    """

    path: str
    records: int
    blocks: int
    faults: tuple[Fault, ...]

    @property
    def lost(self) -> int:
        """How many records are known to be lost. More may be, where a directory cannot be read."""
        return sum(fault.records for fault in self.faults)

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.records} records recovered, {self.lost} known to be lost"]
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])


@attrs.frozen
class Compacted:
    """What `compact` came to.

    Attributes:
        bytes_before: size of the file before, once its journal is taken in.
        bytes_after: the same afterwards. While others read the file as it was, it shrinks only with a later put.
        runs_before: how many runs there were.
        runs_after: how many there are.
    """

    bytes_before: int
    bytes_after: int
    runs_before: int
    runs_after: int


@attrs.frozen
class CidInfo:
    """What a file holds of one cid; attributes as those of `Info`."""

    records: int
    series: int
    runs: int
    blocks: int
    stored: int
    cap: tuple[int, int]
    acq: tuple[int, int]


@attrs.frozen
class Info:
    """What a file holds. Times are ns since 2001; both ends of a span are times of records.

    Attributes:
        path: the file.
        file_bytes: its size, once its journal is taken in.
        free_bytes: how much of that is free for later puts.
        records: how many records.
        series: how many different (cid, mid, moid).
        runs: how many runs.
        blocks: how many blocks.
        bytes: size of the records as rows in GET form.
        stored: bytes of their blocks.
        cap: least and greatest capture time; None without records.
        acq: least and greatest acquisition time; None without records.
        last_acq: the greatest acq that was given or promised.
        cids: the same for each cid.
        puts: how many puts are remembered; `session.puts()` lists them.
        removals: how many removals are; `session.removals()` lists them.
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
        """Bytes of blocks for each record; 0 without records."""
        return self.stored / self.records if self.records else 0.0


def info(path: PathLike) -> Info:
    """What is in a file, without decoding payloads: of keys, mid and moid are decoded to count series.

    Raises:
        StoreFormatError: when it is no store of this format.
        StoreCorruptError: when it is damaged; `verify` says everything that is.
        StoreError: when it cannot be read.
    """
    name = os.fspath(path)
    with closing(SQLiteEngine(name, 0, read_only=True)) as engine, engine.reading() as snapshot:
        return _info(name, snapshot)


def info_of(store: EmbeddedStore) -> Info:
    """As `info`, of an open store that is in a file or in PostgreSQL.

    Raises:
        UnsupportedError: for a store in memory.
        StoreCorruptError: when it is damaged.
        StoreError: when it cannot be read.
    """
    engine = _tabular(store, "info", "queries say what is in it")
    with engine.reading() as snapshot:
        return _info(engine.path, snapshot)


def _info(name: str, snapshot: Snapshot) -> Info:
    cids = {}
    by_cid: dict[int, list[Directory]] = {}
    for run in snapshot.table.runs.values():
        by_cid.setdefault(run.cid, []).append(run)
    for cid, runs in sorted(by_cid.items()):
        series: set[tuple[int, int]] = set()
        for run in runs:
            for at in range(len(run.entries)):
                series |= _series(run, at, lambda run=run, at=at: snapshot.stored(run, at))  # type: ignore[misc]
        entries = np.concatenate([run.entries for run in runs])
        cids[cid] = CidInfo(
            records=int(entries["count"].sum()),
            series=len(series),
            runs=len(runs),
            blocks=len(entries),
            stored=int(entries["length"].sum()),
            cap=(int(entries["cap_min"].min()), int(entries["cap_max"].max())),
            acq=(int(entries["acq_min"].min()), int(entries["acq_max"].max())),
        )
    file_bytes, free = snapshot.sizes()
    size = sum(run.size for runs in by_cid.values() for run in runs)
    last = snapshot.last_acq()
    puts, removals = sum(1 for _ in snapshot.puts()), sum(1 for _ in snapshot.removals())
    found = list(cids.values())
    return Info(
        path=name,
        file_bytes=file_bytes,
        free_bytes=free,
        records=sum(each.records for each in found),
        series=sum(each.series for each in found),
        runs=sum(each.runs for each in found),
        blocks=sum(each.blocks for each in found),
        bytes=size,
        stored=sum(each.stored for each in found),
        cap=_span([each.cap for each in found]),
        acq=_span([each.acq for each in found]),
        last_acq=last,
        cids=cids,
        puts=puts,
        removals=removals,
    )


def verify(path: PathLike, progress: OnProgress | None = None) -> Verified:
    """Reads everything in a file, and says all that is wrong with it: header, tables, journal, SQLite's pages, state,
    directories, and each block: its checksum, its columns, that its records are sorted and lie within its bounds, that the
    blocks of a run follow one another, that acqs keep the promise of `last_acq`, and what it remembers of puts and
    removals. Others may go on writing.

    The file is only read. A journal that a dead process left, and a file whose first page is damaged, is copied to the
    directory of temporary files meanwhile.

    Args:
        path: the file.
        progress: called with bytes of blocks that were read, and of all blocks.

    Returns:
        What was found; `is_whole` says whether nothing is wrong.

    Raises:
        StoreFormatError: when it is no store, or one of another format.
        StoreError: when it cannot be read.

    >>> verify("readings.tsdb").is_whole  # doctest: +SKIP
    True
    """
    faults: list[Fault] = []
    with examined(Path(path), lambda where, what: faults.append(Fault(where, what))) as connection:
        contents = _Contents(connection, faults)
        contents.check_pages()
        return _verified(os.fspath(path), contents, faults, progress)


def verify_store(store: EmbeddedStore, progress: OnProgress | None = None) -> Verified:
    """As `verify`, of an open store in PostgreSQL, in one snapshot: everything but what PostgreSQL keeps itself, such as
    pages and indexes, which `pg_amcheck` looks at.

    Args:
        store: the store.
        progress: called with bytes of blocks that were read, and of all blocks.

    Raises:
        UnsupportedError: when the store is elsewhere.
        StoreError: when it cannot be read.
    """
    engine = _tabular(store, "verify", "what is in memory was never stored")
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
    steps = _Steps(progress, sum(int(run.directory.entries["length"].sum()) for run in runs))
    for run in runs:
        entries, last = run.directory.entries, None
        for at in range(len(entries)):
            steps.add(int(entries["length"][at]))
            found = contents.block(run, at)
            if found is None:
                continue
            block = found[1]
            first, end = block.ends()
            if last is not None and first < last:
                contents.told(
                    f"block {run.directory.id_of(at)}",
                    f"it begins before the block ahead of it in run {run.directory.number} ends",
                )
            last = end
            blocks += 1
            records += block.count
            size += block.size
            stored += int(entries["length"][at])
            if state is not None and block.bounds[8] > state.last_acq:
                ahead += int((block.key("acq") > state.last_acq).sum())
    if state is not None and ahead and state.last_acq <= LIMITS["acq"].least:
        contents.told("state", _NO_ACQ)
    steps.end()
    return Verified(name, records, size, stored, len(runs), blocks, ahead, tuple(faults))


def recover(old: PathLike, new: PathLike, progress: OnProgress | None = None) -> Recovered:
    """Copies every intact block of a damaged file to a new one. The old file is only read.

    A block says neither its cid nor its checksum: the directory of its run does. So a block whose directory is lost
    cannot be recovered. Where a directory is damaged, its blocks are recovered that still have the checksum it says, decode
    to as many records as it says, and whose cid is beyond doubt. A lost state costs no records; the new file then promises
    that no later acq lies before now. Where the state says that no acq was ever given, although there are records, the new
    file promises that no later acq lies below those of its records, as far as they are not after now.

    Args:
        old: the damaged file.
        new: the file to create; when the old file's first page is damaged, a copy of it lies beside it meanwhile.
        progress: called with bytes of blocks that were read, and of all blocks.

    Returns:
        How many records were saved, and everything that is wrong with the old file.

    Raises:
        StoreFormatError: when the old file is no store, or one of another format.
        StoreError: when the new file exists, or one of them cannot be used.
    """
    target = _absent(new)
    faults: list[Fault] = []
    with examined(Path(old), lambda where, what: faults.append(Fault(where, what)), target.parent) as connection:
        contents = _Contents(connection, faults)
        runs = list(contents.runs())
        contents.check_table([run.directory for run in runs if run.is_sure])
        steps = _Steps(progress, sum(int(run.directory.entries["length"].sum()) for run in runs))
        try:
            with new_file(target) as (made, filled):
                filling = _Filling(filled)
                mark, greatest = 0, LIMITS["acq"].least
                for run in runs:
                    filling.begin(run.directory.cid)
                    for at in range(len(run.directory.entries)):
                        steps.add(int(run.directory.entries["length"][at]))
                        found = contents.block(run, at)
                        if found is None:
                            continue
                        data, block = found
                        filling.add(data, block)
                        mark = max(mark, 0 if block.marks is None else int(block.marks.max()))
                        greatest = max(greatest, block.bounds[8])
                    filling.end()
                last = filling.take_history(contents, mark)
                # Nobody was promised more than the clock showed, but for what the state and puts said.
                if contents.state is None:
                    last = max(last, now_ns())
                elif contents.state.last_acq > LIMITS["acq"].least:
                    last = contents.state.last_acq
                else:
                    last = max(last, min(greatest, now_ns()))
                    if greatest > LIMITS["acq"].least:
                        contents.told("state", _NO_ACQ)
                filling.finish(State(last_acq=last))
                filled.close()
                _check_made(made)
        except FileExistsError as error:
            raise _exists(target) from error
    steps.end()
    return Recovered(str(target), filling.records, filling.blocks, tuple(faults))


def backup(store: EmbeddedStore, path: PathLike, progress: OnProgress | None = None) -> Verified:
    """Copies a store, as it is when this begins, to a new file, while others go on reading and writing. The copy is a
    closed store, which holds the same blocks and keeps the same promises.

    What is read is compared with its checksums; the copy is verified before it gets its name. A process that dies leaves
    nothing at `path`, but a file beside it whose name ends in `.new`, which may be removed. The journal grows by what
    others write meanwhile.

    Args:
        store: the store.
        path: the file to create.
        progress: called with bytes of blocks that were copied, and of all blocks.

    Returns:
        What `verify` says of the copy.

    Raises:
        UnsupportedError: for a store in memory.
        StoreCorruptError: when the store is damaged; `recover` saves what is whole.
        StoreError: when there is something at `path`, or it cannot be written.
    """
    engine = _engine(store, "backup", "copy its records to a file with session.copy(KeyRange(), to=other)")
    target = _absent(path)
    try:
        with engine.reading() as snapshot, new_file(target) as (made, connection):
            runs = sorted(snapshot.table.runs.values(), key=lambda run: run.number)
            steps = _Steps(progress, sum(int(run.entries["length"].sum()) for run in runs))
            filling = _Filling(connection)
            for run in runs:
                for at in range(len(run.entries)):
                    try:
                        data = snapshot.stored(run, at)
                    except sqlite3.Error as error:  # of the store, not of what is written
                        raise StoreCorruptError(f"block {run.id_of(at)} cannot be read: {error}") from error
                    if len(data) != run.entries["length"][at] or xxh3_64_intdigest(data) != run.entries["checksum"][at]:
                        raise StoreCorruptError(f"block {run.id_of(at)} does not have its checksum")
                    filling.write(run.id_of(at), data)
                    steps.add(len(data))
                filling.keep(run)
            for kind in (PUTS, REMOVALS):
                filling.remember(kind, snapshot.history(kind))  # the copy is verified
            filling.finish(msgspec.structs.replace(snapshot.state, is_open=False), as_it_is=True)
            connection.close()
            report = _check_made(made)
    except FileExistsError as error:
        raise _exists(target) from error
    steps.end()
    return attrs.evolve(report, path=str(target))


def compact(store: EmbeddedStore, progress: OnProgress | None = None) -> Compacted:
    """Merges the runs of each cid, compresses what a put compressed fast more strongly, and gives free space back: that of
    a file to the file system, that of tables to later puts, as PostgreSQL's VACUUM does.

    Runs of much time are merged by windows of time, so that whoever reads an hour of all series reads few blocks.

    It goes in transactions of some 32 MiB of records, so others read and write meanwhile; what they put stays in runs of
    its own. A process that dies leaves a whole file with the same records, of which a part is merged. Only the end, which
    gives the space back, keeps writers waiting for as long as it takes to copy the file.

    For a file, it needs as much free space beside it as the file uses, and as much again in SQLite's directory of temporary
    files, which the environment variable SQLITE_TMPDIR names.

    Args:
        store: the store.
        progress: called with bytes of blocks that were merged, and of all blocks.

    Raises:
        UnsupportedError: for a store in memory.
        StoreCorruptError: when the store is damaged; `recover` saves what is whole.
        StoreError: when there is too little free space, or the store may only be read.
    """
    engine = _tabular(store, "compact", "there is no file that could shrink")
    with engine.reading() as snapshot:
        table = snapshot.table
        before, free = snapshot.sizes()
    if isinstance(engine, SQLiteEngine):
        _check_space(engine.path, before - free)
    runs_before = len(table.runs)
    groups = [
        (cid, group) for cid in sorted({run.cid for run in table.runs.values()}) for group in _by_time(table.of_cid(cid))
    ]
    lengths = [sum(int(run.entries["length"].sum()) for run in group) for _, group in groups]
    steps = _Steps(progress, sum(lengths))
    is_changed = False
    for (cid, group), length in zip(groups, lengths, strict=True):
        limit = steps.done + length
        is_changed |= _Merging(engine, cid, {run.number for run in group}, steps, limit).all()
        steps.add(limit - steps.done)
    if isinstance(engine, SQLiteEngine) and (is_changed or free):
        engine.shrink()
    steps.end()
    with engine.reading() as snapshot:
        after, runs = snapshot.sizes()[0], len(snapshot.table.runs)
    return Compacted(before, after, runs_before, runs)


def _by_time(runs: Sequence[Directory]) -> Iterator[list[Directory]]:
    """Runs of one cid in groups to be merged: by time, each large and with enough records of each of its series."""
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


class _Merging:
    """Merges runs of one cid into runs of which each begins where the one before ends.

    Runs that do not overlap form a chain. A step merges what several chains begin with, up to the key from which on not all
    of it is known: it stores that as a run, what was read beyond as another, and cuts the chains.

    Args:
        engine: where the runs are.
        cid: their client id.
        known: numbers of the runs to merge; others may come meanwhile, and are left alone.
        steps: told of what was merged.
        limit: bytes that are done when all of it is.
    """

    def __init__(self, engine: TabularEngine, cid: int, known: set[int], steps: _Steps, limit: int) -> None:
        self._engine, self._cid, self._known = engine, cid, known
        self._steps, self._limit = steps, limit
        self._known_ends: dict[int, _Ends] = {}

    def all(self) -> bool:
        """Merges everything; returns whether there was something to merge."""
        is_changed = False
        while True:
            with self._engine.reading() as snapshot:
                chains = self._chains(snapshot, self._known)
                if len(chains) <= 1 and all(self._is_tight(snapshot, chain) for chain in chains):
                    return is_changed
            is_changed = True
            is_last = len(chains) <= _FAN
            chains.sort(key=lambda chain: sum(run.size for run in chain))
            group = {run.number for chain in chains[:_FAN] for run in chain}
            while group:
                group = self._step(group)
            if is_last:
                return True

    def _step(self, group: set[int]) -> set[int]:
        """Merges the beginning of a group of runs; gives the numbers of those that are left."""
        is_done = False
        with suppress(SupersededError), self._engine.preparing() as transaction:
            view = transaction.view
            present = {run.number for run in view.table.of_cid(self._cid)}
            self._known &= present  # a put of somebody else may have merged small ones
            group &= present
            chains = self._chains(view, group)
            runs = {run.number: run for chain in chains for run in chain}
            known, beyond, cuts = view.beginning(chains, _STEP)
            done = sum(int(runs[number].entries["length"][:count].sum()) for number, count in cuts.items())
            staged = []
            if known:
                is_large = sum(block.size for block in known) >= _STEP // 2
                level = Level.FINAL if is_large else Level.PUT
                staged.append(transaction.stage(self._cid, known, is_merged=True, level=level))
            if beyond:
                staged.append(transaction.stage(self._cid, beyond))
            transaction.confirm(list(runs.values()))
            left = {number for number in runs if number not in cuts}
            for number, count in cuts.items():
                self._known.discard(number)
                if (rest := transaction.drop(runs[number], count)) is not None:
                    left.add(rest)
                    self._known.add(rest)
            for each in staged:
                transaction.keep(each)
                self._known.add(each.number)
            left |= {each.number for each in staged[bool(known) :]}
            is_done = True
        if not is_done:
            return group  # others changed these runs meanwhile
        self._steps.add(min(done, self._limit - self._steps.done))
        return left

    def _chains(self, snapshot: Any, numbers: set[int]) -> list[list[Directory]]:
        """Runs, as few chains as there can be."""
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
        """The first and the last key of a run."""
        if run.digest not in self._known_ends:
            first, last = snapshot.read(run, 0), snapshot.read(run, len(run.entries) - 1)
            self._known_ends[run.digest] = (first.ends()[0], last.ends()[1])
        return self._known_ends[run.digest]

    def _is_tight(self, snapshot: Any, chain: list[Directory]) -> bool:
        """Whether merging a chain would change nothing: no run but the last is small, and all is compressed strongly."""
        if any(run.size < _STEP // 2 for run in chain[:-1]):
            return False
        for run in chain:
            for at in range(len(run.entries)):
                data = snapshot.stored(run, at)
                checked_block(run, at, data)
                if uses_codec(memoryview(data), Codec.LZ4):
                    return False
        return True


def _check_space(path: str, used: int) -> None:
    """Makes sure that there is room to compact a file of which so many bytes are used."""
    beside = Path(path).resolve().parent
    names = [os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR")]
    usual = ["/var/tmp", "/usr/tmp", "/tmp"] if os.name == "posix" else [tempfile.gettempdir()]  # noqa: S108 - where SQLite looks
    temporary = next((Path(name) for name in [*names, *usual] if name and Path(name).is_dir()), beside)
    is_one = temporary.stat().st_dev == beside.stat().st_dev
    for place, needed in ((beside, (2 if is_one else 1) * used + 4 * _STEP), (temporary, used)):
        if (free := shutil.disk_usage(place).free) < needed:
            raise StoreError(
                f"compacting {path} needs {needed:,} bytes of free space in {place}, where {free:,} are free: make room"
                + ("" if place == beside else ", or let SQLITE_TMPDIR name another directory"),
                path=path,
            )


@attrs.frozen(eq=False)
class _Run:
    """A run of a file that may be damaged.

    Attributes:
        directory: its directory.
        is_sure: whether the directory has its checksum. Otherwise each block has to prove what it says.
    """

    directory: Directory
    is_sure: bool


class _Contents:
    """What is in a file that may be damaged. Each fault is told once.

    Args:
        connection: a snapshot of it.
        faults: where faults go.
    """

    _errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error, UnicodeDecodeError, StoreCorruptError, OverflowError)
    """What reading what is damaged may raise."""

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
                self.told("schema", str(error))
        try:
            self.state = read_state(connection)
        except (sqlite3.Error, StoreCorruptError) as error:
            self.told("state", f"it cannot be read: {error}")

    def told(self, where: str, what: str, records: int = 0) -> None:
        """Keeps a fault."""
        self._faults.append(Fault(where, what, records))

    def check_pages(self) -> None:
        """Lets SQLite look at its own structure: pages that are lost, used twice, or wrongly linked."""
        is_mended = any(fault.where in ("header", "schema") for fault in self._faults)
        try:
            for (message,) in self._connection.execute(f"PRAGMA integrity_check({_MOST_MESSAGES})"):
                # A first page that had to be replaced no longer says which pages are free.
                if message != "ok" and not (is_mended and "never used" in str(message)):
                    self.told("pages", " ".join(str(message).split()))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.told("pages", str(error))

    def runs(self) -> Iterator[_Run]:
        """The runs whose directories can be read, those that are damaged included."""
        bound = None if self.state is None else self.state.next_run
        for number in self._numbers("runs", "number", bound):
            try:
                cid, digest, data = self._run(number)
            except self._errors as error:
                self.told(f"run {number}", f"its directory cannot be read: {error}; its blocks cannot be told from others")
                continue
            if not (isinstance(cid, int) and isinstance(digest, bytes) and isinstance(data, bytes)):
                self.told(
                    f"run {number}", "it is no run: its columns have other types; its blocks cannot be told from others"
                )
                continue
            try:
                yield _Run(Directory.from_bytes(data, number, cid, int.from_bytes(digest, "little")), is_sure=True)
            except StoreCorruptError as error:
                self.told(f"run {number}", str(error))
                if (doubtful := Directory.doubtful(data, number, cid)) is not None:
                    yield _Run(doubtful, is_sure=False)

    def check_table(self, runs: Sequence[Directory]) -> None:
        """Makes sure that runs are those that the state says, that each block belongs to one run, and each run has its
        blocks."""
        state = self.state
        if state is not None and not Table({run.number: run for run in runs}).matches(state):
            self.told("runs", f"{len(runs)} whole runs are there, and not the {state.runs} that the file's state says")
        owned: dict[int, int] = {}
        for run in runs:
            ids = run.ids.tolist()
            if state is not None and (run.number >= state.next_run or ids[-1] >= state.next_block):
                self.told(f"run {run.number}", "it has numbers that were not given yet")
            for block in ids:
                if owned.setdefault(block, run.number) != run.number:
                    self.told(f"block {block}", f"run {owned[block]} and run {run.number} both say that it is theirs")
        bound = None if state is None else state.next_block
        orphans = [number for number in self._numbers("blocks", "id", bound) if number not in owned]
        for first, last in _spans(orphans):
            where = f"block {first}" if first == last else f"blocks {first} to {last}"
            self.told(where, "no whole directory says whose records these are")

    def check_history(self) -> None:
        """Makes sure that what the file remembers of puts and removals is what it should be."""
        for kind, digest, following in self._said():
            total = 0
            for number, data in self.history(kind):
                total = (total + kind.checksum(data)) % 2**64
                if following is not None and number >= following:
                    self.told(f"{kind.one} {number}", "it has a number that was not given yet")
            if digest is not None and total != digest:
                self.told(kind.table, f"the whole ones are not the {kind.table} that the file's state says")

    def _said(self) -> Iterator[tuple[Kind[Any], int | None, int | None]]:
        state = self.state
        if state is None:
            yield PUTS, None, None
            yield REMOVALS, None, None
        else:
            yield PUTS, state.puts_digest, state.next_put
            yield REMOVALS, state.removals_digest, state.next_removal

    def history(self, kind: Kind[Any]) -> Iterator[tuple[int, bytes]]:
        """Numbers of the puts or removals that are whole, and what is stored of them."""
        bound = next((following for each, _, following in self._said() if each is kind), None)
        for number in self._numbers(kind.table, "number", bound):
            try:
                data = self._entry(kind, number)
                kind.from_bytes(data, number)
            except self._errors as error:
                self.told(f"{kind.one} {number}", str(error))
            else:
                yield number, data

    def block(self, run: _Run, at: int) -> tuple[bytes, Block] | None:
        """What is stored of a block, and the block with what its keys really lie between; None when it is not whole."""
        directory = run.directory
        number, count = directory.id_of(at), int(directory.entries["count"][at])
        try:
            data = self._block(number)
            if not isinstance(data, bytes):
                raise StoreCorruptError("it is not there")
            block = checked_block(directory, at, data)
            cids, keys = block.chunk().key("cid"), block.keys()
            block.payloads()
            if (marks := block.marks) is not None and (
                marks.min() < 0 or (self.state is not None and marks.max() >= self.state.next_put)
            ):
                raise StoreCorruptError("its records are marked with puts that there were not yet")
            bounds = (directory.cid, *(int(end) for key in keys for end in (key.min(), key.max())))
            if (cids != directory.cid).any():
                raise StoreCorruptError(f"it holds records of another cid than {directory.cid}")
            if not is_sorted(keys):
                raise StoreCorruptError("its records are not sorted")
            if run.is_sure and bounds != block.bounds:
                self.told(f"block {number}", f"its keys lie between {bounds}, and its directory says {block.bounds}")
        except self._errors as error:
            if run.is_sure:
                self.told(f"block {number}", f"{error}, of run {directory.number}, cid {directory.cid}", count)
            else:
                self.told(f"block {number}", f"{error}, as the damaged directory of run {directory.number} has it")
            return None
        block.bounds = bounds
        return data, block

    def _run(self, number: int) -> Any:
        """cid, digest and directory of a run."""
        query = "SELECT cid, digest, directory FROM runs WHERE number = ?"
        row = self._connection.execute(query, (number,)).fetchone()
        if row is None:
            raise StoreCorruptError("it is not there")
        return row

    def _entry(self, kind: Kind[Any], number: int) -> Any:
        """What is stored of a put or a removal; None for nothing."""
        row = self._connection.execute(f"SELECT data FROM {kind.table} WHERE number = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None else row[0]

    def _block(self, number: int) -> Any:
        """What is stored of a block; None for nothing."""
        row = self._connection.execute("SELECT data FROM blocks WHERE id = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def _numbers(self, table: str, column: str, bound: int | None) -> list[int]:
        """The row numbers of a table; where pages cannot be read, those of the pages around them."""
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
            self.told(table, f"some of the table cannot be read: {problem}")
        return sorted(set(found))


class _TableContents(_Contents):
    """What is in tables that may be damaged, of an engine that reads all that is there.

    Args:
        snapshot: of the store.
        faults: where faults go.
    """

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

    def _numbers(self, table: str, column: str, bound: int | None) -> list[int]:  # noqa: ARG002 - all can be read
        if table == "runs":
            return sorted(self._runs)
        return sorted(self._entries[table]) if table in self._entries else self._connection.tables.block_ids()


class _Filling:
    """Fills a new file with blocks as they are stored.

    Args:
        connection: a connection to it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Nobody else sees the file before all of it is synced.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF").fetchone()
        connection.execute("BEGIN")
        self.records = self.blocks = 0
        self._size = 0
        self._runs = self._digest = 0
        self._next_run = self._next_block = 1
        self._cid, self._first = 0, 1
        self._entries: list[npt.NDArray[Any]] = []
        self._last: tuple[int, ...] | None = None
        self._history: dict[str, Any] = {}

    def write(self, number: int, data: bytes) -> None:
        """Stores a block."""
        self._connection.execute("INSERT INTO blocks (id, data) VALUES (?, ?)", (number, data))
        self._next_block = max(self._next_block, number + 1)
        self._size += len(data)
        if self._size >= _AT_ONCE:
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
            self._size = 0

    def keep(self, run: Directory) -> None:
        """Stores the directory of a run."""
        row = (run.number, run.cid, run.digest.to_bytes(16, "little"), run.to_bytes())
        self._connection.execute("INSERT INTO runs (number, cid, digest, directory) VALUES (?, ?, ?, ?)", row)
        self._runs += 1
        self._digest = (self._digest + run.digest) % 2**128
        self._next_run = max(self._next_run, run.number + 1)
        self.blocks += len(run.entries)
        self.records += int(run.entries["count"].sum())

    def begin(self, cid: int) -> None:
        """Begins a run of its own."""
        self._cid, self._first, self._entries, self._last = cid, self._next_block, [], None

    def add(self, data: bytes, block: Block) -> None:
        """Adds a block to the run; to a new one when it does not follow the last."""
        first, end = block.ends()
        if self._last is not None and first < self._last:
            self.end()
            self.begin(self._cid)
        self._entries.append(entries_of([block], [data]))
        self._last = end
        self.write(self._next_block, data)

    def end(self) -> None:
        """Ends the run."""
        if self._entries:
            entries = np.concatenate(self._entries)
            self.keep(Directory.of_entries(self._next_run, self._cid, self._first, entries))

    def remember(self, kind: Kind[Any], rows: Iterable[tuple[int, bytes]]) -> tuple[int, int]:
        """Stores puts or removals; gives the last number and the sum of the checksums."""
        last = digest = 0
        for number, data in rows:
            self._connection.execute(f"INSERT INTO {kind.table} (number, data) VALUES (?, ?)", (number, data))  # noqa: S608
            last, digest = number, kind.changed(digest, data)
        return last, digest

    def take_history(self, contents: _Contents, mark: int) -> int:
        """Stores what a damaged file remembers of puts and removals, as far as it is whole.

        Args:
            contents: the file.
            mark: the greatest mark of a record that was recovered.

        Returns:
            The greatest acq that is known to have been given by a put.
        """
        state, greatest = contents.state, LIMITS["acq"].least

        def puts() -> Iterator[tuple[int, bytes]]:
            nonlocal greatest
            for number, data in contents.history(PUTS):
                put = PUTS.from_bytes(data, number)
                greatest = greatest if put.keeps_acq else max(greatest, put.acq_max)
                yield number, data

        last_put, puts_digest = self.remember(PUTS, puts())
        last_removal, removals_digest = self.remember(REMOVALS, contents.history(REMOVALS))
        self._history = {
            "next_put": max(last_put, mark, 0 if state is None else state.next_put - 1) + 1,
            "next_removal": max(last_removal, 0 if state is None else state.next_removal - 1) + 1,
            "puts_digest": puts_digest,
            "removals_digest": removals_digest,
        }
        return greatest

    def finish(self, state: State, *, as_it_is: bool = False) -> None:
        """Writes the state.

        Args:
            state: what it says of times.
            as_it_is: whether it is right in everything else, too.
        """
        if not as_it_is:
            state = msgspec.structs.replace(
                state,
                runs=self._runs,
                digest=self._digest,
                next_run=self._next_run,
                next_block=self._next_block,
                **self._history,
            )
        write_state(self._connection, state)
        self._connection.execute("COMMIT")


class _Steps:
    """Tells how far the work came."""

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
    """Verifies a file that was just written."""
    report = verify(path)
    if not report.is_whole:
        raise StoreError(
            f"what was written to {path} is not what can be read: {report.faults[0]}; is the disk sound?", path=str(path)
        )
    return report


class TabularEngine(Protocol):
    """An engine that keeps blocks in tables."""

    @property
    def path(self) -> str:
        """What it is called."""
        ...

    def reading(self) -> AbstractContextManager[Snapshot]:
        """See `Engine.reading`."""
        ...

    def preparing(self) -> AbstractContextManager[Transaction]:
        """A transaction that may read and stage runs before it is alone in writing."""
        ...


def _engine(store: object, what: str, instead: str) -> SQLiteEngine:
    engine = store.engine if isinstance(store, EmbeddedStore) else None
    if not isinstance(engine, SQLiteEngine):
        where = "in memory" if engine is None or engine.path is None else f"in {engine.path}"
        raise UnsupportedError(f"{what} is for embedded files, and this store is {where}: {instead}")
    return engine


def _tabular(store: object, what: str, instead: str) -> TabularEngine:
    engine: Any = store.engine if isinstance(store, EmbeddedStore) else None
    if engine is None or isinstance(engine, MemoryEngine):
        raise UnsupportedError(f"{what} is for embedded files and PostgreSQL, and this store is in memory: {instead}")
    found: TabularEngine = engine
    return found


def _absent(path: PathLike) -> Path:
    target = Path(path)
    if target.exists() or target.is_symlink():
        raise _exists(target)
    for end in ("-wal", "-journal"):
        if Path(f"{target}{end}").exists():
            raise StoreError(f"{target}{end} exists, and would be taken for the journal of {target}", path=str(target))
    if not target.parent.is_dir():
        raise StoreError(f"{target}: there is no directory {target.parent}; create it first", path=str(target))
    return target


def _exists(target: Path) -> StoreError:
    return StoreError(f"{target} exists; give the path of a new file", path=str(target))


def _series(run: Directory, at: int, stored: Callable[[], bytes]) -> set[tuple[int, int]]:
    """The series of a block; most blocks hold one, as their bounds say."""
    mid_min, mid_max, moid_min, moid_max = run.bounds(at)[1:5]
    if mid_min == mid_max and moid_min == moid_max:
        return {(mid_min, moid_min)}
    block = checked_block(run, at, stored())
    pairs = np.stack([block.key("mid"), block.key("moid").astype(np.int64)], axis=1)
    begins = np.append(True, (pairs[1:] != pairs[:-1]).any(axis=1))
    return set(map(tuple, pairs[begins].tolist()))


def _span(spans: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None


def _spans(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as spans without gaps."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last
