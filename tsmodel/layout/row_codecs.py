"""What every row codec shares: rows from chunks of records, batches of records from rows, and which records match.

Rules kept here:

* A payload that does not match the layout never becomes a row: `fit` returns it as a mismatch, with its key and the reason.
* If a value does not fit its field, nothing is written at all.
* Two discriminators are disjoint when no record can meet both. A reader of several kinds of records checks that for every
  pair beforehand; then at most one of them matches a record, whatever its bytes are.
* Records are split a chunk at a time, by NumPy. A chunk whose records are all of one kind is not copied.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from tsmodel.errors import EncodeError
from tsmodel.keys import KEY_FIELDS, LIMITS, Key
from tsmodel.layout.constraints import Constraints
from tsmodel.layout.placing import Layout
from tsmodel.timestamps import to_iso
from tsmodel.types import scalar_codec
from tsmodel.types.codec import FixedCodec
from tsmodel.types.field_faults import FieldFault, Mask
from tsmodel.types.scalars import KEY_SCALARS, shown
from tsmodel.wire.chunk import Batch, Chunk
from tsmodel.wire.records import GET_FORM

__all__ = [
    "KEY_CODECS",
    "SIZE_FIELD",
    "Discriminator",
    "Fit",
    "Mismatch",
    "Refusal",
    "RowCodec",
    "fit",
    "mismatches_of",
    "split_by",
]

SIZE_FIELD: Final = "_size"
"""Name of a record's size field in structured arrays; no field of a model may begin with an underscore."""


class Mismatch(msgspec.Struct, frozen=True):
    """A record whose payload does not match the layout.

    Attributes:
        key: its key.
        payload: its payload.
        fault: the field, offset and reason; None if the payload does not have the size of the layout.
    """

    key: Key
    payload: bytes
    fault: FieldFault | None = None


class Fit(msgspec.Struct, frozen=True):
    """A chunk, divided into records that match the layout and mismatches.

    Attributes:
        records: the n matching records, indexed by a field's name, a slice or a mask. For a layout of fixed size: a
            structured array, shape (n,), with `_size`, the key components and the payload's fields, and without a copy if
            all records match; or `ColumnRecords` for a chunk of columns.
        mismatches: the other records.
    """

    records: Any
    mismatches: tuple[Mismatch, ...] = ()


def fit(chunk: Chunk, dtype: np.dtype[Any]) -> Fit:
    """Separates records of a dtype from records of another size.

    Args:
        chunk: the records.
        dtype: dtype of a record, including the size field.
    """
    if chunk.record_size == dtype.itemsize:
        return Fit(chunk.records(dtype))
    fits = chunk.sizes() == dtype.itemsize
    return Fit(chunk.take(fits).records(dtype), mismatches_of(chunk.take(~fits)))


def mismatches_of(chunk: Chunk, fault: FieldFault | None = None) -> tuple[Mismatch, ...]:
    """Makes every record of a chunk a mismatch."""
    return tuple(Mismatch(key, payload, fault) for key, payload in chunk.pairs())


_HEADER: Final = GET_FORM.header.itemsize


class Refusal(FieldFault):
    """A payload that matches no version of a model, or no model; `why` is the complete reason."""


