"""The interface between sessions or servers and a backend, and the values that they exchange.

Rules kept here:

* A scan yields `Chunk`s, none of them empty. A chunk that is not `lasting` is valid until the next one is requested; use
  `kept()` to keep it.
* A *batch* holds the records of one cid in a put: whole records in PUT form (`int32 n | mid moid cap | payload`,
  `n = 20 + len(payload)`) or PUTA form (with acq after cap, `n = 28 + len(payload)`).
* An append is atomic, and durable when it returns. If the backend has shards, it is atomic on each shard.
* `last_acq` never decreases, and no record is added below it. Records below it may be removed, if the backend can remove:
  code that keeps a position in a backend must check `removals`.
* Optional abilities are protocols of their own, checked with `isinstance`: `Remover` and `Sharded` here, the others in
  `tsmodel.store.capabilities`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec
import numpy.typing as npt
from typing_extensions import Self

from tsmodel.errors import LocalProtocolError
from tsmodel.forking import in_child
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.stored import Unstored

if TYPE_CHECKING:
    from tsmodel.io.effects import Work

__all__ = [
    "AcqInterval",
    "Backend",
    "Batch",
    "Predicate",
    "PutId",
    "PutInfo",
    "PutInterval",
    "Removal",
    "RemovalKind",
    "Remover",
    "Scan",
    "ScanBudget",
    "Served",
    "Sharded",
]

RemovalKind: TypeAlias = Literal["delete", "undo", "prune"]
Predicate: TypeAlias = "Callable[[Chunk], npt.NDArray[Any] | None]"
"""Selects records of a chunk: returns a mask of shape (n,), or None for all."""


class AcqInterval(NamedTuple):
    """The acquisition times of a put's records: `acq_min <= acq <= acq_max`, ns since 2001."""

    acq_min: int
    acq_max: int


class PutId(NamedTuple):
    """Identifies a put. The time distinguishes it from puts of other stores.

    Attributes:
        number: its number in the store, from 1 on.
        time: when it was stored, ns since 2001.
    """

    number: int
    time: int


class PutInterval(AcqInterval):
    """The acquisition times of a put with an id.

    Attributes:
        put: the id.
    """

    put: PutId

    @classmethod
    def of(cls, interval: AcqInterval, put: PutId) -> PutInterval:
        """The same interval with an id."""
        made = cls(*interval)
        made.put = put
        return made


class PutInfo(msgspec.Struct, frozen=True, array_like=True):
    """A logged put. Times are ns since 2001.

    Attributes:
        number: its number in the store, from 1 on.
        time: when it was stored.
        cids: the cids of its records, ascending.
        acq_min: least acquisition time of its records.
        acq_max: greatest acquisition time of its records.
        count: number of records it stored. Some may have been removed since.
        keeps_acq: whether its records were stored with their own acq.
        note: the text of `flush(note=...)`; None without one.
        undone: when it was undone; None if it was not.
    """

    number: int
    time: int
    cids: tuple[int, ...]
    acq_min: int
    acq_max: int
    count: int
    keeps_acq: bool = False
    note: str | None = None
    undone: int | None = None

    @property
    def id(self) -> PutId:
        """Its id."""
        return PutId(self.number, self.time)


class Removal(msgspec.Struct, frozen=True, array_like=True):
    """A logged removal of records. Times are ns since 2001.

    Attributes:
        number: its number in the store, from 1 on.
        time: when they were removed.
        kind: the operation: "delete", "undo" or "prune".
        count: number of records removed.
        least: least cid, mid, moid, cap and acq among them.
        greatest: greatest cid, mid, moid, cap and acq among them.
        what: describes the query or the puts.
        note: the caller's text; None without one.
    """

    number: int
    time: int
    kind: RemovalKind
    count: int
    least: tuple[int, ...]
    greatest: tuple[int, ...]
    what: str = ""
    note: str | None = None

    @property
    def box(self) -> KeyRange:
        """The smallest key range that contained all of the records."""
        ends = zip(LIMITS, zip(self.least, self.greatest, strict=True), strict=True)
        return KeyRange.of(**{name: (low, high + 1) for name, (low, high) in ends})


