"""Records as NumPy columns.

Rules kept here:

* Numbers are given as they are stored, in the machine's byte order: times as ns since 2001, enums and decimals as their
  integers. What has no stored number is given as text or objects.
* A column that may be absent is a masked array.
* What is given does not lie in a chunk, which is used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsmodel.errors import QueryError
from tsmodel.frames.growing import Growing
from tsmodel.layout import VariableRecords
from tsmodel.layout.placing import PRESENT
from tsmodel.model.column import Column
from tsmodel.model.expressions import ColumnInfo
from tsmodel.model.meta import schema_of

__all__ = ["GrowingColumn", "Wanted", "chosen", "fill", "lying_within", "structured"]

Wanted = Column[Any] | str
"""A column of a model, or its name."""


def chosen(model: type[Any], wanted: Iterable[Wanted]) -> list[ColumnInfo]:
    """The columns of a model that are asked for; all of them, in wire order, when none is named.

    Raises:
        QueryError: when one is not a column of the model, or is asked for twice.
    """
    known = schema_of(model).columns
    infos = []
    for each in wanted:
        name = each.name if isinstance(each, Column) else each
        if name not in known or (isinstance(each, Column) and known[name].info != each.info):
            raise QueryError(f"{each!r} is not a column of {model.__name__}, which has {', '.join(names_of(model))}")
        infos.append(known[name].info)
    if len({info.name for info in infos}) < len(infos):
        raise QueryError(f"a column is asked for twice: {', '.join(info.alias for info in infos)}")
    return infos or [known[name].info for name in names_of(model)]


def names_of(model: type[Any]) -> list[str]:
    """Names of all columns of a model in wire order, key components under the model's own names."""
    return list(dict.fromkeys(column.info.alias for column in schema_of(model).columns.values()))


class GrowingColumn:
    """A column of records that come a chunk at a time.

    Args:
        info: which one.
    """

    def __init__(self, info: ColumnInfo) -> None:
        self._info = info
        self._parts: list[npt.NDArray[Any]] = []
        self._numbers = Growing(info.codec.number.numpy if info.codec.number else object)
        self._absent = Growing(np.bool_)

    def add(self, records: Any) -> None:
        """Takes records that a codec's `fit` gave; they need not stay valid."""
        if self._info.codec.number is None:
            self._parts.append(_objects(self._info, records))
        else:
            self._add_numbers(self._info.values(records))
        if self._info.is_nullable:
            present = self._info.present(records)
            self._absent.room(len(records))[:] = False if present is None else ~present

    def result(self) -> npt.NDArray[Any]:
        """The column so far, shape (n, ...), contiguous, in the machine's byte order; the next one begins empty."""
        self._end_numbers()
        parts, self._parts = self._parts or [self._numbers.result()], []
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.ma.MaskedArray(values, self._absent.result()) if self._info.is_nullable else values

    def _add_numbers(self, values: npt.NDArray[Any]) -> None:
        dtype = values.dtype.newbyteorder("=")
        if dtype != self._numbers.dtype:
            self._end_numbers()
            self._numbers = Growing(dtype)
        self._numbers.room(len(values))[:] = values

    def _end_numbers(self) -> None:
        numbers = self._numbers.result()
        if len(numbers):
            self._parts.append(numbers)


def _objects(info: ColumnInfo, records: Any) -> npt.NDArray[Any]:
    """A column of what is not a plain number."""
    assert info.field is not None
    if not info.field.is_fixed:
        objects = np.empty(len(records), object)
        objects[:] = info.objects(records)
        return objects
    item = info.field.fixed
    if isinstance(records, VariableRecords):  # as it would be stored, so that all records have columns of one kind
        absent = bytes(item.size)
        octets = [
            absent if value is None and info.field.bit is not None else item.write(value) for value in records[info.name]
        ]
        column = np.frombuffer(b"".join(octets), item.dtype)
    else:
        column = records[info.field.slot]
    return item.objects(column)


def structured(model: type[Any], infos: Sequence[ColumnInfo]) -> np.dtype[Any]:
    """What `to_numpy` gives: key components and payload fields as they are stored, packed; behind them the bitmap of
    present fields, `_present`, where one of them may be absent.

    Raises:
        QueryError: when the model has no fixed size.
    """
    layout = schema_of(model).layout
    if layout.size is None:
        raise QueryError(f"{model.__name__} has payloads of variable size, which no structured array holds: use columns()")
    fields = [(info.alias, _structured_dtype(info)) for info in infos]
    if any(info.field is not None and info.field.bit is not None for info in infos):
        fields.append((PRESENT, layout.dtype[PRESENT]))
    return np.dtype(fields)


def _structured_dtype(info: ColumnInfo) -> np.dtype[Any]:
    return info.fixed.dtype


def lying_within(dtype: np.dtype[Any], infos: Sequence[ColumnInfo], whole: np.dtype[Any]) -> np.dtype[Any] | None:
    """A dtype of the same fields for whole records as they lie there; None when some field does not lie there as it is, or
    less than three quarters of a record are asked for."""
    if 4 * dtype.itemsize < 3 * whole.itemsize or whole.fields is None or dtype.fields is None:
        return None
    if any(info.field is not None and info.field.bits is not None for info in infos):
        return None
    slots = {info.alias: info.field.slot if info.field is not None else info.name for info in infos}
    offsets = []
    for name in dtype.names or ():
        found = whole.fields.get(slots.get(name, name))
        if found is None or found[0] != dtype.fields[name][0]:
            return None
        offsets.append(found[1])
    formats = [dtype.fields[name][0] for name in dtype.names or ()]
    return np.dtype({"names": list(dtype.names or ()), "formats": formats, "offsets": offsets, "itemsize": whole.itemsize})


def fill(taken: npt.NDArray[Any], infos: Sequence[ColumnInfo], records: Any) -> None:
    """Copies records that a codec's `fit` gave into an array of the dtype that `structured` or `lying_within` gives."""
    for info in infos:
        taken[info.alias] = info.stored(records)
    if PRESENT in (taken.dtype.names or ()):
        taken[PRESENT] = records[PRESENT]
