"""When runs are merged.

A run is what one put stored of a cid: sorted blocks that do not overlap. Reading a series looks into every run of its cid,
so small runs are merged into larger ones.

Rules kept here:

* Runs are grouped in tiers by size, each eight times the one before. Eight runs of a tier become one of a higher tier, so
  a record is rewritten at most once a tier, however small the puts.
* A run of 8 MiB or more is merged no further at once: a merge never holds more than some 70 MiB.
* So is a smaller one of some blocks that has many records of each of its series: a block of it holds as much of a series as
  is good, and merging would only make the time longer that a block spans.
* Large runs that have few records of each series, because there are very many series, are spread: eight of them are merged
  into runs that are each of some series, 16 MiB with each put, and as much as it puts.
* Many runs may become small at once when records are removed. They are merged some 64 MiB at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache

import msgspec

from tsmodel.store.directory import Level
from tsmodel.store.engine import Run

__all__ = ["MergePolicy"]


class MergePolicy(msgspec.Struct, frozen=True):
    """Decides which runs become one.

    Attributes:
        fan_in: how many runs of a tier are merged, and how much larger each tier is than the one before.
        final: bytes from which on a run is left as it is.
        dense: records of each series from which on a run of some blocks is left as it is.
        whole: bytes that are some blocks.
        step: bytes that are merged at once of large runs.
    """

    fan_in: int = 8
    final: int = 8 * 2**20
    dense: int = 64
    whole: int = 2 * 2**20
    step: int = 16 * 2**20

    def is_dense(self, size: int, count: int, series: int) -> bool:
        """Whether a run has as many records of each of its series as is good.

        Args:
            size: bytes of its records.
            count: how many there are.
            series: of how many series; 0 when that is not known.
        """
        return bool(series) and size >= self.whole and count >= self.dense * series

    def to_spread(self, runs: Sequence[Run]) -> list[Run]:
        """The large runs of a cid of which the beginnings are to be merged next; none when there is nothing to do."""
        if begun := [run for run in runs if run.level == Level.BEGUN]:
            return begun
        sparse = [
            run
            for run in runs
            if run.level == Level.PUT
            and run.size >= self.final
            and run.series
            and not self.is_dense(run.size, run.count, run.series)
        ]
        return sparse[: self.fan_in] if len(sparse) >= self.fan_in else []

    def to_merge(self, runs: Sequence[Run]) -> list[Run]:
        """The runs of a cid to merge into one; none when there is nothing to do."""
        left = {at for at, run in enumerate(runs) if run.level or self.is_dense(run.size, run.count, run.series)}
        return [runs[at] for at in self.choose([run.size for run in runs], left)]

    def choose(self, sizes: Sequence[int], left: Collection[int] = ()) -> list[int]:
        """Positions of the runs to merge into one, ascending; none when there is nothing to do.

        Args:
            sizes: bytes of each run of one cid.
            left: positions of runs that are left as they are, however small.
        """
        most = -1
        small = [(at, size) for at, size in enumerate(sizes) if size < self.final and at not in left]
        current = [(self._tier(size), size) for _, size in small]
        while True:
            counts = Counter(tier for tier, _ in current)
            full = [tier for tier, count in counts.items() if count >= self.fan_in]
            if not full:
                break
            most = max(most, max(full))
            # Smaller runs go along: they would only wait for the next merge.
            together = sum(size for tier, size in current if tier <= most)
            current = [(tier, size) for tier, size in current if tier > most]
            if together < self.final:
                current.append((max(self._tier(together), most + 1), together))
        chosen = [at for at, size in small if self._tier(size) <= most]
        return self._some(sizes, chosen) if sum(sizes[at] for at in chosen) > self._most else chosen

    @property
    def _most(self) -> int:
        return self.fan_in * self.final

    def _some(self, sizes: Sequence[int], chosen: list[int]) -> list[int]:
        """The smallest of too many, and the last one: it is the new one, whose put merges them."""
        some, total = [], 0
        last = len(sizes) - 1
        for at in sorted(chosen, key=lambda at: (at != last, sizes[at])):
            some.append(at)
            total += sizes[at]
            if total > self._most:
                break
        return sorted(some)

    def _tier(self, size: int) -> int:
        return _tier(size, self.fan_in)


@lru_cache(maxsize=4096)
def _tier(size: int, fan_in: int) -> int:
    tier = 0
    while size >= fan_in:
        size //= fan_in
        tier += 1
    return tier
