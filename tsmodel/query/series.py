"""The series of a query: which meters have records, how many, and from when to when."""

from __future__ import annotations

from typing import Any, Protocol

import attrs
import numpy as np

from tsmodel.html import Listed
from tsmodel.timestamps import to_iso
from tsmodel.wire.chunk import Chunk
from tsmodel.wire.sorting import order_of, run_lengths, run_starts

__all__ = ["Picks", "Series", "SeriesFound"]


@attrs.frozen
class Series:
    """Records of one client, meter, and meter object.

    Attributes:
        cid, mid, moid: of all of them.
        count: how many there are.
        cap_min, cap_max: least and greatest capture time, both of records; ns since 2001.
    """

    cid: int
    mid: int
    moid: int
    count: int
    cap_min: int = attrs.field(repr=to_iso)
    cap_max: int = attrs.field(repr=to_iso)

    def to_dict(self) -> dict[str, int | str]:
        """The same by name, with times as ISO 8601 text."""
        return {**attrs.asdict(self), "cap_min": to_iso(self.cap_min), "cap_max": to_iso(self.cap_max)}


class Picks(Protocol):
    """What picks the records to count: a `Selection`."""

    @property
    def full(self) -> bool: ...

    def of(self, chunk: Chunk, *, keys_only: bool) -> Any: ...


class SeriesFound:
    """Counts the selected records by series, by NumPy; a sink."""

    def __init__(self, selection: Picks) -> None:
        self._selection = selection
        self._found: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether the limit is reached."""
        records = self._selection.of(chunk, keys_only=True)
        if len(records):
            self._take(*(np.asarray(records[name]) for name in ("cid", "mid", "moid", "cap")))
        return self._selection.full

    def result(self) -> list[Series]:
        """All series so far, sorted."""
        return Listed(Series(*key, *counts) for key, counts in sorted(self._found.items()))

    def _take(self, cid: Any, mid: Any, moid: Any, cap: Any) -> None:
        order = order_of([cid, mid, moid])
        if order is not None:
            cid, mid, moid, cap = cid[order], mid[order], moid[order], cap[order]
        starts = run_starts([cid, mid, moid])
        counts = run_lengths(starts, len(cap))
        columns = (cid[starts], mid[starts], moid[starts])
        sums = (counts, np.minimum.reduceat(cap, starts), np.maximum.reduceat(cap, starts))
        found = self._found
        for c, m, o, count, least, greatest in zip(*(each.tolist() for each in (*columns, *sums)), strict=True):
            known = found.get((c, m, o))
            if known is not None:
                count, least, greatest = known[0] + count, min(known[1], least), max(known[2], greatest)
            found[c, m, o] = (count, least, greatest)
