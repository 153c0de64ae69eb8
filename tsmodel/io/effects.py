"""Effects: what work asks for. A runner carries each out and answers with its result.

Those of every request are not frozen: making a frozen object takes three times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

import msgspec

from tsmodel.backend import Batch
from tsmodel.keys import KeyRange
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.client_role import Buffers
from tsmodel.wire.unstored import Unstored

if TYPE_CHECKING:
    from tsmodel.io.pool import Address, PoolOptions

__all__ = [
    "Append",
    "Check",
    "Dial",
    "Discard",
    "Emit",
    "LastAcq",
    "Look",
    "Pause",
    "Receive",
    "Removals",
    "Send",
    "Sent",
    "Wait",
    "Work",
]

R = TypeVar("R")
T = TypeVar("T")
C = TypeVar("C")

if TYPE_CHECKING:
    Work: TypeAlias = Generator[Any, Any, R]
else:
    Work = Generator
"""Work that comes to an R. What it yields are effects."""


class Emit(msgspec.Struct, Generic[T], eq=False):
    """Something for whoever runs the work; the answer is None, once they want the next."""

    value: T


class Pause(msgspec.Struct, frozen=True):
    """Asks to wait for some seconds."""

    seconds: float


class Send(msgspec.Struct, eq=False):
    """Asks to send all of these bytes."""

    buffers: Buffers
    connection: Any = None


class Receive(msgspec.Struct, eq=False):
    """Asks to receive at least one byte into this buffer; the answer is how many, 0 at the end of the stream."""

    buffer: memoryview
    connection: Any = None


class Dial(msgspec.Struct, frozen=True):
    """Asks for a new connection; a TransportError may be thrown in."""

    address: Address
    options: PoolOptions


class Check(msgspec.Struct, Generic[C], eq=False):
    """Asks whether a connection at rest is still there."""

    connection: C


class Discard(msgspec.Struct, Generic[C], eq=False):
    """Asks to close a connection."""

    connection: C


class Wait(msgspec.Struct, frozen=True, eq=False):
    """Asks to wait until something changes, but at most some seconds.

    Attributes:
        seconds: how long.
        told: takes a function that is called when it changes, or at once when it has; from any thread, while it is entered.
    """

    seconds: float
    told: Callable[[Callable[[], object]], AbstractContextManager[object]]


class LastAcq(msgspec.Struct, frozen=True):
    """Asks a backend for the last full-commit acq of a range."""

    box: KeyRange


class Look(msgspec.Struct, frozen=True, eq=False):
    """Asks to feed the chunks that a backend has of a range to a function: all of them, or until it returns True."""

    box: KeyRange
    feed: Callable[[Chunk], object]


class Removals(msgspec.Struct, frozen=True):
    """Asks a backend for the removals with a number above `since`; one that cannot remove has none."""

    since: int


class Sent(Sequence[Batch]):
    """The batches of a put; knows whether anybody asked for them."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self.asked = False

    @overload
    def __getitem__(self, at: int) -> Batch: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Batch]: ...

    def __getitem__(self, at: int | slice) -> Batch | Sequence[Batch]:
        self.asked = True
        return self._batches[at]

    def __iter__(self) -> Iterator[Batch]:
        self.asked = True
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class Append(msgspec.Struct, frozen=True, eq=False):
    """Asks a backend to store batches, or what is new of them; the answer is the AcqInterval of what was stored.

    A backend asks for the batches as it sends them: a put of which it asked for nothing has not left.
    """

    batches: Sent
    with_acq: bool
    unless_stored: Unstored | None = None

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by name."""
        return {"with_acq": self.with_acq, **({} if self.unless_stored is None else {"unless_stored": self.unless_stored})}
