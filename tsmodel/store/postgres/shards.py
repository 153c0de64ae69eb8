"""Several PostgreSQL servers as one store. Each server is a shard, and keeps all records of some cids.

Rules kept here:

* The client connects to each shard itself, and only to the shards that a call needs. If a shard cannot be reached, calls
  that need it fail with an error that names it.
* A put is atomic on each shard; there is no transaction over several shards. A put that fails on one shard after another
  stored its part is in doubt as a whole. Sessions avoid this: they send one put to each shard.
* Each shard assigns acqs from its own clock. `last_acq` of several shards is the least of theirs. Shards that are behind
  are first advanced to the one that is ahead, so that an idle shard does not hold readers back.
* Chunks of several shards are merged by cid, with one chunk of each shard in memory.
* Removals are atomic on each shard. Repeating a call finishes a removal that failed on one shard.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from copy import copy
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.backend import (
    AcqInterval,
    Batch,
    Predicate,
    PutId,
    PutInfo,
    PutInterval,
    Removal,
    RemovalKind,
    Scan,
    ScanBudget,
)
from tsmodel.errors import (
    SessionError,
    StoreError,
    StoreFormatError,
    StoreInDoubtError,
    StoreUnansweredError,
    TransportError,
    TSModelError,
    UnsupportedError,
)
from tsmodel.forking import in_child
from tsmodel.keys import KeyRange
from tsmodel.store.capabilities import Outline, Position
from tsmodel.store.intake import Put
from tsmodel.store.postgres.database import Database, database_of, without_password
from tsmodel.store.postgres.engine import PostgresEngine, library
from tsmodel.store.postgres.sets import (
    CONTENTS,
    MOST_SHARDS,
    Kind,
    Member,
    SetFoundError,
    ShardSet,
    format_of,
    kind_of,
    local_number,
    numbered,
    shard_database,
    shard_in,
    shard_of,
    shards_in,
)
from tsmodel.store.postgres.statements import FORMAT_VERSION, Connection
from tsmodel.store.postgres.store import PostgresStore
from tsmodel.store.store import check_puts
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.stored import Unstored

if TYPE_CHECKING:
    import os

    from tsmodel.store.maintenance import Compacted, Info, OnProgress, Verified

__all__ = ["Shard", "ShardedStore", "init_shards", "open_database"]

_EVERYTHING: Final = KeyRange()
_BUSY: Final = 0.005
"""Seconds to wait while another client commits on a shard that should be advanced."""
_TRIES: Final = 40
_REFUSED: Final = 60.0
"""Seconds before trying again to advance a shard that refused it, usually because the user may not write."""

_log = logging.getLogger("tsmodel.store")


def open_database(database: Database, cache_bytes: int) -> PostgresStore | ShardedStore:
    """Opens the store in a schema of a database, or all shards if the schema holds a list of shards. Raises the same errors
    as `PostgresEngine`."""
    try:
        return PostgresStore(PostgresEngine(database, cache_bytes))
    except SetFoundError as error:
        return ShardedStore(database, error.found, cache_bytes)


class Shard:
    """One shard as a backend. It is opened when it is first used."""

    def __init__(self, member: Member, database: Database, cache_bytes: int) -> None:
        self.member = member
        self.name = database.name
        self.at = member.number - 1
        self.scan_budget = ScanBudget(0)
        self._database = database
        self._cache_bytes = cache_bytes
        self._store: PostgresStore | None = None
        self._refused_until = 0.0
        self._begin()
        in_child(self._begin)

    @property
    def store(self) -> PostgresStore:
        """The store of the shard.

        Raises:
            StoreError: if it cannot be opened.
        """
        with self._lock:
            if self._is_closed:
                raise StoreError(f"the store {self.name} is closed", path=self.name)
            if self._store is None:
                self._store = PostgresStore(PostgresEngine(self._database, self._cache_bytes, self.member))
            return self._store

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`."""
        return Scan(self._chunks(box))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`. The number of the put is the one in the set."""
        return self._numbered(self.store.append(batches, with_acq=with_acq, unless_stored=unless_stored))

    def finish(self, put: Put) -> AcqInterval:
        """Stores a put from `store.begin_put`."""
        return self._numbered(self.store.store(put))

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        return self.store.last_acq(box)

    def advanced(self, answer: int, acq: int) -> int:
        """Advances the shard to `acq` if it may be written. `answer` is its `last_acq`; returns the new one."""
        for _ in range(_TRIES):
            if answer >= acq or self._database.read_only or time.monotonic() < self._refused_until:
                return answer
            try:
                is_done = self.store.advance(acq, wait=False)
            except TransportError:
                return answer  # the next call tries again
            except StoreError as error:
                self._refused_until = time.monotonic() + _REFUSED
                _log.warning("%s is behind other shards, and could not be advanced: %s", self.name, error)
                return answer
            if not is_done:
                time.sleep(_BUSY)
            answer = self.store.last_acq(_EVERYTHING)
        return answer

    def puts(self) -> Iterator[PutInfo]:
        """The puts of the shard, with their numbers in the set."""
        for put in self.store.puts():
            yield msgspec.structs.replace(put, number=numbered(put.number, self.at))

    def removals(self, since: int) -> Iterator[Removal]:
        """The removals whose number in the shard is above `since`, with their numbers in the set."""
        for removal in self.store.removals(since):
            what = removal.what
            if removal.kind == "undo":  # the text names puts
                what = re.sub("[0-9]+", lambda found: str(numbered(int(found[0]), self.at)), what)
            yield msgspec.structs.replace(removal, number=numbered(removal.number, self.at), what=what)

    def counts(self) -> Counter[int]:
        """The number of records of each cid."""
        found: Counter[int] = Counter()
        engine = self.store.engine
        assert isinstance(engine, PostgresEngine)
        with engine.reading() as snapshot:
            for run in snapshot.table.runs.values():
                found[run.cid] += int(run.entries["count"].sum())
        return found

    def close(self) -> None:
        """See `Backend.close`."""
        with self._lock:
            self._is_closed = True
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._is_closed = getattr(self, "_is_closed", False)

    def _chunks(self, box: KeyRange) -> Generator[Chunk, None, int]:
        with self.store.scan(box) as scan:
            yield from scan
            return scan.acq

    def _numbered(self, interval: AcqInterval) -> AcqInterval:
        if not isinstance(interval, PutInterval):
            return interval
        number, at = interval.put
        return PutInterval.of(AcqInterval(*interval), PutId(numbered(number, self.at), at))


class ShardedPut:
    """A put that arrives in pieces; see `ArrivingPut`. `parts` has the put of each shard that has records."""

    def __init__(self, begin: Callable[[int], Put], shard_of: Callable[[int], int]) -> None:
        self._begin = begin
        self._shard_of = shard_of
        self.parts: dict[int, Put] = {}
        self.is_gone: Callable[[], bool] | None = None

    @property
    def held(self) -> int:
        """Memory it uses, in bytes."""
        return sum(part.held for part in self.parts.values())

    def add(self, batches: Iterable[Batch]) -> None:
        """See `Put.add`."""
        for batch in batches:
            at = self._shard_of(batch.cid)
            if at not in self.parts:
                self.parts[at] = self._begin(at)
            self.parts[at].add([batch])


class ShardedStore:
    """A backend that stores records on several shards. Thread-safe.

    Args:
        database: the coordinating schema.
        found: the list of shards that it holds.
        cache_bytes: size limit of all block caches together, in bytes.

    Raises:
        StoreError: if some shards were not created.
    """

    settles_puts = True
    """See `capabilities.settles_puts`."""

    def __init__(self, database: Database, found: ShardSet, cache_bytes: int) -> None:
        self.path = database.name
        if not found.is_ready:
            raise StoreError(
                f"{self.path}: some shards were not created; run `tsmodel init` with the same shards again",
                path=self.path,
            )
        psycopg = library()
        self.shards = tuple(
            Shard(member, shard_database(psycopg, database, url, f"{member}"), cache_bytes // len(found.urls))
            for member, url in zip(found.members(self.path), found.urls, strict=True)
        )
        self.scan_budget = ScanBudget(0)

    def shard_of(self, cid: int) -> int:
        """See `Sharded.shard_of`."""
        return shard_of(cid, len(self.shards))

    def shards_of(self, boxes: Sequence[KeyRange]) -> list[int]:
        """See `Sharded.shards_of`."""
        return shards_in(boxes, len(self.shards))

    def shard(self, at: int) -> Shard:
        """See `Sharded.shard`."""
        return self.shards[at]

    def within(self, box: KeyRange) -> Part:
        """See `Sharded.within`."""
        return Part(self._of([box]))

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`. Records come in ascending order of cid."""
        shards = self._of([box])
        return shards[0].scan(box) if len(shards) == 1 else Scan(_merged([shard.scan(box) for shard in shards]))

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """Stores records atomically and durably on each shard.

        Raises:
            StoreInDoubtError: if only some shards stored their part, or the outcome on one is unknown.
            StoreError: if nothing was stored.
        """
        batches = list(batches)
        shards = {self.shard_of(batch.cid) for batch in batches}
        if len(shards) == 1:
            return self.shards[shards.pop()].append(batches, with_acq=with_acq, unless_stored=unless_stored)
        if unless_stored is not None:
            for box in unless_stored.boxes():
                with self.scan(box) as scan:
                    for chunk in scan:
                        unless_stored.feed(chunk)
            batches = unless_stored.left_of(batches)
        put = self.begin_put(with_acq=with_acq)
        put.add(batches)
        return self.store(put)

    def begin_put(self, *, with_acq: bool) -> ShardedPut:
        """See `PutTaker.begin_put`."""
        return ShardedPut(lambda at: self.shards[at].store.begin_put(with_acq=with_acq), self.shard_of)

    def store(self, put: ShardedPut) -> AcqInterval:
        """Stores a put from `begin_put`, as `append` does."""
        stored: list[AcqInterval] = []
        for at, part in sorted(put.parts.items()):
            part.is_gone = put.is_gone
            try:
                stored.append(self.shards[at].finish(part))
            except TSModelError as error:
                if len(put.parts) == 1 or (not stored and not isinstance(error, StoreInDoubtError)):
                    raise
                kind = StoreUnansweredError if isinstance(error, TransportError) else StoreInDoubtError
                raise kind(
                    f"{error}. {len(stored)} of {len(put.parts)} shards stored their part of this put, which is atomic on "
                    "each shard only",
                    path=self.path,
                ) from error
        stored = [interval for interval in stored if interval.acq_max >= 0]
        if len(stored) == 1:
            return stored[0]
        if not stored:
            return AcqInterval(-1, -1)
        return AcqInterval(min(map(attrgetter("acq_min"), stored)), max(map(attrgetter("acq_max"), stored)))

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`, and `last_acq_of`."""
        return self.last_acq_of([box])

    def last_acq_of(self, boxes: Sequence[KeyRange]) -> int:
        """See `Sharded.last_acq_of`."""
        return min(min(box.max.acq for box in boxes), Part(self._of(boxes)).last_acq(_EVERYTHING))

    def remove(
        self,
        boxes: Sequence[KeyRange],
        predicate: Predicate | None = None,
        *,
        kind: RemovalKind = "delete",
        what: str = "",
        note: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Removes records atomically and durably on each shard. See `Remover.remove`.

        Raises:
            StoreError: if a shard fails. The message says how many records the others removed.
        """
        boxes = [box for box in boxes if not box.is_empty]
        if not boxes:
            return 0
        parts = {shard: [box for box in boxes if shard in self._of([box])] for shard in self._of(boxes)}

        def removed(shard: Shard) -> int:
            remove = shard.store.remove
            return remove(parts[shard], predicate, kind=kind, what=what, note=note, dry_run=dry_run)

        return _added(parts, removed)

    def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """Removes the remaining records of some puts, atomically on each shard. See `Remover.undo`.

        A shard on which all of the puts were already undone is left out, so that a call that failed on one shard can be
        repeated.

        Raises:
            StoreError: if a put does not belong to this store, or was already undone; nothing was removed. Also if a shard
                fails; then the message says how many records the others removed.
        """
        wanted = self._by_shard(puts)
        left: dict[Shard, list[PutId]] = {}
        known: dict[int, PutInfo] = {}
        for shard, some in wanted.items():
            of_shard = {put.number: put for put in shard.puts()}
            known |= of_shard
            if not all(_is_undone(put, of_shard) for put in some):
                check_puts(some, of_shard, self.path)
                left[shard] = some
        if not left:
            check_puts(puts, known, self.path)
        return _added(left, lambda shard: shard.store.undo(_local(left[shard]), note))

    def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """Sets the note of some puts. See `Remover.annotate`."""
        for shard, some in self._by_shard(puts).items():
            shard.store.annotate(_local(some), note)

    def puts(self) -> list[PutInfo]:
        """All puts, ordered by the times that their shards gave them."""
        return sorted((put for shard in self.shards for put in shard.puts()), key=attrgetter("time", "number"))

    def removals(self, since: int = 0) -> list[Removal]:
        """The removals with a number above `since`, ordered by the times that their shards gave them."""
        found = (removal for shard in self.shards for removal in shard.removals(0) if removal.number > since)
        return sorted(found, key=attrgetter("time", "number"))

    def removals_of(self, boxes: Sequence[KeyRange], told: Sequence[int]) -> tuple[list[Removal], tuple[int, ...]]:
        """See `Sharded.removals_of`."""
        known = [*told, *[0] * (len(self.shards) - len(told))]
        found: list[Removal] = []
        for shard in self._of(boxes):
            some = list(shard.removals(known[shard.at]))
            if some:
                known[shard.at] = local_number(some[-1].number)
                found += some
        return sorted(found, key=attrgetter("time", "number")), tuple(known if found else told)

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:  # noqa: ARG002
        """Not offered: raises UnsupportedError."""
        raise UnsupportedError(
            f"backup works on embedded files only, and this store is in {self.path}: back up each shard by pg_dump, or "
            "copy its records to a file with session.copy(KeyRange(), to=other)"
        )

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Compacts each shard. See `tsmodel.store.maintenance.compact`."""
        from tsmodel.store.maintenance import Compacted

        found = [shard.store.compact(told) for shard, told in self._with(progress)]
        return Compacted(
            bytes_before=sum(each.bytes_before for each in found),
            bytes_after=sum(each.bytes_after for each in found),
            runs_before=sum(each.runs_before for each in found),
            runs_after=sum(each.runs_after for each in found),
        )

    def verify(self, progress: OnProgress | None = None) -> Verified:
        """Verifies each shard, and that each cid is on its shard. See `tsmodel.store.maintenance.verify_store`."""
        from tsmodel.store.maintenance import Fault, Verified

        found: list[Verified] = []
        faults: list[Fault] = []
        for shard, told in self._with(progress):
            report = shard.store.verify(told)
            found.append(report)
            faults += [Fault(f"{shard.member}: {fault.where}", fault.what, fault.records) for fault in report.faults]
            for cid, count in shard.counts().items():
                if self.shard_of(cid) != shard.at:
                    owner = self.shards[self.shard_of(cid)].member.number
                    what = f"it holds records of cid {cid}, which belongs to shard {owner}: queries do not find them there"
                    faults.append(Fault(f"{shard.member}: runs", what, count))
        sums = {name: sum(getattr(each, name) for each in found) for name in _SUMMED}
        return Verified(path=self.path, faults=tuple(faults), **sums)

    def info(self) -> Info:
        """Describes the contents of all shards; `last_acq` is the least. See `tsmodel.store.maintenance.info_of`."""
        return _joined_info(self.path, [shard.store.info() for shard in self.shards])

    def outline(self, box: KeyRange) -> Generator[Outline | Chunk, None, None]:
        """See `Outliner`."""
        for shard in self._of([box]):
            yield from shard.store.outline(box)

    def position(self) -> Position:
        """See `Outliner`. The number of puts is negative, which says that records may still come below `acq`, unless all
        shards could be advanced to it."""
        self.last_acq(_EVERYTHING)
        acqs, puts, removals = zip(*(shard.store.position() for shard in self.shards), strict=True)
        return Position(max(acqs), sum(puts) if len(set(acqs)) == 1 else -sum(puts), sum(removals))

    def close(self) -> None:
        """Closes all connections."""
        for shard in self.shards:
            shard.close()

    def _of(self, boxes: Iterable[KeyRange]) -> list[Shard]:
        """The shards that may hold records of some key ranges."""
        return [self.shards[at] for at in shards_in(boxes, len(self.shards))]

    def _by_shard(self, puts: Iterable[PutId]) -> dict[Shard, list[PutId]]:
        found: dict[Shard, list[PutId]] = {}
        for put in puts:
            at = shard_in(put.number)
            if not 0 <= at < len(self.shards):
                raise StoreError(
                    f"{self.path} has no put {put.number}: its last three digits are not the number of a shard; nothing "
                    "was changed",
                    path=self.path,
                )
            found.setdefault(self.shards[at], []).append(put)
        return found

    def _with(self, progress: OnProgress | None) -> Iterator[tuple[Shard, OnProgress | None]]:
        """The shards, each with a function that reports its progress; bytes add up over the shards."""
        before = total = 0

        def told(done: int, of: int) -> None:
            nonlocal total
            total = of
            if progress is not None:
                progress(before + done, before + of)

        for shard in self.shards:
            total = 0
            yield shard, None if progress is None else told
            before += total


_SUMMED: Final = ("records", "bytes", "stored", "runs", "blocks", "ahead")


class Part:
    """Some shards of a set."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards

    def last_acq(self, box: KeyRange) -> int:
        """The least answer of the shards, after those behind were advanced to the one ahead."""
        answers = {shard: shard.last_acq(_EVERYTHING) for shard in self._shards}
        most = max(answers.values())
        return min(box.max.acq, *(shard.advanced(answer, most) for shard, answer in answers.items()))

    def advance(self, acq: int, *, wait: bool = True) -> bool:
        """Promises durably that no later PUT to these shards gets an acq below `acq`. See `EmbeddedStore.advance`."""
        are_advanced = [shard.store.advance(acq, wait=wait) for shard in self._shards]
        return all(are_advanced)


def init_shards(target: str, shards: Sequence[str]) -> None:
    """Creates a store over several PostgreSQL servers: the tables of each shard, and the list of shards.

    Afterwards, `connect(target)` opens the store. Call this again with the same shards to finish an interrupted call, or
    with the new URLs of shards that moved.

    Args:
        target: URL of the coordinating schema, which holds the list of shards and no records.
        shards: URLs of the shards, in order. Parts that a URL omits (user, password, database, schema, other options) are
            taken from `target`. Passwords are not stored.

    Raises:
        SessionError: if a URL is not valid, or two are the same.
        StoreFormatError: if a schema holds something else or a shard of another set, or the number of shards differs.
        StoreError: if a database cannot be reached, or the user may not create tables.
    """
    coordinator = database_of(target)
    urls = [without_password(url) for url in shards]
    if not 1 <= len(urls) <= MOST_SHARDS:
        raise SessionError(f"a set has 1 to {MOST_SHARDS} shards, not {len(urls)}")
    databases = [
        shard_database(library(), coordinator, url, f"shard {number} of {len(urls)}")
        for number, url in enumerate(shards, 1)
    ]
    places: dict[tuple[str, str], int] = {(_place(coordinator.conninfo), coordinator.schema): 0}
    for number, each in enumerate(databases, 1):
        other = places.setdefault((_place(each.conninfo), each.schema), number)
        if other != number:
            what = f"shard {other}" if other else "the coordinating schema, which holds no records"
            raise SessionError(f"{each.name} is {what}, too; name another schema with ?schema=...")
    with closing(_Examined(coordinator)) as engine, engine.alone() as connection:
        found = engine.list_of_shards(connection)
        members = [_member(each) for each in databases]
        planned = _planned(coordinator.name, found, members, urls, databases)
        if found is None or not found.is_ready:
            engine.keep(connection, planned)
        for database, member in zip(databases, planned.members(coordinator.name), strict=True):
            PostgresEngine(msgspec.structs.replace(database, create=True), 0, member).close()
        engine.keep(connection, msgspec.structs.replace(planned, is_ready=True))


def _planned(
    name: str,
    found: ShardSet | None,
    members: Sequence[Member | None],
    urls: Sequence[str],
    databases: Sequence[Database],
) -> ShardSet:
    """Decides which list of shards to store, and refuses shards that do not belong in it. `found` is the list that the
    coordinating schema holds, and `members` the place of each shard as its schema says, None without tables."""
    count = len(urls)
    if found is not None and found.is_ready and len(found.urls) != count:
        raise StoreFormatError(
            f"{name} has {len(found.urls)} shards, not {count}, and their number cannot change: create another set, and "
            "move the records by session.copy or `tsmodel copy`",
            path=name,
        )
    known = [member for member in members if member is not None]
    if found is not None:
        set_id = found.set_id
    elif len(known) == count and len({member.set_id for member in known}) == 1:
        set_id = known[0].set_id  # the list was lost
    else:
        set_id = uuid.uuid4().hex
    for number, (member, database) in enumerate(zip(members, databases, strict=True), 1):
        if member is None:
            if found is not None and found.is_ready and found.urls[number - 1] != urls[number - 1]:
                raise StoreError(
                    f"{database.name} has no tables of tsmodel: move the shard there first, then run this again",
                    path=database.name,
                )
        elif not member.is_place_of(Member(set_id, number, count, name)):
            of = f" of another set ({member.of})" if member.set_id != set_id else ""
            raise StoreFormatError(
                f"{database.name} is {member}{of} already; name the shards of a set in order, and others for a new set",
                path=database.name,
            )
    return ShardSet(set_id, tuple(urls), is_ready=found is not None and found.is_ready)


def _member(database: Database) -> Member | None:
    """The place of a schema in a set; None if it has no tables.

    Raises:
        StoreFormatError: if it holds something else.
    """
    with closing(_Examined(database)) as engine:
        return engine.member()


class _Examined(PostgresEngine):
    """A schema that is inspected before anything in it is used or created."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, 0)

    def _open(self) -> None:
        """Accepts any contents."""

    def member(self) -> Member | None:
        """See `_member`."""
        with self._errors(), self._leased("BEGIN") as (connection, _):
            remedy = ", which no shard can take over; name another schema with ?schema=..."
            return self._membership(connection) if self._holds(connection, "shard", remedy) else None

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection that holds the lock for creating tables in this schema."""
        with self._errors(), closing(self._connect()) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"tsmodel init {self._schema.name}",))
            yield connection

    def list_of_shards(self, connection: Connection) -> ShardSet | None:
        """The list of shards; None if there are no tables.

        Raises:
            StoreFormatError: if the schema holds something else.
        """
        with self._errors():
            remedy = (
                ": name another schema for the list of shards with ?schema=..., and move records by session.copy or "
                "`tsmodel copy`"
            )
            return self._shard_set(connection) if self._holds(connection, "set", remedy) else None

    def keep(self, connection: Connection, found: ShardSet) -> None:
        """Stores the list of shards. Creates the schema and its table if they do not exist."""
        with self._errors(), connection.transaction():
            if self._format_of(connection) is None:
                self._create_tables(connection, self._schema.creating()[:1])
            connection.execute(
                f"INSERT INTO {self._schema.of('state')} (one, format, data) VALUES (true, %s, %b) "
                "ON CONFLICT (one) DO UPDATE SET data = excluded.data",
                (format_of("set", FORMAT_VERSION), found.to_bytes()),
            )

    def _holds(self, connection: Connection, wanted: Kind, remedy: str) -> bool:
        """Whether the schema holds what is wanted; False if it has no tables."""
        found = self._format_of(connection)
        if found is None:
            return False
        kind, version = kind_of(found)
        if version != FORMAT_VERSION:
            self._check(connection, found)  # raises, and says why
        if kind != wanted:
            raise StoreFormatError(f"{self.path} holds {CONTENTS[kind]}{remedy}", path=self.path)
        return True


def _merged(scans: Sequence[Scan]) -> Generator[Chunk, None, int]:
    """Merges the chunks of several shards by cid; returns the least of their acqs. The chunks of each shard are in that
    order already. A chunk is cut where cids of other shards come in between."""
    with ExitStack() as stack:
        for scan in scans:
            stack.enter_context(scan)
        queue: list[tuple[int, int, Chunk, npt.NDArray[Any], int]] = []
        for at, scan in enumerate(scans):
            _take(queue, at, scan)
        while queue:
            _, at, chunk, cids, start = heappop(queue)
            stop = int(np.searchsorted(cids, queue[0][0])) if queue and cids[-1] > queue[0][0] else len(cids)
            yield chunk if stop - start == len(cids) else chunk.take(slice(start, stop))
            if stop < len(cids):
                heappush(queue, (int(cids[stop]), at, chunk, cids, stop))
            else:
                _take(queue, at, scans[at])
        return min(scan.acq for scan in scans)


def _take(queue: list[tuple[int, int, Chunk, npt.NDArray[Any], int]], at: int, scan: Scan) -> None:
    """Queues the next chunk of a shard, by its first cid."""
    chunk = next(scan, None)
    if chunk is not None:
        cids = chunk.key("cid")
        heappush(queue, (int(cids[0]), at, chunk, cids, 0))


def _added(shards: Iterable[Shard], work: Callable[[Shard], int]) -> int:
    """The sum of the results of `work` for some shards.

    Raises:
        TSModelError: if it fails on a shard. The message says what other shards removed.
    """
    count = 0
    for done, shard in enumerate(shards):
        try:
            count += work(shard)
        except TSModelError as error:
            if not done:
                raise
            told = copy(error)
            others = f"{done} other {'shard' if done == 1 else 'shards'}"
            told.args = (f"{error}. {count} records were removed on {others}; repeat the call for the rest",)
            raise told from error
    return count


def _is_undone(put: PutId, known: dict[int, PutInfo]) -> bool:
    found = known.get(put.number)
    return found is not None and found.time == put.time and found.undone is not None


def _local(puts: Iterable[PutId]) -> list[PutId]:
    """Puts of one shard, with their numbers in the shard."""
    return [PutId(local_number(number), at) for number, at in puts]


def _place(conninfo: str) -> str:
    """Identifies a database by what its URL says."""
    found = library().conninfo.conninfo_to_dict(conninfo)
    return repr([found.get(name) for name in ("host", "hostaddr", "port", "dbname", "service")])


def _joined_info(path: str, found: Sequence[Info]) -> Info:
    """The contents of several shards together."""
    from tsmodel.store.maintenance import Info

    def span(name: str) -> tuple[int, int] | None:
        spans = [each for info in found if (each := getattr(info, name)) is not None]
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    names = ("file_bytes", "free_bytes", "records", "series", "runs", "blocks", "bytes", "stored", "puts", "removals")
    return Info(
        path=path,
        cap=span("cap"),
        acq=span("acq"),
        last_acq=min(info.last_acq for info in found),
        cids=dict(sorted(item for info in found for item in info.cids.items())),
        **{name: sum(getattr(info, name) for info in found) for name in names},
    )
