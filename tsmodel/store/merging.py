"""The merge policy: decides when runs are merged.

A put stores a run for each cid: sorted blocks that do not overlap. Reading a series has to look into every run of its cid,
so small runs are merged into larger ones.

Rules kept here:

* Runs are grouped in tiers by size, each tier eight times the previous one. Eight runs of a tier become one run of a higher
  tier, so a record is rewritten at most once per tier, however small the puts.
* A run of 8 MiB or more is not merged in one go: a merge never holds more than about 70 MiB.
* A smaller run is dense if it has several blocks and many records per series. It is not merged either: that would only make
  its blocks span more time.
* Large runs with few records per series are spread: eight of them are merged step by step into runs that each cover a part
  of the series. Each put merges 16 MiB, plus as much as it stores.
* A removal may make many runs small at once. They are merged about 64 MiB at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache

import msgspec

from tsmodel.store.directory import Level
from tsmodel.store.interface import Run

__all__ = ["MergePolicy"]


class MergePolicy(msgspec.Struct, frozen=True):
    """Decides which runs become one.

    Attributes:
        fan_in: how many runs of a tier are merged, and the size ratio between tiers.
        final: size in bytes from which a run is left alone.
        dense: records per series from which a run of several blocks is left alone.
        whole: size in bytes that counts as several blocks.
        step: bytes of large runs merged in one step.
    """

    fan_in: int = 8
    final: int = 8 * 2**20
    dense: int = 64
    whole: int = 2 * 2**20
    step: int = 16 * 2**20

    def is_dense(self, size: int, count: int, series: int) -> bool:
        """Whether a run has enough records per series."""
        return bool(series) and size >= self.whole and count >= self.dense * series

    def to_spread(self, runs: Sequence[Run]) -> list[Run]:
        """The large runs of a cid to merge a step further; empty if there are none."""
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
        """The runs of a cid to merge into one; empty if there are none."""
        left = {at for at, run in enumerate(runs) if run.level or self.is_dense(run.size, run.count, run.series)}
        return [runs[at] for at in self.choose([run.size for run in runs], left)]

    def choose(self, sizes: Sequence[int], left: Collection[int] = ()) -> list[int]:
        """Positions of the runs of one cid to merge into one, ascending; empty if there are none. Those in `left` are left
        alone, whatever their size."""
        most = -1
        small = [(at, size) for at, size in enumerate(sizes) if size < self.final and at not in left]
        current = [(_tier(size, self.fan_in), size) for _, size in small]
        while True:
            counts = Counter(tier for tier, _ in current)
            full = [tier for tier, count in counts.items() if count >= self.fan_in]
            if not full:
                break
            most = max(most, max(full))
            # Smaller runs join in: they would only wait for the next merge.
            together = sum(size for tier, size in current if tier <= most)
            current = [(tier, size) for tier, size in current if tier > most]
            if together < self.final:
                current.append((max(_tier(together, self.fan_in), most + 1), together))
        chosen = [at for at, size in small if _tier(size, self.fan_in) <= most]
        return self._some(sizes, chosen)

    def _some(self, sizes: Sequence[int], chosen: list[int]) -> list[int]:
        """Limits a merge to the smallest runs and the last one, which is the new run of this put."""
        some, total, last = [], 0, len(sizes) - 1
        for at in sorted(chosen, key=lambda at: (at != last, sizes[at])):
            some.append(at)
            total += sizes[at]
            if total > self.fan_in * self.final:
                break
        return sorted(some)


@lru_cache(maxsize=4096)
def _tier(size: int, fan_in: int) -> int:
    tier = 0
    while size >= fan_in:
        size //= fan_in
        tier += 1
    return tier
