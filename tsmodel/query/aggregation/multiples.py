"""Multiples of a length on the axis of a clock: fixed lengths, and calendar months."""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.timestamps import EPOCH_UNIX_NS

__all__ = ["DAY", "Lengths", "Months", "Multiples", "Times", "past"]

Times: TypeAlias = npt.NDArray[np.int64]

DAY: Final = 86_400 * 10**9
_EPOCH_DAYS: Final = EPOCH_UNIX_NS // DAY
_EPOCH_MONTHS: Final = (2001 - 1970) * 12


def past(starts: Times, every: int) -> Times:
    """Times some length later, or the last one that there is."""
    ends: Times = starts + np.int64(every)
    ends[ends < starts] = 2**63 - 1
    return ends


class Multiples(Protocol):
    """Multiples of a length on the axis of a clock: ns that it shows, since 2001."""

    @property
    def longest(self) -> int:
        """The length, or more, in ns."""
        ...

    def floor(self, local: Times) -> Times:
        """The multiple at or before each time."""
        ...

    def after(self, multiples: Times) -> Times:
        """The multiple after each multiple."""
        ...

    def between(self, first: int, last: int) -> Times:
        """All multiples from one to another."""
        ...

    def divides(self, shift: int) -> bool:
        """Whether a shift is a whole number of lengths."""
        ...


@attrs.frozen
class Lengths:
    """See `Multiples`: multiples of a length, from `origin` on."""

    every: int
    origin: int

    @property
    def longest(self) -> int:
        return self.every

    def floor(self, local: Times) -> Times:
        floored: Times = (local - self.origin) // self.every * self.every + self.origin
        return floored

    def after(self, multiples: Times) -> Times:
        return past(multiples, self.every)

    def between(self, first: int, last: int) -> Times:
        multiples: Times = first + np.arange((last - first) // self.every + 1) * np.int64(self.every)
        return multiples

    def divides(self, shift: int) -> bool:
        return shift % self.every == 0


@attrs.frozen
class Months:
    """See `Multiples`: midnights at which some calendar months begin, January 2001 among them."""

    months: int

    @property
    def longest(self) -> int:
        return self.months * 31 * DAY

    def floor(self, local: Times) -> Times:
        days = (local // DAY + _EPOCH_DAYS).astype("M8[D]")
        months = days.astype("M8[M]").astype(np.int64) - _EPOCH_MONTHS
        return self._midnights(months // self.months)

    def after(self, multiples: Times) -> Times:
        return self._midnights(self._places(multiples) + 1)

    def between(self, first: int, last: int) -> Times:
        begin, end = self._places(np.array([first, last], np.int64)).tolist()
        return self._midnights(np.arange(begin, end + 1))

    def divides(self, shift: int) -> bool:
        return not shift

    def _places(self, multiples: Times) -> Times:
        days = (multiples // DAY + _EPOCH_DAYS).astype("M8[D]")
        places: Times = (days.astype("M8[M]").astype(np.int64) - _EPOCH_MONTHS) // self.months
        return places

    def _midnights(self, places: Times) -> Times:
        months = (places * self.months + _EPOCH_MONTHS).astype("M8[M]")
        days: Times = months.astype("M8[D]").astype(np.int64) - _EPOCH_DAYS
        if len(days) and (int(days.max()) > 2**63 // DAY - 2 or int(days.min()) < -(2**63) // DAY + 2):
            raise QueryError("a window begins or ends at a time that int64 ns cannot express")
        return days * DAY
