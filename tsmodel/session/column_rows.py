"""Records that were given as columns, held as they will be sent; objects are made when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from tsmodel.backend import AcqInterval, Batch
from tsmodel.frames.giving import with_defaults
from tsmodel.layout.column_input import Given, fill, rows_of, rows_of_columns
from tsmodel.layout.fixed_rows import FixedRowCodec, batches_by_cid
from tsmodel.model import TSModel
from tsmodel.model.model import codec_of
from tsmodel.wire.records import PUT_FORM, PUTA_FORM

__all__ = ["ColumnRows", "made_of"]

_STRETCH: Final = 65_536
"""Rows encoded at once: few enough that they stay in the cache."""


class ColumnRows(Sequence[TSModel]):
    """Records of one model with payloads of fixed size.

    Args:
        model: their model.
        with_acq: whether they carry their acq.
        cids: the cid of each, shape (n,).
        records: in PUT form, or in PUTA form `with_acq`; structured array, shape (n,).
    """

    def __init__(self, model: type[TSModel], with_acq: bool, cids: npt.NDArray[Any], records: npt.NDArray[Any]) -> None:
        self.model = model
        self.with_acq = with_acq
        self._cids = [cids]
        self._records = [records]
        self._count = len(records)

    @property
    def cids(self) -> npt.NDArray[Any]:
        """The cid of each, shape (n,)."""
        self._cids = [_joined(self._cids)]
        return self._cids[0]

    @property
    def records(self) -> npt.NDArray[Any]:
        """The records; structured array, shape (n,)."""
        self._records = [_joined(self._records)]
        return self._records[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all records in a put."""
        return self._count * self._records[0].dtype.itemsize

    @property
    def acqs(self) -> AcqInterval:
        """Least and greatest acq of records that carry theirs."""
        acqs = self.records["acq"]
        return AcqInterval(int(acqs.min()), int(acqs.max()))

    def batches(self) -> list[Batch]:
        """The records as one batch for each cid."""
        return batches_by_cid(self.cids, self.records)

    def goes_on_with(self, other: ColumnRows) -> bool:
        """Whether `other` can be joined to these."""
        return self.model is other.model and self.with_acq is other.with_acq

    def joined(self, other: ColumnRows) -> ColumnRows:
        """These and those of `other`; the records are joined once, when they are asked for."""
        joined = ColumnRows(self.model, self.with_acq, self._cids[0], self._records[0])
        joined._cids = [*self._cids, *other._cids]
        joined._records = [*self._records, *other._records]
        joined._count = self._count + other._count
        return joined

    def chosen(self, places: Sequence[int]) -> ColumnRows:
        """Those at some places."""
        return ColumnRows(self.model, self.with_acq, self.cids[places], self.records[places])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[TSModel]:
        return rows_of(_fixed_codec(self.model), self.cids, self.records, with_acq=self.with_acq)

    @overload
    def __getitem__(self, at: int) -> TSModel: ...
    @overload
    def __getitem__(self, at: slice) -> ColumnRows: ...
    def __getitem__(self, at: int | slice) -> TSModel | ColumnRows:
        if isinstance(at, slice):
            return ColumnRows(self.model, self.with_acq, self.cids[at], self.records[at])
        place = range(self._count)[at]
        return next(iter(self[place : place + 1]))


def made_of(
    model: type[TSModel], columns: Mapping[str, Given], count: int, *, with_acq: bool, first: int = 0
) -> ColumnRows | list[TSModel]:
    """What a session holds of columns: records where payloads have a fixed size, objects otherwise.

    Args:
        model: the model.
        columns: columns by their name in storage, of `count` rows each.
        count: how many rows.
        with_acq: whether records carry the acq that is given.
        first: number of the first row, for errors.

    Raises:
        SessionError: when a column is missing.
        EncodeError: when a value cannot be stored, with the row's number and the field.
    """
    codec = codec_of(model).writing
    if not isinstance(codec, FixedRowCodec):
        whole = with_defaults(model, columns, count, with_acq=with_acq)
        return rows_of_columns(codec, model.__name__, whole, count, with_acq=with_acq, first=first)
    cids, records = np.empty(count, np.int32), codec.blank(PUTA_FORM if with_acq else PUT_FORM, count)
    for start in range(0, max(count, 1), _STRETCH):
        stretch = slice(start, start + _STRETCH)
        part = {name: given[stretch] for name, given in columns.items()}
        whole = with_defaults(model, part, len(records[stretch]), with_acq=with_acq)
        fill(codec, model.__name__, whole, cids[stretch], records[stretch], first=first + start)
    return ColumnRows(model, with_acq, cids, records)


def _fixed_codec(model: type[TSModel]) -> FixedRowCodec[TSModel]:
    codec = codec_of(model).writing
    assert isinstance(codec, FixedRowCodec)
    return codec


def _joined(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if len(parts) == 1:
        return parts[0]
    # As opaque bytes: NumPy joins structured arrays field by field.
    dtype = parts[0].dtype
    whole: npt.NDArray[Any] = np.concatenate([part.view(f"V{dtype.itemsize}") for part in parts]).view(dtype)
    return whole
