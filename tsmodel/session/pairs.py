"""Two backends as one: reads from the first, appends to the second. Closing it closes neither."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tsmodel.backend import AcqInterval, AsyncBackend, AsyncScan, Backend, Batch, Removal, Scan, Spare
from tsmodel.keys import KeyRange
from tsmodel.wire.unstored import Unstored

__all__ = ["AsyncPair", "Pair"]


@attrs.frozen(eq=False)
class Pair:
    """See `Backend`.

    Attributes:
        source: is read.
        target: is appended to.
    """

    source: Backend
    target: Backend

    @property
    def spare(self) -> Spare:
        """See `Backend`."""
        return self.source.spare

    def scan(self, box: KeyRange) -> Scan:
        """See `Backend.scan`."""
        return self.source.scan(box)

    def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`."""
        return self.target.append(batches, with_acq=with_acq, unless_stored=unless_stored)

    def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        return self.source.last_acq(box)

    def removals(self, since: int = 0) -> list[Removal]:
        """See `Remover.removals`; none where the source cannot remove."""
        removals = getattr(self.source, "removals", None)
        return [] if removals is None else list(removals(since))

    def close(self) -> None:
        """Does nothing: both belong to their sessions."""


@attrs.frozen(eq=False)
class AsyncPair:
    """See `Pair`."""

    source: AsyncBackend
    target: AsyncBackend

    @property
    def spare(self) -> Spare:
        """See `Backend`."""
        return self.source.spare

    def scan(self, box: KeyRange) -> AsyncScan:
        """See `Backend.scan`."""
        return self.source.scan(box)

    async def append(
        self, batches: Sequence[Batch], *, with_acq: bool = False, unless_stored: Unstored | None = None
    ) -> AcqInterval:
        """See `Backend.append`."""
        return await self.target.append(batches, with_acq=with_acq, unless_stored=unless_stored)

    async def last_acq(self, box: KeyRange) -> int:
        """See `Backend.last_acq`."""
        return await self.source.last_acq(box)

    async def removals(self, since: int = 0) -> list[Removal]:
        """See `Pair.removals`."""
        removals = getattr(self.source, "removals", None)
        return [] if removals is None else list(await removals(since))

    async def close(self) -> None:
        """Does nothing: both belong to their sessions."""
