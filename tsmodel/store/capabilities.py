"""Optional abilities of a backend beyond `Remover`. Sessions and servers check them with `isinstance`, so any backend can
offer them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from tsmodel.backend import AcqInterval, Batch
from tsmodel.keys import KeyRange

if TYPE_CHECKING:
    from tsmodel.store.maintenance import Compacted, Info, OnProgress, Verified
    from tsmodel.wire.chunk import Chunk

__all__ = ["ArrivingPut", "Caretaker", "Outline", "Outliner", "Position", "PutTaker", "settles_puts"]


class Outline(NamedTuple):
    """Records of one series, described without reading them."""

    cid: int
    mid: int
    moid: int
    records: int
    cap_min: int
    cap_max: int


class Position(NamedTuple):
    """A state of a store, to be compared with a later one.

    Attributes:
        acq: greater than every acq that the store has given.
        puts: the number of the next put.
        removals: the number of the next removal.
    """

    acq: int
    puts: int = 0
    removals: int = 0


@runtime_checkable
class Caretaker(Protocol):
    """A backend that can be maintained. What its engine does not support raises `UnsupportedError`, which says what to do
    instead. `progress` is called with the bytes done and the total; an exception from it stops the operation."""

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """Copies the current contents to a new file, and verifies it. See `tsmodel.store.maintenance.backup`."""
        ...

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Merges and compresses the stored blocks, and frees unused space. See `tsmodel.store.maintenance.compact`."""
        ...

    def verify(self, progress: OnProgress | None = None) -> Verified:
        """Reads everything and reports every fault. See `tsmodel.store.maintenance.verify_store`."""
        ...

    def info(self) -> Info:
        """Describes the contents, without decoding records. See `tsmodel.store.maintenance.info_of`."""
        ...


class ArrivingPut(Protocol):
    """A put that is received in pieces; see `tsmodel.store.intake.Put`.

    Attributes:
        is_gone: returns whether the sender has given up; called before the put is stored.
    """

    is_gone: Callable[[], bool] | None

    @property
    def held(self) -> int:
        """Memory it uses, in bytes."""
        ...

    def add(self, batches: Iterable[Batch]) -> None:
        """Adds records."""
        ...


@runtime_checkable
class Outliner(Protocol):
    """A backend that knows what it holds without reading all of it."""

    def outline(self, box: KeyRange) -> Generator[Outline | Chunk, None, None]:
        """The records of a box, each once: described where the store's directories suffice, read where they do not."""
        ...

    def position(self) -> Position:
        """The current state."""
        ...


@runtime_checkable
class PutTaker(Protocol):
    """A backend that takes a put in pieces as they arrive, and stores it atomically; with shards, atomically on each."""

    def begin_put(self, *, with_acq: bool) -> ArrivingPut:
        """Begins a put. `store` stores it; a put that is dropped stores nothing."""
        ...

    def store(self, put: Any) -> AcqInterval:
        """Stores a put from `begin_put`, as `Backend.append` does."""
        ...


def settles_puts(backend: object) -> bool:
    """Whether a put to a backend is over when `append` returns or raises, so that nothing of it is stored later: the
    attribute `settles_puts` of the backend says so. With other backends, a failed put may still be in flight, and a session
    waits before it reconciles."""
    return bool(getattr(backend, "settles_puts", False))
