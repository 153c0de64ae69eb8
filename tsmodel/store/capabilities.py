"""Optional abilities of a backend beyond `Remover`. Sessions and servers check them with `isinstance`, so any backend can
offer them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tsmodel.backend import AcqInterval

if TYPE_CHECKING:
    from tsmodel.store.intake import Put
    from tsmodel.store.maintenance import Compacted, Info, OnProgress, Verified

__all__ = ["Caretaker", "PutSettler", "PutTaker", "settles_puts"]


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


@runtime_checkable
class PutTaker(Protocol):
    """A backend that takes a put in pieces as they arrive, and stores it atomically."""

    def begin_put(self, *, with_acq: bool) -> Put:
        """Begins a put. `store` stores it; a put that is dropped stores nothing."""
        ...

    def store(self, put: Put) -> AcqInterval:
        """Stores a put from `begin_put`, as `Backend.append` does."""
        ...


@runtime_checkable
class PutSettler(Protocol):
    """A backend that says whether a put is over when `append` returns or raises.

    Attributes:
        settles_puts: whether nothing of a put is stored after `append` has ended. With other backends, a failed put may
            still be in flight, so a session waits before it reconciles.
    """

    @property
    def settles_puts(self) -> bool: ...


def settles_puts(backend: object) -> bool:
    """Whether a put to a backend is over when `append` ends; see `PutSettler`."""
    return isinstance(backend, PutSettler) and backend.settles_puts
