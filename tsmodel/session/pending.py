"""Objects that were added to a session and are not stored yet.

Rules kept here:

* An object stays until it is stored. Batches hold those that were there when they were encoded, in the order of addition.
* Records are numbered from the last receipt on, so that an error names the place in what the user added.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import attrs

from tsmodel.backend import AcqInterval, Batch
from tsmodel.errors import SessionError, UnflushedWarning
from tsmodel.model import TSModel
from tsmodel.model.base import codec_of
from tsmodel.session.receipt import Receipt

__all__ = ["DEFAULT_BATCH_SIZE", "Encoded", "Pending"]

DEFAULT_BATCH_SIZE = 100_000
"""Records that a session collects before it stores them without being asked."""


@attrs.frozen
class Encoded:
    """The first `count` pending objects as batches."""

    batches: list[Batch]
    count: int


@attrs.define
class _Stretch:
    """Neighbours of one model: encoded together, so that the order of addition, and so of acq, is kept."""

    model: type[TSModel]
    count: int


class Pending:
    """What a session holds back.

    Args:
        name: what the session is on, for warnings.
        batch_size: objects that make it full.

    Raises:
        SessionError: when `batch_size` is not a number from 1.
    """

    def __init__(self, name: str, batch_size: int) -> None:
        if type(batch_size) is not int or batch_size < 1:
            raise SessionError(f"batch_size takes an int from 1, not {batch_size!r}")
        self._name = name
        self._batch_size = batch_size
        self._receipt = Receipt()
        self.rows: list[TSModel] = []
        self._stretches: list[_Stretch] = []

    @property
    def is_full(self) -> bool:
        """Whether it is time to store."""
        return len(self.rows) >= self._batch_size

    def add(self, row: object) -> None:
        """Takes an object.

        Raises:
            SessionError: when it is not an object of a model.
        """
        checked = _checked(row)
        self._take([checked], type(checked))

    def fill(self, source: Iterator[object]) -> bool:
        """Takes objects until it is full; returns whether there may be more. Raises as `add`; those before are taken."""
        room = max(1, self._batch_size - len(self.rows))
        taken: list[Any] = []
        try:
            taken.extend(islice(source, room))
        finally:  # what came before the source failed is taken
            # Objects are looked at once, here: each look at so many of them waits for their memory.
            models = list(map(type, taken))
            if models and models.count(models[0]) == len(models) and issubclass(models[0], TSModel):
                self._take(taken, models[0])
            else:
                deque(map(self.add, taken), maxlen=0)
        return len(taken) == room

    def encoded(self) -> Encoded:
        """All objects as batches, each model's by itself.

        Raises:
            EncodeError: when a field of some object cannot be stored.
        """
        first = self._receipt.count
        batches: list[Batch] = []
        at = 0
        for stretch in self._stretches:
            part = self.rows if len(self._stretches) == 1 else self.rows[at : at + stretch.count]
            batches += codec_of(stretch.model).encode(part, first=first + at)
            at += stretch.count
        return Encoded(batches, len(self.rows))

    def stored(self, encoded: Encoded, interval: AcqInterval, seconds: float) -> None:
        """Notes that batches are stored, and lets go of their objects."""
        size = sum(len(batch.records) for batch in encoded.batches)
        self._receipt += Receipt(encoded.count, interval.acq_min, interval.acq_max, size, seconds)
        del self.rows[: encoded.count]
        left, done = encoded.count, 0
        while left and self._stretches[done].count <= left:
            left -= self._stretches[done].count
            done += 1
        del self._stretches[:done]
        if left:
            self._stretches[0].count -= left

    def receipt(self) -> Receipt:
        """What was stored since the last receipt."""
        receipt, self._receipt = self._receipt, Receipt()
        return receipt

    def discard(self) -> list[TSModel]:
        """Lets go of all objects, and returns them."""
        rows = list(self.rows)
        self.rows.clear()
        self._stretches.clear()
        return rows

    def _take(self, rows: list[TSModel], model: type[TSModel]) -> None:
        self.rows += rows
        if self._stretches and self._stretches[-1].model is model:
            self._stretches[-1].count += len(rows)
        else:
            self._stretches.append(_Stretch(model, len(rows)))

    def warn(self) -> None:
        """Warns of objects that will never be stored."""
        if self.rows:
            count = "1 record" if len(self.rows) == 1 else f"{len(self.rows)} records"
            warnings.warn(
                f"a session on {self._name} ended with {count} added and never stored, the first of them {self.rows[0]}: "
                "call flush() or close(), or leave its with block without an exception",
                UnflushedWarning,
                stacklevel=3,
            )


def _checked(row: object) -> TSModel:
    if isinstance(row, TSModel):
        return row
    hint = "; use add_all for several" if isinstance(row, (list, tuple, Iterator)) else ""
    raise SessionError(f"a session stores objects of models, not {row!r} ({type(row).__name__}){hint}")
