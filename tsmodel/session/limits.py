"""When a session stores without being asked: by count, by bytes, by age."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from tsmodel.errors import SessionError
from tsmodel.io.retry import seconds_of
from tsmodel.model import TSModel
from tsmodel.session.puts import Put
from tsmodel.timestamps import DurationLike
from tsmodel.wire.records import PUT_FORM

__all__ = ["DEFAULT_BATCH_SIZE", "Limits"]

DEFAULT_BATCH_SIZE: Final = 100_000
"""Records that a session collects before it stores them without being asked."""

_GUESS: Final = 64


class Limits:
    """What a session collects at most.

    Args:
        batch_size: objects.
        batch_bytes: bytes of their records; None for no limit.
        batch_age: how long the oldest may wait, looked at whenever something is added; None for no limit.

    Raises:
        SessionError: when one of them cannot be.
    """

    def __init__(
        self,
        batch_size: int = DEFAULT_BATCH_SIZE,
        batch_bytes: int | None = None,
        batch_age: DurationLike | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("batch_bytes", 1 if batch_bytes is None else batch_bytes)):
            if type(value) is not int or value < 1:
                raise SessionError(f"{name} takes an int from 1, not {value!r}")
        self.count = batch_size
        self._bytes = batch_bytes
        self._age = None if batch_age is None else seconds_of(batch_age, "batch_age")
        self.is_more = self._bytes is not None or self._age is not None
        self._sizes: dict[type[TSModel], float] = {}

    @property
    def counts_bytes(self) -> bool:
        """Whether anything depends on how large the records are."""
        return self._bytes is not None

    def reached(self, size: float, since: float) -> bool:
        """Whether what is held has reached a limit other than the count.

        Args:
            size: bytes of what is held.
            since: when the oldest of it came, on the monotonic clock.
        """
        if self._age is not None and time.monotonic() - since >= self._age:
            return True
        return self._bytes is not None and size >= self._bytes

    def learn(self, put: Put) -> None:
        """Takes the size of a model's records from what was encoded of it: those of variable size are guessed by it."""
        if self._bytes is None:
            return
        for stretch in put.stretches:
            self._sizes[stretch.model] = stretch.size / len(stretch.cids)

    def size(self, rows: Iterable[TSModel]) -> float:
        """Bytes of the records of some objects; 0 when nothing depends on it."""
        return sum(map(self._size_of, map(type, rows))) if self.counts_bytes else 0.0

    def _size_of(self, model: type[TSModel]) -> float:
        known = self._sizes.get(model)
        if known is None:
            payload: int | None = model.layout.size
            known = self._sizes[model] = PUT_FORM.header.itemsize + (_GUESS if payload is None else payload)
        return known
