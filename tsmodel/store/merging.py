"""When runs are merged.

A run is what one put stored of a cid: sorted blocks that do not overlap. Reading a series looks into every run of its cid,
so small runs are merged into larger ones.

Rules kept here:

* Runs are grouped in tiers by size, each eight times the one before. Eight runs of a tier become one of a higher tier, so
  a record is rewritten at most once a tier, however small the puts.
* A run of 8 MiB or more is final: a merge never holds more than some 70 MiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

__all__ = ["MergePolicy"]


@attrs.frozen
class MergePolicy:
    """Decides which runs become one.

    Attributes:
        fan_in: how many runs of a tier are merged, and how much larger each tier is than the one before.
        final: bytes from which on a run is left as it is.
    """

    fan_in: int = 8
    final: int = 8 * 2**20

    def choose(self, sizes: Sequence[int]) -> list[int]:
        """Positions of the runs to merge into one, ascending; none when there is nothing to do.

        Args:
            sizes: bytes of each run of one cid.
        """
        if len(sizes) < self.fan_in:
            return []
        most = -1
        current = [(self._tier(size), size) for size in sizes if size < self.final]
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
        return [at for at, size in enumerate(sizes) if size < self.final and self._tier(size) <= most]

    def _tier(self, size: int) -> int:
        tier = 0
        while size >= self.fan_in:
            size //= self.fan_in
            tier += 1
        return tier
