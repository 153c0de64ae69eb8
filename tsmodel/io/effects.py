"""Effects: the requests that an operation makes of its runner. The runner performs each and sends back the result.

Rules kept here:

* An operation is a generator of effects, written once. A runner that blocks and one that awaits carry it out.
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
    "Ask",
    "Block",
    "Check",
    "Close",
    "Counts",
    "Dial",
    "Discard",
    "Emit",
    "Fetch",
    "LastAcq",
    "LastAcqOf",
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
C = TypeVar("C")

if TYPE_CHECKING:
    Work: TypeAlias = Generator[Any, Any, R]
else:
    Work = Generator
"""An operation whose result is an R. What it yields are effects."""


class Emit(msgspec.Struct, Generic[T], eq=False):
    """Hands a value to the consumer of a stream; the answer is None, once the consumer wants the next."""

    value: T


class Ask(msgspec.Struct, eq=False):
    """Calls a method of a backend; the answer is its return value. An asynchronous runner awaits it."""

    function: Callable[[], Any]


class Block(msgspec.Struct, eq=False):
    """Calls a function that waits for a disk; the answer is its return value. An asynchronous runner calls it in a thread.
    Cancellation takes effect only after the function has returned."""

    function: Callable[[], Any]


class Pause(msgspec.Struct, frozen=True):
    """Waits for some seconds."""

    seconds: float


class Wait(msgspec.Struct, eq=False):
    """Waits until something changes, but at most some seconds.

    Attributes:
        seconds: how long.
        told: takes a function that is called when it changes, or at once when it has; from any thread, while it is entered.
    """

    seconds: float
    told: Callable[[Callable[[], object]], AbstractContextManager[object]]


class Dial(msgspec.Struct, frozen=True):
    """Opens a connection, which is the answer; a TransportError may be thrown in."""

    address: Address
    options: PoolOptions


class Send(msgspec.Struct, eq=False):
    """Sends all of these bytes."""

    buffers: Buffers
    connection: Any = None


class Receive(msgspec.Struct, eq=False):
    """Receives at least one byte into this buffer; the answer is how many, 0 at the end of the stream."""

    buffer: memoryview
    connection: Any = None


class Check(msgspec.Struct, Generic[C], eq=False):
    """Asks whether an idle connection is still there."""

    connection: C


class Discard(msgspec.Struct, Generic[C], eq=False):
    """Closes a connection."""

    connection: C


class Counts(Protocol):
    """Counts what is fetched."""

    def range_begun(self) -> object:
        """A key range is about to be read."""
        ...

    def spent(self, step: str, since: float, /) -> float:
        """Adds the time since `since` to that of a step; returns the time now. Both are of `time.perf_counter`."""
        ...

    def tick(self) -> None:
        """Updates the total time."""
        ...


class Open(msgspec.Struct, frozen=True):
    """Opens a scan of a key range on a backend; the answer is the scan. It is closed no later than the work ends.

    Attributes:
        box: the key range.
        shard: the only store to read, where the backend is over several; None for those that the key range touches.
    """

    box: KeyRange
    shard: int | None = None


class Fetch(msgspec.Struct, eq=False):
    """Opens scans of several key ranges that go on concurrently, as many as the backend's scan budget allows; the answer
    stands for all of them. It is None where the budget allows no more than one scan at a time."""

    boxes: Sequence[KeyRange]
    counts: Counts


class Next(msgspec.Struct, eq=False):
    """Takes the next chunk of a scan; the answer is None after the last one."""

    scan: Any


class Close(msgspec.Struct, eq=False):
    """Closes a scan before its end."""

    scan: Any


class LastAcq(msgspec.Struct, frozen=True):
    """Asks a backend for the last full-commit acq of a range.

    Attributes:
        box: the range.
        shard: the only store to ask, where the backend is over several; None for those that the range touches.
        also: more ranges, which a backend over several stores answers for together.
    """

    box: KeyRange
    shard: int | None = None
    also: tuple[KeyRange, ...] = ()


class LastAcqOf(msgspec.Struct, frozen=True):
    """Asks a backend over several stores for the last full-commit acq of some ranges together; the answer of any other
    backend is None."""

    boxes: tuple[KeyRange, ...]


class ShardsOf(msgspec.Struct, frozen=True):
    """Asks a backend over several stores which of them may hold records of some key ranges; the answer of any other backend
    is (None,)."""

    boxes: Sequence[KeyRange]


class Removals(msgspec.Struct, frozen=True):
    """Asks a backend for new removals of records of some key ranges, and perhaps of others; one that cannot remove has
    none. The answer is the removals, and the value of `told` that leaves them out next time.

    Attributes:
        told: number of the last known removal, for each store; empty for none.
        boxes: the key ranges.
    """

    told: tuple[int, ...]
    boxes: Sequence[KeyRange]


class Sent(Sequence[Batch]):
    """The batches of a put; tracks which of them the backend takes.

    Attributes:
        asked: whether a backend asked for any. If not, nothing was sent.
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
    """Stores batches on a backend, or what is new of them; the answer is the AcqInterval of what was stored.

    A backend asks for the batches as it sends them: if it asked for none, nothing was sent. `shard` is the store that keeps
    all of them, where the backend is over several and that is known.
    """

    batches: Sent
    with_acq: bool
    unless_stored: Unstored | None = None
    shard: int | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by name."""
        return {"with_acq": self.with_acq, **({} if self.unless_stored is None else {"unless_stored": self.unless_stored})}


def scanned(box: KeyRange, feed: Callable[[Chunk], object], shard: int | None = None) -> Work[None]:
    """Feeds the chunks of a range to a function: all of them, or until it returns True. `shard` is as in `Open`."""
    scan = yield Open(box, shard)
    while (chunk := (yield Next(scan))) is not None:
        if feed(chunk) is True:
            yield Close(scan)
            return
