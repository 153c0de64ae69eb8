"""What a query's records become when they become frames: fed with selected records, a chunk's worth at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsmodel.frames.arrow import arrow_batch, arrow_schema
from tsmodel.frames.columns import Wanted, chosen, column_of, filled, joined, lying_within, structured
from tsmodel.frames.libraries import library
from tsmodel.wire.records import octets_of

__all__ = ["ArrowFrame", "ColumnsFrame", "Frame", "StructuredFrame"]


_GATHERED = 65_536
"""Records that become one Arrow batch."""


class Frame:
    """Something made of records.

    Args:
        model: the records' model.
        wanted: the columns to take; all of them when none is named.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        self.model = model
        self.infos = chosen(model, wanted)

    def add(self, records: Any) -> None:
        """Takes records that a codec's `fit` gave; they need not stay valid."""
        raise NotImplementedError

    def result(self) -> Any:
        """What came of the records since it was last asked."""
        raise NotImplementedError


class ColumnsFrame(Frame):
    """A dict of arrays, one for each column."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self._parts: list[list[npt.NDArray[Any]]] = []

    def add(self, records: Any) -> None:
        """See `Frame.add`."""
        self._parts.append([column_of(info, records) for info in self.infos])

    def result(self) -> dict[str, npt.NDArray[Any]]:
        """See `Frame.result`."""
        parts, self._parts = self._parts or [self._empty()], []
        return {info.alias: joined([part[at] for part in parts]) for at, info in enumerate(self.infos)}

    def _empty(self) -> list[npt.NDArray[Any]]:
        return [np.empty(0, info.codec.number.numpy if info.codec.number else object) for info in self.infos]


class StructuredFrame(Frame):
    """One structured array of the fields as they are stored, in one piece of memory that grows.

    Where nearly all of a record is asked for, whole records are taken, and the array's dtype has gaps for what is not: they
    are copied once, and at once.
    """

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self.dtype = structured(model, self.infos)
        self._octets = bytearray()
        self._within: tuple[np.dtype[Any], np.dtype[Any]] | None = None

    def add(self, records: Any) -> None:
        """See `Frame.add`."""
        if not self._octets and isinstance(records, np.ndarray):
            lying = lying_within(self.dtype, self.infos, records.dtype)
            self._within = None if lying is None else (records.dtype, lying)
        if self._within is not None:
            if isinstance(records, np.ndarray) and records.dtype == self._within[0]:
                self._octets += octets_of(records)
                return
            packed = np.frombuffer(self._octets, self._within[1]).astype(self.dtype)
            self._octets, self._within = bytearray(octets_of(packed)), None
        self._octets += octets_of(filled(self.dtype, self.infos, records))

    def result(self) -> npt.NDArray[Any]:
        """See `Frame.result`."""
        octets, self._octets = self._octets, bytearray()
        return np.frombuffer(octets, self.dtype if self._within is None else self._within[1])


class ArrowFrame(Frame):
    """Arrow record batches."""

    def __init__(self, model: type[Any], wanted: Sequence[Wanted]) -> None:
        super().__init__(model, wanted)
        self.schema = arrow_schema(model, self.infos)
        self._batches: list[Any] = []
        self._octets = bytearray()
        self._dtype: np.dtype[Any] | None = None

    def add(self, records: Any) -> None:
        """See `Frame.add`. Records of fixed size are gathered: a batch costs the same for 2,000 of them as for 65,536."""
        if not len(records):
            return
        if not isinstance(records, np.ndarray):
            self._make(records)
            return
        if records.dtype != self._dtype:
            self._gathered()
            self._dtype = records.dtype
        self._octets += octets_of(records)
        if len(self._octets) >= _GATHERED * records.dtype.itemsize:
            self._gathered()

    def result(self) -> Any:
        """See `Frame.result`; a `pyarrow.Table`."""
        self._gathered()
        batches, self._batches = self._batches, []
        return library("pyarrow", "to_arrow()").Table.from_batches(batches, self.schema)

    def _gathered(self) -> None:
        octets, self._octets = self._octets, bytearray()
        if octets:
            self._make(np.frombuffer(octets, self._dtype))

    def _make(self, records: Any) -> None:
        self._batches.append(arrow_batch(self.schema, self.infos, records))
