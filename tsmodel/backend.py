"""What sessions and servers ask of a backend, and the currency that flows between them.

Rules kept here:

* What is read comes in `Chunk`s, none of which is empty. One that is not `lasting` is valid until the next is asked for:
  whoever keeps it asks for it `kept()`.
* A *batch* is what a put carries of one cid: whole records in PUT form (`int32 n | mid moid cap | payload`, `n = 20 +
  len(payload)`) or PUTA form (with acq after cap, `n = 28 + len(payload)`).
* An append is durable when it returns, and is applied whole or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

from typing_extensions import Self

from tsmodel.errors import LocalProtocolError
from tsmodel.forking import in_child
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.unstored import Unstored

__all__ = ["AcqInterval", "AsyncBackend", "AsyncScan", "Backend", "Batch", "Scan", "Spare"]


class AcqInterval(NamedTuple):
    """The acquisition times that a put gave to its records: `acq_min <= acq <= acq_max`, ns since 2001."""

    acq_min: int
    acq_max: int


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


class AsyncScan:
    """The chunks of a key range, as an asynchronous iterator; otherwise as `Scan`.

    Args:
        chunks: generator of chunks and, last, of the range's acq.
    """

    def __init__(self, chunks: AsyncGenerator[Chunk | int, None]) -> None:
        self._chunks = chunks
        self._acq: int | None = None

    @property
    def acq(self) -> int:
        """See `Scan.acq`."""
        if self._acq is None:
            raise LocalProtocolError("the acq of a scan is known only after its last chunk")
        return self._acq

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        found = await anext(self._chunks)
        if isinstance(found, int):
            self._acq = found
            await self._chunks.aclose()
            raise StopAsyncIteration
        return found

    async def close(self) -> None:
        """Stops the scan and releases what it holds."""
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Spare:
    """How many scans may go on beside the one that each query has anyway: what a backend has to spare for those who
    read several key ranges. Several threads may share it.

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
        spare: scans that may go on beside others, where that is of use.
    """

    @property
    def spare(self) -> Spare: ...

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
    def spare(self) -> Spare: ...

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