class Discriminator(msgspec.Struct, frozen=True):
    """Tells the records of a model, or of a version of it, from others.

    Attributes:
        model: name of the model.
        least: minimum size of a payload in bytes.
        most: maximum size of a payload; None if there is none.
        version: value of the version byte; None if there is none.
        keys: key components that are the same in all records, by name.
        since: least capture time; None if there is none.
        until: bound of the capture time, exclusive; None if there is none.
    """

    model: str
    least: int
    most: int | None
    version: int | None = None
    keys: Mapping[str, int] = msgspec.field(default_factory=dict)
    since: int | None = None
    until: int | None = None

    def is_disjoint(self, other: Discriminator) -> bool:
        """Whether no record can match both."""
        return (
            any(other.keys.get(name, value) != value for name, value in self.keys.items())
            or (None not in (self.version, other.version) and self.version != other.version)
            or (self.most is not None and self.most < other.least)
            or (other.most is not None and other.most < self.least)
            or (self.until is not None and other.since is not None and self.until <= other.since)
            or (other.until is not None and self.since is not None and other.until <= self.since)
        )

    @property
    def size(self) -> str:
        """The size of payloads, in words."""
        if self.most == self.least:
            return f"{self.least} bytes"
        return f"{self.least} bytes or more" if self.most is None else f"{self.least} to {self.most} bytes"

    def __str__(self) -> str:
        parts = [self.size]
        if self.version is not None:
            parts.append(f"the first of which is {self.version}")
        parts += [f"{name} {value}" for name, value in self.keys.items()]
        if self.since is not None:
            parts.append(f"captured at {to_iso(self.since)} or later")
        if self.until is not None:
            parts.append(f"captured before {to_iso(self.until)}")
        return f"{self.model} takes {', '.join(parts)}"


def _begins_with(chunk: Chunk, first: int) -> Mask:
    """Mask of the payloads that begin with this byte; shape (n,)."""
    mask: Mask = chunk.sizes() > _HEADER if chunk.record_size <= _HEADER else np.ones(len(chunk), np.bool_)
    mask[mask] = chunk.take(mask).column(0, np.dtype(np.uint8)) == first
    return mask


def _matching(chunk: Chunk, discriminator: Discriminator, keys: bool) -> Mask | np.bool_:
    """Mask of the records that a discriminator matches, shape (n,); or one bool for all of them."""
    sizes = np.int64(chunk.record_size) if chunk.record_size else chunk.sizes()
    mask: Any = sizes >= discriminator.least + _HEADER
    if discriminator.most is not None:
        mask = mask & (sizes <= discriminator.most + _HEADER)
    if discriminator.version is not None:
        mask = mask & _begins_with(chunk, discriminator.version)
    if discriminator.since is not None:
        mask = mask & (chunk.key("cap") >= discriminator.since)
    if discriminator.until is not None:
        mask = mask & (chunk.key("cap") < discriminator.until)
    for name, value in discriminator.keys.items() if keys else ():
        mask = mask & (chunk.key(name) == value)
    return mask  # type: ignore[no-any-return]


def split_by(
    chunk: Chunk, groups: Sequence[Sequence[Discriminator]], what: str, *, keys: bool = False
) -> tuple[list[Chunk], tuple[Mismatch, ...]]:
    """Splits a chunk into one chunk per group of discriminators, and the records that no discriminator matches.

    Args:
        chunk: the records.
        groups: discriminators, pairwise disjoint.
        what: name of the model or union, for messages.
        keys: whether to compare fixed key components.
    """
    left = np.ones(len(chunk), np.bool_)
    chunks = []
    for group in groups:
        mask = np.zeros(len(chunk), np.bool_)
        for discriminator in group:
            mask |= _matching(chunk, discriminator, keys)
        left &= ~mask
        chunks.append(chunk.take(mask))
    if not left.any():
        return chunks, ()
    why = f"no layout of {what} matches: " + "; ".join(map(str, chain.from_iterable(groups)))
    return chunks, mismatches_of(chunk.take(left), Refusal(why))


RowT = TypeVar("RowT")

KEY_CODECS: Final[dict[str, FixedCodec]] = {name: scalar_codec(scalar) for name, scalar in KEY_SCALARS.items()}
"""The codecs of key components, by name."""


