"""What the values of a series come to: extremes, mean, deviation, quantiles; steps and gaps of time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tsmodel.web.formats import Times, as_text, numbers
from tsmodel.web.reading import Points

__all__ = ["Summary"]

Array = npt.NDArray[Any]

_HELD: Final = 5_000_000
"""Most values, and steps, of which quantiles are told."""


class Summary:
    """Takes points in the order of time, and tells what they come to.

    Args:
        digits: decimal places of values that count units; None for others.
    """

    def __init__(self, digits: int | None) -> None:
        self._digits = digits
        self._points = self._records = self._corrected = self._values = 0
        self._mean = self._squares = 0.0
        self._caps: tuple[int, int] | None = None
        self._gap: tuple[int, int] | None = None
        self._extremes: dict[str, tuple[Any, int]] = {}
        self._ends: dict[str, Any] = {}
        self._held: list[Array] = []
        self._steps: list[Array] = []

    def add(self, points: Points) -> None:
        """Takes points that follow those before."""
        cap = points.cap
        if not len(cap):
            return
        self._take_times(cap)
        self._points += len(cap)
        self._records += int(points.versions.sum())
        self._corrected += int(np.count_nonzero(points.versions > 1))
        if points.values is not None:
            valid = slice(None) if points.valid is None else points.valid
            self._take_values(points.values[valid], cap[valid])

    def told(self, times: Times) -> dict[str, Any]:
        """Everything by name, as an answer has it."""
        first, last = self._caps or (None, None)
        typical = np.median(np.concatenate(self._steps)) if self._steps and self._points <= _HELD else None
        told: dict[str, Any] = {
            "points": self._points,
            "records": self._records,
            "corrected": self._corrected,
            "values": self._values,
            "first_time": None if first is None else as_text(first, times),
            "last_time": None if last is None else as_text(last, times),
            "typical_step": None if typical is None else str(int(typical)),
            "longest_gap": None if self._gap is None else str(self._gap[0]),
            "longest_gap_start": None if self._gap is None else as_text(self._gap[1], times),
        }
        if not self._values:
            return told
        for name, (value, cap) in self._extremes.items():
            told |= {name: self._number(value), f"{name}_time": as_text(cap, times)}
        for name, value in self._ends.items():
            told[name] = self._number(value)
        told["mean"] = self._number(np.float64(self._mean))
        told["std"] = self._number(np.float64(np.sqrt(self._squares / self._values)))
        if self._values <= _HELD:
            values = np.concatenate(self._held).astype(np.float64)
            with np.errstate(invalid="ignore"):
                quantiles = np.quantile(values, (0.05, 0.5, 0.95))
            told |= dict(zip(("p05", "median", "p95"), map(self._number, quantiles), strict=True))
        return told

    def _number(self, value: Any) -> Any:
        return numbers(np.array([value]), None, self._digits)[0]

    def _take_times(self, cap: Array) -> None:
        steps = np.diff(cap) if self._caps is None else np.diff(cap, prepend=self._caps[1])
        if len(steps):
            at = int(steps.argmax())
            longest = int(steps[at])
            if self._gap is None or longest > self._gap[0]:
                self._gap = longest, int(cap[at] if self._caps is None else cap[at] - longest)
            if self._points <= _HELD:
                self._steps.append(steps)
        self._caps = (int(cap[0]) if self._caps is None else self._caps[0], int(cap[-1]))

    def _take_values(self, values: Array, cap: Array) -> None:
        count = len(values)
        if not count:
            return
        least, greatest = int(values.argmin()), int(values.argmax())
        if "min" not in self._extremes or values[least] < self._extremes["min"][0]:
            self._extremes["min"] = values[least], int(cap[least])
        if "max" not in self._extremes or values[greatest] > self._extremes["max"][0]:
            self._extremes["max"] = values[greatest], int(cap[greatest])
        self._ends.setdefault("first", values[0])
        self._ends["last"] = values[-1]
        floats = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            # Means and deviations of slices are joined as Chan, Golub and LeVeque do: no digits cancel out.
            mean = float(floats.mean())
            squares = float(np.square(floats - mean).sum())
            total, apart = self._values + count, mean - self._mean
            self._squares += squares + apart * apart * self._values * count / total
            self._mean += apart * count / total
        self._values = total
        if self._values <= _HELD:
            self._held.append(values)
