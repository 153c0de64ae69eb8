"""Rows from chunks of records, and batches of records from rows: what is the same for every layout.

Rules kept here:

* A payload that does not match the layout never becomes a row: `fit` returns it as a mismatch, with its key and the reason.
* If a value does not fit its field, nothing is written at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS, Key
from tsmodel.layout.constraints import Constraints
from tsmodel.layout.matching import Discriminator, Fit, Mismatch
from tsmodel.layout.placing import Layout
from tsmodel.types import scalar_codec
from tsmodel.types.codec import FixedCodec
from tsmodel.types.field_faults import FieldFault
from tsmodel.types.scalars import KEY_SCALARS, shown
from tsmodel.wire.chunk import Batch, Chunk

__all__ = ["KEY_CODECS", "KEY_SCALARS", "RowCodec"]

RowT = TypeVar("RowT")

KEY_CODECS: Final[dict[str, FixedCodec]] = {name: scalar_codec(scalar) for name, scalar in KEY_SCALARS.items()}
"""The codecs of key components, by name."""


class RowCodec(ABC, Generic[RowT]):
    """Turns records into rows and rows into records. `row_codec` makes the one for a layout.

    Args:
        layout: where the payload's fields lie.
        make: makes a row; called with cid, mid, moid, cap, acq and the payload's fields, positionally. A row has each
            of them as an attribute.
        fixed: key components that every row must have, by name.
        tuples: the inverse of `make`, for many rows: from rows to tuples of arguments.
        constraints: by field, the constraints that are checked when rows are written.
        strict_read: whether they are checked on reading, too.

    Attributes:
        discriminators: what tells its records from those of other models, one per version; empty if nothing needs them.
        caps: half-open range of the capture times that rows may have; None for any.
    """

    def __init__(
        self,
        layout: Layout,
        make: Callable[..., RowT],
        fixed: Mapping[str, int] | None = None,
        tuples: Callable[[Iterable[RowT]], Iterable[tuple[Any, ...]]] | None = None,
        constraints: Mapping[str, Constraints] | None = None,
        *,
        strict_read: bool = False,
    ) -> None:
        self.layout = layout
        self.make = make
        self.fixed = dict(fixed or {})
        self.constraints = {name: each for name, each in (constraints or {}).items() if each}
        self.strict_read = strict_read
        self._codecs = {**KEY_CODECS, **{field.name: field.codec for field in layout.fields}}
        self.discriminators: tuple[Discriminator, ...] = ()
        self.caps: tuple[int, int] | None = None
        self.tuples = tuples or partial(map, attrgetter(*self._codecs))

    def fit(self, chunk: Chunk) -> Fit:
        """The records of a chunk, and those whose payload does not match the layout."""
        found = self._fit(chunk)
        return self._strict(found) if self.strict_read and self.constraints else found

    def fit_columns(self, chunk: Chunk) -> Fit:
        """As `fit`, for callers that need columns only."""
        return self.fit(chunk)

    def fit_keys(self, chunk: Chunk) -> Fit:
        """As `fit`, for callers that need key components only."""
        return self.fit_columns(chunk)

    @abstractmethod
    def _fit(self, chunk: Chunk) -> Fit:
        """See `fit`; constraints are not checked."""

    @abstractmethod
    def rows(self, records: Any) -> Iterator[RowT]:
        """Rows of records that `fit` returned, or of a selection of them."""

    @abstractmethod
    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """Encodes rows as one batch per cid, in PUT form (PUTA form if `with_acq`).

        Args:
            rows: what to write.
            with_acq: whether records carry the acq of their rows.
            first: number of the first row, for errors.

        Raises:
            EncodeError: when a field cannot be stored, with the record's number, the field, and what it may be.
        """

    @abstractmethod
    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        """The rows as a chunk, under other keys.

        Args:
            rows: n rows, at least one.
            keys: n records that `fit` returned, for their key components.

        Raises:
            EncodeError: as `encode`.
        """

    def row_of(self, key: Key, payload: bytes) -> RowT:
        """The row of one record.

        Raises:
            FieldFault: when the payload does not match the layout.
        """
        return self.make(*key.astuple(), *self.values_of(payload))

    def values_of(self, payload: bytes) -> tuple[Any, ...]:
        """The values of the payload's fields.

        Raises:
            FieldFault: when the payload does not match the layout; with the place and the reason.
        """
        return self.layout.read(payload)

    def payload_of(self, row: RowT) -> bytes:
        """The payload of one row.

        Raises:
            EncodeError: when a field cannot be stored.
        """
        values = [getattr(row, name) for name in self.layout.names]
        try:
            payload = self.layout.write(values)
        except FieldFault as fault:
            name = fault.field.partition(".")[0]
            raise EncodeError(
                f"{type(row).__name__}.{fault.field}: {fault.why}", field=name, value=getattr(row, name)
            ) from fault
        for (name, constraint), value in self._constrained(values):
            if why := constraint.violation(value):
                raise EncodeError(f"{type(row).__name__}.{name}: {why}", field=name, value=value)
        return payload

    def _strict(self, found: Fit) -> Fit:
        """Turns records that violate a constraint into mismatches."""
        at = {name: place for place, name in enumerate(self.layout.names)}
        kept = np.ones(len(found.records), np.bool_)
        mismatches = []
        for number, payload in enumerate(self.payloads(found.records)):
            values = self.layout.read(payload)
            for name, constraint in self.constraints.items():
                if why := constraint.violation(values[at[name]]):
                    offset = self.layout.fields[at[name]].offset or 0
                    kept[number] = False
                    key = Key(*(int(found.records[field][number]) for field in KEY_FIELDS))
                    mismatches.append(Mismatch(key, payload, FieldFault(why, offset, name)))
                    break
        return Fit(found.records[kept], (*found.mismatches, *mismatches)) if mismatches else found

    @abstractmethod
    def payloads(self, records: Any) -> Iterable[bytes]:
        """The payloads of records that `fit` returned."""

    def _constrained(self, values: Sequence[Any]) -> Iterator[tuple[tuple[str, Constraints], Any]]:
        by_name = dict(zip(self.layout.names, values, strict=True))
        for name, constraint in self.constraints.items():
            yield (name, constraint), by_name[name]

    @property
    def writing(self) -> RowCodec[RowT]:
        """The codec for writing: that of the newest version."""
        return self

    def _check_keys(self, names: Iterable[str], columns: Any, rows: Sequence[RowT], first: int) -> None:
        for name in names:
            self._check_key(name, columns[name], rows, first)

    def _check_key(self, name: str, column: npt.NDArray[Any], rows: Sequence[RowT], first: int) -> None:
        if fault := self.key_fault(name, column):
            at, why = fault
            raise EncodeError(
                f"record {first + at}: {type(rows[at]).__name__}.{name} {why}",
                record=first + at,
                field=name,
                value=int(column[at]),
            )

    def key_fault(self, name: str, column: npt.NDArray[Any]) -> tuple[int, str] | None:
        """The first value of a key component's column (shape (n,)) that no record of this codec may have: its place, and
        what is wrong with it; None when there is none."""
        limits = LIMITS[name]
        refused = (column < limits.least) | (column == limits.bound)
        allowed = f"{limits.least} to {limits.bound - 1}"
        if name in self.fixed:
            refused |= column != self.fixed[name]
            allowed = f"{self.fixed[name]}, which the class fixes"
        if name == "cap" and self.caps is not None:
            refused |= (column < self.caps[0]) | (column >= self.caps[1])
            allowed = f"{self.caps[0]} to {self.caps[1] - 1}, for since= says that earlier records are of an older version"
        if not refused.any():
            return None
        at = int(refused.argmax())
        hint = " (-1 stands for a component that was never set)" if column[at] == -1 else ""
        return at, f"is {int(column[at])}{hint}; it must be {allowed}"

    def _explain(self, rows: Sequence[RowT], first: int, error: Exception) -> NoReturn:
        """Raises an error that names the first value that its field cannot hold."""
        fields = {field.name: field for field in self.layout.fields}
        for number, (row, values) in enumerate(zip(rows, self.tuples(rows), strict=True), first):
            for (name, codec), value in zip(self._codecs.items(), values, strict=True):
                fault = self.layout.fault(fields[name], value) if name in fields else codec.fault(value)
                if fault is None and name in self.constraints and (why := self.constraints[name].violation(value)):
                    fault = FieldFault(why)
                if fault is not None:
                    raise EncodeError(
                        f"record {number}: {type(row).__name__}.{fault.named(name)}: {fault.why}",
                        record=number,
                        field=name,
                        value=value,
                    ) from error
        raise EncodeError(f"records {first} to {first + len(rows) - 1}: {shown(error)}") from error
