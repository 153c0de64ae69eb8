"""Rows from chunks of records, and batches of records from rows, for a payload of fixed layout.

Rules kept here:

* Rows are made a chunk at a time: one check of all size fields, then `struct` and the row class in C. Rows are written a
  stretch of some hundred at a time, by one `struct` call. Neither runs Python code per record.
* A payload that does not have the layout's size never becomes a row: `fit` sets it apart, with its key.
* A value that does not fit its field stops the encoding of all rows before anything is written.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import starmap
from operator import attrgetter
from typing import Any, Final, Generic, NoReturn, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from tsmodel.backend import Batch
from tsmodel.codec.batching import batches_by_cid
from tsmodel.codec.fitting import SIZE_FIELD, Fit, fit
from tsmodel.codec.layout import Layout
from tsmodel.codec.scalars import BOOLS, INT32, INT64, TIMESTAMP, ByteOrder, Scalar
from tsmodel.errors import EncodeError
from tsmodel.keys import LIMITS
from tsmodel.wire.records import GET_FORM, PUT_FORM, PUTA_FORM, RecordForm, octets_of

__all__ = ["KEY_SCALARS", "RowCodec"]

RowT = TypeVar("RowT")

_STRETCH: Final = 512
"""Rows packed by one call: enough that the call costs nothing, few enough that their values stay in the cache."""

KEY_SCALARS: Final[dict[str, Scalar]] = {"cid": INT32, "mid": INT64, "moid": INT32, "cap": TIMESTAMP, "acq": TIMESTAMP}
"""How each key component is stored."""


class RowCodec(Generic[RowT]):
    """Turns records into rows and rows into records.

    Args:
        layout: where the payload's fields lie.
        make: called with cid, mid, moid, cap, acq and the payload's fields, positionally; gives a row. A row has each
            of them as an attribute.
        fixed: key components that every row must have, by name.
        tuples: gives the arguments of `make` back from each of some rows.
    """

    def __init__(
        self,
        layout: Layout,
        make: Callable[..., RowT],
        fixed: Mapping[str, int] | None = None,
        tuples: Callable[[Iterable[RowT]], Iterable[tuple[Any, ...]]] | None = None,
    ) -> None:
        self.layout = layout
        self.make = make
        self.fixed = dict(fixed or {})
        self.payload = struct.Struct(layout.struct_format)
        self._scalars = {**KEY_SCALARS, **{field.name: field.scalar for field in layout.fields}}
        self._tuples = tuples or partial(map, attrgetter(*self._scalars))
        self._codes = "".join(scalar.code for scalar in self._scalars.values())
        self._bools = [at for at, scalar in enumerate(self._scalars.values()) if scalar.kind == "bool"]
        self._unpack = struct.Struct(f"<4x{self._codes}")
        self._stretch = struct.Struct("<" + self._codes * _STRETCH)
        self.dtype = self._dtype(GET_FORM)

    def fit(self, chunk: memoryview) -> Fit:
        """The records of a chunk as a structured array, and those that do not have the layout's size.

        Raises:
            RemoteProtocolError: when the chunk does not consist of whole records.
        """
        return fit(chunk, self.dtype)

    def rows(self, records: npt.NDArray[Any]) -> Iterator[RowT]:
        """A row for each record of a structured array as `fit` gives it."""
        if self.layout.byte_order == "big":
            records = records.astype(self._dtype(GET_FORM, "little"))
        return starmap(self.make, self._unpack.iter_unpack(octets_of(records)))

    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """The rows as one batch for each cid, in PUT form (or PUTA form `with_acq`).

        Args:
            rows: what to write.
            with_acq: whether records carry the acq of their rows.
            first: number of the first row, for errors.

        Raises:
            EncodeError: when a field cannot be stored, with the record's number, the field, and what it may be.
        """
        if not rows:
            return []
        form = PUTA_FORM if with_acq else PUT_FORM
        values = self._values(rows, first)
        for name in ("cid", *form.key_fields):
            self._check_key(name, values[name], rows, first)
        records = np.empty(len(rows), self._dtype(form))
        records[SIZE_FIELD] = records.dtype.itemsize - 4
        for name in records.dtype.names[1:]:
            records[name] = values[name]
        return batches_by_cid(values["cid"], records)

    def payload_of(self, row: RowT) -> bytes:
        """The payload of one row.

        Raises:
            EncodeError: when a field cannot be stored.
        """
        values = [getattr(row, field.name) for field in self.layout.fields]
        for field, value in zip(self.layout.fields, values, strict=True):
            if fault := field.scalar.fault(value):
                raise EncodeError(f"{type(row).__name__}.{field.name}: {fault}", field=field.name, value=value)
        return self.payload.pack(*values)

    def _dtype(self, form: RecordForm, byte_order: ByteOrder | None = None) -> np.dtype[Any]:
        payload = attrs.evolve(self.layout, byte_order=byte_order or self.layout.byte_order).dtype
        key = [(name, form.header[name]) for name in form.key_fields]
        return np.dtype([(SIZE_FIELD, "<i4"), *key, *((name, payload[name]) for name in payload.names or ())])

    def _values(self, rows: Sequence[RowT], first: int) -> npt.NDArray[Any]:
        """All fields of all rows, the key's first, as a structured array in little-endian order."""
        width = len(self._scalars)
        packed = []
        for start in range(0, len(rows), _STRETCH):
            part = rows[start : start + _STRETCH]
            # Flattens in C: chain.from_iterable takes as long for each value as this does for each row.
            values: list[Any] = []
            deque(map(values.extend, self._tuples(part)), maxlen=0)
            pack = self._stretch if len(part) == _STRETCH else struct.Struct("<" + self._codes * len(part))
            try:
                if not all(BOOLS.issuperset(map(type, values[at::width])) for at in self._bools):
                    raise TypeError("not a bool")
                packed.append(pack.pack(*values))
            except (struct.error, OverflowError, TypeError, ValueError) as error:
                self._explain(part, first + start, error)
        dtype = np.dtype([(name, scalar.dtype()) for name, scalar in self._scalars.items()])
        return np.frombuffer(b"".join(packed), dtype)

    def _explain(self, rows: Sequence[RowT], first: int, error: Exception) -> NoReturn:
        """Raises an error that names the first value that its field cannot hold."""
        for number, (row, values) in enumerate(zip(rows, self._tuples(rows), strict=True), first):
            for (name, scalar), value in zip(self._scalars.items(), values, strict=True):
                if fault := scalar.fault(value):
                    raise EncodeError(
                        f"record {number}: {type(row).__name__}.{name}: {fault}", record=number, field=name, value=value
                    ) from error
        raise error

    def _check_key(self, name: str, column: npt.NDArray[Any], rows: Sequence[RowT], first: int) -> None:
        limits = LIMITS[name]
        refused = (column < limits.least) | (column == limits.bound)
        allowed = f"{limits.least} to {limits.bound - 1}"
        if name in self.fixed:
            refused |= column != self.fixed[name]
            allowed = f"{self.fixed[name]}, which the class fixes"
        if refused.any():
            at = int(refused.argmax())
            value = int(column[at])
            hint = " (-1 stands for a component that was never set)" if value == -1 else ""
            raise EncodeError(
                f"record {first + at}: {type(rows[at]).__name__}.{name} is {value}{hint}; it must be {allowed}",
                record=first + at,
                field=name,
                value=value,
            )
