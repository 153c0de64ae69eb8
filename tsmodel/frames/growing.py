"""Arrays that grow at their end.

Rules kept here:

* Values are copied once, to where they stay, as long as they fit what was set aside: that is much, but takes no memory
  before it is used.
* Memory is NumPy's own, which asks the system for large pages. Taking small ones, as a growing `bytearray` does, was
  measured to take four times as long as copying the values.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Growing"]

_SMALL: Final = 2**18
_LARGE: Final = 2**28
"""Bytes: small results take what they need and little more; others have so much set aside, and twice as much each time."""


class Growing:
    """An array of shape (n, ...), n growing.

    Args:
        dtype: of its values; may be a subarray's.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._full: list[npt.NDArray[Any]] = []
        self._last = np.empty(0, self.dtype)
        self._used = 0

    def __len__(self) -> int:
        return sum(map(len, self._full)) + self._used

    def room(self, count: int) -> npt.NDArray[Any]:
        """The next `count` places, to be filled before more is asked for."""
        if self._used + count > len(self._last):
            self._set_aside(count)
        start, self._used = self._used, self._used + count
        return self._last[start : self._used]

    def result(self) -> npt.NDArray[Any]:
        """The whole array, without what was set aside in vain; the next one begins empty."""
        parts = [*self._full, self._shrunk()]
        self._full, self._last, self._used = [], self._empty(0), 0
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _set_aside(self, count: int) -> None:
        size = max(self.dtype.itemsize, 1)
        least = self._used + count
        more = self._empty(2 * least if least * size <= _SMALL else max(2 * least, _LARGE // size))
        if self._used * size >= _LARGE // 2:
            self._full.append(self._shrunk())
            self._used = 0
        else:  # or a little would make the whole a thing of two parts, which are put together at the end
            more[: self._used] = self._last[: self._used]
        self._last = more

    def _empty(self, count: int) -> npt.NDArray[Any]:
        return np.empty(count, self.dtype)

    def _shrunk(self) -> npt.NDArray[Any]:
        self._last.resize((self._used, *self._last.shape[1:]), refcheck=False)  # what `room` gave is done with
        return self._last
