"""Clocks of a time zone: how far they are from UTC, and when that changes."""

from __future__ import annotations

import datetime as dt
from typing import Final

import numpy as np
import numpy.typing as npt

from tsmodel.timestamps import EPOCH

__all__ = ["Clock"]

_SECOND: Final = 10**9
_DAY_S: Final = 86_400
_LEAST_S: Final = -(2**63) // _SECOND + _DAY_S
_GREATEST_S: Final = 2**63 // _SECOND - _DAY_S


class Clock:
    """The clocks of a time zone.

    Args:
        zone: the zone.
    """

    def __init__(self, zone: dt.tzinfo) -> None:
        self._zone = zone

    def offset(self, time: int) -> int:
        """How far the clocks are ahead of UTC, in ns, at a time (ns since 2001)."""
        return self._offset(min(max(time // _SECOND, _LEAST_S), _GREATEST_S))

    def offsets(self, low: int, high: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """From when on the clocks are how far ahead of UTC.

        Args:
            low: begin of the times that matter, ns since 2001.
            high: their end.

        Returns:
            Two arrays of shape (n,), in ns: times ascending, the first one at or before `low`; offsets from each on.
        """
        at = max(low // _SECOND, _LEAST_S)
        end = min(high // _SECOND + 1, _GREATEST_S)
        changes, offsets = [at], [self._offset(at)]
        while at < end:
            later = min(at + _DAY_S, end)
            offset = self._offset(later)
            if offset != offsets[-1]:
                changes.append(self._change(at, later))
                offsets.append(offset)
            at = later
        return np.array(changes, np.int64) * _SECOND, np.array(offsets, np.int64)

    def _change(self, before: int, after: int) -> int:
        """The first second with the offset of `after`."""
        offset = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == offset:
                after = middle
            else:
                before = middle
        return after

    def _offset(self, seconds: int) -> int:
        moment = (EPOCH + dt.timedelta(seconds=seconds)).astimezone(self._zone)
        offset = moment.utcoffset()
        assert offset is not None
        return (offset.days * _DAY_S + offset.seconds) * _SECOND + offset.microseconds * 1000
