"""Effects: the requests that an operation makes of its runner. The runner performs each and sends back the result.

Rules kept here:

* An operation is a generator of effects, written once and run by the blocking or the asynchronous runner.
* Effects are plain values. Creating one must be cheap compared with performing it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, overload

import msgspec

from tsmodel.backend import Batch
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.client_role import Buffers
from tsmodel.wire.stored import Unstored

if TYPE_CHECKING:
    from tsmodel.io.pool import Address, PoolOptions

__all__ = [
    "Append",
    "Block",
    "Close",
    "Counts",
    "Dial",
    "Emit",
    "Fetch",
    "LastAcq",
    "Next",
    "Open",
    "Pause",
    "Receive",
    "Removals",
    "Send",
    "Sent",
    "ShardsOf",
    "Wait",
    "Work",
    "scanned",
]

R = TypeVar("R")
T = TypeVar("T")

if TYPE_CHECKING:
    Work: TypeAlias = Generator[Any, Any, R]
else:
    Work = Generator
"""An operation: a generator of effects that returns an R."""


class Emit(msgspec.Struct, Generic[T], eq=False):
    """Passes a value to the consumer of a stream; the result is None, once the consumer requests the next value."""

    value: T


class Block(msgspec.Struct, eq=False):
    """Calls a function that waits for a disk or a database; the result is its return value. An asynchronous runner calls it
    in a thread. Cancellation takes effect only after the function has returned."""

    function: Callable[[], Any]


class Pause(msgspec.Struct, frozen=True):
    """Sleeps."""

    seconds: float


class Wait(msgspec.Struct, eq=False):
    """Waits for a change, with a timeout.

    Attributes:
        seconds: the timeout.
        told: returns a context that calls the given function after a change, at once if there was one already. It may call
            it from any thread.
    """

    seconds: float
    told: Callable[[Callable[[], object]], AbstractContextManager[object]]


class Dial(msgspec.Struct, frozen=True):
    """Opens a connection; the result is the connection. May throw a TransportError."""

    address: Address
    options: PoolOptions


class Send(msgspec.Struct, eq=False):
    """Sends all bytes of the buffers."""

    buffers: Buffers
    connection: Any = None


class Receive(msgspec.Struct, eq=False):
    """Receives at least one byte into the buffer; the result is the number of bytes, 0 at the end of the stream."""

    buffer: memoryview
    connection: Any = None


class Counts(Protocol):
    """Statistics of fetching."""

    def range_begun(self) -> object:
        """Counts a key range."""
        ...

    def spent(self, step: str, since: float, /) -> float:
        """Adds the time since `since` to a step; returns the current time. Both are times of `time.perf_counter`."""
        ...

    def tick(self) -> None:
        """Updates the total time."""
        ...


class Open(msgspec.Struct, frozen=True):
    """Opens a scan of a key range on a backend; the result is the scan. It is closed when the work ends, or before.

    Attributes:
        box: the key range.
        shard: reads only this shard of the backend; None for all that the key range needs.
    """

    box: KeyRange
    shard: int | None = None


class Fetch(msgspec.Struct, eq=False):
    """Opens concurrent scans of several key ranges, as many as the backend's scan budget allows. The result is one scan of
    all of them, or None if the budget allows only one scan at a time."""

    boxes: Sequence[KeyRange]
    counts: Counts


class Next(msgspec.Struct, eq=False):
    """Takes the next chunk of a scan; the result is None after the last one."""

    scan: Any


class Close(msgspec.Struct, eq=False):
    """Closes a scan before its end."""

    scan: Any


class LastAcq(msgspec.Struct, frozen=True):
    """Asks a backend for the last full-commit acq of a key range.

    Attributes:
        box: the key range.
        shard: asks only this shard of the backend; None for all that the key range needs.
        also: more key ranges, which a backend with shards answers together with `box`.
    """

    box: KeyRange
    shard: int | None = None
    also: tuple[KeyRange, ...] = ()


class ShardsOf(msgspec.Struct, frozen=True):
    """Asks a backend which of its shards may hold records of some key ranges. A backend without shards gives (None,)."""

    boxes: Sequence[KeyRange]


class Removals(msgspec.Struct, frozen=True):
    """Asks a backend for new removals. A backend that cannot remove has none. The result is the removals, and the value of
    `told` for the next time.

    Attributes:
        told: the number of the last known removal, on each shard; empty if none is known.
        boxes: the key ranges to ask about; other removals may be included.
    """

    told: tuple[int, ...]
    boxes: Sequence[KeyRange]


class Sent(Sequence[Batch]):
    """The batches of a put; tracks which of them the backend takes.

    Attributes:
        asked: whether a backend has taken any. If not, nothing was sent.
        tell: called with each batch that a backend takes; may be None.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.asked = False
        self.tell: Callable[[Batch], object] | None = None

    @overload
    def __getitem__(self, at: int) -> Batch: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...

    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        self.asked = True
        found = self._batches[at]
        if self.tell is not None:
            for batch in [found] if isinstance(found, Batch) else found:
                self.tell(batch)
        return found

    def __iter__(self) -> Iterator[Batch]:
        self.asked = True
        return iter(self._batches) if self.tell is None else self._told(self.tell)

    def __len__(self) -> int:
        return len(self._batches)

    def _told(self, tell: Callable[[Batch], object]) -> Iterator[Batch]:
        for batch in self._batches:
            tell(batch)
            yield batch


class Append(msgspec.Struct, eq=False):
    """Stores batches on a backend, or only their new records; the result is the AcqInterval of the stored records.

    A backend takes the batches as it sends them: if it took none, nothing was sent. `shard` is the shard that keeps all of
    them; None if the backend finds out.
    """

    batches: Sent
    with_acq: bool
    unless_stored: Unstored | None = None
    shard: int | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The keyword arguments of `Backend.append`."""
        return {"with_acq": self.with_acq, **({} if self.unless_stored is None else {"unless_stored": self.unless_stored})}


def scanned(box: KeyRange, feed: Callable[[Chunk], object], shard: int | None = None) -> Work[None]:
    """Feeds the chunks of a key range to a function until it returns True. `shard` is that of `Open`."""
    scan = yield Open(box, shard)
    while (chunk := (yield Next(scan))) is not None:
        if feed(chunk) is True:
            yield Close(scan)
            return