class RowCodec(ABC, Generic[RowT]):
    """Converts records to rows and rows to records. `row_codec` makes the one for a layout.

    Args:
        layout: layout of the payload.
        make: makes a row from positional arguments: cid, mid, moid, cap, acq and the payload's fields. A row has these as
            attributes.
        fixed: values of key components that every row must have, by name.
        tuples: the inverse of `make` for many rows: converts rows to tuples of arguments.
        constraints: constraints that are checked when rows are written, by field.
        strict_read: whether constraints are checked on reading as well.

    Attributes:
        discriminators: tell its records from those of other models, one per version; empty if not needed.
        caps: half-open range of capture times that rows may have; None for any.
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
        self._prepare()

    def _prepare(self) -> None:
        """Compiles what reading and writing need; called once, at the end of `__init__`."""

    def fit(self, chunk: Chunk) -> Fit:
        """Separates the records of a chunk that match the layout from mismatches."""
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
        """Makes rows from records that `fit` returned, or from a selection of them."""

    @abstractmethod
    def encode(self, rows: Sequence[RowT], *, with_acq: bool = False, first: int = 0) -> list[Batch]:
        """Encodes rows as one batch per cid, in PUT form (PUTA form if `with_acq`).

        Args:
            rows: the rows.
            with_acq: whether records carry the acq of their rows.
            first: number of the first row, for errors.

        Raises:
            EncodeError: if a value cannot be stored; names the record, the field, and what is accepted.
        """

    @abstractmethod
    def chunk_of(self, rows: Sequence[RowT], keys: Any) -> Chunk:
        """Encodes rows as a chunk with other keys.

        Args:
            rows: n rows, at least one.
            keys: n records that `fit` returned; their key components are used.

        Raises:
            EncodeError: see `encode`.
        """

    def row_of(self, key: Key, payload: bytes) -> RowT:
        """Makes the row of one record.

        Raises:
            FieldFault: if the payload does not match the layout.
        """
        return self.make(*key.astuple(), *self.values_of(payload))

    def values_of(self, payload: bytes) -> tuple[Any, ...]:
        """Decodes the values of a payload.

        Raises:
            FieldFault: if the payload does not match the layout; with the offset and the reason.
        """
        return self.layout.read(payload)

    def payload_of(self, row: RowT) -> bytes:
        """Encodes the payload of one row.

        Raises:
            EncodeError: if a value cannot be stored.
        """
        try:
            payload = self.layout.write([getattr(row, name) for name in self.layout.names])
        except FieldFault as fault:
            name = fault.field.partition(".")[0]
            raise EncodeError(
                f"{type(row).__name__}.{fault.field}: {fault.why}", field=name, value=getattr(row, name)
            ) from fault
        for name, constraint in self.constraints.items():
            value = getattr(row, name)
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

    @property
    def writing(self) -> RowCodec[RowT]:
        """The codec that writes rows: that of the newest version."""
        return self

    def _check_keys(self, names: Iterable[str], columns: Any, rows: Sequence[RowT], first: int) -> None:
        for name in names:
            if fault := self.key_fault(name, columns[name]):
                at, why = fault
                raise EncodeError(
                    f"record {first + at}: {type(rows[at]).__name__}.{name} {why}",
                    record=first + at,
                    field=name,
                    value=int(columns[name][at]),
                )

    def key_fault(self, name: str, column: npt.NDArray[Any]) -> tuple[int, str] | None:
        """Finds the first value of a key component's column (shape (n,)) that records of this codec may not have. Returns
        its index and what is wrong with it; None if all are valid."""
        limits = LIMITS[name]
        refused = (column < limits.least) | (column == limits.bound)
        allowed = f"{limits.least} to {limits.bound - 1}"
        if name in self.fixed:
            refused |= column != self.fixed[name]
            allowed = f"{self.fixed[name]}, which the class fixes"
        if name == "cap" and self.caps is not None:
            refused |= (column < self.caps[0]) | (column >= self.caps[1])
            allowed = f"{self.caps[0]} to {self.caps[1] - 1}, because since= assigns earlier records to an older version"
        if not refused.any():
            return None
        at = int(refused.argmax())
        hint = " (-1 means that the component was never set)" if column[at] == -1 else ""
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
