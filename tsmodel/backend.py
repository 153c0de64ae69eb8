"""What sessions and servers ask of a backend, and the currency that flows between them.

Rules kept here:

* What is read comes in `Chunk`s, none of which is empty. One that is not `lasting` is valid until the next is asked for:
  whoever keeps it asks for it `kept()`.
* A *batch* is what a put carries of one cid: whole records in PUT form (`int32 n | mid moid cap | payload`, `n = 20 +
  len(payload)`) or PUTA form (with acq after cap, `n = 28 + len(payload)`).
* An append is durable when it returns, and is applied whole or not at all.
* Where records can be removed, nothing is ever added below an answer of `last_acq`, and that answer never goes back; what
  lies below it may become less. Whoever keeps a position in a backend asks for its `removals`.
* What only some backends can do is a protocol of its own, which `isinstance` asks for: `Remover` and `Sharded` here,
  `Caretaker` and `PutTaker` in `tsmodel.store.capabilities`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
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
    from tsmodel.io.runners import AsyncScan

__all__ = [
    "AcqInterval",
    "AsyncBackend",
    "AsyncRemover",
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
    "Sharded",
]

RemovalKind: TypeAlias = Literal["delete", "undo", "prune"]
Predicate: TypeAlias = "Callable[[Chunk], npt.NDArray[Any] | None]"
"""Which records of a chunk are meant: a mask of shape (n,), or None for all of them."""


class AcqInterval(NamedTuple):
    """The acquisition times that a put gave to its records: `acq_min <= acq <= acq_max`, ns since 2001."""

    acq_min: int
    acq_max: int


class PutId(NamedTuple):
    """What names a put, and tells it from those of other stores.

    Attributes:
        number: its number in the store, from 1 on.
        time: when it was stored, ns since 2001.
    """

    number: int
    time: int


class PutInterval(AcqInterval):
    """The acquisition times of a put that has an id.

    Attributes:
        put: the id.
    """

    put: PutId

    @classmethod
    def of(cls, interval: AcqInterval, put: PutId) -> PutInterval:
        """The same times, of a put."""
        made = cls(*interval)
        made.put = put
        return made


class PutInfo(msgspec.Struct, frozen=True, array_like=True):
    """A put, as the store remembers it. Times are ns since 2001.

    Attributes:
        number: its number in the store, from 1 on.
        time: when it was stored.
        cids: client ids of its records, ascending.
        acq_min: least acquisition time of its records.
        acq_max: greatest one.
        count: how many records it stored. Some may have been removed since.
        keeps_acq: whether its records came with an acq of their own.
        note: what `flush(note=...)` said; None for nothing.
        undone: when it was undone; None when it was not.
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
        """What names it."""
        return PutId(self.number, self.time)


