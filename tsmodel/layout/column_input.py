"""Makes records from columns, without objects in between.

Rules kept here:

* All columns are checked before any record is made. An error names the row, the field, and what is accepted.
* Payloads of fixed size are filled column by column. Payloads of variable size are made from rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS
from tsmodel.layout.constraints import Constraints
from tsmodel.layout.fixed_rows import FixedRowCodec
from tsmodel.layout.message_layout import MessageLayout
from tsmodel.layout.placing import PRESENT, LayoutField
from tsmodel.layout.row_codecs import KEY_CODECS, RowCodec
from tsmodel.types.codec import FixedCodec
from tsmodel.types.field_faults import RowFault
from tsmodel.wire.chunk import RowChunk
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, bytes_of

__all__ = ["Given", "fill", "rows_of", "rows_of_columns"]

RowT = TypeVar("RowT")
Array = npt.NDArray[Any]
Present = npt.NDArray[np.bool_]


class Given(msgspec.Struct, frozen=True, eq=False):
    """A column that the caller passes.

    Attributes:
        name: the caller's name for it.
        values: shape (n,), or (n, m) for arrays; arbitrary where `present` is false.
        present: which values are present, shape (n,); None if all are.
    """

    name: str
    values: Array
    present: Present | None = None

    def __getitem__(self, part: slice) -> Given:
        """A slice of the column."""
        return Given(self.name, self.values[part], None if self.present is None else self.present[part])

    @classmethod
    def of(cls, name: str, values: Any) -> Given:
        """Makes it from a NumPy array. Masked values, and None in arrays of objects, are absent."""
        if isinstance(values, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(values)
            return cls(name, values.data, None if not mask.any() else ~mask)
        if values.dtype.kind != "O" or values.ndim > 1:
            return cls(name, values)
        if values.strides == (0,):  # one value for all rows
            return cls(name, values, None if not len(values) or values[0] is not None else np.zeros(len(values), np.bool_))
        present = np.fromiter((value is not None for value in values), np.bool_, len(values))
        return cls(name, values, None if present.all() else present)


def fill(
    codec: FixedRowCodec[Any], model: str, columns: Mapping[str, Given], cids: Array, records: Array, *, first: int = 0
) -> None:
    """Fills records and cids from columns.

    Args:
        codec: codec of the records, which have a fixed size.
        model: name of the model, for errors.
        columns: columns of n rows by name: each key component of the records, and each field.
        cids: filled with cids; shape (n,).
        records: blank records in PUT or PUTA form to fill; structured array, shape (n,).
        first: number of the first row, for errors.

    Raises:
        EncodeError: if a value cannot be stored; names the row and the field.
    """
    column = _Columns(codec, model, columns, first)
    cids[:] = column.key("cid")
    for name in KEY_FIELDS[1:]:
        if name in (records.dtype.names or ()):
            records[name] = column.key(name)
    bits: dict[str, Array] = {}
    bitmap = np.zeros((len(records), codec.layout.bitmap), np.uint8)
    for field in codec.layout.fields:
        stored, present = column.stored(field)
        if field.bit is not None:
            bitmap[:, field.bit // 8] |= (np.uint8(1) if present is None else present.astype(np.uint8)) << (field.bit % 8)
        if field.bits is not None:
            bits[field.slot] = stored if field.slot not in bits else bits[field.slot] | stored
        else:
            records[field.name] = stored
    for slot, stored in bits.items():
        records[slot] = stored
    if codec.layout.bitmap:
        records[PRESENT] = bitmap.view(records.dtype[PRESENT]).reshape(-1)


def rows_of(codec: FixedRowCodec[RowT], cids: Array, records: Array, *, with_acq: bool) -> Iterator[RowT]:
    """Makes rows from records that `fill` filled; their acq is -1 unless `with_acq`."""
    whole = codec.blank(GET_FORM, len(records))
    for name in (records.dtype.names or ())[1:]:
        whole[name] = records[name]
    whole["cid"] = cids
    if not with_acq:
        whole["acq"] = -1
    return codec.rows(codec.fit(RowChunk(bytes_of(whole), len(whole), whole.dtype.itemsize)).records)


def rows_of_columns(
    codec: RowCodec[RowT], model: str, columns: Mapping[str, Given], count: int, *, with_acq: bool, first: int = 0
) -> list[RowT]:
    """Makes `count` rows from columns, for payloads that cannot be filled column by column. See `fill` for the arguments;
    with `with_acq`, rows get their acq from the columns."""
    column = _Columns(codec, model, columns, first)
    form = PUTA_FORM if with_acq else PUT_FORM
    keys = [column.key(name).tolist() if name in ("cid", *form.key_fields) else [-1] * count for name in KEY_FIELDS]
    return list(map(codec.make, *keys, *map(column.objects, codec.layout.fields)))


class _Columns:
    """Converts the columns of one model to stored values."""

    def __init__(self, codec: RowCodec[Any], model: str, columns: Mapping[str, Given], first: int) -> None:
        self._codec = codec
        self._model = model
        self._columns = columns
        self._first = first

    def key(self, name: str) -> Array:
        """A key component, shape (n,)."""
        given = self._columns[name]
        self._all_there(given, name)
        codec = KEY_CODECS[name]
        try:
            stored = codec.stored_column(given.values)
            if fault := self._codec.key_fault(name, stored):
                raise RowFault(fault[0], fault[1], int(stored[fault[0]]))
        except RowFault as fault:
            self._refuse(given, name, fault)
        return stored

    def stored(self, field: LayoutField) -> tuple[Array, Present | None]:
        """Stored values of a field of fixed width, shape (n,), zeros where absent; and the mask of present values."""
        given = self._columns[field.name]
        item = field.fixed
        absent = None if given.present is None else ~given.present
        if absent is not None and not absent.any():
            absent = None
        if absent is not None and not field.codec.is_nullable:
            self._all_there(given, field.name)
        try:
            stored = item.stored_column(given.values if absent is None else given.values[~absent])
            if constraint := self._codec.constraints.get(field.name):
                _check(constraint, item, stored)
        except RowFault as fault:
            if absent is not None and fault.row is not None:
                row = int(np.flatnonzero(~absent)[fault.row])
                fault = RowFault(row, fault.why, fault.value, fault.field)
            self._refuse(given, field.name, fault)
        if absent is None:
            return stored, None
        whole = np.zeros(len(absent), stored.dtype)
        if item.is_nullable:  # None has a stored value
            whole[:] = np.frombuffer(item.write(None), stored.dtype)
        whole[~absent] = stored
        return whole, ~absent

    def objects(self, field: LayoutField) -> list[Any]:
        """The values of a field, for rows."""
        given = self._columns[field.name]
        if (item := field.item.as_fixed) is not None:
            stored, present = self.stored(field)
            if present is None or item.is_nullable:
                values = _loaded(item, stored)
            else:
                there = iter(_loaded(item, stored[present]))  # stored values of absent ones may be invalid
                values = [next(there) if is_there else None for is_there in present.tolist()]
            if isinstance(self._codec.layout, MessageLayout):  # a message accepts fewer values than the field
                for row, value in enumerate(values):
                    if fault := self._codec.layout.fault(field, value):
                        self._refuse(given, field.name, RowFault(row, fault.why, value, fault.field))
            return values
        values = given.values.tolist() if given.values.ndim == 1 else list(given.values)
        if given.present is not None:
            values = [value if there else None for value, there in zip(values, given.present.tolist(), strict=True)]
        constraint = self._codec.constraints.get(field.name, Constraints())
        for row, value in enumerate(values):
            fault = self._codec.layout.fault(field, value)
            if why := fault.why if fault else constraint.violation(value):
                self._refuse(given, field.name, RowFault(row, why, value, fault.field if fault else ""))
        return values

    def _all_there(self, given: Given, name: str) -> None:
        if given.present is not None and not given.present.all():
            row = int(given.present.argmin())
            self._refuse(given, name, RowFault(row, "the value is missing, and the field is not Nullable"))

    def _refuse(self, given: Given, name: str, fault: RowFault) -> NoReturn:
        row = None if fault.row is None else self._first + fault.row
        field = f"{self._model}.{name}" + (f".{fault.field}" if fault.field else "")
        column = f" (column {given.name!r})" if given.name != name else ""
        where = f"row {row}: " if row is not None else ""
        raise EncodeError(f"{where}{field}{column}: {fault.why}", record=row, field=name, value=fault.value) from fault


def _check(constraint: Constraints, item: FixedCodec, stored: Array) -> None:
    """Raises a `RowFault` for the first stored value that violates a constraint."""
    bounds = constraint.bounds(item.present)
    if bounds is not None and not bounds.refused(stored).any():
        return
    for row, value in enumerate(_loaded(item, stored)):
        if why := constraint.violation(value):
            raise RowFault(row, why, value)


def _loaded(item: FixedCodec, stored: Array) -> list[Any]:
    return [item.load(each) for each in item.stored_of(item.as_dtype(stored))]
