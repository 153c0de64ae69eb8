"""Rows of several models out of records of all of them.

Rules kept here:

* A chunk is sorted by claims, and each model's records are read by its own codec, as if they were alone.
* What is read has only the key components in common. Nothing is written this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NoReturn

import attrs
import numpy as np

from tsmodel.codec.claims import sorted_by
from tsmodel.codec.evolving_rows import labelled
from tsmodel.codec.fitting import Fit
from tsmodel.codec.placing import packed
from tsmodel.codec.rows import RowCodec
from tsmodel.wire.chunk import Batch, Chunk

__all__ = ["UnionRecords", "UnionRowCodec"]


@attrs.frozen(eq=False)
class UnionRecords:
    """Records of several models: indexed by a key component's name, a slice, or a mask.

    Attributes:
        parts: the records of each model, as its codec's `fit` gives them.
    """

    parts: tuple[Any, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, asked: Any) -> Any:
        """A key component's column, shape (n,); or some of the records, by a slice from the first on with a step of 1, or
        by a mask of shape (n,)."""
        if isinstance(asked, str):
            return np.concatenate([part[asked] for part in self.parts])
        mask = asked
        if isinstance(asked, slice):
            mask = np.zeros(len(self), np.bool_)
            mask[asked] = True
        edges = np.cumsum([len(part) for part in self.parts])[:-1]
        return UnionRecords(tuple(part[kept] for part, kept in zip(self.parts, np.split(mask, edges), strict=True)))


class UnionRowCodec(RowCodec[Any]):
    """See `RowCodec`; its rows are of several classes.

    Args:
        name: what the models are called together, for messages.
        members: name and codec of each model.
    """

    def __init__(self, name: str, members: Sequence[tuple[str, RowCodec[Any]]]) -> None:
        super().__init__(packed([]), self._unmade)
        self._name = name
        self._members = members
        self._groups = [codec.claims for _, codec in members]
        self.claims = tuple(chain.from_iterable(self._groups))

    def fit(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit`; the records are `UnionRecords`."""
        return self._fitted(chunk, keys_only=False)

    def fit_keys(self, chunk: Chunk) -> Fit:
        """See `RowCodec.fit_keys`."""
        return self._fitted(chunk, keys_only=True)

    def _fit(self, chunk: Chunk) -> Fit:
        return self.fit(chunk)

    def _fitted(self, chunk: Chunk, *, keys_only: bool) -> Fit:
        chunks, mismatches = sorted_by(chunk, self._groups, self._name, keys=True)
        parts = []
        for (name, codec), part in zip(self._members, chunks, strict=True):
            found = codec.fit_keys(part) if keys_only else codec.fit(part)
            parts.append(found.records)
            mismatches += labelled(found.mismatches, name)
        return Fit(UnionRecords(tuple(parts)), mismatches)

    def rows(self, records: UnionRecords) -> Iterator[Any]:
        """See `RowCodec.rows`."""
        pairs = zip(self._members, records.parts, strict=True)
        return chain.from_iterable(codec.rows(part) for (_, codec), part in pairs)

    def payloads(self, records: UnionRecords) -> Iterable[bytes]:
        pairs = zip(self._members, records.parts, strict=True)
        return chain.from_iterable(codec.payloads(part) for (_, codec), part in pairs)

    def encode(self, rows: Sequence[Any], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """Raises: objects are written by the codec of their own class."""
        self._unmade()

    def chunk_of(self, rows: Sequence[Any], keys: Any) -> Chunk:
        """Raises: objects are written by the codec of their own class."""
        self._unmade()

    def _unmade(self, *_: object) -> NoReturn:
        raise TypeError(f"{self._name} are several models; use the one that is meant")
