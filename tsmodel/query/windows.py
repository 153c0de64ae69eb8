"""Reading what is new, in windows of acquisition times: what never changes again, each record once, in one order.

Rules kept here:

* A window ends at the last full-commit acq at most. No record appears below it any more, so a window that was read once
  is the same ever after; a position in it means the same records in every run.
* A window is read whole before anything of it is handed over: a connection lost meanwhile costs reading it again.
* What was read once may be removed later, where the backend can: that is told, once for each removal.
* A window holds about `MOST` records; a larger one is cut, unless all of its records have the same acq.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
import numpy as np

from tsmodel.backend import Removal
from tsmodel.client.retry import Attempts, Retry
from tsmodel.errors import RemovedWarning
from tsmodel.keys import LIMITS, KeyRange
from tsmodel.query.sinks import Selection
from tsmodel.query.steps import LastAcq, Pause, ReadStep, Removals
from tsmodel.wire.chunk import Chunk, keys_of
from tsmodel.wire.sorting import order_of, run_starts

__all__ = ["MOST", "Collected", "Removed", "cut_to", "last_acq", "tried"]

R = TypeVar("R")

MOST = 65_536
"""Records of a window before it is cut."""

_ORDER = ("acq", "cid", "mid", "moid", "cap")
_log = logging.getLogger("tsmodel.follow")


class Collected:
    """The selected records of a window, as objects.

    Args:
        selection: picks them.
        most: number of records from which on no more are wanted; None for no limit.
    """

    def __init__(self, selection: Selection[Any], most: int | None) -> None:
        self._selection = selection
        self._most = most
        self._rows: list[Any] = []
        self._keys: list[np.ndarray[Any, Any]] = []

    def feed(self, chunk: Chunk) -> bool:
        """Takes a chunk; returns whether there are too many."""
        records = self._selection.of(chunk)
        self._keys.append(keys_of(records))
        self._rows.extend(self._selection.codec.rows(records))
        return self.is_full

    @property
    def is_full(self) -> bool:
        """Whether there are too many."""
        return self._most is not None and len(self._rows) > self._most

    def acq_in_the_middle(self) -> int:
        """An acq with about as many of the records below as above it."""
        return int(np.median(np.concatenate(self._keys)["acq"]))

    def ordered(self) -> tuple[list[int], list[Any]]:
        """The acq of each record, and the records, by acq and then by key."""
        if not self._rows:
            return [], []
        keys = np.concatenate(self._keys)
        rows = self._rows
        order = order_of([keys[name] for name in _ORDER])
        if order is not None:
            keys = keys[order]
            rows = [rows[at] for at in order.tolist()]
        starts = run_starts([keys[name] for name in _ORDER])
        if len(starts) < len(rows):  # a full key more than once: any order will do that is always the same
            edges = pairwise([*starts.tolist(), len(rows)])
            rows = [row for start, end in edges for row in sorted(rows[start:end], key=repr)]
        return keys["acq"].tolist(), rows


def cut_to(boxes: Sequence[KeyRange], start: int, end: int) -> list[KeyRange]:
    """What of some boxes has `start <= acq < end`; empty ones left out."""
    low, high = ({"acq": max(each, LIMITS["acq"].least)} for each in (start, end))
    cut = (
        box.intersect(
            KeyRange(
                msgspec.structs.replace(KeyRange().min, **low),
                msgspec.structs.replace(KeyRange().max, **high),
            )
        )
        for box in boxes
    )
    return [box for box in cut if not box.is_empty]


def tried(work: Callable[[], Generator[ReadStep, Any, R]], retry: Retry, of: str) -> Generator[ReadStep, Any, R]:
    """What `work` comes to, begun anew after failures that may pass."""
    attempts = Attempts(retry)
    while True:
        try:
            return (yield from work())
        except Exception as error:
            pause = attempts.pause(error)
            if pause is None:
                raise
            _log.warning("reading %s failed, next attempt in %.3g s: %s", of, pause, error)
        yield Pause(pause)


def last_acq(boxes: Sequence[KeyRange]) -> Generator[ReadStep, Any, int]:
    """The acq below which no record of the boxes changes any more."""
    least: int = LIMITS["acq"].bound
    for box in boxes:
        least = min(least, (yield LastAcq(box)))
    return least


class Removed:
    """Tells, once, of removals of what was read already.

    Args:
        boxes: key ranges that are read, of any acq.
        what: what was made of the records, for the warning.
        told: number of the last removal that was told; None when reading begins: earlier ones do not concern it.
    """

    def __init__(self, boxes: Sequence[KeyRange], what: str, told: int | None) -> None:
        self._boxes = boxes
        self._what = what
        self._told = told

    @property
    def told(self) -> int:
        """Number of the last removal that was told."""
        return self._told or 0

    def tell(self, acq: int) -> Generator[ReadStep, Any, bool]:
        """Asks for new removals, and warns of those of records below `acq`; returns whether there are new ones.

        Raises:
            RemovedWarning: when a filter makes an error of it; then nothing counts as told.
        """
        removals: list[Removal] = yield Removals(self.told)
        if not removals:
            self._told = self.told
            return False
        concern = [
            removal
            for removal in (removals if self._told is not None else ())
            if removal.least[4] < acq and any(not removal.box.intersect(box).is_empty for box in self._boxes)
        ]
        if concern:
            count = sum(removal.count for removal in concern)
            numbers = ", ".join(f"{removal.number} ({removal.kind}: {removal.what})" for removal in concern)
            warnings.warn(
                RemovedWarning(
                    f"up to {count} records that {self._what} were removed from the store since: removal {numbers}; "
                    "session.removals() says which",
                    removals=concern,
                ),
                stacklevel=2,
            )
        self._told = removals[-1].number
        return True
