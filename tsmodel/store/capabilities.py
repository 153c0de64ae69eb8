"""What stores offer beyond `Backend` and `Remover`. Sessions and servers ask for it by `isinstance`, so that a backend of
another kind can offer it, too."""

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
    """A backend that looks after what it stores. What its engine cannot do raises `UnsupportedError`, which says what to do
    instead. `progress` is called with bytes that are done, and with all of them; what it raises ends the work."""

    def backup(self, path: str | os.PathLike[str], progress: OnProgress | None = None) -> Verified:
        """Copies what is stored now to a new file, and verifies it. See `tsmodel.store.maintenance.backup`."""
        ...

    def compact(self, progress: OnProgress | None = None) -> Compacted:
        """Merges and compresses what is stored, and gives free space back. See `tsmodel.store.maintenance.compact`."""
        ...

    def verify(self, progress: OnProgress | None = None) -> Verified:
        """Reads everything, and says all that is wrong with it. See `tsmodel.store.maintenance.verify_store`."""
        ...

    def info(self) -> Info:
        """What is stored, without reading records. See `tsmodel.store.maintenance.info_of`."""
        ...


@runtime_checkable
class PutTaker(Protocol):
    """A backend that takes a put in pieces, as they arrive, and stores it whole."""

    def begin_put(self, *, with_acq: bool) -> Put:
        """A put to add pieces to: `store` stores it; who drops it has stored nothing."""
        ...

    def store(self, put: Put) -> AcqInterval:
        """Stores a put that was begun by `begin_put`, as `Backend.append` does."""
        ...


@runtime_checkable
class PutSettler(Protocol):
    """A backend that may know the outcome of a put when `append` ends.

    Attributes:
        settles_puts: whether a put is over when `append` returns or raises: nothing of it is stored afterwards. With other
            backends, a put that failed may still be on its way, so a session waits before it looks for its records.
    """

    @property
    def settles_puts(self) -> bool: ...


def settles_puts(backend: object) -> bool:
    """Whether a backend has settled a put when `append` ends; see `PutSettler`."""
    return isinstance(backend, PutSettler) and backend.settles_puts