class Removal(msgspec.Struct, frozen=True, array_like=True):
    """Records that were removed together, as the store remembers it. Times are ns since 2001.

    Attributes:
        number: its number in the store, from 1 on.
        time: when they were removed.
        kind: by what: "delete", "undo" or "prune".
        count: how many records.
        least: least cid, mid, moid, cap and acq among them.
        greatest: greatest cid, mid, moid, cap and acq among them.
        what: the query, or the puts, in words.
        note: what the caller said about it; None for nothing.
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
        """The least key range that held all of the records."""
        ends = zip(LIMITS, zip(self.least, self.greatest, strict=True), strict=True)
        return KeyRange.of(**{name: (low, high + 1) for name, (low, high) in ends})


class Scan:
    """The chunks of a key range, as an iterator; `acq` is known once it is exhausted.

    Close it (or leave its `with` block) when stopping early: it may hold a connection or a read transaction.

    Args:
        chunks: generator of chunks that returns the range's acq: records of the range with an acq below it never
            change again.
    """

    def __init__(self, chunks: Generator[Chunk, None, int]) -> None:
        self._chunks = chunks
        self._acq: int | None = None

    @property
    def acq(self) -> int:
        """The range's last full-commit acq, cut to the end of the range.

        Raises:
            LocalProtocolError: when the chunks have not all been taken.
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
    """How many scans a backend allows in addition to the one that each query has: for queries that read several key ranges.
    Several threads may share it.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begin()
        in_child(self._begin)

    def _begin(self) -> None:
        self._left = self._count
        self._lock = threading.Lock()

    def take(self, most: int) -> int:
        """Takes `most`, or what is left; returns how many. Never waits."""
        with self._lock:
            taken = max(min(most, self._left), 0)
            self._left -= taken
        return taken

    def give_back(self, count: int) -> None:
        """Gives back what was taken."""
        with self._lock:
            self._left += count


class Backend(Protocol):
    """Anything that keeps records: the embedded store, a TStorage connection.

    Attributes:
        scan_budget: additional scans that may run concurrently, where that is of use.
    """

    @property
    def scan_budget(self) -> ScanBudget: ...

    def scan(self, box: KeyRange) -> Scan:
        """The records inside `box`, in no particular order. An empty box gives no chunks and sends nothing."""
        ...

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """Stores all records of `batches` (PUT form, or PUTA form `with_acq`), durably, whole or not at all.

        A backend that fails before it has taken any batch from `batches` has sent nothing: sessions rely on it.

        Args:
            batches: the records.
            with_acq: whether they carry their acq.
            unless_stored: made of the same batches; only what is new by it is stored. An embedded store looks and stores in
                one transaction; others look first, so that what is stored meanwhile may be stored twice.
        """
        ...

    def last_acq(self, box: KeyRange) -> int:
        """min(box.max.acq, last full-commit acq): records of the box with an acq below it never change again."""
        ...

    def close(self) -> None:
        """Releases files and connections; a second call does nothing."""
        ...


class AsyncBackend(Protocol):
    """A `Backend` whose waits are awaited."""

    @property
    def scan_budget(self) -> ScanBudget: ...

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `Backend.scan`."""
        ...

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`."""
        ...

    async def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        ...

    async def close(self) -> None:
        """See `Backend.close`."""
        ...


@runtime_checkable
class Remover(Protocol):
    """A backend that can remove records, and remembers which puts and removals there were."""

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
        """Removes the records of some disjoint key ranges that meet a predicate, durably, all or none of them.

        Args:
            boxes: the key ranges.
            predicate: which of their records; None for all.
            kind: what the log of removals calls it.
            what: what was removed, in words, for the log.
            note: what the user says about it, for the log.
            dry_run: only counts.

        Returns:
            How many records.
        """
        ...

    def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """Removes what is left of the records of some puts, and nothing else; returns how many.

        Raises:
            StoreError: when one is no put of this store, or was undone before; nothing is removed.
        """
        ...

    def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """Gives puts a note."""
        ...

    def puts(self) -> list[PutInfo]:
        """All puts, the oldest first."""
        ...

    def removals(self, since: int = 0) -> list[Removal]:
        """The removals with a number above `since`, the oldest first."""
        ...


@runtime_checkable
class AsyncRemover(Protocol):
    """A `Remover` whose waits are awaited."""

    async def remove(
        self,
        boxes: Sequence[KeyRange],
        predicate: Predicate | None = None,
        *,
        kind: RemovalKind = "delete",
        what: str = "",
        note: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """See `Remover.remove`."""
        ...

    async def undo(self, puts: Sequence[PutId], note: str | None = None) -> int:
        """See `Remover.undo`."""
        ...

    async def annotate(self, puts: Sequence[PutId], note: str) -> None:
        """See `Remover.annotate`."""
        ...

    async def puts(self) -> list[PutInfo]:
        """See `Remover.puts`."""
        ...

    async def removals(self, since: int = 0) -> list[Removal]:
        """See `Remover.removals`."""
        ...


@runtime_checkable
class Sharded(Protocol):
    """A backend over several stores, each of which keeps the records of some cids. A put is atomic on each of them."""

    def shard_of(self, cid: int) -> int:
        """The place of the store that keeps a cid, from 0."""
        ...

    def shards_of(self, boxes: Sequence[KeyRange]) -> Sequence[int]:
        """The places of the stores that may hold records of some key ranges, ascending."""
        ...

    def shard(self, at: int) -> Backend:
        """The store at a place, which shares connections with this backend and is closed with it."""
        ...

    def within(self, box: KeyRange) -> Any:
        """The stores that may hold records of a key range, with `last_acq` and `advance` as an embedded store has them."""
        ...

    def last_acq_of(self, boxes: Sequence[KeyRange]) -> int:
        """The least of the `last_acq` of some key ranges. Stores that are behind are first advanced to the one that is
        ahead, if this backend may write, so that an idle store does not hold the answer back."""
        ...

    def removals_of(self, boxes: Sequence[KeyRange], told: Sequence[int]) -> tuple[list[Removal], tuple[int, ...]]:
        """The removals, on the stores that may hold records of some key ranges, that came after `told`, oldest first; and
        the new value of `told`, which begins as an empty sequence."""
        ...


def __getattr__(name: str) -> Any:
    """Earlier names: `Spare`, and `AsyncScan`, which lives in `tsmodel.io.runners`."""
    if name == "Spare":
        return ScanBudget
    if name == "AsyncScan":
        from tsmodel.io.runners import AsyncScan

        return AsyncScan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