class Scan:
    """Iterates over the chunks of a key range. `acq` is known once it is exhausted.

    Close it, or leave its `with` block, when stopping early: it may hold a connection or a read transaction.

    Args:
        chunks: generator of chunks that returns the range's acq: records of the range below it never change again.
    """

    def __init__(self, chunks: Generator[Chunk, None, int]) -> None:
        self._chunks = chunks
        self._acq: int | None = None

    @property
    def acq(self) -> int:
        """The last full-commit acq, limited to the end of the range.

        Raises:
            LocalProtocolError: before the last chunk was taken.
        """
        if self._acq is None:
            raise LocalProtocolError("the acq of a scan is known only after its last chunk")
        return self._acq

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        try:
            return next(self._chunks)
        except StopIteration as end:
            if self._acq is None:
                self._acq = end.value
            raise StopIteration from None

    def close(self) -> None:
        """Stops the scan and releases what it holds."""
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class ScanBudget:
    """Limits concurrent scans: each query may run one scan, and takes more from this budget to read several key ranges at
    the same time. Thread-safe.

    Args:
        count: number of additional scans.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        # No lock: the garbage collector may close an abandoned scan, which gives back, at any point of `take`.
        self._left = deque([None] * self._count)

    def take(self, most: int) -> int:
        """Takes up to `most` scans from the budget; returns how many. Never waits."""
        taken = 0
        with suppress(IndexError):
            while taken < most:
                self._left.pop()
                taken += 1
        return taken

    def give_back(self, count: int) -> None:
        """Returns scans to the budget."""
        self._left.extend([None] * count)


class Backend(Protocol):
    """Anything that stores records: an embedded store, a connection to a TStorage server.

    Attributes:
        scan_budget: limits concurrent scans; empty if they would not be faster.
    """

    @property
    def scan_budget(self) -> ScanBudget: ...

    def scan(self, box: KeyRange) -> Scan:
        """Scans the records inside `box`, in no particular order. An empty box yields no chunks and sends nothing."""
        ...

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """Stores records atomically and durably.

        If it fails before it has taken a batch from `batches`, nothing was sent: sessions rely on that.

        Args:
            batches: the records, in PUT form, or in PUTA form `with_acq`.
            with_acq: whether they carry their acq.
            unless_stored: made from the same batches; only records that it finds to be new are stored. An embedded store
                checks and stores in one transaction. Other backends check first, so records that another writer stores
                meanwhile may be stored twice.
        """
        ...

    def last_acq(self, box: KeyRange) -> int:
        """The last full-commit acq, limited to `box.max.acq`: records of the box below it never change again."""
        ...

    def close(self) -> None:
        """Releases files and connections. A second call does nothing."""
        ...


@runtime_checkable
class Served(Protocol):
    """A backend whose requests are also work, which an asynchronous runner can carry out without threads."""

    def scanning(self, box: KeyRange) -> Work[int]:
        """Emits the chunks of a key range; the result is its acq. See `Backend.scan`."""
        ...

    def appending(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> Work[AcqInterval]:
        """See `Backend.append`."""
        ...

    def asking(self, box: KeyRange) -> Work[int]:
        """See `Backend.last_acq`."""
        ...


@runtime_checkable
class Remover(Protocol):
    """A backend that can remove records, and logs its puts and removals."""

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
        """Removes the records of some key ranges that meet a predicate, atomically and durably.

        Args:
            boxes: disjoint key ranges.
            predicate: selects records in them; None for all.
            kind: the operation, for the log.
            what: describes what is removed, for the log.
            note: the user's text, for the log.
            dry_run: only counts the records.

        Returns:
            The number of records.
        """
        ...

    def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """Removes the remaining records of exactly these puts; returns how many.

        Raises:
            StoreError: when one belongs to another store, or was undone before; nothing is removed.
        """
        ...

    def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """Sets the note of some puts."""
        ...

    def puts(self) -> list[PutInfo]:
        """All puts, oldest first."""
        ...

    def removals(self, since: int = 0) -> list[Removal]:
        """The removals with a number above `since`, oldest first."""
        ...


@runtime_checkable
class Sharded(Protocol):
    """A backend with shards: several stores, each of which keeps all records of some cids. A put is atomic on each shard.
    Shards are numbered from 0."""

    def shard_of(self, cid: int) -> int:
        """The shard that keeps a cid."""
        ...

    def shards_of(self, boxes: Sequence[KeyRange]) -> Sequence[int]:
        """The shards that may hold records of some key ranges, ascending."""
        ...

    def shard(self, at: int) -> Backend:
        """A shard as a backend. It shares the connections of this backend, and is closed with it."""
        ...

    def within(self, box: KeyRange) -> Any:
        """The shards that may hold records of a key range, with `last_acq` and `advance` as in `EmbeddedStore`."""
        ...

    def last_acq_of(self, boxes: Sequence[KeyRange]) -> int:
        """The least `last_acq` of some key ranges. If this backend may write, it first advances the shards that are behind,
        so that an idle shard does not hold back the answer."""
        ...

    def removals_of(self, boxes: Sequence[KeyRange], told: Sequence[int]) -> tuple[list[Removal], tuple[int, ...]]:
        """New removals on the shards that may hold records of some key ranges, oldest first.

        Args:
            boxes: the key ranges.
            told: the removals that are not new: the second result of the last call; empty at first.
        """
        ...
